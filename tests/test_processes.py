"One run, shared by two processes on the CPU."

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import lora_da_bench
from at_hand import free_port
from second_process import Second
from without_chance import without_chance
from lora_da_bench.runs.experiments import PRESETS
from lora_da_bench.evidence.run_store import read_config, read_metrics, weights_path

# at low rates: Adam makes whole steps of rounding where a gradient is nearly zero, and the dynamic weights stretch what comes of it
TINY = PRESETS['streetscenes'].model_copy(update=dict(
    model='micro', decoder_channels=16, data=dict(frames=(16, 12, 6)), size=(48, 96), crop=(32, 48), batch_size=4, drop_path=0., source_steps=4, steps=4, source_lr=5e-4, lr=1e-4, rounds=1, eval_every=2, seen=4, probes=1, warmup=1,
    stabilizers={'lora': {'head': 'adapters', 'rank': 4}},
    recipes={'transda': {'source_view': 'weak', 'target_view': 'weak'}, 'plain': {'self-training': {'student_view': 'weak'}, 'adversary': {'form': 'class'}}}))


def start(second, n: int, out: Path, *more) -> list[Second]:
    "The training command, by n processes"
    (out.parent/'tiny.json').write_text(TINY.model_dump_json())
    port = free_port()
    shared = lambda rank: dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    return [second('train', '--preset', out.parent/'tiny.json', '--out', out, *more, prepare=without_chance,
                   env=dict(ACCELERATE_USE_CPU='1') | (shared(rank) if n > 1 else {})) for rank in range(n)]


def train(second, n: int, out: Path, *more):
    for rank, process in enumerate(start(second, n, out, *more)):
        code, said, problem = process.wait()
        assert code == 0, problem
        assert said.count('mIoU on held-out') == (rank == 0)  # one process talks


@pytest.fixture(scope='session')
def alone(made_once, second) -> Path:
    "Rounds with EMA, and a run with LoRA from the same source model, by one process"
    def make(folder):
        folder.mkdir()
        for recipe, stabilizer in (('transda', 'ema'), ('plain', 'lora')): train(second, 1, folder/'runs', '--recipe', recipe, '--stabilizer', stabilizer)
    return made_once('alone', make)/'runs'


def assert_same_curves(a: Path, b: Path):
    a, b = read_metrics(a), read_metrics(b)
    curves = [c for c in a if c.startswith('loss/')]
    assert curves and list(a.index) == list(b.index)
    np.testing.assert_allclose(a[curves], b[curves], rtol=1e-4)
    for score in {'target_miou', 'pseudo_accuracy', 'labels_accuracy'} & set(a): np.testing.assert_allclose(a[score], b[score], atol=2e-3)


def test_two_processes_train_the_run_of_one(alone, tmp_path):
    "As `accelerate launch` starts them, two images each or four in one: the same losses, step by step, source model, warm-up, labels and round"
    (tmp_path/'tiny.json').write_text(TINY.model_dump_json())
    launch = '-m', 'accelerate.commands.accelerate_cli', 'launch', '--multi_gpu', '--num_processes', '2', '--num_machines', '1', '--main_process_port', '0'
    done = subprocess.run([sys.executable, *launch, Path(__file__).with_name('without_chance.py'), 'train', '--preset', tmp_path/'tiny.json', '--out', tmp_path/'runs',
                           '--recipe', 'transda', '--stabilizer', 'ema'], env=os.environ | dict(ACCELERATE_USE_CPU='1'), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('mIoU on held-out') == 1  # one process talks
    together = tmp_path/'runs'
    files = lambda root: sorted(str(p.relative_to(root)) for p in root.rglob('*') if p.is_file())
    assert files(together) == [name for name in files(alone) if not name.startswith('plain-lora-seed0')]
    for run in sorted(together.iterdir()): assert_same_curves(alone/run.name, run)
    assert {'loss/adversarial', 'loss/target', 'loss/adversary', 'loss/discrepancy'} <= set(read_metrics(together/'transda-ema-seed0-round1'))
    assert read_config(together/'source-seed0')['device'].startswith('2 x cpu')


@pytest.mark.parametrize('first, then', ((2, 1), (1, 2)))
def test_going_on_with_another_number_of_processes(alone, second, tmp_path, first, then):
    "Killed with two processes and ended by one, or the other way round: the run that one process makes alone"
    shutil.copytree(alone/'source-seed0', tmp_path/'both'/'source-seed0')
    asked = '--recipe', 'plain', '--stabilizer', 'lora'
    processes = start(second, first, tmp_path/'both', *asked)
    deadline, run = time.monotonic() + 200, tmp_path/'both'/'plain-lora-seed0'
    while not (run/'resume/state.pt').exists():
        assert all(p.poll() is None for p in processes) and time.monotonic() < deadline
        time.sleep(.01)
    for process in processes: process.kill()
    for process in processes: process.wait()
    assert not weights_path(run)
    train(second, then, tmp_path/'both', *asked)
    assert_same_curves(alone/'plain-lora-seed0', run)
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
