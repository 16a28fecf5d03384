"""The steps of a check: the file, the manifest, a read-only profile of it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.manage import get_manager
from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from aiida_pseudo.data.pseudo.upf import UpfData, parse_element

from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData

from .archive import Problem, check_archive, read_manifest
from .clean import write_clean
from .effort import PATIENCE
from .recompute import Check, first_difference, recompute
from .rerun import Numbers, numbers_of, versions_of
from .scrub import sha256_of
from .write import results_of

#: Prefix of the attributes in which an array says its shape.
ARRAY = 'array|'


def check_file(path: Path, sha256: str | None = None) -> tuple[dict[str, Any], list[Problem]]:
    """Return the manifest of an archive, and every node that is not as it says.

    :param sha256: of the file, as its publisher gave it.
    :raises ValueError: with a sentence, if the file is another one or was not made by ``publish``.
    """
    if not path.is_file():
        raise ValueError(f'`{path}` is no file')
    if sha256 is not None and sha256_of(path) != sha256.lower():
        raise ValueError(f'`{path}` has the SHA-256 {sha256_of(path)}, not {sha256}: it is not the published file')
    manifest = read_manifest(path)
    return manifest, check_archive(path, manifest)


@contextmanager
def own_copy(path: Path) -> Iterator[Path]:
    """Give a copy of a file in a folder of our own: what is checked is what is read later, whoever writes to the file.

    :raises ValueError: with a sentence, if it is no file or there is no room; sentences about the copy name the file.
    """
    if not path.is_file():  # a pipe would be waited for
        raise ValueError(f'`{path}` is no file')
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise ValueError(f'`{path}` cannot be copied to be checked: {error.strerror}') from error
        try:
            yield copy
        except ValueError as error:
            raise ValueError(str(error).replace(str(copy), str(path))) from error


@contextmanager
def clean_copy(path: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """Give a copy of a checked archive for AiiDA to read, see :func:`~.clean.write_clean`."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / 'archive.aiida'
        # The first format of manifests does not vouch for labels and logs.
        write_clean(path, target, words=manifest['format'] > 1)
        yield target


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Load a read-only profile of an archive, and afterwards the profile that was loaded before."""
    manager = get_manager()
    before = manager.get_profile()
    try:
        manager.load_profile(SqliteZipBackend.create_profile(path), allow_switch=True)
        yield
    except AiidaException as error:
        raise ValueError(f'AiiDA cannot read the archive: {error}') from error
    finally:
        if before is None:
            manager.unload_profile()
        else:
            manager.load_profile(before, allow_switch=True)


def content_problems() -> list[Problem]:
    """Return every potential, dataset and other file of the loaded profile that is not what its node says."""
    problems = []
    for node in orm.QueryBuilder().append(orm.Data).iterall():
        what = content_problem(node[0])
        if what:
            problems.append(Problem(node[0].uuid, type(node[0]).__name__, what))
    return problems


def content_problem(node: orm.Data) -> str | None:
    """Return what a data node says that its files do not, or ``None``."""
    try:
        if isinstance(node, PotentialData | DatasetData):
            return node.file_problem()
        if isinstance(node, orm.ArrayData):
            return _array_problem(node)
        if isinstance(node, orm.SinglefileData):
            return _file_problem(node)
    except Exception as error:  # the content is a stranger's: whatever goes wrong with it, it is not what it says
        return f'its file cannot be read: {next(iter(str(error).splitlines()), type(error).__name__)}'
    return None


def _file_problem(node: orm.SinglefileData) -> str | None:
    """Return what a file is not that its node says, or ``None``: its name, MD5, or the element of a pseudopotential."""
    if node.base.repository.list_object_names() != [node.filename]:
        return f'it does not hold the file `{ascii(node.filename)[1:-1]}`'
    content = node.base.repository.get_object_content(node.filename, 'rb')
    stated = node.base.attributes.get('md5', None)
    if stated is not None and stated != hashlib.md5(content, usedforsecurity=False).hexdigest():
        return 'its MD5 is not that of its file'
    if isinstance(node, UpfData) and node.element != parse_element(content.decode('utf-8')):
        return 'its element is not that of its file'
    return None


def _array_problem(node: orm.ArrayData) -> str | None:
    """Return what arrays say of themselves that their files do not, or ``None``; only the heads of files are read."""
    stated = {
        key.removeprefix(ARRAY): shape for key, shape in node.base.attributes.all.items() if key.startswith(ARRAY)
    }
    if {f'{name}.npy' for name in stated} != {name for name in node.base.repository.list_object_names()
                                              if name.endswith('.npy')}:  # fmt: skip
        return 'it does not hold the arrays that it says'
    for name, expected in stated.items():
        with node.base.repository.open(f'{name}.npy', 'rb') as handle:
            version = np.lib.format.read_magic(handle)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(handle)
        if dtype.hasobject or list(shape) != list(expected):
            return f'its array `{ascii(name)[1:-1]}` is not of the shape that it says'
    return None


@dataclass(frozen=True)
class Derived:
    """What follows from the inputs that are stored in an archive.

    :param numbers: the published ones, see :func:`~.rerun.numbers_of`.
    :param versions: of packages, as the jobs said them.
    """

    checks: list[Check]
    numbers: Numbers
    versions: dict[str, str]


def derive(
    manifest: dict[str, Any], progress: Callable[[int, int], None] | None = None, patience: float = PATIENCE
) -> Derived:
    """Compute again what the archive of the loaded profile has computed, and read its results.

    :param progress: see :func:`~.recompute.recompute`.
    :param patience: seconds, see :mod:`.effort`.
    :raises ValueError: with a sentence, if the results cannot be read.
    """
    root: Any = orm.load_node(manifest['root'])
    try:
        results = results_of(root)
        numbers, versions = numbers_of(root), versions_of(root)
    except Exception as error:  # the results are a stranger's
        raise ValueError(f'the results of the archive cannot be read: {type(error).__name__}') from error
    checks = recompute(list(manifest['nodes']), progress, patience)
    stated = manifest['results']
    difference = first_difference(stated, results) if set(stated) == set(results) else 'it has other results'
    # The other way as well: here no key may be missing.
    difference = difference or first_difference(results, stated)
    if difference:
        checks.append(Check(root.uuid, 'results in the manifest', 0, difference))
    return Derived(checks, numbers, versions)
