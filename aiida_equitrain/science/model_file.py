"""Read what a model file says about itself without running anything of it.

A PyTorch model is a zip file with a pickle (``data.pkl``) and one raw file per tensor. Unpickling runs whatever code
the file names. Here every class and function of the file is replaced by an inert stand-in before the pickle is read: it
keeps the state that it is given and does nothing. Neither PyTorch nor MACE is imported.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

_DTYPES = {
    'DoubleStorage': 'float64',
    'FloatStorage': 'float32',
    'HalfStorage': 'float16',
    'LongStorage': 'int64',
    'IntStorage': 'int32',
    'ShortStorage': 'int16',
    'CharStorage': 'int8',
    'ByteStorage': 'uint8',
    'BoolStorage': 'bool',
}
#: Largest file of an archive that is read; the pickles of MACE models have a few hundred kilobytes to some 10 MB.
_MAX_BYTES = 2**28
_REMEDY = 'give the model file that the training wrote (for MACE `<name>.model`)'


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself.

    :param family: architecture family, such as ``mace``.
    :param architecture: name of the model's class, such as ``ScaleShiftMACE``.
    :param elements: chemical symbols that the model knows, by atomic number.
    :param cutoff: interaction cutoff of one layer, Å.
    :param dtype: of the parameters, such as ``float32``.
    :param heads: names of the output heads; empty if the file names none.
    :param n_parameters: number of parameters.
    """

    family: str
    architecture: str
    elements: list[str]
    cutoff: float
    dtype: str
    heads: list[str]
    n_parameters: int


def read_model_file(file: str | Path | IO[bytes]) -> ModelInfo:
    """Read a model's metadata; nothing of the file is run.

    :param file: path, or stream of bytes that can seek.
    :raises ValueError: with a sentence, if the file is no model of a supported family.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _describe(*_load(archive))
    except zipfile.BadZipFile as exception:
        raise ValueError(f'the file is no PyTorch model (no zip archive): {_REMEDY}') from exception
    except OSError as exception:
        raise ValueError(f'the model file cannot be read: {exception}') from exception


def read_tensor_shapes(file: str | Path | IO[bytes]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's parameters and buffers by their names in its state; nothing of the file is run.

    Buffers of compiled parts, which the file holds as code, are not among them.

    :raises ValueError: with a sentence, if the file is no PyTorch model.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            root, _ = _load(archive)
    except (zipfile.BadZipFile, OSError) as exception:
        raise ValueError(f'the file is no PyTorch model: {_REMEDY}') from exception
    return {
        f'{prefix}{name}': value.shape
        for prefix, module in _modules(root)
        for kind in ('_parameters', '_buffers')
        for name, value in _attribute(module, kind).items()
        if isinstance(value, _Tensor)
    }


@dataclass(frozen=True)
class _Tensor:
    """A tensor that has not been read: where it lies in the archive."""

    key: str
    dtype: str
    offset: int
    shape: tuple[int, ...]


def _load(archive: zipfile.ZipFile) -> tuple[Any, _Reader]:
    """Return the root object of the archive, made of inert stand-ins, and a reader of its tensors."""
    names = archive.namelist()
    pickles = [name for name in names if name.endswith('/data.pkl') and name.count('/') == 1]
    if len(pickles) != 1:
        raise ValueError(f'the file is no PyTorch model (no `data.pkl` in it): {_REMEDY}')
    prefix = pickles[0].removesuffix('/data.pkl')
    if f'{prefix}/constants.pkl' in names:
        raise ValueError(f'the file is a compiled (TorchScript) model, which cannot be fine-tuned: {_REMEDY}')
    reader = _Reader(archive, prefix)
    if reader.read('byteorder', default=b'little').strip() != b'little':
        raise ValueError('the model file was written on a big-endian machine, which is not supported')
    try:
        return _unpickler(reader.read('data.pkl')).load(), reader
    except ValueError:
        raise
    except Exception as exception:  # a damaged pickle can raise anything
        raise ValueError(f'the pickle in the model file is damaged ({exception!r}): {_REMEDY}') from exception


@dataclass(frozen=True)
class _Reader:
    """Raw files of a PyTorch archive."""

    archive: zipfile.ZipFile
    prefix: str

    def read(self, name: str, default: bytes | None = None) -> bytes:
        """Return a file's bytes; one that would unpack to more than any model needs is refused."""
        try:
            entry = self.archive.getinfo(f'{self.prefix}/{name}')
        except KeyError:
            if default is None:
                raise ValueError(f'`{name}` is missing in the model file') from None
            return default
        if entry.file_size > _MAX_BYTES:
            raise ValueError(f'`{name}` in the model file is too large ({entry.file_size} bytes): {_REMEDY}')
        return self.archive.read(entry)

    def array(self, tensor: _Tensor) -> NDArray[Any]:
        """Return a (contiguous) tensor's values."""
        count = prod(tensor.shape)
        values = np.frombuffer(self.read(f'data/{tensor.key}'), dtype=tensor.dtype)
        values = values[tensor.offset : tensor.offset + count]
        if len(values) != count:
            raise ValueError('a tensor in the model file is shorter than it says')
        return values.reshape(tensor.shape)


