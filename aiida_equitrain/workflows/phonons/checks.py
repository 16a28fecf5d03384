"""What can be wrong with the input of a phonon WorkChain: one sentence each, before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_equitrain.calculations.functions.phonons import PHONON_SETTINGS, cell_of_labels, phonon_supercell_rows
from aiida_equitrain.calculations.harmonic import mesh_problem
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import settings_problem, with_defaults
from aiida_equitrain.common.strategies import check_evaluation
from aiida_equitrain.common.validation import refuse_unknown
from aiida_equitrain.science.phases import symmetric_primitive
from aiida_equitrain.science.phonopy_io import check_nac
from aiida_equitrain.workflows.born_charges import born_charges_problem
from aiida_equitrain.workflows.checks import (
    code_problem,
    kinds_problem,
    pseudo_problem,
    same_physics_problem,
    structure_problem,
    symprec_problem,
)

#: What phonopy displaces an atom by, Å.
DISPLACEMENT = {'distance': 0.01}
#: Arguments of phonopy that make sense before forces are known.
DISPLACEMENT_KEYS = ('distance', 'is_plusminus', 'is_diagonal', 'is_trigonal', 'number_of_snapshots', 'random_seed')


def validate_settings(value: orm.Dict | None, _: Any = None) -> str | None:
    """Return a sentence if a key of ``settings`` is unknown or its value is wrong."""
    if value is None:
        return None
    given = dict(value)
    problem = settings_problem(given, PHONON_SETTINGS)
    return problem or (mesh_problem(given['mesh']) if 'mesh' in given else None)


def validate_displacement(value: orm.Dict | None, _: Any = None) -> str | None:
    """Return a sentence if ``displacement`` is not what phonopy can turn into reproducible displacements."""
    if value is None:
        return None
    given = dict(value)
    unknown = refuse_unknown(given, DISPLACEMENT_KEYS, 'the `displacement` input')
    if unknown:
        return unknown
    distance = given.get('distance', DISPLACEMENT['distance'])
    if isinstance(distance, bool) or not isinstance(distance, int | float) or not 0 < distance < 1:
        return f'`distance` of `displacement` must be a length in Å between 0 and 1, not {distance!r}.'
    if given.get('number_of_snapshots') is not None and given.get('random_seed') is None:
        return '`number_of_snapshots` of `displacement` needs a `random_seed`, or nobody can repeat the calculation.'
    return None


def validate_inputs(inputs: Mapping[str, Any], ctx: Any = None) -> str | None:
    """Return a sentence about what only all inputs together tell."""
    if ctx is not None and any(name not in ctx for name in ('structure', 'potential', 'pw', 'phonopy_code')):
        return None  # a WorkChain that provides these itself
    return (
        source_problem(inputs)
        or method_problem(inputs)
        or labels_problem(inputs)
        or spin_problem(inputs)
        or cell_problem(inputs)
        or symprec_problem(inputs, symprec_of(inputs), 'potential_relax')
        or nac_problem(inputs)
        or pseudos_problem(inputs)
        or codes_problem(inputs)
    )


def source_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence unless the forces come either from a potential or from DFT."""
    has_potential, has_dft = 'potential' in inputs, bool(inputs.get('pw'))
    if has_potential == has_dft:
        both = ', not both' if has_potential else ''
        return f'forces come either from a `potential` (with its `python_code`) or from DFT (`pw`){both}.'
    if has_potential and 'python_code' not in inputs:
        return 'a `potential` needs a `python_code`: a Python that has MACE, or SevenNet for a potential of that.'
    if has_potential and inputs.get('relax'):
        return '`relax` is for DFT (`pw`); a `potential` relaxes by `settings.relax` and `potential_relax`.'
    if has_dft and 'kpoints_distance' not in inputs['pw']:
        return '`pw` needs a `kpoints_distance`, from which the mesh of the supercells is made.'
    return None


def spin_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if DFT would lose kinds, U or a charge, or has a spin in one of its stages only."""
    relaxation, born = (inputs.get(name) or {} for name in ('relax', 'born_charges'))
    given = {
        'pw': inputs.get('pw'),
        'relax.base_relax': relaxation.get('base_relax'),
        'born_charges.scf': born.get('scf'),
    }
    stages = {port: base for port, base in given.items() if base}
    return (kinds_problem(inputs['structure']) if stages else None) or same_physics_problem(stages)


def method_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if the potential cannot be evaluated as `potential_forces.settings` asks for."""
    if 'potential' not in inputs:
        return None
    given = (inputs.get('potential_forces') or {}).get('settings')
    settings = dict(given) if given is not None else {}
    return check_evaluation(inputs['potential'].family, settings.get('method'), settings.get('batch_size'))


