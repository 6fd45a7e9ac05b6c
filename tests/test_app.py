"The app in a real browser: what a person sees, that it grows by itself, that it needs no network and answers nobody else."

import gc
import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc

from at_hand import free_port
from conftest import says, tab, write_run
from damage import PART, RUN

CELLS = "() => [...document.querySelectorAll('#pictures .grid .cell')].map(c => c.querySelector('canvas').toDataURL())"
COLUMNS = "() => document.querySelectorAll('#pictures .column').length"
# of a text and the first background behind it that is not transparent, as WCAG counts it
CONTRAST = '''selector => {
  const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => rgb(colour).slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  let text = document.querySelector(selector), behind = text;
  while (rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [a, b] = [light(getComputedStyle(text).color), light(getComputedStyle(behind).backgroundColor)];
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
}'''
POINTS = "() => document.querySelector('#curves .js-plotly-plot')._fullData.filter(t => t.showlegend).map(t => t.x.length)"


def drawn(page, of=''): page.wait_for_function("of => document.querySelector('#pictures .pictures')?.dataset.drawn?.includes(of)", arg=of, timeout=30_000)


def test_the_verdict_is_the_front_page(open_page, quickstart, tmp_path):
    "What adaptation gained and what is best, above the fold; the view lives in the address"
    page, seconds = open_page(quickstart, fresh=True)
    page.wait_for_selector('.card', timeout=30_000)
    assert 0 < seconds < 16   # of a processor, for others may be at work; an idle machine takes 5 to 7
    assert page.locator('.card').count() == 4 and page.locator('.card').first.bounding_box()['y'] < 900
    assert page.locator('.card .best').count() >= 4
    said = page.locator('#sentences').inner_text()
    assert 'above its start' in said or 'No adaptation beat' in said
    for card in page.locator('.card').all():   # whoever ended below its start is told so
        assert ('below its start' in card.inner_text()) == (card.locator('.below').count() == 1)
    page.wait_for_selector('#trade .js-plotly-plot')
    page.screenshot(path=tmp_path/'verdict.png')
    for theme in ('light', 'dark'):   # text can be read on its card
        page.evaluate(f"document.body.classList.toggle('dark', {'true' if theme == 'dark' else 'false'})")
        assert page.evaluate(CONTRAST, '.card h3') > 4.5 and page.evaluate(CONTRAST, '.card dt') > 3, theme
    page.locator('#arms label', has_text='plain none').click()
    page.wait_for_function("() => document.querySelectorAll('.card').length == 3")
    tab(page, 'Stability')
    page.wait_for_selector('#curves .js-plotly-plot')
    assert 'tab=stability' in page.url and 'mixed-ema' in page.url and 'plain-none' not in page.url
    page.goto(page.url)   # the link opens the same view
    page.wait_for_function("() => document.querySelector('#curves .js-plotly-plot')?._fullData?.filter(t => t.showlegend).length == 3", timeout=30_000)
    assert not page.locator('#arms label', has_text='plain none').locator('input').is_checked()
    assert not page.problems and not page.elsewhere


def test_the_slider_moves_all_columns(open_page, quickstart, tmp_path):
    page, _ = open_page(quickstart, address='?tab=pictures')
    drawn(page, '12/')   # it opens on the newest
    assert page.evaluate(COLUMNS) == 4
    newest, requests = page.evaluate(CELLS), []
    assert len(newest) == 2 + 4 * 3
    slider = page.locator('#step input[type=range]')
    for _ in range(2): slider.press('ArrowLeft')
    drawn(page, '0/')
    first = page.evaluate(CELLS)
    assert sum(a != b for a, b in zip(newest, first)) >= 6   # pseudo-labels and segmentations of the adaptations
    assert 'step=0' in page.url and 'step 0' in page.locator('#pictures .column').first.inner_text()
    page.on('request', lambda r: requests.append(r.url) if '/pictures/' in r.url else None)
    for _ in range(2): slider.press('ArrowRight')
    drawn(page, '12/')
    assert page.evaluate(CELLS) == newest and not requests   # what was seen once comes from memory
    page.screenshot(path=tmp_path/'pictures.png', full_page=True)
    assert not page.problems and not page.elsewhere


