"""Bring library, notebook outputs and README up to date with the notebooks.

`python tests/rebuild.py` exports the library, runs each notebook so that its figures are the current ones, cleans them and writes README.md from
`nbs/index.ipynb`. With notebooks as arguments only those are run; with `--readme` only the README is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def write_readme():
    "README.md from nbs/index.ipynb: prose and outputs; code only where a cell says `#| echo: true`"
    notebook = nbformat.read(ROOT/'nbs/index.ipynb', 4)
    for cell in notebook.cells:
        if cell.cell_type == 'code' and '#| echo: true' not in cell.source: cell.source = ''
    notebook.cells = [c for c in notebook.cells if c.source or c.get('outputs')]
    text, _ = MarkdownExporter(config=Config()).from_notebook_node(notebook)
    text = re.sub(r'```\w*\s*```', '', text)  # emptied cells
    text = re.sub(r'\]\(((?:media|tutorials|core|data|model|method|evidence|runs|studies|views)/)', r'](nbs/\1', text.replace('](../', ']('))
    (ROOT/'README.md').write_text(re.sub(r'\n{3,}', '\n\n', text).strip() + '\n')


def main(args: list[str]):
    if args != ['--readme']:
        subprocess.run([BIN/'nbdev_export'], cwd=ROOT, check=True)
        notebooks = [Path(a).resolve() for a in args] or sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
        for path in notebooks:
            print('running', path.relative_to(ROOT), flush=True)
            subprocess.run([BIN/'jupyter', 'nbconvert', '--to', 'notebook', '--execute', '--inplace', '--log-level', 'ERROR', path], cwd=path.parent, check=True,
                           env=os.environ | {'PLOTLY_RENDERER': 'png', 'IN_TEST': '1'})
        subprocess.run([BIN/'nbdev_clean'], cwd=ROOT, check=True)
    write_readme()


if __name__ == '__main__': main(sys.argv[1:])
