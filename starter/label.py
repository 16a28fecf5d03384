"""Draw rattled and strained frames of the crystals and label them with the teacher, SevenNet-0.

Runs in an environment of its own (``sevenn`` cannot share one with ``mace-torch``: they need different e3nn).
Writes extended XYZ with the keys ``REF_energy`` (eV), ``REF_forces`` (eV/Angstrom), ``REF_stress`` (eV/Angstrom^3):
``train.xyz``, ``valid.xyz``, ``test.xyz`` (other draws of the same crystals), ``held_out.xyz`` (other crystals).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.optimize import FIRE
from crystals import held_out_crystals, training_crystals
from sevenn.calculator import SevenNetCalculator

TARGETS = [
    'dia-Si', 'dia-Ge', 'dia-C', 'zb-SiC', 'zb-GaAs', 'wz-AlN', 'rs-NaCl', 'rs-KCl', 'rs-MgO', 'rs-PbTe', 'rs-SnTe',
    'rs-GeTe', 'rs-CaTe', 'rs-BaTe', 'pnma-SnSe', 'r3m-GeTe', 'r3m-SnTe',
]  # fmt: skip
STIFF = {'C', 'Si', 'N', 'Mg', 'O', 'Al'}


def relax(cell: Atoms, calculator: SevenNetCalculator) -> Atoms:
    """Relax cell and positions with the teacher, keeping the symmetry that the start has."""
    cell = cell.copy()
    cell.calc = calculator
    FIRE(FrechetCellFilter(cell), logfile=None).run(fmax=0.01, steps=150)
    return Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)


def random_supercell(cell: Atoms, rng: np.random.Generator, max_atoms: int) -> Atoms:
    """Return a random supercell (Hermite normal form) of 4 to ``max_atoms`` atoms, 3.4 Angstrom wide or more."""
    for _ in range(200):
        n_cells = int(rng.integers(1, max(1, max_atoms // len(cell)) + 1))
        a = int(rng.choice([d for d in range(1, n_cells + 1) if n_cells % d == 0]))
        rest = n_cells // a
        b = int(rng.choice([d for d in range(1, rest + 1) if rest % d == 0]))
        c = rest // b
        hermite = [[a, 0, 0], [rng.integers(0, b), b, 0], [rng.integers(0, c), rng.integers(0, c), c]]
        supercell = make_supercell(cell, np.array(hermite))
        widths = supercell.get_volume() / np.linalg.norm(
            np.cross(supercell.cell[[1, 2, 0]], supercell.cell[[2, 0, 1]]), axis=1
        )
        if len(supercell) >= 4 and widths.min() > 3.4:
            return supercell
    repeats = np.maximum(1, np.ceil(5.0 / cell.cell.lengths())).astype(int)
    return cell.repeat(repeats)


def disturb(cell: Atoms, rng: np.random.Generator, *, near: bool) -> Atoms:
    """Strain and rattle; ``near`` the minimum (as displaced supercells for phonons are) or further away from it."""
    volume, shear, smallest, largest = (0.02, 0.005, 0.005, 0.04) if near else (0.06, 0.025, 0.02, 0.22)
    if set(cell.get_chemical_symbols()) <= STIFF:
        largest = min(largest, 0.12)
    strain = np.eye(3) * (1 + rng.uniform(-volume, volume)) ** (1 / 3)
    skew = rng.uniform(-shear, shear, (3, 3)) if rng.random() < 0.6 else np.zeros((3, 3))
    frame = cell.copy()
    frame.set_cell(frame.cell @ (strain + (skew + skew.T) / 2), scale_atoms=True)
    amplitude = np.exp(rng.uniform(np.log(smallest), np.log(largest)))
    frame.positions += rng.normal(scale=amplitude, size=frame.positions.shape)
    return frame


def label(frame: Atoms, calculator: SevenNetCalculator, name: str) -> Atoms:
    """Attach the teacher's energy, forces and stress."""
    frame.calc = calculator
    labelled = Atoms(frame.symbols, cell=frame.cell, positions=frame.positions, pbc=True)
    labelled.info = {
        'REF_energy': frame.get_potential_energy(),
        'REF_stress': frame.get_stress(voigt=False),
        'crystal': name,
    }
    forces = frame.get_forces()
    labelled.arrays['REF_forces'] = forces
    # Phonons live on small forces: without a weight the large ones decide what is learnt.
    labelled.info['config_forces_weight'] = 0.6 / (0.2 + float(np.sqrt((forces**2).mean())))
    return labelled


def draw(name: str, cell: Atoms, number: int, max_atoms: int, calculator, rng) -> list[Atoms]:
    """Draw and label frames; those with forces beyond 12 eV/Angstrom teach nothing about phonons and are redrawn."""
    frames: list[Atoms] = []
    while len(frames) < number:
        near = rng.random() < 0.5
        frame = label(disturb(random_supercell(cell, rng, max_atoms), rng, near=near), calculator, name)
        if np.abs(frame.arrays['REF_forces']).max() < 12.0:
            frames.append(frame)
    return frames


def main() -> None:
    """Write the four files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--frames', type=int, default=20, help='training frames of a crystal')
    parser.add_argument('--target-frames', type=int, default=96, help='training frames of the named crystals')
    parser.add_argument('--max-atoms', type=int, default=20)
    parser.add_argument('--seed', type=int, default=20261123)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    calculator = SevenNetCalculator('7net-0', device='cpu')
    splits: dict[str, list[Atoms]] = {'train': [], 'valid': [], 'test': [], 'held_out': []}
    for name, cell in training_crystals().items():
        relaxed = relax(cell, calculator)
        print(name, relaxed.get_chemical_formula(), relaxed.cell.cellpar().round(3), file=sys.stderr, flush=True)
        number = args.target_frames if name in TARGETS else args.frames
        splits['train'] += [label(relaxed.copy(), calculator, name)]
        splits['train'] += draw(name, relaxed, number, args.max_atoms, calculator, rng)
        splits['valid'] += draw(name, relaxed, 2, args.max_atoms, calculator, rng)
        splits['test'] += draw(name, relaxed, 3, args.max_atoms, calculator, rng)
    for name, cell in held_out_crystals().items():
        splits['held_out'] += draw(name, relax(cell, calculator), 6, args.max_atoms, calculator, rng)
    for split, frames in splits.items():
        write(args.folder / f'{split}.xyz', frames, format='extxyz')
        print(split, len(frames), 'frames', sum(map(len, frames)), 'atoms')


if __name__ == '__main__':
    main()
