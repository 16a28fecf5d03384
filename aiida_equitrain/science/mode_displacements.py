"""Displacements of a commensurate supercell along an imaginary mode, and the symmetric directions of degenerate ones.

A degenerate mode, or one whose wave is complex, is a space of displacements. Its directions of high symmetry are those
that a subgroup of the crystal's space group leaves alone while it leaves no other direction alone (the
one-dimensional fixed spaces of the isotropy subgroups); structures displaced along them keep that subgroup.
Stokes and Hatch, Isotropy Subgroups of the 230 Crystallographic Space Groups, World Scientific (1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import spglib
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.cells import get_supercell

from ..common.phonon_settings import SYMPREC
from .soft_modes import SoftMode, commensurate_matrix

Array = NDArray[np.float64]

#: Fixed spaces beyond this number are not intersected any more: by then the small ones are there.
MAX_SPACES = 400
_SAME = 1e-4


@dataclass
class ModeSpace:
    """The displacements of one mode in its supercell.

    :param matrix: rows of the supercell in units of the primitive lattice vectors, shape (3, 3).
    :param numbers: atomic numbers (N,).
    :param positions: of the undisplaced supercell, Å, shape (N, 3).
    :param cell: in rows, Å, shape (3, 3).
    :param masses: amu, shape (N,).
    :param basis: orthonormal mass-weighted displacements, shape (dimension, N, 3).
    """

    matrix: NDArray[np.int64]
    numbers: NDArray[np.int64]
    positions: Array
    cell: Array
    masses: Array
    basis: Array


@dataclass
class Direction:
    """A direction of high symmetry in a mode's space.

    :param coefficients: in the basis of the space, normalised.
    :param pattern: displacements whose longest is 1, shape (N, 3).
    :param two_sided: whether the opposite direction is another structure, so that both sides have to be looked at.
    """

    coefficients: Array
    pattern: Array
    two_sided: bool


def mode_space(phonon: Phonopy, mode: SoftMode) -> ModeSpace:
    """Return the displacements of a mode in the smallest supercell that it fits into.

    :raises ValueError: if the q-point is not commensurate.
    """
    primitive = phonon.primitive
    rows = commensurate_matrix(mode.qpoint)
    _, reduction = minkowski_reduce(rows @ primitive.cell)
    rows = np.array(reduction, dtype=np.int64) @ rows
    if np.linalg.det(rows) < 0:
        rows = -rows
    supercell: Any = get_supercell(primitive, rows.T)
    order = [supercell.u2u_map[index] for index in supercell.s2u_map]
    waves = np.exp(2j * np.pi * (supercell.positions @ np.linalg.inv(primitive.cell)) @ mode.qpoint)
    vectors = mode.eigenvectors.reshape(len(mode.eigenvectors), -1, 3)[:, order] * waves[None, :, None]
    parts = np.concatenate([vectors.real, vectors.imag]).reshape(2 * len(vectors), -1)
    _, values, basis = np.linalg.svd(parts, full_matrices=False)
    kept = basis[values > 1e-4 * values[0]].reshape(-1, len(order), 3)
    return ModeSpace(
        rows, np.array(supercell.numbers), np.array(supercell.positions), np.array(supercell.cell),
        np.array(supercell.masses), kept,
    )  # fmt: skip


def symmetric_directions(space: ModeSpace, symprec: float = SYMPREC, maximum: int = 6) -> list[Direction]:
    """Return one direction of high symmetry of each kind, those that keep most of the symmetry first.

    :param maximum: further ones are left out.
    """
    matrices = representation(space, symprec)
    found: list[tuple[int, Array, bool]] = []
    for vector in _fixed_directions(matrices):
        images = matrices @ vector
        if any(np.abs(images @ other).max() > 1 - _SAME for _, other, _ in found):
            continue
        kept = int(np.sum(images @ vector > 1 - _SAME))
        found.append((kept, vector, bool((images @ vector).min() > -1 + _SAME)))
    found.sort(key=lambda item: -item[0])
    return [Direction(vector, pattern_of(space, vector), two_sided) for _, vector, two_sided in found[:maximum]]


def pattern_of(space: ModeSpace, coefficients: Any) -> Array:
    """Return the displacements of a direction, shape (N, 3), scaled so that the longest is 1 (of whatever unit)."""
    displacements = np.tensordot(np.asarray(coefficients, dtype=float), space.basis, axes=1)
    displacements = displacements / np.sqrt(space.masses)[:, None]
    result: Array = displacements / np.linalg.norm(displacements, axis=1).max()
    return result


def representation(space: ModeSpace, symprec: float = SYMPREC) -> Array:
    """Return how the space group of the undisplaced supercell acts on the mode's space, shape (operations, d, d).

    Operations that lead out of the space (to another q-point of the star) are left out, equal matrices appear once.
    """
    fractional = space.positions @ np.linalg.inv(space.cell)
    crystal: Any = (space.cell, fractional, space.numbers)
    found: Any = spglib.get_symmetry(crystal, symprec=symprec)
    dimension = len(space.basis)
    unique: dict[tuple[float, ...], Array] = {}
    for rotation, translation in zip(found['rotations'], found['translations'], strict=True):
        moved = fractional @ rotation.T + translation
        difference = moved[:, None, :] - fractional[None, :, :]
        distances = np.linalg.norm((difference - np.round(difference)) @ space.cell, axis=2)
        target = distances.argmin(axis=1)
        cartesian = space.cell.T @ rotation @ np.linalg.inv(space.cell.T)
        images = np.empty_like(space.basis)
        images[:, target] = space.basis @ cartesian.T
        matrix = np.einsum('aix,bix->ab', space.basis, images)
        if np.abs(matrix.T @ matrix - np.eye(dimension)).max() < 1e-2:
            unique.setdefault(tuple(np.round(matrix, 2).ravel() + 0.0), matrix)
    return np.array(list(unique.values()))


def _fixed_directions(matrices: Array) -> list[Array]:
    """Return unit vectors of all one-dimensional fixed spaces; the basis itself where there is none."""
    dimension = matrices.shape[1]
    if dimension == 1:
        return [np.ones(1)]
    spaces: list[Array] = []
    for matrix in matrices:
        _add_space(spaces, _intersection([matrix - np.eye(dimension)]))
    waiting = [(a, b) for a, b in combinations(range(len(spaces)), 2)]
    while waiting and len(spaces) < MAX_SPACES:
        first, second = waiting.pop()
        before = len(spaces)
        _add_space(spaces, _intersection([np.eye(dimension) - spaces[first], np.eye(dimension) - spaces[second]]))
        if len(spaces) > before:
            waiting.extend((index, before) for index in range(before))
    lines = [space for space in spaces if round(float(np.trace(space))) == 1]
    vectors = [np.linalg.eigh(space)[1][:, -1] for space in lines]
    return vectors or list(np.eye(dimension))


def _intersection(conditions: list[Array]) -> Array:
    """Return the projector on the vectors that all conditions map to zero."""
    _, values, rows = np.linalg.svd(np.concatenate(conditions))
    kernel = rows[values < _SAME * 10]
    result: Array = kernel.T @ kernel
    return result


def _add_space(spaces: list[Array], projector: Array) -> None:
    if np.trace(projector) > 0.5 and all(np.abs(projector - other).max() > 1e-3 for other in spaces):
        spaces.append(projector)
