"The workbench's app: which stabilizer is steady, how good it is, what it costs, and what its networks say, while they train or after."

import os

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # nothing leaves the machine; read when gradio is imported
os.environ['GRADIO_ANALYTICS_MAX_EVENTS'] = '100'  # what its queue remembers of polls that are over

import base64
import re
import secrets
import socket
import sys
from pathlib import Path
from urllib.parse import quote

import gradio as gr
import uvicorn
from fastapi import FastAPI, Response
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from lora_da_bench.core.errors import BadInput, printable
from lora_da_bench.evidence.run_store import alarm_lines, ANCHORS, arm_of, known_measures, labelled_frames, reference_scores, snapshot_steps
from lora_da_bench.evidence.verdict import verdicts
from lora_da_bench.views.comparison import (adaptations, arm_colours, arm_curves, arm_numbers, cards, class_heatmap, class_scores,
    arm_labels, cost_bars, difference_figure, html_report, number_table, seed_curves, sentences, style_sheet, trade_off, WEIGHTS)
from lora_da_bench.views.figures import cost_figure, label_grid, plain
from lora_da_bench_app.data import data_tab
from lora_da_bench_app.helper import Helper
from lora_da_bench_app.jobs import go_on
from lora_da_bench_app.pictures import picture_index, picture_routes, within
from lora_da_bench_app.runs import FIRST_MEASURES, HERE, Runs
from lora_da_bench_app.training import from_page, training_tab
from lora_da_bench_app.trying import try_index, trying_routes

STATIC = Path(__file__).parent/'static'
TITLE = '<h1>lora_da_bench</h1><p>Which stabilizer keeps self-training steady, how good is the result, what does it cost?</p>'
EMPTY = 'No runs yet in <code>{}</code>. Start one with <code>lora-da-bench quickstart --out {}</code>, or run <code>make demo</code>; it appears here by itself.'
MEASURE = '<p>A step by part, and its memory by kind, are shown here once they are measured: <code>lora-da-bench cost --format json &gt; DIR/cost.json</code>.</p>'
MOST_LINES = 20  # about what was skipped
ALL, MEAN = 'all', 'mean'
THEME = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])  # fonts of the machine: a web font would need the network


def status_lines(root: Path, runs: list[dict], skipped: list[str], left: int = 0) -> str:
    "What goes on in a folder of runs, as HTML"
    if not runs and not skipped and not left: return EMPTY.format(plain(str(root)), plain(str(root)))
    training = [f"<b>{plain(run['name'])}</b> {int(run['metrics'].index.max())} / {run['steps']}" for run in runs
                if run['diverged'] is None and len(run['metrics']) and run['metrics'].index.max() < run['steps']]
    lines = ['Training: ' + ' · '.join(training) if training else 'All runs are done.' if runs else 'No run that can be read.']
    if left: lines.append(f'{left} runs are still to be read; they appear by themselves.')
    lines += [f"Diverged: <b>{plain(run['name'])}</b> at step {run['diverged']}" for run in runs if run['diverged'] is not None]
    lines += [f'Skipped: {plain(line)}' for line in skipped[:MOST_LINES]]
    if len(skipped) > MOST_LINES: lines.append(f'Skipped: {len(skipped) - MOST_LINES} more')
    return '<br>'.join(lines)


def toggle_colours(arms: list[str], colours: dict[str, str]) -> str:
    "A style sheet that gives each arm's toggle its colour"
    return '<style>' + ''.join(f'#arms label:nth-of-type({n}) {{ --arm: {colours[arm]} }}' for n, arm in enumerate(arms, 1)) + '</style>'


