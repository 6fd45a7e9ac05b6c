"Pictures that a reader gives: finished runs segment them; nothing of them is kept."

import base64
import io
import json
import re
import shutil
from pathlib import Path
from tempfile import mkdtemp, TemporaryDirectory
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from PIL import Image
from starlette.background import BackgroundTask

from lora_da_bench.core.errors import BadInput, Unreadable
from lora_da_bench.evidence.run_store import probes, weights_path
from lora_da_bench.views.comparison import adapted
from lora_da_bench_app.helper import Helper
from lora_da_bench_app.pictures import MOST, picture_index, within

MOST_BYTES, MOST_PIXELS, LONGEST = 20 * 2**20, 2**24, 60  # of an upload; seconds of segmenting it
REFUSED = 422


def finished(runs: list[dict]) -> list[dict]:
    "The first few adaptations that can segment, of one seed; or else source models"
    ready = [run for run in adapted(runs) or runs if weights_path(run['folder'])]
    return [run for run in ready if run['seed'] == ready[0]['seed']][:MOST]


def try_index(study: str, runs: list[dict], everything: list[dict], uploads: bool) -> dict:
    "What the page's script needs to know, as JSON"
    shown = finished(runs)
    found = picture_index(study, shown, everything)
    for run, entry in zip(shown, found['runs']):
        own = quote(study, safe=''), quote(run['name'], safe='')
        weights = [p.name for p in run['folder'].glob('*.safetensors')]
        segment, export = ('/{}/{}/{}'.format(to, *own) for to in ('segment', 'export'))
        adapter = f'{export}/adapter.safetensors' if 'adapter.safetensors' in weights else None
        entry |= dict(segment=segment, model=f'{export}/model.safetensors', adapter=adapter, classes=run['classes'],
                      palette=run['palette'])
    return found | dict(uploads=uploads, most_bytes=MOST_BYTES)


def header_problem(data: bytes) -> str | None:
    "Why an upload is not even opened: its header says that it is no picture, or one that is too large"
    try:
        with Image.open(io.BytesIO(data), formats=['JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP']) as image: w, h = image.size
    except Image.DecompressionBombError: w = h = MOST_PIXELS
    except Exception: return 'expected a picture: JPEG, PNG, WebP, TIFF or BMP'
    if w * h > MOST_PIXELS: return f'has more than {MOST_PIXELS:,} pixels'


async def received(request: Request) -> bytes:
    "The body of a request; raises `Unreadable` for one that is too large"
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES: raise Unreadable(f'expected a picture of at most {MOST_BYTES // 2**20} MB')
    return bytes(data)


def answer(folder: Path, data: bytes, helper: Helper) -> Response:
    "A run's label map of a picture and how sure it is, as JSON of PNGs in base64"
    if problem := header_problem(data): raise Unreadable(problem)
    with TemporaryDirectory() as place:   # also where the helper is ended
        (picture := Path(place)/'picture').write_bytes(data)
        try: pictures = helper.ask('segmented', folder, picture, limit=LONGEST)
        except BadInput as problem: raise BadInput(str(problem).replace(f'{picture}: ', '')) from None
    found = {name: base64.b64encode(png).decode() for name, png in pictures.items()}
    return Response(json.dumps(found), media_type='application/json')


def refusal(problem: BadInput) -> Response:
    "The line about what is wrong, without the folders of this machine"
    return Response(re.sub(r'(?<!\S)/\S*/', '', str(problem)), REFUSED, media_type='text/plain')


def trying_routes(folder_of, helper: Helper, uploads: bool) -> APIRouter:
    "Addresses that segment, and those of adapted models; `folder_of(study, run)`: a run's folder, or raises `BadInput`"
    router = APIRouter()

    @router.get('/segment/{study}/{run}/{probe}')
    def stored(study: str, run: str, probe: str, of: str):
        "A frame that the run `of` has stored: with other data, runs store other frames under the same number"
        try:
            shown = folder_of(study, of)
            if probe not in probes(shown): return Response(status_code=404)
            picture = within(shown, 'snapshots', 'input', f'{probe}.png').read_bytes()
            return answer(folder_of(study, run), picture, helper)
        except BadInput as problem: return refusal(problem)

    if uploads:
        @router.post('/segment/{study}/{run}')
        async def uploaded(study: str, run: str, request: Request):
            try: return await run_in_threadpool(answer, folder_of(study, run), await received(request), helper)
            except BadInput as problem: return refusal(problem)

    @router.get('/export/{study}/{run}/model.safetensors')
    def model(study: str, run: str):
        place = Path(mkdtemp())
        gone = BackgroundTask(shutil.rmtree, place, ignore_errors=True)
        try: helper.ask('merged', folder_of(study, run), place/'model.safetensors', limit=5 * LONGEST)
        except BadInput as problem:
            shutil.rmtree(place)
            return refusal(problem)
        return FileResponse(place/'model.safetensors', filename=f'{run}.safetensors', background=gone)

    @router.get('/export/{study}/{run}/adapter.safetensors')
    def adapter(study: str, run: str):
        try: path = within(folder_of(study, run), 'adapter.safetensors')
        except BadInput as problem: return refusal(problem)
        if not path.is_file(): return Response(status_code=404)
        return FileResponse(path, filename=f'{run}-adapter.safetensors')
    return router
