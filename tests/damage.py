"Kinds of damage to a run's folder: a name, and what does it to a whole run. Readers skip that run, or that picture, and nothing else."

import json
import os
from collections.abc import Callable
from pathlib import Path


def config(**changes) -> Callable[[Path], None]:
    "`config.json` with other fields"
    def damage(run):
        path = run/'config.json'
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return damage


def written(name: str, content: bytes) -> Callable[[Path], None]:
    "A file with other content"
    def damage(run):
        (run/name).unlink(missing_ok=True)
        (run/name).write_bytes(content)
    return damage


def event(line: str, end: str = '\n') -> Callable[[Path], None]:
    "One more line in `metrics.jsonl`"
    def damage(run):
        with open(run/'metrics.jsonl', 'a') as file: file.write(line + end)
    return damage


def folder_instead(name: str) -> Callable[[Path], None]:
    def damage(run):
        (run/name).unlink(missing_ok=True)
        (run/name).mkdir()
    return damage


def pipe_instead(name: str) -> Callable[[Path], None]:
    def damage(run):
        (run/name).unlink()
        os.mkfifo(run/name)
    return damage


def loop_instead(name: str) -> Callable[[Path], None]:
    def damage(run):
        (run/name).unlink()
        (run/name).symlink_to(name)
    return damage


def pictures(place: str, content: bytes | None) -> Callable[[Path], None]:
    "All pictures of a folder cut to 60 bytes, or with other content"
    def damage(run):
        for path in run.glob(f'snapshots/{place}'): path.write_bytes(path.read_bytes()[:60] if content is None else content)
    return damage


def file_instead_of_snapshots(run: Path):
    (run/'snapshots').rename(run/'other')
    (run/'snapshots').write_text('')


def small_prediction(run: Path):
    from PIL import Image
    for path in run.glob('snapshots/step-*/*-prediction.png'): Image.new('L', (3, 2)).save(path)


def colour_prediction(run: Path):
    from PIL import Image
    for path in run.glob('snapshots/step-*/*-prediction.png'): Image.open(path).convert('RGB').save(path)


def deep_label(run: Path):
    from PIL import Image
    for path in run.glob('snapshots/label/*.png'): Image.new('I;16', (192, 96)).save(path)


