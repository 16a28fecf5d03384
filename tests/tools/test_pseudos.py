"""The table of pseudopotentials from elsewhere: looked at before it is unpacked, pinned once it is a family."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aiida_equitrain.setup import defaults, setup
from aiida_equitrain.setup import shipped as pseudos
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.shipped import check_archive, find_family, pseudo_cutoffs_file, pseudo_folder

TABLE, HINTS = 'nc-sr-04_pbe_standard_upf.tgz', 'nc-sr-04_pbe_standard_djrepo.tgz'


def write(path: Path, *members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, size: int | None = None) -> Path:
    """Write an archive."""
    with tarfile.open(path, 'w:gz') as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), '/etc/passwd'
            archive.addfile(info, io.BytesIO(content))
        if size is not None:
            # A header alone: what it promises need not be there to fill a disk.
            info = tarfile.TarInfo('Si.upf')
            info.size = size
            archive.fileobj.write(info.tobuf())  # type: ignore[union-attr]
    return path


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('../Si.upf', tarfile.REGTYPE), ('/etc/Si.upf', tarfile.REGTYPE), ('sub/Si.upf', tarfile.REGTYPE),
        ('Si.upf.py', tarfile.REGTYPE), ('Si.upf', tarfile.SYMTYPE), ('Si.upf', tarfile.LNKTYPE),
        ('Si.upf', tarfile.FIFOTYPE), ('Si.upf', tarfile.CHRTYPE), ('Si.upf', tarfile.DIRTYPE),
    ],
)  # fmt: skip
def test_only_plain_files(tmp_path: Path, name: str, kind: bytes) -> None:
    with pytest.raises(ValueError, match=r'holds other things than files `\*\.upf`'):
        check_archive(write(tmp_path / 'a.tgz', (name, b''), kind=kind), '.upf')


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match='of a usual size'):
        check_archive(write(tmp_path / 'a.tgz', size=10**12), '.upf')
    monkeypatch.setattr(pseudos, 'LARGEST_TABLE', 10)
    with pytest.raises(ValueError, match='of a usual size'):
        check_archive(write(tmp_path / 'b.tgz', *[(f'{name}.upf', b'123456') for name in ('Si', 'C')]), '.upf')


def test_headers_are_bounded(tmp_path: Path) -> None:
    """A name is taken into memory before the size of anything is looked at."""
    with pytest.raises(ValueError, match='headers of more than 1 MiB'):
        check_archive(write(tmp_path / 'a.tgz', ('a', bytes(2**21)), kind=tarfile.GNUTYPE_LONGNAME), '.upf')


@pytest.mark.parametrize('content', [b'', b'<html>', b'\x1f\x8b\x08', b'PK\x03\x04'])
def test_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'a.tgz').write_bytes(content)
    with pytest.raises(ValueError, match=r'`a\.tgz` is no archive'):
        check_archive(tmp_path / 'a.tgz', '.upf')


def test_plain_files_pass(tmp_path: Path) -> None:
    check_archive(write(tmp_path / 'a.tgz', ('Si.upf', b'x'), ('./C.upf', b'y')), '.upf')


@pytest.mark.real
@pytest.mark.usefixtures('aiida_profile_clean')
@pytest.mark.parametrize('wrong', ['md5_upf', 'hints', 'archive'])
def test_half_a_family_does_not_stay(server: tuple[str, Path], wrong: str, capfd: Any) -> None:
    """What does not belong together is not installed, not pinned, and found by no later set-up."""
    url, folder = server
    row = json.loads(pseudo_cutoffs_file().read_text())['elements']['Si']
    hints = {level: {'ecut': row[level]} for level in ('low', 'normal', 'high')}
    repo = {'md5_upf': row['md5'], 'hints': hints}
    repo |= {'md5_upf': {'md5_upf': 'other'}, 'hints': {'hints': {'low': {'ecut': -1}}}}.get(wrong, {})
    name = '../Si.upf' if wrong == 'archive' else 'Si.upf'
    write(folder / TABLE, (name, (pseudo_folder() / 'Si.upf').read_bytes()))
    write(folder / HINTS, ('Si.djrepo', json.dumps(repo).encode()))
    setup.pins().file.unlink(missing_ok=True)
    with pytest.raises(DownloadError, match='could not be installed'):
        setup._install_pseudo_dojo(setup.Options(family_url=f'{url}/'))
    assert find_family(defaults.ONLINE_FAMILY) is None
    assert setup.pins().read() == {}
