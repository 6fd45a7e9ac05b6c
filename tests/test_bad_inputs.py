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


def with_preset(**changes):
    "Put `mine.json` there, the default preset but for these fields"
    def make(tmp: Path, runs: Path):
        from lora_da_bench.experiments import PRESETS
        (tmp/'mine.json').write_text(json.dumps(json.loads(PRESETS['streetscenes'].model_dump_json()) | changes))
    return make


OPTIONS = [
    row('report {tmp}/nowhere', '{tmp}/nowhere: no such folder'),
    row('train --stabilizer lorra --out {tmp}/out', "stabilizer: 'lorra' is unknown"),
    *(row('train --preset {tmp}/mine.json --recipe transda --out {tmp}/out', says, make=with_preset(**changes)) for changes, says in (
        (dict(sampling='frames'), "mine.json: field sampling: input should be 'uniform', 'rare-class' or 'class-balanced'"),
        (dict(views='public'), "mine.json: field views: input should be 'cheap' or 'published'"),
        (dict(head_init='kaiming'), "mine.json: field head_init: input should be 'torch' or 'mmcv'"),
        (dict(recalibrate='never'), 'mine.json: field recalibrate: input should be a valid boolean'),
        (dict(recipes={'transda': {'weights_over': 3}}), 'recipes.transda.weights_over: expected a divisor of batch_size 4, got 3'),
        (dict(recipes={'transda': {'weights_over': 0}}), 'recipes.transda: field weights_over: input should be greater than or equal to 1'),
    )),
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
