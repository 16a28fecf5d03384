"""Sentences for wrong input, shared by nodes, calculations and WorkChains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


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
