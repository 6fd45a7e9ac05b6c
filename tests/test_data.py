"The published datasets' layouts and encodings: checked, planned on, trained on, and damaged."

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from conftest import command
from PIL import Image
from test_bad_input import is_one_line

from lora_da_bench import datasets
from lora_da_bench.experiments import PRESETS
from lora_da_bench.labels import CITYSCAPES, SYNTHIA, label_image
from lora_da_bench.runs import find_runs, labelled_frames, read_metrics, weights_path


@pytest.mark.parametrize('name, frames', [('gta5', 4), ('synthia', 4), ('cityscapes', 27)])
def test_check_of_a_good_tree(cli, published, name, frames):
    code, out, err = cli('data', 'check', name, published/name)
    assert code == 0 and 'No problems.' in out and err == ''
    assert 'road' in out and ('128 x 76' if name != 'cityscapes' else '128 x 64') in out
    assert f'{frames}/{frames}' in out or name == 'cityscapes'


def test_check_of_a_folder_of_ones_own(cli, published, tmp_path):
    shutil.copytree(published/'gta5', tmp_path/'own')
    is_one_line(cli('data', 'check', 'folder', tmp_path/'own'), 'classes.json: no such file; expected a JSON object')
    (tmp_path/'own/classes.json').write_text(json.dumps({str(i): n for i, n in {7: 'road', 11: 'house', 23: 'sky'}.items()} | {str(i): None for i in range(35) if i not in (7, 11, 23)}))
    code, out, _ = cli('data', 'check', 'folder', tmp_path/'own')
    assert code == 0 and 'house' in out


def test_check_names_every_damaged_file(cli, published):
    root = published/'gta5'
    (root/'images/00000.png').write_bytes((root/'images/00000.png').read_bytes()[:900])
    label_image(np.zeros((70, 128)), CITYSCAPES).save(root/'labels/00001.png')
    Image.new('RGB', (128, 76)).save(root/'labels/00002.png')
    (root/'labels/00003.png').unlink()
    code, out, err = cli('data', 'check', 'gta5', root)
    lines = err.splitlines()
    assert code == 2 and len(lines) == 5 and lines[-1] == f'error: {root}: 4 problems in 3 frames'
    for part in ('images/00000.png: expected a JPEG or PNG image', 'labels/00001.png: is 128 x 70 pixels, its image 128 x 76',
                 'labels/00002.png: expected a label with one 8-bit channel of ids, got mode RGB', 'images/00003.png: has no label of the same name'):
        assert sum(part in line for line in lines) == 1, part


def test_check_names_wrong_encodings_and_ids(cli, published):
    Image.new('RGB', (128, 76)).save(published/'synthia/RAND_CITYSCAPES/GT/LABELS/0000001.png')
    code, _, err = cli('data', 'check', 'synthia', published/'synthia')
    assert code == 2 and '0000001.png: expected a 16-bit PNG with ids in its first channel, got 3 channel(s) of 8 bits' in err
    path = next((published/'cityscapes/gtFine/val/lindau').iterdir())
    Image.fromarray(np.full((64, 128), 77, np.uint8)).save(path)
    code, _, err = cli('data', 'check', 'cityscapes', published/'cityscapes')
    assert code == 2 and f'{path}: id 77 is outside the label space cityscapes, which knows 0..33, 255' in err


def test_wrong_roots(cli, published, tmp_path):
    is_one_line(cli('data', 'check', 'gta6', published), "NAME: 'gta6' is unknown; expected gta5, synthia, cityscapes, camvid, folder")
    is_one_line(cli('data', 'check', 'gta5', tmp_path/'nowhere'), 'nowhere: no such folder; expected that of gta5')
    is_one_line(cli('data', 'check', 'gta5', published), 'expected GTA5 with the folders images and labels')
    is_one_line(cli('data', 'check', 'synthia', published), 'expected SYNTHIA-RAND-CITYSCAPES with the folders RGB and GT/LABELS')
    is_one_line(cli('train', '--preset', 'gta5-cityscapes-swin-s', '--dry-run'), '--root: expected the folder of gta5-cityscapes')
    is_one_line(cli('train', '--preset', 'gta5-cityscapes-swin-s', '--root', published/'gta5', '--dry-run'), 'gta5/gta5: expected GTA5 with the folders images and labels')
    is_one_line(cli('train', '--preset', 'gta5-cityscapes-swin-s', '--root', tmp_path, '--dry-run'), 'expected')