def foretell_tab(planning: Helper, quiet: dict):
    "What a step at published size will hold and take, on a device that need not be there"
    with gr.Accordion('At published size, foretold', open=False, elem_id='foretold'):
        gr.HTML('<p>TransDA\'s step at 512 x 1024 with 2 + 2 images under each stabilizer, counted without running it; takes a minute or more. '
                'Also <code>lora-da-bench cost --dry-run</code>.</p>')
        with gr.Row():
            model = gr.Dropdown(PUBLISHED_MODELS, value=PUBLISHED_MODELS[-1], label='Encoder', elem_id='encoder')
            device = gr.Dropdown(['cuda', 'cpu', 'mps'], value='cuda', label='Device', elem_id='device')
            begin = gr.Button('Foretell', elem_id='foretell', scale=0, min_width=150)
        bars = gr.Plot(show_label=False, elem_id='foretold-bars', visible=False)
        table = gr.Dataframe(interactive=False, show_label=False, elem_id='foretold-table')
        def foretell(model, device):
            try: found = planning.ask('foretold', model, (512, 1024), device, limit=600)
            except BadInput as problem: raise gr.Error(plain(str(problem))) from None
            return gr.Plot(cost_figure(found), visible=True), dict(headers=found['columns'], data=found['table'])
        begin.click(foretell, [model, device], [bars, table], **(quiet | dict(show_progress='full')))


def steps_of(runs: list[dict]) -> list[int]:
    "The steps that can be looked at: those of the adaptations, or of the source run as long as there is none"
    adapted = [run for of in adaptations(runs).values() for run in of]
    return sorted({s for run in adapted or runs for s in snapshot_steps(run['folder'])})


def of_recipe(runs: list[dict], recipe: str) -> dict[str, list[dict]]:
    "The arms of a recipe, or all"
    return {arm: of for arm, of in adaptations(runs).items() if recipe in (ALL, of[0]['recipe'])}


