"""Potentials as nodes."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from aiida.common.exceptions import NotExistent, ValidationError
from aiida.orm import load_node

from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.adapter import make_adapter
from aiida_equitrain.science.model_file import read_tensor_shapes
from aiida_equitrain.setup.shipped import starter_files

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
#: Tensors that the adapters of these tests change.
TENSORS = ('readouts.0.linear.weight', 'interactions.0.conv_tp_weights.layer0.weight')


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
    assert loaded.stage() == [(node.uuid, 'potential.model', 'potential.model')]


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


@pytest.mark.real
def test_calculator_computes_and_warns_about_the_starter(aiida_profile, model):
    from ase.build import bulk

    node = PotentialData(model, card={'starter': True}).store()
    with pytest.warns(UserWarning, match='not MACE-MP'):
        calculator = node.get_calculator()
    atoms = bulk('Si')
    atoms.calc = calculator
    assert abs(atoms.get_forces()).max() < 1e-3


@pytest.fixture
def tiny(aiida_profile) -> PotentialData:
    return PotentialData(TINY_MODEL, card={'name': 'tiny', 'starter': True}).store()


def adapter_of(node: PotentialData, foundation_sha256: str = '', **changes) -> bytes:
    """Return an adapter that changes every 50th readout weight and the first layer of the radial network."""
    shapes = read_tensor_shapes(TINY_MODEL)
    before = {name: np.zeros(shapes[name], dtype=np.float32) for name in TENSORS}
    after = {name: np.full(shapes[name], 0.01, dtype=np.float32) for name in TENSORS}
    about = {'strategy': 'l2-tsp', 'dtype': 'float32', 'head': node.head, **changes}
    return make_adapter(before, after, foundation_sha256=foundation_sha256 or node.sha256, **about)


def test_adapter_is_a_potential_like_any_other(tiny):
    card = {'name': 'tuned', 'starter': True}
    node = PotentialData.from_adapter(adapter_of(tiny), foundation=tiny, card=card, origin='a training').store()
    loaded = load_node(node.pk)
    assert isinstance(loaded, PotentialData)
    assert (loaded.kind, tiny.kind) == ('adapter', 'full')
    assert loaded.foundation.uuid == tiny.uuid
    assert tiny.foundation is None
    for name in ('family', 'architecture', 'elements', 'cutoff', 'dtype', 'heads', 'head', 'n_parameters'):
        assert getattr(loaded, name) == getattr(tiny, name), name
    assert loaded.n_bytes == len(loaded.get_content(mode='rb'))
    assert loaded.card == card
    assert loaded.origin == 'a training'
    assert loaded.stage('foundation.model') == [
        (tiny.uuid, 'potential.model', 'foundation.model'),
        (node.uuid, 'adapter.safetensors', 'foundation.safetensors'),
    ]


def test_adapter_of_an_adapter_refers_to_the_full_model(tiny):
    first = PotentialData.from_adapter(adapter_of(tiny), foundation=tiny).store()
    second = PotentialData.from_adapter(adapter_of(tiny), foundation=first).store()
    assert second.foundation.uuid == tiny.uuid


def test_hash_of_an_adapter_does_not_know_uuids(tiny):
    twin = PotentialData(TINY_MODEL, origin='elsewhere').store()
    first = PotentialData.from_adapter(adapter_of(tiny), foundation=tiny).store()
    second = PotentialData.from_adapter(adapter_of(twin), foundation=twin, origin='x', card={'name': 'y'}).store()
    other = PotentialData.from_adapter(adapter_of(tiny, strategy='l2-sp'), foundation=tiny).store()
    assert first.base.attributes.get('foundation_uuid') != second.base.attributes.get('foundation_uuid')
    assert first.base.caching.compute_hash() == second.base.caching.compute_hash()
    assert first.base.caching.compute_hash() != other.base.caching.compute_hash()
    assert twin.uuid == second.foundation.uuid


def test_foundation_is_found_by_its_content(tiny):
    """After an import, a node with the same file may have another UUID; without one there is a sentence."""
    node = PotentialData.from_adapter(adapter_of(tiny), foundation=tiny)
    node.base.attributes.set('foundation_uuid', '1' * 8)
    assert node.foundation.sha256 == tiny.sha256
    node.base.attributes.set('foundation_sha256', '0' * 64)
    with pytest.raises(NotExistent, match='not in this profile: store that model file'):
        _ = node.foundation
    with pytest.raises(ValidationError, match='not in this profile'):
        node.store()


def test_wrong_adapters(tiny, model):
    starter = PotentialData(model).store()
    with pytest.raises(ValueError, match='give the potential that the training started from'):
        PotentialData.from_adapter(adapter_of(tiny), foundation=starter)
    with pytest.raises(ValueError, match=r'which the foundation does not have|has the shape'):
        PotentialData.from_adapter(adapter_of(tiny, foundation_sha256=starter.sha256), foundation=starter)
    with pytest.raises(ValueError, match='no head `dft`'):
        PotentialData.from_adapter(adapter_of(tiny, head='dft'), foundation=tiny)
    with pytest.raises(ValueError, match='no safetensors file'):
        PotentialData.from_adapter(model, foundation=tiny)
    with pytest.raises(ValueError, match='no PyTorch model'):
        PotentialData(adapter_of(tiny))


@pytest.mark.parametrize(
    ('key', 'value', 'sentence'),
    [
        ('kind', 'other', 'must be full or adapter'),
        ('kind', 'full', 'no model file'),
        ('sha256', '0', 'SHA-256'),
        ('dtype', 'float64', '`dtype`'),
        ('strategy', 'lora', '`strategy`'),
        ('elements', ['Xe'], '`elements`'),
    ],
)
def test_attributes_of_an_adapter_that_disagree_are_refused(tiny, key, value, sentence):
    node = PotentialData.from_adapter(adapter_of(tiny), foundation=tiny)
    node.base.attributes.set(key, value)
    with pytest.raises(ValidationError, match=sentence):
        node.store()


def test_swapped_adapter_is_refused(tiny):
    node = PotentialData.from_adapter(adapter_of(tiny), foundation=tiny)
    other = adapter_of(tiny, foundation_sha256='0' * 64)
    node.base.repository.put_object_from_filelike(io.BytesIO(other), PotentialData.ADAPTER_FILENAME)
    with pytest.raises(ValidationError, match='SHA-256'):
        node.store()
    node.base.attributes.set('sha256', hashlib.sha256(other).hexdigest())
    with pytest.raises(ValidationError, match='belongs to the model with the SHA-256 0000'):
        node.store()


@pytest.mark.real
def test_calculator_and_file_of_an_adapter(tiny, tmp_path):
    """Both give the trained values, and the file of a full potential is the stored one."""
    import torch

    node = PotentialData.from_adapter(adapter_of(tiny), foundation=tiny, card={'starter': True}).store()
    with pytest.warns(UserWarning, match='not MACE-MP'):
        state = node.get_calculator(dtype='float64').models[0].state_dict()
    node.write_model(tmp_path / 'tuned.model')
    written = torch.load(tmp_path / 'tuned.model', weights_only=False).state_dict()
    original = torch.load(TINY_MODEL, weights_only=False).state_dict()
    for name, values in original.items():
        expected = torch.full_like(values, 0.01) if name in TENSORS else values
        assert torch.equal(written[name], expected), name
        assert torch.equal(state[name], expected.to(state[name].dtype)), name
    with pytest.raises(FileExistsError):
        node.write_model(tmp_path / 'tuned.model')
    tiny.write_model(tmp_path / 'full.model')
    assert (tmp_path / 'full.model').read_bytes() == TINY_MODEL.read_bytes()
