"""How a protocol fills in the inputs of labelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.orm import Dict, StructureData, TrajectoryData
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain

from aiida_equitrain.calculations.arrays import trajectory_atoms
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.structures import check_size
from aiida_equitrain.science.supercells import make_supercell
from aiida_equitrain.workflows.base import schema_of
from aiida_equitrain.workflows.checks import kinds_problem, structure_problem
from aiida_equitrain.workflows.label.checks import supercell_matrix, validate_rattle


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


def override_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of overrides with the keys of PwBaseWorkChain below `pw`."""
    pw = schema_of(PwBaseWorkChain)
    pw.pop('pseudo_family')
    return {**schema, 'pw': pw}
