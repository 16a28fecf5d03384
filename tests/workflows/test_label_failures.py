"""How the labelling fails: the foundation cannot relax, and labels that are no numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import Dict, InstalledCode, Int, Str, StructureData, TrajectoryData
from ase.build import bulk

from aiida_equitrain.calculations.functions.label import collect_dataset, take_frames, trajectory_of
from aiida_equitrain.workflows.label.workchain import LabelWorkChain


@pytest.fixture
def build(silicon: Any, starter: Any, pw_code: Any, pseudo_family: Any, aiida_localhost: Any) -> Any:
    """Return a function that builds a labelling whose Python cannot do anything."""
    broken = InstalledCode(label='broken', computer=aiida_localhost, filepath_executable='/bin/false').store()

    def factory(**changes: Any) -> Any:
        builder = LabelWorkChain.get_builder_from_protocol(
            structure=silicon, foundation=starter, python_code=broken, pw_code=pw_code,
            pseudo_family=pseudo_family.label, protocol='fast',
        )  # fmt: skip
        for name, value in changes.items():
            builder[name] = value
        return builder

    return factory


@pytest.mark.real
def test_relaxation_fails(build: Any) -> None:
    """Each relaxation has its own exit code, with the job's words; what was made before stays."""
    results, node = run_get_node(build())
    assert node.exit_status == LabelWorkChain.exit_codes.ERROR_RELAX_STRUCTURE_FAILED.status == 301
    assert 'RelaxCalculation<' in node.exit_message

    builder = build()
    builder._data.pop('relax_structure')
    results, node = run_get_node(builder)
    assert node.exit_status == LabelWorkChain.exit_codes.ERROR_RELAX_FAILED.status == 302
    assert 'change `relax`' in node.exit_message
    assert 'supercell_matrix' in results


def collect(change: dict[str, Any], n_frames: int = 3, **given: Any) -> Any:
    """Return the dataset of frames of silicon, the labels of the second of them being changed."""
    rng = np.random.default_rng(1)
    images = [bulk('Si', a=5.47) for _ in range(n_frames)]
    for image in images:
        image.positions += rng.normal(scale=0.05, size=(2, 3))
    frames = take_frames(trajectory_of(images).store())['frames']
    labels = {}
    for row, image in enumerate(images):
        arrays = {
            'energy': np.array([-10.0]), 'forces': np.full((1, 2, 3), 0.1), 'stress': np.full((1, 3, 3), 0.2),
        }  # fmt: skip
        if row == 1:
            arrays.update({name: arrays[name] + value for name, value in change.items()})
        output = TrajectoryData()
        output.set_trajectory(
            ['Si', 'Si'], positions=image.positions[None], cells=image.cell[:][None], pbc=(True, True, True)
        )
        for key, value in (*arrays.items(), ('total_energy', arrays['energy'])):
            output.set_array(key, value)
        labels[f'{given.get("kind", "frame")}_{row:03d}'] = output.store()
    port = 'harmonic_frames' if given.get('kind') == 'harmonic' else 'frames'
    return collect_dataset(Dict({'valid_fraction': 0.5}), Int(1), Str('PBE'), Dict({}), **{port: frames}, **labels)


@pytest.mark.parametrize('name', ['energy', 'forces', 'stress'])
def test_labels_that_are_no_numbers_are_dropped(aiida_profile: Any, name: str) -> None:
    """A frame with NaN is dropped with the reason; the others are kept."""
    result = collect({name: np.nan})
    assert result['dropped']['frames'] == {'frame_001': 'energy, forces or stress are not finite'}
    assert result['dropped']['n_labelled'] == 2
    assert result['dataset'].n_frames == 2


def test_frames_in_another_state_are_dropped(aiida_profile: Any) -> None:
    """DFT that ended far above the other frames of the crystal is no label; a user's own frames may lie anywhere."""
    result = collect({'energy': 2 * 4.7}, kind='harmonic')
    assert list(result['dropped']['frames']) == ['harmonic_001']
    assert 'its energy is 4.70 eV an atom above' in result['dropped']['frames']['harmonic_001']
    assert result['dataset'].n_frames == 2
    assert collect({'energy': 2 * 4.7})['dropped']['n_dropped'] == 0
    # Forces that explain it: a strongly displaced frame.
    assert collect({'energy': 2 * 1.0, 'forces': 1.0}, kind='harmonic')['dropped']['n_dropped'] == 0


def test_kinds_that_are_no_elements_are_refused(build: Any) -> None:
    """Kinds such as `Fe1` are refused with the port and the remedy."""
    structure = StructureData(cell=bulk('Si', a=5.47).cell[:].tolist())
    structure.append_atom(position=(0, 0, 0), symbols='Si', name='Si1')
    structure.append_atom(position=(1.3675, 1.3675, 1.3675), symbols='Si', name='Si2')
    with pytest.raises(ValueError, match=r'`structure` has the kind `Si1`.*name every kind after its element'):
        run_get_node(build(structure=structure))
