"""What runs on the cluster of ``cluster_test.sh``: a material, a study, and one fault after the other.

    python scripts/cluster/scenarios.py [NAME ...]     all, or these; `list` names them

Each scenario prints one line. After a fault the result has to equal that of an undisturbed run, or the job says why it
has none. The environment is that of ``cluster_test.sh`` (``CLUSTER_BASE``, ``SLURM_CONF``, ``AIIDA_PATH``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SILICON = ROOT / 'aiida_equitrain' / 'resources' / 'structures' / 'Si.cif'
COMPUTER = 'cluster'
CODES = [item for name in ('python', 'phonopy') for item in (f'--{name}', f'{name}@{COMPUTER}')]
PW = ['--pw', f'pw@{COMPUTER}']
#: Longest time of a scenario (s); a cluster on two busy cores is slow.
PATIENCE = 1800
SCENARIOS: dict[str, Callable[[], str]] = {}


def scenario(function: Callable[[], str]) -> Callable[[], str]:
    """Add a scenario under its name."""
    SCENARIOS[function.__name__] = function
    return function


def run(*command: str, check: bool = True) -> str:
    """Run a command, and return what it prints.

    :raises RuntimeError: with the end of that, if it fails.
    """
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    text = result.stdout + result.stderr
    if check and result.returncode:
        raise RuntimeError(f'`{" ".join(command)}` ended with {result.returncode}: {text[-2000:]}')
    return text


def wait_for(what: str, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return what a condition returns once it is true.

    :raises TimeoutError: if it does not become true.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(1)
    raise TimeoutError(f'{what}: not within {seconds:.0f} s')


@scenario
def material() -> str:
    """Run the main job with real pw.x, by the commands of docs/howto/cluster.md."""
    report = Path(os.environ['CLUSTER_BASE'], 'home', 'report')
    run('aiida-equitrain', 'setup', '--check', '--computer', COMPUTER)
    text = run(
        'aiida-equitrain', 'launch', 'material', str(SILICON), '--protocol', 'fast', '--dft', *CODES, *PW,
        '--overrides', str(ROOT / 'examples' / 'tiny.yaml'), '--report', str(report),
    )  # fmt: skip
    assert (report / 'report.html').is_file(), text
    return next(line for line in text.splitlines() if line.startswith('Submitted')).removeprefix('Submitted ')


@scenario
def study() -> str:
    """Run a study of four rows."""
    from aiida import orm

    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.query import study_table
    from aiida_equitrain.science.frames import Frames

    frames = Frames.load(ROOT / 'tests' / 'fixtures' / 'si8_pbe.npz')
    dataset = DatasetData(frames, functional='PBE', code='Quantum ESPRESSO 6.7').store()
    overrides = Path(os.environ['CLUSTER_BASE'], 'home', 'study.yaml')
    overrides.write_text(
        'material:\n'
        '  finetune: {train: {hyperparameters: {epochs: 2}}}\n'
        '  phonons: {settings: {min_length_angstrom: 7.0}}\n'
        '  compare: {settings: {mesh: [5, 5, 5]}}\n',
        encoding='utf-8',
    )
    text = run(
        'aiida-equitrain', 'launch', 'study', str(SILICON), '--dataset', f'Si={dataset.pk}', '--no-dft',
        '--strategies', 'l2-tsp,lora', '--sizes', '2,4', '--seeds', '1', '--protocol', 'fast', *CODES,
        '--overrides', str(overrides), '--max-concurrent', '4',
    )  # fmt: skip
    node = orm.QueryBuilder().append(orm.WorkChainNode, filters={'attributes.process_label': 'StudyWorkChain'})
    done = node.order_by({orm.WorkChainNode: {'id': 'desc'}}).first(flat=True)
    table = study_table(done)
    assert list(table['state']) == ['done'] * 4, text
    return f'{len(table)} rows done'


@scenario
def postprocess() -> str:
    """Ask for account, partition and time, and look at the phonons on this machine in place of the queue."""
    from aiida import orm

    run('aiida-equitrain', 'setup', '--offline')
    pw = str(orm.load_code(f'pw@{COMPUTER}').filepath_executable)
    run(
        'verdi', 'code', 'create', 'core.code.installed', '-n', '-L', f'pw-mpi-{os.getpid()}', '-Y', COMPUTER,
        '-X', pw, '-P', 'quantumespresso.pw', '--with-mpi',
    )  # fmt: skip
    settings = Path(os.environ['CLUSTER_BASE'], 'home', 'phonons.yaml')
    settings.write_text('settings: {min_length_angstrom: 7.0, mesh: [5, 5, 5]}\n', encoding='utf-8')
    text = run(
        'aiida-equitrain', 'launch', 'phonons', str(SILICON), '--protocol', 'fast', *CODES, '--account', 'mine',
        '--queue', 'main', '--walltime', '1:00:00', '--postprocess', 'python@localhost', '--overrides', str(settings),
    )  # fmt: skip
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters={'attributes.process_label': 'PhononsWorkChain'})
    node = query.order_by({orm.WorkChainNode: {'id': 'desc'}}).first(flat=True)
    assert node.is_finished_ok, text
    asked = {job.process_label: (job.computer.label, job.get_option('account')) for job in jobs_of(node)}
    assert asked['ForcesCalculation'] == (COMPUTER, 'mine'), asked
    assert asked['HarmonicCalculation'] == ('localhost', None), asked
    return ', '.join(f'{name} on {place}' for name, (place, _) in asked.items())


@scenario
def follow() -> str:
    """See where a training runs and how far it is, from the database alone."""
    from aiida_equitrain.launch.progress import ProgressReader

    node = start(build_training(epochs=200))
    reader = ProgressReader(node, by_daemon=True)

    def note() -> str | None:
        assert not node.is_terminated, node.exit_message
        text = reader.read().stages[0].note
        return text if 'train ' in text and 'at work on' in text else None

    text = str(wait_for('its progress', note))
    kill(node)
    return text


@scenario
def queue_that_never_runs() -> str:
    """Ask for more time than the partition gives: who follows the job is told that it will not run, and what helps."""
    from aiida_equitrain.launch.progress import ProgressReader

    node = start(build_training(max_wallclock_seconds=10 * 3600))
    reader = ProgressReader(node, by_daemon=True)

    def told() -> str | None:
        sentences = reader.read().trouble.sentences
        return next((text for text in sentences if 'will not run (PartitionTimeLimit)' in text), None)

    text = str(wait_for('what is wrong', told))
    kill(node)
    return text


def kill(node: Any) -> None:
    """End a job that has shown what it had to."""
    run('verdi', 'process', 'kill', str(node.pk))
    finished(node)


def services(command: str) -> None:
    """Run functions of services.sh, such as ``end slurmctld``."""
    base = os.environ['CLUSTER_BASE']
    text = f'ROOT={ROOT} BASE={base} CONFIG={ROOT}/scripts/cluster; fail() {{ echo "$*" >&2; exit 1; }}'
    run('bash', '-ec', f'{text}; source {ROOT}/scripts/cluster/services.sh; {command}')


def build_training(epochs: int = 30, **options: Any) -> Any:
    """Return the builder of a small training."""
    from aiida import orm

    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.science.frames import Frames
    from aiida_equitrain.setup import defaults
    from aiida_equitrain.workflows.finetune import FinetuneWorkChain

    label = 'Si8 of the scenarios'
    dataset = orm.QueryBuilder().append(DatasetData, filters={'label': label}).first(flat=True)
    if dataset is None:
        frames = Frames.load(ROOT / 'tests' / 'fixtures' / 'si8_pbe.npz')
        dataset = DatasetData(frames, functional='PBE', code='Quantum ESPRESSO 6.7')
        dataset.label = label
        dataset.store()
    return FinetuneWorkChain.get_builder_from_protocol(
        foundation=defaults.default_foundation(),
        dataset=dataset,
        python_code=orm.load_code(f'python@{COMPUTER}'),
        protocol='fast',
        overrides={'train': {'hyperparameters': {'epochs': epochs, 'patience': epochs}}, 'options': options},
    )


def build_frames(**options: Any) -> Any:
    """Return the builder of two frames of eight silicon atoms for pw.x."""
    import numpy as np
    from aiida import orm
    from ase.build import bulk

    from aiida_equitrain.calculations.functions.label import trajectory_of
    from aiida_equitrain.setup import defaults
    from aiida_equitrain.workflows.label.workchain import LabelWorkChain

    frames = []
    for seed in (1, 2):
        atoms = bulk('Si', a=5.47, cubic=True)
        atoms.positions += np.random.default_rng(seed).normal(0, 0.03, (8, 3))
        frames.append(atoms)
    cutoffs = {'SYSTEM': {'ecutwfc': 16.0, 'ecutrho': 64.0}}
    return LabelWorkChain.get_builder_from_protocol(
        structure=None,
        frames=trajectory_of(frames),
        foundation=defaults.default_foundation(),
        python_code=orm.load_code(f'python@{COMPUTER}'),
        pw_code=orm.load_code(f'pw@{COMPUTER}'),
        pseudo_family=defaults.default_family().label,
        protocol='fast',
        overrides={
            'min_frames': 1,
            'pw': {'kpoints_distance': 1.0, 'pw': {'parameters': cutoffs}},
            'options': options,
        },
    )


def start(builder: Any) -> Any:
    """Hand a job to the daemon."""
    from aiida.engine import submit

    return submit(builder)


def finished(node: Any) -> Any:
    """Wait for a job, and return it."""
    wait_for(f'{node.process_label} {node.pk}', lambda: node.is_terminated)
    return node


def jobs_of(node: Any) -> list[Any]:
    """Return the jobs of a WorkChain, the first first."""
    from aiida import orm

    return sorted((item for item in node.called_descendants if isinstance(item, orm.CalcJobNode)), key=lambda j: j.pk)


def running(node: Any, number: int = 1, trains: bool = False) -> str:
    """Wait until so many jobs of a WorkChain were started and the last runs; return its id in Slurm.

    :param trains: whether it has to have trained for an epoch: before that it has nothing to go on from.
    """

    def look() -> str | None:
        jobs = jobs_of(node)
        if node.is_terminated:
            raise RuntimeError(f'{node.process_label} {node.pk} ended: {node.exit_message}')
        if len(jobs) < number or (job_id := jobs[-1].get_job_id()) is None:
            return None
        if run('squeue', '-h', '-o', '%t', '-j', job_id, check=False).strip() != 'R':
            return None
        file = Path(jobs[-1].get_remote_workdir() or '/', 'progress.json')
        if trains and not (file.is_file() and has_trained(json.loads(file.read_text(encoding='utf-8')))):
            return None
        return str(job_id)

    return str(wait_for('a job that runs', look))


def has_trained(progress: dict[str, Any]) -> bool:
    """Return whether a training has an epoch behind it."""
    return progress['stage'] == 'train' and progress['done'] > 0


def undisturbed(name: str, build: Callable[[], Any]) -> Any:
    """Return a job that nothing happened to, run once for all scenarios of this cluster."""
    from aiida import orm

    label = f'undisturbed {name}'
    node = orm.QueryBuilder().append(orm.WorkChainNode, filters={'label': label}).first(flat=True)
    if node is None:
        node = start(build())
        node.label = label
    assert finished(node).is_finished_ok, node.exit_message
    return node


def same_training(node: Any) -> str:
    """See that a training ended as one that was not disturbed; return what was reported."""
    import numpy as np

    whole = undisturbed('training', build_training)
    assert finished(node).is_finished_ok, node.exit_message
    for name in ('energies_finetuned', 'forces_finetuned', 'energies', 'forces'):
        if name in whole.outputs.predictions.get_arraynames():
            one, other = (item.outputs.predictions.get_array(name) for item in (whole, node))
            assert np.allclose(one, other, atol=1e-6), f'{name}: {np.abs(one - other).max()}'
    return last_report(node)


def same_frames(node: Any) -> str:
    """See that frames are labelled as those that were not disturbed."""
    import numpy as np

    whole = undisturbed('frames', build_frames)
    assert finished(node).is_finished_ok, node.exit_message
    one, other = (item.outputs.dataset.get_frames() for item in (whole, node))
    assert len(one) == len(other) == 2
    assert all(np.allclose(a.forces, b.forces, atol=1e-8) for a, b in zip(one, other, strict=True))
    return last_report(node)


def last_report(node: Any) -> str:
    """Return what a job said of what happened to its jobs."""
    from aiida.orm import Log

    words = ('once more', 'continuing', 'dropped', 'starting again')
    lines = [log.message for log in Log.collection.find({'dbnode_id': node.pk})]
    found = [line.partition(': ')[2] or line for line in lines if any(word in line for word in words)]
    return '; '.join(found)[-300:] or 'nothing had to be done'


def stall_once(name: str, seconds: int) -> str:
    """Return commands that let the first job of a name stand still."""
    flag = Path(os.environ['CLUSTER_BASE'], 'scratch', f'stalled-{name}-{os.getpid()}')
    return f'mkdir {flag} 2>/dev/null && sleep {seconds}'


@scenario
def time_limit_training() -> str:
    """Let Slurm's time limit end a training, which goes on from its checkpoint."""
    node = start(build_training())
    job = running(node, trains=True)
    # It stands still, as it would be done before the minute that is the shortest limit.
    signal = ['-u', os.environ['CLUSTER_USER'], '-f', 'equitrain_job.drivers.training']
    run('pkill', '-STOP', *signal)
    run('scontrol', 'update', f'jobid={job}', 'TimeLimit=1')
    words = Path(jobs_of(node)[0].get_remote_workdir(), '_scheduler-stderr.txt')
    wait_for('the time limit', lambda: 'TIME LIMIT' in words.read_text(encoding='utf-8'))
    run('pkill', '-CONT', *signal)
    wait_for('a second job', lambda: len(jobs_of(node)) > 1 or node.is_terminated)
    assert jobs_of(node)[0].exit_status == 400, jobs_of(node)[0].exit_message
    return same_training(node)


