"""Keys of a ``settings`` input: their defaults, what they mean, and sentences for wrong values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .validation import refuse_unknown


@dataclass(frozen=True)
class Setting:
    """A key of the ``settings`` input.

    :param default: value when the key is absent.
    :param help: what it means.
    :param choices: the values that are allowed; empty: any of the default's type.
    :param minimum: smallest allowed number; ``exclusive`` leaves out the number itself.
    """

    default: Any
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    exclusive: bool = False

    def problem(self, key: str, value: Any) -> str | None:
        """Return what is wrong with ``value``, or ``None``."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            return f'`settings.{key}` must be of type `{kind.__name__}`, not {value!r}.'
        if self.choices and value not in self.choices:
            return f'`settings.{key}` is {value!r}; it must be one of {", ".join(self.choices)}.'
        if self.minimum is not None and (value < self.minimum or (self.exclusive and value == self.minimum)):
            return (
                f'`settings.{key}` is {value}; it must be {"above" if self.exclusive else "at least"} {self.minimum:g}.'
            )
        return None


def settings_problem(given: Mapping[str, Any], settings: Mapping[str, Setting]) -> str | None:
    """Return a sentence about the first unknown key or wrong value, or ``None``."""
    unknown = refuse_unknown(given, settings, 'the `settings` input')
    if unknown:
        return unknown
    problems = (settings[key].problem(key, value) for key, value in given.items())
    return next((problem for problem in problems if problem), None)


def settings_help(settings: Mapping[str, Setting]) -> str:
    """Return the help of a port that holds these settings."""
    return 'Keys: ' + '; '.join(f'`{key}` ({item.default!r}): {item.help}' for key, item in settings.items()) + '.'


def with_defaults(given: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Return all settings, those that were not given with their defaults."""
    return {key: type(setting.default)(given.get(key, setting.default)) for key, setting in settings.items()}
