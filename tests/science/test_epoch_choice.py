"""Which epoch is kept, as a table of histories."""

from __future__ import annotations

import math

import pytest

from aiida_equitrain.science.epoch_choice import choose_epoch, describe_worse, worse_quantities

#: What the foundation's errors are in every history.
FOUNDATION = {'energy': 5.0, 'forces': 100.0, 'stress': 3.0}
NAN = math.nan


def row(energy: float, forces: float, stress: float, loss: float = 1.0) -> dict[str, float]:
    return {'valid_energy_mae': energy, 'valid_forces_mae': forces, 'valid_stress_mae': stress, 'valid_loss': loss}


@pytest.mark.parametrize(
    ('history', 'best_by', 'foundation', 'chosen'),
    [
        # Nothing is worse anywhere: the watched error decides.
        ([(4, 50, 2), (4, 40, 2), (3, 45, 1)], 'forces', FOUNDATION, 2),
        ([(4, 50, 2), (4, 40, 2), (3, 45, 1)], 'stress', FOUNDATION, 3),
        # The best forces are bought with energies, or with stress, that are worse than the foundation's.
        ([(4, 50, 2), (171, 40, 2)], 'forces', FOUNDATION, 1),
        ([(4, 50, 2), (4, 40, 6)], 'forces', FOUNDATION, 1),
        # What has no weight is not judged.
        ([(4, 50, 2), (171, 40, 2)], 'forces', {'forces': 100.0, 'stress': 3.0}, 2),
        ([(171, 50, 9), (171, 40, 9)], 'forces', {}, 2),
        # As good as the foundation is not worse.
        ([(5, 100, 3), (4, 99, 3.1)], 'forces', FOUNDATION, 1),
        # No epoch allows it: as few quantities as possible are worse, and the watched error decides among these.
        ([(171, 40, 6), (4, 60, 6), (4, 50, 7)], 'forces', FOUNDATION, 3),
        ([(171, 140, 6), (171, 120, 6)], 'forces', FOUNDATION, 2),
        # Equal epochs: the first. An error that is not finite is never kept, not even alone.
        ([(4, 50, 2), (4, 50, 2)], 'forces', FOUNDATION, 1),
        ([(NAN, NAN, NAN), (171, 140, 6)], 'forces', FOUNDATION, 2),
        ([(NAN, NAN, NAN)], 'forces', FOUNDATION, None),
        ([], 'forces', FOUNDATION, None),
        # An error that was not computed says nothing.
        ([(NAN, 50, 2), (4, 60, 2)], 'forces', FOUNDATION, 1),
    ],
)
def test_choice(
    history: list[tuple[float, float, float]], best_by: str, foundation: dict[str, float], chosen: int | None
) -> None:
    first = row(5.0, 100.0, 3.0, loss=3.0)
    assert choose_epoch([first, *(row(*errors) for errors in history)], best_by, foundation) == chosen


def test_choice_by_the_loss() -> None:
    """The total loss decides only among epochs that make nothing worse."""
    history = [row(5, 100, 3, loss=0.1), row(4, 50, 2, loss=2.0), row(4, 60, 2, loss=1.0), row(6, 40, 2, loss=0.5)]
    assert choose_epoch(history, 'total', FOUNDATION) == 2


def test_worse() -> None:
    """Single precision makes nothing worse; a quantity without labels is not judged."""
    after = {'energy': 5.001, 'forces': 101.0}
    assert worse_quantities(FOUNDATION, after) == ['forces']
    (sentence,) = describe_worse({'energy': [5.53, 171.4]})
    for part in ('energies', '171 meV/atom', '5.53 with the foundation', 'raise `energy_weight`'):
        assert part in sentence
    assert describe_worse({}) == []