@scenario
def time_limit_pw() -> str:
    """Let Slurm's time limit end a pw.x that stands still; it is tried once more."""
    options = {'max_wallclock_seconds': 120, 'prepend_text': stall_once('time', 300)}
    return same_frames(start(build_frames(**options)))


@scenario
def memory_limit_training() -> str:
    """Limit the memory of a training: it takes fewer frames at once, and says so in the end if that does not help."""
    node = finished(start(build_training(max_memory_kb=300_000)))
    assert node.exit_status == 411, node.exit_message
    return str(node.exit_message)


@scenario
def memory_limit_pw() -> str:
    """Limit the memory of pw.x: it gets twice as much, once."""
    node = finished(start(build_frames(max_memory_kb=24_000)))
    if node.is_finished_ok:
        return same_frames(node)
    assert 'out of memory' in str(node.outputs.dropped.get_dict()), node.outputs.dropped.get_dict()
    return str(node.exit_message)


@scenario
def scancel_training() -> str:
    """Cancel a training: it stays so, and says that; its checkpoint is kept."""
    node = start(build_training())
    run('scancel', running(node, trains=True))
    assert finished(node).exit_status == 413, node.exit_message
    return f'{node.exit_message} checkpoint: {"checkpoint" in node.outputs}'


@scenario
def scancel_pw() -> str:
    """Cancel a frame: it is dropped, and not tried again."""
    node = start(build_frames(prepend_text='sleep 45'))
    run('scancel', running(node))
    finished(node)
    dropped = node.outputs.dropped.get_dict()
    assert dropped['n_dropped'] == 1, dropped
    assert 'cancelled' in str(dropped), dropped
    assert len(jobs_of(node)) == 2
    return last_report(node)


