"""The job that corrects a potential's phonons by labels: what it refuses, and real runs on rattled rock salt."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory

from aiida_equitrain.calculations.arrays import new_phonopy_data, phonopy_arrays, with_forces
from aiida_equitrain.calculations.correct import CorrectCalculation
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science.correction import Posterior, compact_force_constants, displacement_arrays
from aiida_equitrain.science.displaced_frames import displaced_phonon
from aiida_equitrain.science.error_bars import frequency_errors
from aiida_equitrain.science.frames import Frame, Frames
from aiida_equitrain.science.phonon_metrics import frequencies_at
from aiida_equitrain.science.phonopy_io import phonon_from_arrays

#: A coarse mesh and few temperatures: tests look at the plumbing.
CHEAP = {'mesh': [6, 6, 6], 'temperature_step_k': 500.0, 'band_points': 5, 'threads': 1}
QPOINTS = np.array([[0.5, 0.0, 0.5], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
#: What the set was labelled with.
FACTS = {'functional': 'PBEsol', 'code': 'VASP'}


@pytest.fixture
def phonons(stored_once: Any, starter: Any, salt: Any) -> Any:
    """Return the starter's phonons of the cell of the frames, with Born charges, and with masses of its own."""

    def make() -> tuple[Any, ...]:
        from aiida_phonopy.data import PreProcessData

        from aiida_equitrain.drivers.evaluation_io import make_atoms
        from aiida_equitrain.drivers.potential_loader import load_calculator
        from aiida_equitrain.setup.shipped import starter_files

        phonon = displaced_phonon(salt.reference)
        dataset: Any = phonon.dataset
        cell = phonon.unitcell.copy()
        cell.masses = [22.0 if symbol == 'Na' else mass for symbol, mass in zip(cell.symbols, cell.masses, strict=True)]
        given = PreProcessData(
            phonopy_atoms=cell,
            supercell_matrix=phonon.supercell_matrix.tolist(),
            primitive_matrix=phonon.primitive_matrix.tolist(),
            symprec=1e-5,
        )
        given.base.attributes.set('masses', cell.masses.tolist())
        given.set_displacements_from_dataset(dataset)
        calculator, forces = load_calculator(str(starter_files()[0]), 'mace', None, 'cpu', 'float64'), []
        for displaced in phonon.supercells_with_displacements:
            atoms = make_atoms(displaced.numbers, displaced.positions, displaced.cell)
            calculator.calculate(atoms)
            forces.append(calculator.results['forces'])
        node = new_phonopy_data(given)
        node.set_forces(sets_of_forces=np.array(forces))
        node.set_residual_forces(np.zeros((len(phonon.supercell), 3)))
        node.set_dielectric(salt.nac['dielectric'])
        node.set_born_charges(salt.nac['born'])
        return (node,)

    return stored_once('starter phonons of NaCl', make)[0]


def dataset_of(frames: Any) -> DatasetData:
    return DatasetData(Frames(list(frames)), **FACTS).store()


@pytest.fixture
def mixed(salt: Any) -> DatasetData:
    """Return two frames that can be used, one of them with its atoms in another order, and one of each other kind."""
    first, second, third = (replace(frame, role='train') for frame in salt.frames[:3])
    order = np.random.default_rng(0).permutation(len(first))
    turned = replace(
        first, numbers=first.numbers[order], positions=first.positions[order], forces=first.forces[order], role='valid'
    )
    strained = replace(third, cell=third.cell * 1.01, positions=third.positions * 1.01)
    small = Frame(
        numbers=np.array([11, 17]),
        positions=np.array([[0.0, 0, 0], [2.8, 2.8, 2.8]]),
        cell=5.6 * (np.ones((3, 3)) - np.eye(3)) / 2,
        energy=-1.0,
        forces=np.zeros((2, 3)),
        role='train',
    )
    far = replace(second, positions=second.positions + np.eye(len(second), 3))
    pristine = replace(second, positions=np.array(salt.reference.supercell.positions))
    copy = replace(second, positions=second.positions + 0.05)
    return dataset_of([turned, second, strained, small, far, pristine, replace(third, role='test'), copy])


def builder_of(**inputs: Any) -> Any:
    builder = CalculationFactory('equitrain.correct').get_builder()
    for name, value in inputs.items():
        setattr(builder, name, value)
    return builder


