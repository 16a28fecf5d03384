"""Errors of a potential on labelled frames, and what it has forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from ...science.energy_shift import fit_energy_shift
from ...science.stress_consistency import StressGap, stress_gap
from ..job_io import DriverFailure

#: Mean absolute errors by quantity.
KEYS = {'energy': 'energy_mae_mev_per_atom', 'forces': 'forces_mae_mev_per_angstrom',
        'stress': 'stress_mae_mev_per_angstrom3'}  # fmt: skip


class Predictions:
    """Energies (F,) in eV, forces (atoms of all frames, 3) in eV/Å and stress (F, 3, 3) in eV/Å³ of some frames."""

    def __init__(self, frames: Sequence[Any], calculator: Any, tell: Callable[[int], None] | None = None) -> None:
        """Evaluate every frame in turn: on a CPU, batches do not pay.

        :param tell: called with the number of frames done.
        """
        energies, forces, stress = [], [], []
        for index, frame in enumerate(frames):
            atoms = frame.to_atoms(keys=True)
            atoms.calc = calculator
            energies.append(float(atoms.get_potential_energy()))
            forces.append(np.array(atoms.get_forces(), dtype=float))
            stress.append(np.array(atoms.get_stress(voigt=False), dtype=float))
            if tell:
                tell(index + 1)
        self.energies = np.array(energies)
        self.forces = forces
        self.stress = stress


def errors(frames: Sequence[Any], predictions: Predictions, indices: Iterable[int]) -> dict[str, Any]:
    """Return the errors on the frames of the given indices; the energy is that of the labels' present reference.

    Means run over frames (energy), components (forces) and the nine entries of the tensor (stress), as in Equitrain.
    """
    chosen = list(indices)
    if not chosen:
        return {'n_frames': 0}
    energy = [
        (predictions.energies[i] - frames[i].energy) / len(frames[i]) for i in chosen if frames[i].energy is not None
    ]
    forces = np.concatenate([(predictions.forces[i] - frames[i].forces).ravel() for i in chosen])
    result: dict[str, Any] = {
        'n_frames': len(chosen),
        **({'energy_mae_mev_per_atom': 1e3 * float(np.abs(energy).mean())} if energy else {}),
        'forces_mae_mev_per_angstrom': 1e3 * float(np.abs(forces).mean()),
        'forces_rmse_mev_per_angstrom': 1e3 * float(np.sqrt((forces**2).mean())),
    }
    stress = [predictions.stress[i] - frames[i].stress for i in chosen if frames[i].stress is not None]
    if stress:
        result['stress_mae_mev_per_angstrom3'] = 1e3 * float(np.abs(stress).mean())
    return result


def without_missing(rows: list[dict[str, float]], frames: Sequence[Any]) -> list[dict[str, float]]:
    """Return the history with NaN for errors of labels that some frames do not have: engines take 0 in their place."""
    unknown = {name for name in ('energy', 'stress') if any(getattr(frame, name) is None for frame in frames)}
    wrong = {f'{role}_{name}_mae' for role in ('train', 'valid') for name in unknown}
    return [{key: float('nan') if key in wrong else value for key, value in row.items()} for row in rows]


def errors_by_role(frames: Sequence[Any], predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Return :func:`errors` of every role that occurs."""
    roles = sorted({frame.role for frame in frames})
    return {
        role: errors(frames, predictions, [i for i, frame in enumerate(frames) if frame.role == role]) for role in roles
    }


def others(frames: Sequence[Any], trained: Sequence[Any], known: Iterable[str]) -> list[Any]:
    """Return the frames on which forgetting is measured: other compositions than the trained one, of known elements."""
    formulas, elements = {frame.formula for frame in trained}, set(known)
    return [
        frame
        for frame in frames
        if frame.formula not in formulas and set(frame.to_atoms(keys=True).get_chemical_symbols()) <= elements
    ]


def forgetting(frames: Sequence[Any], before: Predictions, after: Predictions, given: int) -> dict[str, Any]:
    """Return the change of the force error on other crystals, in meV/Å; it grows with what was forgotten.

    :param frames: what :func:`others` returned.
    :param given: number of frames in the forgetting dataset, before the material's own were left out.
    """
    key = 'forces_mae_mev_per_angstrom'
    first = errors(frames, before, range(len(frames)))[key]
    last = errors(frames, after, range(len(frames)))[key]
    by_formula: dict[str, Any] = {}
    for formula in sorted({frame.formula for frame in frames}):
        chosen = [i for i, frame in enumerate(frames) if frame.formula == formula]
        by_formula[formula] = errors(frames, after, chosen)[key] - errors(frames, before, chosen)[key]
    return {
        'n_frames': len(frames),
        'n_left_out': given - len(frames),
        'forces_mae_before_mev_per_angstrom': first,
        'forces_mae_after_mev_per_angstrom': last,
        'change_mev_per_angstrom': last - first,
        'change_by_formula_mev_per_angstrom': by_formula,
    }


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


def widest_stress_gap(frames: Sequence[Any], predictions: Predictions) -> StressGap | None:
    """Return the widest gap between energies and stresses of the labels among the compositions; ``None`` if unknown."""
    found = []
    known = [i for i, frame in enumerate(frames) if frame.energy is not None and frame.stress is not None]
    for formula in sorted({frames[i].formula for i in known}):
        rows = []
        for i in known:
            frame, size = frames[i], len(frames[i])
            if frame.formula == formula:
                pressure = np.trace(frame.stress - predictions.stress[i]) / 3
                volume = abs(np.linalg.det(frame.cell)) / size
                rows.append((volume, (frame.energy - predictions.energies[i]) / size, pressure))
        gap = stress_gap(*zip(*rows, strict=True))
        if gap is not None:
            found.append(gap)
    return max(found, key=lambda gap: (gap.is_significant, abs(gap.gap)), default=None)


def warnings(frames: Any, shift: dict[str, Any], gap: StressGap | None = None) -> list[str]:
    """Return what is odd about the labels, one sentence each.

    :param shift: what :func:`refer_to_foundation` returned.
    :param gap: what :func:`widest_stress_gap` returned.
    """
    found = []
    missing = sum(frame.energy is None for frame in frames)
    if missing:
        found.append(f'{missing} of {len(frames)} frames have no energy: no energy is trained on')
    found += residual_warnings(shift['rmse_mev_per_atom'], 'training frames', 'set `energy_weight` to 0')
    if gap is not None and gap.is_significant:
        found.append(
            f'energies and stresses of the labels disagree: {1e3 * gap.gap:.1f} ± {1e3 * gap.error:.1f} meV/Å³ between '
            'the change of the energies with volume and the stresses (Pulay stress), so that no potential has both '
            'right; label with a higher `ecutwfc`, or set `stress_weight` or `energy_weight` to 0'
        )
    return found


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
