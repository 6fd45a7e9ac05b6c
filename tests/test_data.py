"The published datasets' layouts and encodings: checked, planned on, trained on, and damaged."

import json
import shutil
import signal
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import but_for_alarms
from PIL import Image
from test_bad_input import is_one_line

from lora_da_bench.data import datasets
from lora_da_bench.studies.arms import Arm, chain
from lora_da_bench.runs.experiments import PRESETS
from lora_da_bench.data.labels import CITYSCAPES, label_image, SYNTHIA
from lora_da_bench.evidence.run_store import find_runs, labelled_frames, read_metrics, weights_path
from lora_da_bench.data.scenes import scene


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
    is_one_line(cli('data', 'check', 'gta6', published), "NAME: 'gta6' is unknown; expected camvid, gta5-cityscapes, synthia-cityscapes, folders, gta5, synthia, cityscapes, folder; did you mean 'gta5'?")
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
    code, _, err = cli('train', '--preset', preset, '--root', published, '--recipe', 'mixed', '--stabilizer', 'ema', '--steps', '2', '--out', tmp_path/'out')
    assert code == 0, err
    preset = small_published(source_crop=(32, 32))
    is_one_line(cli('train', '--preset', preset, '--root', published, '--recipe', 'mixed', '--out', tmp_path/'other'), 'recipes.mixed.self-training.mix', 'source_crop (32, 32) is smaller than crop (32, 64)')


def truncate(path): path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2])


@pytest.mark.parametrize('kind', ['leftImg8bit', 'gtFine'])
def test_a_target_frame_that_breaks_off(cli, published, small_published, tmp_path, caplog, kind):
    "It is reported, gets no labels, and the next round does without it; and where that is too much, nothing is guessed"
    broken = next((published/'cityscapes'/kind/'train/zurich').iterdir())
    truncate(broken)
    how = '--root', published, '--stabilizer', 'none'
    code, _, err = cli('train', '--preset', small_published(), *how, '--out', tmp_path/'out')
    assert code == 0 and f'not labelled: {broken}: ' in caplog.text, err
    assert len(labelled_frames(tmp_path/'out/transda-none-seed0-round0')) == 17 and weights_path(tmp_path/'out/transda-none-seed0-round1')
    caplog.clear()
    assert cli('train', '--preset', small_published(), *how, '--out', tmp_path/'out')[0] == 0 and 'not labelled' not in caplog.text  # what is done is left alone
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
    is_one_line(cli('train', '--preset', small_published(), '--root', published, '--recipe', 'oracle', '--out', tmp_path/'out'),
                "recipe 'oracle' learns the true labels of the target's training frames, found none")
    shutil.rmtree(published/'cityscapes/gtFine/val')
    is_one_line(cli('ablation', '--preset', small_published(), '--root', published, '--out', tmp_path/'ablation'), 'an ablation compares scores, and the held-out frames have no labels')
    assert not (tmp_path/'ablation').exists() and not (tmp_path/'out').exists()


def test_layouts_that_are_nearly_right(cli, published, camvid):
    city = published/'cityscapes/leftImg8bit/train/ulm'
    for file in city.iterdir(): file.unlink()
    code, _, err = cli('data', 'check', 'cityscapes', published/'cityscapes')
    assert code == 2 and f'{city}: holds no .png images; expected the 18 cities' in err
    for file in (published/'cityscapes/gtFine/val').glob('*/*'): file.rename(file.with_name(file.name.replace('labelIds', 'color')))
    is_one_line(cli('data', 'check', 'cityscapes', published/'cityscapes'), 'gtFine/val: expected files *_gtFine_labelIds.png or *_gtFine_labelTrainIds.png')
    (camvid/'test/0001TP_3.jpg').write_bytes(b'no picture')
    code, _, err = cli('data', 'check', 'camvid', camvid)
    assert code == 2 and '0001TP_3.jpg: expected a JPEG or PNG image' in err


