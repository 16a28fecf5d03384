"""SevenNet as a foundation: what it cannot do is refused, and what it can runs for real, from labels to phonons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_equitrain.calculations.functions.label import trajectory_of
from aiida_equitrain.cli.launch_options import codes
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.frames import Frames
from aiida_equitrain.setup import defaults


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        ({}, 'there is no strategy `l2-tsp`, only `l2-sp`, `lora`, `transfer`'),
        ({'strategy': 'freeze'}, 'no strategy `freeze`'),
        ({'strategy': 'scratch'}, 'no strategy `scratch`'),
        ({'strategy': 'multihead'}, 'no strategy `multihead`'),
        ({'strategy': 'lora', 'engine': 'mace'}, 'the `engine` `mace` cannot train'),
    ],
)
def test_refused_trainings(
    hollow_sevennet: Any, tiny_dataset: Any, python_code: Any, arguments: dict[str, Any], sentence: str
) -> None:
    """By the builder, and by the job itself."""
    for dataset in (tiny_dataset, None):
        with pytest.raises(ValueError, match=sentence):
            WorkflowFactory('equitrain.finetune').get_builder_from_protocol(
                foundation=hollow_sevennet, dataset=dataset, python_code=python_code, **arguments
            )
    builder = CalculationFactory('equitrain.train').get_builder()
    builder.code, builder.foundation, builder.dataset = python_code, hollow_sevennet, tiny_dataset
    for name, value in arguments.items():
        setattr(builder, name, orm.Str(value))
    with pytest.raises(ValueError, match=sentence):
        run_get_node(builder)


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [({'method': 'hessian'}, 'no `method` `hessian`'), ({'batch_size': 4}, 'set `batch_size` to 1')],
)
def test_refused_evaluations(
    hollow_sevennet: Any, silicon: Any, python_code: Any, phonopy_code: Any, settings: dict[str, Any], sentence: str
) -> None:
    builder = WorkflowFactory('equitrain.phonons').get_builder_from_protocol(
        silicon,
        phonopy_code,
        potential=hollow_sevennet,
        python_code=python_code,
        overrides={'potential_forces': {'settings': settings}},
    )
    with pytest.raises(ValueError, match=sentence):
        run_get_node(builder)
    builder = CalculationFactory('equitrain.forces').get_builder()
    builder.code, builder.potential, builder.supercell = python_code, hollow_sevennet, silicon
    builder.frames, builder.settings = trajectory_of([silicon.get_ase()]), orm.Dict(settings)
    with pytest.raises(ValueError, match=sentence):
        run_get_node(builder)


def test_refused_before_labelling(
    hollow_sevennet: Any, tiny_dataset: Any, silicon: Any, python_code: Any, phonopy_code: Any
) -> None:
    """The main job says so before it pays for DFT."""
    builder = WorkflowFactory('equitrain.material').get_builder_from_protocol(
        silicon,
        hollow_sevennet,
        dft=False,
        dataset=tiny_dataset,
        strategy='lora',
        python_code=python_code,
        phonopy_code=phonopy_code,
    )
    builder.finetune.train.strategy = orm.Str('freeze')
    with pytest.raises(ValueError, match='no strategy `freeze`'):
        run_get_node(builder)


def test_no_head(sevennet_file: Any, aiida_profile: Any) -> None:
    with pytest.raises(ValueError, match='no head `dft`; it has none'):
        PotentialData(sevennet_file(), head='dft')


@pytest.mark.real
def test_python_without_sevenn(hollow_sevennet: Any, silicon: Any, python_code: Any) -> None:
    """The Python with MACE has no SevenNet, and the job says what is needed."""
    builder = CalculationFactory('equitrain.relax').get_builder()
    builder.code, builder.potential, builder.structure = python_code, hollow_sevennet, silicon
    _, node = run_get_node(builder)
    assert node.exit_status == 322, node.exit_message
    assert "No module named 'sevenn'" in node.exit_message
    assert 'setup --with sevennet' in node.exit_message


def test_code_of_the_family(hollow_sevennet: Any, starter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch takes the Python of the potential's family, and says how to get it."""
    with pytest.raises(NotExistent, match='run `aiida-equitrain setup --with sevennet`'):
        defaults.find_code('python-sevennet', 'no-such-computer')
    with pytest.raises(NotExistent, match='run `aiida-equitrain setup` '):
        defaults.find_code('python', 'no-such-computer')
    monkeypatch.setattr(defaults, 'find_code', lambda label: label)
    for potential, expected in ((hollow_sevennet, 'python-sevennet'), (starter, 'python'), (None, 'python')):
        assert codes({'python': None}, 'python', potential=potential) == {'python_code': expected}
        assert codes({'python': 'mine@cluster'}, 'python', potential=potential) == {'python_code': 'mine@cluster'}


