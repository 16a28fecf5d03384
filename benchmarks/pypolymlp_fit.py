"""Fit a polynomial potential to displaced supercells and evaluate it, as phonopy's ``--pypolymlp`` does, defaults.

    python benchmarks/pypolymlp_fit.py FRAMES.npz FORCES.npz

Runs in an environment with phonopy and pypolymlp: ``apt-get install libeigen3-dev``, then ``pip install phonopy
pypolymlp`` compiles it in two minutes. ``FRAMES.npz`` holds the undisplaced supercell (``numbers`` (N,), ``cell``
(3, 3) and ``positions`` (N, 3), Å), ``displacements`` (F, N, 3), Å, ``forces`` (F, N, 3), eV/Å, ``energies`` (F,), eV,
and the structures that are asked for: ``wanted_numbers`` (M,), ``wanted_cell`` (3, 3), ``wanted_positions`` (K, M, 3);
``FORCES.npz`` gets their ``forces``. The last frames, a tenth and at least one, are phonopy's test set. Imports nothing
of ours.
"""

from __future__ import annotations

import sys

import numpy as np
from phonopy.interface.mlp import PhonopyMLP
from phonopy.structure.atoms import PhonopyAtoms


def main() -> None:
    with np.load(sys.argv[1]) as file:
        data = dict(file)
    supercell = PhonopyAtoms(numbers=data['numbers'], cell=data['cell'], positions=data['positions'])
    dataset = {
        'displacements': data['displacements'],
        'forces': data['forces'],
        'supercell_energies': data['energies'],
    }
    potential = PhonopyMLP(log_level=0)
    potential.develop(dataset, supercell)
    cells = [
        PhonopyAtoms(numbers=data['wanted_numbers'], cell=data['wanted_cell'], positions=positions)
        for positions in data['wanted_positions']
    ]
    np.savez(sys.argv[2], forces=potential.evaluate(cells)[1])


if __name__ == '__main__':
    main()
