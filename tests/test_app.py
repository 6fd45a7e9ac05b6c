"The app in a real browser: what a person sees, that it grows by itself, and that it needs no network."

import json
import shutil
import subprocess
import sys

import pytest
from conftest import command
from playwright.sync_api import sync_playwright

SOURCES = "() => document.querySelector('#grid .js-plotly-plot')?.data.map(t => t.source ?? '').join()"
POINTS = "() => document.querySelector('#curves .js-plotly-plot')._fullData.map(t => t.x.length)"


@pytest.fixture(scope='module')
def browser():
    with sync_playwright() as play:
        path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
        yield play.chromium.launch(executable_path=path, args=['--no-sandbox'])


@pytest.fixture
def open_page(browser, serve):
    def open(folder):
        url, seconds = serve(folder)
        page = browser.new_page(viewport=dict(width=1400, height=1900))
        page.problems, page.elsewhere = [], []
        page.on('pageerror', lambda e: page.problems.append(str(e)))
        def route(r):
            if r.request.url.startswith((url, 'data:', 'blob:')): r.continue_()
            else: page.elsewhere.append(r.request.url); r.abort()
        page.route('**/*', route)
        page.goto(url)
        return page, seconds
    return open


def drawn(page): page.wait_for_function("() => document.querySelector('#grid .js-plotly-plot')?.data?.length > 0", timeout=30_000)


def test_the_slider_moves_all_columns(open_page, quickstart, tmp_path):
    page, seconds = open_page(quickstart)
    drawn(page)
    assert seconds < 20   # the aim is 5 s; a busy machine gets room
    assert page.evaluate("() => document.querySelector('#grid .js-plotly-plot').data.length") == 20   # 4 runs x 5 pictures
    newest = page.evaluate(SOURCES).split(',data:')
    slider = page.locator('#step input[type=range]')
    assert slider.input_value() == '20'   # it opens on the newest
    for _ in range(2): slider.press('ArrowLeft')
    assert slider.input_value() == '0'
    page.wait_for_function("() => document.querySelector('#grid')?.innerText?.includes('step 0')")
    first = page.evaluate(SOURCES).split(',data:')
    changed = [a != b for a, b in zip(newest, first)]
    assert len(first) == 20 and sum(changed) >= 6   # pseudo-labels and segmentations of the adaptations
    page.screenshot(path=tmp_path/'app.png', full_page=True)
    assert not page.problems and not page.elsewhere


def test_unticking_a_run_takes_its_column_away(open_page, quickstart):
    page, _ = open_page(quickstart)
    drawn(page)
    page.locator('#runs label', has_text='none-seed0').click()
    page.wait_for_function("() => document.querySelector('#grid .js-plotly-plot').data.length === 15")
    page.locator('#probe label', has_text='01').click()
    before = page.evaluate(SOURCES)
    page.wait_for_timeout(3000)   # a tick of the timer must not bring it back
    assert page.evaluate("() => document.querySelector('#grid .js-plotly-plot').data.length") == 15 and before
    assert not page.problems


def test_it_grows_while_a_run_is_training(open_page, runs, tmp_path):
    whole, folder = runs/'lora-seed0', tmp_path/'watched/lora-seed0'
    shutil.copytree(runs, folder.parent, ignore=lambda d, names: {'step-000020', 'adapter.safetensors'} & set(names) if 'lora' in d else set())
    lines = (whole/'metrics.jsonl').read_text().splitlines()
    (folder/'metrics.jsonl').write_text('\n'.join(l for l in lines if json.loads(l)['step'] <= 10) + '\n')
    page, _ = open_page(folder.parent)
    drawn(page)
    before = page.evaluate(POINTS)
    page.wait_for_function("() => document.querySelector('#status')?.innerText?.includes('lora-seed0 10 / 20')")
    (folder/'metrics.jsonl').write_text('\n'.join(lines) + '\n')   # in the order in which training writes
    shutil.copytree(whole/'snapshots/step-000020', folder/'snapshots/step-000020')
    page.wait_for_function("before => document.querySelector('#curves .js-plotly-plot')._fullData.map(t => t.x.length).join() !== before.join()", arg=before)
    assert sum(page.evaluate(POINTS)) == sum(before) + 3
    page.wait_for_function("() => document.querySelector('#status')?.innerText?.includes('All runs are done')")
    assert not page.problems


def test_empty_foreign_and_damaged_folders(open_page, runs, tmp_path):
    page, _ = open_page(tmp_path)   # `runs` is in it, and is no run: told, not crashed
    page.wait_for_function("() => document.querySelector('#status')?.innerText?.includes('not a run')")
    (tmp_path/'fresh').mkdir()
    page, _ = open_page(tmp_path/'fresh')
    page.wait_for_function("() => document.querySelector('#status')?.innerText?.includes('Waiting for the first run')")
    shutil.copytree(runs/'source-seed0', tmp_path/'fresh/source-seed0')   # the first run appears
    drawn(page)
    assert not page.problems


def test_demo_is_what_hosts_of_gradio_apps_look_for():
    import gradio as gr
    import lora_da_bench_app.app
    assert isinstance(lora_da_bench_app.app.demo, gr.Blocks)


def test_the_app_does_not_import_torch():
    import subprocess
    code = 'import sys, lora_da_bench_app.app; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_labels_round_by_round(open_page, published, small_published, tmp_path):
    "What passes from round to round can be looked at, frame by frame"
    train = command('train', '--preset', small_published(rounds=2), '--root', published, '--stabilizer', 'lora', '--out', tmp_path/'out')
    assert subprocess.run(train, capture_output=True).returncode == 0
    page, _ = open_page(tmp_path/'out')
    pictures = "() => document.querySelector('#labels .js-plotly-plot')?.data?.map(t => t.source ?? '')"
    page.wait_for_function(f"() => ({pictures})()?.length > 0", timeout=30_000)
    assert len(page.evaluate(pictures)) == 12   # 3 rounds x input, truth, labels, errors
    assert 'right · mIoU' in page.locator('#labels').inner_text()
    frame = page.locator('#frame input')
    shown = frame.input_value()
    frame.click()
    page.get_by_role('option').nth(1).click()
    page.wait_for_function(f"() => ({pictures})()?.length == 3", timeout=30_000)   # for this one only the labels were kept
    assert frame.input_value() != shown and not page.problems and not page.elsewhere
