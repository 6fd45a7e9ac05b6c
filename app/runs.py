"What the app knows of the folders of runs: each is read again only when its files have changed."

import hashlib
import math
import os
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import BaseModel, Field

from lora_da_bench.core.errors import BadInput, field_errors, read_json
from lora_da_bench.evidence.run_store import (anchors_of, find_runs, is_there, labels_folder, read_diverged, read_run,
    summary, weights_path)
from lora_da_bench_app.jobs import jobs_of

PARTS = 'config.json', 'metrics.jsonl', 'measures.json', 'diverged.json', 'kept.json'
HERE = '~'  # the study that is the folder itself
FIRST_MEASURES = ['target_miou', 'flip_rate']  # whose curves are shown before a reader chooses
PATIENCE = .4  # seconds: so long a page waits for runs that were never read; the rest come with its next polls


class CostRow(BaseModel):
    "What is shown of a candidate"
    stabilizer: str
    time_ms: dict[str, float]
    memory: dict[str, float]


class MeasuredCost(BaseModel):
    "What is shown of a result of `lora-da-bench cost`"
    command: str
    device: str
    rows: list[CostRow] = Field(max_length=100)


class NotYet(BadInput):
    "A run that is still to be read"


def stamp(folder: Path) -> tuple:
    "Differs when anything that `read_run` reads has changed"
    def of(path):
        try: return (found := path.stat()).st_mtime_ns, found.st_size
        except OSError: return None
    return tuple(of(folder/part) for part in PARTS)


def newest_look(folder: Path) -> tuple[str, int]:
    "The last folder of snapshots, and how many pictures are in it"
    try:
        last = max((p.name for p in (folder/'snapshots').iterdir() if p.name.startswith('step-')), default='')
        return last, sum(1 for _ in (folder/'snapshots'/last).iterdir()) if last else 0
    except OSError: return '', 0


