"""Make the inputs of a study from a protocol: every crystal by the builder of the main job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_equitrain.calculations.functions.study import STUDY_SETTINGS
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.base import EquitrainProtocolMixin
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.instability.workchain import InstabilityWorkChain
from aiida_equitrain.workflows.material.workchain import MaterialWorkChain
from aiida_equitrain.workflows.options import take_options

#: Inputs of ``equitrain.material`` that each crystal has of its own.
OF_MATERIAL = ('structure', 'dataset', 'reference', 'nac', 'supercell_matrix', 'max_concurrent', 'label', 'phonons',
               'dft_phonons', 'reference_phases')  # fmt: skip


class StudyBuilder(EquitrainProtocolMixin):
    """How a protocol fills in the inputs of a study."""

    PROTOCOL = 'study'
    TABLES = {
        'settings': STUDY_SETTINGS,
    }

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides of a study may have."""
        return {
            'max_concurrent': None,
            'clean_workdir': None,
            'settings': dict.fromkeys(STUDY_SETTINGS),
            'material': MaterialWorkChain.get_override_schema(),
            'instability': InstabilityWorkChain.get_override_schema(),
        }

    @classmethod
    def get_builder_from_protocol(
        cls,
        structures: Mapping[str, orm.StructureData],
        foundation: PotentialData,
        *,
        strategies: Sequence[str] = ('l2-tsp',),
        sizes: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        datasets: Mapping[str, Any] | None = None,
        references: Mapping[str, Any] | None = None,
        reference_phases: Mapping[str, Mapping[str, orm.StructureData]] | None = None,
        nac: Mapping[str, orm.ArrayData] | None = None,
        supercell_matrices: Mapping[str, list[list[int]]] | None = None,
        replay: Any = None,
        instability: bool = False,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> ProcessBuilder:
        """Return a builder with all inputs of a protocol; every crystal by the builder of ``equitrain.material``.

        :param structures: by the names of the crystals; those of the next mappings are among them.
        :param strategies: names of fine-tuning strategies; ``multihead`` needs ``replay``.
        :param sizes: numbers of training frames; by default those of the protocol.
        :param seeds: each draws its own training frames; by default those of the protocol.
        :param datasets: labelled frames of the crystals that have some; the others are labelled with DFT.
        :param references: DFT phonons of the crystals that have some; the others get them if ``dft`` is true.
        :param reference_phases: DFT's phases of the crystals, with ``instability``: ``outputs.phases`` of an
            ``InstabilityWorkChain`` with DFT.
        :param nac: Born charges and dielectric tensors, as in ``equitrain.phonons``.
        :param supercell_matrices: of the phonons.
        :param replay: what ``multihead`` replays.
        :param instability: follow the imaginary modes of fine-tuned potentials to new phases.
        :param overrides: ``settings``, ``max_concurrent``, ``instability``, and ``material``, with those of
            ``equitrain.material``.
        :param kwargs: further arguments of ``MaterialWorkChain.get_builder_from_protocol``: ``python_code``,
            ``phonopy_code``, ``postprocess_code``, ``pw_code``, ``pseudo_family``, ``electronic_type``, ``dft``,
            ``forgetting_dataset``, ``options``.
        :raises ValueError: with a sentence, if an override is unknown or something is missing.
        """
        overrides, options = take_options(overrides, kwargs.pop('options', None))
        inputs = cls.get_protocol_inputs(protocol, overrides)
        datasets, references, nac, reference_phases = (
            datasets or {},
            references or {},
            nac or {},
            reference_phases or {},
        )
        of_crystals = {'datasets': datasets, 'references': references, 'reference_phases': reference_phases, 'nac': nac}
        for port, given in of_crystals.items():
            unknown = sorted(set(given) - set(structures))
            if unknown:
                raise ValueError(
                    f'`{port}` has `{unknown[0]}`, which is none of the structures {", ".join(structures)}'
                )
        common = {**kwargs, 'options': options, 'protocol': protocol, 'overrides': inputs.get('material') or {}}
        builder: ProcessBuilder = cls.get_builder()
        materials: dict[str, Any] = {}
        for name, structure in structures.items():
            whole = MaterialWorkChain.get_builder_from_protocol(
                structure,
                foundation,
                dataset=datasets.get(name),
                reference=references.get(name),
                supercell_matrix=(supercell_matrices or {}).get(name),
                **common,
            )
            if name in nac:
                whole.nac = nac[name]
            values = whole._inputs(prune=True)
            materials[name] = {key: values[key] for key in OF_MATERIAL if key in values}
            if name in reference_phases:
                materials[name]['reference_phases'] = dict(reference_phases[name])
        if not materials:
            raise ValueError('there are no structures: give at least one')
        builder.materials, builder.foundation = materials, foundation
        # What is the same for all crystals stands once; the hyperparameters belong to the strategies.
        finetune, compare = values['finetune'], values['compare']
        for name in ('strategy', 'engine', 'seed', 'hyperparameters', 'replay'):
            finetune['train'].pop(name, None)
        if replay is not None:
            finetune['train']['replay'] = replay
        builder.finetune, builder.compare = finetune, compare
        for name in ('python_code', 'phonopy_code', 'postprocess_code'):
            if name in values:
                setattr(builder, name, values[name])
        if instability:
            _follow_modes(builder, inputs, foundation, common)
        else:
            builder.pop('instability', None)
        builder.strategies = orm.Dict(
            {name: _strategy(name, foundation, replay, protocol, common) for name in dict.fromkeys(strategies)}
        )
        settings = {**inputs['settings'], **({'sizes': list(sizes)} if sizes else {}),
                    **({'seeds': list(seeds)} if seeds else {})}  # fmt: skip
        builder.settings = orm.Dict(settings)
        builder.max_concurrent = orm.Int(inputs['max_concurrent'])
        if inputs.get('clean_workdir') is not None:
            builder.clean_workdir = orm.Bool(inputs['clean_workdir'])
        return builder


def _follow_modes(
    builder: ProcessBuilder, inputs: dict[str, Any], foundation: PotentialData, common: dict[str, Any]
) -> None:
    """Set what following imaginary modes needs; the protocol of fine-tuning `guided` is `balanced` here."""
    structure = next(iter(builder['materials'].values()))['structure']
    protocol = 'balanced' if common['protocol'] == 'guided' else common['protocol']
    whole = InstabilityWorkChain.get_builder_from_protocol(
        structure,
        common['phonopy_code'],
        foundation,
        common['python_code'],
        protocol=protocol,
        overrides=inputs.get('instability'),
        options=common.get('options'),
    )._inputs(prune=True)
    for name in ('settings', 'max_concurrent', 'modes', 'scan', 'relax', 'phonons'):
        if name in whole:
            values = whole[name]
            if name == 'phonons':
                hidden = ('phonopy_code', 'supercell_matrix', 'nac')
                values = {key: value for key, value in values.items() if key not in hidden}
            builder['instability'][name] = values


def _strategy(name: str, foundation: PotentialData, replay: Any, protocol: str | None, common: dict[str, Any]) -> Any:
    """Return the hyperparameters of a strategy, by the builder of the fine-tuning."""
    builder = FinetuneWorkChain.get_builder_from_protocol(
        foundation=foundation,
        dataset=None,
        python_code=common['python_code'],
        strategy=name,
        replay=replay if name == 'multihead' else None,
        protocol=protocol,
        overrides=common['overrides'].get('finetune'),
    )
    return {'hyperparameters': builder['train']['hyperparameters'].get_dict()}
