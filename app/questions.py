"What the app asks of its helper: functions that need torch."

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from lora_da_bench.core.errors import BadInput
from lora_da_bench.core.processes import create_accelerator
from lora_da_bench.core.registry import unknown
from lora_da_bench.data.datasets import (DATASETS, Domains, needs_root, open_domains, open_parts, overlaps, summarize,
    survey, survey_cache)
from lora_da_bench.data.frames import Frames, read_image
from lora_da_bench.data.labels import label_image
from lora_da_bench.evidence.evaluation import segment
from lora_da_bench.evidence.run_store import finished_weights, read_config
from lora_da_bench.method.recipes import RECIPES
from lora_da_bench.method.stabilizers import STABILIZERS
from lora_da_bench.runs.checkpoints import load_model, stored_space
from lora_da_bench.runs.experiments import load_domains, Preset, PRESETS, with_settings
from lora_da_bench.studies.arms import Arm, arm_name, checked_chains, demo_arms, source_preset
from lora_da_bench.studies.cost import cost_preset, predict_candidates, pretend_device
from lora_da_bench.studies.dry_step import prediction_table
from lora_da_bench.studies.plan import dry_run
from lora_da_bench.studies.study import load_study, seeds_of, STUDIES, study_arms
from lora_da_bench.views.browsers import frame_grid, shares_figure, shares_of
from lora_da_bench.views.cli import named_with, source_name
from lora_da_bench.views.figures import png

WEIGHTS = 'random', 'pretrained', 'hub'  # that a page may ask for: files are for the command line
FRAMES_SHOWN = 4
# candidates that Cost foretells
PUBLISHED = 'reference', 'none', 'ema', 'lora-reuse', 'lora-head-reuse', 'lora-head-light'


# segmenting

@lru_cache(4)
def model_of(folder: Path, changed: int):
    "A finished run's network on the device; `changed` is when its weights were written"
    return load_model(folder).to(create_accelerator().device)


def segmented(folder: Path, picture: Path) -> dict[str, bytes]:
    """PNGs of a picture's size: `labels`, the label map that `predict` writes, `values`, its numbers in grey (a page
    can't read those of a palette image), and `confidence`, grey, 255 is sure"""
    image = read_image(picture)
    model = model_of(folder, finished_weights(folder).stat().st_mtime_ns)
    height, device = read_config(folder)['preset']['size'][0], next(model.parameters()).device
    classes, confidence = segment(model, image, height, device)
    grey = lambda numbers: png(Image.fromarray(numbers))
    labels, sure = label_image(classes, stored_space(folder)), (255 * confidence).round().astype(np.uint8)
    return dict(labels=png(labels), values=grey(np.asarray(labels)), confidence=grey(sure))


def merged(folder: Path, place: Path):
    "Write a finished run's network as one file, adapters merged into the weights"
    tensors = {name: t.contiguous() for name, t in load_model(folder).state_dict().items()}
    save_file(tensors, place)


# planning

def choices() -> dict:
    "What a run or study can be made of"
    return dict(presets=list(PRESETS), recipes=list(RECIPES), stabilizers=list(STABILIZERS), studies=list(STUDIES),
                drawn=[name for name, dataset in DATASETS.items() if not needs_root(dataset)])


def chosen(name: str, settings: list[str]) -> Preset:
    "A preset by name, with settings; raises `BadInput`, for files too"
    if name not in PRESETS: raise unknown('preset', name, PRESETS)
    preset = with_settings(PRESETS[name], settings)
    if preset.weights in WEIGHTS: return preset
    raise BadInput(f"weights: expected one of {', '.join(WEIGHTS)}; a file is for the command line")


def whole(value, field: str, low: int, high: int) -> int:
    "A whole number in a range; raises `BadInput`"
    if isinstance(value, (int, float)) and low <= value <= high and value == int(value): return int(value)
    raise BadInput(f'{field}: expected a whole number from {low} to {high:,}, got {value!r}')


def as_words(settings: list[str]) -> list[str]: return [word for line in settings for word in ('--set', line)]


def groups_of(fields: dict) -> tuple[list[str], dict[str, tuple[Preset, dict[str, Arm]]], range]:
    "The command's words, the arms by what their source model is called, and the seeds"
    settings = [line.strip() for line in fields['settings'].splitlines() if line.strip()]
    if fields['kind'] == 'study':
        if fields['study'] not in STUDIES: raise unknown('study', fields['study'], STUDIES)
        study = load_study(fields['study']).model_copy(update=dict(seeds=whole(fields['seeds'], 'seeds', 1, 1000)))
        groups = {source: (next(iter(arms.values())).preset, arms) for source, arms in study_arms(study).items()}
        return ['study', fields['study'], '--seeds', str(study.seeds)], groups, seeds_of(study)
    preset = chosen(fields['preset'], settings)
    if steps := fields['steps']: preset = preset.model_copy(update=dict(steps=whole(steps, 'steps', 1, 10**7)))
    if fields['kind'] == 'comparison':
        seeds = whole(fields['seeds'], 'seeds', 1, 1000)
        if steps: settings.append(f'steps={preset.steps}')
        groups = {source_name(settings): (preset, named_with(settings, demo_arms(preset)))}
        words = ['quickstart', '--no-app', '--preset', fields['preset'], '--seeds', str(seeds), *as_words(settings)]
        return words, groups, range(seeds)
    recipe, seed = fields['recipe'] or preset.recipe, whole(fields['seed'], 'seed', 0, 2**31 - 1)
    stabilizer, length = fields['stabilizer'], ['--steps', str(preset.steps)] if steps else []
    arms = named_with(settings, {arm_name(recipe, stabilizer): Arm(preset, recipe, stabilizer)})
    groups = {source_name(settings): (preset, arms)}
    words = ['train', '--preset', fields['preset'], '--recipe', recipe, '--stabilizer', stabilizer, '--seed', str(seed)]
    return [*words, *as_words(settings), *length], groups, range(seed, seed + 1)


