"""What a running job says of itself, in words."""

from __future__ import annotations

from typing import Any

from .formatting import duration, number

#: What every driver of ours writes while it works.
PROGRESS_FILE = 'progress.json'


def describe_progress(content: dict[str, Any]) -> str:
    """Return ``progress.json`` as a few words, such as ``train 12/60, force MAE 31 meV/Å``; none if it is another."""
    try:
        return _describe(content)
    except (TypeError, ValueError):
        return ''


def _describe(content: dict[str, Any]) -> str:
    if not content.get('stage'):
        return ''
    words = f'{content["stage"]} {content.get("done", 0)}/{content.get("total", "?")}'
    error = content.get('valid_forces_mae')
    if error is not None:
        words += f', validation forces {number(1e3 * float(error))} meV/Å'
    left = content.get('seconds_left')
    if left is not None:
        words += f', {duration(float(left))} left at most'
    return words
