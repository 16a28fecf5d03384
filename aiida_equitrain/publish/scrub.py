"""Take what is nobody's business out of an archive, and say what stays in."""

from __future__ import annotations

import getpass
import gzip
import hashlib
import io
import json
import pwd
import re
import sqlite3
from bz2 import BZ2File
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from lzma import LZMAError, LZMAFile
from pathlib import Path
from typing import IO, Any, cast
from zipfile import ZIP_DEFLATED, ZipFile

from aiida_equitrain.science.json_text import parse_json

from .archive import DATABASE, OBJECTS, UNREADABLE, opened, read_nodes

#: Who the publisher is in the archive.
USER = 'publisher@aiida-equitrain.invalid'
#: Columns with text of people or machines, by table; of the second kind is JSON.
TEXT = {
    'db_dbnode': ('label', 'description'),
    'db_dbcomputer': ('hostname', 'description'),
    'db_dblog': ('message',),
    'db_dbcomment': ('content',),
    'db_dbgroup': ('label', 'description'),
}
JSON = {
    'db_dbnode': ('attributes', 'extras'),
    'db_dbcomputer': ('metadata',),
    'db_dblog': ('metadata',),
    'db_dbgroup': ('extras',),
}
#: Attributes of jobs that schedulers fill with names of people and machines, and that nothing here needs.
JOB_INFO = ('last_job_info', 'detailed_job_info', 'remote_workdir', 'job_id')
#: Options of jobs that name who pays: the whole value goes.
WHO_PAYS = ('account', 'qos')
#: Keys below which people write what they like: a name that stands alone there means a person.
FREE = ('account', 'qos', 'queue_name', 'custom_scheduler_commands', 'prepend_text', 'append_text', 'job_name', 'title',
        'environment_variables', 'exit_message', 'description', 'comment')  # fmt: skip
#: Nodes whose text files are looked through: what jobs were given and what they said.
WITH_TEXT = ('process.', 'data.core.folder.', 'data.core.remote.')
#: Names that many machines have, or that are words: they name nobody where they stand alone.
COMMON = frozenset(
    ('root', 'user', 'users', 'admin', 'administrator', 'guest', 'test', 'tester', 'ubuntu', 'debian', 'centos',
     'rocky', 'fedora', 'arch', 'aiida', 'equitrain', 'runner', 'build', 'builder', 'docker', 'jovyan', 'max', 'min',
     'data', 'python', 'conda', 'home', 'scratch', 'work', 'project', 'group', 'public', 'shared', 'nobody', 'none')
)  # fmt: skip
#: Spellings of the signs in paths and addresses: plain, in URLs (of URLs), in JSON, in HTML, in words.
SLASH = r'(?:/|\\{1,4}|%(?:25)*2f|%(?:25)*5c|\\u002f|&#47;|&#x2f;)'
LEFT, RIGHT = r'\s?(?:[\[({<]|&lt;)\s?', r'\s?(?:[\])}>]|&gt;)\s?'
AT = rf'(?:@|\uff20|%(?:25)*40|%(?:25)*ef%(?:25)*bc%(?:25)*a0|\\u0040|\\uff20|&#64;|&#x40;|&commat;|{LEFT}at{RIGHT})'
DOT = rf'(?:\.|%(?:25)*2e|{LEFT}dot{RIGHT})'
#: What is before the sign of an address, whose host is `example.org`, or is written in words.
ADDRESS = re.compile(
    rf'(?<![\w.+-])[\w.+-]+(?={AT}[\w-]+(?:{DOT}[\w-]+)*{DOT}[a-z]{{2,}})'
    r'|(?<![\w.+-])[\w.+-]+(?=\s+at\s+[\w-]+(?:\s+dot\s+[\w-]+)+)',
    re.IGNORECASE,
)
#: What ends the names of hosts of people, and of no files: not `py`, `sh`, `so` and the like.
TOP_LEVEL = (
    'edu|org|com|net|gov|mil|info|eu|uk|de|fr|ch|at|it|es|pt|nl|be|lu|dk|se|no|fi|is|ie|pl|cz|sk|hu|ro|bg|gr|si|hr|ee|'
    'lv|lt|ua|ru|tr|il|cn|jp|kr|tw|hk|sg|au|nz|ca|us|mx|br|ar|cl|co|za|(?:ac|co|edu|gov|res)[.]in'
)
#: What is before `at host.edu` in a sentence, in which a page (`at www.host.org`, `at host.org/page`) is no address.
SPOKEN = re.compile(
    rf'(?<![\w.+-])[\w.+-]+(?=[ \t]+at[ \t]+(?!www\.)(?:[\w-]+\.)+(?:{TOP_LEVEL})(?![\w/-]|\.\w))', re.IGNORECASE
)
#: Whose folder a path leads to.
HOME_OF = re.compile(rf'{SLASH}(?:home|users){SLASH}([\w.-]{{2,}}?)(?={SLASH}|[^\w.-]|$)', re.IGNORECASE)
#: What follows an option of schedulers that says who pays.
PAYS = re.compile(r'(--account[= ]|--qos[= ]|(?:SBATCH|BSUB|PBS|COBALT)\s+-[AP]\s+)\S+')
#: Bytes of what is packed in a file that are looked through.
LARGEST = 1 << 28
#: How packed files begin, and what opens them.
PACKED: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b'\x1f\x8b': lambda file: cast('IO[bytes]', gzip.GzipFile(fileobj=file)),
    b'BZh': BZ2File,
    b'\xfd7zXZ': LZMAFile,
}


