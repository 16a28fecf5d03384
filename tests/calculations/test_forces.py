"""Forces with a potential: sentences for wrong input, and real jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory
from ase import Atoms
from ase.build import bulk

from aiida_equitrain.calculations.functions.label import trajectory_of
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.adapter import make_adapter
from aiida_equitrain.science.model_file import read_tensor_shapes

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
DISPLACEMENT = 0.01


@pytest.fixture
def supercell(aiida_profile: Any) -> orm.StructureData:
    """Return sixteen silicon atoms."""
    return orm.StructureData(ase=bulk('Si', a=5.47).repeat(2))


@pytest.fixture
def frames(supercell: Any) -> orm.TrajectoryData:
    """Return the supercell with one atom displaced, along and against x, and with all atoms displaced."""
    atoms = supercell.get_ase()
    positions = np.array([atoms.positions] * 3)
    positions[0, 0, 0] += DISPLACEMENT
    positions[1, 0, 0] -= DISPLACEMENT
    positions[2] += np.random.default_rng(3).normal(scale=0.005, size=(16, 3))
    return trajectory_of([Atoms(atoms, positions=moved) for moved in positions])


def builder_of(**inputs: Any) -> Any:
    builder = CalculationFactory('equitrain.forces').get_builder()
    for name, value in inputs.items():
        setattr(builder, name, value)
    return builder


def test_wrong_input(starter: Any, python_code: Any, frames: Any, silicon: Any) -> None:
    common = {'code': python_code, 'potential': starter, 'frames': frames}
    with pytest.raises(ValueError, match='needs the undisplaced `supercell`'):
        run_get_node(builder_of(**common, settings=orm.Dict({'method': 'hessian'})))
    with pytest.raises(ValueError, match='the same atoms in the same order'):
        run_get_node(builder_of(**common, supercell=silicon))
    with pytest.raises(ValueError, match='finite-differences, hessian'):
        builder_of(settings=orm.Dict({'method': 'dfpt'}))
    with pytest.raises(ValueError, match='at least 1'):
        builder_of(settings=orm.Dict({'batch_size': 0}))
    with pytest.raises(ValueError, match='`batch_size`'):
        builder_of(settings=orm.Dict({'batchsize': 2}))


@pytest.mark.real
@pytest.mark.parametrize('name', ['starter', 'hollow_sevennet'])
def test_changed_potential_is_not_loaded(
    name: str, python_code: Any, frames: Any, request: pytest.FixtureRequest
) -> None:
    """A file that is not the one with the recorded SHA-256 is loaded by no job; this Python has no SevenNet."""
    potential = request.getfixturevalue(name)
    potential.backend_entity.set_attribute('sha256', '0' * 64)
    potential.backend_entity.set_attribute('elements', ['Si'])
    _, node = run_get_node(builder_of(code=python_code, potential=potential, frames=frames))
    assert node.exit_status == node.process_class.exit_codes.ERROR_FILE_CHANGED.status, node.exit_message
    assert '0' * 64 in node.exit_message


@pytest.mark.thorough
@pytest.mark.real
def test_methods_agree(starter: Any, python_code: Any, frames: Any, supercell: Any) -> None:
    """One batch gives the forces of single evaluations; the Hessian agrees to the displacement's accuracy."""
    results = {}
    for name, settings in (
        ('single', {'threads': 1}),
        ('batched', {'batch_size': 2, 'threads': 1}),
        ('hessian', {'method': 'hessian', 'threads': 1}),
    ):
        outputs, node = run_get_node(
            builder_of(
                code=python_code, potential=starter, frames=frames, supercell=supercell, settings=orm.Dict(settings)
            )
        )
        assert node.is_finished_ok, (node.exit_status, node.exit_message)
        results[name] = outputs['forces']
        assert outputs['summary']['n_frames'] == 3
    single, batched, hessian = (
        {key: results[name].get_array(key) for key in ('forces', 'energies', 'residual_forces')} for name in results
    )
    for key, values in single.items():
        assert np.allclose(batched[key], values, atol=1e-9), key
    assert np.allclose(results['batched'].get_array('stress'), results['single'].get_array('stress'), atol=1e-11)
    assert single['forces'].shape == (3, 16, 3)

    # The odd part of a displacement along and against x is free of the third order.
    forces = single['forces'] - single['residual_forces']
    odd = (forces[0] - forces[1]) / 2
    scale = np.abs(odd).max()
    assert np.abs(odd - hessian['forces'][0]).max() < 2e-3 * scale
    assert np.allclose(hessian['forces'][0], -hessian['forces'][1], atol=1e-12)
    assert np.abs(forces[2] - hessian['forces'][2]).max() < 0.1 * np.abs(forces[2]).max()
    assert np.allclose(single['energies'], hessian['energies'], atol=2e-4)
    assert np.allclose(single['residual_forces'], 0, atol=1e-8)


@pytest.mark.thorough
@pytest.mark.real
def test_adapter_gives_the_forces_of_the_full_model(
    aiida_profile: Any, python_code: Any, frames: Any, tmp_path: Path
) -> None:
    """A job with an adapter computes what one computes with the model file that is written from it."""
    foundation = PotentialData(TINY_MODEL).store()
    name = 'interactions.0.conv_tp_weights.layer1.weight'
    shape = read_tensor_shapes(TINY_MODEL)[name]
    before = {name: np.zeros(shape, dtype=np.float32)}
    after = {name: np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    about = {'foundation_sha256': foundation.sha256, 'strategy': 'l2-tsp', 'dtype': 'float32'}
    adapter = make_adapter(before, after, head=foundation.head, **about)
    tuned = PotentialData.from_adapter(adapter, foundation=foundation).store()
    tuned.write_model(tmp_path / 'tuned.model')
    whole = PotentialData(tmp_path / 'tuned.model').store()
    forces = []
    for potential in (tuned, whole, foundation):
        outputs, node = run_get_node(
            builder_of(code=python_code, potential=potential, frames=frames, settings=orm.Dict({'threads': 1}))
        )
        assert node.is_finished_ok, (node.exit_status, node.exit_message)
        forces.append(outputs['forces'].get_array('forces'))
    np.testing.assert_array_equal(forces[0], forces[1])
    assert np.abs(forces[0] - forces[2]).max() > 1e-2 * np.abs(forces[2]).max()


@pytest.mark.real
def test_no_cuda(starter: Any, python_code: Any, frames: Any) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip('this machine has a CUDA device')
    builder = builder_of(code=python_code, potential=starter, frames=frames, settings=orm.Dict({'device': 'cuda'}))
    _, node = run_get_node(builder)
    assert node.exit_status == node.process_class.exit_codes.ERROR_DEVICE_MISSING.status
    assert 'finds no CUDA device' in node.exit_message
