"The workbench's app: which stabilizer is steady, how good it is, what it costs, what its networks say; live or after."

import os

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # nothing leaves the machine; read when gradio is imported
os.environ['GRADIO_ANALYTICS_MAX_EVENTS'] = '100'  # what its queue remembers of events that are over

import sys
from pathlib import Path

import gradio as gr

from lora_da_bench.evidence.run_store import reference_scores
from lora_da_bench.views.comparison import adaptations, adapted, arm_numbers, seed_curves, sentences, WEIGHTS
from lora_da_bench.views.figures import plain
from lora_da_bench_app import STATIC
from lora_da_bench_app.bar import ALL, Asked, chosen, follow, from_page, make_bar, MEAN, measure_choices
from lora_da_bench_app.data import data_tab
from lora_da_bench_app.helper import Helper
from lora_da_bench_app.pictures import picture_index
from lora_da_bench_app.runs import HERE, PATIENCE, Runs
from lora_da_bench_app.serving import export_links, serve
from lora_da_bench_app.tabs import cost_tab, pictures_tab, stability_tab, Tab, verdict_tab, View
from lora_da_bench_app.training import training_tab
from lora_da_bench_app.trying import try_index

TITLE = ('<h1>lora_da_bench</h1>'
         '<p>Which stabilizer keeps self-training steady, how good is the result, what does it cost?</p>')
EMPTY = ('No runs yet in <code>{0}</code>. Start one with <code>lora-da-bench quickstart --out {0}</code>, or run '
         '<code>make demo</code>; it appears here by itself.')
TABS = 'verdict', 'stability', 'pictures', 'cost', 'try', 'train', 'data', 'export'
MOST_LINES = 20  # about what was skipped


def status_lines(root: Path, runs: list[dict], skipped: list[str], left: int = 0) -> str:
    "What goes on in a folder of runs, as HTML"
    if not runs and not skipped and not left: return EMPTY.format(plain(str(root)))
    at = {run['name']: (int(run['metrics'].index.max()), run['steps']) for run in runs
          if run['diverged'] is None and len(run['metrics'])}
    training = [f'<b>{plain(name)}</b> {step} / {steps}' for name, (step, steps) in at.items() if step < steps]
    idle = 'All runs are done.' if runs else 'No run that can be read.'
    lines = ['Training: ' + ' · '.join(training) if training else idle]
    if left: lines.append(f'{left} runs are still to be read; they appear by themselves.')
    diverged = {run['name']: run['diverged'] for run in runs if run['diverged'] is not None}
    lines += [f'Diverged: <b>{plain(name)}</b> at step {step}' for name, step in diverged.items()]
    lines += [f'Skipped: {plain(line)}' for line in skipped[:MOST_LINES]]
    if len(skipped) > MOST_LINES: lines.append(f'Skipped: {len(skipped) - MOST_LINES} more')
    return '<br>'.join(lines)


def try_tab(uploads: bool) -> Tab:
    view = gr.HTML({}, html_template='<div class="trying pictures"></div>', js_on_load=(STATIC/'try.js').read_text(),
                   apply_default_css=False, elem_id='try')
    return Tab([view], lambda of: {view: try_index(of.study, of.runs, of.everything, uploads)})


def export_tab() -> Tab:
    links = gr.HTML(elem_id='export')
    return Tab([links], lambda of: {links: export_links(of.study)})


