"The tab that looks through datasets: images with their labels, class shares, and what a check of the files finds."

from pathlib import Path

import gradio as gr

from lora_da_bench.core.errors import BadInput
from lora_da_bench.views.figures import plain
from lora_da_bench_app.figure import figure_place
from lora_da_bench_app.helper import Helper

ABOUT = '<p>Drawn datasets are always here; one of files, if the app is started with <code>--data NAME=DIR</code>.</p>'
TO_CHECK = 600  # seconds
MOST_LINES = 40


def lines_html(lines: list[str]) -> str:
    more = [f'and {len(lines) - MOST_LINES} more'] if len(lines) > MOST_LINES else []
    return ''.join(f'<p>{plain(line)}</p>' for line in lines[:MOST_LINES] + more)


def data_tab(data: dict[str, Path], looking: Helper, quiet: dict):
    "Build the tab; returns what fills it when it is selected"
    gr.HTML(ABOUT)
    with gr.Row():
        dataset = gr.Dropdown(list(data), value=None, label='Dataset', elem_id='dataset')
        part = gr.Dropdown(['source', 'target', 'held out'], value='source', label='Part', elem_id='part')
        first = gr.Slider(0, 1, value=0, step=1, label='From frame', elem_id='first')
        check = gr.Button('Check files', elem_id='check', scale=0, min_width=150)
    said = gr.HTML('<p>torch is being loaded ...</p>', elem_id='data-said')
    grid = figure_place(elem_id='frames', visible=False)
    bars = figure_place("Each class's share of the labelled pixels", elem_id='shares', visible=False)
    shown = [dataset, first, said, grid, bars]
    ask = lambda question, name, *more, **limit: looking.ask(question, name, data.get(name), *more, **limit)

    def open_dataset(name, part):
        "A dataset from its beginning"
        try:
            names = [*looking.ask('choices')['drawn'], *data]
            name = name if name in names else names[0]
            n = ask('parts', name)
            return {dataset: gr.Dropdown(names, value=name), first: gr.Slider(maximum=max(1, n[part] - 1), value=0),
                    said: lines_html([', '.join(f'{p}: {k:,} frames' for p, k in n.items())]),
                    grid: gr.update(value=ask('frames', name, part, 0), visible=True),
                    bars: gr.update(value=ask('shares', name), visible=True)}
        except BadInput as problem:
            return {said: lines_html([str(problem)]), grid: gr.update(visible=False), bars: gr.update(visible=False)}

    def move(name, part, first):
        try: return ask('frames', name, part, int(first))
        except BadInput as problem: raise gr.Error(plain(str(problem))) from None

    def check_files(name):
        try: return lines_html(ask('checked', name, limit=TO_CHECK)), ask('shares', name)
        except BadInput as problem:
            instead = f'lora-da-bench data check {name} does the same in a terminal, and is remembered here.'
            return lines_html([str(problem), instead]), gr.skip()

    gr.on([dataset.input, part.input], open_dataset, [dataset, part], shown, trigger_mode='always_last', **quiet)
    first.input(move, [dataset, part, first], grid, trigger_mode='always_last', **quiet)
    check.click(check_files, dataset, [said, bars], **(quiet | dict(show_progress='full')))
    return open_dataset, [dataset, part], shown
