"""Read an AiiDA archive as a file: nodes, links and objects, without a profile and without running anything of it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from aiida_equitrain.science.json_text import parse_json

DATABASE, OBJECTS = 'db.sqlite3', 'repo/'


@dataclass
class ArchivedNode:
    """A node of an archive.

    :param files: SHA-256 by path, which is also the name of the object.
    :param links: incoming ones: UUID of the source, type, label.
    """

    uuid: str
    node_type: str
    process_type: str
    label: str
    attributes: dict[str, Any]
    files: dict[str, str]
    links: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Name for people, such as ``PotentialData`` or ``TrainCalculation``."""
        return str(self.attributes.get('process_label') or self.node_type.strip('.').rpartition('.')[2])

    def digests(self) -> list[str]:
        """Return digests of attributes (and type), files, and incoming links."""
        return [
            digest([self.node_type, self.process_type, self.attributes]),
            digest(self.files),
            digest(sorted(self.links)),
        ]


def digest(content: Any) -> str:
    """Return the SHA-256 of JSON content, the first 32 digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def opened(path: Path) -> Iterator[tuple[ZipFile, sqlite3.Connection]]:
    """Open an archive: the zip file, and a copy of its database.

    :raises ValueError: with a sentence, if it is no AiiDA archive.
    """
    try:
        archive = ZipFile(path)
    except (BadZipFile, OSError) as error:
        raise ValueError(f'`{path}` is no AiiDA archive: {error}') from error
    with archive, tempfile.TemporaryDirectory() as folder:
        if DATABASE not in archive.namelist():
            raise ValueError(f'`{path}` is no AiiDA archive of version 2: it has no `{DATABASE}`')
        copy = Path(folder) / DATABASE
        copy.write_bytes(archive.read(DATABASE))
        with closing(sqlite3.connect(copy)) as connection:
            yield archive, connection
            connection.rollback()


def read_nodes(connection: sqlite3.Connection) -> dict[str, ArchivedNode]:
    """Return all nodes by UUID, with their incoming links."""
    nodes: dict[int, ArchivedNode] = {}
    columns = 'id, uuid, node_type, process_type, label, attributes, repository_metadata'
    for pk, uuid, node_type, process_type, label, attributes, files in connection.execute(
        f'SELECT {columns} FROM db_dbnode'
    ):
        content = parse_json(attributes) if attributes else {}
        found = dict(_files(parse_json(files) if files else {}))
        nodes[pk] = ArchivedNode(str(uuid), node_type, process_type or '', label or '', content, found)
    for source, target, kind, label in connection.execute('SELECT input_id, output_id, type, label FROM db_dblink'):
        nodes[target].links.append((nodes[source].uuid, kind, label))
    return {node.uuid: node for node in nodes.values()}


def wrong_objects(archive: ZipFile) -> set[str]:
    """Return the names of the objects whose content is not what their name, the SHA-256, says."""
    wrong = set()
    for name in archive.namelist():
        key = name.removeprefix(OBJECTS)
        if name.startswith(OBJECTS) and key and not name.endswith('/'):
            total = hashlib.sha256()
            try:
                with archive.open(name) as handle:
                    while block := handle.read(1 << 20):
                        total.update(block)
            except BadZipFile:
                wrong.add(key)
                continue
            if total.hexdigest() != key:
                wrong.add(key)
    return wrong


def object_names(archive: ZipFile) -> set[str]:
    """Return the names of all objects."""
    return {name.removeprefix(OBJECTS) for name in archive.namelist() if name.startswith(OBJECTS)}


def _files(metadata: Mapping[str, Any], parent: str = '') -> Iterator[tuple[str, str]]:
    """Yield path and key of the files in a node's repository."""
    for name, entry in metadata.get('o', {}).items():
        if 'k' in entry:
            yield f'{parent}{name}', str(entry['k'])
        else:
            yield from _files(entry, f'{parent}{name}/')