@pytest.fixture
def run(starter: Any, python_code: Any, phonons: Any) -> Any:
    """Return a function that runs the job; keywords change the inputs."""

    def function(dataset: Any, settings: dict[str, Any] | None = None, **changes: Any) -> tuple[Any, Any]:
        inputs = {
            'code': python_code,
            'potential': starter,
            'phonopy_data': phonons,
            'dataset': dataset,
            'settings': orm.Dict(CHEAP | (settings or {})),
        }
        return run_get_node(builder_of(**(inputs | changes)))

    return function


def frequencies(node: Any) -> Any:
    return frequencies_at(phonon_from_arrays(phonopy_arrays(node)), QPOINTS)


def error(node: Any, salt: Any, phonons: Any) -> float:
    """Return the mean error of frequencies against DFT's force constants with the same masses and Born charges."""
    truth = phonon_from_arrays(phonopy_arrays(phonons))
    truth.force_constants = compact_force_constants(salt.reference)
    return float(np.abs(frequencies(node) - frequencies_at(truth, QPOINTS)).mean())


@pytest.mark.real
def test_corrected_phonons(run: Any, mixed: Any, phonons: Any, salt: Any) -> None:
    """Two labels bring the starter's phonons to those of DFT; masses and Born charges stay; each frame is told of."""
    outputs, node = run(mixed)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    correction, corrected = outputs['correction'].get_dict(), outputs['phonopy_data']
    assert correction['frames'] == [0, 1]
    assert correction['left_out'] == {
        'strained': 1,
        'another number of atoms, or other elements': 1,
        'an atom is displaced by more than `max_displacement_angstrom`': 1,
        'no atom is displaced': 1,
        'role `test`': 1,
        'a copy of another frame': 1,
    }
    assert correction['n_frames_given'] == 8
    assert correction['n_equations'] == 2 * (3 * 64 - 3)
    assert correction['is_corrected'] is correction['determined'] is True
    assert correction['left_out_error_ev_per_angstrom'] < 0.5 * correction['potential_error_ev_per_angstrom']
    before, after = (error(item, salt, phonons) for item in (phonons, corrected))
    assert after < min(0.4 * before, 0.02)
    assert corrected.masses[0] == 22.0
    assert corrected.has_nac_parameters()
    assert corrected.residual_forces is None
    check_outputs(outputs, corrected)


def check_outputs(outputs: dict[str, Any], corrected: Any) -> None:
    """Check that the phonons are those of the force constants, and the error bars those of the posterior."""
    correction, bars = outputs['correction'].get_dict(), outputs['error_bars']
    phonon = phonon_from_arrays(phonopy_arrays(corrected))
    assert compact_force_constants(phonon) == pytest.approx(outputs['change'].get_array('force_constants'), abs=1e-6)
    change = outputs['change'].get_array('change')
    assert np.abs(change).max() == pytest.approx(correction['largest_change_ev_per_angstrom2'])
    posterior = Posterior.from_arrays(
        {name: outputs['posterior'].get_array(name) for name in outputs['posterior'].get_arraynames()}
    )
    assert posterior.n_constants == correction['n_constants']
    at = bars.get_array('mesh_qpoints')
    found, sigmas = frequency_errors(phonon, posterior, at)
    assert found == pytest.approx(bars.get_array('mesh_frequencies_thz'), abs=1e-5)
    assert sigmas == pytest.approx(bars.get_array('mesh_sigmas_thz'), abs=1e-5)
    mean = np.average(sigmas.mean(axis=1), weights=bars.get_array('mesh_weights'))
    assert correction['uncertainty_thz'] == pytest.approx(mean, rel=1e-3)
    assert 1e-4 < mean < 0.1
    assert bars.get_array('path_sigmas_thz').shape == bars.get_array('path_potential_thz').shape
    assert bars.get_array('temperatures_k').tolist() == [0.0, 500.0, 1000.0]
    assert (bars.get_array('free_energy_kj_per_mol_sigma') > 0).all()
    assert correction['verdict'] == 'stable'
    assert correction['lowest_frequency_thz'] > 3 * correction['lowest_frequency_sigma_thz'] > 0
    assert outputs['summary']['settings']['mesh'] == CHEAP['mesh']


