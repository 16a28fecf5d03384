"""Whether labelled energies and stresses belong to one energy surface.

At a fixed plane-wave cut-off the basis changes with the volume, and the energies with it, but not the analytical
stress (Pulay stress; Francis and Payne, J. Phys.: Condens. Matter 2, 4395 (1990)): with a low cut-off no potential has
both right.
This module is staged into the training job, which evaluates the potential.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

Array = NDArray[np.float64]

#: Fewest frames, and smallest range of their volumes relative to the mean, that a slope is taken from.
FEWEST, SMALLEST_RANGE = 4, 0.02
#: A gap of the size of usual errors of stress, eV/Å³ (0.16 GPa), says nothing, nor one that chance gives more often.
SMALLEST_GAP, CHANCE = 1e-3, 0.003


@dataclass(frozen=True)
class StressGap:
    """How much more the energies change with volume than the stresses say, eV/Å³, and the standard error of that.

    :param frames: of how many it was found.
    """

    gap: float
    error: float
    frames: int

    @property
    def is_significant(self) -> bool:
        """Whether it is more than errors of labels and of the potential explain."""
        return abs(self.gap) > max(SMALLEST_GAP, float(t.isf(CHANCE / 2, self.frames - 2)) * self.error)


def stress_gap(volumes: Sequence[float], energies: Sequence[float], pressures: Sequence[float]) -> StressGap | None:
    """Return the slope of the energies with volume, less the mean of the stresses: zero on one energy surface.

    A potential's energies and stresses are consistent, so that labels less the potential's values are judged: these are
    small and smooth, and what the rattling of the frames does to energies cancels.

    :param volumes: of frames of one composition, Å³/atom, shape (F,).
    :param energies: labels less the potential's energies, eV/atom, shape (F,); a constant does not matter.
    :param pressures: a third of the trace of the labelled stress, less the potential's, eV/Å³, shape (F,).
    :returns: ``None`` with too few frames, or too close volumes, for a slope.
    """
    volume, energy, pressure = (np.asarray(values, dtype=float) for values in (volumes, energies, pressures))
    if len(volume) < FEWEST or np.ptp(volume) < SMALLEST_RANGE * volume.mean():
        return None
    # What the stresses say of the energies: the integral of their straight line over volume.
    away = volume - volume.mean()
    change = np.polynomial.polynomial.polyfit(away, pressure, 1)
    left = energy - change[0] * away - change[1] * away**2 / 2
    slope, constant = np.polyfit(away, left, 1)
    residual = left - slope * away - constant
    error = np.sqrt(residual @ residual / (len(volume) - 2) / (away @ away))
    return StressGap(float(slope), float(error), len(volume))
