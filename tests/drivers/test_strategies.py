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
#: What `mace_run_train` trains in much the same way as `multihead` and `transfer`.
THOROUGH = (('lora', 'mace'), ('freeze', 'mace'), ('scratch', 'mace'))
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


@pytest.mark.parametrize(
    ('strategy', 'engine'),
    [
        pytest.param(*pair, marks=[pytest.mark.thorough] if pair in THOROUGH else [], id='-'.join(pair))
        for pair in PAIRS
    ],
)
def test_pair(train_folder: Any, salt: Frames, strategy: str, engine: str) -> None:
    """It trains what it should; the file that it writes has the errors that it has logged."""
    replay = salt if strategy == 'multihead' else None
    job = train_folder(strategy=strategy, engine=engine, epochs=2, replay=replay, replay_labels='foundation')
    assert job.run() == 0, job.stderr
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


def test_transfer_is_the_same_through_both_engines(train_folder: Any) -> None:
    """The loss of the foundation, and what one step does to it, are equal: objective, labels, start and optimiser."""
    found = []
    for engine in ('equitrain', 'mace'):
        values = {'epochs': 1, 'batch_size': 5, 'dtype': 'float64', 'gradient_clipping': None, 'lr': 1e-3}
        job = train_folder(engine, strategy='transfer', engine=engine, **values)
        assert job.run() == 0, job.stderr
        found.append(columns(job.path))
    equitrain, mace = found
    for row, name in ((0, 'valid_loss'), (1, 'train_loss'), (1, 'valid_loss'), (1, 'valid_forces_mae')):
        assert mace[name][row] == pytest.approx(equitrain[name][row], rel=1e-6), name
    assert equitrain['valid_loss'][1] != pytest.approx(equitrain['valid_loss'][0], rel=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(('strategy', 'engine'), [('lora', 'equitrain'), ('multihead', 'mace')])
def test_same_inputs_same_weights(train_folder: Any, salt: Frames, strategy: str, engine: str) -> None:
    """On a CPU the inputs decide the weights, where there is chance at the start or in the choice of frames too."""
    hashes = []
    for name in ('a', 'b'):
        replay = salt if strategy == 'multihead' else None
        job = train_folder(name, strategy=strategy, engine=engine, epochs=1, replay=replay, replay_labels='given')
        assert job.run() == 0, job.stderr
        hashes.append(job.json('summary.json')['weights_sha256'])
    assert hashes[0] == hashes[1]


@pytest.mark.thorough
def test_mace_continues(train_folder: Any) -> None:
    """Interrupted after an epoch, MACE goes on where it was; the metrics are joined without a seam."""
    first = train_folder('first', strategy='transfer', engine='mace', max_seconds=0.1)
    assert first.run() == 1
    assert first.json('failure.json')['reason'] == 'walltime'
    last = train_folder('last', strategy='transfer', engine='mace', checkpoint=first.path / 'checkpoint.pt')
    assert last.run() == 0, last.stderr
    before, joined = columns(first.path), columns(last.path)
    assert (before['epoch'].tolist(), joined['epoch'].tolist()) == ([0, 1], [0, 1, 2, 3])
    for name in before:
        np.testing.assert_array_equal(joined[name][:2], before[name], err_msg=name)


@pytest.mark.thorough
def test_rates_of_parts(train_folder: Any) -> None:
    """A part whose rate has the factor 0 stays as it is, also after a restart, while the others learn."""
    import torch

    values = {'strategy': 'transfer', 'engine': 'mace', 'products_lr_factor': 0.0, 'embedding_lr_factor': 0.5}
    first = train_folder('first', max_seconds=0.1, **values)
    assert first.run() == 1
    last = train_folder('last', checkpoint=first.path / 'checkpoint.pt', **values)
    assert last.run() == 0, last.stderr
    before, after = (
        dict(torch.load(last.path / name, weights_only=False).named_parameters())
        for name in ('foundation.model', 'potential.model')
    )
    changed = {name.partition('.')[0] for name in after if not torch.equal(before[name].float(), after[name].float())}
    assert changed == {'node_embedding', 'interactions', 'readouts'}


@pytest.mark.thorough
def test_batches_of_both_heads(train_folder: Any, salt: Frames) -> None:
    """A batch holds new and replayed frames, so that it may be larger than there are new ones."""
    job = train_folder(strategy='multihead', replay=salt, batch_size=6, epochs=1)
    assert job.run() == 0, job.stderr
    log = (job.path / 'mace' / 'mace.log').read_text()
    assert "'Default' training dataset size: 5" in log
    assert 'Batch size: 6' in log


@pytest.mark.thorough
def test_new_frames_repeated(train_folder: Any, salt: Frames) -> None:
    """With fewer new frames than `replay_ratio` asks for, each is taken several times."""
    job = train_folder(strategy='multihead', replay=salt, replay_ratio=10.0, epochs=1)
    assert job.run() == 0, job.stderr
    log = (job.path / 'mace' / 'mace.log').read_text()
    # Five new frames, two replayed: MACE adds int(10 / 2.5) copies.
    assert "'Default' training dataset size: 25" in log


@pytest.mark.thorough
@pytest.mark.parametrize(('what', 'sentence'), [('weight', 'is 0 after epoch 1'), ('file', 'one head only')])
def test_nothing_replayed(train_folder: Any, salt: Frames, what: str, sentence: str) -> None:
    """Replayed frames without an effect, or MACE's silent fall back to one head, end the job."""
    values = {'replay_weight': 0.0} if what == 'weight' else {}
    job = train_folder(strategy='multihead', epochs=2, replay=salt, **values)
    module = 'equitrain_job.drivers.training.job'
    if what == 'file':
        module = 'forgetful'
        (job.path / 'forgetful.py').write_text(
            'import runpy\n'
            'from equitrain_job.drivers.training import mace_files\n'
            'config = mace_files.config\n'
            'mace_files.config = lambda *args: {**config(*args), "pt_train_file": None}\n'
            "runpy.run_module('equitrain_job.drivers.training.job', run_name='__main__', alter_sys=True)\n"
        )
    assert job.run(module) == 1
    failure = job.json('failure.json')
    assert (failure['reason'], sentence in failure['message']) == ('no_replay', True), failure


@pytest.mark.parametrize(
    ('engine', 'selection', 'sentence'),
    [
        ('mace', '0-2', 'choose one of these'),
        ('equitrain', '0-9', '5 readouts'),
        ('equitrain', '0-', 'nothing is left'),
    ],
)
def test_wrong_layers(train_folder: Any, engine: str, selection: str, sentence: str) -> None:
    """Layers that do not exist, or that MACE cannot freeze, are named."""
    job = train_folder(strategy='freeze', engine=engine, freeze_layers=selection)
    assert job.run() == 1
    failure = job.json('failure.json')
    assert (failure['reason'], sentence in failure['message']) == ('bad_input', True), failure