def build(root: Path, data: dict[str, Path] = {}, read_only: bool = False) -> gr.Blocks:
    "The app for a folder of runs; `data`: datasets of files by name; `read_only`: nobody can train or upload"
    known_runs, looking, planning = Runs(Path(root)), Helper(), Helper()

    def chosen(study: str, recipe: str, arms: list[str], seed: str) -> tuple[list[dict], list[dict], list[str]]:
        "The runs that the bar asks for with the source and oracle beside them, all runs, and what was skipped"
        everything, skipped = known_runs.all(study)
        wanted = {run['name'] for arm, of in of_recipe(everything, recipe).items() if arm in arms for run in of}
        shown = [run for run in everything if run['recipe'] in ANCHORS or run['name'] in wanted]
        return [run for run in shown if seed == MEAN or str(run['seed']) == seed], everything, skipped

    # what each tab shows, as values of its components

    def front(runs, everything, weights):
        "What is seen first of the verdict: without a figure, it is there before plotly is loaded"
        rows, references = known_runs.rows(runs), reference_scores(runs)
        said = ''.join(f'<p>{plain(line)}</p>' for line in sentences(rows, references))
        shown = cards(arm_numbers(rows, weights, references), arm_colours(everything)) or '<p class="empty">Nothing is scored yet.</p>'
        alarms = ''.join(f'<p>⚠ {plain(line)}</p>' for line in alarm_lines(rows))
        return {sentences_html: f'<div class="sentences">{said}</div>', cards_html: f'{shown}<div class="alarms">{alarms}</div>'}

    def verdict(runs, everything, weights):
        rows = known_runs.rows(runs)
        try: differences = gr.Plot(difference_figure(verdicts(rows)), visible=len({run['seed'] for run in runs}) > 1)
        except BadInput: differences = gr.Plot(visible=False)
        by_class = class_scores(runs).round(3)
        return front(runs, everything, weights) | {
                trade_plot: gr.Plot(trade_off(rows, weights, arm_colours(everything)), visible=bool(rows)), difference_plot: differences,
                class_table: by_class.reset_index(names='class') if len(by_class) else by_class,
                scores: number_table(rows, known_measures(runs))}

    def look_ahead():
        "Read the runs and make the front page once, so that the first visitor need not wait for it"
        study = known_runs.studies()[0]
        runs, everything, _ = chosen(study, ALL, [*adaptations(known_runs.all(study)[0])], MEAN)
        front(runs, everything, WEIGHTS[0])

    def stability(runs, everything, weights, measures, arm):
        arms = adaptations(runs)
        arm = arm if arm in arms else next(iter(arms), None)
        return {curve_plot: arm_curves(runs, measures or ['target_miou'], weights),
                heat_arm: gr.Dropdown(choices=list(arms), value=arm), heat_plot: class_heatmap(arms.get(arm, []))}

    def pictures(study, runs, everything, frame):
        adapted = [run for of in adaptations(runs).values() for run in of]
        if adapted: adapted = [run for run in adapted if run['seed'] == adapted[0]['seed']]
        frames = list(dict.fromkeys(name for run in adapted for name in labelled_frames(run['folder'])))
        frame = frame if frame in frames else next(iter(frames), None)
        return {picture_view: picture_index(study, adapted or runs, everything), labelled: gr.Accordion(visible=bool(frames)),
                frame_choice: gr.Dropdown(choices=frames, value=frame), rounds_plot: label_grid(adapted, frame) if frame else gr.skip()}

    def cost(study, runs, everything):
        measured, problems = known_runs.costs(study)
        about = ''.join(f'<p>{plain(line)}</p>' for line in problems)
        if measured: about = f"<p>By part, as <code>{plain(measured['command'])}</code> measured it on {plain(measured['device'])}:</p>" + about
        return {cost_plot: cost_bars(known_runs.rows(runs), arm_colours(everything)), measured_said: about or MEASURE,
                measured_plot: gr.Plot(cost_figure(measured) if measured else None, visible=bool(measured))}

    def draw(tab, study, recipe, arms, seed, weights, measures, arm, frame):
        "What the tab in sight shows for what the bar asks"
        runs, everything, skipped = chosen(study, recipe, arms or [], seed)
        shown = {said: status_lines(known_runs.root, everything, skipped, known_runs.left)}
        if tab == 'verdict': return shown | verdict(runs, everything, weights)
        if tab == 'stability': return shown | stability(runs, everything, weights, measures, arm)
        if tab == 'pictures': return shown | pictures(study, runs, everything, frame)
        if tab == 'cost': return shown | cost(study, runs, everything)
        if tab == 'try': return shown | {try_view: try_index(study, runs, everything, not read_only)}
        if tab == 'train' and not read_only: return shown | training['draw']()
        if tab == 'export': return shown | {exports: export_links(study)}
        return shown

    def export_links(study):
        place = f"/export/{quote(study, safe='')}"
        figures = ', '.join(f'<a href="{place}/{name}.html" download>{name}.html</a>' for name in FIGURES)
        return (f'<p><a href="{place}/report.html" download>report.html</a>: verdict, curves, cost and all numbers as one page that needs no server; '
                f'also <code>lora-da-bench report DIR --html FILE</code>.</p><p><a href="{place}/scores.csv" download>scores.csv</a>: all numbers.</p>'
                f'<p>{figures}: one figure each, with plotly inside.</p>'
                '<p>In the corner of every figure a camera saves it as PNG, and a button as SVG.</p>')

    # the bar

    def name_of(study): return known_runs.root.resolve().name if study == HERE else study

    def bar_for(study, recipe, arms, seed, weights, step, known, first=False, wanted_arms=None):
        "The bar's choices for a study; what was chosen stays so, what is new is shown, whoever looks at the newest step keeps looking at it"
        everything, _ = known_runs.all(study)
        recipes = list(dict.fromkeys(of[0]['recipe'] for of in adaptations(everything).values()))
        recipe = recipe if recipe in recipes else ALL
        there = list(of_recipe(everything, recipe))
        if first: arms = [arm for arm in there if arm in wanted_arms] if wanted_arms else there
        else: arms = [arm for arm in there if arm in (arms or []) or arm not in (known or [])]
        seeds = sorted({run['seed'] for run in everything if run['recipe'] != 'source'})
        seed = seed if seed in map(str, seeds) else MEAN
        steps = steps_of([run for run in everything if arm_of(run['name']) in arms or not there])
        last, behind = steps[-1] if steps else 0, [s for s in steps if s <= step]
        follows = step < 0 or not behind or behind[-1] >= steps[-2:][0]
        spacing = min((b - a for a, b in zip(steps, steps[1:])), default=1)
        moved = dict(value=last) if follows or step > last else dict(value=step) if first else {}   # else the slider stays where the reader has it
        return {recipe_choice: gr.Dropdown(choices=[ALL, *recipes], value=recipe), arm_choice: gr.CheckboxGroup(choices=[*zip(arm_labels(there), there)], value=arms),
                seed_choice: gr.Dropdown(choices=[(MEAN, MEAN), *((f'seed {s}', str(s)) for s in seeds)], value=seed), weights_choice: weights,
                step_choice: gr.Slider(maximum=max(last, 1), step=spacing, **moved), colours_html: toggle_colours(there, arm_colours(everything)),
                known_arms: there, measure_choice: measure_choices(everything)}, (recipe, arms, seed, weights)

    def measure_choices(runs):
        present = {name for run in runs for name in run['metrics']}
        return gr.Dropdown(choices=[(printable(m.title), m.name) for m in known_measures(runs).values() if m.name in present or m.name in FIRST_MEASURES])

    def open_page(request: gr.Request):
        "The page as its address says, or as it is best begun"
        asked = dict(request.query_params)
        studies = known_runs.studies()
        study = asked.get('study') if asked.get('study') in studies else studies[0]
        step = int(asked['step']) if asked.get('step', '').isdecimal() else -1
        weights = asked.get('weights') if asked.get('weights') in WEIGHTS else WEIGHTS[0]
        tab = asked.get('tab') if asked.get('tab') in TABS and not (read_only and asked['tab'] == 'train') else TABS[0]
        bar, values = bar_for(study, asked.get('recipe', ALL), None, asked.get('seed', MEAN), weights, step, [], True, asked.get('arms', '').split(',') if asked.get('arms') else None)
        runs, everything, skipped = chosen(study, *values[:3])
        shown = {said: status_lines(known_runs.root, everything, skipped, known_runs.left)} | (front(runs, everything, weights) if tab == TABS[0] else {})
        signature = known_runs.signature(study)   # with what has been read by now
        return bar | {study_choice: gr.Dropdown(choices=[(name_of(s), s) for s in studies], value=study, visible=len(studies) > 1), tab_name: tab, tabs: gr.Tabs(selected=tab),
                      known_signature: signature} | shown

    def refresh(tab, study, recipe, arms, seed, weights, measures, arm, frame, step, known):
        bar, values = bar_for(study, recipe, arms, seed, weights, step, known)
        return bar | draw(tab, study, *values, measures, arm, frame)

    with gr.Blocks(title='lora_da_bench', analytics_enabled=False) as demo:
        quiet = dict(show_progress='hidden', api_visibility='private')
        gr.HTML(TITLE, elem_id='title')
        with gr.Column(elem_id='bar'):
            with gr.Row():
                study_choice = gr.Dropdown(label='Study', choices=[HERE], value=HERE, elem_id='study', visible=False, scale=1, min_width=140)
                recipe_choice = gr.Dropdown(label='Recipe', choices=[ALL], value=ALL, elem_id='recipe', scale=1, min_width=110)
                seed_choice = gr.Dropdown(label='Seeds', choices=[MEAN], value=MEAN, elem_id='seed', scale=1, min_width=125)
                weights_choice = gr.Dropdown(label='Weights', choices=list(WEIGHTS), value=WEIGHTS[0], elem_id='weights', scale=1, min_width=140)
                step_choice = gr.Slider(0, 1, value=0, step=1, label='Step', elem_id='step', scale=4, min_width=160)
                play = gr.Button('▶', elem_id='play', scale=0, min_width=48)
            arm_choice = gr.CheckboxGroup(label='Arms', show_label=False, choices=[], elem_id='arms')
            colours_html = gr.HTML(visible='hidden')
            # the page's script says which tab the reader has selected: a tab's own event comes while the page is being opened, too
            tab_name = gr.HTML(TABS[0], html_template='', js_on_load=from_page('select'), visible='hidden')
        said = gr.HTML(elem_id='status')
        with gr.Tabs(elem_id='tabs') as tabs:
            with gr.Tab('Verdict', id='verdict'):
                sentences_html, cards_html = gr.HTML(elem_id='sentences'), gr.HTML(elem_id='cards')
                trade_plot = gr.Plot(label='Quality against stability and cost', elem_id='trade')
                difference_plot = gr.Plot(label='Paired differences to EMA with 95% intervals', elem_id='differences', visible=False)
                scores = gr.Dataframe(label='All numbers: held-out target frames, stability, cost', interactive=False, elem_id='scores')
                class_table = gr.Dataframe(label='IoU by class', interactive=False, elem_id='classes')
            with gr.Tab('Stability', id='stability'):
                measure_choice = gr.Dropdown(label='Measures', choices=[('target mIoU', 'target_miou'), ('labels flipped', 'flip_rate')],
                                             value=FIRST_MEASURES, multiselect=True, elem_id='measures')
                curve_plot = gr.Plot(show_label=False, elem_id='curves')
                heat_arm = gr.Dropdown(label='IoU of each class over the steps of', choices=[], elem_id='heat-arm')
                heat_plot = gr.Plot(show_label=False, elem_id='heat')
            with gr.Tab('Pictures', id='pictures'):
                picture_view = gr.HTML(value={}, html_template='<div class="pictures"></div>', js_on_load=(STATIC/'pictures.js').read_text(),
                                       apply_default_css=False, elem_id='pictures')
                with gr.Accordion("Pseudo-labels of the target's training frames, round by round", visible=False, elem_id='rounds') as labelled:
                    frame_choice = gr.Dropdown(label='Target training frame', choices=[], elem_id='frame')
                    rounds_plot = gr.Plot(show_label=False, elem_id='labels')
            with gr.Tab('Cost', id='cost'):
                cost_plot = gr.Plot(show_label=False, elem_id='cost')
                measured_said, measured_plot = gr.HTML(elem_id='measured-said'), gr.Plot(show_label=False, elem_id='measured', visible=False)
                foretell_tab(planning, quiet)
            with gr.Tab('Try it', id='try'):
                try_view = gr.HTML(value={}, html_template='<div class="trying pictures"></div>', js_on_load=(STATIC/'try.js').read_text(),
                                   apply_default_css=False, elem_id='try')
            if not read_only:
                with gr.Tab('Train', id='train'): training = training_tab(known_runs, data, looking, planning, quiet)
            with gr.Tab('Data', id='data'): open_data = data_tab(data, looking, quiet)
            with gr.Tab('Export', id='export'): exports = gr.HTML(elem_id='export')
        known_arms, known_signature, news = gr.State(), gr.State(), gr.State()

        bar = [study_choice, recipe_choice, arm_choice, seed_choice, weights_choice, step_choice]
        view = [tab_name, *bar[:-1], measure_choice, heat_arm, frame_choice]
        shown = [said, sentences_html, cards_html, trade_plot, difference_plot, class_table, scores, curve_plot, heat_arm, heat_plot,
                 picture_view, labelled, frame_choice, rounds_plot, cost_plot, measured_said, measured_plot, try_view, exports, *([] if read_only else training['shown'])]
        controls = [recipe_choice, arm_choice, seed_choice, weights_choice, step_choice, colours_html, known_arms, measure_choice]
        loaded = demo.load(open_page, None, [study_choice, tab_name, tabs, known_signature, *controls, *shown], **quiet).then(draw, view, shown, **quiet)

        # Every two seconds a poll asks for the signature, and only a new one draws anything. A poll must not name the controls among its outputs:
        # Gradio makes each of them anew for the visitor, even if it is told to skip them, and keeps them all.
        def poll(study, known):
            if known_runs.left: known_runs.all(study)   # reads on
            return gr.skip() if known is None or (now := known_runs.signature(study)) == known else now   # None: not yet opened
        gr.Timer(2).tick(poll, [study_choice, known_signature], news, **quiet)
        news.change(lambda news: news, news, known_signature, **quiet).then(refresh, [*view, step_choice, known_arms], [*controls, *shown], **quiet)

        gr.on([arm_choice.input, seed_choice.input, weights_choice.input, measure_choice.input, heat_arm.input, frame_choice.input],
              draw, view, shown, trigger_mode='always_last', **quiet)
        for choice in (study_choice, recipe_choice): choice.input(refresh, [*view, step_choice, known_arms], [*controls, *shown], **quiet)
        tab_name.input(draw, view, shown, trigger_mode='always_last', **quiet)

        # what needs torch is asked for when it is first looked at
        def when(name, ask): return lambda tab, *given: ask(*given) if tab == name else gr.skip()
        for name, (ask, inputs, outputs) in dict(data=open_data, **({} if read_only else dict(train=training['opened']))).items():
            tab_name.input(when(name, ask), [tab_name, *inputs], outputs, **quiet)
            loaded = loaded.then(when(name, ask), [tab_name, *inputs], outputs, **quiet)

        # in the browser alone: the step goes to the pictures, what is chosen into the address
        in_page = dict(fn=None, api_visibility='private')
        step_choice.input(inputs=step_choice, js='step => { window.lora_da_bench.shown(step) }', **in_page)
        gr.on([c.input for c in bar[:-1]], inputs=bar[:-1], js='(...chosen) => { window.lora_da_bench.remember(...chosen) }', **in_page)
        play.click(js='() => { window.lora_da_bench.play() }', **in_page)

        # the same by programs
        def verdict_of(study: str = HERE) -> dict:
            "Sentences and numbers by arm"
            runs, skipped = known_runs.all(study)
            rows, references = known_runs.rows(runs), reference_scores(runs)
            return dict(sentences=sentences(rows, references), arms=arm_numbers(rows, references=references).T.to_dict(), skipped=skipped)
        def curves_of_measure(study: str = HERE, measure: str = 'target_miou', weights: str = 'scored') -> dict:
            "A measure by arm, seed and step"
            runs, _ = known_runs.all(study)
            return {arm: {str(seed): {str(step): v for step, v in points.dropna().items()} for seed, points in seed_curves(of, measure, weights).items()}
                    for arm, of in adaptations(runs).items()}
        def pictures_of(study: str = HERE, seed: int = 0) -> dict:
            "Addresses of pictures, steps, scores, classes and colours of a seed's runs"
            runs, _ = known_runs.all(study)
            return picture_index(study, [run for of in adaptations(runs).values() for run in of if run['seed'] == seed], runs)
        for endpoint, name in ((verdict_of, 'verdict'), (curves_of_measure, 'curves'), (pictures_of, 'pictures')): gr.api(endpoint, api_name=name)
    demo.known_runs, demo.looking, demo.read_only, demo.look_ahead = known_runs, looking, read_only, look_ahead
    return demo


