"Fail when notebooks, library and README are out of step, or a notebook is not clean."

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ('nbs', 'lora_da_bench', 'settings.ini', 'pyproject.toml', 'README.md', 'results', 'tests/rebuild.py')
LEFT_OUT = {'__pycache__', '.ipynb_checkpoints'}


def differing(a: Path, b: Path) -> list[str]:
    "Files that differ between two trees, or are only in one"
    files = {p.relative_to(tree) for tree in (a, b) for p in tree.rglob('*') if p.is_file() and not LEFT_OUT & {*p.parts}}
    same = lambda f: (a/f).exists() and (b/f).exists() and filecmp.cmp(a/f, b/f, shallow=False)
    return sorted(str(f) for f in files if not same(f))


def main(root: Path = ROOT) -> int:
    "Export and clean a copy of the project, and compare"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)/'project'
        copy.mkdir()
        for part in PARTS:
            if (root/part).is_dir(): shutil.copytree(root/part, copy/part, ignore=shutil.ignore_patterns(*LEFT_OUT))
            elif (root/part).exists():
                (copy/part).parent.mkdir(exist_ok=True)
                shutil.copy(root/part, copy/part)
        for command in ('nbdev_export', 'nbdev_clean'):
            subprocess.run([Path(sys.executable).parent/command], cwd=copy, check=True)
        subprocess.run([sys.executable, 'tests/rebuild.py', '--readme'], cwd=copy, check=True)
        wrong = [f'{part}/{name}' for part in ('nbs', 'lora_da_bench') for name in differing(root/part, copy/part)]
        if (root/'README.md').read_text() != (copy/'README.md').read_text(): wrong.append('README.md')
    for name in wrong:
        print(f'error: {name}: notebooks and library are out of step or not clean; run `make notebooks` and commit')
    return 1 if wrong else 0


if __name__ == '__main__': sys.exit(main())
