"""Take what is nobody's business out of an archive, and say what stays in."""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from .contents import DATABASE, OBJECTS, opened, read_nodes

#: Who the publisher is in the archive.
USER = 'publisher@aiida-equitrain.invalid'
#: Columns with text of people or machines, by table.
TEXT = {
    'db_dbnode': ('label', 'description', 'attributes', 'extras'),
    'db_dbcomputer': ('hostname', 'description', 'metadata'),
    'db_dblog': ('message', 'metadata'),
    'db_dbcomment': ('content',),
    'db_dbgroup': ('label', 'description'),
}
#: Attributes of jobs that schedulers fill with names of people and machines, and that nothing here needs.
JOB_INFO = ('last_job_info', 'detailed_job_info', 'remote_workdir', 'job_id')
#: Nodes whose text files are looked through: what jobs were given and what they said.
WITH_TEXT = ('process.', 'data.core.folder.', 'data.core.remote.')


@dataclass
class Scrubber:
    """Replaces a person's home folder and name.

    :param homes: folders that become ``~``.
    :param users: names that become ``user`` where they are a part of a path or stand before ``@``.
    """

    homes: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)

    @classmethod
    def of_this_machine(cls, users: Iterable[str] = ()) -> Scrubber:
        """Return that of whoever runs this, and of their names elsewhere."""
        names = {getpass.getuser(), *users}
        return cls([str(Path.home())], sorted(name for name in names if len(name) > 1))

    def __call__(self, text: str) -> str:
        """Return the text without them."""
        for home in self.homes:
            text = re.sub(rf'(?<![\w/.~-]){re.escape(home)}(?=[/"\'\s:;,\\)]|$)', '~', text)
        for user in self.users:
            name = re.escape(user)
            text = re.sub(rf'(?<=/){name}(?=/)|(?<![\w.-]){name}(?=@)', 'user', text)
        return text


def scrub(source: Path, target: Path, scrubber: Scrubber, extra: Mapping[str, bytes] | None = None) -> int:
    """Write an archive without personal names, and with ``extra`` files.

    :returns: how many text files of jobs were changed.
    """
    with opened(source) as (archive, connection):
        renamed = _clean_objects(archive, connection, scrubber)
        _clean_database(connection, scrubber, {old: new for old, (new, _) in renamed.items()})
        connection.commit()
        with ZipFile(target, 'w', ZIP_DEFLATED) as cleaned:
            # AiiDA looks for these among the first entries only.
            cleaned.writestr(DATABASE, connection.serialize())
            for name in archive.namelist():
                key = name.removeprefix(OBJECTS)
                if name == DATABASE or (name.startswith(OBJECTS) and key in renamed):
                    continue
                cleaned.writestr(archive.getinfo(name), archive.read(name), ZIP_DEFLATED)
            written = set(cleaned.namelist())
            for new, content in renamed.values():
                if f'{OBJECTS}{new}' not in written:
                    cleaned.writestr(f'{OBJECTS}{new}', content)
                    written.add(f'{OBJECTS}{new}')
            for name, content in (extra or {}).items():
                cleaned.writestr(name, content)
    return len(renamed)


def what_stays(path: Path) -> dict[str, list[str]]:
    """Return what an archive says of machines: computers, and the programs of codes."""
    with opened(path) as (_, connection):
        computers = [
            f'{label} ({scheduler}, {host})'
            for label, host, scheduler in connection.execute(
                'SELECT label, hostname, scheduler_type FROM db_dbcomputer'
            )
        ]
        nodes = read_nodes(connection).values()
    programs = {str(node.attributes['filepath_executable']) for node in nodes
                if 'filepath_executable' in node.attributes}  # fmt: skip
    folders = {str(node.attributes['remote_path']).rsplit('/', 4)[0] for node in nodes
               if 'remote_path' in node.attributes}  # fmt: skip
    return {'computers': sorted(computers), 'programs': sorted(programs), 'folders of jobs': sorted(folders)}


def _clean_objects(
    archive: ZipFile, connection: sqlite3.Connection, scrubber: Scrubber
) -> dict[str, tuple[str, bytes]]:
    """Return the new key and content of each object of a job that names a person."""
    of_jobs: set[str] = set()
    of_data: set[str] = set()
    for node in read_nodes(connection).values():
        (of_jobs if node.node_type.startswith(WITH_TEXT) else of_data).update(node.files.values())
    renamed = {}
    for key in of_jobs - of_data:
        try:
            text = archive.read(f'{OBJECTS}{key}').decode()
        except (KeyError, UnicodeDecodeError):
            continue
        cleaned = scrubber(text)
        if cleaned != text:
            content = cleaned.encode()
            renamed[key] = (hashlib.sha256(content).hexdigest(), content)
    return renamed


def _clean_database(connection: sqlite3.Connection, scrubber: Scrubber, renamed: Mapping[str, str]) -> None:
    """Replace names in all text, forget users, and point to the renamed objects."""
    for table, columns in TEXT.items():
        for column in columns:
            rows = connection.execute(f'SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL').fetchall()
            for pk, text in rows:
                cleaned = scrubber(text)
                if table == 'db_dbnode' and column == 'attributes':
                    cleaned = _without_job_info(cleaned)
                if cleaned != text:
                    connection.execute(f'UPDATE {table} SET {column} = ? WHERE id = ?', (cleaned, pk))
    for pk, text in connection.execute('SELECT id, repository_metadata FROM db_dbnode').fetchall():
        cleaned = text
        for old, new in renamed.items():
            if cleaned and old in cleaned:
                cleaned = cleaned.replace(old, new)
        if cleaned != text:
            connection.execute('UPDATE db_dbnode SET repository_metadata = ? WHERE id = ?', (cleaned, pk))
    for index, (pk,) in enumerate(connection.execute('SELECT id FROM db_dbuser').fetchall()):
        email = USER if index == 0 else f'{index}.{USER}'
        connection.execute(
            "UPDATE db_dbuser SET email = ?, first_name = '', last_name = '', institution = '' WHERE id = ?",
            (email, pk),
        )


def _without_job_info(text: str) -> str:
    """Return the JSON of attributes without what schedulers say of people."""
    if not any(name in text for name in JOB_INFO):
        return text
    attributes: dict[str, Any] = json.loads(text)
    return json.dumps({key: value for key, value in attributes.items() if key not in JOB_INFO})


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open('rb') as handle:
        while block := handle.read(1 << 20):
            total.update(block)
    return total.hexdigest()
