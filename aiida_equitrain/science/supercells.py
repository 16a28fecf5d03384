"""Nearly cubic supercells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.build import make_supercell as ase_make_supercell
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from ..common.phonon_settings import SYMPREC

Matrix = NDArray[np.int64]

#: Cosines of angles up to which a cell counts as nearly cubic (84 to 96 degrees), and as tolerable (75 to 105 degrees).
NEARLY_CUBIC, TOLERABLE = 0.1, 0.26
#: A supercell with the crystal's point group may be this much larger than the smallest: it needs fewer displacements.
SYMMETRY_BONUS = 1.5
#: With what newer versions of spglib say that they find no symmetry, where older ones return nothing.
NOT_FOUND: Any = getattr(spglib, 'SpglibError', ())


def species_of(atoms: Atoms) -> list[int]:
    """Return a number for each atom that differs with its element and, where kinds have tags, with its kind."""
    return [1000 * tag + number for number, tag in zip(atoms.numbers.tolist(), atoms.get_tags().tolist(), strict=True)]


def check_symprec(atoms: Atoms, symprec: float) -> str | None:
    """Return a sentence if a tolerance would take different atoms for the same one, ``None`` if it would not.

    :param symprec: Å.
    """
    limit = min(2 * symprec, 1.001 * np.linalg.norm(atoms.cell[:], axis=1).min())
    nearest = neighbor_list('d', atoms, cutoff=limit).min(initial=np.inf)
    if 2 * symprec < nearest:
        return None
    return (
        f'`symprec` is {symprec:g} Å, too large for this structure, whose atoms are as near as {nearest:.2f} Å: it has '
        f'to be below half of that; 1e-5 to 0.01 Å is usual'
    )


@dataclass(frozen=True)
class Symmetry:
    """What the choice of a supercell has to know of a crystal.

    :param rotations: of the point group, in units of the lattice vectors, shape (n, 3, 3).
    :param orientation: turns the crystal so that its conventional axes lie as is the convention, shape (3, 3).
    """

    rotations: Matrix
    orientation: NDArray[np.float64]

    @classmethod
    def of(cls, atoms: Atoms, symprec: float = SYMPREC, species: Sequence[int] | None = None) -> Symmetry:
        """Find the symmetry of a crystal; only the identity where there is none to be found.

        :param species: numbers that tell its atoms apart; by default :func:`species_of`.
        :raises ValueError: with the sentence of :func:`check_symprec`.
        """
        if problem := check_symprec(atoms, symprec):
            raise ValueError(problem)
        cell = (atoms.cell[:], atoms.get_scaled_positions(), species or species_of(atoms))
        try:
            found = spglib.get_symmetry_dataset(cell, symprec=symprec)
        except NOT_FOUND:
            found = None
        if found is None:
            return cls(np.eye(3, dtype=np.int64)[None], np.eye(3))
        return cls(np.unique(found.rotations, axis=0).astype(np.int64), np.array(found.std_rotation_matrix))


def supercell_rows(
    atoms: Atoms,
    min_length: float,
    max_length: float | None = None,
    any_shape: bool = False,
    symprec: float = SYMPREC,
) -> list[list[int]]:
    """Return :func:`nearly_cubic_matrix` of a crystal with its symmetry, as lists.

    The choice takes most of a second and is remembered: a WorkChain repeats that of the check before it.

    :param symprec: tolerance of the space group, Å.
    """
    cell, positions = (tuple(map(tuple, rows.tolist())) for rows in (atoms.cell[:], atoms.positions))
    lengths = (min_length, max_length)
    rows = _supercell_rows(cell, positions, tuple(species_of(atoms)), lengths, any_shape, symprec)
    return [list(row) for row in rows]


@lru_cache(maxsize=32)
def _supercell_rows(
    cell: Any, positions: Any, species: Any, lengths: tuple[float, float | None], any_shape: bool, symprec: float
) -> tuple[tuple[int, ...], ...]:
    atoms = Atoms(numbers=[1] * len(species), positions=positions, cell=cell, pbc=True)
    symmetry = Symmetry.of(atoms, symprec, species)
    matrix = nearly_cubic_matrix(cell, *lengths, symmetry, any_shape)
    return tuple(tuple(row) for row in matrix.tolist())


def nearly_cubic_matrix(
    cell: Any,
    min_length: float,
    max_length: float | None = None,
    symmetry: Symmetry | None = None,
    any_shape: bool = False,
) -> Matrix:
    """Return the matrix of the smallest nearly cubic supercell with every edge at least ``min_length``.

    For several edges of a target cube the matrix that fits it best is rounded to integers, and every entry is tried
    one up and one down as well. Of the cells whose edges are long enough those come first that have all angles within
    84 to 96 (or else 75 to 105) degrees, then those with no edge above ``max_length``; the choice is the smallest, and
    the most cubic of these. With ``symmetry``, a supercell lattice that all rotations map onto itself goes first
    while it is at most half as large again. The same cell always gives the same matrix.

    :param cell: lattice vectors in rows, Å, shape (3, 3).
    :param min_length: shortest edge, Å.
    :param max_length: longest edge where possible, Å; 1.5 times ``min_length`` by default.
    :param symmetry: of the crystal; also makes the choice independent of how the crystal is turned.
    :param any_shape: whether a supercell that keeps the symmetry need not be nearly cubic, if it is at least
        ``min_length`` thick in every direction; phonons want this (few displacements), training frames do not.
    :returns: integers, shape (3, 3): lattice vectors of the supercell, in rows, in units of the cell's.
    :raises ValueError: if the lengths are no lengths.
    """
    cell = np.asarray(cell, dtype=float)
    if not 0 < min_length < np.inf:
        raise ValueError(f'the shortest edge of a supercell has to be a length in Å, but is {min_length}')
    longest = 1.5 * min_length if max_length is None else max_length
    if longest < min_length:
        raise ValueError(f'the longest edge of a supercell ({longest} Å) is below the shortest ({min_length} Å)')
    if symmetry is not None:
        cell = cell @ symmetry.orientation.T
    candidates = _candidates(cell, min_length, longest)
    vectors = candidates @ cell
    edges = np.linalg.norm(vectors, axis=2)
    volumes = np.abs(np.linalg.det(vectors))
    units = vectors / edges[:, :, None]
    cosines = np.abs(np.einsum('nik,njk->nij', units, units) - np.eye(3)).max(axis=(1, 2))
    shape = np.digitize(cosines, (NEARLY_CUBIC, TOLERABLE))
    too_long = edges.max(axis=1) > longest + 1e-6
    smallest = volumes[np.lexsort((volumes, too_long, shape))[0]]
    symmetric = (volumes < SYMMETRY_BONUS * smallest + 1e-6) & _keeps_symmetry(candidates, symmetry)
    if any_shape:
        thick = 1 / np.linalg.norm(np.linalg.inv(vectors), axis=1).max(axis=1) >= min_length - 1e-6
        shape[symmetric & thick] = 0
        too_long[symmetric & thick] = False
    order = np.lexsort(
        (
            -np.trace(candidates, axis1=1, axis2=2),
            np.abs(candidates).sum(axis=(1, 2)),
            np.round(_anisotropy(vectors, volumes), 6),
            np.round(volumes, 3),
            ~symmetric,
            too_long,
            shape,
        )
    )
    best: Matrix = candidates[order[0]]
    return best if np.linalg.det(best) > 0 else -best


def _candidates(cell: NDArray[np.float64], min_length: float, longest: float) -> Matrix:
    """Return integer matrices near cubes of several sizes, all edges long enough, shape (n, 3, 3)."""
    offsets = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    smallest = np.diag(_diagonal(cell, min_length))
    found = [np.array([np.diag(smallest + extra) for extra in product((0, 1, 2), repeat=3)])]
    for edge in np.linspace(min_length, longest, 5):
        matrices = np.round(edge * np.linalg.inv(cell)).astype(np.int64) + offsets
        matrices = matrices[np.round(np.linalg.det(matrices)) != 0]
        edges = np.linalg.norm(matrices @ cell, axis=2)
        found.append(matrices[(edges >= min_length - 1e-6).all(axis=1)])
    return np.unique(np.concatenate(found), axis=0)


def _keeps_symmetry(matrices: Matrix, symmetry: Symmetry | None) -> NDArray[np.bool_]:
    """Return for each supercell lattice whether every rotation maps it onto itself, shape (n,)."""
    if symmetry is None:
        return np.zeros(len(matrices), dtype=bool)
    inverses = np.linalg.inv(matrices)
    result = np.ones(len(matrices), dtype=bool)
    for rotation in symmetry.rotations:
        images = matrices @ rotation.T @ inverses
        result &= np.abs(images - np.round(images)).max(axis=(1, 2)) < 1e-6
    return result


def _anisotropy(vectors: NDArray[np.float64], volumes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the metric of each cell is from that of a cube of its volume, shape (n,)."""
    metrics = vectors @ vectors.transpose(0, 2, 1) / np.cbrt(volumes)[:, None, None] ** 2
    result: NDArray[np.float64] = np.linalg.norm(metrics - np.eye(3), axis=(1, 2))
    return result


def _diagonal(cell: NDArray[np.float64], min_length: float) -> Matrix:
    """Return the diagonal matrix whose edges are long enough; there is always one."""
    return np.diag(np.ceil(min_length / np.linalg.norm(cell, axis=1) - 1e-9)).astype(np.int64)


def make_supercell(atoms: Atoms, matrix: Sequence[Sequence[int]] | Matrix) -> Atoms:
    """Return a supercell without anything but atoms and cell, those of one primitive atom following one another."""
    supercell = ase_make_supercell(atoms, np.asarray(matrix), order='atom-major')
    return Atoms(numbers=supercell.numbers, positions=supercell.positions, cell=supercell.cell, pbc=atoms.pbc)
