"""Downloads whose content may not change: a file is pinned by its SHA-256."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiida.manage.configuration import get_config

TIMEOUT_S = 30
_BLOCK = 1 << 18


class DownloadError(RuntimeError):
    """The file could not be had, or it is not the one that was pinned."""


@dataclass(frozen=True)
class Pins:
    """The SHA-256 sums of first downloads, kept in a JSON file of the AiiDA configuration's folder."""

    file: Path

    def read(self) -> dict[str, str]:
        """Return the sums by name."""
        if not self.file.exists():
            return {}
        content: dict[str, str] = json.loads(self.file.read_text(encoding='utf-8'))
        return content

    def add(self, name: str, sha256: str) -> None:
        """Record a sum; what is recorded is never overwritten."""
        content = self.read()
        content.setdefault(name, sha256)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix('.part')
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + '\n', encoding='utf-8')
        partial.replace(self.file)


def pins() -> Pins:
    """Return the recorded SHA-256 sums of the loaded profile's configuration."""
    return Pins(Path(get_config().dirpath) / 'equitrain' / 'downloads.json')


def fetch_pinned(
    name: str,
    url: str,
    target: Path,
    pins: Pins,
    *,
    sha256: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Download ``url`` to ``target`` and return its SHA-256.

    :param name: key of the recorded sum.
    :param sha256: the sum that is known beforehand; without one, the first download decides and is recorded.
    :param progress: called with the bytes that arrived and the bytes in all (0 if unknown).
    :raises DownloadError: if there is no connection, if the transfer breaks off, or if the sum differs. ``target`` is
        then not written.
    """
    expected = sha256 or pins.read().get(name)
    partial = target.with_name(f'{target.name}.part')
    try:
        found = _transfer(url, partial, progress)
        if expected is not None and found != expected:
            raise DownloadError(
                f'{url} holds another file than before: its SHA-256 is {found}, expected is {expected}. It was not '
                f'used. If the publisher announced the change, remove `{name}` from {pins.file}.'
                if sha256 is None
                else f'{url} does not hold {name}: its SHA-256 is {found}, expected is {expected}. It was not used.'
            )
        pins.add(name, found)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return found


def _transfer(url: str, partial: Path, progress: Callable[[int, int], None] | None) -> str:
    """Stream ``url`` to ``partial`` and return the SHA-256."""
    digest = hashlib.sha256()
    done = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, partial.open('wb') as handle:
            total = int(response.headers.get('Content-Length') or 0)
            while block := response.read(_BLOCK):
                handle.write(block)
                digest.update(block)
                done += len(block)
                if progress:
                    progress(done, total)
    except (urllib.error.URLError, OSError) as exception:
        reason = getattr(exception, 'reason', exception)
        raise DownloadError(f'{url} could not be downloaded ({reason})') from exception
    if total and done != total:
        raise DownloadError(f'{url} broke off after {done} of {total} bytes: try again')
    return digest.hexdigest()
