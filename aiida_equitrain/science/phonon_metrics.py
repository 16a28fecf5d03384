"""Numbers that tell two phonon calculations of one crystal apart (THz, J/K/mol and kJ/mol of primitive cells).

The conventions are those of the authors' evaluation (JaGeo/mace-mp-03b-phonon-benchmark), whose published columns are
reproduced: errors, means and thermal properties on a 20x20x20 mesh, extrema on the path of Hinuma et al. (Comput.
Mater. Sci. 128, 140 (2017)) with 101 points a segment, both with force constants as phonopy's solver leaves them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import seekpath
import spglib
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from ..common.phonon_settings import MESH, STABILITY_TOLERANCE_THZ, SYMPREC, TEMPERATURE_K
from .lattice_match import match_lattices

Array = NDArray[np.float64]

#: Points of a segment of the path, as in the authors' evaluation.
PATH_POINTS = 101
#: A q-point whose components are all this near to integers is Gamma.
GAMMA_TOLERANCE = 1e-6
_BOLTZMANN = 1.380649e-23

#: Names of points that seekpath spells out.
GREEK = {'GAMMA': 'Γ', 'DELTA': 'Δ', 'LAMBDA': 'Λ', 'SIGMA': 'Σ'}
SUBSCRIPTS = str.maketrans('0123456789', '₀₁₂₃₄₅₆₇₈₉')


@dataclass
class BandPath:
    """Segments of a path through the Brillouin zone, in the basis of the primitive cell that it was made for.

    :param qpoints: shape (Q, 3), segments one after another, each with both of its ends.
    :param distances: length along the path without gaps, 1/Å (without 2π), shape (Q,).
    :param starts: index of the first point of every segment.
    :param labels: names of the two ends of every segment.
    """

    qpoints: Array
    distances: Array
    starts: list[int]
    labels: list[tuple[str, str]]


def band_path(primitive: PhonopyAtoms, points: int = PATH_POINTS, symprec: float = SYMPREC) -> BandPath:
    """Return the path of Hinuma et al. (seekpath's ``hpkot``) in the basis of ``primitive`` as it is.

    Atoms of one element with different kinds (the index of a symbol) or magnetic moments count as different.

    :param symprec: tolerance of the symmetry, Å.
    :raises ValueError: one sentence, if no symmetry is found with it.
    """
    cell: Any = (primitive.cell, primitive.scaled_positions, species_of(primitive))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            path = seekpath.get_path(cell, True, 'hpkot', 1e-5, symprec, 5.0)
            symmetry: Any = spglib.get_symmetry_dataset(cell, symprec=symprec, angle_tolerance=5.0)
        except Exception as error:
            raise ValueError(f'no symmetry is found with a tolerance of {symprec:g} Å; try another one.') from error
    # seekpath's coordinates belong to its own, rotated primitive cell: go through Cartesian coordinates.
    lattice = np.array(primitive.cell)
    to_basis = np.array(path['reciprocal_primitive_lattice']) @ symmetry.std_rotation_matrix @ lattice.T / (2 * np.pi)
    qpoints: list[Array] = []
    distances: list[Array] = []
    starts: list[int] = []
    labels: list[tuple[str, str]] = []
    total = 0.0
    for first, last in path['path']:
        ends = np.array([path['point_coords'][first], path['point_coords'][last]]) @ to_basis
        length = float(np.linalg.norm((ends[1] - ends[0]) @ np.linalg.inv(lattice).T))
        starts.append(len(qpoints) * points)
        qpoints.append(np.linspace(ends[0], ends[1], points))
        distances.append(np.linspace(total, total + length, points))
        labels.append((_pretty(first), _pretty(last)))
        total += length
    return BandPath(np.concatenate(qpoints), np.concatenate(distances), starts, labels)


def species_of(cell: PhonopyAtoms) -> list[int]:
    """Return a number for each atom that differs with its element, kind (the index of its symbol) and moment."""
    moments = cell.magnetic_moments
    spins = [''] * len(cell) if moments is None else np.round(moments, 3).tolist()
    known: dict[Any, int] = {}
    return [
        known.setdefault((symbol, str(spin)), len(known) + 1) for symbol, spin in zip(cell.symbols, spins, strict=True)
    ]


def frequencies_at(phonon: Phonopy, qpoints: Array) -> Array:
    """Return frequencies in THz, ascending at each q-point, imaginary ones negative, shape (Q, bands)."""
    phonon.run_qpoints(qpoints)
    result: Any = phonon.qpoints
    return np.sort(np.array(result.frequencies), axis=1)


@dataclass
class Side:
    """What one of the compared calculations gives by itself."""

    metrics: dict[str, Any]
    mesh_frequencies: Array
    mesh_qpoints: Array
    mesh_weights: Array


def evaluate_side(
    phonon: Phonopy,
    *,
    mesh: Sequence[int] = MESH,
    temperature: float = TEMPERATURE_K,
    tolerance: float = STABILITY_TOLERANCE_THZ,
    mesh_symmetry: bool = True,
) -> Side:
    r"""Evaluate one set of phonons.

    - ``max_frequency_thz``, ``min_frequency_thz``: extrema along the crystal's own band path; imaginary is negative.
    - ``mean_frequency_thz``: :math:`\sum w f / \sum w` over real modes (f > 0) of the mesh.
    - ``heat_capacity_j_per_k_mol``, ``entropy_j_per_k_mol``, ``free_energy_kj_per_mol``: harmonic, constant volume,
      real modes only, for one mole of primitive cells (phonopy's formulas and units).
    - ``k_diff_high_temp_limit_w_per_m_k``: diffusive minimum conductivity :math:`2 n^{1/3} k_B \bar f` with the density
      of atoms n and the mean frequency above; Agne, Hanus, Snyder, Energy Environ. Sci. 11, 609 (2018).
    - ``dynamically_stable``: no frequency below ``-tolerance`` on mesh and path once the acoustic sum rule is imposed,
      so that the drift of the forces is not taken for an instability; ``lowest_frequency_thz`` is the lowest of these,
      translations within the tolerance left out, ``lowest_qpoint`` where it lies. See :func:`stability`.

    :param mesh_symmetry: reduce the mesh by the crystal's point group, if masses allow that.
    """
    path = band_path(phonon.primitive, symprec=float(phonon.symmetry.tolerance))
    along_path = frequencies_at(phonon, path.qpoints)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.run_mesh(list(mesh), is_mesh_symmetry=mesh_symmetry and masses_keep_symmetry(phonon))
        phonon.run_thermal_properties(temperatures=[temperature])
    grid: Any = phonon.mesh
    frequencies = np.sort(np.array(grid.frequencies), axis=1)
    weights = np.array(grid.weights, dtype=float)
    qpoints = np.array(grid.qpoints)
    thermal: Any = phonon.thermal_properties
    real = frequencies > 0
    spread = np.broadcast_to(weights[:, None], frequencies.shape)
    mean = float(np.average(frequencies[real], weights=spread[real])) if real.any() else 0.0
    density = 1e30 * len(phonon.primitive) / abs(float(phonon.primitive.volume))
    verdict = _judge(phonon, np.concatenate([path.qpoints, qpoints]), tolerance)
    metrics = {
        'max_frequency_thz': float(along_path.max()),
        'min_frequency_thz': float(along_path.min()),
        'mean_frequency_thz': mean,
        'heat_capacity_j_per_k_mol': float(thermal.heat_capacity[0]),
        'entropy_j_per_k_mol': float(thermal.entropy[0]),
        'free_energy_kj_per_mol': float(thermal.free_energy[0]),
        'k_diff_high_temp_limit_w_per_m_k': float(2 * density ** (1 / 3) * _BOLTZMANN * mean * 1e12),
        'imaginary_fraction': float(1 - (spread * real).sum() / spread.sum()),
        **{key: verdict[key] for key in ('lowest_frequency_thz', 'lowest_qpoint', 'dynamically_stable')},
        'volume_angstrom3': abs(float(phonon.primitive.volume)),
        'n_atoms': len(phonon.primitive),
        'mesh_max_frequency_thz': float(frequencies.max()),
        'space_group': _space_group(phonon),
    }
    return Side(metrics, frequencies, qpoints, weights)


def error_metrics(candidate: Array, reference: Array, weights: Array) -> dict[str, Any]:
    r"""Return the errors of frequencies (Q, bands) at q-points of given weights.

    :math:`\mathrm{MAE} = \sum_q w_q \frac1B \sum_b |f_{qb} - f^\mathrm{ref}_{qb}| / \sum_q w_q`, RMSE alike, bands
    sorted at each q; imaginary frequencies enter as negative numbers. ``branch_mae_thz`` and ``branch_bias_thz`` are
    lists over the bands, the lowest first; ``acoustic_mae_thz`` is the mean of the three lowest, ``optical_mae_thz``
    (``None`` where there are none) that of the others.
    """
    difference = np.sort(candidate, axis=1) - np.sort(reference, axis=1)
    mae = float(np.average(np.abs(difference).mean(axis=1), weights=weights))
    rmse = float(np.sqrt(np.average((difference**2).mean(axis=1), weights=weights)))
    bias = float(np.average(difference.mean(axis=1), weights=weights))
    dos = dos_error(candidate, reference, weights)
    by_branch = np.average(np.abs(difference), axis=0, weights=weights)
    return {
        'phonon_mae_thz': mae,
        'phonon_rmse_thz': rmse,
        'phonon_bias_thz': bias,
        'dos_error_percent': dos,
        'branch_mae_thz': by_branch.tolist(),
        'branch_bias_thz': np.average(difference, axis=0, weights=weights).tolist(),
        'acoustic_mae_thz': float(by_branch[:3].mean()),
        'optical_mae_thz': float(by_branch[3:].mean()) if len(by_branch) > 3 else None,
    }


def density_of_states(frequencies: Array, weights: Array, grid: Array, width: float) -> Array:
    """Return the density of states per THz (states per cell) on an even ``grid`` of frequencies (F,), THz.

    :param frequencies: of a mesh, THz, shape (Q, bands), with ``weights`` (Q,).
    :param width: of the Gaussians, THz.
    """
    step = float(grid[1] - grid[0])
    edges = np.append(grid, grid[-1] + step) - step / 2
    shares = np.repeat(weights / weights.sum(), frequencies.shape[1])
    histogram = np.histogram(frequencies.ravel(), edges, weights=shares)[0] / step
    reach = min(int(5 * width / step) + 1, (len(grid) - 1) // 2)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    return np.convolve(histogram, kernel / kernel.sum(), 'same')


def densities_of_states(sides: Mapping[str, Side], points: int = 400) -> tuple[Array, dict[str, Array]]:
    """Return a grid of frequencies (F,), THz, and on it the densities of states of several sides, per THz.

    The width of the Gaussians is a hundredth of the range, which is what phonopy takes where none is given.
    """
    low = min(float(side.mesh_frequencies.min()) for side in sides.values())
    high = max(float(side.mesh_frequencies.max()) for side in sides.values())
    width = max((high - low) / 100, 1e-3)
    grid = np.linspace(low - 4 * width, high + 4 * width, points)
    found = {
        name: density_of_states(side.mesh_frequencies, side.mesh_weights, grid, width) for name, side in sides.items()
    }
    return grid, found


def special_points(path: BandPath) -> dict[str, Array]:
    """Return the q-points (3,) of a path that have a name, by it, in the order of the path."""
    ends = [*path.starts[1:], len(path.qpoints)]
    points: dict[str, Array] = {}
    for start, end, (first, last) in zip(path.starts, ends, path.labels, strict=True):
        points.setdefault(first, path.qpoints[start])
        points.setdefault(last, path.qpoints[end - 1])
    return points


def worst_along(path: BandPath, candidate: Array, reference: Array) -> dict[str, Any]:
    """Return where along a path the frequencies (Q, bands), THz, of one side are furthest from another's.

    :returns: ``index`` of the point, ``qpoint``, ``branch`` (the lowest is 1), ``error_thz``, signed, and ``between``,
        the names of the ends of the segment.
    """
    difference = np.sort(candidate, axis=1) - np.sort(reference, axis=1)
    index, branch = (int(number) for number in np.unravel_index(np.argmax(np.abs(difference)), difference.shape))
    segment = int(np.searchsorted(path.starts, index, side='right')) - 1
    return {
        'index': index,
        'qpoint': [round(float(component), 6) for component in path.qpoints[index]],
        'branch': branch + 1,
        'error_thz': float(difference[index, branch]),
        'between': list(path.labels[segment]),
    }


def dos_error(candidate: Array, reference: Array, weights: Array) -> float:
    r"""Return :math:`100 \int |g - g^\mathrm{ref}| d\omega / \int g^\mathrm{ref} d\omega`.

    Both densities of states g are sums of Gaussians with a width of a hundredth of the reference's range, which is what
    phonopy takes where none is given; 0 if equal, 200 without overlap. How the publication defines its error of the DOS
    is not known to us.
    """
    width = max(float(np.ptp(reference)) / 100, 1e-6)
    both = np.concatenate([candidate.ravel(), reference.ravel()])
    grid = np.arange(both.min() - 5 * width, both.max() + 5 * width, width / 4)
    share = weights / weights.sum() / reference.shape[1]
    edges = np.append(grid, grid[-1] + width / 4)
    kernel = np.exp(-0.5 * (np.arange(-20, 21) / 4) ** 2)
    densities = [
        np.convolve(
            np.histogram(side.ravel(), edges, weights=np.repeat(share, side.shape[1]))[0], kernel / kernel.sum(), 'same'
        )
        for side in (candidate, reference)
    ]
    return float(100 * np.abs(densities[0] - densities[1]).sum())


def compare_phonons(candidate: Phonopy, reference: Phonopy, **settings: Any) -> dict[str, dict[str, Any]]:
    """Compare two calculations of one crystal.

    :param settings: ``mesh``, ``temperature``, ``tolerance`` of :func:`evaluate_side`.
    :returns: ``candidate`` (with the errors), ``reference``.
    :raises ValueError: if they are not the same crystal.
    """
    symmetric = same_point_group(candidate, reference)
    sides = [evaluate_side(phonon, mesh_symmetry=symmetric, **settings) for phonon in (candidate, reference)]
    errors = errors_between(candidate, reference, sides[1])
    return {'candidate': {**errors, **sides[0].metrics}, 'reference': sides[1].metrics}


def errors_between(candidate: Phonopy, reference: Phonopy, side: Side) -> dict[str, Any]:
    """Evaluate the candidate at the reference's q-points, whatever primitive cell it uses, and return the errors."""
    transform = match_lattices(reference.primitive, candidate.primitive)
    frequencies = frequencies_at(candidate, side.mesh_qpoints @ transform.T)
    return error_metrics(frequencies, side.mesh_frequencies, side.mesh_weights)


def same_point_group(*phonons: Phonopy) -> bool:
    """Say whether irreducible q-points of one calculation are irreducible ones of the others."""
    if not all(masses_keep_symmetry(phonon) for phonon in phonons):
        return False
    orders = {len(phonon.primitive_symmetry.pointgroup_operations) for phonon in phonons}
    return len(orders) == 1


def masses_keep_symmetry(phonon: Phonopy) -> bool:
    """Say whether atoms that phonopy takes for equivalent have one mass.

    Its symmetry does not know of masses: where they differ, no mesh may be reduced by it.
    """
    masses = np.array(phonon.primitive.masses)
    return bool(np.allclose(masses, masses[phonon.primitive_symmetry.get_map_atoms()], rtol=0.0, atol=1e-3))


def thermal_curves(phonon: Phonopy, temperatures: Array, mesh: Sequence[int] = MESH) -> dict[str, Array]:
    """Return ``heat_capacity``, ``entropy`` (J/K/mol) and ``free_energy`` (kJ/mol) at ``temperatures`` (K)."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.run_mesh(list(mesh), is_mesh_symmetry=masses_keep_symmetry(phonon))
        phonon.run_thermal_properties(temperatures=temperatures)
    result = phonon.thermal_properties
    return {name: np.array(getattr(result, name)) for name in ('heat_capacity', 'entropy', 'free_energy')}


def _judge(phonon: Phonopy, qpoints: Array, tolerance: float) -> dict[str, Any]:
    """Return the verdict with the acoustic sum rule imposed; the given phonons keep their force constants."""
    kept = np.array(phonon.force_constants)
    phonon.symmetrize_force_constants(show_drift=False)
    frequencies = frequencies_at(phonon, qpoints)
    phonon.force_constants = kept
    return stability(qpoints, frequencies, tolerance)


def stability(qpoints: Array, frequencies: Array, tolerance: float) -> dict[str, Any]:
    """Return the verdict on frequencies (Q, B) in THz, imaginary ones negative.

    The three modes of Gamma that are nearest to zero are translations: as long as they stay within the tolerance they
    are noise, and do not count as the lowest frequency. Whatever else lies below ``-tolerance`` is an instability.

    :param qpoints: in units of the reciprocal lattice, shape (Q, 3).
    :returns: ``lowest_frequency_thz``, ``lowest_qpoint``, ``dynamically_stable``, ``tolerance_thz``,
        ``max_frequency_thz``, and, if Gamma is among the q-points, ``acoustic_gamma_thz``.
    """
    values = without_translations(qpoints, frequencies, tolerance)
    result: dict[str, Any] = {'tolerance_thz': float(tolerance), 'max_frequency_thz': float(np.max(frequencies))}
    for index in np.flatnonzero(_is_gamma(qpoints)):
        acoustic = np.argsort(np.abs(frequencies[index]))[:3]
        result['acoustic_gamma_thz'] = [float(value) for value in frequencies[index, acoustic]]
    lowest = np.unravel_index(np.argmin(values), values.shape)
    result['lowest_frequency_thz'] = float(values[lowest])
    result['lowest_qpoint'] = [round(float(component), 6) for component in qpoints[lowest[0]]]
    result['dynamically_stable'] = bool(values[lowest] >= -tolerance)
    return result


def without_translations(qpoints: Array, frequencies: Array, tolerance: float) -> Array:
    """Return frequencies (Q, B), infinite where they are those of translations: at Gamma, within the tolerance."""
    values = np.array(frequencies, dtype=float)
    for index in np.flatnonzero(_is_gamma(qpoints)):
        acoustic = np.argsort(np.abs(values[index]))[:3]
        values[index, acoustic[np.abs(values[index, acoustic]) <= tolerance]] = np.inf
    return values


def _is_gamma(qpoints: Array) -> NDArray[np.bool_]:
    return np.array(np.abs(qpoints - np.round(qpoints)).max(axis=1) < GAMMA_TOLERANCE)


def _space_group(phonon: Phonopy) -> str:
    dataset: Any = phonon.primitive_symmetry.dataset
    name = getattr(dataset, 'international', '')
    return f'{name} ({dataset.number})' if name else ''


def _pretty(label: str) -> str:
    """Return seekpath's name of a point as it is written: ``GAMMA`` as Γ, ``SIGMA_0`` as Σ₀."""
    name, _, index = label.partition('_')
    return GREEK.get(name, name) + index.translate(SUBSCRIPTS)
