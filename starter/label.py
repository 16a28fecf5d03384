"""Draw rattled and strained frames of the crystals and label them with the teacher, nequix-oam-1-pft.

Runs in the environment that ``aiida-equitrain setup --with nequix`` makes, or any other with nequix and torch.
Writes extended XYZ with the keys ``REF_energy`` (eV), ``REF_forces`` (eV/Angstrom), ``REF_stress`` (eV/Angstrom^3):
``train.xyz``, ``valid.xyz``, ``test.xyz`` (other draws of the same crystals), ``held_out.xyz`` (other crystals),
``strained.xyz`` (strained cells of the named crystals).
``--part 0/2`` and ``--part 1/2`` label half of the crystals each, into folders of their own, whose files ``cat`` joins.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import make_supercell
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.optimize import FIRE
from crystals import held_out_crystals, training_crystals
from properties import REPEATS, relaxed_ions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from aiida_equitrain.drivers.potential_loader import load_calculator

TARGETS = [
    'dia-Si', 'dia-Ge', 'dia-C', 'zb-SiC', 'zb-GaAs', 'wz-AlN', 'rs-NaCl', 'rs-KCl', 'rs-MgO', 'rs-PbTe', 'rs-SnTe',
    'rs-GeTe', 'rs-CaTe', 'rs-BaTe', 'pnma-SnSe', 'r3m-GeTe', 'r3m-SnTe',
]  # fmt: skip
STIFF = {'C', 'Si', 'N', 'Mg', 'O', 'Al'}
#: Kinds of frames and how often each is drawn: (volume, shear, smallest and largest displacement in Angstrom).
KINDS = {
    'near': (0.55, (0.02, 0.005, 0.003, 0.05)),
    'far': (0.28, (0.06, 0.025, 0.03, 0.22)),
    'strained': (0.17, (0.07, 0.03, 0.001, 0.01)),
}


def teacher(weights: Path) -> Calculator:
    """Return the teacher as the jobs of aiida-equitrain load it, in double precision, on one core."""
    torch.set_num_threads(1)
    return load_calculator(weights, 'nequix')


def relax(cell: Atoms, calculator: Calculator) -> Atoms:
    """Relax cell and positions with the teacher, keeping the symmetry that the start has."""
    cell = cell.copy()
    cell.calc = calculator
    FIRE(FrechetCellFilter(cell), logfile=None).run(fmax=0.002, steps=250)
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


def disturb(cell: Atoms, rng: np.random.Generator, kind: str) -> Atoms:
    """Strain and rattle: ``near`` the minimum as displaced supercells are, ``far`` from it, or mostly ``strained``."""
    volume, shear, smallest, largest = KINDS[kind][1]
    if set(cell.get_chemical_symbols()) <= STIFF:
        largest = min(largest, 0.12)
    strain = np.eye(3) * (1 + rng.uniform(-volume, volume)) ** (1 / 3)
    skew = rng.uniform(-shear, shear, (3, 3)) if rng.random() < 0.6 else np.zeros((3, 3))
    frame = cell.copy()
    frame.set_cell(frame.cell @ (strain + (skew + skew.T) / 2), scale_atoms=True)
    amplitude = np.exp(rng.uniform(np.log(smallest), np.log(largest)))
    frame.positions += rng.normal(scale=amplitude, size=frame.positions.shape)
    return frame


def label(frame: Atoms, calculator: Calculator, name: str) -> Atoms:
    """Attach the teacher's energy, forces and stress."""
    frame.calc = calculator
    labelled = Atoms(frame.symbols, cell=frame.cell, positions=frame.positions, pbc=True)
    labelled.info = {
        'REF_energy': float(frame.get_potential_energy()),
        'REF_stress': frame.get_stress(voigt=False),
        'crystal': name,
    }
    forces = frame.get_forces()
    labelled.arrays['REF_forces'] = forces
    # Phonons live on small forces: without a weight the large ones decide what is learnt.
    labelled.info['config_forces_weight'] = 0.6 / (0.15 + float(np.sqrt((forces**2).mean())))
    return labelled


def draw(name: str, cell: Atoms, number: int, max_atoms: int, calculator, rng) -> list[Atoms]:
    """Draw and label frames; those with forces beyond 12 eV/Angstrom teach nothing about phonons and are redrawn."""
    frames: list[Atoms] = []
    while len(frames) < number:
        kind = str(rng.choice(list(KINDS), p=[share for share, _ in KINDS.values()]))
        small = kind == 'strained' and len(cell) <= 8
        supercell = cell if small else random_supercell(cell, rng, max_atoms)
        frame = label(disturb(supercell, rng, kind), calculator, name)
        if np.abs(frame.arrays['REF_forces']).max() < 12.0:
            frames.append(frame)
    return frames


