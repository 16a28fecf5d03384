"""Labelled frames on a given supercell, unstrained: which of a dataset they are, and why the others are not.

It needs no phonopy: the Python of a potential has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from .frames import Frame

Array = NDArray[np.float64]

#: Largest difference of two cells, in parts, that is no strain.
STRAIN_TOLERANCE = 1e-3
#: From this difference on the cell is that of another supercell.
OTHER_SUPERCELL = 0.2


def why_not(
    frame: Frame,
    numbers: Iterable[int],
    cell: Array,
    *,
    roles: Collection[str] = (),
    strain_tolerance: float = STRAIN_TOLERANCE,
) -> str:
    """Return in a few words why a frame is not on a supercell, or an empty text.

    :param numbers: atomic numbers of the supercell, in any order.
    :param cell: its lattice vectors in rows, Å, shape (3, 3).
    :param roles: frames of other roles are left out; all are taken if there are none.
    """
    if roles and frame.role not in roles:
        return f'role `{frame.role}`'
    if Counter(int(number) for number in numbers) != Counter(int(number) for number in frame.numbers):
        return 'another number of atoms, or other elements'
    strain = float(np.abs(np.linalg.solve(cell, frame.cell) - np.eye(3)).max())
    if strain > OTHER_SUPERCELL:
        return 'another supercell'
    return 'strained' if strain > strain_tolerance else ''