def test_a_pair_of_datasets_is_checked_at_once(cli, published):
    "What a preset trains on: the source, the target and what is held out"
    code, out, err = cli('data', 'check', 'gta5-cityscapes', published)
    assert code == 0 and 'No problems.' in out and all(part in out for part in ('source', 'target', 'held-out')), err
    truncate(published/'gta5/images/00000.png')
    code, _, err = cli('data', 'check', 'gta5-cityscapes', published)
    assert code == 2 and 'gta5/images/00000.png: ' in err and err.splitlines()[-1] == f'error: {published}: 1 problem in 25 frames'


def test_a_killed_round_goes_on(cli, second, published, small_published, tmp_path):
    "Killed while a round trains, as the public code would: the same command ends with the same weights and the same labels as one that was left alone"
    train = lambda out: ('train', '--preset', small_published('gta5-cityscapes-swin-s-public', steps=6), '--root', published, '--stabilizer', 'ema', '--out', tmp_path/out)
    assert cli(*train('whole'))[0] == 0
    process, deadline = second(*train('killed')), time.monotonic() + 120
    while not (tmp_path/'killed/transda-ema-seed0-round1/resume/state.pt').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(.01)
    process.kill()
    assert process.wait()[0] == -signal.SIGKILL
    labels = tmp_path/'killed/transda-ema-seed0-round0/pseudo-labels'
    assert not weights_path(tmp_path/'killed/transda-ema-seed0-round1') and len(list(labels.glob('*.png'))) == 18
    assert cli(*train('killed'))[0] == 0
    for name in ('transda-ema-seed0-round0', 'transda-ema-seed0-round1'):
        one, other = tmp_path/'whole'/name, tmp_path/'killed'/name
        assert weights_path(one).read_bytes() == weights_path(other).read_bytes()
        assert all(p.read_bytes() == (other/p.relative_to(one)).read_bytes() for p in one.glob('pseudo-labels/*.png'))
        same = [c for c in read_metrics(one) if c != 'step_ms']
        assert read_metrics(one)[same].equals(read_metrics(other)[same])


def test_dry_run_of_a_published_preset(cli, published, tmp_path):
    "A Swin of timm and the real step: what will run, and what it will take"
    def plan(preset, *more):
        code, out, err = cli('train', '--preset', preset, '--root', published, '--stabilizer', 'lora', '--dry-run', '--out', tmp_path/'out', *more)
        assert code == 0, err
        return ' '.join(out.split())
    (tmp_path/'pairs.json').write_text(PRESETS['gta5-cityscapes-swin-s'].model_copy(update=dict(batch_size=2)).model_dump_json())
    text = plan(tmp_path/'pairs.json', '--set', 'model=swin_tiny_patch4_window7_224', '--set', 'decoder_channels=64', '--steps', '5')
    assert 'student: AdamW, betas 0.9 and 0.999' in text and 'discriminators: Adam, betas 0.9 and 0.99' in text and 'numbers at 6e-05, no weight decay' in text
    assert 'recipes.transda.adversary.legacy_broadcast' in text and 'stabilizer lora ema' in text
    assert '4 source frames, 18 target frames to adapt to, 3 held out' in text and '20 steps in all' in text and 'transda-lora-decoder_channels=64-model=swin_tiny_patch4_window7_224-seed0-round3' in text
    assert 'estimated on this device' in text and ' GB for weights' in text
    assert not (tmp_path/'out').exists()
    assert sum(config.steps for config in chain('whole', Arm(PRESETS['gta5-cityscapes-swin-s'], 'transda', 'lora')).values()) == 40_000


def test_own_folders(cli, published, tmp_path):
    "Images, labels for the source, one file of classes: nothing else is needed"
    for part, n in (('source', 4), ('target', 3), ('held-out', 1)):
        for i in range(n):
            for kind in ('images', 'labels')[:2 if part == 'source' else 1]:
                (tmp_path/'own'/part/kind).mkdir(parents=True, exist_ok=True)
                shutil.copy(published/f'gta5/{kind}/{i:05}.png', tmp_path/'own'/part/kind)
    (tmp_path/'own/classes.json').write_text(json.dumps({str(i): {7: 'road', 11: 'house', 23: 'sky'}.get(i) for i in range(35)}))
    preset = json.loads(PRESETS['folders'].model_dump_json()) | dict(size=(64, 128), crop=(32, 64), source_steps=4, steps=4, eval_every=2, model='micro', weights='random', decoder_channels=16, batch_size=2)
    (tmp_path/'own.json').write_text(json.dumps(preset))
    code, _, err = cli('train', '--preset', tmp_path/'own.json', '--root', tmp_path/'own', '--recipe', 'mixed', '--out', tmp_path/'out')
    assert code == 0, err
    assert find_runs(tmp_path/'out')[0]['mixed-lora-seed0']['classes'] == ['road', 'house', 'sky']
    shutil.rmtree(tmp_path/'own/source/labels')
    is_one_line(cli('train', '--preset', tmp_path/'own.json', '--root', tmp_path/'own', '--out', tmp_path/'other'), 'source/labels: expected labels for the source, found none')


