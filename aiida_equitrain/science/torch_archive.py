"""Read PyTorch's archives without running anything of them.

A PyTorch file is a zip archive with a pickle (``data.pkl``) and one raw file per tensor. Unpickling runs whatever code
the file names. Here a class or function of the file is never looked up: an inert stand-in takes its place, which keeps
what it is given and does nothing. PyTorch is not imported.

The bounds below are far above what models have (SevenNet-0 and MACE's have some 10,000 opcodes and 300 files), and low
enough for a hostile file to end within seconds and some hundred megabytes.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import IO, Any

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
_MAX_BYTES = 2**26
#: Most files of an archive, opcodes of its pickle, entries of a tensor, and dimensions of one.
_MAX_FILES, _MAX_OPCODES, _MAX_ENTRIES, _MAX_DIMENSIONS = 20_000, 500_000, 2**40, 16
#: What a zip archive begins with, and each entry of its table of contents.
_START, _ENTRY = b'PK\x03\x04', b'PK\x01\x02'
#: No model looks so far, Å.
LONGEST_CUTOFF = 100.0
REMEDY = 'give the model file that the training wrote (for MACE `<name>.model`, for SevenNet `checkpoint_<name>.pth`)'


class ModelFileError(ValueError):
    """The file is no model; the message is a sentence."""


@dataclass(frozen=True)
class Tensor:
    """A tensor that has not been read: where it lies in the archive."""

    key: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()


class Inert:
    """Stand-in of a class or function of the file, and of what the file makes with it: keeps its state, does nothing.

    :param origin: module and name.
    """

    __slots__ = ('args', 'items', 'origin', 'state')

    def __init__(self, origin: tuple[str, str], args: tuple[Any, ...] = ()) -> None:
        self.origin, self.args = origin, args
        self.state: Any = None
        self.items: list[Any] = []


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Return the zip archive of a PyTorch file.

    :raises ValueError: with a sentence, if it is none, or one whose content is not the same for every reader.
    """
    file.seek(0)
    if file.read(len(_START)) != _START:
        raise ValueError(f'the file is no PyTorch model (no zip archive): {REMEDY}')
    if _count(file, _ENTRY) > _MAX_FILES:
        raise ValueError(f'the model file has more than {_MAX_FILES} files in it: {REMEDY}')
    try:
        archive = zipfile.ZipFile(file)
    except Exception as exception:  # a damaged table of contents can raise anything
        raise ValueError(f'the file is no PyTorch model (its zip archive is damaged): {REMEDY}') from exception
    # PyTorch takes the first of two entries with one name, Python the last; and it does not look at the case.
    if len({name.casefold() for name in archive.namelist()}) != len(archive.namelist()):
        raise ValueError(f'the model file holds a file twice under one name: {REMEDY}')
    return archive


def _count(file: IO[bytes], word: bytes) -> int:
    """Return how often a word stands in a file."""
    file.seek(0)
    number, end = 0, b''
    while piece := file.read(2**20):
        number += (end + piece).count(word)
        end = piece[1 - len(word) :]
    return number


def load(archive: zipfile.ZipFile) -> tuple[Any, Reader]:
    """Return the root object of the archive, made of inert stand-ins, and a reader of its tensors.

    :raises ValueError: with a sentence, if there is none, or it is no pickle as PyTorch writes it.
    """
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
    content = reader.read('data.pkl')
    unpickler = _Unpickler(content)
    try:
        return unpickler.load(), replace(reader, packages=frozenset(unpickler.packages))
    except ModelFileError:
        raise
    except Exception as exception:  # a damaged pickle can raise anything
        raise ValueError(
            f'the pickle in the model file is damaged ({type(exception).__name__}): {REMEDY}'
        ) from exception