@dataclass
class Runs:
    "The studies of a folder: the runs in it, and those in each folder of it that holds runs"
    root: Path
    read: dict[Path, tuple[tuple, dict]] = field(default_factory=dict)          # folder -> stamp, run
    summed: dict[Path, tuple[tuple, dict]] = field(default_factory=dict)        # folder -> stamp and anchors, summary
    signed: tuple[float, str, str] = (0., '', '')                              # when, of which study, its signature
    left: dict[str, int] = field(default_factory=dict)                          # study -> how many are still to be read

    def run(self, folder: Path, until: float = math.inf) -> dict:
        """As `read_run`, from memory where nothing has changed; raises `NotYet` for a run that was never read where it
        is later than `until`, on the clock of `time.monotonic`"""
        now = stamp(folder)
        if folder not in self.read or self.read[folder][0] != now:
            if folder not in self.read and time.monotonic() > until: raise NotYet(f'{folder}: is still to be read')
            self.read[folder] = now, read_run(folder)
        return self.read[folder][1]

    def studies(self) -> list[str]:
        "The names of what can be chosen"
        def holds_runs(folder):
            try: return any(os.path.exists(p/'config.json') for p in folder.iterdir() if os.path.isdir(p))
            except OSError: return False
        try: below = sorted(p for p in self.root.iterdir() if p.is_dir() and self.inside(p))
        except OSError: below = []
        below = [p.name for p in below if not os.path.exists(p/'config.json')]
        found = [name for name in below if holds_runs(self.root/name)]
        return [HERE, *found] if holds_runs(self.root) or os.path.exists(self.root/'config.json') or not found else found

    def name_of(self, study: str) -> str:
        "What a study is called"
        return self.root.resolve().name if study == HERE else study

    def folder(self, study: str) -> Path:
        "A study's folder; raises `BadInput` for a name that is none of `studies`"
        if study == HERE: return self.root
        folder = self.root/study
        if not os.path.isdir(folder) or not self.inside(folder): raise BadInput(f'{study}: no such study')
        return folder

    def folder_to_be(self, study: str) -> Path:
        "The folder of a study that need not be there yet; raises `BadInput` for a name that would lie elsewhere"
        folder = self.root if study == HERE else self.root/study
        if study != HERE and ('\0' in study or not self.inside(folder)):
            raise BadInput(f'folder: expected a plain name below {self.root.name}, got {study!r}')
        if os.path.exists(folder/'config.json'): raise BadInput(f'folder: {study} is a run; expected a folder of runs')
        return folder

    def inside(self, folder: Path) -> bool:
        "Whether a folder lies in this one by its own name, and not through `..` or a link out of it"
        return os.path.dirname(os.path.realpath(folder)) == os.path.realpath(self.root) and not folder.name.startswith('.')

    def all(self, study: str, patience: float = math.inf) -> tuple[list[dict], list[str]]:
        """A study's runs, and a line for each folder that can't be read; after so many seconds without those that were
        never read, whose number is in `left`; never raises"""
        try: runs, skipped = find_runs(self.folder(study), partial(self.run, until=time.monotonic() + patience))
        except BadInput as problem: return [], [str(problem)]
        left = [line for line in skipped if line.endswith(': is still to be read')]
        self.left[study], skipped = len(left), [line for line in skipped if line not in left]
        others = {str(self.root/name) for name in self.studies()}   # a study beside runs is no run that can't be read
        return [*runs.values()], [line for line in skipped if line.split(': ')[0] not in others]

    def rows(self, runs: list[dict]) -> list[dict]:
        "A `summary` of every adaptation, from memory where nothing has changed"
        anchors, rows = anchors_of(runs), []
        for run in runs:
            if run['recipe'] == 'source': continue
            key = stamp(run['folder']), repr(anchors[run['name']])
            if self.summed.get(run['folder'], (None,))[0] != key:
                self.summed[run['folder']] = key, summary(run, anchors[run['name']])
            rows.append(self.summed[run['folder']][1])
        return rows

    def costs(self, study: str) -> tuple[dict | None, list[str]]:
        "What `lora-da-bench cost --format json` measured, from a study's `cost.json`, or None; what is wrong with it"
        try:
            path = self.folder(study)/'cost.json'
            if not is_there(path): return None, []
            with field_errors(path, MeasuredCost): return MeasuredCost.model_validate(read_json(path)).model_dump(), []
        except BadInput as problem: return None, [str(problem)]

    def signature(self, study: str) -> str:
        """Changes when a run has appeared or has been looked at again; not with every step, so that watching costs the
        training little.

        Within a second all who ask get the same answer."""
        then, of, known = self.signed
        if of == study and time.monotonic() - then < 1: return known
        def sign(folder):
            try:
                labelled = sum(1 for _ in labels_folder(folder).glob('*.png'))
                done = weights_path(folder) is not None, read_diverged(folder) is not None
                return folder.name, (folder/'config.json').exists(), newest_look(folder), labelled // 100, *done
            except (OSError, BadInput) as error: return folder.name, str(error)
        try:
            place = self.folder(study)
            found = tuple(map(sign, [place, *sorted(p for p in place.iterdir() if p.is_dir())]))
        except (OSError, BadInput) as error: found = (str(error),)
        queued = tuple((job.number, job.state) for job in jobs_of(self.root))
        found = hashlib.sha1(repr((queued, found)).encode()).hexdigest()
        self.signed = time.monotonic(), study, found
        return found

    def look(self, study: str) -> tuple[str, list[dict], list[str]]:
        "The state of a study's runs as `news` tells it, and what `all` gives a page"
        signature = self.signature(study)   # before: what is written meanwhile is news
        runs, skipped = self.all(study, PATIENCE)
        return f'{signature} {self.left.get(study, 0)}', runs, skipped

    def news(self, study: str) -> str:
        "What every open page asks every two seconds: another answer than before means that it is to be drawn anew"
        signature = self.signature(study)
        if self.left.get(study): self.all(study, 3 * PATIENCE)   # reads on; nobody waits for it
        return f'{signature} {self.left.get(study, 0)}'