# --- one's own data

CLASSES = ('road', 'sky', 'other')


def write_own(root: Path, sizes=dict(source=[(36, 64)] * 3, target=[(48, 64), (64, 48)], **{'held-out': [(48, 64), (40, 80)]})) -> Path:
    "Frames of one's own: parts of different shapes, every part labelled, ids in no order, a byte order mark, and a file name that is no UTF-8"
    for part, shapes in sizes.items():
        for i, (h, w) in enumerate(shapes):
            image, label = scene((part == 'source', i), (2 * h, 2 * w), 0. if part == 'source' else .5)   # twice as large as it is trained on
            name = root/part/'images'/('caf\udce9.png' if (part, i) == ('target', 1) else f'{i}.png')
            for path, pixels in ((name, image), (root/part/'labels'/name.name, np.where(label == 255, 7, np.where(label == 0, 2, np.where(label == 10, 9, 4))).astype(np.uint8))):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (root/'classes.json').write_bytes(b'\xef\xbb\xbf' + json.dumps({'9': 'sky', '7': None, '4': 'other', '2': 'road'}).encode())
    return root


def own_preset(path: Path, **changes) -> Path:
    small = dict(size=(48, 64), crop=(32, 48), source_steps=3, steps=4, eval_every=2, model='micro', weights='random', decoder_channels=16, batch_size=2, seen=2, probes=2, rounds=1, warmup=2)
    path.write_text(json.dumps(json.loads(PRESETS['folders'].model_dump_json()) | small | changes))
    return path


@pytest.fixture(scope='session')
def own_runs(made_once, second):
    "One's own data, and a source model and an adaptation trained on them: (data, preset, runs)"
    def make(folder):
        data, preset = write_own(folder/'own'), own_preset(folder/'own.json')
        code, _, said = second('train', '--preset', preset, '--root', data, '--recipe', 'mixed', '--stabilizer', 'none', '--out', folder/'runs').wait()
        assert code == 0 and not but_for_alarms(said), said
    folder = made_once('own', make)
    return folder/'own', folder/'own.json', folder/'runs'


def score(cli, run, root) -> dict:
    code, out, err = cli('evaluate', run, '--root', root)
    assert code == 0, err
    return json.loads((run/'evaluation.json').read_text())


def test_a_score_is_what_predict_is_worth(cli, own_runs, tmp_path):
    "The IoU of the label maps that `predict` writes, by literal NumPy, is the score of the run; pictures keep their shape and their size"
    data, _, runs = own_runs
    run, pictures = shutil.copytree(runs, tmp_path/'runs')/'mixed-none-seed0', sorted((data/'held-out/images').iterdir())
    assert cli('predict', run, *pictures, '--out', tmp_path/'out')[0] == 0
    ids = json.loads((run/'config.json').read_text())['classes']
    assert ids == ['road', 'other', 'sky']   # by their smallest id, whatever the order in the file
    overlap, union = np.zeros(3), np.zeros(3)
    for picture in pictures:
        predicted, truth = (np.array(Image.open(p)) for p in (tmp_path/'out'/picture.name, data/'held-out/labels'/picture.name))
        assert predicted.shape == truth.shape
        for c, i in enumerate((2, 4, 9)):
            known = truth != 7
            overlap[c] += ((predicted == c) & (truth == i) & known).sum()
            union[c] += (((predicted == c) | (truth == i)) & known).sum()
    result = score(cli, run, data)
    np.testing.assert_allclose(list(result['iou'].values()), overlap / union)
    assert find_runs(runs)[0]['mixed-none-seed0']['metrics'].target_miou.iloc[-1] == pytest.approx(result['means']['mIoU'], abs=1e-6)


