"Serve the app: to whom it answers, and the addresses beside the page."

import base64
import re
import secrets
import socket
from collections.abc import Callable
from urllib.parse import quote

import gradio as gr
import matplotlib
import uvicorn
from fastapi import FastAPI, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from lora_da_bench.core.errors import BadInput
from lora_da_bench.evidence.run_store import known_measures
from lora_da_bench.views.comparison import (arm_colours, arm_curves, cost_bars, figure_page, html_report, number_table,
    trade_off, WEIGHTS)
from lora_da_bench.views.figures import PLOTLY, shipped
from lora_da_bench_app import STATIC
from lora_da_bench_app.jobs import go_on
from lora_da_bench_app.pictures import picture_routes, within
from lora_da_bench_app.runs import FIRST_MEASURES, Runs
from lora_da_bench_app.trying import trying_routes

# a web font would need the network
THEME = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])
FIGURES = {  # what Export offers alone, of runs and their summaries
    'quality': lambda runs, rows: trade_off(rows, WEIGHTS[0], arm_colours(runs)),
    'curves': lambda runs, rows: arm_curves(runs, FIRST_MEASURES, WEIGHTS[0]),
    'cost': lambda runs, rows: cost_bars(rows, arm_colours(runs)),
}
LOOPBACK = re.compile(r'(127\.0\.0\.1|localhost|\[::1\])(:\d+)?', re.IGNORECASE)
NOT_YOURS = 'This app answers only pages of its own, under names that it knows.'
WHO = {'WWW-Authenticate': 'Basic realm="lora_da_bench", charset="UTF-8"'}


class KnownHostsOnly:
    """Answers pages of this machine, or of the names that it was told, asks for the password where there is one, and
    takes no uploads.

    A page from elsewhere reaches 127.0.0.1 through the reader's browser: under a name of its own that it lets point
    here (DNS rebinding: a foreign `Host`), or openly (a foreign `Origin`). Both are refused before Gradio sees them."""
    def __init__(self, app, auth: str | None = None, names: list[str] = []):
        self.app, self.names = app, {name.lower() for name in names}
        self.secret = auth and b'Basic ' + base64.b64encode(auth.encode())

    def refusal(self, scope, headers: Headers) -> PlainTextResponse | None:
        "Why a request is not answered; None: it is"
        host, origin = headers.get('host', ''), headers.get('origin')
        known = LOOPBACK.fullmatch(host) or re.sub(r':\d+$', '', host).lower() in self.names
        uploads = scope['path'].rstrip('/').endswith(('/upload', '/upload_progress'))
        own = None, f'http://{host}', *([f'https://{host}'] if self.names else [])
        if uploads or not known or origin not in own: return PlainTextResponse(NOT_YOURS, 403)
        if self.secret and not secrets.compare_digest(headers.get('authorization', '').encode(), self.secret):
            return PlainTextResponse('A name and a password are needed.', 401, WHO)

    async def __call__(self, scope, receive, send):
        asks = scope['type'] in ('http', 'websocket')
        refused = self.refusal(scope, Headers(scope=scope)) if asks else None
        await (refused or self.app)(scope, receive, send)


class Unpacked:
    "Sends a browser on this machine everything as it is: to compress Gradio's scripts takes longer than to send them"
    def __init__(self, app): self.app = app

    async def __call__(self, scope, receive, send):
        if scope['type'] == 'http' and (scope.get('client') or ('',))[0] in ('127.0.0.1', '::1'):
            scope['headers'] = [(name, value) for name, value in scope['headers'] if name != b'accept-encoding']
        await self.app(scope, receive, send)


class FirstScript:
    "Puts a script in front of those of Gradio's page, which has no place for one"
    def __init__(self, app, script: str): self.app, self.script = app, f'<head><script>{script}</script>'.encode()

    async def __call__(self, scope, receive, send):
        async def send_page(message):
            # the body grows, so it is sent without its length
            if message['type'] == 'http.response.start': del MutableHeaders(scope=message)['content-length']
            else: message = message | dict(body=message.get('body', b'').replace(b'<head>', self.script, 1))
            await send(message)
        is_page = scope['type'] == 'http' and scope['path'] == '/'
        await self.app(scope, receive, send_page if is_page else send)


