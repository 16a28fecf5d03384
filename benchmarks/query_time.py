"""How long it takes to list potentials, against how many there are.

    python benchmarks/query_time.py [--numbers 100 1000 10000] [--repeat 3]

Fills a temporary profile with so many trainings (a ``TrainCalculation`` with its inputs, an adapter and a summary) and
main jobs that compared them with DFT, and asks for them: ``aiida_equitrain.query.potentials()``, and the command
``aiida-equitrain list potentials`` in a process of its own, start included (it
shows the newest hundred). Nodes are written in bulk, without files,
which the queries do not read. The last column is the time per potential, as a ratio to that of the smallest number.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TRAIN, MATERIAL = 'aiida.calculations:equitrain.train', 'aiida.workflows:equitrain.material'


def node(
    user: int, node_type: str, process_type: str | None = None, label: str = '', **attributes: Any
) -> dict[str, Any]:
    """Return a row of the table of nodes."""
    now = datetime.now(UTC)
    return {
        'uuid': str(uuid.uuid4()), 'node_type': node_type, 'process_type': process_type, 'label': label,
        'description': '', 'ctime': now, 'mtime': now, 'attributes': attributes, 'extras': {},
        'repository_metadata': {}, 'dbcomputer_id': None, 'user_id': user,
    }  # fmt: skip


def fill(number: int) -> None:
    """Store a foundation, a dataset, and so many trainings with their main jobs."""
    from aiida.manage import get_manager
    from aiida.orm import User
    from aiida.orm.entities import EntityTypes

    backend, user = get_manager().get_profile_storage(), User.collection.get_default().pk
    potential = 'data.equitrain.potential.PotentialData.'
    shared = [
        node(user, potential, kind='full', family='mace', elements=['Si'], n_bytes=10**7, card={'name': 'foundation'}),
        node(user, 'data.equitrain.dataset.DatasetData.', formulas=['Si'], n_frames=10),
        node(user, 'data.core.str.Str.', value='l2-tsp'),
        node(user, 'data.core.int.Int.', value=1),
    ]
    errors = {when: {'valid': {'forces_mae_mev_per_angstrom': 5.0}} for when in ('before', 'after')}
    comparison = {'candidates': {side: {'phonon_mae_thz': 0.1} for side in ('finetuned', 'foundation')}}
    with backend.transaction():
        base = backend.bulk_insert(EntityTypes.NODE, shared)
        kinds = (
            lambda: node(user, 'process.calculation.calcjob.CalcJobNode.', TRAIN),
            lambda: node(user, potential, kind='adapter', family='mace', elements=['Si'], n_bytes=10**5, card={}),
            lambda: node(user, 'data.core.dict.Dict.', errors=errors, forgetting={'change_mev_per_angstrom': 1.0}),
            lambda: node(user, 'process.workflow.workchain.WorkChainNode.', MATERIAL),
            lambda: node(user, 'data.core.dict.Dict.', **comparison),
        )
        jobs, potentials, summaries, works, comparisons = (
            backend.bulk_insert(EntityTypes.NODE, [make() for _ in range(number)]) for make in kinds
        )
        links = []
        for row in range(number):
            names = ('foundation', 'dataset', 'strategy', 'seed')
            links += [(source, jobs[row], 'input_calc', name) for source, name in zip(base, names, strict=True)]
            links += [
                (jobs[row], potentials[row], 'create', 'potential'),
                (jobs[row], summaries[row], 'create', 'summary'),
            ]
            links += [(works[row], potentials[row], 'return', 'potential'),
                      (works[row], comparisons[row], 'return', 'comparison')]  # fmt: skip
        keys = ('input_id', 'output_id', 'type', 'label')
        backend.bulk_insert(EntityTypes.LINK, [dict(zip(keys, link, strict=True)) for link in links])


def measure(number: int, repeat: int) -> tuple[float, float]:
    """Return the best times of the function and of the command, in seconds."""
    from aiida_equitrain.query import potentials

    times: dict[str, list[float]] = {'function': [], 'command': []}
    program = str(Path(sys.executable).with_name('aiida-equitrain'))
    command = [program, '-p', 'bench', 'list', 'potentials']
    for _ in range(repeat):
        start = time.perf_counter()
        table = potentials()
        times['function'].append(time.perf_counter() - start)
        assert len(table) == number + 1
        assert table['phonon_mae_thz'].notna().sum() == number
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times['command'].append(time.perf_counter() - start)
    return min(times['function']), min(times['command'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--numbers', type=int, nargs='+', default=[100, 1000, 10000])
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--one', type=int, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is None:
        print(f'{"potentials":>12}{"function, s":>14}{"command, s":>14}{"per potential, ratio":>24}')
        first: float | None = None
        for number in args.numbers:
            with tempfile.TemporaryDirectory() as folder:
                words = [sys.executable, __file__, '--one', str(number), '--repeat', str(args.repeat)]
                environment = {**os.environ, 'AIIDA_PATH': folder}
                output = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
            function, command = (float(text) for text in output.split()[-2:])
            first = first or function / number
            print(f'{number:>12}{function:>14.3f}{command:>14.3f}{function / number / first:>24.3f}', flush=True)
        return
    from aiida import load_profile
    from aiida.manage import get_manager

    words = ['verdi', 'profile', 'setup', 'core.sqlite_dos', '-n', '--profile-name', 'bench', '--email', 'a@b.c']
    subprocess.run([str(Path(sys.executable).with_name('verdi')), *words[1:]], check=True, stdout=subprocess.DEVNULL)
    load_profile('bench')
    fill(args.one)
    # Closed as after any other command: SQLite writes its log into the database then.
    get_manager().reset_profile_storage()
    print(*measure(args.one, args.repeat))


if __name__ == '__main__':
    main()
