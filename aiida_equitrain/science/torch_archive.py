"""Read PyTorch's archives without running anything of them.

A PyTorch file is a zip archive with a pickle (``data.pkl``) and one raw file per tensor. Unpickling runs whatever code
the file names. Here every class and function of the file is replaced by an inert stand-in before the pickle is read: it
keeps the state that it is given and does nothing. PyTorch is not imported.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
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
REMEDY = 'give the model file that the training wrote (for MACE `<name>.model`, for SevenNet `checkpoint_<name>.pth`)'


@dataclass(frozen=True)
class Tensor:
    """A tensor that has not been read: where it lies in the archive."""

    key: str
    dtype: str
    offset: int
    shape: tuple[int, ...]


def load(archive: zipfile.ZipFile) -> tuple[Any, Reader]:
    """Return the root object of the archive, made of inert stand-ins, and a reader of its tensors."""
    names = archive.namelist()
    pickles = [name for name in names if name.endswith('/data.pkl') and name.count('/') == 1]
    if len(pickles) != 1:
        raise ValueError(f'the file is no PyTorch model (no `data.pkl` in it): {REMEDY}')
    prefix = pickles[0].removesuffix('/data.pkl')
    if f'{prefix}/constants.pkl' in names:
        raise ValueError(f'the file is a compiled (TorchScript) model, which cannot be fine-tuned: {REMEDY}')
    reader = Reader(archive, prefix)
    if reader.read('byteorder', default=b'little').strip() != b'little':
        raise ValueError('the model file was written on a big-endian machine, which is not supported')
    try:
        return _unpickler(reader.read('data.pkl')).load(), reader
    except ValueError:
        raise
    except Exception as exception:  # a damaged pickle can raise anything
        raise ValueError(f'the pickle in the model file is damaged ({exception!r}): {REMEDY}') from exception


@dataclass(frozen=True)
class Reader:
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
            raise ValueError(f'`{name}` in the model file is too large ({entry.file_size} bytes): {REMEDY}')
        return self.archive.read(entry)

    def array(self, tensor: Tensor) -> NDArray[Any]:
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
        if not isinstance(storage, Tensor):
            return Inert()
        return Tensor(storage.key, storage.dtype, int(offset), tuple(int(size) for size in shape))

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
                raise ValueError(f'the model file refers to something that is no tensor: {REMEDY}')
            kind, key, size = pid[1], pid[2], pid[4]
            dtype = _DTYPES.get(getattr(kind, 'origin', ('', ''))[1], '')
            return Tensor(str(key), dtype, 0, (int(size),))

        def get_extension(self, code: int) -> None:
            raise ValueError(f'the model file uses pickle extensions: {REMEDY}')

    return Unpickler(io.BytesIO(content))