def root_of(dataset: str, data: dict[str, Path]) -> Path | None:
    "The folder of a dataset that has files, None of one that is drawn; raises `BadInput` if the app does not know it"
    if not needs_root(DATASETS[dataset]): return None
    if dataset in data: return data[dataset]
    raise BadInput(f'{dataset}: expected the folder of its files; name it where the app is started, '
                   f'with --data {dataset}=DIR')


def planned(fields: dict, data: dict[str, Path]) -> dict:
    "The command for what a page asks for, and its runs with their steps, in order; raises `BadInput` naming the field"
    words, groups, seeds = groups_of(fields)
    root, runs = root_of(next(iter(groups.values()))[0].dataset, data), {}
    for seed in seeds:
        for source, (preset, arms) in groups.items():
            starts = any(arm.preset.start == 'source' for arm in arms.values())
            if starts: runs[f'{source}-seed{seed}'] = source_preset(preset).steps
            for configs in checked_chains(preset, arms, seed, root and str(root), source).values():
                runs |= {name: config.steps for name, config in configs.items()}
    return dict(words=[*words, *(['--root', str(root)] if root else [])], runs=runs)


@lru_cache(16)
def cost_of_step(preset: str, recipe: str, stabilizer: str, root: Path | None) -> tuple[float, float, int]:
    "Seconds of a step and of loading its frames, and its bytes, of a preset as JSON; measured once a helper"
    preset = Preset.model_validate_json(preset)
    plan = dry_run(preset, recipe, stabilizer, load_domains(preset, root))
    return plan['step_s'], plan['loading_s'], plan['memory_bytes']


def estimated(fields: dict, data: dict[str, Path]) -> dict | None:
    """Seconds in all, seconds a step and bytes of what a page asks for, by its first arm on this machine; None where
    that can't be"""
    try: (_, groups, _), runs = groups_of(fields), planned(fields, data)['runs']
    except BadInput: return None
    arm = next(iter(next(iter(groups.values()))[1].values()))
    any_length = arm.preset.model_copy(update=dict(steps=1, source_steps=1))   # what a step takes is the same
    root = root_of(arm.preset.dataset, data)
    step_s, loading_s, memory = cost_of_step(any_length.model_dump_json(), arm.recipe, arm.stabilizer, root)
    return dict(last=[*runs][-1], seconds=max(step_s, loading_s) * sum(runs.values()), step_s=step_s, memory_bytes=memory)


@lru_cache(16)
def foretold(model: str, crop: tuple[int, int], device: str) -> dict:
    """What a step of some candidates will hold and take at a published size, as `cost --dry-run`: a table, and rows for
    `cost_figure`"""
    where, precision = pretend_device(device, None)
    predicted = predict_candidates(cost_preset(model, crop), list(PUBLISHED), where, precision, fits=False)
    table = prediction_table(predicted)
    rows = [dict(stabilizer=name, memory=p['memory']) for name, p in predicted.items()]
    return dict(columns=list(table), table=table.values.tolist(), rows=rows)


# looking at data

@lru_cache(8)
def domains_of(name: str, root: Path | None) -> Domains:
    "A dataset, as the first preset that is made of it opens it"
    preset = next((p for p in PRESETS.values() if p.dataset == name), None)
    return open_domains(name, root, preset and preset.size, **preset.data if preset else {})


def parts_of(name: str, root: Path | None) -> dict:
    "A dataset's parts, by name"
    domains = domains_of(name, root)
    return {'source': domains.source, 'target': domains.target, 'held out': domains.held_out}


def parts(name: str, root: Path | None) -> dict[str, int]:
    "How many frames each part of a dataset has"
    return {part: len(frames) for part, frames in parts_of(name, root).items()}


def frames(name: str, root: Path | None, part: str, first: int) -> str:
    "A figure of some frames with their labels, JSON"
    return frame_grid(parts_of(name, root)[part], first, FRAMES_SHOWN, domains_of(name, root).space).to_json()


def shares(name: str, root: Path | None) -> str:
    "A figure of each class's share, JSON; of a set of files where it has been checked"
    found = {}
    for part, of in parts_of(name, root).items():
        if isinstance(of, Frames) and not hasattr(of, 'rows') and survey_cache(of).exists(): [*survey(of)]
        if of_part := shares_of(of, domains_of(name, root).space): found[part] = of_part
    return shares_figure(found).to_json()


def checked(name: str, root: Path | None) -> list[str]:
    "What `data check` finds, a line each"
    files = open_parts(name, root) if root else {}
    lines = []
    for part, of in files.items():
        for _ in survey(of): pass
        facts = summarize(of)
        lines += [f"{part}: {facts['frames']} frames, {facts['labelled']} labelled, {len(facts['problems'])} problems"]
        lines += [f'{part}: {line}' for line in facts['problems'] + facts['notes']]
    return lines + overlaps(files) or ['This dataset is drawn; there are no files to check.']
