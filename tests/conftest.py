import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

import second_process
from at_hand import free_port, launch_chromium

FIRST = ('test_try_a_picture', 'test_a_study_whose', 'test_the_widgets', 'test_two_processes', 'test_dry_run_of', 'test_the_site_in_a_browser[1280', 'test_cost_that', 'test_a_killed_round', 'test_going_on', 'test_full_disk', 'test_cost',
         'test_the_slider', 'test_polls', 'test_ten_damaged', 'test_a_target', 'test_the_published', 'test_frames_as_large', 'test_rounds')


def pytest_configure(config):
    "Where workers share the tests, the server of second processes starts while they load"
    if getattr(config.option, 'numprocesses', None): second_process.start_server()


def pytest_collection_modifyitems(items):
    "What takes longest begins first, and while one worker makes a run that tests share, the other has something else to do"
    items.sort(key=lambda item: next((i for i, name in enumerate(FIRST) if item.name.startswith(name)), len(FIRST)))


@pytest.fixture(scope='session', autouse=True)
def cache(tmp_path_factory):
    "Surveys are cached where only this session finds them"
    os.environ['LORA_DA_BENCH_CACHE'] = str(tmp_path_factory.mktemp('cache'))


def but_for_alarms(said: str) -> str:
    "What was said, without the lines in which the collapse alarm of a run sounded: tiny runs may well set it off"
    return '\n'.join(line for line in said.splitlines() if ': collapse alarm at step' not in line)


@pytest.fixture(scope='module')
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        yield launch_chromium(play)


@pytest.fixture(scope='module')
def window(browser): return browser.new_context(viewport=dict(width=1440, height=1100))   # its pages share a cache


def command(*args) -> list[str]: return [sys.executable, '-m', 'lora_da_bench.views.cli', *map(str, args)]


@pytest.fixture(scope='session')
def made_once(tmp_path_factory, worker_id):
    "Call `make(folder)` in the first worker that asks, and give all of them the folder"
    shared = tmp_path_factory.getbasetemp() if worker_id == 'master' else tmp_path_factory.getbasetemp().parent
    def get(name: str, make) -> Path:
        folder = shared/name
        with FileLock(shared/f'{name}.lock'):
            if not (shared/f'{name}.done').exists():
                make(folder)
                (shared/f'{name}.done').touch()
        return folder
    return get


@pytest.fixture(scope='session')
def second(tmp_path_factory):
    "Start the command in a second process (see `second_process`); what is left of them at the end is killed"
    folder, started = tmp_path_factory.mktemp('second'), []
    if second_process.SERVER not in os.environ: second_process.start_server()
    def start(*words, **how) -> second_process.Second:
        started.append(second_process.start(folder, *words, **how))
        return started[-1]
    yield start
    for each in started:
        if each.poll() is None: each.kill()


@pytest.fixture(scope='session')
def quickstart(made_once, second) -> Path:
    "The main job, tiny, in a process of its own: a folder with a source run and four adaptations"
    def make(folder):
        code, _, said = second('quickstart', '--smoke', '--no-app', '--out', folder).wait()
        assert code == 0, said
    return made_once('quickstart', make)


def write_run(folder: Path, step: int = 4, **fields) -> Path:
    "A run of 4 steps that nobody has trained, as far as `step`: what readers need of it, and other fields"
    from lora_da_bench.evidence.run_store import Run, write_json
    config = dict(recipe='mixed', stabilizer='none', scored='raw', seed=0, steps=4)
    write_json(folder/'config.json', config | dict(dataset='made up', classes=['all'], palette=[(0, 0, 0)]) | fields)
    for at in (0, step): Run(folder).log(at, target_miou=.5)
    return folder


@pytest.fixture
def runs(quickstart, tmp_path) -> Path:
    "A copy of the finished runs that a test may damage"
    return shutil.copytree(quickstart, tmp_path/'runs')


@pytest.fixture
def cli(capsys, monkeypatch):
    "Call the command in this process: exit code, stdout, stderr"
    def call(*args):
        from lora_da_bench.views import cli as module
        monkeypatch.setattr(sys, 'argv', ['lora-da-bench', *map(str, args)])
        code = 0
        try: module.main()
        except SystemExit as stop: code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err
    return call


@pytest.fixture(scope='module')
def serve(second):
    """Start the app on a folder of runs in a process of its own, a fresh one or a second one; returns its URL and the processor seconds that it took.

    One process serves all tests of a module that ask for the same folder."""
    processes, urls = [], {}
    def start(folder: Path, fresh: bool = False, *more) -> tuple[str, float]:
        if (folder, *more) in urls and not fresh: return urls[folder, *more], 0.
        port = free_port()
        begun, words = time.monotonic(), ('app', folder, '--port', port, *more)
        processes.append(subprocess.Popen(command(*words)) if fresh else second(*words))
        from lora_da_bench.views.cli import answers
        url = f'http://127.0.0.1:{port}'
        while time.monotonic() < begun + 60:
            if answers(url):
                urls[folder, *more] = url
                return url, sum(psutil.Process(processes[-1].pid).cpu_times()[:2])
            time.sleep(.05)
        raise TimeoutError('the app did not start')
    yield start
    for process in processes: process.kill(); process.wait()