def test_classes_are_matched_by_name(cli, own_runs, tmp_path):
    data, _, runs = own_runs
    run = shutil.copytree(runs, tmp_path/'runs')/'mixed-none-seed0'
    expected, other = score(cli, run, data), shutil.copytree(data, tmp_path/'other')
    names, ids = {'2': 'road', '4': 'other', '9': 'sky', '7': None}, {2: 90, 4: 30, 9: 20, 7: 10}
    write = lambda names: (other/'classes.json').write_text(json.dumps(names))
    write(dict(reversed(names.items())))
    assert score(cli, run, other) == expected                                        # another order of entries
    for path in other.glob('*/labels/*.png'): Image.fromarray(np.vectorize(ids.get)(np.array(Image.open(path))).astype(np.uint8)).save(path)
    write({str(ids[int(i)]): n for i, n in names.items()})
    assert score(cli, run, other) == expected                                        # other ids, so classes are numbered in another order
    write({'90': 'road', '30': None, '20': 'sky', '10': None})
    few = score(cli, run, other)
    assert few['iou']['other'] is None and few['iou']['road'] is not None            # fewer classes
    assert 'has no class other' in cli('evaluate', run, '--root', other)[1]
    write({'90': 'street', '30': 'other', '20': 'sky', '10': None})
    is_one_line(cli('evaluate', run, '--root', other), "held-out/images: class 'street' is not among those it is to be matched with: road, other, sky")


def test_data_that_changed_since(own_runs, tmp_path, cli, caplog):
    "A finished run is said to be of other data and left alone; one that is not finished does not go on with them; an old run that has no fingerprint says nothing"
    data, preset, runs = shutil.copytree(own_runs[0], tmp_path/'own'), own_runs[1], shutil.copytree(own_runs[2], tmp_path/'runs')
    for config in runs.glob('*/config.json'): config.write_text(config.read_text().replace(str(own_runs[0]), str(data)))
    train = lambda: cli('train', '--preset', preset, '--root', data, '--recipe', 'mixed', '--stabilizer', 'none', '--out', runs)
    assert train()[0] == 0 and not caplog.text                                       # a copy is the same data
    label = data/'source/labels/0.png'
    pixels = np.array(Image.open(label))
    pixels[0, 0] = 4 if pixels[0, 0] == 2 else 2
    Image.fromarray(pixels).save(label)                                              # one pixel of one label
    before = (runs/'mixed-none-seed0/metrics.jsonl').read_text()
    code, out, err = train()
    assert code == 0 and (runs/'mixed-none-seed0/metrics.jsonl').read_text() == before
    for name in ('source-seed0', 'mixed-none-seed0'): assert f'{name}: finished on other data (source: 3 frames as then, but files or what labels mean differ)' in caplog.text
    (runs/'mixed-none-seed0/model.safetensors').unlink()
    caplog.clear()
    is_one_line(train(), 'mixed-none-seed0: was begun on other data (source: 3 frames as then', 'bring them back or choose another --out')
    for config in runs.glob('*/config.json'):
        config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != 'data'}))
    caplog.clear()
    assert train()[0] == 0 and not but_for_alarms(caplog.text)


def test_classes_that_were_renumbered_since(own_runs, tmp_path, cli):
    "An adaptation numbers classes as the source model that it starts from, whatever the ids are now"
    data, preset, runs = shutil.copytree(own_runs[0], tmp_path/'own'), own_runs[1], tmp_path/'runs'
    shutil.copytree(own_runs[2]/'source-seed0', runs/'source-seed0')
    path = runs/'source-seed0/config.json'
    config = json.loads(path.read_text()) | dict(root=str(data), classes=['sky', 'other', 'road'])   # as an older version, which went by the order in the file, could have
    path.write_text(json.dumps({k: v for k, v in config.items() if k != 'data'}))
    assert cli('train', '--preset', preset, '--root', data, '--recipe', 'mixed', '--stabilizer', 'none', '--out', runs)[0] == 0
    adapted = runs/'mixed-none-seed0'
    assert json.loads((adapted/'config.json').read_text())['classes'] == ['sky', 'other', 'road']
    truth = np.array(Image.open(adapted/'snapshots/label/00.png'))
    stored = np.array(Image.open(data/'held-out/labels/0.png').resize((64, 48), Image.NEAREST))
    assert (truth[stored == 9] == 0).all() and (truth[stored == 2] == 2).all()


