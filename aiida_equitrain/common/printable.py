"""Make labels, file names and messages printable: no control characters, no endless lines."""

from __future__ import annotations

import unicodedata
from typing import Any

#: Characters of a sentence, and of a name in a table or a figure, that are shown.
SENTENCE, NAME = 2000, 60


def printable(text: Any, *, lines: bool = False, longest: int | None = None) -> str:
    """Return text of which nothing steers a terminal or hides on a page.

    Labels, descriptions, messages and names of files come from strangers. Escape sequences, bidirectional overrides and
    characters that nobody sees are written out by their number as JSON does; what breaks a line becomes a blank.

    :param lines: keep the ends of lines: for a table, whose cells were made printable one by one.
    :param longest: cut what is longer.
    """
    text = str(text)
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + '…'
    return ''.join(character if _is_harmless(character, lines) else _written_out(character) for character in text)


def printable_tree(content: Any, *, longest: int | None = None) -> Any:
    """Return nested dictionaries, lists and tuples with all their text, keys included, made :func:`printable`."""
    if isinstance(content, str):
        return printable(content, longest=longest)
    if isinstance(content, dict):
        return {
            printable_tree(key, longest=longest): printable_tree(value, longest=longest)
            for key, value in content.items()
        }
    if isinstance(content, (list, tuple)):
        return type(content)(printable_tree(item, longest=longest) for item in content)
    return content


def _is_harmless(character: str, lines: bool) -> bool:
    return character.isprintable() or (lines and character == '\n') or unicodedata.category(character) == 'Zs'


def _written_out(character: str) -> str:
    if character.isspace():
        return ' '
    code = ord(character)
    return f'\\u{code:04x}' if code < 0x10000 else f'\\U{code:08x}'
