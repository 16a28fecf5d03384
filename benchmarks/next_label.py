"""Which frame to label next: that on which a committee disagrees most, against just another random one.

    python benchmarks/next_label.py --data FILE [--foundation FILE --python PATH] [--labels 5] [--pool 16] [--draws 3]

From the same pool of random frames and the same first label, the force constants of a potential are corrected after
every label (``science/correction.py``), and the next frame is

- ``in turn``: the next of the pool, as ``harmonic.phonon_tolerance_thz`` of ``equitrain.label`` takes them;
- ``committee``: of all that are left the one on which the forces of ``--members`` force constants, drawn from the
  posterior of the fit, differ most (root mean square over atoms, components and members). No training is needed.

Rows: error against the fit to all frames (``mae_thz``, Brillouin zone), and the error bar that the fit gives itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from labels import Array, Table, load_crystal
from phonopy.harmonic.force_constants import compact_fc_to_full_fc

from aiida_equitrain.science.correction import Correction, correct_force_constants
from aiida_equitrain.science.error_bars import modes_at
from aiida_equitrain.setup.shipped import starter_files


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='params file of phonopy or phono3py')
    parser.add_argument('--foundation', type=Path, default=None, help='model file; default: the starter')
    parser.add_argument('--python', default=sys.executable, help='Python of the potential; default: this')
    parser.add_argument('--labels', type=int, default=5, help='labels at the end')
    parser.add_argument('--pool', type=int, default=16, help='frames to choose from')
    parser.add_argument('--draws', type=int, default=3, help='random draws of the pool')
    parser.add_argument('--members', type=int, default=8, help='of the committee')
    parser.add_argument('--pairs', type=int, default=8, help='see labels.py')
    parser.add_argument('--mesh', type=int, nargs=3, default=[8, 8, 8], help='q-points')
    parser.add_argument('--cache', type=Path, default=Path('labels-cache'), help='folder of forces computed before')
    return parser.parse_args()


def correct(table: Table, chosen: list[int]) -> Correction:
    """Correct the potential by the chosen frames."""
    crystal = table.crystal
    return correct_force_constants(
        table.phonon,
        crystal.displacements[chosen],
        crystal.forces[chosen],
        np.array([table.potential_forces[index] for index in chosen]),
        basis=table.basis,
    )


def spread(table: Table, correction: Correction, displacements: Array, members: int) -> Array:
    """Return how far the forces of a committee are apart, eV/Å, shape (F,)."""
    forces = [
        np.einsum('ijab,fjb->fia', compact_fc_to_full_fc(table.phonon.primitive, drawn), displacements, optimize=True)
        for drawn in correction.draws(members)
    ]
    return np.sqrt(np.var(forces, axis=0).mean(axis=(1, 2)))


def run(table: Table, pool: list[int], how: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each number of labels."""
    chosen, left, rows = pool[:1], pool[1:], []
    while True:
        correction = correct(table, chosen)
        phonon = table.phonon.copy()
        phonon.force_constants = correction.force_constants
        sigma = modes_at(phonon, table.basis, table.qpoints).sigma(correction.covariance)
        rows.append(
            {
                'how': how,
                'n_labels': len(chosen),
                'mae_thz': table.error(correction.force_constants),
                'uncertainty_thz': float(np.average(sigma.mean(axis=1), weights=table.weights)),
            }
        )
        if len(chosen) == args.labels:
            return rows
        best = 0
        if how == 'committee':
            best = int(np.argmax(spread(table, correction, table.crystal.displacements[left], args.members)))
        chosen = [*chosen, left.pop(best)]


def main() -> None:
    args = read_arguments()
    crystal, foundation = load_crystal(args.data), args.foundation or starter_files()[0]
    settings = argparse.Namespace(**{**vars(args), 'labels': [args.pool]})
    table = Table(crystal, foundation, args.python, settings)
    for draw in range(args.draws):
        pool = [int(index) for index in table.drawn[args.pool, draw]]
        for how in ('in turn', 'committee'):
            for row in run(table, pool, how, args):
                print(json.dumps({'material': crystal.name, 'draw': draw, 'pool': args.pool, **row}), flush=True)


if __name__ == '__main__':
    main()
