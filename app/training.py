"The tab that starts runs and studies: fields that are checked as they are typed, and the queue with its jobs."

import time
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from lora_da_bench.core.errors import BadInput
from lora_da_bench.views.comparison import arm_curves
from lora_da_bench.views.figures import duration, plain
from lora_da_bench_app import jobs
from lora_da_bench_app.bar import from_page
from lora_da_bench_app.figure import figure_place
from lora_da_bench_app.helper import Helper
from lora_da_bench_app.runs import FIRST_MEASURES, HERE, Runs
from lora_da_bench_app.tabs import Tab

KINDS = {'One run': 'run', 'Comparison': 'comparison', 'Study': 'study'}
ABOUT = ('<p>One run: one stabilizer. Comparison: plain self-training, class mixing, EMA and LoRA from one source '
         'model, as <code>make demo</code>. Study: a grid of arms with several seeds and a verdict.</p>')
NO_JOBS = ('<p class="empty">Nothing is queued. Jobs are done one at a time, and go on when this page or the app is '
           'closed.</p>')
WAITING = '<p>Memory and time are being estimated ...</p>'
FIELDS = 'kind', 'preset', 'recipe', 'stabilizer', 'study', 'seed', 'seeds', 'steps', 'settings'
ACTS = dict(stop=jobs.stop, resume=jobs.resume, remove=jobs.remove)
# a button of the list says what to do with which job
PRESSED = '''element.addEventListener('click', event => {
  const what = event.target.dataset?.act;
  if (what) window.lora_da_bench.act(what);
})'''


def runs_of(known_runs: Runs, job: jobs.Job) -> dict[str, dict]:
    "A job's runs by name; none that is still to begin, or that can't be read"
    found = {}
    for name in job.runs:
        try: found[name] = known_runs.run(known_runs.folder_to_be(job.out)/name)
        except BadInput: pass
    return found


def steps_done(known_runs: Runs, job: jobs.Job) -> dict[str, int]:
    "How far each run of a job is"
    metrics = {name: run['metrics'] for name, run in runs_of(known_runs, job).items() if len(run['metrics'])}
    return {name: min(steps, int(metrics[name].index.max())) if name in metrics else 0
            for name, steps in job.runs.items()}


def job_html(known_runs: Runs, job: jobs.Job) -> str:
    "A job of the list: what it is, how far it is, and what can be done with it"
    done, total = steps_done(known_runs, job), sum(job.runs.values())
    now = next((name for name, n in done.items() if n < job.runs[name]), None)
    share = 1. if job.state == 'done' else sum(done.values()) / max(1, total)
    acts = dict(waiting=['stop'], running=['stop'], done=['remove']).get(job.state, ['resume', 'remove'])
    buttons = ''.join(f'<button data-act="{act}:{job.number}">{act}</button>' for act in acts)
    at = f': {plain(now)} at step {done[now]:,} of {job.runs[now]:,}' if now and job.state == 'running' else ''
    since = f', for {duration(time.time() - job.began)}' if job.began and job.state == 'running' else ''
    why = f'<p class="below">{plain(job.line)}</p>' if job.line else ''
    command, place = plain(' '.join(job.words[:-2])), plain(known_runs.name_of(job.out))
    bar = f'<progress max="1" value="{share:.3f}" aria-label="job {job.number}"></progress>'
    return (f'<div class="job {job.state}"><b>{job.number}</b> <code>{command}</code> in {place}'
            f'<p><i>{job.state}</i>{at}{since} {bar} {share:.0%} '
            f'<a href="?study={quote(job.out)}&tab=stability">curves</a> {buttons}</p>{why}</div>')


def jobs_html(known_runs: Runs) -> str:
    "The queue, the newest first"
    listed = ''.join(job_html(known_runs, job) for job in reversed(jobs.jobs_of(known_runs.root)))
    return listed or NO_JOBS


def job_curves(known_runs: Runs):
    "Curves of the job that runs, or ran last"
    begun = [job for job in jobs.jobs_of(known_runs.root) if job.state != 'waiting']
    chosen = next((job for job in begun if job.state == 'running'), begun[-1] if begun else None)
    runs = [*runs_of(known_runs, chosen).values()] if chosen else []
    drawn = arm_curves(runs, FIRST_MEASURES, 'scored').to_json() if runs else None
    return gr.update(value=drawn, visible=bool(runs))


def asked(values) -> dict:
    "The fields of the page, by name"
    fields = dict(zip(FIELDS, values))
    return fields | dict(kind=KINDS.get(fields['kind'], 'run'))


