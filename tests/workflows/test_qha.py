"""The quasi-harmonic approximation: two jobs of the potential, and what two ways to a bulk modulus agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory
from ase.build import bulk
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.calculations.arrays import phonopy_arrays
from aiida_equitrain.calculations.functions import elastic
from aiida_equitrain.calculations.functions import phonons as phonon_functions
from aiida_equitrain.calculations.functions import qha as functions
from aiida_equitrain.export.write import export
from aiida_equitrain.report.write import write_report
from aiida_equitrain.science.correction import compact_force_constants, make_basis
from aiida_equitrain.science.elasticity import slack_conductivity
from aiida_equitrain.science.phonopy_io import phonon_from_arrays
from aiida_equitrain.science.quasi_harmonic import mean_gruneisen
from aiida_equitrain.workflows.qha import change_problem, validate_change, validate_settings

SETTINGS = {'mesh': [10, 10, 10], 'temperature_max_k': 600.0, 'temperature_step_k': 20.0}


@pytest.fixture
def make_builder(starter: Any, python_code: Any) -> Any:
    """Return a factory of builders for rock salt, which expands more than silicon."""

    def factory(settings: dict[str, Any] | None = None) -> Any:
        return WorkflowFactory('equitrain.qha').get_builder_from_protocol(
            orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=5.69)),
            starter,
            python_code,
            supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]],
            protocol='fast',
            overrides={'settings': SETTINGS | (settings or {})},
        )

    return factory


@pytest.mark.real
def test_qha(make_builder: Any, starter: Any, python_code: Any, tmp_path: Path) -> None:
    """Three jobs; the bulk modulus is that of the elastic tensor, and the curves obey their identities."""
    outputs, node = run_get_node(make_builder())
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    jobs = sorted(child.process_label for child in node.called if isinstance(child, orm.CalcJobNode))
    assert jobs == ['ForcesCalculation', 'QHACalculation', 'RelaxCalculation']
    assert (
        sorted(outputs['structures']) == sorted(outputs['phonopy_data']) == [f'volume_0{index}' for index in range(5)]
    )
    relaxed, energies = outputs['relaxed_structure'], outputs['energies']
    volumes = energies.get_array('volumes')
    assert volumes / relaxed.get_cell_volume() == pytest.approx([0.98, 1.0, 1.02, 1.04, 1.06])
    assert energies.get_array('energies').argmin() == 1

    assert set(write_report(node, tmp_path)['figures']) == {'qha'}
    assert 'bulk modulus' in (tmp_path / 'report.html').read_text()
    files = {str(path.relative_to(tmp_path / 'files')) for path in export(node, tmp_path / 'files')}
    assert {'qha.csv', 'figures/qha.csv', 'phonopy_data/volume_00/phonopy.yaml', 'structures/volume_00.cif'} <= files
    facts, curves = outputs['qha'].get_dict(), outputs['curves']
    assert facts['n_volumes'] == 5
    assert facts['left_out'] == []
    temperatures = curves.get_array('temperatures_k')
    # Beyond, the crystal would be larger than the largest volume: nothing is told of what was not computed.
    assert 300 < temperatures[-1] == facts['temperature_reached_k'] <= 600
    assert curves.get_array('equilibrium_volume_angstrom3').max() <= curves.get_array('volumes_angstrom3')[-1]
    # Static bulk modulus from stress and strain, without phonons: zero point and temperature soften it a little.
    tensor = elastic_tensor_of(relaxed, starter, python_code)
    coldest = curves.get_array('bulk_modulus_gpa')[0]
    assert 0.85 * tensor['bulk_modulus_gpa'] < coldest < 1.02 * tensor['bulk_modulus_gpa']
    expansion, volume = curves.get_array('thermal_expansion_per_k'), curves.get_array('equilibrium_volume_angstrom3')
    assert np.gradient(np.log(volume), temperatures)[5:-1] == pytest.approx(expansion[5:-1], rel=0.02)
    # NaCl at 300 K: 40e-6 per K along each axis, a Grüneisen parameter of 1.6 (experiment).
    assert 20e-6 < facts['linear_thermal_expansion_per_k'] < 80e-6
    assert 1 < facts['thermal_gruneisen_parameter'] < 2.5
    check_gruneisen(outputs['gruneisen'], facts, relaxed)


def elastic_tensor_of(structure: Any, potential: Any, code: Any) -> dict[str, Any]:
    settings = orm.Dict({'elastic_strain': 0.005})
    relaxation = {'relax_cell': False, 'fmax_ev_per_angstrom': 1e-4}
    outputs = run_get_node(
        CalculationFactory('equitrain.relax'),
        code=code,
        potential=potential,
        frames=elastic.strained_frames(structure, settings),
        settings=orm.Dict(relaxation),
    )[0]
    tensor = elastic.elastic_tensor(structure, outputs['trajectory'], settings, orm.Float(1e-4))
    return dict(tensor)


def check_gruneisen(modes: Any, facts: dict[str, Any], structure: Any) -> None:
    """Compare the means with pymatgen's, which are of the same formulas."""
    from pymatgen.phonon.gruneisen import GruneisenParameter

    arrays = {name: modes.get_array(name) for name in modes.get_arraynames()}
    mean = mean_gruneisen(arrays, 2)
    assert mean['gruneisen_parameter'] == pytest.approx(facts['mean_gruneisen_parameter'])
    theirs = GruneisenParameter(
        arrays['mesh_qpoints'],
        arrays['mesh_gruneisen'],
        arrays['mesh_frequencies_thz'],
        arrays['mesh_weights'],
        structure.get_pymatgen(),
    )
    acoustic = mean['debye_temperature_k'] / 2 ** (1 / 3)
    assert theirs.average_gruneisen(t=acoustic) == pytest.approx(mean['gruneisen_parameter'], rel=1e-6)
    masses = structure.get_ase().get_masses()
    ours = slack_conductivity(
        masses.mean(), structure.get_cell_volume(), 2, mean['debye_temperature_k'], mean['gruneisen_parameter'], 300.0
    )
    assert theirs.thermal_conductivity_slack(theta_d=acoustic, t=300.0) == pytest.approx(ours, rel=1e-3)
    assert facts['slack_conductivity_300k_w_per_m_k'] == pytest.approx(ours, rel=0.05)


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'volume_factors': [0.9, 1.0, 1.1]}, 'needs at least 5 different volumes'),
        ({'volume_factors': [1.0, 1.1, 1.2, 1.3, 1.4]}, 'must lie on both sides of 1'),
        ({'volume_factors': [-1, 0.9, 1.0, 1.1, 1.2]}, 'must be numbers between 0.5 and 2'),
        ({'temperature_max_k': 20.0}, 'at least four steps above'),
        ({'eos': 'birch'}, 'must be one of vinet'),
        ({'mesh': [0, 1, 1]}, 'must be three positive integers'),
        ({'eso': 'vinet'}, 'eos'),
    ],
)
def test_wrong_settings(aiida_profile: Any, settings: dict[str, Any], sentence: str) -> None:
    assert sentence in validate_settings(orm.Dict(settings))


