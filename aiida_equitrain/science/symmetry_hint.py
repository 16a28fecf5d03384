"""Tell of a crystal whose atoms miss a higher symmetry by little more than the tolerance: it costs displacements."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from .phases import space_group
from .structures import is_left_handed
from .supercells import species_of

#: Tolerance, Å, at which another symmetry is looked for: coordinates with four digits miss theirs by less.
LOOSE = 1e-2


def symmetry_hint(atoms: Atoms, symprec: float, supercell_matrix: Any = None) -> str | None:
    """Return a sentence if the space group at 0.01 Å is higher than at the tolerance in use, ``None`` if it is not.

    :param symprec: the tolerance in use, Å.
    :param supercell_matrix: rows of the supercell of the phonons; without it that of the unit cell itself is counted.
    """
    if symprec >= LOOSE:
        return None
    used, higher = (space_group(atoms, tolerance) for tolerance in (symprec, LOOSE))
    if used == higher:
        return None
    enough = next((tolerance for tolerance in _between(symprec) if space_group(atoms, tolerance) == higher), LOOSE)
    rows = np.eye(3, dtype=int) if supercell_matrix is None else supercell_matrix
    numbers = [count_displacements(atoms, rows, tolerance) for tolerance in (symprec, enough)]
    return (
        f'the space group of the structure is {used} at the tolerance in use ({symprec:g} Å), but {higher} at '
        f'{enough:g} Å: {numbers[0]} displacements instead of {numbers[1]}; if it is meant to be {higher.symbol}, '
        f'give more digits or set `symprec: {enough:g}` (`--symprec {enough:g}`)'
    )


def count_displacements(atoms: Atoms, rows: Any, symprec: float) -> int:
    """Return the number of displacements that phonopy needs.

    :param rows: of the supercell, in units of the lattice vectors.
    """
    sign = -1 if is_left_handed(atoms.cell[:]) else 1
    symbols = [f'{symbol}{tag or ""}' for symbol, tag in zip(atoms.symbols, atoms.get_tags(), strict=True)]
    cell = PhonopyAtoms(symbols=symbols, cell=sign * atoms.cell[:], positions=atoms.positions)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon = Phonopy(
            cell,
            np.transpose(rows),
            primitive_matrix='auto' if len(set(species_of(atoms))) == len(set(atoms.numbers.tolist())) else 'P',
            symprec=symprec,
            distinguish_symbol_index=True,
            log_level=0,
        )
        phonon.generate_displacements()
    return len(phonon.displacements)


def _between(symprec: float) -> list[float]:
    """Return round tolerances above the one in use, the tightest first."""
    return [tolerance for tolerance in (1e-5, 1e-4, 1e-3, 2e-3, 5e-3) if tolerance > symprec]
