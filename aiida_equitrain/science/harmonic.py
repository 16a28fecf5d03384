"""Harmonic properties of one set of phonons beyond its bands, and how well its force constants obey the sum rules."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.phonon.group_velocity import GroupVelocity

from .phonon_metrics import band_path, masses_keep_symmetry

Array = NDArray[np.float64]


def formula_units(phonon: Phonopy) -> int:
    """Return the number of formula units in the primitive cell."""
    return gcd(*Counter(np.array(phonon.primitive.numbers).tolist()).values())


def sum_rules(phonon: Phonopy) -> dict[str, float]:
    r"""Return by how much force constants miss the invariances of space, as they are.

    - ``acoustic_sum_rule_ev_per_angstrom2``: largest :math:`|\sum_j \Phi_{ij}|` (translation);
    - ``rotational_sum_rule_ev_per_angstrom``: largest
      :math:`|\sum_j \Phi_{ij}^{\alpha\beta} r_{ij}^\gamma - \Phi_{ij}^{\alpha\gamma} r_{ij}^\beta|` (rotation; Born and
      Huang, Dynamical Theory of Crystal Lattices, §23), vectors to the nearest images, or the mean of several;
    - ``rotational_sum_rule_relative``: the same over the largest :math:`\sum_j |\Phi_{ij}| |r_{ij}|`.
    """
    force_constants = np.array(phonon.force_constants)
    rows = np.arange(len(phonon.primitive))
    if len(force_constants) != len(rows):
        force_constants = force_constants[phonon.primitive.p2s_map]
    vectors: Any
    vectors, multiplicity = phonon.primitive.get_smallest_vectors()
    shortest = np.zeros((*multiplicity.shape[:2], 3))
    for (atom, origin), (number, start) in zip(
        np.ndindex(*multiplicity.shape[:2]), multiplicity.reshape(-1, 2), strict=True
    ):
        shortest[atom, origin] = vectors[start : start + number].mean(axis=0) @ phonon.primitive.cell
    moments = np.einsum('ijab,jic->iabc', force_constants, shortest)
    rotation = np.abs(moments - moments.transpose(0, 1, 3, 2)).max()
    size = np.einsum('ij,ji->i', np.linalg.norm(force_constants, axis=(2, 3)), np.linalg.norm(shortest, axis=2)).max()
    return {
        'acoustic_sum_rule_ev_per_angstrom2': float(np.abs(force_constants.sum(axis=1)).max()),
        'rotational_sum_rule_ev_per_angstrom': float(rotation),
        'rotational_sum_rule_relative': float(rotation / size) if size else 0.0,
    }


def thermal_properties(phonon: Phonopy, temperatures: Array, mesh: Sequence[int]) -> dict[str, Array]:
    """Return heat capacity at constant volume, entropy, free energy, per mole of primitive cells and of formulas.

    Modes with imaginary frequencies are left out, as phonopy does.

    :param temperatures: K, shape (T,).
    :returns: ``temperatures_k`` and, each of shape (T,), ``heat_capacity_j_per_k_mol_cell``, ``..._formula_unit`` and
        so on; the free energy includes that of the zero point.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.run_mesh(list(mesh), is_mesh_symmetry=masses_keep_symmetry(phonon))
        phonon.run_thermal_properties(temperatures=temperatures)
    result: Any = phonon.thermal_properties
    units = formula_units(phonon)
    curves = {'temperatures_k': np.array(temperatures, dtype=float)}
    for name, unit in (('heat_capacity', 'j_per_k_mol'), ('entropy', 'j_per_k_mol'), ('free_energy', 'kj_per_mol')):
        values = np.array(getattr(result, name), dtype=float)
        curves[f'{name}_{unit}_cell'] = values
        curves[f'{name}_{unit}_formula_unit'] = values / units
    return curves


def bands_along_path(phonon: Phonopy, points: int) -> dict[str, Array]:
    """Return frequencies along the path of Hinuma et al., see :func:`~.phonon_metrics.band_path`.

    With Born charges those at Gamma are the limit along the path.

    :returns: ``qpoints`` (Q, 3) in the basis of the primitive ``cell`` (rows, Å), ``frequencies_thz`` (Q, B),
        ``segment_starts`` and ``labels`` (segments, 2).
    """
    path = band_path(phonon.primitive, points, float(phonon.symmetry.tolerance))
    phonon.run_band_structure(np.split(path.qpoints, path.starts[1:]))
    along: Any = phonon.band_structure
    return {
        'cell': np.array(phonon.primitive.cell),
        'qpoints': np.array(path.qpoints),
        'frequencies_thz': np.concatenate(along.frequencies),
        'segment_starts': np.array(path.starts),
        'labels': np.array(path.labels, dtype='U8'),
    }


