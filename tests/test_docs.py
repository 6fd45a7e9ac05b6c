"The documentation is built strictly and opened in a real browser, wide and narrow."

import http.server
import threading
from functools import partial

import pytest


@pytest.fixture(scope='module')
def built(made_once):
    "The site's folder, served; its URL"
    import site_docs   # here, because nbformat takes seconds
    out = made_once('docs', site_docs.build)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(out/'site'))
    handler.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


@pytest.mark.parametrize('width', [1280, 390])
def test_the_site_in_a_browser(built, browser, width):
    "Front page, a tutorial, the results with live figures, the reference; nothing comes from elsewhere, nothing is wider than the page"
    page, problems, elsewhere = browser.new_page(viewport=dict(width=width, height=900)), [], []
    page.on('pageerror', lambda e: problems.append(str(e)))
    page.on('request', lambda r: elsewhere.append(r.url) if not r.url.startswith((built, 'data:', 'blob:')) else None)
    for path, text in (('', 'The answer so far'), ('tutorials/step_by_step/', 'Fetch'), ('results/', 'StreetScenes'), ('api/evidence/', 'largest_fall'),
                       ('method/31_teachers/', 'EMA')):
        page.goto(f'{built}/{path}')
        assert text in page.inner_text('.md-content')
        assert page.evaluate('document.documentElement.scrollWidth') <= width + 1
    page.goto(f'{built}/results/')
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .main-svg').length > 3", timeout=20_000)
    assert (problems, elsewhere) == ([], [])
