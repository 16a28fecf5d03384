"""Archives of strangers: the zip file, its database, its manifest, and nodes that are not what they say."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import honest
from case import Case

NAME = 'study.aiida'
REPO = 'repo/' + '0' * 64


def file(make: Callable[[Path], Any]) -> Callable[[Path], list[str]]:
    """Return the maker of a case that checks the archive that ``make`` writes."""

    def maker(folder: Path) -> list[str]:
        make(folder / NAME)
        return ['reproduce', str(folder / NAME)]

    return maker


def altered(**changes: Any) -> Callable[[Path], list[str]]:
    """Return the maker of a case that checks the honest archive after changes, see ``honest.changed``."""
    return file(lambda path: honest.changed(path, **changes))


def replaced(name: str, content: bytes | None) -> Callable[[Path], list[str]]:
    """Return the maker of a case that checks the honest archive with another entry in the place of one, or none."""

    def change(entries: dict[str, bytes]) -> None:
        del entries[name]
        if content is not None:
            entries[name] = content

    return altered(entries=change)


def added(name: str | ZipInfo, content: bytes = b'x', method: int = ZIP_STORED) -> Callable[[Path], list[str]]:
    """Return the maker of a case that checks the honest archive with another entry."""

    def write(path: Path) -> None:
        path.write_bytes(honest.honest().read_bytes())
        with ZipFile(path, 'a') as archive:
            archive.writestr(name, content, method)

    return file(write)


def link(name: str) -> ZipInfo:
    """Return the entry of a symbolic link."""
    entry = ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def first_of_two(path: Path) -> None:
    """Write two databases: AiiDA would import the first, Python would check the last."""
    entries = honest.content()
    with ZipFile(path, 'w', ZIP_DEFLATED) as archive:
        archive.writestr('metadata.json', entries['metadata.json'])
        archive.writestr('db.sqlite3', b'another one')
        for name, content in entries.items():
            if name != 'metadata.json':
                archive.writestr(name, content)


def bomb(path: Path) -> None:
    """Write an object of zeros, 300 MB."""
    with ZipFile(path, 'w', ZIP_DEFLATED) as archive:
        for name, content in honest.content().items():
            archive.writestr(name, content)
        with archive.open(REPO, 'w', force_zip64=True) as entry:
            for _ in range(300):
                entry.write(bytes(10**6))


def database_bomb(path: Path) -> None:
    """Write a database that unpacks to 300 MB."""
    with ZipFile(path, 'w', ZIP_DEFLATED) as archive:
        with archive.open('db.sqlite3', 'w') as entry:
            for _ in range(300):
                entry.write(bytes(10**6))
        archive.writestr('metadata.json', honest.content()['metadata.json'])


def overlapping(path: Path) -> None:
    """Write many entries that are one and the same piece of the file."""
    with ZipFile(path, 'w', ZIP_DEFLATED) as archive:
        archive.writestr('metadata.json', honest.content()['metadata.json'])
        archive.writestr('db.sqlite3', honest.content()['db.sqlite3'])
        with archive.open(REPO, 'w') as entry:
            for _ in range(200):
                entry.write(bytes(10**6))
        for number in range(1, 200):
            copy = ZipInfo(f'repo/{number:064x}')
            for key in ('header_offset', 'CRC', 'compress_size', 'file_size', 'compress_type', 'flag_bits'):
                setattr(copy, key, getattr(archive.getinfo(REPO), key))
            archive.filelist.append(copy)
            archive.NameToInfo[copy.filename] = copy


def encrypted(path: Path) -> None:
    """Set the flag of encryption on every entry."""
    data = bytearray(honest.honest().read_bytes())
    for signature, offset in ((b'PK\1\2', 8), (b'PK\3\4', 6)):
        at = data.find(signature)
        while at >= 0:
            (flags,) = struct.unpack_from('<H', data, at + offset)
            struct.pack_into('<H', data, at + offset, flags | 1)
            at = data.find(signature, at + 4)
    path.write_bytes(data)


def damaged(path: Path) -> None:
    """Change the packed database."""
    data = bytearray(honest.honest().read_bytes())
    with ZipFile(honest.honest()) as archive:
        at = archive.getinfo('db.sqlite3').header_offset
    data[at + 200] ^= 255
    path.write_bytes(data)


def set_part(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change of one part of the manifest."""
    return lambda manifest: manifest.__setitem__(name, value)


