"""Models, adapters, overrides, things that are no files, and numbers out of bounds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from case import Case


def written(name: str, content: bytes, *arguments: str) -> Callable[[Path], list[str]]:
    """Return a function that writes a file, and gives the arguments with the file's name for ``{}``."""

    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(content)
        return [argument.replace('{}', str(folder / name)) for argument in arguments]

    return make


def fifo(*arguments: str) -> Callable[[Path], list[str]]:
    """Return a function that makes a FIFO that nobody writes to."""

    def make(folder: Path) -> list[str]:
        os.mkfifo(folder / 'fifo')
        return [argument.replace('{}', str(folder / 'fifo')) for argument in arguments]

    return make


CASES = [
    Case('model-no-zip', written('a.model', b'nothing', 'potential', 'import', '{}'), 'no PyTorch model', profile=True),
]
