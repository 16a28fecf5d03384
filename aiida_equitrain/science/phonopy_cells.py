"""Cells of phonopy as ASE has them, and the other way round: elements, lattice and positions."""

from __future__ import annotations

from ase import Atoms
from phonopy.structure.atoms import PhonopyAtoms


def to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    """Return a cell of phonopy."""
    return PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell[:], positions=atoms.positions)


def to_ase(cell: PhonopyAtoms) -> Atoms:
    """Return periodic ASE atoms."""
    return Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)
