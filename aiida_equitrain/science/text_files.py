"""Read text and YAML that nobody has checked: regular files only, within bounds of size, and nothing of them is run."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat
import zlib
from pathlib import Path
from typing import IO, Any

import yaml

from ..common.printable import printable

#: Largest text that is read, bytes once unpacked.
LIMIT = 256 * 2**20
#: How much more than its compressed size a file may unpack to, beyond :data:`ALWAYS` bytes; honest files stay below 30.
RATIO, ALWAYS = 100, 8 * 2**20
#: Endings of compressed files, as phonopy knows them.
COMPRESSED = ('.xz', '.lzma', '.gz', '.bz2')
#: Bounds of a YAML: values (those behind aliases count each time), and containers in one another.
MAX_VALUES, MAX_DEPTH = 10_000_000, 50

_WORDS = {
    **dict.fromkeys(('', '~', 'null', 'Null', 'NULL'), None),
    **dict.fromkeys(('true', 'True', 'TRUE', 'yes', 'Yes', 'YES', 'on', 'On', 'ON'), True),
    **dict.fromkeys(('false', 'False', 'FALSE', 'no', 'No', 'NO', 'off', 'Off', 'OFF'), False),
    '.nan': float('nan'), '.inf': float('inf'), '-.inf': -float('inf'),
}  # fmt: skip
_INTEGER = re.compile(r'[-+]?[0-9]+')
_CORE = 'tag:yaml.org,2002:'


def base_name(path: str | Path) -> str:
    """Return the name of a file, in lower case and without the ending of a compressed one."""
    name = Path(path).name.lower()
    return next((name.removesuffix(end) for end in COMPRESSED if name.endswith(end)), name)


def shown(value: object, length: int = 60) -> str:
    """Return a stranger's value as it may stand in a message: short, and :func:`~.printable.printable`."""
    return printable(value, longest=length)


