"""Nequix as a foundation to train: what it cannot do is refused, and every strategy that it has runs for real."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_equitrain.calculations.functions.label import trajectory_of
from aiida_equitrain.common.names import ADAPTER_STRATEGIES
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science.frames import Frames

REFUSED = 'there is no strategy `{}`, only `l2-tsp`, `l2-sp`, `lora`, `transfer`, `freeze`'


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        ({'strategy': 'multihead'}, REFUSED.format('multihead')),
        ({'strategy': 'scratch'}, REFUSED.format('scratch')),
        ({'strategy': 'scratch', 'engine': 'mace'}, REFUSED.format('scratch')),
        ({'strategy': 'lora', 'engine': 'mace'}, 'the `engine` `mace` cannot train, only `equitrain`'),
        ({'strategy': 'freeze', 'engine': 'mace'}, 'the `engine` `mace` cannot train, only `equitrain`'),
    ],
)
def test_refused_trainings(
    tiny_nequix: Any, tiny_dataset: Any, python_code: Any, arguments: dict[str, Any], sentence: str
) -> None:
    """By the builder, and by the job itself."""
    # Else the sentence would be about what is missing for it.
    replay = {'replay': tiny_dataset} if arguments['strategy'] == 'multihead' else {}
    with pytest.raises(ValueError, match=sentence):
        WorkflowFactory('equitrain.finetune').get_builder_from_protocol(
            foundation=tiny_nequix, dataset=tiny_dataset, python_code=python_code, **arguments, **replay
        )
    builder = CalculationFactory('equitrain.train').get_builder()
    builder.code, builder.foundation, builder.dataset = python_code, tiny_nequix, tiny_dataset
    for name, value in arguments.items():
        setattr(builder, name, orm.Str(value))
    with pytest.raises(ValueError, match=sentence):
        run_get_node(builder)


@pytest.mark.parametrize(('strategy', 'layers'), [('l2-tsp', '1-'), ('freeze', '0-1')])
def test_layers_of_the_family(
    tiny_nequix: Any, starter: Any, tiny_dataset: Any, python_code: Any, strategy: str, layers: str
) -> None:
    """A builder says which layers of Nequix a strategy leaves alone; what is asked for goes before that."""

    def chosen(foundation: Any, **values: Any) -> Any:
        builder = WorkflowFactory('equitrain.finetune').get_builder_from_protocol(
            foundation=foundation,
            dataset=tiny_dataset,
            python_code=python_code,
            strategy=strategy,
            overrides={'train': {'hyperparameters': values}},
        )
        return builder.train.hyperparameters['freeze_layers']

    assert chosen(tiny_nequix) == layers != chosen(starter)
    assert chosen(tiny_nequix, freeze_layers='0') == '0'


@pytest.fixture
def few_frames(aiida_profile: Any, tiny_frames: Any) -> DatasetData:
    """Return two frames to train on and one to validate."""
    train, valid = tiny_frames.with_role('train'), tiny_frames.with_role('valid')
    return DatasetData(Frames([*list(train)[:2], *list(valid)[:1]]), functional='PBE').store()


def finetune(foundation: Any, code: Any, dataset: Any, strategy: str, **values: Any) -> tuple[Any, dict[str, Any]]:
    """Return the outputs of a training that ended well, and its summary."""
    outputs, node = run_get_node(
        WorkflowFactory('equitrain.finetune').get_builder_from_protocol(
            foundation=foundation,
            dataset=dataset,
            python_code=code,
            strategy=strategy,
            overrides={'train': {'hyperparameters': {'batch_size': 1, **values}}},
        )
    )
    assert node.is_finished_ok, node.exit_message
    potential, summary = outputs['potential'], outputs['summary'].get_dict()
    assert (potential.family, potential.elements) == ('nequix', foundation.elements)
    kept = 'adapter' if strategy in ADAPTER_STRATEGIES else 'full model'
    assert (potential.kind, summary['stored_as']) == (kept.partition(' ')[0], kept)
    assert summary['versions']['nequix']
    before, after = (summary['errors'][when]['train']['forces_mae_mev_per_angstrom'] for when in ('before', 'after'))
    assert after < before
    # The stored file is what was trained: it has the errors that the last epoch had.
    best = summary['best_epoch']
    for quantity, unit in (('forces', 'mev_per_angstrom'), ('energy', 'mev_per_atom')):
        logged = 1e3 * outputs['metrics'].get_array(f'valid_{quantity}_mae')[[0, best]]
        errors = [summary['errors'][when]['valid'][f'{quantity}_mae_{unit}'] for when in ('before', 'after')]
        assert logged == pytest.approx(errors, rel=1e-2), quantity
    return outputs, summary


@pytest.mark.real
@pytest.mark.parametrize('strategy', ['l2-tsp', 'l2-sp', 'lora', 'transfer', 'freeze'])
def test_random_weights(strategy: str, tiny_nequix: Any, nequix_code: Any, few_frames: Any) -> None:
    """A short training per strategy, of a small model."""
    _, summary = finetune(tiny_nequix, nequix_code, few_frames, strategy, epochs=4, lr=3e-3, weight_decay=0.0)
    everything = tiny_nequix.n_parameters
    assert (summary['n_trained_parameters'] == everything) == (strategy in ('l2-sp', 'transfer'))


@pytest.mark.real
def test_published_weights(nequix_potential: Any, nequix_code: Any, few_frames: Any) -> None:
    """What a job computes with the adapter has the errors that the training says it has."""
    outputs, summary = finetune(nequix_potential, nequix_code, few_frames, 'l2-sp', epochs=2, lr=1e-4, weight_decay=1.0)
    frames = [frame for frame in few_frames.get_frames() if frame.role == 'train']
    builder = CalculationFactory('equitrain.forces').get_builder()
    builder.code, builder.potential, builder.settings = nequix_code, outputs['potential'], orm.Dict({'threads': 1})
    builder.frames = trajectory_of([frame.to_atoms() for frame in frames])
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    errors = results['forces'].get_array('forces') - np.array([frame.forces for frame in frames])
    said = summary['errors']['after']['train']['forces_mae_mev_per_angstrom']
    assert 1e3 * np.abs(errors).mean() == pytest.approx(said, rel=1e-3)
