"""Downloads whose content may not change: a file is pinned by its SHA-256.

A server may be anybody's, and may answer anything: it is asked by HTTPS only, wherever it sends us; what it sends is
bounded in bytes and in time, and is taken, and pinned, only once it was found to be what it should be.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

import requests
import urllib3.exceptions
from aiida.manage.configuration import get_config
from requests.adapters import HTTPAdapter

#: Seconds without a byte, and seconds for all of a file, after which it is given up.
TIMEOUT_S, TOTAL_S = 30.0, 3600.0
#: Bytes that a file may have; foundation models have at most some hundred million.
LIMIT_BYTES = 500_000_000
#: How often a server may send us to another address.
REDIRECTS = 5
_BLOCK = 1 << 16

#: Why there is no file, by the kind of the exception: the first that fits.
_REASONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (
        (requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema),
        'only addresses that begin with https:// are asked, here and wherever we are sent from here',
    ),
    (requests.exceptions.SSLError, 'its certificate was refused, so that it may be another server'),
    (requests.exceptions.ProxyError, 'the proxy that the environment names does not let us through'),
    (
        (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError),
        'the server does not answer, or fell silent',
    ),
    (
        (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError),
        'there is no connection, it broke off, or the answer was no HTTP',
    ),
)

T = TypeVar('T')


class DownloadError(RuntimeError):
    """The file could not be had, or it is not the one that was pinned."""


@dataclass(frozen=True)
class Pins:
    """The SHA-256 sums of first downloads, kept in a JSON file of the AiiDA configuration's folder."""

    file: Path

    def read(self) -> dict[str, str]:
        """Return the sums by name.

        :raises DownloadError: if the file is damaged.
        """
        try:
            content = json.loads(self.file.read_text(encoding='utf-8'))
        except FileNotFoundError:
            return {}
        except ValueError:
            content = None
        if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
            raise DownloadError(f'`{self.file}`, which keeps the SHA-256 of downloads, is damaged: mend or remove it')
        return content

    def add(self, name: str, sha256: str) -> str:
        """Record a sum, and return the one that stands: what is recorded is never overwritten."""
        with self._alone() as content:
            return content.setdefault(name, sha256)

    def remove(self, name: str) -> str | None:
        """Forget a sum, and return it; ``None`` if there was none."""
        with self._alone() as content:
            return content.pop(name, None)

    @contextmanager
    def _alone(self) -> Iterator[dict[str, str]]:
        """Yield the sums to be changed, while no other process changes them."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.with_suffix('.lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = self.read()
            yield content
            partial = self.file.with_suffix('.part')
            partial.write_text(json.dumps(content, indent=1, sort_keys=True) + '\n', encoding='utf-8')
            partial.replace(self.file)


def pins() -> Pins:
    """Return the recorded SHA-256 sums of the loaded profile's configuration."""
    return Pins(Path(get_config().dirpath) / 'equitrain' / 'downloads.json')


def fetch_pinned(
    name: str,
    url: str,
    use: Callable[[Path], T],
    pins: Pins,
    *,
    sha256: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> T:
    """Download ``url``, and return what ``use`` makes of the file.

    :param name: key of the recorded sum, and name of the file.
    :param use: called with the file, which is gone afterwards. It raises if the file is not what it should be; the sum
        is recorded after it only.
    :param sha256: the sum that is known beforehand; without one, the first download decides and is recorded.
    :param progress: called with the bytes that arrived and the bytes in all (0 if unknown).
    :raises DownloadError: if there is no connection, if the transfer breaks off, is too long or too large, or if the
        sum differs.
    """
    expected = sha256 or pins.read().get(name)
    with tempfile.TemporaryDirectory(prefix='equitrain-') as folder:
        path = Path(folder, name)
        found = _transfer(url, path, progress)
        if expected is None or found == expected:
            result = use(path)
            # Another process may have been first.
            expected = sha256 or pins.add(name, found)
    if found == expected:
        return result
    wrong = f'its SHA-256 is {found}, expected is {expected}. It was not used.'
    if sha256 is not None:
        raise DownloadError(f'{url} does not hold {name}: {wrong}')
    raise DownloadError(
        f'{url} holds another file than before: {wrong} If the publisher announced the change: '
        f'`aiida-equitrain potential forget {name}`, and once more.'
    )


def _transfer(url: str, path: Path, progress: Callable[[int, int], None] | None) -> str:
    """Stream ``url`` to ``path`` and return the SHA-256."""
    future: Future[str] = Future()

    def work() -> None:
        try:
            future.set_result(_stream(url, path, progress))
        except Exception as exception:
            future.set_exception(exception)

    # A byte now and then keeps every single read within its time: only another thread can leave such a server.
    threading.Thread(target=work, daemon=True).start()
    try:
        return future.result(timeout=TOTAL_S)
    except TimeoutError as exception:
        raise DownloadError(f'{url} could not be downloaded: it took longer than {TOTAL_S:g} s') from exception


def _stream(url: str, path: Path, progress: Callable[[int, int], None] | None) -> str:
    digest, done, total = hashlib.sha256(), 0, 0
    try:
        with _Session() as session, session.ask(url) as response:
            total = _promised(response)
            with path.open('wb') as handle:
                while block := response.raw.read(_BLOCK, decode_content=False):
                    done += len(block)
                    if max(done, total) > LIMIT_BYTES:
                        raise DownloadError(f'{url} was not taken: it has more than {LIMIT_BYTES / 1e6:.0f} MB')
                    handle.write(block)
                    digest.update(block)
                    if progress:
                        progress(done, total)
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError) as exception:
        if total and done:
            raise DownloadError(f'{url} broke off after {done} of {total} bytes: try again') from exception
        reason = next(text for kind, text in _REASONS if isinstance(exception, kind))
        raise DownloadError(f'{url} could not be downloaded: {reason}') from exception
    except OSError as exception:
        raise DownloadError(f'{url} could not be downloaded: {exception.strerror or exception}') from exception
    return digest.hexdigest()


def _promised(response: requests.Response) -> int:
    """Return the bytes that the server promises; 0 if it does not say.

    :raises DownloadError: if the answer is no file.
    """
    if response.status_code != requests.codes.ok:
        raise DownloadError(f'{response.url} could not be downloaded: the server answers {response.status_code}')
    if response.headers.get('Content-Encoding', 'identity') != 'identity':
        raise DownloadError(f'{response.url} was not taken: it comes compressed, which was not asked for')
    length = response.headers.get('Content-Length', '')
    return int(length) if length.isascii() and length.isdigit() else 0


class _Session(requests.Session):
    """Asks by HTTPS only, with the proxies and certificates of the environment and of the system."""

    def __init__(self) -> None:
        super().__init__()
        self.adapters.clear()
        self.mount('https://', HTTPAdapter())
        self.headers['Accept-Encoding'] = 'identity'
        self.verify: Any = ssl.get_default_verify_paths().cafile or True

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow nothing: requests would read all that comes with a redirect first."""

    def ask(self, url: str) -> requests.Response:
        """Return the answer, whose content is not read yet, of the address that we are sent to."""
        for _ in range(REDIRECTS + 1):
            response = self.get(url, stream=True, timeout=TIMEOUT_S)
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(response.url, response.headers['Location'])
        raise DownloadError(
            f'{response.url} could not be downloaded: the server sends us on more than {REDIRECTS} times'
        )
