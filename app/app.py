"The workbench's app: curves, pseudo-labels and segmentations of runs, side by side, while they train or after."

import os

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # nothing leaves the machine; read when gradio is imported

import sys
from pathlib import Path

import gradio as gr

from lora_da_bench.figures import class_legend, curves, label_grid, probe_grid
from lora_da_bench.labels import BadInput
from lora_da_bench.runs import find_runs, labelled_frames, labels_folder, probes, report_table, snapshot_steps, summary, weights_path

TITLE = '## Which stabilizer keeps self-training stable, how good is the result, what does it cost?'
HOW_TO_READ = ('The teacher labels the target and the student learns from it: `none` and `lora` teach themselves, `ema` is taught, and scored, by its average. '
               'Pseudo-labels fade where the teacher is unsure. Drag over a picture to zoom all of them, double-click to zoom out.')
THEME = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])  # fonts of the machine: a web font would need the network


def signature(root: Path) -> tuple:
    "Changes when a run has appeared or has been looked at again; not with every step, so that watching costs the training little"
    folders = [root, *sorted(p for p in root.iterdir() if p.is_dir())]
    return tuple((str(p), (p/'config.json').exists(), sum(1 for _ in p.glob('snapshots/*/*.png')), weights_path(p) is not None,
                  sum(1 for _ in labels_folder(p).glob('*.png')) // 100) for p in folders)


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
        runs, skipped = find_runs(root)
        return [run for name, run in runs.items() if names is None or name in names], skipped

    def status(runs: list[dict], skipped: list[str]) -> str:
        if not runs and not skipped: return f'Waiting for the first run in `{root}` …'
        training = [f"**{run['name']}** {int(run['metrics'].index.max())} / {run['steps']}" for run in runs
                    if len(run['metrics']) and run['metrics'].index.max() < run['steps']]
        lines = ['Training: ' + ' · '.join(training) if training else 'All runs are done.'] + [f'Skipped: {line}' for line in skipped]
        return '  \n'.join(lines)

    def table(runs: list[dict]):
        return report_table([summary(run) for run in runs if run['recipe'] != 'source'])

    def grid(names, probe, step):
        return probe_grid(chosen(names)[0], probe or '00', int(step))

    def rounds(names, frame):
        return label_grid(chosen(names)[0], frame) if frame else gr.skip()

    def redraw(names, probe, step, frame):
        runs, skipped = chosen(names)
        return curves(runs), probe_grid(runs, probe or '00', int(step)), table(runs), status(runs, skipped), label_grid(runs, frame) if frame else gr.skip()

    def refresh(names, probe, step, frame, seen, known):
        "Every two seconds: draw what is new, or leave everything alone"
        if (now := signature(root)) == seen: return [gr.skip()] * 12
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
        return (gr.CheckboxGroup(choices=[run['name'] for run in everything], value=names),
                gr.Radio(choices=numbers, value=probe if probe in numbers else (numbers or [None])[0]),
                gr.Slider(maximum=max(last, 1), value=step, step=spacing),
                curves(runs), probe_grid(runs, probe or '00', int(step)), table(runs), status(everything, skipped),
                class_legend(first['classes'], first['palette']) if first else '',
                gr.Accordion(visible=bool(frames)), gr.Dropdown(choices=frames, value=frame), label_grid(runs, frame) if frame else gr.skip(),
                (now, [run['name'] for run in everything]))

    with gr.Blocks(title='lora_da_bench', analytics_enabled=False) as demo:
        gr.Markdown(TITLE)
        said = gr.Markdown(elem_id='status')
        names = gr.CheckboxGroup(label='Runs', choices=[], elem_id='runs')
        curve_plot = gr.Plot(show_label=False, elem_id='curves')
        with gr.Row(equal_height=True):
            probe = gr.Radio(label='Probe image (held out)', choices=[], scale=2, elem_id='probe')
            step = gr.Slider(0, 1, value=0, step=1, label='Step (all columns)', scale=3, elem_id='step')
        legend = gr.HTML()
        grid_plot = gr.Plot(show_label=False, elem_id='grid')
        gr.Markdown(HOW_TO_READ)
        with gr.Accordion("Pseudo-labels of the target's training frames, round by round", visible=False, elem_id='rounds') as labelled:
            frame = gr.Dropdown(label='Target training frame', choices=[], elem_id='frame')
            rounds_plot = gr.Plot(show_label=False, elem_id='labels')
        scores = gr.Dataframe(label='mIoU on held-out target frames, stability, cost', interactive=False, elem_id='scores')
        memory = gr.State((None, []))  # what was last drawn, and the runs that were there

        def update(names, probe, step, frame, memory): return refresh(names, probe, step, frame, *memory)

        everything = [names, probe, step, curve_plot, grid_plot, scores, said, legend, labelled, frame, rounds_plot, memory]
        for event in (demo.load, gr.Timer(2).tick):
            event(update, [names, probe, step, frame, memory], everything, show_progress='hidden', api_visibility='private')
        names.input(redraw, [names, probe, step, frame], [curve_plot, grid_plot, scores, said, rounds_plot], show_progress='hidden', api_name='compare')
        for control in (probe.input, step.input):
            control(grid, [names, probe, step], grid_plot, show_progress='hidden', trigger_mode='always_last',
                    api_name='grid' if control is step.input else 'probe')
        frame.input(rounds, [names, frame], rounds_plot, show_progress='hidden', trigger_mode='always_last', api_name='rounds')
    return demo


def serve(demo: gr.Blocks, port: int, block: bool = True):
    "Serve the app on this machine until Ctrl-C"
    try: return demo.launch(server_name='127.0.0.1', server_port=port, quiet=True, theme=THEME, footer_links=[], prevent_thread_lock=not block)
    except OSError as error: raise BadInput(f'--port: {port} cannot be used ({error})') from None


demo = build(Path(os.environ.get('LORA_DA_BENCH_RUNS', 'demo')))  # what `gradio app/app.py` and hosts of Gradio apps look for

if __name__ == '__main__':
    serve(build(Path(sys.argv[1])) if len(sys.argv) > 1 else demo, 7860)
