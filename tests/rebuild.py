"""Bring library, notebook outputs and README up to date with the notebooks.

`python tests/rebuild.py` exports the library, runs each notebook so that its figures are the current ones, cleans them and writes README.md from
`nbs/index.ipynb`. With notebooks as arguments only those are run; with `--readme` only the README is written."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from traitlets.config import Config

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PICTURES = ('readme-light.png', 'readme-dark.png')  # in nbs/media, drawn by a cell of nbs/index.ipynb


def readme_links(text: str) -> str:
    "Links of nbs/index.ipynb, as they are to be one folder up"
    def moved(match):
        before, target = match.groups()
        return before + (target.removeprefix('../') if target.startswith('../') else f'nbs/{target}')
    return re.sub(r'(\]\(|(?:src|srcset|href)=")(?![a-z]+:|#)([^)"]+)', moved, text)


def write_readme():
    "README.md from nbs/index.ipynb: prose and outputs; code only where a cell says `#| echo: true`"
    notebook = nbformat.read(ROOT/'nbs/index.ipynb', 4)
    for cell in notebook.cells:
        if cell.cell_type == 'code' and '#| echo: true' not in cell.source: cell.source = ''
    notebook.cells = [c for c in notebook.cells if c.source or c.get('outputs')]
    text, _ = MarkdownExporter(config=Config()).from_notebook_node(notebook)
    text = re.sub(r'```\w*\s*```', '', text)  # emptied cells
    (ROOT/'README.md').write_text(re.sub(r'\n{3,}', '\n\n', readme_links(text)).strip() + '\n')


def definition(module: str, name: str) -> str:
    "The code of a function, class or table of the library"
    tree = ast.parse((ROOT/f"{module.replace('.', '/')}.py").read_text())
    return '\n'.join(ast.unparse(node) for node in tree.body
                     if getattr(node, 'name', None) == name or isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets))


def drawn_from() -> str:
    "A hash of what the README's picture is drawn from: the code of nbs/index.ipynb, the library's functions that it uses, and the result files it reads"
    code = [''.join(c['source']) for c in json.loads((ROOT/'nbs/index.ipynb').read_text())['cells'] if c['cell_type'] == 'code']
    drawing = next(source for source in code if PICTURES[0] in source)
    used = [definition(node.module, a.name) for node in ast.walk(ast.parse(drawing)) if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('lora_da_bench.')
            for a in node.names]
    files = [ROOT/f'results/{name}.json' for name in ('ablation-streetscenes', 'quickstart')] + sorted((ROOT/'results/quickstart').glob('*.png'))
    digest = hashlib.sha256('\n'.join([code[0], drawing, *used]).encode())
    for path in files: digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def sign_pictures():
    "Write into the README's pictures what they were drawn from"
    note = PngInfo()
    note.add_text('drawn from', drawn_from())
    for name in PICTURES:
        with Image.open(ROOT/'nbs/media'/name) as picture: picture.convert('RGB').save(ROOT/'nbs/media'/name, optimize=True, pnginfo=note)


def signed(name: str) -> str | None:
    "What a picture says that it was drawn from"
    with Image.open(ROOT/'nbs/media'/name) as picture: return picture.text.get('drawn from')


def main(args: list[str]):
    if args != ['--readme']:
        subprocess.run([BIN/'nbdev_export'], cwd=ROOT, check=True)
        notebooks = [Path(a).resolve() for a in args] or sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
        for path in notebooks:
            print('running', path.relative_to(ROOT), flush=True)
            subprocess.run([BIN/'jupyter', 'nbconvert', '--to', 'notebook', '--execute', '--inplace', '--log-level', 'ERROR', path], cwd=path.parent, check=True,
                           env=os.environ | {'PLOTLY_RENDERER': 'png', 'IN_TEST': '1'})
        subprocess.run([BIN/'nbdev_clean'], cwd=ROOT, check=True)
        if ROOT/'nbs/index.ipynb' in notebooks: sign_pictures()
    write_readme()


if __name__ == '__main__': main(sys.argv[1:])
