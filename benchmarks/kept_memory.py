"""What it brings that jobs keep the memory that they free (``drivers/job_io.py``): ratio of processor times.

    python benchmarks/kept_memory.py [--repeat 3] [--json]

Forces of 128 rattled atoms of wurtzite AlN by the starter potential, in float32 and float64, and gradients of a
training in float32, each in a process of its own, by turns with memory kept and not. Processor time, system time
included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STARTER = ROOT / 'aiida_equitrain' / 'resources' / 'potentials' / 'starter.model'
TASKS = ('forces float32', 'forces float64', 'training float32')
#: Evaluations before time is taken (TorchScript compiles in the first two), and those that are timed.
N_WARM, N_TIMED = 3, 10


def one(task: str, keep: bool) -> dict[str, float]:
    """Return seconds of processor time per evaluation, and the largest memory in MB, of this process."""
    import resource
    import time

    if keep:
        from aiida_equitrain.drivers.job_io import keep_memory

        keep_memory()
    import torch
    from mace.calculators import MACECalculator

    torch.set_num_threads(1)
    kind, dtype = task.split()
    calculator = MACECalculator(model_paths=str(STARTER), device='cpu', default_dtype=dtype)
    model, atoms = calculator.models[0], crystal()
    for parameter in model.parameters():
        parameter.requires_grad_(kind == 'training')

    def evaluate() -> None:
        batch = calculator._atoms_to_batch(atoms).to_dict()
        forces = model(batch, training=kind == 'training', compute_stress=False)['forces']
        if kind == 'training':
            model.zero_grad()
            (forces**2).sum().backward()

    for _ in range(N_WARM):
        evaluate()
    start = time.process_time()
    for _ in range(N_TIMED):
        evaluate()
    seconds = (time.process_time() - start) / N_TIMED
    return {'seconds': seconds, 'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def crystal() -> Any:
    """Return 128 rattled atoms of wurtzite AlN."""
    from ase.build import bulk

    atoms = bulk('AlN', 'wurtzite', a=3.11, c=4.98) * (4, 4, 2)
    atoms.rattle(0.03, seed=0)
    return atoms


def main() -> None:
    """Run the processes and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one[0], args.one[1] == 'kept')))
        return
    results = []
    for task in TASKS:
        found: dict[str, list[dict[str, float]]] = {'kept': [], 'freed': []}
        for _ in range(args.repeat):
            for way, items in found.items():
                command = [sys.executable, '-W', 'ignore', __file__, '--one', task, way]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                items.append(json.loads(output.splitlines()[-1]))
        best = {way: min(item['seconds'] for item in items) for way, items in found.items()}
        peak = {way: max(item['peak_mb'] for item in items) for way, items in found.items()}
        results.append({'task': task, 'seconds': best, 'ratio': best['freed'] / best['kept'], 'peak_mb': peak})
    if args.json:
        print(json.dumps(results))
        return
    print(f'{"":20s}{"freed, s":>10s}{"kept, s":>10s}{"ratio":>8s}{"peak of memory, MB":>24s}')
    for row in results:
        seconds, peak = row['seconds'], row['peak_mb']
        print(f'{row["task"]:20s}{seconds["freed"]:10.2f}{seconds["kept"]:10.2f}{row["ratio"]:8.2f}'
              f'{peak["freed"]:14.0f} / {peak["kept"]:.0f}')  # fmt: skip


if __name__ == '__main__':
    main()
