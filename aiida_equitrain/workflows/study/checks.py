"""What can be wrong with the input of a study: one sentence each, before anything is submitted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_equitrain.calculations.functions.study import STUDY_SETTINGS
from aiida_equitrain.common.names import ROOT_PHASE
from aiida_equitrain.common.settings import settings_problem, with_defaults
from aiida_equitrain.common.strategies import check_strategy
from aiida_equitrain.workflows.finetune import without_labels
from aiida_equitrain.workflows.material import checks as material_checks
from aiida_equitrain.workflows.study.builder import OF_MATERIAL
from aiida_equitrain.workflows.study.rows import size_problem

#: Names that may stand in link labels.
NAME = re.compile(r'[A-Za-z0-9]+(_[A-Za-z0-9]+)*')


def validate_settings(value: orm.Dict, _: Any) -> str | None:
    """Return a sentence if a key is unknown or its value is wrong."""
    problem = settings_problem(value.get_dict(), STUDY_SETTINGS)
    if problem:
        return problem
    settings = with_defaults(value.get_dict(), STUDY_SETTINGS)
    for key, smallest in (('sizes', 1), ('seeds', 0)):
        numbers = settings[key]
        if not numbers or not all(type(item) is int and item >= smallest for item in numbers):
            return f'`settings.{key}` must be a list of whole numbers from {smallest} on, not {numbers!r}.'
        if len(set(numbers)) < len(numbers):
            return f'`settings.{key}` names a number twice: {numbers!r}.'
    return None


def validate_inputs(inputs: Mapping[str, Any], _: Any = None) -> str | None:
    """Return a sentence about the first thing that is wrong; each material is seen as the main job sees it."""
    if not {'materials', 'foundation', 'strategies', 'settings', 'python_code', 'phonopy_code'} <= set(inputs):
        return None  # The ports themselves say what is missing.
    strategies, settings = inputs['strategies'].get_dict(), with_defaults(inputs['settings'].get_dict(), STUDY_SETTINGS)
    if not inputs['materials']:
        return '`materials` is empty: give at least one crystal.'
    problem = _strategies_problem(strategies, inputs)
    if problem:
        return problem
    for name, material in inputs['materials'].items():
        problem = _material_problem(name, material, inputs, settings)
        if problem:
            return f'`materials.{name}`: {problem}'
    return None


def _strategies_problem(strategies: Mapping[str, Any], inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if there is no strategy, or one that cannot be."""
    if not strategies:
        return '`strategies` is empty: name at least one, such as `l2-tsp`.'
    replay = 'replay' in (inputs.get('finetune') or {}).get('train', {})
    for name, strategy in strategies.items():
        if not isinstance(strategy, Mapping) or not set(strategy) <= {'hyperparameters', 'engine'}:
            return f'`strategies.{name}` must have the keys `hyperparameters` and, optionally, `engine`.'
        if not isinstance(strategy.get('hyperparameters'), Mapping):
            return f'`strategies.{name}` lacks `hyperparameters`, which may be empty.'
        family = inputs['foundation'].family
        problem = check_strategy(name, strategy.get('engine'), replay and name == 'multihead', family=family)
        if problem:
            return f'`strategies`: {problem}'
    return None


def _phases_problem(material: Mapping[str, Any], followed: bool) -> str | None:
    """Return a sentence if the phases of DFT are none of this crystal, or nothing would be compared with them."""
    if 'reference_phases' not in material:
        return None
    if not followed:
        return '`reference_phases` needs `instability`: without it no modes are followed that could lead to a phase.'
    phases = material['reference_phases']
    if not isinstance(phases, Mapping) or ROOT_PHASE not in phases:
        return '`reference_phases` needs `root`, the crystal with DFT, beside its phases; alone it says there are none.'
    formula = material['structure'].get_formula('hill_compact')
    for name, phase in phases.items():
        if not isinstance(phase, orm.StructureData):
            return f'`reference_phases.{name}` must be a StructureData, not a {type(phase).__name__}.'
        if phase.get_formula('hill_compact') != formula:
            return (
                f'`reference_phases.{name}` is {phase.get_formula("hill_compact")}, but `structure` is {formula}: '
                'give the phases of this crystal.'
            )
    return None


def _material_problem(
    name: str, material: Mapping[str, Any], inputs: Mapping[str, Any], settings: Mapping[str, Any]
) -> str | None:
    """Return a sentence if a crystal cannot be studied."""
    if not NAME.fullmatch(name):
        return 'its name must be letters and digits, with single underscores between them.'
    unknown = sorted(set(material) - set(OF_MATERIAL))
    if unknown:
        return f'`{unknown[0]}` is not known; there may be {", ".join(OF_MATERIAL)}.'
    if not {'structure', 'phonons'} <= set(material):
        return 'it needs a `structure` and `phonons`.'
    problem = _phases_problem(material, 'instability' in inputs)
    if problem:
        return problem
    dataset = material.get('dataset')
    if dataset is not None:
        problem = size_problem(dataset, max(settings['sizes']))
        if problem:
            return f'{problem} in its `dataset`; lower `settings.sizes`.'
    shared = {key: inputs[key] for key in ('foundation', 'python_code', 'phonopy_code')}
    for strategy, choice in inputs['strategies'].get_dict().items():
        hyperparameters = dict(choice['hyperparameters'])
        if dataset is not None:
            hyperparameters |= dict.fromkeys(without_labels(dataset), 0.0)
        train = {'strategy': orm.Str(strategy), 'hyperparameters': hyperparameters}
        if 'replay' in (inputs.get('finetune') or {}).get('train', {}) and strategy == 'multihead':
            train['replay'] = inputs['finetune']['train']['replay']
        problem = material_checks.validate_inputs({**material, **shared, 'finetune': {'train': train}})
        if problem:
            return problem
    return None
