"""Find how the primitive cell of one calculation is made from that of another calculation of the same crystal."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from phonopy.structure.atoms import PhonopyAtoms

#: How far relaxation may strain a lattice before it is taken for another crystal.
MAX_STRAIN = 0.15
#: How far an atom may sit from its partner, as a fraction of the cell's cube root of volume.
MAX_SHIFT = 0.2


def match_lattices(reference: PhonopyAtoms, other: PhonopyAtoms) -> NDArray[np.int64]:
    """Return the integer matrix M with ``other.cell ≈ M @ reference.cell``, up to a rotation and a small strain.

    A q-point of the reference, fractional, is ``q @ M.T`` in the other's basis. The atoms decide between the bases that
    the lattice alone cannot tell apart.

    :raises ValueError: one sentence, if the two are not the same crystal.
    """
    if sorted(reference.numbers) != sorted(other.numbers):
        raise ValueError(
            'the two are not the same crystal: the primitive cells hold '
            f'{"".join(sorted(reference.symbols))} and {"".join(sorted(other.symbols))}.'
        )
    target = np.array(other.cell) @ np.array(other.cell).T
    metric = np.array(reference.cell) @ np.array(reference.cell).T
    candidates = _unimodular()
    direct = np.rint(np.array(other.cell) @ np.linalg.inv(np.array(reference.cell))).astype(np.int64)
    if abs(round(np.linalg.det(direct))) == 1:
        candidates = np.concatenate([direct[None], candidates])
    lengths = np.sqrt(np.outer(np.diag(target), np.diag(target)))
    deviations = np.abs((candidates @ metric @ candidates.transpose(0, 2, 1) - target) / lengths).max(axis=(1, 2))
    allowed = np.flatnonzero(deviations < 2 * MAX_STRAIN)
    # Equal deviations keep their order: the same orientation first, then the identity.
    for index in allowed[np.argsort(np.round(deviations[allowed], 3), kind='stable')]:
        if _atoms_agree(reference, other, candidates[index]):
            return np.array(candidates[index])
    raise ValueError('the two are not the same crystal: no choice of basis puts the primitive cells onto one another.')


def _atoms_agree(reference: PhonopyAtoms, other: PhonopyAtoms, matrix: NDArray[np.int64]) -> bool:
    """Say whether the atoms, species by species, lie at the same places up to a common shift."""
    cell = np.array(other.cell)
    limit = MAX_SHIFT * abs(np.linalg.det(cell)) ** (1 / 3)
    # r = x_ref · A_ref = x_other · (M A_ref)
    wanted = np.array(reference.scaled_positions) @ np.linalg.inv(matrix)
    found = np.array(other.scaled_positions)
    numbers, others = np.array(reference.numbers), np.array(other.numbers)
    anchor = min(set(numbers.tolist()), key=lambda number: int((numbers == number).sum()))
    start = np.flatnonzero(numbers == anchor)[0]
    for partner in np.flatnonzero(others == anchor):
        difference = (wanted + found[partner] - wanted[start])[:, None] - found[None]
        difference -= np.rint(difference)
        distance = np.linalg.norm(difference @ cell, axis=2)
        distance[numbers[:, None] != others[None]] = np.inf
        nearest = distance.argmin(axis=1)
        if len(set(nearest.tolist())) == len(numbers) and distance.min(axis=1).max() < limit:
            return True
    return False


@cache
def _unimodular() -> NDArray[np.int64]:
    """Return all integer matrices of determinant ±1 with elements -1, 0, 1, the identity first."""
    matrices = np.array(list(product((0, 1, -1), repeat=9)), dtype=np.int64).reshape(-1, 3, 3)
    matrices = matrices[np.abs(np.rint(np.linalg.det(matrices))) == 1]
    return np.concatenate([np.eye(3, dtype=np.int64)[None], matrices])
