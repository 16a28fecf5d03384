"""JSON of strangers: what is parsed, and that nesting ends neither in a traceback nor in the process."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from aiida_equitrain.science.json_text import parse_json

DEEP = 10**5


@pytest.mark.parametrize(
    'text',
    ['[' * DEEP, '{"a":' * DEEP, '"a", [' + '[' * 101, '["\\"]' + '[' * DEEP],
    ids=['lists', 'mappings', 'just-too-deep', 'after-a-string'],
)
def test_too_deep(text: str) -> None:
    """Deep nesting is refused with a sentence before the parser sees it."""
    with pytest.raises(ValueError, match='nests deeper than 100'):
        parse_json(text)


@pytest.mark.parametrize('content', [[[1], {'a': '[' * 200}] * 200, ['\\"[' * 200], {}, 'text', None])
def test_same_as_json(content: object) -> None:
    """Brackets that are many but not deep, or that stand in strings, are parsed as ever."""
    text = json.dumps(content)
    assert parse_json(text) == parse_json(text.encode()) == content


@pytest.mark.parametrize('text', ['', '[1', '}' * 300 + '[' * 50, '{"a": ]}'])
def test_no_json(text: str) -> None:
    """What is no JSON is the parser's to refuse."""
    with pytest.raises(json.JSONDecodeError):
        parse_json(text)


@pytest.mark.parametrize(
    ('text', 'what'),
    [
        ('[' * 101 + r'\"' * 500_000, 'no end|nests deeper'),
        ('["' + r'\"[' * 300_000, 'no end|nests deeper'),
        ('1' * 311, 'a number of 311 digits'),
        (b'"\xff"', 'UTF-8'),
        ('[' + '1,' * 2**26, 'longer than'),
    ],
)
def test_bounds(text: str | bytes, what: str) -> None:
    """What would take for ever, or all memory, is refused at once."""
    start = time.process_time()
    with pytest.raises(ValueError, match=what):
        parse_json(text)
    assert time.process_time() - start < 2


def test_limit_of_recursion_lifted() -> None:
    """An adapter of a stranger does not end a process in which symfc has lifted Python's limit of recursion."""
    code = """
import symfc, sys
from safetensors.numpy import save
from aiida_equitrain.science.adapter import METADATA, read_adapter
assert sys.getrecursionlimit() > 10**4
try:
    read_adapter(save({}, {METADATA: '[' * 10**5}))
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert 'no adapter' in done.stdout, done.stderr
