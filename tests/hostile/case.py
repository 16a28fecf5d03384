"""One hostile or broken input, and what the command line has to say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """An input that a stranger made, given to a command.

    :param name: of the test, without blanks, unique in all modules.
    :param make: writes the input below an empty folder, and returns the arguments of ``aiida-equitrain``. Code in the
        input touches the file ``code-ran`` in that folder, which the test then finds.
    :param says: regular expression that the output must match.
    :param fails: whether the command has to end with an exit code above 0; otherwise the input is harmless and taken.
    :param profile: whether the command needs a loaded profile (a temporary one).
    """

    name: str
    make: Callable[[Path], list[str]]
    says: str
    fails: bool = True
    profile: bool = False