RUN = {  # the run is skipped, and this is said
    'config.json is missing': (lambda run: (run/'config.json').unlink(), 'not a run; expected a folder with config.json'),
    'config.json is empty': (written('config.json', b''), 'config.json: is empty; expected a JSON file'),
    'config.json is cut off': (lambda run: (run/'config.json').write_bytes((run/'config.json').read_bytes()[:100]), 'config.json: is no JSON; expected a JSON file'),
    'config.json is binary': (written('config.json', b'\xff\xfe\x00\x01'), 'config.json: is no JSON; expected a JSON file'),
    'config.json is a list': (written('config.json', b'[]'), 'config.json: not a run of lora-da-bench'),
    'config.json is null': (written('config.json', b'null'), 'config.json: not a run of lora-da-bench'),
    'config.json is nested too deep': (written('config.json', b'[' * 100_000), 'config.json: is nested too deeply; expected a JSON file'),
    'config.json is a folder': (folder_instead('config.json'), 'config.json: is a folder; expected a JSON file'),
    'config.json is a pipe': (pipe_instead('config.json'), 'config.json: is no regular file; expected a JSON file'),
    'config.json is a link to itself': (loop_instead('config.json'), 'config.json: cannot be read (Too many levels of symbolic links)'),
    'steps is text': (config(steps='many'), 'config.json: field steps'),
    'steps is negative': (config(steps=-1), 'config.json: field steps'),
    'steps is huge': (config(steps=10**400), 'config.json: field steps'),
    'recipe is a list': (config(recipe=['plain']), 'config.json: field recipe'),
    'stabilizer is null': (config(stabilizer=None), 'config.json: field stabilizer'),
    'seed is a fraction': (config(seed=.5), 'config.json: field seed'),
    'round is text': (config(round='first'), 'config.json: field round'),
    'classes are numbers': (config(classes=list(range(19))), 'config.json: field classes'),
    'classes is text': (config(classes='road'), 'config.json: field classes'),
    'a class name is huge': (config(classes=['x' * 10**5] * 19), 'config.json: field classes'),
    'too many classes': (config(classes=['road'] * 10**4, palette=[[0, 0, 0]] * 10**4), 'config.json: field classes'),
    'a colour is text': (config(palette=[['red', 0, 0]] * 19), 'config.json: field palette'),
    'a colour is markup': (config(palette=[['0)"><img src=x onerror=document.title="run">', 0, 0]] * 19), 'config.json: field palette'),
    'a colour is out of range': (config(palette=[[0, 0, 256]] * 19), 'config.json: field palette'),
    'too few colours': (config(palette=[[0, 0, 0]]), 'config.json: field palette'),
    'metrics.jsonl is binary': (written('metrics.jsonl', b'\x00\xff\xfe\n'), 'metrics.jsonl: expected '),
    'metrics.jsonl is a folder': (folder_instead('metrics.jsonl'), 'metrics.jsonl: is a folder; expected a file'),
    'metrics.jsonl is a pipe': (pipe_instead('metrics.jsonl'), 'metrics.jsonl: is no regular file; expected a file'),
    'an event is garbage': (event('what?'), ' is not an event; expected '),
    'an event is nested too deep': (event('[' * 100_000), ' is not an event; expected '),
    'an event has no name': (event('{"step": 20, "value": 1}'), ' is not an event; expected '),
    'the step of an event is text': (event('{"step": "20", "name": "target_miou", "value": 1}'), ' is not an event; expected '),
    'the step of an event is infinite': (event('{"step": 1e999, "name": "target_miou", "value": 1}'), ' is not an event; expected '),
    'the step of an event is negative': (event('{"step": -5, "name": "target_miou", "value": 1}'), ' is not an event; expected '),
    'the value of an event is text': (event('{"step": 20, "name": "target_miou", "value": "high"}'), ' is not an event; expected '),
    'the value of an event is a list': (event('{"step": 20, "name": "target_miou", "value": [1]}'), ' is not an event; expected '),
    'diverged.json is damaged': (written('diverged.json', b'{"step": "late"}'), 'diverged.json: field step'),
    'kept.json is damaged': (written('kept.json', b'{"step": -5, "reason": "x"}'), 'kept.json: field step'),
}

PART = {  # the run stays, less what is damaged
    'config.json begins with a byte order mark': lambda run: (run/'config.json').write_bytes(b'\xef\xbb\xbf' + (run/'config.json').read_bytes()),
    'metrics.jsonl is missing': lambda run: (run/'metrics.jsonl').unlink(),
    'metrics.jsonl is empty': written('metrics.jsonl', b''),
    'a last line is cut off': event('{"step": 20, "na', end=''),
    'a value is NaN': event('{"step": 20, "name": "target_miou", "value": NaN}'),
    'a value is infinite': event('{"step": 20, "name": "target_miou", "value": Infinity}'),
    'a value is null': event('{"step": 20, "name": "peak_memory_bytes", "value": null}'),
    'a value is huge': event('{"step": 20, "name": "peak_memory_bytes", "value": 1e300}'),
    'the inputs are empty': pictures('input/*.png', b''),
    'the inputs are no pictures': pictures('input/*.png', b'hello'),
    'the labels are cut off': pictures('label/*.png', None),
    'the predictions are cut off': pictures('step-*/*-prediction.png', None),
    'the pseudo-labels are empty': pictures('step-*/*-pseudo.png', b''),
    'the confidences are cut off': pictures('step-*/*-confidence.png', None),
    'the predictions are smaller': small_prediction,
    'the predictions are in colour': colour_prediction,
    'the labels are 16 bits deep': deep_label,
    'snapshots is a file': file_instead_of_snapshots,
    'a step has a huge number': lambda run: (run/f'snapshots/step-{10**30}').mkdir(),
    'a step is a file': lambda run: (run/'snapshots/step-000030').write_text(''),
    'only labels_accuracy was logged': event('{"step": 20, "name": "labels_accuracy", "value": 0.5}'),
}
