"""Adapters: what is put together is what was trained, and nothing else is taken for an adapter."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from aiida_equitrain.science.adapter import FORMAT, METADATA, make_adapter, read_adapter

ABOUT = {'foundation_sha256': 'ab' * 32, 'strategy': 'l2-tsp', 'dtype': 'float32', 'head': None}


def states(dtype: str = 'float32') -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a state and one after training: few entries, all entries, none; odd numbers, no dimensions."""
    rng = np.random.default_rng(1)
    before = {
        'few': rng.normal(size=(7, 40)).astype(dtype),
        'all': rng.normal(size=(5, 3)).astype(dtype),
        'none': rng.normal(size=9).astype(dtype),
        'odd': np.array([0.0, np.nan, 1.0], dtype=dtype),
        'number': np.array(2.5, dtype=dtype),
        'count': np.array([1, 2], dtype=np.int64),
        'empty': np.zeros((0, 3), dtype=dtype),
    }
    after = {name: values.copy() for name, values in before.items()}
    after['few'][2, ::5] += 1
    after['all'] *= 1.0001
    after['odd'] = np.array([-0.0, np.nan, np.inf], dtype=dtype)
    after['number'] = np.array(2.75, dtype=dtype)
    return before, after


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_bit_for_bit(dtype: str) -> None:
    before, after = states(dtype)
    adapter = read_adapter(make_adapter(before, after, **{**ABOUT, 'dtype': dtype}))
    assert set(adapter.changes) == {'few', 'all', 'odd', 'number'}
    whole = {**before, **adapter.apply(before)}
    for name, values in after.items():
        assert whole[name].tobytes() == values.tobytes(), name
        assert whole[name].shape == values.shape
    untouched, _ = states(dtype)
    assert all(before[name].tobytes() == untouched[name].tobytes() for name in before)


def test_sparse_where_it_pays() -> None:
    """Indices take four bytes each: up to half of the entries in float32, two thirds in float64."""
    for dtype, share in (('float32', 0.5), ('float64', 2 / 3)):
        for fraction, sparse in ((share - 0.02, True), (share + 0.02, False)):
            before = {'x': np.zeros(1000, dtype=dtype)}
            after = {'x': (np.arange(1000) < 1000 * fraction).astype(dtype)}
            change = read_adapter(make_adapter(before, after, **{**ABOUT, 'dtype': dtype})).changes['x']
            assert (change.indices is not None) == sparse


def test_price_of_what_changed() -> None:
    before = {'per_element': np.ones((89, 1000), dtype=np.float32)}
    after = {'per_element': before['per_element'].copy()}
    after['per_element'][[10, 16]] = 2.0
    assert len(make_adapter(before, after, **ABOUT)) < 2 * 1000 * 8 + 500


def test_same_input_same_bytes() -> None:
    before, after = states()
    backwards = dict(reversed(after.items()))
    assert make_adapter(before, after, **ABOUT) == make_adapter(before, backwards, **ABOUT)


def test_nothing_changed() -> None:
    before, _ = states()
    adapter = read_adapter(make_adapter(before, before, **ABOUT))
    assert adapter.apply(before) == {}
    assert (adapter.foundation_sha256, adapter.strategy, adapter.head) == ('ab' * 32, 'l2-tsp', None)


@pytest.mark.parametrize(
    ('name', 'values', 'sentence'),
    [
        ('few', None, 'tensor `few`, which the foundation does not have'),
        ('few', np.zeros((40, 7), dtype=np.float32), r'`few` has the shape \(7, 40\).*\(40, 7\)'),
        ('few', np.zeros((7, 40)), '`few` is float32 in the adapter and float64'),
    ],
)
def test_other_foundation(name: str, values: Any, sentence: str) -> None:
    before, after = states()
    adapter = read_adapter(make_adapter(before, after, **ABOUT))
    other = {key: item for key, item in {**before, name: values}.items() if item is not None}
    with pytest.raises(ValueError, match=sentence):
        adapter.apply(other)


