"""Put a driver, and every module that it imports, into the folder of a job as the package ``equitrain_job``.

The compute machine has no aiida-equitrain: the driver and its helpers, and what they use of ``science`` and
``common``, are copied as they are. What is copied follows from the imports, so that nothing is forgotten.
"""

from __future__ import annotations

import ast
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from aiida.common.folders import Folder

from aiida_equitrain.common.names import JOB_PACKAGE

#: Where drivers lie in the package, and in the folder of a job.
DRIVERS = 'drivers'


def stage_driver(folder: Folder, driver: str) -> None:
    """Write a driver and all that it imports into ``folder``; it runs as ``python -m`` :func:`module_of`.

    :param driver: its name below ``drivers``, such as ``forces`` or ``training.job``.
    """
    for path in closure(driver):
        target = PurePosixPath(JOB_PACKAGE, path)
        with folder.get_subfolder(str(target.parent), create=True).open(target.name, 'w', encoding='utf-8') as handle:
            handle.write(_source(path))


def module_of(driver: str) -> str:
    """Return the dotted name of a driver in the folder of a job."""
    return f'{JOB_PACKAGE}.{DRIVERS}.{driver}'


def digest(driver: str) -> int:
    """Return a number that changes with a driver or anything that it imports (first 12 digits of SHA-256)."""
    total = sha256()
    for path in closure(driver):
        total.update(f'{path}\n{_source(path)}'.encode())
    return int(total.hexdigest()[:12], 16)


@cache
def closure(driver: str) -> tuple[str, ...]:
    """Return the paths below ``aiida_equitrain`` of a driver and of all of the package that it imports, sorted.

    Imports within functions count, those by a computed name do not: there are none.
    """
    found: set[str] = set()
    waiting = [_path((DRIVERS, *driver.split('.')))]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imported(path))
    return tuple(sorted(found))


@cache
def _imported(path: str) -> tuple[str, ...]:
    """Return the paths of the modules that one imports relatively, and of the packages around it."""
    *package, _ = PurePosixPath(path).parts
    found = [_path(tuple(package[:depth])) for depth in range(len(package) + 1)]
    for node in ast.walk(ast.parse(_source(path))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*package[: len(package) + 1 - node.level], *(node.module or '').split('.'))
            base = tuple(part for part in base if part)
            for alias in node.names:
                inner = _path((*base, alias.name))
                found.append(inner if _file(inner).is_file() else _path(base))
    return tuple(found)


def _path(parts: tuple[str, ...]) -> str:
    """Return the path of a module or, where there is a folder, of its ``__init__.py``."""
    path = '/'.join(parts)
    return f'{path}/__init__.py'.lstrip('/') if _file(path).is_dir() else f'{path}.py'


def _file(path: str) -> Any:
    return files('aiida_equitrain').joinpath(path)


def _source(path: str) -> str:
    return str(_file(path).read_text(encoding='utf-8'))