def test_pictures_are_what_the_store_holds(open_page, quickstart):
    "Each layer against NumPy: colours of the segmentation, pixels that are wrong, that differ, that flipped"
    import numpy as np
    from lora_da_bench.evidence.run_store import read_config, read_snapshot
    page, _ = open_page(quickstart, address='?tab=pictures&step=12')
    drawn(page, '12/')
    for layer in ('differs from', 'flipped since'): page.locator('#pictures .chip', has_text=layer).click()
    drawn(page)
    page.wait_for_function("() => [...document.querySelectorAll('#pictures .grid .cell')].every(c => c.drawn)")
    name = page.evaluate("() => document.querySelector('#pictures').querySelectorAll('.column')[1].querySelector('b').innerText")
    pixels = lambda layer, column: np.array(page.evaluate("([l, c]) => [...document.querySelector(`#pictures .cell[data-layer=${l}][data-column='${c}']`).drawn.data]", [layer, column])).reshape(-1, 4)[:, :3]
    label = page.evaluate("() => [...document.querySelectorAll('#arms label')].filter(l => l.querySelector('input').checked).map(l => l.innerText.trim())")
    folders = [quickstart/f"{text.replace(' ', '-')}-seed0" for text in label]
    assert len(folders) == 4 and name
    prediction, truth = (np.asarray(read_snapshot(folders[1], *place)).ravel() for place in (('step-000012', '00-prediction'), ('label', '00')))
    palette = np.array([*read_config(folders[1])['palette'], *[(0, 0, 0)] * 256])
    assert (pixels('prediction', 1) == palette[prediction]).all()
    red = (pixels('errors', 1) == (214, 39, 40)).all(1)
    assert (red == ((prediction != truth) & (truth != 255))).all() and red.any()
    other = np.asarray(read_snapshot(folders[0], 'step-000012', '00-prediction')).ravel()
    assert ((pixels('differs', 1) == (148, 33, 146)).all(1) == (prediction != other)).all()
    now, before = (np.asarray(read_snapshot(folders[1], step, '00-pseudo')).ravel() for step in ('step-000012', 'step-000006'))
    assert ((pixels('flipped', 1) == (0, 114, 178)).all(1) == (now != before)).all()
    assert not page.problems


def test_zoom_wipe_and_classes(open_page, quickstart, tmp_path):
    page, _ = open_page(quickstart, address='?tab=pictures')
    drawn(page)
    transforms = "() => [...new Set([...document.querySelectorAll('#pictures .grid canvas')].map(c => c.style.transform))]"
    cell = page.locator('#pictures .column .cell').first
    cell.hover()
    page.mouse.wheel(0, -300)
    zoom, = page.evaluate(transforms)   # one for all
    assert 'scale(2.1' in zoom
    page.wait_for_function("() => [...document.querySelectorAll('#pictures .column')].every(c => c.innerText.includes('teacher'))")
    says(page, '#pictures .once', 'truth: ')
    page.locator('#step input[type=range]').press('ArrowLeft')
    drawn(page, '6/')
    assert page.evaluate(transforms) == [zoom]   # it survives the step
    cell.dblclick()
    for column in (0, 1): page.locator(f'#pictures .cell[data-layer=prediction][data-column="{column}"] .pick').click(force=True)
    page.wait_for_selector('#pictures .stack canvas')
    page.locator('#pictures .over input').fill('.25')
    assert page.evaluate("() => document.querySelectorAll('#pictures .stack canvas')[1].style.clipPath") == 'inset(0px 0px 0px 25%)'
    road, before = page.locator('#pictures .legend .chip').first, page.evaluate(CELLS)
    road.click()
    drawn(page)
    page.wait_for_function(f"before => JSON.stringify(({CELLS})()) != before", arg=json.dumps(before, separators=(',', ':')))
    assert road.get_attribute('aria-pressed') == 'true'
    page.locator('#pictures select').first.select_option('blind')
    page.locator('#pictures select').last.select_option('errors')
    page.wait_for_function("() => document.querySelector('#pictures .thumbs')?.innerText.includes('%')")
    page.screenshot(path=tmp_path/'wipe.png', full_page=True)
    assert not page.problems