def test_other_architecture() -> None:
    before, after = states()
    with pytest.raises(ValueError, match='differ in `more`'):
        make_adapter(before, {**after, 'more': after['all']}, **ABOUT)
    with pytest.raises(ValueError, match=r'`all` is float32 \(3, 5\) in the trained model'):
        make_adapter(before, {**after, 'all': after['all'].T}, **ABOUT)


def header(content: bytes) -> dict[str, Any]:
    size = int.from_bytes(content[:8], 'little')
    return json.loads(json.loads(content[8 : 8 + size])['__metadata__'][METADATA])


def forged(tensors: dict[str, Any] | None = None, without: str = '', **about: Any) -> bytes:
    """Return an adapter with other arrays or another header."""
    content = make_adapter(*states(), **ABOUT)
    arrays = {**load(content), **(tensors or {})}
    arrays.pop(without, None)
    return save(arrays, {METADATA: json.dumps({**header(content), **about})})


INDICES = np.arange(8, dtype=np.int32)


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (b'', 'no safetensors file'),
        (b'PK\x03\x04 a zip file, or whatever', 'no safetensors file'),
        (make_adapter(*states(), **ABOUT)[:-1], 'damaged'),
        (make_adapter(*states(), **ABOUT)[:40], 'damaged'),
        ((2**62).to_bytes(8, 'little') + b'{}', 'damaged'),
        ((10**5).to_bytes(8, 'little') + b'[' * 10**5, 'damaged'),
        ((8).to_bytes(8, 'little') + b'{"__a":0', 'damaged'),
        (save({'x': np.zeros(3)}), f'no adapter of the format `{FORMAT}`'),
        (save({}, {METADATA: '[' * 10**5}), 'no adapter'),
        (save({}, {METADATA: '[]'}), 'no adapter'),
        (forged(format='equitrain-adapter-2'), 'no adapter of the format'),
        (forged(foundation_sha256=1), 'does not say what it belongs to'),
        (forged(head=['a']), 'does not say what it belongs to'),
        (forged(dtype='bfloat16'), 'number type `bfloat16`'),
        (forged(shapes=[1]), 'no shapes'),
        (forged(shapes={'few': [-7, -40]}), 'which is none'),
        (forged(shapes={'few': 'x'}), 'which is none'),
        (forged(shapes={'few': [1] * 17}), 'which is none'),
        (forged(shapes={'few': [2**41]}), 'which is none'),
        (forged(shapes={'few': [[[7]], 40]}), 'which is none'),
        (forged(shapes={'x' * 501: [1]}), 'a name of more than 500'),
        (forged(strategy='x' * 101), 'does not say what it belongs to'),
        ((2**24).to_bytes(8, 'little') + b' ' * 2**24, 'header is too long'),
        ((10**12).to_bytes(8, 'little') + b'{}', 'header is too long'),
        (forged(shapes={'all': [2**40, 2**40]}), '15 values of `all`'),
        (forged(shapes={}), 'which its header does not know'),
        (forged(without='values/few'), 'lacks the values of `few`'),
        (forged(without='dense/all'), 'lacks the values of `all`'),
        (forged({'dense/few': np.zeros(280, dtype=np.float32)}), 'has them twice'),
        (forged({'indices/few': INDICES[:3]}), '8 values and 3 indices'),
        (forged({'indices/few': INDICES.astype(np.int64)}), 'values and 8 indices'),
        (forged({'indices/few': INDICES - 1}), 'do not ascend from 0'),
        (forged({'indices/few': INDICES + 273}), 'below 280'),
        (forged({'indices/few': INDICES[::-1].copy()}), 'do not ascend'),
    ],
)
def test_damaged_or_hostile(content: bytes, sentence: str) -> None:
    """Each way to be no adapter has its sentence; nothing is read beyond the file, nothing large is made."""
    with pytest.raises(ValueError, match=sentence):
        read_adapter(content)
