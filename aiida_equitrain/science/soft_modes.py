"""Imaginary modes of a crystal: where they are, and which displacements of a supercell they are.

They are looked for at the q-points that are commensurate with the supercell of the force constants, where these are
exact, and at the high-symmetry points of the zone, one of each star.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

from ..common.phonon_settings import SYMPREC

Array = NDArray[np.float64]

#: Largest denominator of a q-point that counts as commensurate.
MAX_DENOMINATOR = 12
#: A mode of Γ is a translation if more than this part of its squared eigenvector is one.
TRANSLATION = 0.5
#: Bands nearer than this (THz) are degenerate.
DEGENERACY_THZ = 1e-2


@dataclass
class SoftMode:
    """One degenerate set of imaginary modes.

    :param qpoint: in units of the primitive reciprocal lattice, shape (3,).
    :param name: of the high-symmetry point, such as ``X``; empty elsewhere.
    :param frequency_thz: mean of the set, negative.
    :param bands: indices of the bands, ascending.
    :param irrep: label of the irreducible representation, as phonopy names it; empty if it does not know.
    :param eigenvectors: of the dynamical matrix, complex, shape (degeneracy, 3 * atoms of the primitive cell).
    """

    qpoint: Array
    name: str
    frequency_thz: float
    bands: list[int]
    irrep: str = ''
    eigenvectors: NDArray[np.complex128] = field(default_factory=lambda: np.zeros((0, 0), dtype=complex))


def find_soft_modes(
    phonon: Phonopy, tolerance_thz: float, symprec: float = SYMPREC, qpoints: Sequence[Sequence[float]] = ()
) -> list[SoftMode]:
    """Return every instability, the strongest first.

    :param tolerance_thz: what lies above minus this is noise.
    :param qpoints: look only at these; by default at all of :func:`candidate_qpoints`.
    """
    modes: list[SoftMode] = []
    points = candidate_qpoints(phonon, symprec)
    if qpoints:
        names = {tuple(_reduced(qpoint)): name for qpoint, name in points}
        given = [np.array(qpoint, dtype=float) for qpoint in qpoints]
        points = [(_centred(qpoint), names.get(tuple(_reduced(qpoint)), '')) for qpoint in given]
    phonon.run_qpoints(np.array([qpoint for qpoint, _ in points]), with_eigenvectors=True)
    result: Any = phonon.qpoints
    for (qpoint, name), frequencies, columns in zip(points, result.frequencies, result.eigenvectors, strict=True):
        soft = [int(band) for band in np.flatnonzero(frequencies < -tolerance_thz)]
        if not np.any(qpoint):
            soft = [band for band in soft if translation_part(columns[:, band], phonon.primitive.masses) < TRANSLATION]
        for bands in degenerate_sets(frequencies, soft):
            vectors = np.array(columns[:, bands].T)
            modes.append(SoftMode(qpoint, name, float(np.mean(frequencies[bands])), bands, '', vectors))
    for mode in modes:
        mode.irrep = irrep_label(phonon, mode)
    return sorted(modes, key=lambda mode: mode.frequency_thz)


def candidate_qpoints(phonon: Phonopy, symprec: float = SYMPREC) -> list[tuple[Array, str]]:
    """Return one q-point of each star with its name (empty without one): Γ, high-symmetry points, commensurate ones."""
    matrix = np.rint(np.linalg.inv(phonon.primitive_matrix) @ phonon.supercell_matrix).astype(int)
    points = [(np.zeros(3), 'Γ'), *high_symmetry_points(phonon, symprec)]
    points += [(np.array(qpoint, dtype=float), '') for qpoint in get_commensurate_points(matrix)]
    operations = phonon.primitive_symmetry.pointgroup_operations
    seen: set[tuple[float, ...]] = set()
    unique = []
    for qpoint, name in points:
        images = [tuple(_reduced(qpoint @ rotation)) for rotation in operations]
        if seen.isdisjoint(images):
            seen.update(images)
            seen.update(tuple(_reduced(-np.array(image))) for image in images)
            unique.append((_centred(qpoint), name))
    return unique


def high_symmetry_points(phonon: Phonopy, symprec: float = SYMPREC) -> list[tuple[Array, str]]:
    """Return the points of Hinuma et al. that are commensurate with some supercell, in the basis of the primitive."""
    from .phonon_metrics import band_path

    path = band_path(phonon.primitive, points=2, symprec=symprec)
    ends = [name for pair in path.labels for name in pair]
    found = []
    for qpoint, name in zip(path.qpoints, ends, strict=True):
        if common_denominator(qpoint) is not None:
            found.append((qpoint, name))
    return found


def common_denominator(qpoint: Any, max_denominator: int = MAX_DENOMINATOR) -> int | None:
    """Return the smallest number that makes the q-point integer, ``None`` if there is none up to the maximum."""
    for number in range(1, max_denominator + 1):
        scaled = np.asarray(qpoint, dtype=float) * number
        if np.abs(scaled - np.round(scaled)).max() < 1e-4 * number:
            return number
    return None


def translation_part(eigenvector: NDArray[np.complex128], masses: Any) -> float:
    """Return which part of a normalised eigenvector, between 0 and 1, moves all atoms alike."""
    weights = np.sqrt(np.asarray(masses) / np.sum(masses))
    return float(np.sum(np.abs(weights @ eigenvector.reshape(-1, 3)) ** 2))


def degenerate_sets(frequencies: Array, bands: list[int], tolerance_thz: float = DEGENERACY_THZ) -> list[list[int]]:
    """Return bands, ascending in frequency, grouped where neighbours are nearer than the tolerance."""
    sets: list[list[int]] = []
    for band in sorted(bands, key=lambda index: frequencies[index]):
        if sets and abs(frequencies[band] - frequencies[sets[-1][-1]]) < tolerance_thz:
            sets[-1].append(band)
        else:
            sets.append([band])
    return sets


def irrep_label(phonon: Phonopy, mode: SoftMode) -> str:
    """Return phonopy's label of the irreducible representation; empty where its tables have none."""
    try:
        phonon.run_irreps(mode.qpoint, is_little_cogroup=False, degeneracy_tolerance=DEGENERACY_THZ)
        irreps: Any = phonon.irreps
        labels = irreps._ir_labels if irreps is not None else None
        for bands, label in zip(irreps.band_indices, labels or [], strict=False):
            if set(mode.bands) & set(bands):
                return str(label or '')
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError):
        return ''
    return ''


