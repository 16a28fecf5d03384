"""What a model file says about itself; nothing of the file is run, and no package of a potential is imported."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

from ase.data import chemical_symbols

from . import sevennet_file
from .torch_archive import REMEDY, Reader, Tensor, load


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself.

    :param family: architecture family, ``mace`` or ``sevennet``.
    :param architecture: name of the model's class, such as ``ScaleShiftMACE``; of SevenNet, that of its model type.
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
            return _describe(*load(archive))
    except zipfile.BadZipFile as exception:
        raise ValueError(f'the file is no PyTorch model (no zip archive): {REMEDY}') from exception
    except OSError as exception:
        raise ValueError(f'the model file cannot be read: {exception}') from exception


def read_tensor_shapes(file: str | Path | IO[bytes]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's parameters and buffers by their names in its state; nothing of the file is run.

    Buffers of compiled parts, which the file holds as code, are not among them.

    :raises ValueError: with a sentence, if the file is no PyTorch model.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            root, _ = load(archive)
    except (zipfile.BadZipFile, OSError) as exception:
        raise ValueError(f'the file is no PyTorch model: {REMEDY}') from exception
    if sevennet_file.is_checkpoint(root):
        return {name: tensor.shape for name, tensor in sevennet_file.tensors(root).items()}
    return {
        f'{prefix}{name}': value.shape
        for prefix, module in _modules(root)
        for kind in ('_parameters', '_buffers')
        for name, value in _attribute(module, kind).items()
        if isinstance(value, Tensor)
    }


def _describe(root: Any, reader: Reader) -> ModelInfo:
    """Return the metadata of a root object."""
    if sevennet_file.is_checkpoint(root):
        return ModelInfo(**sevennet_file.describe(root))
    if isinstance(root, dict):
        raise ValueError(f'the file holds only the weights of a model or a checkpoint, not the model: {REMEDY}')
    module, architecture = getattr(root, 'origin', ('', ''))
    if not module.startswith('mace.'):
        what = f'`{module}.{architecture}`' if module else f'a {type(root).__name__}'
        raise ValueError(f'the file holds {what}, which is no supported model (MACE and SevenNet are): {REMEDY}')
    buffers = _attribute(root, '_buffers')
    numbers, cutoff = (buffers.get(name) for name in ('atomic_numbers', 'r_max'))
    if not isinstance(numbers, Tensor) or not isinstance(cutoff, Tensor):
        raise ValueError(f'the model `{architecture}` does not say which elements it knows and its cutoff: {REMEDY}')
    tensors = {id(tensor): tensor for tensor in _parameters(root)}.values()
    dtypes = {tensor.dtype for tensor in tensors}
    if not dtypes:
        raise ValueError(f'the model `{architecture}` has no parameters: {REMEDY}')
    if len(dtypes) > 1 or not dtypes <= {'float32', 'float64'}:
        raise ValueError(f'the model `{architecture}` mixes or has unusual number types ({sorted(dtypes)}): {REMEDY}')
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


def _parameters(root: Any) -> Iterator[Tensor]:
    """Yield the parameters of a module and of all modules in it."""
    for _, module in _modules(root):
        yield from (value for value in _attribute(module, '_parameters').values() if isinstance(value, Tensor))


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
