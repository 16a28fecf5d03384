"""Rattled, strained and volume-scaled structures, from which relaxation trajectories start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray


def rattled_structures(
    atoms: Atoms, volume_changes: Sequence[float], displacement: float, strain: float, seed: int
) -> list[Atoms]:
    """Return one rattled structure per volume.

    Lattice vectors and angles are perturbed at random, the cell is scaled to the volume asked for, and atoms are
    displaced by normally distributed vectors. The published recipe leaves the distributions open: here they are uniform
    within ``strain`` for lengths and angles, and normal for displacements. Volumes are exact.

    :param volume_changes: relative change of the volume per structure, such as -0.05.
    :param displacement: root mean square length of an atom's displacement, Å.
    :param strain: largest relative change of a lattice vector's length and of an angle.
    :param seed: of the random numbers; the same seed gives the same structures.
    """
    generator = np.random.default_rng(seed)
    structures = []
    for change in volume_changes:
        structure = atoms.copy()
        cell = strained_cell(atoms.cell[:], strain, generator)
        cell *= np.cbrt((1 + change) * abs(np.linalg.det(atoms.cell[:])) / abs(np.linalg.det(cell)))
        structure.set_cell(cell, scale_atoms=True)
        shifts = generator.normal(scale=displacement / np.sqrt(3), size=(len(atoms), 3))
        structure.positions += shifts - shifts.mean(axis=0)
        structures.append(structure)
    return structures


def strained_cell(cell: NDArray[np.float64], strain: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return lattice vectors whose lengths and mutual angles were changed by at most ``strain``, relatively.

    The orientation is kept as far as the new lengths and angles allow (no rotation).

    :param cell: lattice vectors in rows, Å, shape (3, 3).
    """
    lengths = np.linalg.norm(cell, axis=1) * (1 + generator.uniform(-strain, strain, size=3))
    units = cell / np.linalg.norm(cell, axis=1)[:, None]
    pairs = ((1, 2), (0, 2), (0, 1))
    angles = np.array([np.arccos(np.clip(units[i] @ units[j], -1, 1)) for i, j in pairs])
    angles *= 1 + generator.uniform(-strain, strain, size=3)
    metric = np.diag(lengths**2)
    for (i, j), angle in zip(pairs, angles, strict=True):
        metric[i, j] = metric[j, i] = lengths[i] * lengths[j] * np.cos(angle)
    # the symmetric strain U with (cell U)(cell U)^T = metric: a square root, so nothing is rotated
    inverse = np.linalg.inv(cell)
    values, vectors = np.linalg.eigh(inverse @ metric @ inverse.T)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # angles of nearly flat cells can be such that no cell has them: then only the lengths are changed
    result: NDArray[np.float64] = cell @ root if np.min(values) > 0 else units * lengths[:, None]
    return result