@dataclass(frozen=True)
class Reader:
    """Raw files of a PyTorch archive.

    :param packages: whose classes and functions the pickle names.
    """

    archive: zipfile.ZipFile
    prefix: str
    packages: frozenset[str] = frozenset()

    def read(self, name: str, default: bytes | None = None) -> bytes:
        """Return a file's bytes; one that would unpack to more than any model needs is refused."""
        try:
            entry = self._entry(name)
        except KeyError:
            if default is None:
                raise ModelFileError(f'`{name}` is missing in the model file: {REMEDY}') from None
            return default
        if entry.file_size > _MAX_BYTES:
            raise ModelFileError(f'`{name}` in the model file is too large ({entry.file_size} bytes): {REMEDY}')
        # The others unpack a piece as a whole, however large, before Python looks at the size.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelFileError(f'`{name}` in the model file is compressed as PyTorch does not: {REMEDY}')
        try:
            with self.archive.open(entry) as file:
                content = file.read(entry.file_size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as exception:
            raise ModelFileError(f'`{name}` in the model file is damaged or encrypted: {REMEDY}') from exception
        if len(content) != entry.file_size:
            raise ModelFileError(f'`{name}` in the model file is shorter than it says: {REMEDY}')
        return content

    def _entry(self, name: str) -> zipfile.ZipInfo:
        return self.archive.getinfo(f'{self.prefix}/{name}')

    def check(self, tensor: Tensor) -> None:
        """Compare what a tensor says about itself with its raw file.

        :raises ModelFileError: if its entries are not there.
        """
        try:
            there = self._entry(f'data/{tensor.key}').file_size
        except KeyError:
            there = 0
        if tensor.dtype not in _DTYPES.values():
            raise ModelFileError(f'a tensor in the model file has an unknown number type: {REMEDY}')
        if (tensor.offset + prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize > there:
            raise ModelFileError(f'a tensor in the model file is shorter than it says: {REMEDY}')

    def array(self, tensor: Tensor) -> NDArray[Any]:
        """Return a tensor's values.

        :raises ModelFileError: if it is not contiguous, or its entries are not there.
        """
        self.check(tensor)
        count = prod(tensor.shape)
        if count > 1 and tensor.strides != tuple(prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape))):
            raise ModelFileError(f'a tensor in the model file is not contiguous: {REMEDY}')
        values = np.frombuffer(self.read(f'data/{tensor.key}'), dtype=tensor.dtype)
        return values[tensor.offset : tensor.offset + count].reshape(tensor.shape)


#: The opcodes that pickle writes for PyTorch, from protocol 2 on, and that are harmless as Python has them.
_PLAIN = (
    pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.DUP, pickle.BINPERSID,
    pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1,
    pickle.LONG4, pickle.BINFLOAT, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8, pickle.BINBYTES,
    pickle.SHORT_BINBYTES, pickle.BINBYTES8, pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.EMPTY_DICT,
    pickle.EMPTY_SET, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.GLOBAL, pickle.STACK_GLOBAL,
    pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE,
)  # fmt: skip


class _Table(dict[int, Any]):
    """Functions of opcodes, which counts how many were asked for."""

    left = _MAX_OPCODES

    def pay(self, number: int) -> None:
        """Count as many opcodes."""
        self.left -= number
        if self.left < 0:
            raise ModelFileError(f'the pickle in the model file is too long: {REMEDY}')

    def __getitem__(self, code: int) -> Any:
        self.pay(1)
        if code not in self:
            raise ModelFileError(f'the pickle in the model file has an opcode that PyTorch does not write: {REMEDY}')
        return super().__getitem__(code)