def test_rounds_on_frames_of_several_shapes_and_painted_labels(tmp_path, cli):
    data = write_own(tmp_path/'own')
    colours = {2: (128, 64, 128), 4: (1, 2, 3), 9: (70, 130, 180), 7: (0, 0, 0)}
    for path in data.glob('source/labels/*.png'):
        label = np.array(Image.open(path))
        Image.fromarray(sum(np.where(label[..., None] == i, np.array(c), 0) for i, c in colours.items()).astype(np.uint8)).save(path)
    (data/'source/classes.json').write_text(json.dumps({'#804080': 'road', '#010203': 'other', '#4682B4': 'sky', '#000000': None}))
    code, _, err = cli('train', '--preset', own_preset(tmp_path/'p.json'), '--root', data, '--recipe', 'transda', '--stabilizer', 'ema', '--out', tmp_path/'out')
    assert code == 0, err
    runs, skipped = find_runs(tmp_path/'out')
    assert 'loss/target' in runs['transda-ema-seed0-round1']['metrics'] and not skipped
    labels = {Image.open(p).size for p in (tmp_path/'out/transda-ema-seed0-round0/pseudo-labels').glob('*.png')}
    assert labels == {(64, 48), (36, 48)}                                            # two shapes, one height
    source = json.loads((tmp_path/'out/source-seed0/config.json').read_text())
    assert source['classes'] == ['other', 'sky', 'road'] and source['palette'][0] == [1, 2, 3]


def test_check_of_all_parts(cli, tmp_path):
    data = write_own(tmp_path/'own')
    shutil.copy(data/'target/images/0.png', data/'held-out/images/0.png'); shutil.copy(data/'target/labels/0.png', data/'held-out/labels/0.png')
    (data/'source/images/notes.txt').write_text('') ; (data/'source/images/._0.png').write_text('')
    code, out, err = cli('data', 'check', 'folders', data)
    text = ' '.join(out.split())
    assert code == 0 and err == '' and 'No problems.' in out, err
    assert 'source: the preset folders sees them as high as 144 pixels: 256 x 144' in text and 'target: the preset folders sees them as high as 144 pixels: 108 x 144, 192 x 144' in text
    assert '1 pictures of target are in held-out too, such as ' in text and '1 other entries are not read, such as notes.txt' in text
    pictures = [Path(line.strip()) for line in out.splitlines() if line.startswith('  /')]
    assert len(pictures) == 3 + 2 + 2
    with Image.open(pictures[0]) as picture: assert picture.size == (128, 72)


def own_part(root: Path, labels: list, names='{"0": "road", "1": "sky"}', ending='png') -> Path:
    "One folder with white images and these labels"
    for i, label in enumerate(labels):
        for kind, picture, e in (('images', Image.new('RGB', label.size, 'white'), 'png'), ('labels', label, ending)):
            (root/kind).mkdir(parents=True, exist_ok=True)
            picture.save(root/kind/f'{i}.{e}')
    (root/'classes.json').write_text(names)
    return root


