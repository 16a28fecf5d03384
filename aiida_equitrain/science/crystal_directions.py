"""Directions in a crystal as they are written: whole numbers along the conventional axes, alike in every run."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Directions are whole numbers up to this one, if they are no further from them, relatively.
LARGEST, SAME = 6, 0.03


def crystal_direction(cell: Array, scaled_positions: Array, numbers: Any, vector: Array, symprec: float = 1e-2) -> str:
    """Return a direction along the conventional axes of a crystal, such as ``[011]``.

    Of the directions that the point group makes of it, it is always the same one: the fewest negative numbers, then the
    smallest ones first. Where no small whole numbers are near, the largest component is 1.

    :param cell: lattice vectors in rows, Å, shape (3, 3).
    :param vector: Cartesian, shape (3,), not zero.
    """
    crystal: Any = (cell, scaled_positions, numbers)
    # A supercell has the symmetry of its shape only; its primitive cell, which lies as it does, that of the crystal.
    primitive: Any = spglib.standardize_cell(crystal, to_primitive=True, no_idealize=True, symprec=symprec)
    if primitive is not None:
        crystal, cell = primitive, primitive[0]
    dataset: Any = spglib.get_symmetry_dataset(crystal, symprec=symprec)
    lattice = np.array(cell, dtype=float).T
    if dataset is None:
        conventional, rotations = lattice, [np.eye(3)]
    else:
        conventional = lattice @ np.linalg.inv(dataset.transformation_matrix)
        rotations = [lattice @ rotation @ np.linalg.inv(lattice) for rotation in dataset.rotations]
    images = np.array([np.linalg.solve(conventional, rotation @ vector) for rotation in rotations])
    written = [_written(sign * image) for image, sign in product(images, (1, -1))]
    best = min(written, key=lambda values: (sum(value < -1e-9 for value in values), [round(v, 6) for v in values]))
    if all(float(value).is_integer() for value in best):
        return '[' + ''.join(_digit(int(value)) for value in best) + ']'
    return '[' + ' '.join(f'{value:.2f}'.replace('-', '−') for value in best) + ']'


def _written(components: Array) -> list[float]:
    """Return components as small whole numbers, or else with a largest one of 1."""
    scaled = components / np.abs(components).max()
    for factor in range(1, LARGEST + 1):
        whole = np.rint(factor * scaled)
        if np.abs(factor * scaled - whole).max() < SAME * factor:
            return [float(value) + 0.0 for value in whole]
    return [float(value) + 0.0 for value in np.round(scaled, 2)]


def _digit(value: int) -> str:
    """Return a number with the sign above it, as crystallographers write it."""
    return f'{abs(value)}' + ('\u0305' if value < 0 else '')
