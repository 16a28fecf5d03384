"""Checks of a crystal structure before anything is computed: one sentence for each way to be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from ..common.foundations import remedy_for

#: Distances between lattice planes, Å, between which a cell is that of a crystal: others would fill the memory.
SMALLEST_SPACING, LARGEST_EDGE = 0.5, 1000.0
#: Two atoms overlap when they are nearer than this fraction of the sum of their covalent radii.
OVERLAP_FRACTION = 0.6


def check_structure(
    atoms: Atoms,
    elements: Iterable[str] | None = None,
    occupations: Mapping[str, float] | None = None,
    max_atoms: int | None = None,
    supercell_matrix: Sequence[Sequence[int]] | None = None,
) -> str | None:
    """Return a sentence about the first thing that is wrong with a structure, ``None`` if nothing is.

    :param elements: chemical symbols that the potential knows; not checked if ``None``.
    :param occupations: total occupation per kind of site, see :func:`check_occupations`.
    :param max_atoms: largest supercell that is allowed; needs ``supercell_matrix``, otherwise the cell itself counts.
    """
    if len(atoms) == 0:
        return 'the structure has no atoms'
    return (
        check_occupations(occupations or {})
        or (check_elements(atoms.symbols, elements) if elements is not None else None)
        or check_periodicity(atoms)
        or check_overlap(atoms)
        or (check_size(len(atoms), max_atoms, supercell_matrix) if max_atoms is not None else None)
    )


def check_occupations(occupations: Mapping[str, float]) -> str | None:
    """Return a sentence if a kind of site is shared by several elements or partly empty.

    :param occupations: per kind, the largest occupation by one element; 1 for an ordinary site.
    """
    for kind, occupation in occupations.items():
        if abs(occupation - 1) > 1e-6:
            return (
                f'the site kind `{kind}` is occupied by one element to {occupation:g} only: partial occupancy cannot '
                'be computed, order the `structure` first'
            )
    return None


def check_elements(
    symbols: Iterable[str], known: Iterable[str], port: str = 'structure', potential: str = 'potential'
) -> str | None:
    """Return a sentence if a potential does not know an element.

    :param port: name of what has the elements, and ``potential`` that of the potential, for the sentence.
    """
    symbols = {str(symbol) for symbol in symbols}
    unknown, its = ', '.join(sorted(symbols - set(known))), ', '.join(known)
    return (
        f'`{potential}` does not know {unknown} of `{port}`: it knows {its}. {remedy_for(symbols)}' if unknown else None
    )


def check_periodicity(atoms: Atoms) -> str | None:
    """Return a sentence if the structure is no crystal in three dimensions."""
    if not all(atoms.pbc):
        return (
            f'the structure {atoms.symbols.formula} is not periodic in three dimensions: phonons of a molecule or '
            'slab are not computed, give a crystal with `pbc` true along all three lattice vectors'
        )
    return check_cell(atoms)


def check_cell(atoms: Atoms) -> str | None:
    """Return a sentence if cell or positions are no numbers, or a cell no crystal has."""
    cell = np.array(atoms.cell[:])
    if not (np.isfinite(cell).all() and np.isfinite(atoms.positions).all()):
        return 'cell or positions of the structure are not finite numbers'
    longest = float(np.abs(cell).max())
    if longest > LARGEST_EDGE:
        return f'the cell has an edge of {longest:.3g} Å, more than {LARGEST_EDGE:g} Å: are its lengths in Å?'
    if abs(float(np.linalg.det(cell))) < 1e-3:
        return f'the cell of the structure {atoms.symbols.formula} has no volume: give three lattice vectors'
    spacing = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    if spacing.min() < SMALLEST_SPACING:
        return f'the cell is only {spacing.min():.2g} Å thick along one direction: are its lengths in Å?'
    return None


def is_left_handed(cell: Any) -> bool:
    """Return whether lattice vectors, in rows, are a left-handed system."""
    return float(np.linalg.det(np.asarray(cell, dtype=float))) < 0


def check_overlap(atoms: Atoms, fraction: float = OVERLAP_FRACTION) -> str | None:
    """Return a sentence if two atoms, periodic images included, lie on one another.

    :param fraction: of the sum of the covalent radii below which a distance is too short.
    """
    radii = covalent_radii[atoms.numbers]
    first, second, distances = neighbor_list('ijd', atoms, cutoff=list(fraction * radii))
    if len(distances) == 0:
        return None
    index = int(np.argmin(distances))
    i, j = int(first[index]), int(second[index])
    limit = fraction * (radii[i] + radii[j])
    return (
        f'atoms overlap: {atoms.symbols[i]}{i + 1} and {atoms.symbols[j]}{j + 1} are {distances[index]:.2f} Å apart, '
        f'less than {limit:.2f} Å'
    )


def check_size(
    n_atoms: int, max_atoms: int, supercell_matrix: Sequence[Sequence[int]] | None = None, stage: str = ''
) -> str | None:
    """Return a sentence if the supercell is larger than allowed, or the matrix is none of a supercell.

    :param stage: of the main job, such as `label`, for the line that raises the limit there.
    """
    size = n_atoms
    if supercell_matrix is not None:
        try:
            matrix = np.asarray(supercell_matrix, dtype=float)
        except (TypeError, ValueError):
            matrix = np.empty(0)
        if matrix.shape != (3, 3) or not np.allclose(matrix, np.round(matrix)):
            return f'`supercell_matrix` has to be three rows of three integers, but is {supercell_matrix}'
        multiple = abs(round(float(np.linalg.det(matrix))))
        if multiple == 0:
            return f'`supercell_matrix` {supercell_matrix} has no volume'
        size *= multiple
    if size > max_atoms:
        return (
            f'the supercell has {size} atoms, more than `max_atoms` ({max_atoms}): choose a smaller one, or, if you '
            f'mean it, raise the limit by a line of `--overrides`: `max_atoms: {size}`'
            + (f' (of the main job: `{stage}: {{max_atoms: {size}}}`)' if stage else '')
        )
    return None
