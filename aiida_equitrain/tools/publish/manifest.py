"""What a published graph consists of, and whether an archive still is that graph."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from aiida_equitrain.science.json_text import parse_json

from .contents import MANIFEST as MANIFEST
from .contents import UUID, ArchivedNode, object_names, opened, read_nodes, wrong_objects

#: Digests of a node by the format of the manifest; the first one had none of what is said about a node.
PARTS = {1: ('attributes', 'files', 'links'), 2: ('attributes', 'files', 'links', 'labels or logs')}
FORMAT = 2
#: Lists in a manifest.
MOST_LISTS = 1_000_000
PUBLISHABLE = ('equitrain.study', 'equitrain.material')
PROCESSES = tuple(f'aiida.workflows:{name}' for name in PUBLISHABLE)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one node."""

    uuid: str
    kind: str
    what: str


def describe_nodes(path: Path) -> dict[str, list[str]]:
    """Return the digests of all nodes of an archive by UUID, and the kind of node."""
    with opened(path) as (_, connection):
        return {node.uuid: [*node.digests(), node.kind] for node in read_nodes(connection)}


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a published archive.

    :raises ValueError: with a sentence, if there is none or it is not understood.
    """
    with opened(path) as (archive, _):
        if MANIFEST not in archive.namelist():
            raise ValueError(f'`{path}` has no manifest: it was not made by `aiida-equitrain publish`')
        text = archive.read(MANIFEST)
        if text.count(b'[') > MOST_LISTS:
            raise ValueError(f'the manifest of `{path}` has more lists than are read')
        try:
            content = parse_json(text)
        except ValueError as error:
            raise ValueError(f'the manifest of `{path}` cannot be read: {error}') from error
    if not isinstance(content, dict) or type(content.get('format')) is not int or content['format'] not in PARTS:
        raise ValueError(f'the manifest of `{path}` is of a format that this version does not know')
    wrong = [name for name, check in CHECKS.items() if not check(content.get(name))]
    if not wrong and not _are_nodes(content['nodes'], len(PARTS[content['format']])):
        wrong = ['nodes']
    if wrong:
        raise ValueError(f'the manifest of `{path}` is not complete: `{wrong[0]}` is missing, or not what it has to be')
    if content['root'] not in content['nodes']:
        raise ValueError(f'the manifest of `{path}` has the root {content["root"]}, which is none of its nodes')
    return content


def check_archive(path: Path, manifest: dict[str, Any]) -> list[Problem]:
    """Return every node of an archive that is not as the manifest says, with what differs."""
    expected: dict[str, list[str]] = manifest['nodes']
    problems, found = [], set()
    with opened(path) as (archive, connection):
        (number,) = connection.execute('SELECT count(*) FROM db_dbnode').fetchone()
        if number > 2 * len(expected):
            raise ValueError(f'`{path}` has {number} nodes, its manifest {len(expected)}: it is another graph')
        wrong, there = wrong_objects(archive), object_names(archive)
        for node in read_nodes(connection):
            found.add(node.uuid)
            if node.uuid not in expected:
                problems.append(Problem(node.uuid, node.kind, 'was added'))
            else:
                here = _changes(node, expected[node.uuid], PARTS[manifest['format']], wrong, there)
                problems += here or checksum_problems(node)
            if node.uuid == manifest['root'] and node.process_type != manifest['process']:
                problems.append(Problem(node.uuid, node.kind, f'is no {manifest["process"].partition(":")[2]}'))
    problems += [Problem(uuid, entry[-1], 'is missing') for uuid, entry in expected.items() if uuid not in found]
    return sorted(problems, key=lambda problem: problem.uuid)


def checksum_problems(node: ArchivedNode) -> list[Problem]:
    """Return what is wrong with the checksum that a node says of its file; the names of its objects are true."""
    stated = node.attributes.get('sha256')
    if node.node_type.endswith('.PotentialData.') and stated not in node.files.values():
        return [Problem(node.uuid, node.kind, f'its SHA-256, {str(stated)!r:.70}, is not that of its file')]
    return []


def _changes(
    node: ArchivedNode, expected: list[str], parts: tuple[str, ...], wrong: set[str], there: set[str]
) -> list[Problem]:
    """Return what is different about one node."""
    found = []
    for name, key in sorted(node.files.items()):
        if key in wrong:
            found.append(f'its file `{name}` was changed')
        elif key not in there:
            found.append(f'its file `{name}` is missing')
    for part, old, new in zip(parts, expected[:-1], node.digests()[: len(parts)], strict=True):
        if old != new:
            found.append(f'its {part} were changed')
    if expected[-1] != node.kind:
        found.append('its kind was changed')
    return [Problem(node.uuid, node.kind, what) for what in found]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) < 200 and value.isprintable()


def _is_time(value: Any) -> bool:
    try:
        return _is_text(value) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(_is_text(item) for pair in value.items() for item in pair)


def _are_lists(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(items, list) and all(isinstance(item, str) for item in items) for items in value.values()
    )


def _are_nodes(value: Any, number: int) -> bool:
    """Return whether these are nodes with so many digests and a kind."""
    return all(
        isinstance(entry, list)
        and len(entry) == number + 1
        and all(isinstance(item, str) and re.fullmatch('[0-9a-f]{32}', item) for item in entry[:-1])
        and _is_text(entry[-1])
        for entry in value.values()
    )


#: What each part of a manifest has to be.
CHECKS: dict[str, Callable[[Any], bool]] = {
    'root': lambda value: isinstance(value, str) and bool(UUID.fullmatch(value)),
    'process': lambda value: value in PROCESSES,
    'created': _is_time,
    'version': _is_text,
    'packages': _are_texts,
    'results': lambda value: isinstance(value, dict),
    'stays': _are_lists,
    'nodes': lambda value: isinstance(value, dict) and bool(value) and all(map(UUID.fullmatch, value)),
}
