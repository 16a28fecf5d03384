"""A committee: several seeds, their spread, and members that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import Float, Int

from aiida_equitrain.calculations.functions.committee import draw_subsample
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.report.write import write_report
from aiida_equitrain.workflows.committee import CommitteeWorkChain

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'


@pytest.fixture
def build(aiida_profile: Any, tiny_dataset: Any, python_code: Any) -> Any:
    foundation = PotentialData(TINY_MODEL, card={'name': 'tiny'}).store()

    def function(hyperparameters: dict[str, Any] | None = None, **inputs: Any) -> Any:
        overrides = {'finetune': {'train': {'hyperparameters': {'epochs': 2, **(hyperparameters or {})}}}}
        inputs = {'overrides': overrides, 'protocol': 'fast', 'strategy': 'transfer', **inputs}
        return CommitteeWorkChain.get_builder_from_protocol(
            foundation=foundation, dataset=tiny_dataset, python_code=python_code, **inputs
        )

    return function


def test_builder(build: Any) -> None:
    """The protocol's inputs reach the members, the seeds are the committee's own."""
    builder = build(n_seeds=3, seed=7)
    assert (builder.n_seeds.value, builder.seed.value) == (3, 7)
    assert builder.finetune.train.hyperparameters['epochs'] == 2
    assert builder.finetune.train.strategy.value == 'transfer'
    assert 'seed' not in builder.finetune.train
    assert build(overrides={'clean_workdir': True}).clean_workdir.value


@pytest.mark.parametrize(
    ('inputs', 'sentence'),
    [
        ({'n_seeds': 1}, 'at least 2 members'),
        ({'overrides': {'subsample': 1.5}}, 'above 0, 1 at most'),
        ({'overrides': {'subsample': 0.0}}, 'above 0, 1 at most'),
        ({'overrides': {'n_seed': 3}}, 'did you mean `n_seeds`'),
        ({'overrides': {'finetune': {'trian': {}}}}, 'did you mean `train`'),
    ],
)
def test_wrong_input(build: Any, inputs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(**inputs)


@pytest.mark.real
def test_subsample(tiny_dataset: Any) -> None:
    """The seed draws the frames that train; the others keep their places, and one trains at least."""
    drawn = {seed: draw_subsample(tiny_dataset, Float(0.6), Int(seed)) for seed in range(6)}
    assert all(dataset.counts == {'train': 3, 'valid': 1, 'test': 2} for dataset in drawn.values())
    assert len({tuple(dataset.roles) for dataset in drawn.values()}) > 1
    assert drawn[1].roles == draw_subsample(tiny_dataset, Float(0.6), Int(1)).roles
    for old, new in zip(tiny_dataset.get_frames(), drawn[2].get_frames(), strict=True):
        assert np.array_equal(old.positions, new.positions)
    assert draw_subsample(tiny_dataset, Float(0.01), Int(1)).counts['train'] == 1


@pytest.mark.thorough
@pytest.mark.real
def test_members_of_one_batch(build: Any) -> None:
    """Of frames that are one batch, where a seed changes nothing, the second member differs as it trains on a part."""
    builder = build({'batch_size': 5, 'lr': 0.01}, n_seeds=2)
    builder.subsample = Float(0.6)
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    trained = [outputs['potentials'][f'seed_{seed}'].creator.inputs.dataset.counts['train'] for seed in (1, 2)]
    assert trained == [5, 3]
    assert outputs['spread'].get_array('forces_spread').max() > 1e-6
    assert len(outputs['spread'].get_array('forces_spread')) == 6


@pytest.mark.real
def test_real_run(build: Any, tmp_path: Path) -> None:
    """Members differ, the spread is that of their predictions, and the mean is no worse than they are."""
    outputs, node = run_get_node(build(n_seeds=2))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert set(outputs['potentials']) == set(outputs['summaries']) == {'seed_1', 'seed_2'}
    assert outputs['potentials']['seed_1'].sha256 != outputs['potentials']['seed_2'].sha256
    members = [
        called.outputs.predictions.get_array('forces_after')
        for called in node.called
        if 'predictions' in called.outputs
    ]
    spread = outputs['spread']
    assert len(spread.get_array('forces_spread')) == 6
    first = np.sqrt((np.diff(members, axis=0)[0][:8] ** 2 / 2).mean())
    assert spread.get_array('forces_spread')[0] == pytest.approx(first)
    valid = outputs['committee']['valid']
    assert valid['n_frames'] == 1
    assert valid['forces_spread_mev_per_angstrom'] > 0
    assert valid['forces_mae_of_mean_mev_per_angstrom'] <= valid['mean_forces_mae_mev_per_angstrom']
    data = write_report(node, tmp_path)
    assert [len(rows) for rows in data['training_tables'].values()] == [6, 6]
    assert len(data['validation']) == 6
    assert ('strategy', 'transfer, seed 1 to 2') in data['facts']


@pytest.mark.thorough
@pytest.mark.real
def test_members_that_fail(build: Any) -> None:
    """A committee of nothing but failures ends with their reason."""
    builder = build({'lr': 1e30, 'weight_decay': 0.0}, n_seeds=2)
    builder.finetune.max_iterations = Int(1)
    _, node = run_get_node(builder)
    assert node.exit_status == node.process_class.exit_codes.ERROR_TOO_FEW_MEMBERS.status
    assert '0 of 2 members' in node.exit_message
