"""Forces of Nequix, and steps of its training: sums over neighbours by products of matrices against those of Nequix.

    PYTHONPATH=. .venv-nequix/bin/python benchmarks/nequix_messages.py FILE.nqx [--repeat 3] [--cell 4 4 2]

runs in the Python that has Nequix, on one thread. The crystal is AlN, by default of 128 atoms; times are of the
processor, the smallest of the repetitions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from ase.build import bulk

from aiida_equitrain.drivers.job_io import limit_threads
from aiida_equitrain.drivers.potential_loader import load_calculator


def seconds(function: Callable[[], Any], repeat: int) -> float:
    """Return the smallest time of the processor that a function took."""
    found = []
    for _ in range(repeat + 1):  # the first does more than the others
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return min(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('file')
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--cell', type=int, nargs=3, default=[4, 4, 2], help='of wurtzite cells of four atoms')
    args = parser.parse_args()
    from aiida_equitrain.drivers import nequix_family  # needs nequix

    limit_threads(1)
    torch.set_num_threads(1)
    atoms = bulk('AlN', 'wurtzite', a=3.11, c=4.98) * args.cell
    atoms.rattle(0.03, seed=1)
    ours = nequix_family.with_matrix_products
    times: dict[str, list[float]] = {}
    for name, change in (('Nequix', lambda model: model), ('products of matrices', ours)):
        nequix_family.with_matrix_products = change
        calculator = load_calculator(args.file, 'nequix', dtype='float32')
        graph, model = calculator.graph([atoms]), calculator.model

        def step(graph: Any = graph, model: Any = model) -> None:
            _, forces, stress = model(*graph)
            ((forces**2).mean() + (stress**2).mean()).backward()

        times[name] = [seconds(lambda: calculator.evaluate([atoms]), args.repeat)]  # noqa: B023
        model.train()
        times[name].append(seconds(step, args.repeat))
        print(f'{name:22s} forces {times[name][0]:6.2f} s, step of training {times[name][1]:6.2f} s', flush=True)
    ratios = [old / new for old, new in zip(*times.values(), strict=True)]
    print(f'{"ratio":22s} forces {ratios[0]:6.2f}  , step of training {ratios[1]:6.2f}')


if __name__ == '__main__':
    main()
