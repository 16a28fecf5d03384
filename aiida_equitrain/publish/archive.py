"""Read an AiiDA archive as a file: nodes, links and objects, without a profile and without running anything of it.

An archive may be that of a stranger. What AiiDA gets to read is never that file, but a copy that is written anew from
what was read here (:mod:`.clean`): two readers of zip files can see two archives in one file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import sqlite3
import stat
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from aiida_equitrain.science.json_text import parse_json

DATABASE, METADATA, OBJECTS = 'db.sqlite3', 'metadata.json', 'repo/'
#: Name of the manifest in the archive; AiiDA does not look at it.
MANIFEST = 'equitrain/manifest.json'
#: All that an archive may hold.
ENTRY = re.compile(rf'{re.escape(DATABASE)}|{re.escape(METADATA)}|{re.escape(MANIFEST)}|repo/|repo/[0-9a-f]{{64}}')
#: An archive unpacks to at most so many bytes, or else so many times its size.
SMALL, RATIO = 1 << 28, 100
#: Bytes of a text of its own (metadata, manifest), and of one value in the database: what JSON makes of it is larger.
LONGEST_TEXT, LONGEST_VALUE = 1 << 25, 1 << 24
#: Rows that are read: more than the nodes for which a manifest has room, and what belongs to them.
MOST_ROWS = {
    'db_dbnode': 150_000, 'db_dblink': 600_000, 'db_dblog': 150_000, 'db_dbcomputer': 1000, 'db_dbuser': 1000,
}  # fmt: skip
UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
NODE_TYPE = re.compile(r'(process\.(workflow|calculation)\.\w+\.\w+|data\.\w+(\.\w+)+)\.')
#: A process type that is no entry point is the name of a module, which AiiDA imports: only those of plugins.
PROCESS_TYPE = re.compile(r'(aiida\.(calculations|workflows):[\w.-]+|aiida(_\w+)?(\.\w+)+)?')
#: What reading a damaged zip file raises.
UNREADABLE = (BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, RuntimeError, UnicodeError)


@dataclass
class ArchivedNode:
    """A node of an archive.

    :param files: SHA-256 by path, which is also the name of the object.
    :param links: incoming ones: UUID of the source, type, label.
    :param words: digest of what is said about it: label, description, times, computer, logs.
    """

    uuid: str
    node_type: str
    process_type: str
    attributes: dict[str, Any]
    files: dict[str, str]
    links: list[tuple[str, str, str]] = field(default_factory=list)
    words: str = ''

    @property
    def kind(self) -> str:
        """Name for people, such as ``PotentialData`` or ``TrainCalculation``."""
        label = self.attributes.get('process_label') if self.node_type.startswith('process.') else None
        if isinstance(label, str) and re.fullmatch(r'[\w.<>-]{1,80}', label):
            return label
        return self.node_type.strip('.').rpartition('.')[2]

    def digests(self) -> list[str]:
        """Return digests of attributes (and type), files, incoming links, and words."""
        return [
            digest([self.node_type, self.process_type, self.attributes]),
            digest(self.files),
            digest(sorted(self.links)),
            self.words,
        ]


def digest(content: Any) -> str:
    """Return the SHA-256 of JSON content, the first 32 digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def opened(path: Path) -> Iterator[tuple[ZipFile, sqlite3.Connection]]:
    """Open an archive: the zip file, and a copy of its database.

    :raises ValueError: with a sentence, if it is no AiiDA archive, or turns out to be damaged while it is read.
    """
    if not path.is_file():  # a pipe would be waited for
        raise ValueError(f'`{path}` is no file')
    try:
        archive = ZipFile(path)
    except (*UNREADABLE, ValueError, OverflowError) as error:
        raise ValueError(f'`{path}` is no AiiDA archive: {error}') from error
    with archive, tempfile.TemporaryDirectory() as folder:
        if problem := entries_problem(archive, path.stat().st_size):
            raise ValueError(f'`{path}` {problem}')
        copy = Path(folder) / DATABASE
        try:
            with archive.open(DATABASE) as packed, copy.open('wb') as unpacked:
                shutil.copyfileobj(packed, unpacked)
            with closing(sqlite3.connect(copy)) as connection:
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
                if problem := schema_problem(connection):
                    raise ValueError(f'the database of `{path}` {problem}')
                yield archive, connection
                connection.rollback()
        except sqlite3.Error as error:
            raise ValueError(f'the database of `{path}` cannot be read: {error}') from error
        except UNREADABLE as error:
            raise ValueError(f'`{path}` cannot be unpacked: {error}') from error


def entries_problem(archive: ZipFile, size: int) -> str | None:
    """Return what is wrong with the entries of an archive, or ``None``; nothing is unpacked.

    :param size: of the file, bytes.
    """
    entries = archive.infolist()
    names = Counter(entry.filename for entry in entries)
    if DATABASE not in names:
        return f'is no AiiDA archive of version 2: it has no `{DATABASE}`'
    for entry in entries:
        name = entry.filename
        if not ENTRY.fullmatch(name) or entry.orig_filename != name or stat.S_ISLNK(entry.external_attr >> 16):
            return f'holds `{ascii(name)[1:-1][:80]}`, which no AiiDA archive has'
        if names[name] > 1:
            return f'holds `{name}` twice: programs would not agree on what is in it'
        if entry.flag_bits & 1 or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            return f'holds `{name}` encrypted, or packed in a way that AiiDA does not use'
        if name in (METADATA, MANIFEST) and entry.file_size > LONGEST_TEXT:
            return f'holds `{name}` of {entry.file_size / 1e6:.0f} MB, more than is read'
    total = sum(entry.file_size for entry in entries)
    if total > max(SMALL, RATIO * size):
        return f'would unpack from {size / 1e6:.2g} MB to {total / 1e6:.0f} MB: it is refused'
    return None


