"""How a protocol fills in the inputs of active learning."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_equitrain.calculations.compare import CompareCalculation
from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions.active_learning import ACTIVE_SETTINGS
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.workflows.base import EquitrainProtocolMixin, fill
from aiida_equitrain.workflows.committee import CommitteeWorkChain
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.material.workchain import MaterialWorkChain
from aiida_equitrain.workflows.options import set_options, take_options
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain


class ActiveLearningBuilder(EquitrainProtocolMixin):
    """How a protocol fills in the inputs of active learning."""

    PROTOCOL = 'active_learning'
    TABLES = {
        'settings': ACTIVE_SETTINGS,
        'compare.settings': CompareCalculation.SETTINGS,
        'evaluate.settings': ForcesCalculation.SETTINGS,
    }

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides of active learning may have."""
        return {
            'settings': dict.fromkeys(ACTIVE_SETTINGS),
            'committee': CommitteeWorkChain.get_override_schema(),
            'phonons': PhononsWorkChain.get_override_schema(),
            'label': LabelWorkChain.get_override_schema(),
            'compare': MaterialWorkChain.get_override_schema()['compare'],
            'evaluate': {'settings': None},
        }

    @classmethod
    def get_builder_from_protocol(
        cls,
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
    ) -> ProcessBuilder:
        """Return a builder with all inputs of a protocol.

        :param pool: labelled frames, or a trajectory that is labelled with DFT.
        :param dataset: labelled frames to start from, where those of ``pool`` are not labelled.
        :param reference: DFT phonons, against which the error of every round is reported.
        :param pw_code: with ``pseudo_family`` and ``electronic_type``, to label a pool without labels.
        :raises ValueError: with a sentence, if an override is unknown or something is missing.
        """
        overrides, options = take_options(overrides, options)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        labelled = isinstance(pool, DatasetData)
        builder: ProcessBuilder = cls.get_builder()
        builder.structure, builder.foundation, builder.pool = structure, foundation, pool
        builder.python_code, builder.phonopy_code, builder.seed = python_code, phonopy_code, orm.Int(seed)
        builder.settings = orm.Dict(inputs['settings'])
        for name, node in (('dataset', dataset), ('reference', reference)):
            if node is not None:
                setattr(builder, name, node)
        stages: dict[str, Any] = {
            'committee': CommitteeWorkChain.get_builder_from_protocol(
                foundation=foundation, dataset=pool if labelled else dataset, python_code=python_code,
                strategy=strategy, seed=seed, protocol=protocol, overrides=inputs['committee'], options=options,
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
            fill(builder, cls, name, stage)
        builder['compare'].settings = orm.Dict(inputs['compare']['settings'])
        builder['evaluate'].settings = orm.Dict(inputs['evaluate']['settings'])
        return set_options(builder, overrides, options, skip=('committee', 'phonons', 'label'))
