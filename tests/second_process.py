"A real second process that runs the command, forked from a server that has loaded torch and Gradio once."

import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

LOADED = ['lora_da_bench.studies.plan', 'lora_da_bench.studies.ablation', 'lora_da_bench.studies.cost', 'transformers', 'lora_da_bench_app.app']  # not the command: it reads the environment
forks = multiprocessing.get_context('forkserver')
forks.set_forkserver_preload(LOADED)


@dataclass
class Second:
    "A process that was started, and the files that hold what it says"
    process: multiprocessing.Process
    out: Path
    err: Path

    def poll(self) -> int | None: return self.process.exitcode
    def send_signal(self, which: int): os.kill(self.process.pid, which)
    def kill(self): self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 300) -> tuple[int, str, str]:
        "Exit code (below zero: killed by that signal), stdout, stderr"
        self.process.join(timeout)
        if self.process.is_alive():
            self.kill()
            raise TimeoutError(self.err.read_text())
        return self.process.exitcode, self.out.read_text(), self.err.read_text()


def run(words: list[str], env: dict[str, str], out: Path, err: Path, prepare):
    "What the process does"
    for fd, path in ((1, out), (2, err)): os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    multiprocessing.set_start_method(None, force=True)  # its own children, such as those that load frames, start as in a fresh process
    os.environ.clear()
    os.environ.update(env)
    os.setpgid(0, 0)
    sys.argv = ['lora-da-bench', *words]
    if prepare: prepare()
    from lora_da_bench.views.cli import main
    main()


def start(folder: Path, *words, env: dict[str, str] = {}, prepare=None) -> Second:
    "Start the command; `folder` takes the files of what it says, `prepare` is called in the process before"
    folder.mkdir(parents=True, exist_ok=True)
    n = len(list(folder.glob('*.out')))
    out, err = (folder/f'{n}.{kind}' for kind in ('out', 'err'))
    for path in (out, err): path.touch()
    process = forks.Process(target=run, args=([str(w) for w in words], os.environ | env, out, err, prepare))
    process.start()
    return Second(process, out, err)
