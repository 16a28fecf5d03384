"""Sentences for wrong input, shared by nodes, calculations and WorkChains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

#: What holds parameters of Quantum ESPRESSO in overrides.
PARAMETERS = ('parameters', 'meta_parameters')
_LOGICAL = re.compile(r'\.(t|true|f|false)\.?')
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([deq][+-]?\d+)?')


def refuse_unknown(keys: Iterable[Any], allowed: Iterable[str], where: str) -> str | None:
    """Return a sentence if a key is not allowed, naming the nearest right one.

    :param keys: what was given.
    :param allowed: what is known.
    :param where: what holds the keys, such as ``the `settings` input``.
    :returns: the sentence about the first unknown key, ``None`` if all are known.
    """
    known = sorted(allowed)
    for key in keys:
        if key not in known:
            return f'unknown key `{key}` in {where}: {nearest(str(key), known)}'
    return None


def refuse_unknown_nested(
    given: Mapping[str, Any], schema: Mapping[str, Any], where: str, path: str = ''
) -> str | None:
    """Return a sentence if a key at any depth of ``given`` is not in ``schema``.

    :param schema: known keys; a nested mapping is checked in turn, and any other value allows everything below the key.
    :param path: dotted path of ``given``, for the sentence.
    """
    for key, value in given.items():
        full = f'{path}.{key}' if path else str(key)
        if key not in schema:
            return f'unknown key `{full}` in {where}: {nearest(str(key), sorted(schema))}'
        if isinstance(value, Mapping) and isinstance(schema[key], Mapping):
            problem = refuse_unknown_nested(value, schema[key], where, full)
            if problem:
                return problem
    return None


def refuse_quoted_numbers(given: Mapping[str, Any], where: str, path: str = '', parameters: bool = False) -> str | None:
    """Return a sentence if parameters of Quantum ESPRESSO have text where a number or a truth value is meant.

    Fortran's ``1.d-8`` and ``.true.`` are text in YAML, which would be written in quotes.

    :param path: dotted path of ``given``, for the sentence.
    :param parameters: whether ``given`` holds such parameters.
    """
    for key, value in given.items():
        full = f'{path}.{key}' if path else str(key)
        if isinstance(value, Mapping):
            problem = refuse_quoted_numbers(value, where, full, parameters or key in PARAMETERS)
            if problem:
                return problem
        elif parameters and isinstance(value, str) and (meant := _meant(value)):
            return (
                f'`{full}` in {where} is the text `{value}`, which Quantum ESPRESSO would get in quotes: write '
                f'`{meant}`, without quotes'
            )
    return None


def _meant(text: str) -> str | None:
    """Return the number or truth value that a text of Fortran means, as YAML has it, ``None`` if it means none."""
    text = text.strip().lower()
    if _LOGICAL.fullmatch(text):
        return 'true' if text[1] == 't' else 'false'
    if not _NUMBER.fullmatch(text):
        return None
    number = re.sub('[dq]', 'e', text)
    if number.lstrip('+-').isdigit():
        return number
    short = repr(float(number))
    # Readers of YAML 1.1 take a power of ten without a point for text, too.
    return short if '.' in short else short.replace('e', '.0e')


def nearest(key: str, known: Iterable[str]) -> str:
    """Return ``did you mean ...?`` with the nearest known name, or the list of all."""
    known = list(known)
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f'did you mean `{close[0]}`?'
    return f'known are {enumerate_names(known)}' if known else 'none is known here'


def enumerate_names(names: Iterable[str]) -> str:
    """Return names in backticks, joined by commas."""
    return ', '.join(f'`{name}`' for name in names)
