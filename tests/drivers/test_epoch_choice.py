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
from equitrain_job.drivers.potential_loader import load_calculator
from equitrain_job.drivers.training.errors import Predictions
from equitrain_job.science.frames import Frames
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
        assert job.run('predict') == 0, job.stderr
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


HELPERS = """
from types import SimpleNamespace
import numpy as np, torch
from equitrain_job.drivers.training.engine import Judge
from equitrain_job.drivers.training.start_model import add_to_atomic_energies, counts_by_element

salt, silicon = np.array([11, 17]), np.array([14, 14])
frames = {
    'train': [SimpleNamespace(numbers=salt, energy=-2.0), SimpleNamespace(numbers=silicon, energy=-4.0)],
    'valid': [SimpleNamespace(numbers=salt, energy=-2.2)],
}
values = {'best_by': 'forces', 'patience': 2, 'patience_threshold': 0.0}
energies = {'train': np.array([-3.0, -8.0]), 'valid': np.array([-3.0])}
judge = Judge(frames, {}, values)
shift, errors = judge.refit(energies)
assert np.allclose([shift[number] for number in (11, 14, 17)], [0.5, 2.0, 0.5]), shift
assert np.isclose(errors['train_energy_mae'], 0) and np.isclose(errors['valid_energy_mae'], 0.1), errors
assert np.isclose(errors['energy_shift'], 1.25)
# One number for all elements: the mean of what the two frames lack.
shift, errors = Judge(frames, {}, values, by_element=False).refit(energies)
assert list(shift) == [0] and np.isclose(shift[0], 1.25), shift
assert np.isclose(errors['train_energy_mae'], 0.75), errors

some = SimpleNamespace(shift=torch.zeros(3)), {11: 2, 14: 0, 17: 1}
one = SimpleNamespace(shift=torch.zeros(1)), {11: 2, 14: 0, 17: 1}
for (part, types), change, after in ((some, {11: 0.5, 14: 2.0}, [2.0, 0.0, 0.5]), (one, {0: 1.25}, [1.25])):
    model = SimpleNamespace(rescale_atomic_energy=part, type_map=types)
    assert counts_by_element(model) == (len(after) > 1)
    add_to_atomic_energies(model, change)
    assert part.shift.tolist() == after

# A model that has diverged, and labels without energies.
shift, errors = judge.refit({'train': np.array([np.nan, 1.0]), 'valid': np.array([1.0])})
assert shift == {} and all(np.isnan(value) for value in errors.values())
frames['valid'][0].energy = None
assert judge.has_energies and not Judge(frames, {}, values).has_energies

# Patience: as long as the forces get better, or fewer quantities are worse than before.
judge = Judge(frames, {'forces': 100.0, 'stress': 3.0}, values)
def row(epoch, forces, stress):
    return {'epoch': epoch, 'valid_forces_mae': forces, 'valid_stress_mae': stress}
rows = [row(0, 100, 3), row(1, 50, 9), row(2, 60, 9), row(3, 60, 2)]
assert judge.out_of_patience(rows) is None and judge.is_best(rows)
rows += [row(4, 60, 2)]
assert judge.out_of_patience(rows) is None and not judge.is_best(rows)
rows += [row(5, 55, 4)]
assert judge.out_of_patience(rows).reason == 'patience'
"""


def test_helpers(train_folder: Any) -> None:
    """The fit of the shift, where it goes in each kind of model, and patience, with numbers done by hand."""
    job = train_folder()
    (job.path / 'helpers.py').write_text(HELPERS)
    assert job.run('helpers') == 0, job.stderr


OLDER = """
import torch
content = torch.load('checkpoint.pt', weights_only=True)
content['best'].pop('shift')
for row in content['rows']:
    row.pop('energy_shift')
torch.save(content, 'checkpoint.pt')
"""


@pytest.mark.thorough
@pytest.mark.parametrize('engine', ['equitrain', 'mace'])
def test_checkpoint_of_an_earlier_version(train_folder: Any, engine: str) -> None:
    """A training that began when epochs were chosen without a shift of the energies goes on."""
    first = train_folder('first', strategy='transfer', engine=engine, max_seconds=0.1)
    assert first.run() == 1
    (first.path / 'older.py').write_text(OLDER)
    assert first.run('older') == 0, first.stderr
    last = train_folder('last', strategy='transfer', engine=engine, checkpoint=first.path / 'checkpoint.pt')
    assert last.run() == 0, last.stderr
    with np.load(last.path / 'metrics.npz') as metrics:
        assert np.isnan(metrics['energy_shift']).tolist() == [True, True, False, False]