def read_text(path: str | Path, limit: int = LIMIT) -> str:
    """Read a text file in UTF-8, compressed or not, see :func:`read_bytes`.

    :raises ValueError: one sentence that begins with the name of the file.
    """
    try:
        return read_bytes(path, limit).decode('utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'`{path}` is not a text file: its byte {error.start} is not UTF-8.') from error


def read_bytes(path: str | Path, limit: int = LIMIT) -> bytes:
    """Read a regular file, unpacked if it ends as one of :data:`COMPRESSED`.

    :param limit: largest size, bytes once unpacked.
    :raises ValueError: one sentence that begins with the name of the file, if it is absent, no regular file, damaged,
        larger than ``limit``, or compressed so well that it must be a bomb.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ValueError(f'`{path}` is a folder, not a file.')
        if not stat.S_ISREG(status.st_mode):
            # A FIFO that nobody writes to would hold us for ever.
            raise ValueError(f'`{path}` is not a regular file.')
        file = path.open('rb')
    except FileNotFoundError as error:
        raise ValueError(f'there is no file `{path}`.') from error
    except OSError as error:
        raise ValueError(f'`{path}` cannot be read: {error.strerror}.') from error
    with file:
        try:
            return _read(path, _unpacked(file, path), status.st_size, limit)
        except EOFError as error:
            raise ValueError(f'`{path}` is cut off: its compressed content has no end.') from error
        except (OSError, lzma.LZMAError, zlib.error, MemoryError) as error:
            raise ValueError(f'`{path}` cannot be unpacked: it is damaged, or not what its ending says.') from error


def read_yaml(path: str | Path, limit: int = LIMIT) -> Any:
    """Read one YAML document of plain values, compressed or not, see :func:`parse_yaml`.

    :raises ValueError: one sentence that begins with the name of the file.
    """
    content = read_bytes(path, limit)
    try:
        return parse_yaml(content)
    except ValueError as error:
        raise ValueError(f'`{path}` {error}') from error


def parse_yaml(content: str | bytes) -> Any:
    """Return what a YAML document of plain values holds: mappings, lists, numbers, truth values and text.

    Made from PyYAML's events: ten times faster than its `safe_load`, with a tenth of its memory, and within bounds.

    :raises ValueError: the predicate of a sentence about the file, if it is no YAML, has tags that would make objects,
        a key twice, more than one document, or more than :data:`MAX_VALUES` values or :data:`MAX_DEPTH` levels.
    """
    builder = _Builder()
    try:
        for event in yaml.parse(content, Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        line = f' in line {error.problem_mark.line + 1}' if error.problem_mark else ''
        raise ValueError(f'is not valid YAML: {shown(error.problem or error.context)}{line}.') from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError('is not valid YAML: it is no text in UTF-8.') from error
    return builder.document


class _Builder:
    """Builds a document from events, without recursion."""

    def __init__(self) -> None:
        self.document: Any = None
        self.started = False
        self.n_values = 0
        # Open containers: itself, the key that waits for a value (mappings), its anchor, values before it.
        self.open: list[tuple[Any, list[Any], str | None, int]] = []
        self.anchors: dict[str, tuple[Any, int]] = {}

    def take(self, event: Any) -> None:
        """Take the next event."""
        if isinstance(event, yaml.ScalarEvent):
            self._count(1)
            value = _scalar(event)
            if event.anchor:
                self.anchors[event.anchor] = (value, 1)
            self._add(value)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            value, _, anchor, before = self.open.pop()
            if anchor:
                self.anchors[anchor] = (value, self.n_values - before)
            self._add(value)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise ValueError(f'is not valid YAML: nothing is named `{shown(event.anchor)}` where it is used.')
            value, size = self.anchors[event.anchor]
            self._count(size)
            self._add(value)
        elif isinstance(event, yaml.DocumentStartEvent):
            if self.started:
                raise ValueError('holds more than one YAML document.')
            self.started = True

    def _start(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, '!', f'{_CORE}{"map" if mapping else "seq"}'):
            raise ValueError(_tag_message(event.tag))
        if len(self.open) == MAX_DEPTH:
            raise ValueError(f'is nested deeper than {MAX_DEPTH} levels.')
        self.open.append(({} if mapping else [], [], event.anchor, self.n_values))
        self._count(1)

    def _count(self, size: int) -> None:
        self.n_values += size
        if self.n_values > MAX_VALUES:
            raise ValueError(f'holds more than {MAX_VALUES} values: what its aliases stand for counts each time.')

    def _add(self, value: Any) -> None:
        if not self.open:
            self.document = value
            return
        container, waiting, _, _ = self.open[-1]
        if isinstance(container, list):
            container.append(value)
        elif waiting:
            container[waiting.pop()] = value
        elif isinstance(value, dict | list):
            raise ValueError('is not valid YAML for us: a key is no text or number.')
        elif value in container:
            raise ValueError(f'holds the key `{shown(value)}` twice.')
        else:
            waiting.append(value)


def _scalar(event: Any) -> Any:
    """Return the value of a scalar; what is not quoted is a number or a word of YAML where it looks like one."""
    value, tag = event.value, event.tag
    if tag not in (None, '!') and tag not in {f'{_CORE}{name}' for name in ('str', 'int', 'float', 'bool', 'null')}:
        raise ValueError(_tag_message(tag))
    if tag in ('!', f'{_CORE}str') or (tag is None and not event.implicit[0]):
        return value
    if value in _WORDS:
        return _WORDS[value]
    if value[0] in '+-.0123456789':
        try:
            return int(value) if len(value) < 20 and _INTEGER.fullmatch(value) else float(value)
        except ValueError:
            return value
    return value


def _tag_message(tag: str) -> str:
    return f'holds the YAML tag `{shown(tag)}`, which would make an object of Python.'


def _unpacked(file: IO[bytes], path: Path) -> IO[bytes]:
    """Return the stream of a file's content."""
    opener: Any = {'.xz': lzma.open, '.lzma': lzma.open, '.gz': gzip.open, '.bz2': bz2.open}.get(path.suffix.lower())
    unpacked: IO[bytes] = file if opener is None else opener(file)
    return unpacked


def _read(path: Path, stream: IO[bytes], size: int, limit: int) -> bytes:
    """Read a stream in pieces, to stop as soon as it is too large."""
    bound = max(ALWAYS, RATIO * size) if path.suffix.lower() in COMPRESSED else limit
    content = bytearray()
    while piece := stream.read(2**20):
        content += piece
        if len(content) > limit:
            raise ValueError(f'`{path}` is larger than {limit / 2**20:g} MiB once read, the most that is taken.')
        if len(content) > bound:
            raise ValueError(f'`{path}` unpacks to more than {RATIO} times its size, as only a bomb does.')
    return bytes(content)