def export_links(study: str) -> str:
    "What can be taken away, as HTML"
    place = f"/export/{quote(study, safe='')}"
    link = lambda name: f'<a href="{place}/{name}" download>{name}</a>'
    figures = ', '.join(link(f'{name}.html') for name in FIGURES)
    return (f'<p>{link("report.html")}: verdict, curves, cost and all numbers as one page that needs no server; '
            'also <code>lora-da-bench report DIR --html FILE</code>.</p>'
            f'<p>{link("scores.csv")}: all numbers.</p><p>{figures}: one figure each, with plotly inside.</p>'
            '<p>In the corner of every figure a camera saves it as PNG, and a button as SVG.</p>')


def add_plotly(page: FastAPI):
    "The address of Plotly, which a browser keeps"
    script = shipped(PLOTLY)
    @page.get('/plotly.js')
    def plotly(): return Response(script, media_type='text/javascript', headers={'Cache-Control': 'max-age=86400'})


def add_news(page: FastAPI, known_runs: Runs):
    "The address at which open pages ask whether there is news"
    @page.get('/news/{study}')
    def news(study: str): return Response(known_runs.news(study), media_type='text/plain')


def add_exports(page: FastAPI, known_runs: Runs):
    "Addresses of what can be taken away"
    def add(address: str, media_type: str, make: Callable):
        @page.get(f'/export/{{study}}/{address}', name=address)
        def export(study: str):
            try: folder = known_runs.folder(study)
            except BadInput: return Response(status_code=404)
            runs, skipped = known_runs.all(study)
            return Response(make(folder, runs, known_runs.rows(runs), skipped), media_type=media_type)

    def report(folder, runs, rows, skipped): return html_report(runs, rows, folder.resolve().name, skipped)
    def table(_, runs, rows, __): return number_table(rows, known_measures(runs)).to_csv(index=False)
    def page_of(figure): return lambda _, runs, rows, __: figure_page(figure(runs, rows))
    add('report.html', 'text/html', report)
    add('scores.csv', 'text/csv', table)
    for name, figure in FIGURES.items(): add(f'{name}.html', 'text/html', page_of(figure))


def serve(demo: gr.Blocks, server: socket.socket, auth: str | None = None, names: list[str] = []):
    """Serve the app on a listening socket until Ctrl-C, which raises `KeyboardInterrupt`; `auth`: USER:PASSWORD,
    `names`: of this machine, beside localhost"""
    guard, script = Middleware(KnownHostsOnly, auth, names), Middleware(FirstScript, (STATIC/'first.js').read_text())
    page = FastAPI(middleware=[guard, Middleware(Unpacked), script], docs_url=None, redoc_url=None, openapi_url=None)
    folder_of = lambda study, run: within(demo.known_runs.folder(study), run)
    page.include_router(picture_routes(folder_of))
    page.include_router(trying_routes(folder_of, demo.looking, uploads=not demo.read_only))
    add_exports(page, demo.known_runs)
    add_news(page, demo.known_runs)
    add_plotly(page)
    scripts = ''.join((STATIC/name).read_text() for name in ('bar.js', 'figure.js'))
    head = f'<style>{shipped("cards.css")}</style><script>{scripts}</script>'
    gr.mount_gradio_app(page, demo, path='/', theme=THEME, css_paths=STATIC/'app.css', head=head, footer_links=[],
                        run_history=False, ssr_mode=False)
    demo._queue.sleep_when_free = .05  # s; Gradio's own, a thousandth, takes 7% of a core from the training beside it
    if not demo.read_only: go_on(demo.known_runs.root)
    matplotlib.use('agg')  # or Gradio loads pyplot to find a backend, half a second of the first visit
    demo.look_ahead()
    config = uvicorn.Config(page, log_level='critical', timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[server])