@scenario
def node_down() -> str:
    """Let the node fail below a training, which goes on once it is back."""
    node = start(build_training())
    running(node, trains=True)
    run('scontrol', 'update', 'nodename=localhost', 'state=down', 'reason=test')
    wait_for('the end of the job', lambda: jobs_of(node)[0].is_terminated)
    run('scontrol', 'update', 'nodename=localhost', 'state=resume', check=False)  # it may be back by itself
    assert jobs_of(node)[0].exit_status == 331, jobs_of(node)[0].exit_message
    return same_training(node)


def outage(minute: Callable[[], None]) -> str:
    """Let something happen below a training and two frames; what comes out is the same.

    :param minute: ends a service, and starts it again.
    """
    training, frames = start(build_training()), start(build_frames())
    running(training)
    minute()
    return f'{same_training(training)}; {same_frames(frames)}'


@scenario
def slurmctld_down() -> str:
    """Stop Slurm's controller for a minute: nobody can submit a job, or ask for one."""
    return outage(lambda: services('end slurmctld; sleep 60; start_slurmctld'))


@scenario
def sshd_down() -> str:
    """Stop sshd for a minute, and end the connections that there are."""
    return outage(lambda: services('end_with_children sshd; sleep 60; start_sshd'))


@scenario
def daemon_killed() -> str:
    """Kill the daemon of AiiDA, and start it again."""
    return outage(kill_daemon)


