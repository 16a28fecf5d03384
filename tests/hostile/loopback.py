"""Servers on this machine, with a certificate that is trusted only where a test says so, that answer anything."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: Answers to a request, by its path: each writes to the socket what it likes.
ANSWERS: dict[str, Callable[[socket.socket], None]] = {}


def write_certificate(path: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'loopback')])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, kind, serialization.NoEncryption()))
    return path


class Server(ThreadingHTTPServer):
    """Serves in threads of its own until the end of the program; a client that goes away is nothing to speak of."""

    def start(self, certificate: Path | None) -> str:
        """Start, with TLS if there is a certificate, and return the address."""
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return f'http{"s" if certificate else ""}://127.0.0.1:{self.server_port}'

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


class Answer(BaseHTTPRequestHandler):
    """Gives the answer of :data:`ANSWERS`."""

    def do_GET(self) -> None:
        """Answer a request."""
        ANSWERS[self.path](self.connection)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def serve(certificate: Path | None) -> str:
    """Start a server of :data:`ANSWERS` and return its address."""
    return Server(('127.0.0.1', 0), Answer).start(certificate)


def answer(
    body: bytes = b'', status: str = '200 OK', length: int | str | None = None, **headers: str
) -> Callable[..., None]:
    """Return what answers with a body.

    :param length: what the server says that the body has; by default the truth.
    """
    lines = [f'HTTP/1.1 {status}', f'Content-Length: {len(body) if length is None else length}']
    lines += [f'{name.replace("_", "-")}: {value}' for name, value in headers.items()]
    content = '\r\n'.join([*lines, '', '']).encode('latin-1') + body
    return lambda connection: connection.sendall(content)


def raw(content: bytes) -> Callable[[socket.socket], None]:
    """Return what answers with these bytes, HTTP or not."""
    return lambda connection: connection.sendall(content)


def drip(start: bytes, piece: bytes, pause: float) -> Callable[[socket.socket], None]:
    """Return what answers with a start, and then with a piece again and again until nobody listens."""

    def write(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return write
