"The pictures of runs: by address for the page's script, and the index from which it knows what there is."

import json
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Response
from PIL import Image

from lora_da_bench.core.errors import BadInput, printable, read_bytes, Unreadable
from lora_da_bench.evidence.run_store import (arm_of, is_there, probes, read_picture, run_label, snapshot_steps,
    step_folder)
from lora_da_bench.views.comparison import arm_colours, arm_labels, curve, distinct
from lora_da_bench.views.figures import png

MOST = 4  # runs at once
LABELS = {'truth': 'label'}  # what is stored once a probe, and in which folder
LOOKS = 'prediction', 'pseudo', 'confidence'  # what is stored at every look: the channels of its picture
LARGEST = 2**14  # pixels of a side


def within(root: Path, *parts: str) -> Path:
    "A path below a folder; raises `Unreadable` for one that leads out of it, by `..`, a link or an absolute name"
    path = root.joinpath(*parts)
    plain = lambda part: part not in ('', '.', '..') and not set(part) & set('/\\\0')
    if not all(map(plain, parts)): raise Unreadable('expected plain names')
    if not path.resolve().is_relative_to(root.resolve()): raise Unreadable('expected a path below the folder of runs')
    return path


@lru_cache(1024)
def served(path: Path, changed: int, what: str, width: int) -> bytes:
    """A file as it is sent: the input as it is, all else as grey numbers (a page can't read those of a palette image),
    a label map no wider than `width`; `changed` is when it was written"""
    image = read_picture(path)   # a damaged one is not sent
    if what == 'input': return read_bytes(path)
    return png(labels_at(image, width if what in LABELS else LARGEST))


def picture(folder: Path, probe: str, what: str, step: int | None = None, width: int = LARGEST) -> bytes | None:
    """A picture of a run that is stored once, or of one of its steps; None where there is none; raises `BadInput` for
    one that can't be shown"""
    if not probe.isdecimal(): raise Unreadable('expected the number of a probe')
    if what in LOOKS and step is not None: place = step_folder(step), f'{probe}-{what}.png'
    elif what in ('input', *LABELS) and step is None: place = LABELS.get(what, what), f'{probe}.png'
    else: raise Unreadable(f"expected one of input, truth, and of a step {', '.join(LOOKS)}")
    path = within(folder, 'snapshots', *place)
    if not is_there(path): return None
    return served(path, path.stat().st_mtime_ns, what, max(1, width))


def labels_at(image: Image.Image, width: int) -> Image.Image:
    """A label map's values, no wider than `width`: nearest pixels, for class ids can't be mixed; raises `Unreadable`
    for other images"""
    if image.mode not in ('P', 'L'): raise Unreadable('is no label')
    scale = min(1., width / image.width)   # and rounded as the page does
    size = tuple(max(1, int(n * scale + .5)) for n in image.size)
    return Image.fromarray(np.asarray(image)).resize(size, Image.NEAREST)


@lru_cache(1024)
def packed(paths: tuple[Path, ...], changed: tuple, width: int) -> tuple[bytes, str] | None:
    """The pictures of a look as the channels of one PNG, no wider than `width`, and as JSON what is wrong with those
    that can't be shown ('': not there).

    One request and one small picture, where each kind at its full size would be one of its own."""
    found, problems = {}, {}
    for kind, path in zip(LOOKS, paths):
        try:
            if (image := read_picture(path)) is None: raise Unreadable('')
            labels = labels_at(image, width)
            if found and labels.size != next(iter(found.values())).size: raise Unreadable('pictures differ in size')
            found[kind] = labels
        except Unreadable as problem: problems[kind] = str(problem).split(': ')[-1]
    if not found and not any(problems.values()): return None
    size = next(iter(found.values())).size if found else (1, 1)
    channels = [found.get(kind) or Image.new('L', size) for kind in LOOKS]
    return png(Image.merge('RGB', channels), 1), json.dumps(problems)


def look_picture(folder: Path, step: int, probe: str, width: int) -> tuple[bytes, str] | None:
    "As `packed`, of a run, None where there is no such look; raises `BadInput` for what is no address of a look"
    if not probe.isdecimal(): raise Unreadable('expected the number of a probe')
    paths = tuple(within(folder, 'snapshots', step_folder(step), f'{probe}-{kind}.png') for kind in LOOKS)
    changed = tuple(path.stat().st_mtime_ns if is_there(path) else None for path in paths)
    return packed(paths, changed, max(1, min(width, LARGEST)))


def picture_routes(folder_of) -> APIRouter:
    "Addresses of pictures; `folder_of(study, run)` is a run's folder, and raises `BadInput`"
    router, kept = APIRouter(), {'Cache-Control': 'private, max-age=31536000, immutable'}   # `v` names its version

    @router.get('/pictures/{study}/{run}/{step}/{probe}/look.png')
    def look(study: str, run: str, step: int, probe: str, w: int = LARGEST):
        try: found = look_picture(folder_of(study, run), step, probe, w)
        except BadInput as problem: return Response(str(problem).split(': ')[-1], 422, media_type='text/plain')
        if found is None: return Response(status_code=404)
        whole = found[1] == '{}'   # what is not there may still be written
        headers = (kept if whole else {'Cache-Control': 'no-store'}) | {'X-Problems': found[1]}
        return Response(found[0], media_type='image/png', headers=headers)

    @router.get('/pictures/{study}/{run}/{probe}/{what}.png')
    @router.get('/pictures/{study}/{run}/{step}/{probe}/{what}.png')
    async def get(study: str, run: str, probe: str, what: str, step: int | None = None, w: int = LARGEST):
        try: found = picture(folder_of(study, run), probe, what, step, w)
        except BadInput as problem: return Response(str(problem).split(': ')[-1], 422, media_type='text/plain')
        if found is None: return Response(status_code=404)
        return Response(found, media_type='image/png', headers=kept)
    return router


def picture_index(study: str, runs: list[dict], everything: list[dict]) -> dict:
    "What the page's script needs to know of the first few runs, as JSON"
    colours, shown = arm_colours(everything), runs[:MOST]
    short = dict(zip([run['name'] for run in shown], arm_labels([run['name'] for run in shown])))
    def entry(run):
        scores = {str(at): float(score) for at, score in curve(run, 'target_miou').items()}
        label = short[run['name']] + run_label(run).removeprefix(printable(run['name']))
        colour = colours.get(arm_of(run['name']), '#222222')
        return dict(name=run['name'], label=label, colour=colour, steps=snapshot_steps(run['folder']), scores=scores,
                    version=(run['folder']/'config.json').stat().st_mtime_ns,
                    address=f"/pictures/{quote(study, safe='')}/{quote(run['name'], safe='')}")
    palette = tuple(map(tuple, shown[0]['palette'])) if shown else ()
    palettes = dict(dataset=palette, distinct=palettes_of(palette)[0], blind=palettes_of(palette)[1])
    numbers = sorted({p for run in shown for p in probes(run['folder'])})
    return dict(runs=[entry(run) for run in shown], more=max(0, len(runs) - MOST), palettes=palettes, probes=numbers,
                classes=shown[0]['classes'] if shown else [])


@lru_cache(32)
def palettes_of(palette: tuple) -> tuple[list, list]: return distinct(palette), distinct(palette, blind=True)
