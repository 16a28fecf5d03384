"""How many WorkChains of a job wait for others at the same time: each of them holds a slot of a worker.

A worker of the daemon has a number of slots (``daemon.worker_process_slots``), and a WorkChain keeps its own until the
processes that it waits for have ended. If WorkChains that wait held all slots, no job could run any more, for ever. As
every WorkChain here waits for jobs in the end, one slot more than can wait at a time is enough: the jobs then go
through it one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: A WorkChain of aiida-quantumespresso that waits for its job, and one that waits for such a WorkChain.
ONE, TWO = 1, 2


def count_waiting(name: str, inputs: Mapping[str, Any]) -> int:
    """Return how many WorkChains can wait at the same time at most, the job itself included.

    :param name: of the class of the job; one that is not known here counts as two.
    :param inputs: of the job, nested as its ports.
    """
    function = _COUNTS.get(name)
    return TWO if function is None else function(inputs)


def _at_once(inputs: Mapping[str, Any], default: int) -> int:
    """Return ``max_concurrent``."""
    return int(inputs['max_concurrent'].value) if 'max_concurrent' in inputs else default


def _of_finetune(_: Mapping[str, Any]) -> int:
    return ONE


def _of_born_charges(_: Mapping[str, Any]) -> int:
    return 1 + ONE


def _of_phonons(inputs: Mapping[str, Any]) -> int:
    parts = [0]
    if inputs.get('born_charges'):
        parts.append(_of_born_charges({}))
    if inputs.get('relax'):
        parts.append(TWO)
    if inputs.get('pw'):
        parts.append(_at_once(inputs, 4))
    return 1 + max(parts)


def _of_label(inputs: Mapping[str, Any]) -> int:
    return 1 + max(TWO if inputs.get('relax_dft') else 0, _at_once(inputs, 4))


def _of_committee(inputs: Mapping[str, Any]) -> int:
    return 1 + min(_at_once(inputs, 2), int(inputs['n_seeds'].value) if 'n_seeds' in inputs else 4)


def _of_material(inputs: Mapping[str, Any]) -> int:
    """One stage after the other with a ``max_concurrent`` of 1; else what does not depend on one another at once."""
    total = _at_once(inputs, 4)
    shared = {'max_concurrent': inputs['max_concurrent']} if 'max_concurrent' in inputs else {}
    label = _of_label({**inputs['label'], **shared}) if inputs.get('label') and 'dataset' not in inputs else 0
    dft = _of_phonons({**inputs['dft_phonons'], **shared}) if inputs.get('dft_phonons') else 0
    born = _of_born_charges({}) if inputs.get('born_charges') else 0
    foundation = 0 if 'foundation_phonons' in inputs else ONE
    trained = ONE if inputs.get('finetune') else 0
    if total == 1:
        return 1 + max(label, dft, born, ONE)
    if label and dft:  # they share what may run at a time, but relaxations of unit cells come on top
        label, dft = max(label - total, TWO + 1), max(dft - total, TWO + 1)
        both = label + dft + total
    else:
        both = label + dft
    # Beside them: phonons of the foundation, corrected ones, and those of the fine-tuned potential, twice.
    return 1 + max(born, foundation + both + 1 + 2 * trained)


def _of_study(inputs: Mapping[str, Any]) -> int:
    total = _at_once(inputs, 4)
    parts = [0]
    for material in (inputs.get('materials') or {}).values():
        own = {'max_concurrent': material['max_concurrent']} if 'max_concurrent' in material else {}
        if 'label' in material and 'dataset' not in material:
            parts.append(_of_label({**material['label'], **own}))
        if 'dft_phonons' in material and 'reference' not in material:
            parts.append(_of_phonons({**material['dft_phonons'], **own}))
        row = {**own, 'dataset': None, 'foundation_phonons': None, 'finetune': True}
        parts.append(_of_material(row))
    if inputs.get('instability'):
        parts.append(_of_instability(inputs['instability']))
    return 1 + total * max(parts)


def _of_instability(inputs: Mapping[str, Any]) -> int:
    total = _at_once(inputs, 4)
    dft = max(total if inputs.get('pw') else 0, 2 * total if inputs.get('pw_relax') else 0)
    phonons = _of_phonons(inputs.get('phonons') or {})
    return 1 + max(dft, phonons if (inputs.get('phonons') or {}).get('pw') else total * phonons)


def _of_active_learning(inputs: Mapping[str, Any]) -> int:
    label = _of_label(inputs['label']) if inputs.get('label') else 0
    return 1 + max(label, _of_committee(inputs.get('committee') or {}), ONE)


_COUNTS: dict[str, Callable[[Mapping[str, Any]], int]] = {
    'FinetuneWorkChain': _of_finetune,
    'BornChargesWorkChain': _of_born_charges,
    'PhononsWorkChain': _of_phonons,
    'LabelWorkChain': _of_label,
    'CommitteeWorkChain': _of_committee,
    'MaterialWorkChain': _of_material,
    'StudyWorkChain': _of_study,
    'InstabilityWorkChain': _of_instability,
    'ActiveLearningWorkChain': _of_active_learning,
    'QHAWorkChain': _of_finetune,
    'KappaWorkChain': _of_finetune,
}
