"""Datasets as nodes."""

from __future__ import annotations

import io

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


def test_file_and_attributes_have_to_agree(aiida_profile, tiny_frames):
    node = DatasetData(tiny_frames, functional='PBE')
    node.base.attributes.set('n_frames', 7)
    with pytest.raises(ValidationError, match='`n_frames`'):
        node.store()
    node = DatasetData(tiny_frames, functional='PBE')
    node.base.repository.put_object_from_filelike(io.BytesIO(b'no npz'), DatasetData.FILENAME)
    with pytest.raises(ValidationError, match='cannot be read'):
        node.store()
