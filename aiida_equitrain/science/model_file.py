"""What a model file says about itself; nothing of the file is run, and no package of a potential is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any

from ase.data import chemical_symbols

from . import nequix_file, sevennet_file
from .text_files import COMPRESSED, read_bytes
from .torch_archive import LONGEST_CUTOFF, REMEDY, Inert, ModelFileError, Reader, Tensor, load, open_archive

#: Largest model file; those that are published have at most some 200 MB.
MAX_BYTES = 2**29
#: Packages without which a model that was converted for a GPU cannot be loaded.
ACCELERATORS = {'cuequivariance', 'cuequivariance_torch', 'cuequivariance_ops_torch', 'openequivariance'}
MOST_HEADS, LONGEST_NAME = 1000, 1000
#: Most submodules, parameters and buffers of all modules; the dictionaries of several can be one and the same.
MOST_ENTRIES = 1_000_000


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself.

    :param family: architecture family, ``mace``, ``sevennet`` or ``nequix``.
    :param architecture: name of the model's class, such as ``ScaleShiftMACE``; of SevenNet, that of its model type.
    :param elements: chemical symbols that the model knows, by atomic number.
    :param cutoff: interaction cutoff of one layer, Å.
    :param dtype: of the parameters, such as ``float32``.
    :param heads: names of the output heads; empty if the file names none.
    :param n_parameters: number of parameters.
    :param trained_on: names of the data that it was trained on last, where the file tells them.
    """

    family: str
    architecture: str
    elements: list[str]
    cutoff: float
    dtype: str
    heads: list[str]
    n_parameters: int
    trained_on: list[str] = field(default_factory=list)


def read_model_file(file: str | Path | IO[bytes]) -> ModelInfo:
    """Read a model's metadata; nothing of the file is run.

    :param file: path, or stream of bytes that can seek.
    :raises ValueError: with a sentence, if the file is no model of a supported family.
    """
    stream = _stream(file)
    if nequix_file.is_model(_start(stream)):
        return ModelInfo(**nequix_file.describe(stream.read(MAX_BYTES)))
    with open_archive(stream) as archive:
        return _describe(*load(archive))


