"""A table of bad inputs: each is one line that names the file or field, exit code 2, no traceback, and soon.

A row is a command line, what its line must say, and a function that puts the bad input into the folder `tmp` first. In the command line `{tmp}` is
that folder and `{runs}` the finished runs of a tiny quickstart, which rows share and must not change."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from test_bad_input import is_one_line


class Row(NamedTuple):
    command: str
    says: tuple[str, ...]
    make: Callable[[Path, Path], None] | None = None   # of (tmp, runs)


def row(command: str, *says: str, make=None): return Row(command, says, make)


def file(name: str, content: bytes | str):
    "Put a file into `tmp`"
    def make(tmp, runs):
        (tmp/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp/name).write_bytes(content.encode() if isinstance(content, str) else content)
    return make


def preset(says: str, recipe: str = 'plain', stabilizer: str = 'lora', name: str = 'streetscenes', **changes):
    "A row: the preset with these numbers changed"
    def make(tmp, runs):
        from lora_da_bench.experiments import PRESETS
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
    row('predict {runs}/none-seed0 --out {tmp}/out', 'IMAGE'),
    row('predict {runs}/none-seed0 ' + PICTURE, '--out'),
    row('report {tmp} --format xml', '--format', 'xml'),
    row('report {tmp} --verbose', '--verbose'),
    row('data check', 'NAME'),
    row('data chek gta5 {tmp}', "No such command 'chek'"),
    # names
    row('train --stabilizer lorra --out {tmp}/out', "stabilizer: 'lorra' is unknown; expected none, ema, lora"),
    row('train --recipe planes --out {tmp}/out', "recipe: 'planes' is unknown; expected source, plain"),
    row('train --preset streets --out {tmp}/out', "preset: 'streets' is unknown; expected streetscenes"),
    row('train --preset {tmp} --out {tmp}/out', 'preset: ', 'is unknown'),
    row('train --preset camvid-day-dusk --out {tmp}/out', '--root: expected the folder of camvid'),
    # places
    row('train --out {tmp}/file', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row('train --out {tmp}/file/runs', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row('quickstart --no-app --out {tmp}/file', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row('ablation --out {tmp}/file', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row(f'predict {{runs}}/none-seed0 {PICTURE} --out {{tmp}}/file', '--out: {tmp}/file: is a file, expected a folder', make=file('file', '')),
    row('ablation --preset {tmp}/ablation.json --out {tmp}', '{tmp}/ablation.json: would be written over what was given',
        make=lambda tmp, runs: preset('').make(tmp, runs) or (tmp/'p.json').rename(tmp/'ablation.json')),
    # a preset's file
    row('train --preset {tmp}/p.json --out {tmp}/out', 'p.json: ', 'JSON', make=file('p.json', '')),
    row('train --preset {tmp}/p.json --out {tmp}/out', 'p.json: ', 'JSON', make=file('p.json', b'\xff\xfe\x00binary')),
    row('train --preset {tmp}/p.json --out {tmp}/out', 'p.json: ', 'JSON', make=file('p.json', '{"dataset": ')),
    row('train --preset {tmp}/p.json --out {tmp}/out', 'p.json: ', make=file('p.json', '[' * 100_000)),
    row('train --preset {tmp}/p.json --out {tmp}/out', 'p.json: field the file: ', make=file('p.json', '[1]')),
    row('train --preset {tmp}/p.json --out {tmp}/out', 'p.json: field dataset: ', make=file('p.json', '{}')),
    preset('field stepps: unknown; expected one of dataset', stepps=3),
    preset('field dataset: expected', dataset='kitti'),
    preset('field gap: expected a number less than or equal to 1', gap=2),
    preset('field gap: expected a finite number', gap=NAN),
    preset('field size: expected multiples of 4 pixels, at least 32', size=(97, 192)),
    preset('field crop: expected multiples of 4 pixels, at least 32', crop=(16, 32)),
    preset('field crop', crop=(64,)),
    preset('field source_crop: expected multiples of 4 pixels', source_crop=(-64, 64)),
    preset('field scale: expected two positive numbers, the smaller one first', scale=(2, 1)),
    preset('field scale.0: expected a finite number', scale=(NAN, 1)),
    preset('field scale.1: expected a finite number', scale=(1, INFINITE)),
    preset("field sampling: expected 'uniform'", sampling='rare'),
    preset('field max_unreadable: expected a number greater than or equal to 0', max_unreadable=-1),
    preset("model: 'swin_small' is unknown", model='swin_small'),
    preset("weights: absent.pth: no such file; expected 'random', 'hub' or a file of weights", weights='absent.pth'),
    preset("weights: nobody published weights for 'mini'", weights='hub'),
    preset('field decoder_channels: expected a number greater than or equal to 8', decoder_channels=4),
    preset('field drop_path: expected a number less than 1', drop_path=1),
    preset('field batch_size: expected a number greater than or equal to 2', batch_size=1),
    preset('field batch_size: expected a valid integer', batch_size=2.5),
    preset('field source_steps: expected a number greater than or equal to 1', source_steps=0),
    preset('field source_lr: expected a number greater than 0', source_lr=0),
    preset('field source_lr: expected a finite number', source_lr=NAN),
    preset('field lr: expected a finite number', lr=INFINITE),
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
    preset('stabilizers.ema.decoy: unknown; expected decay', stabilizers={'ema': {'decoy': .9}}),
    preset('stabilizers.ema.decay: expected a number less than or equal to 1, got 1.01', stabilizers={'ema': {'decay': 1.01}}),
    preset('stabilizers.ema.decay: expected a number greater than or equal to 0, got -0.1', stabilizers={'ema': {'decay': -.1}}),
    preset('stabilizers.ema.decay: expected a finite number, got nan', stabilizers={'ema': {'decay': NAN}}),
    preset('stabilizers.lora.alpha: expected a finite number, got inf', stabilizers={'lora': {'alpha': INFINITE}}),
    preset('stabilizers.lora.alpha: expected a finite number, got nan', stabilizers={'lora': {'alpha': NAN}}),
    preset('stabilizers.lora.lr_scale: expected a finite number, got nan', stabilizers={'lora': {'lr_scale': NAN}}),
    preset('stabilizers.lora.rank: expected a number greater than or equal to 1, got 0', stabilizers={'lora': {'rank': 0}}),
    preset('stabilizers.lora.rank: expected a valid integer, got 1.5', stabilizers={'lora': {'rank': 1.5}}),
    preset('stabilizers.lora.layers: expected', stabilizers={'lora': {'layers': 'mlp'}}),
    preset('stabilizers.slow.lr_scale: expected a number greater than or equal to 0, got -1', stabilizers={'slow': {'lr_scale': -1}}),
    preset('stabilizers.none.decay: unknown; expected mode', stabilizers={'none': {'decay': .9}}),
    preset("recipe: 'mixt' is unknown; expected source, plain", recipes={'mixt': {}}),
    preset('recipes.mixed: field mixx: unknown; expected one of labels', recipes={'mixed': {'mixx': True}}),
    preset('recipes.mixed: field confident: expected a number less than or equal to 1', recipes={'mixed': {'confident': 2}}),
    preset('recipes.mixed: field confident: expected a finite number', recipes={'mixed': {'confident': NAN}}),
    preset("recipes.plain: field alignment: expected 'none', 'binary' or 'class'", recipes={'plain': {'alignment': 'fine'}}),
    preset('recipes.mixed.mix: pastes of the source over all of a target crop', 'mixed', source_crop=(32, 32)),
    preset('recipes.plain.one_batch: needs crops of one size', source_crop=(64, 64), recipes={'plain': {'one_batch': True}}),
    preset("stabilizers.lora.mode: 'train' needs a recipe whose student sees what the teacher sees", 'mixed', stabilizers={'lora': {'mode': 'train'}}),
    preset("field sampling: expected 'uniform', 'rare-class' or 'class-balanced'", 'transda', sampling='frames'),
    preset("field views: expected 'cheap' or 'published'", 'transda', views='public'),
    preset("field head_init: expected 'torch' or 'mmcv'", 'transda', head_init='kaiming'),
    preset('field recalibrate: expected a valid boolean', 'transda', recalibrate='never'),
    preset('recipes.transda.weights_over: expected a divisor of batch_size 4, got 3', 'transda', recipes={'transda': {'weights_over': 3}}),
    preset('recipes.transda: field weights_over: expected a number greater than or equal to 1', 'transda', recipes={'transda': {'weights_over': 0}}),
    # scoring and measuring
    row('evaluate {tmp}/nowhere', '{tmp}/nowhere: not a run'),
    row('evaluate {runs}/none-seed0 --scales nan', "--scales: expected positive numbers separated by ',', got 'nan'"),
    row('evaluate {runs}/none-seed0 --scales 1,inf', "--scales: expected positive numbers"),
    row('evaluate {runs}/none-seed0 --scales 0', "--scales: expected positive numbers"),
    row('evaluate {runs}/none-seed0 --scales 1e9', "--scales: expected"),
    row('evaluate {runs}/none-seed0 --scales 100', "--scales: expected numbers up to 8, got '100'"),
    row('evaluate {runs}/none-seed0 --scales big', "--scales: expected positive numbers"),
    row('evaluate {runs}/none-seed0 --window 64', "--window: expected 2 positive numbers separated by 'x', got '64'"),
    row('evaluate {runs}/none-seed0 --window 30x50', "--window: expected multiples of 4 pixels, at least 32, got '30x50'"),
    row('evaluate {runs}/none-seed0 --window nanx64', '--window: expected'),
    row('evaluate {runs}/none-seed0 --window 99999999999x64', '--window: expected'),
    row('cost --device tpu', "--device: 'tpu' is not to be had here; supported: ", 'cpu'),
    row('cost --device cpu --precision fp8', "--precision: 'fp8' is not supported on cpu"),
    row('cost --device cpu --crop 30x32', "--crop: expected multiples of 4 pixels, at least 32, got '30x32'"),
    row('cost --device cpu --batch 0', '--batch: expected at least 2', 'got 0'),
    row('cost --device cpu --rounds 0', '--rounds', 'greater than or equal to 1'),
    row('cost --device cpu --pairs -1', '--pairs', 'greater than or equal to 1'),
    row('cost --device cpu --model swan', "model: 'swan' is unknown; expected 'mini' or a Swin of timm"),
    row('cost --device cpu --stabilizers ema,emma', "stabilizers: 'emma' is unknown; expected reference, none, ema"),
    row('cost --device cpu --figure {tmp}', '--figure: {tmp}: expected a file in a folder that can be written to'),
    row('cost --device cpu --figure {tmp}/no/cost.html', '--figure: {tmp}/no/cost.html: expected a file in a folder that can be written to'),
    # prediction
    row(f'predict {{tmp}}/nowhere {PICTURE} --out {{tmp}}/out', '{tmp}/nowhere: not a run; expected a folder with config.json'),
    row('predict {runs}/none-seed0 {tmp}/none.png --out {tmp}/out', 'none.png: no such file'),
    row('predict {runs}/none-seed0 {tmp}/text.png --out {tmp}/out', 'text.png: expected ', make=file('text.png', 'hello')),
    row('predict {runs}/none-seed0 {tmp}/empty --out {tmp}/out', 'empty: holds no pictures', make=lambda tmp, runs: (tmp/'empty').mkdir()),
]

FILES = []   # pictures, labels, classes.json, the layout of datasets

STORE = []   # runs' folders, report, app

ROWS = OPTIONS + FILES + STORE


@pytest.mark.parametrize('row', ROWS, ids=[f'{i:03} {row.command[:60]}' for i, row in enumerate(ROWS)])
def test_bad_input(row, cli, quickstart, tmp_path):
    places = dict(tmp=tmp_path, runs=quickstart)
    if row.make: row.make(tmp_path, quickstart)
    is_one_line(cli(*shlex.split(row.command.format(**places))), *(part.format(**places) for part in row.says))
    assert not (tmp_path/'out').exists()   # nothing was begun
