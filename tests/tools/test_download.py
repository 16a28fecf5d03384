"""Downloads, against real servers on this machine."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiida_equitrain.setup import download
from aiida_equitrain.setup.download import DownloadError, Pins, fetch_pinned


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    """Return sums of a test of its own."""
    return Pins(tmp_path / 'config' / 'downloads.json')


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold every test to leave no temporary file, whatever happened."""
    folder = tmp_path / 'tmp'
    folder.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(folder))
    yield
    assert list(folder.iterdir()) == []


def content(path: Path) -> bytes:
    """Take whatever was downloaded."""
    return path.read_bytes()


def test_first_download_is_pinned_and_a_change_refused(server: tuple[str, Path], pins: Pins) -> None:
    """Record the sum at the first download, accept the same file again, refuse a changed one until it is forgotten."""
    url, folder = server
    (folder / 'model').write_bytes(b'first')
    digest = hashlib.sha256(b'first').hexdigest()
    seen: list[tuple[int, int]] = []
    assert fetch_pinned('m', f'{url}/model', content, pins, progress=lambda *done: seen.append(done)) == b'first'
    assert seen[-1] == (5, 5)
    assert pins.read() == {'m': digest}
    fetch_pinned('m', f'{url}/model', content, pins)

    (folder / 'model').write_bytes(b'other')
    with pytest.raises(DownloadError, match=r'another file than before.*It was not used.*potential forget m`'):
        fetch_pinned('m', f'{url}/model', pytest.fail, pins)
    assert pins.read() == {'m': digest}
    assert pins.remove('m') == digest
    assert pins.remove('m') is None
    assert fetch_pinned('m', f'{url}/model', content, pins) == b'other'


def test_known_sum_is_held(server: tuple[str, Path], pins: Pins) -> None:
    """Refuse a file that is not the published one already at the first download, and record nothing."""
    url, folder = server
    (folder / 'model').write_bytes(b'forged')
    with pytest.raises(DownloadError, match='does not hold m'):
        fetch_pinned('m', f'{url}/model', pytest.fail, pins, sha256=hashlib.sha256(b'real').hexdigest())
    assert pins.read() == {}


def test_pinned_only_when_it_is_right(server: tuple[str, Path], pins: Pins) -> None:
    """A page that asks for a login is no model, and is not what the next download is held to."""
    url, folder = server
    (folder / 'model').write_bytes(b'<html>please log in</html>')

    def use(path: Path) -> None:
        raise DownloadError('it is no potential')

    with pytest.raises(DownloadError, match='no potential'):
        fetch_pinned('m', f'{url}/model', use, pins)
    assert pins.read() == {}
    (folder / 'model').write_bytes(b'model')
    assert fetch_pinned('m', f'{url}/model', content, pins) == b'model'


def test_two_at_once(server: tuple[str, Path], pins: Pins) -> None:
    """Of two first downloads that differ, one is pinned and the other refused; no sum is lost between processes."""
    url, folder = server
    (folder / 'model').write_bytes(b'mine')

    def use(path: Path) -> bytes:
        pins.add('m', 'of another process')
        return path.read_bytes()

    with pytest.raises(DownloadError, match='expected is of another process'):
        fetch_pinned('m', f'{url}/model', use, pins)
    assert pins.read() == {'m': 'of another process'}

    threads = [threading.Thread(target=pins.add, args=(f'n{number}', 'sum')) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pins.read()) == 21


@pytest.mark.parametrize('text', ['{', '[]', '{"m": 1}', '\x00'])
def test_damaged_sums(pins: Pins, text: str) -> None:
    """A file of sums that is none is said, and not written over."""
    pins.file.parent.mkdir()
    pins.file.write_text(text)
    for action in (pins.read, lambda: pins.add('m', 's'), lambda: pins.remove('m')):
        with pytest.raises(DownloadError, match='is damaged: mend or remove it'):
            action()
    assert pins.file.read_text() == text


@pytest.mark.parametrize('url', ['http://127.0.0.1:9/model', 'ftp://127.0.0.1/m', 'file:///etc/passwd', 'model', ''])
def test_https_only(pins: Pins, url: str) -> None:
    """Nothing else is asked at all."""
    with pytest.raises(DownloadError, match='could not be downloaded: only addresses that begin with https://'):
        fetch_pinned('m', url, pytest.fail, pins)


def test_no_server(pins: Pins) -> None:
    """Name the address that does not answer."""
    with pytest.raises(DownloadError, match=r'https://127\.0\.0\.1:9/model could not be downloaded: there is no conn'):
        fetch_pinned('m', 'https://127.0.0.1:9/model', pytest.fail, pins)


