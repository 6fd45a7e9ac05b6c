import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest



def command(*args) -> list[str]: return [sys.executable, '-m', 'lora_da_bench.cli', *map(str, args)]


@pytest.fixture(scope='session')
def quickstart(tmp_path_factory) -> Path:
    "The main job, tiny, run once in a process of its own: a folder with a source run and three adaptations"
    out = tmp_path_factory.mktemp('quickstart')/'q'
    done = subprocess.run(command('quickstart', '--smoke', '--no-app', '--out', out), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def runs(quickstart, tmp_path) -> Path:
    "A copy of the finished runs that a test may damage"
    return shutil.copytree(quickstart, tmp_path/'runs')


@pytest.fixture
def cli(capsys, monkeypatch):
    "Call the command in this process: exit code, stdout, stderr"
    def call(*args):
        from lora_da_bench import cli as module
        monkeypatch.setattr(sys, 'argv', ['lora-da-bench', *map(str, args)])
        code = 0
        try: module.main()
        except SystemExit as stop: code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err
    return call


@pytest.fixture
def serve():
    "Start the app on a folder of runs in a process of its own; returns its URL and how long it took"
    processes = []
    def start(folder: Path) -> tuple[str, float]:
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        begun = time.monotonic()
        processes.append(subprocess.Popen(command('app', folder, '--port', port)))
        while time.monotonic() < begun + 60:
            with socket.socket() as s:
                if not s.connect_ex(('127.0.0.1', port)): return f'http://127.0.0.1:{port}', time.monotonic() - begun
            time.sleep(.05)
        raise TimeoutError('the app did not start')
    yield start
    for process in processes: process.terminate(); process.wait()


@pytest.fixture
def camvid(tmp_path) -> Path:
    "Made-up files in CamVid's layout: two sequences by day, one at dusk"
    import numpy as np
    from PIL import Image

    from lora_da_bench.scenes import scene
    root = tmp_path/'camvid'
    for split, names in dict(train=['0006R0_1', '0006R0_2', '0016E5_1', '0016E5_2', '0001TP_1', '0001TP_2'], test=['0001TP_3', '0001TP_4']).items():
        for folder in (root/split, root/f'{split}annot'): folder.mkdir(parents=True)
        for i, name in enumerate(names):
            image, label = scene(i, (90, 120), .4)
            Image.fromarray(image).save(root/split/f'{name}.jpg')
            Image.fromarray(np.where(label < 11, label, 11).astype(np.uint8)).save(root/f'{split}annot'/f'{name}.png')
    return root
