"""What a job is called: which crystal, which potential, what is done to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import ProcessBuilder

from aiida_equitrain.common.formatting import formula
from aiida_equitrain.common.names import Role
from aiida_equitrain.common.printable import NAME, printable
from aiida_equitrain.data.potential import PotentialData

#: So many crystals of a study are named.
NAMED = 4


def label_of(builder: ProcessBuilder) -> str:
    """Return a label for the job of a builder, such as ``Si, starter → l2-tsp, 9 frames``."""
    inputs = builder._inputs(prune=True)
    if 'materials' in inputs:
        names = sorted(inputs['materials'])
        crystal = ' '.join(names[:NAMED]) + (f' … ({len(names)})' if len(names) > NAMED else '')
        parts = [crystal, _potential(inputs), ' '.join(sorted(dict(inputs['strategies'])))]
        return ', '.join(part for part in parts if part)
    train = _training(inputs)
    dataset = inputs.get('dataset', train.get('dataset'))
    source = _potential(inputs) or _potential(train) or ('DFT' if 'pw' in inputs else '')
    if 'strategy' in train:
        source += f' → {train["strategy"].value}'
    frames = '' if dataset is None else frames_of(dataset)
    if 'labels' in inputs:
        source += f', corrected by {frames_of(inputs["labels"])}'
    return ', '.join(part for part in (_crystal(inputs, dataset), source, frames) if part)


def frames_of(dataset: Any) -> str:
    """Return how many frames of a dataset are not for tests, in words."""
    number = dataset.n_frames - dataset.counts.get(Role.TEST.value, 0)
    return f'{number} frame{"" if number == 1 else "s"}'


def _training(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inputs of the training, wherever a WorkChain has them."""
    stage = inputs.get('finetune', inputs)
    found: Mapping[str, Any] = stage.get('train', {})
    return found


def _crystal(inputs: Mapping[str, Any], dataset: Any) -> str:
    if 'structure' in inputs:
        return formula(inputs['structure'].get_formula())
    if 'phonopy_data' in inputs:
        return formula(inputs['phonopy_data'].get_unitcell().get_formula())
    return '' if dataset is None else ' '.join(formula(item) for item in dataset.formulas)


def _potential(inputs: Mapping[str, Any]) -> str:
    found = next((inputs[name] for name in ('foundation', 'potential') if name in inputs), None)
    return name_of(found) if isinstance(found, PotentialData) else ''


def name_of(potential: PotentialData) -> str:
    """Return what a potential is called."""
    return printable(potential.label or potential.card.get('name') or f'PK {potential.pk}', longest=NAME)