def build(root: Path, data: dict[str, Path] = {}, read_only: bool = False) -> gr.Blocks:
    "The app for a folder of runs; `data`: datasets of files by name; `read_only`: nobody can train or upload"
    known_runs, looking, planning = Runs(Path(root)), Helper(), Helper()
    quiet = dict(show_progress='hidden', api_visibility='private')
    with gr.Blocks(title='lora_da_bench', analytics_enabled=False) as demo:
        gr.HTML(TITLE, elem_id='title')
        bar = make_bar()
        # the page's script says which tab the reader selects: a tab's own event comes while the page is opened, too
        in_sight = gr.HTML(TABS[0], html_template='', js_on_load=from_page('select'), visible='hidden')
        news = gr.HTML({}, html_template='', js_on_load=(STATIC/'news.js').read_text(), visible='hidden')
        said = gr.HTML(elem_id='status')
        tabs, opened = {}, {}   # by name; and what fills a tab when it is first looked at, from torch's process
        with gr.Tabs(elem_id='tabs') as tab_row:
            with gr.Tab('Verdict', id='verdict'): tabs['verdict'] = verdict_tab(known_runs)
            with gr.Tab('Stability', id='stability'): tabs['stability'] = stability_tab()
            with gr.Tab('Pictures', id='pictures'): tabs['pictures'] = pictures_tab()
            with gr.Tab('Cost', id='cost'): tabs['cost'] = cost_tab(known_runs, planning, quiet)
            with gr.Tab('Try it', id='try'): tabs['try'] = try_tab(not read_only)
            if not read_only:
                with gr.Tab('Train', id='train'):
                    tabs['train'], opened['train'] = training_tab(known_runs, data, looking, planning, quiet)
            with gr.Tab('Data', id='data'): opened['data'] = data_tab(data, looking, quiet)
            with gr.Tab('Export', id='export'): tabs['export'] = export_tab()

        choices = {field: of for tab in tabs.values() for field, of in tab.choices.items()}  # of `View`
        view = [in_sight, *bar.asks, *choices.values()]
        shown = [said, *(component for tab in tabs.values() for component in tab.shown)]
        follows = [*bar.follows, choices['measures'], news]

        def parsed(given) -> tuple[Asked, dict]:
            "What the bar asks for, and the tabs' own choices by their field of `View`"
            n = len(bar.asks)
            asked = Asked(*given[:n])
            return asked._replace(arms=asked.arms or []), dict(zip(choices, given[n:]))

        def status(study, everything, skipped):
            return {said: status_lines(known_runs.root, everything, skipped, known_runs.left.get(study, 0))}

        def looked_at(asked, everything, **of_tabs) -> View:
            return View(asked.study, chosen(everything, asked), everything, asked.weights, **of_tabs)

        def in_tab(tab, asked, everything, of_tabs):
            return tabs[tab].draw(looked_at(asked, everything, **of_tabs)) if tab in tabs else {}

        def follow_runs(asked, step, offered):
            "The bar, the measures and the status for the runs that there are now; what is asked for then; all runs"
            state, everything, skipped = known_runs.look(asked.study)
            set_to, asked = follow(bar, everything, asked, step, offered)
            drawn = {choices['measures']: measure_choices(everything), news: dict(study=asked.study, state=state)}
            return set_to | drawn | status(asked.study, everything, skipped), asked, everything

        def draw(tab, *given):
            asked, of_tabs = parsed(given)
            everything, skipped = known_runs.all(asked.study, PATIENCE)
            return status(asked.study, everything, skipped) | in_tab(tab, asked, everything, of_tabs)

        def refresh(tab, *given):
            *given, step, offered = given
            asked, of_tabs = parsed(given)
            set_to, asked, everything = follow_runs(asked, step, offered or [])
            return set_to | in_tab(tab, asked, everything, of_tabs)

        def open_page(request: gr.Request):
            "The page as its address says, or as it is best begun; of the verdict what needs no figure comes first"
            given = dict(request.query_params)
            one_of = lambda name, names: given[name] if given.get(name) in names else names[0]
            studies = known_runs.studies()
            arms = given['arms'].split(',') if given.get('arms') else None
            asked = Asked(one_of('study', studies), given.get('recipe', ALL), arms, given.get('seed', MEAN),
                          one_of('weights', list(WEIGHTS)))
            tab = one_of('tab', [tab for tab in TABS if tab in tabs or tab in opened])
            step = int(given['step']) if given.get('step', '').isdecimal() else -1
            set_to, asked, everything = follow_runs(asked, step, None)
            if tab in tabs and (front := tabs[tab].front): set_to |= front(looked_at(asked, everything))
            names = [(known_runs.name_of(s), s) for s in studies]
            return set_to | {in_sight: tab, tab_row: gr.Tabs(selected=tab),
                             bar.study: gr.Dropdown(names, value=asked.study, visible=len(studies) > 1)}

        def look_ahead():
            "Read the runs and make the front page once, so that the first visitor need not wait for it"
            study = known_runs.studies()[0]
            everything, _ = known_runs.all(study, PATIENCE)
            tabs['verdict'].draw(View(study, everything, everything, WEIGHTS[0]))

        first = [bar.study, in_sight, tab_row, *follows, *shown]
        loaded = demo.load(open_page, None, first, **quiet).then(draw, view, shown, **quiet)

        redraw = [refresh, [*view, bar.step, bar.offered], [*follows, *shown]]
        news.input(*redraw, trigger_mode='always_last', **quiet)
        asks = [choice.input for choice in (bar.arms, bar.seed, bar.weights, in_sight, *choices.values())]
        gr.on(asks, draw, view, shown, trigger_mode='always_last', **quiet)
        for choice in (bar.study, bar.recipe): choice.input(*redraw, **quiet)

        def when(name, ask): return lambda tab, *given: ask(*given) if tab == name else gr.skip()
        for name, (ask, inputs, outputs) in opened.items():
            in_sight.input(when(name, ask), [in_sight, *inputs], outputs, **quiet)
            loaded = loaded.then(when(name, ask), [in_sight, *inputs], outputs, **quiet)

        # in the browser alone: the step goes to the pictures, what is chosen into the address
        in_page = dict(fn=None, api_visibility='private')
        bar.step.input(inputs=bar.step, js='step => { window.lora_da_bench.shown(step) }', **in_page)
        remember = '(...chosen) => { window.lora_da_bench.remember(...chosen) }'
        gr.on([choice.input for choice in bar.asks], inputs=bar.asks, js=remember, **in_page)
        bar.play.click(js='() => { window.lora_da_bench.play() }', **in_page)
        add_endpoints(known_runs)
    demo.known_runs, demo.looking, demo.read_only, demo.look_ahead = known_runs, looking, read_only, look_ahead
    return demo


