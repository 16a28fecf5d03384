"""Find how the primitive cell of one calculation is made from that of another calculation of the same crystal."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy.structure.atoms import PhonopyAtoms

Array = NDArray[np.float64]

#: How far relaxation may strain a lattice before it is taken for another crystal.
MAX_STRAIN = 0.15
#: How far an atom may sit from its partner, as a fraction of the cell's cube root of volume.
MAX_SHIFT = 0.2
#: Two cells with less strain, and atoms less far from their partners (Å), are one crystal, not one and its relaxation.
SAME_STRAIN, SAME_SHIFT = 1e-3, 0.02
#: What a displacement of the atoms (Å) has to gain for the cells not to be taken in the orientation that they have.
WORTH_TURNING = 0.05
#: Below, a magnetic moment (Bohr magnetons) has no direction.
SMALL_MOMENT = 0.1


def match_lattices(reference: PhonopyAtoms, other: PhonopyAtoms) -> NDArray[np.int64]:
    """Return the integer matrix M with ``other.cell ≈ M @ reference.cell``, up to a rotation and a small strain.

    A q-point of the reference, fractional, is ``q @ M.T`` in the other's basis. Cells that lie in the same orientation
    are left in it if their atoms agree as well as in any other; else the smallest displacement of the atoms decides,
    and of equal ones the smallest strain. In a lattice that is nearly cubic, strain alone would choose by chance.

    :raises ValueError: one sentence, if the two are not the same crystal.
    """
    if sorted(reference.numbers) != sorted(other.numbers):
        raise ValueError(
            'the two are not the same crystal: the primitive cells hold '
            f'{"".join(sorted(reference.symbols))} and {"".join(sorted(other.symbols))}.'
        )
    matrices, strains = _candidates(np.array(reference.cell), np.array(other.cell))
    shifts = np.full(len(matrices), np.inf)
    for index, (matrix, strain) in enumerate(zip(matrices, strains, strict=True)):
        shifts[index] = _shift(reference, other, matrix)
        if shifts[index] < SAME_SHIFT and strain < SAME_STRAIN:
            return np.array(matrix)
    if not len(shifts) or not np.isfinite(shifts.min()):
        raise ValueError(
            'the two are not the same crystal: no choice of basis puts the primitive cells onto one another.'
        )
    # The candidates come with the same orientation first, then by strain.
    return np.array(matrices[np.flatnonzero(shifts <= shifts.min() + WORTH_TURNING)[0]])


def _candidates(
    metric_of: NDArray[np.float64], target_of: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the matrices that strain a lattice little, and the strains: the same orientation, then by strain."""
    metric, target = metric_of @ metric_of.T, target_of @ target_of.T
    matrices = _unimodular()
    direct = np.rint(target_of @ np.linalg.inv(metric_of)).astype(np.int64)
    has_direct = abs(round(np.linalg.det(direct))) == 1
    if has_direct:
        matrices = np.concatenate([direct[None], matrices])
    lengths = np.sqrt(np.outer(np.diag(target), np.diag(target)))
    strains = np.abs((matrices @ metric @ matrices.transpose(0, 2, 1) - target) / lengths).max(axis=(1, 2))
    # Equal strains keep their order, the identity first.
    order = np.argsort(np.round(strains, 3), kind='stable')
    if has_direct:
        order = np.concatenate([[0], order[order != 0]])
    order = order[strains[order] < 2 * MAX_STRAIN]
    return matrices[order], strains[order]


def _shift(reference: PhonopyAtoms, other: PhonopyAtoms, matrix: NDArray[np.int64]) -> float:
    """Return how far the atoms lie from their partners at most (Å), up to a common shift; infinite without partners."""
    cell = np.array(other.cell)
    limit = MAX_SHIFT * abs(np.linalg.det(cell)) ** (1 / 3)
    # r = x_ref · A_ref = x_other · (M A_ref)
    wanted = np.array(reference.scaled_positions) @ np.linalg.inv(matrix)
    found = np.array(other.scaled_positions)
    best = np.inf
    for numbers, others in _species(reference, other):
        anchor = min(set(numbers.tolist()), key=lambda number: int((numbers == number).sum()))
        start = np.flatnonzero(numbers == anchor)[0]
        for partner in np.flatnonzero(others == anchor):
            difference = (wanted + found[partner] - wanted[start])[:, None] - found[None]
            difference -= np.rint(difference)
            distance = np.linalg.norm(difference @ cell, axis=2)
            distance[numbers[:, None] != others[None]] = np.inf
            nearest = distance.argmin(axis=1)
            if len(set(nearest.tolist())) == len(numbers) and distance.min(axis=1).max() < limit:
                moved = (difference @ cell)[np.arange(len(numbers)), nearest]
                best = min(best, float(np.linalg.norm(moved - moved.mean(axis=0), axis=1).max()))
    return best


def _species(reference: PhonopyAtoms, other: PhonopyAtoms) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return what tells the atoms of both apart: the element, and whether its moment is up or down if both have them.

    Which direction is up is a convention: both ways are returned.
    """
    numbers, others = (np.array(cell.numbers, dtype=np.int64) for cell in (reference, other))
    moments: list[Any] = [cell.magnetic_moments for cell in (reference, other)]
    if any(moment is None or np.ndim(moment) != 1 for moment in moments):
        return [(numbers, others)]
    ups, downs = (np.where(np.abs(moment) < SMALL_MOMENT, 0, np.sign(moment)).astype(np.int64) for moment in moments)
    pairs = [(1000 * ups + numbers, 1000 * sign * downs + others) for sign in (1, -1)]
    return [pair for pair in pairs if sorted(pair[0]) == sorted(pair[1])] or [(numbers, others)]


@cache
def _unimodular() -> NDArray[np.int64]:
    """Return all integer matrices of determinant ±1 with elements -1, 0, 1, the identity first."""
    matrices = np.array(list(product((0, 1, -1), repeat=9)), dtype=np.int64).reshape(-1, 3, 3)
    matrices = matrices[np.abs(np.rint(np.linalg.det(matrices))) == 1]
    return np.concatenate([np.eye(3, dtype=np.int64)[None], matrices])
