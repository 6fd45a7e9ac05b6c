"The command as a user runs it, from the main job to a prediction."

import json
import os
import pickle
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import command
from PIL import Image
from test_bad_input import is_one_line

from lora_da_bench.runs.experiments import PRESETS, smoke
from lora_da_bench.evidence.run_store import find_runs, read_metrics, weights_path


def test_three_runs_from_the_same_start(quickstart):
    done = subprocess.run(command('report', quickstart, '--format', 'json'), capture_output=True, text=True)
    result = json.loads(done.stdout)
    runs = result['runs']
    assert {r['stabilizer'] for r in runs} == {'none', 'ema', 'lora'} and len(runs) == 3
    assert len({r['target_miou']['start'] for r in runs}) == 1
    for r in runs:
        assert r['finished'] and r['dataset'] == 'streetscenes' and r['seed'] == 0 and r['steps'] == 20
        assert {'start', 'final', 'best'} <= r['target_miou'].keys() and r['stability'].keys() >= {'largest_fall', 'late_spread', 'flip_rate'}
        assert all(v > 0 for v in r['cost'].values())
    assert result['command'].startswith('lora-da-bench quickstart --smoke') and {'versions', 'device', 'date'} <= result.keys()


def test_a_lora_run_stores_no_second_model(quickstart):
    lora, none = (weights_path(quickstart/f'{s}-seed0') for s in ('lora', 'none'))
    assert lora.name == 'adapter.safetensors' and lora.stat().st_size < none.stat().st_size / 3


def test_report_formats(cli, quickstart):
    code, out, _ = cli('report', quickstart, '--format', 'md')
    assert code == 0 and out.count('\n') == 5 and out.startswith('| run |')
    code, out, _ = cli('report', quickstart)
    assert code == 0 and all(name in out for name in ('none-seed0', 'ema-seed0', 'lora-seed0'))


def test_again_does_nothing_twice(cli, runs):
    before = {p: p.stat().st_mtime_ns for p in runs.rglob('*') if p.is_file()}
    code, _, _ = cli('quickstart', '--smoke', '--no-app', '--out', runs)
    assert code == 0 and before == {p: p.stat().st_mtime_ns for p in runs.rglob('*') if p.is_file()}


def test_one_run_from_the_same_source(cli, runs, tmp_path):
    "`train` uses the source model that is there, and takes other steps than the preset's"
    (tmp_path/'smoke.json').write_text(smoke(PRESETS['streetscenes']).model_dump_json())
    before = (runs/'source-seed0/model.safetensors').stat().st_mtime_ns
    shutil.rmtree(runs/'lora-seed0')
    code, out, err = cli('train', '--preset', tmp_path/'smoke.json', '--stabilizer', 'lora', '--steps', 4, '--out', runs)
    assert code == 0 and 'lora-seed0' in out, err
    assert find_runs(runs)[0]['lora-seed0']['steps'] == 4 and (runs/'source-seed0/model.safetensors').stat().st_mtime_ns == before


def test_predict(cli, quickstart, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (150, 200, 3), dtype=np.uint8)).save(tmp_path/'photo.jpg')
    code, _, _ = cli('predict', quickstart/'lora-seed0', tmp_path/'photo.jpg', '--out', tmp_path/'out')
    label = Image.open(tmp_path/'out/photo.png')
    assert code == 0 and label.size == (200, 150) and label.mode == 'P' and np.asarray(label).max() < 19
    assert Image.open(tmp_path/'out/photo-overlay.png').size == (200, 150)


def test_a_finished_run_is_all_that_predict_reads(cli, runs, tmp_path):
    "A configuration that names a file with a program in it: nothing of that file is read, let alone run"
    class Program:
        def __reduce__(self): return Path.touch, (tmp_path/'it ran',)
    (tmp_path/'weights.pth').write_bytes(pickle.dumps(Program()))
    path = runs/'none-seed0/config.json'
    config = json.loads(path.read_text())
    config['preset']['weights'] = str(tmp_path/'weights.pth')
    path.write_text(json.dumps(config))
    code, _, err = cli('predict', runs/'none-seed0', runs/'source-seed0/snapshots/input/00.png', '--out', tmp_path/'out')
    assert code == 0 and (tmp_path/'out/00.png').exists() and not (tmp_path/'it ran').exists(), err


