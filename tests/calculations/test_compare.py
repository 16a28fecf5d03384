"""The job that compares phonons: what it stages, what it refuses, and a real run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage.manager import get_manager
from aiida.plugins import CalculationFactory, DataFactory
from ase import Atoms

from aiida_equitrain.calculations import compare
from aiida_equitrain.calculations.arrays import phonopy_arrays
from aiida_equitrain.calculations.compare import CompareCalculation
from aiida_equitrain.calculations.harmonic import HarmonicCalculation
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science.frames import Frame, Frames
from aiida_equitrain.science.phonopy_io import phonon_from_arrays

A = 5.6


def spring_matrix(positions: np.ndarray, cell: np.ndarray, stiffness: float) -> np.ndarray:
    """Return scalar force constants (N, N) of springs between nearest neighbours at A / 2."""
    images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ cell
    distance = np.linalg.norm(positions[:, None, None] - positions[None, :, None] + images, axis=3)
    bonds = (distance.round(3) == round(A / 2, 3)).sum(axis=2)
    return stiffness * (np.diag(bonds.sum(axis=1)) - bonds)


def make_phonons(stiffness: float, symbols: str = 'NaCl', separate: bool = False) -> Any:
    """Return PhonopyData of rock salt with springs; forces in one array, or one array per supercell as of pw.x."""
    structure = orm.StructureData(
        ase=Atoms(symbols, scaled_positions=[[0, 0, 0], [0.5] * 3], cell=A / 2 * (1 - np.eye(3)), pbc=True)
    )
    pre = DataFactory('phonopy.preprocess')(
        structure=structure, supercell_matrix=[[-1, 1, 1], [1, -1, 1], [1, 1, -1]], symprec=1e-4
    )
    pre.set_displacements(distance=0.01)
    node = DataFactory('phonopy.phonopy')(preprocess_data=pre.store())
    phonon = pre.get_phonopy_instance()
    matrix = spring_matrix(phonon.supercell.positions, phonon.supercell.cell, stiffness)
    forces = [-matrix @ (cell.positions - phonon.supercell.positions) for cell in phonon.supercells_with_displacements]
    if separate:
        node.set_forces(dict_of_forces={f'forces_{i + 1}': [f] for i, f in enumerate(forces)}, forces_index=0)
    else:
        node.set_forces(sets_of_forces=forces)
    return node.store()


def make_dataset(stiffness: float) -> DatasetData:
    """Return frames of the conventional cell with the same springs, atoms in another order."""
    atoms = Atoms('Na4Cl4', pbc=True, cell=[A] * 3)
    sites = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * A / 2
    matrix = spring_matrix(sites, np.eye(3) * A, stiffness)
    rng = np.random.default_rng(1)
    frames = []
    for index in range(4):
        u = rng.normal(0, 0.02, (8, 3))
        role = 'valid' if index == 3 else 'train'
        frames.append(Frame(atoms.numbers, sites + u, np.eye(3) * A, -1.0, -matrix @ u, role=role))
    return DatasetData(Frames(frames), functional='springs').store()


@pytest.fixture
def inputs(aiida_profile_clean: Any, python_code: Any) -> dict[str, Any]:
    return {
        'code': python_code,
        'reference': make_phonons(1.0, separate=True),
        'candidates': {'foundation': make_phonons(1.44), 'finetuned': make_phonons(1.21)},
        'dataset': make_dataset(1.0),
        'settings': orm.Dict({'mesh': [6, 6, 6], 'band_points': 11, 'temperatures_k': [0.0, 300.0, 100.0]}),
    }


def test_entry_points() -> None:
    assert CalculationFactory('equitrain.compare') is CompareCalculation


def test_arrays_give_the_same_phonons(aiida_profile_clean: Any) -> None:
    """What is staged gives the force constants of aiida-phonopy's own way, from both layouts of forces."""
    for separate in (False, True):
        node = make_phonons(1.0, separate=separate)
        own = phonon_from_arrays(phonopy_arrays(node), acoustic_sum_rule=False)
        other = node.get_phonopy_instance()
        other.produce_force_constants(calculate_full_force_constants=False)
        assert own.primitive_symmetry.dataset.number == 225
        assert np.allclose(own.supercell.positions, other.supercell.positions, rtol=0, atol=1e-12)
        assert np.allclose(own.force_constants, other.force_constants, rtol=0, atol=1e-12)


