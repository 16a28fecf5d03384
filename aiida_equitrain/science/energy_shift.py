"""Refer total energies of a DFT code to those of a potential, by a shift per atom of each element.

Total energies of codes with different pseudopotentials differ by a constant per atom of each element. Forces and stress
do not. This module is staged into the training job, which evaluates the potential.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnergyShift:
    """A shift per element, and how well it was determined.

    :param numbers: atomic numbers, rising.
    :param shifts: what has to be subtracted from a label per atom of each element, eV.
    :param rank: number of independent compositions; below ``len(numbers)`` only combinations of the shifts are known,
        and the solution of least norm was taken.
    :param rmse_per_atom: what remains between labels and potential after the shift, eV/atom.
    """

    numbers: tuple[int, ...]
    shifts: tuple[float, ...]
    rank: int
    rmse_per_atom: float

    def apply(self, numbers: NDArray[np.int64], energy: float) -> float:
        """Return the shifted energy of a frame.

        :raises ValueError: if the frame holds an element without a shift.
        """
        counts = composition([numbers], self.numbers)[0]
        if counts.sum() != len(numbers):
            raise ValueError('the frame holds an element for which no energy shift was determined')
        return float(energy - counts @ np.array(self.shifts))


def composition(numbers: Sequence[NDArray[np.int64]], elements: Sequence[int]) -> Array:
    """Return how many atoms of each element each frame has, shape (F, E)."""
    return np.array([[np.count_nonzero(item == element) for element in elements] for item in numbers], dtype=float)


def fit_energy_shift(numbers: Sequence[NDArray[np.int64]], labels: Array, predictions: Array) -> EnergyShift:
    """Fit the shift per element by least squares of the energies per atom.

    With one composition only the sum over its formula unit is defined; least norm spreads it evenly then.

    :param numbers: atomic numbers of each frame.
    :param labels: total energies of the DFT code, eV, shape (F,).
    :param predictions: energies of the potential for the same frames, eV, shape (F,).
    :raises ValueError: if there are no frames or an energy is not finite.
    """
    difference = np.asarray(labels, dtype=float) - np.asarray(predictions, dtype=float)
    if difference.size == 0 or not np.isfinite(difference).all():
        raise ValueError('the energy shift needs at least one frame, with finite energies')
    elements = sorted({int(number) for item in numbers for number in item})
    counts = composition(numbers, elements)
    sizes = counts.sum(axis=1)
    # scaled by the number of atoms, so that frames of different sizes count alike
    fractions, target = counts / sizes[:, None], difference / sizes
    shifts, _, rank, _ = np.linalg.lstsq(fractions, target, rcond=1e-8)
    residual = target - fractions @ shifts
    rmse = float(np.sqrt(np.mean(residual**2)))
    return EnergyShift(tuple(elements), tuple(float(value) for value in shifts), int(rank), rmse)
