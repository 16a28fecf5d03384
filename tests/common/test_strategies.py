"""The tables of strategies, engines and hyperparameters, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiida_equitrain.common.hyperparameters import (
    OPTIONS,
    STRATEGY_DEFAULTS,
    check_hyperparameters,
    complete,
    keep_meaningful,
    options_of,
)
from aiida_equitrain.common.names import ADAPTER_STRATEGIES, Engine, Strategy
from aiida_equitrain.common.strategies import ENGINES, PAIRS, WITH_REPLAY, check_strategy, default_engine


def test_every_strategy_has_an_engine() -> None:
    assert set(ENGINES) == {strategy.value for strategy in Strategy}
    assert {engine for _, engine in PAIRS} == {engine.value for engine in Engine}
    assert len(PAIRS) == 11
    assert {strategy: default_engine(strategy) for strategy in ENGINES} == {
        **dict.fromkeys(ENGINES, 'equitrain'),
        'multihead': 'mace',
    }
    assert {*ADAPTER_STRATEGIES, *WITH_REPLAY, *STRATEGY_DEFAULTS} <= set(ENGINES)


@pytest.mark.parametrize(('strategy', 'engine'), PAIRS)
def test_defaults_are_allowed(strategy: str, engine: str) -> None:
    """What is filled in is what a strategy and an engine know, and right."""
    assert check_strategy(strategy, engine, strategy in WITH_REPLAY) is None
    values = complete({}, strategy, engine)
    assert set(values) == set(options_of(strategy, engine))
    assert check_hyperparameters(values, strategy, engine) is None
    assert keep_meaningful({name: option.default for name, option in OPTIONS.items()}, strategy, engine).keys() == (
        values.keys()
    )


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('l2-tps',), 'did you mean `l2-tsp`'),
        (('transfer', 'equitran'), 'did you mean `equitrain`'),
        (('l2-tsp', 'mace'), 'only through `equitrain`'),
        (('multihead', 'equitrain', True), 'only through `mace`'),
        (('multihead', None, False), 'give `replay`'),
        (('transfer', None, True), '`replay` means nothing'),
    ],
)
def test_refused_pairs(arguments: tuple[Any, ...], sentence: str) -> None:
    assert sentence in str(check_strategy(*arguments))


@pytest.mark.parametrize(
    ('values', 'strategy', 'engine', 'sentence'),
    [
        ({'lrr': 1.0}, 'transfer', None, 'did you mean `lr`'),
        ({'rank': 4}, 'transfer', None, 'only to `lora`'),
        ({'rank': 4, 'rank_fraction': 0.5}, 'lora', None, 'leave out one'),
        ({'rank_fraction': 2.0}, 'lora', None, 'at most 1'),
        ({'rank_fraction': 0.5}, 'lora', 'mace', 'only to `equitrain`'),
        ({'freeze_layers': '2-'}, 'l2-sp', None, 'only to `l2-tsp`, `freeze`'),
        ({'scheduler_monitor': 'val'}, 'transfer', 'mace', 'nothing to the engine `mace`'),
        ({'loss_type': 'mse'}, 'transfer', 'mace', 'must be one of huber'),
        ({'opt': 'sgd'}, 'multihead', None, 'must be one of adamw, adam'),
        ({'replay_size': 0}, 'multihead', None, 'at least 1'),
        ({'replay_size': 10}, 'transfer', None, 'only to `multihead`'),
        ({'beta': 0.8}, 'transfer', None, 'only to `mace`'),
        ({'beta': 1.0}, 'transfer', 'mace', 'must be below 1'),
        ({'weighted_sampler': True}, 'multihead', None, 'only to `equitrain`'),
    ],
)
def test_refused_hyperparameters(values: dict[str, Any], strategy: str, engine: str | None, sentence: str) -> None:
    assert sentence in str(check_hyperparameters(values, strategy, engine))


def test_published_numbers() -> None:
    decays = {strategy: complete({}, strategy)['weight_decay'] for strategy in ('l2-tsp', 'transfer', 'multihead')}
    assert decays == {'l2-tsp': 10.0, 'transfer': 5e-3, 'multihead': 5e-7}


def test_documentation() -> None:
    """Every strategy and every hyperparameter has its line in the documentation, with the default that it has."""
    text = (Path(__file__).parents[2] / 'docs' / 'topics' / 'strategies.md').read_text(encoding='utf-8')
    for strategy, engines in ENGINES.items():
        stored = 'adapter' if strategy in ADAPTER_STRATEGIES else 'full model'
        line = next(line for line in text.splitlines() if line.startswith(f'| `{strategy}` |'))
        assert f'| {", ".join(engines)} |' in line
        assert line.endswith(f'| {stored} |')
    for name, option in OPTIONS.items():
        assert f'| `{name}` |' in text
        assert option.help in text
