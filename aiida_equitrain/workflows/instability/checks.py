"""What can be wrong with the input of a search for phases: one sentence each, before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_equitrain.calculations.functions.instability import PHASE_SETTINGS
from aiida_equitrain.calculations.modes import MODE_SETTINGS, mode_settings_problem
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import settings_problem
from aiida_equitrain.science.structures import check_elements
from aiida_equitrain.workflows.checks import (
    code_problem,
    kinds_problem,
    pseudo_problem,
    same_physics_problem,
    structure_problem,
    symprec_problem,
)
from aiida_equitrain.workflows.phonons import checks as phonon_checks

#: Keys of ``settings``.
SETTINGS = MODE_SETTINGS | PHASE_SETTINGS


def validate_settings(value: orm.Dict | None, _: Any = None) -> str | None:
    """Return a sentence if a key of ``settings`` is unknown or its value is wrong."""
    if value is None:
        return None
    given = dict(value)
    problem = settings_problem(given, SETTINGS)
    if problem:
        return problem
    problem = mode_settings_problem({key: item for key, item in given.items() if key in MODE_SETTINGS})
    if problem:
        return problem
    lengths = len(set(given.get('amplitudes_angstrom', MODE_SETTINGS['amplitudes_angstrom'].default)))
    degree = given.get('fit_degree', PHASE_SETTINGS['fit_degree'].default)
    if 2 * lengths < degree - 1 or lengths < degree // 2:
        return f'`settings.amplitudes_angstrom` has {lengths} lengths, too few for `settings.fit_degree` {degree}.'
    return None


def validate_inputs(inputs: Mapping[str, Any], ctx: Any = None) -> str | None:
    """Return a sentence about what only all inputs together tell."""
    if ctx is not None and any(name not in ctx for name in ('structure', 'potential', 'python_code')):
        return None
    given = [name for name in ('structure', 'phonopy_data') if name in inputs]
    if len(given) != 1:
        return 'give either `structure` or `phonopy_data`' + (', not both.' if given else '.')
    return (
        _source_problem(inputs)
        or _crystal_problem(inputs)
        or _tolerance_problem(inputs)
        or _energies_problem(inputs)
        or same_physics_problem(_dft(inputs))
        or _codes_problem(inputs)
        or _phonons_problem(inputs)
    )


def _source_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence unless the phases come either from a potential or from DFT."""
    phonons, relaxes = inputs.get('phonons') or {}, bool(inputs.get('pw_relax'))
    if 'potential' in inputs:
        if 'python_code' not in inputs:
            return 'a `potential` needs a `python_code`: a Python that has MACE, or SevenNet for a potential of that.'
        extra = [name for name in ('pw', 'relax') if phonons.get(name)]
        port = 'pw_relax' if relaxes else f'phonons.{extra[0]}' if extra else None
        return port and f'`{port}` is for phases of DFT: leave it out, or the `potential`.'
    if not relaxes or not inputs.get('pw'):
        return 'phases come either from a `potential` (with its `python_code`) or from DFT (both `pw` and `pw_relax`).'
    if not {'postprocess_code', 'python_code'} & set(inputs):
        return 'without a `potential` the modes need a `postprocess_code`: a Python with phonopy.'
    if 'structure' in inputs and not phonons.get('pw'):
        return 'without a `potential` the phonons of `structure` need `phonons.pw`; or give `phonopy_data` of DFT.'
    return None


def _crystal_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if the crystal cannot be computed, or an element of it is unknown to potential or DFT."""
    elements = inputs['potential'].elements if 'potential' in inputs else None
    if 'structure' in inputs:
        problem = structure_problem(inputs['structure'], elements) or kinds_problem(inputs['structure'])
        symbols = inputs['structure'].get_symbols_set()
    else:
        symbols = set(inputs['phonopy_data'].symbols)
        problem = _moments_problem(inputs['phonopy_data'])
        if elements is not None:
            problem = problem or check_elements(symbols, elements, 'phonopy_data')
    problems = [problem] + [
        pseudo_problem(symbols, base['pw'].get('pseudos'), f'{port}.pw.pseudos') for port, base in _dft(inputs).items()
    ]
    return next((sentence for sentence in problems if sentence), None)


def _tolerance_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if a stage has another tolerance of the space group than the phonons."""
    given = inputs.get('phonopy_data') or inputs['phonons'].get('symprec')
    symprec = SYMPREC if given is None else given.symprec if 'phonopy_data' in inputs else given.value
    return symprec_problem(inputs, symprec, 'settings', 'relax')


def _moments_problem(phonons: Any) -> str | None:
    """Return a sentence if phonons have kinds or moments, which their phases would lose."""
    if phonons.magnetic_moments is None and list(phonons.names) == list(phonons.symbols):
        return None
    return (
        '`phonopy_data` tells atoms of one element apart (magnetic order), which its phases would lose: support for '
        'spin is on the way'
    )


def _energies_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if energies of the scan and of relaxed structures cannot be compared, or the cell is fixed."""
    if 'potential' in inputs:
        return None
    scan, relaxation = inputs['pw'], inputs['pw_relax']['base_relax']
    parameters = [base['pw']['parameters'].get_dict() for base in (scan, relaxation)]
    if parameters[1].get('CONTROL', {}).get('calculation') != 'vc-relax':
        return (
            '`pw_relax.base_relax.pw.parameters`: set `CONTROL.calculation` to `vc-relax`; a phase is relaxed with its '
            'cell.'
        )
    compared = 'the energies of `pw` and `pw_relax.base_relax` are compared, but they differ in'
    first, second = (item.get('SYSTEM', {}) for item in parameters)
    different = sorted(key for key in set(first) | set(second) if first.get(key) != second.get(key))
    if different:
        return f'{compared} `SYSTEM.{different[0]}` of `pw.parameters`: set the same in both.'
    if any('kpoints_distance' not in base for base in (scan, relaxation)):
        return '`pw` and `pw_relax.base_relax` need a `kpoints_distance`: the supercells of modes differ in size.'
    if scan['kpoints_distance'].value != relaxation['kpoints_distance'].value:
        return f'{compared} `kpoints_distance`: set the same in both.'
    hashes = [{kind: pseudo.md5 for kind, pseudo in base['pw']['pseudos'].items()} for base in (scan, relaxation)]
    return f'{compared} `pw.pseudos`: take them of one family.' if hashes[0] != hashes[1] else None


def _codes_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if a code on this machine cannot be run."""
    codes = {port: inputs.get(port) for port in ('python_code', 'postprocess_code')}
    codes |= {f'{port}.pw.code': base['pw'].get('code') for port, base in _dft(inputs).items()}
    problems = (code_problem(code, port) for port, code in codes.items())
    return next((problem for problem in problems if problem), None)


def _phonons_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if the phonons of DFT cannot be computed."""
    if 'potential' in inputs or not inputs['phonons'].get('pw'):
        return None
    structure = inputs['structure'] if 'structure' in inputs else inputs['phonopy_data'].get_primitive_cell()
    problem = phonon_checks.validate_inputs({**inputs['phonons'], 'structure': structure})
    return problem and f'`phonons`: {problem}'


def _dft(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the namespaces of ``PwBaseWorkChain`` that are given, by their ports."""
    phonons = (inputs.get('phonons') or {}).get('pw')
    relaxation = (inputs.get('pw_relax') or {}).get('base_relax')
    given = {'pw': inputs.get('pw'), 'pw_relax.base_relax': relaxation, 'phonons.pw': phonons}
    return {port: base for port, base in given.items() if base}
