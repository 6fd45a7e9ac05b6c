"The tabs that show runs: each makes its components, and says what fills them for what the bar asks."

from collections.abc import Callable
from typing import NamedTuple

import gradio as gr

from lora_da_bench.core.errors import BadInput
from lora_da_bench.evidence.run_store import alarm_lines, known_measures, labelled_frames, reference_scores
from lora_da_bench.evidence.verdict import verdicts
from lora_da_bench.views.comparison import (adaptations, adapted, arm_colours, arm_curves, arm_numbers, cards,
    class_heatmap, class_scores, cost_bars, difference_figure, number_table, sentences, trade_off)
from lora_da_bench.views.figures import cost_figure, label_grid, plain
from lora_da_bench_app import STATIC
from lora_da_bench_app.figure import figure_place
from lora_da_bench_app.helper import Helper
from lora_da_bench_app.pictures import picture_index
from lora_da_bench_app.runs import FIRST_MEASURES, Runs

NOTHING_SCORED = '<p class="empty">Nothing is scored yet.</p>'
PUBLISHED_MODELS = 'swin_tiny_patch4_window7_224', 'swin_small_patch4_window7_224', 'swin_base_patch4_window7_224'
MEASURE = ('<p>A step by part, and its memory by kind, are shown here once they are measured: '
           '<code>lora-da-bench cost --format json &gt; DIR/cost.json</code>.</p>')
FORETOLD = ("<p>TransDA's step at 512 x 1024 with 2 + 2 images under each stabilizer, counted without running it; "
            'takes a minute or more. Also <code>lora-da-bench cost --dry-run</code>.</p>')


class View(NamedTuple):
    "What is to be shown"
    study: str
    runs: list[dict]         # those that the bar asks for, with the source and oracle beside them
    everything: list[dict]   # all runs of the study
    weights: str             # one of `WEIGHTS`
    measures: list[str] = []     # Stability's curves
    arm: str | None = None       # Stability's heat map
    of_class: str = 'iou'        # what it shows, or 'share'
    frame: str | None = None     # whose labels Pictures shows round by round


class Tab(NamedTuple):
    "A tab of the page"
    shown: list                       # its components that are filled
    draw: Callable[[View], dict]      # a component's value, by component
    choices: dict[str, gr.components.Component] = {}  # the reader's choices in it, by their field of `View`
    front: Callable[[View], dict] | None = None       # what of it is there before a figure can be


def verdict_tab(known_runs: Runs) -> Tab:
    said, shown_cards = gr.HTML(elem_id='sentences'), gr.HTML(elem_id='cards')
    trade = figure_place('Quality against stability and cost', elem_id='trade')
    differences = figure_place('Paired differences to EMA with 95% intervals', elem_id='differences', visible=False)
    scores = gr.Dataframe(label='All numbers: held-out target frames, stability, cost', interactive=False,
                          elem_id='scores')
    classes = gr.Dataframe(label='IoU by class', interactive=False, elem_id='classes')

    def front(view):
        rows, references = known_runs.rows(view.runs), reference_scores(view.runs)
        lines = ''.join(f'<p>{plain(line)}</p>' for line in sentences(rows, references))
        alarms = ''.join(f'<p>⚠ {plain(line)}</p>' for line in alarm_lines(rows))
        found = cards(arm_numbers(rows, view.weights, references), arm_colours(view.everything))
        return {said: f'<div class="sentences">{lines}</div>',
                shown_cards: f'{found or NOTHING_SCORED}<div class="alarms">{alarms}</div>'}

    def draw(view):
        rows, several = known_runs.rows(view.runs), len({run['seed'] for run in view.runs}) > 1
        try: compared = gr.update(value=difference_figure(verdicts(rows)).to_json(), visible=several)
        except BadInput: compared = gr.update(visible=False)
        by_class = class_scores(view.runs).round(3)
        return front(view) | {
            trade: gr.update(value=trade_off(rows, view.weights, arm_colours(view.everything)).to_json(),
                             visible=bool(rows)),
            differences: compared, scores: number_table(rows, known_measures(view.runs)),
            classes: by_class.reset_index(names='class') if len(by_class) else by_class}

    return Tab([said, shown_cards, trade, differences, classes, scores], draw, front=front)