def test_unticking_an_arm_takes_its_column_away(open_page, quickstart):
    page, _ = open_page(quickstart, address='?tab=pictures')
    drawn(page)
    page.locator('#arms label', has_text='mixed none').click()
    page.wait_for_function(f"() => ({COLUMNS})() === 3")
    page.locator('#pictures .thumb', has_text='01').click()
    drawn(page, '/01')
    page.wait_for_timeout(3000)   # a tick of the timer must not bring it back
    assert page.evaluate(COLUMNS) == 3 and not page.problems


def test_a_click_on_a_curve_sets_the_step(open_page, quickstart):
    page, _ = open_page(quickstart, address='?tab=stability')
    page.wait_for_selector('#curves .step-line')
    at = page.evaluate("() => { const r = document.querySelector('#curves .points path').getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] }")
    page.mouse.move(*at)
    page.wait_for_timeout(300)
    page.mouse.click(*at)
    page.wait_for_function("() => document.querySelector('#step input[type=range]').value == '0'", timeout=5000)
    assert 'step=0' in page.url and not page.problems


def test_it_grows_while_a_run_is_training(open_page, runs, tmp_path):
    whole, folder = runs/'mixed-lora-seed0', tmp_path/'watched/mixed-lora-seed0'
    shutil.copytree(runs, folder.parent, ignore=lambda d, names: {'step-000012', 'adapter.safetensors'} & set(names) if 'lora' in d else set())
    lines = (whole/'metrics.jsonl').read_text().splitlines()
    (folder/'metrics.jsonl').write_text('\n'.join(l for l in lines if json.loads(l)['step'] <= 6) + '\n')
    page, _ = open_page(folder.parent, address='?tab=stability')
    page.wait_for_selector('#curves .js-plotly-plot')
    says(page, '#status', 'mixed-lora-seed0 6 / 12')
    before = page.evaluate(POINTS)
    (folder/'metrics.jsonl').write_text('\n'.join(lines) + '\n')   # in the order in which training writes
    shutil.copytree(whole/'snapshots/step-000012', folder/'snapshots/step-000012')
    page.wait_for_function(f"before => ({POINTS})().join() !== before.join()", arg=before)
    assert sum(page.evaluate(POINTS)) == sum(before) + 1
    says(page, '#status', 'All runs are done')
    assert not page.problems


def test_empty_foreign_and_damaged_folders(open_page, runs, tmp_path):
    page, _ = open_page(tmp_path)   # `runs` holds runs: a study
    page.wait_for_selector('.card', timeout=30_000)
    (tmp_path/'fresh/foreign').mkdir(parents=True)
    page, _ = open_page(tmp_path/'fresh')   # what is no run is told, not crashed
    says(page, '#status', 'not a run')
    (tmp_path/'fresh/foreign').rmdir()
    page, _ = open_page(tmp_path/'fresh', address='?tab=pictures')
    says(page, '#status', 'No runs yet')
    shutil.copytree(runs/'source-seed0', tmp_path/'fresh/source-seed0')   # the first run appears
    drawn(page)
    assert not page.problems


def test_studies_are_chosen(open_page, runs, tmp_path):
    "Runs of two folders below one: each a study, and a link names it"
    for name, arm in (('one', 'mixed-ema'), ('two', 'mixed-lora')): shutil.copytree(runs/f'{arm}-seed0', tmp_path/f'both/{name}/{arm}-seed0')
    page, _ = open_page(tmp_path/'both')
    page.wait_for_selector('.card')
    assert 'mixed-ema' in page.locator('.card').inner_text()
    page.locator('#study input').click()
    page.get_by_role('option', name='two').click()
    page.wait_for_function("() => document.querySelector('.card').innerText.includes('mixed-lora')")
    page.wait_for_function("() => location.search.includes('study=two')")
    assert not page.problems


