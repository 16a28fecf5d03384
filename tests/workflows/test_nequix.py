"""Nequix as a potential: what it cannot do is refused, and what it can runs for real."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory
from ase.build import bulk

from aiida_equitrain.calculations.functions.label import trajectory_of


def test_hessian_is_refused(tiny_nequix: Any, silicon: Any, python_code: Any) -> None:
    builder = CalculationFactory('equitrain.forces').get_builder()
    builder.code, builder.potential, builder.supercell = python_code, tiny_nequix, silicon
    builder.frames, builder.settings = trajectory_of([silicon.get_ase()]), orm.Dict({'method': 'hessian'})
    with pytest.raises(ValueError, match='no `method` `hessian`'):
        run_get_node(builder)


def test_unknown_element(tiny_nequix: Any, python_code: Any) -> None:
    """The sentence names foundations that know it, and the command that gets one."""
    builder = CalculationFactory('equitrain.relax').get_builder()
    builder.code, builder.potential = python_code, tiny_nequix
    builder.structure = orm.StructureData(ase=bulk('Au'))
    with pytest.raises(
        ValueError, match=r'does not know Au .*`nequix-oam-1-pft`.*`aiida-equitrain setup --with nequix`'
    ):
        run_get_node(builder)


@pytest.mark.real
def test_python_without_nequix(tiny_nequix: Any, silicon: Any, python_code: Any) -> None:
    """The Python with MACE has no Nequix, and the job says what is needed."""
    builder = CalculationFactory('equitrain.relax').get_builder()
    builder.code, builder.potential, builder.structure = python_code, tiny_nequix, silicon
    _, node = run_get_node(builder)
    assert node.exit_status == 322, node.exit_message
    assert "No module named 'nequix'" in node.exit_message
    assert 'setup --with nequix' in node.exit_message
    # Once the module is there, the job is run and not taken from the cache.
    assert not node.base.caching.is_valid_cache


@pytest.mark.real
def test_batches(tiny_nequix: Any, silicon: Any, nequix_code: Any) -> None:
    """Several structures at once give what each gives alone, in the job's folder nothing is left of a conversion."""
    rng, found = np.random.default_rng(2), []
    frames = [silicon.get_ase() for _ in range(3)]
    for frame in frames:
        frame.positions += rng.normal(0, 0.05, frame.positions.shape)
    for batch_size, dtype in ((1, 'float64'), (2, 'float64'), (2, 'float32')):
        builder = CalculationFactory('equitrain.forces').get_builder()
        builder.code, builder.potential, builder.supercell = nequix_code, tiny_nequix, silicon
        builder.frames = trajectory_of(frames)
        builder.settings = orm.Dict({'batch_size': batch_size, 'dtype': dtype, 'threads': 1})
        outputs, node = run_get_node(builder)
        assert node.is_finished_ok, node.exit_message
        found.append(outputs['forces'].get_array('forces'))
        assert outputs['summary'].get_dict()['versions']['nequix']
    assert found[0].shape == (3, 2, 3)
    assert np.abs(found[0]).max() > 1e-3
    assert np.abs(found[1] - found[0]).max() < 1e-10
    assert 0 < np.abs(found[2] - found[0]).max() < 1e-4


@pytest.mark.real
def test_relax_and_phonons(nequix_potential: Any, nequix_code: Any, phonopy_code: Any, silicon: Any) -> None:
    """The published weights: silicon is near its PBE cell, stable, and its highest mode is that of PBE."""
    outputs, node = run_get_node(
        WorkflowFactory('equitrain.phonons').get_builder_from_protocol(
            silicon,
            phonopy_code,
            potential=nequix_potential,
            python_code=nequix_code,
            supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]],
            protocol='fast',
            overrides={'settings': {'mesh': [8, 8, 8], 'temperature_step_k': 100.0}},
        )
    )
    assert node.is_finished_ok, node.exit_message
    stability = outputs['stability'].get_dict()
    assert stability['dynamically_stable']
    assert 15.0 < stability['max_frequency_thz'] < 15.6
    assert np.abs(stability['acoustic_gamma_thz']).max() < 1e-2
    volume = outputs['structure'].get_cell_volume()
    assert volume == pytest.approx(5.47**3 / 4, rel=0.01)
