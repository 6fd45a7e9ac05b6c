"What the app does beyond looking: it segments pictures, starts and queues runs, and looks through data."

import base64
import http.client
import io
import json
import shutil
import struct
import time
import zlib
from pathlib import Path

import psutil
import pytest
from conftest import make_camvid, says, tab, write_run
from PIL import Image

from lora_da_bench.core.errors import BadInput

pytestmark = pytest.mark.xdist_group('desk')  # one app, and one helper that has loaded torch
TINY = ['model=micro', 'weights=random', 'decoder_channels=16', 'size=[48,64]', 'crop=[32,48]', 'batch_size=2', 'source_steps=2', 'seen=2', 'probes=1', 'data.frames=[8,4,2]']


@pytest.fixture(scope='module')
def desk(quickstart, tmp_path_factory) -> Path:
    "Runs of this module's own, and a dataset of files"
    place = tmp_path_factory.mktemp('desk')
    shutil.copytree(quickstart, place/'runs')
    make_camvid(place/'camvid')
    shutil.copy(Path(__file__).parent.parent/'results/cost-mini-cpu.json', place/'runs/cost.json')
    return place


@pytest.fixture
def open_desk(open_page, desk):
    return lambda address='', *more: open_page(desk/'runs', address=address, more=('--data', f'camvid={desk/"camvid"}', *more))[0]


@pytest.fixture(scope='module')
def photo(desk) -> Path:
    "A picture of a size that no run has seen"
    from lora_da_bench.data.scenes import scene
    Image.fromarray(scene(7, (90, 130))[0]).save(desk/'photo.png')
    return desk/'photo.png'


def test_try_a_picture(open_desk, desk, photo, cli, tmp_path):
    "Runs segment a reader's picture; what is downloaded is what `predict` writes, and the model is whole"
    from safetensors.torch import load_file

    from lora_da_bench.runs.checkpoints import load_model
    page = open_desk('/?tab=try')
    page.wait_for_selector('#try .column', timeout=60_000)
    page.locator('#picture-file').set_input_files(photo)
    page.wait_for_function("() => [...document.querySelectorAll('#try .column')].every(c => c.dataset.drawn?.includes('photo.png'))", timeout=120_000)
    column = page.locator('#try .column', has_text='lora')
    assert '%' in column.locator('.note').inner_text()
    with page.expect_download() as taken: column.locator('button', has_text='label map').click()
    assert taken.value.suggested_filename == 'photo-mixed-lora-seed0.png'
    assert cli('predict', desk/'runs/mixed-lora-seed0', photo, '--out', tmp_path/'out')[0] == 0
    assert Path(taken.value.path()).read_bytes() == (tmp_path/'out/photo.png').read_bytes()
    with page.expect_download() as taken: column.locator('button', has_text='overlay').click()
    assert Image.open(taken.value.path()).size == (130, 90)
    model = page.request.get(page.url_of_app + column.locator('a', has_text='merged').get_attribute('href')).body()
    (tmp_path/'model.safetensors').write_bytes(model)
    stored, whole = load_file(tmp_path/'model.safetensors'), load_model(desk/'runs/mixed-lora-seed0').state_dict()
    assert stored.keys() == whole.keys() and all((stored[name] == whole[name]).all() for name in whole)
    adapter = page.request.get(page.url_of_app + column.locator('a', has_text='adapters').get_attribute('href')).body()
    assert adapter == (desk/'runs/mixed-lora-seed0/adapter.safetensors').read_bytes()
    page.locator('#stored').select_option('00')   # a frame that the runs have stored
    page.wait_for_function("() => [...document.querySelectorAll('#try .column')].every(c => c.dataset.drawn?.includes('frame-00'))", timeout=60_000)
    assert not page.problems and not page.elsewhere


def bomb(width: int, height: int) -> bytes:
    "A PNG that says it is large and holds little"
    pack = lambda kind, content: struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
    return b'\x89PNG\r\n\x1a\n' + pack(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)) + pack(b'IDAT', zlib.compress(b'\0' * 1000)) + pack(b'IEND', b'')


