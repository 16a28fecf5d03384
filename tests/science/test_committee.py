"""The spread of a committee."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_equitrain.science.committee import committee_spread


def test_spread() -> None:
    """Two members that differ by a known amount in each frame."""
    index = np.array([0, 0, 1])
    forces = np.zeros((2, 3, 3))
    forces[1, :2] = 0.2  # of the first frame
    energies = np.array([[1.0, 5.0], [1.4, 5.0]])
    spread = committee_spread(energies, forces, index)
    # Two values d apart have the standard deviation d / sqrt(2).
    np.testing.assert_allclose(spread.forces_spread, [0.2 / np.sqrt(2), 0.0])
    np.testing.assert_allclose(spread.energy_spread, [0.4 / np.sqrt(2) / 2, 0.0])
    np.testing.assert_allclose(spread.energies, [1.2, 5.0])
    np.testing.assert_allclose(spread.forces[:, 0], [0.1, 0.1, 0.0])


def test_spread_of_random_members() -> None:
    """Independent errors of a known size are found again."""
    noise = np.random.default_rng(1).normal(0.0, 0.05, (400, 30, 3))
    spread = committee_spread(np.zeros((400, 3)), noise, np.repeat([0, 1, 2], 10))
    np.testing.assert_allclose(spread.forces_spread, 0.05, rtol=0.02)


@pytest.mark.parametrize(
    ('members', 'atoms', 'sentence'), [(1, 3, 'at least two members'), (2, 4, 'do not agree'), (2, 2, 'do not agree')]
)
def test_wrong_input(members: int, atoms: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        committee_spread(np.zeros((members, 2)), np.zeros((members, 3, 3)), np.array([0, 0, 1, 1][:atoms]))
