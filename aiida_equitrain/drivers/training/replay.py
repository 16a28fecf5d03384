"""Frames of what the foundation should not forget, for training with replay."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...science.structures import check_elements
from ..job_io import DriverFailure

#: Of the frames that are left, so many per replayed frame are for validation.
VALID_FRACTION = 0.1


def choose(n_frames: int, size: int | None, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices of the frames to train on and of those for validation, which are others.

    :param size: number of frames to train on; ``None`` for as many as there are.
    """
    order = [int(index) for index in np.random.default_rng(seed).permutation(n_frames)]
    n_valid = max(1, round(VALID_FRACTION * (size or n_frames)))
    n_train = min(size or n_frames, n_frames - 1)
    return sorted(order[:n_train]), sorted(order[n_train : n_train + n_valid])


def label(frames: Sequence[Any], predictions: Any, given: bool) -> tuple[list[Any], dict[str, Any]]:
    """Return frames with labels that agree with the foundation's reference of energies, and what was done to them.

    :param predictions: energies, forces and stress of the foundation for the frames.
    :param given: whether the frames have labels of their own; otherwise the foundation's are taken.
    """
    if not given:
        labelled = [
            dataclasses.replace(
                frame, energy=float(predictions.energies[i]), forces=predictions.forces[i], stress=predictions.stress[i]
            )
            for i, frame in enumerate(frames)
        ]
        return labelled, {'labels': 'of the foundation'}
    from ase.data import chemical_symbols

    from ...science.energy_shift import fit_energy_shift

    # MACE gives a label that is not there the weight 0.
    known = [index for index, frame in enumerate(frames) if frame.energy is not None]
    if not known:
        return list(frames), {'labels': 'given', 'subtracted_ev_per_atom': {}, 'rmse_mev_per_atom': None}
    energies = np.array([frames[index].energy for index in known])
    shift = fit_energy_shift([frames[index].numbers for index in known], energies, predictions.energies[known])
    labelled = [
        frame if frame.energy is None else dataclasses.replace(frame, energy=shift.apply(frame.numbers, frame.energy))
        for frame in frames
    ]
    subtracted = {chemical_symbols[n]: value for n, value in zip(shift.numbers, shift.shifts, strict=True)}
    rmse = 1e3 * shift.rmse_per_atom
    return labelled, {'labels': 'given', 'subtracted_ev_per_atom': subtracted, 'rmse_mev_per_atom': rmse}


def check(frames: Sequence[Any], elements: Sequence[str]) -> None:
    """Refuse frames that cannot be replayed; the same is checked before submission.

    :raises DriverFailure: ``bad_input``.
    """
    if len(frames) < 2:
        raise DriverFailure('bad_input', '`replay` has fewer than two frames: one is for validation')
    found = {symbol for frame in frames for symbol in frame.to_atoms(keys=True).get_chemical_symbols()}
    if problem := check_elements(found, elements, 'replay', 'foundation'):
        raise DriverFailure('bad_input', problem)
