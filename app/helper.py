"A process beside the app's with torch: it segments pictures, plans runs and reads datasets, one question at a time."

import atexit
import multiprocessing
import threading
from importlib import import_module
from multiprocessing.connection import Connection

from lora_da_bench.core.errors import BadInput

QUESTIONS, TO_START = 'lora_da_bench_app.questions', 180  # seconds


def answer(pipe: Connection):
    "Answer questions, each the name of a function of `questions` and its arguments, until nobody is there to ask"
    from lora_da_bench.core.registry import load_plugin, named_plugins
    for plugin in named_plugins(): load_plugin(plugin)
    questions = import_module(QUESTIONS)
    pipe.send(None)   # begin to ask
    while True:
        try: question, args = pipe.recv()
        except EOFError: return
        try: pipe.send(getattr(questions, question)(*args))
        except BadInput as problem: pipe.send(problem)
        except Exception as error: pipe.send(BadInput(f'{question}: failed ({type(error).__name__}: {error})'))


class Helper:
    "The process, started with the first question; one that takes too long ends it, and the next starts another"
    def __init__(self): self.lock, self.process, self.pipe = threading.Lock(), None, None

    def start(self):
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload([QUESTIONS])   # loaded once for all helpers of an app
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=answer, args=[theirs])
        self.process.start()
        theirs.close()
        atexit.register(self.close)   # else the end of the app would wait for it
        self.receive(TO_START)

    def receive(self, limit: float):
        "The next answer; raises `TimeoutError`, and `EOFError` where the process is gone"
        if not self.pipe.poll(limit): raise TimeoutError
        return self.pipe.recv()

    def ask(self, question: str, *args, limit: float = 60.):
        "What a function of `questions` returns; raises `BadInput`, also after `limit` seconds"
        if not self.lock.acquire(timeout=limit): raise BadInput('too many are asking at once; try again in a minute')
        try:
            if self.process is None or not self.process.is_alive(): self.start()
            self.pipe.send((question, args))
            found = self.receive(limit)
        except TimeoutError:
            self.close()
            raise BadInput(f'this took longer than {limit:.0f} seconds and was ended') from None
        except (EOFError, OSError):
            self.close()
            raise BadInput('the process that computes was ended, perhaps because the memory was full') from None
        finally: self.lock.release()
        if isinstance(found, BadInput): raise found
        return found

    def close(self):
        "End the process"
        if self.process is not None and self.process.is_alive(): self.process.kill()
        self.process = None