def kill_daemon() -> None:
    """Kill the daemon and its workers, none of which can say goodbye, and start others."""
    from aiida.engine.daemon.client import get_daemon_client

    pid = get_daemon_client().get_daemon_pid()
    children = run('pgrep', '-P', str(pid), check=False).split()
    run('kill', '-9', str(pid), *children, check=False)
    time.sleep(5)
    run('verdi', 'daemon', 'start', '2')


def main() -> int:
    """Run the scenarios that are named, or all; return how many failed."""
    names = sys.argv[1:] or list(SCENARIOS)
    if names == ['list']:
        for name, function in SCENARIOS.items():
            print(f'{name:24} {(function.__doc__ or "").strip().splitlines()[0]}')
        return 0
    if unknown := [name for name in names if name not in SCENARIOS]:
        print(f'there is no scenario `{unknown[0]}`: choose of {", ".join(SCENARIOS)}', file=sys.stderr)
        return 2
    from aiida import load_profile

    load_profile()
    failed, first = 0, time.monotonic()
    for name in names:
        start = time.monotonic()
        try:
            state, text = 'ok', SCENARIOS[name]()
        except Exception:
            failed += 1
            state, text = 'FAILED', traceback.format_exc()
        print(f'  {name} ... {state} ({time.monotonic() - start:.0f} s): {text}', flush=True)
    print(f'  {len(names) - failed} of {len(names)} as they should be, {time.monotonic() - first:.0f} s', flush=True)
    return failed


if __name__ == '__main__':
    sys.exit(main())
