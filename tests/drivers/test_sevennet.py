"""SevenNet's helpers of the drivers, in the Python that has SevenNet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aiida_equitrain.calculations.train import TrainCalculation
from tests.drivers.conftest import COMPARE, run_script

#: Everything in one process, for the sake of its imports; the results are judged below.
SCRIPT = (
    COMPARE
    + """
import equitrain
from sevenn.calculator import SevenNetCalculator
from equitrain.backends.torch_wrappers import SevennetWrapper
from equitrain.finetune import TorchDeltaFineTuneWrapper
from equitrain_job.drivers.potential_loader import load_calculator, load_model, save_model
from equitrain_job.drivers.training.sevennet_wrapper import SevenNetWrapper, hold_fixed

bare = values(SevenNetCalculator('foundation.model', device='cpu'))
found['single'] = largest(values(load_calculator('foundation.model', 'sevennet', dtype='float32')), bare)
double = load_calculator('foundation.model', 'sevennet', dtype='float64')
found['double'] = largest(values(double), bare)
forces, sides = atoms.get_forces(), []
for step in (1e-4, -1e-4):
    moved = atoms.copy()
    moved.calc = double
    moved.positions[0, 0] += step
    sides.append(moved.get_potential_energy())
found['derivative'] = abs(float(forces[0, 0] + (sides[0] - sides[1]) / 2e-4))

# The wrapper that trains, against the labels' conventions.
from equitrain.data.backend_torch.atoms_to_graphs import AtomsToGraphs
labelled = [frame.copy() for frame in (atoms, atoms)]
for frame in labelled:
    frame.info = {'REF_energy': bare[0], 'REF_stress': bare[2][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]}
    frame.calc = None
    frame.arrays['REF_forces'] = bare[1]
import ase.io
ase.io.write('t.xyz', labelled, format='extxyz')
args = equitrain.get_args_parser_preprocess().parse_args([])
args.train_file = args.valid_file = 't.xyz'
args.output_dir, args.r_max = 'data', 5.0
args.energy_key, args.forces_key, args.stress_key = 'REF_energy', 'REF_forces', 'REF_stress'
equitrain.preprocess(args)
from accelerate import Accelerator
from equitrain.backends.torch_utils import set_dtype
from equitrain.data.backend_torch.loaders import get_dataloaders
args = equitrain.get_args_parser_train().parse_args([])
args.train_file, args.valid_file, args.num_workers, args.batch_size = 'data/train.h5', 'data/valid.h5', 0, 2
for dtype in ('float32', 'float64'):
    set_dtype(dtype)
    wrapper = SevenNetWrapper(None, load_model('foundation.model', 'sevennet', dtype=dtype))
    loader = get_dataloaders(args, wrapper.atomic_numbers, wrapper.r_max, Accelerator(cpu=True))[1]
    (batches,) = loader
    batch = batches[0] if isinstance(batches, list) else batches
    result = wrapper(batch)
    whole = [result[name].detach().numpy() for name in ('energy', 'forces', 'stress')]
    found[f'wrapper_{dtype}'] = largest([whole[0], whole[1][:8], whole[2][1]], bare)
    found[f'labels_{dtype}'] = largest([batch.y.numpy(), batch.stress[0].numpy()], [bare[0], bare[2]])

# The file that is written, against Equitrain's own export of the same weights.
class Plain(SevennetWrapper):
    r_max = property(lambda self: float(self.model.cutoff))

set_dtype('float32')
modules = []
for kind in (SevenNetWrapper, Plain):
    torch.manual_seed(3)
    model = load_model('foundation.model', 'sevennet', dtype='float32')
    base = kind(None, model)
    fixed = {name for name, item in base.named_parameters() if not item.requires_grad}
    module = TorchDeltaFineTuneWrapper(base)
    with torch.no_grad():
        for name, _, delta in module._delta_entries:
            if name not in fixed:
                delta.normal_(0, 1e-3)
    modules.append(module)
hold_fixed(modules[0])
found['held'] = sum(not item.requires_grad for _, _, item in modules[0]._delta_entries)
modules[0].export('ours.model')
modules[1].export('theirs.model')
ours = values(SevenNetCalculator('ours.model', device='cpu'))
theirs = values(SevenNetCalculator(torch.load('theirs.model', weights_only=False), 'model_instance', device='cpu'))
found['export'] = largest(ours, theirs)
found['trained'] = largest(ours, bare)

# A model in double precision keeps its digits in a file.
model = load_model('ours.model', 'sevennet', dtype='float64')
with torch.no_grad():
    for item in model.parameters():
        item.mul_(1 + 1e-10)
save_model(model, 'double.model', 'sevennet')
again = load_model('double.model', 'sevennet', dtype='float64')
found['digits'] = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
print('FOUND' + json.dumps(found))
"""
)


@pytest.mark.real
def test_helpers(sevennet_python: str, sevennet_0: Path, tmp_path: Path) -> None:
    foundation = Path(shutil.copy(sevennet_0, tmp_path / 'foundation.model'))
    found = run_script(tmp_path, sevennet_python, TrainCalculation.DRIVER, SCRIPT, foundation)
    assert found['single'] == [0.0, 0.0, 0.0]
    assert max(found['double']) < 1e-5
    assert found['derivative'] < 1e-6
    for dtype in ('float32', 'float64'):
        assert max(found[f'wrapper_{dtype}']) < 1e-5, dtype
        assert max(found[f'labels_{dtype}']) < 1e-5, dtype
    assert found['held'] == 7
    assert max(found['export']) < 1e-5
    assert found['trained'][1] > 1e-4
    assert found['digits'] is True
