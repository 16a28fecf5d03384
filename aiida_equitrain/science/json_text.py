"""Parse JSON that nobody has checked: within bounds of size and depth, with errors as sentences."""

from __future__ import annotations

import json
import re
from typing import Any

#: Largest text that is parsed, and digits of a number: those of the largest double.
LIMIT, MAX_DIGITS = 64 * 2**20, 310
_TOKEN = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def parse_json(text: str | bytes, deepest: int = 100, limit: int = LIMIT) -> Any:
    """Parse JSON that nests no deeper than ``deepest`` and is no longer than ``limit`` bytes or characters.

    Python's own limit of recursion does not hold where symfc was imported, which lifts it: the stack ends first, and
    with it the process.

    :raises ValueError: if it nests deeper, is longer, or is no JSON.
    """
    if len(text) > limit:
        raise ValueError(f'the JSON is longer than {limit} characters')
    try:
        text = text if isinstance(text, str) else text.decode('utf-8')
    except UnicodeDecodeError as error:
        raise ValueError('the JSON is no text in UTF-8') from error
    _check_depth(text, deepest)
    return json.loads(text, parse_int=_integer)


def _check_depth(text: str, deepest: int) -> None:
    """Compare the depth of brackets outside strings with a limit, in one pass whatever the text is."""
    # Only a text with that many brackets has to be looked at.
    if text.count('[') + text.count('{') <= deepest:
        return
    depth, inside = 0, False
    for token in _TOKEN.finditer(text):
        if token[0] == '"':
            inside = not inside
        elif not inside and token[0] in '[]{}':
            depth += 1 if token[0] in '[{' else -1
            if depth > deepest:
                raise ValueError(f'the JSON nests deeper than {deepest}')
    if inside:
        raise ValueError(f'the JSON nests deeper than {deepest}, or a string in it has no end')


def _integer(digits: str) -> int:
    """Return a whole number of a length that can be one."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f'the JSON has a number of {len(digits)} digits')
    return int(digits)
