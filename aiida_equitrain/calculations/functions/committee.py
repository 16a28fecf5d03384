"""Calcfunctions of the committee: thin wrappers of ``science``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import ArrayData, Dict, Float, Int

from aiida_equitrain.common.names import Role
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science.committee import committee_spread


@calcfunction
def compare_members(**predictions: ArrayData) -> dict[str, Any]:
    """Return how far the members of a committee are apart.

    :param predictions: output ``predictions`` of each member, for the same dataset.
    :returns: ``spread``, an ``ArrayData`` with an entry per frame: ``energy_spread`` (eV/atom), ``forces_spread``
        (eV/Å), ``forces_mae`` of the committee's mean (eV/Å), ``is_train``, ``is_valid``; and ``committee``, a ``Dict``
        with their means over the frames of each role, beside the mean error of the single members.
    """
    members = [predictions[name] for name in sorted(predictions)]
    first = members[0]
    index, reference = first.get_array('frame_index'), first.get_array('forces_reference')
    forces = np.array([member.get_array('forces_after') for member in members])
    energies = np.array([member.get_array('energies_after') for member in members])
    spread = committee_spread(energies, forces, index)
    mae = _by_frame(spread.forces - reference, index)
    single = np.mean([_by_frame(one - reference, index) for one in forces], axis=0)

    arrays = ArrayData()
    for name, values in {
        'energy_spread': spread.energy_spread,
        'forces_spread': spread.forces_spread,
        'forces_mae': mae,
        'is_train': first.get_array('is_train'),
        'is_valid': first.get_array('is_valid'),
    }.items():
        arrays.set_array(name, values)
    arrays.base.attributes.set('units', {'energy_spread': 'eV/atom', 'forces_spread': 'eV/Å', 'forces_mae': 'eV/Å'})
    summary: dict[str, Any] = {'n_members': len(members)}
    for role in ('train', 'valid'):
        chosen = first.get_array(f'is_{role}').astype(bool)
        if chosen.any():
            summary[role] = {
                'n_frames': int(chosen.sum()),
                'energy_spread_mev_per_atom': 1e3 * float(spread.energy_spread[chosen].mean()),
                'forces_spread_mev_per_angstrom': 1e3 * float(spread.forces_spread[chosen].mean()),
                'forces_mae_of_mean_mev_per_angstrom': 1e3 * float(mae[chosen].mean()),
                'mean_forces_mae_mev_per_angstrom': 1e3 * float(single[chosen].mean()),
            }
    return {'spread': arrays, 'committee': Dict(summary)}


@calcfunction
def draw_subsample(dataset: DatasetData, subsample: Float, seed: Int) -> DatasetData:
    """Return the dataset with fewer frames that train: those left out get the role ``test``, and none is lost.

    :param subsample: share of the training frames that are kept, rounded down, but at least one.
    :param seed: of the draw, without replacement.
    """
    frames = list(dataset.get_frames())
    train = [row for row, frame in enumerate(frames) if frame.role == Role.TRAIN.value]
    n_kept = max(1, int(subsample.value * len(train) + 1e-9))
    for row in np.random.default_rng(seed.value).permutation(train)[n_kept:]:
        frames[row] = replace(frames[row], role=Role.TEST.value)
    return dataset.with_frames(frames)


def _by_frame(differences: Any, index: Any) -> Any:
    """Return the mean absolute value of (A, 3) differences in each frame."""
    return np.bincount(index, weights=np.abs(differences).mean(axis=1)) / np.bincount(index)
