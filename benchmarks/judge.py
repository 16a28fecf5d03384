"""Train a potential on labelled frames and judge it by the DFT phonons of the same crystal, in a profile of its own.

- Reference: force constants that symfc fits to *all* DFT frames of the data set (Si: to its two 64-atom frames, while
  the potential is trained on 8-atom ones). No Born charges.
- Potential: finite displacements of 0.01 Å in the very same supercell, at DFT's lattice and positions (no relaxation),
  its forces on the undisplaced supercell subtracted, float64; acoustic sum rule imposed.
- ``*_mae_thz``: mean over bands and a 20x20x20 mesh. ``symfc_mae_thz``: force constants fitted by symfc, without any
  potential, to the same frames that the potential saw. Where these are all frames there are (NaCl: ten), that is the
  reference itself: ``symfc_is_reference`` says so.
- ``corrected_mae_thz``, ``finetuned_corrected_mae_thz``: foundation and fine-tuned potential, their force constants
  corrected by the same frames (``science/correction.py``); ``null`` where these are no frames of the reference's cell.
- ``pypolymlp_mae_thz``, ``seconds_pypolymlp``: phonopy's polynomial potential fitted to the same frames, and its time;
  ``null`` without ``--pypolymlp``, or where the frames have no energies or are not all of one supercell.
- ``n_frames`` frames are drawn at random by the seed; a fifth of them is for validation, also counted.
- ``forgetting_mev_per_angstrom``: change of the force MAE on other crystals, of the shipped set.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from temporary_profile import load_code

ROOT = Path(__file__).resolve().parents[1]
#: What begins a line of standard output that holds a row.
ROW = 'ROW '
#: Of a task, and also in its row.
ROW_OF = ('material', 'strategy', 'seed', 'n_frames', 'replay', 'protocol', 'hyperparameters', 'device')


class Judge:
    """Compute rows that share crystal, frames and seed.

    :param task: the first of them.
    :param code: Python of the jobs, in a loaded profile.
    """

    def __init__(self, task: dict[str, Any], code: Any) -> None:
        from aiida_equitrain.data.potential import PotentialData
        from aiida_equitrain.science import phonon_metrics
        from aiida_equitrain.science.displaced_frames import choose_frames, load_labelled
        from aiida_equitrain.science.force_constants import fit_force_constants

        self.code, self.data = code, load_labelled(task['path'])
        self.side = phonon_metrics.evaluate_side(self.data.reference)
        frames = harmonic_frames(self.data) if task['phonon_frames'] else self.data.frames
        chosen = choose_frames(frames, task['n_frames'], task['seed'])
        self.used = [frame for frame in chosen if frame.role != 'test']
        self.tests = [frame for frame in chosen if frame.role == 'test'][: task['test_frames']]
        unitcell, primitive = self.data.reference.unitcell, self.data.reference.primitive_matrix
        fit = fit_force_constants(unitcell, self.used, primitive_matrix=primitive)
        self.symfc_mae = None if fit.phonon is None else self.error(fit.phonon)
        self.foundation = PotentialData(Path(task['foundation']), card=card_of(task)).store()
        self.displacements, self.forces = self.labels()
        self.polynomial = self.polynomial_errors(task['pypolymlp'])
        self.before, self.corrected_before = self.errors_of(self.foundation)

    def labels(self) -> tuple[Any, Any]:
        """Return displacements (F, N, 3), Å, and forces of the frames that are supercells of the reference, or none."""
        supercell = self.data.reference.supercell
        return self.arrays([frame for frame in self.used if len(frame) == len(supercell)], supercell)

    def arrays(self, frames: list[Any], supercell: Any) -> tuple[Any, Any]:
        """Return displacements (F, N, 3), Å, and forces of frames on a supercell."""
        import numpy as np

        from aiida_equitrain.science.force_constants import map_frame_to_supercell

        mapped = [map_frame_to_supercell(self.data.reference.unitcell, frame, supercell) for frame in frames]
        shape = (len(mapped), len(supercell), 3)
        displacements = np.array([frame.displacements for frame in mapped]).reshape(shape)
        return displacements, np.array([frame.forces for frame in mapped]).reshape(shape)

    def polynomial_errors(self, python: str | None) -> dict[str, float | None]:
        """Return error and time of a polynomial potential fitted to the frames, where it can be."""
        import numpy as np
        from labels import polynomial_columns, polynomial_phonon
        from phonopy.structure.cells import get_supercell

        from aiida_equitrain.science.force_constants import find_supercell_matrix

        energies, unitcell = [frame.energy for frame in self.used], self.data.reference.unitcell
        if python is None or None in energies or len({len(frame) for frame in self.used}) > 1:
            return polynomial_columns(None, self.error)
        supercell = get_supercell(unitcell, find_supercell_matrix(unitcell, self.used[0]))
        displacements, forces = self.arrays(self.used, supercell)
        fit = polynomial_phonon(python, self.data.reference, displacements, forces, np.array(energies), supercell)
        return polynomial_columns(fit, self.error)

    def errors_of(self, potential: Any) -> tuple[float, float | None]:
        """Return the errors of a potential's phonons, and of those that the frames correct, THz."""
        from aiida_equitrain.science.correction import correct_force_constants

        phonon, forces = phonons_of(potential, self.code, self.data.reference, self.displacements)
        error = self.error(phonon)
        if not len(forces):
            return error, None
        phonon.force_constants = correct_force_constants(
            phonon, self.displacements, self.forces, forces
        ).force_constants
        return error, self.error(phonon)

    def error(self, phonon: Any) -> float:
        """Return the mean error over bands and mesh, THz."""
        from aiida_equitrain.science import phonon_metrics

        return float(phonon_metrics.errors_between(phonon, self.data.reference, self.side)['phonon_mae_thz'])

    def builder(self, task: dict[str, Any]) -> Any:
        """Return the inputs of the WorkChain."""
        from aiida_equitrain.data.dataset import DatasetData
        from aiida_equitrain.science.frames import Frames
        from aiida_equitrain.setup.shipped import forgetting_file
        from aiida_equitrain.workflows.finetune import FinetuneWorkChain

        hyperparameters = {**task['hyperparameters'], 'device': task['device']}
        if any(frame.energy is None for frame in self.used):
            hyperparameters['energy_weight'] = 0.0
        replay = None
        if task['replay']:
            # A tenth as many others validate them.
            formula = self.used[0].to_atoms(keys=True).symbols.formula.reduce()[0]
            replay = replay_dataset(task['replay'] + -(-task['replay'] // 10), self.foundation, str(formula))
            hyperparameters['replay_size'] = task['replay']
        return FinetuneWorkChain.get_builder_from_protocol(
            foundation=self.foundation,
            dataset=DatasetData(Frames([*self.used, *self.tests]), functional=task['functional']).store(),
            python_code=self.code,
            strategy=task['strategy'],
            replay=replay,
            forgetting_dataset=DatasetData(Frames.load(forgetting_file()), functional='teacher').store(),
            seed=task['seed'],
            protocol=task['protocol'],
            overrides={'train': {'hyperparameters': hyperparameters}},
        )

    def prepare(self, task: dict[str, Any]) -> dict[str, Any]:
        """Write what the job of a task needs into a folder; return the task with that ``folder``."""
        from aiida.engine import run_get_node
        from aiida.plugins import CalculationFactory

        train, folder = self.builder(task).train, folder_of(task, 'prepare')
        train.metadata.update(dry_run=True, store_provenance=False)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(folder.parent):
            node = run_get_node(CalculationFactory('equitrain.train'), **train)[1]
        shutil.move(node.dry_run_info['folder'], folder)
        return {**task, 'folder': str(folder)}

    def train(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run the WorkChain, or take in a job that was run elsewhere; return the outputs."""
        from aiida.engine import run_get_node
        from aiida.orm import RemoteData

        builder = self.builder(task)
        if task['trained']:
            path = str(folder_of(task, 'trained'))
            builder.train['remote_folder'] = RemoteData(remote_path=path, computer=self.code.computer)
        results, node = run_get_node(builder)
        if not node.is_finished_ok:
            raise RuntimeError(f'{node.process_label} ended with {node.exit_status}: {node.exit_message}')
        return results

    def row(self, task: dict[str, Any]) -> dict[str, Any]:
        """Return the row of a task."""
        start = time.time()
        results = self.train(task)
        summary = results['summary'].get_dict()
        finetuned, corrected = self.errors_of(results['potential'])
        return {
            **{name: task[name] for name in ROW_OF},
            'foundation_mae_thz': self.before,
            'finetuned_mae_thz': finetuned,
            'corrected_mae_thz': self.corrected_before,
            'finetuned_corrected_mae_thz': corrected,
            'symfc_mae_thz': self.symfc_mae,
            **self.polynomial,
            'forgetting_mev_per_angstrom': summary.get('forgetting', {}).get('change_mev_per_angstrom'),
            'phonon_frames': task['phonon_frames'],
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


def harmonic_frames(data: Any) -> Any:
    """Return the labelled frames of the supercell of the phonons, which load_labelled makes the reference of alone."""
    from dataclasses import replace

    from aiida_equitrain.science.correction import displacement_arrays
    from aiida_equitrain.science.frames import Frames

    supercell = data.reference.supercell
    displacements, forces = displacement_arrays(len(supercell), data.reference.dataset)
    frame = replace(data.frames[0], numbers=supercell.numbers, cell=supercell.cell, energy=None, stress=None)
    return Frames(
        [
            replace(frame, positions=supercell.positions + shift, forces=force, source=f'{frame.source}#{index + 1}')
            for index, (shift, force) in enumerate(zip(displacements, forces, strict=True))
        ]
    )


def card_of(task: dict[str, Any]) -> dict[str, Any] | None:
    """Return the card of a task's foundation: the file beside it, or what is known of its SHA-256."""
    from aiida_equitrain.common.foundations import known_by_sha256

    beside, known = Path(task['foundation']).with_suffix('.json'), known_by_sha256(task['foundation_sha256'])
    if beside.exists():
        return dict(json.loads(beside.read_text()))
    return known[1].card if known else None


def folder_of(task: dict[str, Any], key: str) -> Path:
    """Return the folder of a task's job below the one that it names."""
    strategy = f'{task["strategy"]}{task["replay"] or ""}'
    return Path(task[key]) / f'{task["material"]}-{strategy}-{task["n_frames"]}-seed{task["seed"]}'


def run_group(tasks: list[dict[str, Any]], scratch: str) -> None:
    """Compute the rows of tasks that share crystal, frames and seed; print each as soon as it is there."""
    judge = Judge(tasks[0], load_code(scratch, tasks[0]['python']))
    for task in tasks:
        try:
            row = judge.prepare(task) if task['prepare'] else judge.row(task)
        except Exception as error:
            row = {**task, 'error': f'{type(error).__name__}: {error}', 'log': traceback.format_exc()}
        print(ROW + json.dumps(row), flush=True)


def phonons_of(potential: Any, code: Any, reference: Any, displacements: Any) -> tuple[Any, Any]:
    """Return the potential's phonons in the reference's cell and supercell; one job computes the forces.

    Also return its forces (F, N, 3), eV/Å, on supercells with displacements (F, N, 3), Å, less those on the undisplaced
    one.
    """
    from aiida.engine import run_get_node
    from aiida.orm import Dict
    from aiida.plugins import CalculationFactory
    from labels import potential_phonon

    from aiida_equitrain.calculations.functions.label import trajectory_of
    from aiida_equitrain.science.displaced_frames import displaced_phonon
    from aiida_equitrain.science.harmonic_frames import displaced_frames
    from aiida_equitrain.science.phonopy_cells import to_ase

    phonon = displaced_phonon(reference)
    undisplaced, singles = to_ase(phonon.supercell), phonon.supercells_with_displacements
    frames = [undisplaced, *map(to_ase, singles), *displaced_frames(undisplaced, displacements)]
    builder = CalculationFactory('equitrain.forces').get_builder()
    builder.code, builder.potential, builder.frames = code, potential, trajectory_of(frames)
    builder.settings = Dict({'threads': 1})
    results, node = run_get_node(builder)
    if not node.is_finished_ok:
        raise RuntimeError(f'equitrain.forces ended with {node.exit_status}: {node.exit_message}')
    forces = results['forces'].get_array('forces')
    forces, last = forces[1:] - forces[0], len(singles)
    return potential_phonon(phonon, forces[:last]), forces[last:]


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
