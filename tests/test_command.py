"The command as a user runs it, from the main job to a prediction."

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import command
from PIL import Image
from test_bad_input import is_one_line

from lora_da_bench.runs.experiments import load_preset, PRESETS, smoke
from lora_da_bench.evidence.run_store import find_runs, read_metrics, weights_path


def test_four_runs_from_the_same_start(quickstart):
    done = subprocess.run(command('report', quickstart, '--format', 'json'), capture_output=True, text=True)
    result = json.loads(done.stdout)
    runs = result['runs']
    assert [r['name'] for r in runs] == ['plain-none-seed0', 'mixed-none-seed0', 'mixed-ema-seed0', 'mixed-lora-seed0']
    assert len({r['target_miou']['start'] for r in runs}) == 1
    for r in runs:
        assert r['finished'] and r['dataset'] == 'streetscenes' and r['seed'] == 0 and r['steps'] == 12
        assert {'start', 'final', 'best'} <= r['target_miou'].keys() and r['stability'].keys() >= {'largest_fall', 'late_spread', 'flip_rate'}
        assert all(v > 0 for v in r['cost'].values())
    assert result['command'].startswith('lora-da-bench quickstart --smoke') and {'versions', 'device', 'date'} <= result.keys()
    assert set(result['references']) == {'source only', 'source + BatchNorm'}   # no oracle was measured for a tiny one


def test_a_lora_run_stores_no_second_model(quickstart):
    lora, none = (weights_path(quickstart/f'mixed-{s}-seed0') for s in ('lora', 'none'))
    assert lora.name == 'adapter.safetensors' and lora.stat().st_size < none.stat().st_size / 2


def test_report_formats(cli, quickstart):
    code, out, _ = cli('report', quickstart, '--format', 'md')
    assert code == 0 and out.count('\n') == 6 and out.startswith('| run |')
    code, out, _ = cli('report', quickstart)
    assert code == 0 and all(name in out for name in ('plain-none-seed0', 'mixed-none-seed0', 'mixed-ema-seed0', 'mixed-lora-seed0'))


def test_verdict(cli, quickstart):
    "One seed decides nothing, and is told so in every format"
    code, out, _ = cli('verdict', quickstart, '--format', 'json')
    found = json.loads(out)
    assert code == 0 and {(arm['arm'], arm['verdict']) for arm in found['arms'] if arm['recipe'] == 'mixed'} == {
        ('mixed-ema', 'reference'), ('mixed-none', 'one seed'), ('mixed-lora', 'one seed')}
    assert found['advice'] == ['mixed: one seed decides nothing; run at least three.', 'plain: no run with ema, so nothing to compare with.']
    for format in ('md', 'table'):
        code, out, _ = cli('verdict', quickstart, '--format', format)
        assert code == 0 and 'one seed decides nothing' in out and 'mixed-lora' in out


def test_again_does_nothing_twice(cli, runs):
    before = {p: p.stat().st_mtime_ns for p in runs.rglob('*') if p.is_file()}
    code, _, _ = cli('quickstart', '--smoke', '--no-app', '--out', runs)
    assert code == 0 and before == {p: p.stat().st_mtime_ns for p in runs.rglob('*') if p.is_file()}


def test_one_run_from_the_same_source(cli, runs, tmp_path):
    "`train` uses the source model that is there, and takes other steps than the preset's"
    (tmp_path/'smoke.json').write_text(smoke(PRESETS['streetscenes']).model_dump_json())
    before = (runs/'source-seed0/model.safetensors').stat().st_mtime_ns
    shutil.rmtree(runs/'mixed-lora-seed0')
    code, out, err = cli('train', '--preset', tmp_path/'smoke.json', '--stabilizer', 'lora', '--steps', 4, '--out', runs)
    assert code == 0 and 'mixed-lora-seed0' in out, err
    assert find_runs(runs)[0]['mixed-lora-seed0']['steps'] == 4 and (runs/'source-seed0/model.safetensors').stat().st_mtime_ns == before


def test_predict(cli, quickstart, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (150, 200, 3), dtype=np.uint8)).save(tmp_path/'photo.jpg')
    code, _, _ = cli('predict', quickstart/'mixed-lora-seed0', tmp_path/'photo.jpg', '--out', tmp_path/'out')
    label = Image.open(tmp_path/'out/photo.png')
    assert code == 0 and label.size == (200, 150) and label.mode == 'P' and np.asarray(label).max() < 19
    assert Image.open(tmp_path/'out/photo-overlay.png').size == (200, 150)


