"""Servers that answer anything to `aiida-equitrain potential import NAME`."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import socket
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from case import Case
from harness import ADDRESSES, ENVIRONMENT
from loopback import ANSWERS, answer, drip, raw, serve, write_certificate

MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
HEAD = b'HTTP/1.1 200 OK\r\n'
SENT_ON = '302 Found'


class _Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ('touch code-ran',)


def _zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


@cache
def _certificate() -> Path:
    path = write_certificate(Path(tempfile.mkdtemp(), 'loopback.pem'))
    ENVIRONMENT.update(REQUESTS_CA_BUNDLE=str(path), NO_PROXY='127.0.0.1')
    return path


@cache
def _server(kind: str) -> str:
    """Return the address of a server: `trusted`, `stranger` (a certificate of its own) or `plain` (without TLS)."""
    if kind == 'stranger':
        return serve(write_certificate(_certificate().with_name('other.pem')))
    return serve(None if kind == 'plain' else _certificate())


def _import(
    name: str, write: Callable[[socket.socket], None], *more: str, address: str = '', server: str = 'trusted'
) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        _certificate()
        ANSWERS[f'/{name}'] = write
        ADDRESSES[name] = address or f'{_server(server)}/{name}'
        return ['potential', 'import', name, *more]

    return make


def _pinned(folder: Path) -> list[str]:
    from aiida_equitrain.setup.download import pins

    pins().add('dl-changed', '0' * 64)
    return _import('dl-changed', answer(MODEL.read_bytes()))(folder)


def _forget(folder: Path) -> list[str]:
    from aiida_equitrain.setup.download import pins

    pins().add('dl-forget', '0' * 64)
    return ['potential', 'forget', 'dl-forget']


def _without_tls(folder: Path) -> list[str]:
    return _import('dl-no-tls', raw(b''), address=_server('plain').replace('http:', 'https:') + '/m')(folder)


NOT_TAKEN = r'is no potential: '
BROKEN = 'there is no connection, it broke off, or the answer was no HTTP'
SCHEME = 'only addresses that begin with https://'

#: Name, answer, and what is said.
ANSWERED: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    'login-page': (answer(b'<!DOCTYPE html><title>Please log in</title>', Content_Type='text/html'), NOT_TAKEN),
    'nothing': (answer(b''), NOT_TAKEN),
    'json': (answer(b'{"error": "\x1b[2J"}'), NOT_TAKEN),
    'pickle': (answer(pickle.dumps(_Code())), NOT_TAKEN),
    'pickle-in-zip': (answer(_zipped(('a/data.pkl', pickle.dumps(_Code(), 2)), ('a/version', b'3'))), NOT_TAKEN),
    'zip-of-nothing': (answer(_zipped(('x', b'x'))), NOT_TAKEN),
    'half-a-model': (answer(MODEL.read_bytes()[:1000]), NOT_TAKEN),
    'length-too-small': (answer(MODEL.read_bytes(), length=5000), NOT_TAKEN),
    'length-too-large': (answer(MODEL.read_bytes(), length=10**7), 'broke off'),
    'length-huge': (answer(b'x', length=10**15), 'has more than 500 MB'),
    'length-negative': (answer(b'x', length=-5), f'{NOT_TAKEN}|{BROKEN}'),
    'length-no-number': (answer(b'x', length='many\x1b[2J'), f'{NOT_TAKEN}|{BROKEN}'),
    'lengths-that-differ': (raw(HEAD + b'Content-Length: 1\r\nContent-Length: 2\r\n\r\nx'), f'{NOT_TAKEN}|{BROKEN}'),
    'chunks-no-number': (raw(HEAD + b'Transfer-Encoding: chunked\r\n\r\nzz\r\nx'), BROKEN),
    'chunk-huge': (raw(HEAD + b'Transfer-Encoding: chunked\r\n\r\n' + b'f' * 30 + b'\r\nx'), BROKEN),
    'closed-at-once': (raw(b''), BROKEN),
    'other-protocol': (raw(b'SSH-2.0-OpenSSH_9.6\r\n\x1b]0;owned\x07'), BROKEN),
    'half-a-head': (raw(HEAD + b'Content-'), f'{NOT_TAKEN}|{BROKEN}'),
    'many-heads': (raw(HEAD + b'X: x\r\n' * 5000 + b'\r\n'), BROKEN),
    'long-head': (raw(HEAD + b'X: ' + b'x' * 10**6), BROKEN),
    'status-404': (answer(b'no', status='404 \x1b[31mNot Found'), 'the server answers 404'),
    'status-500': (answer(b'Traceback (most recent call last)', status='500 Oops'), 'the server answers 500'),
    'status-401': (answer(b'', status='401 No', WWW_Authenticate='Basic realm="x"'), 'the server answers 401'),
    'status-206': (answer(b'part', status='206 Partial Content'), 'the server answers 206'),
    'status-304': (answer(b'', status='304 Not Modified'), 'the server answers 304'),
    'status-no-number': (answer(b'', status='two hundred'), BROKEN),
    'gzip-bomb': (answer(gzip.compress(bytes(10**8)), Content_Encoding='gzip'), 'comes compressed'),
    'deflate': (answer(b'x', Content_Encoding='deflate'), 'comes compressed'),
    'redirect-loop': (answer(status=SENT_ON, Location='/dl-redirect-loop'), 'sends us on more than 5 times'),
    'redirect-http': (answer(status=SENT_ON, Location='http://127.0.0.1:9/m'), SCHEME),
    'redirect-file': (answer(status='301 Moved', Location='file:///etc/passwd'), SCHEME),
    'redirect-ftp': (answer(status='307 Elsewhere', Location='ftp://127.0.0.1/m'), SCHEME),
    'redirect-data': (answer(status='308 Elsewhere', Location='data:text/plain,x'), SCHEME),
    'redirect-script': (answer(status=SENT_ON, Location='javascript:alert(1)'), SCHEME),
    'redirect-nonsense': (answer(status=SENT_ON, Location='https://[::1'), BROKEN),
    'redirect-bytes': (answer(status=SENT_ON, Location='/\xff\xfe\x1b[2J'), BROKEN),
    'redirect-endless': (
        drip(b'HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n', b'x' * 65536, 0.001), SCHEME
    ),
    'redirect-to-no-port': (answer(status=SENT_ON, Location='https://127.0.0.1:99999/'), BROKEN),
}  # fmt: skip

#: Name, the arguments' maker, and what is said.
OTHERS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    'by-http': (_import('dl-by-http', raw(b''), server='plain'), SCHEME),
    'no-tls': (_without_tls, 'certificate was refused|no HTTP'),
    'stranger': (_import('dl-stranger', answer(b''), server='stranger'), 'certificate was refused'),
    'file': (_import('dl-file', raw(b''), address='file:///etc/passwd'), SCHEME),
    'refused': (_import('dl-refused', raw(b''), address='https://127.0.0.1:9/m'), BROKEN),
    'sum': (_import('dl-sum', answer(MODEL.read_bytes()), '--sha256', '0' * 64), 'does not hold dl-sum'),
    'changed': (_pinned, 'another file than before.*`aiida-equitrain potential forget dl-changed`'),
    'forget-nothing': (lambda _: ['potential', 'forget', 'dl-\x1b[2J'], 'no SHA-256 is kept for `dl-'),
}
RIGHT = _import('dl-right', answer(MODEL.read_bytes()), '--label', 'dl-right')

CASES = [
    *(Case(f'dl-{name}', _import(f'dl-{name}', write), says, profile=True) for name, (write, says) in ANSWERED.items()),
    *(Case(f'dl-{name}', make, says, profile=True) for name, (make, says) in OTHERS.items()),
    Case('dl-right', RIGHT, 'Stored `dl-right`', fails=False, profile=True),
    Case('dl-forget', _forget, 'Forgot dl-forget, SHA-256 000', fails=False),
]