def test_not_trusted(server: tuple[str, Path], pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that nobody vouches for is refused."""
    monkeypatch.delenv('REQUESTS_CA_BUNDLE')
    (server[1] / 'model').write_bytes(b'model')
    with pytest.raises(DownloadError, match='certificate was refused'):
        fetch_pinned('m', f'{server[0]}/model', pytest.fail, pins)


def test_proxy(server: tuple[str, Path], pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of the environment is asked."""
    monkeypatch.setenv('HTTPS_PROXY', 'http://127.0.0.1:9')
    monkeypatch.delenv('NO_PROXY')
    monkeypatch.setenv('no_proxy', '')
    with pytest.raises(DownloadError, match='the proxy that the environment names'):
        fetch_pinned('m', f'{server[0]}/model', pytest.fail, pins)


def hostile() -> dict[str, tuple[Any, str]]:
    """Return answers of servers, and what is said of each."""
    from loopback import answer, drip, raw

    head = b'HTTP/1.1 200 OK\r\n'
    sent_on = {'status': '302 Found'}
    return {
        'absent': (answer(status='404 Not Found'), 'the server answers 404'),
        'broken': (answer(b'short', length=100), 'broke off'),
        'empty': (raw(b''), 'broke off, or the answer was no HTTP'),
        'other-protocol': (raw(b'SSH-2.0-OpenSSH\r\n'), 'no HTTP'),
        'too-large': (answer(b'x', length=10**12), 'more than 1 MB'),
        'endless': (drip(head + b'\r\n', b'x' * 65536, 0), 'more than 1 MB'),
        'endless-chunks': (
            drip(head + b'Transfer-Encoding: chunked\r\n\r\n', b'8000\r\n' + b'x' * 0x8000 + b'\r\n', 0),
            'more than 1 MB',
        ),
        'endless-with-a-redirect': (
            drip(b'HTTP/1.1 302 Found\r\nLocation: /absent\r\n\r\n', b'x' * 65536, 0), 'answers 404'
        ),
        'bomb-with-a-redirect': (
            answer(gzip.compress(bytes(10**7)), **sent_on, Location='/absent', Content_Encoding='gzip'), 'answers 404'
        ),
        'slow': (drip(head + b'\r\n', b'x', 0.1), 'took longer than 1 s'),
        'slow-head': (drip(head + b'X: ', b'x', 0.1), 'took longer than 1 s'),
        'silent': (lambda connection: time.sleep(1), 'does not answer, or fell silent'),
        'silent-within': (lambda connection: (connection.sendall(head + b'\r\nx'), time.sleep(1)), 'fell silent'),
        'bomb': (answer(gzip.compress(bytes(10**7)), Content_Encoding='gzip'), 'comes compressed'),
        'bomb-of-zstd': (answer(b'x', Content_Encoding='zstd'), 'comes compressed'),
        'loop': (answer(**sent_on, Location='/loop'), 'sends us on more than 5 times'),
        'to-http': (answer(**sent_on, Location='http://127.0.0.1/model'), 'only addresses that begin with https://'),
        'to-file': (answer(**sent_on, Location='file:///etc/passwd'), 'only addresses that begin with https://'),
        'to-ftp': (answer(**sent_on, Location='ftp://127.0.0.1/x'), 'only addresses that begin with https://'),
        'to-nowhere': (answer(**sent_on, Location='https://'), 'sends us on more than 5 times'),
        'to-nonsense': (answer(**sent_on, Location='https://[::1'), 'no HTTP'),
        'to-bytes': (answer(**sent_on, Location='/\xff\xfe\x1b[2J'), 'no HTTP'),
    }  # fmt: skip


NAMES = [
    'absent', 'broken', 'empty', 'other-protocol', 'too-large', 'endless', 'endless-chunks', 'endless-with-a-redirect',
    'bomb-with-a-redirect', 'slow', 'slow-head', 'silent', 'silent-within', 'bomb', 'bomb-of-zstd', 'loop', 'to-http',
    'to-file', 'to-ftp', 'to-nowhere', 'to-nonsense', 'to-bytes',
]  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize('name', NAMES)
def test_hostile_server(certificate: Path, pins: Pins, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server answers becomes one sentence, within its time, and nothing is taken or pinned."""
    import loopback

    answers = hostile()
    for path, (write, _) in answers.items():
        monkeypatch.setitem(loopback.ANSWERS, f'/{path}', write)
    for limit, value in {'TIMEOUT_S': 0.5, 'TOTAL_S': 1.0, 'LIMIT_BYTES': 10**6}.items():
        monkeypatch.setattr(download, limit, value)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=answers[name][1]) as caught:
        fetch_pinned('m', f'{loopback.serve(certificate)}/{name}', pytest.fail, pins)
    assert time.monotonic() - start < 3
    assert len(str(caught.value).splitlines()) == 1
    assert 'HTTPSConnectionPool' not in str(caught.value)
    assert pins.read() == {}


def test_disk_full(server: tuple[str, Path], pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is no file."""
    (server[1] / 'model').write_bytes(b'model')
    plain = Path.open
    full = Path('/dev/full')
    monkeypatch.setattr(Path, 'open', lambda path, mode='r', **more: plain(full if 'w' in mode else path, mode, **more))
    with pytest.raises(DownloadError, match='No space left on device'):
        fetch_pinned('m', f'{server[0]}/model', pytest.fail, pins)


def test_sums_are_readable(pins: Pins) -> None:
    """The file of sums is JSON for people."""
    pins.add('b', '2')
    pins.add('a', '1')
    assert pins.add('a', '3') == '1'
    assert json.loads(pins.file.read_text()) == {'a': '1', 'b': '2'}
