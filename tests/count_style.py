"""Print the figures of DESIGN.md's section on style: `python tests/count_style.py`, and with `-v` notebook by notebook.

Figures, not a gate: non-blank lines of exported cells (median / 90th percentile); exported cells with exactly one
function or class, among those that have any (cells of imports or constants have none); their lines over 120
characters; words of the longest prose cell."""

import ast
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
EXPORTS = ('#| export', '#|export', '#| exporti', '#|exporti')


def n_definitions(code: str) -> int:
    "Functions and classes that a cell defines"
    return sum(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in ast.parse(code).body)


def is_imports(code: str) -> bool:
    "Whether a cell holds imports and nothing else"
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(code).body)


def counts(path: Path) -> dict[str, list[int]]:
    "Of one notebook: lines and definitions of exported cells, lengths of their lines, words of prose cells"
    cells = [(c['cell_type'], ''.join(c['source'])) for c in json.loads(path.read_text())['cells']]
    exported = ['\n'.join(line for line in source.splitlines() if line.strip() and not line.startswith('#|'))
                for kind, source in cells if kind == 'code' and source.startswith(EXPORTS)]
    exported = [source for source in exported if not is_imports(source)]
    return dict(lines=[len(source.splitlines()) for source in exported],
                definitions=[n_definitions(source) for source in exported],
                lengths=[len(line) for source in exported for line in source.splitlines()],
                words=[len(source.split()) for kind, source in cells if kind == 'markdown'])


def figures(found: list[dict[str, list[int]]]) -> str:
    "One line for one or several notebooks"
    lines, definitions, lengths, words = (sum((f[k] for f in found), []) for k in ('lines', 'definitions', 'lengths', 'words'))
    percent = lambda chosen: f'{100 * np.mean(chosen):.1f}%' if len(chosen) else '–'
    middle, long = np.percentile(lines or [0], [50, 90])
    return (f'{len(lines):4} exported cells, lines {middle:.0f} / {long:.0f}, longest {max(lines, default=0)}; '
            f'one definition {percent([n == 1 for n in definitions if n])}; '
            f'over 120 characters {percent([n > 120 for n in lengths])}; longest prose {max(words, default=0)} words')


def main(verbose: bool):
    "Print the figures, and where the longest prose is"
    paths = [p for p in sorted((ROOT/'nbs').rglob('*.ipynb')) if '.ipynb_checkpoints' not in p.parts]
    found = {str(p.relative_to(ROOT/'nbs')): counts(p) for p in paths}
    if verbose:
        for path, of in found.items(): print(f'{path:34}{figures([of])}')
    longest = max(found, key=lambda path: max(found[path]['words'], default=0))
    print(f'{"all":34}{figures(list(found.values()))}, in {longest}')
    print(f'{"fastcore, counted 2026-11-25":34}     lines 6 / 17; one definition 91%; over 120 characters 1.7%; longest prose 184 words')


if __name__ == '__main__': main('-v' in sys.argv[1:])