@pytest.fixture
def open_page(window, serve):
    "Open the app on a folder of runs, with further words of its command; `page.problems`: errors of scripts, `page.elsewhere`: what it asked of others"
    opened = []
    def open(folder, fresh=False, address='', more=()):
        url, seconds = serve(folder, fresh, *more)
        page = window.new_page()
        opened.append(page)
        page.problems, page.elsewhere, page.url_of_app = [], [], url
        page.on('pageerror', lambda e: page.problems.append(str(e)))
        page.on('request', lambda r: r.url.startswith((url, 'data:', 'blob:')) or page.elsewhere.append(r.url))
        page.goto(url + address)
        return page, seconds
    yield open
    for page in opened: page.close()   # an open page takes its share of the machine


def tab(page, name): page.locator('#tabs button[role=tab]', has_text=name).first.click()


def says(page, place, text, seconds=30):
    page.wait_for_function("([place, text]) => document.querySelector(place)?.innerText?.includes(text)", arg=[place, text], timeout=1000 * seconds)


@pytest.fixture
def camvid(tmp_path) -> Path: return make_camvid(tmp_path/'camvid')


def make_camvid(root: Path) -> Path:
    "Made-up files in CamVid's layout: two sequences by day, one at dusk"
    import numpy as np
    from PIL import Image

    from lora_da_bench.data.scenes import scene
    for split, names in dict(train=['0006R0_1', '0006R0_2', '0016E5_1', '0016E5_2', '0001TP_1', '0001TP_2'], test=['0001TP_3', '0001TP_4']).items():
        for folder in (root/split, root/f'{split}annot'): folder.mkdir(parents=True)
        for i, name in enumerate(names):
            image, label = scene(i, (90, 120), .4)
            Image.fromarray(image).save(root/split/f'{name}.jpg')
            Image.fromarray(np.where(label < 11, label, 11).astype(np.uint8)).save(root/f'{split}annot'/f'{name}.png')
    return root


@pytest.fixture
def published(tmp_path) -> Path:
    "Made-up files in the layouts and encodings of GTA5, SYNTHIA and Cityscapes"
    import cv2
    import numpy as np
    from PIL import Image

    from lora_da_bench.data.datasets import CITIES
    from lora_da_bench.data.labels import CITYSCAPES, CITYSCAPES_IDS, GTA5, label_image, SYNTHIA
    from lora_da_bench.data.scenes import scene
    root = tmp_path/'data'
    def ids(label, space):
        "A dataset's ids for 19 classes; what it lacks becomes its id 0"
        table = {c: i for i, c in space.ids.items() if c < 255}
        of = [table.get(space.classes.index(n), 0) if n in space.classes else 0 for n in CITYSCAPES.classes]
        return np.array([*of, *[0] * 237], np.uint16)[label]
    def write(path, image):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    for i in range(4):
        image, label = scene(i, (76, 128))
        write(root/f'gta5/images/{i:05}.png', Image.fromarray(image))
        write(root/f'gta5/labels/{i:05}.png', label_image(ids(label, GTA5), CITYSCAPES))
        write(root/f'synthia/RAND_CITYSCAPES/RGB/{i:07}.png', Image.fromarray(image))
        folder = root/'synthia/RAND_CITYSCAPES/GT/LABELS'
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder/f'{i:07}.png'), np.stack([np.zeros_like(label), np.full_like(label, 99), ids(label, SYNTHIA)], -1).astype(np.uint16))  # BGR
    for split, cities in CITIES.items():
        for i, city in enumerate(cities):
            image, label = scene(i, (64, 128), .6)
            write(root/f'cityscapes/leftImg8bit/{split}/{city}/{city}_000000_{i:06}_leftImg8bit.png', Image.fromarray(image))
            if split != 'test':
                write(root/f'cityscapes/gtFine/{split}/{city}/{city}_000000_{i:06}_gtFine_labelIds.png', Image.fromarray(ids(label, CITYSCAPES_IDS).astype(np.uint8)))
    return root


@pytest.fixture
def small_published(tmp_path):
    "A published preset, but for a `mini` Swin and small numbers: a JSON file for `--preset`"
    import json

    from lora_da_bench.runs.experiments import PRESETS
    def write(name: str = 'gta5-cityscapes-swin-s', **changes) -> Path:
        small = dict(size=(64, 128), crop=(32, 64), source_crop=(36, 64), model='micro', weights='random', decoder_channels=16, batch_size=2,
                     steps=2, rounds=1, warmup=1, eval_every=2, seen=2, probes=1)
        path = tmp_path/f'{name}.json'
        path.write_text(json.dumps(json.loads(PRESETS[name].model_dump_json()) | small | changes))
        return path
    return write