@pytest.mark.thorough
@pytest.mark.real
def test_unstable(make_builder: Any, python_code: Any) -> None:
    """Without stable volumes there is no fit; phonons and energies are kept."""
    settings = {'stability_tolerance_thz': 0.0, 'volume_factors': [0.8, 1.0, 1.5, 1.6, 1.7]}
    outputs, node = run_get_node(make_builder(settings))
    assert node.exit_status == 403, node.exit_message
    assert 'no imaginary modes' in node.exit_message
    assert len(outputs['phonopy_data']) == 5


@pytest.mark.thorough
@pytest.mark.real
def test_volumes_too_small(make_builder: Any) -> None:
    """Volumes that end below what the temperature asks for: a code that says so, and the curves up to there."""
    outputs, node = run_get_node(make_builder({'volume_factors': [0.94, 0.955, 0.97, 0.985, 1.005]}))
    assert node.exit_status == 403
    job = next(child for child in node.called if child.process_label == 'QHACalculation')
    assert job.exit_status == 412
    assert 'lies outside of the volumes that were computed' in node.exit_message
    assert {'curves', 'phonopy_data'} <= set(outputs)


def test_no_minimum() -> None:
    """Temperatures end where the minimum leaves the volumes; phonopy itself would go on and extrapolate."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    from aiida_equitrain.science.quasi_harmonic import quasi_harmonic

    phonons, lengths = [], np.linspace(3.9, 4.2, 7)
    for length in lengths:
        cell = PhonopyAtoms(['Cu'], cell=np.eye(3) * length, scaled_positions=[[0, 0, 0]])
        phonon = Phonopy(cell, np.eye(3, dtype=int), primitive_matrix=np.eye(3), log_level=0)
        # An Einstein crystal that softens as it grows.
        phonon.force_constants = np.eye(3)[None, None] * 5.0 * (4.0 / length) ** 24
        phonons.append(phonon)
    energies = 3.0 * (lengths - 4.0) ** 2
    found = quasi_harmonic(phonons, energies, temperatures=np.arange(0.0, 2000.0, 20.0), mesh=[1, 1, 1])
    assert 20 < found['temperatures_k'][-1] < 1900
    assert found['equilibrium_volume_angstrom3'].max() <= found['volumes_angstrom3'].max()
    assert len(found['gibbs_ev']) == len(found['temperatures_k']) == len(found['helmholtz_ev'])


def salt_cell() -> Any:
    atoms = bulk('NaCl', 'rocksalt', a=5.69)
    cell = PhonopyAtoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell[:])
    return Phonopy(cell, np.eye(3) * 2, primitive_matrix='P', symprec=1e-4, log_level=0)


@pytest.fixture
def change(aiida_profile: Any) -> orm.ArrayData:
    """Return a change of the force constants of rock salt: springs between all nearest neighbours."""
    phonon = salt_cell()
    basis = make_basis(phonon)
    coefficients = np.random.default_rng(1).normal(size=basis.n_constants)
    node = orm.ArrayData()
    arrays = {'change': basis.force_constants(coefficients), 'numbers': np.array(phonon.supercell.numbers)}
    for name, array in (arrays | {'scaled_positions': np.array(phonon.supercell.scaled_positions)}).items():
        node.set_array(name, array)
    return node.store()


@pytest.mark.real
def test_change_of_force_constants(change: orm.ArrayData) -> None:
    """Corrected phonons: what labels of one volume changed is added to the force constants at every volume."""
    volumes, frames = {}, []
    for index, edge in enumerate((5.6, 5.8)):
        structure = orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=edge))
        volumes[functions.volume_name(index)] = phonon_functions.preprocess(
            structure, orm.List([[2, 0, 0], [0, 2, 0], [0, 0, 2]]), orm.Dict({'distance': 0.01}), orm.Float(1e-4)
        )
    frames = functions.gather_displaced(**volumes)
    forces = orm.ArrayData()
    forces.set_array('forces', np.zeros((4, 16, 3)))
    plain = functions.split_forces(frames, forces, **volumes)
    corrected = functions.split_forces(frames, forces, change=change, **volumes)
    for name in volumes:
        assert np.abs(phonon_from_arrays(phonopy_arrays(plain[name])).force_constants).max() == 0
        found = compact_force_constants(phonon_from_arrays(phonopy_arrays(corrected[name])))
        assert found == pytest.approx(change.get_array('change'), abs=1e-8)


@pytest.mark.parametrize(
    ('inputs', 'sentence'),
    [
        ({'supercell_matrix': None}, 'give it as `supercell_matrix`'),
        ({'supercell_matrix': [[3, 0, 0], [0, 2, 0], [0, 0, 2]]}, 'of another supercell'),
        ({'structure': bulk('KCl', 'rocksalt', a=6.3)}, 'of another supercell'),
    ],
)
def test_change_of_another_supercell(change: orm.ArrayData, inputs: dict[str, Any], sentence: str) -> None:
    atoms = inputs.pop('structure', bulk('NaCl', 'rocksalt', a=5.8))
    matrix = inputs.get('supercell_matrix', [[2, 0, 0], [0, 2, 0], [0, 0, 2]])
    given = {'change': change, 'structure': orm.StructureData(ase=atoms)}
    if matrix is not None:
        given['supercell_matrix'] = orm.List(matrix)
    assert sentence in str(change_problem(given))


def test_change_lacks_arrays(aiida_profile: Any) -> None:
    assert validate_change(orm.ArrayData(np.eye(3))) == '`change` lacks the array(s) change, numbers, scaled_positions.'
