"""A table of bad inputs: each is one line that names the file or field, exit code 2, no traceback, and soon.

A row is a command line, what its line must say, and a function that puts the bad input into the folder `tmp` first. In the command line `{tmp}` is
that folder and `{runs}` the finished runs of a tiny quickstart, which rows share and must not change."""

import shlex
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from damage import RUN
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

def a_run(damage: Callable[[Path], None] = lambda run: None, name: str = 'run'):
    "Put a copy of a finished run, but for its weights, into the folder, and damage it"
    def make(tmp, runs):
        shutil.copytree(runs/'lora-seed0', tmp/name, ignore=shutil.ignore_patterns('*.safetensors'))
        damage(tmp/name)
    return make


TAKEN = socket.create_server(('127.0.0.1', 0))   # a port that somebody listens on

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
    row('report {tmp}/\udcff', 'udcff: expected a name in UTF-8', make=a_run(name='\udcff')),
    row('report "{tmp}/two\nlines"', r'/two\nlines: no such folder'),
    row('report "{tmp}/[red]x[/stop] :sky:"', '/[red]x[/stop] :sky:: no such folder'),
    row('app {tmp}/nowhere', '{tmp}/nowhere: no such folder; expected one with runs'),
    row('app {tmp}/file', '{tmp}/file: no such folder', make=lambda tmp, runs: (tmp/'file').write_text('')),
    row('app {runs} --port 70000', '--port: expected a number from 1 to 65535, got 70000'),
    row('app {runs} --port 0', '--port: expected a number from 1 to 65535, got 0'),
    row('app {runs} --port -1', '--port: expected a number from 1 to 65535, got -1'),
    row(f'app {{runs}} --port {TAKEN.getsockname()[1]}', f'--port: {TAKEN.getsockname()[1]} cannot be used (Address already in use)'),
]

ROWS = OPTIONS + FILES + STORE


@pytest.mark.parametrize('row', ROWS, ids=[f'{i:03} {row.command[:60]}' for i, row in enumerate(ROWS)])
def test_bad_input(row, cli, quickstart, tmp_path):
    places = dict(tmp=tmp_path, runs=quickstart)
    if row.make: row.make(tmp_path, quickstart)
    is_one_line(cli(*shlex.split(row.command.format(**places))), *(part.format(**places) for part in row.says))
    assert not (tmp_path/'out').exists()   # nothing was begun