def test_a_finished_run_is_all_that_predict_reads(cli, runs, tmp_path):
    "A configuration that names a file with a program in it: nothing of that file is read, let alone run"
    class Program:
        def __reduce__(self): return Path.touch, (tmp_path/'it ran',)
    (tmp_path/'weights.pth').write_bytes(pickle.dumps(Program()))
    path = runs/'mixed-none-seed0/config.json'
    config = json.loads(path.read_text())
    config['preset']['weights'] = str(tmp_path/'weights.pth')
    path.write_text(json.dumps(config))
    code, _, err = cli('predict', runs/'mixed-none-seed0', runs/'source-seed0/snapshots/input/00.png', '--out', tmp_path/'out')
    assert code == 0 and (tmp_path/'out/00.png').exists() and not (tmp_path/'it ran').exists(), err


def test_a_run_that_diverges_is_called_so(cli, runs, tmp_path):
    "At a rate at which nothing can be learnt: the run ends, the store and the report say where, and no weights are left"
    (tmp_path/'wild.json').write_text(smoke(PRESETS['streetscenes']).model_copy(update=dict(lr=1e30)).model_dump_json())
    shutil.rmtree(runs/'mixed-none-seed0')
    code, out, err = cli('train', '--preset', tmp_path/'wild.json', '--stabilizer', 'none', '--out', runs)
    assert code == 0 and 'diverged at step 2' in ' '.join(out.split()), (out, err)
    assert json.loads((runs/'mixed-none-seed0/diverged.json').read_text()) == dict(step=2, reason='the source loss is not finite')
    rows = {row['name']: row for row in json.loads(cli('report', runs, '--format', 'json')[1])['runs']}
    assert rows['mixed-none-seed0']['diverged'] == 2 and not rows['mixed-none-seed0']['finished'] and rows['mixed-lora-seed0']['diverged'] is None
    assert weights_path(runs/'mixed-none-seed0') is None
    assert 'NaN' not in (runs/'mixed-none-seed0/metrics.jsonl').read_text() + (runs/'mixed-none-seed0/config.json').read_text()


def test_a_run_that_is_stopped_at_the_alarm(cli, runs, tmp_path):
    "At a rate that destroys the classes: the run ends at the alarm, holds the look before, and says so in report and verdict"
    wild = smoke(PRESETS['streetscenes']).model_copy(update=dict(lr=.3))
    (tmp_path/'wild.json').write_text(wild.model_dump_json())
    shutil.rmtree(runs/'mixed-none-seed0')
    code, out, err = cli('train', '--preset', tmp_path/'wild.json', '--stabilizer', 'none', '--stop-on-collapse', '--out', runs)
    assert code == 0, (out, err)
    kept, said = json.loads((runs/'mixed-none-seed0/kept.json').read_text()), ' '.join(out.split())
    assert kept['reason'].startswith(f"collapse alarm at step {kept['step'] + 6}: "), (out, err)
    assert f"mixed-none-seed0: {kept['reason']}" in said and f"weights of step {kept['step']}" in said
    row = next(row for row in json.loads(cli('report', runs, '--format', 'json')[1])['runs'] if row['name'] == 'mixed-none-seed0')
    assert row['finished'] and row['kept'] == kept['step'] and row['alarm']['step'] == kept['step'] + 6
    assert row['target_miou']['final'] == read_metrics(runs/'mixed-none-seed0').target_miou[kept['step']]
    assert weights_path(runs/'mixed-none-seed0') and cli('train', '--preset', tmp_path/'wild.json', '--stabilizer', 'none',
                                                         '--stop-on-collapse', '--out', runs)[0] == 0


