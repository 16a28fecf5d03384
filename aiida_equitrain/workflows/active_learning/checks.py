"""What can be wrong with the inputs of active learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_equitrain.calculations.functions.active_learning import ACTIVE_SETTINGS
from aiida_equitrain.common.names import Role
from aiida_equitrain.common.settings import settings_problem, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.workflows.checks import kinds_problem, same_physics_problem, structure_problem


def validate_settings(value: orm.Dict, _: Any) -> str | None:
    """Return a sentence if a key is unknown or its value is wrong."""
    problem = settings_problem(value.get_dict(), ACTIVE_SETTINGS)
    settings = with_defaults(value.get_dict(), ACTIVE_SETTINGS) if problem is None else {}
    if problem is None and settings['max_train'] < settings['n_start']:
        return f'`settings.max_train` ({settings["max_train"]}) is below `settings.n_start` ({settings["n_start"]}).'
    return problem


def validate_inputs(inputs: Mapping[str, Any], _: Any = None) -> str | None:
    """Return a sentence about what only all inputs together tell."""
    if not {'structure', 'foundation', 'pool', 'settings'} <= set(inputs):
        return None  # The ports themselves say what is missing.
    pool, settings = inputs['pool'], with_defaults(inputs['settings'].get_dict(), ACTIVE_SETTINGS)
    problem = structure_problem(inputs['structure'], inputs['foundation'].elements)
    if problem:
        return problem
    if not isinstance(pool, DatasetData):
        if 'dataset' not in inputs or not inputs.get('label'):
            return 'a `pool` without labels needs `dataset` (labelled frames to start from) and `label` (how to label)'
        return kinds_problem(inputs['structure']) or same_physics_problem({'label.pw': inputs['label']['pw']})
    if 'dataset' in inputs or inputs.get('label'):
        return 'a `pool` with labels needs neither `dataset` nor `label`: leave them out'
    numbers = {tuple(frame.numbers) for frame in pool.get_frames() if frame.role == Role.TRAIN.value}
    if len(numbers) > 1:
        return 'the training frames of `pool` are not all of the same atoms in the same order'
    if pool.counts[Role.TRAIN.value] < settings['n_start']:
        return (
            f'`pool` has {pool.counts[Role.TRAIN.value]} training frames, fewer than `settings.n_start` '
            f'({settings["n_start"]})'
        )
    if not pool.counts[Role.VALID.value]:
        return '`pool` has no frames with the role `valid`; trainings need some'
    return None
