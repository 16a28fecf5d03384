"""Downloads, against a real server on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from aiida_equitrain.tools.download import DownloadError, Pins, fetch_pinned


def test_first_download_is_pinned_and_a_change_refused(server: tuple[str, Path], tmp_path: Path) -> None:
    """Record the sum at the first download, accept the same file again, refuse a changed one and leave no file."""
    url, folder = server
    pins = Pins(tmp_path / 'config' / 'downloads.json')
    (folder / 'model').write_bytes(b'first')
    digest = hashlib.sha256(b'first').hexdigest()
    seen: list[tuple[int, int]] = []
    target = tmp_path / 'model'
    assert fetch_pinned('m', f'{url}/model', target, pins, progress=lambda *done: seen.append(done)) == digest
    assert target.read_bytes() == b'first'
    assert seen[-1] == (5, 5)
    assert pins.read() == {'m': digest}
    fetch_pinned('m', f'{url}/model', tmp_path / 'again', pins)

    (folder / 'model').write_bytes(b'other')
    with pytest.raises(DownloadError, match=r'another file than before.*It was not used'):
        fetch_pinned('m', f'{url}/model', tmp_path / 'changed', pins)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['again', 'config', 'model', 'served']
    assert pins.read() == {'m': digest}


def test_known_sum_is_held(server: tuple[str, Path], tmp_path: Path) -> None:
    """Refuse a file that is not the published one already at the first download, and record nothing."""
    url, folder = server
    (folder / 'model').write_bytes(b'forged')
    pins = Pins(tmp_path / 'downloads.json')
    with pytest.raises(DownloadError, match='does not hold m'):
        fetch_pinned('m', f'{url}/model', tmp_path / 'model', pins, sha256=hashlib.sha256(b'real').hexdigest())
    assert pins.read() == {}
    assert not (tmp_path / 'model').exists()


@pytest.mark.parametrize('path', ['absent', 'broken'])
def test_failed_transfer(server: tuple[str, Path], tmp_path: Path, path: str) -> None:
    """Turn a missing file and a transfer that breaks off into one error, and leave nothing behind."""
    url, _ = server
    with pytest.raises(DownloadError):
        fetch_pinned('m', f'{url}/{path}', tmp_path / 'model', Pins(tmp_path / 'downloads.json'))
    assert [entry.name for entry in tmp_path.iterdir()] == ['served']


def test_no_server(tmp_path: Path) -> None:
    """Name the address that does not answer."""
    with pytest.raises(DownloadError, match=r'http://127\.0\.0\.1:9/model could not be downloaded'):
        fetch_pinned('m', 'http://127.0.0.1:9/model', tmp_path / 'model', Pins(tmp_path / 'downloads.json'))
