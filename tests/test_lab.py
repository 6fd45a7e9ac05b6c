"The widgets in a real JupyterLab in a real browser: buttons are pressed, labels and curves change, a closed browser loses nothing."

import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest
from at_hand import free_port

SETUP = """
import time
from functools import partial
from pathlib import Path
from lora_da_bench.runs.experiments import Config, load_domains, Preset
from lora_da_bench.runs.stepping import StepByStep
from lora_da_bench.runs.training import train
from lora_da_bench.studies.study import run_study, Study
from lora_da_bench.views.dashboard import Dashboard
from lora_da_bench.views.stepper import Stepper
import torch; torch.set_num_threads(1)
tiny = Preset(dataset='streetscenes', model='micro', data=dict(frames=(16, 8, 4)), size=(48, 96), crop=(32, 64), batch_size=2,
              source_steps=20, steps=10_000, lr=1e-3, eval_every=5, seen=4, probes=1, decoder_channels=16, warmup=1)
Path('tiny.json').write_text(tiny.model_dump_json())
domains, runs = load_domains(tiny), Path('runs')
for _ in train(runs/'source-seed0', Config(preset=tiny, recipe='source', steps=20), domains): pass
class Unhurried(Dashboard):
    "Leaves the processor to the page between steps"
    def turn(self, turn): super().turn(turn); time.sleep(.1)
print('ready')
"""
CELLS = [SETUP,
         "stepper = Stepper(StepByStep(runs/'by-hand', Config(preset=tiny, recipe='mixed', stabilizer='ema', steps=30, source='source-seed0'), domains))\nstepper",
         "dashboard = Unhurried(Path('out'), partial(run_study, Path('out'), Study(preset='tiny.json', seeds=1, arms=[{'recipe': 'plain', 'stabilizer': 'none'}])))\ndashboard",
         "dashboard"]


def notebook(path, cells):
    code = [dict(cell_type='code', id=f'cell-{i}', metadata={}, execution_count=None, outputs=[], source=text) for i, text in enumerate(cells)]
    kernel = dict(name='python3', display_name='Python 3', language='python')
    path.write_text(json.dumps(dict(cells=code, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)))


