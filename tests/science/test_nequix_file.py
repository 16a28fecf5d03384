"""Files of Nequix are read, and written, without Nequix and without JAX."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiida_equitrain.common.foundations import FOUNDATIONS
from aiida_equitrain.science import nequix_file as files
from aiida_equitrain.science.model_file import read_model_file, read_tensor_shapes

Factory = Callable[..., Path]


def test_metadata(nequix_file: Factory) -> None:
    info = read_model_file(nequix_file())
    assert (info.family, info.architecture, info.dtype, info.cutoff) == ('nequix', 'Nequix', 'float32', 5.0)
    assert (info.elements, info.heads, info.trained_on) == (['Na', 'Si', 'Cl'], [], ['salt/train'])
    header, tensors = files.read(nequix_file().read_bytes())
    assert info.n_parameters == sum(item.size for item in tensors.values()) - 3
    assert header['hidden_irreps'] == '4x0e + 2x1o + 2x2e'
    shapes = read_tensor_shapes(nequix_file())
    # By hand: three elements; 4+2+2 channels of messages in the first layer; 4 + 2·2 scalars, of which 4 gate.
    assert shapes['layers.0.linear_1.weight'] == (3 * 3,)
    assert shapes['layers.0.radial_mlp.layers.1.weights'] == (8, 3 * 3)
    assert shapes['layers.0.linear_2.weight'] == (3 * 8 + 3 * 2 + 3 * 2,)
    assert shapes['layers.0.layer_norm.affine_weight.0'] == (8,)
    assert shapes['layers.1.skip.weight'] == (4 * 4,)
    assert shapes['readout.weight'] == (4,)


@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_written_is_read(dtype: str, nequix_file: Factory) -> None:
    """In single precision, whatever the model has."""
    header, tensors = files.read(nequix_file().read_bytes())
    changed = {name: values.astype(dtype) * 1.1 for name, values in tensors.items()}
    stream = io.BytesIO()
    files.write(header, {**changed, 'layers.0.linear_1.output_mask': np.ones(3)}, stream)
    again, found = files.read(stream.getvalue())
    assert all(np.array_equal(found[name], values.astype('f4')) for name, values in changed.items())
    assert again['atom_energies'] == {
        '11': pytest.approx(-0.22),
        '14': pytest.approx(-0.88),
        '17': pytest.approx(-0.33),
    }
    assert files.describe(stream.getvalue())['dtype'] == 'float32'


def test_what_follows_is_left_alone(nequix_file: Factory) -> None:
    """A published file has its settings once more at the end, another the end of a line."""
    content = nequix_file().read_bytes()
    assert files.describe(content + b'\n') == files.describe(content)


def test_paths_of_the_training() -> None:
    for header, names in (
        ({}, []),
        ({'train_path': ['data/a', 'data/a', '/x/y/z']}, ['a', 'y/z']),
        ({'train_path': 'data/omat/train', 'extra_train_path': ['a\x1b[2J', 3, '', '/']}, ['omat/train']),
    ):
        assert files.trained_on(header) == names


def changed(content: bytes, **settings: Any) -> bytes:
    """Return a file with other settings."""
    line, _, rest = content.partition(b'\n')
    return json.dumps({**json.loads(line), **settings}).encode() + b'\n' + rest


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'index_weights': True}, 'which its PyTorch model does not support'),
        ({'lmax': 1}, 'has the shape .*, by its settings it has'),
        ({'n_layers': 10**9}, 'does not say `n_layers`'),
        ({'radial_mlp_layers': True}, 'does not say `radial_mlp_layers`'),
        ({'cutoff': float('nan')}, 'does not say its `cutoff`'),
        ({'cutoff': 200.0}, 'which cannot be'),
        ({'layer_norm': 'yes'}, '`layer_norm`'),
        ({'atomic_numbers': [14, 11, 17]}, 'not in their order'),
        ({'atomic_numbers': [0, 14, 17]}, 'which elements'),
        ({'atom_energies': {'11': 1}}, 'energies of its atoms'),
        ({'hidden_irreps': '4x0e + 2x1o + 2x1e'}, 'one kind for each degree'),
        ({'hidden_irreps': '2x1o'}, 'scalars, then one kind'),
        ({'hidden_irreps': 'many'}, 'is no number of channels'),
        ({'hidden_irreps': '4x0e + 2x1o + 2x99e'}, 'higher degrees'),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], sentence: str, nequix_file: Factory) -> None:
    with pytest.raises(ValueError, match=sentence):
        files.read(changed(nequix_file().read_bytes(), **settings))


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda content: content[:-5], 'shorter than it says'),
        (lambda content: content[:400], 'no settings of Nequix in its first line|missing|cut off'),
        (lambda content: content.replace(b"'<f4'", b"'|O' "), 'no array of numbers'),
        (lambda content: content.replace(b"'<f4'", b"'>f4'"), 'no array of numbers'),
        (lambda content: content.replace(b'False', b'True ', 1), 'no array of numbers|cannot be read'),
        (lambda content: content.replace(b'(3,)', b'(9,)'), 'has the shape'),
        (lambda content: b'{]\n' + content, 'cannot be read'),
        (lambda content: b'[1]\n' + content, 'no zip archive|no settings'),
        (lambda content: b'{"a": 1}\n' + content, 'index|does not'),
        (lambda content: b'{' + b' ' * 2**20 + content, 'no settings of Nequix in its first line'),
    ],
)
def test_files_that_are_refused(change: Callable[[bytes], bytes], sentence: str, nequix_file: Factory) -> None:
    path = nequix_file()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=sentence):
        read_model_file(path)


@pytest.mark.parametrize('name', ['nequix-mp-1', 'nequix-oam-1-pft'])
def test_published(name: str, nequix_weights: Path) -> None:
    """The files of the publisher."""
    from hashlib import sha256

    path = nequix_weights / f'{name}.nqx'
    info, known = read_model_file(path), FOUNDATIONS[name]
    assert sha256(path.read_bytes()).hexdigest() == known.sha256
    assert (info.elements, info.n_parameters, info.cutoff) == (known.elements.split(), 707569, 6.0)
    assert info.trained_on[-1] == {'nequix-mp-1': 'mptrj-gga-ggapu', 'nequix-oam-1-pft': 'salex/train'}[name]