def mesh_density(phonon: Phonopy, mesh: Sequence[int]) -> dict[str, Array]:
    """Return the density of states by the tetrahedron method, and the mesh that it is made of.

    :returns: ``frequencies_thz`` (F,), ``total_dos_per_thz`` (F,), ``mesh_qpoints`` (Q, 3) and
        ``mesh_frequencies_thz`` (Q, B).
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.run_mesh(list(mesh), is_mesh_symmetry=masses_keep_symmetry(phonon))
        phonon.run_total_dos()
    density: Any = phonon.total_dos
    grid: Any = phonon.mesh
    return {
        'frequencies_thz': np.array(density.frequency_points, dtype=float),
        'total_dos_per_thz': np.array(density.dos, dtype=float),
        'mesh_qpoints': np.array(grid.qpoints),
        'mesh_frequencies_thz': np.array(grid.frequencies),
    }


def atomic_properties(
    phonon: Phonopy, temperatures: Array, mesh: Sequence[int], min_frequency: float
) -> dict[str, Array]:
    """Return what needs the eigenvectors on a mesh: the density of states of each atom, and its displacements.

    :param min_frequency: THz; modes below it are left out of the displacements, which diverge where it is zero.
    :returns: ``frequencies_thz`` (F,), ``projected_dos_per_thz`` (n, F), ``total_dos_per_thz`` (F,), and
        ``mean_square_displacements_angstrom2`` (T, n, 3) along x, y and z.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.run_mesh(list(mesh), with_eigenvectors=True, is_mesh_symmetry=False)
        phonon.run_projected_dos()
        phonon.run_thermal_displacements(temperatures=temperatures, freq_min=min_frequency)
    density: Any = phonon.projected_dos
    displacements: Any = phonon.thermal_displacements
    projected = np.array(density.projected_dos, dtype=float)
    moved = np.array(displacements.thermal_displacements, dtype=float)
    return {
        'frequencies_thz': np.array(density.frequency_points, dtype=float),
        'projected_dos_per_thz': projected,
        'total_dos_per_thz': projected.sum(axis=0),
        'mean_square_displacements_angstrom2': moved.reshape(len(temperatures), len(phonon.primitive), 3),
    }


def group_velocities(phonon: Phonopy, mesh: Sequence[int], points: int) -> dict[str, Array]:
    """Return frequencies (THz) and group velocities (THz Å, which are 100 m/s) along the path and on a mesh.

    The mesh has Γ as a point, so that the symmetry of any crystal reduces it (silicon: 256 points in place of 4000).

    :returns: ``path_qpoints`` (Q, 3), ``path_distances`` (Q,), ``path_frequencies_thz`` (Q, B),
        ``path_velocities_thz_angstrom`` (Q, B, 3), the same for ``mesh``, and ``mesh_weights``.
    """
    path = band_path(phonon.primitive, points, float(phonon.symmetry.tolerance))
    phonon.run_qpoints(path.qpoints)
    along: Any = phonon.qpoints
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.run_mesh(list(mesh), is_mesh_symmetry=masses_keep_symmetry(phonon), is_gamma_center=True)
    grid: Any = phonon.mesh
    return {
        'path_qpoints': np.array(path.qpoints),
        'path_distances': np.array(path.distances),
        'path_frequencies_thz': np.array(along.frequencies),
        'path_velocities_thz_angstrom': _velocities(phonon, path.qpoints),
        'mesh_qpoints': np.array(grid.qpoints),
        'mesh_weights': np.array(grid.weights),
        'mesh_frequencies_thz': np.array(grid.frequencies),
        'mesh_velocities_thz_angstrom': _velocities(phonon, grid.qpoints),
    }


def _velocities(phonon: Phonopy, qpoints: Array) -> Array:
    """Return group velocities, THz Å, averaged over the operations that leave a q-point alone, if masses keep them."""
    symmetry = phonon.primitive_symmetry if masses_keep_symmetry(phonon) else None
    dynamical: Any = phonon.dynamical_matrix
    velocity = GroupVelocity(dynamical, symmetry=symmetry, frequency_factor_to_THz=phonon.unit_conversion_factor)
    velocity.run(qpoints)
    return np.array(velocity.group_velocities)