def test_a_run_that_diverges_is_called_so(cli, runs, tmp_path):
    "At a rate at which nothing can be learnt: the run ends, the store and the report say where, and no weights are left"
    (tmp_path/'wild.json').write_text(smoke(PRESETS['streetscenes']).model_copy(update=dict(lr=1e30)).model_dump_json())
    shutil.rmtree(runs/'none-seed0')
    code, out, err = cli('train', '--preset', tmp_path/'wild.json', '--stabilizer', 'none', '--out', runs)
    assert code == 0 and 'diverged at step 2' in ' '.join(out.split()), (out, err)
    assert json.loads((runs/'none-seed0/diverged.json').read_text()) == dict(step=2, reason='the source loss is not finite')
    rows = {row['name']: row for row in json.loads(cli('report', runs, '--format', 'json')[1])['runs']}
    assert rows['none-seed0']['diverged'] == 2 and not rows['none-seed0']['finished'] and rows['lora-seed0']['diverged'] is None
    assert weights_path(runs/'none-seed0') is None
    assert 'NaN' not in (runs/'none-seed0/metrics.jsonl').read_text() + (runs/'none-seed0/config.json').read_text()


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again(how, cli, quickstart, tmp_path):
    "A run that is killed in a second process goes on from its snapshot, and ends like one that was left alone"
    shutil.copytree(quickstart/'source-seed0', tmp_path/'source-seed0')
    train = command('quickstart', '--smoke', '--no-app', '--out', tmp_path)
    process = subprocess.Popen(train, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path/'lora-seed0/resume/state.pt').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(.01)
    if how == signal.SIGKILL:   # a second process, while the first holds the runs
        process.send_signal(signal.SIGSTOP)
        state = lambda: {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob('*')}
        before = state()
        is_one_line(cli(*train[3:]), 'none-seed0: another process is writing this run')
        assert state() == before
    process.send_signal(how)
    _, said = process.communicate()
    assert not weights_path(tmp_path/'lora-seed0')
    if how == signal.SIGKILL:   # in the middle of two files
        with open(tmp_path/'lora-seed0/metrics.jsonl', 'a') as file: file.write('{"step": 10, "na')
        (tmp_path/'lora-seed0/snapshots/.00.png.1.tmp').write_bytes(b'half')
    if how == signal.SIGINT:
        assert process.returncode == 130 and 'start the same command again' in said and 'Traceback' not in said
    assert subprocess.run(train, capture_output=True).returncode == 0
    assert not list(tmp_path.rglob('*.tmp'))
    for name in ('none-seed0', 'ema-seed0', 'lora-seed0'):
        assert weights_path(tmp_path/name).read_bytes() == weights_path(quickstart/name).read_bytes()
        same = [c for c in read_metrics(quickstart/name) if c != 'step_ms']
        assert read_metrics(tmp_path/name)[same].equals(read_metrics(quickstart/name)[same])


@pytest.mark.parametrize('labelled', [True, False])
def test_camvid_by_one_command(cli, camvid, tmp_path, labelled):
    if not labelled:
        for split in ('train', 'test'):
            for path in (camvid/f'{split}annot').glob('0001TP*'): path.unlink()
    code, _, err = cli('quickstart', '--preset', 'camvid-day-dusk', '--root', camvid, '--smoke', '--no-app', '--out', tmp_path/'out')
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
    code, out, _ = cli('cost', '--dry-run', '--device', 'cuda', '--stabilizers', 'ema, lora-head-reuse', '--format', 'json')
    foretold = json.loads(out)
    assert code == 0 and (foretold['device'], foretold['precision']) == ('cuda', 'bf16')
    rows = {row['stabilizer']: row for row in foretold['rows']}
    assert list(rows) == ['ema', 'lora-head-reuse']
    assert rows['lora-head-reuse']['peak_bytes'] < .6 * rows['ema']['peak_bytes'] and rows['lora-head-reuse']['flops'] < rows['ema']['flops']
    code, out, _ = cli('cost', '--dry-run', '--device', 'cuda', '--stabilizers', 'frozen')
    assert code == 0 and 'frozen' in out and max(map(len, out.splitlines())) <= 80


def test_cost_as_json(cli):
    code, out, _ = cli('cost', '--device', 'cpu', '--crop', '64x128', '--batch', '2', '--rounds', '1', '--pairs', '2', '--stabilizers', 'ema,lora-head-light', '--format', 'json')
    result = json.loads(out)
    assert code == 0 and {'device', 'versions', 'command', 'date', 'setting', 'rows'} <= result.keys()
    rows = {row['stabilizer']: row for row in result['rows']}
    assert list(rows) == ['ema', 'lora-head-light']
    for row in rows.values():
        assert row['step_ms'] > 0 and row['images_per_s'] > 0 and row['peak_memory_bytes'] == sum(row['memory'].values())
        assert abs(row['predicted_peak_bytes'] / row['peak_memory_bytes'] - 1) < .05 and 0 < row['matrix_throughput_share'] < 1
    ema, light = rows['ema'], rows['lora-head-light']
    assert light['peak_memory_bytes'] < .6 * ema['peak_memory_bytes'] and light['flops'] < ema['flops'] and light['saved_bytes'] < .1 * ema['saved_bytes']
    assert light['time_ms']['teacher'] == 0 < ema['time_ms']['teacher'] and light['time_ms']['EMA update'] < ema['time_ms']['EMA update']
