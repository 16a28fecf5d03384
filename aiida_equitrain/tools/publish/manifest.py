"""What a published graph consists of, and whether an archive still is that graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida_equitrain.science.json_text import parse_json

from .contents import ArchivedNode, object_names, opened, read_nodes, wrong_objects

#: Name of the manifest in the archive; AiiDA does not look at it.
MANIFEST = 'equitrain/manifest.json'
FORMAT = 1
PARTS = ('attributes', 'files', 'links')


@dataclass(frozen=True)
class Problem:
    """What is wrong with one node."""

    uuid: str
    kind: str
    what: str


def describe_nodes(path: Path) -> dict[str, list[str]]:
    """Return the digests of all nodes of an archive by UUID: attributes, files, links, and the kind of node."""
    with opened(path) as (_, connection):
        return {uuid: [*node.digests(), node.kind] for uuid, node in read_nodes(connection).items()}


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a published archive.

    :raises ValueError: with a sentence, if there is none or it is not understood.
    """
    with opened(path) as (archive, _):
        if MANIFEST not in archive.namelist():
            raise ValueError(f'`{path}` has no manifest: it was not made by `aiida-equitrain publish`')
        try:
            content = parse_json(archive.read(MANIFEST))
        except ValueError as error:
            raise ValueError(f'the manifest of `{path}` cannot be read: {error}') from error
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise ValueError(f'the manifest of `{path}` is of a format that this version does not know')
    return content


def check_archive(path: Path, manifest: dict[str, Any]) -> list[Problem]:
    """Return every node of an archive that is not as the manifest says, with what differs."""
    with opened(path) as (archive, connection):
        nodes = read_nodes(connection)
        wrong, there = wrong_objects(archive), object_names(archive)
    expected: dict[str, list[str]] = manifest['nodes']
    problems = [Problem(uuid, entry[-1], 'is missing') for uuid, entry in sorted(expected.items()) if uuid not in nodes]
    for uuid, node in sorted(nodes.items()):
        if uuid not in expected:
            problems.append(Problem(uuid, node.kind, 'was added'))
            continue
        problems += _changes(node, expected[uuid], wrong, there)
    return problems


def _changes(node: ArchivedNode, expected: list[str], wrong: set[str], there: set[str]) -> list[Problem]:
    """Return what is different about one node."""
    found = []
    for name, key in sorted(node.files.items()):
        if key in wrong:
            found.append(f'its file `{name}` was changed')
        elif key not in there:
            found.append(f'its file `{name}` is missing')
    for part, old, new in zip(PARTS, expected, node.digests(), strict=False):
        if old != new:
            found.append(f'its {part} were changed')
    return [Problem(node.uuid, node.kind, what) for what in found]
