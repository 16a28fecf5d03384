"""Nequix as Equitrain trains it, in the Python that has Nequix; a small model with random weights unless said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiida_equitrain.common.hyperparameters import complete
from aiida_equitrain.drivers.training.engine import weights_sha256
from aiida_equitrain.science.frames import ENERGY_KEY, Frames
from tests.drivers.conftest import TRAINING, TrainFolder, make_train_folder

pytestmark = pytest.mark.real

#: Everything in one process, for the sake of its imports; the results are judged below.
SCRIPT = """
import hashlib, json, warnings
warnings.simplefilter('ignore')
from pathlib import Path
import numpy as np, torch, ase.io, equitrain
from accelerate import Accelerator
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from equitrain.backends.torch_utils import set_dtype
from equitrain.data.backend_torch.loaders import get_dataloaders
from nequix.torch_impl.model import NequixTorch
from equitrain_job.drivers import nequix_family, nequix_messages, potential_loader
from equitrain_job.drivers.potential_loader import load_calculator, load_model, save_model, write_adapter
from equitrain_job.drivers.training.equitrain import wrap
from equitrain_job.drivers.training.nequix_wrapper import NequixMatrices, NequixWrapper
from equitrain_job.science.adapter import read_adapter

rng, found, DTYPES = np.random.default_rng(1), {}, ('float32', 'float64')
crystal = bulk('NaCl', 'rocksalt', a=5.7, cubic=True)
crystal.set_cell(crystal.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
# Atoms with many neighbours, few and none.
sparse = bulk('Si', cubic=True, a=5.5)
del sparse[[0, 1, 2]]
sparse.set_cell(sparse.cell[:] * [1, 1, 3])
sparse.append('Cl')
sparse.positions[-1] = [1.0, 1.0, 11.0]
frames = [crystal, sparse]
for atoms in frames:
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)

def largest(one, other):
    return [float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).max()) for a, b in zip(one, other)]

def values(calculator, atoms=crystal):
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)

# Products of matrices against e3nn's: energies, forces, stress, and the gradient of a loss that has them.
for dtype in DTYPES:
    sides = []
    for products in (lambda model: model, nequix_messages.with_matrix_products):
        nequix_family.with_matrix_products = products
        calculator = load_calculator('foundation.model', 'nequix', dtype=dtype)
        model = calculator.model.train()
        of_atoms, forces, stress = model(*calculator.graph(frames))
        loss = of_atoms.sum() ** 2 + (forces ** 2).sum() + (stress ** 2).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        sides.append([of_atoms.detach(), forces.detach(), stress.detach(), torch.cat([g.flatten() for g in gradients])])
    found[f'products_{dtype}'] = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(*sides)]
found['names'] = sorted(dict(model.named_parameters())) == sorted(dict(NequixTorch(
    n_species=3, **{name: model.header[name] for name in nequix_family.ARCHITECTURE}).named_parameters()))

# The wrapper that trains, against the labels' conventions.
calculator = load_calculator('foundation.model', 'nequix', dtype='float64')
expected, labelled = [values(calculator, atoms) for atoms in frames], []
for atoms, (energy, forces, stress) in zip(frames, expected):
    labelled.append(atoms.copy())
    labelled[-1].info = {'REF_energy': energy, 'REF_stress': stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]}
    labelled[-1].arrays['REF_forces'] = forces
ase.io.write('t.xyz', labelled, format='extxyz')
args = equitrain.get_args_parser_preprocess().parse_args([])
args.train_file = args.valid_file = 't.xyz'
args.output_dir, args.r_max = 'checked', calculator.model.cutoff
args.energy_key, args.forces_key, args.stress_key = 'REF_energy', 'REF_forces', 'REF_stress'
equitrain.preprocess(args)
args = equitrain.get_args_parser_train().parse_args([])
args.train_file, args.valid_file, args.num_workers, args.batch_size = 'checked/train.h5', 'checked/valid.h5', 0, 2
args.shuffle = False

def batch_of(wrapper):
    (batch,) = get_dataloaders(args, wrapper.atomic_numbers, wrapper.r_max, Accelerator(cpu=True))[1]
    return batch[0] if isinstance(batch, list) else batch

for dtype in DTYPES:
    set_dtype(dtype)
    for kind in (NequixWrapper, NequixMatrices):
        wrapper = kind(load_model('foundation.model', 'nequix', dtype=dtype)).eval()
        batch = batch_of(wrapper)
        result = {name: item.detach().numpy() for name, item in wrapper(batch).items()}
        labels = batch.y.numpy(), batch['force'].numpy(), batch.stress.numpy()
        found[f'{kind.__name__}_{dtype}'] = largest([result[name] for name in ('energy', 'forces', 'stress')], labels)
        wrapper.compute_force = wrapper.compute_stress = False
        with torch.no_grad():
            energies = wrapper(batch)
        found[f'energies_{kind.__name__}_{dtype}'] = largest([energies['energy'].numpy()], [result['energy']])[0]
        found['none'] = energies['forces'] is energies['stress'] is None

