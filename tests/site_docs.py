"""Build the documentation from the notebooks: `python tests/site_docs.py OUT` writes OUT/pages (Markdown) and OUT/site (HTML).

mkdocs checks every link: a page or a link that leads nowhere ends the build. With `--serve` the site is then shown."""

import http.server
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import yaml
from nbconvert import MarkdownExporter

import rebuild
from lora_da_bench.evidence.run_store import curves_of, markdown, outcome
from lora_da_bench.studies.ablation import ablation_table, without_candidates
from lora_da_bench.views.figures import closure_figure, cost_figure, curves, PLOTLY, shipped

ROOT = rebuild.ROOT
REPOSITORY = 'https://github.com/lora-da-bench/lora_da_bench/blob/main'
TABS = {  # pages of nbs/tutorials, in order
    'Start': ['quickstart', 'step_by_step', 'own_images'],
    'Understand': ['ablation', 'paper', 'fair', 'frontier', 'family', 'rounds', 'alarm'],
    'Guides': ['extend', 'cost', 'scale_out', 'published'],
}
# tables wider than a phone; tables of pandas like those of the theme, which styles only what has no class
CSS = """.md-typeset div:has(> table), .md-typeset .jp-RenderedHTML { overflow-x: auto }
.md-typeset table.dataframe { border: .05rem solid var(--md-typeset-table-color); border-collapse: collapse; font-size: .64rem; margin: 1em 0 }
.md-typeset table.dataframe :is(th, td) { border: 0; border-top: .05rem solid var(--md-typeset-table-color); padding: .4em .8em; vertical-align: top }
.md-typeset table.dataframe thead th { border-top: 0; font-weight: 700 }
"""
FLOORS = rebuild.FLOORS


def title_of(notebook: Path) -> str:
    "A notebook's first heading"
    return re.match(r'#\s+(.+)', nbformat.read(notebook, 4).cells[0].source)[1].strip()


def site_links(text: str, notebook: Path) -> str:
    "Links as the site has them: pages instead of notebooks, a floor's list instead of its folder, the repository for other files"
    def moved(match):
        target, mark, anchor = match[2].partition('#')
        path = (notebook.parent/target).resolve()
        if path.suffix == '.ipynb': return f'{match[1]}{target[:-6]}.md{mark}{anchor}'
        if path.is_dir() and path.parent == ROOT/'nbs': return f'{match[1]}{target}/index.md'
        if path.exists() and not path.is_relative_to(ROOT/'nbs'): return f'{match[1]}{REPOSITORY}/{path.relative_to(ROOT)}'
        return match[0]
    return re.sub(rebuild.LINK, moved, text)


def write_page(notebook: Path, pages: Path, exporter: MarkdownExporter):
    "A notebook as Markdown, its pictures beside it; cells marked `#| hide` are left out, and so is the code of the front page"
    nb, front = nbformat.read(notebook, 4), notebook == ROOT/'nbs/index.ipynb'
    nb.cells = [c for c in nb.cells if not c.source.startswith(('#| hide', '#| default_exp', '#| slow'))]
    for cell in nb.cells:
        if cell.cell_type == 'markdown': cell.source = site_links(cell.source, notebook)
        else: cell.source = '' if front else re.sub(r'^#\| .*\n', '', cell.source, flags=re.M)
    text, resources = exporter.from_notebook_node(nb, resources=dict(unique_key=notebook.stem, output_files_dir=f'{notebook.stem}_files'))
    page = pages/notebook.relative_to(ROOT/'nbs').with_suffix('.md')
    page.parent.mkdir(parents=True, exist_ok=True)
    for name, data in resources['outputs'].items():
        (page.parent/name).parent.mkdir(parents=True, exist_ok=True)
        (page.parent/name).write_bytes(data)
    text = re.sub(r'```\w*\s*```', '', text)  # emptied cells
    page.write_text(site_links(text, notebook) if front else text)


def write_floor(floor: str, pages: Path) -> list[dict]:
    "The list of a floor's notebooks, and the reference of each of its modules; returns their place in the navigation"
    notebooks = sorted((ROOT/'nbs'/floor).glob('*.ipynb'))
    module = lambda notebook: f'lora_da_bench.{floor}.{notebook.stem[3:]}'
    lines = [f'- [{title_of(n)}]({n.stem}.md): [`{module(n)}`](../api/{floor}.md#{module(n)})' for n in notebooks]
    (pages/floor/'index.md').write_text(f'# {floor}\n\n' + '\n'.join(lines) + '\n')
    (pages/'api').mkdir(exist_ok=True)
    (pages/f'api/{floor}.md').write_text(f'# {floor}\n\n' + '\n\n'.join(f'::: {module(n)}' for n in notebooks) + '\n')
    return [f'{floor}/index.md', *({title_of(n): f'{floor}/{n.stem}.md'} for n in notebooks)]


