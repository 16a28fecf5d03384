"""Phonons of the teacher, SevenNet-0, for the crystals that matter most: what the starter is judged by.

Usage, in the environment of ``label.py`` with phonopy: ``python phonons.py LABELS_FOLDER``. Takes the relaxed crystals
from ``train.xyz`` and writes ``phonons/NAME.yaml``: phonopy parameters with the teacher's forces (supercells of 54 to
72 atoms, displacements of 0.01 Angstrom, forces on the undisplaced supercell subtracted).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from label import TARGETS
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from sevenn.calculator import SevenNetCalculator

REPEATS = {2: (3, 3, 3), 4: (3, 3, 2), 8: (1, 3, 3)}


def displaced(cell: Atoms) -> Phonopy:
    """Return displaced supercells of a relaxed primitive cell."""
    unitcell = PhonopyAtoms(numbers=cell.numbers, cell=cell.cell[:], scaled_positions=cell.get_scaled_positions())
    phonon = Phonopy(unitcell, np.diag(REPEATS[len(cell)]), primitive_matrix='P', symprec=1e-3)
    phonon.generate_displacements(distance=0.01)
    return phonon


def main() -> None:
    """Write one file per crystal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('labels', type=Path)
    folder = parser.parse_args().labels
    (folder / 'phonons').mkdir(exist_ok=True)
    calculator = SevenNetCalculator('7net-0', device='cpu')

    def forces(cell: PhonopyAtoms) -> np.ndarray:
        atoms = Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)
        atoms.calc = calculator
        return np.array(atoms.get_forces(), dtype=float)

    frames = read(folder / 'train.xyz', ':')
    for name in TARGETS:
        # The first frame of a crystal is the relaxed one.
        phonon = displaced(next(frame for frame in frames if frame.info['crystal'] == name))
        pristine = forces(phonon.supercell)
        phonon.forces = [forces(cell) - pristine for cell in phonon.supercells_with_displacements]
        phonon.save(folder / 'phonons' / f'{name}.yaml', settings={'force_sets': True, 'displacements': True})


if __name__ == '__main__':
    main()
