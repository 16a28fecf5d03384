"""Directions in crystals: the same for all that symmetry makes alike, in conventional axes."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from aiida_equitrain.science.crystal_directions import crystal_direction

SALT = bulk('GeTe', 'rocksalt', a=6.0)


@pytest.mark.parametrize(
    ('vector', 'written'),
    [
        ([0, 0, 1], '[001]'), ([0, -2, 0], '[001]'), ([1, 0, -1], '[011]'), ([0.3, 0.3, 0], '[011]'),
        ([-1, 1, 1], '[111]'), ([1, 2, 0], '[012]'), ([0.01, 0, 1], '[001]'), ([1, 0.55, 0.23], '[0.23 0.55 1.00]'),
    ],
)  # fmt: skip
def test_cubic(vector: list[float], written: str) -> None:
    """The primitive cell is of no account, nor is which of the equal directions it is."""
    found = crystal_direction(SALT.cell[:], SALT.get_scaled_positions(), SALT.numbers, np.array(vector, dtype=float))
    assert found == written


def test_turned_crystal() -> None:
    """A crystal that lies otherwise in space has the same directions."""
    turned = SALT.copy()
    turned.rotate(33, (1, 2, 3), rotate_cell=True)
    axis = turned.cell[:].sum(axis=0)
    found = crystal_direction(turned.cell[:], turned.get_scaled_positions(), turned.numbers, axis)
    assert found == '[111]'


def test_supercell() -> None:
    """The shape of a supercell is of no account either."""
    long = SALT.repeat((1, 1, 3))
    for vector in ([0.0, 0.0, 1.0], [1.0, 0.0, 0.0]):
        found = crystal_direction(long.cell[:], long.get_scaled_positions(), long.numbers, np.array(vector))
        assert found == '[001]'


def test_hexagonal() -> None:
    """Axes that meet at 120 degrees: the equal of [1-10] without a minus is [120]."""
    zinc = bulk('Zn')
    vector = zinc.cell[0] - zinc.cell[1]
    found = crystal_direction(zinc.cell[:], zinc.get_scaled_positions(), zinc.numbers, vector)
    assert found == '[120]'
