"""What it takes to compute phonons again: those of a stranger must not keep a machine busy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray
from phonopy import Phonopy

#: Seconds that one step of one set of phonons may take, unless the user has more patience.
PATIENCE = 5.0
#: Atoms of a supercell and of a primitive cell, whatever they take: these bound the memory.
MOST_ATOMS, MOST_PRIMITIVE = 1200, 100
#: Atoms of the upright box out of which phonopy cuts a slanted supercell.
MOST_IN_BOX = 12 * MOST_ATOMS
#: q-points along a path, about.
PATH = 800


def check_size(what: str, size: float, most: int) -> None:
    """Refuse what a stranger could keep a machine busy with.

    :raises ValueError: if there are more than ``most``.
    """
    if not size <= most:  # nor if it is no number
        raise ValueError(f'{what} is {size:.3g}, more than is computed again')


def check_crystal(arrays: Mapping[str, NDArray[Any]], patience: float = PATIENCE) -> None:
    """Refuse phonons before phonopy sees them, if their cells or their force constants would take long.

    The seconds were measured with phonopy 4 on one core: it goes through the atoms for every operation of the
    supercell's symmetry, and symfc solves for as many unknowns as that symmetry leaves.

    :param arrays: of :func:`~aiida_equitrain.calculations.arrays.phonopy_arrays`.
    :param patience: seconds.
    :raises ValueError: with a sentence.
    """
    n_unit, matrix, primitive = len(arrays['positions']), arrays['supercell_matrix'], arrays['primitive_matrix']
    if primitive.shape != (3, 3):
        raise ValueError('its primitive cell is not given as a matrix')
    size = abs(np.linalg.det(matrix)) * n_unit
    check_size('the number of atoms of the supercell', size, MOST_ATOMS)
    box = np.abs(matrix.astype(float)).sum(axis=1).prod() * n_unit
    check_size('the number of atoms of the box around the supercell', box, MOST_IN_BOX)
    n_primitive = abs(np.linalg.det(primitive)) * n_unit
    check_size('the number of atoms of the primitive cell', n_primitive, MOST_PRIMITIVE)
    if not all(np.isfinite(arrays[name]).all() for name in ('cell', 'positions', 'symprec')):
        raise ValueError('its cell or its positions are no finite numbers')  # spglib crashes on those
    if round(size) != arrays['forces'].shape[1]:
        raise ValueError(f'the supercell has {size:.3g} atoms, but there are forces of {arrays["forces"].shape[1]}')
    n_alike, order = _symmetry(arrays)
    seconds = 4e-7 * size**2 / n_alike * order + 3e-5 * size * n_primitive
    if 'displaced_atoms' not in arrays:
        seconds = 1.9 * seconds + 4e-12 * (9 * size * n_alike / order) ** 3
    _check_seconds('making its force constants', seconds, patience)


def check_points(phonon: Phonopy, mesh: Sequence[int], symmetric: bool, patience: float = PATIENCE) -> None:
    """Refuse phonons whose frequencies on mesh and path would take long.

    :param symmetric: whether the mesh is reduced by the point group.
    :param patience: seconds.
    :raises ValueError: with a sentence.
    """
    n_atoms = len(phonon.primitive)
    points = np.prod(np.maximum(mesh, 1), dtype=float)
    if symmetric:
        points /= len(phonon.primitive_symmetry.reciprocal_operations)
    charges = 12 * n_atoms**2 if phonon.nac_params else 0
    microseconds = 5 + 0.04 * n_atoms * len(phonon.supercell) + 0.02 * n_atoms**3 + charges
    # With and without the sum rule, and once more for the errors.
    _check_seconds('computing its frequencies', (3 * points + 2 * PATH) * microseconds * 1e-6, patience)


def _symmetry(arrays: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
    """Return the atoms in the smallest cell, and the order of the point group, with atoms of one element alike."""
    fractional = np.linalg.solve(arrays['cell'].T, arrays['positions'].T).T
    symprec = float(arrays['symprec'])
    given: Any = (arrays['cell'], fractional, arrays['numbers'])
    cell = spglib.find_primitive(given, symprec=symprec)
    operations = spglib.get_symmetry(cell, symprec=symprec) if cell else None
    if cell is None or operations is None:
        raise ValueError(f'no symmetry is found with a tolerance of {symprec:g} Å')
    return len(cell[2]), len(operations['rotations'])


def _check_seconds(what: str, seconds: float, patience: float) -> None:
    """Refuse what takes longer than the user is patient.

    :raises ValueError: then.
    """
    if not seconds <= patience:
        raise ValueError(f'{what} would take about {seconds:.2g} s: `--patience {np.ceil(seconds):.0f}` lets it')