def training_tab(known_runs: Runs, data: dict[str, Path], looking: Helper, planning: Helper, quiet: dict):
    "Make the tab; returns it, and what fills its choices when it is first looked at, from what to what"
    root = known_runs.root
    gr.HTML(ABOUT)
    with gr.Row():
        kind = gr.Radio(list(KINDS), value='One run', label='What', elem_id='kind')
        folder = gr.Textbox(label='Folder (empty: the runs folder itself)', elem_id='folder', max_lines=1)
    with gr.Row():
        preset = gr.Dropdown([], label='Preset', elem_id='preset')
        study = gr.Dropdown([], label='Study', elem_id='study-name', visible=False)
        recipe = gr.Dropdown([], label="Recipe (empty: the preset's)", elem_id='train-recipe')
        stabilizer = gr.Dropdown([], label='Stabilizer', elem_id='stabilizer')
        seed = gr.Number(0, label='Seed', precision=0, elem_id='train-seed', min_width=90)
        seeds = gr.Number(1, label='Seeds', precision=0, elem_id='train-seeds', visible=False, min_width=90)
        steps = gr.Number(0, label="Steps (0: the preset's)", precision=0, elem_id='steps', min_width=90)
    settings = gr.Textbox(label='Settings, one FIELD=VALUE a line, such as lr=1e-4 or stabilizers.lora.rank=8', lines=2,
                          elem_id='settings')
    plan_html = gr.HTML('<p>torch is being loaded; what can be chosen appears in a moment.</p>', elem_id='plan')
    estimate_html = gr.HTML(elem_id='estimate')
    begin = gr.Button('Start', elem_id='begin', variant='primary', interactive=False, scale=0, min_width=200)
    jobs_list = gr.HTML(elem_id='jobs', js_on_load=PRESSED)
    act = gr.HTML('', html_template='', js_on_load=from_page('act'), visible='hidden')
    curves, planned = figure_place(elem_id='job-curves', visible=False), gr.State()
    shaped = [preset, recipe, stabilizer, study, seed, seeds, steps, settings]
    inputs = [kind, preset, recipe, stabilizer, study, seed, seeds, steps, settings, folder]

    def open_tab(preset_then):
        "What can be chosen, the first time; later nothing changes"
        if preset_then: return [gr.skip()] * 4
        try: there = looking.ask('choices')
        except BadInput: return [gr.skip()] * 4
        return (gr.Dropdown(there['presets'], value='streetscenes'),
                gr.Dropdown(there['studies'], value=there['studies'][0]),
                gr.Dropdown(['', *there['recipes']], value=''), gr.Dropdown(there['stabilizers'], value='lora'))

    def shape(kind):
        one, grid = KINDS.get(kind) == 'run', KINDS.get(kind) == 'study'
        seen = [not grid, one, one, grid, one, not one, not grid, not grid]   # as `shaped`
        return [type(field)(visible=visible) for field, visible in zip(shaped, seen)]

    def check(*given):
        "What would be done, or what is wrong; an estimate of other fields goes"
        if not given[FIELDS.index('preset')]: return [gr.skip()] * 4   # nothing can be chosen yet
        try:
            known_runs.folder_to_be(given[-1].strip() or HERE)
            plan = looking.ask('planned', asked(given), data)
        except BadInput as problem:
            wrong = plain(str(problem).removeprefix('--set '))
            return f'<p class="below">{wrong}</p>', '', gr.Button(interactive=False), gr.skip()
        names = list(plan['runs'])
        shown = ', '.join(names[:4]) + (f' and {len(names) - 4} more' if len(names) > 4 else '')
        would = f"<p>{plain(shown)}: {sum(plan['runs'].values()):,} steps.</p>"
        return would, WAITING, gr.Button(interactive=True), time.time()

    def estimate(*given):
        "What a plan will take; it is named, for while this is computed the fields may change"
        try: found = planning.ask('estimated', asked(given), data, limit=180)
        except BadInput as problem: return f'<p>No estimate: {plain(str(problem))}.</p>'
        if found is None: return ''   # the fields are wrong by now
        takes = f"about {duration(found['seconds'])} and {found['memory_bytes'] / 1e9:.1f} GB"
        return (f"<p>{plain(found['last'])}: {takes} on this machine as busy as it is now "
                f"({found['step_s']:.2f} s a step, without looks).</p>")

    def start(*given):
        out = given[-1].strip() or HERE
        try:
            place, plan = known_runs.folder_to_be(out), looking.ask('planned', asked(given), data)
            jobs.add(root, [*plan['words'], '--out', str(place.resolve())], plan['runs'], out)
        except BadInput as problem: raise gr.Error(plain(str(problem)), duration=10) from None
        return jobs_html(known_runs)

    def do(what):
        "Stop, resume or remove a job"
        name, _, number = str(what).partition(':')
        try:
            if name in ACTS and number.isdecimal(): ACTS[name](root, int(number))
        except BadInput: pass   # somebody else has removed it
        return jobs_html(known_runs)

    checking = dict(trigger_mode='always_last', **quiet)
    kind.change(shape, kind, shaped, **quiet)
    gr.on([c.change for c in inputs], check, inputs, [plan_html, estimate_html, begin, planned], **checking)
    planned.change(estimate, inputs, estimate_html, **checking)
    begin.click(start, inputs, jobs_list, **quiet)
    act.input(do, act, jobs_list, **quiet)
    tab = Tab([jobs_list, curves], lambda _: {jobs_list: jobs_html(known_runs), curves: job_curves(known_runs)})
    return tab, (open_tab, [preset], [preset, study, recipe, stabilizer])