@pytest.mark.thorough
@pytest.mark.real
def test_potential_with_a_python_of_its_own(run: Any, make_code: Any, mixed: Any, tmp_path: Path) -> None:
    """The first Python runs the potential only: one without phonopy will do; the numbers are the same."""
    (tmp_path / 'phonopy').mkdir()
    (tmp_path / 'phonopy' / '__init__.py').write_text('raise ModuleNotFoundError("no phonopy here")\n')
    script = tmp_path / 'python'
    script.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    outputs, node = run(mixed, potential_code=make_code('python-without-phonopy', str(script)))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    alone, _ = run(mixed)
    for name in ('uncertainty_thz', 'noise_ev_per_angstrom', 'left_out'):
        assert outputs['correction'][name] == pytest.approx(alone['correction'][name])
    assert 'mace-torch' in outputs['summary']['versions']


@pytest.mark.real
def test_single_displacements_are_frames(run: Any, phonons: Any, salt: Any) -> None:
    """Half of a DFT calculation by finite displacements is data."""
    phonon = phonon_from_arrays(phonopy_arrays(phonons))
    truth = compact_force_constants(salt.reference)
    dataset: Any = phonon.dataset
    displacements, _ = displacement_arrays(len(phonon.supercell), dataset)
    phonon.force_constants = truth
    from aiida_equitrain.science.correction import harmonic_forces

    frame = replace(
        salt.frames[0],
        positions=phonon.supercell.positions + displacements[0],
        forces=harmonic_forces(phonon, displacements)[0],
        role='train',
    )
    outputs, node = run(dataset_of([frame]))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert outputs['correction']['n_frames'] == 1
    assert error(outputs['phonopy_data'], salt, phonons) < 0.8 * error(phonons, salt, phonons)


@pytest.mark.real
def test_no_frame_fits(run: Any, salt: Any) -> None:
    """Each frame is strained: the exit code says so."""
    frames = [
        replace(frame, cell=frame.cell * 1.02, positions=frame.positions * 1.02, role='train')
        for frame in salt.frames[:2]
    ]
    _, node = run(dataset_of(frames))
    assert node.exit_status == CorrectCalculation.exit_codes.ERROR_NO_FRAMES.status
    assert '2 × strained' in node.exit_message


@pytest.mark.real
def test_too_many_constants(run: Any, mixed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is that of the staged science."""
    from aiida_equitrain.calculations import staging

    original = staging._source
    monkeypatch.setattr(
        staging, '_source', lambda path: original(path).replace('MAX_CONSTANTS = 8000', 'MAX_CONSTANTS = 2')
    )
    _, node = run(mixed)
    assert node.exit_status == CorrectCalculation.exit_codes.ERROR_TOO_MANY_CONSTANTS.status
    assert 'take a smaller supercell' in node.exit_message


@pytest.mark.real
def test_phonons_without_force_constants(run: Any, mixed: Any, phonons: Any) -> None:
    broken = with_forces(phonons, np.full_like(np.array(phonons.forces), np.nan)).store()
    _, node = run(mixed, phonopy_data=broken)
    assert node.exit_status == CorrectCalculation.exit_codes.ERROR_PHONONS_UNUSABLE.status
    assert 'not finite' in node.exit_message


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'mesh': [4, 4]}, 'three positive integers'),
        ({'roles': ['trains']}, 'unknown'),
        ({'strain_tolerance': -1.0}, 'at least 0'),
        ({'max_displacement_angstrom': 0.0}, 'above 0'),
        ({'meshes': [4, 4, 4]}, 'did you mean `mesh`'),
    ],
)
def test_wrong_settings(aiida_profile: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        builder_of(settings=orm.Dict(settings))


@pytest.mark.real
def test_wrong_input(run: Any, mixed: Any, tiny_dataset: Any, make_code: Any, aiida_computer_local: Any) -> None:
    with pytest.raises(ValueError, match='`dataset` has no frame with Cl, Na'):
        run(tiny_dataset)
    elsewhere = orm.InstalledCode(computer=aiida_computer_local(label='elsewhere'), filepath_executable='/bin/python')
    with pytest.raises(ValueError, match='must be on the same computer'):
        run(mixed, potential_code=elsewhere)