TABS = 'verdict', 'stability', 'pictures', 'cost', 'try', 'train', 'data', 'export'
FIGURES = {  # what Export offers alone, of runs and their summaries
    'quality': lambda runs, rows: trade_off(rows, WEIGHTS[0], arm_colours(runs)),
    'curves': lambda runs, rows: arm_curves(runs, FIRST_MEASURES, WEIGHTS[0]),
    'cost': lambda runs, rows: cost_bars(rows, arm_colours(runs)),
}
PUBLISHED_MODELS = ['swin_tiny_patch4_window7_224', 'swin_small_patch4_window7_224', 'swin_base_patch4_window7_224']
LOOPBACK = re.compile(r'(127\.0\.0\.1|localhost|\[::1\])(:\d+)?', re.IGNORECASE)


class KnownHostsOnly:
    """Answers pages of this machine, or of the names that it was told, asks for the password where there is one, and takes no uploads.

    A page from elsewhere reaches 127.0.0.1 through the reader's browser: under a name of its own that it lets point here (DNS rebinding: a foreign `Host`), or
    openly (a foreign `Origin`). Both are refused, before Gradio sees them."""
    def __init__(self, app, auth: str | None = None, names: list[str] = []):
        self.app, self.names = app, {name.lower() for name in names}
        self.secret = auth and b'Basic ' + base64.b64encode(auth.encode())

    def refusal(self, scope, headers: Headers) -> PlainTextResponse | None:
        "Why a request is not answered; None: it is"
        host, origin = headers.get('host', ''), headers.get('origin')
        known = LOOPBACK.fullmatch(host) or re.sub(r':\d+$', '', host).lower() in self.names
        uploads = scope['path'].rstrip('/').endswith(('/upload', '/upload_progress'))
        if uploads or not known or origin not in (None, f'http://{host}', *([f'https://{host}'] if self.names else [])):
            return PlainTextResponse('This app answers only pages of its own, under names that it knows.', 403)
        if self.secret and not secrets.compare_digest(headers.get('authorization', '').encode(), self.secret):
            return PlainTextResponse('A name and a password are needed.', 401, {'WWW-Authenticate': 'Basic realm="lora_da_bench", charset="UTF-8"'})

    async def __call__(self, scope, receive, send):
        refused = self.refusal(scope, Headers(scope=scope)) if scope['type'] in ('http', 'websocket') else None
        await (refused or self.app)(scope, receive, send)


