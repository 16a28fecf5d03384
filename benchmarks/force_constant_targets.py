"""Train on corrected force constants beside the labelled forces, and see whether the potential is better for it.

    python benchmarks/force_constant_targets.py AlN [--targets forces|frames|columns] [--steps 200] [--weight 1]

All weights of the starter are trained on DFT frames of a rattled set (``phonon_accuracy.py`` says which), one frame a
step, squared loss, one-cycle rate. With ``frames`` each step has a small cell with random displacements of 0.01 Å more,
whose forces are those of the starter plus what the labels add to its force constants; with ``columns`` one random
combination of columns of the small cell's corrected force constants, by automatic differentiation (Nequix, arXiv
2601.07742). Force constants come to the small cell by their dynamical matrices at its commensurate q-points.
Prints, every 50 steps, errors of the harmonic phonons (THz), of forces of validation and test frames (meV/Å), and the
change of that on other crystals.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from labels import potential_phonon
from mace.calculators import MACECalculator
from numpy.typing import NDArray
from phonon_accuracy import DATASETS, RATTLED, ROOT
from phonopy import Phonopy
from phonopy.harmonic.dynmat_to_fc import DynmatToForceConstants

from aiida_equitrain.science import phonon_metrics
from aiida_equitrain.science.correction import correct_force_constants
from aiida_equitrain.science.displaced_frames import choose_frames, displaced_phonon, load_labelled
from aiida_equitrain.science.force_constants import map_frame_to_supercell
from aiida_equitrain.science.frames import Frames
from aiida_equitrain.science.harmonic_frames import displaced_frames
from aiida_equitrain.science.phonopy_cells import to_ase
from aiida_equitrain.setup.shipped import forgetting_file, starter_files

sys.path.insert(0, str(ROOT / 'starter'))
from train import batch_of, tensors

Array = NDArray[np.float64]

#: The small cells, in primitive cells.
SMALL = {'AlN': (2, 2, 1), 'NaCl': (2, 2, 2)}
#: eV/Å: the unit of errors of forces in the loss; Å: displacements of the small cell; frames on which it is evaluated.
FORCE_UNIT, DISPLACEMENT, N_TEST = 0.02, 0.01, 10


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('material', choices=SMALL)
    parser.add_argument('--targets', choices=('forces', 'frames', 'columns'), default='columns')
    parser.add_argument('--frames', type=int, default=10, help='labelled ones, a fifth for validation')
    parser.add_argument('--steps', type=int, default=200)
    parser.add_argument('--weight', type=float, default=1.0, help='of the targets beside the labelled forces')
    parser.add_argument('--rate', type=float, default=1e-3)
    parser.add_argument('--seed', type=int, default=1)
    return parser.parse_args()


def forces_on(calculator: Any, atoms: Any) -> Array:
    """Return the forces of a potential, eV/Å."""
    atoms = atoms.copy()
    atoms.calc = calculator
    return np.array(atoms.get_forces())


def mean_error(calculator: Any, frames: Any) -> float:
    """Return the mean absolute error of forces, meV/Å."""
    return 1e3 * float(
        np.mean([np.abs(forces_on(calculator, frame.to_atoms()) - frame.forces).mean() for frame in frames])
    )


def phonons_of(calculator: Any, reference: Any) -> Any:
    """Return the phonons of a potential in the cell of a reference."""
    phonon = displaced_phonon(reference)
    rest = forces_on(calculator, to_ase(phonon.supercell))
    moved = [forces_on(calculator, to_ase(cell)) - rest for cell in phonon.supercells_with_displacements]
    return potential_phonon(phonon, np.array(moved))


def folded(phonon: Any, size: tuple[int, int, int]) -> tuple[Any, Array]:
    """Return a small supercell, and the force constants (N, N, 3, 3) that it has by the dynamical matrices."""
    small = Phonopy(phonon.primitive, np.diag(size), primitive_matrix=np.eye(3))
    inverse = DynmatToForceConstants(small.primitive, small.supercell, is_full_fc=True)
    matrices = []
    for q in inverse.commensurate_points:
        phonon.dynamical_matrix.run(q)
        matrices.append(phonon.dynamical_matrix.dynamical_matrix)
    inverse.dynamical_matrices = np.array(matrices)
    inverse.run()
    return to_ase(small.supercell), np.array(inverse.force_constants)


def times(constants: Array, displacements: Array) -> Array:
    """Return the forces of force constants."""
    return -np.einsum('ijab,jb->ia', constants, displacements)


class Lab:
    """The data of one set, and what a potential is worth on it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.data = args, load_labelled(RATTLED / DATASETS[args.material][0])
        self.side = phonon_metrics.evaluate_side(self.data.reference)
        chosen = choose_frames(self.data.frames, args.frames, args.seed)
        self.frames = {role: [frame for frame in chosen if frame.role == role] for role in ('train', 'valid', 'test')}
        self.frames['test'] = self.frames['test'][:N_TEST]
        own = self.frames['train'][0].formula
        others = [frame for frame in Frames.load(forgetting_file()) if frame.formula != own]
        self.others = others[:: max(1, len(others) // 12)]
        self.starter: Path = starter_files()[0]
        self.base = MACECalculator(self.starter, device='cpu', default_dtype='float64')
        self.before = mean_error(self.base, self.others)
        self.potential = phonons_of(self.base, self.data.reference)
        self.corrected = self.correct()
        self.cell, constants = folded(self.corrected, SMALL[args.material])
        self.constants, self.change = constants, constants - folded(self.potential, SMALL[args.material])[1]
        self.rest = forces_on(self.base, self.cell)

    def correct(self) -> Any:
        """Return the phonons of the starter, corrected by the labels."""
        supercell, unitcell = self.potential.supercell, self.data.reference.unitcell
        mapped = [
            map_frame_to_supercell(unitcell, frame, supercell) for frame in self.frames['train'] + self.frames['valid']
        ]
        displacements = np.array([frame.displacements for frame in mapped])
        labels = np.array([frame.forces for frame in mapped])
        atoms = to_ase(supercell)
        known = np.array([forces_on(self.base, frame) for frame in displaced_frames(atoms, displacements)])
        phonon = copy.deepcopy(self.potential)
        found = correct_force_constants(phonon, displacements, labels, known - forces_on(self.base, atoms))
        phonon.force_constants = found.force_constants
        return phonon

    def error(self, phonon: Any) -> float:
        """Return the mean error of phonons over bands and mesh, THz."""
        return float(phonon_metrics.errors_between(phonon, self.data.reference, self.side)['phonon_mae_thz'])

    def line(self, model: Any) -> str:
        """Return what a model is worth."""
        torch.set_default_dtype(torch.float64)
        calculator = MACECalculator(models=[copy.deepcopy(model).double()], device='cpu', default_dtype='float64')
        errors = [
            mean_error(calculator, self.frames[role]) if self.frames[role] else np.nan for role in ('valid', 'test')
        ]
        change = mean_error(calculator, self.others) - self.before
        phonons = self.error(phonons_of(calculator, self.data.reference))
        torch.set_default_dtype(torch.float32)
        return f'phonons {phonons:.4f} THz, forces {errors[0]:.2f} / {errors[1]:.2f}, elsewhere {change:+.2f} meV/Å'


def batch(atoms: Any, forces: Array, reach: float) -> Any:
    """Return one structure with forces as MACE takes it."""
    atoms = atoms.copy()
    atoms.arrays['REF_forces'] = forces
    return batch_of([tensors(atoms, reach, 'cpu')])


def target_loss(lab: Lab, model: Any, random: np.random.Generator) -> Any:
    """Return the loss of a step beside that of the labelled forces."""
    shape, reach = lab.cell.positions.shape, float(model.r_max)
    if lab.args.targets == 'frames':
        (atoms,) = displaced_frames(lab.cell, random.normal(scale=DISPLACEMENT, size=(1, *shape)))
        added = times(lab.change, atoms.positions - lab.cell.positions)
        given = batch(atoms, forces_on(lab.base, atoms) - lab.rest + added, reach)
        found = model(given, training=True, compute_force=True)
        return ((found['forces'] - given['forces']) ** 2).mean() / FORCE_UNIT**2
    direction = random.normal(size=shape)
    wanted = torch.tensor(times(lab.constants, direction), dtype=torch.float32)
    given = batch(lab.cell, np.zeros(shape), reach)
    found = model(given, training=True, compute_force=True)['forces']
    along = (found * torch.tensor(direction, dtype=torch.float32)).sum()
    (column,) = torch.autograd.grad(along, given['positions'], create_graph=True)
    return ((column - wanted) ** 2).mean()


def main() -> None:
    args = read_arguments()
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    lab = Lab(args)
    print(f'starter {lab.error(lab.potential):.4f} THz, corrected {lab.error(lab.corrected):.4f} THz', flush=True)
    torch.set_default_dtype(torch.float32)
    model = torch.load(lab.starter, map_location='cpu', weights_only=False).float()  # it is ours
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=args.steps)
    random, start = np.random.default_rng(args.seed), time.process_time()
    batches = [batch(frame.to_atoms(), frame.forces, float(model.r_max)) for frame in lab.frames['train']]
    for step in range(1, args.steps + 1):
        given = batches[random.integers(len(batches))]
        found = model(given, training=True, compute_force=True)
        loss = ((found['forces'] - given['forces']) ** 2).mean() / FORCE_UNIT**2
        if args.targets != 'forces':
            loss = loss + args.weight * target_loss(lab, model, random)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == args.steps:
            print(f'{step} steps, {time.process_time() - start:.0f} s: {lab.line(model)}', flush=True)


if __name__ == '__main__':
    main()