def test_staging(inputs: dict[str, Any]) -> None:
    process = instantiate_process(get_manager().get_runner(), CompareCalculation, **inputs)
    with SandboxFolder() as folder:
        info = process.prepare_for_submission(folder)
        files = set(folder.get_content_list())
        settings = json.loads(Path(folder.get_abs_path('job.json')).read_text())
        arrays = np.load(folder.get_abs_path('candidate_finetuned.npz'))
        assert arrays['forces'].shape[1:] == (8, 3)
    names = {'reference.npz', 'candidate_finetuned.npz', 'candidate_foundation.npz'}
    assert files == {'equitrain_job', 'job.json', *names}
    assert info.codes_info[0].cmdline_params == ['-m', 'equitrain_job.drivers.compare']
    assert settings['candidates'] == ['finetuned', 'foundation']
    assert info.local_copy_list == inputs['dataset'].stage('frames.npz')
    read = {'comparison.json', CompareCalculation.SUMMARY, CompareCalculation.FAILURE}
    assert read <= set(info.retrieve_list)
    assert info.retrieve_temporary_list == ['bands.npz', 'thermal.npz']


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'meshes': [2, 2, 2]}, 'did you mean `mesh`'),
        ({'mesh': [2, 2]}, 'three positive integers'),
        ({'mesh': 3}, 'type `list`'),
        ({'temperature_k': -1.0}, 'at least 0'),
        ({'temperatures_k': [0, 10, 0]}, 'lowest, highest, step'),
        ({'symfc_roles': ['training']}, 'did you mean `train`'),
    ],
)
def test_wrong_settings(settings: dict[str, Any], sentence: str) -> None:
    assert sentence in str(CompareCalculation.validate_settings(orm.Dict(settings), None))


def test_wrong_candidates(aiida_profile_clean: Any) -> None:
    node = make_phonons(1.0)
    assert 'at least one' in str(compare.validate_candidates({}, None))
    assert 'reserved' in str(compare.validate_candidates({'symfc': node}, None))
    bare = DataFactory('phonopy.phonopy')(preprocess_data=node)
    assert 'candidates.a' in str(compare.validate_candidates({'a': bare}, None))
    assert compare.validate_candidates({'a': node}, None) is None


def test_names_of_other_sides(inputs: dict[str, Any]) -> None:
    """Harmonic properties are those of a candidate, and a correction belongs to harmonic properties."""
    runner = get_manager().get_runner()
    for given, sentence in (
        ({'harmonic': {'reference': orm.Dict({})}}, '`harmonic.reference` has no `candidates.reference`'),
        ({'corrections': {'finetuned': orm.Dict({})}}, '`corrections.finetuned` has no `harmonic.finetuned`'),
        ({'at_reference': {'other': inputs['reference']}}, '`at_reference.other` has no `candidates.other`'),
        ({'harmonic': {'finetuned': orm.Dict({'meshes': [2, 2, 2]})}}, '`harmonic.finetuned`: .*did you mean `mesh`'),
    ):
        with pytest.raises(ValueError, match=sentence):
            instantiate_process(runner, CompareCalculation, **inputs, **given)
    reference = inputs.pop('reference')
    with pytest.raises(ValueError, match=r'`at_reference\.finetuned` has no `reference` at whose cell'):
        instantiate_process(runner, CompareCalculation, **inputs, at_reference={'finetuned': reference})


@pytest.mark.real
def test_harmonic(inputs: dict[str, Any]) -> None:
    """Harmonic properties made with the comparison are those of `equitrain.harmonic`, whatever comes of the rest."""
    settings = orm.Dict({'mesh': [4, 4, 4], 'projected_mesh': [3, 3, 3], 'band_points': 7, 'temperature_step_k': 500.0})
    correction = orm.Dict({'verdict': 'stable', 'lowest_frequency_sigma_thz': 0.1, 'uncertainty_thz': 0.2})
    phonons = inputs['candidates']['finetuned']
    alone, node = run_get_node(
        HarmonicCalculation, code=inputs['code'], phonopy_data=phonons, settings=settings, correction=correction
    )
    assert node.is_finished_ok, node.exit_message
    inputs['candidates'] = {'foundation': make_phonons(1.0, 'KCl'), 'finetuned': phonons}
    inputs.update(harmonic={'finetuned': settings}, corrections={'finetuned': correction})
    inputs['settings'] = orm.Dict(inputs['settings'].get_dict() | {'subtract_residual_forces': True})
    results, node = run_get_node(CompareCalculation, **inputs)
    assert node.exit_status == CompareCalculation.exit_codes.ERROR_DIFFERENT_CRYSTALS.status
    assert 'foundation' in node.exit_message
    together = results['harmonic']['finetuned']
    assert set(together) == set(HarmonicCalculation.OUTPUTS)
    for name, output in together.items():
        assert type(output) is type(alone[name]), name
        assert output.base.attributes.all == alone[name].base.attributes.all, name
        for array in output.get_arraynames() if isinstance(output, orm.ArrayData) else ():
            assert np.array_equal(output.get_array(array), alone[name].get_array(array)), (name, array)


