"""Energy along a mode: a fit, and the double well that it tells of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The fit reaches up to the first point that lies this many times the depth above the undisplaced crystal.
WALL = 3.0
#: eV, Å, amu: angular frequency squared of 1 eV/Å²/amu in (2π THz)², see :func:`frequency_of_curvature`.
_EV_PER_ANGSTROM2_AMU = 9648.533212331002


@dataclass
class WellFit:
    r"""A polynomial :math:`E(A) - E(0) = \sum_k c_k A^k` through energies along a mode.

    :param powers: the powers k; even ones only where both sides are alike.
    :param coefficients: of the powers, eV/Å^k.
    :param minimum_angstrom: amplitude of the deepest point, ``None`` if it is A = 0 or lies at the end of the scan.
    :param depth_ev: energy there minus that of A = 0, negative; of the scanned cell.
    :param rmse_ev: of the fit, over the points that it uses.
    :param reach_angstrom: largest amplitude that the fit uses: the walls far above the well are left out.
    :param minimum_at_end: whether the energy still falls at the end: scan further.
    """

    powers: list[int]
    coefficients: list[float]
    minimum_angstrom: float | None
    depth_ev: float | None
    rmse_ev: float
    reach_angstrom: float
    minimum_at_end: bool

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers."""
        return dict(vars(self))


def powers_of(two_sided: bool, degree: int) -> list[int]:
    """Return the powers of a fit: even ones only where both sides are alike."""
    return [power for power in range(2, degree + 1) if two_sided or power % 2 == 0]


def may_fit(amplitudes: Any, two_sided: bool, degree: int) -> bool:
    """Return whether there are the amplitude 0 and enough others for :func:`fit_well`."""
    return bool(np.any(amplitudes == 0) and np.count_nonzero(amplitudes) >= len(powers_of(two_sided, degree)))


def fit_well(amplitudes: Any, energies: Any, two_sided: bool = False, degree: int = 6) -> WellFit:
    """Fit the energy along a mode.

    :param amplitudes: Å, shape (n,), with 0 among them.
    :param energies: eV, shape (n,).
    :param two_sided: whether the two sides differ, so that odd powers are needed.
    :param degree: highest power.
    :raises ValueError: if there are fewer points than powers, or 0 is not among the amplitudes.
    """
    amplitudes, energies = np.asarray(amplitudes, dtype=float), np.asarray(energies, dtype=float)
    if not np.any(amplitudes == 0):
        raise ValueError('the energy along a mode needs the amplitude 0.')
    relative = energies - energies[amplitudes == 0][0]
    powers = powers_of(two_sided, degree)
    if np.count_nonzero(amplitudes) < len(powers):
        raise ValueError(
            f'{np.count_nonzero(amplitudes)} amplitudes beside 0 do not do for a fit with {len(powers)} powers; '
            'give more of them.'
        )
    near = _near_the_well(amplitudes, relative, len(powers) + 1)
    amplitudes, relative = amplitudes[near], relative[near]
    scale = float(np.abs(amplitudes).max())
    used = amplitudes != 0
    design = np.stack([(amplitudes / scale) ** power for power in powers], axis=1)
    scaled, *_ = np.linalg.lstsq(design[used], relative[used], rcond=None)
    residual = design @ scaled - relative
    fine = np.linspace(min(0.0, float(amplitudes.min())) / scale, float(amplitudes.max()) / scale, 20001)
    curve = np.stack([fine**power for power in powers], axis=1) @ scaled
    lowest = int(curve.argmin())
    at_end = lowest in ({0, len(fine) - 1} - {int(np.argmin(np.abs(fine)))})
    inside = not at_end and curve[lowest] < 0 and fine[lowest] != 0
    return WellFit(
        powers,
        [float(value / scale**power) for value, power in zip(scaled, powers, strict=True)],
        float(fine[lowest] * scale) if inside else None,
        float(curve[lowest]) if inside else None,
        float(np.sqrt(np.mean(residual**2))),
        scale,
        bool(at_end),
    )


def _near_the_well(amplitudes: Array, relative: Array, least: int) -> NDArray[np.bool_]:
    """Return which points the fit uses: the steep walls far above the well would drown it.

    :param least: number of points beside 0 that are used at any rate, the innermost first.
    """
    lowest = min(0.0, float(relative.min()))
    highest = -WALL * lowest if lowest < 0 else np.inf
    outside = np.abs(amplitudes[relative > highest])
    reach = float(outside.min()) if len(outside) else np.inf
    reach = max(reach, float(np.sort(np.abs(amplitudes[amplitudes != 0]))[:least][-1]))
    result: NDArray[np.bool_] = np.abs(amplitudes) <= reach
    return result


def frequency_of_curvature(curvature: float, inertia: float) -> float:
    """Return the frequency (THz, imaginary ones negative) that the curvature of the energy at A = 0 stands for.

    With the displacements ``A * pattern`` the kinetic energy is half the inertia times the squared velocity of A, hence
    ω² = curvature / inertia. It checks the scan against the force constants.

    :param curvature: second derivative of the energy, eV/Å².
    :param inertia: sum over all atoms of mass times squared pattern, amu.
    """
    squared = curvature / inertia * _EV_PER_ANGSTROM2_AMU
    return float(np.sign(squared) * np.sqrt(abs(squared)) / (2 * np.pi))


def curve_errors(candidate: Any, reference: Any) -> dict[str, float]:
    """Return the errors between two curves of energies (n,) of the same points, each from its own first point, eV."""
    candidate, reference = np.asarray(candidate, dtype=float), np.asarray(reference, dtype=float)
    difference = (candidate - candidate[0]) - (reference - reference[0])
    return {
        'energy_mae_ev': float(np.abs(difference).mean()),
        'energy_max_error_ev': float(np.abs(difference).max()),
        'depth_error_ev': float((candidate - candidate[0]).min() - (reference - reference[0]).min()),
    }