@dataclass
class Scrubber:
    """Replaces a person's home folder, name, and addresses.

    :param homes: folders that become ``~``.
    :param users: names that become ``user``: in paths and addresses, and in free text, where they are no common words.
    """

    homes: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare the expressions."""
        names, rare = _any_of(self.users), _any_of(user for user in self.users if _is_rare(user))
        homes = '|'.join(_spelled(home) for home in _longest_first(self.homes) if len(home) > 1) or r'(?!)'
        self._home = re.compile(rf'(?<![\w/.~-])(?:{homes})(?={SLASH}|["\'\s:;,\\)\]&]|$)', re.IGNORECASE)
        self._in_path = re.compile(
            rf'(?P<before>{SLASH}){names}(?={SLASH})|(?P<tilde>~){names}(?!\w)|(?P<last>{SLASH}){rare}(?![\w.-])'
            rf'|(?<![\w.-]){names}(?={AT}\S)',
            re.IGNORECASE,
        )
        self._alone = re.compile(rf'(?<![a-z0-9]){rare}(?![a-z0-9])', re.IGNORECASE)
        # The numbers of a model spell short names now and then, but no path with them.
        self._short = [user.lower() for user in self.users if len(user) < 4]
        short = _any_of(self._short)
        self._short_in_path = re.compile(
            rf'{SLASH}{short}{SLASH}[\w.-]{{2}}|{SLASH}[\w.-]{{2,}}{SLASH}{short}(?![\w.-])', re.IGNORECASE | re.ASCII
        )

    @classmethod
    def of_this_machine(cls, users: Iterable[str] = ()) -> Scrubber:
        """Return that of whoever runs this, and of their names elsewhere."""
        names = {getpass.getuser(), *users}
        with suppress(KeyError, OSError):
            names.add(pwd.getpwnam(getpass.getuser()).pw_gecos.partition(',')[0].strip())
        homes = {str(Path.home()), str(Path.home().resolve())}
        return cls(sorted(homes), sorted(name for name in names if len(name) > 1))

    def __call__(self, text: str, *, free: bool = False) -> str:
        """Return the text without them.

        :param free: whether people and machines write what they like there, so that a name alone means a person.
        """
        text = self._home.sub('~', text)
        text = self._in_path.sub(lambda found: ''.join(item or '' for item in found.groups()) + 'user', text)
        text = ADDRESS.sub('user', text)
        return self._alone.sub('user', PAYS.sub(r'\1user', SPOKEN.sub('user', text))) if free else text

    def clean_json(self, content: Any, *, free: bool = False) -> Any:
        """Return nested lists and dictionaries without them."""
        if isinstance(content, str):
            return self(content, free=free)
        if isinstance(content, list):
            return [self.clean_json(item, free=free) for item in content]
        if isinstance(content, dict):
            return {
                self(key): 'user' if key in WHO_PAYS and item else self.clean_json(item, free=free or key in FREE)
                for key, item in content.items()
            }
        return content

    def clean_attributes(self, content: Any) -> Any:
        """Return JSON without them, and without what schedulers say of people."""
        cleaned = self.clean_json(content)
        return {key: cleaned[key] for key in cleaned if key not in JOB_INFO} if isinstance(cleaned, dict) else cleaned

    def clean_text_of_json(self, text: str) -> str:
        """Return the text of JSON as :meth:`clean_attributes` does."""
        content = parse_json(text)
        cleaned = self.clean_attributes(content)
        return text if cleaned == content else json.dumps(cleaned)

    def clean_file(self, content: bytes) -> bytes:
        """Return the content of a file of a job without them, if it is text."""
        try:
            return self(content.decode(), free=True).encode()
        except UnicodeDecodeError:
            return content

    def is_named_in(self, content: bytes) -> bool:
        """Return whether a file that is not cleaned names them: its bytes, or those of the files packed in it."""
        return any(
            self._names_in(text)
            for part in _unpacked(content)
            # Text in UTF-16 has zeros between its letters, and a mark before them.
            for text in (part.lower(), part.replace(b'\0', b'').lstrip(b'\xfe\xff').lower())
        )

    def _names_in(self, text: bytes) -> bool:
        """Return whether bytes in small letters name them; most of large files is dismissed without an expression."""
        if any(name.lower().encode() in text for name in (*self.homes, *self.users) if len(name) > 3):
            decoded = text.decode('latin-1')
            if any(pattern.search(decoded) for pattern in (self._home, self._in_path, self._alone)):
                return True
        signs = (b'/', b'\\', b'f', b'c', b';', b'~')  # the last of each spelling of what is before a name in a path
        if not any(sign + name.encode() in text for sign in signs for name in self._short):
            return False
        try:
            return self._is_in_path(text.decode())
        except UnicodeDecodeError:
            return self._short_in_path.search(text.decode('latin-1')) is not None

    def _is_in_path(self, text: str) -> bool:
        return any(pattern.search(text) for pattern in (self._in_path, self._short_in_path))

    def is_named_in_text(self, text: str) -> bool:
        """Return whether a text that is not cleaned names them: in a path, in an address, or alone."""
        return self._is_in_path(text) or any(pattern.search(text) for pattern in (self._home, self._alone))


def _unpacked(content: bytes) -> list[bytes]:
    """Return the content of a file and of the files packed in it and in these, :data:`LARGEST` bytes at most."""
    parts, room = [content], LARGEST
    for part in parts:  # which grows
        for inner in _packed_in(part):
            with suppress(*UNREADABLE, LZMAError), inner as handle:
                parts.append(handle.read(room))
                room -= len(parts[-1])
    return parts


def _packed_in(content: bytes) -> Iterator[IO[bytes]]:
    """Yield the files that are packed in a file, opened."""
    for sign, open_packed in PACKED.items():
        if content.startswith(sign):
            yield open_packed(io.BytesIO(content))
    with suppress(*UNREADABLE), ZipFile(io.BytesIO(content)) as packed:
        for entry in packed.infolist():
            with suppress(*UNREADABLE):
                yield packed.open(entry)


def _texts_in(content: Any) -> Iterator[str]:
    """Yield the texts in nested lists and dictionaries, their keys included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for item in content:
            yield from _texts_in(item)
    elif isinstance(content, dict):
        for key, item in content.items():
            yield key
            yield from _texts_in(item)


