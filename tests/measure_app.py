"""Measures the app in a real browser on made-up runs, and writes `results/app.json`: python tests/measure_app.py

A hundred runs of a thousand looks take about 500 MB of a temporary folder. Nothing else should run beside it."""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import gradio
import numpy as np
import psutil
from at_hand import free_port, launch_chromium
from PIL import Image
from playwright.sync_api import sync_playwright

from lora_da_bench.data.labels import CITYSCAPES, label_image
from lora_da_bench.evidence.run_store import step_folder
from lora_da_bench.evidence.measures import MEASURES

SIZE = 512, 1024
ARMS = ('mixed', 'none'), ('mixed', 'ema'), ('mixed', 'lora'), ('plain', 'none')
STEPS = """async steps => {   // milliseconds from moving the slider to all columns drawn
  const times = [], pictures = document.querySelector('#pictures .pictures');
  for (const step of steps) {
    const begun = performance.now();
    window.lora_da_bench.setStep(step);
    while (!pictures.dataset.drawn?.startsWith(`${step}/`)) await new Promise(done => setTimeout(done, 2));
    times.push(performance.now() - begun);
    await new Promise(done => setTimeout(done, 400));   // a person looks
  }
  return times;
}"""


# asked of a busy page from outside, the answer would come late
SHOWN = """new MutationObserver((_, observer) => {
  if (!window.painted && document.querySelector('.card')) {
    window.painted = performance.now();   // until the frame is there
    requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now(); }));
  }
  if (document.querySelector('.js-plotly-plot .main-svg')) { window.drawn = performance.now(); observer.disconnect(); }
}).observe(document, {childList: true, subtree: true});"""


def make_pictures(folder: Path, looks: int, probes: int):
    "Label maps of streets at full size, some for every tenth of the looks; a look links to them"
    rng, pool = np.random.default_rng(0), folder/'pool'
    pool.mkdir()
    for i in range(10 * probes):
        blocks = rng.integers(0, 19, (16, 32)).repeat(32, 0).repeat(32, 1)
        noise = rng.random(SIZE) < .02
        classes = np.where(noise, rng.integers(0, 19, SIZE), blocks).astype(np.uint8)
        label_image(classes, CITYSCAPES).save(pool/f'{i}-label.png')
        Image.fromarray(np.clip(rng.normal(220, 25, (16, 32)).repeat(32, 0).repeat(32, 1), 0, 255).astype(np.uint8)).save(pool/f'{i}-confidence.png')
    Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).resize(SIZE[::-1]).save(pool/'input.png')
    return pool


def make_run(run: Path, pool: Path, recipe: str, stabilizer: str, seed: int, looks: int, pictured: int, probes: int):
    "A run as training stores it: every measure at every look, pictures at the last `pictured` looks"
    run.mkdir(parents=True)
    rng, every = np.random.default_rng(seed), 10
    (run/'config.json').write_text(json.dumps(dict(
        recipe=recipe, stabilizer=stabilizer, scored='raw', dataset='made up', seed=seed, steps=every * (looks - 1), date=f'2026-01-01T00:00:{seed:02}',
        classes=CITYSCAPES.classes, palette=CITYSCAPES.palette, source='source-seed0')))
    names = [*MEASURES, *(f'iou/{c}' for c in CITYSCAPES.classes)]
    walks = .5 + rng.normal(0, .01, (looks, len(names))).cumsum(0) / 10
    with open(run/'metrics.jsonl', 'w') as file:
        for look in range(looks):
            for name, value in zip(names, walks[look]): file.write(json.dumps(dict(step=every * look, name=name, value=round(float(value), 5))) + '\n')
        for name, value in (('peak_memory_bytes', 2e9), ('trainable_parameters', 3e7), ('saved_bytes', 1e8), ('step_ms', 250.)):
            file.write(json.dumps(dict(step=every * (looks - 1), name=name, value=value)) + '\n')
    (run/'model.safetensors').touch()
    for kind, source in (('input', 'input.png'), ('label', '0-label.png')):
        (run/'snapshots'/kind).mkdir(parents=True)
        for probe in range(probes): os.link(pool/source, run/'snapshots'/kind/f'{probe:02}.png')
    for look in range(looks - pictured, looks):
        (place := run/'snapshots'/step_folder(every * look)).mkdir()
        for probe in range(probes):
            n = (look % 10) * probes + probe
            for kind, source in (('prediction', 'label'), ('pseudo', 'label'), ('confidence', 'confidence')): os.link(pool/f'{n}-{source}.png', place/f'{probe:02}-{kind}.png')


