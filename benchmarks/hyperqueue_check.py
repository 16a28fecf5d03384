"""Label frames by pw.x through aiida-hyperqueue, and see that what comes out is the same as without it.

    pip install aiida-hyperqueue hyperqueue
    python benchmarks/hyperqueue_check.py

PyPI's `hyperqueue` has HyperQueue's server and worker, but not its command `hq`, by which aiida-hyperqueue submits and
asks. So server and worker are real here, and a script stands for `hq`: it hands jobs to the server and lists them.
What that leaves out is the real command, its allocations in Slurm, memory as a resource, and cancelling.

Runs in the default profile, in this process, with the codes of `aiida-equitrain setup`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HQ = '''#!{python}
"""Stands for `hq`: submit and list by the bindings of Python."""
import json, os, pathlib, sys
sys.path.insert(0, {packages!r})
from hyperqueue import Client, Job
from hyperqueue.ffi.protocol import ResourceRequest

known, client = pathlib.Path({folder!r}, 'jobs.jsonl'), Client({server!r})
if sys.argv[1] == 'submit':
    script = sys.argv[-1]
    lines = [line[4:].strip() for line in open(script) if line.startswith('#HQ ')]
    options = dict(line[2:].replace('"', '').split('=', 1) for line in lines if '=' in line)
    job = Job(name=options['name'], default_workdir=os.getcwd())
    place = lambda name: str(pathlib.Path(os.getcwd(), options[name]))
    job.program(['bash', script], cwd=os.getcwd(), stdout=place('stdout'), stderr=place('stderr'),
                resources=ResourceRequest(cpus=int(options['cpus'])))
    submitted = client.submit(job)
    with known.open('a') as file:
        file.write(json.dumps({{'id': submitted.id, 'name': options['name']}}) + '\\n')
    print(json.dumps({{'id': submitted.id}}))
elif sys.argv[1:3] == ['job', 'list']:
    jobs = {{job['id']: job for job in map(json.loads, known.open())}}

    def tell(states):
        # Which of them still wait is not told.
        left = [number for number, state in states.items() if not state['completed']]
        rows = [{{**jobs[number], 'task_count': 1, 'task_stats': {{'running': 1}}}} for number in left]
        print(json.dumps(rows), flush=True)
        os._exit(0)

    client.connection.wait_for_jobs(list(jobs), tell)
    print('[]')
else:
    print('{{}}')
'''


def frames() -> Any:
    """Return two frames of eight silicon atoms."""
    from ase.build import bulk

    from aiida_equitrain.calculations.functions.label import trajectory_of

    found = []
    for seed in (1, 2):
        atoms = bulk('Si', a=5.47, cubic=True)
        atoms.positions += np.random.default_rng(seed).normal(0, 0.03, (8, 3))
        found.append(atoms)
    return trajectory_of(found)


def label(pw: Any, options: dict[str, Any]) -> Any:
    """Return the job that has labelled the frames."""
    from aiida import orm

    from aiida_equitrain.launch.in_process import run_here
    from aiida_equitrain.setup import defaults
    from aiida_equitrain.workflows.label.workchain import LabelWorkChain

    cutoffs = {'SYSTEM': {'ecutwfc': 16.0, 'ecutrho': 64.0}}
    builder = LabelWorkChain.get_builder_from_protocol(
        structure=None,
        frames=frames(),
        foundation=defaults.default_foundation(),
        python_code=orm.load_code('python@localhost'),
        pw_code=pw,
        pseudo_family=defaults.default_family().label,
        protocol='fast',
        overrides={
            'min_frames': 1,
            'pw': {'kpoints_distance': 1.0, 'pw': {'parameters': cutoffs}},
            'dft': options,
        },
    )
    start = time.monotonic()
    node = run_here(builder)
    assert node.is_finished_ok, node.exit_message
    print(f'{pw.full_label}: {time.monotonic() - start:.0f} s', flush=True)
    return node


def main() -> int:
    """Label with and without HyperQueue, and compare."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    import hyperqueue
    from aiida import load_profile, orm
    from aiida.engine.daemon.client import get_daemon_client
    from hyperqueue.cluster import LocalCluster, WorkerConfig

    from aiida_equitrain.setup.setup import PREPEND_TEXT

    load_profile()
    assert not get_daemon_client().is_daemon_running, 'the daemon would not know where `hq` is: stop it'
    here = orm.load_code('pw@localhost')
    with tempfile.TemporaryDirectory(prefix='hyperqueue') as name:
        folder = Path(name)
        program = folder / 'bin' / 'hq'
        program.parent.mkdir()
        os.environ['PATH'] = f'{program.parent}:{os.environ["PATH"]}'
        with LocalCluster(str(folder / 'server'), WorkerConfig(cores=2)) as cluster:
            places = {
                'python': sys.executable,
                'packages': str(Path(hyperqueue.__file__).parents[1]),
                'folder': name,
                'server': cluster.cluster.server_dir,
            }
            program.write_text(HQ.format(**places), encoding='utf-8')
            program.chmod(0o755)
            computer = orm.Computer(f'hq-{folder.name}', 'localhost', '', 'core.local', 'hyperqueue', f'{folder}/jobs')
            computer.store().configure(safe_interval=0.0, use_login_shell=False)
            computer.set_minimum_job_poll_interval(1)
            pw = orm.InstalledCode(
                label='pw',
                computer=computer,
                filepath_executable=str(here.filepath_executable),
                default_calc_job_plugin='quantumespresso.pw',
                prepend_text=PREPEND_TEXT,
                with_mpi=False,
            ).store()
            through = label(pw, {'resources': {'num_cpus': 1}, 'max_wallclock_seconds': 600})
        directly = label(here, {})
    one, other = (node.outputs.dataset.get_frames() for node in (through, directly))
    assert len(one) == len(other) == 2
    energies, forces = (
        max(float(np.abs(getattr(a, what) - getattr(b, what)).max()) for a, b in zip(one, other, strict=True))
        for what in ('energy', 'forces')
    )
    print(f'largest difference: energies {energies:.1e} eV, forces {forces:.1e} eV/Å')
    jobs = [job for job in through.called_descendants if job.process_label == 'PwCalculation']
    print(f'{len(jobs)} jobs of pw.x through HyperQueue, ids {sorted(job.get_job_id() for job in jobs)}')
    return int(len(jobs) != 2 or energies > 1e-8 or forces > 1e-6)


if __name__ == '__main__':
    sys.exit(main())
