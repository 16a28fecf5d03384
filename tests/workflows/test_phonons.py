"""Phonons: what a builder holds, sentences for wrong input, and real runs with the potential and with pw.x."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory

from aiida_equitrain.calculations.arrays import phonopy_arrays
from aiida_equitrain.calculations.compare import CompareCalculation
from aiida_equitrain.calculations.functions.phonons import stability
from aiida_equitrain.science.phonopy_io import phonon_from_arrays

SUPERCELL = [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
#: A coarse mesh and few temperatures: tests look at the plumbing.
CHEAP = {'settings': {'mesh': [8, 8, 8], 'temperature_step_k': 100.0}}


@pytest.fixture
def make_builder(silicon: Any, phonopy_code: Any, python_code: Any, starter: Any) -> Any:
    """Return a factory of builders with the potential; ``None`` removes an argument."""

    def factory(**changes: Any) -> Any:
        arguments = {
            'structure': silicon,
            'phonopy_code': phonopy_code,
            'potential': starter,
            'python_code': python_code,
            'supercell_matrix': SUPERCELL,
            'protocol': 'fast',
            'overrides': CHEAP,
        }
        arguments = {key: value for key, value in (arguments | changes).items() if value is not None}
        return WorkflowFactory('equitrain.phonons').get_builder_from_protocol(**arguments)

    return factory


@pytest.mark.real
def test_potential(make_builder: Any) -> None:
    """One relaxation, one job of forces, one of all the rest; all outputs are there and are those of silicon."""
    own = {'settings': {'projected_mesh': [8, 8, 8], 'temperature_k': 200.0}}
    overrides = {'settings': CHEAP['settings'] | {'elastic': True}, 'harmonic': own}
    outputs, node = run_get_node(make_builder(overrides=overrides))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    used = next(child for child in node.called if child.process_label == 'HarmonicCalculation').inputs.settings
    assert dict(used) == {**dict(used), **own['settings'], 'mesh': CHEAP['settings']['mesh']}
    assert outputs['properties']['temperature_k'] == 200
    jobs = sorted(child.process_label for child in node.called if isinstance(child, orm.CalcJobNode))
    relaxations = ['RelaxCalculation'] * 2  # one of them of all strained cells
    assert jobs == ['ForcesCalculation', 'HarmonicCalculation', *relaxations]
    expected = {
        'bands', 'elastic', 'force_constants', 'forces', 'group_velocities', 'phonopy_data', 'projected_dos',
        'properties', 'relaxed_structure', 'stability', 'supercell_matrix', 'thermal', 'thermal_properties',
        'total_dos',
    }  # fmt: skip
    assert set(outputs) == expected
    assert outputs['force_constants'].get_array('force_constants').shape[1:] == (16, 3, 3)
    bands, stability_, thermal = outputs['bands'], outputs['stability'].get_dict(), outputs['thermal_properties']
    assert [label for _, label in bands.labels] == [r'$\Gamma$', 'X', 'U', 'K', r'$\Gamma$', 'L', 'W', 'X']
    assert bands.get_bands().shape[1] == 6
    assert bands.units == 'THz'
    assert 10 < stability_['max_frequency_thz'] < 20
    assert stability_['dynamically_stable'] is True
    assert np.abs(stability_['acoustic_gamma_thz']).max() < 1e-3
    assert stability_['n_displacements'] == 1
    # Dulong and Petit: two atoms, 3 R each.
    assert thermal.get_x()[1][-1] == pytest.approx(1000)
    assert thermal.get_y()[2][1][-1] == pytest.approx(6 * 8.314, rel=0.03)  # silicon is not quite classical yet
    frequencies, density = outputs['total_dos'].get_x()[1], outputs['total_dos'].get_y()[0][1]
    assert np.trapezoid(density, frequencies) == pytest.approx(6, rel=0.02)
    assert abs(outputs['relaxed_structure'].get_cell_volume() - 40.0) < 4
    check_harmonic(outputs)
    check_elastic(outputs['elastic'].get_dict())


@pytest.mark.real
def test_phonopy_command(make_builder: Any) -> None:
    """The command of phonopy gives the same curves and verdict as the job that does all; folders are deleted."""
    found = []
    for harmonic in (True, False):
        overrides = {'settings': CHEAP['settings'] | {'harmonic': harmonic}, 'clean_workdir': harmonic}
        outputs, node = run_get_node(make_builder(overrides=overrides, relax=False))
        assert node.is_finished_ok, (node.exit_status, node.exit_message)
        found.append(outputs)
        jobs = [job for job in node.called if isinstance(job, orm.CalcJobNode)]
        assert [Path(job.get_remote_workdir()).exists() for job in jobs] == [not harmonic] * len(jobs)
    ours, theirs = found
    assert set(ours) - set(theirs) == {'properties', 'thermal', 'projected_dos', 'group_velocities'}
    for name in ('force_constants', 'bands', 'total_dos', 'thermal_properties'):
        assert type(ours[name]) is type(theirs[name]), name
    constants = (item['force_constants'].get_array('force_constants') for item in found)
    assert np.allclose(*constants, atol=1e-6)
    one, other = ours['bands'], theirs['bands']
    assert one.labels == other.labels
    assert np.allclose(one.cell, other.cell, atol=1e-8)
    assert np.allclose(one.get_kpoints(), other.get_kpoints(), atol=1e-6)
    assert np.allclose(one.get_bands(), other.get_bands(), atol=1e-3)
    for name in ('total_dos', 'thermal_properties'):
        assert np.allclose(ours[name].get_x()[1], theirs[name].get_x()[1], atol=1e-3)
        for curve, same in zip(ours[name].get_y(), theirs[name].get_y(), strict=True):
            assert curve[::2] == same[::2]  # name and unit
            assert np.allclose(curve[1], same[1], atol=1e-2), curve[0]
    verdicts = [item['stability'].get_dict() for item in found]
    for key, value in verdicts[0].items():
        assert verdicts[1][key] == pytest.approx(value, abs=1e-3), key
    assert len(verdicts[0]) == len(verdicts[1])


def check_harmonic(outputs: dict[str, Any]) -> None:
    """Check for two atoms that are alike, one mole of them."""
    properties, thermal = outputs['properties'].get_dict(), outputs['thermal']
    assert properties['formula_units'] == 2
    cell, unit = (properties[f'heat_capacity_j_per_k_mol_{of}'] for of in ('cell', 'formula_unit'))
    assert cell == pytest.approx(2 * unit)
    phonopy = outputs['thermal_properties']
    assert thermal.get_array('heat_capacity_j_per_k_mol_cell') == pytest.approx(phonopy.get_y()[2][1], abs=1e-4)
    assert properties['acoustic_sum_rule_ev_per_angstrom2'] < 1e-10
    assert properties['acoustic_sum_rule_ev_per_angstrom2_before'] < 0.05
    assert properties['rotational_sum_rule_relative'] < 0.05
    density = outputs['projected_dos']
    of_atoms = np.trapezoid(density.get_array('projected_dos_per_thz'), density.get_array('frequencies_thz'))
    assert of_atoms == pytest.approx([3, 3], rel=0.02)
    displacements = thermal.get_array('mean_square_displacements_angstrom2')
    assert displacements.shape == (11, 2, 3)
    assert (np.diff(displacements[:, 0, 0]) > 0).all()
    velocities = outputs['group_velocities']
    at_gamma = np.linalg.norm(velocities.get_array('path_velocities_thz_angstrom')[1], axis=1)[:3]
    elastic = outputs['elastic']
    slowest, fastest = (elastic[f'sound_velocity_{kind}_m_per_s'] for kind in ('transverse', 'longitudinal'))
    # Near Γ the acoustic branches run at the velocities of sound (100 m/s are 1 THz Å), which vary with direction.
    assert slowest * 0.5 < at_gamma.min() * 100 < at_gamma.max() * 100 < fastest * 1.5


def check_elastic(elastic: dict[str, Any]) -> None:
    """Check for a cubic tensor with the moduli of silicon, as far as the starter knows it (experiment: 98, 67 GPa)."""
    tensor = np.array(elastic['elastic_tensor_gpa'])
    assert tensor[0, 0] == pytest.approx(tensor[2, 2])
    assert np.abs(tensor[:3, 3:]).max() < 1e-6
    assert elastic['asymmetry_gpa'] < 0.5
    assert elastic['mechanically_stable'] is True
    assert 60 < elastic['bulk_modulus_gpa'] < 140
    assert 30 < elastic['shear_modulus_gpa'] < 100
    assert 400 < elastic['debye_temperature_k'] < 800
    assert 5 < elastic['slack_conductivity_300k_w_per_m_k'] < 1000


@pytest.fixture
def make_dft_builder(make_builder: Any, pw_code: Any, pseudo_family: Any) -> Any:
    """Return a factory of builders with pw.x, far from convergence but quick."""

    def factory(**changes: Any) -> Any:
        quick = {'SYSTEM': {'ecutwfc': 16.0, 'ecutrho': 64.0}, 'ELECTRONS': {'conv_thr': 1e-8}}
        overrides = CHEAP | {'pw': {'kpoints_distance': 1.2, 'pw': {'parameters': quick}}}
        arguments = {
            'potential': None,
            'python_code': None,
            'pw_code': pw_code,
            'pseudo_family': pseudo_family.label,
            'overrides': overrides,
            'options': {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False},
        }
        return make_builder(**(arguments | changes))

    return factory


@pytest.mark.real
def test_dft(make_dft_builder: Any) -> None:
    """The unit cell is relaxed, each displacement is one pw.x at Gamma, and the same outputs come out."""
    outputs, node = run_get_node(make_dft_builder())
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    children = sorted(child.process_label for child in node.called if isinstance(child, orm.WorkChainNode))
    assert children == ['PwBaseWorkChain', 'PwRelaxWorkChain']
    (base,) = (child for child in node.called if child.process_label == 'PwBaseWorkChain')
    (pw,) = (child for child in base.called if isinstance(child, orm.CalcJobNode))
    assert pw.inputs.settings['GAMMA_ONLY'] is True
    assert pw.inputs.parameters['SYSTEM']['occupations'] == 'fixed'
    assert set(outputs['supercells_forces']) == {'supercell_1'}
    assert 10 < outputs['stability']['max_frequency_thz'] < 20
    assert outputs['phonopy_data'].forces.shape == (1, 16, 3)
    assert {'bands', 'total_dos', 'thermal_properties', 'relaxed_structure'} <= set(outputs)


@pytest.mark.real
def test_dft_fails(make_dft_builder: Any) -> None:
    """What did not converge is named; the relaxed structure is kept."""
    broken = {'SYSTEM': {'ecutwfc': 16.0, 'ecutrho': 64.0}, 'ELECTRONS': {'electron_maxstep': 1}}
    overrides = CHEAP | {'pw': {'kpoints_distance': 1.2, 'max_iterations': 1, 'pw': {'parameters': broken}}}
    outputs, node = run_get_node(make_dft_builder(overrides=overrides, relax=False))
    assert node.exit_status == node.process_class.exit_codes.ERROR_DFT_FAILED.status
    assert 'DFT failed for 1 of 1 displaced supercells' in node.exit_message
    assert set(outputs) == {'supercell_matrix'}


@pytest.mark.thorough
@pytest.mark.real
def test_dft_concurrency(make_dft_builder: Any, silicon: Any) -> None:
    """Never more than ``max_concurrent`` at a time; without relaxation there is no relaxed structure."""
    builder = make_dft_builder(relax=False, supercell_matrix=np.eye(3, dtype=int).tolist())
    builder.max_concurrent = orm.Int(2)
    builder.displacement = orm.Dict({'distance': 0.02, 'number_of_snapshots': 3, 'random_seed': 1})
    outputs, node = run_get_node(builder)
    assert set(outputs['supercells_forces']) == {'supercell_1', 'supercell_2', 'supercell_3'}
    assert outputs['phonopy_data'].forces.shape == (3, 2, 3)
    assert 'relaxed_structure' not in outputs
    bases = [child for child in node.called if child.process_label == 'PwBaseWorkChain']
    first = sorted(bases, key=lambda child: child.ctime)
    assert first[2].ctime > min(child.mtime for child in first[:2])


def flatten(namespace: Any, prefix: str = '') -> dict[str, Any]:
    """Return the values of a builder by dotted name; nodes that are not plain values by their class."""
    result: dict[str, Any] = {}
    for key, value in namespace.items():
        name = f'{prefix}{key}'
        if isinstance(value, orm.Dict | orm.List):
            value = value.get_dict() if isinstance(value, orm.Dict) else value.get_list()
        elif isinstance(value, orm.Data):
            value = getattr(value, 'value', type(value).__name__)
        elif hasattr(value, 'items'):
            result |= flatten(value, f'{name}.')
            continue
        result[name] = value
    return result


def test_builder_of_potential(make_builder: Any) -> None:
    values = flatten(make_builder(protocol='paper', overrides=None, supercell_matrix=None))
    assert values['settings'] == {
        'relax': True,
        'min_length_angstrom': 20.0,
        'nac_charge_tolerance': 0.1,
        'mesh': [20, 20, 20],
        'temperature_min_k': 0.0,
        'temperature_max_k': 1000.0,
        'temperature_step_k': 10.0,
        'stability_tolerance_thz': 0.15,
        'harmonic': True,
        'elastic': True,
        'elastic_strain': 0.005,
    }
    assert values['potential_relax.settings'] == {
        'fmax_ev_per_angstrom': 1e-5,
        'max_steps': 500,
        'relax_cell': True,
        'fix_symmetry': True,
        'constant_volume': False,
        'volume_factors': [],
        'optimizer': 'BFGS',
        'dtype': 'float64',
    }
    assert values['potential_forces.settings'] == {
        'method': 'finite-differences',
        'batch_size': 1,
        'dtype': 'float64',
    }
    assert (values['symprec'], values['max_atoms'], values['displacement']) == (1e-4, 2000, {'distance': 0.01})
    assert not any(name.startswith(('pw.', 'relax.')) for name in values)


def test_builder_of_dft(make_dft_builder: Any, make_builder: Any, pw_code: Any, pseudo_family: Any) -> None:
    values = flatten(make_dft_builder(overrides=None))
    supercells, unit_cell = values['pw.pw.parameters'], values['relax.base_relax.pw.parameters']
    assert supercells['SYSTEM'] == unit_cell['SYSTEM']
    assert supercells['SYSTEM']['occupations'] == 'fixed'
    assert supercells['SYSTEM']['ecutwfc'] <= 30
    assert supercells['CONTROL']['tprnfor'] is True
    assert supercells['CONTROL']['tstress'] is False
    assert unit_cell['CONTROL']['calculation'] == 'vc-relax'
    assert values['pw.kpoints_distance'] == values['relax.base_relax.kpoints_distance'] == 0.6
    assert supercells['ELECTRONS']['conv_thr'] == pytest.approx(2e-11)
    assert not any('base_init_relax' in name for name in values)
    assert values['settings']['min_length_angstrom'] == 10.0


@pytest.mark.parametrize('options', [None, {'max_wallclock_seconds': 600}, {'withmpi': True}])
def test_serial_dft(make_dft_builder: Any, options: dict[str, Any] | None) -> None:
    """A code that says that it is serial is believed, for the unit cell and the supercells, whatever else is asked."""
    values = flatten(make_dft_builder(options=options))
    for name in ('pw.pw', 'relax.base_relax.pw'):
        assert values[f'{name}.metadata.options.withmpi'] is False
        assert values[f'{name}.metadata.options.resources.num_machines'] == 1
        if options and 'max_wallclock_seconds' in options:
            assert values[f'{name}.metadata.options.max_wallclock_seconds'] == 600


def test_overrides_are_refused(make_builder: Any) -> None:
    with pytest.raises(ValueError, match='min_length_angstrom'):
        make_builder(overrides={'settings': {'min_length_angstroms': 9.0}})
    with pytest.raises(ValueError, match='kpoints_distance'):
        make_builder(overrides={'pw': {'kpoint_distance': 0.1}})


def test_missing_pseudopotential(make_dft_builder: Any) -> None:
    from ase.build import bulk

    with pytest.raises(ValueError, match='no pseudopotential for Au'):
        make_dft_builder(structure=orm.StructureData(ase=bulk('Au')))
    with pytest.raises(ValueError, match='`pseudo_family`'):
        make_dft_builder(pseudo_family=None)


def wrong(**changes: Any) -> Any:
    """Return a function that changes a builder."""

    def change(builder: Any) -> None:
        for name, value in changes.items():
            if value is None:
                delattr(builder, name)
            else:
                setattr(builder, name, value)

    return change


def overlapping() -> orm.StructureData:
    structure = orm.StructureData(cell=np.eye(3) * 5)
    structure.append_atom(position=(0, 0, 0), symbols='Si')
    structure.append_atom(position=(0.3, 0, 0), symbols='Si')
    return structure


def disordered() -> orm.StructureData:
    structure = orm.StructureData(cell=np.eye(3) * 5)
    structure.append_atom(position=(0, 0, 0), symbols=['Si', 'Ge'], weights=[0.5, 0.5], name='X')
    return structure


def molecule() -> orm.StructureData:
    structure = orm.StructureData(cell=np.eye(3) * 9, pbc=(False, False, False))
    structure.append_atom(position=(0, 0, 0), symbols='Si')
    return structure


def gold() -> orm.StructureData:
    structure = orm.StructureData(cell=np.eye(3) * 3)
    structure.append_atom(position=(0, 0, 0), symbols='Au')
    return structure


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda b: wrong(structure=overlapping())(b), 'atoms overlap'),
        (lambda b: wrong(structure=disordered())(b), 'partial occupancy'),
        (lambda b: wrong(structure=molecule())(b), 'not periodic'),
        (lambda b: wrong(structure=gold())(b), 'does not know Au'),
        (lambda b: wrong(max_atoms=orm.Int(15))(b), '16 atoms, more than `max_atoms`'),
        (lambda b: wrong(max_atoms=orm.Int(0))(b), 'above zero'),
        (lambda b: wrong(potential=None)(b), 'either from a `potential`'),
        (lambda b: wrong(python_code=None)(b), '`python_code`'),
        (lambda b: wrong(supercell_matrix=orm.List([[1, 0, 0], [0, 1, 0]]))(b), 'three rows of three integers'),
        (lambda b: wrong(settings=orm.Dict({'mesh': [8, 8]}))(b), 'three positive integers'),
        (lambda b: wrong(settings=orm.Dict({'meshes': [8, 8, 8]}))(b), 'did you mean `mesh`'),
        (lambda b: wrong(displacement=orm.Dict({'distance': -0.01}))(b), 'between 0 and 1'),
        (lambda b: wrong(displacement=orm.Dict({'number_of_snapshots': 2}))(b), '`random_seed`'),
        (lambda b: wrong(displacement=orm.Dict({'temperature': 300}))(b), 'unknown key `temperature`'),
        (lambda b: setattr(b.potential_forces, 'settings', orm.Dict({'method': 'dfpt'})), 'hessian'),
    ],
)
def test_wrong_input(make_builder: Any, change: Any, sentence: str) -> None:
    builder = make_builder()
    before = orm.QueryBuilder().append(orm.CalcJobNode).count()

    def change_and_run() -> None:
        change(builder)
        run_get_node(builder)

    with pytest.raises(ValueError, match=sentence):
        change_and_run()
    assert orm.QueryBuilder().append(orm.CalcJobNode).count() == before


def test_code_not_executable(make_builder: Any, make_code: Any, tmp_path: Any) -> None:
    script = tmp_path / 'phonopy'
    script.write_text('#!/bin/sh\n')
    script.chmod(0o755)
    code = make_code('phonopy-broken', str(script), 'phonopy.phonopy')
    script.chmod(0o644)
    with pytest.raises(ValueError, match='is not executable'):
        run_get_node(make_builder(phonopy_code=code))


def test_stability() -> None:
    """Acoustic noise at Gamma is no instability; a soft optical mode there, or anything elsewhere, is."""
    qpoints = np.array([[0.0, 0, 0], [0.5, 0, 0]])
    stable = np.array([[-0.02, 0.01, -0.1, 8.0, 9.0, 9.0], [2.0, 2.0, 3.0, 8.0, 9.0, 9.0]])
    verdict = stability(qpoints, stable, 0.15)
    assert verdict['dynamically_stable'] is True
    assert verdict['lowest_frequency_thz'] == 2.0
    assert sorted(verdict['acoustic_gamma_thz']) == [-0.1, -0.02, 0.01]
    soft_optical = stable.copy()
    soft_optical[0] = [-3.0, 0.01, -0.1, 0.02, 9.0, 9.0]
    verdict = stability(qpoints, soft_optical, 0.15)
    assert (verdict['dynamically_stable'], verdict['lowest_frequency_thz']) == (False, -3.0)
    zone_boundary = stable.copy()
    zone_boundary[1, 0] = -0.5
    verdict = stability(qpoints, zone_boundary, 0.15)
    assert (verdict['dynamically_stable'], verdict['lowest_qpoint']) == (False, [0.5, 0, 0])


@pytest.mark.thorough
@pytest.mark.real
def test_hessian(make_builder: Any) -> None:
    """The analytic Hessian goes the same way through the WorkChain, and gives silicon's phonons."""
    overrides = CHEAP | {'potential_forces': {'settings': {'method': 'hessian'}}}
    outputs, node = run_get_node(make_builder(overrides=overrides, relax=False))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert len([child for child in node.called if isinstance(child, orm.CalcJobNode)]) == 2
    assert 'relaxed_structure' not in outputs
    assert 10 < outputs['stability']['max_frequency_thz'] < 20


