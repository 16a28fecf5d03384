"""What can be wrong with the inputs of labelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.orm import Dict, List, StructureData

from aiida_equitrain.calculations.arrays import trajectory_atoms
from aiida_equitrain.calculations.functions.label import RATTLE, SELECTION, label_supercell_rows
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import settings_problem, with_defaults
from aiida_equitrain.science.structures import check_elements, check_overlap, check_periodicity, check_size
from aiida_equitrain.workflows.checks import (
    code_problem,
    kinds_problem,
    pseudo_problem,
    same_physics_problem,
    structure_problem,
    symprec_problem,
)


def supercell_matrix(structure: StructureData, given: Any, rattle: Mapping[str, Any], symprec: float) -> Any:
    """Return the matrix that is given, or the nearly cubic one."""
    if given is not None:
        return given.get_list() if isinstance(given, List) else given
    return label_supercell_rows(structure, rattle, symprec)


def validate_rattle(value: Dict | None, _: Any) -> str | None:
    """Return a sentence if `rattle` is wrong."""
    if value is None:
        return None
    problem = settings_problem(dict(value), RATTLE, 'rattle')
    if problem:
        return problem
    given = with_defaults(dict(value), RATTLE)
    changes = given['volume_changes']
    if len(changes) < 2 or not all(isinstance(item, (int, float)) and -0.5 < item < 1 for item in changes):
        return '`rattle.volume_changes` must list at least two relative changes: one trajectory validates.'
    if given['min_length_angstrom'] > given['max_length_angstrom']:
        return '`rattle.min_length_angstrom` must be at most `rattle.max_length_angstrom`.'
    return None


def validate_selection(value: Dict | None, _: Any) -> str | None:
    """Return a sentence if `selection` is wrong."""
    return None if value is None else settings_problem(dict(value), SELECTION, 'selection')


def validate_inputs(inputs: Mapping[str, Any], namespace: Any) -> str | None:
    """Return a sentence about the first thing that is wrong, before anything is submitted."""
    pw = inputs.get('pw', {})
    problem = code_problem(inputs.get('python_code'), 'python_code')
    problem = problem or code_problem(pw.get('pw', {}).get('code'), 'pw.pw.code')
    if problem:
        return problem
    structure, frames = inputs.get('structure'), inputs.get('frames')
    if frames is None and structure is None:
        # a WorkChain around this one may give the structure later, and then has no such port here
        return 'give a `structure` to rattle, or `frames` to label' if 'structure' in namespace else None
    if 'kpoints_distance' in namespace.get('pw', {}) and 'kpoints_distance' not in pw:
        return 'give `pw.kpoints_distance`, from which the mesh of all frames is made'
    problem = _frames_problem(inputs) if frames is not None else _structure_problem(inputs)
    if problem:
        return problem
    if pw:
        problem = same_physics_problem({'pw': pw})
        if problem:
            return problem
    symbols = frames.symbols if frames is not None else inputs['structure'].get_kind_names()
    return pseudo_problem(symbols, pw.get('pw', {}).get('pseudos'), 'pw.pw.pseudos') if 'pw' in namespace else None


def _structure_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with `structure` and its supercell."""
    structure = inputs['structure']
    foundation = inputs.get('foundation')
    elements = foundation.elements if foundation is not None else None
    problem = structure_problem(structure, elements)
    if problem:
        return problem
    problem = kinds_problem(structure)
    if problem:
        return problem
    if 'rattle' not in inputs:
        return 'give `rattle`, which says how the supercells of `structure` are made'
    for name in ('relax', 'foundation'):
        if name not in inputs:
            return f'give `{name}`, with which the rattled supercells are relaxed' if name == 'relax' else None
    symprec = inputs['symprec'].value if 'symprec' in inputs else SYMPREC
    problem = symprec_problem(inputs, symprec, 'relax', 'relax_structure')
    if problem:
        return problem
    matrix = supercell_matrix(structure, inputs.get('supercell_matrix'), inputs['rattle'], symprec)
    return check_size(len(structure.sites), inputs['max_atoms'].value, matrix) if 'max_atoms' in inputs else None


def _frames_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a user's frames."""
    frames, foundation = inputs['frames'], inputs.get('foundation')
    images = trajectory_atoms(frames)
    if foundation is not None:
        problem = check_elements(frames.symbols, foundation.elements, 'frames')
        if problem:
            return problem
    if len(images) < inputs['min_frames'].value:
        return f'there are {len(images)} `frames`, fewer than `min_frames` ({inputs["min_frames"].value})'
    for index, image in enumerate(images):
        problem = check_periodicity(image) or check_overlap(image)
        problem = problem or check_size(len(image), inputs['max_atoms'].value)
        if problem:
            return f'`frames` {index}: {problem}'
    return None