def test_killed_and_started_again(cli, second, quickstart, tmp_path):
    "A run that is killed in a second process goes on from its snapshot, and ends like one that was left alone"
    shutil.copytree(quickstart/'source-seed0', tmp_path/'source-seed0')
    train = 'quickstart', '--smoke', '--no-app', '--out', tmp_path
    process = second(*train)
    deadline = time.monotonic() + 120
    while not (tmp_path/'mixed-lora-seed0/resume/state.pt').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(.01)
    process.send_signal(signal.SIGSTOP)   # a second process, while the first holds the runs
    state = lambda: {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob('*')}
    before = state()
    is_one_line(cli(*train), 'plain-none-seed0: another process is writing this run')
    assert state() == before
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not weights_path(tmp_path/'mixed-lora-seed0')
    with open(tmp_path/'mixed-lora-seed0/metrics.jsonl', 'a') as file: file.write('{"step": 6, "na')   # in the middle of two files
    (tmp_path/'mixed-lora-seed0/snapshots/.00.png.1.tmp').write_bytes(b'half')
    assert cli(*train)[0] == 0
    assert not list(tmp_path.rglob('*.tmp'))
    for name in ('plain-none-seed0', 'mixed-none-seed0', 'mixed-ema-seed0', 'mixed-lora-seed0'):
        assert weights_path(tmp_path/name).read_bytes() == weights_path(quickstart/name).read_bytes()
        same = [c for c in read_metrics(quickstart/name) if c != 'step_ms']
        assert read_metrics(tmp_path/name)[same].equals(read_metrics(quickstart/name)[same])


def two_threads():
    import torch
    torch.set_num_threads(2)


def test_arms_side_by_side(cli, second, quickstart, tmp_path):
    "With two threads to have, two arms are trained at once; killed, interrupted and started again, they end like those that took turns"
    shutil.copytree(quickstart/'source-seed0', tmp_path/'source-seed0')
    train = 'quickstart', '--smoke', '--no-app', '--out', tmp_path
    arms = [tmp_path/f'{name}-seed0' for name in ('plain-none', 'mixed-none', 'mixed-ema', 'mixed-lora')]
    for how, begun, ended in ((signal.SIGKILL, arms[:2], 0), (signal.SIGINT, arms[2:], 2)):
        process, deadline = second(*train, prepare=two_threads), time.monotonic() + 120
        while not all((arm/'metrics.jsonl').exists() for arm in begun):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(.01)
        process.send_signal(how)
        code, _, said = process.wait()
        assert code == (130 if how == signal.SIGINT else -how) and 'Traceback' not in said, said
        assert ('start the same command again' in said) == (how == signal.SIGINT)
        assert ended <= sum(bool(weights_path(arm)) for arm in arms) < 4
    assert cli(*train)[0] == 0
    for arm in arms:
        assert weights_path(arm).read_bytes() == weights_path(quickstart/arm.name).read_bytes()
        same = [c for c in read_metrics(arm) if c != 'step_ms']
        assert read_metrics(arm)[same].equals(read_metrics(quickstart/arm.name)[same])


@pytest.mark.parametrize('labelled', [True, False])
def test_camvid_by_one_command(cli, camvid, tmp_path, labelled):
    if not labelled:
        for split in ('train', 'test'):
            for path in (camvid/f'{split}annot').glob('0001TP*'): path.unlink()
    (tmp_path/'smoke.json').write_text(smoke(PRESETS['camvid-day-dusk']).model_dump_json())
    asked = ('quickstart', '--smoke', '--no-app', '--preset', 'camvid-day-dusk') if labelled else ('train', '--preset', tmp_path/'smoke.json')
    code, _, err = cli(*asked, '--root', camvid, '--out', tmp_path/'out')
    assert code == 0, err
    code, out, _ = cli('report', tmp_path/'out', '--format', 'json')
    for run in json.loads(out)['runs']:
        assert (run['target_miou']['final'] is not None) == labelled == (run['seen_miou'] is not None)
        assert run['stability']['flip_rate'] is not None
    assert find_runs(tmp_path/'out')[1] == []


def test_help_is_fast_and_complete():
    begun = time.monotonic()
    out = subprocess.run(command('--help'), capture_output=True, text=True, env=os.environ | {'COLUMNS': '100'}).stdout
    assert time.monotonic() - begun < 5 and all(c in out for c in ('quickstart', 'train', 'report', 'predict', 'app'))


def test_cost_foretold(cli):
    "Memory and operations of a device that need not be there, from names with or without spaces between them"
    code, out, _ = cli('cost', '--model', 'micro', '--dry-run', '--device', 'cuda', '--stabilizers', 'ema, lora-head-reuse', '--format', 'json')
    foretold = json.loads(out)
    assert code == 0 and (foretold['device'], foretold['precision']) == ('cuda', 'bf16')
    rows = {row['stabilizer']: row for row in foretold['rows']}
    assert list(rows) == ['ema', 'lora-head-reuse']
    assert rows['lora-head-reuse']['peak_bytes'] < .8 * rows['ema']['peak_bytes'] and rows['lora-head-reuse']['flops'] < rows['ema']['flops']
    code, out, _ = cli('cost', '--model', 'micro', '--dry-run', '--device', 'cuda', '--stabilizers', 'frozen')
    assert code == 0 and 'frozen' in out and max(map(len, out.splitlines())) <= 80


