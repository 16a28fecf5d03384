"""Metadata of SevenNet's checkpoints are read, and nothing of the files runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiida_equitrain.science.model_file import read_model_file, read_tensor_shapes


def checkpoint(**changes: Any) -> dict[str, Any]:
    """Return what SevenNet saves, of a model that is no model."""
    torch = pytest.importorskip('torch')
    import numpy as np

    config = {
        '_model_type': 'E3_equivariant_model',
        'version': '0.9.1',
        'cutoff': 5.0,
        '_type_map': {17: 0, 11: 1},
        'device': torch.device('cpu'),
        'shift': np.zeros(2),
        'use_modality': False,
    }
    state = {
        '0_convolution.weight_nn.layer0.weight': torch.ones(8, 64),
        '0_convolution.convolution._compiled_main_left_right._w3j_1_1_1': torch.ones(3, 3, 3),
        'onehot_to_feature_x.linear.output_mask': torch.ones(128),
        'rescale_atomic_energy.shift': torch.zeros(2),
    }
    return {
        'model_state_dict': changes.pop('state', state),
        'optimizer_state_dict': {},
        'config': {**config, **changes},
        'epoch': 600,
    }


def save(content: Any, path: Path) -> Path:
    import torch

    torch.save(content, path)
    return path


def test_metadata(tmp_path: Path) -> None:
    path = save(checkpoint(), tmp_path / 'checkpoint.pth')
    info = read_model_file(path)
    assert (info.family, info.architecture, info.dtype) == ('sevennet', 'E3_equivariant_model', 'float32')
    assert (info.elements, info.cutoff, info.heads, info.n_parameters) == (['Na', 'Cl'], 5.0, [], 8 * 64 + 2)
    shapes = read_tensor_shapes(path)
    assert shapes['0_convolution.weight_nn.layer0.weight'] == (8, 64)
    assert len(shapes) == 4


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'use_modality': True}, 'has modalities'),
        ({'cuequivariance_config': {'use': True}}, 'cuEquivariance'),
        ({'_type_map': {}}, 'which elements it knows'),
        ({'_type_map': {11: 0, 999: 1}}, 'which elements it knows'),
        ({'cutoff': 'far'}, 'does not say its cutoff'),
        ({'state': {}}, 'has no tensors'),
    ],
)
def test_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = save(checkpoint(**changes), tmp_path / 'checkpoint.pth')
    with pytest.raises(ValueError, match=sentence):
        read_model_file(path)


def test_tensors_that_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    for state, sentence in (
        ({'EdgeEmbedding.coeffs': torch.ones(8)}, 'before July 2024'),
        ({'a.weight': torch.ones(2), 'b.weight': torch.ones(2).double()}, 'mixes'),
    ):
        with pytest.raises(ValueError, match=sentence):
            read_model_file(save(checkpoint(state=state), tmp_path / 'checkpoint.pth'))


def test_other_dictionaries_keep_their_sentence(tmp_path: Path) -> None:
    content = checkpoint()
    for other in (content['model_state_dict'], {'config': {}, 'model_state_dict': {}}, {'config': content['config']}):
        with pytest.raises(ValueError, match='only the weights of a model or a checkpoint'):
            read_model_file(save(other, tmp_path / 'other.pth'))


def test_sevennet_0(sevennet_0: Path) -> None:
    """The real file, from the wheel of sevenn."""
    info = read_model_file(sevennet_0)
    assert (info.family, info.dtype, info.cutoff, info.n_parameters) == ('sevennet', 'float32', 5.0, 842623)
    assert len(info.elements) == 89
    assert {'H', 'Si', 'Pu'} <= set(info.elements)
