"""Phonons, elastic constants and equation of state of the teacher, by which the starter is judged.

Usage, in the environment of ``label.py`` with phonopy: ``python properties.py nequix-oam-1-pft.nqx LABELS_FOLDER``.
Takes the relaxed crystals from ``train.xyz`` and writes ``phonons/NAME.yaml``: phonopy parameters with the teacher's
forces (supercells of 54 to 72 atoms, displacements of 0.01 Angstrom, forces on the undisplaced supercell subtracted);
and ``elastic.json``. ``finish.py`` asks the starter for the same by the same functions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.optimize import BFGS
from ase.units import GPa
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

#: Repetitions of the supercells whose phonons judge the starter, by number of atoms in the cell.
REPEATS = {2: (3, 3, 3), 4: (3, 3, 2), 8: (1, 3, 3)}


def displaced(cell: Atoms) -> Phonopy:
    """Return displaced supercells of a relaxed primitive cell."""
    unitcell = PhonopyAtoms(numbers=cell.numbers, cell=cell.cell[:], scaled_positions=cell.get_scaled_positions())
    phonon = Phonopy(unitcell, np.diag(REPEATS[len(cell)]), primitive_matrix='P', symprec=1e-3)
    phonon.generate_displacements(distance=0.01)
    return phonon


def relaxed_ions(cell: Atoms, calculator: Any, *, with_cell: bool = False) -> Atoms:
    """Return the crystal with relaxed positions, in its cell or with it."""
    cell = Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)
    cell.calc = calculator
    # A soft mode of 1 THz is still 0.0003 Å from its minimum at this force, which is 1 % of a shear constant.
    BFGS(FrechetCellFilter(cell) if with_cell else cell, logfile=None).run(fmax=1e-4, steps=500)
    return cell


def elastic_constants(cell: Atoms, calculator: Any, size: float = 0.005) -> np.ndarray:
    """Return the elastic constants (6, 6) in GPa, with relaxed ions; central differences, Voigt's order."""
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    rows = []
    for first, second in pairs:
        stresses = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[first, second] += sign * size / 2
            strain[second, first] += sign * size / 2
            strained = cell.copy()
            strained.set_cell(cell.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
            stresses.append(relaxed_ions(strained, calculator).get_stress())
        rows.append((stresses[0] - stresses[1]) / (2 * size))
    constants = np.array(rows) / GPa
    return (constants + constants.T) / 2


def equation_of_state(cell: Atoms, calculator: Any) -> dict[str, float]:
    """Return volume (A^3 per atom) and bulk modulus (GPa) from energies within 4 % of the volume, Birch-Murnaghan."""
    volumes, energies = [], []
    for change in np.linspace(-0.04, 0.04, 7):
        scaled = cell.copy()
        scaled.set_cell(cell.cell[:] * (1 + change) ** (1 / 3), scale_atoms=True)
        volumes.append(scaled.get_volume() / len(cell))
        energies.append(relaxed_ions(scaled, calculator).get_potential_energy() / len(cell))
    volume, _, bulk = EquationOfState(volumes, energies, eos='birchmurnaghan').fit(warn=False)
    return {'volume': float(volume), 'bulk_modulus': float(bulk / GPa)}


def elastic_properties(cell: Atoms, calculator: Any) -> dict[str, Any]:
    """Return elastic constants and equation of state of a crystal relaxed with the calculator."""
    relaxed = relaxed_ions(cell, calculator, with_cell=True)
    return {
        'elastic_constants': elastic_constants(relaxed, calculator).round(2).tolist(),
        **equation_of_state(relaxed, calculator),
    }


def relaxed_crystals(folder: Path, names: list[str]) -> dict[str, Atoms]:
    """Return the crystals as the teacher relaxed them: the first frame of each."""
    frames = read(folder / 'train.xyz', ':')
    return {name: next(frame for frame in frames if frame.info['crystal'] == name) for name in names}


def main() -> None:
    """Write one file of phonons per crystal, and the elastic constants of all."""
    from label import TARGETS, teacher

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('weights', type=Path)
    parser.add_argument('labels', type=Path)
    args = parser.parse_args()
    (args.labels / 'phonons').mkdir(exist_ok=True)
    calculator = teacher(args.weights)

    def forces(cell: PhonopyAtoms) -> np.ndarray:
        atoms = Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)
        atoms.calc = calculator
        return np.array(atoms.get_forces(), dtype=float)

    elastic = {}
    for name, cell in relaxed_crystals(args.labels, TARGETS).items():
        phonon = displaced(cell)
        pristine = forces(phonon.supercell)
        phonon.forces = [forces(item) - pristine for item in phonon.supercells_with_displacements]
        phonon.save(args.labels / 'phonons' / f'{name}.yaml', settings={'force_sets': True, 'displacements': True})
        elastic[name] = elastic_properties(cell, calculator)
        print(name, elastic[name]['volume'], elastic[name]['bulk_modulus'], flush=True)
        (args.labels / 'elastic.json').write_text(json.dumps(elastic, indent=1))


if __name__ == '__main__':
    main()
