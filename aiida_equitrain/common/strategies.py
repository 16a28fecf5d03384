"""Which strategy of fine-tuning runs through which engine: the one table, and its sentences."""

from __future__ import annotations

from aiida_equitrain.common.names import Engine, Strategy
from aiida_equitrain.common.validation import nearest

#: Engines of every strategy, the default one first.
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


def default_engine(strategy: str) -> str:
    """Return the engine of a strategy when none is given."""
    return ENGINES.get(strategy, (Engine.EQUITRAIN.value,))[0]


def check_strategy(strategy: str, engine: str | None = None, replay: bool | None = None) -> str | None:
    """Return a sentence if there is no such strategy or no such pair, or ``None``.

    :param engine: ``None`` for the strategy's default.
    :param replay: whether there are frames to replay; ``None`` if that is not known yet.
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
    if replay is False and strategy in WITH_REPLAY:
        return (
            f'the strategy `{strategy}` needs frames of what the foundation should not forget: give `replay`, a '
            '`DatasetData` (its labels are used) or a `TrajectoryData` (the foundation labels it).'
        )
    if replay and strategy not in WITH_REPLAY:
        return f'`replay` means nothing to the strategy `{strategy}`, only to {", ".join(WITH_REPLAY)}; leave it out.'
    return None