def test_the_app_has_a_demo_and_no_torch():
    "`demo` is what hosts of Gradio apps look for"
    code = 'import sys, gradio, lora_da_bench_app.app as app; sys.exit("torch" in sys.modules or not isinstance(app.demo, gradio.Blocks))'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_a_measure_of_a_plugin_is_shown_without_the_plugin(open_page, quickstart, tmp_path):
    "A run describes its measures; titles from files are never markup"
    for name, measure, title in (('mixed-lora-seed0', 'entropy', 'label entropy'), ('mixed-ema-seed0', 'hostile', '<img src=x onerror=document.title=1>')):
        shutil.copytree(quickstart/name, run := tmp_path/'runs'/name)
        known = json.loads((run/'measures.json').read_text())
        (run/'measures.json').write_text(json.dumps(known | {measure: dict(title=title, form='.2f', better='down')}))
        with open(run/'metrics.jsonl', 'a') as file:
            for step in (0, 12): file.write(json.dumps(dict(step=step, name=measure, value=1.25)) + '\n')
    page, _ = open_page(tmp_path/'runs', address='?tab=stability')
    page.wait_for_selector('#curves .js-plotly-plot', timeout=30_000)
    page.locator('#measures input').click()
    options = page.locator('[role=option]')
    texts = options.all_inner_texts()
    assert any('label entropy' in text for text in texts) and any("encoder's step" in text for text in texts)   # as it is, not as markup
    for text in ('label entropy', 'onerror'): options.filter(has_text=text).first.click()
    says(page, '#curves', 'label entropy')
    tab(page, 'Verdict')
    says(page, '#scores', '1.25')
    for place in ('#measures', '#curves', '#scores'): assert page.locator(f'{place} img[src=x]').count() == 0
    page.screenshot(path=tmp_path/'plugin.png', full_page=True)
    assert page.title() == 'lora_da_bench' and not page.problems


def test_labels_round_by_round(cli, open_page, published, small_published, tmp_path):
    "What passes from round to round can be looked at, frame by frame"
    train = 'train', '--preset', small_published(rounds=2), '--root', published, '--stabilizer', 'lora', '--out', tmp_path/'out'
    assert cli(*train)[0] == 0
    page, _ = open_page(tmp_path/'out', address='?tab=pictures')
    pictures = "() => document.querySelector('#labels .js-plotly-plot')?.data?.map(t => t.source ?? '')"
    page.wait_for_function(f"() => ({pictures})()?.length > 0", timeout=30_000)
    assert len(page.evaluate(pictures)) == 12   # 3 rounds x input, truth, labels, errors
    assert 'right · mIoU' in page.locator('#labels').inner_text()
    frame = page.locator('#frame input')
    shown = frame.input_value()
    frame.click()
    page.locator('ul[role=listbox] [role=option]').nth(1).click()
    page.wait_for_function(f"() => ({pictures})()?.length == 3", timeout=30_000)   # for this one only the labels were kept
    assert frame.input_value() != shown and not page.problems and not page.elsewhere


TEN = ['config.json is cut off', 'config.json is a folder', 'classes are numbers', 'a colour is markup', 'metrics.jsonl is binary', 'an event is garbage',
       'a value is infinite', 'the predictions are cut off', 'the labels are 16 bits deep', 'snapshots is a file']


