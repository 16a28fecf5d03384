"""The undisplaced cell that labelled frames are supercells of: lattice and supercell matrix."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from numpy.typing import NDArray

from .force_constants import find_supercell_matrix
from .frames import Frame
from .phonopy_cells import to_phonopy
from .supercells import species_of

Array = NDArray[np.float64]

#: Lattices that differ by less than this, in parts, are one.
SAME = 1e-4
#: Frames whose lattice differs by more from that of the structure are of another state of it.
MAX_STRAIN = 0.05


def labelled_cell(
    atoms: Atoms,
    frames: Iterable[Frame],
    *,
    roles: Collection[str] = (),
    supercell_matrix: Any = None,
    symprec: float,
) -> tuple[Array, list[list[int]]]:
    """Find the lattice of the frames that are unstrained supercells of a crystal.

    Frames of a strained cell have lost symmetry of the crystal. Of several lattices that have it the nearest one is
    taken, of several supercells of this one that with most frames.

    :param atoms: the crystal, with another lattice perhaps.
    :param roles: frames of other roles do not count.
    :param supercell_matrix: rows of the supercell; frames of others do not count.
    :returns: lattice vectors of ``atoms`` in that lattice (rows, Å), and the rows of the supercell.
    :raises ValueError: with a sentence, if there is no such frame.
    """
    cell = to_phonopy(atoms)
    wanted = None if supercell_matrix is None else np.array(supercell_matrix)
    found: list[tuple[Array, Any, float, int]] = []
    number = 0
    for frame in frames:
        if roles and frame.role not in roles:
            continue
        number += 1
        try:
            rows = find_supercell_matrix(cell, frame).T
        except ValueError:
            continue
        if wanted is not None and not np.array_equal(rows, wanted):
            continue
        lattice = np.array(np.linalg.solve(rows, frame.cell), dtype=float)
        strain = float(np.abs(np.linalg.solve(atoms.cell[:], lattice) - np.eye(3)).max())
        for index, (other, matrix, distance, count) in enumerate(found):
            if np.array_equal(matrix, rows) and np.abs(np.linalg.solve(other, lattice) - np.eye(3)).max() < SAME:
                found[index] = (other, matrix, distance, count + 1)
                break
        else:
            found.append((lattice, rows, strain, 1))
    group = _space_group(atoms, atoms.cell[:], symprec)
    fitting = [item for item in found if item[2] <= MAX_STRAIN and _space_group(atoms, item[0], symprec) == group]
    if not fitting:
        which = 'a supercell of the crystal' if wanted is None else f'the supercell {wanted.tolist()} of the crystal'
        raise ValueError(
            f'none of {number} frames is {which} in an unstrained cell; label some with displaced atoms in the cell '
            'of the crystal, as `equitrain.label` does by its recipe `harmonic`'
        )
    nearest = min(item[2] for item in fitting)
    lattice, rows, _, _ = max((item for item in fitting if item[2] < nearest + SAME), key=lambda item: item[3])
    return lattice, rows.tolist()


def _space_group(atoms: Atoms, cell: Array, symprec: float) -> int:
    """Return the number of the space group of a crystal in another lattice, 0 if there is none."""
    given: Any = (cell, atoms.get_scaled_positions(), species_of(atoms))
    found: Any = spglib.get_symmetry_dataset(given, symprec=symprec)
    return 0 if found is None else int(found.number)