class _Unpickler(pickle._Unpickler):
    """Builds stand-ins.

    Python's own unpickler is used rather than the C one, whose memo a hostile file can make as large as it likes.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.packages: set[str] = set()
        ours = {
            pickle.REDUCE: self._reduce,
            pickle.NEWOBJ: self._new,
            pickle.NEWOBJ_EX: self._new_ex,
            pickle.BUILD: self._build,
            pickle.APPEND: lambda: self._extend([self._pop()]),
            pickle.APPENDS: lambda: self._extend(self.pop_mark()),
            pickle.SETITEM: lambda: self._set_items([self._pop(), self._pop()][::-1]),
            pickle.SETITEMS: lambda: self._set_items(self.pop_mark()),
            pickle.ADDITEMS: lambda: self._add_items(self.pop_mark()),
            pickle.FROZENSET: lambda: self.stack.append(_keys(self.pop_mark())),
        }
        plain = {code[0]: type(self).dispatch[code[0]] for code in _PLAIN}
        self.table = _Table({**plain, **{code[0]: _ignoring(act) for code, act in ours.items()}})
        self.dispatch = self.table  # type: ignore[misc]

    def _pop(self) -> Any:
        return self.stack.pop()

    def find_class(self, module_name: str, global_name: str) -> Inert:
        """Return the stand-in of a class or function."""
        self.packages.add(module_name.partition('.')[0])
        return Inert((module_name, global_name))

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the storage of a tensor."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == 'storage' and isinstance(pid[2], str)):
            raise ModelFileError(f'the model file refers to something that is no tensor: {REMEDY}')
        kind = pid[1].origin[1] if isinstance(pid[1], Inert) else ''
        return Tensor(pid[2], _DTYPES.get(kind, ''), 0, _sizes((pid[4],)))

    def _reduce(self) -> None:
        args, function = self._pop(), self._pop()
        if not isinstance(function, Inert) or not isinstance(args, tuple):
            raise ModelFileError(f'the pickle in the model file calls something that is no function: {REMEDY}')
        # One list can be given to many calls, each of which goes through it.
        self.table.pay(sum(len(item) for item in args if isinstance(item, list | tuple)))
        self.stack.append(_call(function.origin, args))

    def _new(self) -> None:
        args, kind = self._pop(), self._pop()
        if not isinstance(kind, Inert) or not isinstance(args, tuple):
            raise ModelFileError(f'the pickle in the model file makes an object of no class: {REMEDY}')
        self.stack.append(Inert(kind.origin, args))

    def _new_ex(self) -> None:
        self._pop()
        self._new()

    def _build(self) -> None:
        state, made = self._pop(), self.stack[-1]
        if isinstance(made, Inert):
            made.state = state
        elif not isinstance(made, dict):  # of an ordered dictionary: `_metadata` of a state
            raise ModelFileError(f'the pickle in the model file gives a state to what has none: {REMEDY}')

    def _extend(self, items: list[Any]) -> None:
        made = self.stack[-1]
        if not isinstance(made, Inert | list):
            raise ModelFileError(f'the pickle in the model file appends to what is no list: {REMEDY}')
        (made.items if isinstance(made, Inert) else made).extend(items)

    def _set_items(self, items: list[Any]) -> None:
        made, pairs = self.stack[-1], list(zip(items[::2], items[1::2], strict=True))
        if isinstance(made, Inert):
            made.items.extend(pairs)
        elif isinstance(made, dict):
            made.update((_key(name), value) for name, value in pairs)
        else:
            raise ModelFileError(f'the pickle in the model file sets items of what has none: {REMEDY}')

    def _add_items(self, items: list[Any]) -> None:
        made = self.stack[-1]
        if not isinstance(made, set):
            raise ModelFileError(f'the pickle in the model file adds to what is no set: {REMEDY}')
        made.update(_keys(items))


def _ignoring(act: Callable[[], None]) -> Callable[[Any], None]:
    """Return a function as the unpickler calls it, with itself."""
    return lambda _: act()


def _call(origin: tuple[str, str], args: tuple[Any, ...]) -> Any:
    """Return what a function of the file makes: the containers and tensors that we know, else a stand-in."""
    match origin:
        case ('collections', 'OrderedDict'):
            pairs = args[0] if args and isinstance(args[0], list) else []
            return {_key(name): value for name, value in pairs}
        case ('builtins' | '__builtin__', 'set' | 'frozenset'):
            return _keys(args[0] if args and isinstance(args[0], list | tuple) else [])
        case ('torch._utils', '_rebuild_tensor_v2') if len(args) > 3 and isinstance(args[0], Tensor):
            storage, (offset,), shape, strides = args[0], _sizes(args[1:2]), _sizes(args[2]), _sizes(args[3])
            if prod(shape) > _MAX_ENTRIES:
                raise ModelFileError(f'a tensor in the model file is larger than any can be: {REMEDY}')
            return Tensor(storage.key, storage.dtype, offset, shape, strides)
        case ('torch._utils', '_rebuild_parameter' | '_rebuild_parameter_with_state') if args:
            return args[0]
    return Inert(origin, args)


def _sizes(values: Any) -> tuple[int, ...]:
    """Return sizes or strides of a tensor, once they are found to be such."""
    if (
        not isinstance(values, tuple)
        or len(values) > _MAX_DIMENSIONS
        or not all(type(value) is int and 0 <= value <= _MAX_ENTRIES for value in values)
    ):
        raise ModelFileError(f'a tensor in the model file has a shape that is none: {REMEDY}')
    return values


def _keys(items: Iterable[Any]) -> set[Any]:
    return {_key(item) for item in items}


def _key(item: Any) -> Any:
    """Return what may be a key: to look at the hash of nested tuples can take for ever, or all of the stack."""
    plain = (str, bytes, int, float, bool, type(None), Inert)
    parts = item if isinstance(item, tuple) else (item,)
    if len(parts) > _MAX_DIMENSIONS or not all(isinstance(part, plain) for part in parts):
        raise ModelFileError(f'the pickle in the model file has a key of an odd kind: {REMEDY}')
    if any(isinstance(part, int) and part.bit_length() > 64 for part in parts):
        raise ModelFileError(f'the pickle in the model file has a key that is too large: {REMEDY}')
    # Tuples of one hash are easily made, and each would be compared with all others; nobody looks for one of them.
    return Inert(('builtins', 'tuple'), item) if isinstance(item, tuple) else item