def people_in(path: Path) -> set[str]:
    """Return the names of people that an archive holds: its users, and those whose folders its paths lead to."""
    with opened(path) as (archive, connection):
        names = {f'{first} {last}' for first, last in connection.execute('SELECT first_name, last_name FROM db_dbuser')
                 if first and last}  # fmt: skip
        for table in {*TEXT, *JSON}:
            for column in (*TEXT.get(table, ()), *JSON.get(table, ())):
                for (text,) in connection.execute(f'SELECT {column} FROM {table} WHERE {column} IS NOT NULL'):
                    names.update(HOME_OF.findall(text))
        for key in _keys_of_jobs(connection):
            with suppress(KeyError, UnicodeDecodeError):
                names.update(HOME_OF.findall(archive.read(f'{OBJECTS}{key}').decode()))
    return {name for name in names if name not in ('user', '.', '..')}


def _is_rare(name: str) -> bool:
    """Return whether a name means a person wherever it stands."""
    return len(name) > 2 and name.lower() not in COMMON


def _longest_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=len, reverse=True)


def _any_of(names: Iterable[str]) -> str:
    """Return an expression for any of these names; without any, one that is never found."""
    return '(?:' + ('|'.join(re.escape(name) for name in _longest_first(names)) or '(?!)') + ')'


