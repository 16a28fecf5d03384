"""The hyperparameters of a training: their names, defaults and ranges, in this one place.

Names and defaults are Equitrain's own; what only ``mace_run_train`` has is in :data:`MACE` under its name there, and
what neither has a name for in :data:`OURS`. A name that is not here, or that means nothing to the strategy or the
engine, is refused before submission, so that a typing error never silently trains with a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .names import Engine, Family, Strategy
from .settings import Setting, settings_problem
from .strategies import WITH_REPLAY, default_engine
from .validation import enumerate_names

LOSSES = ('huber', 'mae', 'mse', 'smooth-l1')
BOTH = (Engine.EQUITRAIN.value, Engine.MACE.value)
ONE = (Engine.EQUITRAIN.value,)
WEIGHTS = ('groundstate',)


@dataclass(frozen=True)
class Option(Setting):
    """One hyperparameter: a number, unless its default or ``kind`` is something else.

    :param strategies: the strategies that know it; empty for all.
    :param engines: the engines that know it.
    """

    strategies: tuple[str, ...] = ()
    engines: tuple[str, ...] = BOTH

    def means_something(self, strategy: str, engine: str) -> bool:
        """Tell whether a training of this kind reads the option."""
        return engine in self.engines and (not self.strategies or strategy in self.strategies)


#: Names that Equitrain's own training arguments have.
EQUITRAIN: dict[str, Option] = {
    'epochs': Option(200, 'largest number of epochs', minimum=1),
    'batch_size': Option(16, 'frames per optimiser step', minimum=1),
    'batch_max_nodes': Option(
        None,
        'atoms evaluated at once: the gradients of a batch with more are summed; null for all',
        int,
        minimum=1,
        engines=ONE,
    ),
    'opt': Option('adamw', 'optimiser', choices=('adamw', 'adam', 'sgd', 'momentum', 'rmsprop', 'adadelta')),
    'lr': Option(0.01, 'learning rate', minimum=0.0, exclusive=True),
    'weight_decay': Option(0.0, 'weight decay; for l2-tsp and l2-sp the pull towards the foundation', minimum=0.0),
    'momentum': Option(0.9, 'momentum of sgd and rmsprop', minimum=0.0, engines=ONE),
    'alpha': Option(0.99, 'smoothing constant of rmsprop', minimum=0.0, engines=ONE),
    'gradient_clipping': Option(
        10.0,
        'largest gradient entry (equitrain) or norm (mace); null for none',
        minimum=0.0,
        exclusive=True,
        optional=True,
    ),
    'ema': Option(False, 'exponential moving average of the weights'),
    'ema_decay': Option(0.999, 'decay of that average', minimum=0.0),
    'energy_weight': Option(10.0, 'weight of the energy per atom', minimum=0.0),
    'forces_weight': Option(100.0, 'weight of the forces', minimum=0.0),
    'stress_weight': Option(1000.0, 'weight of the stress; 0 for data without stress', minimum=0.0),
    'loss_type': Option('huber', 'loss function', choices=LOSSES),
    'loss_type_energy': Option(None, 'loss function of the energy', str, choices=LOSSES, engines=ONE),
    'loss_type_forces': Option(None, 'loss function of the forces', str, choices=LOSSES, engines=ONE),
    'loss_type_stress': Option(None, 'loss function of the stress', str, choices=LOSSES, engines=ONE),
    'loss_weight_type': Option(
        None, 'weight of a label by its size: `groundstate` doubles it near zero', str, choices=WEIGHTS, engines=ONE
    ),
    'loss_weight_type_energy': Option(None, 'the same for the energy only', str, choices=WEIGHTS, engines=ONE),
    'loss_weight_type_forces': Option(None, 'the same for the forces only', str, choices=WEIGHTS, engines=ONE),
    'loss_weight_type_stress': Option(None, 'the same for the stress only', str, choices=WEIGHTS, engines=ONE),
    'huber_delta': Option(
        0.01, 'where the Huber loss turns linear (eV per frame, eV/Å, eV/Å³)', minimum=0.0, exclusive=True
    ),
    'smooth_l1_beta': Option(1.0, 'where the smooth-l1 loss turns linear', minimum=0.0, exclusive=True, engines=ONE),
    'loss_clipping': Option(None, 'largest loss of one entry', float, minimum=0.0, exclusive=True, engines=ONE),
    'scheduler': Option('plateau', 'schedule of the learning rate', choices=('plateau', 'exponential', 'step')),
    'scheduler_monitor': Option('train', 'loss that the plateau watches', choices=('train', 'val'), engines=ONE),
    'plateau_patience': Option(2, 'epochs without improvement before the rate falls', minimum=0),
    'plateau_factor': Option(0.5, 'factor by which the rate falls', minimum=0.0, exclusive=True),
    'plateau_threshold': Option(1e-4, 'relative improvement that counts', minimum=0.0, engines=ONE),
    'plateau_threshold_mode': Option(
        'rel', 'whether that improvement is relative or absolute', choices=('rel', 'abs'), engines=ONE
    ),
    'plateau_eps': Option(1e-12, 'smallest change of the rate', minimum=0.0, engines=ONE),
    'min_lr': Option(0.0, 'lower bound of the learning rate', minimum=0.0, engines=ONE),
    'gamma': Option(0.8, 'decay of the exponential and step schedules', minimum=0.0, exclusive=True),
    'step_size': Option(5, 'epochs per step of the step schedule', minimum=1, engines=ONE),
    'shuffle': Option(True, 'new order of the frames in each epoch', engines=ONE),
    'weighted_sampler': Option(
        False, 'draw frames with replacement, in proportion to their loss in the last epoch', engines=ONE
    ),
    'weighted_sampler_threshold': Option(
        None,
        'loss from which on a frame counts there like an average one',
        float,
        minimum=0.0,
        exclusive=True,
        engines=ONE,
    ),
    'dtype': Option('float32', 'precision of the training', choices=('float32', 'float64')),
}

#: Names that only MACE has.
MACE: dict[str, Option] = {
    'beta': Option(0.9, 'decay of the first moment of adam and adamw', minimum=0.0, engines=(Engine.MACE.value,)),
    **{
        f'{part}_lr_factor': Option(1.0, f'factor on the rate of the {part}', minimum=0.0, engines=(Engine.MACE.value,))
        for part in ('embedding', 'interactions', 'products', 'readouts')
    },
}

#: Names that are ours.
OURS: dict[str, Option] = {
    'freeze_layers': Option(
        '',
        'layers that stay as they are: numbers in forward order (`2-`, `0,3`) or names (`interactions`)',
        strategies=('l2-tsp', 'freeze'),
    ),
    'rank': Option(
        None,
        'rank of the low-rank deltas; null: `rank_fraction` (equitrain) or 16 (mace)',
        int,
        minimum=1,
        strategies=('lora',),
    ),
    'rank_fraction': Option(
        None,
        'rank as a fraction of the full one, instead of `rank`; null: 0.25',
        float,
        minimum=0.0,
        exclusive=True,
        maximum=1.0,
        strategies=('lora',),
        engines=ONE,
    ),
    'lora_alpha': Option(
        None,
        'scale of the low-rank deltas, times the rank; null: the rank, a scale of 1',
        float,
        minimum=0.0,
        exclusive=True,
        strategies=('lora',),
    ),
    'replay_size': Option(
        None, 'frames of `replay` to train on, drawn by `seed`; null for all', int, minimum=1, strategies=WITH_REPLAY
    ),
    'replay_weight': Option(
        1.0, 'factor on the errors of replayed frames', minimum=0.0, exclusive=True, strategies=WITH_REPLAY
    ),
    'replay_ratio': Option(
        0.1,
        'new frames per replayed one: where there are fewer, each is taken several times',
        minimum=0.0,
        strategies=WITH_REPLAY,
    ),
    'best_by': Option(
        'total',
        'validation error that picks the epoch, of those that make nothing worse',
        choices=('total', 'energy', 'forces', 'stress'),
    ),
    'patience': Option(None, 'stop after so many epochs without a better one; null for never', int, minimum=1),
    'patience_threshold': Option(0.0, 'relative improvement by which an epoch is better for `patience`', minimum=0.0),
    'device': Option('cpu', '`cpu` or `cuda`; a missing GPU is an error'),
    'threads': Option(1, 'threads of the training process', minimum=1),
}

OPTIONS: dict[str, Option] = {**EQUITRAIN, **MACE, **OURS}

#: Values that only some engines know; others are refused.
ENGINE_CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    Engine.MACE.value: {
        'opt': ('adamw', 'adam'),
        'loss_type': ('huber',),
        'scheduler': ('plateau', 'exponential'),
    }
}

#: What a strategy starts from where it differs from the defaults (the published numbers, where there are any).
STRATEGY_DEFAULTS: dict[str, dict[str, Any]] = {
    Strategy.L2_TSP.value: {'weight_decay': 10.0, 'freeze_layers': '2-'},
    Strategy.L2_SP.value: {'weight_decay': 10.0},
    Strategy.TRANSFER.value: {'weight_decay': 5e-3},
    Strategy.FREEZE.value: {'weight_decay': 5e-3, 'freeze_layers': 'node_embedding,interactions'},
    Strategy.MULTIHEAD.value: {'weight_decay': 5e-7},
    Strategy.SCRATCH.value: {'weight_decay': 5e-7},
}

#: Layers that stay as they are in families whose layers are not those of MACE. The first layer of Nequix has the
#: embedding of the elements in it.
FAMILY_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    Family.NEQUIX.value: {
        Strategy.L2_TSP.value: {'freeze_layers': '1-'},
        Strategy.FREEZE.value: {'freeze_layers': '0-1'},
    },
}

#: What the authors published: large rattled cells, Huber loss, AdamW, rate halved on a plateau, float32. Every protocol
#: says it, so that a stored training does not depend on the defaults of the version that made it.
PUBLISHED = ('opt', 'lr', 'weight_decay', 'scheduler', 'loss_type', 'huber_delta', 'energy_weight', 'forces_weight',
             'stress_weight', 'ema', 'dtype')  # fmt: skip

#: Hyperparameters of which a checkpoint may be continued with other values.
MAY_CHANGE_ON_RESTART = ('epochs', 'patience', 'patience_threshold', 'lr', 'batch_max_nodes', 'device', 'threads')


def options_of(strategy: str, engine: str | None = None) -> dict[str, Option]:
    """Return the hyperparameters that mean something to a strategy, through an engine (the default one if ``None``)."""
    engine = engine or default_engine(strategy)
    return {name: option for name, option in OPTIONS.items() if option.means_something(strategy, engine)}


def check_hyperparameters(
    values: Mapping[str, Any], strategy: str | None = None, engine: str | None = None
) -> str | None:
    """Return a sentence that says what is wrong with the hyperparameters, or ``None``.

    :param strategy: with it, names that mean nothing to it or to the engine are refused as well.
    :param engine: ``None`` for the strategy's default.
    """
    problem = settings_problem(values, OPTIONS, 'hyperparameters')
    if strategy is not None and problem is None:
        problem = _meaningless(values, strategy, engine or default_engine(strategy))
    return problem or _contradiction(values)


def _meaningless(values: Mapping[str, Any], strategy: str, engine: str) -> str | None:
    """Return a sentence about a name or a value that the strategy or the engine does not know."""
    for name, value in values.items():
        option = OPTIONS[name]
        if option.strategies and strategy not in option.strategies:
            owners = enumerate_names(option.strategies)
            return f'`{name}` means nothing to the strategy `{strategy}`, only to {owners}; leave it out.'
        if engine not in option.engines:
            owners = enumerate_names(option.engines)
            return f'`{name}` means nothing to the engine `{engine}`, only to {owners}; leave it out.'
        choices = ENGINE_CHOICES.get(engine, {}).get(name)
        if choices and value not in choices:
            return f'`{name}` is `{value}`; with the engine `{engine}` it must be one of {", ".join(choices)}.'
    return None


def _contradiction(values: Mapping[str, Any]) -> str | None:
    """Return a sentence about values that are right by themselves and wrong together."""
    device = values.get('device', 'cpu')
    if device != 'cpu' and not str(device).startswith('cuda'):
        return f'`device` is `{device}`; it must be `cpu` or `cuda`.'
    for name in ('beta', 'ema_decay'):
        if values.get(name, 0.0) >= 1.0:
            return f'`{name}` is {values[name]}; it must be below 1.'
    fraction = values.get('rank_fraction')
    if fraction is not None and values.get('rank') is not None:
        return '`rank` and `rank_fraction` are both given; leave out one of them.'
    weights = [values.get(name, OPTIONS[name].default) for name in ('energy_weight', 'forces_weight', 'stress_weight')]
    if not any(weights):
        return 'all loss weights are 0: there is nothing to learn; set `forces_weight` above 0.'
    chosen = values.get('best_by', 'total')
    if chosen != 'total' and not values.get(f'{chosen}_weight', OPTIONS[f'{chosen}_weight'].default):
        return f'`best_by` is `{chosen}`, but `{chosen}_weight` is 0: that error is not computed.'
    return None


def complete(
    values: Mapping[str, Any], strategy: str, engine: str | None = None, family: str = Family.MACE.value
) -> dict[str, Any]:
    """Return all hyperparameters that mean something, defaults filled in.

    :param strategy: the strategy, whose own defaults win over the general ones.
    :param engine: ``None`` for the strategy's default.
    :param family: of the foundation.
    """
    defaults = {name: option.default for name, option in options_of(strategy, engine).items()}
    return {**defaults, **strategy_defaults(strategy, family), **values}


def strategy_defaults(strategy: str, family: str) -> dict[str, Any]:
    """Return what a strategy starts from with a family of foundations where it differs from the defaults."""
    return {**STRATEGY_DEFAULTS.get(strategy, {}), **FAMILY_DEFAULTS.get(family, {}).get(strategy, {})}


def keep_meaningful(values: Mapping[str, Any], strategy: str, engine: str | None = None) -> dict[str, Any]:
    """Return the values that a strategy and an engine know: of a protocol, which is written for all of them."""
    known = options_of(strategy, engine)
    choices = ENGINE_CHOICES.get(engine or default_engine(strategy), {})
    return {name: value for name, value in values.items() if name in known and value in choices.get(name, (value,))}
