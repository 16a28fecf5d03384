"""Files as PyTorch writes them, of whatever opcodes and numbers one likes; PyTorch is not needed."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Global:
    """A class or function by its name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """What a function returns."""

    function: Any
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Made:
    """An instance of a class with a state."""

    kind: Any
    state: Any


@dataclass(frozen=True)
class Raw:
    """Opcodes that leave one value."""

    opcodes: bytes


@dataclass(frozen=True)
class Storage:
    """Raw numbers of a tensor."""

    key: str
    kind: str
    size: int


def opcodes(value: Any) -> bytes:
    """Return the opcodes of a value, in protocol 2."""
    match value:
        case None:
            return b'N'
        case bool():
            return b'\x88' if value else b'\x89'
        case int() if 0 <= value < 2**31:
            return b'J' + struct.pack('<i', value)
        case int():
            content = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
            return b'\x8b' + struct.pack('<i', len(content)) + content
        case float():
            return b'G' + struct.pack('>d', value)
        case str():
            return b'X' + struct.pack('<I', len(value.encode())) + value.encode()
        case tuple():
            return b'(' + b''.join(opcodes(item) for item in value) + b't'
        case list():
            return b'](' + b''.join(opcodes(item) for item in value) + b'e'
        case dict():
            return b'}(' + b''.join(opcodes(item) for pair in value.items() for item in pair) + b'u'
        case Global():
            return f'c{value.module}\n{value.name}\n'.encode()
        case Call():
            return opcodes(value.function) + opcodes(value.args) + b'R'
        case Made():
            return opcodes(value.kind) + b')\x81' + opcodes(value.state) + b'b'
        case Storage():
            return opcodes(('storage', Global('torch', value.kind), value.key, 'cpu', value.size)) + b'Q'
        case Raw():
            return value.opcodes
    raise TypeError(value)


def pickled(value: Any) -> bytes:
    """Return the pickle of a value."""
    return b'\x80\x02' + opcodes(value) + b'.'


def tensor(key: str, kind: str, size: int, shape: Any = None, strides: Any = None, offset: Any = 0) -> Call:
    """Return a tensor."""
    shape = (size,) if shape is None else shape
    strides = (1,) * len(shape) if strides is None else strides
    return Call(Global('torch._utils', '_rebuild_tensor_v2'),
                (Storage(key, kind, size), offset, shape, strides, False, Raw(b'}')))  # fmt: skip


def archive(pickle: bytes, raw: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a file as PyTorch writes it.

    :param raw: other files by their names, such as ``data/0``.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', compression) as file:
        for name, content in {'data.pkl': pickle, 'byteorder': b'little', **(raw or {})}.items():
            file.writestr(f'model/{name}', content)
    return buffer.getvalue()


def mace(
    numbers: tuple[int, ...] = (14,),
    r_max: float = 5.0,
    state: dict[str, Any] | None = None,
    buffers: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    name: str = 'ScaleShiftMACE',
    raw: dict[str, bytes] | None = None,
) -> bytes:
    """Return a file with the metadata of a MACE model."""
    files = {'data/0': struct.pack(f'<{len(numbers)}q', *numbers), 'data/1': struct.pack('<d', r_max),
             'data/2': struct.pack('<3d', 1, 2, 3)}  # fmt: skip
    content = {
        '_buffers': {'atomic_numbers': tensor('0', 'LongStorage', len(numbers)),
                     'r_max': tensor('1', 'DoubleStorage', 1, ()), **(buffers or {})},
        '_parameters': {'weight': tensor('2', 'DoubleStorage', 3), **(parameters or {})},
        '_modules': {},
        **(state or {}),
    }  # fmt: skip
    return archive(pickled(Made(Global('mace.modules.models', name), content)), {**files, **(raw or {})})


def sevennet(state: Any = None, raw: dict[str, bytes] | None = None, **config: Any) -> bytes:
    """Return a file with the metadata of a checkpoint of SevenNet."""
    content = {
        'config': {'_model_type': 'E3_equivariant_model', 'cutoff': 5.0, '_type_map': {14: 0}, **config},
        'model_state_dict': {'weight': tensor('0', 'FloatStorage', 3)} if state is None else state,
    }
    return archive(pickled(content), {'data/0': struct.pack('<3f', 1, 2, 3), **(raw or {})})


def nequix(arrays: bytes | None = None, **settings: Any) -> bytes:
    """Return a file of Nequix of one channel for silicon.

    :param arrays: what follows the settings; by default the arrays of the model, all zero.
    """
    whole = {
        'cutoff': 5.0, 'atomic_numbers': [14], 'atom_energies': {'14': -0.8}, 'hidden_irreps': '1x0e', 'lmax': 1,
        'n_layers': 1, 'radial_basis_size': 1, 'radial_mlp_size': 1, 'radial_mlp_layers': 1, 'layer_norm': False,
        'radial_polynomial_p': 6.0, 'mlp_init_scale': 4.0, 'index_weights': False, 'shift': 0.0, 'scale': 1.0,
        'avg_n_neighbors': 30.0,
    } | settings  # fmt: skip
    shapes = ('(1,)', '(1, 1)', '(1, 1)', '(1, 1)', '(1, 1)', '(1, 1)', '(1, 1)')
    return json.dumps(whole).encode() + b'\n' + (b''.join(npy(shape) for shape in shapes) if arrays is None else arrays)


def npy(shape: str, descr: str = "'<f4'", values: bytes = bytes(4), order: str = 'False') -> bytes:
    """Return an array as NumPy saves it."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text + values
