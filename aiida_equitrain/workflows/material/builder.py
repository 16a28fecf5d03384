"""Make the inputs of the main job from a protocol: every stage is built by its own WorkChain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_equitrain.calculations.compare import CompareCalculation
from aiida_equitrain.common.names import Recipe
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.base import EquitrainProtocolMixin, fill
from aiida_equitrain.workflows.born_charges import BornChargesWorkChain, fill_born_builder
from aiida_equitrain.workflows.checks import with_symprec
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.fitting import EDGE, FITTING
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.options import set_options, take_options
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

STAGES: dict[str, Any] = {
    'label': LabelWorkChain,
    'finetune': FinetuneWorkChain,
    'phonons': PhononsWorkChain,
    'dft_phonons': PhononsWorkChain,
}


class MaterialBuilder(EquitrainProtocolMixin):
    """How a protocol fills in the inputs of the main job."""

    PROTOCOL = 'material'
    TABLES = {
        'compare.settings': CompareCalculation.SETTINGS,
    }

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides of the main job may have."""
        stages: dict[str, Any] = {name: process.get_override_schema() for name, process in STAGES.items()}
        top: dict[str, Any] = {'max_concurrent': None, 'at_dft_cell': None, 'supercell_matrix': None, 'symprec': None}
        top['born_charges'] = BornChargesWorkChain.get_override_schema()
        return {**top, **stages, 'compare': {'settings': None, 'metadata': None}}

    @classmethod
    def get_builder_from_protocol(
        cls,
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
        strategy: str | None = 'l2-tsp',
        engine: str | None = None,
        replay: Any = None,
        forgetting_dataset: DatasetData | None = None,
        seed: int = 1,
        supercell_matrix: list[list[int]] | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with all inputs of a protocol, made by the builders of the stages.

        :param ph_code: ``ph.x``, for Born charges.
        :param pw_code: with ``pseudo_family`` (label) and ``electronic_type`` (``insulator`` or ``metal``), where there
            is DFT.
        :param dft: whether DFT phonons judge the result; not where there is a ``reference``.
        :param dataset: labelled frames, instead of labelling.
        :param reference: DFT phonons that exist.
        :param foundation_phonons: of ``foundation``, where they exist.
        :param strategy: of the fine-tuning; ``None``: no potential is trained, phonons are corrected by the labels.
        :param supercell_matrix: of the phonons.
        :param overrides: by namespace.
        :param options: ``metadata.options`` of all jobs, those of a kind under its name, see ``workflows.options``.

        :raises ValueError: with a sentence, if an override is unknown or something is missing.
        """
        overrides, options = take_options(overrides, options)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        dft = dft and reference is None
        if (dft or dataset is None) and (pw_code is None or pseudo_family is None):
            what = 'DFT phonons need' if dataset is not None else 'labelling needs'
            raise ValueError(
                f'{what} `pw_code` and `pseudo_family`; or give a `dataset`, and a `reference` or `dft=False`'
            )
        # Only fine-tuning has guidance to follow.
        common: dict[str, Any] = {'protocol': 'balanced' if protocol == 'guided' else protocol, 'options': options}
        quantum: dict[str, Any] = {
            'pw_code': pw_code,
            'pseudo_family': pseudo_family,
            'electronic_type': electronic_type,
        }
        builder: ProcessBuilder = cls.get_builder()
        builder.structure, builder.foundation = structure, foundation
        builder.python_code, builder.phonopy_code = python_code, phonopy_code
        given = {'postprocess_code': postprocess_code, 'reference': reference, 'foundation_phonons': foundation_phonons}
        for name, node in given.items():
            if node is not None:
                setattr(builder, name, node)
        builder.max_concurrent = orm.Int(inputs['max_concurrent'])
        builder.at_dft_cell = orm.Bool(inputs['at_dft_cell'])
        matrix = supercell_matrix or inputs.get('supercell_matrix')
        if matrix is not None:
            builder.supercell_matrix = orm.List([list(row) for row in matrix])
        if ph_code is not None:
            fill_born_builder(builder, inputs, pw_code, ph_code, pseudo_family, common['protocol'], options)
        else:
            builder.pop('born_charges', None)
        if dataset is not None:
            builder.dataset = dataset
            builder.pop('label', None)
        else:
            labelling = with_symprec(inputs, 'label')
            if matrix is not None:
                # Frames for the phonons are of their supercell.
                labelling.setdefault('phonon_supercell_matrix', [list(row) for row in matrix])
            stage = LabelWorkChain.get_builder_from_protocol(
                structure=structure,
                foundation=foundation,
                python_code=python_code,
                # Without a training only frames for phonons are of use.
                recipe=Recipe.HARMONIC.value if strategy is None and 'recipe' not in labelling else None,
                overrides={'seed': seed, **labelling},
                **quantum,
                **common,
            )
            fill(builder, cls, 'label', stage)
            if common['protocol'] in FITTING and matrix is None and 'harmonic' in stage:
                own = (overrides.get('label') or {}).get('harmonic') or {}
                fit_phonons(inputs, overrides, own, stage['harmonic'].get_dict(), ('phonons', 'dft_phonons'))
        if strategy is None:
            builder.pop('finetune', None)
        else:
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
            fill(builder, cls, 'finetune', finetune)
        if dft:
            stage = PhononsWorkChain.get_builder_from_protocol(
                structure, phonopy_code, overrides=with_symprec(inputs, 'dft_phonons'), **quantum, **common
            )
            fill(builder, cls, 'dft_phonons', stage)
            if common['protocol'] in FITTING and matrix is None:
                own = (overrides.get('dft_phonons') or {}).get('settings') or {}
                fit_phonons(inputs, overrides, own, stage['settings'].get_dict(), ('phonons',))
        else:
            builder.pop('dft_phonons', None)
        stage = PhononsWorkChain.get_builder_from_protocol(
            structure,
            phonopy_code,
            potential=foundation,
            python_code=python_code,
            overrides=with_symprec(inputs, 'phonons'),
            **common,
        )
        fill(builder, cls, 'phonons', stage)
        builder['compare'].settings = orm.Dict(inputs['compare']['settings'])
        return set_options(builder, overrides, options, skip=(*STAGES, 'born_charges'))


def fit_phonons(
    inputs: dict[str, Any],
    overrides: Mapping[str, Any],
    own: Mapping[str, Any],
    fitted: Mapping[str, Any],
    stages: Iterable[str],
) -> None:
    """Give phonons the shortest edge of another stage, which the protocol may have shortened.

    :param inputs: of the protocol, which are changed.
    :param own: overrides of that stage, and ``fitted``, its settings.
    :param stages: the phonons; those for which an edge is given keep it.
    """
    for stage in stages:
        given = (overrides.get(stage) or {}).get('settings') or {}
        if EDGE not in {**own, **given}:
            part = inputs.setdefault(stage, {})
            part['settings'] = {**(part.get('settings') or {}), EDGE: fitted[EDGE]}