def commensurate_matrix(qpoint: Any, max_denominator: int = MAX_DENOMINATOR) -> NDArray[np.int64]:
    """Return the smallest supercell that a wave of this q-point fits into, nearly as compact as it can be.

    Its lattice is that of all R with q·R integer; the little group of q maps it onto itself. Lloyd-Williams and
    Monserrat, Phys. Rev. B 92, 184301 (2015).

    :returns: rows of integers in units of the primitive lattice vectors, shape (3, 3).
    :raises ValueError: if the q-point is not commensurate.
    """
    number = common_denominator(qpoint, max_denominator)
    if number is None:
        shown = ', '.join(f'{value:g}' for value in qpoint)
        raise ValueError(
            f'the q-point ({shown}) is not commensurate with a supercell of up to {max_denominator} cells; '
            'give fractions with a small denominator'
        )
    numerators = [round(float(value) * number) for value in qpoint]
    for first in _divisors(number):
        for second in _divisors(number // first):
            third = number // first // second
            for a, b, c in np.ndindex(second, third, third):
                rows = np.array([[first, a, b], [0, second, c], [0, 0, third]], dtype=np.int64)
                if not (rows @ numerators % number).any():
                    return rows
    raise AssertionError('there is always such a lattice')  # its index is the denominator


def fraction_text(qpoint: Any) -> str:
    """Return a q-point as people write it: ``1/2 0 -1/3``."""
    return ' '.join(str(Fraction(float(value)).limit_denominator(MAX_DENOMINATOR)) for value in qpoint)


def _divisors(number: int) -> list[int]:
    return [value for value in range(1, number + 1) if number % value == 0]


def _reduced(qpoint: Array) -> Array:
    result: Array = np.round(qpoint - np.floor(qpoint + 1e-6), 5) + 0.0
    return result


def _centred(qpoint: Array) -> Array:
    result: Array = qpoint - np.round(qpoint - 1e-6)
    return np.where(np.abs(result) < 1e-8, 0.0, result)
