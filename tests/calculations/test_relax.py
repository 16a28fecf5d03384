"""Relaxation with a potential: input files, sentences for wrong input, and real jobs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory
from ase import Atoms
from ase.build import bulk

from aiida_equitrain.calculations.functions.label import trajectory_of


@pytest.fixture
def frames(aiida_profile: Any) -> orm.TrajectoryData:
    """Return two rattled cells of eight silicon atoms."""
    atoms = bulk('Si', a=5.47, cubic=True)
    generator = np.random.default_rng(1)
    positions = atoms.positions + generator.normal(scale=0.03, size=(2, 8, 3))
    return trajectory_of([Atoms(atoms, positions=moved) for moved in positions])


def builder_of(**inputs: Any) -> Any:
    builder = CalculationFactory('equitrain.relax').get_builder()
    for name, value in inputs.items():
        setattr(builder, name, value)
    return builder


def test_input_files(starter: Any, silicon: Any, python_code: Any) -> None:
    """The folder holds the package of the driver, exact structures and all settings; the model is copied."""
    from aiida.common.folders import SandboxFolder
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager

    builder = builder_of(code=python_code, potential=starter, structure=silicon, settings=orm.Dict({'max_steps': 3}))
    process = instantiate_process(get_manager().get_runner(), builder)
    with SandboxFolder() as folder:
        info = process.prepare_for_submission(folder)
        names = set(folder.get_content_list())
        with folder.open('job.json') as handle:
            data = json.load(handle)
        with np.load(folder.get_abs_path('structures.npz'), allow_pickle=False) as file:
            positions = file['positions']
    assert names == {'equitrain_job', 'job.json', 'structures.npz'}
    assert info.codes_info[0].cmdline_params == ['-m', 'equitrain_job.drivers.relax']
    assert data['settings']['max_steps'] == 3
    assert data['settings']['dtype'] == 'float64'
    assert np.array_equal(positions[0], [site.position for site in silicon.sites])
    assert info.local_copy_list == [(starter.uuid, 'potential.model', 'potential.model')]


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'fmax_ev_per_angstroms': 1e-3}, 'fmax_ev_per_angstrom'),
        ({'optimizer': 'GPMin'}, 'must be one of BFGS, LBFGS, FIRE'),
        ({'max_steps': 1.5}, 'type `int`'),
        ({'fmax_ev_per_angstrom': 0}, 'above 0'),
        ({'relax_cell': 1}, 'type `bool`'),
        ({'device': 'tpu'}, 'cpu, cuda'),
    ],
)
def test_wrong_settings(aiida_profile: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        builder_of(settings=orm.Dict(settings))


def test_wrong_structures(starter: Any, silicon: Any, frames: Any, python_code: Any) -> None:
    common = {'code': python_code, 'potential': starter}
    molecule = silicon.clone()
    molecule.pbc = (True, True, False)
    gold = orm.StructureData(ase=bulk('Au'))
    alloy = orm.StructureData(cell=np.eye(3) * 5)
    alloy.append_atom(position=(0, 0, 0), symbols=['Si', 'Ge'], weights=[0.5, 0.5])
    for inputs, sentence in (
        ({}, 'give either `structure` or `frames`'),
        ({'structure': silicon, 'frames': frames}, 'not both'),
        ({'structure': molecule}, 'not periodic'),
        ({'structure': gold}, 'Au'),
        ({'structure': alloy}, 'partial occupancy'),
    ):
        with pytest.raises(ValueError, match=sentence):
            run_get_node(builder_of(**common, **inputs))


@pytest.mark.real
def test_structure(starter: Any, silicon: Any, python_code: Any) -> None:
    """A primitive cell reaches 1e-5 eV/Å in float64, keeps its symmetry, and every step is kept."""
    from spglib import get_spacegroup

    settings = orm.Dict({'fmax_ev_per_angstrom': 1e-5, 'fix_symmetry': True})
    outputs, node = run_get_node(builder_of(code=python_code, potential=starter, structure=silicon, settings=settings))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    trajectory, relaxed = outputs['trajectory'], outputs['relaxed_structure']
    summary = outputs['summary'].get_dict()
    n_steps = trajectory.numsteps
    assert summary['converged'] is True
    assert summary['trajectories'][0]['n_steps'] == n_steps - 1
    assert trajectory.get_array('forces').shape == (n_steps, 2, 3)
    assert trajectory.get_array('stress').shape == (n_steps, 3, 3)
    assert np.abs(trajectory.get_array('stress')[-1]).max() < 1e-5
    energies = trajectory.get_array('energies')
    assert energies[-1] == energies.min()
    atoms = relaxed.get_ase()
    assert get_spacegroup((atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)) == 'Fd-3m (227)'
    assert np.allclose(trajectory.get_cells()[-1], relaxed.cell, atol=1e-12)


@pytest.mark.real
def test_frames_not_converged(starter: Any, frames: Any, python_code: Any) -> None:
    """Several frames relax in one job; what does not converge keeps its trajectory."""
    settings = orm.Dict({'fmax_ev_per_angstrom': 1e-6, 'max_steps': 3, 'threads': 1})
    outputs, node = run_get_node(builder_of(code=python_code, potential=starter, frames=frames, settings=settings))
    assert node.exit_status == node.process_class.exit_codes.ERROR_NOT_CONVERGED.status
    assert 'structure(s) 0, 1' in node.exit_message
    trajectory = outputs['trajectory']
    assert trajectory.get_array('trajectory_index').tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert trajectory.get_array('trajectory_step').tolist() == [0, 1, 2, 3] * 2
    assert np.allclose(trajectory.get_positions()[[0, 4]], frames.get_positions())
    assert outputs['summary']['converged'] is False
    assert 'relaxed_structure' not in outputs
