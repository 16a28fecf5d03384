"""Train on corrected force constants beside the labelled forces, and see whether the potential is better for it.

    python benchmarks/force_constant_targets.py AlN [--targets forces|frames|columns] [--steps 200] [--weight 1]
    python benchmarks/force_constant_targets.py Si --labels FRAMES.extxyz --reference phonopy.yaml [...]

The first is a rattled set (``phonon_accuracy.py`` says which), the second takes what ``aiida-equitrain export`` writes
of a main job with DFT: its labelled frames, and DFT's phonons. ``--foundation FILE.nqx`` takes a Nequix, in the Python
of its environment and with this checkout on PYTHONPATH; default: the starter.

All weights are trained on DFT frames, one a step, squared loss, one-cycle rate. With ``frames`` each step has a small
cell with random displacements of 0.01 Å more, whose forces are those of the foundation plus what the labels add to its
force constants; with ``columns`` one random combination of columns of the small cell's corrected force constants, by
automatic differentiation (Nequix, arXiv 2601.07742). Force constants come to the small cell by their dynamical matrices
at its commensurate q-points. Prints, every 50 steps, errors of the harmonic phonons (THz), of forces of validation and
test frames (meV/Å), and the change of that on other crystals.
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
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.harmonic.dynmat_to_fc import DynmatToForceConstants

from aiida_equitrain.science import phonon_metrics
from aiida_equitrain.science.correction import correct_force_constants
from aiida_equitrain.science.displaced_frames import choose_frames, displaced_phonon, load_labelled
from aiida_equitrain.science.force_constants import map_frame_to_supercell
from aiida_equitrain.science.frame_files import read_labelled
from aiida_equitrain.science.frames import Frames
from aiida_equitrain.science.harmonic_frames import displaced_frames
from aiida_equitrain.science.phonopy_cells import to_ase
from aiida_equitrain.science.phonopy_io import load_phonopy, make_force_constants

Array = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
# The Python of another family has no AiiDA, which `setup.shipped` and `phonon_accuracy` import.
RESOURCES = ROOT / 'aiida_equitrain' / 'resources'
RATTLED = ROOT.parent / 'shared' / 'reference' / 'rattled'
DATASETS = {'AlN': 'AlN-rd_phonopy_params_mp-661.yaml.xz', 'NaCl': 'NaCl-rd'}
#: The small cells, in primitive cells.
SMALL = {'AlN': (2, 2, 1), 'NaCl': (2, 2, 2), 'Si': (2, 2, 2)}
#: eV/Å: the unit of errors of forces in the loss; Å: displacements of the small cell; frames on which it is evaluated.
FORCE_UNIT, DISPLACEMENT, N_TEST = 0.02, 0.01, 10
#: The strain of frames that correct force constants is smaller than this.
SAME_CELL = 1e-3


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('material', choices=SMALL)
    parser.add_argument('--labels', type=Path, help='labelled frames with roles; default: of the rattled set')
    parser.add_argument('--reference', type=Path, help='DFT phonons; default: of the rattled set')
    parser.add_argument('--foundation', type=Path, default=RESOURCES / 'potentials' / 'starter.model')
    parser.add_argument('--targets', choices=('forces', 'frames', 'columns'), default='columns')
    parser.add_argument('--frames', type=int, default=10, help='labelled ones of a set, a fifth for validation')
    parser.add_argument('--steps', type=int, default=200)
    parser.add_argument('--weight', type=float, default=1.0, help='of the targets beside the labelled forces')
    parser.add_argument('--rate', type=float, default=1e-3)
    parser.add_argument('--seed', type=int, default=1)
    return parser.parse_args()


class Mace:
    """A MACE that is trained."""

    def __init__(self, file: Path) -> None:
        self.model = torch.load(file, map_location='cpu', weights_only=False).float()  # it is ours

    def calculator(self) -> Any:
        """Return an ASE calculator of the potential as it is, in float64."""
        from mace.calculators import MACECalculator

        return MACECalculator(models=[copy.deepcopy(self.model).double()], device='cpu', default_dtype='float64')

    def graph(self, atoms: Any) -> Any:
        """Return one structure as the model takes it."""
        sys.path.insert(0, str(ROOT / 'starter'))
        from train import batch_of, tensors

        atoms = atoms.copy()
        atoms.arrays['REF_forces'] = np.zeros(atoms.positions.shape)
        return batch_of([tensors(atoms, float(self.model.r_max), 'cpu')])

    def forces(self, graph: Any) -> tuple[Any, Any]:
        """Return positions and forces, of which derivatives can be taken."""
        forces = self.model(graph, training=True, compute_force=True)['forces']
        return graph['positions'], forces


class Nequix:
    """A Nequix that is trained; see :class:`Mace`."""

    def __init__(self, file: Path) -> None:
        from aiida_equitrain.drivers.nequix_family import read_model

        self.model = read_model(file).float()

    def calculator(self) -> Any:
        from aiida_equitrain.drivers.nequix_family import make_calculator

        torch.set_default_dtype(torch.float64)
        return make_calculator(copy.deepcopy(self.model).double(), 'cpu', 'float64')

    def graph(self, atoms: Any) -> Any:
        from aiida_equitrain.drivers.nequix_family import make_calculator

        return make_calculator(self.model, 'cpu', 'float32').graph([atoms])

    def forces(self, graph: Any) -> tuple[Any, Any]:
        species, positions, shifts, (senders, receivers), cell = graph[:5]
        positions = positions.detach().requires_grad_(True)
        along = positions[senders] - positions[receivers] + shifts @ cell[0]
        energy = self.model.node_energies(along, species, senders, receivers).sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
        return positions, -gradient


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
    phonon.forces = np.array(moved)
    make_force_constants(phonon, phonon.dataset, acoustic_sum_rule=True)
    return phonon


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

    def __init__(self, args: argparse.Namespace, base: Any) -> None:
        self.args, self.base = args, base
        if args.labels:
            self.reference, chosen = load_phonopy(args.reference), read_labelled(args.labels).frames
        else:
            data = load_labelled(RATTLED / DATASETS[args.material])
            self.reference, chosen = data.reference, choose_frames(data.frames, args.frames, args.seed)
        self.side = phonon_metrics.evaluate_side(self.reference)
        self.frames = {role: [frame for frame in chosen if frame.role == role] for role in ('train', 'valid', 'test')}
        self.frames['test'] = self.frames['test'][:N_TEST]
        others = [frame for frame in Frames.load(RESOURCES / 'forgetting.npz') if frame.formula != chosen[0].formula]
        self.others = others[:: max(1, len(others) // 12)]
        self.before = mean_error(self.base, self.others)
        self.potential = phonons_of(self.base, self.reference)
        self.corrected = self.correct()
        self.cell, constants = folded(self.corrected, SMALL[args.material])
        self.constants, self.change = constants, constants - folded(self.potential, SMALL[args.material])[1]
        self.rest = forces_on(self.base, self.cell)

    def correct(self) -> Any:
        """Return the phonons of the foundation, corrected by the labels on their supercell."""
        supercell, unitcell, mapped = self.potential.supercell, self.reference.unitcell, []
        for frame in self.frames['train'] + self.frames['valid']:
            found = map_frame_to_supercell(unitcell, frame, supercell)
            if np.abs(found.strain).max() < SAME_CELL:
                mapped.append(found)
        displacements = np.array([frame.displacements for frame in mapped])
        labels = np.array([frame.forces for frame in mapped])
        atoms = to_ase(supercell)
        known = np.array([forces_on(self.base, frame) for frame in displaced_frames(atoms, displacements)])
        phonon = copy.deepcopy(self.potential)
        fit = correct_force_constants(phonon, displacements, labels, known - forces_on(self.base, atoms))
        phonon.force_constants = fit.force_constants
        print(f'corrected by {len(mapped)} frames')
        return phonon

    def error(self, phonon: Any) -> float:
        """Return the mean error of phonons over bands and mesh, THz."""
        return float(phonon_metrics.errors_between(phonon, self.reference, self.side)['phonon_mae_thz'])

    def line(self, calculator: Any) -> str:
        """Return what a potential is worth."""
        errors = [
            mean_error(calculator, self.frames[role]) if self.frames[role] else np.nan for role in ('valid', 'test')
        ]
        change = mean_error(calculator, self.others) - self.before
        phonons = self.error(phonons_of(calculator, self.reference))
        torch.set_default_dtype(torch.float32)
        return f'phonons {phonons:.4f} THz, forces {errors[0]:.2f} / {errors[1]:.2f}, elsewhere {change:+.2f} meV/Å'


def target_loss(lab: Lab, potential: Any, random: np.random.Generator) -> Any:
    """Return the loss of a step beside that of the labelled forces."""
    shape = lab.cell.positions.shape
    if lab.args.targets == 'frames':
        (atoms,) = displaced_frames(lab.cell, random.normal(scale=DISPLACEMENT, size=(1, *shape)))
        wanted = forces_on(lab.base, atoms) - lab.rest + times(lab.change, atoms.positions - lab.cell.positions)
        return force_loss(potential, potential.graph(atoms), wanted)
    direction = random.normal(size=shape)
    positions, forces = potential.forces(potential.graph(lab.cell))
    along = (forces * torch.tensor(direction, dtype=torch.float32)).sum()
    (column,) = torch.autograd.grad(along, positions, create_graph=True)
    wanted = torch.tensor(times(lab.constants, direction), dtype=torch.float32)
    return ((column - wanted) ** 2).mean()


def force_loss(potential: Any, graph: Any, wanted: Array) -> Any:
    """Return the loss of the forces on a structure."""
    difference = potential.forces(graph)[1] - torch.tensor(wanted, dtype=torch.float32)
    return (difference**2).mean() / FORCE_UNIT**2


def main() -> None:
    args = read_arguments()
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    potential = (Nequix if args.foundation.suffix == '.nqx' else Mace)(args.foundation)
    lab = Lab(args, potential.calculator())
    torch.set_default_dtype(torch.float32)
    print(f'foundation {lab.error(lab.potential):.4f} THz, corrected {lab.error(lab.corrected):.4f} THz', flush=True)
    parameters = [parameter.requires_grad_(True) for parameter in potential.model.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=args.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=args.steps)
    random, start = np.random.default_rng(args.seed), time.process_time()
    graphs = [(potential.graph(frame.to_atoms()), frame.forces) for frame in lab.frames['train']]
    for step in range(1, args.steps + 1):
        loss = force_loss(potential, *graphs[random.integers(len(graphs))])
        if args.targets != 'forces':
            loss = loss + args.weight * target_loss(lab, potential, random)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == args.steps:
            print(f'{step} steps, {time.process_time() - start:.0f} s: {lab.line(potential.calculator())}', flush=True)


if __name__ == '__main__':
    main()
