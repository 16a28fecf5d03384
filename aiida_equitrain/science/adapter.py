"""A fine-tuned potential stored at the price of what changed: an adapter to the model that it was trained from.

An adapter is a safetensors file. Of every tensor that training changed it holds the new values: all of them
(``dense/<tensor>``), or, where that takes fewer bytes, only the changed entries (``values/<tensor>``) with their flat
indices (``indices/<tensor>``). What is put together from it equals the trained model bit for bit. The header tells the
SHA-256 of the foundation, and an adapter is applied to no other model. Nothing in such a file can run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .json_text import parse_json

FORMAT = 'equitrain-adapter-1'
#: The one metadata key; several would be written in an order that changes from run to run.
METADATA = 'adapter'
DTYPES = ('float32', 'float64')
#: Bounds of what is read: bytes of the header, characters, dimensions of a tensor and entries along each.
MAX_HEADER, LONGEST_TEXT, LONGEST_NAME, MAX_DIMENSIONS, MAX_ENTRIES = 2**23, 100, 500, 16, 2**40
_REMEDY = 'give the `adapter.safetensors` that the training wrote'

Array = NDArray[Any]


@dataclass(frozen=True)
class Change:
    """What changed in one tensor.

    :param shape: of the whole tensor.
    :param values: the new values, in C order.
    :param indices: which entries of the flat tensor have them, ascending; ``None`` for all.
    """

    shape: tuple[int, ...]
    values: Array
    indices: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Adapter:
    """The changed tensors, and the model that they belong to.

    :param foundation_sha256: of the model file.
    :param strategy: how it was trained.
    :param dtype: number type of the trained model; the foundation is converted to it first.
    :param head: head of the foundation that was trained; ``None`` for a model without named heads.
    :param changes: by the tensor's name.
    """

    foundation_sha256: str
    strategy: str
    dtype: str
    head: str | None
    changes: dict[str, Change]

    def problem(self, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        """Return a sentence if the adapter does not fit tensors of these shapes, or ``None``."""
        for name, change in self.changes.items():
            if name not in shapes:
                return f'the adapter changes the tensor `{name}`, which the foundation does not have'
            if tuple(shapes[name]) != change.shape:
                return (
                    f'`{name}` has the shape {change.shape} in the adapter and {tuple(shapes[name])} in the foundation'
                )
        return None

    def apply(self, state: Mapping[str, Array]) -> dict[str, Array]:
        """Return the tensors that differ from ``state``, the foundation's, complete and with the trained values.

        :raises ValueError: with a sentence, if a tensor is missing or has another shape or number type.
        """
        problem = self.problem({name: values.shape for name, values in state.items()})
        if problem:
            raise ValueError(problem)
        result = {}
        for name, change in self.changes.items():
            before = state[name]
            if before.dtype != change.values.dtype:
                raise ValueError(
                    f'`{name}` is {change.values.dtype} in the adapter and {before.dtype} in the foundation'
                )
            after = np.array(before, order='C').reshape(-1)
            after[slice(None) if change.indices is None else change.indices] = change.values
            result[name] = after.reshape(change.shape)
        return result


def make_adapter(
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    *,
    foundation_sha256: str,
    strategy: str,
    dtype: str,
    head: str | None = None,
) -> bytes:
    """Return the adapter file that turns the tensors ``before`` into ``after``, bit for bit.

    :param before: all tensors of the foundation, in the number type of the training.
    :param after: all tensors of the trained model.
    :raises ValueError: with a sentence, if the two are not the same architecture.
    """
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())
        raise ValueError(f'the trained model has not the tensors of its foundation: they differ in `{odd[0]}`')
    tensors: dict[str, Array] = {}
    shapes: dict[str, list[int]] = {}
    for name in sorted(before):
        old, new = np.asarray(before[name]), np.asarray(after[name])
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            was, is_now = f'{old.dtype} {old.shape}', f'{new.dtype} {new.shape}'
            raise ValueError(f'`{name}` is {is_now} in the trained model and {was} in its foundation')
        flat = np.ascontiguousarray(new).reshape(-1)
        changed = np.flatnonzero(_bits(old) != _bits(new))
        if not len(changed):
            continue
        shapes[name] = list(new.shape)
        if len(changed) * (4 + new.itemsize) < new.nbytes and new.size <= np.iinfo(np.int32).max:
            tensors[f'indices/{name}'], tensors[f'values/{name}'] = changed.astype(np.int32), flat[changed]
        else:
            tensors[f'dense/{name}'] = flat
    about = {
        'format': FORMAT,
        'foundation_sha256': foundation_sha256,
        'strategy': strategy,
        'dtype': dtype,
        'head': head,
        'shapes': shapes,
    }
    return save(tensors, {METADATA: json.dumps(about, sort_keys=True)})


def read_adapter(content: bytes) -> Adapter:
    """Return an adapter; the whole file is checked before anything of it is used.

    :raises ValueError: with a sentence, if the file is damaged or none of ours.
    """
    # The library believes the header, which can be as long as the file and longer.
    if int.from_bytes(content[:8], 'little') > min(MAX_HEADER, len(content)):
        raise ValueError(f'the adapter is no safetensors file, or is damaged (its header is too long): {_REMEDY}')
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as exception:
        kind = type(exception).__name__
        raise ValueError(f'the adapter is no safetensors file, or is damaged ({kind}): {_REMEDY}') from exception
    about = _metadata(content)
    if about.get('format') != FORMAT:
        raise ValueError(f'the file is no adapter of the format `{FORMAT}`: {_REMEDY}')
    texts = (about.get('foundation_sha256'), about.get('strategy'), about.get('dtype'))
    head, shapes = about.get('head'), about.get('shapes')
    if not all(isinstance(text, str) and len(text) <= LONGEST_TEXT for text in texts) or not (
        head is None or (isinstance(head, str) and len(head) <= LONGEST_TEXT)
    ):
        raise ValueError(f'the header of the adapter does not say what it belongs to: {_REMEDY}')
    if about['dtype'] not in DTYPES:
        raise ValueError(f'the adapter is of the number type `{about["dtype"]}`; it must be {" or ".join(DTYPES)}')
    if not isinstance(shapes, dict):
        raise ValueError(f'the header of the adapter has no shapes of tensors: {_REMEDY}')
    if any(len(name) > LONGEST_NAME for name in (*shapes, *tensors)):
        raise ValueError(f'the adapter has a tensor with a name of more than {LONGEST_NAME} characters: {_REMEDY}')
    changes = {name: _change(name, shape, tensors) for name, shape in shapes.items()}
    if tensors:
        raise ValueError(f'the adapter holds `{next(iter(tensors))}`, which its header does not know: {_REMEDY}')
    return Adapter(about['foundation_sha256'], about['strategy'], about['dtype'], head, changes)


def _bits(values: Array) -> Array:
    """Return the flat array as unsigned integers: equal bits are equal numbers, also for NaN and -0.0."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(f'u{flat.itemsize}')


