"""From the covariance of corrected force constants to error bars of frequencies, thermal properties and stability.

First order: the change of a squared frequency is the mean of dD(q) over its eigenvector; over a degenerate set it is
the mean over the set, as changes that keep the symmetry of the crystal do not split it. Sums over the mesh are linear
in these changes, so that errors which many modes share do not average out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.physical_units import get_physical_units

from .correction import Basis, Posterior
from .phonon_metrics import masses_keep_symmetry, without_translations

Array = NDArray[np.float64]

#: Modes closer than this (THz) are taken for degenerate.
DEGENERACY_THZ = 1e-3
#: Standard deviations that a verdict on stability must be away from the limit.
VERDICT_SIGMAS = 2.0
#: Memory that gradients may take at a time.
CHUNK_BYTES = 2**28
_PLANCK_EV_PER_THZ = 4.135667696e-3
_BOLTZMANN_EV_PER_K = 8.617333262e-5
_JOULE_PER_MOL = 96485.33212


@dataclass
class Modes:
    """Frequencies with what they say about the force constants.

    :param frequencies: THz, ascending, imaginary ones negative, shape (Q, B).
    :param gradients: derivative of the squared frequencies (THz², signed) by the independent force constants,
        (Q, B, n).
    """

    frequencies: Array
    gradients: Array

    def sigma(self, covariance: Array) -> Array:
        """Return the standard deviations (THz) of the frequencies, shape (Q, B), see :func:`root_sigma`."""
        variances = np.einsum('qbn,nm,qbm->qb', self.gradients, covariance, self.gradients, optimize=True)
        return root_sigma(self.frequencies, np.sqrt(np.clip(variances, 0, None)))


def root_sigma(frequencies: Array, spread: Array) -> Array:
    """Return standard deviations (THz) of frequencies from those of their squares (THz²).

    They are half the width of the image of x ± σ(x), x the squared frequency, so that they stay finite at zero.
    """
    squared = np.sign(frequencies) * frequencies**2
    return np.array((_signed_root(squared + spread) - _signed_root(squared - spread)) / 2)


def modes_at(phonon: Phonopy, basis: Basis | Posterior, qpoints: Array) -> Modes:
    """Return frequencies and their gradients at q-points.

    :param phonon: with the corrected force constants, and with the non-analytical term where one is wanted.
    """
    qpoints = np.asarray(qpoints, dtype=float).reshape(-1, 3)
    phonon.run_qpoints(qpoints, with_eigenvectors=True)
    result: Any = phonon.qpoints
    frequencies = np.array(result.frequencies)
    order = np.argsort(frequencies, axis=1)
    phases = phase_factors(phonon, qpoints)
    gradients = np.empty((*frequencies.shape, basis.n_constants))
    transposed = basis.map.T.tocsr()
    for index, vectors in enumerate(np.array(result.eigenvectors)):
        rows = _mode_rows(phonon, vectors[:, order[index]], phases[index])
        gradients[index] = (transposed @ rows.T).T
    frequencies = np.take_along_axis(frequencies, order, axis=1)
    for found, gradient in zip(frequencies, gradients, strict=True):
        for members in np.split(np.arange(len(found)), np.flatnonzero(np.diff(found) > DEGENERACY_THZ) + 1):
            gradient[members] = gradient[members].mean(axis=0)
    return Modes(frequencies, gradients)


def chunks_of_modes(phonon: Phonopy, basis: Basis | Posterior, qpoints: Array) -> Iterator[Modes]:
    """Yield :func:`modes_at` of the q-points, a part at a time: gradients of a large cell fill the memory."""
    qpoints = np.asarray(qpoints, dtype=float).reshape(-1, 3)
    per_point = 3 * len(phonon.primitive) * (basis.n_constants + 9 * len(phonon.primitive) * len(phonon.supercell))
    size = max(1, int(CHUNK_BYTES / (8 * per_point)))
    for start in range(0, len(qpoints), size):
        yield modes_at(phonon, basis, qpoints[start : start + size])


def frequency_errors(phonon: Phonopy, posterior: Posterior, qpoints: Array) -> tuple[Array, Array]:
    """Return the frequencies at q-points and their standard deviations, THz, each of shape (Q, B)."""
    found = [
        (modes.frequencies, root_sigma(modes.frequencies, np.linalg.norm(modes.gradients @ posterior.factor, axis=2)))
        for modes in chunks_of_modes(phonon, posterior, qpoints)
    ]
    frequencies, sigmas = zip(*found, strict=True)
    return np.concatenate(frequencies), np.concatenate(sigmas)


def phase_factors(phonon: Phonopy, qpoints: Array) -> NDArray[np.complex128]:
    """Return the mean of exp(2πi q·r), r the shortest vectors from primitive to supercell atoms, shape (Q, p, N)."""
    vectors, multiplicity = phonon.primitive.get_smallest_vectors()
    number, address = multiplicity[..., 0].T, multiplicity[..., 1].T
    result = np.empty((len(qpoints), *number.shape), dtype=complex)
    for i, j in np.ndindex(*number.shape):
        chosen = vectors[address[i, j] : address[i, j] + number[i, j]]
        result[:, i, j] = np.exp(2j * np.pi * (qpoints @ chosen.T)).mean(axis=1)
    return result


def thermal_errors(
    phonon: Phonopy, posterior: Posterior, temperatures: Sequence[float], mesh: Sequence[int] = (20, 20, 20)
) -> dict[str, Array]:
    """Return standard deviations of ``heat_capacity``, ``entropy`` (J/K/mol) and ``free_energy`` (kJ/mol).

    For one mole of primitive cells, real modes only, at ``temperatures`` (K).
    """
    phonon.run_mesh(list(mesh), is_mesh_symmetry=masses_keep_symmetry(phonon))
    grid: Any = phonon.mesh
    return mesh_errors(phonon, posterior, np.array(grid.qpoints), np.array(grid.weights), temperatures)[2]


def mesh_errors(
    phonon: Phonopy, posterior: Posterior, qpoints: Array, weights: Array, temperatures: Sequence[float]
) -> tuple[Array, Array, dict[str, Array]]:
    """Return frequencies (Q, B) of a mesh, their standard deviations, THz, and what :func:`thermal_errors` returns."""
    shares = np.asarray(weights, dtype=float) / np.sum(weights)
    found: list[tuple[Array, Array]] = []
    names = ('heat_capacity', 'entropy', 'free_energy')
    gradients = {name: np.zeros((len(temperatures), posterior.n_constants)) for name in names}
    start = 0
    for modes in chunks_of_modes(phonon, posterior, qpoints):
        spread = np.linalg.norm(modes.gradients @ posterior.factor, axis=2)
        found.append((modes.frequencies, root_sigma(modes.frequencies, spread)))
        here = shares[start : start + len(spread)]
        start += len(spread)
        energies = np.where(modes.frequencies > DEGENERACY_THZ, modes.frequencies, np.nan) * _PLANCK_EV_PER_THZ
        for index, temperature in enumerate(temperatures):
            for name, slope in _thermal_slopes(energies, float(temperature)).items():
                # d/d(ω²) = 1/(2ω) d/dω; modes that are not real do not count.
                scaled = np.nan_to_num(slope * _PLANCK_EV_PER_THZ / (2 * energies / _PLANCK_EV_PER_THZ))
                gradients[name][index] += np.tensordot(here[:, None] * scaled, modes.gradients, axes=2)
    frequencies, sigmas = zip(*found, strict=True)
    thermal = {name: np.linalg.norm(values @ posterior.factor, axis=1) for name, values in gradients.items()}
    return np.concatenate(frequencies), np.concatenate(sigmas), thermal


def stability(phonon: Phonopy, posterior: Posterior, qpoints: Array, tolerance: float) -> tuple[str, float, float]:
    """Judge dynamical stability, see :func:`verdict_of`, at q-points."""
    return verdict_of(qpoints, *frequency_errors(phonon, posterior, qpoints), tolerance)


def verdict_of(qpoints: Array, frequencies: Array, sigmas: Array, tolerance: float) -> tuple[str, float, float]:
    """Judge dynamical stability by the lowest frequency and its error bar; translations do not count.

    :param frequencies: THz, shape (Q, B), with their standard deviations ``sigmas``.
    :param tolerance: frequencies above minus this (THz) are no instability.
    :returns: ``stable``, ``unstable`` or ``undecided``; the lowest frequency and its standard deviation, THz.
    """
    values = without_translations(np.asarray(qpoints), frequencies, tolerance)
    upper, lower = values + VERDICT_SIGMAS * sigmas, values - VERDICT_SIGMAS * sigmas
    where = int(np.argmin(values))
    if upper.min() < -tolerance:
        verdict, where = 'unstable', int(np.argmin(upper))
    else:
        verdict = 'stable' if lower.min() >= -tolerance else 'undecided'
    return verdict, float(values.flat[where]), float(np.asarray(sigmas).flat[where])


def _mode_rows(phonon: Phonopy, vectors: NDArray[Any], phases: NDArray[Any]) -> Array:
    """Return the derivatives (B, p * N * 9) of squared frequencies, THz², by compact force constants at one q-point."""
    primitive = phonon.primitive
    n_primitive, n_bands = len(primitive), vectors.shape[1]
    scaled = vectors.T.reshape(n_bands, n_primitive, 3) / np.sqrt(primitive.masses)[None, :, None]
    images = np.array([primitive.p2p_map[atom] for atom in primitive.s2p_map])
    factor = get_physical_units().DefaultToTHz ** 2
    left = scaled.conj()[:, :, None, :] * phases[None, :, :, None]
    rows = np.real(left[..., None] * scaled[:, images][:, None, :, None, :])
    return np.array(factor * rows).reshape(n_bands, -1)


def _thermal_slopes(energies: Array, temperature: float) -> dict[str, Array]:
    """Return derivatives by ħω (eV) of the heat capacity, entropy (J/K/mol) and free energy (kJ/mol) of a mode."""
    if temperature < 1e-6:
        return {
            'heat_capacity': 0 * energies,
            'entropy': 0 * energies,
            'free_energy': 0 * energies + 0.5e-3 * _JOULE_PER_MOL,
        }
    thermal = _BOLTZMANN_EV_PER_K * temperature
    x = np.minimum(energies / thermal, 500.0)
    occupation = 1 / np.expm1(x)
    fluctuation = occupation * (occupation + 1)
    per_kelvin = _JOULE_PER_MOL / temperature
    return {
        'heat_capacity': per_kelvin * fluctuation * x * (2 - x * (2 * occupation + 1)),
        'entropy': -per_kelvin * x * fluctuation,
        'free_energy': 1e-3 * _JOULE_PER_MOL * (0.5 + occupation),
    }


def _signed_root(values: Array) -> Array:
    return np.array(np.sign(values) * np.sqrt(np.abs(values)))