def test_a_missing_city(cli, published, small_published, tmp_path):
    shutil.rmtree(published/'cityscapes/gtFine/train/ulm')
    is_one_line(cli('train', '--preset', small_published(), '--root', published, '--out', tmp_path/'out'),
                'gtFine/train/ulm: no such folder; expected the 18 cities of Cityscapes/train')
    code, _, err = cli('data', 'check', 'cityscapes', published/'cityscapes')
    assert code == 2 and 'gtFine/train/ulm: no such folder' in err


@pytest.mark.parametrize('preset', ['gta5-cityscapes-swin-s', 'synthia-cityscapes-swin-b'])
def test_the_published_experiment_in_small(cli, published, small_published, tmp_path, preset):
    "Warm-up, labels, a round on them: all of it from one command, on files in the published encodings"
    label_image(np.zeros((70, 128)), CITYSCAPES).save(published/'gta5/labels/00001.png')   # as in the published set: another size
    code, out, err = cli('train', '--preset', small_published(preset), '--root', published, '--stabilizer', 'lora', '--out', tmp_path/'out')
    assert code == 0, err
    runs, skipped = find_runs(tmp_path/'out')
    assert list(runs) == ['transda-lora-seed0-round0', 'transda-lora-seed0-round1'] and not skipped
    assert len(labelled_frames(tmp_path/'out/transda-lora-seed0-round0')) == 18
    for name, run in runs.items():
        assert len(run['classes']) == (19 if 'gta5' in preset else 16)
        assert {'labels_miou', 'labels_accuracy', 'target_miou', 'loss/adversarial'} <= set(run['metrics'])
        assert ('loss/target' in run['metrics']) == name.endswith('round1')
    code, out, err = cli('evaluate', tmp_path/'out/transda-lora-seed0-round1', '--flip', '--scales', '0.75,1', '--window', '64x64')
    assert code == 0 and 'mIoU-16' in out and 'mIoU-13' in out and ('mIoU-19' in out) == ('gta5' in preset), err
    assert set(json.loads((tmp_path/'out/transda-lora-seed0-round1/evaluation.json').read_text())['iou']) == set(CITYSCAPES.classes if 'gta5' in preset else SYNTHIA.classes)


def test_a_target_without_labels(cli, published, small_published, tmp_path):
    "Adaptation needs no target labels; a score does, and says so"
    shutil.rmtree(published/'cityscapes/gtFine')
    code, _, err = cli('train', '--preset', small_published(), '--root', published, '--stabilizer', 'none', '--out', tmp_path/'out')
    assert code == 0, err
    metrics = find_runs(tmp_path/'out')[0]['transda-none-seed0-round1']['metrics']
    assert 'target_miou' not in metrics and 'labels_miou' not in metrics and 'flip_rate' in metrics
    is_one_line(cli('evaluate', tmp_path/'out/transda-none-seed0-round1'), 'cityscapes/leftImg8bit/val/', 'expected labels to score against, found none')
    is_one_line(cli('evaluate', tmp_path/'out/transda-none-seed0-round1', '--window', '30x50'), "--window: expected multiples of 4 pixels, at least 32, got '30x50'")


def test_frames_as_large_as_the_published_ones(cli, published, small_published, tmp_path):
    "Frames that are looked at one by one still give BatchNorm's statistics more than one value; and pieces of a larger source crop can be pasted"
    preset = small_published(size=(256, 512), seen=3)
    for recipe in ('transda', 'mixed'):
        code, _, err = cli('train', '--preset', preset, '--root', published, '--recipe', recipe, '--stabilizer', 'ema', '--steps', '2', '--out', tmp_path/'out')
        assert code == 0, err
    preset = small_published(source_crop=(32, 32))
    is_one_line(cli('train', '--preset', preset, '--root', published, '--recipe', 'mixed', '--out', tmp_path/'other'), 'recipes.mixed.mix', 'source_crop (32, 32) is smaller than crop (32, 64)')


def truncate(path): path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2])


