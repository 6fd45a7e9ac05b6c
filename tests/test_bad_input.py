"A user's mistakes: one line that names the file or field and what was expected, exit code 2, nothing lost."

import json
import os
import re
import resource
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import but_for_alarms, command
from PIL import Image

from lora_da_bench.core.errors import Unreadable
from lora_da_bench.runs.experiments import PRESETS, smoke
from lora_da_bench.evidence.run_store import find_runs, weights_path


def is_one_line(result, *parts):
    code, _, err = result
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2 and len(lines) == 1 and lines[0].startswith('error: '), (code, err)
    for part in parts: assert str(part) in lines[0], lines[0]


def test_a_real_process_says_it_too(tmp_path):
    done = subprocess.run(command('report', tmp_path/'nowhere'), capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == f'error: {tmp_path}/nowhere: no such folder; expected one with runs\n'


def test_empty_run_folder(cli, runs):
    (runs/'empty').mkdir()
    code, out, err = cli('report', runs, '--format', 'json')
    assert code == 0 and len(json.loads(out)['runs']) == 4 and f'{runs}/empty: not a run; expected a folder with config.json' in err
    code, _, err = cli('report', runs/'empty')
    assert code == 2 and 'error:' in err
    is_one_line(cli('predict', runs/'empty', runs/'source-seed0/snapshots/input/00.png', '--out', runs/'out'), 'empty: not a run', 'config.json')


def test_folder_without_runs(cli, tmp_path):
    is_one_line(cli('report', tmp_path), 'holds no adaptation', 'config.json')
    (tmp_path/'file').write_text('')
    is_one_line(cli('quickstart', '--no-app', '--out', tmp_path/'file'), '--out: ', 'file: is a file, expected a folder')
    is_one_line(cli('app', tmp_path/'file'), 'file: no such folder')


def test_folders_that_are_closed_to_this_user(cli, runs, tmp_path, monkeypatch):
    "Root may look anywhere, so the operating system's refusal is acted"
    asked = os.stat
    def stat(path, *args, **how):
        if isinstance(path, (str, Path)) and '/closed/' in str(path): raise PermissionError(13, 'Permission denied')
        return asked(path, *args, **how)
    closed, picture = tmp_path/'closed', runs/'source-seed0/snapshots/input/00.png'
    closed.mkdir()
    shutil.copytree(runs/'mixed-none-seed0', runs/'closed')
    monkeypatch.setattr(os, 'stat', stat)
    is_one_line(cli('train', '--out', closed/'runs'), f'--out: {closed}/runs: cannot be written to (Permission denied)')
    is_one_line(cli('train', '--set', f'weights={closed}/w.pth', '--out', tmp_path/'out'), f'weights: {closed}/w.pth: no such file')
    is_one_line(cli('study', closed/'study.json', '--out', tmp_path/'out'), "study: '" + f"{closed}/study.json' is unknown; expected fair")
    is_one_line(cli('verdict', closed/'runs'), f'{closed}/runs: cannot be read (Permission denied)')
    is_one_line(cli('app', runs, '--data', f'folders={closed}/own'), f'--data folders={closed}/own: no such folder')
    is_one_line(cli('predict', runs/'closed', picture, '--out', tmp_path/'out'), 'closed/config.json: cannot be read (Permission denied)')
    with pytest.raises(Unreadable, match='closed: cannot be read'): weights_path(runs/'closed')
    from lora_da_bench_app.runs import Runs
    known = Runs(runs)
    assert known.studies() == ['~'] and len(known.all('~')[0]) == 5 and 'closed/config.json: cannot be read' in known.all('~')[1][0]


def test_foreign_config(cli, runs):
    path = runs/'mixed-none-seed0/config.json'
    path.write_text(json.dumps(dict(json.loads(path.read_text()), seed='x')))
    is_one_line(cli('predict', runs/'mixed-none-seed0', runs/'source-seed0/snapshots/input/00.png', '--out', runs/'out'), 'mixed-none-seed0/config.json: field seed')


def test_half_written_config(cli, runs):
    path = runs/'mixed-ema-seed0/config.json'
    path.write_text(path.read_text()[:100])
    code, out, err = cli('report', runs, '--format', 'json')
    assert code == 0 and len(json.loads(out)['runs']) == 3 and f'{path}: is no JSON; expected a JSON file' in err


def test_damaged_metrics(cli, runs):
    path = runs/'mixed-ema-seed0/metrics.jsonl'
    path.write_text('what?\n' + path.read_text())
    code, _, err = cli('report', runs)
    assert code == 0 and f'{path}: line 1 is not an event' in err


def test_unfinished_run(cli, runs):
    (runs/'mixed-none-seed0/model.safetensors').unlink()
    is_one_line(cli('predict', runs/'mixed-none-seed0', runs/'source-seed0/snapshots/input/00.png', '--out', runs/'out'), 'mixed-none-seed0: the run is not finished')


def test_lost_source_weights(cli, runs):
    (runs/'source-seed0/model.safetensors').unlink()
    is_one_line(cli('predict', runs/'mixed-lora-seed0', runs/'source-seed0/snapshots/input/00.png', '--out', runs/'out'), 'source-seed0: expected a finished run to start from')


def test_damaged_weights(cli, runs):
    (runs/'mixed-none-seed0/model.safetensors').write_bytes(b'half')
    is_one_line(cli('predict', runs/'mixed-none-seed0', runs/'source-seed0/snapshots/input/00.png', '--out', runs/'out'), 'model.safetensors: expected a safetensors file')


def test_no_image(cli, runs, tmp_path):
    (tmp_path/'text.png').write_text('hello')
    is_one_line(cli('predict', runs/'mixed-none-seed0', tmp_path/'text.png', '--out', tmp_path/'out'), 'text.png: expected a JPEG or PNG image')
    is_one_line(cli('predict', runs/'mixed-none-seed0', tmp_path/'none.png', '--out', tmp_path/'out'), 'none.png: no such file')


def test_outputs_never_replace_inputs(cli, runs, tmp_path):
    "A photograph that is where a label map would go, the overlay of one that has the name of another, and two of one name: refused before anything is written"
    run, home = runs/'mixed-none-seed0', tmp_path/'home'
    home.mkdir()
    for name in ('photo.png', 'photo.jpg', 'photo-overlay.png', 'other.png'): Image.new('RGB', (32, 32), 'red').save(home/name)
    before = {p: p.read_bytes() for p in home.iterdir()}
    is_one_line(cli('predict', run, home/'photo.png', '--out', home), f'{home}/photo.png: would be written over what was given')
    is_one_line(cli('predict', run, home, '--out', home), 'would be written over what was given')
    is_one_line(cli('predict', run, home/'photo-overlay.png', home/'photo.jpg', '--out', home), f'{home}/photo-overlay.png: would be written over what was given')
    is_one_line(cli('predict', run, home/'photo.png', home/'photo.jpg', '--out', tmp_path/'out'), 'photo.png: would be written twice')
    is_one_line(cli('predict', run, home/'photo.png', home/'photo-overlay.png', '--out', tmp_path/'out'), 'photo-overlay.png: would be written twice')
    (tmp_path/'link').symlink_to(home)
    is_one_line(cli('predict', run, tmp_path/'link/other.png', '--out', home), 'other.png: would be written over what was given')
    assert before == {p: p.read_bytes() for p in home.iterdir()} and not (tmp_path/'out').exists()


def test_predict_a_folder(cli, runs, tmp_path):
    "The tree is mirrored, what can't be read is named, counted and skipped"
    (tmp_path/'in/deep').mkdir(parents=True)
    for name in ('a.jpg', 'deep/b.png'): Image.new('RGB', (40, 32), 'green').save(tmp_path/'in'/name)
    (tmp_path/'in/deep/broken.png').write_bytes(b'no picture')
    code, out, err = cli('predict', runs/'mixed-none-seed0', tmp_path/'in', '--out', tmp_path/'out')
    assert code == 0 and '2 label maps and overlays' in out and '1 pictures could not be read' in out
    assert sorted(str(p.relative_to(tmp_path/'out')) for p in (tmp_path/'out').rglob('*.png')) == ['a-overlay.png', 'a.png', 'deep/b-overlay.png', 'deep/b.png']
    (tmp_path/'empty').mkdir()
    is_one_line(cli('predict', runs/'mixed-none-seed0', tmp_path/'empty', '--out', tmp_path/'out2'), 'empty: holds no pictures')


def camvid_run(cli, root, out): return cli('quickstart', '--preset', 'camvid-day-dusk', '--root', root, '--smoke', '--no-app', '--out', out)


def test_id_outside_the_label_space(cli, camvid, tmp_path):
    Image.fromarray(np.full((90, 120), 40, np.uint8)).save(camvid/'trainannot/0006R0_1.png')
    is_one_line(camvid_run(cli, camvid, tmp_path/'out'), 'trainannot/0006R0_1.png: id 40 is outside the label space camvid')


def test_colour_label(cli, camvid, tmp_path):
    Image.new('RGB', (120, 90)).save(camvid/'trainannot/0006R0_1.png')
    is_one_line(camvid_run(cli, camvid, tmp_path/'out'), '0006R0_1.png: expected a label with one 8-bit channel', 'RGB')


def test_missing_label(cli, camvid, tmp_path):
    (camvid/'trainannot/0006R0_1.png').unlink()
    is_one_line(camvid_run(cli, camvid, tmp_path/'out'), '0006R0_1.jpg: has no label of the same name', '4 images, 3 labels')


def test_other_name(cli, camvid, tmp_path):
    (camvid/'trainannot/0006R0_1.png').rename(camvid/'trainannot/0006R0_9.png')
    is_one_line(camvid_run(cli, camvid, tmp_path/'out'), 'of the same name', '4 images, 4 labels')


def test_other_size(cli, camvid, tmp_path):
    Image.new('L', (60, 45)).save(camvid/'trainannot/0016E5_1.png')
    is_one_line(camvid_run(cli, camvid, tmp_path/'out'), '0016E5_1.png: is 60 x 45 pixels, its image 120 x 90')


def cut_off(path): path.write_bytes(path.read_bytes()[:700])


def test_broken_frame_is_reported_and_skipped(second, camvid, tmp_path):
    cut_off(camvid/'train/0016E5_1.jpg')
    code, _, said = second('train', '--preset', camvid_preset(tmp_path), '--root', camvid, '--steps', '4', '--out', tmp_path/'out').wait()
    assert code == 0 and said.count('skipped: ') == 2 and '0016E5_1.jpg: expected a JPEG or PNG image' in said, said   # once a run
    runs, _ = find_runs(tmp_path/'out')
    assert all(run['metrics'].unreadable_files.iloc[-1] == 1 for run in runs.values()) and len(runs) == 2


def test_too_many_broken_frames(cli, camvid, tmp_path):
    cut_off(camvid/'train/0016E5_1.jpg')
    preset = camvid_preset(tmp_path, max_unreadable=0)
    is_one_line(cli('train', '--preset', preset, '--root', camvid, '--out', tmp_path/'out'), '0016E5_1.jpg: expected a JPEG or PNG image', '1 unreadable files, and max_unreadable is 0')
    for name in ('0006R0_1', '0006R0_2', '0016E5_2'): cut_off(camvid/f'train/{name}.jpg')
    is_one_line(cli('train', '--preset', camvid_preset(tmp_path), '--root', camvid, '--out', tmp_path/'out2'), 'expected a JPEG or PNG image')


def test_broken_held_out_frame(cli, camvid, tmp_path):
    "A score that left a frame out would be another score"
    cut_off(camvid/'test/0001TP_4.jpg')
    is_one_line(camvid_run(cli, camvid, tmp_path/'out'), '0001TP_4.jpg: expected a JPEG or PNG image')


def camvid_preset(tmp_path, **changes):
    from lora_da_bench.runs.experiments import smoke
    path = tmp_path/'camvid.json'
    path.write_text(json.dumps(json.loads(smoke(PRESETS['camvid-day-dusk']).model_dump_json()) | dict(source_steps=4, steps=4, eval_every=2) | changes))
    return path


def test_missing_root(cli, tmp_path):
    is_one_line(cli('train', '--preset', 'camvid-day-dusk', '--out', tmp_path/'out'), '--root: expected the folder of camvid')
    is_one_line(camvid_run(cli, tmp_path/'nowhere', tmp_path/'out'), 'nowhere: expected CamVid with the folders')


def test_unknown_names(cli, tmp_path):
    is_one_line(cli('train', '--stabilizer', 'lorra', '--out', tmp_path/'out'), "stabilizer: 'lorra' is unknown; expected none, ema, lora, lora+ema, dora, ia3, prompt, norm, frozen, frozen+ema, slow, l2sp, frozen-teacher; did you mean 'lora'?")
    is_one_line(cli('train', '--recipe', 'planes', '--out', tmp_path/'out'), "recipe: 'planes' is unknown; expected source, plain, mixed, transda, oracle; did you mean 'plain'?")
    is_one_line(cli('train', '--preset', 'streets', '--out', tmp_path/'out'), "preset: 'streets' is unknown; expected streetscenes")


@pytest.mark.parametrize('change, parts', [
    (dict(stepps=3), ('field stepps', 'expected one of')),
    (dict(stabilizers={'emma': {}}), ("stabilizer: 'emma' is unknown",)),
    (dict(recipes={'mixed': {'mixx': True}}), ("recipes.mixed: 'mixx' is unknown; expected source, self-training, adversary",)),
    (dict(scale=(2, 1)), ('field scale', 'the smaller one first')),
    (dict(data=dict(gap=2)), ('field data: data.gap', 'less than or equal to 1, got 2')),
    (dict(model='swin_small'), ("model: 'swin_small' is unknown", 'swin_small_patch4_window7_224')),
    (dict(weights='absent.pth'), ('absent.pth: no such file',)),
    (dict(stabilizers={'ema': {'decoy': .9}}), ('stabilizers.ema.decoy: unknown; expected encoder_rate, decoder_rate, decay',)),
])
def test_preset_file(cli, tmp_path, change, parts):
    (tmp_path/'mine.json').write_text(json.dumps(dict(json.loads(PRESETS['streetscenes'].model_dump_json()), **change)))
    is_one_line(cli('train', '--preset', tmp_path/'mine.json', '--stabilizer', 'ema', '--out', tmp_path/'out'), *parts)


def test_another_run_in_the_folder(cli, runs):
    before = (runs/'source-seed0/config.json').read_text()
    is_one_line(cli('train', '--stabilizer', 'lora', '--out', runs), 'source-seed0/config.json: holds a run with', 'choose another --out')
    assert (runs/'source-seed0/config.json').read_text() == before


def small_files_only():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def test_full_disk(cli, second, tmp_path):
    "The operating system refuses to write more: one line, and what was written before is whole"
    (tmp_path/'smoke.json').write_text(smoke(PRESETS['streetscenes']).model_dump_json())
    train = 'train', '--preset', tmp_path/'smoke.json', '--out', tmp_path/'out'
    is_one_line(second(*train, prepare=small_files_only).wait(), 'source-seed0/', 'cannot be written (File too large)', 'start the same command again')
    runs, skipped = find_runs(tmp_path/'out')
    assert list(runs) == ['source-seed0'] and not skipped and len(runs['source-seed0']['metrics']) > 0
    assert not list((tmp_path/'out').rglob('*.tmp'))
    assert cli(*train)[0] == 0


def test_full_disk_in_the_middle_of_a_study(cli, second, tmp_path):
    "What was finished before stays readable, and the same command goes on"
    few = dict(size=[48, 64], crop=[32, 48], batch_size=2, source_steps=2, steps=2, eval_every=2, seen=2, probes=1, data=dict(frames=[8, 4, 2]))
    (tmp_path/'few.json').write_text(json.dumps(dict(preset='streetscenes', settings=few, seeds=2, arms=[{'stabilizer': ['ema', 'frozen']}])))
    study = 'study', tmp_path/'few.json', '--out', tmp_path/'out'
    assert cli(*study, '--seeds', '1')[0] == 0
    is_one_line(second(*study, prepare=small_files_only).wait(), 'source-seed1/', 'cannot be written (File too large)')
    runs, skipped = find_runs(tmp_path/'out')
    assert {'source-seed0', 'mixed-ema-seed0', 'mixed-frozen-seed0'} <= runs.keys() and not skipped
    (tmp_path/'out/mixed-frozen-seed1').write_text('no folder')
    code, out, err = cli(*study)                               # one arm fails, the others go on
    assert code == 2 and 'mixed: ' in out and '1 of the runs failed' in ' '.join(err.split())
    assert find_runs(tmp_path/'out')[1][-1].startswith('mixed-frozen-seed1: ')   # and who reads the folder is told
    (tmp_path/'out/mixed-frozen-seed1').unlink()
    code, out, err = cli(*study)
    assert code == 0 and 'mixed: ' in out and not but_for_alarms(err) and not find_runs(tmp_path/'out')[1]


def offline(cache):
    from huggingface_hub import constants
    constants.HF_HUB_OFFLINE, constants.HF_HUB_CACHE = True, str(cache)


def test_hub_out_of_reach(second, tmp_path):
    preset = dict(json.loads(PRESETS['streetscenes'].model_dump_json()), model='swin_tiny_patch4_window7_224', weights='hub')
    (tmp_path/'hub.json').write_text(json.dumps(preset))
    done = second('train', '--preset', tmp_path/'hub.json', '--out', tmp_path/'out', prepare=partial(offline, tmp_path/'cache')).wait()
    is_one_line(done, 'weights: hub: swin_tiny_patch4_window7_224 could not be fetched from the hub', 'give the file')


def test_cost_of_what_is_not_there(cli):
    is_one_line(cli('cost', '--device', 'tpu'), "--device: 'tpu' is not to be had here; supported: ", 'cpu')
    is_one_line(cli('cost', '--device', 'cpu', '--precision', 'fp8'), "--precision: 'fp8' is not supported on cpu; supported: fp32, bf16")
    is_one_line(cli('cost', '--stabilizers', 'ema,emma'), "stabilizers: 'emma' is unknown; expected reference, none, ema")
    is_one_line(cli('cost', '--crop', '30x32'), "--crop: expected multiples of 4 pixels, at least 32, got '30x32'")
    is_one_line(cli('cost', '--model', 'swan'), "model: 'swan' is unknown; expected 'mini' or a Swin of timm, such as ")
    is_one_line(cli('cost', '--batch', '1'), '--batch: expected at least 2, ', 'got 1')
    is_one_line(cli('cost', '--figure', '/nowhere/cost.html'), '--figure: /nowhere/cost.html: expected a file in a folder that can be written to')
    is_one_line(cli('cost', '--dry-run', '--device', 'tpu'), "--device: 'tpu' is unknown; expected cuda, cpu, mps")
    is_one_line(cli('cost', '--dry-run', '--device', 'mps', '--precision', 'bf16'), "--precision: 'bf16' is not supported on mps; supported: fp32")
    is_one_line(cli('cost', '--dry-run', '--precision', 'fp8'), "--precision: 'fp8' is not supported on ")
    published = re.search(r'--model (\S+)', (Path(__file__).parents[1]/'Makefile').read_text())[1]  # of `make cost`
    is_one_line(cli('cost', '--device', 'cpu', '--model', published, '--stabilizers', 'emma'), "stabilizers: 'emma' is unknown")


def test_cost_that_will_not_fit(cli):
    code, _, err = cli('cost', '--model', 'micro', '--device', 'cpu', '--batch', '1000000', '--checkpointing', '--stabilizers', 'lora-head-light')
    assert code == 2 and 'error: out of memory: a step of lora-head-light needs about ' in err and ', and cpu has ' in err
    assert 'what would help most: ' in err and err.count('GB)') == 3 and err.rstrip().endswith('none of them alone is enough; or leave lora-head-light out of --stabilizers')


def test_a_pass_cannot_be_reused_for_other_images(cli, tmp_path):
    (tmp_path/'p.json').write_text(PRESETS['streetscenes'].model_copy(update=dict(stabilizers={'lora': {'mode': 'train'}})).model_dump_json())
    is_one_line(cli('train', '--preset', tmp_path/'p.json', '--recipe', 'mixed', '--out', tmp_path/'out'), "stabilizers.lora.mode: 'train' needs a recipe whose student sees")
    (tmp_path/'p.json').write_text(PRESETS['streetscenes'].model_copy(update=dict(stabilizers={'lora': {'stages': 5}})).model_dump_json())
    is_one_line(cli('train', '--preset', tmp_path/'p.json', '--out', tmp_path/'out'), 'stabilizers.lora.stages: expected a number less than or equal to 4, got 5')
