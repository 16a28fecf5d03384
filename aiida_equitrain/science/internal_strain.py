r"""Forces that a strain brings about where symmetry leaves atoms free to answer it: the force-response internal strain.

In a supercell with the homogeneous strain :math:`\varepsilon` and displacements u from the strained sites, to first
order

.. math::

   F_i = -\sum_j \Phi_{ij} u_j + \Lambda_i : \varepsilon

with one third-rank tensor :math:`\Lambda` for each atom of the primitive cell (Wu, Vanderbilt, Hamann, Phys. Rev. B 72,
035105 (2005)), which the space group restricts: none in rock salt, one number in diamond.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from phonopy import Phonopy

Array = NDArray[np.float64]

#: Symmetric strains xx, yy, zz, yz, xz, xy as matrices of norm 1.
_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def unit_strains() -> Array:
    """Return an orthonormal basis of the symmetric matrices, shape (6, 3, 3)."""
    strains = np.zeros((6, 3, 3))
    for strain, (row, column) in zip(strains, _PAIRS, strict=True):
        strain[row, column] = strain[column, row] = 1.0 if row == column else np.sqrt(0.5)
    return strains


def strain_of(supercell: Array, cell: Array) -> tuple[Array, Array]:
    """Return strain and rotation that turn one cell into another.

    :param supercell: lattice vectors in rows, Å, shape (3, 3); ``cell``: of the strained one.
    :returns: the symmetric strain (3, 3), without unit, and the rotation R (3, 3): a vector (row) of the strained
        crystal times R is that of the crystal that was strained without a rotation.
    """
    gradient = np.linalg.solve(supercell, cell).T
    rotation, stretch = scipy.linalg.polar(gradient)
    return stretch - np.eye(3), np.array(rotation)


def symmetric_part(strain: Array, phonon: Phonopy) -> Array:
    """Return the part of a strain (3, 3) that keeps the point group of a crystal."""
    rotations = _rotations(phonon)
    return np.array(np.mean([rotation @ strain @ rotation.T for rotation in rotations], axis=0))


def strain_fields(phonon: Phonopy) -> Array:
    """Return all forces on the undisplaced supercell that symmetry allows to be linear in strain.

    :returns: independent ones, shape (k, 6, N, 3): by :func:`unit_strains`, atom and direction, without net force.
    """
    n_atoms, basis = len(phonon.supercell), unit_strains()
    rotations, permutations = _rotations(phonon), phonon.symmetry.atomic_permutations
    # How each operation turns the components of a strain.
    turned = np.einsum('gji,mjk,gkl,nil->gmn', rotations, basis, rotations, basis, optimize=True)
    fields = []
    for atom in phonon.symmetry.get_independent_atoms():
        images = np.zeros((n_atoms, 3, 6, 3, 6))  # atom, direction and strain there; direction and strain of the tensor
        for rotation, strain, permutation in zip(rotations, turned, permutations, strict=True):
            images[permutation[atom]] += np.einsum('ab,mn->ambn', rotation, strain) / len(rotations)
        fields.append((images - images.mean(axis=0)).reshape(n_atoms * 18, 18))
    left, values, _ = np.linalg.svd(np.concatenate(fields, axis=1), full_matrices=False)
    kept = np.array(left[:, values > 1e-5 / n_atoms]).T
    return np.ascontiguousarray(kept.reshape(-1, n_atoms, 3, 6).transpose(0, 3, 1, 2))


def _rotations(phonon: Phonopy) -> Array:
    """Return the rotations of all operations of the supercell in Cartesian coordinates, shape (G, 3, 3)."""
    lattice = np.array(phonon.supercell.cell).T
    operations: Any = phonon.symmetry.symmetry_operations
    return np.array([lattice @ rotation @ np.linalg.inv(lattice) for rotation in operations['rotations']])