def read_tensor_shapes(file: str | Path | IO[bytes]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's parameters and buffers by their names in its state; nothing of the file is run.

    Buffers of compiled parts, which the file holds as code, are not among them.

    :raises ValueError: with a sentence, if the file is no model.
    """
    stream = _stream(file)
    if nequix_file.is_model(_start(stream)):
        return {name: values.shape for name, values in nequix_file.read(stream.read(MAX_BYTES))[1].items()}
    with open_archive(stream) as archive:
        root, _ = load(archive)
    if sevennet_file.is_checkpoint(root):
        return {name: tensor.shape for name, tensor in sevennet_file.tensors(root).items()}
    return {
        f'{prefix}{_cut(name)}': value.shape
        for prefix, module in _modules(root)
        for kind in ('_parameters', '_buffers')
        for name, value in _attribute(module, kind).items()
        if isinstance(value, Tensor)
    }


def read_model_bytes(path: str | Path) -> bytes:
    """Return the bytes of a model file.

    :raises ValueError: with a sentence, if it is no regular file that can be read, or larger than any model.
    """
    if Path(path).suffix.lower() in COMPRESSED:
        raise ValueError(f'the model file `{path}` is compressed: unpack it first')
    try:
        return read_bytes(path, MAX_BYTES)
    except ValueError as exception:
        raise ValueError(f'the model file cannot be read: {exception}') from exception


def _stream(file: str | Path | IO[bytes]) -> IO[bytes]:
    """Return a model file as a stream; a path is read as a whole, as it is in the profile."""
    return BytesIO(read_model_bytes(file)) if isinstance(file, str | Path) else file


def _start(stream: IO[bytes]) -> bytes:
    """Return the first byte of a stream, which then stands at its beginning."""
    stream.seek(0)
    start = stream.read(1)
    stream.seek(0)
    return start


def _describe(root: Any, reader: Reader) -> ModelInfo:
    """Return the metadata of a root object."""
    if package := next(iter(sorted(ACCELERATORS & reader.packages)), None):
        raise ValueError(
            f'the model needs the package `{package}` (cuEquivariance or OpenEquivariance), which jobs do not have: '
            'write it without (for cuEquivariance with `mace_cueq_to_e3nn` of mace-torch) and give that file'
        )
    if sevennet_file.is_checkpoint(root):
        return ModelInfo(**sevennet_file.describe(root, reader))
    if isinstance(root, dict):
        raise ValueError(f'the file holds only the weights of a model or a checkpoint, not the model: {REMEDY}')
    if not isinstance(root, Inert) or not root.origin[0].startswith('mace.'):
        what = _dotted(root.origin) if isinstance(root, Inert) else f'a {type(root).__name__}'
        raise ValueError(
            f'the file holds {what}, which is no supported model (MACE, SevenNet and Nequix are): {REMEDY}'
        )
    architecture = _dotted(root.origin[1:])
    buffers = _attribute(root, '_buffers')
    numbers, cutoff = (buffers.get(name) for name in ('atomic_numbers', 'r_max'))
    if not isinstance(numbers, Tensor) or not isinstance(cutoff, Tensor):
        raise ValueError(f'the model {architecture} does not say which elements it knows and its cutoff: {REMEDY}')
    tensors = {id(tensor): tensor for tensor in _parameters(root)}.values()
    for tensor in tensors:
        reader.check(tensor)
    return ModelInfo(
        family='mace',
        architecture=root.origin[1],
        elements=_elements(numbers, reader, architecture),
        cutoff=_cutoff(cutoff, reader, architecture),
        dtype=_dtype({tensor.dtype for tensor in tensors}, architecture),
        heads=_heads(root, architecture),
        n_parameters=sum(prod(tensor.shape) for tensor in tensors),
    )


def _dotted(parts: Sequence[str]) -> str:
    """Return the name of a class as it may stand in a message."""
    name = '.'.join(parts)
    odd = len(name) > 200 or not all(part.isidentifier() and part.isascii() for part in name.split('.'))
    return 'something with an odd name' if odd else f'`{name}`'


def _dtype(dtypes: set[str], architecture: str) -> str:
    """Return the number type of all parameters."""
    if not dtypes:
        raise ValueError(f'the model {architecture} has no parameters: {REMEDY}')
    if len(dtypes) > 1 or not dtypes <= {'float32', 'float64'}:
        raise ValueError(f'the model {architecture} mixes or has unusual number types ({sorted(dtypes)}): {REMEDY}')
    return next(iter(dtypes))


def _elements(numbers: Tensor, reader: Reader, architecture: str) -> list[str]:
    """Return the elements of a model, by atomic number."""
    if not numbers.dtype.startswith('int') or not 0 < prod(numbers.shape) < len(chemical_symbols):
        raise ValueError(f'the model {architecture} does not say which elements it knows: {REMEDY}')
    found = sorted({int(number) for number in reader.array(numbers).ravel()})
    if not 0 < found[0] <= found[-1] < len(chemical_symbols):
        raise ValueError(f'the atomic numbers {found} of the model {architecture} are no elements: {REMEDY}')
    return [chemical_symbols[number] for number in found]


def _cutoff(value: Tensor, reader: Reader, architecture: str) -> float:
    """Return the cut-off of a model, Å."""
    cutoff = float(reader.array(value).ravel()[0]) if prod(value.shape) == 1 else 0.0
    if not 0 < cutoff < LONGEST_CUTOFF:
        raise ValueError(f'the cut-off of the model {architecture} is {cutoff:g} Å, which cannot be: {REMEDY}')
    return round(cutoff, 6)


def _heads(root: Inert, architecture: str) -> list[str]:
    """Return the names of the heads of a model."""
    heads = (root.state if isinstance(root.state, dict) else {}).get('heads') or []
    if not isinstance(heads, list) or not all(isinstance(head, str) and 0 < len(head) <= 100 for head in heads):
        raise ValueError(f'the heads of the model {architecture} are no names: {REMEDY}')
    if len(heads) > MOST_HEADS or len(set(heads)) < len(heads) or not all(head.isprintable() for head in heads):
        raise ValueError(f'the model {architecture} has too many heads, or odd names of heads: {REMEDY}')
    return heads


def _attribute(module: Any, name: str) -> dict[str, Any]:
    """Return one of the dictionaries of a stand-in of ``torch.nn.Module``; empty if it has none."""
    state = module.state if isinstance(module, Inert) else None
    value = state.get(name) if isinstance(state, dict) else None
    return value if isinstance(value, dict) else {}


def _parameters(root: Any) -> Iterator[Tensor]:
    """Yield the parameters of a module and of all modules in it."""
    for _, module in _modules(root):
        yield from (value for value in _attribute(module, '_parameters').values() if isinstance(value, Tensor))


def _modules(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield a module and all modules in it, each once, with the prefix of the names of its tensors."""
    seen, todo, entries = set(), [('', root)], 0
    while todo:
        prefix, module = todo.pop()
        if id(module) in seen:
            continue
        if len(prefix) > LONGEST_NAME:
            raise ModelFileError(f'the modules of the model nest deeper than those of any: {REMEDY}')
        seen.add(id(module))
        entries += sum(len(_attribute(module, kind)) for kind in ('_modules', '_parameters', '_buffers'))
        if entries > MOST_ENTRIES:
            raise ModelFileError(f'the modules of the model hold more than those of any: {REMEDY}')
        yield prefix, module
        todo.extend((f'{prefix}{_cut(name)}.', child) for name, child in _attribute(module, '_modules').items())


def _cut(name: Any) -> str:
    """Return the name of a tensor or module; what is no text is none."""
    return name[:LONGEST_NAME] if isinstance(name, str) else ''
