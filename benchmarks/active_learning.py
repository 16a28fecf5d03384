"""Frames on which a committee disagrees against frames drawn at random, at equal numbers of labels.

    python benchmarks/active_learning.py [--materials Si NaCl] [--seeds 1 2] [--output rows.jsonl] [--markdown]

Both start from the same pool of published DFT frames and train with the same hyperparameters; both are judged by the
phonons of DFT over the Brillouin zone. ``committee``: ``equitrain.active_learning``, two frames to start with, two more
in each round, the first member of each round is judged. ``random``: ``equitrain.study`` with as many training frames.
The selection of the publication (equally spaced in energy along relaxations) has no meaning for these pools of rattled
supercells, which were not relaxed. Labels are counted, not the work of the committee, which is a multiple.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RATTLED = ROOT.parent / 'shared' / 'reference' / 'rattled'
FILES = {'Si': 'Si-111-222-rd.tar.xz', 'NaCl': 'NaCl-rd', 'AlN': 'AlN-rd_phonopy_params_mp-661.yaml.xz'}


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--materials', nargs='+', default=['Si', 'NaCl'], choices=sorted(FILES))
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2])
    parser.add_argument('--pool', type=int, default=10, help='frames of the pool, two of which validate')
    parser.add_argument('--sizes', nargs='+', type=int, default=[2, 4, 6], help='training frames, in equal steps')
    parser.add_argument('--epochs', type=int, default=60)
    parser.add_argument('--output', type=Path, default=Path('active_learning.jsonl'))
    parser.add_argument('--markdown', action='store_true', help='print the table of the rows that are there, and end')
    parser.add_argument('--one', nargs=2, default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


def compute(args: argparse.Namespace, material: str, seed: int) -> list[dict[str, Any]]:
    """Run both in the loaded profile, and return a row for each and each size."""
    from aiida import orm

    from aiida_equitrain.query import study_table
    from aiida_equitrain.tools import defaults, launch
    from aiida_equitrain.tools.data_import import import_data
    from aiida_equitrain.workflows.active_learning import ActiveLearningWorkChain
    from aiida_equitrain.workflows.study import StudyWorkChain

    data = import_data([RATTLED / FILES[material]], functional='PBE', n_frames=args.pool, n_test=0, seed=seed)
    training = {'finetune': {'train': {'hyperparameters': {'epochs': args.epochs}}}}
    shared = {
        'python_code': defaults.find_code('python'),
        'phonopy_code': defaults.find_code('phonopy'),
        'protocol': 'fast',
    }
    foundation = defaults.default_foundation()
    start, step = args.sizes[0], args.sizes[1] - args.sizes[0]
    settings = {'n_start': start, 'n_per_round': step, 'max_train': args.sizes[-1], 'phonon_tolerance_thz': 0.0}
    node = launch.start(
        ActiveLearningWorkChain.get_builder_from_protocol(
            data.structure, foundation, data.dataset, reference=data.phonopy_data, seed=seed,
            overrides={'settings': settings, 'committee': training}, **shared,
        )
    )  # fmt: skip
    rows = [
        {'selection': 'committee', 'n_train': item['n_train'], 'phonon_mae_thz': item['error_thz']}
        for item in node.outputs.rounds['rounds']
    ]
    node = launch.start(
        StudyWorkChain.get_builder_from_protocol(
            {material: data.structure}, foundation, datasets={material: data.dataset},
            references={material: data.phonopy_data}, sizes=args.sizes, seeds=[seed],
            overrides={'material': training, 'max_concurrent': 1}, **shared,
        )
    )  # fmt: skip
    assert isinstance(node, orm.ProcessNode)
    table = study_table(node)
    rows += [
        {'selection': 'random', 'n_train': int(row['n_train']), 'phonon_mae_thz': float(row['phonon_mae_thz'])}
        for row in table.to_dict('records')
    ]
    return [{'material': material, 'seed': seed, 'epochs': args.epochs, **row} for row in rows]


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table: mean error over the seeds, and in how many of them the committee is better."""
    lines = [
        '| crystal, training frames | committee, THz | random, THz | committee better |',
        '| --- | --- | --- | --- |',
    ]
    for material in dict.fromkeys(row['material'] for row in rows):
        for size in sorted({row['n_train'] for row in rows if row['material'] == material}):
            sides = {
                side: {row['seed']: row['phonon_mae_thz'] for row in rows
                       if (row['material'], row['n_train'], row['selection']) == (material, size, side)}
                for side in ('committee', 'random')
            }  # fmt: skip
            both = sorted(set(sides['committee']) & set(sides['random']))
            if both:
                means = [statistics.mean(sides[side][seed] for seed in both) for side in sides]
                better = sum(sides['committee'][seed] < sides['random'][seed] for seed in both)
                lines.append(f'| {material}, {size} | {means[0]:.3f} | {means[1]:.3f} | {better} of {len(both)} |')
    return '\n'.join(lines)


def main() -> None:
    args = read_arguments()
    if args.one is not None:
        from aiida import load_profile

        load_profile('bench')
        with args.output.open('a') as handle:
            for row in compute(args, args.one[0], int(args.one[1])):
                handle.write(json.dumps(row) + '\n')
        return
    rows = [json.loads(line) for line in args.output.read_text().splitlines()] if args.output.exists() else []
    if args.markdown:
        print(markdown(rows))
        return
    there = {(row['material'], row['seed']) for row in rows}
    programs = Path(sys.executable).parent
    for material in args.materials:
        for seed in args.seeds:
            if (material, seed) in there:
                continue
            with tempfile.TemporaryDirectory() as folder:
                environment = {**os.environ, 'AIIDA_PATH': folder}
                setup = ['profile', 'setup', 'core.sqlite_dos', '-n', '--profile-name', 'bench', '--email', 'a@b.c']
                subprocess.run([programs / 'verdi', *setup], env=environment, check=True)
                words = [programs / 'aiida-equitrain', '-p', 'bench', 'setup', '--offline']
                subprocess.run(words, env=environment, check=True)
                again = [sys.executable, __file__, *sys.argv[1:], '--one', material, str(seed)]
                subprocess.run(again, env=environment, check=True)
    print(markdown([json.loads(line) for line in args.output.read_text().splitlines()]))


if __name__ == '__main__':
    main()
