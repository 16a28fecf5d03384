"""How a protocol fills in the inputs of labelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import ProcessBuilder
from aiida.orm import AbstractCode, Dict, Float, Int, List, Str, StructureData, TrajectoryData
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain

from aiida_equitrain.calculations.arrays import trajectory_atoms
from aiida_equitrain.calculations.functions.label import RATTLE, SELECTION
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.structures import check_size
from aiida_equitrain.science.supercells import make_supercell
from aiida_equitrain.workflows.base import EquitrainProtocolMixin, schema_of
from aiida_equitrain.workflows.checks import kinds_problem, structure_problem
from aiida_equitrain.workflows.dft import functional_of, pw_builder
from aiida_equitrain.workflows.label.checks import supercell_matrix, validate_rattle


class LabelBuilder(EquitrainProtocolMixin):
    """How a protocol fills in the inputs of labelling."""

    PROTOCOL = 'label'
    TABLES = {
        'rattle': RATTLE,
        'selection': SELECTION,
        'relax': RelaxCalculation.SETTINGS,
        'relax_structure': RelaxCalculation.SETTINGS,
    }

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides may have, those of PwBaseWorkChain below `pw`."""
        pw = schema_of(PwBaseWorkChain)
        pw.pop('pseudo_family')
        return {**super().get_override_schema(), 'pw': pw}

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        structure: StructureData | None,
        foundation: PotentialData,
        python_code: AbstractCode,
        pw_code: AbstractCode,
        pseudo_family: str,
        electronic_type: str = 'insulator',
        functional: str | None = None,
        frames: TrajectoryData | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param structure: crystal to rattle; may be ``None`` if ``frames`` are given.
        :param foundation: potential that relaxes the rattled supercells.
        :param python_code: a Python with MACE.
        :param pw_code: pw.x.
        :param pseudo_family: label of an installed family.
        :param electronic_type: ``insulator`` (fixed occupations) or ``metal`` (smearing).
        :param functional: of the labels; read from the name of the family if ``None``.
        :param frames: your own frames, to be labelled as they are instead of rattled supercells.
        :param protocol: ``fast``, ``balanced``, ``stringent`` or ``paper``.
        :param overrides: inputs in the nesting of the ports; ``cutoff_stringency`` chooses among the family's cut-offs.
        :param options: ``metadata.options`` of the pw.x jobs, such as ``resources``.
        :raises ValueError: with a sentence, if a key or a value is wrong or the inputs do not fit together.
        """
        protocol = protocol or cls.get_default_protocol()
        inputs = cls.get_protocol_inputs(protocol, overrides)
        sample = sample_structure(structure, frames, foundation, inputs)
        builder: ProcessBuilder = cls.get_builder()
        builder.pw = pw_builder(
            pw_code, sample, pseudo_family, electronic_type, protocol, inputs, overrides or {}, options
        )
        for name, node in (('structure', structure), ('frames', frames)):
            if node is not None:
                builder[name] = node
        builder.foundation = foundation
        builder.python_code = python_code
        builder.functional = Str(functional or functional_of(pseudo_family, builder['pw']))
        if inputs.get('supercell_matrix') is not None:
            builder.supercell_matrix = List(inputs['supercell_matrix'])
        for name in ('rattle', 'selection', 'relax', 'relax_structure', 'options'):
            if inputs.get(name) is not None:
                builder[name] = Dict(inputs[name])
        builder.symprec = Float(inputs['symprec'])
        for name in ('seed', 'max_concurrent', 'min_frames', 'max_atoms'):
            builder[name] = Int(inputs[name])
        return builder


def sample_structure(
    structure: StructureData | None,
    frames: TrajectoryData | None,
    foundation: PotentialData,
    inputs: Mapping[str, Any],
) -> StructureData:
    """Return a structure like those that DFT will get, from which its inputs follow.

    :raises ValueError: if there is none, or it is wrong.
    """
    if frames is not None:
        return StructureData(ase=trajectory_atoms(frames)[0])
    if structure is None:
        raise ValueError('give a `structure` to rattle, or `frames` to label')
    problem = structure_problem(structure, foundation.elements) or kinds_problem(structure)
    problem = problem or validate_rattle(Dict(inputs['rattle']), None)
    if problem:
        raise ValueError(problem)
    matrix = supercell_matrix(structure, inputs.get('supercell_matrix'), inputs['rattle'], inputs['symprec'])
    problem = check_size(len(structure.sites), inputs['max_atoms'], matrix)
    if problem:
        raise ValueError(problem)
    return StructureData(ase=make_supercell(structure.get_ase(), matrix))