def _unpickler(content: bytes) -> pickle._Unpickler:
    """Return an unpickler that builds stand-ins.

    The classes are made anew for every file: a file that meddles with its stand-ins spoils them for nobody else.
    Python's own unpickler is used rather than the C one, whose memo a hostile file can make as large as it likes.
    """

    class Inert:
        """Stand-in of a class or function of the file: keeps its state, does nothing."""

        origin = ('', '')

        def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
            instance = object.__new__(cls)
            instance.__dict__.update(args=args, state={}, items=[])
            return instance

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

        def __call__(self, *args: Any, **kwargs: Any) -> Inert:
            return Inert(*args)

        def __setstate__(self, state: Any) -> None:
            self.__dict__['state'] = state

        def append(self, item: Any) -> None:
            self.__dict__['items'].append(item)

        def extend(self, items: Any) -> None:
            self.__dict__['items'].extend(items)

        def __setitem__(self, key: Any, value: Any) -> None:
            self.__dict__['items'].append((key, value))

    class Mapping(dict):  # type: ignore[type-arg]
        """Stand-in of an ordered dictionary."""

    def rebuild_tensor(storage: Any, offset: Any, shape: Any, *_: Any) -> Any:
        if not isinstance(storage, _Tensor):
            return Inert()
        return _Tensor(storage.key, storage.dtype, int(offset), tuple(int(size) for size in shape))

    def rebuild_parameter(data: Any, *_: Any) -> Any:
        return data

    known = {
        ('collections', 'OrderedDict'): Mapping,
        ('builtins', 'set'): set,
        ('__builtin__', 'set'): set,
        ('torch._utils', '_rebuild_tensor_v2'): rebuild_tensor,
        ('torch._utils', '_rebuild_parameter'): rebuild_parameter,
    }

    class Unpickler(pickle._Unpickler):
        def find_class(self, module_name: str, global_name: str) -> Any:
            name = (module_name, global_name)
            return known.get(name) or known.setdefault(name, type('Inert', (Inert,), {'origin': name}))

        def persistent_load(self, pid: Any) -> Any:
            if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == 'storage'):
                raise ValueError(f'the model file refers to something that is no tensor: {_REMEDY}')
            kind, key, size = pid[1], pid[2], pid[4]
            dtype = _DTYPES.get(getattr(kind, 'origin', ('', ''))[1], '')
            return _Tensor(str(key), dtype, 0, (int(size),))

        def get_extension(self, code: int) -> None:
            raise ValueError(f'the model file uses pickle extensions: {_REMEDY}')

    return Unpickler(io.BytesIO(content))


def _describe(root: Any, reader: _Reader) -> ModelInfo:
    """Return the metadata of a root object."""
    if isinstance(root, dict):
        raise ValueError(f'the file holds only the weights of a model or a checkpoint, not the model: {_REMEDY}')
    module, architecture = getattr(root, 'origin', ('', ''))
    if not module.startswith('mace.'):
        what = f'`{module}.{architecture}`' if module else f'a {type(root).__name__}'
        raise ValueError(f'the file holds {what}, which is no supported model (MACE is): {_REMEDY}')
    buffers = _attribute(root, '_buffers')
    numbers, cutoff = (buffers.get(name) for name in ('atomic_numbers', 'r_max'))
    if not isinstance(numbers, _Tensor) or not isinstance(cutoff, _Tensor):
        raise ValueError(f'the model `{architecture}` does not say which elements it knows and its cutoff: {_REMEDY}')
    tensors = {id(tensor): tensor for tensor in _parameters(root)}.values()
    dtypes = {tensor.dtype for tensor in tensors}
    if not dtypes:
        raise ValueError(f'the model `{architecture}` has no parameters: {_REMEDY}')
    if len(dtypes) > 1 or not dtypes <= {'float32', 'float64'}:
        raise ValueError(f'the model `{architecture}` mixes or has unusual number types ({sorted(dtypes)}): {_REMEDY}')
    atomic_numbers = sorted({int(number) for number in reader.array(numbers).ravel()})
    if not atomic_numbers or not 0 < atomic_numbers[0] <= atomic_numbers[-1] < len(chemical_symbols):
        raise ValueError(f'the atomic numbers {atomic_numbers} of the model `{architecture}` are no elements')
    heads = root.state.get('heads') or []
    return ModelInfo(
        family='mace',
        architecture=str(architecture),
        elements=[chemical_symbols[number] for number in atomic_numbers],
        cutoff=round(float(reader.array(cutoff).ravel()[0]), 6),
        dtype=dtypes.pop(),
        heads=[str(head) for head in heads] if isinstance(heads, list) else [],
        n_parameters=sum(prod(tensor.shape) for tensor in tensors),
    )


def _attribute(module: Any, name: str) -> dict[str, Any]:
    """Return one of the dictionaries of a stand-in of ``torch.nn.Module``; empty if it has none."""
    state = getattr(module, 'state', None)
    value = state.get(name) if isinstance(state, dict) else None
    return value if isinstance(value, dict) else {}


def _parameters(root: Any) -> Iterator[_Tensor]:
    """Yield the parameters of a module and of all modules in it."""
    for _, module in _modules(root):
        yield from (value for value in _attribute(module, '_parameters').values() if isinstance(value, _Tensor))


def _modules(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield a module and all modules in it, each once, with the prefix of the names of its tensors."""
    seen, todo = set(), [('', root)]
    while todo:
        prefix, module = todo.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield prefix, module
        todo.extend((f'{prefix}{name}.', child) for name, child in _attribute(module, '_modules').items())
