"""Potentials as nodes."""

from __future__ import annotations

import io

import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.tools.resources import starter_files


@pytest.fixture
def model() -> bytes:
    return starter_files()[0].read_bytes()


def test_round_trip(aiida_profile, model):
    node = PotentialData(model, card={'name': 'x', 'starter': True}, origin='somewhere').store()
    loaded = load_node(node.pk)
    assert isinstance(loaded, PotentialData)
    assert loaded.get_content(mode='rb') == model
    assert loaded.family == 'mace'
    assert 'Si' in loaded.elements
    assert loaded.n_bytes == len(model)
    assert loaded.head in loaded.heads
    assert loaded.card['starter'] is True
    assert loaded.stage() == (node.uuid, 'potential.model', 'potential.model')


def test_equal_content_has_equal_hash(aiida_profile, model, tmp_path):
    (tmp_path / 'm.model').write_bytes(model)
    first = PotentialData(io.BytesIO(model), origin='here').store()
    second = PotentialData(tmp_path / 'm.model', origin='there', card={'name': 'b'}).store()
    assert first.base.caching.compute_hash() == second.base.caching.compute_hash()


def test_no_model(aiida_profile):
    with pytest.raises(ValueError, match='no PyTorch model'):
        PotentialData(io.BytesIO(b'garbage'))
    with pytest.raises(ValidationError, match='no model file'):
        PotentialData().store()
    with pytest.raises(ValueError, match='cannot be read'):
        PotentialData('/nowhere/x.model')


def test_unknown_head(aiida_profile, model):
    with pytest.raises(ValueError, match='no head `dft`'):
        PotentialData(model, head='dft')


@pytest.mark.parametrize(
    ('key', 'value', 'sentence'),
    [
        ('sha256', '0', 'SHA-256'),
        ('elements', ['Xe'], '`elements`'),
        ('cutoff', 1.0, '`cutoff`'),
        ('head', 'x', 'head'),
    ],
)
def test_attributes_that_disagree_are_refused(aiida_profile, model, key, value, sentence):
    node = PotentialData(model)
    node.base.attributes.set(key, value)
    with pytest.raises(ValidationError, match=sentence):
        node.store()


def test_swapped_file_is_refused(aiida_profile, model):
    node = PotentialData(model)
    node.base.repository.put_object_from_filelike(io.BytesIO(b'other'), PotentialData.FILENAME)
    with pytest.raises(ValidationError, match='SHA-256'):
        node.store()


def test_calculator_computes_and_warns_about_the_starter(aiida_profile, model):
    from ase.build import bulk

    node = PotentialData(model, card={'starter': True}).store()
    with pytest.warns(UserWarning, match='not MACE-MP'):
        calculator = node.get_calculator()
    atoms = bulk('Si')
    atoms.calc = calculator
    assert abs(atoms.get_forces()).max() < 1e-3