def every_node(change: Callable[[list[str]], Any]) -> Callable[[dict[str, Any]], None]:
    """Return a change of the entries of all nodes in the manifest."""

    def apply(manifest: dict[str, Any]) -> None:
        manifest['nodes'] = {uuid: change(entry) for uuid, entry in manifest['nodes'].items()}

    return apply


def first_format(manifest: dict[str, Any]) -> None:
    """Make the manifest one of the first format, which said nothing of labels."""
    manifest['format'] = 1
    every_node(lambda entry: [*entry[:3], entry[-1]])(manifest)


def attribute(node: str, name: str, value: str) -> str:
    """Return the statement that changes an attribute of the nodes of a class; ``value`` is SQL."""
    return (
        f"UPDATE db_dbnode SET attributes = json_set(attributes, '$.{name}', {value}) WHERE node_type LIKE '%{node}.'"
    )


def largest(entries: dict[str, bytes]) -> str:
    """Return the name of the model among the entries."""
    return max((name for name in entries if name.startswith('repo/')), key=lambda name: len(entries[name]))


def weights(entries: dict[str, bytes]) -> None:
    """Change the model, not its name."""
    name = largest(entries)
    entries[name] = entries[name][:-1] + bytes([entries[name][-1] ^ 1])


def evil_model(path: Path) -> None:
    """Write a model that runs code when it is loaded, under the checksum of another; the manifest vouches for it."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, ('touch code-ran',)

    content = pickle.dumps(Evil())
    key, old = hashlib.sha256(content).hexdigest(), largest(honest.content())
    sql = f"UPDATE db_dbnode SET repository_metadata = replace(repository_metadata, '{old[5:]}', '{key}')"
    honest.changed(path, sql=sql, hide=True, entries=lambda entries: entries.update({f'repo/{key}': content}))


def fifo(path: Path) -> None:
    """Make a pipe that nobody writes to."""
    os.mkfifo(path)


STUDY = "node_type LIKE 'process.workflow%'"
CHANGED = r'change\(s\) since it was published; nothing was imported'
MISSING = r'manifest of `.*` is not complete: `%s` is missing, or not what it has to be'
OTHER = 'which no AiiDA archive has'
FILES = r'node\(s\) whose files are not what they say; nothing was imported'

ZIP = {
    'honest': (altered(), 'derived results: 1 of 1 follow'),
    'honest-format-1': (altered(manifest=first_format), 'derived results: 1 of 1 follow'),
    'no-zip': (file(lambda path: path.write_bytes(b'nothing')), 'is no AiiDA archive'),
    'empty': (file(lambda path: path.write_bytes(b'')), 'is no AiiDA archive'),
    'cut': (file(lambda path: path.write_bytes(honest.honest().read_bytes()[:-200])), 'is no AiiDA archive'),
    'end-only': (file(lambda path: path.write_bytes(b'PK\5\6' + bytes(18))), 'it has no `db.sqlite3`'),
    'fifo': (file(fifo), 'is no file'),
    'damaged': (file(damaged), 'cannot be unpacked'),
    'encrypted': (file(encrypted), 'encrypted'),
    'bzip2': (added('repo/' + '1' * 64, b'x', ZIP_BZIP2), 'packed in a way that AiiDA does not use'),
    'two-databases': (file(first_of_two), 'holds `db.sqlite3` twice'),
    'two-metadata': (added('metadata.json', b'{}'), 'holds `metadata.json` twice'),
    'two-manifests': (added('equitrain/manifest.json', b'{}'), 'holds `equitrain/manifest.json` twice'),
    'foreign': (added('run.sh'), OTHER),
    'absolute': (added('/etc/passwd'), OTHER),
    'upwards': (added('repo/../../x'), OTHER),
    'symlink': (added(link('repo/' + '1' * 64), b'/etc/passwd'), OTHER),
    'controls': (added('\x1b]0;title\x07'), OTHER),
    'short-key': (added('repo/abc'), OTHER),
    'upper-key': (added('repo/' + 'A' * 64), OTHER),
    'bomb': (file(bomb), 'would unpack from'),
    'database-bomb': (file(database_bomb), 'would unpack from'),
    'overlapping': (file(overlapping), 'would unpack from'),
    'no-metadata': (replaced('metadata.json', None), 'another version of AiiDA'),
    'old-version': (replaced('metadata.json', b'{"export_version": "0.9"}'),
                    'another version of AiiDA'),
    'metadata-list': (replaced('metadata.json', b'[]'),
                      'another version of AiiDA'),
}  # fmt: skip

SQL = {
    'no-sqlite': (replaced('db.sqlite3', b'no database' * 100),
                  'the database of .* cannot be read'),
    'no-tables': (replaced('db.sqlite3', b''), 'cannot be read: no such table'),
    'view': (altered(sql='ALTER TABLE db_dbnode RENAME TO x; CREATE VIEW db_dbnode AS WITH RECURSIVE n(i) AS '
                         '(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM x, n;'), OTHER),
    'trigger': (altered(sql='CREATE TRIGGER t AFTER INSERT ON db_dbnode BEGIN DELETE FROM db_dblink; END;'), OTHER),
    'virtual': (altered(sql='CREATE VIRTUAL TABLE t USING fts5(x);'), OTHER),
    'blob': (altered(sql="UPDATE db_dbnode SET attributes = x'00ff'"), 'cannot be read'),
    'huge-value': (altered(
        sql="UPDATE db_dbnode SET attributes = json_object('a', hex(zeroblob(9000000))) WHERE id = 1"),
                   'too big'),
    'deep-json': (altered(sql=lambda db: db.execute('UPDATE db_dbnode SET attributes = ?', ('[' * 10**5,))),
                  'nests deeper'),
    'list-attributes': (altered(sql="UPDATE db_dbnode SET attributes = '[]'"), 'instead of attributes it has a list'),
    'number-attributes': (altered(sql="UPDATE db_dbnode SET attributes = '7'"), 'instead of attributes it has a int'),
    'many-links': (altered(sql='DROP TABLE db_dblink; CREATE TABLE db_dblink AS WITH RECURSIVE n(i) AS (SELECT 1 '
                               'UNION ALL SELECT i + 1 FROM n LIMIT 1000001) SELECT i AS id FROM n'),
                   'more than is read'),
    'many-logs': (altered(sql='DROP TABLE db_dblog; CREATE TABLE db_dblog AS WITH RECURSIVE n(i) AS (SELECT 1 '
                              'UNION ALL SELECT i + 1 FROM n LIMIT 2000000) SELECT i AS id FROM n'),
                  'more than is read'),
    'many-nodes': (altered(sql='CREATE TABLE m AS SELECT * FROM db_dbnode LIMIT 1; DROP TABLE db_dbnode; CREATE TABLE '
                               'db_dbnode AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT '
                               '100000) SELECT m.*, i FROM n, m'), 'it is another graph'),
    'computed-column': (altered(sql="CREATE TABLE m AS SELECT * FROM db_dbnode; ALTER TABLE m DROP COLUMN description; "
                                    "DROP TABLE db_dbnode; ALTER TABLE m RENAME TO db_dbnode; ALTER TABLE db_dbnode "
                                    "ADD COLUMN description TEXT GENERATED ALWAYS AS (hex(zeroblob(8000000)))"),
                        'has computed columns'),
    'blob-label': (altered(sql="UPDATE db_dbnode SET description = x'00'"), 'is no text'),
    'same-uuid': (altered(sql='DROP INDEX IF EXISTS uq_db_dbnode_uuid; CREATE TABLE n AS SELECT * FROM db_dbnode; '
                              'DROP TABLE db_dbnode; ALTER TABLE n RENAME TO db_dbnode; '
                              'UPDATE db_dbnode SET uuid = (SELECT min(uuid) FROM db_dbnode)'), 'the same UUID'),
    'no-uuid': (altered(sql="UPDATE db_dbnode SET uuid = 'x' || id"), 'has the UUID'),
    'node-type': (altered(sql=f"UPDATE db_dbnode SET node_type = 'os.system' WHERE {STUDY}"), 'has the type'),
    'process-module': (altered(sql=f"UPDATE db_dbnode SET process_type = 'antigravity.x' WHERE {STUDY}"),
                       'has the type'),
    'dangling-link': (altered(sql='UPDATE db_dblink SET input_id = 9999'), 'leads to no node'),
    'dangling-computer': (altered(sql='DELETE FROM db_dbcomputer', hide=True), 'that it does not hold'),
    'file-upwards': (altered(sql="UPDATE db_dbnode SET repository_metadata = replace(repository_metadata, "
                                 "'potential.model', '../../x')"), 'which cannot be'),
    'files-list': (altered(sql="UPDATE db_dbnode SET repository_metadata = '{\"o\": {\"a\": 1}}'"), 'which cannot be'),
}  # fmt: skip

MANIFEST = {
    'no-manifest': (replaced('equitrain/manifest.json', None), 'has no manifest'),
    'no-json': (replaced('equitrain/manifest.json', b'{'), 'cannot be read'),
    'not-utf8': (replaced('equitrain/manifest.json', b'\xff\xfe'), 'cannot be read'),
    'deep': (replaced('equitrain/manifest.json', b'[' * 10**6), 'nests deeper|more lists'),
    'wide': (replaced('equitrain/manifest.json', b'[' + b'[],' * 10**7 + b'[]]'), 'more lists than are read'),
    'huge': (replaced('equitrain/manifest.json', b' ' * 4 * 10**7), 'more than is read'),
    'list': (replaced('equitrain/manifest.json', b'[]'), 'of a format'),
    'format': (altered(manifest=set_part('format', 99)), 'of a format'),
    'format-true': (altered(manifest=set_part('format', True)), 'of a format'),
    'format-list': (altered(manifest=set_part('format', [1])), 'of a format'),
    'table-nowhere': (lambda folder: ['reproduce', str(honest.honest()), '--csv', str(folder / 'no' / 'a.csv')],
                      'there is no folder'),
    'older-format': (altered(manifest=set_part('format', 1)), MISSING % 'nodes'),
    'root-here': (altered(manifest=set_part('root', '0' * 8 + '-0000' * 3 + '-' + '0' * 12)), 'none of its nodes'),
    'root-number': (altered(manifest=set_part('root', 1)), MISSING % 'root'),
    'root-other-node': (altered(manifest=lambda said: said.update(root=next(
        uuid for uuid, entry in said['nodes'].items() if entry[-1] == 'PotentialData'))), CHANGED),
    'process': (altered(manifest=set_part('process', 'aiida.workflows:core.multiply_add')), MISSING % 'process'),
    'other-process': (altered(manifest=set_part('process', 'aiida.workflows:equitrain.material')), CHANGED),
    'created': (altered(manifest=set_part('created', 'yesterday\x1b[2J')), MISSING % 'created'),
    'packages': (altered(manifest=set_part('packages', {})), MISSING % 'packages'),
    'results': (altered(manifest=set_part('results', [])), MISSING % 'results'),
    'other-results': (altered(manifest=set_part('results', {'rows': [], 'aggregates': {}})), 'results in the manifest'),
    'no-results': (altered(manifest=set_part('results', {})), 'it has other results'),
    'emptied-row': (altered(manifest=lambda said: said['results'].update(rows=[{}])), 'results in the manifest'),
    'emptied-aggregates': (altered(manifest=lambda said: said['results'].update(aggregates={})),
                           'results in the manifest'),
    'row-without-reason': (altered(manifest=lambda said: said['results']['rows'][0].pop('reason')),
                           'results in the manifest'),
    'stays': (altered(manifest=set_part('stays', {'computers': 'x'})), MISSING % 'stays'),
    'no-nodes': (altered(manifest=set_part('nodes', {})), MISSING % 'nodes'),
    'nodes-list': (altered(manifest=set_part('nodes', ['x'])), MISSING % 'nodes'),
    'node-empty': (altered(manifest=every_node(lambda entry: [])), MISSING % 'nodes'),
    'node-kind-only': (altered(manifest=every_node(lambda entry: entry[-1:])), MISSING % 'nodes'),
    'node-short': (altered(manifest=every_node(lambda entry: [*entry[:2], entry[-1]])), MISSING % 'nodes'),
    'node-null': (altered(manifest=every_node(lambda entry: [None] * 4 + entry[-1:])), MISSING % 'nodes'),
    'node-text': (altered(manifest=every_node('x'.join)), MISSING % 'nodes'),
    'kind-controls': (altered(manifest=every_node(lambda entry: [*entry[:-1], '\x1b[31mx'])), MISSING % 'nodes'),
    'kind-other': (altered(manifest=every_node(lambda entry: [*entry[:-1], 'Other'])), CHANGED),
}  # fmt: skip

NODES = {
    'label': (altered(sql="UPDATE db_dbnode SET label = 'mace-mp-0b3' WHERE label = 'starter'"), CHANGED),
    'description': (altered(sql="UPDATE db_dbnode SET description = 'x'"), CHANGED),
    'computer': (altered(sql="UPDATE db_dbcomputer SET hostname = 'theirs'"), CHANGED),
    'time': (altered(sql="UPDATE db_dbnode SET ctime = '2020-01-01 00:00:00'"), CHANGED),
    'attributes': (altered(sql=attribute('StructureData', 'x', '1') + '; ' + attribute('PotentialData', 'cutoff', '9')),
                   CHANGED),
    'links': (altered(sql="DELETE FROM db_dblink WHERE label = 'code'"), CHANGED),
    'weights': (altered(entries=weights), 'its file `potential.model` was changed'),
    'no-object': (altered(entries=lambda entries: [entries.pop(name) for name in list(entries) if 'repo' in name]),
                  'is missing'),
    'hidden-sha256': (altered(sql=attribute('PotentialData', 'sha256', "printf('%064d', 1)"), hide=True),
                      'is not that of its file'),
    'hidden-sha256-null': (altered(sql=attribute('PotentialData', 'sha256', 'null'), hide=True),
                           'is not that of its file'),
    'hidden-elements': (altered(sql=attribute('PotentialData', 'elements', "json('[\"Au\"]')"), hide=True), FILES),
    'hidden-bytes': (altered(sql=attribute('PotentialData', 'n_bytes', '1'), hide=True), FILES),
    'hidden-kind': (altered(sql=attribute('PotentialData', 'kind', "'adapter'"), hide=True), FILES),
    'hidden-roles': (altered(sql=attribute('DatasetData', 'roles', "json('[\"test\"]')"), hide=True), FILES),
    'hidden-n-frames': (altered(sql=attribute('DatasetData', 'n_frames', '1000000'), hide=True), FILES),
    'hidden-filename': (altered(sql=attribute('SinglefileData', 'filename', "'x\x1b[2J'"), hide=True), FILES),
    'hidden-shape': (altered(sql=attribute('ArrayData', '"array|a"', "json('[9]')"), hide=True), FILES),
    'hidden-array': (altered(sql=attribute('ArrayData', '"array|b"', "json('[3]')"), hide=True), FILES),
    'hidden-result': (altered(sql=attribute('Dict', 'n_rows', '7'), hide=True), 'n_rows'),
    'hidden-emptied': (altered(
        sql="UPDATE db_dbnode SET attributes = '{}' WHERE json_extract(attributes, '$.n_rows') IS NOT NULL", hide=True,
        manifest=lambda said: said['results'].update(aggregates={})), 'aggregates has no numbers'),
    'hidden-resamples': (altered(sql=attribute('Dict', 'n_resamples', '1000000000'), hide=True),
                         'cannot be computed again'),
    'evil-model': (file(evil_model), 'is not that of its file'),
}  # fmt: skip

CASES = [
    Case(f'archive-{name}', make, says, fails='honest' not in name)
    for name, (make, says) in (ZIP | SQL | {f'manifest-{key}': value for key, value in MANIFEST.items()}
                               | {f'node-{key}': value for key, value in NODES.items()}).items()
]  # fmt: skip
