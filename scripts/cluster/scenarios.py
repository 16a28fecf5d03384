"""What runs on the cluster of ``cluster_test.sh``: a material, a study, and one fault after the other.

    python scripts/cluster/scenarios.py [NAME ...]     all, or these; `list` names them

Each scenario prints one line. After a fault the result has to equal that of an undisturbed run, or the job says why it
has none. The environment is that of ``cluster_test.sh`` (``CLUSTER_BASE``, ``SLURM_CONF``, ``AIIDA_PATH``).
"""

from __future__ import annotations

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
    failed = 0
    for name in names:
        start = time.monotonic()
        try:
            state, text = 'ok', SCENARIOS[name]()
        except Exception:
            failed += 1
            state, text = 'FAILED', traceback.format_exc()
        print(f'  {name} ... {state} ({time.monotonic() - start:.0f} s): {text}', flush=True)
    return failed


if __name__ == '__main__':
    sys.exit(main())
