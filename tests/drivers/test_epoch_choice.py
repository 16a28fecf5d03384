"""Real trainings by forces whose energies get worse on the way: which epoch is kept, and what is said of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from aiida_equitrain.science.frames import Frames

pytestmark = pytest.mark.real

PREDICT = """
import numpy as np
from equitrain_job.science.frames import Frames
from potential_loader import load_calculator
from train_errors import Predictions
np.save('energies.npy', Predictions(Frames.load('frames.npz'), load_calculator('foundation.model')).energies)
"""
#: The energies have a weight, but too small a one to hold them; the forces of the best epoch are far from the first's.
VALUES = {'strategy': 'transfer', 'epochs': 12, 'lr': 0.03, 'best_by': 'forces', 'energy_weight': 1e-3}


@pytest.fixture
def relabelled(train_folder: Any, tiny_frames: Any) -> Any:
    """Return frames whose energies lie between those of the foundation (0) and those of DFT (1)."""

    def function(share: float) -> Frames:
        job = train_folder(f'label{share}')
        (job.path / 'predict.py').write_text(PREDICT)
        assert job.run('predict.py') == 0, job.stderr
        frames = copy.deepcopy(tiny_frames)
        for frame, energy in zip(frames, np.load(job.path / 'energies.npy'), strict=True):
            frame.energy = float(energy + share * (frame.energy - energy))
        return frames

    return function


@pytest.mark.parametrize('engine', ['equitrain', 'mace'])
def test_nothing_is_worse(train_folder: Any, relabelled: Any, engine: str) -> None:
    """The epoch with the best forces has worse energies than the foundation: an earlier one is kept."""
    job = train_folder(frames=relabelled(0.15), engine=engine, **VALUES)
    assert job.run() == 0, job.stderr
    summary = job.json('summary.json')
    with np.load(job.path / 'metrics.npz') as metrics:
        energies, forces = metrics['valid_energy_mae'], metrics['valid_forces_mae']
    alone, best = summary['best_epoch_by_that_alone'], summary['best_epoch']
    assert alone == 1 + np.argmin(forces[1:])
    assert energies[alone] > energies[0]
    assert best != alone
    assert energies[best] < energies[0]
    assert summary['worse_than_foundation'] == {}
    assert summary['warnings'] == []
    # The stored file has the errors by which it was chosen: the last shift of its energies is in it.
    before, after = (summary['errors'][side]['valid'] for side in ('before', 'after'))
    assert after['energy_mae_mev_per_atom'] == pytest.approx(1e3 * energies[best], rel=2e-3)
    for name in ('energy_mae_mev_per_atom', 'forces_mae_mev_per_angstrom', 'stress_mae_mev_per_angstrom3'):
        assert after[name] <= before[name]
    assert summary['energy_shift']['added_after_training_ev_per_atom']['Si'] != 0.0


@pytest.mark.parametrize('engine', ['equitrain', 'mace'])
def test_all_is_said(train_folder: Any, relabelled: Any, engine: str) -> None:
    """Energies that the foundation has right can only get worse: forces decide, and the summary says what it cost."""
    job = train_folder(frames=relabelled(0.0), engine=engine, **VALUES)
    assert job.run() == 0, job.stderr
    summary = job.json('summary.json')
    assert summary['best_epoch'] == summary['best_epoch_by_that_alone']
    first, last = summary['worse_than_foundation'].pop('energy')
    assert first < 0.01 < last
    assert summary['worse_than_foundation'] == {}
    (warning,) = summary['warnings']
    assert 'made the energies worse' in warning
    assert 'raise `energy_weight`' in warning


def test_without_weight(train_folder: Any, relabelled: Any) -> None:
    """What has no weight is not judged, and a constant of the energies is taken all the same."""
    job = train_folder(frames=relabelled(0.0), **{**VALUES, 'energy_weight': 0.0, 'epochs': 6})
    assert job.run() == 0, job.stderr
    summary = job.json('summary.json')
    assert summary['best_epoch'] == summary['best_epoch_by_that_alone']
    assert summary['worse_than_foundation'] == {}
    assert summary['energy_shift']['added_after_training_ev_per_atom']['Si'] != 0.0