def nac_node(charges: Any, dielectric: Any = 2.43) -> orm.ArrayData:
    node = orm.ArrayData()
    node.set_array('born_charges', np.array(charges)[:, None, None] * np.eye(3))
    node.set_array('dielectric', np.asarray(dielectric) * np.eye(3))
    return node


@pytest.mark.parametrize(
    ('nac', 'sentence'),
    [
        (lambda: nac_node([1.1]), r'has the shape \(1, 3, 3\); it must be \(2, 3, 3\)'),
        (lambda: nac_node([1.1, -0.8]), r'sum up to 0.3 e, more than `settings.nac_charge_tolerance`'),
        (lambda: nac_node([1.1, -1.1], 0.5), 'eigenvalues of at least 1'),
        (lambda: nac_node([1.1, np.nan]), 'not finite'),
        (lambda: orm.ArrayData(np.eye(3)), r'lacks the array\(s\) born_charges, dielectric'),
    ],
)
def test_wrong_nac(make_builder: Any, nac: Any, sentence: str) -> None:
    builder = make_builder()
    builder.nac = nac()
    with pytest.raises(ValueError, match=sentence):
        run_get_node(builder)


@pytest.mark.thorough
@pytest.mark.real
def test_polar(make_builder: Any, rattled_salt: Path) -> None:
    """NaCl with the Born charges of DFT: the optical modes split at Gamma, and a comparison without them is refused."""
    from ase.build import bulk
    from phonopy.file_IO import parse_BORN
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = bulk('NaCl', 'rocksalt', a=5.69)
    cell = PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell[:], scaled_positions=atoms.get_scaled_positions())
    born = parse_BORN(cell, filename=str(rattled_salt / 'BORN'))
    nac = orm.ArrayData()
    nac.set_array('born_charges', born['born'])
    nac.set_array('dielectric', born['dielectric'])
    builder = make_builder(structure=orm.StructureData(ase=atoms), relax=False)
    builder.nac = nac
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    bands = outputs['bands']
    gamma = next(index for index, name in bands.labels if name in ('GAMMA', 'Γ', '$\\Gamma$'))
    optical = np.sort(bands.get_bands()[gamma])[3:]
    assert optical[2] - optical[0] > 1.0  # LO - TO of NaCl: 7.8 - 4.9 THz
    own = phonon_from_arrays(phonopy_arrays(outputs['phonopy_data']))
    own.run_qpoints([[0, 0, 0]], nac_q_direction=[1, 0, 1])
    assert np.sort(own.qpoints.frequencies[0])[3:] == pytest.approx(optical, abs=0.02)
    plain = phonon_from_arrays(phonopy_arrays(without_nac(outputs['phonopy_data'])))
    plain.run_qpoints([[0, 0, 0]])
    assert np.ptp(np.sort(plain.qpoints.frequencies[0])[3:]) < 0.02
    sides = {'candidates': {'finetuned': outputs['phonopy_data']}, 'reference': without_nac(outputs['phonopy_data'])}
    assert '`reference` have no Born charges' in str(CompareCalculation.validate_inputs(sides))
    assert CompareCalculation.validate_inputs({'candidates': sides['candidates']}) is None


def without_nac(node: Any) -> Any:
    copy = node.clone()
    copy.delete_array('born_charges')
    return copy