def schema_problem(connection: sqlite3.Connection) -> str | None:
    """Return what a database has that that of an archive has not, or ``None``."""
    for kind, name, sql in connection.execute('SELECT type, name, sql FROM sqlite_master'):
        if kind not in ('table', 'index') or str(sql).upper().startswith('CREATE VIRTUAL'):
            return f'has the {kind} `{ascii(name)[1:-1][:80]}`, which no AiiDA archive has'
        if kind == 'table' and any(
            row[-1] > 1 for row in connection.execute('SELECT * FROM pragma_table_xinfo(?)', (name,))
        ):
            return f'has computed columns in `{ascii(name)[1:-1][:80]}`, which no AiiDA archive has'
    # Rows that share their pages unpack to any size.
    connection.execute('PRAGMA ignore_check_constraints = ON')
    if connection.execute('PRAGMA quick_check(1)').fetchone() != ('ok',):
        return 'is damaged'
    return None


def read_nodes(connection: sqlite3.Connection) -> Iterator[ArchivedNode]:
    """Yield all nodes one by one, with their incoming links.

    :raises ValueError: with a sentence, if a node or a link is not what it can be.
    """
    for table, most in MOST_ROWS.items():
        (number,) = connection.execute(f'SELECT count(*) FROM {table}').fetchone()
        if number > most:
            raise ValueError(f'the archive has {number} rows of `{table}`, more than is read')
    uuids: dict[int, str] = dict(connection.execute('SELECT id, uuid FROM db_dbnode'))
    if len(set(uuids.values())) < len(uuids):
        raise ValueError('two nodes of the archive have the same UUID')
    links: dict[int, list[tuple[str, str, str]]] = {}
    for source, target, kind, label in connection.execute('SELECT input_id, output_id, type, label FROM db_dblink'):
        if source not in uuids or target not in uuids:
            raise ValueError('a link of the archive leads to no node of it')
        links.setdefault(target, []).append((uuids[source], str(kind), str(label)))
    words = _words(connection)
    columns = 'id, uuid, node_type, process_type, attributes, repository_metadata'
    for pk, uuid, node_type, process_type, attributes, files in connection.execute(f'SELECT {columns} FROM db_dbnode'):
        if not UUID.fullmatch(str(uuid)):
            raise ValueError(f'a node of the archive has the UUID {uuid!r:.60}, which is none')
        if not NODE_TYPE.fullmatch(str(node_type)) or not PROCESS_TYPE.fullmatch(str(process_type or '')):
            raise ValueError(
                f'the node {uuid} has the type {node_type!r:.80} {process_type or ""!r:.80}, which no node has'
            )
        content, tree = _json_object(uuid, attributes), _json_object(uuid, files)
        yield ArchivedNode(
            uuid, node_type, process_type or '', content, dict(_files(uuid, tree)), links.get(pk, []), words[pk]
        )


def _words(connection: sqlite3.Connection) -> dict[int, str]:
    """Return the digest of what is said about each node."""
    columns = 'label, hostname, description, scheduler_type, transport_type, metadata'
    rows = connection.execute(f'SELECT id, {columns} FROM db_dbcomputer')
    computers = {pk: _digest_of_row(row) for pk, *row in rows}
    columns = 'label, description, ctime, mtime'
    rows = connection.execute(f'SELECT id, dbcomputer_id, {columns} FROM db_dbnode')
    words = {pk: _digest_of_row([computers.get(computer), *row]) for pk, computer, *row in rows}
    columns = 'time, loggername, levelname, message, metadata'
    for pk, *row in connection.execute(f'SELECT dbnode_id, {columns} FROM db_dblog ORDER BY id'):
        if pk not in words:
            raise ValueError('a log of the archive belongs to no node of it')
        words[pk] = _digest_of_row([words[pk], *row])
    return words


def _digest_of_row(row: list[Any]) -> str:
    if any(isinstance(item, bytes) for item in row):
        raise ValueError('a label or a log of the archive is no text')
    return digest(row)


def wrong_objects(archive: ZipFile) -> set[str]:
    """Return the names of the objects whose content is not what their name, the SHA-256, says."""
    wrong = set()
    for key in object_names(archive):
        total = hashlib.sha256()
        try:
            with archive.open(f'{OBJECTS}{key}') as handle:
                while block := handle.read(1 << 20):
                    total.update(block)
        except UNREADABLE:
            wrong.add(key)
            continue
        if total.hexdigest() != key:
            wrong.add(key)
    return wrong


def object_names(archive: ZipFile) -> set[str]:
    """Return the names of all objects."""
    names: Iterable[str] = (name.removeprefix(OBJECTS) for name in archive.namelist() if name.startswith(OBJECTS))
    return {name for name in names if name}


def _json_object(uuid: str, text: Any) -> dict[str, Any]:
    try:
        content = parse_json(str(text)) if text else {}
    except ValueError as error:
        raise ValueError(f'the node {uuid} cannot be read: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'the node {uuid} cannot be read: instead of attributes it has a {type(content).__name__}')
    return content


def _files(uuid: str, metadata: Mapping[str, Any], parent: str = '') -> Iterator[tuple[str, str]]:
    """Yield path and key of the files in a node's repository."""
    entries = metadata.get('o', {})
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        if not isinstance(entry, dict) or name in ('', '.', '..') or '/' in name or not name.isprintable():
            raise ValueError(f'the node {uuid} has the file {name!r:.80}, which cannot be')
        if 'k' in entry:
            yield f'{parent}{name}', str(entry['k'])
        else:
            yield from _files(uuid, entry, f'{parent}{name}/')


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


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Let a logger say warnings only."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