def test_uploads_that_are_refused(open_desk, photo):
    page, given = open_desk('/?tab=try'), photo.read_bytes()
    def post(run, data, **headers):
        connection = http.client.HTTPConnection(page.url_of_app.removeprefix('http://'), timeout=60)
        connection.request('POST', f'/segment/~/{run}', data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    for data, said in ((b'', 'expected a picture'), (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'expected a picture'), (bomb(30_000, 30_000), 'more than 16,777,216 pixels'),
                       (bomb(4096, 4096), 'cannot be read'), (given[:200], 'cannot be read'), (b'\0' * (21 * 2**20), 'at most 20 MB')):
        status, text = post('mixed-lora-seed0', data)
        assert status == 422 and said in text and '/' not in text and 'tmp' not in text, (said, text)
    for run in ('..', '%2e%2e', 'nothing', 'mixed-lora-seed0%2f..', '.jobs', 'a%00b'): assert post(run, given)[0] in (404, 422), run
    assert post('mixed-lora-seed0', given, Origin='http://evil.example')[0] == 403
    status, text = post('mixed-lora-seed0', given)   # and the app still answers
    assert status == 200 and Image.open(io.BytesIO(base64.b64decode(json.loads(text)['labels']))).size == (130, 90)


def test_a_stored_frame_is_segmented_as_it_is_shown(tmp_path):
    "Whoever segments it, and whatever other frame that run has stored under the same number"
    from lora_da_bench_app.pictures import within
    from lora_da_bench_app.trying import trying_routes
    class Telling:
        def ask(self, _, folder, picture, limit):
            return dict(run=folder.name.encode(), size=b'%dx%d' % Image.open(picture).size)
    for name, size in dict(night=(8, 4), dusk=(6, 4)).items():
        (place := tmp_path/name/'snapshots/input').mkdir(parents=True)
        Image.new('RGB', size).save(place/'00.png')
    routes = trying_routes(lambda study, run: within(tmp_path, run), Telling(), uploads=False).routes
    stored = next(route.endpoint for route in routes if route.path == '/segment/{study}/{run}/{probe}')
    decoded = lambda answer: {name: base64.b64decode(text) for name, text in json.loads(answer.body).items()}
    assert decoded(stored('~', 'dusk', '00', of='night')) == dict(run=b'dusk', size=b'8x4')
    for run, probe, of in (('dusk', '01', 'night'), ('dusk', '..', 'night'), ('dusk', '00', '..'), ('..', '00', 'night')):
        assert stored('~', run, probe, of=of).status_code in (404, 422), (run, probe, of)


def test_another_study_shows_a_frame_of_its_own(open_page, tmp_path):
    "Not the one that was there before with the labels of this study's frame"
    for study, stabilizer, colour in (('one', 'ema', 'red'), ('two', 'lora', 'blue')):
        run = write_run(tmp_path/study/f'mixed-{stabilizer}-seed0', stabilizer=stabilizer)
        (run/'model.safetensors').touch()
        (run/'snapshots/input').mkdir(parents=True)
        Image.new('RGB', (8, 4), colour).save(run/'snapshots/input/00.png')
    page, _ = open_page(tmp_path, address='/?tab=try&study=one')
    asked, shown = [], """() => { const image = document.querySelector('#try .own'), canvas = new OffscreenCanvas(1, 1).getContext('2d');
      if (!image?.naturalWidth) return '';
      canvas.drawImage(image, 0, 0); return canvas.getImageData(0, 0, 1, 1).data.join() }"""
    page.route('**/segment/**', lambda route: (asked.append(route.request.url), route.fulfill(status=422, body='not now')))
    page.wait_for_function(f"() => ({shown})() == '255,0,0,255'", timeout=30_000)
    page.locator('#study input').click()
    page.get_by_role('option', name='two').click()
    page.wait_for_function(f"() => ({shown})() == '0,0,255,255'", timeout=30_000)
    says(page, '#try .column .note', 'not now')
    assert asked[-1].endswith('/segment/two/mixed-lora-seed0/00?of=mixed-lora-seed0') and not page.problems


class Refusing:
    "A helper that can't"
    def ask(self, *_, **how): raise BadInput('this took longer than 60 seconds and was ended')


def test_an_upload_leaves_nothing_behind(photo, tmp_path, monkeypatch):
    from lora_da_bench_app.trying import answer
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with pytest.raises(BadInput, match='longer than 60'): answer(tmp_path, photo.read_bytes(), Refusing())
    assert not [*tmp_path.iterdir()]


def test_a_question_that_takes_too_long():
    "It is ended, and the next one is answered"
    from lora_da_bench_app.helper import Helper
    helper = Helper()
    helper.start()
    first = helper.process
    with pytest.raises(BadInput, match='took longer than 0 seconds'): helper.ask('foretold', 'mini', (64, 128), 'cpu', limit=.05)
    first.join(20)
    assert not first.is_alive() and helper.process is None


def fill(page, folder: str, *settings: str):
    "The fields of a tiny run"
    page.wait_for_function("() => document.querySelector('#preset input')?.value == 'streetscenes'", timeout=120_000)
    page.locator('#folder textarea, #folder input').fill(folder)
    page.locator('#settings textarea').fill('\n'.join([*TINY, *settings]))


def state_of(page, number: int, state: str, seconds: int = 240):
    page.wait_for_function("([n, s]) => [...document.querySelectorAll('#jobs .job')].some(j => j.querySelector('b').innerText == n && j.classList.contains(s))",
                           arg=[str(number), state], timeout=1000 * seconds)


def test_train_from_the_page(open_desk, desk):
    "A wrong field is told as it is typed; a job runs, outlives page and app, and is stopped; the next one waits for it"
    page = open_desk('/?tab=train')
    fill(page, 'mine', 'steps=oops')
    says(page, '#plan', 'steps: ')
    assert page.locator('#begin').is_disabled()
    page.locator('#folder textarea, #folder input').fill('../elsewhere')
    says(page, '#plan', 'folder: expected a plain name')
    fill(page, 'mine', 'steps=100000', 'eval_every=10')
    says(page, '#plan', 'mixed-lora-')
    page.wait_for_function("() => document.querySelector('#estimate').innerText.match(/mixed-lora-set.*GB on this machine/)", timeout=120_000)
    page.locator('#begin').click()
    state_of(page, 1, 'running')
    fill(page, 'mine', 'steps=4', 'eval_every=2')
    says(page, '#plan', '6 steps')
    page.locator('#begin').click()
    state_of(page, 2, 'waiting')
    page.reload()   # what was asked for is still there
    state_of(page, 1, 'running')
    page.wait_for_selector('#job-curves .js-plotly-plot', timeout=240_000)   # the run's curves, once there are any
    again = open_desk('/?tab=train', '--name', 'again.example')   # another app on the same folder: what runs is there
    state_of(again, 1, 'running')
    again.locator('#jobs button', has_text='stop').nth(1).click()   # the newest is first
    state_of(again, 1, 'stopped')
    state_of(again, 2, 'done')
    again.locator('#jobs button', has_text='remove').first.click()
    again.wait_for_function("() => document.querySelectorAll('#jobs .job').length == 1")
    state_of(page, 1, 'stopped')   # the first page follows
    assert not page.problems and not again.problems and not page.elsewhere


def test_a_queue_whose_worker_is_killed(tmp_path, monkeypatch):
    "A job that lost its worker is told to be interrupted, and goes on with the next worker; a failed one says why"
    from lora_da_bench_app import jobs
    (tmp_path/'runs').mkdir()
    jobs.add(tmp_path/'runs', ['report', str(tmp_path/'nothing')], {}, '~')
    jobs.add(tmp_path/'runs', ['--version'], {}, '~')
    def wait(*states):
        until = time.monotonic() + 60
        while [job.state for job in jobs.jobs_of(tmp_path/'runs')] != [*states]:
            assert time.monotonic() < until, [job.state for job in jobs.jobs_of(tmp_path/'runs')]
            time.sleep(.05)
    wait('failed', 'done')
    assert 'no such folder' in jobs.job_of(tmp_path/'runs', 1).line
    while any(str(tmp_path/'runs') in (p.info['cmdline'] or ()) for p in psutil.process_iter(['cmdline'])): time.sleep(.05)
    jobs.set_state(jobs.job_of(tmp_path/'runs', 2).folder, 'running')   # as a killed worker leaves it
    wait('failed', 'interrupted')
    jobs.go_on(tmp_path/'runs')
    wait('failed', 'done')
    jobs.resume(tmp_path/'runs', 1)
    wait('failed', 'done')
    removed = []
    with monkeypatch.context() as patch:
        patch.setattr(jobs.shutil, 'rmtree', lambda folder: removed.append(folder))   # as if it took long
        jobs.remove(tmp_path/'runs', 1)
    assert [job.number for job in jobs.jobs_of(tmp_path/'runs')] == [2] and removed[0].exists()
    for file, text in (('state.json', '{"state": "<b>"}'), ('state.json', '[]'), ('job.json', '[')):   # a damaged one hides
        (tmp_path/'runs/.jobs/0002'/file).write_text(text)
        assert jobs.jobs_of(tmp_path/'runs') == []


def test_look_through_data(open_desk):
    page = open_desk('/?tab=data')
    says(page, '#data-said', 'held out:', 120)
    page.wait_for_selector('#frames .js-plotly-plot image')
    page.wait_for_selector('#shares .js-plotly-plot')
    page.locator('#dataset input').click()
    page.locator('#dataset [role=option]', has_text='camvid').click()
    says(page, '#data-said', 'source: 4 frames')
    page.locator('#check').click()
    says(page, '#data-said', '0 problems')
    assert not page.problems and not page.elsewhere


def test_a_measured_cost_that_cannot_be_read(tmp_path):
    from lora_da_bench_app.runs import HERE, Runs
    assert Runs(tmp_path).costs(HERE) == (None, [])
    for text, said in (('[', 'cost.json'), ('{"rows": []}', 'command'), ('{"command": "", "device": "", "rows": [{"stabilizer": "ema", "time_ms": "x", "memory": {}}]}', 'rows.0.time_ms')):
        (tmp_path/'cost.json').write_text(text)
        found, [line] = Runs(tmp_path).costs(HERE)
        assert found is None and said in line and '\n' not in line


def test_read_only(open_page, quickstart, photo):
    "Neither training nor uploads, on the page or by programs"
    page, _ = open_page(quickstart, address='?tab=train', more=('--read-only',))
    page.wait_for_selector('.card')
    assert page.locator('#tabs button', has_text='Train').count() == 0
    tab(page, 'Try it')
    page.wait_for_selector('#stored')
    assert page.locator('#picture-file').count() == 0
    for path in ('/segment/~/mixed-lora-seed0', '/gradio_api/upload'):
        assert page.request.post(page.url_of_app + path, data=photo.read_bytes()).status in (403, 404, 405)
    config = page.request.get(page.url_of_app + '/config').json()
    assert not {'begin', 'jobs', 'settings'} & {c['props'].get('elem_id') for c in config['components']}


NAMELESS = """() => [...document.querySelectorAll('input, select, textarea, button, [role=slider]')].filter(e => e.checkVisibility()
  && !(e.labels?.length || e.getAttribute('aria-label') || e.title || e.innerText?.trim() || e.getAttribute('aria-labelledby') || e.closest('label'))).map(e => e.outerHTML.slice(0, 200))"""


def test_every_control_has_a_name_and_a_place_for_the_keyboard(open_desk):
    page = open_desk()
    page.wait_for_selector('.card')
    for name in ('Verdict', 'Stability', 'Pictures', 'Cost', 'Try it', 'Train', 'Data', 'Export'):
        button = page.locator('#tabs button[role=tab]', has_text=name).first
        button.focus()
        button.press('Enter')
        page.wait_for_function("name => document.querySelector('#tabs button[role=tab][aria-selected=true]').innerText.trim() == name", arg=name)
        page.wait_for_timeout(300)
        if name == 'Cost': page.wait_for_selector('#measured .js-plotly-plot')   # the step by part, from a file beside the runs
        assert page.evaluate(NAMELESS) == [], name
    tab(page, 'Verdict')
    page.evaluate('document.activeElement.blur(); window.scrollTo(0, 0)')
    reached = []
    for _ in range(40):
        page.keyboard.press('Tab')
        reached.append(page.evaluate("() => document.activeElement.closest('#recipe, #seed, #weights, #step, #play, #arms, #tabs [role=tablist], #scores')?.id || document.activeElement.getAttribute('role')"))
    assert {'recipe', 'seed', 'weights', 'step', 'play', 'arms', 'tab'} <= {*reached}, reached


def test_figures_are_taken_away(open_page, quickstart):
    "As SVG in the page, as a page of its own from the server"
    page, _ = open_page(quickstart, address='?tab=stability')
    page.wait_for_selector('#curves .save-svg', timeout=60_000)
    with page.expect_download() as taken: page.locator('#curves .save-svg').click()
    assert taken.value.suggested_filename == 'curves.svg' and Path(taken.value.path()).read_bytes().startswith(b'<svg')
    tab(page, 'Export')
    page.wait_for_selector('#export a')
    links = [a.get_attribute('href') for a in page.locator('#export a').all()]
    assert len(links) == 5
    for link in links: assert page.request.get(page.url_of_app + link).ok, link
    assert page.request.get(f'{page.url_of_app}/export/~/nothing.html').status == 404
