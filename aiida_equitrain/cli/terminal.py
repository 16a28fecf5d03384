"""The one place where the commands write: nothing of a stranger steers the terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from aiida_equitrain.common.printable import SENTENCE, printable


def echo(text: Any = '', *, lines: bool = False, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Write a line.

    :param lines: whether ``text`` may have several.
    :param style: of :func:`click.style`, such as ``fg`` and ``bold``.
    """
    shown = printable(text, lines=lines, longest=None if lines else SENTENCE)
    click.echo(click.style(shown, **style) if style else shown, err=err, nl=nl)


def echo_passing(text: str) -> None:
    """Write a line that what follows overwrites, where somebody looks."""
    if sys.stderr.isatty():
        click.echo(f'\r{printable(text)} \r', err=True, nl=False)


class PrintableFormatter(logging.Formatter):
    """Formats records as another formatter does, made printable."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return printable(self.inner.format(record), lines=True)


def tame_logging() -> None:
    """Let AiiDA's messages on the console, which quote exit messages and outputs of jobs, be printable as well."""
    for handler in logging.getLogger('aiida').handlers:
        if handler.formatter is not None and not isinstance(handler.formatter, PrintableFormatter):
            handler.setFormatter(PrintableFormatter(handler.formatter))
