"""Which epoch of a fine-tuning is kept, and what is worse with it than with the foundation.

The rule: of all epochs the one with the fewest quantities whose error on validation frames is larger than the
foundation's, and of these the best by the error that the user watches. So nothing ends worse where any epoch allows
that. This module is staged into the training job.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

QUANTITIES = ('energy', 'forces', 'stress')
#: Errors that differ by less than this fraction are equal: trainings are mostly in single precision.
TOLERANCE = 1e-3

#: How the errors are called, and the unit in which people read them.
WORDS = {'energy': ('energies', 'meV/atom'), 'forces': ('forces', 'meV/Å'), 'stress': ('stresses', 'meV/Å³')}

Errors = Mapping[str, float]


def worse_quantities(before: Errors, after: Errors) -> list[str]:
    """Return the names whose error has grown; a name that either side lacks, or a NaN, is not judged."""
    return [name for name, error in before.items() if after.get(name, math.nan) > error * (1 + TOLERANCE)]


def valid_errors(row: Errors) -> dict[str, float]:
    """Return the errors of an epoch on validation frames, by quantity."""
    return {name: row[f'valid_{name}_mae'] for name in QUANTITIES if f'valid_{name}_mae' in row}


def watched_error(row: Errors, best_by: str) -> float:
    """Return the validation error of an epoch that the hyperparameter ``best_by`` names."""
    return row['valid_loss'] if best_by == 'total' else row[f'valid_{best_by}_mae']


def rank(row: Errors, best_by: str, foundation: Errors) -> tuple[float, float]:
    """Return how good an epoch is: number of quantities worse than the foundation's, then the watched error.

    The smaller pair is better; an epoch whose watched error is not finite is never kept.

    :param foundation: errors of the quantities that are judged, those with a weight above 0, in the units of ``row``.
    """
    error = watched_error(row, best_by)
    if not math.isfinite(error):
        return math.inf, math.inf
    return len(worse_quantities(foundation, valid_errors(row))), error


def choose_epoch(rows: Sequence[Errors], best_by: str, foundation: Errors) -> int | None:
    """Return the epoch that is kept, the first of equal ones; ``None`` where there is none with finite errors.

    :param rows: by epoch; row 0 is the model before training, which is never kept.
    """
    ranks = [rank(row, best_by, foundation) for row in rows[1:]]
    best = min(ranks, default=(math.inf, math.inf))
    return ranks.index(best) + 1 if math.isfinite(best[1]) else None


def describe_worse(worse: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a sentence with the remedy for every quantity that got worse.

    :param worse: errors before and after, in the units of :data:`WORDS`.
    """
    return [
        f'fine-tuning made the {words} worse: {after:.3g} {unit} on validation frames, {before:.3g} with the '
        f'foundation, and no epoch was better; raise `{name}_weight`, lower `lr`, give more `epochs` or more frames, '
        'or take another strategy'
        for name, (words, unit) in WORDS.items()
        if name in worse
        for before, after in [worse[name]]
    ]
