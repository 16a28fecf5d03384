"""A GPU against the CPU: the same energies and forces, and how much faster; see ``gpu_check.sh``, which prepares it.

    python benchmarks/gpu_check.py [--device cuda] [--sizes 1 4 16 64] [--atoms 64] [--models starter medium]

No AiiDA. The driver of ``equitrain.train`` trains the starter on the device; forces of the starter and of a model of
the size of MACE-MP-0 medium (random weights) are compared with those of the CPU; forces and training steps are timed
on both at several batch sizes, each the best of some. Prints a table in Markdown, with the name of the card.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapter_size import write_foundation

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'aiida_equitrain'
STARTER = PACKAGE / 'resources' / 'potentials' / 'starter.model'
#: Largest difference of energies (eV/atom) and forces (eV/Å) between device and CPU, in float64.
TOLERANCE = 1e-6
SILICON = [14]


def stage(folder: Path) -> None:
    """Write the package that a job finds in its folder."""
    for name in ('drivers', 'science', 'common'):
        shutil.copytree(PACKAGE / name, folder / 'equitrain_job' / name)
    (folder / 'equitrain_job' / '__init__.py').write_text('', encoding='utf-8')


def train(folder: Path, device: str) -> dict[str, Any]:
    """Train the starter for three epochs by the driver, and return its summary."""
    from equitrain_job.common.hyperparameters import complete

    shutil.copy(STARTER, folder / 'foundation.model')
    shutil.copy(ROOT / 'tests' / 'fixtures' / 'si8_pbe.npz', folder / 'frames.npz')
    values = {'device': device, 'epochs': 3, 'batch_size': 2, 'lr': 1e-3}
    job = {
        'strategy': 'transfer',
        'engine': 'equitrain',
        'hyperparameters': complete(values, 'transfer', 'equitrain'),
        'replay_labels': 'given',
        'seed': 1,
        'family': 'mace',
        'head': None,
        'elements': SILICON,
        'may_change': [],
        'limits': {'max_seconds': None, 'reserve_seconds': 0.0},
        'sha256': {},
    }
    (folder / 'job.json').write_text(json.dumps(job), encoding='utf-8')
    command = [sys.executable, '-W', 'ignore', '-m', 'equitrain_job.drivers.training.job']
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f'the training failed: {done.stderr[-3000:]}')
    summary: dict[str, Any] = json.loads((folder / 'summary.json').read_text(encoding='utf-8'))
    return summary


def crystal(atoms: int, seed: int) -> Any:
    """Return rattled silicon."""
    from ase.build import bulk

    edge = round((atoms / 8) ** (1 / 3))
    cell = bulk('Si', a=5.47, cubic=True) * (edge, edge, edge)
    cell.rattle(0.05, seed=seed)
    return cell


def best_of(run: Callable[[], Any], device: str, repeat: int) -> float:
    """Return the shortest time of a call (s), after one that is not counted."""
    import torch

    def timed() -> float:
        start = time.perf_counter()
        run()
        if device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - start

    timed()
    return min(timed() for _ in range(repeat))


def step_of(calculator: Any, frames: list[Any]) -> Callable[[], None]:
    """Return a training step: energies and forces, their loss, gradients, and an update that changes nothing."""
    import torch
    from equitrain_job.drivers.forces import batch_of

    model = calculator.models[0]
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    batch = batch_of(calculator, frames)

    def step() -> None:
        optimizer.zero_grad()
        out = model(batch, training=True)
        (out['energy'].square().mean() + out['forces'].square().mean()).backward()
        optimizer.step()

    return step


def judge(path: Path, device: str, sizes: list[int], atoms: int, repeat: int) -> list[dict[str, Any]]:
    """Return a row for each batch size of one model; refuse a device that gives other numbers."""
    import numpy as np
    from equitrain_job.drivers.forces import evaluate_batch
    from equitrain_job.drivers.potential_loader import load_calculator

    frames = [crystal(atoms, seed) for seed in range(max(sizes))]
    found = [
        evaluate_batch(load_calculator(str(path), 'mace', None, where, 'float64', None), frames[:2])
        for where in ('cpu', device)
    ]
    energies, forces = (
        float(np.abs(found[0][index] - found[1][index]).max()) / scale for index, scale in ((0, atoms), (1, 1))
    )
    if max(energies, forces) > TOLERANCE:
        raise SystemExit(f'{path.stem}: {device} is off by {energies:.1e} eV/atom, {forces:.1e} eV/Å')
    calculators = {
        where: load_calculator(str(path), 'mace', None, where, 'float32', None)
        for where in dict.fromkeys(('cpu', device))
    }
    rows = []
    for size in sizes:
        row: dict[str, Any] = {'model': path.stem, 'batch': size, 'energies': energies, 'forces': forces}
        for what in ('evaluate', 'train'):
            for where, calculator in calculators.items():
                # A large batch costs a CPU in proportion: one of four is enough there.
                part = frames[: size if where != 'cpu' else min(size, 4)]
                if what == 'train':
                    run: Callable[[], Any] = step_of(calculator, part)
                else:
                    run = lambda calculator=calculator, part=part: evaluate_batch(calculator, part)  # noqa: E731
                row[f'{what}_{where}'] = best_of(run, where, repeat if where != 'cpu' else 1) / len(part)
        rows.append(row)
    return rows


def main() -> None:
    """Check, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--sizes', type=int, nargs='+', default=[1, 4, 16, 64])
    parser.add_argument('--atoms', type=int, default=64)
    parser.add_argument('--models', nargs='+', choices=['starter', 'medium'], default=['starter', 'medium'])
    parser.add_argument('--repeat', type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage(folder)
        sys.path.insert(0, name)
        os.environ['PYTHONPATH'] = os.pathsep.join([name, os.environ.get('PYTHONPATH', '')])
        import torch

        if arguments.device == 'cuda' and not torch.cuda.is_available():
            raise SystemExit('there is no GPU here; `--device cpu` rehearses all of it')
        cuda = arguments.device == 'cuda'
        card = torch.cuda.get_device_name() if cuda else f'{platform.machine()}, {torch.get_num_threads()} threads'
        print(f'{card}, torch {torch.__version__}, {arguments.atoms} atoms\n', flush=True)
        summary = train(folder, arguments.device)
        print(f'trained: {summary["seconds_engine"]:.1f} s for three epochs of eight atoms\n', flush=True)
        device = arguments.device
        times = f'ms a frame | CPU : {device}'
        print(f'| model | frames at once | forces, {times} | training step, {times} |')
        print('| --- | --- | --- | --- | --- | --- |', flush=True)
        for model in arguments.models:
            path = folder / f'{model}.model'
            if model == 'starter':
                shutil.copy(STARTER, path)
            else:
                write_foundation(path)
            for row in judge(path, device, arguments.sizes, arguments.atoms, arguments.repeat):
                cells = [model, str(row['batch'])]
                for what in ('evaluate', 'train'):
                    own = row[f'{what}_{device}']
                    cells += [f'{1000 * own:.1f}', f'{row[f"{what}_cpu"] / own:.1f}']
                print(f'| {" | ".join(cells)} |', flush=True)
            print(f'{model}: energies to {row["energies"]:.0e} eV/atom, forces to {row["forces"]:.0e} eV/Å', flush=True)


if __name__ == '__main__':
    main()