def add_endpoints(known_runs: Runs):
    "The same for programs"
    def verdict_of(study: str = HERE) -> dict:
        "Sentences and numbers by arm"
        runs, skipped = known_runs.all(study)
        rows, references = known_runs.rows(runs), reference_scores(runs)
        numbers = arm_numbers(rows, references=references).T.to_dict()
        return dict(sentences=sentences(rows, references), arms=numbers, skipped=skipped)

    def curves_of_measure(study: str = HERE, measure: str = 'target_miou', weights: str = 'scored') -> dict:
        "A measure by arm, seed and step"
        by_step = lambda points: {str(step): value for step, value in points.dropna().items()}
        by_seed = lambda of: {str(seed): by_step(points) for seed, points in seed_curves(of, measure, weights).items()}
        return {arm: by_seed(of) for arm, of in adaptations(known_runs.all(study)[0]).items()}

    def pictures_of(study: str = HERE, seed: int = 0) -> dict:
        "Addresses of pictures, steps, scores, classes and colours of a seed's runs"
        runs, _ = known_runs.all(study)
        return picture_index(study, [run for run in adapted(runs) if run['seed'] == seed], runs)

    for endpoint, name in ((verdict_of, 'verdict'), (curves_of_measure, 'curves'), (pictures_of, 'pictures')):
        gr.api(endpoint, api_name=name)


# what `gradio app/app.py` and hosts of Gradio apps look for
demo = build(Path(os.environ.get('LORA_DA_BENCH_RUNS', 'demo')))

if __name__ == '__main__':
    from lora_da_bench.views.cli import listen
    serve(build(Path(sys.argv[1])) if len(sys.argv) > 1 else demo, listen(7860))
