"""Metadata of SevenNet's checkpoints are read, and nothing of the files runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiida_equitrain.science.model_file import read_model_file, read_tensor_shapes


def test_metadata(sevennet_file: Callable[..., Path]) -> None:
    path = sevennet_file()
    info = read_model_file(path)
    assert (info.family, info.architecture, info.dtype) == ('sevennet', 'E3_equivariant_model', 'float32')
    assert (info.elements, info.cutoff, info.heads, info.n_parameters) == (['Si', 'Cl'], 5.0, [], 8 * 64 + 2)
    shapes = read_tensor_shapes(path)
    assert shapes['0_convolution.weight_nn.layer0.weight'] == (8, 64)
    assert len(shapes) == 4


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'use_modality': True}, 'has modalities'),
        ({'cuequivariance_config': {'use': True}}, 'cuEquivariance'),
        ({'_type_map': {}}, 'which elements it knows'),
        ({'_type_map': {14: 0, 999: 1}}, 'which elements it knows'),
        ({'cutoff': 'far'}, 'does not say its cutoff'),
        ({'state': {}}, 'has no tensors'),
    ],
)
def test_refused(changes: dict[str, Any], sentence: str, sevennet_file: Callable[..., Path]) -> None:
    path = sevennet_file(**changes)
    with pytest.raises(ValueError, match=sentence):
        read_model_file(path)


def test_tensors_that_are_refused(sevennet_file: Callable[..., Path]) -> None:
    torch = pytest.importorskip('torch')
    for state, sentence in (
        ({'EdgeEmbedding.coeffs': torch.ones(8)}, 'before July 2024'),
        ({'a.weight': torch.ones(2), 'b.weight': torch.ones(2).double()}, 'mixes'),
    ):
        with pytest.raises(ValueError, match=sentence):
            read_model_file(sevennet_file(state=state))


def test_other_dictionaries_keep_their_sentence(sevennet_file: Callable[..., Path], tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    content = torch.load(sevennet_file(), weights_only=False)
    for other in (content['model_state_dict'], {'config': {}, 'model_state_dict': {}}, {'config': content['config']}):
        torch.save(other, tmp_path / 'other.pth')
        with pytest.raises(ValueError, match='only the weights of a model or a checkpoint'):
            read_model_file(tmp_path / 'other.pth')


def test_sevennet_0(sevennet_0: Path) -> None:
    """The real file, from the wheel of sevenn."""
    info = read_model_file(sevennet_0)
    assert (info.family, info.dtype, info.cutoff, info.n_parameters) == ('sevennet', 'float32', 5.0, 842623)
    assert len(info.elements) == 89
    assert {'H', 'Si', 'Pu'} <= set(info.elements)