# settings, presets, plugins

SETTINGS = [
    ('step=3', "error: --set: 'step' is unknown; expected dataset, data, size, crop, source_crop, scale, views, sampling, max_unreadable, model, weights, "
               'decoder_channels, head_init, drop_path, checkpointing, compile, batch_size, source_steps, source_lr, start, recipe, rounds, steps, lr, '
               "final_lr, warmup, eval_every, recalibrate, seen, probes, stabilizers, recipes, score_weights, average_decay, "
               "stop_on_collapse, keep; did you mean 'steps'?"),
    ('lr=-1', 'error: --set lr: expected a number greater than 0, got -1'),
    ('lr=fast', "error: --set lr: expected a valid number, unable to parse string as a number, got 'fast'"),
    ('lr', "error: --set: expected FIELD=VALUE, such as lr=1e-4, got 'lr'"),
    ('=3', "error: --set: expected FIELD=VALUE, such as lr=1e-4, got '=3'"),
    ('lr.rank=3', 'error: --set lr.rank: lr has no options'),
    ('crop=[65,128]', 'error: --set crop: expected multiples of 4 pixels, at least 32'),
    ('dataset=street', "error: --set dataset: 'street' is unknown; expected streetscenes, camvid, gta5-cityscapes, synthia-cityscapes, folders; "
                       "did you mean 'streetscenes'?"),
    ('data.gap=2', 'error: --set data.gap: expected a number less than or equal to 1, got 2'),
    ('data.gab=1', "error: --set data.gab: unknown; expected gap, frames; did you mean 'gap'?"),
    ('data.frames=[8,0,4]', 'error: --set data.frames.1: expected a number greater than or equal to 1, got 0'),
]


@pytest.mark.parametrize('setting, line', SETTINGS, ids=[setting for setting, _ in SETTINGS])
def test_a_wrong_setting(cli, tmp_path, setting, line):
    code, _, err = cli('train', '--set', setting, '--out', tmp_path/'out')
    assert (code, err) == (2, line + '\n') and not (tmp_path/'out').exists()


def test_every_command_with_a_preset_takes_settings(cli, tmp_path):
    for words in ('quickstart --no-app', 'train', 'ablation', 'cost'):
        out = () if words == 'cost' else ('--out', tmp_path/'out')
        code, _, err = cli(*words.split(), '--set', 'lr=-1', *out)
        assert (code, err) == (2, 'error: --set lr: expected a number greater than 0, got -1\n'), words


def test_settings_stand_side_by_side(cli, runs, tmp_path):
    "Two ranks in one folder: each run's name says which, and they share the source model"
    (tmp_path/'smoke.json').write_text(smoke(PRESETS['streetscenes']).model_dump_json())
    before = (runs/'source-seed0/model.safetensors').stat().st_mtime_ns
    code, out, err = cli('train', '--preset', tmp_path/'smoke.json', '--set', 'stabilizers.lora.rank=8', '--set', 'steps=2', '--out', runs)
    assert code == 0 and 'mixed-lora-rank=8-steps=2-seed0' in ''.join(out.split()), (out, err)
    found = find_runs(runs)[0]
    assert {'mixed-lora-seed0', 'mixed-lora-rank=8-steps=2-seed0'} < found.keys() and (runs/'source-seed0/model.safetensors').stat().st_mtime_ns == before
    preset = json.loads((runs/'mixed-lora-rank=8-steps=2-seed0/config.json').read_text())['preset']
    assert preset['stabilizers']['lora']['rank'] == 8 and preset['steps'] == 2


