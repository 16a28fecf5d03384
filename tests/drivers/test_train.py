"""The training driver, really run on six silicon frames with a MACE of 1,332 random weights."""

from __future__ import annotations

import copy
import hashlib
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiida_equitrain.calculations.staging import module_of
from aiida_equitrain.calculations.train import TrainCalculation
from aiida_equitrain.science.adapter import make_adapter, read_adapter
from aiida_equitrain.science.frames import Frames

pytestmark = pytest.mark.real

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
LABELLED_OTHERS = Path(__file__).parents[2] / 'aiida_equitrain' / 'resources' / 'forgetting.npz'


def columns(path: Path) -> dict[str, Any]:
    with np.load(path / 'metrics.npz', allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


@pytest.mark.parametrize('strategy', ['l2-tsp', 'transfer'])
def test_strategy(train_folder: Any, strategy: str) -> None:
    """A strategy trains what it should, and says what it did."""
    others = Frames([frame for frame in Frames.load(LABELLED_OTHERS) if frame.formula in ('ClNa', 'Na', 'Si', 'MgO')])
    job = train_folder(strategy=strategy, forgetting=others)
    assert job.run() == 0, job.stderr
    summary, progress, metrics = job.json('summary.json'), job.json('progress.json'), columns(job.path)

    assert summary['n_parameters'] == 1332
    assert summary['n_trained_parameters'] == (568 if strategy == 'l2-tsp' else 1332)
    assert summary['stopped_by'] == 'finished'
    assert summary['best_epoch'] in (1, 2, 3)
    for side in ('before', 'after'):
        assert summary['errors'][side]['train']['n_frames'] == 5
        assert summary['errors'][side]['valid']['n_frames'] == 1
    # DFT counts from other atoms than the foundation: 115 eV per atom; what is left are meV.
    assert summary['energy_shift']['subtracted_ev_per_atom']['Si'] < -100
    assert summary['errors']['before']['train']['energy_mae_mev_per_atom'] < 5
    # Silicon is what was trained and magnesium is unknown to the model, so both are left out.
    assert set(summary['forgetting']['change_by_formula_mev_per_angstrom']) == {'ClNa', 'Na'}
    assert summary['forgetting']['n_left_out'] > 0
    assert {'torch', 'equitrain', 'mace-torch'} <= set(summary['versions'])

    assert metrics['epoch'].tolist() == [0, 1, 2, 3]
    assert np.isnan(metrics['train_forces_mae'][0])
    assert np.isfinite(metrics['train_forces_mae'][1:]).all()
    assert np.isfinite(metrics['valid_forces_mae']).all()
    # The same quantity from Equitrain's loop and from the calculator of the exported file.
    best = summary['best_epoch']
    for quantity, unit in (('energy', 'mev_per_atom'), ('forces', 'mev_per_angstrom'), ('stress', 'mev_per_angstrom3')):
        after = summary['errors']['after']['valid'][f'{quantity}_mae_{unit}']
        assert metrics[f'valid_{quantity}_mae'][best] * 1e3 == pytest.approx(after, rel=2e-3)
    assert progress['stage'] == 'evaluate'
    # What is stored is the adapter or the model, not both.
    assert (job.path / 'adapter.safetensors').exists() == (strategy == 'l2-tsp')
    assert (job.path / 'potential.model').exists() == (strategy != 'l2-tsp')
    assert summary['stored_as'] == ('adapter' if strategy == 'l2-tsp' else 'full model')
    assert not (job.path / 'checkpoint.pt').exists()


@pytest.mark.thorough
def test_same_inputs_same_weights(train_folder: Any) -> None:
    """On a CPU the inputs decide the weights; the seed is one of them."""
    hashes = []
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        job = train_folder(name, seed=seed, epochs=2)
        assert job.run() == 0, job.stderr
        hashes.append(job.json('summary.json')['weights_sha256'])
    assert hashes[0] == hashes[1] != hashes[2]


EQUITRAIN_ITSELF = """
import json, glob, sys
import mace, torch
from equitrain import get_args_parser_train, get_model, train
from equitrain.finetune import TorchDeltaFineTuneWrapper
values = json.load(open('job.json'))['hyperparameters']
args = get_args_parser_train().parse_args([])
for name in ('epochs', 'batch_size', 'lr', 'weight_decay', 'energy_weight', 'forces_weight', 'stress_weight', 'dtype',
             'weighted_sampler', 'loss_weight_type'):
    setattr(args, name, values[name])
args.train_file, args.valid_file, args.output_dir, args.seed = 'data/train.h5', 'data/valid.h5', 'run', 1
args.num_workers, args.model, args.model_wrapper = 0, 'foundation.model', 'mace'
args.model = TorchDeltaFineTuneWrapper(get_model(args), freeze_layers='2-')
train(args)
from safetensors.torch import load_file
last = max(glob.glob('run/best_val_epochs@*'), key=lambda path: int(path.split('@')[1].split('_')[0]))
state = load_file(last + '/model.safetensors')
from equitrain_job.drivers.potential_loader import load_calculator, load_model
from equitrain_job.science.adapter import read_adapter
adapter = read_adapter(open('adapter.safetensors', 'rb').read())
mine = dict(load_model('foundation.model', dtype=values['dtype'], adapter=adapter).named_parameters())
for name, value in mine.items():
    base = state['base_wrapper.model.' + name]
    delta = state['_delta_params.model__DOT__' + name.replace('.', '__DOT__')]
    assert torch.equal(value, base + delta), name
import subprocess, ase.io, numpy
subprocess.run(['equitrain-export', '--model', 'foundation.model', '--model-wrapper', 'mace', '--output-dir', 'run',
                '--load-best-checkpoint', '--model-export', 'exported.model'], check=True)
atoms, results = ase.io.read('valid.xyz'), []
added = json.load(open('summary.json'))['energy_shift']['added_after_training_ev_per_atom']
for path, changes, shift in (('foundation.model', adapter, added['Si']), ('exported.model', False, 0.0)):
    atoms.calc = load_calculator(path, dtype='float64', adapter=changes)
    results.append((atoms.get_potential_energy() - shift * len(atoms), atoms.get_forces(), atoms.get_stress()))
for one, other in zip(*results):
    numpy.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-14)
assert abs(results[0][1]).max() > 1e-6
print('equal', int(last.split('@')[1].split('_')[0]))
"""


@pytest.mark.thorough
@pytest.mark.parametrize('values', [{}, {'weighted_sampler': True, 'loss_weight_type': 'groundstate'}])
def test_same_weights_as_equitrain(train_folder: Any, values: dict[str, Any]) -> None:
    """The loop gives the weights of ``equitrain.train``, bit for bit; the adapter predicts what its export predicts."""
    job = train_folder(**values)
    assert job.run() == 0, job.stderr
    (job.path / 'bare.py').write_text(EQUITRAIN_ITSELF)
    assert job.run('bare') == 0, job.stderr
    assert f'equal {job.json("summary.json")["best_epoch"]}' in (job.path / 'driver.out').read_text()


def test_foundation_that_is_an_adapter(train_folder: Any) -> None:
    """Training goes on from the adapter; the result is relative to the full model, whose SHA-256 it bears."""
    first = train_folder('first', epochs=2)
    assert first.run() == 0, first.stderr
    second = train_folder('second', epochs=1)
    shutil.copy(first.path / 'adapter.safetensors', second.path / 'foundation.safetensors')
    assert second.run() == 0, second.stderr
    after, before = first.json('summary.json')['errors']['after'], second.json('summary.json')['errors']['before']
    for role in ('train', 'valid'):
        assert after[role]['forces_mae_mev_per_angstrom'] == before[role]['forces_mae_mev_per_angstrom']
    adapters = [read_adapter((job.path / 'adapter.safetensors').read_bytes()) for job in (first, second)]
    full = hashlib.sha256(TINY_MODEL.read_bytes()).hexdigest()
    assert [adapter.foundation_sha256 for adapter in adapters] == [full, full]
    assert adapters[0].changes.keys() == adapters[1].changes.keys()


@pytest.mark.parametrize(('content', 'sentence'), [('other', 'belongs to the model'), ('half', 'damaged')])
def test_wrong_adapter(train_folder: Any, content: str, sentence: str) -> None:
    """An adapter to another model, or half of one, is never applied."""
    about = {'foundation_sha256': '0' * 64, 'strategy': 'l2-tsp', 'dtype': 'float32'}
    adapter = make_adapter({'x': np.zeros(3)}, {'x': np.ones(3)}, **about)
    job = train_folder()
    (job.path / 'foundation.safetensors').write_bytes(adapter if content == 'other' else adapter[:-8])
    assert job.run() == 1
    failure = job.json('failure.json')
    assert failure['reason'] == 'bad_potential'
    assert sentence in failure['message']


def test_walltime_and_continuation(train_folder: Any) -> None:
    """Interrupted twice and continued, training is the same as in one go."""
    whole = train_folder('whole')
    assert whole.run() == 0, whole.stderr
    checkpoint = None
    for name in ('first', 'second'):
        part = train_folder(name, max_seconds=0.1, checkpoint=checkpoint)
        assert part.run() == 1
        assert part.json('failure.json')['reason'] == 'walltime'
        assert (part.path / 'adapter.safetensors').exists()
        checkpoint = part.path / 'checkpoint.pt'
    last = train_folder('last', checkpoint=checkpoint)
    assert last.run() == 0, last.stderr
    for name in ('weights_sha256', 'best_epoch', 'energy_shift', 'worse_than_foundation'):
        assert last.json('summary.json')[name] == whole.json('summary.json')[name], name
    one, joined = columns(whole.path), columns(last.path)
    for name in set(one) - {'seconds'}:
        np.testing.assert_array_equal(joined[name], one[name], err_msg=name)

    other = train_folder('other', checkpoint=checkpoint, huber_delta=0.02)
    assert other.run() == 1
    assert other.json('failure.json')['reason'] == 'bad_checkpoint'


def test_killed_after_an_epoch(train_folder: Any, warm_python: Any) -> None:
    """Once an epoch is told of there is a checkpoint, so that even what is killed without a warning can go on."""
    job = train_folder(epochs=500, patience=None)
    progress = job.path / 'progress.json'
    process = warm_python.run(job.path, module_of(TrainCalculation.DRIVER))
    try:
        while not progress.exists() or '"train"' not in progress.read_text():
            assert process.poll() is None, (job.path / 'driver.err').read_text()
            time.sleep(0.02)
        shutil.copy(job.path / 'checkpoint.pt', job.path / 'kept.pt')
    finally:
        process.terminate()
        process.wait()
    other = train_folder('other', max_seconds=0.1, checkpoint=job.path / 'kept.pt', epochs=500, patience=None)
    assert other.run() == 1
    assert other.json('failure.json')['reason'] == 'walltime'
    assert columns(other.path)['epoch'][-1] >= 2


def test_early_stopping(train_folder: Any) -> None:
    """Without a better epoch, training stops after ``patience`` epochs and keeps the best."""
    job = train_folder(epochs=50, patience=3, lr=1e-30)
    assert job.run() == 0, job.stderr
    summary = job.json('summary.json')
    assert (summary['stopped_by'], summary['best_epoch'], summary['epochs']) == ('patience', 1, 4)


def test_gains_too_small_to_wait_for(train_folder: Any) -> None:
    """Below ``patience_threshold``, better epochs do not keep training alive, but the best of them is still kept."""
    job = train_folder(epochs=50, patience=3, patience_threshold=0.5, lr=1e-4)
    assert job.run() == 0, job.stderr
    summary = job.json('summary.json')
    assert (summary['stopped_by'], summary['epochs']) == ('patience', 4)
    assert summary['best_epoch'] > 1


def test_diverged(train_folder: Any) -> None:
    """NaN, which Equitrain leaves out of its averages, is found; what was best before is kept."""
    # One good epoch, and then a learning rate beyond all reason.
    job = train_folder(epochs=50, lr=1e-6, scheduler='exponential', gamma=1e20)
    assert job.run() == 1
    failure = job.json('failure.json')
    assert failure['reason'] == 'diverged'
    assert 'epoch 2' in failure['message'] or 'epoch 3' in failure['message']
    last = {name: values[-1] for name, values in columns(job.path).items()}
    assert not np.isfinite([last['train_loss'], last['valid_loss']]).all()
    assert job.json('summary.json')['best_epoch'] == 1
    assert (job.path / 'adapter.safetensors').exists()


@pytest.mark.thorough
@pytest.mark.parametrize(('method', 'kept'), [('_evaluate', False), ('_train', True)])
def test_out_of_memory(train_folder: Any, large_frames: Any, method: str, kept: bool) -> None:
    """A failed allocation, for real: from a step of the training on, the process may take no more than it has."""
    job = train_folder(frames=large_frames(3), batch_size=5)
    (job.path / 'limited.py').write_text(
        'import re, resource, runpy\n'
        'from equitrain_job.drivers.training.equitrain import Trainer\n'
        f'step = Trainer.{method}\n'
        'def limited(self):\n'
        "    size = int(re.search(r'VmSize:\\s+(\\d+)', open('/proc/self/status').read()).group(1)) * 1024\n"
        '    resource.setrlimit(resource.RLIMIT_AS, (size, size))\n'
        '    held = []\n'
        '    try:\n'  # what the process has, but does not use, might be enough
        '        while True:\n'
        '            held.append(bytes(2**20))\n'
        '    except MemoryError:\n'
        '        pass\n'
        '    try:\n'
        '        return step(self)\n'
        '    finally:\n'
        '        held.clear()\n'
        f'Trainer.{method} = limited\n'
        "runpy.run_module('equitrain_job.drivers.training.job', run_name='__main__', alter_sys=True)\n"
    )
    assert job.run('limited') == 1
    assert job.json('failure.json')['reason'] == 'out_of_memory', job.json('failure.json')
    # Before the first row there is nothing to keep; after it the history is kept.
    assert (job.path / 'metrics.npz').exists() == kept


def test_missing_gpu(train_folder: Any) -> None:
    """A missing GPU is an error and not a silent run on the CPU."""
    import torch

    if torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    job = train_folder(device='cuda')
    assert job.run() == 1
    assert job.json('failure.json')['reason'] == 'cuda_missing'
    assert not (job.path / 'metrics.npz').exists()


@pytest.mark.parametrize('what', ['valid', 'stress'])
def test_wrong_dataset(train_folder: Any, tiny_frames: Any, what: str) -> None:
    """The driver checks again what is checked before submission."""
    frames = copy.deepcopy(tiny_frames)
    for frame in frames:
        if what == 'valid':
            frame.role = 'train'
        else:
            frame.stress = None
    job = train_folder(frames=frames)
    assert job.run() == 1
    failure = job.json('failure.json')
    assert failure['reason'] == 'bad_input'
    assert what in failure['message']


def without_energies(frames: Any, rows: tuple[int, ...]) -> Frames:
    """Return frames of which some have no energy."""
    return Frames([replace(frame, energy=None) if row in rows else frame for row, frame in enumerate(frames)])


@pytest.mark.parametrize(
    ('engine', 'strategy', 'rows'),
    [('equitrain', 'transfer', (1,)), ('equitrain', 'scratch', (0, 1, 2, 3, 4, 5)), ('mace', 'transfer', (1,))],
)
def test_without_energies(
    train_folder: Any, tiny_frames: Any, engine: str, strategy: str, rows: tuple[int, ...]
) -> None:
    """Frames without an energy are trained on by what they have; nothing is measured against an energy of 0."""
    frames = without_energies(tiny_frames, rows)
    job = train_folder(frames=frames, engine=engine, strategy=strategy, epochs=2, energy_weight=0.0)
    assert job.run() == 0, job.stderr
    summary, metrics = job.json('summary.json'), columns(job.path)
    assert summary['warnings'][0] == f'{len(rows)} of 6 frames have no energy: no energy is trained on'
    assert np.isnan(metrics['valid_energy_mae']).all()
    assert np.isfinite(metrics['valid_forces_mae']).all()
    train = summary['errors']['after']['train']
    assert train.get('energy_mae_mev_per_atom', 0.0) < 1000
    assert ('energy_mae_mev_per_atom' in train) == (len(rows) == 1)
    if len(rows) == 1:
        assert summary['energy_shift']['subtracted_ev_per_atom']['Si'] < -100
    else:
        assert summary['energy_shift']['rmse_mev_per_atom'] is None
    with np.load(job.path / 'predictions.npz') as data:
        assert np.isnan(data['energies_reference']).tolist() == [row in rows for row in range(6)]


def test_energies_that_are_not_there_are_not_trained_on(train_folder: Any, tiny_frames: Any) -> None:
    """A dataset that went past the check before submission is refused by the job."""
    job = train_folder(frames=without_energies(tiny_frames, (5,)), epochs=1)
    assert job.run() != 0
    failure = job.json('failure.json')
    assert failure['reason'] == 'bad_input'
    assert 'frames without energy' in failure['message']


@pytest.mark.parametrize('strategy', ['l2-tsp', 'scratch'])
def test_labels_of_two_codes(train_folder: Any, tiny_frames: Any, strategy: str) -> None:
    """What the energy shift leaves is told of where no label can be so far off, whatever training starts from."""
    frames = Frames([replace(frame, energy=frame.energy + 40.0 * (row < 2)) for row, frame in enumerate(tiny_frames)])
    job = train_folder(frames=frames, epochs=1, strategy=strategy)
    assert job.run() == 0, job.stderr
    summary = job.json('summary.json')
    assert summary['energy_shift']['rmse_mev_per_atom'] == pytest.approx(5000 * (0.4 * 0.6) ** 0.5, rel=0.01)
    remain = [text for text in summary['warnings'] if text.startswith('after the shift of the energies per element')]
    assert len(remain) == 1
    assert re.search(r'24\d\d meV/atom remain between the labels of the training frames', remain[0])


@pytest.mark.parametrize(
    ('labels', 'told'), [('given', True), pytest.param('foundation', False, marks=pytest.mark.thorough)]
)
def test_replay_of_two_codes(train_folder: Any, labels: str, told: bool) -> None:
    """Given labels that no foundation can agree with are told of, and those of the new frames are not blamed."""
    crystals = [frame for frame in Frames.load(LABELLED_OTHERS) if frame.formula in ('ClNa', 'Na', 'Si')]
    other = [replace(frame, energy=frame.energy + 0.5 * len(frame.numbers)) for frame in crystals]
    job = train_folder(strategy='multihead', epochs=1, replay=Frames([*crystals, *other]), replay_labels=labels)
    assert job.run() == 0, job.stderr
    summary = job.json('summary.json')
    remain = [text for text in summary['warnings'] if text.startswith('after the shift of the energies per element')]
    assert len(remain) == told
    if told:
        assert summary['replay']['rmse_mev_per_atom'] == pytest.approx(250, rel=0.2)
        assert 'meV/atom remain between the labels of the replayed frames' in remain[0]


def test_replay_without_energies(train_folder: Any, tiny_frames: Any) -> None:
    """Given labels of replayed frames that lack energies are used for what they have."""
    crystals = Frames([frame for frame in Frames.load(LABELLED_OTHERS) if frame.formula in ('ClNa', 'Na', 'Si')])
    replay = without_energies(crystals, (0, 1))
    job = train_folder(strategy='multihead', epochs=1, replay=replay, replay_labels='given')
    assert job.run() == 0, job.stderr
    assert job.json('summary.json')['replay']['labels'] == 'given'
