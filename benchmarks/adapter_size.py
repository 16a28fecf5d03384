"""Compare the bytes of a fine-tuned potential stored as an adapter with those of the exported model file.

    python benchmarks/adapter_size.py [--strategy l2-tsp] [--epochs 2] [--json]

The foundation has the architecture of MACE-MP-0 medium with its 89 elements and 4,688,656 weights, which are random:
the bytes do not depend on them. It is fine-tuned on rattled NaCl (64 atoms, DFT) by the driver of ``equitrain.train``,
in a folder as the CalcJob makes it. Which entries change is settled in the first step: one epoch stores as much as
hundreds.

- ``adapter_bytes``: what the node stores. ``full_bytes``: the file that Equitrain's export wrote in the same run.
- ``max_force_difference`` (eV/Å), ``max_relative_force_difference``, ``relative_energy_difference``: calculator of the
  node against calculator of that file, float64, on a frame that was not trained on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from temporary_profile import load_code

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / 'shared' / 'reference' / 'rattled' / 'NaCl-rd'
#: Runs the driver, and keeps the full model that it would remove.
KEEP_EXPORT = """
import runpy, shutil
from equitrain_job.drivers import potential_loader
write = potential_loader.write_adapter
def keep(foundation, trained, path, job):
    shutil.copy(trained, 'exported.model')
    write(foundation, trained, path, job)
potential_loader.write_adapter = keep
runpy.run_module('equitrain_job.drivers.training.job', run_name='__main__', alter_sys=True)
"""


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--strategy', default='l2-tsp')
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--data', type=Path, default=DATA, help='phonopy or phono3py labels of a binary compound')
    parser.add_argument('--json', action='store_true', help='print the result as JSON')
    return parser.parse_args()


def write_foundation(path: Path) -> None:
    """Write a MACE-MP-0 medium with random weights."""
    import mace  # noqa: F401  (before e3nn)
    import numpy as np
    import torch
    from e3nn import o3
    from mace import modules

    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    block = modules.interaction_classes['RealAgnosticResidualInteractionBlock']
    model = modules.ScaleShiftMACE(
        r_max=6.0,
        num_bessel=10,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=89,
        hidden_irreps=o3.Irreps('128x0e + 128x1o'),
        MLP_irreps=o3.Irreps('16x0e'),
        atomic_energies=np.zeros(89),
        avg_num_neighbors=60.0,
        atomic_numbers=list(range(1, 90)),
        correlation=3,
        gate=torch.nn.functional.silu,
        radial_MLP=[64, 64, 64],
        radial_type='bessel',
        atomic_inter_scale=0.8,
        atomic_inter_shift=0.0,
    )
    torch.save(model, path)


def make_job(folder: Path, args: argparse.Namespace, code: Any) -> tuple[Any, Any, Path]:
    """Return the stored foundation, a frame for the comparison, and the folder of the job as AiiDA writes it."""
    from aiida import orm
    from aiida.common.folders import Folder
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager

    from aiida_equitrain.calculations.train import TrainCalculation
    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.data.potential import PotentialData
    from aiida_equitrain.science.displaced_frames import load_labelled
    from aiida_equitrain.science.frames import Frames

    write_foundation(folder / 'random.model')
    foundation = PotentialData(folder / 'random.model').store()
    train, valid, test = load_labelled(args.data).frames[:3]
    train.role, valid.role = 'train', 'valid'
    builder = TrainCalculation.get_builder()
    builder.code = code
    builder.foundation = foundation
    builder.dataset = DatasetData(Frames([train, valid]), functional='PBE').store()
    builder.strategy = orm.Str(args.strategy)
    builder.hyperparameters = orm.Dict({'epochs': args.epochs, 'batch_size': 1, 'lr': 1e-3, 'stress_weight': 0.0})
    job = folder / 'job'
    job.mkdir()
    info = instantiate_process(get_manager().get_runner(), builder).prepare_for_submission(Folder(str(job)))
    for uuid, name, target in info.local_copy_list:
        (job / target).write_bytes(orm.load_node(uuid).base.repository.get_object_content(name, mode='rb'))
    return foundation, test.to_atoms(), job


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, store, and compare."""
    code = load_code(folder)
    from aiida_equitrain.data.potential import PotentialData
    from aiida_equitrain.drivers.potential_loader import load_calculator

    foundation, atoms, job = make_job(folder, args, code)
    (job / 'keep_export.py').write_text(KEEP_EXPORT)
    start = time.time()
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', 'keep_export.py'], cwd=job, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise SystemExit(f'the training failed:\n{run.stderr[-3000:]}')
    summary = json.loads((job / 'summary.json').read_text())
    exported = job / 'exported.model'
    if not exported.exists():
        raise SystemExit(f'the strategy `{args.strategy}` stores the full model')
    node = PotentialData.from_adapter(job / 'adapter.safetensors', foundation=foundation).store()
    results = []
    for calculator in (node.get_calculator(), load_calculator(exported, head=None, adapter=False)):
        atoms.calc = calculator
        results.append((atoms.get_potential_energy(), atoms.get_forces()))
    (energy, forces), (full_energy, full_forces) = results
    difference = abs(forces - full_forces).max()
    return {
        'strategy': args.strategy,
        'elements': len(foundation.elements),
        'n_parameters': summary['n_parameters'],
        'n_trained_parameters': summary['n_trained_parameters'],
        'epochs': summary['epochs'],
        'adapter_bytes': node.n_bytes,
        'full_bytes': exported.stat().st_size,
        'ratio': round(exported.stat().st_size / node.n_bytes, 2),
        'max_force_difference': float(difference),
        'max_relative_force_difference': float(difference / abs(full_forces).max()),
        'relative_energy_difference': float(abs(energy / full_energy - 1)),
        'seconds_job': round(time.time() - start, 1),
    }


def main() -> None:
    args = read_arguments()
    # What libraries print is no part of the result.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        result = measure(args, Path(folder))
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f'{name:<32}{value}')


if __name__ == '__main__':
    main()
