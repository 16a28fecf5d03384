"""The training driver, really run on six silicon frames with a MACE of 1,332 random weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiida_equitrain.science.frames import Frames

pytestmark = pytest.mark.real

LABELLED_OTHERS = Path(__file__).parents[2] / 'aiida_equitrain' / 'resources' / 'forgetting.npz'


def columns(path: Path) -> dict[str, Any]:
    with np.load(path / 'metrics.npz', allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


@pytest.mark.parametrize('strategy', ['l2-tsp', 'transfer'])
def test_strategy(train_folder: Any, strategy: str) -> None:
    """A strategy trains what it should, and says what it did."""
    others = Frames([frame for frame in Frames.load(LABELLED_OTHERS) if frame.formula in ('ClNa', 'Na', 'Si', 'MgO')])
    job = train_folder(strategy=strategy, forgetting=others)
    assert job.run() == 0, job.result.stderr
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
    assert not (job.path / 'checkpoint.pt').exists()


def test_same_inputs_same_weights(train_folder: Any) -> None:
    """On a CPU the inputs decide the weights; the seed is one of them."""
    hashes = []
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        job = train_folder(name, seed=seed, epochs=2)
        assert job.run() == 0, job.result.stderr
        hashes.append(job.json('summary.json')['weights_sha256'])
    assert hashes[0] == hashes[1] != hashes[2]


EQUITRAIN_ITSELF = """
import json, glob, sys
import mace, torch
from equitrain import get_args_parser_train, get_model, train
from equitrain.finetune import TorchDeltaFineTuneWrapper
values = json.load(open('job.json'))['hyperparameters']
args = get_args_parser_train().parse_args([])
for name in ('epochs', 'batch_size', 'lr', 'weight_decay', 'energy_weight', 'forces_weight', 'stress_weight', 'dtype'):
    setattr(args, name, values[name])
args.train_file, args.valid_file, args.output_dir, args.seed = 'data/train.h5', 'data/valid.h5', 'run', 1
args.num_workers, args.model, args.model_wrapper = 0, 'foundation.model', 'mace'
args.model = TorchDeltaFineTuneWrapper(get_model(args), freeze_layers='2-')
train(args)
from safetensors.torch import load_file
last = max(glob.glob('run/best_val_epochs@*'), key=lambda path: int(path.split('@')[1].split('_')[0]))
state = load_file(last + '/model.safetensors')
mine = dict(torch.load('potential.model', weights_only=False).named_parameters())
for name, value in mine.items():
    base = state['base_wrapper.model.' + name]
    delta = state['_delta_params.model__DOT__' + name.replace('.', '__DOT__')]
    assert torch.equal(value, base + delta), name
print('equal', int(last.split('@')[1].split('_')[0]))
"""


def test_same_weights_as_equitrain(train_folder: Any) -> None:
    """The loop gives the weights of ``equitrain.train``, bit for bit."""
    job = train_folder()
    assert job.run() == 0, job.result.stderr
    (job.path / 'bare.py').write_text(EQUITRAIN_ITSELF)
    assert job.run('bare.py') == 0, job.result.stderr
    assert f'equal {job.json("summary.json")["best_epoch"]}' in job.result.stdout


def test_walltime_and_continuation(train_folder: Any) -> None:
    """Interrupted twice and continued, training is the same as in one go."""
    whole = train_folder('whole')
    assert whole.run() == 0, whole.result.stderr
    checkpoint = None
    for name in ('first', 'second'):
        part = train_folder(name, max_seconds=0.1, checkpoint=checkpoint)
        assert part.run() == 1
        assert part.json('failure.json')['reason'] == 'walltime'
        assert (part.path / 'potential.model').exists()
        checkpoint = part.path / 'checkpoint.pt'
    last = train_folder('last', checkpoint=checkpoint)
    assert last.run() == 0, last.result.stderr
    assert last.json('summary.json')['weights_sha256'] == whole.json('summary.json')['weights_sha256']
    one, joined = columns(whole.path), columns(last.path)
    for name in set(one) - {'seconds'}:
        np.testing.assert_array_equal(joined[name], one[name], err_msg=name)

    other = train_folder('other', checkpoint=checkpoint, lr=0.02)
    assert other.run() == 1
    assert other.json('failure.json')['reason'] == 'bad_checkpoint'


def test_early_stopping(train_folder: Any) -> None:
    """Without a better epoch, training stops after ``patience`` epochs and keeps the best."""
    job = train_folder(epochs=50, patience=3, lr=1e-30)
    assert job.run() == 0, job.result.stderr
    summary = job.json('summary.json')
    assert (summary['stopped_by'], summary['best_epoch'], summary['epochs']) == ('patience', 1, 4)


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
    assert (job.path / 'potential.model').exists()


def test_out_of_memory(train_folder: Any, tiny_frames: Any) -> None:
    """A failed allocation, for real: the process may take 40 MB more than it has after its imports."""
    job = train_folder(frames=enlarged(tiny_frames, 3), batch_size=5)
    (job.path / 'limited.py').write_text(
        'import re, resource, runpy\n'
        'import mace.calculators, equitrain_engine\n'
        "size = int(re.search(r'VmSize:\\s+(\\d+)', open('/proc/self/status').read()).group(1)) * 1024\n"
        'resource.setrlimit(resource.RLIMIT_AS, (size + 100_000_000, size + 100_000_000))\n'
        "runpy.run_path('train.py', run_name='__main__')\n"
    )
    assert job.run('limited.py') == 1
    assert job.json('failure.json')['reason'] == 'out_of_memory', job.json('failure.json')


def enlarged(frames: Frames, times: int) -> Frames:
    """Return larger cells with the labels that follow from periodicity."""
    result = []
    for frame in frames:
        atoms = frame.to_atoms(keys=True) * (times, times, times)
        atoms.info['REF_energy'] = frame.energy * times**3
        result.append(atoms)
    return Frames.from_atoms(result)


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
