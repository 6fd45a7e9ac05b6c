"Every notebook runs, beside the other tests: much of their time is spent waiting for a browser or a cluster."

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_notebook(tmp_path):
    "`nbdev_test`, with a folder for temporary files that is removed afterwards"
    said = tmp_path/'said.txt'
    with open(said, 'w') as out:
        done = subprocess.run([Path(sys.executable).with_name('nbdev_test'), '--path', 'nbs', '--do_print'], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                              env=os.environ | dict(TMPDIR=str(tmp_path), OMP_NUM_THREADS='1'))
    assert done.returncode == 0, said.read_text()[-8000:]
