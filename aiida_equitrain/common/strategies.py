"""What each family of potentials can do: its strategies, their engines, how it is evaluated; and the sentences."""

from __future__ import annotations

from dataclasses import dataclass

from .names import Engine, Family, ForceMethod, Strategy
from .validation import enumerate_names, nearest

#: Engines of every strategy, the default one first; MACE has them all.
ENGINES: dict[str, tuple[str, ...]] = {
    Strategy.L2_TSP.value: (Engine.EQUITRAIN.value,),
    Strategy.L2_SP.value: (Engine.EQUITRAIN.value,),
    Strategy.LORA.value: (Engine.EQUITRAIN.value, Engine.MACE.value),
    Strategy.TRANSFER.value: (Engine.EQUITRAIN.value, Engine.MACE.value),
    Strategy.FREEZE.value: (Engine.EQUITRAIN.value, Engine.MACE.value),
    Strategy.MULTIHEAD.value: (Engine.MACE.value,),
    Strategy.SCRATCH.value: (Engine.EQUITRAIN.value, Engine.MACE.value),
}

#: All pairs of strategy and engine.
PAIRS = [(strategy, engine) for strategy, engines in ENGINES.items() for engine in engines]

#: Strategies that train on frames of the foundation's own kind beside the new ones.
WITH_REPLAY = (Strategy.MULTIHEAD.value,)


@dataclass(frozen=True)
class Abilities:
    """What can be done with a family of potentials.

    :param name: as people write it.
    :param engines: of every strategy that it has.
    :param methods: how its forces under displacements are obtained.
    :param batches: whether several structures can be evaluated at once.
    :param python: label of the code with its packages that ``aiida-equitrain setup`` makes.
    :param setup: the command for that.
    """

    name: str
    engines: dict[str, tuple[str, ...]]
    methods: tuple[str, ...]
    batches: bool
    python: str
    setup: str


#: The one table: families, their strategies, and the engines of these.
FAMILIES: dict[str, Abilities] = {
    Family.MACE.value: Abilities(
        'MACE', ENGINES, tuple(method.value for method in ForceMethod), True, 'python', 'aiida-equitrain setup'
    ),
    Family.SEVENNET.value: Abilities(
        'SevenNet',
        {
            Strategy.L2_SP.value: (Engine.EQUITRAIN.value,),
            Strategy.LORA.value: (Engine.EQUITRAIN.value,),
            Strategy.TRANSFER.value: (Engine.EQUITRAIN.value,),
        },
        (ForceMethod.FINITE_DIFFERENCES.value,),
        False,
        'python-sevennet',
        'aiida-equitrain setup --with sevennet',
    ),
    Family.NEQUIX.value: Abilities(
        'Nequix',
        {
            strategy.value: (Engine.EQUITRAIN.value,)
            for strategy in (Strategy.L2_TSP, Strategy.L2_SP, Strategy.LORA, Strategy.TRANSFER, Strategy.FREEZE)
        },
        (ForceMethod.FINITE_DIFFERENCES.value,),
        True,
        'python-nequix',
        'aiida-equitrain setup --with nequix',
    ),
}


def check_family(family: str, strategy: str, engine: str | None = None) -> str | None:
    """Return a sentence if a potential of a family cannot be trained like that, or ``None``."""
    if family not in FAMILIES:
        return (
            f'`foundation` is of the family `{family}`, which cannot be trained; known are {enumerate_names(FAMILIES)}.'
        )
    name, engines = FAMILIES[family].name, FAMILIES[family].engines
    if strategy not in engines:
        return (
            f'`foundation` is a {name} potential, for which there is no strategy `{strategy}`, only '
            f'{enumerate_names(engines)}; choose one of these, or a foundation of another family.'
        )
    if engine is not None and engine not in engines[strategy]:
        return (
            f'`foundation` is a {name} potential, which the `engine` `{engine}` cannot train, only '
            f'{enumerate_names(engines[strategy])}; leave out `engine`.'
        )
    return None


def check_evaluation(family: str, method: str | None = None, batch_size: int | None = None) -> str | None:
    """Return a sentence if a potential of a family cannot be evaluated like that, or ``None``."""
    if family not in FAMILIES:
        return f'`potential` is of the family `{family}`, which is not known; known are {enumerate_names(FAMILIES)}.'
    able = FAMILIES[family]
    if method is not None and method not in able.methods:
        return (
            f'`potential` is a {able.name} potential, for which there is no `method` `{method}`, only '
            f'{enumerate_names(able.methods)}.'
        )
    if batch_size is not None and batch_size > 1 and not able.batches:
        return f'`potential` is a {able.name} potential, which takes one structure at a time; set `batch_size` to 1.'
    return None


def default_engine(strategy: str) -> str:
    """Return the engine of a strategy when none is given."""
    return ENGINES.get(strategy, (Engine.EQUITRAIN.value,))[0]


def check_strategy(
    strategy: str, engine: str | None = None, replay: bool | None = None, family: str | None = None
) -> str | None:
    """Return a sentence if there is no such strategy or no such pair, or ``None``.

    :param engine: ``None`` for the strategy's default.
    :param replay: whether there are frames to replay; ``None`` if that is not known yet.
    :param family: of the foundation; ``None`` if that is not known yet.
    """
    if strategy not in ENGINES:
        return f'`strategy` is `{strategy}`, which does not exist: {nearest(strategy, ENGINES)}'
    known = [item.value for item in Engine]
    if engine is not None and engine not in known:
        return f'`engine` is `{engine}`, which does not exist: {nearest(engine, known)}'
    if engine is not None and engine not in ENGINES[strategy]:
        return (
            f'the strategy `{strategy}` does not run through the `engine` `{engine}`, only through '
            f'{" or ".join(f"`{name}`" for name in ENGINES[strategy])}.'
        )
    if family is not None and (problem := check_family(family, strategy, engine)):
        return problem
    if replay is False and strategy in WITH_REPLAY:
        return (
            f'the strategy `{strategy}` needs frames of what the foundation should not forget: give `replay`, a '
            '`DatasetData` (its labels are used) or a `TrajectoryData` (the foundation labels it).'
        )
    if replay and strategy not in WITH_REPLAY:
        return f'`replay` means nothing to the strategy `{strategy}`, only to {", ".join(WITH_REPLAY)}; leave it out.'
    return None
