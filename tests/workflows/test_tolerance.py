"""One tolerance of the space group reaches every stage; left-handed cells are computed as the same crystal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from aiida_phonopy.data import PreProcessData
from ase.build import bulk

from aiida_equitrain.calculations.functions.instability import gather_tree
from aiida_equitrain.science.structure_files import read_structure
from aiida_equitrain.workflows.checks import symmetry_hints

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'
CHEAP = {'mesh': [4, 4, 4], 'temperature_step_k': 250.0}
SUPERCELL = [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def tolerances(node: Any) -> dict[str, list[float]]:
    """Return the tolerances that each job and function below a WorkChain was given, by its name."""
    found: dict[str, list[float]] = {}
    for child in node.called_descendants:
        inputs = child.base.links.get_incoming().nested()
        settings = dict(inputs['settings']) if isinstance(inputs.get('settings'), orm.Dict) else {}
        given = [inputs['symprec'].value] if 'symprec' in inputs else []
        given += [settings['symprec']] if 'symprec' in settings else []
        given += [inputs['parameters']['SYMMETRY_TOLERANCE']] if 'parameters' in inputs else []
        links = child.base.links.get_incoming()
        given += [data.symprec for data in links.all_nodes() if isinstance(data, PreProcessData)]
        if given:
            found.setdefault(child.process_label, []).extend(given)
    return found


def tilted() -> Any:
    """Return silicon whose second atom is half a thousandth of an ångström from its place."""
    atoms = bulk('Si', a=5.47)
    atoms.positions[1] += [5e-4, 0, 0]
    return orm.StructureData(ase=atoms)


@pytest.mark.thorough
@pytest.mark.parametrize('name', ['phonons', 'qha', 'kappa', 'instability'])
def test_one_tolerance(name: str, starter: Any, python_code: Any, phonopy_code: Any) -> None:
    """Every stage is given the tolerance of the WorkChain, and a crystal that needs it is silicon for all of them."""
    overrides: dict[str, Any] = {'symprec': 1e-2, 'settings': CHEAP}
    arguments: dict[str, Any] = {'potential': starter, 'python_code': python_code, 'protocol': 'fast'}
    matrix: dict[str, Any] = {'supercell_matrix': SUPERCELL}
    stages = {'preprocess', 'RelaxCalculation', 'relax_settings'}
    if name == 'kappa':
        overrides['settings'] = {'mesh': [3, 3, 3], 'temperatures_k': [300.0]}
        arguments['supercell_matrix'] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
        arguments['phonon_supercell_matrix'] = SUPERCELL
        stages, matrix = {'RelaxCalculation', 'ThirdOrderCalculation', 'ConductivityCalculation'}, {}
    if name == 'qha':
        overrides['settings'] = CHEAP | {'temperature_max_k': 1000.0}
        stages |= {'QHACalculation'}
    if name == 'phonons':
        arguments['phonopy_code'] = phonopy_code
        stages = {'displace', 'RelaxCalculation', 'relax_settings', 'HarmonicCalculation'}
    if name == 'instability':
        overrides = {'symprec': 1e-2, 'phonons': {'settings': CHEAP}}
        arguments['phonopy_code'] = phonopy_code
        stages = {'displace', 'RelaxCalculation', 'relax_settings', 'PhonopyCalculation', 'ModesCalculation'}
    builder = WorkflowFactory(f'equitrain.{name}').get_builder_from_protocol(
        structure=tilted(), **arguments, **matrix, overrides=overrides
    )
    _, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    found = tolerances(node)
    assert {value for values in found.values() for value in values} == {1e-2}
    assert stages <= set(found)
    if name == 'phonons':
        assert node.outputs.stability['n_displacements'] == 1
        assert node.outputs.properties['space_group'] == 'Fd-3m (227)'
        assert [label for _, label in node.outputs.bands.labels][1] == 'X'


def test_phases_have_their_own(aiida_profile: Any) -> None:
    """The space group of the root of an instability is that of `phase_symprec_angstrom`, as those of its phases."""
    for given, group in (({}, 'Fd-3m (227)'), ({'phase_symprec_angstrom': 1e-4}, 'Imma (74)')):
        tree = gather_tree(orm.Dict(given), structure_root=tilted())
        assert tree['phases']['root']['space_group'] == group


@pytest.mark.thorough
@pytest.mark.real
def test_left_handed(starter: Any, python_code: Any, phonopy_code: Any) -> None:
    """Phonons of a left-handed cell are those of the same crystal in a right-handed one, and it is said."""
    lowest = {}
    left = read_structure(CASES / 'Si_lh.vasp').atoms
    right = left.copy()
    right.set_cell(-left.cell[:])
    for name, atoms in (('left', left), ('right', right)):
        builder = WorkflowFactory('equitrain.phonons').get_builder_from_protocol(
            orm.StructureData(ase=atoms), phonopy_code, potential=starter, python_code=python_code, protocol='fast',
            supercell_matrix=SUPERCELL, overrides={'settings': CHEAP},
        )  # fmt: skip
        _, node = run_get_node(builder)
        assert node.is_finished_ok, (node.exit_status, node.exit_message)
        lowest[name] = node.outputs.stability['max_frequency_thz']
        assert np.linalg.det(node.outputs.relaxed_structure.cell) > 0
        said = any('left-handed' in log.message for log in orm.Log.collection.get_logs_for(node))
        assert said == (name == 'left')
    assert lowest['left'] == pytest.approx(lowest['right'], abs=1e-6)


def test_said_before_submission(starter: Any, python_code: Any, phonopy_code: Any) -> None:
    """`launch` tells of the symmetry that a crystal misses, for each crystal of a study by its name."""
    crystal = orm.StructureData(ase=read_structure(CASES / 'thirds.cif').atoms)
    codes = {'python_code': python_code, 'phonopy_code': phonopy_code}
    build = WorkflowFactory('equitrain.phonons').get_builder_from_protocol
    arguments: dict[str, Any] = {'potential': starter, 'protocol': 'fast', 'supercell_matrix': SUPERCELL, **codes}
    (hint,) = symmetry_hints(build(crystal, **arguments)._inputs(prune=True))
    assert 'P6_3mc (186)' in hint
    assert '--symprec 0.001' in hint
    builder = build(crystal, **arguments, overrides={'symprec': 1e-3})
    assert symmetry_hints(builder._inputs(prune=True)) == []
