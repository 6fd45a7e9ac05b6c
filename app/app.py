"The workbench's app: curves, pseudo-labels and segmentations of runs, side by side, while they train or after."

import os

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # nothing leaves the machine; read when gradio is imported
os.environ['GRADIO_ANALYTICS_MAX_EVENTS'] = '100'  # what its queue remembers of polls that are over

import re
import socket
import sys
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from lora_da_bench.views.figures import class_legend, curves, label_grid, plain, probe_grid
from lora_da_bench.core.errors import BadInput
from lora_da_bench.evidence.run_store import (alarm_of, find_runs, known_measures, labelled_frames, labels_folder, probes, read_diverged,
    report_table, run_label, snapshot_steps, summaries, weights_path)

TITLE = '## Which stabilizer keeps self-training stable, how good is the result, what does it cost?'
HOW_TO_READ = ('The teacher labels the target and the student learns from it: `none` and `lora` teach themselves, `ema` is taught, and scored, by its average. '
               'Pseudo-labels fade where the teacher is unsure. Drag over a picture to zoom all of them, double-click to zoom out.')
MOST_LINES = 20  # about what was skipped
THEME = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])  # fonts of the machine: a web font would need the network


def read_runs(root: Path) -> tuple[dict[str, dict], list[str]]:
    "The runs of a folder, and a line for each that can't be read; never raises"
    try: return find_runs(root)
    except BadInput as error: return {}, [str(error)]


