"""Write the archive of a stranger anew: AiiDA reads what was checked, and takes nothing in it for one of ours."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from zipfile import ZipFile

from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from aiida.storage.sqlite_zip.models import SqliteBase
from aiida.storage.sqlite_zip.utils import create_sqla_engine

from aiida_equitrain.science.json_text import parse_json

from .archive import DATABASE, METADATA, OBJECTS, object_names, opened

#: What the labels of nodes and computers end with: no label of an archive is one that somebody looks for here.
MARK = ' (archive)'
#: What no published graph needs.
LEFT_OUT = ('db_dbauthinfo', 'db_dbcomment', 'db_dbgroup', 'db_dbgroup_dbnodes')


def write_clean(path: Path, target: Path, *, words: bool) -> None:
    """Write a copy of an archive: a database and a zip file of our own making, with the rows and objects of the other.

    Extras, groups, comments, and what computers say of their jobs (such as ``prepend_text``) are left out.

    :param words: keep labels, descriptions and logs, which the manifest vouches for.
    :raises ValueError: with a sentence, if AiiDA cannot read it, or its parts do not fit together.
    """
    with opened(path) as (archive, connection):
        metadata = parse_json(archive.read(METADATA)) if METADATA in archive.namelist() else None
        found = metadata.get('export_version') if isinstance(metadata, dict) else None
        known = SqliteZipBackend.version_head()
        if found != known:
            raise ValueError(
                f'`{path}` was written for another version of AiiDA (its format is {str(found)!r:.40}, here it is '
                f'{known!r}): check it with the aiida-core that its README names'
            )
        database = target.with_suffix('.sqlite3')
        copy_tables(connection, database, words=words)
        with ZipFile(target, 'w') as clean:
            # AiiDA looks for these among the first entries only.
            clean.writestr(METADATA, json.dumps({'export_version': known, 'key_format': 'sha256', 'compression': 0}))
            clean.write(database, DATABASE)
            for key in sorted(object_names(archive)):
                with (
                    archive.open(f'{OBJECTS}{key}') as old,
                    clean.open(f'{OBJECTS}{key}', 'w', force_zip64=True) as new,
                ):
                    shutil.copyfileobj(old, new)
        database.unlink()


def copy_tables(old: sqlite3.Connection, path: Path, *, words: bool) -> None:
    """Copy the rows of an archive's database into a new one, in which its constraints hold.

    :raises ValueError: with a sentence, if they do not.
    """
    engine = create_sqla_engine(path)
    SqliteBase.metadata.create_all(engine)
    engine.dispose()
    left_out = LEFT_OUT if words else (*LEFT_OUT, 'db_dblog')
    with closing(sqlite3.connect(path)) as new, new:
        for table in SqliteBase.metadata.sorted_tables:
            if table.name not in left_out:
                columns = ', '.join(f'"{column.name}"' for column in table.columns)
                marks = ', '.join('?' * len(table.columns))
                rows = old.execute(f'SELECT {columns} FROM {table.name}')
                new.executemany(f'INSERT INTO {table.name} ({columns}) VALUES ({marks})', rows)
        new.execute("UPDATE db_dbnode SET extras = '{}'")
        if not words:
            new.execute("UPDATE db_dbnode SET label = '', description = ''")
        new.execute("UPDATE db_dbnode SET label = label || ? WHERE label != ''", (MARK,))
        new.execute("UPDATE db_dbcomputer SET label = label || ?, metadata = '{}'", (MARK,))
        if new.execute('PRAGMA foreign_key_check').fetchone():
            raise ValueError('the archive refers to a computer, a user or a node that it does not hold')