def stability_tab() -> Tab:
    measures = gr.Dropdown([('target mIoU', 'target_miou'), ('labels flipped', 'flip_rate')], value=FIRST_MEASURES,
                           label='Measures', multiselect=True, elem_id='measures')
    curves = figure_place(elem_id='curves')
    with gr.Row():
        of_class = gr.Radio([('IoU', 'iou'), ('share of the pseudo-labels', 'share')], value='iou', label='Of each class, over the steps',
                            elem_id='heat-what')
        arm = gr.Dropdown([], label='Arm', elem_id='heat-arm')
    heat = figure_place(elem_id='heat')

    def draw(view):
        arms = adaptations(view.runs)
        chosen = view.arm if view.arm in arms else next(iter(arms), None)
        return {curves: arm_curves(view.runs, view.measures or ['target_miou'], view.weights).to_json(),
                arm: gr.Dropdown(choices=list(arms), value=chosen),
                heat: class_heatmap(arms.get(chosen, []), view.of_class).to_json()}

    return Tab([curves, arm, heat], draw, dict(measures=measures, arm=arm, of_class=of_class))


def pictures_tab() -> Tab:
    columns = gr.HTML({}, html_template='<div class="pictures"></div>', js_on_load=(STATIC/'pictures.js').read_text(),
                      apply_default_css=False, elem_id='pictures')
    title = "Pseudo-labels of the target's training frames, round by round"
    with gr.Accordion(title, visible=False, elem_id='rounds') as rounds:
        frame = gr.Dropdown([], label='Target training frame', elem_id='frame')
        labels = figure_place(elem_id='labels')

    def draw(view):
        runs = adapted(view.runs)
        runs = [run for run in runs if run['seed'] == runs[0]['seed']]
        frames = list(dict.fromkeys(name for run in runs for name in labelled_frames(run['folder'])))
        chosen = view.frame if view.frame in frames else next(iter(frames), None)
        return {columns: picture_index(view.study, runs or view.runs, view.everything),
                rounds: gr.Accordion(visible=bool(frames)), frame: gr.Dropdown(choices=frames, value=chosen),
                labels: label_grid(runs, chosen).to_json() if chosen else gr.skip()}

    return Tab([columns, rounds, frame, labels], draw, dict(frame=frame))


def cost_tab(known_runs: Runs, planning: Helper, quiet: dict) -> Tab:
    bars = figure_place(elem_id='cost')
    said, parts = gr.HTML(elem_id='measured-said'), figure_place(elem_id='measured', visible=False)
    foretell(planning, quiet)

    def draw(view):
        measured, problems = known_runs.costs(view.study)
        about = ''.join(f'<p>{plain(line)}</p>' for line in problems)
        if measured:
            command, device = plain(measured['command']), plain(measured['device'])
            about = f'<p>By part, as <code>{command}</code> measured it on {device}:</p>' + about
        return {bars: cost_bars(known_runs.rows(view.runs), arm_colours(view.everything)).to_json(),
                said: about or MEASURE,
                parts: gr.update(value=cost_figure(measured).to_json() if measured else None, visible=bool(measured))}

    return Tab([bars, said, parts], draw)


def foretell(planning: Helper, quiet: dict):
    "What a step at published size will hold and take, on a device that need not be there"
    with gr.Accordion('At published size, foretold', open=False, elem_id='foretold'):
        gr.HTML(FORETOLD)
        with gr.Row():
            model = gr.Dropdown(PUBLISHED_MODELS, value=PUBLISHED_MODELS[-1], label='Encoder', elem_id='encoder')
            device = gr.Dropdown(['cuda', 'cpu', 'mps'], value='cuda', label='Device', elem_id='device')
            begin = gr.Button('Foretell', elem_id='foretell', scale=0, min_width=150)
        bars = figure_place(elem_id='foretold-bars', visible=False)
        table = gr.Dataframe(interactive=False, show_label=False, elem_id='foretold-table')

    def ask(model, device):
        try: found = planning.ask('foretold', model, (512, 1024), device, limit=600)
        except BadInput as problem: raise gr.Error(plain(str(problem))) from None
        counted = dict(headers=found['columns'], data=found['table'])
        return gr.update(value=cost_figure(found).to_json(), visible=True), counted

    begin.click(ask, [model, device], [bars, table], **(quiet | dict(show_progress='full')))