class App:
    "The app on a folder of runs, as a process"
    def __init__(self, folder: Path):
        port = free_port()
        self.url = f'http://127.0.0.1:{port}'
        self.process = subprocess.Popen([sys.executable, '-m', 'lora_da_bench.views.cli', 'app', str(folder), '--port', str(port)], stdout=subprocess.DEVNULL)
        while True:
            try: urllib.request.urlopen(self.url, timeout=1); break
            except OSError: time.sleep(.1)

    def __enter__(self): return self
    def __exit__(self, *_): self.process.terminate(); self.process.wait()
    def used(self): return psutil.Process(self.process.pid)


def front_page(browser, app: App) -> tuple[float, float]:
    "Seconds from asking for the front page until its cards are painted, and until its figures are drawn"
    page = browser.new_context().new_page()
    page.add_init_script(SHOWN)
    page.goto(app.url)
    page.wait_for_function('window.painted && window.drawn', timeout=120_000)
    painted, drawn = page.evaluate('[window.painted, window.drawn]')
    page.context.close()
    return painted / 1000, drawn / 1000


def front_pages(row, name: str, limit: float, visits: list[tuple[float, float]]):
    "Rows of the median visit"
    painted, drawn = map(statistics.median, zip(*visits))
    row(f'{name}: front page usable', painted, 's', limit)
    row(f'{name}: its figures drawn', drawn, 's', None)


def pictures_page(browser, app: App):
    page = browser.new_context(viewport=dict(width=1440, height=900)).new_page()
    page.goto(f'{app.url}/?tab=pictures')
    page.wait_for_function("() => document.querySelector('#pictures .pictures')?.dataset.drawn", timeout=120_000)
    return page


def slider(browser, app: App, steps: list[int]):
    "Milliseconds of every slider step on a first visit, the bytes that it took, and the bytes of the same steps once more"
    page, taken = pictures_page(browser, app), "() => { const all = performance.getEntriesByType('resource').reduce((n, r) => n + r.transferSize, 0); performance.clearResourceTimings(); return all }"
    page.evaluate('performance.setResourceTimingBufferSize(10000)')
    page.evaluate(taken)
    first = page.evaluate(STEPS, steps)
    first_bytes = page.evaluate(taken) / len(steps)
    again = page.evaluate(STEPS, steps)
    again_bytes = page.evaluate(taken) / len(steps)
    page.context.close()
    return first, first_bytes, again, again_bytes


def visitors(browser, app: App, steps: list[int], n: int = 10) -> list[float]:
    "Milliseconds of every slider step where so many pages step at once"
    pages = [pictures_page(browser, app) for _ in range(n)]
    for page in pages: page.evaluate(f"steps => {{ window.times = null; ({STEPS})(steps).then(t => window.times = t) }}", steps)
    times = []
    for page in pages:
        page.wait_for_function('() => window.times', timeout=300_000)
        times += page.evaluate('window.times')
    for page in pages: page.context.close()
    return times


def server_alone(app: App, steps: list[int], n: int = 10) -> list[float]:
    "Milliseconds in which a visitor gets the pictures of a step, four files, where so many ask at once, without a browser"
    runs = [f'{"-".join(arm)}-seed0' for arm in ARMS]
    def visit(_):
        connection, times = http.client.HTTPConnection(app.url.removeprefix('http://')), []
        for step in steps:
            begun = time.monotonic()
            for run in runs:
                connection.request('GET', f'/pictures/~/{run}/{step}/00/look.png?w=340')   # as wide as four columns of a page
                connection.getresponse().read()
            times.append(1000 * (time.monotonic() - begun))
        return times
    with ThreadPoolExecutor(n) as pool: return [t for times in pool.map(visit, range(n)) for t in times]


def watching(browser, app: App, seconds: float = 30.) -> tuple[float, float]:
    "The share of a core that the server takes, and the bytes by which it grows an hour, with ten open pages"
    pages = [browser.new_context().new_page() for _ in range(10)]
    for page in pages: page.goto(app.url); page.wait_for_selector('.card', timeout=120_000)
    time.sleep(10)
    cpu, memory = (used := app.used()).cpu_times(), used.memory_info().rss
    time.sleep(seconds)
    after, grown = used.cpu_times(), used.memory_info().rss - memory
    for page in pages: page.context.close()
    return (after.user + after.system - cpu.user - cpu.system) / seconds, grown * 3600 / seconds