def labels_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if there is nothing that `labels` could correct, or nothing that could do it."""
    if 'labels' not in inputs:
        return None
    if 'potential' not in inputs:
        return '`labels` correct the phonons of a `potential`; those of DFT (`pw`) need none.'
    codes = {name: inputs.get(name) for name in ('python_code', 'postprocess_code')}
    if inputs['potential'].family != 'mace' and codes['postprocess_code'] is None:
        return '`labels` need a `postprocess_code`, a Python with phonopy and symfc: that of the `potential` has none.'
    computers = {code.computer.pk for code in codes.values() if code is not None}
    if inputs['potential'].family != 'mace' and len(computers) > 1:
        return 'with `labels`, `python_code` and `postprocess_code` must be on the same computer: one job needs both.'
    structure = inputs['structure']
    problem = structure_problem(structure)
    if problem:
        return problem
    try:
        labelled_supercell(inputs)
    except ValueError as error:
        return f'`labels`: {error}.'
    return None


def labelled_supercell(inputs: Mapping[str, Any]) -> Any:
    """Return the rows of the supercell that `labels` are displacements of.

    :raises ValueError: with a sentence, if they are of none.
    """
    matrix = inputs['supercell_matrix'].get_list() if 'supercell_matrix' in inputs else None
    return cell_of_labels(inputs['structure'], inputs['labels'], symprec_of(inputs), matrix)[1]


def cell_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if the structure or its supercell cannot be computed."""
    structure = inputs['structure']
    elements = inputs['potential'].elements if 'potential' in inputs else None
    problem = structure_problem(structure, elements)
    if problem:
        return problem
    if 'labels' in inputs:
        matrix = labelled_supercell(inputs)
    elif 'supercell_matrix' in inputs:
        matrix = inputs['supercell_matrix'].get_list()
    else:
        settings = dict(inputs['settings']) if 'settings' in inputs else {}
        matrix = phonon_supercell_rows(structure, settings, symprec_of(inputs))
    max_atoms = inputs['max_atoms'].value if 'max_atoms' in inputs else None
    return structure_problem(structure, elements, max_atoms, matrix)


def symprec_of(inputs: Mapping[str, Any]) -> float:
    """Return the tolerance of the space group that inputs ask for."""
    return float(inputs['symprec'].value) if 'symprec' in inputs else SYMPREC


def nac_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if Born charges and dielectric tensor are not those of the crystal."""
    if inputs.get('born_charges'):
        if 'nac' in inputs:
            return 'give either `nac` or `born_charges` (how to compute it), not both.'
        return born_charges_problem({**inputs['born_charges'], 'structure': inputs['structure']})
    if 'nac' not in inputs:
        return None
    nac, structure = inputs['nac'], inputs['structure']
    missing = [name for name in ('born_charges', 'dielectric') if name not in nac.get_arraynames()]
    if missing:
        return f'`nac` lacks the array(s) {", ".join(missing)}.'
    settings = dict(inputs['settings']) if 'settings' in inputs else {}
    return check_nac(
        nac.get_array('born_charges'),
        nac.get_array('dielectric'),
        len(symmetric_primitive(structure.get_ase(), symprec_of(inputs))),
        with_defaults(settings, PHONON_SETTINGS)['nac_charge_tolerance'],
    )


def pseudos_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if an element has no pseudopotential."""
    kinds = [kind.name for kind in inputs['structure'].kinds]
    namespaces = {'pw': inputs.get('pw'), 'relax.base_relax': (inputs.get('relax') or {}).get('base_relax')}
    problems = (
        pseudo_problem(kinds, namespace['pw'].get('pseudos'), f'{name}.pw.pseudos')
        for name, namespace in namespaces.items()
        if namespace
    )
    return next((problem for problem in problems if problem), None)


def codes_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if a code on this machine cannot be run."""
    codes = {name: inputs.get(name) for name in ('phonopy_code', 'python_code', 'postprocess_code')}
    codes['pw.pw.code'] = ((inputs.get('pw') or {}).get('pw') or {}).get('code')
    problems = (code_problem(code, port) for port, code in codes.items() if code is not None)
    return next((problem for problem in problems if problem), None)