@pytest.mark.parametrize('kind', ['leftImg8bit', 'gtFine'])
def test_a_target_frame_that_breaks_off(cli, published, small_published, tmp_path, caplog, kind):
    "It is reported, gets no labels, and the next round does without it; and where that is too much, nothing is guessed"
    broken = next((published/'cityscapes'/kind/'train/zurich').iterdir())
    truncate(broken)
    how = '--root', published, '--stabilizer', 'none'
    code, _, err = cli('train', '--preset', small_published(steps=8), *how, '--out', tmp_path/'out')
    assert code == 0 and f'not labelled: {broken}: ' in caplog.text, err
    assert len(labelled_frames(tmp_path/'out/transda-none-seed0-round0')) == 17 and weights_path(tmp_path/'out/transda-none-seed0-round1')
    caplog.clear()
    assert cli('train', '--preset', small_published(steps=8), *how, '--out', tmp_path/'out')[0] == 0 and 'not labelled' not in caplog.text  # what is done is left alone
    code, _, err = cli('train', '--preset', small_published(max_unreadable=0), *how, '--out', tmp_path/'strict')
    assert code == 2 and err.splitlines()[-1].startswith('error: ') and 'that makes 1 unreadable files, and max_unreadable is 0' in err


def test_a_source_with_wrong_or_too_many_broken_files(cli, published, small_published, tmp_path):
    train = lambda **changes: cli('train', '--preset', small_published(**changes), '--root', published, '--out', tmp_path/'out')
    for i in (0, 1): truncate(published/f'gta5/images/{i:05}.png')
    is_one_line(train(max_unreadable=1), 'images/00000.png: ', 'that makes 2 unreadable files, and max_unreadable is 1')
    label = published/'gta5/labels/00002.png'
    kept = label.read_bytes()
    label_image(np.full((76, 128), 77), CITYSCAPES).save(label)
    is_one_line(train(), 'labels/00002.png: id 77 is outside the label space')
    label.write_bytes(kept)
    Image.new('RGB', (128, 76)).save(published/'gta5/labels/00003.png')
    is_one_line(train(), 'labels/00003.png: expected a label with one 8-bit channel of ids, got mode RGB')


def test_what_needs_labels_says_so_at_once(cli, published, small_published, tmp_path):
    shutil.rmtree(published/'cityscapes/gtFine/train')
    is_one_line(cli('train', '--preset', small_published(), '--root', published, '--recipe', 'ceiling', '--out', tmp_path/'out'),
                "recipe 'ceiling' learns the true labels of the target's training frames, found none")
    shutil.rmtree(published/'cityscapes/gtFine/val')
    is_one_line(cli('ablation', '--preset', small_published(), '--root', published, '--out', tmp_path/'ablation'), 'an ablation compares scores, and the held-out frames have no labels')
    assert not find_runs(tmp_path/'ablation')[0] and not (tmp_path/'out').exists()


def test_layouts_that_are_nearly_right(cli, published, camvid):
    city = published/'cityscapes/leftImg8bit/train/ulm'
    for file in city.iterdir(): file.unlink()
    code, _, err = cli('data', 'check', 'cityscapes', published/'cityscapes')
    assert code == 2 and f'{city}: holds no .png images; expected the 18 cities' in err
    for file in (published/'cityscapes/gtFine/val').glob('*/*'): file.rename(file.with_name(file.name.replace('labelIds', 'color')))
    is_one_line(cli('data', 'check', 'cityscapes', published/'cityscapes'), 'gtFine/val: expected files *_gtFine_labelIds.png or *_gtFine_labelTrainIds.png')
    (camvid/'test/Seq05VD_1.jpg').write_bytes(b'no picture')
    (camvid/'testannot/Seq05VD_1.png').write_bytes((camvid/'testannot/0001TP_3.png').read_bytes())
    code, _, err = cli('data', 'check', 'camvid', camvid)
    assert code == 2 and 'Seq05VD_1.jpg: expected a JPEG or PNG image' in err