def test_ten_damaged_runs_beside_a_good_one(open_page, quickstart, tmp_path):
    "Each is skipped with a line, or shown less what is damaged; the good one is shown whole"
    for i, kind in enumerate(TEN):
        shutil.copytree(quickstart/'mixed-ema-seed0', run := tmp_path/'runs'/f'mixed-ema-seed{i + 10}')
        (RUN[kind][0] if kind in RUN else PART[kind])(run)
    shutil.copytree(quickstart/'mixed-lora-seed0', tmp_path/'runs/mixed-lora-seed0')
    page, _ = open_page(tmp_path/'runs')
    says(page, '#scores', 'mixed-lora-seed0')
    skipped, kept = [i for i, kind in enumerate(TEN) if kind in RUN], [i for i, kind in enumerate(TEN) if kind in PART]
    said, scores = page.locator('#status').inner_text(), page.locator('#scores').inner_text()
    assert said.count('Skipped:') == len(skipped) == 6
    for i in skipped: assert f'mixed-ema-seed{i + 10}' in said and f'mixed-ema-seed{i + 10}' not in scores
    for i in kept: assert f'mixed-ema-seed{i + 10}' in scores and f'mixed-ema-seed{i + 10}' not in said
    assert 'mixed-lora-seed0' in scores and 'mixed-lora-seed0' not in said
    page.screenshot(path=tmp_path/'damaged.png', full_page=True)
    tab(page, 'Pictures')
    drawn(page)
    shown = page.locator('#pictures').inner_text()   # what can't be shown says so in its place
    assert shown.count('cut off or damaged') == 2 and 'is no label' in shown and 'no look yet' in shown
    assert not page.problems and not page.elsewhere


HOSTILE = '<img src=x onerror="document.title=1">', "${document.title='2'}", '{{constructor}}', '[road](http://elsewhere)', '<b>bold</b>', '@children'


def test_names_from_files_are_never_markup(open_page, quickstart, tmp_path):
    shutil.copytree(quickstart/'mixed-lora-seed0', run := tmp_path/'runs'/'<img src=x onerror=document.title=3>-seed0')
    path = run/'config.json'
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | dict(classes=[*HOSTILE, *config['classes'][len(HOSTILE):]])))
    (tmp_path/'runs'/'<img src=x onerror=document.title=4>').mkdir()   # told as skipped
    (tmp_path/'runs'/'<i>diverged<').mkdir()
    shutil.copytree(run, tmp_path/'runs/<i>diverged<', dirs_exist_ok=True)
    (tmp_path/'runs'/'<i>diverged<'/'diverged.json').write_text('{"step": 20, "reason": "loss/source is not finite"}')
    page, _ = open_page(tmp_path/'runs', address='?tab=pictures')
    drawn(page)
    legend = page.locator('#pictures .legend').inner_text()
    for name in HOSTILE: assert name in legend
    assert 'onerror=document.title=4>: not a run' in page.locator('#status').inner_text()
    assert 'Diverged: <i>diverged< at step 20' in page.locator('#status').inner_text()
    assert '<i>diverged< (diverged at step 20)' in page.locator('#pictures').inner_text().replace('\n', ' ')
    places = {'Pictures': ['#pictures', '#arms', '#status'], 'Verdict': ['#cards', '#scores', '#trade', '#classes'], 'Stability': ['#curves', '#heat']}
    for name, of in places.items():
        tab(page, name)
        if name != 'Pictures': page.wait_for_selector(f'{of[-1] if name == "Stability" else "#trade .js-plotly-plot"}')
        page.wait_for_timeout(500)
        for place in of: assert page.locator(f'{place} img[src=x]').count() == 0 and page.locator(f'{place} i:not([style])').count() == 0, place
        page.screenshot(path=tmp_path/f'hostile-{name}.png', full_page=True)
    says(page, '#curves', '<i>diverged<')
    page.locator('#curves .plotly .points path').first.hover(force=True)
    page.wait_for_timeout(500)
    report = page.request.get(f'{page.url_of_app}/export/~/report.html').text()
    assert '<i>' not in report and '<img' not in report.split('</script>')[-1]
    assert page.title() == 'lora_da_bench' and not page.problems and not page.elsewhere