@pytest.fixture
def few_frames(aiida_profile: Any, tiny_frames: Any) -> DatasetData:
    """Return two frames to train on and one to validate."""
    train, valid = tiny_frames.with_role('train'), tiny_frames.with_role('valid')
    return DatasetData(Frames([*list(train)[:2], *list(valid)[:1]]), functional='PBE').store()


@pytest.mark.real
def test_relax(sevennet_potential: Any, sevennet_code: Any, tiny_frames: Any) -> None:
    """What the labelling stage relaxes; SevenNet runs in double precision, as is the default."""
    builder = CalculationFactory('equitrain.relax').get_builder()
    builder.code, builder.potential = sevennet_code, sevennet_potential
    builder.frames = trajectory_of([frame.to_atoms() for frame in list(tiny_frames)[:2]])
    builder.settings = orm.Dict({'relax_cell': False, 'fmax_ev_per_angstrom': 0.05, 'max_steps': 30, 'threads': 1})
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    energies, indices = (outputs['trajectory'].get_array(name) for name in ('energies', 'trajectory_index'))
    for index in (0, 1):
        assert energies[indices == index][-1] < energies[indices == index][0]
    assert outputs['summary'].get_dict()['versions']['sevenn']


@pytest.mark.real
@pytest.mark.parametrize('strategy', ['l2-sp', 'lora', 'transfer'])
def test_finetune_and_phonons(
    strategy: str, sevennet_potential: Any, sevennet_code: Any, phonopy_code: Any, few_frames: Any, silicon: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    """A training of one epoch per strategy; phonons with what came out of the first."""
    values = {'epochs': 1, 'lr': 1e-3, 'weight_decay': 0.0, 'batch_size': 1}
    outputs, node = run_get_node(
        WorkflowFactory('equitrain.finetune').get_builder_from_protocol(
            foundation=sevennet_potential,
            dataset=few_frames,
            python_code=sevennet_code,
            strategy=strategy,
            overrides={'train': {'hyperparameters': values}},
        )
    )
    assert node.is_finished_ok, node.exit_message
    potential, summary = outputs['potential'], outputs['summary'].get_dict()
    assert (potential.family, potential.elements) == ('sevennet', sevennet_potential.elements)
    assert (potential.kind, summary['stored_as']) == (
        ('full', 'full model') if strategy == 'transfer' else ('adapter', 'adapter')
    )
    # What SevenNet itself holds fixed stays so: 183 of its parameters; LoRA changes the radial networks only.
    assert summary['n_trained_parameters'] < 842623 - 182
    before, after = (summary['errors'][when]['train']['forces_mae_mev_per_angstrom'] for when in ('before', 'after'))
    assert after < before
    valid = outputs['metrics'].get_array('valid_stress_mae')
    measured = [summary['errors'][when]['valid']['stress_mae_mev_per_angstrom3'] for when in ('before', 'after')]
    assert 1e3 * valid == pytest.approx(measured, rel=1e-3)
    # The last shift of the energies is in the stored file: by it the errors of the last epoch are those of the file.
    energies = 1e3 * outputs['metrics'].get_array('valid_energy_mae')
    found = [summary['errors'][when]['valid']['energy_mae_mev_per_atom'] for when in ('before', 'after')]
    assert energies == pytest.approx(found, rel=1e-2)
    assert set(summary['energy_shift']['added_after_training_ev_per_atom']) == {'Si'}
    if strategy != 'l2-sp':
        return
    outputs, node = run_get_node(
        WorkflowFactory('equitrain.phonons').get_builder_from_protocol(
            silicon,
            phonopy_code,
            potential=potential,
            python_code=sevennet_code,
            supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]],
            protocol='fast',
            overrides={'settings': {'mesh': [8, 8, 8], 'temperature_step_k': 100.0}},
        )
    )
    assert node.is_finished_ok, node.exit_message
    assert 10 < outputs['stability'].get_dict()['max_frequency_thz'] < 20
    assert np.abs(outputs['stability'].get_dict()['acoustic_gamma_thz']).max() < 1e-2
