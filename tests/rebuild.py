"""Bring library, notebook outputs and README up to date with the notebooks.

`python tests/rebuild.py` exports the library, runs each notebook so that its figures are the current ones, cleans
them and writes README.md from `nbs/index.ipynb`. With notebooks as arguments only those are run; with `--readme` only
the README is written; with `--app DIR` only the README's pictures of the app are taken, on a folder of runs."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from execnb.nbio import read_nb
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).parent.parent
FLOORS = ('core', 'data', 'model', 'method', 'evidence', 'runs', 'studies', 'views')
LINK = r'(\]\(|(?:src|srcset|href)=")(?![a-z]+:|#)([^)"]+)'  # of a notebook, to another place in the repository
BIN = Path(sys.executable).parent
WIDGET = 'application/vnd.jupyter.widget-view+json'
PICTURES = ('readme-light.png', 'readme-dark.png')  # in nbs/media, drawn by a cell of nbs/index.ipynb


def readme_links(text: str) -> str:
    "Links of nbs/index.ipynb, as they are to be one folder up"
    def moved(match):
        before, target = match.groups()
        return before + (target.removeprefix('../') if target.startswith('../') else f'nbs/{target}')
    return re.sub(LINK, moved, text)


def write_readme():
    "README.md from nbs/index.ipynb: prose and outputs; code only where a cell says `#| echo: true`"
    import nbformat   # here, because these take seconds to load
    from nbconvert import MarkdownExporter
    from traitlets.config import Config
    notebook = nbformat.read(ROOT/'nbs/index.ipynb', 4)
    for cell in notebook.cells:
        if cell.cell_type == 'code' and '#| echo: true' not in cell.source: cell.source = ''
    notebook.cells = [c for c in notebook.cells if c.source or c.get('outputs')]
    text, _ = MarkdownExporter(config=Config()).from_notebook_node(notebook)
    text = re.sub(r'```\w*\s*```', '', text)  # emptied cells
    (ROOT/'README.md').write_text(re.sub(r'\n{3,}', '\n\n', readme_links(text)).strip() + '\n')


def definition(module: str, name: str) -> str:
    "The code of a function, class or table of the library"
    def defines(node):
        if isinstance(node, ast.Assign): return name in map(ast.unparse, node.targets)
        return getattr(node, 'name', None) == name
    tree = ast.parse((ROOT/f"{module.replace('.', '/')}.py").read_text())
    return '\n'.join(ast.unparse(node) for node in tree.body if defines(node))


def drawn_from() -> str:
    "A hash of the code of nbs/index.ipynb, of what its drawing cells import from the library, and of the results drawn"
    cells = read_nb(ROOT/'nbs/index.ipynb').cells
    code = [cell.source for cell in cells if cell.cell_type == 'code']
    drawing = ast.parse('\n'.join(source for source in code if source.startswith('#| slow')))
    imports = [node for node in ast.walk(drawing) if isinstance(node, ast.ImportFrom)]
    used = [definition(n.module, a.name) for n in imports if n.module.startswith('lora_da_bench.') for a in n.names]
    digest = hashlib.sha256('\n'.join([*code, *used]).encode())
    results = ROOT/'results'
    for path in (results/'ablation-streetscenes.json', *sorted((results/'quickstart').glob('*.png'))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def sign_pictures():
    "Write into the README's pictures what they were drawn from"
    note = PngInfo()
    note.add_text('drawn from', drawn_from())
    for path in (ROOT/'nbs/media'/name for name in PICTURES):
        with Image.open(path) as picture: picture.convert('RGB').save(path, optimize=True, pnginfo=note)


def signed(name: str) -> str | None:
    "What a picture says that it was drawn from"
    with Image.open(ROOT/'nbs/media'/name) as picture: return picture.text.get('drawn from')


def all_notebooks() -> list[Path]:
    "Every notebook, floor by floor"
    return sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)


def run(notebook: Path):
    "Run a notebook in place, with plotly's figures as PNG"
    command = 'nbconvert --to notebook --execute --inplace --log-level ERROR --ExecutePreprocessor.store_widget_state=False'.split()
    shown = os.environ | {'PLOTLY_RENDERER': 'png', 'IN_TEST': '1'}
    subprocess.run([BIN/'jupyter', *command, notebook], cwd=notebook.parent, check=True, env=shown)
    number_tables(notebook)
    drop_widgets(notebook)


def drop_widgets(notebook: Path):
    "Leave out what needs a kernel: a progress bar would stand at 0% for good"
    nb = json.loads(notebook.read_text())
    nb['metadata'].pop('widgets', None)
    for cell in nb['cells']:
        if 'outputs' in cell: cell['outputs'] = [o for o in cell['outputs'] if WIDGET not in o.get('data', {})]
    notebook.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + '\n')


def number_tables(notebook: Path):
    "pandas gives every styled table a random name; with numbers a rerun changes only what changed"
    text, name = notebook.read_text(), re.compile(r'\bT_[0-9a-f]{5}(?=[_ "\\])')
    numbers = {found: f'T_{i:05x}' for i, found in enumerate(dict.fromkeys(name.findall(text)))}
    notebook.write_text(name.sub(lambda found: numbers[found.group()], text))


def photograph(runs: Path):
    "The app on a folder of runs, as README shows it: nbs/media/app-verdict.png and app-pictures.png"
    from at_hand import launch_chromium
    from measure_app import App
    from playwright.sync_api import sync_playwright
    with App(runs) as app, sync_playwright() as play:
        browser = launch_chromium(play)
        page = browser.new_page(viewport=dict(width=1280, height=960))
        for tab, ready in (('verdict', '#trade .js-plotly-plot'), ('pictures', '.pictures[data-drawn]')):
            page.goto(f'{app.url}/?tab={tab}')
            page.wait_for_selector(ready, timeout=60_000)
            page.wait_for_timeout(1500)
            page.screenshot(path=ROOT/f'nbs/media/app-{tab}.png')


def main(args: list[str]):
    if args[:1] == ['--app']: return photograph(Path(args[1]))
    if args != ['--readme']:
        subprocess.run([BIN/'nbdev_export'], cwd=ROOT, check=True)
        notebooks = [Path(a).resolve() for a in args] or all_notebooks()
        for path in notebooks:
            print('running', path.relative_to(ROOT), flush=True)
            run(path)
        subprocess.run([BIN/'nbdev_clean'], cwd=ROOT, check=True)
        if ROOT/'nbs/index.ipynb' in notebooks: sign_pictures()
    write_readme()


if __name__ == '__main__': main(sys.argv[1:])
