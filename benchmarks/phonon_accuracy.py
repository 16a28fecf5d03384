"""Fine-tune a potential on a few rattled DFT frames and judge it by the DFT phonons of the same crystal.

    python benchmarks/phonon_accuracy.py [--strategies l2-tsp transfer] [--seeds 1 2 3] [--frames 10] [--json]

Every row is one run of the WorkChain ``equitrain.finetune`` in a temporary AiiDA profile. How it is judged:

- Reference: force constants that symfc fits to *all* DFT frames of the data set (Si: to its two 64-atom frames, while
  the potential is trained on 8-atom ones). No Born charges.
- Potential: finite displacements of 0.01 Å in the very same supercell, at DFT's lattice and positions (no relaxation),
  its forces on the undisplaced supercell subtracted, float64; acoustic sum rule imposed.
- ``*_mae_thz``: mean over bands and a 20x20x20 mesh. ``symfc_mae_thz``: force constants fitted by symfc, without any
  potential, to the same frames that the potential saw. Where these are all frames there are (NaCl: ten), that is the
  reference itself: ``symfc_is_reference`` says so.
- ``n_frames`` frames are drawn at random by the seed; a fifth of them is for validation, also counted.
- ``forgetting_mev_per_angstrom``: change of the force MAE on other crystals, of the shipped set.

Rows are appended to ``--output`` as they come; rows that are there already are not computed again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RATTLED = ROOT.parent / 'shared' / 'reference' / 'rattled'
#: Data sets with the functional of their labels.
DATASETS = {
    'Si': ('Si-111-222-rd.tar.xz', 'PBE'),
    'NaCl': ('NaCl-rd', 'PBE'),
    'AlN': ('AlN-rd_phonopy_params_mp-661.yaml.xz', 'PBEsol'),
}
#: Rows that agree in these are computed in one process.
SHARED = ('material', 'n_frames', 'seed')
ROW = 'ROW '
ROW_OF = ('material', 'strategy', 'seed', 'n_frames', 'replay', 'protocol', 'hyperparameters')
COLUMNS = ('material', 'strategy', 'seed', 'n_frames', 'foundation_mae_thz', 'finetuned_mae_thz', 'symfc_mae_thz')


def read_arguments(defaults: dict[str, Any] | None = None) -> argparse.Namespace:
    """Return the arguments.

    :param defaults: that differ from those of this script.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--materials', nargs='+', default=None, help=f'of {", ".join(DATASETS)}; default: all')
    parser.add_argument('--data', type=Path, nargs='+', default=[], help='further phonopy or phono3py params files')
    parser.add_argument('--functional', default='unknown', help='of the labels in --data')
    parser.add_argument('--strategies', nargs='+', default=['l2-tsp', 'transfer'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3])
    parser.add_argument(
        '--frames', type=int, nargs='+', default=[10], help='labelled frames, of which a fifth is for validation'
    )
    parser.add_argument('--test-frames', type=int, default=20, help='at most so many of the others are for testing')
    parser.add_argument('--protocol', default=None, help='of the WorkChain; default: its default')
    parser.add_argument('--hyperparameters', type=json.loads, default={}, help='JSON that overrides the protocol')
    parser.add_argument(
        '--replay', type=int, nargs='+', default=[200], help='frames that multihead replays, labelled by the foundation'
    )
    parser.add_argument('--foundation', type=Path, default=None, help='model file of any family; default: the starter')
    parser.add_argument(
        '--python', default=sys.executable, help='of the jobs: one with sevenn for SevenNet; default: this'
    )
    parser.add_argument('--jobs', type=int, default=1, help='rows computed at once')
    parser.add_argument(
        '--output', type=Path, default=Path('phonon_accuracy.jsonl'), help='rows, one JSON object a line'
    )
    parser.add_argument('--json', action='store_true', help='print the rows as a JSON list')
    parser.add_argument('--one', type=json.loads, default=None, help=argparse.SUPPRESS)
    parser.set_defaults(**(defaults or {}))
    return parser.parse_args()


def key_of(task: dict[str, Any]) -> tuple[Any, ...]:
    """Return what makes a row the same row."""
    names = ('material', 'strategy', 'seed', 'n_frames', 'protocol', 'hyperparameters', 'foundation_sha256', 'replay')
    return tuple(json.dumps(task.get(name), sort_keys=True) for name in names)


