"""What can be wrong with the inputs of labelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.orm import Dict, List, StructureData

from aiida_equitrain.calculations.arrays import trajectory_atoms
from aiida_equitrain.calculations.functions.label import (
    HARMONIC,
    RATTLE,
    SELECTION,
    harmonic_supercell_rows,
    label_supercell_rows,
)
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


def phonon_supercell_matrix(structure: StructureData, given: Any, harmonic: Mapping[str, Any], symprec: float) -> Any:
    """Return the matrix that is given, or that of the phonons."""
    if given is not None:
        return given.get_list() if isinstance(given, List) else given
    return harmonic_supercell_rows(structure, harmonic, symprec)


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


def validate_harmonic(value: Dict | None, _: Any) -> str | None:
    """Return a sentence if `harmonic` is wrong."""
    if value is None:
        return None
    problem = settings_problem(dict(value), HARMONIC, 'harmonic')
    given = with_defaults(dict(value), HARMONIC) if problem is None else {}
    if given.get('pairs') and given['n_frames'] % 2:
        return f'`harmonic.n_frames` is {given["n_frames"]}, but with `harmonic.pairs` it must be even.'
    if given.get('pairs') and given['phonon_tolerance_thz'] is not None and given['max_frames'] % 2:
        return f'`harmonic.max_frames` is {given["max_frames"]}, but with `harmonic.pairs` it must be even.'
    return problem


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
    problem = problem or (_harmonic_problem(inputs) if 'harmonic' in inputs else None)
    if problem:
        return problem
    base = (inputs.get('relax_dft') or {}).get('base_relax')
    stages = {port: given for port, given in (('pw', pw), ('relax_dft.base_relax', base)) if given}
    problem = same_physics_problem(stages)
    if problem:
        return problem
    symbols = frames.symbols if frames is not None else inputs['structure'].get_kind_names()
    if 'pw' not in namespace:
        return None
    problems = (pseudo_problem(symbols, given['pw'].get('pseudos'), f'{port}.pw.pseudos')
                for port, given in ({'pw': {'pw': {}}} | stages).items())  # fmt: skip
    return next((problem for problem in problems if problem), None)


def _harmonic_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with frames for phonons."""
    if 'structure' not in inputs:
        return 'give the `structure` whose supercell is displaced by `harmonic`'
    problem = _crystal_problem(inputs)
    if problem:
        return problem
    known = with_defaults(dict(inputs['harmonic']), HARMONIC)
    needed = {'dft': 'relax_dft', 'potential': 'relax_structure'}.get(known['relax'])
    if needed is not None and not inputs.get(needed):
        return f'`harmonic.relax` is `{known["relax"]}`: give `{needed}`, or set it to `none`'
    foundation = inputs.get('foundation')
    has_phonopy = foundation is None or foundation.family == 'mace' or 'postprocess_code' in inputs
    if known['phonon_tolerance_thz'] is not None and not has_phonopy:
        return '`harmonic.phonon_tolerance_thz` needs a `postprocess_code`: the Python of the foundation has no phonopy'
    if 'rattle' not in inputs and 'frames' not in inputs and inputs['min_frames'].value > known['n_frames']:
        return f'`harmonic.n_frames` is {known["n_frames"]}, fewer than `min_frames` ({inputs["min_frames"].value})'
    if 'max_atoms' not in inputs:
        return None
    matrix = phonon_supercell_matrix(inputs['structure'], inputs.get('phonon_supercell_matrix'), known,
                                     inputs['symprec'].value if 'symprec' in inputs else SYMPREC)  # fmt: skip
    return check_size(len(inputs['structure'].sites), inputs['max_atoms'].value, matrix, 'label')


def _crystal_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with `structure` itself."""
    foundation = inputs.get('foundation')
    elements = foundation.elements if foundation is not None else None
    return structure_problem(inputs['structure'], elements) or kinds_problem(inputs['structure'])


def _structure_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with `structure` and its supercell."""
    structure = inputs['structure']
    problem = _crystal_problem(inputs)
    if problem:
        return problem
    if 'rattle' not in inputs:
        return None if 'harmonic' in inputs else (
            'give `rattle` or `harmonic`, which say how the supercells of `structure` are made'
        )  # fmt: skip
    for name in ('relax', 'foundation'):
        if name not in inputs:
            return f'give `{name}`, with which the rattled supercells are relaxed' if name == 'relax' else None
    symprec = inputs['symprec'].value if 'symprec' in inputs else SYMPREC
    problem = symprec_problem(inputs, symprec, 'relax', 'relax_structure')
    if problem:
        return problem
    matrix = supercell_matrix(structure, inputs.get('supercell_matrix'), inputs['rattle'], symprec)
    return (
        check_size(len(structure.sites), inputs['max_atoms'].value, matrix, 'label') if 'max_atoms' in inputs else None
    )


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
        problem = problem or check_size(len(image), inputs['max_atoms'].value, stage='label')
        if problem:
            return f'`frames` {index}: {problem}'
    return None
