"""Constants of the estimate of what DFT costs: `python benchmarks/dft_cost.py` fits them to timings of pw.x and prints
how far each timing is from the estimate.

Wall seconds of one core (Debian's pw.x 6.7, OpenBLAS, one thread, a shared machine), energy, forces and stress of
structures rattled by 0.03 Å, PseudoDojo, `ecutrho` four times `ecutwfc`. A mesh of 2×2×2 around Γ has
all its eight k-points then.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.optimize import nnls

from aiida_equitrain.science import dft_cost

#: Name, valence electrons, volume (Å³), ecutwfc (Ry), k-points, whether real wave functions do, seconds.
TIMINGS = (
    ('Si8, Γ', 32, 160.2, 20, 1, True, 1.1),
    ('Si8, Γ', 32, 160.2, 30, 1, True, 1.5),
    ('Si8, 2×2×2', 32, 160.2, 20, 8, False, 4.2),
    ('Si8, 2×2×2', 32, 160.2, 30, 8, False, 7.0),
    ('Si16, Γ', 64, 320.4, 20, 1, True, 2.5),
    ('Si16, Γ', 64, 320.4, 30, 1, True, 3.8),
    ('Si16, 2×2×2', 64, 320.4, 20, 8, False, 24.0),
    ('Si64, Γ', 256, 1281.6, 20, 1, True, 27.0),
    ('Si64, Γ', 256, 1281.6, 30, 1, True, 50.0),
    ('NaCl8, Γ', 64, 179.4, 40, 1, True, 1.5),
    ('NaCl8, 2×2×2', 64, 179.4, 40, 8, False, 16.0),
    ('MgO8, Γ', 64, 74.7, 40, 1, True, 1.2),
    ('MgO8, 2×2×2', 64, 74.7, 40, 8, False, 6.3),
)


def fit() -> np.ndarray:
    """Return the three constants, none negative, with the least sum of squared relative deviations."""
    rows = []
    for _, electrons, volume, ecutwfc, n_kpoints, is_gamma, seconds in TIMINGS:
        terms = dft_cost.cost_terms(electrons / 2, volume, ecutwfc, 4 * ecutwfc, n_kpoints, is_gamma)
        rows.append(np.array([1.0, *terms]) / seconds)
    return nnls(np.array(rows), np.ones(len(rows)))[0]


def ratios() -> list[float]:
    """Return estimate over timing with the constants of the package."""
    return [
        dft_cost.scf_seconds(electrons / 2, volume, ecutwfc, 4 * ecutwfc, n_kpoints, is_gamma) / seconds
        for _, electrons, volume, ecutwfc, n_kpoints, is_gamma, seconds in TIMINGS
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = ratios()
    print('fitted:', ', '.join(f'{value:.3g}' for value in fit()))
    for (name, _, _, ecutwfc, _, _, seconds), ratio in zip(TIMINGS, found, strict=True):
        print(f'{name:14s}{ecutwfc:4d} Ry {seconds:6.1f} s, estimate {ratio * seconds:6.1f} s')
    logs = np.log(found)
    print(f'factors: typical {np.exp(np.sqrt(np.mean(logs**2))):.2f}, largest {np.exp(np.abs(logs).max()):.2f}')


if __name__ == '__main__':
    main()