def write_results(pages: Path):
    "The main results, their figures interactive"
    read = lambda name: json.loads((ROOT/f'results/{name}.json').read_text())
    scripts = pages/'scripts'
    scripts.mkdir()
    (scripts/'site.css').write_text(CSS)
    live = lambda fig: fig.update_layout(width=None).to_html(full_html=False, include_plotlyjs=False, default_width='100%')
    (scripts/'plotly.min.js').write_text(shipped(PLOTLY))
    demo, parts = read('quickstart'), ['# Results', '<script src="../scripts/plotly.min.js"></script>']
    parts += ['## The demo', outcome(demo['runs'], demo['references']['oracle']), live(curves(curves_of(demo)))]
    for name, title in (('streetscenes', 'StreetScenes'), ('camvid-day-dusk', 'CamVid, from day to dusk')):
        result = without_candidates(read(f'ablation-{name}'))
        parts += [f'## {title}', live(closure_figure(result)), markdown(ablation_table(result).astype(str)),
                  f"`{result['command']}`, {result['device']}, {result['date'][:10]}"]
    parts += ['## What a step costs', live(cost_figure(read('cost-mini-cpu')))]
    (pages/'results.md').write_text('\n\n'.join(map(str, parts)) + '\n')


def settings(out: Path, library: list[dict]) -> dict:
    "What mkdocs is told"
    pages = lambda names: [{title_of(ROOT/f'nbs/tutorials/{n}.ipynb'): f'tutorials/{n}.md'} for n in names]
    nav = [{'Home': 'index.md'}, {'Start': pages(TABS['Start'])}, {'Understand': pages(TABS['Understand'])}, {'Results': 'results.md'},
           {'Guides': pages(TABS['Guides'])}, {'Library': library}, {'Reference': [{floor: f'api/{floor}.md'} for floor in FLOORS]}]
    palette = [dict(media=f'(prefers-color-scheme: {scheme})', scheme=name, primary='indigo', toggle=dict(icon=icon, name=f'{scheme} mode'))
               for scheme, name, icon in (('light', 'default', 'material/weather-sunny'), ('dark', 'slate', 'material/weather-night'))]
    theme = dict(name='material', font=False, palette=palette, features=['navigation.tabs', 'navigation.top', 'search.suggest', 'toc.follow', 'content.code.copy'])
    options = dict(show_root_heading=True, show_source=False, heading_level=2, show_root_full_path=True, members_order='source', show_signature_annotations=True)
    return dict(site_name='lora_da_bench', docs_dir=str(out/'pages'), site_dir=str(out/'site'), strict=True, theme=theme, nav=nav, extra_css=['scripts/site.css'],
                plugins=['search', dict(mkdocstrings=dict(handlers=dict(python=dict(paths=[str(ROOT)], options=options))))],
                markdown_extensions=['tables', 'attr_list', 'md_in_html', 'pymdownx.superfences', 'pymdownx.highlight', dict(toc=dict(permalink=True))],
                validation=dict(links=dict(not_found='warn', anchors='warn', unrecognized_links='warn')))


def build(out: Path):
    "Write the pages and build the site; raises `CalledProcessError` where a link is broken"
    pages, exporter = out/'pages', MarkdownExporter()
    shutil.rmtree(pages, ignore_errors=True)
    for notebook in rebuild.all_notebooks(): write_page(notebook, pages, exporter)
    shutil.copytree(ROOT/'nbs/media', pages/'media')
    library = [{floor: write_floor(floor, pages)} for floor in FLOORS]
    write_results(pages)
    told = {page for pages in TABS.values() for page in pages}
    left = [p.stem for p in (ROOT/'nbs/tutorials').glob('*.ipynb') if p.stem not in told]
    if left: raise SystemExit(f'error: tests/site_docs.py: TABS has no place for {", ".join(left)}')
    (out/'mkdocs.yml').write_text(yaml.safe_dump(settings(out, library), sort_keys=False))
    subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--quiet', '--strict', '-f', out/'mkdocs.yml'], check=True)


def main(out: str, *how: str):
    build(Path(out).resolve())
    if how != ('--serve',): return
    print('the documentation: http://127.0.0.1:8000 (Ctrl-C ends it)', flush=True)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(Path(out).resolve()/'site'))
    http.server.ThreadingHTTPServer(('127.0.0.1', 8000), handler).serve_forever()


if __name__ == '__main__': main(*sys.argv[1:])
