"What tests and measurements need of the machine: a free port, a browser."

import shutil
import socket

CHROMIUM = 'chromium', 'chromium-browser', 'google-chrome'


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def launch_chromium(play):
    "The system's Chromium, without a window; it finds no host but this one"
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    return play.chromium.launch(executable_path=path, args=['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'])