def start_lab(folder) -> tuple[subprocess.Popen, str]:
    "JupyterLab on a folder: its process, its URL"
    port = free_port()
    own = {f'JUPYTER_{kind}_DIR': str(folder/f'.{kind.lower()}') for kind in ('CONFIG', 'DATA', 'RUNTIME')} | dict(IPYTHONDIR=str(folder/'.ipython'))
    words = ['--no-browser', '--port', port, '--ServerApp.token=', '--ServerApp.password=', '--allow-root', '--notebook-dir', folder, '--expose-app-in-browser',
             '--LabApp.news_url=None', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate']
    process = subprocess.Popen([sys.executable, '-m', 'jupyterlab', *map(str, words)], env=os.environ | own | dict(OMP_NUM_THREADS='1'),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, until = f'http://127.0.0.1:{port}', time.monotonic() + 60
    while True:
        try: urllib.request.urlopen(f'{url}/api/status', timeout=1); break
        except OSError:
            if time.monotonic() > until: raise
            time.sleep(.2)
    return process, url


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "JupyterLab on a folder with one notebook; its URL"
    notebook((folder := tmp_path_factory.mktemp('lab'))/'live.ipynb', CELLS)
    process, url = start_lab(folder)
    yield url
    process.terminate()
    process.wait(20)


def open_notebook(browser, lab, problems):
    "The notebook in a browser of its own"
    page = browser.new_context(viewport=dict(width=1440, height=900)).new_page()
    page.on('pageerror', lambda e: problems.append(str(e)))
    page.goto(f'{lab}/lab/tree/live.ipynb')
    page.wait_for_selector('.jp-Notebook .jp-Cell', timeout=120_000)
    page.wait_for_selector('text="Python 3 (ipykernel) | Idle"', timeout=120_000)
    return page


def run(page, command: str): page.evaluate("command => { window.jupyterapp.commands.execute(command) }", command)


def choose_last(page):
    "Click into the last cell; again where the page grew meanwhile and another cell was hit"
    cell = page.locator('.jp-Notebook .jp-Cell').last
    for _ in range(20):
        cell.locator('.cm-content').click()
        if 'jp-mod-active' in cell.get_attribute('class'): return
        page.wait_for_timeout(250)
    raise AssertionError('the last cell can not be chosen')


def save(page):
    run(page, 'docmanager:save')
    page.wait_for_function("() => !document.querySelector('.lm-TabBar-tab.jp-mod-dirty')", timeout=60_000)


def button(page, cell, name): return page.locator(f'.jp-Notebook .jp-Cell >> nth={cell}').locator(f'button:has-text("{name}")').first


PLOTS = "[...document.querySelectorAll('.jp-Notebook .jp-Cell')[cell].querySelectorAll('.js-plotly-plot')]"
LABELS = f"cell => {PLOTS}.flatMap(p => p.data).map(t => t.source ?? '').join()"
POINTS = f"cell => Math.max(0, ...{PLOTS}.flatMap(p => p._fullData).filter(t => t.type == 'scatter').map(t => t.x?.length ?? 0))"
NAMES = f"cell => {PLOTS}.flatMap(p => p.data).map(t => t.name ?? '').join()"
PICTURED = f"cell => {PLOTS}.flatMap(p => p.layout.annotations ?? []).some(a => /after-plain-none.*step [1-9]/.test(a.text.replace(/<[^>]*>/g, '')))"


def test_the_widgets_in_jupyterlab(lab, browser, tmp_path):
    "Step with buttons and see labels change; train in the background, go on with another stabilizer, close the browser, find the run alive"
    problems = []
    page = open_notebook(browser, lab, problems)
    choose_last(page)
    run(page, 'notebook:run-all-above')
    button(page, 1, 'Teach').wait_for(timeout=90_000)
    button(page, 2, 'Start').wait_for(timeout=120_000)   # all cells have run: the page grows no more
    button(page, 1, 'Teach').click()
    page.wait_for_function(f"() => ({LABELS})(1).split('data:').length > 7", timeout=60_000)
    taught = page.evaluate(LABELS, 1)
    button(page, 1, 'Update').click()
    page.wait_for_function(f"() => ({POINTS})(1) == 1", timeout=60_000)
    assert page.evaluate(LABELS, 1) != taught
    button(page, 2, 'Start').click()
    page.wait_for_function(f"() => ({NAMES})(2).includes('plain-none')", timeout=120_000)
    page.wait_for_function(f"() => ({POINTS})(2) > 6", timeout=120_000)
    page.locator('.jp-Notebook .jp-Cell >> nth=2').locator('select').first.select_option('lora')
    button(page, 2, 'Go on with these').click()
    page.wait_for_function(f"() => ({NAMES})(2).includes('after-plain-none')", timeout=120_000)
    page.wait_for_function(f"() => ({PICTURED})(2)", timeout=120_000)   # its pictures follow
    page.screenshot(path=os.environ.get('LAB_PICTURE', tmp_path/'lab.png'))
    save(page)
    page.context.close()
    page = open_notebook(browser, lab, [])
    choose_last(page)
    run(page, 'notebook:run-cell')
    page.wait_for_function(f"() => ({NAMES})(3).includes('after-plain-none')", timeout=120_000)
    before = page.evaluate(POINTS, 3)
    page.wait_for_function(f"() => ({POINTS})(3) > {before}", timeout=120_000)   # it is alive
    button(page, 3, 'Stop').click()
    page.wait_for_function("() => document.querySelectorAll('.jp-Notebook .jp-Cell')[3].innerText.includes('stopped')", timeout=60_000)
    assert problems == []
