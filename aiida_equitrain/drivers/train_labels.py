"""The labels that are trained on: what they must have, and their reference of energies. A helper of ``train.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols
from equitrain_job.science.energy_shift import fit_energy_shift
from job_io import DriverFailure

#: The energy shift leaves this much at most, meV/atom, where labels and foundation are of one method.
LARGEST_RESIDUAL = 100.0


def check_frames(frames: Any, stress_weight: float, energy_weight: float = 0.0) -> None:
    """Refuse a dataset that cannot be trained on; the same is checked before submission.

    :raises DriverFailure: ``bad_input``.
    """
    for role in ('train', 'valid'):
        if not len(frames.with_role(role)):
            raise DriverFailure('bad_input', f'the dataset has no frame with the role `{role}`')
    if stress_weight and any(frame.stress is None for frame in frames):
        # Equitrain would train towards a stress of zero where there is none.
        raise DriverFailure('bad_input', '`stress_weight` is not 0, but there are frames without stress')
    if energy_weight and any(frame.energy is None for frame in frames):
        raise DriverFailure('bad_input', '`energy_weight` is not 0, but there are frames without energy')


def refer_to_foundation(frames: Any, predicted: Any) -> dict[str, Any]:
    """Refer the energies of the frames to the foundation, in place; return the shift per atom of each element.

    The electronic-structure code and the foundation count energies from different atoms. Without this the weights
    would be spent on a constant. Fitted on the training frames only, to those that have an energy.

    :param predicted: energies of the foundation for the frames, eV, shape (F,).
    :raises DriverFailure: ``bad_input``.
    """
    chosen = [index for index, frame in enumerate(frames) if frame.role == 'train' and frame.energy is not None]
    if not chosen:
        return {'subtracted_ev_per_atom': {}, 'rank': 0, 'rmse_mev_per_atom': None, 'fitted_to': 'no energies'}
    numbers = [frames[index].numbers for index in chosen]
    labels = np.array([frames[index].energy for index in chosen])
    try:
        shift = fit_energy_shift(numbers, labels, predicted[chosen])
        for frame in frames:
            if frame.energy is not None:
                frame.energy = shift.apply(frame.numbers, frame.energy)
    except ValueError as error:
        message = f'the energies of the dataset cannot be referred to the foundation: {error}'
        raise DriverFailure('bad_input', message) from error
    return {
        'subtracted_ev_per_atom': {
            chemical_symbols[number]: value for number, value in zip(shift.numbers, shift.shifts, strict=True)
        },
        'rank': shift.rank,
        'rmse_mev_per_atom': 1e3 * shift.rmse_per_atom,
        'fitted_to': 'energies of the foundation for the training frames',
    }


def warnings(frames: Any, shift: dict[str, Any]) -> list[str]:
    """Return what is odd about the labels, one sentence each.

    :param shift: what :func:`refer_to_foundation` returned.
    """
    found = []
    missing = sum(frame.energy is None for frame in frames)
    if missing:
        found.append(f'{missing} of {len(frames)} frames have no energy: no energy is trained on')
    return found + residual_warnings(shift['rmse_mev_per_atom'], 'training frames', 'set `energy_weight` to 0')


def residual_warnings(residual: float | None, frames: str, otherwise: str) -> list[str]:
    """Return a sentence if the shift of the energies leaves more than labels scatter, none otherwise.

    :param residual: meV/atom; ``None`` without energies.
    :param frames: which ones are labelled.
    :param otherwise: what to do if the labels cannot be mended.
    """
    if residual is None or residual <= LARGEST_RESIDUAL:
        return []
    return [
        f'after the shift of the energies per element, {residual:.0f} meV/atom remain between the labels of the '
        f'{frames} and the foundation, far more than the noise of a label: look for {frames} of another code, '
        f'functional or set of pseudopotentials, or {otherwise}'
    ]
