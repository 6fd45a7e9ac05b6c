"The bar that stays in sight: what it asks for, and how its choices follow what there is."

from typing import NamedTuple

import gradio as gr

from lora_da_bench.core.errors import printable
from lora_da_bench.evidence.run_store import ANCHORS, arm_of, known_measures, snapshot_steps
from lora_da_bench.views.comparison import adaptations, adapted, arm_colours, arm_labels, WEIGHTS
from lora_da_bench_app.runs import FIRST_MEASURES, HERE

ALL, MEAN = 'all', 'mean'


class Asked(NamedTuple):
    "What the bar asks for, beside the step"
    study: str
    recipe: str = ALL
    arms: list[str] | None = None   # None: all; only where the page is opened
    seed: str = MEAN                # or a number
    weights: str = WEIGHTS[0]


class Bar(NamedTuple):
    "The bar's components"
    study: gr.Dropdown
    recipe: gr.Dropdown
    arms: gr.CheckboxGroup
    seed: gr.Dropdown
    weights: gr.Dropdown
    step: gr.Slider
    play: gr.Button
    colours: gr.HTML    # of the arms' toggles
    offered: gr.State   # the arms that there were when it was drawn

    @property
    def asks(self) -> list: return [self.study, self.recipe, self.arms, self.seed, self.weights]

    @property
    def follows(self) -> list:
        "What `follow` sets"
        return [self.recipe, self.arms, self.seed, self.weights, self.step, self.colours, self.offered]


def make_bar() -> Bar:
    "Make the bar's components"
    def choice(label, value, choices, name, width, **how):
        return gr.Dropdown(choices, value=value, label=label, elem_id=name, scale=1, min_width=width, **how)
    with gr.Column(elem_id='bar'):
        with gr.Row():
            study = choice('Study', HERE, [HERE], 'study', 140, visible=False)
            recipe, seed = choice('Recipe', ALL, [ALL], 'recipe', 110), choice('Seeds', MEAN, [MEAN], 'seed', 125)
            weights = choice('Weights', WEIGHTS[0], list(WEIGHTS), 'weights', 140)
            step = gr.Slider(0, 1, value=0, step=1, label='Step', elem_id='step', scale=4, min_width=160)
            play = gr.Button('▶', elem_id='play', scale=0, min_width=48)
        arms = gr.CheckboxGroup(label='Arms', show_label=False, choices=[], elem_id='arms')
        colours = gr.HTML(visible='hidden')
    return Bar(study, recipe, arms, seed, weights, step, play, colours, gr.State())


def from_page(name: str) -> str:
    "The script of a hidden `gr.HTML` by which a page tells Python a value: `window.lora_da_bench.NAME(value)`"
    return f"(window.lora_da_bench ??= {{}}).{name} = value => {{ props.value = value; trigger('input') }}"


def toggle_colours(arms: list[str], colours: dict[str, str]) -> str:
    "A style sheet that gives each arm's toggle its colour"
    rules = (f'#arms label:nth-of-type({n}) {{ --arm: {colours[arm]} }}' for n, arm in enumerate(arms, 1))
    return f"<style>{''.join(rules)}</style>"


def steps_of(runs: list[dict]) -> list[int]:
    "The steps that can be looked at: those of the adaptations, or of the source run as long as there is none"
    return sorted({s for run in adapted(runs) or runs for s in snapshot_steps(run['folder'])})


def of_recipe(runs: list[dict], recipe: str) -> dict[str, list[dict]]:
    "The arms of a recipe, or all"
    return {arm: of for arm, of in adaptations(runs).items() if recipe in (ALL, of[0]['recipe'])}


def chosen(runs: list[dict], asked: Asked) -> list[dict]:
    "Those of a study's runs that the bar asks for, with the source and oracle beside them"
    arms = of_recipe(runs, asked.recipe)
    wanted = {run['name'] for arm in asked.arms for run in arms.get(arm, [])}
    shown = [run for run in runs if run['recipe'] in ANCHORS or run['name'] in wanted]
    return [run for run in shown if asked.seed == MEAN or str(run['seed']) == asked.seed]


def follow(
    bar: Bar,
    runs: list[dict],          # of the study
    asked: Asked,
    step: int,                 # at which the slider is; -1: at the newest
    offered: list[str] | None, # the arms that there were; None: the page is being opened
) -> tuple[dict, Asked]:       # the bar's components, and what it asks for then
    """The bar's choices for a study: what was chosen stays so, what is new is shown, and whoever looks at the newest
    step keeps looking at it"""
    recipes = list(dict.fromkeys(of[0]['recipe'] for of in adaptations(runs).values()))
    recipe = asked.recipe if asked.recipe in recipes else ALL
    there = list(of_recipe(runs, recipe))
    keeps = lambda arm: asked.arms is None or arm in asked.arms or offered is not None and arm not in offered
    arms = list(filter(keeps, there))
    seeds = sorted({run['seed'] for run in runs if run['recipe'] != 'source'})
    seed = asked.seed if asked.seed in map(str, seeds) else MEAN
    looked_at = [run for run in runs if arm_of(run['name']) in arms or not there]
    set_to = {bar.recipe: gr.Dropdown(choices=[ALL, *recipes], value=recipe),
              bar.arms: gr.CheckboxGroup(choices=[*zip(arm_labels(there), there)], value=arms),
              bar.seed: gr.Dropdown(choices=[(MEAN, MEAN), *((f'seed {s}', str(s)) for s in seeds)], value=seed),
              bar.weights: asked.weights, bar.colours: toggle_colours(there, arm_colours(runs)), bar.offered: there,
              bar.step: slider(looked_at, step, offered is None)}
    return set_to, Asked(asked.study, recipe, arms, seed, asked.weights)


def slider(runs: list[dict], step: int, opening: bool) -> gr.Slider:
    "The slider for what there is to look at; while it is where the reader has it, its value is left alone"
    steps = steps_of(runs)
    last, behind = steps[-1] if steps else 0, [s for s in steps if s <= step]
    newest = step < 0 or not behind or behind[-1] >= steps[-2:][0]
    value = dict(value=last) if newest or step > last else dict(value=step) if opening else {}
    spacing = min((b - a for a, b in zip(steps, steps[1:])), default=1)
    return gr.Slider(maximum=max(last, 1), step=spacing, **value)


def measure_choices(runs: list[dict]) -> gr.Dropdown:
    "The measures that can be drawn: those that a run has, and those that are drawn first"
    present = {name for run in runs for name in run['metrics']}
    drawn = [m for m in known_measures(runs).values() if m.name in present or m.name in FIRST_MEASURES]
    return gr.Dropdown(choices=[(printable(m.title), m.name) for m in drawn])
