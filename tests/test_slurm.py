"A study on a real Slurm of one node, started on the loopback address by `slurm.sh`; skipped where it can't be had"

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from at_hand import free_port
from test_bad_input import is_one_line

FEW = dict(size=[48, 64], crop=[32, 48], batch_size=2, source_steps=2, steps=30, eval_every=5, seen=2, probes=1, data=dict(frames=[8, 4, 2]))
OUT_OF_REACH = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
MessageTimeout=2
AuthType=auth/munge
NodeName={host} NodeAddr=127.0.0.1
PartitionName=test Nodes=ALL Default=YES
"""
os.environ['PATH'] += ':/usr/sbin'


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    "What a process needs in its environment to reach the cluster"
    if missing := [name for name in ('munged', 'slurmctld', 'slurmd', 'sbatch') if not shutil.which(name)]:
        pytest.skip(f"no Slurm here, {', '.join(missing)} not found: apt-get install slurm-wlm")
    if os.geteuid(): pytest.skip('only root can start the daemons of Slurm')
    folder = tmp_path_factory.mktemp('slurm')
    script = subprocess.Popen([Path(__file__).parent/'slurm.sh', folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if script.stdout.readline() != 'ready\n': pytest.fail(''.join(p.read_text()[-500:] for p in folder.glob('*.log')))
    yield os.environ | dict(SLURM_CONF=str(folder/'slurm.conf'), OMP_NUM_THREADS='1')
    script.terminate()
    script.wait()


@pytest.fixture
def study(tmp_path):
    path = tmp_path/'study.json'
    path.write_text(json.dumps(dict(preset='streetscenes', settings=FEW, seeds=1, arms=[{'stabilizer': 'ema'}])))
    return path


def job_of(run: str, env) -> str | None:
    "The number of a job that runs, by its name"
    lines = subprocess.run(['squeue', '-h', '-t', 'R', '-o', '%i %j'], env=env, capture_output=True, text=True).stdout.splitlines()
    return next((line.split()[0] for line in lines if line.split()[1] == run), None)


def test_a_study_whose_job_is_preempted(slurm, cli, second, study, tmp_path):
    "The arm's job is taken from its node in the middle, queued again, and ends with the weights of a run on this machine"
    waiting = second('study', study, '--out', tmp_path/'out', '--executor', 'slurm', env=slurm)
    run, until = tmp_path/'out/mixed-ema-seed0', time.monotonic() + 120
    while not (run/'resume/state.pt').exists() and time.monotonic() < until: time.sleep(.05)
    number = job_of('mixed-ema-seed0', slurm)
    assert subprocess.run(['scontrol', 'requeue', number], env=slurm).returncode == 0
    in_the_middle = not (run/'model.safetensors').exists()
    code, out, err = waiting.wait(240)
    assert code == 0 and in_the_middle and 'mixed: ' in out, err
    assert cli('study', study, '--out', tmp_path/'here')[0] == 0
    for name in ('source-seed0', 'mixed-ema-seed0'):
        assert (tmp_path/'out'/name/'model.safetensors').read_bytes() == (tmp_path/'here'/name/'model.safetensors').read_bytes()


def test_slurm_that_refuses(slurm, second, study, tmp_path):
    done = second('study', study, '--out', tmp_path/'out', '--executor', 'slurm', '--slurm', 'partition=gold', env=slurm).wait()
    is_one_line(done, '--executor slurm: ', 'Invalid partition')


def test_a_study_whose_source_model_fails(slurm, second, study, tmp_path):
    "The arm that waits for it is given up, here and by the cluster"
    fields = json.loads(study.read_text())
    study.write_text(json.dumps(fields | dict(settings=FEW | dict(weights='absent.pth'))))
    code, out, err = second('study', study, '--out', tmp_path/'out', '--executor', 'slurm', env=slurm).wait(240)
    assert code == 2 and 'mixed-ema-seed0: its source model source-seed0 failed' in err, err
    queued, until = lambda: subprocess.run(['squeue', '-h'], env=slurm, capture_output=True, text=True).stdout, time.monotonic() + 60
    while queued() and time.monotonic() < until: time.sleep(.5)
    assert not queued()


def test_a_cluster_out_of_reach(second, study, tmp_path):
    "Nobody listens where the controller should be"
    if not shutil.which('sbatch'): pytest.skip('no Slurm here, sbatch not found: apt-get install slurm-wlm')
    (tmp_path/'slurm.conf').write_text(OUT_OF_REACH.format(host=socket.gethostname().split('.')[0], port=free_port()))
    env = os.environ | dict(SLURM_CONF=str(tmp_path/'slurm.conf'))
    is_one_line(second('study', study, '--out', tmp_path/'out', '--executor', 'slurm', env=env).wait(120),
                '--executor slurm: ', 'Unable to contact slurm controller', 'expected a cluster that sbatch reaches from here')


def test_a_machine_without_slurm(second, study, tmp_path):
    done = second('study', study, '--out', tmp_path/'out', '--executor', 'slurm', env=dict(PATH=str(tmp_path))).wait()
    is_one_line(done, '--executor slurm: ', 'expected a cluster that sbatch reaches from here')