# What a strategy changes, its file, and its adapter.
hyperparameters = json.loads(Path('complete.json').read_text())
for strategy, of_strategy in hyperparameters.items():
    of = found[strategy] = {}
    dtype = of_strategy['dtype']
    set_dtype(dtype)
    module = wrap(load_model('foundation.model', 'nequix', dtype=dtype), strategy, of_strategy, 1, 'nequix')
    changed = {name: item for name, item in module.named_parameters() if item.requires_grad}
    of['n'], of['all'] = (sum(map(torch.numel, items)) for items in (changed.values(), module.model.parameters()))
    of['layers'] = sorted({name.replace('__DOT__', '.').split('model.')[-1].split('.weight')[0] for name in changed})
    with torch.no_grad():
        for item in changed.values():
            item.add_(torch.randn(item.shape), alpha=0.1)
    module.export('trained.model')
    batch = batch_of(module)
    forces = module.eval()(batch)['forces'].detach().numpy()
    full = {kind: load_calculator('trained.model', 'nequix', dtype=kind) for kind in DTYPES}
    of['export'] = largest([forces], [np.concatenate([values(full[dtype], atoms)[1] for atoms in frames])])[0]
    of['trained'] = largest(values(full['float64']), expected[0])[1]
    job = {'family': 'nequix', 'head': None, 'strategy': strategy, 'hyperparameters': of_strategy}
    write_adapter('foundation.model', 'trained.model', 'adapter.safetensors', job)
    adapter = read_adapter(Path('adapter.safetensors').read_bytes())
    for kind in DTYPES:
        other = load_calculator('foundation.model', 'nequix', dtype=kind, adapter=adapter)
        of[f'adapter_{kind}'] = all(largest(values(other, a), values(full[kind], a)) == [0.0] * 3 for a in frames)
    save_model(load_model('foundation.model', 'nequix', dtype=dtype, adapter=adapter), 'whole.model', 'nequix')
    of['same file'] = Path('whole.model').read_bytes() == Path('trained.model').read_bytes()
