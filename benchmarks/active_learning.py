"""Frames on which a committee disagrees against the selection of the publication, at equal numbers of labels.

    python benchmarks/active_learning.py [--seeds 1 2 3] [--folder active-learning] [--markdown]

Silicon, from nothing: rattled cells of 64 atoms at five volumes are relaxed with the starter, and some frames of each
relaxation (``--per-trajectory``), equally spaced in energy, are labelled by pw.x with the settings of the quickstart.
The frames of the unchanged volume validate, the others are the pool. All sides train with the same hyperparameters, and
are judged by DFT phonons of the same settings over the Brillouin zone:

- ``publication``: frames drawn from the four of each trajectory that the publication would label (equally spaced in
  energy as well: every second of the pool's);
- ``random``: frames drawn from the whole pool;
- ``committee``: ``equitrain.active_learning``, which draws four, then chooses two each round; its first member counts.

Labels are counted, not the work of the committee, which is a multiple. What was done below ``--folder`` is not done
again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROFILE = 'bench'
#: Of the publication, per trajectory.
PUBLISHED = 4
SELECTIONS = ('publication', 'random', 'committee')


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3])
    parser.add_argument('--sizes', nargs='+', type=int, default=[4, 6, 8, 10], help='training frames, in equal steps')
    parser.add_argument(
        '--per-trajectory', type=int, default=2 * PUBLISHED - 1, help='frames of each relaxation in the pool: 4, 7, 10'
    )
    parser.add_argument('--epochs', type=int, default=60)
    parser.add_argument('--members', type=int, default=3, help='of the committee')
    parser.add_argument('--folder', type=Path, default=Path('active-learning'))
    parser.add_argument('--markdown', action='store_true', help='print the table of the rows that are there, and end')
    args = parser.parse_args()
    if (args.per_trajectory - 1) % (PUBLISHED - 1):
        parser.error('--per-trajectory must be 4, 7, 10 ...: the frames of the publication are to be among them')
    return args


def prepare(folder: Path) -> None:
    """Load a profile of its own below the folder, with codes, pseudopotentials, and the starter."""
    os.environ['AIIDA_PATH'] = str(folder.resolve() / 'aiida')
    from click.testing import CliRunner

    from aiida_equitrain.cli.root import cmd_root
    from aiida_equitrain.setup.profile import ensure_profile

    ensure_profile(PROFILE)
    done = CliRunner().invoke(cmd_root, ['-p', PROFILE, 'setup', '--offline'])
    if done.exit_code:
        raise SystemExit(done.output)


def run(builder: Any) -> Any:
    """Run a WorkChain in this process, and return its node.

    :raises SystemExit: if it did not end well.
    """
    from aiida_equitrain.launch.run import start

    node = start(builder)
    if not node.is_finished_ok:
        raise SystemExit(1)
    return node


def make_pool(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Return crystal, labelled frames and DFT phonons; jobs of an earlier call come from the cache."""
    from aiida.plugins import WorkflowFactory

    from aiida_equitrain.launch import nodes, run
    from aiida_equitrain.setup import defaults

    overrides = nodes.load_overrides(ROOT / 'examples' / 'quickstart.yaml')
    label, dft = overrides['label'], overrides['dft_phonons']
    label['selection'] = {'frames_per_trajectory': args.per_trajectory}
    label['rattle'] = {'volume_changes': [-0.05, -0.025, 0.0, 0.025, 0.05]}
    structure = nodes.load_structure(str(ROOT / 'aiida_equitrain' / 'resources' / 'structures' / 'Si.cif'))
    shared = {
        'pw_code': defaults.find_code('pw'),
        'pseudo_family': defaults.default_family().label,
        'protocol': 'fast',
    }
    labelled = run(
        WorkflowFactory('equitrain.label').get_builder_from_protocol(
            structure=structure, foundation=defaults.default_foundation('mace'),
            python_code=defaults.find_code('python'), overrides={**label, 'max_concurrent': 1}, **shared,
        )
    )  # fmt: skip
    phonons = run(
        WorkflowFactory('equitrain.phonons').get_builder_from_protocol(
            structure, defaults.find_code('phonopy'), overrides=dft, **shared
        )
    )
    return structure, labelled.outputs.dataset, phonons.outputs.phonopy_data