def test_a_killed_round_goes_on(published, small_published, tmp_path):
    "Killed while a round trains, as the public code would: the same command ends with the same weights and the same labels as one that was left alone"
    train = lambda out: command('train', '--preset', small_published('gta5-cityscapes-swin-s-public', steps=8), '--root', published, '--stabilizer', 'ema',
                                '--out', tmp_path/out)
    assert subprocess.run(train('whole'), capture_output=True).returncode == 0
    process, deadline = subprocess.Popen(train('killed'), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL), time.monotonic() + 120
    while not (tmp_path/'killed/transda-ema-seed0-round1/resume/state.pt').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    labels = tmp_path/'killed/transda-ema-seed0-round0/pseudo-labels'
    assert not weights_path(tmp_path/'killed/transda-ema-seed0-round1') and len(list(labels.glob('*.png'))) == 18
    assert subprocess.run(train('killed'), capture_output=True).returncode == 0
    for name in ('transda-ema-seed0-round0', 'transda-ema-seed0-round1'):
        one, other = tmp_path/'whole'/name, tmp_path/'killed'/name
        assert weights_path(one).read_bytes() == weights_path(other).read_bytes()
        assert all(p.read_bytes() == (other/p.relative_to(one)).read_bytes() for p in one.glob('pseudo-labels/*.png'))
        same = [c for c in read_metrics(one) if c != 'step_ms']
        assert read_metrics(one)[same].equals(read_metrics(other)[same])


def test_dry_run_of_a_published_preset(cli, published, small_published, tmp_path):
    "The real Swin, the real decoder, the real step: what will run, and what it will take"
    def plan(preset, *more):
        code, out, err = cli('train', '--preset', preset, '--root', published, '--stabilizer', 'lora', '--dry-run', '--out', tmp_path/'out', *more)
        assert code == 0, err
        return ' '.join(out.split())
    text = plan('gta5-cityscapes-swin-b')
    assert 'student: AdamW, betas 0.9 and 0.999' in text and 'discriminators: Adam, betas 0.9 and 0.99' in text and 'numbers at 0.0003, no weight decay' in text
    assert 'recipes.transda.legacy_broadcast False True' in text and 'stabilizer lora ema' in text
    assert '4 source frames, 18 target frames to adapt to, 3 held out' in text and '40,000 steps in all' in text and 'transda-lora-seed0-round3' in text
    assert 'estimated on this device' in text and ' GB for weights' in text
    assert '10 steps in all' in plan(small_published(), '--steps', '5') and not (tmp_path/'out').exists()


def test_own_folders(cli, published, tmp_path):
    "Images, labels for the source, one file of classes: nothing else is needed"
    for part, n in (('source', 4), ('target', 3), ('held-out', 1)):
        for i in range(n):
            for kind in ('images', 'labels')[:2 if part == 'source' else 1]:
                (tmp_path/'own'/part/kind).mkdir(parents=True, exist_ok=True)
                shutil.copy(published/f'gta5/{kind}/{i:05}.png', tmp_path/'own'/part/kind)
    (tmp_path/'own/classes.json').write_text(json.dumps({str(i): {7: 'road', 11: 'house', 23: 'sky'}.get(i) for i in range(35)}))
    preset = json.loads(PRESETS['folders'].model_dump_json()) | dict(size=(64, 128), crop=(32, 64), source_steps=4, steps=4, eval_every=2, decoder_channels=16, batch_size=2)
    (tmp_path/'own.json').write_text(json.dumps(preset))
    code, _, err = cli('train', '--preset', tmp_path/'own.json', '--root', tmp_path/'own', '--recipe', 'mixed', '--out', tmp_path/'out')
    assert code == 0, err
    assert find_runs(tmp_path/'out')[0]['mixed-lora-seed0']['classes'] == ['road', 'house', 'sky']
    shutil.rmtree(tmp_path/'own/source/labels')
    is_one_line(cli('train', '--preset', tmp_path/'own.json', '--root', tmp_path/'own', '--out', tmp_path/'other'), 'source/labels: expected labels for the source, found none')


def test_cost_with_data(cli, published, monkeypatch):
    how = 'cost', '--device', 'cpu', '--crop', '32x64', '--batch', '2', '--rounds', '1', '--pairs', '1', '--stabilizers', 'lora-head-light', '--format', 'json'
    is_one_line(cli(*how, '--with-data', published/'nowhere'), 'nowhere')
    read = datasets.read_image
    def slowly(*args): time.sleep(.5); return read(*args)
    monkeypatch.setattr(datasets, 'read_image', slowly)
    code, out, err = cli(*how, '--with-data', published)
    assert code == 0, err
    row, = json.loads(out)['waiting']
    assert row['stabilizer'] == 'lora-head-light' and row['step_ms'] > 0 and .5 < row['waiting_share'] < 1  # whatever the workers had ready
