"""Compute the forces of a potential on structures of the same atoms, in the Python of the potential.

    python benchmarks/potential_forces.py POTENTIAL STRUCTURES.npz FORCES.npz [--relax]

``STRUCTURES.npz`` holds ``numbers`` (N,), ``cell`` (3, 3) and ``positions`` (F, N, 3), Å; ``FORCES.npz`` gets
``forces`` (F, N, 3), eV/Å. With ``--relax``, cell and atoms of the first structure are relaxed, in its symmetry, and
``FORCES.npz`` gets its ``cell`` and ``positions`` (N, 3). The suffix says which package reads the potential: ``.nqx``
nequix, ``.pth`` sevenn, others mace. Of ours it imports what loads a potential in the jobs: such an environment has
neither AiiDA nor phonopy.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
#: Families of the suffixes of model files.
FAMILIES = {'.nqx': 'nequix', '.pth': 'sevennet'}


def load_calculator(path: Path) -> Any:
    """Return the ASE calculator that the jobs have, on one CPU, in float64."""
    import torch

    from aiida_equitrain.drivers import potential_loader

    torch.set_num_threads(1)
    return potential_loader.load_calculator(path, FAMILIES.get(path.suffix, 'mace'))


def relax(atoms: Atoms, calculator: Any) -> Atoms:
    """Return the crystal with relaxed cell and atoms; it keeps its symmetry by the forces themselves."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms.calc = calculator
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=500)
    return atoms


def main() -> None:
    potential, structures, output = map(Path, sys.argv[1:4])
    calculator = load_calculator(potential)
    with np.load(structures) as file:
        numbers, cell, positions = file['numbers'], file['cell'], file['positions']
    # A MACE knows its elements by number; the others here know nearly all.
    table = getattr(calculator, 'z_table', None)
    unknown = {chemical_symbols[number] for number in numbers if table and number not in table.zs}
    if unknown:
        sys.exit(f'{potential.name} does not know {", ".join(sorted(unknown))}: give another one by --foundation')
    if '--relax' in sys.argv[4:]:
        atoms = relax(Atoms(numbers=numbers, positions=positions[0], cell=cell, pbc=True), calculator)
        np.savez(output, cell=atoms.cell[:], positions=atoms.positions)
        return
    forces = np.empty(positions.shape)
    for index, place in enumerate(positions):
        atoms = Atoms(numbers=numbers, positions=place, cell=cell, pbc=True)
        calculator.calculate(atoms, properties=['forces'])
        forces[index] = calculator.results['forces']
    np.savez(output, forces=forces)


if __name__ == '__main__':
    main()