def _spelled(path: str) -> str:
    """Return an expression for the spellings of a path."""
    return SLASH.join(re.escape(part) for part in re.split(r'[/\\]', path))


def scrub(source: Path, target: Path, scrubber: Scrubber) -> int:
    """Write an archive without personal names.

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
    return len(renamed)


def what_stays(path: Path, scrubber: Scrubber) -> dict[str, list[str]]:
    """Return what an archive says of machines and people: computers, programs of codes, and files with names."""
    with opened(path) as (archive, connection):
        computers = [
            f'{label} ({scheduler}, {host})'
            for label, host, scheduler in connection.execute(
                'SELECT label, hostname, scheduler_type FROM db_dbcomputer'
            )
        ]
        programs, folders = set(), set()
        holders: dict[str, str] = {}
        attributes, names = [], []
        for node in read_nodes(connection):
            if 'filepath_executable' in node.attributes:
                programs.add(str(node.attributes['filepath_executable']))
            if 'remote_path' in node.attributes:
                folders.add(str(node.attributes['remote_path']).rsplit('/', 4)[0])
            attributes += [
                f'`{name}` of {node.kind} {node.uuid}'
                for name, value in node.attributes.items()
                if scrubber.is_named_in_text('\n'.join((name, *_texts_in(value))))
            ]
            names += [f'{name} of {node.kind} {node.uuid}' for name in node.files if scrubber.is_named_in_text(name)]
            holders |= {key: f'{name} of {node.kind} {node.uuid}' for name, key in node.files.items()}
        named = [text for key, text in holders.items() if scrubber.is_named_in(archive.read(f'{OBJECTS}{key}'))]
    return {
        'computers': sorted(computers),
        'programs': sorted(programs),
        'folders of jobs': sorted(folders),
        'attributes that may name you': sorted(attributes),
        'files whose names may name you': sorted(names),
        'files that may name you': sorted(named),
    }


def _keys_of_jobs(connection: sqlite3.Connection) -> set[str]:
    """Return the objects that only jobs and their folders have."""
    of_jobs: set[str] = set()
    of_data: set[str] = set()
    for node in read_nodes(connection):
        (of_jobs if node.node_type.startswith(WITH_TEXT) else of_data).update(node.files.values())
    return of_jobs - of_data


def _clean_objects(
    archive: ZipFile, connection: sqlite3.Connection, scrubber: Scrubber
) -> dict[str, tuple[str, bytes]]:
    """Return the new key and content of each object of a job that names a person."""
    renamed = {}
    for key in _keys_of_jobs(connection):
        try:
            content = archive.read(f'{OBJECTS}{key}')
        except KeyError:
            continue
        cleaned = scrubber.clean_file(content)
        if cleaned != content:
            renamed[key] = (hashlib.sha256(cleaned).hexdigest(), cleaned)
    return renamed


def _clean_database(connection: sqlite3.Connection, scrubber: Scrubber, renamed: Mapping[str, str]) -> None:
    """Replace names in all text, forget users, and point to the renamed objects."""
    for columns_of, clean in ((TEXT, lambda text: scrubber(text, free=True)), (JSON, scrubber.clean_text_of_json)):
        for table, columns in columns_of.items():
            for column in columns:
                rows = connection.execute(f'SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL').fetchall()
                for pk, text in rows:
                    cleaned = clean(text)
                    if cleaned != text:
                        connection.execute(f'UPDATE {table} SET {column} = ? WHERE id = ?', (cleaned, pk))
    for pk, text in connection.execute('SELECT id, repository_metadata FROM db_dbnode').fetchall():
        cleaned = text
        for old, new in renamed.items():
            if cleaned and old in cleaned:
                cleaned = cleaned.replace(old, new)
        if cleaned != text:
            connection.execute('UPDATE db_dbnode SET repository_metadata = ? WHERE id = ?', (cleaned, pk))
    for index, (pk,) in enumerate(connection.execute('SELECT id FROM db_dbuser ORDER BY id').fetchall()):
        email = USER if index == 0 else f'{index}.{USER}'
        connection.execute(
            "UPDATE db_dbuser SET email = ?, first_name = '', last_name = '', institution = '' WHERE id = ?",
            (email, pk),
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open('rb') as handle:
        while block := handle.read(1 << 20):
            total.update(block)
    return total.hexdigest()
