"""A table of bad inputs: each is one line that names the file or field, exit code 2, no traceback, and soon.

A row is a command line, what its line must say, and a function that puts the bad input into the folder `tmp` first. In the command line `{tmp}` is
that folder and `{runs}` the finished runs of a tiny quickstart, which rows share and must not change."""

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


OPTIONS = [
    row('report {tmp}/nowhere', '{tmp}/nowhere: no such folder'),
    row('train --stabilizer lorra --out {tmp}/out', "stabilizer: 'lorra' is unknown"),
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
