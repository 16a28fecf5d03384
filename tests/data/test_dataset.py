"""Datasets as nodes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science.frames import Frames


def bits(frames: Frames) -> bytes:
    buffer = io.BytesIO()
    frames.save(buffer)
    return buffer.getvalue()


def test_round_trips(aiida_profile, tiny_frames, tmp_path):
    node = load_node(DatasetData(tiny_frames, functional='PBE', code='pw.x').store().pk)
    assert bits(node.get_frames()) == bits(tiny_frames)
    assert node.n_frames == len(tiny_frames)
    assert node.counts == {'train': 5, 'valid': 1, 'test': 0}
    assert node.elements == ['Si']
    assert node.formulas == ['Si']
    assert node.max_atoms == 8
    node.to_extxyz(tmp_path / 'x.xyz')
    back = DatasetData.from_extxyz(tmp_path / 'x.xyz', functional='PBE')
    assert bits(back.get_frames()) == bits(tiny_frames)
    images = node.get_ase('valid')
    assert len(images) == 1
    again = DatasetData.from_ase(images, functional='PBE').get_frames()
    assert np.array_equal(again[0].forces, tiny_frames.with_role('valid')[0].forces)


def test_hash_is_of_the_content(aiida_profile, tiny_frames):
    first = DatasetData(tiny_frames, functional='PBE', licence='CC0').store()
    moved = Frames.load(io.BytesIO(bits(tiny_frames)), sources=[f'uuid-{i}' for i in range(len(tiny_frames))])
    second = DatasetData(moved, functional='PBE', description='other').store()
    other = DatasetData(tiny_frames[:-1], functional='PBE').store()
    hashes = [node.base.caching.compute_hash() for node in (first, second, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert second.get_frames()[2].source == 'uuid-2'


def test_wrong_frames(aiida_profile, tiny_frames):
    frames = Frames.load(io.BytesIO(bits(tiny_frames)))
    frames[1].forces[0, 0] = np.nan
    with pytest.raises(ValueError, match='frame 1: its forces are not finite'):
        DatasetData(frames, functional='PBE')
    with pytest.raises(ValueError, match='no frames'):
        DatasetData([], functional='PBE')
    with pytest.raises(ValidationError, match='no frames'):
        DatasetData().store()
    with pytest.raises(ValidationError, match='functional'):
        DatasetData(tiny_frames).store()


def test_missing_energies(aiida_profile, tiny_frames):
    """An energy that is not there is none, also after a file; `has_energies` is about all frames."""
    frames = Frames(list(tiny_frames))
    frames.items[1] = replace(frames[1], energy=None)
    node = DatasetData(frames, functional='PBE').store()
    assert not node.has_energies
    assert [frame.energy for frame in node.get_frames()] == [frame.energy for frame in frames]
    assert DatasetData(tiny_frames, functional='PBE').has_energies
    with io.BytesIO(bits(frames)) as file, np.load(file) as data:
        assert np.isnan(data['energies']).tolist() == [False, True, False, False, False, False]


def test_stored_before_energies_could_be_missing(aiida_profile, tiny_frames):
    """Where all energies of a file are 0 there are none; so older versions wrote it."""
    frames = Frames([replace(frame, energy=0.0) for frame in tiny_frames])
    node = DatasetData(frames, functional='PBE').store()
    assert not node.has_energies
    assert {frame.energy for frame in load_node(node.pk).get_frames()} == {None}


def broken(tiny_frames, **changes):
    """Return a file of frames with other arrays, ``None`` for one that is left out."""
    arrays = {**tiny_frames.arrays(), **changes}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


BROKEN = {
    'no array': {'forces': None},
    'negative': {'n_atoms': np.array([-8] * 6)},
    'too many': {'n_atoms': np.array([2**62] * 6)},
    'above 2^63': {'n_atoms': np.array([2**63] * 6, dtype=np.uint64)},
    'too few': {'energies': np.zeros(5)},
    'flat': {'positions': np.zeros(144)},
    'words': {'energies': np.array(['a'] * 6)},
    'pickle': {'roles': np.array([{}] * 6, dtype=object)},
    'empty': dict.fromkeys(['n_atoms', 'numbers', 'energies'], np.array([], dtype=int)),
}


@pytest.mark.parametrize('case', BROKEN)
def test_broken_file(aiida_profile, tiny_frames, case):
    """A file of frames that is wrong ends in one sentence, whoever reads it."""
    content = broken(tiny_frames, **BROKEN[case])
    with pytest.raises(ValueError, match='the file of frames is broken: '):
        Frames.load(io.BytesIO(content))
    node = DatasetData(tiny_frames, functional='PBE')
    node.base.repository.put_object_from_filelike(io.BytesIO(content), DatasetData.FILENAME)
    with pytest.raises(ValidationError, match='cannot be read'):
        node.store()


def test_bomb(tiny_frames):
    """A file that would unpack to far more than it takes is not unpacked."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**tiny_frames.arrays(), 'positions': np.zeros((10**6, 3))})
    with pytest.raises(ValueError, match=r'would unpack to 2\d MB'):
        Frames.load(buffer)


def test_sources_of_other_frames(aiida_profile, tiny_frames):
    with pytest.raises(ValueError, match='2 sources of 6 frames'):
        Frames.load(io.BytesIO(bits(tiny_frames)), sources=['a', 'b'])


def test_file_and_attributes_have_to_agree(aiida_profile, tiny_frames):
    node = DatasetData(tiny_frames, functional='PBE')
    node.base.attributes.set('n_frames', 7)
    with pytest.raises(ValidationError, match='`n_frames`'):
        node.store()
    node = DatasetData(tiny_frames, functional='PBE')
    node.base.repository.put_object_from_filelike(io.BytesIO(b'no npz'), DatasetData.FILENAME)
    with pytest.raises(ValidationError, match='cannot be read'):
        node.store()


@pytest.mark.parametrize(
    ('info', 'match'),
    [
        ({'config_type': 'IsolatedAtom'}, 'isolated'),
        ({'converged': False}, 'did not converge'),
        ({'energy_unit': 'Hartree'}, 'convert it'),
        ({'config_weight': 0}, 'weight is 0'),
    ],
)
def test_ase_atoms_that_are_no_labels(tiny_frames: Any, info: dict[str, Any], match: str) -> None:
    """Frames of ASE are held to the same as those of files."""
    images = [frame.to_atoms() for frame in tiny_frames]
    images[1].info |= info
    with pytest.raises(ValueError, match=f'frame 2: .*{match}'):
        DatasetData.from_ase(images, role='train', functional='PBE')


def test_energy_of_weight_zero(tiny_frames: Any) -> None:
    """An energy whose weight in the loss is 0 is none, and the atoms of the user stay as they are."""
    images = [frame.to_atoms() for frame in tiny_frames]
    images[0].info['config_energy_weight'] = 0.0
    dataset = DatasetData.from_ase(images, role='train', functional='PBE')
    assert [frame.energy is None for frame in dataset.get_frames()][:2] == [True, False]
    assert 'energy' in images[0].calc.results
