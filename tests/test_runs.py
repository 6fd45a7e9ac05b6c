"Runs on the disk and those who read them: two processes, Ctrl-C, an app without its parent, the report and what it prints."

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from conftest import command

LONG = 'transda-lora-head-light-seed0-round2'


def wait_for(condition, seconds: float = 60):
    "Wait until a condition holds, and return it"
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(.02)
    return value


def apps_on(folder) -> list[psutil.Process]:
    "The app's processes for a folder of runs"
    found = [p for p in psutil.process_iter(['cmdline']) if str(folder) in (p.info['cmdline'] or []) and 'app' in p.info['cmdline']]
    return [p for p in found if p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize('moment', ['the app is starting', 'torch is loading'])
def test_ctrl_c_ends_both(moment, runs):
    "Whenever it comes: exit code 130, no traceback, no app left behind"
    process = subprocess.Popen(command('quickstart', '--smoke', '--out', runs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: apps_on(runs))
    said = {'the app is starting': None, 'torch is loading': 'The app shows'}[moment]
    while said and said not in process.stdout.readline(): assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, problems = process.communicate(timeout=60)
    assert process.returncode == 130 and 'Traceback' not in problems, problems
    wait_for(lambda: not apps_on(runs))


def test_ctrl_c_ends_both_when_all_is_done(runs, second):
    process = second('quickstart', '--smoke', '--out', runs)
    wait_for(lambda: 'Done; the app goes on' in process.out.read_text())
    assert process.poll() is None and apps_on(runs)
    process.send_signal(signal.SIGINT)
    code, _, problems = process.wait(60)
    assert code == 130 and 'Traceback' not in problems, problems
    wait_for(lambda: not apps_on(runs))


def test_the_app_ends_with_a_parent_that_is_killed(tmp_path):
    "In its first moments too, when the app has not yet begun to watch"
    process = subprocess.Popen(command('quickstart', '--smoke', '--out', tmp_path), stdout=subprocess.DEVNULL)
    wait_for(lambda: apps_on(tmp_path))
    process.kill()
    process.wait()
    wait_for(lambda: not apps_on(tmp_path))


def test_a_wrong_run_is_told_before_torch_is_loaded(tmp_path):
    commands = [['predict', 'nowhere', 'x.png', '--out', 'out'], ['evaluate', 'nowhere'], ['report', 'nowhere'], ['app', 'nowhere']]
    code = ('import sys\nfrom lora_da_bench.views.cli import main\nfor words in ' + repr(commands) + ':\n    sys.argv = ["lora-da-bench", *words]\n    try: main()\n'
            '    except SystemExit as stop: assert stop.code == 2\nprint(sorted({"torch", "gradio"} & set(sys.modules)))')
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == '[]\n' and done.stderr.count('error: nowhere: ') == 4, done.stderr


def test_a_report_does_not_load_torch(runs):
    code = f'import sys\nfrom lora_da_bench.views.cli import main\nsys.argv = ["lora-da-bench", "report", {str(runs)!r}]\ntry: main()\nexcept SystemExit: pass\nsys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True).returncode == 0


def test_a_measure_of_a_plugin_is_in_the_report_without_the_plugin(cli, runs):
    "Its title and format are the run's, damaged ones are told; another network of the run has a row"
    with open(runs/'mixed-lora-seed0/metrics.jsonl', 'a') as file:
        for name in ('entropy', 'target_miou/average'): file.write(json.dumps(dict(step=12, name=name, value=.125)) + '\n')
    description = json.loads((runs/'mixed-lora-seed0/measures.json').read_text()) | dict(entropy=dict(title='label entropy', form='.2%'))
    (runs/'mixed-lora-seed0/measures.json').write_text(json.dumps(description))
    table = [line.strip('| ').split(' | ') for line in cli('report', runs, '--format', 'md')[1].splitlines()]
    rows = {(row[0], row[1]): dict(zip(table[0], row)) for row in table[2:]}
    assert rows['mixed-lora-seed0', 'raw']['label entropy'] == '12.50%' and rows['mixed-ema-seed0', 'average']['label entropy'] == '–'
    assert rows['mixed-lora-seed0', 'average']['final'] == '0.125'
    assert 'entropy' in cli('report', runs)[1]
    (runs/'mixed-lora-seed0/measures.json').write_text(json.dumps(dict(entropy=dict(title='x', form='.999f'))))
    assert f'skipped: {runs}/mixed-lora-seed0/measures.json: ' in ' '.join(cli('report', runs)[2].split())


@pytest.mark.parametrize('columns', [80, 40])
def test_the_report_shows_whole_numbers(columns, cli, runs):
    (runs/'mixed-lora-seed0').rename(runs/LONG)
    done = subprocess.run(command('report', runs), capture_output=True, text=True, env=os.environ | {'COLUMNS': str(columns)})
    wanted = cli('report', runs, '--format', 'md')[1].splitlines()[2:]
    for row in wanted:
        for cell in row.strip('| ').split(' | ')[1:]: assert cell in done.stdout, cell
    assert '…' not in done.stdout and max(map(len, done.stdout.splitlines())) <= max(columns, 72)
    assert LONG in ''.join(line.split(' ')[1] for line in done.stdout.splitlines() if len(line) > 1)   # folded, not cut


def test_a_run_that_diverged_is_called_so(cli, runs):
    (runs/'mixed-ema-seed0/diverged.json').write_text('{"step": 8, "reason": "loss/source is not finite"}')
    result = json.loads(cli('report', runs, '--format', 'json')[1])
    assert {row['name']: (row['diverged'], row['finished']) for row in result['runs']} == {
        'mixed-ema-seed0': (8, False), **{f'{name}-seed0': (None, True) for name in ('plain-none', 'mixed-none', 'mixed-lora')}}
    assert '| mixed-ema-seed0 (diverged at step 8) |' in cli('report', runs, '--format', 'md')[1]


def test_values_that_are_not_finite_are_no_json(cli, runs):
    "Neither in what is stored nor in what is printed, though an older run may hold them"
    with open(runs/'mixed-ema-seed0/metrics.jsonl', 'a') as file:
        for value in ('NaN', 'Infinity', 'null'): file.write(f'{{"step": 12, "name": "seen_miou", "value": {value}}}\n')
    def refuse(token): raise AssertionError(token)
    json.loads(cli('report', runs, '--format', 'json')[1], parse_constant=refuse)


def test_nothing_printed_is_markup(capsys, runs, cli):
    "Neither markup of rich nor colours of the terminal"
    from rich.table import Table

    from lora_da_bench.views.cli import console, show_progress
    table = Table('class', title='[b]title[/b]')
    for name in ('[sky]', 'sign[/stop] and :sun:'): table.add_row(name)
    console.print(table)
    show_progress([('run[/stop]', 1, 1)])
    said = capsys.readouterr().out
    for name in ('[sky]', 'sign[/stop] and :sun:', '[b]title[/b]', 'run[/stop]'): assert name in said, said
    (runs/'mixed-lora-seed0').rename(runs/'[red]x :sun:\x1b[31m-seed0')
    code, out, _ = cli('report', runs, '--format', 'md')
    assert code == 0 and r'[red]x :sun:\x1b[31m-seed0' in out and '\x1b' not in out
    code, out, _ = cli('report', runs)
    assert code == 0 and '[red]x' in out and ':sun:' in out and '\x1b' not in out


def test_evaluate_says_over_how_many_classes(cli, runs, monkeypatch):
    from lora_da_bench.data.labels import CITYSCAPES
    iou = np.where(np.arange(19) < 13, .5, np.nan)
    monkeypatch.setattr('lora_da_bench.views.cli.score_held_out', lambda run, root, how: (iou, CITYSCAPES.classes, 1))
    code, out, err = cli('evaluate', runs/'mixed-none-seed0')
    assert code == 0, err
    assert 'mIoU-19, over the 13 of 19 classes that are there' in ' '.join(out.split())
    def refuse(token): raise AssertionError(token)
    stored = json.loads((runs/'mixed-none-seed0/evaluation.json').read_text(), parse_constant=refuse)
    assert stored['means']['mIoU-19'] == .5 and stored['classes_present']['mIoU-19'] == 13 and stored['iou']['bicycle'] is None


def test_what_may_not_be_read_is_skipped_with_a_line(runs):
    "Permissions hold for root as well where it gives up the right to pass over them"
    (runs/'mixed-ema-seed0').chmod(0)
    (runs/'mixed-none-seed0/metrics.jsonl').chmod(0)
    as_anybody = [] if os.geteuid() else ['setpriv', '--inh-caps=-all', '--bounding-set=-dac_override,-dac_read_search']
    try: results = [subprocess.run([*as_anybody, *command('report', folder, '--format', 'md')], capture_output=True, text=True) for folder in (runs, runs/'mixed-ema-seed0')]
    except FileNotFoundError: pytest.skip('setpriv is missing')
    finally: (runs/'mixed-ema-seed0').chmod(0o755)
    whole, alone = results
    assert whole.returncode == 0 and whole.stdout.count('\n') == 4 and '| mixed-lora-seed0 |' in whole.stdout
    for name in ('mixed-ema-seed0/config.json', 'mixed-none-seed0/metrics.jsonl'): assert f'skipped: {runs}/{name}: cannot be read (Permission denied)' in whole.stderr
    assert (alone.returncode, alone.stderr) == (2, f'error: {runs}/mixed-ema-seed0/config.json: cannot be read (Permission denied)\n')


def test_foresight_names_the_runs_that_it_skips(cli, runs):
    (runs/'mixed-ema-seed0/config.json').write_text('{')
    code, out, err = cli('foresight', runs, '--format', 'json')
    assert code == 0 and {*json.loads(out)['trajectories']} >= {'runs/mixed-lora-seed0'} and 'runs/mixed-ema-seed0' not in out
    assert err.startswith('skipped: ') and 'mixed-ema-seed0' in err and len(err.splitlines()) == 1