def signature(root: Path) -> tuple:
    "Changes when a run has appeared or has been looked at again; not with every step, so that watching costs the training little"
    def of(folder):
        try: return (str(folder), (folder/'config.json').exists(), sum(1 for _ in folder.glob('snapshots/*/*.png')), weights_path(folder) is not None,
                     sum(1 for _ in labels_folder(folder).glob('*.png')) // 100, read_diverged(folder) is not None)
        except (OSError, BadInput) as error: return str(folder), str(error)
    try: folders = [root, *sorted(p for p in root.iterdir() if p.is_dir())]
    except OSError as error: return (str(error),)
    return tuple(map(of, folders))


def status_lines(root: Path, runs: list[dict], skipped: list[str]) -> str:
    "What goes on in a folder of runs, as HTML"
    if not runs and not skipped: return f'Waiting for the first run in <code>{plain(str(root))}</code> …'
    training = [f"<b>{plain(run['name'])}</b> {int(run['metrics'].index.max())} / {run['steps']}" for run in runs
                if run['diverged'] is None and len(run['metrics']) and run['metrics'].index.max() < run['steps']]
    lines = ['Training: ' + ' · '.join(training) if training else 'All runs are done.' if runs else 'No run that can be read.']
    lines += [f"Diverged: <b>{plain(run['name'])}</b> at step {run['diverged']}" for run in runs if run['diverged'] is not None]
    alarms = {run['name']: alarm for run in runs if (alarm := alarm_of(run))}
    lines += [f'⚠ {plain(name)}: {plain(str(alarm))}' for name, alarm in alarms.items()][:MOST_LINES]
    lines += [f'Skipped: {plain(line)}' for line in skipped[:MOST_LINES]]
    if len(skipped) > MOST_LINES: lines.append(f'Skipped: {len(skipped) - MOST_LINES} more')
    return '<br>'.join(lines)


def slider_steps(runs: list[dict]) -> list[int]:
    "The steps that can be looked at: those of the adaptations, or of the source run as long as there is none"
    adaptations = [run for run in runs if run['recipe'] != 'source']
    return sorted({s for run in adaptations or runs for s in snapshot_steps(run['folder'])})


def all_labelled(runs: list[dict]) -> list[str]:
    "The target frames that rounds have labelled; those that can be looked at with their input first"
    return list(dict.fromkeys(name for run in runs for name in labelled_frames(run['folder'])))


def build(root: Path) -> gr.Blocks:
    "The app for a folder of runs"
    root = Path(root)

    def chosen(names: list[str] | None) -> tuple[list[dict], list[str]]:
        runs, skipped = read_runs(root)
        return [run for name, run in runs.items() if names is None or name in names], skipped

    def table(runs: list[dict]):
        return report_table(summaries(runs), known_measures(runs))

    def grid(names, probe, step):
        return probe_grid(chosen(names)[0], probe or '00', int(step))

    def rounds(names, frame):
        return label_grid(chosen(names)[0], frame) if frame else gr.skip()

    def redraw(names, probe, step, frame):
        runs, skipped = chosen(names)
        return (curves(runs), probe_grid(runs, probe or '00', int(step)), table(runs), status_lines(root, runs, skipped),
                label_grid(runs, frame) if frame else gr.skip())

    def refresh(names, probe, step, frame, known):
        "Draw everything anew"
        everything, skipped = chosen(None)
        new = [run['name'] for run in everything if run['name'] not in known]
        names = [*(names or []), *new]  # a run that appears is shown; one that was unticked stays so
        runs = [run for run in everything if run['name'] in names]
        steps, numbers = slider_steps(runs), sorted({p for run in runs for p in probes(run['folder'])})
        last = steps[-1] if steps else 0
        behind = [s for s in steps if s <= step]
        follows = not known or not behind or behind[-1] >= steps[-2:][0]  # whoever looks at the newest keeps looking at the newest
        step = last if follows or step > last else step
        spacing = min((b - a for a, b in zip(steps, steps[1:])), default=1)
        first = everything[0] if everything else None
        frames = all_labelled(runs)
        frame = frame if frame in frames else (frames or [None])[0]
        return (gr.CheckboxGroup(choices=[(run_label(run), run['name']) for run in everything], value=names),
                gr.Radio(choices=numbers, value=probe if probe in numbers else (numbers or [None])[0]),
                gr.Slider(maximum=max(last, 1), value=step, step=spacing),
                curves(runs), probe_grid(runs, probe or '00', int(step)), table(runs), status_lines(root, everything, skipped),
                class_legend(first['classes'], first['palette']) if first else '',
                gr.Accordion(visible=bool(frames)), gr.Dropdown(choices=frames, value=frame), label_grid(runs, frame) if frame else gr.skip(),
                [run['name'] for run in everything])

    with gr.Blocks(title='lora_da_bench', analytics_enabled=False) as demo:
        gr.Markdown(TITLE)
        said = gr.HTML(elem_id='status')
        names = gr.CheckboxGroup(label='Runs', choices=[], elem_id='runs')
        curve_plot = gr.Plot(show_label=False, elem_id='curves')
        with gr.Row(equal_height=True):
            probe = gr.Radio(label='Probe image (held out)', choices=[], scale=2, elem_id='probe')
            step = gr.Slider(0, 1, value=0, step=1, label='Step (all columns)', scale=3, elem_id='step')
        legend = gr.HTML(elem_id='legend')
        grid_plot = gr.Plot(show_label=False, elem_id='grid')
        gr.Markdown(HOW_TO_READ)
        with gr.Accordion("Pseudo-labels of the target's training frames, round by round", visible=False, elem_id='rounds') as labelled:
            frame = gr.Dropdown(label='Target training frame', choices=[], elem_id='frame')
            rounds_plot = gr.Plot(show_label=False, elem_id='labels')
        scores = gr.Dataframe(label='mIoU on held-out target frames, stability, cost', interactive=False, wrap=True, elem_id='scores')
        known = gr.State([])  # the runs that were there when all was last drawn
        news = gr.State()     # the folder's signature

        # Every two seconds a poll asks for the signature, and only a new one draws anything. A poll must not name the controls among its outputs:
        # Gradio makes each of them anew for the visitor, even if it is told to skip them, and keeps them all.
        for event in (demo.load, gr.Timer(2).tick):
            event(lambda: signature(root), None, news, show_progress='hidden', api_visibility='private')
        news.change(refresh, [names, probe, step, frame, known],
                    [names, probe, step, curve_plot, grid_plot, scores, said, legend, labelled, frame, rounds_plot, known],
                    show_progress='hidden', api_visibility='private')
        names.input(redraw, [names, probe, step, frame], [curve_plot, grid_plot, scores, said, rounds_plot], show_progress='hidden', api_name='compare')
        gr.on([probe.input, step.input], grid, [names, probe, step], grid_plot, show_progress='hidden', trigger_mode='always_last', api_name='grid')
        frame.input(rounds, [names, frame], rounds_plot, show_progress='hidden', trigger_mode='always_last', api_name='rounds')
    return demo


LOOPBACK = re.compile(r'(127\.0\.0\.1|localhost|\[::1\])(:\d+)?', re.IGNORECASE)


class ThisMachineOnly:
    """Answers pages of this machine and nobody else, and takes no uploads.

    A page from elsewhere reaches 127.0.0.1 through the reader's browser: under a name of its own that it lets point here (DNS rebinding: a foreign `Host`), or
    openly (a foreign `Origin`). Both are refused, before Gradio sees them."""
    def __init__(self, app): self.app = app

    async def __call__(self, scope, receive, send):
        if scope['type'] in ('http', 'websocket'):
            headers = Headers(scope=scope)
            host, origin = headers.get('host', ''), headers.get('origin')
            uploads = scope['path'].rstrip('/').endswith(('/upload', '/upload_progress'))
            if uploads or not LOOPBACK.fullmatch(host) or origin not in (None, f'http://{host}'):
                return await PlainTextResponse('This app answers only pages of its own on this machine.', 403)(scope, receive, send)
        await self.app(scope, receive, send)


def serve(demo: gr.Blocks, server: socket.socket):
    "Serve the app on a listening socket until Ctrl-C, which raises `KeyboardInterrupt`"
    page = FastAPI(middleware=[Middleware(ThisMachineOnly)], docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(page, demo, path='/', theme=THEME, footer_links=[], run_history=False, ssr_mode=False)
    demo._queue.sleep_when_free = .05  # seconds; Gradio's own, a thousandth, takes 7% of a core from the training beside it
    uvicorn.Server(uvicorn.Config(page, log_level='critical', timeout_graceful_shutdown=1)).run(sockets=[server])


demo = build(Path(os.environ.get('LORA_DA_BENCH_RUNS', 'demo')))  # what `gradio app/app.py` and hosts of Gradio apps look for

if __name__ == '__main__':
    from lora_da_bench.views.cli import listen
    serve(build(Path(sys.argv[1])) if len(sys.argv) > 1 else demo, listen(7860))