def test_the_same_by_programs(serve, quickstart):
    from gradio_client import Client
    url, _ = serve(quickstart)
    client = Client(url, verbose=False)
    said = client.predict(api_name='/verdict')
    assert set(said['arms']) == {'plain-none', 'mixed-none', 'mixed-ema', 'mixed-lora'} and said['sentences']
    curve = client.predict(measure='flip_rate', api_name='/curves')['mixed-ema']['0']
    assert list(curve) == ['6', '12'] and all(0 <= v <= 1 for v in curve.values())
    found = client.predict(api_name='/pictures')
    assert len(found['runs']) == 4 and found['runs'][0]['steps'] == [0, 6, 12]


def test_an_arm_has_one_colour_everywhere(tmp_path):
    "Also where its name begins with that of an arm that began before it"
    from lora_da_bench.evidence.run_store import read_run
    from lora_da_bench.views.comparison import arm_colours
    from lora_da_bench_app.pictures import picture_index
    runs = [read_run(write_run(tmp_path/f'mixed-{name}-seed0', stabilizer=name)) for name in ('lora', 'lora+ema')]
    assert [entry['colour'] for entry in picture_index('~', runs, runs)['runs']] == [*arm_colours(runs).values()]


def test_the_collapse_alarm_is_told(tmp_path):
    "In front, and as a cross in the curves"
    import gradio as gr
    from lora_da_bench.evidence.run_store import read_run, Run
    from lora_da_bench_app.runs import Runs
    from lora_da_bench_app.tabs import stability_tab, verdict_tab, View
    folder = write_run(tmp_path/'mixed-none-seed0')
    for step, (miou, information) in enumerate([(.5, 1.6), (.5, 1.59), (.48, 1.5), (.42, 1.3), (.4, 1.2)]):
        Run(folder).log(step, target_miou=miou, information=information, uncertainty=.1, **dict(flips_over_uncertainty=.1) if step else {})
    with gr.Blocks(): front, curves = verdict_tab(Runs(tmp_path)).front, stability_tab().draw
    view = View('~', *[[read_run(folder)]] * 2, 'scored', measures=['target_miou'])
    assert 'mixed-none-seed0: collapse alarm at step 2: ' in ''.join(map(str, front(view).values()))
    assert any('step 2: ' in str(value) for value in curves(view).values())


def test_only_a_page_leaves_runs_out(tmp_path, monkeypatch):
    "It says how many are still to be read; numbers that are taken away are of all"
    from fastapi import FastAPI
    from lora_da_bench_app import runs, training
    from lora_da_bench_app.app import build
    from lora_da_bench_app.jobs import Job
    from lora_da_bench_app.serving import add_exports
    def slowly(folder): time.sleep(.2); return read_run(folder)
    read_run = runs.read_run
    monkeypatch.setattr(runs, 'read_run', slowly)
    for seed in range(4): write_run(tmp_path/f'mixed-none-seed{seed}', seed=seed)
    write_run(tmp_path/'other/mixed-none-seed0')
    page, known = FastAPI(), runs.Runs(tmp_path)
    add_exports(page, known)
    table = next(route for route in page.routes if route.name == 'scores.csv').endpoint
    assert 0 < len(known.all('~', runs.PATIENCE)[0]) < 4
    assert len(known.all('other', runs.PATIENCE)[0]) == 1 and known.left['~'] > 0   # another page changes nothing
    job = Job(number=1, folder=tmp_path, words=[], runs={f'mixed-none-seed{seed}': 4 for seed in range(4)}, out='~')
    assert training.steps_done(known, job) == job.runs
    known.read.clear()
    assert len(table('~').body.decode().splitlines()) == 1 + 4
    ask = {f.api_name: f.fn for f in build(tmp_path).fns.values()}
    assert len(ask['curves']()['mixed-none']) == 4


