"""Numbers as people read them, shared by the page, the terminal and the progress display."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number(value: Any, digits: int = 3) -> str:
    """Return ``value`` with ``digits`` significant digits and without an exponent, or a dash for ``None`` and NaN."""
    if value is None or isinstance(value, str):
        return value or '–'
    value = float(value)
    if not math.isfinite(value):
        return '–'
    if value == 0:
        return '0'
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f'{value:.{min(decimals, 6)}f}'
    if float(text) == 0:
        return '0'
    return text.replace('-', '−')


def formula(text: str) -> str:
    """Return a chemical formula reduced and as people write it, ``NaCl`` and not Hill's ``ClNa``; or else as it is."""
    from pymatgen.core.composition import Composition  # a second to import

    try:
        return str(Composition(text).reduced_formula)
    except ValueError:
        return text


def counted(value: Any, what: str) -> str:
    """Return how many there are of something, ``1 frame`` or ``2 frames``."""
    return f'{value} {what}{"" if value == 1 else "s"}'


def duration(seconds: float | None) -> str:
    """Return seconds as ``12 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    if seconds is None:
        return '–'
    if seconds < 10:
        return f'{seconds:.1f} s'
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02d} min'


def describe_stability(facts: Mapping[str, Any]) -> str:
    """Return a sentence on the stability, with the verdict within error bars where there are some."""
    stable = 'dynamically stable' if facts['dynamically_stable'] else 'dynamically unstable'
    text = f'{stable}: lowest frequency {facts["lowest_frequency_thz"]:.3f} THz'
    return f'{text}; with error bars {describe_verdict(facts)}' if 'verdict' in facts else text


def describe_verdict(facts: Mapping[str, Any]) -> str:
    """Return the verdict on stability within error bars, such as ``unstable: -1.2 ± 0.1 THz``."""
    sigma = facts['lowest_frequency_sigma_thz']
    # Two digits of the error bar say how many the value has.
    digits = max(0, 1 - math.floor(math.log10(sigma))) if sigma > 0 else 3
    return f'{facts["verdict"]}: {facts["lowest_frequency_thz"]:.{digits}f} ± {sigma:.{digits}f} THz'
