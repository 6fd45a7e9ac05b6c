"One run, shared by two processes on the CPU, as `accelerate launch` starts them."

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import lora_da_bench
from lora_da_bench.runs.experiments import PRESETS
from lora_da_bench.evidence.run_store import read_config, read_metrics, weights_path

# at low rates: Adam makes whole steps of rounding where a gradient is nearly zero, and the dynamic weights stretch what comes of it
TINY = PRESETS['streetscenes'].model_copy(update=dict(
    data=dict(frames=(16, 12, 6)), size=(48, 96), crop=(32, 48), batch_size=4, drop_path=0., source_steps=4, steps=4, source_lr=5e-4, lr=1e-4, rounds=1, eval_every=2, seen=4, probes=1, warmup=1,
    stabilizers={'lora': {'head': 'adapters', 'rank': 4}},
    recipes={'transda': {'source_view': 'weak', 'target_view': 'weak'}, 'plain': {'self-training': {'student_view': 'weak'}, 'adversary': {'form': 'class'}}}))


def start(n: int, out: Path, *more) -> subprocess.Popen:
    "The training command, by n processes"
    (out.parent/'tiny.json').write_text(TINY.model_dump_json())
    launch = [] if n == 1 else ['-m', 'accelerate.commands.accelerate_cli', 'launch', '--multi_gpu', '--num_processes', str(n), '--num_machines', '1', '--main_process_port', '0']
    command = [sys.executable, *launch, str(Path(__file__).with_name('without_chance.py')), 'train', '--preset', str(out.parent/'tiny.json'), '--out', str(out), *more]
    env = os.environ | dict(ACCELERATE_USE_CPU='1', OMP_NUM_THREADS='1')
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train(n: int, out: Path, *more) -> Path:
    process = start(n, out, *more)
    said, problem = process.communicate(timeout=300)
    assert process.returncode == 0, problem
    assert said.count('mIoU on held-out') == 1  # one process talks
    return out


@pytest.fixture(scope='session')
def alone(made_once) -> Path:
    "Rounds with EMA, and a run with LoRA from the same source model, by one process"
    def make(folder):
        folder.mkdir()
        for recipe, stabilizer in (('transda', 'ema'), ('plain', 'lora')): train(1, folder/'runs', '--recipe', recipe, '--stabilizer', stabilizer)
    return made_once('alone', make)/'runs'


def assert_same_curves(a: Path, b: Path):
    a, b = read_metrics(a), read_metrics(b)
    curves = [c for c in a if c.startswith('loss/')]
    assert curves and list(a.index) == list(b.index)
    np.testing.assert_allclose(a[curves], b[curves], rtol=1e-4)
    for score in {'target_miou', 'pseudo_accuracy', 'labels_accuracy'} & set(a): np.testing.assert_allclose(a[score], b[score], atol=2e-3)


def test_two_processes_train_the_run_of_one(alone, tmp_path):
    "Two images each or four in one: the same losses, step by step, source model, warm-up, labels and round"
    together = train(2, tmp_path/'runs', '--recipe', 'transda', '--stabilizer', 'ema')
    files = lambda root: sorted(str(p.relative_to(root)) for p in root.rglob('*') if p.is_file())
    assert files(together) == [name for name in files(alone) if not name.startswith('lora-seed0')]
    for run in sorted(together.iterdir()): assert_same_curves(alone/run.name, run)
    assert {'loss/adversarial', 'loss/target', 'loss/adversary', 'loss/discrepancy'} <= set(read_metrics(together/'transda-ema-seed0-round1'))
    assert read_config(together/'source-seed0')['device'].startswith('2 x cpu')


@pytest.mark.parametrize('first, then', ((2, 1), (1, 2)))
def test_going_on_with_another_number_of_processes(alone, tmp_path, first, then):
    "Killed with two processes and ended by one, or the other way round: the run that one process makes alone"
    shutil.copytree(alone/'source-seed0', tmp_path/'both'/'source-seed0')
    asked = '--recipe', 'plain', '--stabilizer', 'lora'
    process = start(first, tmp_path/'both', *asked)
    deadline, run = time.monotonic() + 200, tmp_path/'both'/'lora-seed0'
    while not (run/'resume/state.pt').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(.01)
    launcher = psutil.Process(process.pid)
    for each in [*launcher.children(recursive=True), launcher]: each.kill()
    process.communicate()
    assert not weights_path(run)
    train(then, tmp_path/'both', *asked)
    assert_same_curves(alone/'lora-seed0', run)
    assert json.loads((run/'config.json').read_text())['device'].startswith('2 x cpu' if first == 2 else 'cpu')  # where it was started


def test_what_cannot_be_shared(cli, tmp_path, monkeypatch):
    "A batch of four on three processes; several processes that find each other on no device"
    (tmp_path/'tiny.json').write_text(TINY.model_dump_json())
    with monkeypatch.context() as patched:
        patched.setattr('lora_da_bench.core.processes.n_processes', lambda: 3)
        code, _, said = cli('train', '--preset', tmp_path/'tiny.json', '--out', tmp_path/'runs')
    assert code == 2 and said == 'error: batch_size: 4 images of a step cannot be shared evenly by 3 processes; expected a multiple of 3\n'
    assert not (tmp_path/'runs').exists()
    monkeypatch.setenv('WORLD_SIZE', '2')
    code, _, said = cli('train', '--out', tmp_path/'runs')
    assert code == 2 and said.startswith('error: WORLD_SIZE: 2 processes were started')


def test_one_precision():
    "accelerate refuses a second precision in a process, which without a GPU would go unnoticed: only one function makes accelerators"
    made = [p.name for p in Path(lora_da_bench.__file__).parent.rglob('*.py') if re.search(r'\b(Accelerator|PartialState)\(', p.read_text())]
    assert made == ['processes.py']