def test_only_pictures_of_runs_are_served(serve, quickstart, tmp_path):
    "`..`, links out of the folder, absolute paths, odd names, files that are no pictures: nothing"
    shutil.copytree(quickstart/'mixed-ema-seed0', run := tmp_path/'runs/mixed-ema-seed0')
    (tmp_path/'secret.png').write_bytes((run/'snapshots/input/00.png').read_bytes())
    (run/'snapshots/input/07.png').symlink_to(tmp_path/'secret.png')
    (tmp_path/'runs/linked').symlink_to(tmp_path)
    url, _ = serve(tmp_path/'runs')
    port = int(url.rsplit(':')[-1])
    def status(path):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
        connection.request('GET', path)
        answer = connection.getresponse()
        return answer.status, answer.getheader('content-type'), answer.read()
    good = status('/pictures/~/mixed-ema-seed0/00/input.png')
    assert good[:2] == (200, 'image/png')
    assert status('/pictures/~/mixed-ema-seed0/12/00/prediction.png')[0] == status('/pictures/~/mixed-ema-seed0/12/00/look.png?w=64')[0] == 200
    for path in ('~/mixed-ema-seed0/07/input', '~/linked/00/input', 'linked/runs/00/input', '~/../00/input', '~/%2e%2e/00/input', '..%2f/x/00/input', '~/mixed-ema-seed0%2f..%2f../00/input',
                 '~/mixed-ema-seed0/..%2f..%2fsecret/input', '~/mixed-ema-seed0/%2fetc/passwd', '~/mixed-ema-seed0/00/model', '~/mixed-ema-seed0/12/00/input', '~/mixed-ema-seed0/-1/00/prediction',
                 '~/mixed-ema-seed0/-1/00/look', '~/mixed-ema-seed0/12/%2e%2e/look', '~/linked/12/00/look', '~/mixed-ema-seed0/99999999999/00/prediction', '~/mixed-ema-seed0/x/00/prediction', '~/a%00b/00/input', '/etc/00/input'):
        code, kind, body = status(f'/pictures/{path}.png')
        assert code in (404, 422) and kind != 'image/png' and str(tmp_path) not in body.decode(errors='replace'), path
    for path in ('/gradio_api/file=' + str(run/'config.json'), f'/gradio_api/file={tmp_path}/secret.png', '/export/linked/report.html', '/export/../report.html'): assert status(path)[0] in (403, 404), path


