"""Read labelled supercells of phonopy and phono3py."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.archives import extract_files
from aiida_equitrain.science.displaced_frames import (
    check_displacements,
    choose_frames,
    load_labelled,
)
from aiida_equitrain.science.force_sets import shortest_bond

RATTLED = Path(__file__).parents[1] / 'fixtures' / 'rattled'


def write_params(path: Path, forces: bool = True) -> Path:
    """Write a phonopy params file of rock salt: three frames with springs to the sites."""
    rng = np.random.default_rng(1)
    metal = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    sites = [*metal, [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    points = [{'symbol': s, 'coordinates': c} for s, c in zip(['Na'] * 4 + ['Cl'] * 4, sites, strict=True)]
    displacements = rng.normal(0, 0.02, (3, 8, 3))
    dataset = {'displacements': displacements.tolist(), 'supercell_energies': [-1.0, -2.0, -3.0]}
    if forces:
        centred = displacements - displacements.mean(axis=1, keepdims=True)
        dataset['forces'] = (-2.0 * centred).tolist()
    content = {
        'unit_cell': {'lattice': (5.6 * np.eye(3)).tolist(), 'points': points},
        'supercell_matrix': np.eye(3, dtype=int).tolist(),
        'dataset': dataset,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_params_file(tmp_path: Path) -> None:
    data = load_labelled(write_params(tmp_path / 'phonopy_params.yaml'))
    assert (data.name, len(data.frames), data.n_reference) == ('NaCl', 3, 3)
    assert [frame.energy for frame in data.frames] == [-1.0, -2.0, -3.0]
    assert data.frames[1].source == 'phonopy_params.yaml#2'
    assert np.abs(data.frames[0].positions - data.reference.supercell.positions).max() < 0.1
    assert data.reference.force_constants.shape == (2, 8, 3, 3)


def test_files_that_do_not_serve(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='and their forces'):
        load_labelled(write_params(tmp_path / 'a.yaml', forces=False))
    with pytest.raises(ValueError, match='there is no file'):
        load_labelled(tmp_path / 'absent.yaml')
    (tmp_path / 'b.yaml').write_text('a: 1')
    with pytest.raises(ValueError, match='not a phonopy file'):
        load_labelled(tmp_path / 'b.yaml')


def test_choice_of_frames(tmp_path: Path) -> None:
    frames = load_labelled(write_params(tmp_path / 'phonopy_params.yaml')).frames
    roles = [frame.role for frame in choose_frames(frames, 2, seed=1)]
    assert sorted(roles) == ['test', 'train', 'valid']
    assert roles == [frame.role for frame in choose_frames(frames, 2, seed=1)]
    with pytest.raises(ValueError, match='only 3'):
        choose_frames(frames, 4, seed=1)


def test_real_silicon() -> None:
    """Small frames for training, the two large ones for the phonons; the pristine cells are neither."""
    data = load_labelled(RATTLED / 'Si-111-222-rd.tar.xz')
    assert (data.name, len(data.frames), data.n_reference) == ('Si', 20, 2)
    assert {len(frame) for frame in data.frames} == {8}
    assert len(data.reference.supercell) == 64
    assert all(frame.stress is not None for frame in data.frames)


def test_archives_stay_in_their_folder(tmp_path: Path) -> None:
    """A file whose name leads outside is not written, nor is a link; the others are."""
    path = tmp_path / 'archive.tar'
    with tarfile.open(path, 'w') as archive:
        for name in ('inside/a.txt', '../outside.txt'):
            member = tarfile.TarInfo(name)
            member.size = 2
            archive.addfile(member, io.BytesIO(b'hi'))
        link = tarfile.TarInfo('link')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        archive.addfile(link)
    (tmp_path / 'folder').mkdir()
    with tarfile.open(path) as archive:
        extract_files(archive, tmp_path / 'folder')
    assert (tmp_path / 'folder' / 'inside' / 'a.txt').read_text() == 'hi'
    assert not (tmp_path / 'outside.txt').exists()
    assert not (tmp_path / 'folder' / 'link').is_symlink()


def test_displacements_that_are_none() -> None:
    """Take an atom that moved by more than a third of the shortest bond for another one, and name the frame."""
    cell = PhonopyAtoms(cell=np.full((3, 3), 1.8) - 1.8 * np.eye(3), symbols=['Cu'], scaled_positions=[[0, 0, 0]])
    assert shortest_bond(cell) == pytest.approx(1.8 * 2**0.5)
    moves = np.array([[[0.84, 0, 0]], [[0, 0.85, 0]]])
    check_displacements(moves[:1], cell, ['one'])
    with pytest.raises(ValueError, match=r'in `two` an atom has moved by 0.85 Å, more than a third .* \(2.55 Å\)'):
        check_displacements(moves, cell, ['one', 'two'])
    with pytest.raises(ValueError, match='in `two`'):
        check_displacements(np.full((1, 3), np.nan), cell, ['two'])