def watched_training(browser, app: App, folder: Path, turns: int = 3) -> list[float]:
    "How much longer a training step takes while a page draws its curves, in turns; one thread, two cores"
    shares = []
    def step_ms(name):
        words = ['train', '--out', folder, '--stabilizer', 'none', '--set', 'source_steps=2', '--set', 'eval_every=20', '--steps', '100', '--seed', name]
        subprocess.run([sys.executable, '-m', 'lora_da_bench.views.cli', *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | dict(OMP_NUM_THREADS='1'))
        run = next(folder.glob(f'mixed-none*-seed{name}'))
        return statistics.median(e['value'] for e in map(json.loads, (run/'metrics.jsonl').read_text().splitlines()) if e['name'] == 'step_ms')
    for turn in range(turns):
        alone = step_ms(2 * turn)
        page = browser.new_context(viewport=dict(width=1440, height=900)).new_page()
        page.goto(f'{app.url}/?tab=stability')
        shares.append(step_ms(2 * turn + 1) / alone - 1)
        page.context.close()
    return shares


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--runs', type=int, default=100)
    parser.add_argument('--looks', type=int, default=1000)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent.parent/'results/app.json')
    how = parser.parse_args()
    folder, rows = Path(tempfile.mkdtemp()), []
    def row(name, value, unit, limit): rows.append(dict(name=name, value=round(value, 3), unit=unit, limit=limit)); print(rows[-1], flush=True)
    try:
        pool = make_pictures(folder, how.looks, 16)
        for n in range(4): make_run(folder/f'few/{"-".join(ARMS[n])}-seed0', pool, *ARMS[n], 0, 100, 100, 16)
        for n in range(how.runs):
            recipe, stabilizer = ARMS[n % 4]
            make_run(folder/f'many/{recipe}-{stabilizer}-seed{n // 4}', pool, recipe, stabilizer, n // 4, how.looks, how.looks if n < 4 else 20, 16)
        with sync_playwright() as play:
            browser = launch_chromium(play)
            with App(folder/'few') as app:
                front_pages(row, '4 runs, first visit', 2, [front_page(browser, app)])
                front_pages(row, '4 runs, later visits', 2, [front_page(browser, app) for _ in range(5)])
                first, first_bytes, again, bytes_again = slider(browser, app, [*range(500, 990, 10)])
                row('slider step, 4 columns of 3 pictures, one every 0.4 s: median', statistics.median(first), 'ms', 100)
                row('slider step, 4 columns of 3 pictures, one every 0.4 s: 95th percentile', statistics.quantiles(first, n=20)[-1], 'ms', 300)
                row('slider step, first visit of a step: bytes', first_bytes / 1e3, 'kB', None)
                row('slider step after the first visit: median', statistics.median(again), 'ms', 100)
                row('slider step after the first visit: bytes', bytes_again / 1e3, 'kB', 50)
                row('ten visitors at once, in browsers on the same two cores: slider step, median', statistics.median(visitors(browser, app, [*range(0, 200, 10)])), 'ms', 400)
                row('ten visitors at once, without their browsers: the four files of a step, median', statistics.median(server_alone(app, [*range(200, 400, 10)])), 'ms', 400)
                share, grown = watching(browser, app)
                row('ten open pages: share of a core', share, 'of a core', None)
                row('ten open pages: memory of the server, an hour (from half a minute)', grown / 1e6, 'MB', 50)
            (folder/'live').mkdir()
            with App(folder/'live') as app: shares = watched_training(browser, app, folder/'live')
            row(f'a watched training run: its step takes longer by, median of {len(shares)} (least {min(shares):.3f}, most {max(shares):.3f})', statistics.median(shares), 'of its step', .05)
            with App(folder/'many') as app:
                many = f'{how.runs} runs of {how.looks:,} looks'
                front_pages(row, f'{many}, first visit', 3, [front_page(browser, app)])
                page, begun = browser.new_context().new_page(), time.monotonic()
                page.goto(app.url)
                page.wait_for_function("() => { const said = document.querySelector('#status')?.innerText ?? ''; return said.includes('runs') && !said.includes('still') }", timeout=300_000)
                row(f'{many}: all read', time.monotonic() - begun, 's', None)
                page.context.close()
                front_pages(row, f'{many}, later visits', 3, [front_page(browser, app) for _ in range(3)])
    finally: shutil.rmtree(folder)
    how.out.write_text(json.dumps(dict(command=' '.join(['python', *sys.argv]), date=datetime.now(timezone.utc).isoformat(timespec='seconds'), versions=dict(gradio=gradio.__version__, python=sys.version.split()[0]),
                                       device=f'cpu ({os.cpu_count()} cores)', rows=rows), indent=1) + '\n')


if __name__ == '__main__': main()