def test_check_of_labels_that_are_no_ids(cli, tmp_path):
    "One line a kind, with a count and an example"
    flat = lambda value, mode='L': Image.new(mode, (8, 8), value)
    def indexed(colour):
        label = flat(1, 'P')
        label.putpalette([0, 0, 0, *colour])
        return label
    def check(name, *args, **how):
        code, out, err = cli('data', 'check', 'folder', own_part(tmp_path/name, *args, **how))
        return code, ' '.join(out.split()), err.splitlines()
    code, _, lines = check('palettes', [indexed((9, 9, 9)), indexed((8, 8, 8)), indexed((7, 7, 7))])
    assert code == 2 and len(lines) == 2 and 'the palettes of 2 labels differ from the others, so an index is no id: 1 is #090909 in 0 and #080808 in 1' in lines[0]
    mask = Image.fromarray(np.array([[0, 255]], np.uint8).repeat(2, 0))
    code, _, lines = check('masks', [mask, mask])
    assert code == 2 and len(lines) == 2 and 'all 2 labels hold the ids 0 and 255 alone, and 255 is ignored; where 255 is a class, say so in classes.json: "255": "name"' in lines[0]
    assert check('mapped', [mask, mask], '{"0": "ground", "255": "thing"}')[0] == 0
    code, _, lines = check('void', [flat(255)] * 3)
    assert code == 2 and len(lines) == 2 and 'none of the 3 labels has a pixel of any class: 0, 1, 2' in lines[0]
    code, out, lines = check('absent', [flat(1), flat(255)])
    assert code == 0 and not lines and '1 of the 2 classes hold no pixel: road' in out and '1 labels have no pixel of any class, such as 1' in out
    is_one_line(cli('data', 'check', 'folder', own_part(tmp_path/'jpeg', [flat(0), flat(1)], ending='jpg')), 'jpeg/labels: holds no images that are read (.png); 2 other entries are not read, such as 0.jpg, 1.jpg')
    code, out, lines = check('painted', [flat('#0000ff', 'RGB'), flat('#804080', 'RGB'), flat('#0000ff', 'RGB')])
    assert code == 2 and len(lines) == 4 and '#0000ff 66.67% #804080 33.33%' in out
    code, out, lines = check('half', [flat('#0000ff', 'RGB'), flat('#804080', 'RGB')], '{"#0000ff": "sky", "#000000": "road"}')
    assert code == 2 and '1.png: colour #804080 (1 in all) is outside' in lines[0] and '#804080 100.00%' in out
    code, out, lines = check('many', [flat(9)] * 25)
    assert code == 2 and len(lines) == 22 and lines[20].startswith('problem: ... and 5 more: id  is outside')


def test_stored_values(tmp_path):
    "Grey of 2 and 4 bits holds small numbers that Pillow stretches; a 12-bit picture in a 16-bit file is told"
    import cv2
    for path, bits in ((tmp_path/'two/labels/0.png', 2), (tmp_path/'four/labels/0.png', 4)):
        own_part(path.parents[1], [Image.new('L', (8, 2))], json.dumps({str(i): f'class {i}' for i in range(16)}))
        values = np.arange(16).reshape(2, 8) % 2 ** bits
        chunk = lambda kind, body: struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
        rows = b''.join(b'\0' + np.packbits([int(b) for v in row for b in f'{v:0{bits}b}']).tobytes() for row in values)
        path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 8, 2, bits, 0, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
        assert datasets.own_folder(path.parents[1])[0][1].tolist() == values.tolist()
    dark = np.full((16, 16), 4095, np.uint16)
    own_part(tmp_path/'dark', [Image.new('L', (16, 16))])
    cv2.imwrite(str(tmp_path/'dark/images/0.png'), dark)
    frames = datasets.own_folder(tmp_path/'dark')
    for _ in datasets.survey(frames): pass
    assert '1 pictures hold nothing brighter than 16 of 255' in datasets.summarize(frames)['notes'][-1]


def test_a_phone_picture_is_seen_upright(cli, runs, tmp_path):
    "Lying on its side in the file, in any format: `predict` says of it what it says of the picture standing upright"
    picture, _ = scene(1, (48, 80), .5)
    Image.fromarray(picture).save(tmp_path/'upright.png')
    exif = Image.Exif()
    exif[274] = 6                                                                    # to be turned by 90 degrees, clockwise
    lying = Image.fromarray(np.rot90(picture).copy())
    for name, how in (('p.png', {}), ('w.webp', dict(lossless=True)), ('t.tif', {})): lying.save(tmp_path/name, exif=exif, **how)
    names = ['upright.png', 'p.png', 'w.webp', 't.tif']
    code, _, err = cli('predict', runs/'mixed-none-seed0', *(tmp_path/n for n in names), '--out', tmp_path/'out')
    assert code == 0, err
    upright, *others = (np.array(Image.open(tmp_path/'out'/f'{Path(n).stem}.png')) for n in names)
    assert upright.shape == (48, 80) and all((other == upright).all() for other in others)


