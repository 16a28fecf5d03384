"""Born charges: real pw.x and ph.x on rock salt, and phonons that take what comes out."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import ValidationError
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.plugins import WorkflowFactory
from ase.build import bulk

QUICK = {'SYSTEM': {'ecutwfc': 30.0}}


OPTIONS = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False}


@pytest.fixture
def rock_salt(aiida_profile: Any) -> orm.StructureData:
    """Return the conventional cell of NaCl."""
    return orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=5.69, cubic=True))


@pytest.fixture
def make_builder(rock_salt: Any, pw_code: Any, ph_code: Any, pseudo_family: Any) -> Any:
    """Return a factory of builders far from convergence but quick."""

    def factory(kpoints_distance: float = 1.2, **overrides: Any) -> Any:
        scf = {'kpoints_distance': kpoints_distance, 'pw': {'parameters': QUICK}}
        return WorkflowFactory('equitrain.born_charges').get_builder_from_protocol(
            rock_salt,
            pw_code,
            ph_code,
            pseudo_family.label,
            protocol='fast',
            overrides={'scf': scf, **overrides},
            options=OPTIONS,
        )

    return factory


@pytest.mark.real
def test_phonons(
    rock_salt: Any, pw_code: Any, ph_code: Any, phonopy_code: Any, python_code: Any, starter: Any, pseudo_family: Any
) -> None:
    """The tensors are those of the primitive cell, near to what is known of NaCl, and split the optical modes."""
    scf = {'kpoints_distance': 0.6, 'pw': {'parameters': QUICK}}
    builder = WorkflowFactory('equitrain.phonons').get_builder_from_protocol(
        rock_salt,
        phonopy_code,
        potential=starter,
        python_code=python_code,
        born_pw_code=pw_code,
        ph_code=ph_code,
        pseudo_family=pseudo_family.label,
        supercell_matrix=[[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        relax=False,
        protocol='fast',
        overrides={
            'settings': {'mesh': [4, 4, 4], 'temperature_step_k': 500.0},
            'born_charges': {'scf': scf, 'charge_tolerance': 0.8},
        },
        options=OPTIONS,
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    born, dielectric = (outputs['nac'].get_array(name) for name in ('born_charges', 'dielectric'))
    assert born.shape == (2, 3, 3)
    charges = np.trace(born, axis1=1, axis2=2) / 3
    # Converged: 1.1 e and 2.4; the mesh is coarse.
    assert 0.8 < charges.max() < 1.8
    assert -1.6 < charges.min() < -0.8
    assert dielectric == pytest.approx(np.eye(3) * dielectric[0, 0], abs=1e-6)
    assert 2.2 < dielectric[0, 0] < 3.5
    assert outputs['phonopy_data'].has_nac_parameters()
    bands = outputs['bands']
    beside = next(index for index, name in bands.labels if name == r'$\Gamma$') + 1
    transverse, longitudinal = bands.get_bands()[beside][[3, 5]]
    # Experiment: 4.9 and 7.9 THz.
    assert longitudinal - transverse > 1.0


@pytest.mark.thorough
@pytest.mark.real
def test_not_converged(make_builder: Any) -> None:
    """Charges whose sum is too far from zero end with a code of their own, and are kept."""
    outputs, node = run_get_node(make_builder(charge_tolerance=1e-4))
    assert node.exit_status == 410
    assert 'kpoints_distance' in node.exit_message
    assert 'more than `charge_tolerance`' in node.exit_message
    assert outputs['nac'].get_array('born_charges').shape == (2, 3, 3)


def test_metal(make_builder: Any) -> None:
    builder = make_builder()
    parameters = builder.scf.pw.parameters.get_dict()
    parameters['SYSTEM']['occupations'] = 'smearing'
    builder.scf.pw.parameters = orm.Dict(parameters)
    with pytest.raises((ValueError, ValidationError), match='Born charges are those of insulators'):
        run_get_node(builder)


@pytest.mark.thorough
@pytest.mark.real
def test_scratch_that_is_gone(make_builder: Any) -> None:
    """An scf from the cache without its files is run again, once, and so the tensors are there."""
    builder = make_builder(charge_tolerance=5.0)
    with enable_caching(identifier='aiida.calculations:quantumespresso.pw'):
        _, first = run_get_node(builder)
        assert first.is_finished_ok, (first.exit_status, first.exit_message)
        shutil.rmtree(folder_of(first))
        _, second = run_get_node(builder)
    assert second.is_finished_ok, (second.exit_status, second.exit_message)
    jobs = [child for child in second.called_descendants if child.process_label == 'PwCalculation']
    assert [job.base.caching.is_created_from_cache for job in sorted(jobs, key=lambda job: job.pk)] == [True, False]


def folder_of(work: Any) -> str:
    """Return the folder in which the scf of Born charges has left its files."""
    scf = next(child for child in work.called if child.process_label == 'PwBaseWorkChain')
    return str(scf.outputs.remote_folder.get_remote_path())