def add_exports(page: FastAPI, known_runs: Runs):
    "Addresses of what can be taken away"
    def of(study):
        try: folder = known_runs.folder(study)
        except BadInput: return None
        runs, skipped = known_runs.all(study)
        return folder, runs, known_runs.rows(runs), skipped

    @page.get('/export/{study}/report.html')
    def report(study: str):
        if not (found := of(study)): return Response(status_code=404)
        folder, runs, rows, skipped = found
        return Response(html_report(runs, rows, folder.resolve().name, skipped), media_type='text/html')

    @page.get('/export/{study}/{name}.html')
    def figure(study: str, name: str):
        if name not in FIGURES or not (found := of(study)): return Response(status_code=404)
        return Response(FIGURES[name](*found[1:3]).to_html(include_plotlyjs=True), media_type='text/html')

    @page.get('/export/{study}/scores.csv')
    def table(study: str):
        if not (found := of(study)): return Response(status_code=404)
        return Response(number_table(found[2], known_measures(found[1])).to_csv(index=False), media_type='text/csv')


def serve(demo: gr.Blocks, server: socket.socket, auth: str | None = None, names: list[str] = []):
    "Serve the app on a listening socket until Ctrl-C, which raises `KeyboardInterrupt`; `auth`: USER:PASSWORD, `names`: of this machine, beside localhost"
    page = FastAPI(middleware=[Middleware(KnownHostsOnly, auth, names)], docs_url=None, redoc_url=None, openapi_url=None)
    folder_of = lambda study, run: within(demo.known_runs.folder(study), run)
    page.include_router(picture_routes(folder_of))
    page.include_router(trying_routes(folder_of, demo.looking, uploads=not demo.read_only))
    add_exports(page, demo.known_runs)
    head = f'<style>{style_sheet("cards.css")}</style><script>{(STATIC/"bar.js").read_text()}</script>'
    gr.mount_gradio_app(page, demo, path='/', theme=THEME, css_paths=STATIC/'app.css', head=head, footer_links=[], run_history=False, ssr_mode=False)
    demo._queue.sleep_when_free = .05  # seconds; Gradio's own, a thousandth, takes 7% of a core from the training beside it
    if not demo.read_only: go_on(demo.known_runs.root)
    demo.look_ahead()
    uvicorn.Server(uvicorn.Config(page, log_level='critical', timeout_graceful_shutdown=1)).run(sockets=[server])


demo = build(Path(os.environ.get('LORA_DA_BENCH_RUNS', 'demo')))  # what `gradio app/app.py` and hosts of Gradio apps look for

if __name__ == '__main__':
    from lora_da_bench.views.cli import listen
    serve(build(Path(sys.argv[1])) if len(sys.argv) > 1 else demo, listen(7860))
