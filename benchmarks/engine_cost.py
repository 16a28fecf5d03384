"""What the engine costs for each row of a study: processes, jobs, CPU seconds of AiiDA, database and files.

    python benchmarks/engine_cost.py [--rows 2] [--json FILE]

A study of silicon with cheap rows (one epoch, a small supercell, no DFT) runs in this process, in a profile of its own
on SQLite; what is counted is what it adds beyond a study of one row. The CPU seconds are those of this process, which
does what a worker of the daemon does; those of the jobs are not among them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: As little as a row can be.
OVERRIDES = {
    'max_concurrent': 1,
    'material': {
        'max_concurrent': 1,
        'finetune': {'train': {'hyperparameters': {'epochs': 1}}},
        'phonons': {'settings': {'min_length_angstrom': 5.0, 'mesh': [3, 3, 3]}},
        'compare': {'settings': {'mesh': [3, 3, 3]}},
    },
}


def build(seeds: list[int], dataset: Any) -> Any:
    """Return a study of one row for each seed."""
    from aiida import orm
    from ase.build import bulk

    from aiida_equitrain.setup import defaults
    from aiida_equitrain.workflows.study.workchain import StudyWorkChain

    return StudyWorkChain.get_builder_from_protocol(
        {'Si': orm.StructureData(ase=bulk('Si', a=5.47))},
        defaults.default_foundation(),
        sizes=[2],
        seeds=seeds,
        datasets={'Si': dataset},
        dft=False,
        python_code=defaults.find_code(defaults.PYTHON_CODE),
        phonopy_code=defaults.find_code(defaults.PHONOPY_CODE),
        protocol='fast',
        overrides=OVERRIDES,
    )


def make_profile(folder: str) -> None:
    """Load a profile on SQLite with the codes and the potential of the set-up, which no other profile can see."""
    os.environ['AIIDA_PATH'] = folder
    from aiida import load_profile

    from aiida_equitrain.setup.profile import ensure_profile
    from aiida_equitrain.setup.setup import Options, run_setup

    ensure_profile('cost')
    load_profile('cost')
    missing = [item for item in run_setup(Options(offline=True)) if item.name != 'pw' and item.state == 'missing']
    assert not missing, missing


def size_of(folder: Path, database: bool) -> int:
    """Return the bytes of the database, or of the other files of a profile."""
    files = [file for file in folder.rglob('*') if file.is_file()]
    return sum(file.stat().st_size for file in files if ('sqlite' in file.name) == database)


def count() -> dict[str, int]:
    """Return how many processes and jobs there are."""
    from aiida import orm

    kinds = {'processes': orm.ProcessNode, 'jobs': orm.CalcJobNode, 'workchains': orm.WorkChainNode}
    return {name: orm.QueryBuilder().append(kind).count() for name, kind in kinds.items()}


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """Return what each row costs beyond the first."""
    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.launch.in_process import run_here
    from aiida_equitrain.science.frames import Frames

    frames = Frames.load(ROOT / 'tests' / 'fixtures' / 'si8_pbe.npz')
    dataset = DatasetData(frames, functional='PBE', code='Quantum ESPRESSO 6.7').store()

    def state() -> dict[str, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            'cpu_seconds': used.ru_utime + used.ru_stime,
            'database_mb': size_of(folder, True) / 1e6,
            'files_mb': size_of(folder, False) / 1e6,
            **count(),
        }

    def run(seeds: list[int]) -> dict[str, float]:
        before = state()
        node = run_here(build(seeds, dataset))
        assert node.is_finished_ok, node.exit_message
        return {name: value - before[name] for name, value in state().items()}

    one = run([1])
    more = run(list(range(2, rows + 2)))
    # The second study takes what is shared from the first.
    return {'rows': rows, 'first': one, 'each': {name: value / rows for name, value in more.items()}}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', type=int, default=2, help='rows of which the mean is taken')
    parser.add_argument('--json', type=Path, help='write the numbers there as well')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make_profile(name)
        found = measure(arguments.rows, Path(name))
    for what, value in found['each'].items():
        print(f'{what:>14}: {value:8.2f} a row')
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1), encoding='utf-8')


if __name__ == '__main__':
    sys.exit(main())