def list_tasks(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per row."""
    import hashlib

    from aiida_equitrain.tools.resources import starter_files

    known = {name: (str(RATTLED / file), functional) for name, (file, functional) in DATASETS.items()}
    wanted = list(known) if args.materials is None and not args.data else (args.materials or [])
    absent = [name for name in wanted if name not in known]
    if absent:
        raise SystemExit(f'--materials knows {", ".join(known)}, not {absent[0]}; give other files by --data')
    data = {name: known[name] for name in wanted}
    data.update({path.name.split('.')[0]: (str(path.resolve()), args.functional) for path in args.data})
    foundation = (args.foundation or starter_files()[0]).resolve()
    return [
        {
            'material': name,
            'path': path,
            'functional': functional,
            'strategy': strategy,
            'seed': seed,
            'n_frames': n_frames,
            'replay': replay,
            'test_frames': args.test_frames,
            'protocol': args.protocol,
            'hyperparameters': args.hyperparameters,
            'foundation': str(foundation),
            'python': args.python,
            'foundation_sha256': hashlib.sha256(foundation.read_bytes()).hexdigest(),
        }
        for seed in args.seeds
        for n_frames in args.frames
        for name, (path, functional) in data.items()
        for strategy in args.strategies
        for replay in (args.replay if strategy == 'multihead' else [None])
    ]


def phonons_of(potential: Any, code: Any, reference: Any) -> Any:
    """Return the potential's phonons in the reference's cell and supercell; one job computes the forces."""
    from aiida.engine import run_get_node
    from aiida.orm import Dict
    from aiida.plugins import CalculationFactory
    from ase import Atoms

    from aiida_equitrain.calculations.functions.label import trajectory_of
    from aiida_equitrain.science.labelled_phonons import displaced_phonon
    from aiida_equitrain.science.phonopy_io import make_force_constants

    phonon = displaced_phonon(reference)
    cells = [phonon.supercell, *phonon.supercells_with_displacements]
    frames = [Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True) for cell in cells]
    builder = CalculationFactory('equitrain.forces').get_builder()
    builder.code, builder.potential, builder.frames = code, potential, trajectory_of(frames)
    builder.settings = Dict({'threads': 1})
    results, node = run_get_node(builder)
    if not node.is_finished_ok:
        raise RuntimeError(f'equitrain.forces ended with {node.exit_status}: {node.exit_message}')
    pristine, *displaced = results['forces'].get_array('forces')
    for entry, forces in zip(phonon.dataset['first_atoms'], displaced, strict=True):
        entry['forces'] = forces - pristine
    make_force_constants(phonon, phonon.dataset, acoustic_sum_rule=True)
    return phonon


def replay_dataset(number: int, foundation: Any, left_out: str) -> Any:
    """Return rattled and strained cells of the starter's crystals, labelled by the foundation itself.

    :param left_out: chemical formula of the crystal that is trained, which is not among them.
    """
    import numpy as np
    from ase.calculators.singlepoint import SinglePointCalculator

    sys.path.insert(0, str(ROOT / 'starter'))
    from crystals import training_crystals

    from aiida_equitrain.data.dataset import DatasetData

    calculator, random = foundation.get_calculator(dtype='float32'), np.random.default_rng(0)
    cells = [
        atoms
        for atoms in training_crystals().values()
        if atoms.get_chemical_formula(empirical=True) != left_out and set(atoms.symbols) <= set(foundation.elements)
    ]
    frames = []
    for index in range(number):
        atoms = cells[index % len(cells)]
        atoms = atoms * (2, 2, 2) if len(atoms) < 4 else atoms.copy()
        atoms.set_cell(atoms.cell @ (np.eye(3) + random.normal(0, 0.02, (3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=random)
        atoms.calc = calculator
        labels = {
            'energy': atoms.get_potential_energy(), 'forces': atoms.get_forces(), 'stress': atoms.get_stress(),
        }  # fmt: skip
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return DatasetData.from_ase(frames, functional='foundation', role='train').store()


def make_profile(scratch: str, python: str) -> Any:
    """Load a temporary profile below ``scratch``; return the code of the jobs' Python."""
    os.environ['AIIDA_PATH'] = scratch
    from aiida import load_profile, orm
    from aiida.manage.configuration import get_config
    from aiida.storage.sqlite_temp import SqliteTempBackend

    get_config(create=True).set_option('runner.poll.interval', 1)
    load_profile(SqliteTempBackend.create_profile('accuracy', filepath=str(Path(scratch) / 'repository')))
    computer = orm.Computer(
        label='localhost',
        hostname='localhost',
        transport_type='core.local',
        scheduler_type='core.direct',
        workdir=str(Path(scratch) / 'jobs'),
    ).store()
    computer.configure(safe_interval=0.0, use_login_shell=False)
    computer.set_minimum_job_poll_interval(1)
    threads = '\n'.join(f'export {name}=1' for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'))
    return orm.InstalledCode(
        label='python', computer=computer, filepath_executable=python, prepend_text=threads
    ).store()


class Judge:
    """Compute rows that share crystal, frames and seed.

    :param task: the first of them.
    :param code: Python of the jobs, in a loaded profile.
    """

    def __init__(self, task: dict[str, Any], code: Any) -> None:
        from aiida_equitrain.data.potential import PotentialData
        from aiida_equitrain.science import phonon_metrics
        from aiida_equitrain.science.force_constants import fit_force_constants
        from aiida_equitrain.science.labelled_phonons import choose_frames, load_labelled

        self.code, self.data = code, load_labelled(task['path'])
        self.side = phonon_metrics.evaluate_side(self.data.reference)
        chosen = choose_frames(self.data.frames, task['n_frames'], task['seed'])
        self.used = [frame for frame in chosen if frame.role != 'test']
        self.tests = [frame for frame in chosen if frame.role == 'test'][: task['test_frames']]
        unitcell, primitive = self.data.reference.unitcell, self.data.reference.primitive_matrix
        fit = fit_force_constants(unitcell, self.used, primitive_matrix=primitive)
        self.symfc_mae = None if fit.phonon is None else self.error(fit.phonon)
        card_file = Path(task['foundation']).with_suffix('.json')
        card = json.loads(card_file.read_text()) if card_file.exists() else None
        self.foundation = PotentialData(Path(task['foundation']), card=card).store()
        self.before = self.error(phonons_of(self.foundation, code, self.data.reference))

    def error(self, phonon: Any) -> float:
        """Return the mean error over bands and mesh, THz."""
        from aiida_equitrain.science import phonon_metrics

        return float(phonon_metrics.errors_between(phonon, self.data.reference, self.side)['phonon_mae_thz'])

    def train(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run the WorkChain; return its outputs."""
        from aiida.engine import run_get_node

        from aiida_equitrain.data.dataset import DatasetData
        from aiida_equitrain.science.frames import Frames
        from aiida_equitrain.tools.resources import forgetting_file
        from aiida_equitrain.workflows.finetune import FinetuneWorkChain

        hyperparameters = dict(task['hyperparameters'])
        if not any(frame.energy for frame in self.used):
            hyperparameters['energy_weight'] = 0.0
        replay = None
        if task['replay']:
            # A tenth as many others validate them.
            formula = self.used[0].to_atoms(keys=True).symbols.formula.reduce()[0]
            replay = replay_dataset(task['replay'] + -(-task['replay'] // 10), self.foundation, str(formula))
            hyperparameters['replay_size'] = task['replay']
        builder = FinetuneWorkChain.get_builder_from_protocol(
            foundation=self.foundation,
            dataset=DatasetData(Frames([*self.used, *self.tests]), functional=task['functional']).store(),
            python_code=self.code,
            strategy=task['strategy'],
            replay=replay,
            forgetting_dataset=DatasetData(Frames.load(forgetting_file()), functional='teacher').store(),
            seed=task['seed'],
            protocol=task['protocol'],
            overrides={'train': {'hyperparameters': hyperparameters}} if hyperparameters else {},
        )
        results, node = run_get_node(builder)
        if not node.is_finished_ok:
            raise RuntimeError(f'equitrain.finetune ended with {node.exit_status}: {node.exit_message}')
        return results

    def row(self, task: dict[str, Any]) -> dict[str, Any]:
        """Return the row of a task."""
        start = time.time()
        results = self.train(task)
        summary = results['summary'].get_dict()
        return {
            **{name: task[name] for name in ROW_OF},
            'foundation_mae_thz': self.before,
            'finetuned_mae_thz': self.error(phonons_of(results['potential'], self.code, self.data.reference)),
            'symfc_mae_thz': self.symfc_mae,
            'forgetting_mev_per_angstrom': summary.get('forgetting', {}).get('change_mev_per_angstrom'),
            'symfc_is_reference': len(self.used) == self.data.n_reference
            and len(self.used[0]) == len(self.data.reference.supercell),
            'n_atoms': len(self.used[0]),
            'n_reference_frames': self.data.n_reference,
            'functional': task['functional'],
            'foundation_sha256': task['foundation_sha256'],
            'epochs': summary.get('epochs'),
            'best_epoch': summary.get('best_epoch'),
            'errors': summary.get('errors'),
            'seconds_training': summary.get('seconds_training'),
            'seconds': round(time.time() - start, 1),
        }


def run_group(tasks: list[dict[str, Any]], scratch: str) -> None:
    """Compute the rows of tasks that share crystal, frames and seed; print each as soon as it is there."""
    judge = Judge(tasks[0], make_profile(scratch, tasks[0]['python']))
    for task in tasks:
        try:
            row = judge.row(task)
        except Exception as error:
            row = {**task, 'error': f'{type(error).__name__}: {error}', 'log': traceback.format_exc()}
        print(ROW + json.dumps(row), flush=True)


def run_in_process(tasks: list[dict[str, Any]], take: Callable[[dict[str, Any]], None]) -> None:
    """Run a group in a process of its own, since a process has one profile.

    :param take: called with each row, or with a task and its ``error``.
    """
    with (
        tempfile.TemporaryDirectory(prefix='equitrain-accuracy-') as scratch,
        (Path(scratch) / 'log').open('w+') as log,
    ):
        command = [sys.executable, '-W', 'ignore', __file__, '--one', json.dumps({'tasks': tasks, 'scratch': scratch})]
        environment = {**os.environ, 'AIIDA_PATH': scratch, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
        missing = {key_of(task): task for task in tasks}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as child:
            for line in child.stdout or ():
                if line.startswith(ROW):
                    row = json.loads(line.removeprefix(ROW))
                    missing.pop(key_of(row))
                    take(row)
        log.seek(0)
        text = log.read()
        for task in missing.values():
            take({**task, 'error': (text.strip().splitlines() or ['no message'])[-1], 'log': text[-4000:]})


def name_of(row: dict[str, Any]) -> str:
    """Return the strategy, with the number of replayed frames where it replays."""
    return f'{row["strategy"]} {row["replay"]}' if row.get('replay') else str(row['strategy'])


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table of rows, then means over seeds."""
    head = (
        f'{"material":10s}{"strategy":14s}{"seed":>5s}{"frames":>8s}{"foundation":>12s}{"finetuned":>11s}{"symfc":>9s}'
    )
    lines = [f'{head}{"forgetting":>12s}', f'{"":37s}{"THz":>12s}{"THz":>11s}{"THz":>9s}{"meV/Å":>12s}']
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row['material'], name_of(row)), []).append(row)
    for group in groups.values():
        lines += [_line(row, str(row['seed'])) for row in group]
        if len(group) > 1:
            names = ('foundation_mae_thz', 'finetuned_mae_thz', 'symfc_mae_thz', 'forgetting_mev_per_angstrom')
            values = {name: [row[name] for row in group if row[name] is not None] for name in names}
            mean = {name: sum(found) / len(found) if found else None for name, found in values.items()}
            lines.append(_line({**group[0], **mean}, 'mean'))
    return '\n'.join(lines)


def _line(row: dict[str, Any], seed: str) -> str:
    symfc = '(all)' if row['symfc_is_reference'] else _number(row['symfc_mae_thz'], 3)
    return (
        f'{row["material"]:10s}{name_of(row):14s}{seed:>5s}{row["n_frames"]:8d}{row["foundation_mae_thz"]:12.3f}'
        f'{row["finetuned_mae_thz"]:11.3f}{symfc:>9s}{_number(row["forgetting_mev_per_angstrom"], 1):>12s}'
    )


def _number(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def compute(tasks: list[dict[str, Any]], output: Path, jobs: int) -> list[dict[str, Any]]:
    """Return the rows of the tasks; those that are in ``output`` are not computed again, new ones are added to it."""
    wanted = {key_of(task) for task in tasks}
    known = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    rows = {key_of(row): row for row in known if key_of(row) in wanted}
    todo = [task for task in tasks if key_of(task) not in rows]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for task in todo:
        groups.setdefault(tuple(task[name] for name in SHARED), []).append(task)
    lock, n_done = threading.Lock(), itertools.count(1)
    print(f'{len(rows)} rows are there, {len(todo)} to do', file=sys.stderr)

    def take(row: dict[str, Any]) -> None:
        with lock:
            what = f'{row["material"]} {name_of(row)} {row["n_frames"]} frames, seed {row["seed"]}'
            name = f'[{next(n_done)}/{len(todo)}] {what}'
            if 'error' in row:
                print(f'{name}: FAILED: {row["error"]}\n{row["log"]}', file=sys.stderr)
                return
            with output.open('a') as handle:
                handle.write(json.dumps(row) + '\n')
            rows[key_of(row)] = row
            change = f'{row["foundation_mae_thz"]:.3f} -> {row["finetuned_mae_thz"]:.3f} THz'
            print(f'{name}: {change}, {row["seconds"]} s', file=sys.stderr, flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        for ended in [pool.submit(run_in_process, group, take) for group in groups.values()]:
            ended.result()
    return [rows[key_of(task)] for task in tasks if key_of(task) in rows]


def main() -> None:
    args = read_arguments()
    if args.one:
        run_group(**args.one)
        return
    tasks = list_tasks(args)
    rows = compute(tasks, args.output, args.jobs)
    print(json.dumps(rows) if args.json else table(rows))
    sys.exit(0 if len(rows) == len(tasks) else 1)


if __name__ == '__main__':
    main()
