"""Places that a command writes to: looked at before the work, not after hours of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

#: Endings of figures.
FIGURES = ('.png', '.pdf', '.svg')


def folder_to_write(_ctx: Any, _param: Any, value: Path | None) -> Path | None:
    """Return a folder that is there, or that can be made.

    :raises click.BadParameter: with a sentence.
    """
    if value is not None:
        there = value.absolute()
        while not there.exists() and there != there.parent:
            there = there.parent
        _check_folder(there)
    return value


def file_to_write(_ctx: Any, _param: Any, value: Path | None) -> Path | None:
    """Return a file whose folder is there.

    :raises click.BadParameter: with a sentence.
    """
    if value is not None:
        if value.exists() and not value.is_file():
            raise click.BadParameter(f'`{value}` is there, and is no regular file: give another name')
        if not value.absolute().parent.exists():
            raise click.BadParameter(f'there is no folder `{value.absolute().parent}`: make it, or give another')
        _check_folder(value.absolute().parent)
    return value


def figure_to_write(context: Any, parameter: Any, value: Path | None) -> Path | None:
    """Return a file whose folder is there, and whose ending is that of a figure.

    :raises click.BadParameter: with a sentence.
    """
    file_to_write(context, parameter, value)
    if value is not None and value.suffix.lower() not in FIGURES:
        raise click.BadParameter(f'`{value.name}` has to end in {", ".join(FIGURES[:-1])} or {FIGURES[-1]}')
    return value


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise click.BadParameter(f'`{folder}` is no folder: give another place')
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.BadParameter(f'you may not write to the folder `{folder}`: give another place')
