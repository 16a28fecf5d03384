"""Frames that pin harmonic force constants: an unstrained supercell with small random displacements of all atoms.

A strained cell, another volume or a large displacement says what the potential gets wrong elsewhere; for the force
constants of the very crystal, the supercell of its phonons with displacements of about 0.01 Å says most per frame.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from phonopy.structure.cells import Primitive, get_primitive, get_supercell, guess_primitive_matrix

from .phonopy_cells import to_ase, to_phonopy

Array = NDArray[np.float64]


def random_displacements(n_atoms: int, n_frames: int, amplitude: float, pairs: bool, seed: int) -> Array:
    """Return displacements of all atoms, normally distributed, without their mean.

    More frames of the same seed begin with those of fewer.

    :param amplitude: root mean square length of an atom's displacement, Å.
    :param pairs: every second frame is the one before it with the opposite sign: what is even in the displacements
        (the cubic term of the energy) cancels in the two.
    :returns: Å, shape (F, N, 3).
    :raises ValueError: if an odd number of frames is to be in pairs.
    """
    if pairs and n_frames % 2:
        raise ValueError(f'{n_frames} frames are no whole number of pairs')
    generator = np.random.default_rng(seed)
    drawn = [
        generator.normal(scale=amplitude / np.sqrt(3), size=(n_atoms, 3))
        for _ in range(n_frames // 2 if pairs else n_frames)
    ]
    drawn = [shifts - shifts.mean(axis=0) for shifts in drawn]
    return np.array([sign * shifts for shifts in drawn for sign in ((1, -1) if pairs else (1,))])


def phonon_supercell(atoms: Atoms, matrix: NDArray[np.int64] | list[list[int]]) -> Atoms:
    """Return the supercell of phonons of a crystal, its atoms in phonopy's order.

    :param matrix: vectors of the supercell in rows, in units of the cell's.
    """
    return to_ase(get_supercell(to_phonopy(atoms), np.transpose(matrix)))


def displaced_frames(supercell: Atoms, displacements: Array) -> list[Atoms]:
    """Return the supercell once for each set of displacements (F, N, 3), Å."""
    frames = [supercell.copy() for _ in displacements]
    for frame, shifts in zip(frames, displacements, strict=True):
        frame.positions += shifts
    return frames


def primitive_cell(atoms: Atoms, symprec: float) -> Atoms:
    """Return the primitive cell of a crystal, neither turned nor moved."""
    return to_ase(_primitive(atoms, symprec))


def in_given_cell(atoms: Atoms, relaxed: Atoms, symprec: float) -> Atoms:
    """Return a crystal in its cell as it was given, with lattice and positions of its relaxed primitive cell.

    :param atoms: before the relaxation.
    :param relaxed: :func:`primitive_cell` of it after the relaxation, the same atoms in the same order.
    """
    primitive = _primitive(atoms, symprec)
    matrix = np.rint(np.linalg.inv(primitive.primitive_matrix)).T
    # Each atom is one of the primitive cell, moved by whole lattice vectors.
    scaled = atoms.positions @ np.linalg.inv(primitive.cell)
    index = np.array([primitive.p2p_map[atom] for atom in primitive.s2p_map])
    shifts = np.rint(scaled - (primitive.positions @ np.linalg.inv(primitive.cell))[index])
    result = Atoms(numbers=atoms.numbers, cell=matrix @ relaxed.cell[:], pbc=True)
    result.positions = relaxed.positions[index] + shifts @ relaxed.cell[:]
    return result


def _primitive(atoms: Atoms, symprec: float) -> Primitive:
    cell = to_phonopy(atoms)
    return get_primitive(cell, guess_primitive_matrix(cell, symprec=symprec), symprec=symprec)