def test_damaged_pictures_say_one_line_in_a_real_process(second, tmp_path):
    "What decoders and libraries would print of their own, about damaged EXIF or a torn TIFF, is not printed"
    own_part(tmp_path/'own', [Image.new('L', (64, 64))] * 4)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    (tmp_path/'own/images/0.png').unlink()
    Image.fromarray(noise).save(tmp_path/'own/images/0.jpg', exif=b'Exif\0\0II*\0\xff\xff\xff\x7f')       # whole, but for its EXIF
    for i, ending in ((1, 'tif'), (2, 'png'), (3, 'jpg')):
        (tmp_path/f'own/images/{i}.png').unlink()
        Image.fromarray(noise).save(path := tmp_path/f'own/images/{i}.{ending}', **(dict(compression='tiff_lzw') if ending == 'tif' else {}))
        truncate(path)
    code, _, err = second('data', 'check', 'folder', tmp_path/'own').wait()
    lines = err.splitlines()
    assert code == 2 and len(lines) == 4 and lines[-1].endswith('own: 3 problems in 4 frames'), err
    assert all('it cannot be read as one' in line for line in lines[:3])


def test_a_subset_of_cityscapes(cli, published, small_published, tmp_path, caplog):
    "Some cities and no `val`: told, trained on, and only a score is refused"
    for kind in ('leftImg8bit', 'gtFine'): shutil.rmtree(published/'cityscapes'/kind/'val')
    for city in datasets.CITIES['train'][4:]: shutil.rmtree(published/'cityscapes/leftImg8bit/train'/city)
    code, out, err = cli('data', 'check', 'cityscapes', published/'cityscapes')
    assert code == 0 and '14 of the 18 cities are not there: darmstadt, ' in ' '.join(out.split()), err
    code, _, err = cli('train', '--preset', small_published(rounds=1, seen=2), '--root', published, '--stabilizer', 'none', '--out', tmp_path/'out')
    assert code == 0 and '14 of the 18 cities are not there' in caplog.text and 'has no leftImg8bit/val, so no frames are held out and nothing is scored' in caplog.text, err
    run = tmp_path/'out/transda-none-seed0-round1'
    metrics = read_metrics(run)
    assert 'target_miou' not in metrics and 'seen_miou' in metrics and (run/'snapshots/input/00.png').exists()
    is_one_line(cli('evaluate', run), 'expected labels to score against, found none')


def test_cost_as_json(cli, published, monkeypatch):
    "What is measured, beside what was predicted, and how long a step waits for files that are slow to read"
    how = ('cost', '--model', 'micro', '--device', 'cpu', '--crop', '64x128', '--batch', '2', '--rounds', '1', '--pairs', '2', '--stabilizers', 'ema,lora-head-light',
           '--format', 'json')
    is_one_line(cli(*how, '--with-data', published/'nowhere'), 'nowhere')
    read = datasets.read_image
    def slowly(*args): time.sleep(.1); return read(*args)
    monkeypatch.setattr(datasets, 'read_image', slowly)
    code, out, err = cli(*how, '--with-data', published)
    assert code == 0, err
    result = json.loads(out)
    assert {'device', 'versions', 'command', 'date', 'setting', 'rows'} <= result.keys()
    rows = {row['stabilizer']: row for row in result['rows']}
    assert list(rows) == [row['stabilizer'] for row in result['waiting']] == ['ema', 'lora-head-light']
    for row in rows.values():
        assert row['step_ms'] > 0 and row['images_per_s'] > 0 and row['peak_memory_bytes'] == sum(row['memory'].values())
        assert abs(row['predicted_peak_bytes'] / row['peak_memory_bytes'] - 1) < .05 and 0 < row['matrix_throughput_share'] < 1
    for row in result['waiting']: assert row['step_ms'] > 0 and .5 < row['waiting_share'] < 1   # whatever the workers had ready
    ema, light = rows['ema'], rows['lora-head-light']
    assert light['peak_memory_bytes'] < .6 * ema['peak_memory_bytes'] and light['flops'] < ema['flops'] and light['saved_bytes'] < .3 * ema['saved_bytes']
    assert 'teacher' not in light['time_ms'] and ema['time_ms']['teacher'] > 0 and light['time_ms']['average'] < ema['time_ms']['average']
