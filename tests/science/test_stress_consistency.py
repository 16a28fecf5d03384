"""Energies and stresses of labels: on one energy surface, and as pw.x gives them at a low cut-off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from aiida_equitrain.drivers.training.errors import Predictions, warnings, widest_stress_gap
from aiida_equitrain.science.frames import Frame
from aiida_equitrain.science.stress_consistency import stress_gap

#: eV/Å³ by which the energies' slope with volume differs from the stress of silicon by pw.x at 20 Ry, PseudoDojo,
#: 4 × 4 × 4 k-points: -3.49 against -0.98 meV/Å³; at 25 Ry both are -2.78.
PULAY = -2.5e-3


@pytest.fixture
def frames() -> Callable[..., Any]:
    """Return a factory of rattled argon, labelled by a Lennard-Jones potential and judged by another one."""

    def make(pulay: float = 0.0, volumes: Any = (-0.03, 0.0, 0.03), stress: bool = True) -> tuple[Any, Predictions]:
        labels, potential = (LennardJones(epsilon=value, sigma=3.4, rc=8.0, smooth=True) for value in (0.0104, 0.012))
        random, found = np.random.default_rng(4), []
        for change in (*volumes, *volumes):
            atoms = bulk('Ar', a=5.26, cubic=True)
            atoms.set_cell(atoms.cell * (1 + change) ** (1 / 3), scale_atoms=True)
            atoms.positions += random.normal(scale=0.03, size=atoms.positions.shape)
            atoms.calc = labels
            energy = atoms.get_potential_energy() - 7000.0 + pulay * atoms.get_volume()
            found.append(Frame(
                atoms.numbers, atoms.positions, atoms.cell[:], energy, atoms.get_forces(),
                atoms.get_stress(voigt=False) if stress else None, role='train',
            ))  # fmt: skip
        return found, Predictions(found, potential)

    return make


def test_one_energy_surface(frames: Any) -> None:
    """Rattling and another potential's compressibility make no gap."""
    gap = widest_stress_gap(*frames())
    assert abs(gap.gap) < 1e-4
    assert not gap.is_significant


def test_energies_of_a_low_cutoff(frames: Any) -> None:
    """The gap is what was put in, and the sentence says what helps."""
    labelled, predictions = frames(PULAY)
    gap = widest_stress_gap(labelled, predictions)
    assert gap.gap == pytest.approx(PULAY, abs=1e-4)
    (warning,) = warnings(labelled, {'rmse_mev_per_atom': 1.0}, gap)
    assert 'disagree: -2.5 ± ' in warning
    assert '`ecutwfc`' in warning


def test_too_little_is_known(frames: Any) -> None:
    """One volume, no stress, three frames: nothing is said."""
    assert widest_stress_gap(*frames(PULAY, volumes=(0.0,) * 3)) is None
    assert widest_stress_gap(*frames(PULAY, stress=False)) is None
    assert stress_gap([19.0, 20.0, 21.0], [0.0, 1.0, 2.0], [0.0, 0.0, 0.0]) is None


def test_scatter_is_no_gap() -> None:
    """Where the labels scatter, a slope has to stand out of it."""
    random = np.random.default_rng(0)
    volumes = np.tile([19.4, 20.0, 20.6], 3)
    energies = 0.002 * volumes + random.normal(scale=0.01, size=9)
    gap = stress_gap(volumes, energies, np.zeros(9))
    assert gap is not None
    assert not gap.is_significant


def test_few_frames_say_little() -> None:
    """With two degrees of freedom, what is four standard errors wide may be chance; with 14 it is not."""
    volumes, noise = np.array([20.0, 20.4, 20.8, 21.2]), 2e-4 * np.array([1.0, -1.0, -1.0, 1.0])
    few = stress_gap(volumes, 1.3e-3 * volumes + noise, np.zeros(4))
    many = stress_gap(*np.tile([volumes, 1.3e-3 * volumes + noise, np.zeros(4)], 4))
    assert few is not None
    assert many is not None
    assert few.gap == pytest.approx(1.3e-3) == many.gap
    assert few.gap > 3 * few.error
    assert not few.is_significant
    assert many.is_significant