@pytest.mark.real
def test_run(inputs: dict[str, Any]) -> None:
    # At the cell of the reference the foundation is as good as the fine-tuned potential at its own.
    inputs['at_reference'] = {'foundation': make_phonons(1.21)}
    results, node = run_get_node(CompareCalculation, **inputs)
    assert node.is_finished_ok, node.exit_message
    comparison = results['comparison'].get_dict()
    candidates = comparison['candidates']
    highest = comparison['reference']['max_frequency_thz']
    assert candidates['foundation']['max_frequency_thz'] == pytest.approx(1.2 * highest, rel=1e-6)
    assert candidates['finetuned']['phonon_mae_thz'] > 0.05
    ratio = candidates['foundation']['phonon_mae_thz'] / candidates['finetuned']['phonon_mae_thz']
    assert ratio == pytest.approx(2, rel=1e-4)
    assert candidates['finetuned']['dynamically_stable'] is True
    moved = comparison['at_reference']['foundation']
    for key in ('phonon_mae_thz', 'branch_mae_thz', 'max_frequency_thz'):
        assert moved[key] == pytest.approx(candidates['finetuned'][key], rel=1e-6), key
    for point in comparison['points']:
        sides = point['frequencies_thz']
        error = np.abs(np.sort(sides['finetuned']) - np.sort(sides['reference'])).mean()
        assert moved['points'][point['name']] == pytest.approx(error, rel=1e-6, abs=1e-9)
    assert comparison['symfc']['phonon_mae_thz'] < 1e-4
    assert comparison['symfc']['n_frames'] == 4
    assert (comparison['symfc']['method'], comparison['symfc']['n_strain_terms']) == ('unstrained', 0)
    assert comparison['symfc']['how'] == 'unstrained frames alone'
    assert comparison['symfc']['is_reference'] is False
    # Springs that are stiffer by 1.21 raise every frequency by a tenth, the branches alike.
    foundation = candidates['foundation']
    assert np.mean(foundation['branch_mae_thz']) == pytest.approx(foundation['phonon_mae_thz'])
    assert foundation['branch_bias_thz'] == pytest.approx(foundation['branch_mae_thz'])
    assert foundation['acoustic_mae_thz'] < foundation['optical_mae_thz']
    gamma = comparison['points'][0]
    assert (gamma['name'], gamma['qpoint']) == ('Γ', [0.0, 0.0, 0.0])
    at_gamma = gamma['frequencies_thz']
    assert at_gamma['finetuned'][3:] == pytest.approx([1.1 * value for value in at_gamma['reference'][3:]], rel=1e-4)
    worst = comparison['worst']['foundation']
    assert worst['error_thz'] == pytest.approx(0.2 * highest, rel=1e-3)
    assert set(comparison['worst']) == {'foundation', 'finetuned', 'symfc'}
    bands = results['bands']
    shape = bands.get_array('frequencies_reference').shape
    assert shape == (11 * len(bands.get_array('segment_starts')), 6)
    for side in ('foundation', 'finetuned', 'symfc'):
        assert bands.get_array(f'frequencies_{side}').shape == shape
        density = bands.get_array(f'dos_{side}')
        # As many states as bands.
        assert np.trapezoid(density, bands.get_array('dos_frequencies')) == pytest.approx(6, rel=1e-3)
    assert bands.get_array('labels')[0].tolist() == ['Γ', 'X']
    assert results['thermal'].get_array('entropy_reference').shape == (4,)
    assert set(results['summary'].get_dict()['versions']) >= {'phonopy', 'symfc'}


@pytest.mark.real
def test_run_without_reference(inputs: dict[str, Any]) -> None:
    del inputs['reference'], inputs['dataset']
    results, node = run_get_node(CompareCalculation, **inputs)
    assert node.is_finished_ok, node.exit_message
    comparison = results['comparison'].get_dict()
    assert (comparison['reference'], comparison['symfc']) == (None, None)
    assert 'phonon_mae_thz' not in comparison['candidates']['finetuned']
