"""A real server on this machine, for what is downloaded; the computer of the set-up; a browser that looks at pages."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from aiida_equitrain.setup import defaults, setup

sys.path.insert(0, str(Path(__file__).parents[1] / 'hostile'))


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve a folder, without a line per request."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a certificate of this machine that is trusted during the test."""
    from loopback import write_certificate

    path = write_certificate(tmp_path_factory.mktemp('tls') / 'loopback.pem')
    monkeypatch.setenv('REQUESTS_CA_BUNDLE', str(path))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    return path


@pytest.fixture
def server(certificate: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address of a server, and the folder that it serves."""
    from loopback import Server

    folder = tmp_path / 'served'
    folder.mkdir()
    with Server(('127.0.0.1', 0), partial(QuietHandler, directory=str(folder))) as httpd:
        yield httpd.start(certificate), folder
        httpd.shutdown()


@pytest.fixture
def computer() -> Any:
    """Return the computer that the set-up makes."""
    made, _ = setup.ensure_computer(defaults.COMPUTER)
    return made


@pytest.fixture
def check_pages(browser: str) -> Any:
    """Return the function of ``scripts/check_pages.py`` that tells what is wrong with pages."""
    if os.environ.get('CI', '').lower() not in ('1', 'true'):
        pytest.importorskip('axe_playwright_python', reason='of the extra `tests`')
    return runpy.run_path(str(Path(__file__).parents[2] / 'scripts' / 'check_pages.py'))['run']
