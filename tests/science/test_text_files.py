"""Test that files of strangers are read within bounds, and that nothing in them runs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiida_equitrain.science.text_files import base_name, parse_yaml, read_bytes, read_text, read_yaml, shown

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    '': bytes,
    '.xz': lzma.compress,
    '.lzma': lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    '.gz': gzip.compress,
    '.bz2': bz2.compress,
}


@pytest.mark.parametrize('end', COMPRESS)
def test_read_text(tmp_path: Path, end: str) -> None:
    """Read the same text whatever it is compressed with."""
    path = tmp_path / f'a.YAML{end}'
    path.write_bytes(COMPRESS[end]('a: [1, Å]\n'.encode()))
    assert read_text(path) == 'a: [1, Å]\n'
    assert read_yaml(path) == {'a': [1, 'Å']}
    assert base_name(path) == 'a.yaml'


@pytest.mark.real
@pytest.mark.parametrize('end', [end for end in COMPRESS if end])
def test_broken_compression(tmp_path: Path, end: str) -> None:
    """Say of a file whether it is cut off, not what its name says, or a bomb."""
    path = tmp_path / f'a.yaml{end}'
    path.write_bytes(COMPRESS[end](os.urandom(4000).hex().encode())[:-100])
    with pytest.raises(ValueError, match=r'`.*` is cut off'):
        read_text(path)
    path.write_text('a: 1\n' * 10)
    with pytest.raises(ValueError, match=r'`.*` cannot be unpacked: it is damaged, or not what its ending says'):
        read_text(path)
    path.write_bytes(COMPRESS[end](bytes(2**24)))
    with pytest.raises(ValueError, match=r'`.*` unpacks to more than 100 times its size'):
        read_text(path)


def test_no_regular_file(tmp_path: Path) -> None:
    """Refuse at once what is no regular file, absent or too large."""
    os.mkfifo(tmp_path / 'fifo.yaml')
    start = time.monotonic()
    for path, message in {
        tmp_path / 'fifo.yaml': 'is not a regular file',
        Path('/dev/zero'): 'is not a regular file',
        tmp_path: 'is a folder, not a file',
        tmp_path / 'absent': 'there is no file',
    }.items():
        with pytest.raises(ValueError, match=message):
            read_text(path)
    assert time.monotonic() - start < 5
    (tmp_path / 'large').write_bytes(bytes(2**20 + 1))
    with pytest.raises(ValueError, match='is larger than 1 MiB'):
        read_bytes(tmp_path / 'large', limit=2**20)
    (tmp_path / 'binary').write_bytes(b'ab\xff')
    with pytest.raises(ValueError, match='is not a text file: its byte 2 is not UTF-8'):
        read_text(tmp_path / 'binary')


def test_plain_values() -> None:
    """Read numbers, words and text as YAML means them; a quoted number is text, a number without a point too is one."""
    text = 'a: [1, -2.5, +.5, 1e-2, "1", ~, yes, 2020-01-01, Na, .inf]\n3: &list [x]\nb: *list\nc: !!str 1\nd:\n'
    content = parse_yaml(text)
    assert content == {
        'a': [1, -2.5, 0.5, 0.01, '1', None, True, '2020-01-01', 'Na', math.inf],
        3: ['x'],
        'b': ['x'],
        'c': '1',
        'd': None,
    }
    assert parse_yaml('') is None


def test_nothing_runs(tmp_path: Path) -> None:
    """Run no tag of Python."""
    for text in (
        f'a: !!python/object/apply:os.system ["touch {tmp_path}/ran"]',
        f'!!python/object/apply:os.system ["touch {tmp_path}/ran"]',
        f'!!python/object/new:os.system {{args: ["touch {tmp_path}/ran"]}}',
        f'? !!python/object/apply:os.system ["touch {tmp_path}/ran"]\n: 1',
        'a: !!python/name:os.system ""',
        '!<tag:yaml.org,2002:python/module:os> a',
    ):
        with pytest.raises(ValueError, match='would make an object of Python'):
            parse_yaml(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: [', 'is not valid YAML: .* line 2'),
        ('a: *b', 'nothing is named `b`'),
        ('a: &x [*x]', 'nothing is named `x`'),
        ('a: 1\na: 2', 'holds the key `a` twice'),
        ('--- 1\n--- 2', 'more than one YAML document'),
        ('a: \x00', 'is not valid YAML'),
        (b'a: \xff', 'is not valid YAML'),
        ('? [a]\n: 1', 'a key is no text or number'),
        ('[' * 51 + ']' * 51, 'is nested deeper than 50 levels'),
        ('[' * 100_000, 'nest'),
        ('- ' * 100_000, 'nest'),
        ('{a: ' * 100_000, 'nest'),
    ],
    ids=range(12),
)
def test_broken_yaml(text: Any, message: str) -> None:
    """Say what is wrong with a YAML."""
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)


def test_aliases_are_counted() -> None:
    """Refuse a billion laughs, whose text is short."""
    lines = ['a: &a [x, x, x, x, x, x, x, x, x, x]']
    for one, two in zip('abcdefgh', 'bcdefghi', strict=True):
        lines.append(f'{two}: &{two} [{", ".join([f"*{one}"] * 10)}]')
    start = time.monotonic()
    with pytest.raises(ValueError, match='more than 10000000 values'):
        parse_yaml('\n'.join(lines))
    assert time.monotonic() - start < 5


def test_shown() -> None:
    """Let no control character of a stranger into a message."""
    assert shown('\x1b[31mred\n') == '\\u001b[31mred '
    assert shown('a' * 100) == 'a' * 59 + '…'
