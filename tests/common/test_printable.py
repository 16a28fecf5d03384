"""Text of strangers: what steers a terminal or hides is written out, and everything else stays as it is."""

from __future__ import annotations

import json
import unicodedata

import pytest

from aiida_equitrain.common.printable import printable, printable_tree


@pytest.mark.parametrize(
    'text', ['Si', 'Γ–X, 0.3 Å⁻¹', '氮化鎵', 'Grüße', '🙂', 'a\u00a0b\u2009c', '<b>&', '$x$', '[red]', 'e\u0301', '']
)
def test_stays(text: str) -> None:
    """Every script and every sign of ours is left alone."""
    assert printable(text) == text
    assert printable(text, lines=True) == text


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('\x1b[31mred', '\\u001b[31mred'),  # colour
        ('\x1b]0;title\x07', '\\u001b]0;title\\u0007'),  # title of the window
        ('\x9b2J', '\\u009b2J'),  # C1: the same in one character
        ('a\x00b\x08c\x7f', 'a\\u0000b\\u0008c\\u007f'),
        ('\u202efdp.\u2066x\u2069', '\\u202efdp.\\u2066x\\u2069'),  # bidirectional overrides and isolates
        ('a\u200bb\u200d\ufeff\u00ad', 'a\\u200bb\\u200d\\ufeff\\u00ad'),  # nobody sees them
        ('\U000e0041', '\\U000e0041'),  # tags
        ('\udcff', '\\udcff'),  # half of a pair, of a file name that is no UTF-8: no stream could write it
        ('a\nb\r\nc\rd\te\x0bf\u2028g\u2029h\x85i', 'a b  c d e f g h i'),
    ],
)
def test_written_out(text: str, shown: str) -> None:
    """Nothing stays that a terminal would obey, or that nobody sees."""
    assert printable(text) == shown
    assert printable(shown) == shown


def test_every_character() -> None:
    """Of all of Unicode, what is left can be printed, but for blanks and the ends of our lines."""
    left = printable(''.join(map(chr, range(0x110000))), lines=True)
    others = {character for character in left if not character.isprintable()}
    assert others - {'\n'} == {character for character in others if unicodedata.category(character) == 'Zs'}
    assert printable('a\nb\r\x1b', lines=True) == 'a\nb \\u001b'
    assert '\n' not in printable('a\nb')


def test_longest() -> None:
    """What is longer is cut, and shows it."""
    assert printable('abc', longest=3) == 'abc'
    assert printable('abcd', longest=3) == 'ab…'
    assert printable_tree({'abcd': ['abcd']}, longest=3) == {'ab…': ['ab…']}


def test_json_stays_json() -> None:
    """Printed JSON means what it meant: the one control character that JSON leaves as it is included."""
    content = {'label': '\x1b[2J\x7f\u202e'}
    assert json.loads(printable(json.dumps(content, indent=1), lines=True)) == content


def test_tree() -> None:
    """Text at every depth, keys included; numbers stay numbers."""
    assert printable_tree({'\x1b': [('\x07', 1.5), None]}) == {'\\u001b': [('\\u0007', 1.5), None]}
    assert printable_tree('\x1b') == '\\u001b'
