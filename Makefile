# Set-up and the few commands that matter. `make demo` and `make test` start from nothing but Python 3.11+.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUNS   ?= demo

.PHONY: help demo test lab notebooks docs site results cost chromium slurm clean

help:        ## this list
	@sed -nE 's/^([a-z]+):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.installed           ## adapt a small Swin by self-training: plain, with class mixing, with EMA, with LoRA; open the app
	$(BIN)/lora-da-bench quickstart --out $(RUNS)

test: export CUDA_VISIBLE_DEVICES =
test: $(VENV)/.installed-dev chromium slurm ## notebooks and library in step, then every notebook and every test, on the CPU
	$(BIN)/python tests/in_step.py
	dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && TMPDIR=$$dir OMP_NUM_THREADS=1 $(BIN)/nbdev_test --path nbs --do_print
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist loadgroup --durations 12

# OUT is where the site goes; `site` builds it and stops at a broken link.
OUT ?= _site
docs: $(VENV)/.installed-dev       ## build the documentation from the notebooks and show it at http://127.0.0.1:8000
	$(BIN)/python tests/site_docs.py $(OUT) --serve
site: $(VENV)/.installed-dev
	$(BIN)/python tests/site_docs.py $(OUT)

lab: $(VENV)/.installed-dev        ## step through the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir nbs --LabApp.default_url=/lab/tree/index.ipynb

notebooks: $(VENV)/.installed-dev  ## after a change: export the library, run the notebooks for their pictures, clean them
	$(BIN)/python tests/rebuild.py

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'error: Python 3.11 or newer is needed, this is ' + sys.version)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -e '.[dev]'
	touch $@

# The browser tests use the system's Chromium; where it is missing and apt is there, install it.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  command -v apt-get >/dev/null && { SUDO=$$(test $$(id -u) = 0 || echo sudo); \
	  $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq chromium >/dev/null; }; } || \
	  { echo 'error: the browser tests need Chromium; please install it'; exit 1; }

# The test of studies on a cluster starts a Slurm of its own, as root; where that can't be had, the test is skipped.
slurm:
	@command -v sbatch >/dev/null || [ $$(id -u) != 0 ] || ! command -v apt-get >/dev/null || { \
	  apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm >/dev/null; } || true

# On a machine with a GPU: Swin-B with a decoder of 512 channels on 512 x 1024, in bf16; plain, with less memory for more time, and compiled.
# What is measured is kept even if a later one of the three fails.
SWIN_B := cost --device cuda --model swin_base_patch4_window7_224.ms_in22k --format json
cost: $(VENV)/.installed           ## measure the step's cost at published size (needs a GPU)
	$(BIN)/lora-da-bench $(SWIN_B) > $@.part && mv $@.part results/cost-swin-b-gpu.json
	$(BIN)/lora-da-bench $(SWIN_B) --checkpointing > $@.part && mv $@.part results/cost-swin-b-gpu-checkpointing.json
	$(BIN)/lora-da-bench $(SWIN_B) --compile --rounds 2 --stabilizers ema,lora-reuse,lora-head-reuse > $@.part && mv $@.part results/cost-swin-b-gpu-compile.json

clean:       ## remove the environment; runs stay
	rm -rf $(VENV) *.egg-info

# Results that need a CPU and no study of their own, measured again: about twelve hours on two cores, interruptible. CAMVID is the folder of CamVid's frames.
CAMVID ?= camvid
ON_CPU := cost --device cpu --model swin_base_patch4_window7_224 --pairs 1 --format json
results: $(VENV)/.installed        ## measure again the results that need a CPU and no study of their own (CAMVID=folder of the CamVid frames)
	$(BIN)/lora-da-bench quickstart --no-app --out runs/quickstart
	$(BIN)/lora-da-bench report runs/quickstart --format json > results/quickstart.json
	cd runs/quickstart && cp source-seed0/snapshots/input/00.png ../../results/quickstart/input.png && cp source-seed0/snapshots/label/00.png ../../results/quickstart/truth.png
	cd runs/quickstart && for run in source mixed-ema mixed-lora; do cp $$(ls $$run-seed0/snapshots/step-*/00-prediction.png | tail -1) ../../results/quickstart/$${run#mixed-}.png; done
	$(BIN)/lora-da-bench cost --device cpu --format json > results/cost-mini-cpu.json
	$(BIN)/lora-da-bench $(ON_CPU) --rounds 2 --stabilizers ema,lora-reuse,lora-head-reuse > results/cost-swin-b-cpu.json
	$(BIN)/lora-da-bench $(ON_CPU) --rounds 1 --stabilizers ema,lora-head-reuse --precision bf16 --checkpointing > results/cost-swin-b-cpu-checkpointing.json
	$(BIN)/lora-da-bench gap --out runs/streetscenes-gap
	cp runs/streetscenes-gap/gap.json results/gap.json
	$(BIN)/lora-da-bench ablation --seeds 5 --out runs/ablation-streetscenes
	$(BIN)/lora-da-bench ablation --seeds 3 --preset camvid-day-dusk --root $(CAMVID) --out runs/ablation-camvid-day-dusk
	for d in streetscenes camvid-day-dusk; do cp runs/ablation-$$d/ablation.json results/ablation-$$d.json; done
