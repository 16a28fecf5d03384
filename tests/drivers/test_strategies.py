"""Every strategy through every engine that has it: really run on six silicon frames with a MACE of 1,332 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiida_equitrain.common.strategies import PAIRS
from aiida_equitrain.science.frames import Frames

pytestmark = pytest.mark.real

CRYSTALS = Path(__file__).parents[2] / 'aiida_equitrain' / 'resources' / 'forgetting.npz'
#: Trained parameters of the 1,332: layers before the first product; low-rank deltas; products and readouts.
N_TRAINED = {
    ('l2-tsp', 'equitrain'): 568,
    ('lora', 'equitrain'): 120,
    ('lora', 'mace'): 3792,
    ('freeze', 'equitrain'): 220,
    ('freeze', 'mace'): 220,
    # Both heads have readouts of their own.
    ('multihead', 'mace'): 1384,
}


@pytest.fixture(scope='session')
def salt() -> Frames:
    """Return labelled frames of the crystals that the tiny potential knows."""
    return Frames([frame for frame in Frames.load(CRYSTALS) if frame.formula in ('ClNa', 'Na', 'Si')])


def columns(path: Path) -> dict[str, Any]:
    with np.load(path / 'metrics.npz', allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


@pytest.mark.parametrize(('strategy', 'engine'), PAIRS)
def test_pair(train_folder: Any, salt: Frames, strategy: str, engine: str) -> None:
    """It trains what it should; the file that it writes has the errors that it has logged."""
    replay = salt if strategy == 'multihead' else None
    job = train_folder(strategy=strategy, engine=engine, epochs=2, replay=replay, replay_labels='foundation')
    assert job.run() == 0, job.result.stderr + job.result.stdout
    summary, metrics = job.json('summary.json'), columns(job.path)
    assert (summary['strategy'], summary['engine'], summary['stopped_by']) == (strategy, engine, 'finished')
    assert summary['n_trained_parameters'] == N_TRAINED.get((strategy, engine), 1332)
    assert metrics['epoch'].tolist() == [0, 1, 2]
    assert metrics['learning_rate'].tolist() == [0.01] * 3
    assert np.isfinite(metrics['train_loss'][1:]).all()
    best = summary['best_epoch']
    units = {'energy': 'mev_per_atom', 'forces': 'mev_per_angstrom', 'stress': 'mev_per_angstrom3'}
    for quantity, unit in units.items():
        errors = [summary['errors'][side]['valid'][f'{quantity}_mae_{unit}'] for side in ('before', 'after')]
        column = metrics[f'valid_{quantity}_mae'] * 1e3
        assert column[best] == pytest.approx(errors[1], rel=2e-3)
        if strategy != 'scratch':
            assert column[0] == pytest.approx(errors[0], rel=2e-3)
    assert metrics['valid_loss'][best] == min(metrics['valid_loss'][1:])
