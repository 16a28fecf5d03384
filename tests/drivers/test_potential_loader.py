"""Models of another machine: saved on a GPU they load on a CPU, with cuEquivariance they end in a sentence."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aiida_equitrain.drivers.job_io import DriverFailure
from aiida_equitrain.drivers.potential_loader import load_model
from aiida_equitrain.science.model_file import read_model_file

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'


def on_gpu(content: bytes) -> bytes:
    """Return an archive of PyTorch whose tensors say that they lay on a GPU."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, 'w', zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith('.pkl'):
                data = data.replace(b'X\x03\0\0\0cpu', b'X\x06\0\0\0cuda:0')
            new.writestr(name, data)
    return result.getvalue()


@pytest.fixture
def gpu_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the tiny model, and a part with compiled tensors as larger models have, as a GPU would have saved it."""
    torch = pytest.importorskip('torch')
    import mace  # noqa: F401
    from e3nn.o3 import FullyConnectedTensorProduct
    from e3nn.util.codegen import CodeGenMixin

    model = torch.load(TINY_MODEL, weights_only=False)
    model.add_module('larger', FullyConnectedTensorProduct('1o', '1o', '1e'))
    state_of = CodeGenMixin.__getstate__

    def state_on_gpu(self: Any) -> Any:
        state = state_of(self)
        if '__codegen__' in state:
            state['__codegen__'] = {name: on_gpu(part) for name, part in state['__codegen__'].items()}
        return state

    buffer = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(CodeGenMixin, '__getstate__', state_on_gpu)
        torch.save(model, buffer)
    path = tmp_path / 'gpu.model'
    path.write_bytes(on_gpu(buffer.getvalue()))
    return path


def test_saved_on_a_gpu(gpu_model: Path) -> None:
    """Tensors and compiled parts come to the CPU; what `torch.load` does alone fails."""
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(Exception, match=r'(?i)cuda|nvidia'):
            torch.load(gpu_model, map_location='cpu', weights_only=False)
    loader, found = torch.jit.load, load_model(gpu_model, dtype='float32')
    assert torch.jit.load is loader
    ours, theirs = found.state_dict(), torch.load(TINY_MODEL, weights_only=False).state_dict()
    assert any('_w3j_' in name for name in ours)
    assert {item.device.type for item in ours.values()} == {'cpu'}
    assert all(torch.equal(ours[name], item) for name, item in theirs.items())
    assert read_model_file(gpu_model).elements == ['Na', 'Si', 'Cl']


@pytest.mark.parametrize('package', ['cuequivariance_torch', 'openequivariance'])
def test_accelerated(package: str, tmp_path: Path) -> None:
    """A model that needs a package of GPUs says so, in the job and when it is imported."""
    torch = pytest.importorskip('torch')
    module = ModuleType(package)
    module.Linear = type('Linear', (torch.nn.Linear,), {'__module__': package, '__qualname__': 'Linear'})  # type: ignore[attr-defined]
    model = torch.load(TINY_MODEL, weights_only=False)
    sys.modules[package] = module
    try:
        model.add_module('fast', module.Linear(1, 1))
        torch.save(model, tmp_path / 'fast.model')
    finally:
        del sys.modules[package]
    with pytest.raises(DriverFailure, match=f'needs the package `{package}`') as failure:
        load_model(tmp_path / 'fast.model')
    assert failure.value.reason == 'bad_potential'
    with pytest.raises(ValueError, match=f'needs the package `{package}`'):
        read_model_file(tmp_path / 'fast.model')
