"""The hyperparameters of a training: their names, defaults and ranges, in this one place.

Names and defaults are Equitrain's own; what Equitrain has no name for is in :data:`OURS`. A name that is not here is
refused before submission, so that a typing error never silently trains with a default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiida_equitrain.common.names import Strategy
from aiida_equitrain.common.validation import refuse_unknown

LOSSES = ('huber', 'mae', 'mse', 'smooth-l1')


@dataclass(frozen=True)
class Option:
    """One hyperparameter.

    :param default: value when nothing is given.
    :param meaning: one phrase for the documentation.
    :param kind: type of the value; ``float`` takes integers too.
    :param low: smallest value; ``above`` excludes it.
    :param choices: allowed values, if they are few.
    :param optional: whether ``None`` is a value.
    """

    default: Any
    meaning: str
    kind: type = float
    low: float = -math.inf
    above: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False

    def problem(self, name: str, value: Any) -> str | None:
        """Return a sentence that says why ``value`` cannot be used, or ``None``."""
        if value is None and self.optional:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        right = is_number if self.kind is float else type(value) is self.kind
        if not right:
            return f'`{name}` is {value!r}, which is not of type {self.kind.__name__}.'
        if self.choices and value not in self.choices:
            return f'`{name}` is `{value}`; it must be one of {", ".join(self.choices)}.'
        if is_number and not (value > self.low if self.above else value >= self.low):
            return f'`{name}` is {value}; it must be {"greater than" if self.above else "at least"} {self.low:g}.'
        return None


#: Names that Equitrain's own training arguments have.
EQUITRAIN: dict[str, Option] = {
    'epochs': Option(200, 'largest number of epochs', int, low=1),
    'batch_size': Option(16, 'frames per optimiser step', int, low=1),
    'opt': Option('adamw', 'optimiser', str, choices=('adamw', 'adam', 'sgd', 'momentum', 'rmsprop', 'adadelta')),
    'lr': Option(0.01, 'learning rate', low=0.0, above=True),
    'weight_decay': Option(0.0, 'weight decay; for l2-tsp the pull towards the foundation', low=0.0),
    'momentum': Option(0.9, 'momentum of sgd and rmsprop', low=0.0),
    'alpha': Option(0.99, 'smoothing constant of rmsprop', low=0.0),
    'gradient_clipping': Option(10.0, 'largest gradient entry; null for none', low=0.0, above=True, optional=True),
    'ema': Option(False, 'exponential moving average of the weights', bool),
    'ema_decay': Option(0.999, 'decay of that average', low=0.0),
    'energy_weight': Option(10.0, 'weight of the energy per atom', low=0.0),
    'forces_weight': Option(100.0, 'weight of the forces', low=0.0),
    'stress_weight': Option(1000.0, 'weight of the stress; 0 for data without stress', low=0.0),
    'loss_type': Option('huber', 'loss function', str, choices=LOSSES),
    'loss_type_energy': Option(None, 'loss function of the energy', str, choices=LOSSES, optional=True),
    'loss_type_forces': Option(None, 'loss function of the forces', str, choices=LOSSES, optional=True),
    'loss_type_stress': Option(None, 'loss function of the stress', str, choices=LOSSES, optional=True),
    'huber_delta': Option(0.01, 'where the Huber loss turns linear (eV per atom, eV/Å, eV/Å³)', low=0.0, above=True),
    'smooth_l1_beta': Option(1.0, 'where the smooth-l1 loss turns linear', low=0.0, above=True),
    'loss_clipping': Option(None, 'largest loss of one entry', low=0.0, above=True, optional=True),
    'scheduler': Option('plateau', 'schedule of the learning rate', str, choices=('plateau', 'exponential', 'step')),
    'scheduler_monitor': Option('train', 'loss that the plateau watches', str, choices=('train', 'val')),
    'plateau_patience': Option(2, 'epochs without improvement before the rate falls', int, low=0),
    'plateau_factor': Option(0.5, 'factor by which the rate falls', low=0.0, above=True),
    'plateau_threshold': Option(1e-4, 'relative improvement that counts', low=0.0),
    'min_lr': Option(0.0, 'lower bound of the learning rate', low=0.0),
    'gamma': Option(0.8, 'decay of the exponential and step schedules', low=0.0, above=True),
    'step_size': Option(5, 'epochs per step of the step schedule', int, low=1),
    'shuffle': Option(True, 'new order of the frames in each epoch', bool),
    'dtype': Option('float32', 'precision of the training', str, choices=('float32', 'float64')),
}

#: Names that are ours.
OURS: dict[str, Option] = {
    'freeze_layers': Option('2-', 'layers without deltas in l2-tsp, in the order of the forward pass', str),
    'best_by': Option(
        'total', 'validation quantity that picks the best epoch', str, choices=('total', 'energy', 'forces', 'stress')
    ),
    'patience': Option(None, 'stop after so many epochs without a better one; null for never', int, 1, optional=True),
    'device': Option('cpu', '`cpu` or `cuda`; a missing GPU is an error', str),
    'threads': Option(1, 'threads of the training process', int, low=1),
}

OPTIONS: dict[str, Option] = {**EQUITRAIN, **OURS}

#: What a strategy starts from where it differs from the defaults (the published numbers).
STRATEGY_DEFAULTS: dict[str, dict[str, Any]] = {
    Strategy.L2_TSP.value: {'weight_decay': 10.0},
    Strategy.TRANSFER.value: {'weight_decay': 5e-3},
}

#: Hyperparameters of which a checkpoint may be continued with other values.
MAY_CHANGE_ON_RESTART = ('epochs', 'patience', 'device', 'threads')


def check_hyperparameters(values: Mapping[str, Any]) -> str | None:
    """Return a sentence that says what is wrong with the hyperparameters, or ``None``."""
    if unknown := refuse_unknown(values, OPTIONS, 'the `hyperparameters` input'):
        return unknown
    for name, value in values.items():
        if problem := OPTIONS[name].problem(name, value):
            return problem
    device = values.get('device', 'cpu')
    if device != 'cpu' and not str(device).startswith('cuda'):
        return f'`device` is `{device}`; it must be `cpu` or `cuda`.'
    weights = [values.get(name, OPTIONS[name].default) for name in ('energy_weight', 'forces_weight', 'stress_weight')]
    if not any(weights):
        return 'all loss weights are 0: there is nothing to learn; set `forces_weight` above 0.'
    chosen = values.get('best_by', 'total')
    if chosen != 'total' and not values.get(f'{chosen}_weight', OPTIONS[f'{chosen}_weight'].default):
        return f'`best_by` is `{chosen}`, but `{chosen}_weight` is 0: that error is not computed.'
    return None


def complete(values: Mapping[str, Any], strategy: str) -> dict[str, Any]:
    """Return all hyperparameters, defaults filled in.

    :param strategy: the strategy, whose own defaults win over the general ones.
    """
    defaults = {name: option.default for name, option in OPTIONS.items()}
    return {**defaults, **STRATEGY_DEFAULTS.get(strategy, {}), **values}
