"""How much the members of a committee of potentials disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Spread:
    """What K members predict for F frames with A atoms in all, and how far they are apart.

    :param energies: mean over the members (F,), eV.
    :param forces: mean over the members (A, 3), eV/Å.
    :param energy_spread: standard deviation over the members (F,), eV/atom.
    :param forces_spread: of each frame (F,), eV/Å: root of the mean, over atoms and components, of the variance over
        the members.
    """

    energies: NDArray[Any]
    forces: NDArray[Any]
    energy_spread: NDArray[Any]
    forces_spread: NDArray[Any]


def committee_spread(energies: NDArray[Any], forces: NDArray[Any], frame_index: NDArray[Any]) -> Spread:
    """Return mean and spread of a committee; variances are those of a sample, over K - 1.

    :param energies: (K, F), eV.
    :param forces: (K, A, 3), eV/Å.
    :param frame_index: (A,) number of the frame of each atom.
    :raises ValueError: with less than two members, or if the shapes do not fit together.
    """
    if len(energies) < 2:
        raise ValueError(f'a committee needs at least two members, not {len(energies)}')
    n_atoms = np.bincount(frame_index, minlength=energies.shape[1])
    if forces.shape != (len(energies), len(frame_index), 3) or len(n_atoms) != energies.shape[1] or not n_atoms.all():
        raise ValueError(f'energies {energies.shape}, forces {forces.shape} and {len(frame_index)} atoms do not agree')
    variance = forces.var(axis=0, ddof=1).mean(axis=1)
    return Spread(
        energies.mean(axis=0),
        forces.mean(axis=0),
        energies.std(axis=0, ddof=1) / n_atoms,
        np.sqrt(np.bincount(frame_index, weights=variance) / n_atoms),
    )