print('FOUND' + json.dumps(found))
"""


class NequixFolder(TrainFolder):
    """The same, with the Python that has Nequix."""

    def __init__(self, path: Path, python: str) -> None:
        super().__init__(path)
        self.python = python

    def run(self, module: str = TRAINING, *arguments: str) -> int:
        """Return how ``python -m`` of a module in the folder ends."""
        beside = f'{Path(self.python).parent}{os.pathsep}{os.environ["PATH"]}'
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': '', 'PATH': beside}
        command = [self.python, '-W', 'ignore', '-m', module, *arguments]
        result = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, check=False)
        (self.path / 'driver.out').write_text(result.stdout)
        (self.path / 'driver.err').write_text(result.stderr)
        return result.returncode


@pytest.fixture
def nequix_folder(
    tmp_path: Path, tiny_frames: Any, nequix_python: str, nequix_file: Callable[..., Path]
) -> Callable[..., NequixFolder]:
    """Return a factory of folders in which the driver trains a model of Nequix; by default a small random one."""

    def factory(name: str = 'job', foundation: Path | None = None, **values: Any) -> NequixFolder:
        folder = make_train_folder(tmp_path / name, tiny_frames, **{'strategy': 'l2-sp', 'lr': 1e-3, **values})
        shutil.copy(foundation or nequix_file(), folder / 'foundation.model')
        job = json.loads((folder / 'job.json').read_text())
        (folder / 'job.json').write_text(json.dumps({**job, 'family': 'nequix'}))
        return NequixFolder(folder, nequix_python)

    return factory


def columns(folder: NequixFolder) -> dict[str, Any]:
    with np.load(folder.path / 'metrics.npz', allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def found_by_script(folder: NequixFolder) -> dict[str, Any]:
    """Return what the script finds for all strategies; ``lora`` and ``transfer`` train in double precision there."""
    values = {
        name: complete({'dtype': 'float64' if name in ('lora', 'transfer') else 'float32'}, name, 'equitrain', 'nequix')
        for name in ('l2-tsp', 'l2-sp', 'lora', 'transfer', 'freeze')
    }
    (folder.path / 'complete.json').write_text(json.dumps(values))
    (folder.path / 'check.py').write_text(SCRIPT)
    assert folder.run('check') == 0, folder.stderr[-3000:]
    lines = (folder.path / 'driver.out').read_text().splitlines()
    content: dict[str, Any] = json.loads(next(line for line in lines if line.startswith('FOUND'))[5:])
    return content


def test_helpers(nequix_folder: Callable[..., NequixFolder]) -> None:
    """Sums over neighbours, wrapper, files and adapters of every strategy."""
    found = found_by_script(nequix_folder())
    for dtype, digits in (('float32', 1e-5), ('float64', 1e-12)):
        assert max(found[f'products_{dtype}']) < digits
        for kind in ('NequixWrapper', 'NequixMatrices'):
            assert max(found[f'{kind}_{dtype}']) < (1e-4 if dtype == 'float32' else 1e-6)
            assert found[f'energies_{kind}_{dtype}'] < digits * 100
    assert found['names'] is True
    assert found['none'] is True
    for strategy in ('l2-tsp', 'l2-sp', 'lora', 'transfer', 'freeze'):
        of = found[strategy]
        assert of['export'] < 1e-4, strategy
        assert of['trained'] > 1e-4, strategy
        assert of['adapter_float32'] is of['adapter_float64'] is of['same file'] is True, strategy
        assert 0 < of['n'] <= of['all']
    for strategy in ('l2-sp', 'transfer'):
        assert found[strategy]['n'] == found[strategy]['all']
    assert all(name.startswith('layers.0.') for name in found['l2-tsp']['layers'])
    assert found['freeze']['layers'] == ['readout']


def test_loss_of_the_first_step(nequix_folder: Callable[..., NequixFolder], tiny_frames: Frames) -> None:
    """It is the one that its definition gives by hand, with what the foundation predicts."""
    job = nequix_folder(strategy='transfer', epochs=1, batch_size=5, dtype='float64', stress_weight=300.0)
    assert job.run() == 0, job.stderr
    (job.path / 'predict.py').write_text(
        'import numpy as np\n'
        'from equitrain_job.drivers.potential_loader import load_calculator\n'
        'from equitrain_job.drivers.training.errors import Predictions\n'
        'from equitrain_job.science.frames import Frames\n'
        "frames = Frames.load('frames.npz').with_role('train')\n"
        "found = Predictions(frames, load_calculator('foundation.model', 'nequix'))\n"
        "np.savez('found.npz', **vars(found))\n"
    )
    assert job.run('predict') == 0, job.stderr
    with np.load(job.path / 'found.npz') as data:
        energies, forces, stress = data['energies'], data['forces'], data['stress']
    frames = tiny_frames.with_role('train')
    shift = sum(job.json('summary.json')['energy_shift']['subtracted_ev_per_atom'].values())

    def huber(errors: Any) -> Any:
        size, delta = np.abs(errors), 0.01
        return np.where(size < delta, size**2 / 2, delta * (size - delta / 2))

    counts = np.array([len(frame) for frame in frames])
    labels = np.array([frame.to_atoms(keys=True).info[ENERGY_KEY] for frame in frames]) - shift * counts
    by_hand = (
        10.0 * (huber(energies - labels) / counts).mean()
        + 100.0 * huber(forces - np.array([frame.forces for frame in frames])).mean()
        + 300.0 * huber(stress - np.array([frame.stress for frame in frames])).mean()
    )
    assert columns(job)['train_loss'][1] == pytest.approx(by_hand, rel=1e-5)


def test_walltime_and_continuation(nequix_folder: Callable[..., NequixFolder]) -> None:
    """Interrupted and continued, a training is the same as in one go; its weights are those of the file."""
    whole = nequix_folder('whole', strategy='lora')
    assert whole.run() == 0, whole.stderr
    part = nequix_folder('part', strategy='lora', max_seconds=0.1)
    assert part.run() == 1
    assert part.json('failure.json')['reason'] == 'walltime'
    last = nequix_folder('last', strategy='lora', checkpoint=part.path / 'checkpoint.pt')
    assert last.run() == 0, last.stderr
    for name in ('weights_sha256', 'best_epoch', 'energy_shift'):
        assert last.json('summary.json')[name] == whole.json('summary.json')[name], name
    one, joined = columns(whole), columns(last)
    for name in set(one) - {'seconds'}:
        np.testing.assert_array_equal(joined[name], one[name], err_msg=name)
    assert weights_sha256(whole.path / 'foundation.model', 'nequix') != whole.json('summary.json')['weights_sha256']


def test_diverged(nequix_folder: Callable[..., NequixFolder]) -> None:
    """Numbers that are none are found, and what was best before is kept."""
    job = nequix_folder(epochs=50, lr=1e-6, scheduler='exponential', gamma=1e20)
    assert job.run() == 1
    assert job.json('failure.json')['reason'] == 'diverged'
    assert job.json('summary.json')['best_epoch'] == 1
    assert (job.path / 'adapter.safetensors').exists()
    assert (job.path / 'checkpoint.pt').exists()


def test_layers_that_do_not_exist(nequix_folder: Callable[..., NequixFolder]) -> None:
    """The sentence names those of Nequix."""
    job = nequix_folder(strategy='l2-tsp', freeze_layers='interactions')
    assert job.run() == 1
    assert 'are 0 layers.0, 1 layers.1, 2 readout' in job.json('failure.json')['message']
