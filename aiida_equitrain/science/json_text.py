"""Parse JSON of strangers."""

from __future__ import annotations

import json
import re
from typing import Any

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(r'[\[\]{}]')


def parse_json(text: str | bytes, deepest: int = 100) -> Any:
    """Parse JSON that nests no deeper than ``deepest``.

    Python's own limit of recursion does not hold where symfc was imported, which lifts it: the stack ends first, and
    with it the process.

    :raises ValueError: if it nests deeper, or is no JSON.
    """
    text = text if isinstance(text, str) else text.decode('utf-8')
    # Only a text with that many brackets has to be looked at.
    if text.count('[') + text.count('{') > deepest:
        depth = 0
        for bracket in _BRACKET.finditer(_STRING.sub('', text)):
            depth += 1 if bracket[0] in '[{' else -1
            if depth > deepest:
                raise ValueError(f'the JSON nests deeper than {deepest}')
    return json.loads(text)
