"""Unpack tar archives that nobody has checked: regular files only, below one folder, within bounds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

#: What an archive may hold: bytes, files; how much more than its size it may unpack to beyond so many bytes.
MAX_BYTES, MAX_FILES, MAX_RATIO, ALWAYS = 2**30, 10_000, 200, 32 * 2**20
#: Bytes of what stands before a file, such as a long name.
MAX_HEADER = 2**20
HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_SPARSE = 'holds a sparse file, which is not read: pack it without `--sparse`'
OPENERS: dict[str, Any] = {
    '.tar': None, '.tar.xz': lzma.open, '.txz': lzma.open, '.tar.gz': gzip.open, '.tgz': gzip.open,
    '.tar.bz2': bz2.open,
}  # fmt: skip


def is_archive(path: str | Path) -> bool:
    """Tell whether the name of a file is that of a tar archive that can be unpacked."""
    return Path(path).name.lower().endswith(tuple(OPENERS))


def extract_files(archive: tarfile.TarFile, folder: Path) -> None:
    """Write the regular files of an archive below a folder, and nothing outside of it.

    ``extractall(filter='data')`` does so too, but Python 3.11.2, that of Debian 12, does not know it.

    :raises ValueError: if there are too many files, or too large ones.
    """
    root, size = folder.resolve(), 0
    for number, member in enumerate(archive):
        size += member.size
        if size > MAX_BYTES or number >= MAX_FILES:
            raise ValueError(f'holds more than {MAX_FILES} files or {MAX_BYTES / 2**30:g} GiB, the most that is taken')
        target, content = (root / member.name).resolve(), archive.extractfile(member) if member.isfile() else None
        if content is not None and target.is_relative_to(root) and target != root:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open('wb') as file:
                shutil.copyfileobj(content, file)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give a temporary folder with the files of an archive.

    :raises ValueError: one sentence that begins with the name of the archive.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ValueError('is not a regular file')
            opener = next(value for ending, value in OPENERS.items() if path.name.lower().endswith(ending))
            with path.open('rb') as raw:
                stream: Any = _Bounded(opener(raw) if opener else raw, max(ALWAYS, MAX_RATIO * status.st_size))
                with tarfile.open(fileobj=stream, mode='r|', tarinfo=Member) as archive:
                    extract_files(archive, Path(scratch))
        except ValueError as error:
            raise ValueError(f'`{path}` {error}') from error
        except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, MemoryError, OverflowError) as error:
            raise ValueError(f'`{path}` cannot be unpacked: it is damaged, or no such archive') from error
        yield Path(scratch)


class Member(tarfile.TarInfo):
    """An entry of an archive, without what the library takes into memory at whatever length it has."""

    def _proc_member(self, archive: Any) -> Any:
        if self.type in HEADERS and self.size > MAX_HEADER:
            raise ValueError(f'has names or headers of more than {MAX_HEADER / 2**20:g} MiB, as no archive has')
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise ValueError(_SPARSE)
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_gnusparse_10(self, *_: Any) -> None:
        raise ValueError(_SPARSE)


class _Bounded:
    """A stream that ends with an error where it is larger than an honest one."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.stream, self.left, self.limit = stream, min(limit, MAX_BYTES + ALWAYS), limit

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(f'unpacks to more than {self.limit / 2**20:.0f} MiB, as only a bomb does')
        return content