def test_presets(cli, tmp_path):
    "The list has a line about each; one of them in JSON is what `--preset` takes"
    code, out, _ = cli('presets', '--format', 'json')
    rows = {row['preset']: row for row in json.loads(out)}
    assert code == 0 and list(rows) == list(PRESETS) and all(row['about'] for row in rows.values())
    assert rows['camvid-day-dusk']['dataset'] == 'camvid' and rows['gta5-cityscapes-swin-s']['model'].startswith('swin_small')
    code, out, _ = cli('presets')
    assert code == 0 and all(name in out for name in PRESETS)
    code, out, _ = cli('presets', 'streetscenes')
    assert code == 0 and 'stabilizers.lora.rank' in out and 'data.gap' in out
    code, out, _ = cli('presets', 'gta5-cityscapes-swin-b-public', '--format', 'json')
    (tmp_path/'p.json').write_text(out)
    assert load_preset(tmp_path/'p.json') == PRESETS['gta5-cityscapes-swin-b-public']
    is_one_line(cli('presets', 'streetscene'), "preset: 'streetscene' is unknown; expected streetscenes, camvid-day-dusk", "or a JSON file; did you mean 'streetscenes'?")


def test_version(cli):
    assert cli('--version')[:2] == (0, 'lora-da-bench 0.1.0\n')


PLUGIN = '''
from pathlib import Path
from lora_da_bench.data.datasets import DATASETS, Domains
from lora_da_bench.data.frames import Scenes
from lora_da_bench.data.labels import CITYSCAPES
from lora_da_bench.runs.experiments import ABOUT, PRESETS, smoke

@DATASETS.register('night')
def night(root: Path | None, size: tuple[int, int], *, hours: int = 4) -> Domains:
    return Domains(CITYSCAPES, *(Scenes(8, seed, size, gap=hours / 12) for seed in range(3)))

PRESETS['night'] = smoke(PRESETS['streetscenes']).model_copy(update=dict(dataset='night', data={}, steps=2, source_steps=2))
ABOUT['night'] = 'streets by night'
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    "A file that registers a dataset and a preset; both are gone after the test"
    from lora_da_bench.data.datasets import DATASETS
    from lora_da_bench.runs.experiments import ABOUT
    monkeypatch.setenv('LORA_DA_BENCH_PLUGINS', '')
    (tmp_path/'night.py').write_text(PLUGIN)
    yield tmp_path/'night.py'
    for registry in (DATASETS, PRESETS, ABOUT): registry.pop('night', None)
    sys.modules.pop('lora_da_bench_plugin_night', None)


def test_a_plugin_is_known_everywhere(cli, plugin, tmp_path):
    "In lists, help, messages, settings, and to a run"
    asked = '--plugin', plugin
    assert 'streets by night' in cli(*asked, 'presets')[1]
    assert os.environ['LORA_DA_BENCH_PLUGINS'] == str(plugin)   # for the app and other processes
    assert 'night' in cli(*asked, 'train', '--help')[1]
    is_one_line(cli(*asked, 'train', '--preset', 'nigt', '--out', tmp_path/'out'), "did you mean 'night'?")
    is_one_line(cli(*asked, 'train', '--set', 'dataset=nigt', '--out', tmp_path/'out'), "folders, night; did you mean 'night'?")
    is_one_line(cli(*asked, 'train', '--preset', 'night', '--set', 'data.hour=3', '--out', tmp_path/'out'), "--set data.hour: unknown; expected hours; did you mean 'hours'?")
    code, _, err = cli(*asked, 'train', '--preset', 'night', '--set', 'data.hours=6', '--stabilizer', 'none', '--out', tmp_path/'out')
    assert code == 0, err
    run = find_runs(tmp_path/'out')[0]['mixed-none-hours=6-seed0']
    assert run['dataset'] == 'night' and weights_path(tmp_path/'out/mixed-none-hours=6-seed0')


def test_other_processes_load_the_plugins_too(plugin, second):
    code, out, err = second('presets', 'night', '--format', 'json', env={'LORA_DA_BENCH_PLUGINS': str(plugin)}).wait()
    assert code == 0 and json.loads(out)['dataset'] == 'night', err


def test_a_plugin_that_is_none(cli, plugin, tmp_path):
    said = lambda *args: cli(*args, 'presets')[::2]
    assert said('--plugin', tmp_path/'nowhere.py') == (2, f'error: {tmp_path}/nowhere.py: no such file; expected a Python file\n')
    assert said('--plugin', 'no_such_module') == (2, "error: --plugin: 'no_such_module': expected a file that ends in .py or a module that can be "
                                                     "imported (ModuleNotFoundError: No module named 'no_such_module')\n")
    plugin.write_text('1 / 0')
    assert said('--plugin', plugin) == (2, f'error: {plugin}: cannot be loaded as a plugin (ZeroDivisionError: division by zero)\n')
