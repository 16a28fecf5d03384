"""Errors of a potential on labelled frames, and what it has forgotten. A helper of ``train.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

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