def test_nobody_else_is_answered(serve, quickstart):
    "A foreign host, as after DNS rebinding, or a foreign origin gets nothing; there are no uploads"
    url, _ = serve(quickstart)
    port = int(url.rsplit(':')[-1])
    def ask(path='/config', method='GET', body=None, **headers):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
        connection.request(method, path, body, {'Host': f'127.0.0.1:{port}'} | {k.replace('_', '-'): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    assert set(json.loads(ask('/gradio_api/info')[2])['named_endpoints']) == {'/verdict', '/curves', '/pictures'}
    for host in (f'127.0.0.1:{port}', f'localhost:{port}', f'[::1]:{port}', 'localhost'): assert ask(Host=host)[0] == 200, host
    for host in ('evil.example', f'evil.example:{port}', f'127.0.0.1.evil.example:{port}', f'localhost.evil.example:{port}', f'127.0.0.1:{port}.evil.example', '0.0.0.0', ''):
        for path in ('/', '/config', '/gradio_api/info', '/gradio_api/queue/data?session_hash=x'): assert ask(path, Host=host)[0] == 403, (host, path)
    body = json.dumps(dict(data=[], fn_index=0, session_hash='x'))
    for origin in ('http://evil.example', f'http://evil.example:{port}', 'http://localhost:1', 'null', f'https://127.0.0.1:{port}'):
        for method, path in (('GET', '/config'), ('POST', '/gradio_api/queue/join'), ('OPTIONS', '/gradio_api/queue/join')):
            status, headers, _ = ask(path, method, body, Origin=origin, Content_Type='application/json', Access_Control_Request_Method='POST')
            assert status == 403 and not any(name.startswith('access-control') for name in headers), (origin, path)
    assert ask(Origin=f'http://127.0.0.1:{port}')[0] == 200
    form = '--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n--b--\r\n'
    for path in ('/gradio_api/upload', '/gradio_api/upload?upload_id=a', '/upload'):
        assert ask(path, 'POST', form, Content_Type='multipart/form-data; boundary=b')[0] == 403
    with socket.create_connection(('127.0.0.1', port)) as raw:   # a WebSocket is asked the same
        raw.sendall(b'GET /gradio_api/queue/data HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
                    b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
        assert b' 403 ' in raw.recv(100)


def test_others_need_a_password_and_a_known_name(second, quickstart):
    "Beyond this machine: --auth for everything that is served, and only the names that were given"
    import base64
    code, _, said = second('app', quickstart, '--host', '0.0.0.0').wait()
    assert code == 2 and said == 'error: --host 0.0.0.0: others could look at these runs; expected --auth USER:PASSWORD beside it\n'
    code, _, said = second('app', quickstart, '--auth', 'me:').wait()
    assert code == 2 and said == 'error: --auth: expected USER:PASSWORD, neither of them empty\n'
    port = free_port()
    process = second('app', quickstart, '--host', '0.0.0.0', '--port', port, '--name', 'bench.example', env=dict(LORA_DA_BENCH_AUTH='me:dräum'))
    def status(path, host=f'127.0.0.1:{port}', password=None, origin=None):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
        headers = dict(Host=host) | ({'Authorization': 'Basic ' + base64.b64encode(password.encode()).decode()} if password else {}) | ({'Origin': origin} if origin else {})
        connection.request('GET', path, headers=headers)
        return connection.getresponse().status
    until = time.monotonic() + 60
    while True:
        try: status('/'); break
        except OSError:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(.1)
    for path in ('/', '/config', '/pictures/~/mixed-ema-seed0/00/input.png', '/export/~/scores.csv', '/gradio_api/info'):
        assert status(path) == status(path, password='me:dream') == status(path, password='me') == 401, path
        assert status(path, password='me:dräum') == status(path, f'bench.example:{port}', 'me:dräum', 'https://bench.example:%d' % port) == 200, path
        assert status(path, 'evil.example', 'me:dräum') == status(path, password='me:dräum', origin='http://evil.example') == 403, path
    process.kill()


def test_polls_leave_nothing_behind(quickstart):
    "An open page asks every two seconds; a day of it must not take memory"
    from lora_da_bench.views.cli import answers, listen
    from lora_da_bench_app.app import build, serve
    port = free_port()
    threading.Thread(target=serve, args=(build(quickstart), listen(port)), daemon=True).start()
    while not answers(f'http://127.0.0.1:{port}'): time.sleep(.1)
    connection = http.client.HTTPConnection('127.0.0.1', port)
    def after(polls):
        said = set()
        for _ in range(polls):
            connection.request('GET', '/news/~')
            said.add((answer := connection.getresponse()).read().decode())
            assert answer.status == 200
        gc.collect()
        return said, tracemalloc.get_traced_memory()[0]
    tracemalloc.start()
    try:
        said, before = after(30)
        grown = []
        for _ in range(2):   # what something else in this process takes meanwhile is not there twice
            again, traced = after(60)
            assert again == said and len(said) == 1   # nothing is new
            grown.append((traced - before) / 60)
            before = traced
        assert min(grown) < 100   # bytes a poll
    finally: tracemalloc.stop()


def test_an_idle_page_takes_little(browser, serve, quickstart):
    url, asked = serve(quickstart)[0], []
    page = browser.new_page()
    page.add_init_script("window.frames_asked = 0; const next = requestAnimationFrame; window.requestAnimationFrame = f => { window.frames_asked++; return next(f) }")
    page.goto(url)
    page.wait_for_selector('.card')
    page.wait_for_timeout(8000)
    page.on('request', lambda r: asked.append(r.url.removeprefix(url)))
    page.evaluate('window.frames_asked = 0')
    page.wait_for_timeout(5000)
    assert set(asked) == {'/news/~'} and len(asked) <= 3
    assert page.evaluate('window.frames_asked') < 20   # 300 where a clock of Gradio's runs on
    page.close()
