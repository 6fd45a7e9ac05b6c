"Which floor uses which, what the app may import, where links lead. The library is read as text and not imported."

import ast
import json
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rebuild

ROOT = Path(__file__).parent.parent
LIBRARY = 'lora_da_bench'
FLOORS = rebuild.FLOORS
APP_USES = ('views', 'evidence', 'core', 'data.labels')
FILES = {'.'.join(path.relative_to(ROOT).with_suffix('').parts): path for path in sorted((ROOT/LIBRARY).rglob('*.py'))
         if path.name not in ('__init__.py', '_modidx.py')}
NOTEBOOKS = rebuild.all_notebooks()


def imports_in(tree: ast.AST, module: str) -> list[str]:
    "Dotted names that code imports; relative ones made whole, `from a import b` as `a.b`"
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): names += [a.name for a in node.names]
        if isinstance(node, ast.ImportFrom):
            above = module.split('.')[:-node.level] if node.level else []
            names += ['.'.join([*above, *filter(None, [node.module]), a.name]) for a in node.names]
    return names


@cache
def imported(module: str) -> tuple[str, ...]:
    "All that a module of the library imports, anywhere in it"
    return tuple(imports_in(ast.parse(FILES[module].read_text()), module))


def modules_of(names) -> set[str]:
    "The library's modules among imported names"
    return {'.'.join(n.split('.')[:3]) for n in names if n.startswith(f'{LIBRARY}.')} & set(FILES)


def floor(module: str) -> str: return module.split('.')[1]


def imported_at_once(tree: ast.Module, module: str) -> list[str]:
    "What is imported when the module is, not later in a function"
    class WithoutFunctions(ast.NodeTransformer):
        def visit_FunctionDef(self, node): return None
        visit_AsyncFunctionDef = visit_FunctionDef
    return imports_in(WithoutFunctions().visit(tree), module)


def test_every_module_lives_on_a_floor():
    assert FILES
    assert [m for m in FILES if len(m.split('.')) != 3 or floor(m) not in FLOORS] == []


@pytest.mark.parametrize('name', FLOORS)
def test_a_floor_uses_only_those_before_it(name):
    below = FLOORS[:FLOORS.index(name) + 1]
    upwards = [f'{m} imports {n}' for m in FILES if floor(m) == name for n in imported(m)
               if n.startswith(f'{LIBRARY}.') and n.split('.')[1] in FLOORS and n.split('.')[1] not in below]
    assert upwards == []


def test_no_two_modules_need_each_other():
    uses = {m: modules_of(imported(m)) - {m} for m in FILES}
    try: TopologicalSorter(uses).prepare()
    except CycleError as error: pytest.fail(' needs '.join(reversed(error.args[1])))


APP = [p for p in (ROOT/'app').glob('*.py') if p.stem != 'questions']   # that module is for the helper, a process of its own


def test_the_app_reads_and_draws_only():
    used = {n for p in APP for n in imports_in(ast.parse(p.read_text()), f'app.{p.stem}')}
    assert not [n for n in used if n.startswith('lora_da_bench_app.questions')]
    ours = {n.removeprefix(f'{LIBRARY}.') for n in used if n.split('.')[0] == LIBRARY}
    assert ours
    assert [n for n in ours if not any(f'{n}.'.startswith(f'{allowed}.') for allowed in APP_USES)] == []


def test_the_app_starts_without_torch():
    "No module that is imported with the app imports torch, or something that would, before a function asks for it"
    names = {path: imported_at_once(ast.parse(path.read_text()), f'app.{path.stem}') for path in APP}
    todo = modules_of({n for of in names.values() for n in of})
    while todo:
        module = todo.pop()
        names[module] = imported_at_once(ast.parse(FILES[module].read_text()), module)
        todo |= modules_of(names[module]) - set(names)
    heavy = ('torch', 'torchvision', 'timm', 'peft', 'accelerate', 'torchmetrics', 'segmentation_models_pytorch')
    assert [f'{m}: {n}' for m, all_of in names.items() for n in all_of if n.split('.')[0] in heavy] == []


def links(text: str) -> list[str]:
    "Relative targets of Markdown links and pictures, and of HTML's; code is passed over"
    text = re.sub(r'```.*?```|`[^`\n]*`', '', text, flags=re.S)
    targets = re.findall(r'\]\(\s*<?([^)\s>]+)', text) + re.findall(r'^\[[^]]+\]:\s*(\S+)', text, flags=re.M)
    targets += [t for found in re.findall(r'(?:src|href|srcset)="([^"]+)"', text) for t in found.split(',')]
    return [t.strip().split('#')[0].split('?')[0] for t in targets if not re.match(r'[a-z][a-z+.-]*:|#|//', t.strip())]


def test_links_are_seen():
    text = 'a [b](c.ipynb#d), ![p](e.png "t"), `[x](y)`, <img src="f.png">, [w](https://w.org), [h](#here)\n\n[r]: g.md'
    assert links(text) == ['c.ipynb', 'e.png', 'g.md', 'f.png']


def prose(path: Path) -> str:
    "A Markdown file, or a notebook's Markdown cells"
    if path.suffix == '.md': return path.read_text()
    cells = json.loads(path.read_text())['cells']
    return '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')


PAGES = [ROOT/'README.md', ROOT/'CONTRIBUTING.md', *NOTEBOOKS]


@pytest.mark.parametrize('path', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_pictures_lead_to_files(path):
    assert [t for t in links(prose(path)) if not (path.parent/t).exists()] == []


def test_no_stored_output_is_a_widget():
    "It needs a kernel: without one a finished progress bar stands at 0%"
    assert [path.name for path in NOTEBOOKS if f'"{rebuild.WIDGET}"' in path.read_text()] == []


def test_contributing_sends_nobody_to_a_notebook_that_is_not_there():
    named = re.findall(rf"`((?:{'|'.join(FLOORS)})/[0-9]{{2}}\w+)`", (ROOT/'CONTRIBUTING.md').read_text())
    assert named
    assert sorted({n for n in named if not (ROOT/f'nbs/{n}.ipynb').exists()}) == []


@pytest.mark.parametrize('name', rebuild.PICTURES)
def test_the_readme_shows_what_the_results_say(name):
    "The picture was drawn from the result files and by the code that are here; else: `make notebooks`"
    assert rebuild.signed(name) == rebuild.drawn_from()
