"""Metadata of model files are read, and nothing of the files runs."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytest

from aiida_equitrain.science.model_file import read_model_file, read_tensor_shapes

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'


class Hostile:
    """Runs a shell command when it is unpickled the ordinary way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def archive(pickled: bytes, extra: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> io.BytesIO:
    """Return a zip file as PyTorch writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', compression) as file:
        for name, content in {'data.pkl': pickled, 'byteorder': b'little', **(extra or {})}.items():
            file.writestr(f'model/{name}', content)
    buffer.seek(0)
    return buffer


@pytest.fixture(scope='module')
def mace():
    """Return an untrained MACE model, and the path of its file."""
    torch = pytest.importorskip('torch')
    return torch.load(TINY_MODEL, weights_only=False), TINY_MODEL


def test_metadata_agree_with_torch(mace):
    model, path = mace
    info = read_model_file(path)
    assert info.n_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (info.family, info.architecture, info.dtype) == ('mace', 'ScaleShiftMACE', 'float32')
    assert info.elements == ['Na', 'Si', 'Cl']
    assert info.cutoff == 4.0
    assert info.heads == ['Default']


def test_double_precision_is_seen(mace, tmp_path):
    import copy

    import torch

    torch.save(copy.deepcopy(mace[0]).double(), tmp_path / 'm.model')
    assert read_model_file(tmp_path / 'm.model').dtype == 'float64'


def test_hostile_pickle_never_runs(tmp_path):
    target = tmp_path / 'was-run'
    payload = pickle.dumps({'model': Hostile(target)}, protocol=2)
    with pytest.raises(ValueError, match='only the weights'):
        read_model_file(archive(payload))
    with pytest.raises(ValueError, match='no supported model'):
        read_model_file(archive(pickle.dumps(Hostile(target), protocol=2)))
    assert not target.exists()
    pickle.loads(payload)
    assert target.exists(), 'the payload is harmless: the test shows nothing'


@pytest.mark.parametrize(
    'opcodes',
    [
        b'\x80\x02cbuiltins\neval\n(U\x01ctR.',
        b'\x80\x02cbuiltins\ngetattr\n(cos\nsystem\nU\x08__call__tR(U\x04truetR.',
        b'\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.',
        b'\x80\x02cbuiltins\nset\n}U\x01a(sb.',
        b'\x80\x02\x82\x01.',
        b'\x80\x02(lp0\nr\xff\xff\xff\xff.',
    ],
)
def test_odd_pickles_end_in_a_sentence(opcodes):
    with pytest.raises(ValueError, match='model'):
        read_model_file(archive(opcodes))


def test_weights_only_file(mace, tmp_path):
    import torch

    torch.save(mace[0].state_dict(), tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match='only the weights of a model or a checkpoint'):
        read_model_file(tmp_path / 'weights.pt')


def test_other_module(tmp_path):
    torch = pytest.importorskip('torch')
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'linear.pt')
    with pytest.raises(ValueError, match=r'torch\.nn\.modules\.linear\.Linear.*no supported model'):
        read_model_file(tmp_path / 'linear.pt')


def test_compiled_model(tmp_path):
    torch = pytest.importorskip('torch')
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / 'compiled.pt')
    with pytest.raises(ValueError, match='TorchScript'):
        read_model_file(tmp_path / 'compiled.pt')


def test_garbage(tmp_path):
    with pytest.raises(ValueError, match='no zip archive'):
        read_model_file(io.BytesIO(b'not a model'))
    with pytest.raises(ValueError, match='cannot be read'):
        read_model_file(tmp_path / 'absent.model')
    with pytest.raises(ValueError, match='is damaged'):
        read_model_file(archive(b'\x80\x02]q'))


def test_modules_in_modules():
    """Names of tensors that grow with every module below another are refused before they fill the memory."""
    sys.path.insert(0, str(Path(__file__).parents[1] / 'hostile'))
    from torch_files import Global, Made, Raw, pickled
    from torch_files import archive as archive_of

    opcodes = pickled(Made(Global('mace', 'M'), Raw(b'}')))[2:-1]
    for _ in range(2000):
        opcodes = b'cmace\nM\n)\x81}X\x08\0\0\0_modules}X\x01\0\0\0a' + opcodes + b'ssb'
    with pytest.raises(ValueError, match='nest deeper'):
        read_tensor_shapes(io.BytesIO(archive_of(b'\x80\x02' + opcodes + b'.')))


def test_bomb(monkeypatch):
    monkeypatch.setattr('aiida_equitrain.science.torch_archive._MAX_BYTES', 10000)
    with pytest.raises(ValueError, match='too large'):
        read_model_file(archive(b'0' * 10001, compression=zipfile.ZIP_DEFLATED))


def test_truncated_model(mace, tmp_path):
    (tmp_path / 'cut.model').write_bytes(mace[1].read_bytes()[:-2000])
    with pytest.raises(ValueError, match='model'):
        read_model_file(tmp_path / 'cut.model')


def test_tensor_shapes_agree_with_torch(mace):
    model, path = mace
    shapes = read_tensor_shapes(path)
    expected = {name: tuple(values.shape) for name, values in model.named_parameters()}
    assert expected.items() <= shapes.items()
    assert shapes['atomic_numbers'] == (3,)
    with pytest.raises(ValueError, match='no PyTorch model'):
        read_tensor_shapes(io.BytesIO(b'no zip'))