def phonon_frames(name: str, cell: Atoms, number: int, calculator, rng) -> list[Atoms]:
    """Draw and label supercells of the size that phonons are computed in, displaced by 0.01 to 0.05 Angstrom."""
    frames = []
    for _ in range(number):
        frame = cell.repeat(REPEATS[len(cell)])
        frame.positions += rng.normal(scale=rng.uniform(0.006, 0.03), size=frame.positions.shape)
        frames.append(label(frame, calculator, name))
    return frames


def strained_frames(name: str, cell: Atoms, number: int, calculator, rng) -> list[Atoms]:
    """Draw and label the cell itself under strains of up to 2 % in each component: elastic constants."""
    frames = []
    for _ in range(number):
        strain = rng.uniform(-0.02, 0.02, (3, 3)) * rng.uniform(0.2, 1)
        frame = cell.copy()
        frame.set_cell(frame.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        frame.positions += rng.normal(scale=rng.uniform(0, 0.008), size=frame.positions.shape)
        frames.append(label(frame, calculator, name))
    return frames


def elastic_frames(cell: Atoms, name: str, calculator) -> list[Atoms]:
    """Label the cell under one component of strain at a time, as elastic constants are measured: with relaxed ions."""
    frames = []
    for first, second in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        for size in (-0.01, -0.005, -0.0025, 0.0025, 0.005, 0.01):
            strain = np.zeros((3, 3))
            strain[first, second] += size / 2
            strain[second, first] += size / 2
            frame = cell.copy()
            frame.set_cell(frame.cell @ (np.eye(3) + strain), scale_atoms=True)
            frames.append(label(relaxed_ions(frame, calculator), calculator, name))
    return frames


def main() -> None:
    """Write the five files, and ``energies.json``: the energies of the teacher's atoms (eV)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('weights', type=Path, help='nequix-oam-1-pft.nqx')
    parser.add_argument('folder', type=Path)
    parser.add_argument('--frames', type=int, default=70, help='training frames of a crystal')
    parser.add_argument('--target-frames', type=int, default=230, help='training frames of the named crystals')
    parser.add_argument('--phonon-frames', type=int, default=10, help='large frames of the named crystals')
    parser.add_argument('--strained-frames', type=int, default=80, help='strained cells of the named crystals')
    parser.add_argument('--max-atoms', type=int, default=20)
    parser.add_argument('--seed', type=int, default=20261128)
    parser.add_argument('--part', default='0/1')
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    calculator = teacher(args.weights)
    index, parts = map(int, args.part.split('/'))
    splits: dict[str, list[Atoms]] = {'train': [], 'valid': [], 'test': [], 'held_out': [], 'strained': []}
    for number, (name, cell) in enumerate(training_crystals().items()):
        if number % parts != index:
            continue
        rng = np.random.default_rng([args.seed, number])
        relaxed = relax(cell, calculator)
        print(name, relaxed.get_chemical_formula(), relaxed.cell.cellpar().round(3), file=sys.stderr, flush=True)
        splits['train'] += [label(relaxed.copy(), calculator, name)]
        if name in TARGETS:
            splits['train'] += phonon_frames(name, relaxed, args.phonon_frames, calculator, rng)
            splits['strained'] += strained_frames(name, relaxed, args.strained_frames, calculator, rng)
            splits['strained'] += elastic_frames(relaxed, name, calculator)
        wanted = args.target_frames if name in TARGETS else args.frames
        splits['train'] += draw(name, relaxed, wanted, args.max_atoms, calculator, rng)
        splits['valid'] += draw(name, relaxed, 2, args.max_atoms, calculator, rng)
        splits['test'] += draw(name, relaxed, 3, args.max_atoms, calculator, rng)
    for number, (name, cell) in enumerate(held_out_crystals().items()):
        if number % parts == index:
            rng = np.random.default_rng([args.seed, 1000 + number])
            splits['held_out'] += draw(name, relax(cell, calculator), 6, args.max_atoms, calculator, rng)
    for split, frames in splits.items():
        write(args.folder / f'{split}.xyz', frames, format='extxyz')
        print(split, len(frames), 'frames', sum(map(len, frames)), 'atoms')
    header = json.loads(args.weights.open('rb').readline())
    (args.folder / 'energies.json').write_text(json.dumps(header['atom_energies']))


if __name__ == '__main__':
    main()
