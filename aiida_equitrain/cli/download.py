"""How far a download is, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click


def download_display() -> Callable[[int, int], None] | None:
    """Return what shows how much has arrived, or ``None`` where nobody looks."""
    return _show if sys.stderr.isatty() else None


def _show(done: int, total: int) -> None:
    """Show how much of a download has arrived, in one line."""
    share = f' of {total / 1e6:.0f}' if total else ''
    click.echo(f'\r    download {done / 1e6:.0f}{share} MB ', err=True, nl=done == total)
