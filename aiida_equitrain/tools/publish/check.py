"""The first steps of a check: the file, the manifest, and the import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.tools.archive import import_archive

from .manifest import Problem, check_archive, read_manifest
from .quiet import quiet
from .scrub import sha256_of


def check_file(path: Path, sha256: str | None = None) -> tuple[dict[str, Any], list[Problem]]:
    """Return the manifest of an archive, and every node that is not as it says.

    :param sha256: of the file, as its publisher gave it.
    :raises ValueError: with a sentence, if the file is another one or was not made by ``publish``.
    """
    if sha256 is not None and sha256_of(path) != sha256.lower():
        raise ValueError(f'`{path}` has the SHA-256 {sha256_of(path)}, not {sha256}: it is not the published file')
    manifest = read_manifest(path)
    return manifest, check_archive(path, manifest)


def import_quietly(path: Path) -> None:
    """Import an archive into the loaded profile; what is there already is left alone."""
    with quiet('aiida.export'):  # The tool for imports logs there, too.
        import_archive(path, create_group=False)
