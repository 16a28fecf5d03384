"""Settings: keys of a ``settings`` input and hyperparameters, their defaults, and sentences for wrong values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .validation import refuse_unknown


@dataclass(frozen=True)
class Setting:
    """What stands under one key.

    :param default: value when the key is absent; where it is ``None``, so may be what is given.
    :param help: what it means, in one phrase.
    :param kind: type of the value; by default that of ``default``. ``float`` takes integers too.
    :param choices: the values that are allowed; empty: any of the type.
    :param minimum: smallest allowed number; ``exclusive`` leaves out the number itself.
    :param maximum: largest allowed number.
    :param optional: whether ``None`` is a value although it is not the default.
    """

    default: Any
    help: str
    kind: type | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    exclusive: bool = False
    maximum: float | None = None
    optional: bool = False

    def problem(self, name: str, value: Any) -> str | None:
        """Return a sentence that says why ``value`` cannot stand under ``name``, or ``None``."""
        if value is None and (self.optional or self.default is None):
            return None
        kind = self.kind or type(self.default)
        if type(value) not in ((int, float) if kind is float else (kind,)):
            return f'`{name}` must be of type `{kind.__name__}`, not {value!r}.'
        if self.choices and value not in self.choices:
            return f'`{name}` is {value!r}; it must be one of {", ".join(self.choices)}.'
        low, high = self.minimum, self.maximum
        # So that what is not a number is refused as well.
        above = low is None or (value > low if self.exclusive else value >= low)
        if above and (high is None or value <= high):
            return None
        limits = [] if low is None else [f'{"above" if self.exclusive else "at least"} {low:g}']
        limits += [] if high is None else [f'at most {high:g}']
        return f'`{name}` is {value}; it must be {" and ".join(limits)}.'

    def complete(self, value: Any) -> Any:
        """Return a value that has no problem, as it is stored: whole numbers are floats where those are meant."""
        return value if value is None else (self.kind or type(self.default))(value)


def settings_problem(given: Mapping[str, Any], settings: Mapping[str, Setting], port: str = 'settings') -> str | None:
    """Return a sentence about the first unknown key or wrong value of the input ``port``, or ``None``."""
    unknown = refuse_unknown(given, settings, f'the `{port}` input')
    if unknown:
        return unknown
    problems = (settings[key].problem(f'{port}.{key}', value) for key, value in given.items())
    return next((problem for problem in problems if problem), None)


def settings_help(settings: Mapping[str, Setting]) -> str:
    """Return the help of a port that holds these settings."""
    return 'Keys: ' + '; '.join(f'`{key}` ({item.default!r}): {item.help}' for key, item in settings.items()) + '.'


def with_defaults(given: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Return all settings, those that were not given with their defaults; other keys are left out."""
    return {key: item.complete(given.get(key, item.default)) for key, item in settings.items()}
