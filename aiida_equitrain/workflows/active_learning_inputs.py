"""Inputs of active learning: what can be wrong with them, and how a protocol fills them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import AttributeDict

from aiida_equitrain.calculations.functions.active_learning import ACTIVE_SETTINGS
from aiida_equitrain.common.names import Role
from aiida_equitrain.common.settings import settings_problem, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.workflows import material_builder
from aiida_equitrain.workflows.committee import CommitteeWorkChain
from aiida_equitrain.workflows.common import (
    kinds_problem,
    same_physics_problem,
    serial_options,
    structure_problem,
)
from aiida_equitrain.workflows.label import LabelWorkChain
from aiida_equitrain.workflows.phonons import PhononsWorkChain


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


def override_schema() -> dict[str, Any]:
    """Return the keys that overrides of active learning may have."""
    return {
        'settings': dict.fromkeys(ACTIVE_SETTINGS),
        'committee': CommitteeWorkChain.get_override_schema(),
        'phonons': PhononsWorkChain.get_override_schema(),
        'label': LabelWorkChain.get_override_schema(),
        'compare': material_builder.override_schema()['compare'],
        'evaluate': {'settings': None},
    }


def build(
    process: Any,
    structure: orm.StructureData,
    foundation: Any,
    pool: Any,
    *,
    python_code: orm.AbstractCode,
    phonopy_code: orm.AbstractCode,
    dataset: DatasetData | None = None,
    reference: Any = None,
    strategy: str = 'l2-tsp',
    seed: int = 1,
    pw_code: orm.AbstractCode | None = None,
    pseudo_family: str | None = None,
    electronic_type: str = 'insulator',
    protocol: str | None = None,
    overrides: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """Return the builder of ``process`` (active learning).

    :param dataset: labelled frames to start from, where those of ``pool`` are not labelled.
    :param reference: DFT phonons, against which the error of every round is reported.
    :param pw_code: with ``pseudo_family`` and ``electronic_type``, to label a pool without labels.
    :raises ValueError: with a sentence, if an override is unknown or something is missing.
    """
    inputs = process.get_protocol_inputs(protocol, overrides)
    labelled = isinstance(pool, DatasetData)
    builder = process.get_builder()
    builder.structure, builder.foundation, builder.pool = structure, foundation, pool
    builder.python_code, builder.phonopy_code, builder.seed = python_code, phonopy_code, orm.Int(seed)
    builder.settings = orm.Dict(inputs['settings'])
    for name, node in (('dataset', dataset), ('reference', reference)):
        if node is not None:
            setattr(builder, name, node)
    stages: dict[str, Any] = {
        'committee': CommitteeWorkChain.get_builder_from_protocol(
            foundation=foundation, dataset=pool if labelled else dataset, python_code=python_code, strategy=strategy,
            seed=seed, protocol=protocol, overrides=inputs['committee'], options=options,
        ),
        'phonons': PhononsWorkChain.get_builder_from_protocol(
            structure, phonopy_code, potential=foundation, python_code=python_code, protocol=protocol,
            overrides=inputs['phonons'], options=options,
        ),
    }  # fmt: skip
    if not labelled:
        if pw_code is None or pseudo_family is None or dataset is None:
            raise ValueError('a `pool` without labels needs `dataset`, `pw_code` and `pseudo_family`')
        stages['label'] = LabelWorkChain.get_builder_from_protocol(
            structure=None, frames=pool, foundation=foundation, python_code=python_code, pw_code=pw_code,
            pseudo_family=pseudo_family,
            electronic_type=electronic_type, protocol=protocol, overrides=inputs['label'], options=options,
        )  # fmt: skip
    else:
        builder.pop('label', None)
    for name, stage in stages.items():
        material_builder.fill(builder, process, name, stage)
    builder.compare.settings = orm.Dict(inputs['compare']['settings'])
    builder.evaluate.settings = orm.Dict(inputs['evaluate']['settings'])
    if options:
        for namespace in (builder.compare, builder.evaluate):
            namespace.metadata = AttributeDict({'options': serial_options(options)})
    return builder