def published_part(dataset: Any, per_trajectory: int) -> Any:
    """Return the pool without the training frames that the publication would not have labelled."""
    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.science.frames import Frames

    step, kept, ranks = (per_trajectory - 1) // (PUBLISHED - 1), [], {}
    for frame in dataset.get_frames():
        rank = ranks[frame.trajectory] = ranks.get(frame.trajectory, -1) + 1
        if frame.role != 'train' or rank % step == 0:
            kept.append(frame)
    return DatasetData(Frames(kept), functional=dataset.functional, code=dataset.code)


def compute(args: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Return a row for each selection and size, of one seed."""
    from aiida.plugins import WorkflowFactory

    from aiida_equitrain.query import study_table
    from aiida_equitrain.setup import defaults

    structure, dataset, reference = make_pool(args)
    training = {'finetune': {'train': {'hyperparameters': {'epochs': args.epochs}}}}
    shared = {
        'python_code': defaults.find_code('python'),
        'phonopy_code': defaults.find_code('phonopy'),
        'protocol': 'fast',
    }
    foundation = defaults.default_foundation('mace')
    start, step = args.sizes[0], args.sizes[1] - args.sizes[0]
    settings = {'n_start': start, 'n_per_round': step, 'max_train': args.sizes[-1], 'phonon_tolerance_thz': 0.0}
    node = run(
        WorkflowFactory('equitrain.active_learning').get_builder_from_protocol(
            structure, foundation, dataset, reference=reference, seed=seed,
            overrides={'settings': settings, 'committee': {'n_seeds': args.members, **training}}, **shared,
        )
    )  # fmt: skip
    rows = [
        {'selection': 'committee', 'n_train': item['n_train'], 'phonon_mae_thz': item['error_thz']}
        for item in node.outputs.rounds['rounds']
    ]
    datasets = {'publication': published_part(dataset, args.per_trajectory), 'random': dataset}
    node = run(
        WorkflowFactory('equitrain.study').get_builder_from_protocol(
            dict.fromkeys(datasets, structure), foundation, datasets=datasets,
            references=dict.fromkeys(datasets, reference), sizes=args.sizes, seeds=[seed],
            overrides={'material': {**training, 'phonons': {'settings': {'elastic': False}}}, 'max_concurrent': 1},
            **shared,
        )
    )  # fmt: skip
    rows += [
        {'selection': row['material'], 'n_train': int(row['n_train']), 'phonon_mae_thz': float(row['phonon_mae_thz'])}
        for row in study_table(node).to_dict('records')
    ]
    settings = {name: getattr(args, name) for name in ('per_trajectory', 'epochs', 'members')}
    return [{'seed': seed, **settings, **row} for row in rows]


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table: mean error and standard deviation over the seeds, and where the committee is the better."""
    lines = [
        f'| training frames | {", THz | ".join(SELECTIONS)}, THz | committee better than publication |',
        '| --- | --- | --- | --- | --- |',
    ]
    for size in sorted({row['n_train'] for row in rows}):
        sides = {
            side: {
                row['seed']: row['phonon_mae_thz'] for row in rows if (row['n_train'], row['selection']) == (size, side)
            }
            for side in SELECTIONS
        }
        numbers = [list(sides[side].values()) for side in SELECTIONS]
        if not all(numbers):
            continue
        cells = [
            f'{statistics.mean(values):.3f}' + (f' ± {statistics.stdev(values):.3f}' if len(values) > 1 else '')
            for values in numbers
        ]
        both = sorted(set(sides['committee']) & set(sides['publication']))
        better = sum(sides['committee'][seed] < sides['publication'][seed] for seed in both)
        lines.append(f'| {size} | {" | ".join(cells)} | {better} of {len(both)} |')
    return '\n'.join(lines)


def main() -> None:
    args = read_arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    output = args.folder / 'rows.jsonl'
    rows = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    if not args.markdown:
        prepare(args.folder)
        from aiida import load_profile

        load_profile(PROFILE)
        for seed in args.seeds:
            if seed not in {row['seed'] for row in rows}:
                new = compute(args, seed)
                with output.open('a') as handle:
                    handle.writelines(json.dumps(row) + '\n' for row in new)
                rows += new
    print(markdown(rows))


if __name__ == '__main__':
    main()
