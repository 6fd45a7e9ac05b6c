"""A queue of runs and studies that outlives the page and the app: each job is a folder with the command's words.

One process of its own, the worker, does them one at a time; it is started with a job, holds a lock, and ends when none
is left."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel

from lora_da_bench.core.errors import BadInput, read_json
from lora_da_bench.evidence.run_store import is_there, write_json

FOLDER = '.jobs'
UNTIL_KILLED = 60  # seconds that a command gets to end
ENDED = 'done', 'failed', 'stopped', 'interrupted'


class Job(BaseModel):
    "What was asked for, and how far it is"
    number: int
    folder: Path
    words: list[str]       # of the command
    runs: dict[str, int]   # run -> its steps, in order
    out: str               # where they go, below the folder of runs
    state: Literal['waiting', 'running', 'done', 'failed', 'stopped', 'interrupted'] = 'waiting'
    began: float | None = None
    line: str = ''         # why it failed


def work_begun(root: Path) -> bool:
    "Whether a worker is at work"
    lock = FileLock(root/FOLDER/'.lock')
    try: lock.acquire(timeout=0)
    except Timeout: return True
    lock.release()
    return False


def read_job(folder: Path) -> Job:
    "A job; raises `BadInput` where its files can't be read"
    asked = read_json(folder/'job.json')
    state = read_json(folder/'state.json') if is_there(folder/'state.json') else {}
    return Job(number=int(folder.name), folder=folder, **asked, **state)


def jobs_of(root: Path) -> list[Job]:
    "All jobs, in order; what can't be read is left out"
    found = []
    for folder in sorted((root/FOLDER).glob('[0-9]*')):
        try: found.append(read_job(folder))
        except (BadInput, TypeError, ValueError): pass   # pydantic's are ValueErrors
    if any(job.state == 'running' for job in found) and not work_begun(root):
        for job in found:
            if job.state == 'running': job.state = 'interrupted'   # the machine went off, or somebody killed the worker
    return found


def job_of(root: Path, number: int) -> Job:
    "A job by its number; raises `BadInput`"
    found = [job for job in jobs_of(root) if job.number == number]
    if not found: raise BadInput(f'job {number}: there is none')
    return found[0]


def set_state(folder: Path, state: str, **more): write_json(folder/'state.json', dict(state=state) | more)


def add(root: Path, words: list[str], runs: dict[str, int], out: str) -> int:
    "Queue a command and see that somebody does it; returns its number"
    (root/FOLDER).mkdir(parents=True, exist_ok=True)
    number = max((int(p.name) for p in (root/FOLDER).glob('[0-9]*')), default=0) + 1
    while True:   # another page may take the same number
        try: (folder := root/FOLDER/f'{number:04}').mkdir()
        except FileExistsError: number += 1
        else: break
    write_json(folder/'job.json', dict(words=words, runs=runs, out=out))
    start_worker(root)
    return number


def stop(root: Path, number: int):
    "End a job: one that waits at once, one that runs as Ctrl-C would; what it has done is kept"
    job = job_of(root, number)
    if job.state == 'running': (job.folder/'stop').touch()
    elif job.state == 'waiting': set_state(job.folder, 'stopped')


def resume(root: Path, number: int):
    "Queue an ended job again: it goes on where it was"
    job = job_of(root, number)
    if job.state not in ENDED: return
    (job.folder/'stop').unlink(missing_ok=True)
    set_state(job.folder, 'waiting')
    start_worker(root)


def remove(root: Path, number: int):
    "Take an ended job off the list; its runs stay"
    if (job := job_of(root, number)).state not in ENDED: return
    # out of sight first: a worker takes a half removed one for new
    shutil.rmtree(job.folder.rename(job.folder.with_name(f'.{job.folder.name}-{time.time_ns()}')))


def start_worker(root: Path):
    "Start a worker that outlives this process; where there is one, the new one ends by itself"
    subprocess.Popen([sys.executable, '-m', 'lora_da_bench_app.jobs', str(root)], start_new_session=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def go_on(root: Path):
    "Start a worker where jobs are left, as after the machine was switched off"
    if any(job.state in ('waiting', 'interrupted') for job in jobs_of(root)): start_worker(root)


def run(job: Job):
    "Run a job's command, and note how it ended"
    set_state(job.folder, 'running', began=time.time())
    with open(job.folder/'said.txt', 'wb') as said:
        command = [sys.executable, '-m', 'lora_da_bench.views.cli', *job.words]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        asked = None
        while process.poll() is None:
            if asked is None and (job.folder/'stop').exists():
                process.send_signal(signal.SIGINT)
                asked = time.monotonic()
            if asked and time.monotonic() > asked + UNTIL_KILLED: process.kill()
            time.sleep(.2)
    lines = [line for line in (job.folder/'said.txt').read_text(errors='replace').splitlines() if line.strip()]
    if asked: set_state(job.folder, 'stopped')
    elif process.returncode == 0: set_state(job.folder, 'done')
    else: set_state(job.folder, 'failed', line=lines[-1] if lines else f'ended with {process.returncode}')


def work(root: Path):
    "Do what is queued, one job after the other"
    signal.signal(signal.SIGINT, signal.default_int_handler)   # where it was ignored, the commands would ignore it, too
    try:
        with FileLock(root/FOLDER/'.lock', timeout=5):
            for job in jobs_of(root):
                if job.state == 'running': set_state(job.folder, 'waiting')
            while waiting := [job for job in jobs_of(root) if job.state == 'waiting']: run(waiting[0])
    except Timeout: pass   # another is at work, and will do these


if __name__ == '__main__': work(Path(sys.argv[1]))
