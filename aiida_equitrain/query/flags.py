"""What is wrong with a potential, from what the database knows of its training and of its phonons."""

from __future__ import annotations

from typing import Any

from aiida import orm

from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.verdict import RED, Flag, flag_of_starter, flags_of_phonons, flags_of_training

from .tables import MATERIAL, TRAIN


def red_flags(potential: PotentialData) -> list[Flag]:
    """Return what is wrong with a potential: with its training, its foundation, and its phonons if they were compared.

    The rules are those of the report; what is wrong with a calculation and not with the potential, such as Born
    charges that are missing, is not among them.
    """
    flags = [flag_of_starter()] if uses_starter(potential) else []
    job = potential.creator
    if job is not None and job.process_type == TRAIN and 'summary' in job.outputs:
        flags += flags_of_training(job.outputs.summary.get_dict(), learning_of(job.outputs))
    comparison = _comparison(potential)
    if comparison:
        flags += flags_of_phonons(comparison, ['finetuned'])
    return [flag for flag in flags if flag.level == RED]


def uses_starter(potential: PotentialData) -> bool:
    """Say whether a potential is the starter, or was trained from it, however often."""
    for _ in range(100):
        if potential.card.get('starter'):
            return True
        job = potential.creator
        if job is None or 'foundation' not in job.inputs:
            return False
        potential = job.inputs.foundation
    return False


def learning_of(outputs: Any) -> dict[str, Any]:
    """Return epochs and errors on validation forces of a training's output ``metrics``."""
    node = outputs.metrics if 'metrics' in outputs else None
    if not isinstance(node, orm.ArrayData):
        return {}
    names = set(node.get_arraynames())
    return {key: node.get_array(key) for key in ('epoch', 'valid_forces_mae') if key in names}


def _comparison(potential: PotentialData) -> dict[str, Any]:
    """Return the last comparison of a potential's phonons with others."""
    builder = orm.QueryBuilder()
    builder.append(PotentialData, filters={'id': potential.pk}, tag='potential')
    builder.append(
        orm.WorkChainNode, with_outgoing='potential', filters={'process_type': MATERIAL}, tag='work',
        edge_filters={'label': 'potential'},
    )  # fmt: skip
    builder.append(orm.Dict, with_incoming='work', edge_filters={'label': 'comparison'}, tag='comparison')
    found = builder.order_by({'comparison': {'id': 'desc'}}).limit(1).all(flat=True)
    return found[0].get_dict() if found else {}
