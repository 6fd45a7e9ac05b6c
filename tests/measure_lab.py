"""An hour of the dashboard's updates in a real JupyterLab, and what kernel and browser hold at both ends: python tests/measure_lab.py RUN

RUN is a finished run with a few looks; it is told again, look by look, over the time. Writes `results/lab.json`."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import ipywidgets
import plotly
import psutil
from at_hand import launch_chromium
from playwright.sync_api import sync_playwright
from test_lab import notebook, open_notebook, run, start_lab

from lora_da_bench.views.dashboard import DRAW_EVERY

CELL = """
import shutil, time
from pathlib import Path
from lora_da_bench.evidence.run_store import snapshot_steps, step_folder
from lora_da_bench.views.dashboard import Dashboard
recorded, told = Path({recorded!r}), Path('runs')/Path({recorded!r}).name
lines = (recorded/'metrics.jsonl').read_text().splitlines(keepends=True)

def again():
    "The recorded run, as if it trained now: (run, step, steps)"
    steps = snapshot_steps(recorded)
    (told/'snapshots').mkdir(parents=True)
    shutil.copy(recorded/'config.json', told)
    for once in ('input', 'label'): shutil.copytree(recorded/'snapshots'/once, told/'snapshots'/once)
    for look, step in enumerate(steps):
        with open(told/'metrics.jsonl', 'a') as file: file.writelines(l for l in lines if (steps[look - 1] if look else -1) < eval(l)['step'] <= step)
        shutil.copytree(recorded/'snapshots'/step_folder(step), told/'snapshots'/step_folder(step))
        until = time.monotonic() + {seconds} / len(steps)
        while time.monotonic() < until:
            time.sleep(.5)
            yield told.name, step, steps[-1] + 1

dashboard = Dashboard(Path('runs'), again)
draws, draw = 0, dashboard.draw
def counted():
    global draws
    draws += 1
    draw()
dashboard.draw = counted
dashboard
"""


def megabytes(process: psutil.Process) -> float:
    "What a process and those that it started hold"
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', type=Path)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent.parent/'results/lab.json')
    how = parser.parse_args()
    folder, problems, rows = Path(tempfile.mkdtemp()), [], []
    notebook(folder/'live.ipynb', [CELL.format(recorded=str(how.run.resolve()), seconds=60 * how.minutes), "print('draws', draws)"])
    lab, url = start_lab(folder)
    try:
        with sync_playwright() as play:
            browser = launch_chromium(play)
            page = open_notebook(browser, url, problems)
            run(page, 'notebook:run-all-cells')
            page.wait_for_selector('button:has-text("Start")', timeout=180_000)
            page.locator('button', has_text='Start').click()
            heap, own = page.context.new_cdp_session(page), psutil.Process()
            def note(when):
                heap.send('HeapProfiler.collectGarbage')
                kernel = next(p for p in psutil.Process(lab.pid).children(recursive=True) if 'ipykernel_launcher' in ' '.join(p.cmdline()))
                rows.append(dict(when=when, kernel_mb=round(megabytes(kernel)), page_heap_mb=round(page.evaluate('performance.memory.usedJSHeapSize') / 1e6, 1),
                                 browser_mb=round(megabytes(own) - own.memory_info().rss / 1e6)))
                print(rows[-1], flush=True)
            begun = time.monotonic()
            for minute in (1, *range(10, int(how.minutes), 10), how.minutes):
                page.wait_for_timeout(max(0, 1000 * (begun + 60 * minute - time.monotonic())))
                note(f'after {minute:g} minutes')
            page.locator('.jp-Notebook .jp-Cell').last.locator('.cm-content').click()
            run(page, 'notebook:run-cell')
            page.wait_for_function("() => /draws [1-9]/.test(document.querySelector('.jp-Notebook').innerText)", timeout=30_000)
            draws = int(page.evaluate("() => document.querySelector('.jp-Notebook').innerText.match(/draws ([1-9][0-9]*)/)[1]"))
    finally:
        lab.terminate()
        lab.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
    assert not problems, problems
    how.out.write_text(json.dumps(dict(command=f'python tests/measure_lab.py RUN --minutes {how.minutes:g}', date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
                                       versions=dict(ipywidgets=ipywidgets.__version__, plotly=plotly.__version__, python=sys.version.split()[0]), device=f'cpu ({os.cpu_count()} cores)',
                                       updates=draws, seconds_between_updates=DRAW_EVERY, rows=rows), indent=1) + '\n')


if __name__ == '__main__': main()
