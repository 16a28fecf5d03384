"""What can be wrong with the input of the main job: one sentence each, before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from ase.formula import Formula

from aiida_equitrain.calculations.train import check_training
from aiida_equitrain.common.formatting import formula
from aiida_equitrain.common.names import Strategy
from aiida_equitrain.common.strategies import check_strategy
from aiida_equitrain.science.phases import symmetric_primitive
from aiida_equitrain.workflows.checks import code_problem, same_physics_problem, structure_problem, symprec_problem
from aiida_equitrain.workflows.label import checks as label_checks
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.phonons import checks as phonon_checks


def validate_inputs(inputs: Mapping[str, Any], _: Any = None) -> str | None:
    """Return a sentence about the first thing that is wrong, each stage seen with all of its inputs."""
    if not {'structure', 'foundation', 'python_code', 'phonopy_code'} <= set(inputs):
        return None  # The ports themselves say what is missing.
    return (
        structure_problem(inputs['structure'], inputs['foundation'].elements)
        or symprec_problem(inputs, phonon_checks.symprec_of(_symprec(inputs)))
        or _codes_problem(inputs)
        or _strategy_problem(inputs)
        or _source_problem(inputs)
        or _physics_problem(inputs)
        or _reference_problem(inputs)
        or _phonons_problem(inputs, 'phonons')
        or _phonons_problem(inputs, 'dft_phonons')
        or phonon_checks.nac_problem({**inputs, **_symprec(inputs)})
    )


def _codes_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if a code of this machine cannot be executed."""
    codes = {name: inputs[name] for name in ('python_code', 'phonopy_code')}
    for namespace in ('label', 'dft_phonons'):
        code = ((inputs.get(namespace) or {}).get('pw') or {}).get('pw', {}).get('code')
        codes[f'{namespace}.pw.pw.code'] = code
    problems = (code_problem(code, port) for port, code in codes.items() if code is not None)
    return next((problem for problem in problems if problem), None)


def _strategy_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if the foundation cannot be trained as asked for; said before any frame is labelled."""
    label = inputs.get('label') or {}
    if not inputs.get('finetune'):
        has_dft = 'reference' in inputs or inputs.get('dft_phonons')
        if label and not {'harmonic', 'frames'} & set(label) and not has_dft:
            return (
                'nothing would come of the labels: no potential is trained, and frames of other cells than the '
                'supercell of the phonons do not correct these; take the recipe `harmonic` (`--recipe harmonic`), or a '
                'strategy that trains (`--strategy l2-tsp`)'
            )
        return None
    train = inputs['finetune'].get('train') or {}
    given = {name: train[name].value for name in ('strategy', 'engine') if name in train}
    family = inputs['foundation'].family
    return check_strategy(given.get('strategy', Strategy.L2_TSP.value), given.get('engine'), family=family)


def _source_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if it is not clear where labelled frames come from, or if they cannot be trained on."""
    if 'dataset' in inputs:
        if inputs.get('label'):
            return 'give either `dataset` (labelled frames that exist) or `label` (how to make them), not both'
        there, here = inputs['dataset'].formulas, _formula(inputs['structure'])
        if f'{here:hill}' not in there:
            return (
                f'`dataset` has frames of {", ".join(map(formula, there))}, but `structure` is {here:metal}; give '
                'labelled frames of this crystal'
            )
        if not inputs.get('finetune'):
            return None
        train = inputs['finetune'].get('train') or {}
        return check_training(inputs['foundation'], inputs['dataset'], dict(train.get('hyperparameters') or {}))
    if not inputs.get('label'):
        return 'give `label` (how frames are labelled with DFT), or a `dataset` that is labelled already'
    shared = {key: inputs[key] for key in ('structure', 'foundation', 'python_code')} | _symprec(inputs)
    given = {'postprocess_code': 'postprocess_code', 'supercell_matrix': 'phonon_supercell_matrix'}
    shared |= {port: inputs[key] for key, port in given.items() if key in inputs}
    problem = label_checks.validate_inputs({**inputs['label'], **shared}, LabelWorkChain.spec().inputs)
    return f'`label`: {problem}' if problem else None


def _symprec(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tolerance of the space group of all stages, that of `phonons`, as an input."""
    phonons = inputs.get('phonons') or {}
    return {'symprec': phonons['symprec']} if 'symprec' in phonons else {}


def _physics_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if labels and phonons of DFT are not computed with the same spin, U and functional."""
    stages = {
        'label.pw': (inputs.get('label') or {}).get('pw'),
        'dft_phonons.pw': (inputs.get('dft_phonons') or {}).get('pw'),
        'born_charges.scf': (inputs.get('born_charges') or {}).get('scf'),
    }
    return same_physics_problem({port: base for port, base in stages.items() if base})


def _formula(structure: orm.StructureData) -> Formula:
    """Return the reduced formula of a crystal."""
    return Formula(str(structure.get_ase().symbols)).reduce()[0]


def _reference_problem(inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if there are two references, or one of which nothing can be learned for this crystal."""
    for port in ('reference', 'foundation_phonons'):
        node = inputs.get(port)
        if node is None:
            continue
        there, here = _formula(node.get_unitcell()), _formula(inputs['structure'])
        if there != here:
            return f'`{port}` is of {there:metal}, but `structure` is {here:metal}'
        problem = _kinds_problem(node, port, inputs)
        if problem:
            return problem
        if node.has_nac_parameters() and 'nac' not in inputs:
            return f'`{port}` has Born charges: give them as `nac` too, for the phonons that are compared with it'
    if 'reference' in inputs and inputs.get('dft_phonons'):
        return 'give either `reference` (DFT phonons that exist) or `dft_phonons` (how to compute them), not both'
    return None


def _kinds_problem(phonons: Any, port: str, inputs: Mapping[str, Any]) -> str | None:
    """Return a sentence if phonons tell atoms of one element apart, by moment or kind, and the structure does not."""
    if phonons.magnetic_moments is None and list(phonons.names) == list(phonons.symbols):
        return None
    there = round(len(phonons.symbols) * abs(float(np.linalg.det(phonons.primitive_matrix))))
    symprec = phonon_checks.symprec_of(_symprec(inputs))
    here = len(symmetric_primitive(inputs['structure'].get_ase(), symprec))
    if there == here:
        return None
    return (
        f'the primitive cell of `{port}` has {there} atoms, but that of `structure` {here}: its atoms of one element '
        'differ (magnetic order); give the structure that was stored with these phonons'
    )


def _phonons_problem(inputs: Mapping[str, Any], namespace: str) -> str | None:
    """Return what the checks of the phonon WorkChain say about one of its namespaces."""
    given = inputs.get(namespace)
    if not given:
        return None
    shared = {key: inputs[key] for key in ('structure', 'phonopy_code', 'supercell_matrix', 'nac') if key in inputs}
    shared |= _symprec(inputs)
    if namespace == 'phonons':
        shared.update(potential=inputs['foundation'], python_code=inputs['python_code'])
    problem = phonon_checks.validate_inputs({**given, **shared})
    return f'`{namespace}`: {problem}' if problem else None
