"""Make the inputs of the main job from a protocol: every stage is built by its own WorkChain."""

from __future__ import annotations

from typing import Any

from aiida import orm

from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.base import serial_options
from aiida_equitrain.workflows.born_charges import BornChargesWorkChain, fill_born_builder
from aiida_equitrain.workflows.checks import with_symprec
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

STAGES: dict[str, Any] = {
    'label': LabelWorkChain,
    'finetune': FinetuneWorkChain,
    'phonons': PhononsWorkChain,
    'dft_phonons': PhononsWorkChain,
}


def override_schema() -> dict[str, Any]:
    """Return the keys that overrides of the main job may have."""
    stages: dict[str, Any] = {name: process.get_override_schema() for name, process in STAGES.items()}
    top: dict[str, Any] = {'max_concurrent': None, 'supercell_matrix': None, 'symprec': None}
    top['born_charges'] = BornChargesWorkChain.get_override_schema()
    return {**top, **stages, 'compare': {'settings': None, 'metadata': None}}


def build(
    process: Any,
    structure: orm.StructureData,
    foundation: PotentialData,
    *,
    python_code: orm.AbstractCode,
    phonopy_code: orm.AbstractCode,
    postprocess_code: orm.AbstractCode | None = None,
    ph_code: orm.AbstractCode | None = None,
    pw_code: orm.AbstractCode | None = None,
    pseudo_family: str | None = None,
    electronic_type: str = 'insulator',
    dft: bool = True,
    dataset: DatasetData | None = None,
    reference: Any = None,
    foundation_phonons: Any = None,
    strategy: str = 'l2-tsp',
    engine: str | None = None,
    replay: Any = None,
    forgetting_dataset: DatasetData | None = None,
    seed: int = 1,
    supercell_matrix: list[list[int]] | None = None,
    protocol: str | None = None,
    overrides: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """Return the builder of ``process`` (the main job), see its ``get_builder_from_protocol``.

    :raises ValueError: with a sentence, if an override is unknown or something is missing.
    """
    inputs = process.get_protocol_inputs(protocol, overrides)
    dft = dft and reference is None
    if (dft or dataset is None) and (pw_code is None or pseudo_family is None):
        what = 'DFT phonons need' if dataset is not None else 'labelling needs'
        raise ValueError(f'{what} `pw_code` and `pseudo_family`; or give a `dataset`, and a `reference` or `dft=False`')
    # Only fine-tuning has guidance to follow.
    common: dict[str, Any] = {'protocol': 'balanced' if protocol == 'guided' else protocol, 'options': options}
    quantum: dict[str, Any] = {'pw_code': pw_code, 'pseudo_family': pseudo_family, 'electronic_type': electronic_type}
    builder = process.get_builder()
    builder.structure, builder.foundation = structure, foundation
    builder.python_code, builder.phonopy_code = python_code, phonopy_code
    given = {'postprocess_code': postprocess_code, 'reference': reference, 'foundation_phonons': foundation_phonons}
    for name, node in given.items():
        if node is not None:
            setattr(builder, name, node)
    builder.max_concurrent = orm.Int(inputs['max_concurrent'])
    matrix = supercell_matrix or inputs.get('supercell_matrix')
    if matrix is not None:
        builder.supercell_matrix = orm.List([list(row) for row in matrix])
    if ph_code is not None:
        fill_born_builder(builder, inputs, pw_code, ph_code, pseudo_family, common['protocol'], options)
    else:
        _unset(builder, 'born_charges')
    if dataset is not None:
        builder.dataset = dataset
        _unset(builder, 'label')
    else:
        stage = LabelWorkChain.get_builder_from_protocol(
            structure=structure,
            foundation=foundation,
            python_code=python_code,
            overrides={'seed': seed, **with_symprec(inputs, 'label')},
            **quantum,
            **common,
        )
        fill(builder, process, 'label', stage)
    finetune = FinetuneWorkChain.get_builder_from_protocol(
        foundation=foundation,
        dataset=dataset,
        python_code=python_code,
        strategy=strategy,
        engine=engine,
        replay=replay,
        forgetting_dataset=forgetting_dataset,
        seed=seed,
        overrides=inputs['finetune'],
        protocol=protocol,
        options=options,
    )
    fill(builder, process, 'finetune', finetune)
    stage = PhononsWorkChain.get_builder_from_protocol(
        structure,
        phonopy_code,
        potential=foundation,
        python_code=python_code,
        overrides=with_symprec(inputs, 'phonons'),
        **common,
    )
    fill(builder, process, 'phonons', stage)
    if dft:
        stage = PhononsWorkChain.get_builder_from_protocol(
            structure, phonopy_code, overrides=with_symprec(inputs, 'dft_phonons'), **quantum, **common
        )
        fill(builder, process, 'dft_phonons', stage)
    else:
        _unset(builder, 'dft_phonons')
    builder.compare.settings = orm.Dict(inputs['compare']['settings'])  # type: ignore[no-untyped-call]
    chosen = {**inputs['compare'].get('metadata', {}).get('options', {}), **(options or {})}
    if chosen:
        builder.compare.metadata.options = serial_options(chosen)
    return builder


def fill(builder: Any, process: Any, namespace: str, stage: Any) -> None:
    """Take over the inputs of a stage's builder, those that stand at the top left out."""
    setattr(builder, namespace, _exposed(stage._inputs(prune=True), process.spec().inputs[namespace]))


def _exposed(values: dict[str, Any], ports: Any) -> dict[str, Any]:
    """Return the values for which there are ports."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        port = ports.get(key) if key in ports else None
        if port is None and not ports.dynamic:
            continue
        if port is None and key in _HIDDEN:
            continue
        kept[key] = _exposed(value, port) if isinstance(value, dict) and hasattr(port, 'dynamic') else value
    return kept


#: Inputs of the stages that stand at the top; a dynamic namespace would take them all the same.
_HIDDEN = {'structure', 'foundation', 'potential', 'dataset', 'code', 'python_code', 'phonopy_code',
           'supercell_matrix', 'max_concurrent', 'nac', 'postprocess_code'}  # fmt: skip


def _unset(builder: Any, namespace: str) -> None:
    """Leave a namespace out."""
    builder.pop(namespace, None)