def _metadata(content: bytes) -> dict[str, Any]:
    """Return our part of the header of a file that the library has found to be whole; empty if there is none."""
    size = int.from_bytes(content[:8], 'little')
    try:
        about = parse_json(parse_json(content[8 : 8 + size])['__metadata__'][METADATA])
    except (ValueError, KeyError, TypeError):
        return {}
    return about if isinstance(about, dict) else {}


def _change(name: str, shape: Any, tensors: dict[str, Array]) -> Change:
    """Take one tensor's arrays out of ``tensors``.

    :raises ValueError: with a sentence, if they are not what the header says.
    """
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(size) is int and 0 <= size <= MAX_ENTRIES for size in shape)
    ):
        raise ValueError(f'the adapter gives `{name}` a shape, which is none: {_REMEDY}')
    total = prod(shape)
    dense, values = tensors.pop(f'dense/{name}', None), tensors.pop(f'values/{name}', None)
    indices = tensors.pop(f'indices/{name}', None)
    if dense is not None and values is None and indices is None:
        if dense.shape != (total,):
            raise ValueError(f'the adapter has {dense.size} values of `{name}`, but its shape is {tuple(shape)}')
        return Change(tuple(shape), dense)
    if dense is not None or values is None or indices is None:
        raise ValueError(f'the adapter lacks the values of `{name}`, or has them twice: {_REMEDY}')
    if indices.dtype != np.int32 or indices.ndim != 1 or indices.shape != values.shape:
        raise ValueError(f'the adapter has {values.size} values and {indices.size} indices of `{name}`: {_REMEDY}')
    if len(indices) and (indices[0] < 0 or indices[-1] >= total or (np.diff(indices) <= 0).any()):
        raise ValueError(f'the indices of `{name}` in the adapter do not ascend from 0 to below {total}: {_REMEDY}')
    return Change(tuple(shape), values, indices)
