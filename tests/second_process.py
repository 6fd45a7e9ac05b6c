"A real second process that runs the command, forked from a server that has loaded torch and Gradio once for all workers of the tests."

import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from pathlib import Path

LOADED = ['lora_da_bench.studies.plan', 'lora_da_bench.studies.ablation', 'lora_da_bench.studies.cost', 'transformers', 'lora_da_bench_app.app']  # not the command: it reads the environment
SERVER = 'FORK_SERVER'  # the environment variable that holds its address


@dataclass
class Second:
    "A process that was started, and the files that hold what it says"
    pid: int
    keeper: Connection
    out: Path
    err: Path
    code: int | None = None

    def poll(self) -> int | None:
        if self.code is None and self.keeper.poll(): self.code = self.keeper.recv()
        return self.code

    def send_signal(self, which: int): os.kill(self.pid, which)
    def kill(self): self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 300) -> tuple[int, str, str]:
        "Exit code (below zero: killed by that signal), stdout, stderr"
        if self.code is None: self.keeper.poll(timeout)
        if self.poll() is None:
            self.kill()
            raise TimeoutError(self.err.read_text())
        return self.code, self.out.read_text(), self.err.read_text()


def start(folder: Path, *words, env: dict[str, str] = {}, prepare=None) -> Second:
    "Start the command; `folder` takes the files of what it says, `prepare` is called in the process before"
    folder.mkdir(parents=True, exist_ok=True)
    n = len(list(folder.glob('*.out')))
    out, err = (folder/f'{n}.{kind}' for kind in ('out', 'err'))
    for path in (out, err): path.touch()
    keeper = Client(os.environ[SERVER])
    keeper.send(([str(w) for w in words], os.environ | env, out, err, prepare))
    return Second(keeper.recv(), keeper, out, err)


def start_server() -> subprocess.Popen:
    "Start the server, which ends with this process, and tell its address to this process and those that it starts"
    os.environ[SERVER] = address = tempfile.mkdtemp() + '/forks'
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(16)
    return subprocess.Popen([sys.executable, __file__, str(listening.fileno())], stdin=subprocess.PIPE, pass_fds=[listening.fileno()])


def serve(listening: socket.socket):
    "Load what is needed, then fork a keeper for each client until stdin is closed"
    for name in LOADED: importlib.import_module(name)
    assert 'lora_da_bench.views.cli' not in sys.modules   # it reads which of several processes this is
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        client = Connection(listening.accept()[0].detach())
        if os.fork() == 0: return keep(client)
        client.close()


def keep(client: Connection):
    "Fork the process that a client asks for, say its number, wait for it and say how it ended"
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request = client.recv()
    if (pid := os.fork()) == 0:
        client.close()
        return run(*request)
    client.send(pid)
    _, status = os.waitpid(pid, 0)
    try: client.send(os.waitstatus_to_exitcode(status))
    finally: os._exit(0)   # the client may be gone


def run(words: list[str], env: dict[str, str], out: Path, err: Path, prepare):
    "What the process does"
    for fd, path in ((1, out), (2, err)): os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    os.environ.clear()
    os.environ.update(env)
    os.setpgid(0, 0)
    sys.argv = ['lora-da-bench', *words]
    if prepare: prepare()
    from lora_da_bench.views.cli import main
    main()


if __name__ == '__main__': serve(socket.socket(fileno=int(sys.argv[1])))
