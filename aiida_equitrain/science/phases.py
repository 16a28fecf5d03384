"""Phases behind an instability: their symmetry, which are the same, and how well they are found.

Definitions where Grandel, Benner and George (2026) give none. A child phase is a structure, relaxed with its cell, that
was reached from an imaginary mode and lies below its parent by more than a tolerance of energy. It is the parent again,
or another child, if pymatgen's structure matcher maps one onto the other with the volume as it is. A phase of DFT is
*found* if a child of the potential has its space group and matches it (volumes scaled, as functionals differ in it); a
child of the potential that matches no phase of DFT is *wrong*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from .supercells import species_of


@dataclass(frozen=True)
class SpaceGroup:
    """International symbol and number."""

    symbol: str
    number: int

    def __str__(self) -> str:
        """Return it as it is written: ``R3m (160)``."""
        return f'{self.symbol} ({self.number})'


def space_group(atoms: Atoms, symprec: float) -> SpaceGroup:
    """Return the space group of a structure within a tolerance in Å; P1 where none is found."""
    dataset: Any = spglib.get_symmetry_dataset(_cell(atoms), symprec=symprec)
    return SpaceGroup('P1', 1) if dataset is None else SpaceGroup(str(dataset.international), int(dataset.number))


def symmetric_primitive(atoms: Atoms, symprec: float) -> Atoms:
    """Return the primitive cell with positions and cell as the space group wants them, turned as the structure is."""
    found: Any = spglib.standardize_cell(_cell(atoms), to_primitive=True, no_idealize=False, symprec=symprec)
    dataset: Any = spglib.get_symmetry_dataset(_cell(atoms), symprec=symprec)
    if found is None or dataset is None:
        return atoms.copy()  # type: ignore[no-any-return]
    cell, positions, species = found
    numbers = [number % 1000 for number in species]
    return Atoms(numbers=numbers, scaled_positions=positions, cell=cell @ dataset.std_rotation_matrix, pbc=True)


def same_axes(first: Atoms, second: Atoms, strain: float = 0.06, shift: float = 0.06) -> bool:
    """Return whether two cells have the same atoms in the same order along the same axes: tensors of one fit the other.

    :param strain: largest difference of the lattice vectors, relative to the longest.
    :param shift: largest difference of scaled positions, a common one left out.
    """
    if list(first.numbers) != list(second.numbers):
        return False
    lattices = np.array(first.cell), np.array(second.cell)
    if np.abs(lattices[0] - lattices[1]).max() > strain * np.linalg.norm(lattices[1], axis=1).max():
        return False
    apart = first.get_scaled_positions() - second.get_scaled_positions()
    apart -= apart[0]
    return bool(np.abs(apart - np.round(apart)).max() <= shift)


def same_structure(first: Atoms, second: Atoms, tolerance: float = 0.1, scale: bool = False) -> bool:
    """Return whether two structures are the same crystal.

    :param tolerance: RMS displacement in units of (volume per atom)^(1/3), which pymatgen calls ``stol``.
    :param scale: whether volumes are made equal first.
    """
    matcher: Any = StructureMatcher(ltol=0.05, stol=tolerance, angle_tol=2.0, scale=scale, primitive_cell=True)
    convert = AseAtomsAdaptor.get_structure
    rms = matcher.get_rms_dist(convert(first), convert(second))
    return rms is not None and bool(rms[0] <= tolerance)


def distinct(structures: Sequence[Atoms], energies: Sequence[float], symprec: float, tolerance: float) -> list[int]:
    """Return the indices of structures that differ, the lowest in energy first, the lowest of each kind.

    :param energies: per atom, eV.
    """
    kept: list[int] = []
    groups = [space_group(atoms, symprec) for atoms in structures]
    for index in np.argsort(energies, kind='stable'):
        twins = (
            other for other in kept
            if groups[other] == groups[index] and same_structure(structures[other], structures[index], tolerance)
        )  # fmt: skip
        if next(twins, None) is None:
            kept.append(int(index))
    return kept


def compare_phases(
    candidates: Mapping[str, Atoms], references: Mapping[str, Atoms], symprec: float, tolerance: float = 0.1
) -> dict[str, Any]:
    """Return which phases of DFT are found among those of a potential.

    :param candidates: phases of the potential by name.
    :param references: those of DFT.
    :returns: ``found_by``: for each phase of DFT the candidates that have its space group and match it; ``wrong``: the
        candidates that match none; the numbers ``n_reference_phases``, ``n_phases_found`` (of DFT's) and
        ``n_phases_wrong``. Several candidates that match the same phase of DFT find it once, and none of them is wrong.
    """
    groups = {name: space_group(atoms, symprec) for name, atoms in candidates.items()}
    found_by = {}
    for name, reference in references.items():
        group = space_group(reference, symprec)
        found_by[name] = [
            other
            for other, atoms in candidates.items()
            if groups[other] == group and same_structure(atoms, reference, tolerance, scale=True)
        ]
    right = {other for names in found_by.values() for other in names}
    wrong = [name for name in candidates if name not in right]
    return {
        'found_by': found_by,
        'wrong': wrong,
        'n_reference_phases': len(references),
        'n_phases_found': sum(1 for names in found_by.values() if names),
        'n_phases_wrong': len(wrong),
    }


def _cell(atoms: Atoms) -> Any:
    return atoms.cell[:], atoms.get_scaled_positions(), species_of(atoms)
