"""What a file of Nequix (``.nqx``) holds: one line of JSON, the settings, then NumPy arrays one after another.

The settings tell the shape of every array, and only arrays of these shapes are read. Nothing in such a file can run,
and neither Nequix nor JAX is imported. Names and shapes of the tensors are those of Nequix's PyTorch model, in which a
linear map is one flat tensor; in the file it is one array for each kind of irreducible representation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from math import isfinite, prod
from typing import IO, Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from .adapter import Adapter
from .json_text import parse_json
from .torch_archive import LONGEST_CUTOFF

REMEDY = 'give a file `<name>.nqx` as Nequix writes it'
#: Longest first line, and most layers, channels and degrees of spherical harmonics; those published have 4, 128 and 3.
MAX_HEADER, MOST_LAYERS, MOST_CHANNELS, HIGHEST_DEGREE = 2**20, 100, 10_000, 12
#: The beginning of an array as NumPy saves it, and its description.
_MAGIC = b'\x93NUMPY\x01\x00'
_DESCRIPTION = re.compile(rb"\{'descr': '<f([48])', 'fortran_order': False, 'shape': \(([0-9, ]{0,50})\), \} *\n")
_CHANNELS = re.compile(r'([0-9]{1,5})x([0-9]{1,2})([eo])')

Array = NDArray[Any]
#: Kind of an irreducible representation: degree and parity (1 even, -1 odd).
Kind = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """One array of the file.

    :param name: of the tensor of the PyTorch model that it is a part of.
    :param shape: in the file.
    :param whole: whether the tensor keeps this shape; else it is flat, one piece after another.
    """

    name: str
    shape: tuple[int, ...]
    whole: bool = False


def is_model(start: bytes) -> bool:
    """Tell from its first bytes whether a file may be one of Nequix."""
    return start[:1] == b'{'


def describe(content: bytes) -> dict[str, Any]:
    """Return the metadata of a file, by the names of ``ModelInfo``.

    :raises ValueError: with a sentence, if it is no model of Nequix, or one that cannot be used.
    """
    header, tensors = read(content)
    dtypes = {str(item.dtype) for item in tensors.values()}
    if len(dtypes) != 1:
        raise ValueError(f'the Nequix file mixes number types ({sorted(dtypes)}): {REMEDY}')
    return {
        'family': 'nequix',
        'architecture': 'Nequix',
        'elements': [chemical_symbols[number] for number in header['atomic_numbers']],
        'cutoff': round(float(header['cutoff']), 6),
        'dtype': dtypes.pop(),
        'heads': [],
        # The energies of the atoms are constants of the training data.
        'n_parameters': sum(item.size for name, item in tensors.items() if name != 'atom_energies'),
        'trained_on': trained_on(header),
    }


def trained_on(header: Mapping[str, Any]) -> list[str]:
    """Return the names of the data sets that the settings say the model was trained on last: ends of their paths."""
    paths: list[Any] = []
    for key in ('train_path', 'extra_train_path'):
        value = header.get(key, [])
        paths += value if isinstance(value, list) else [value]
    names = ['/'.join(part for part in path.split('/') if part)[-200:] for path in paths if isinstance(path, str)]
    ends = [name.split('/')[-2:] for name in names if name.isprintable()]
    return list(dict.fromkeys('/'.join(part for part in end if part != 'data') for end in ends if any(end)))[:20]


def read(content: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the settings and the tensors of a file, by their names in Nequix's PyTorch model.

    What follows the arrays of the model is left alone, as Nequix does: one published file holds its settings again.

    :raises ValueError: with a sentence, if it is no model of Nequix, or one that cannot be used.
    """
    line, separator, _ = content[:MAX_HEADER].partition(b'\n')
    if not is_model(content) or not separator:
        raise ValueError(f'the file has no settings of Nequix in its first line: {REMEDY}')
    try:
        header = parse_json(line)
    except ValueError as exception:
        raise ValueError(f'the first line of the Nequix file cannot be read ({exception}): {REMEDY}') from exception
    if problem := _problem(header):
        raise ValueError(problem)
    view, place = memoryview(content), len(line) + 1
    parts: dict[str, list[Array]] = {}
    shapes = {}
    for piece in layout(header):
        array, place = _array(view, place, piece)
        parts.setdefault(piece.name, []).append(array)
        shapes[piece.name] = piece.shape if piece.whole else (-1,)
    try:
        tensors = {
            name: np.concatenate([part.ravel() for part in found]).reshape(shapes[name])
            for name, found in parts.items()
        }
    except ValueError as exception:
        raise ValueError(f'the arrays of the Nequix file do not fit together: {REMEDY}') from exception
    return header, tensors


def write(header: Mapping[str, Any], tensors: Mapping[str, Array], file: IO[bytes]) -> None:
    """Write settings and tensors as a file that Nequix, and :func:`read`, load.

    Numbers are written in single precision, whatever the model computes in: Nequix's own loader takes no other.

    :param tensors: by their names in the PyTorch model; others than those of :func:`layout` are left out.
    """
    energies = [round(float(value), 9) for value in tensors['atom_energies']]
    # Nequix takes them from the arrays for JAX, and from the settings for PyTorch.
    by_number = {str(number): value for number, value in zip(header['atomic_numbers'], energies, strict=True)}
    file.write(json.dumps({**header, 'atom_energies': by_number}).encode() + b'\n')
    begins: dict[str, int] = {}
    for piece in layout(header):
        begin = begins.get(piece.name, 0)
        begins[piece.name] = begin + prod(piece.shape)
        values = np.asarray(tensors[piece.name]).reshape(-1)[begin : begins[piece.name]]
        np.save(file, values.reshape(piece.shape).astype('<f4'))


def merged(content: bytes, adapter: Adapter) -> bytes:
    """Return the file of what an adapter makes of a foundation; neither torch nor Nequix is needed.

    :param content: of the foundation's file.
    :raises ValueError: with a sentence, if the two do not fit together.
    """
    header, tensors = read(content)
    tensors = {name: values.astype(adapter.dtype) for name, values in tensors.items()}
    stream = BytesIO()
    write(header, {**tensors, **adapter.apply(tensors)}, stream)
    return stream.getvalue()


def layout(header: Mapping[str, Any]) -> Iterator[Piece]:
    """Yield the arrays that a file with these settings holds, in their order.

    The order is that of the fields of Nequix's classes, the shapes follow from its tensor products: a message of a
    feature with a spherical harmonic has every kind that the angular momenta allow and that the layer keeps.
    """
    n_elements = len(header['atomic_numbers'])
    harmonics = [(degree, (-1) ** degree) for degree in range(header['lmax'] + 1)]
    hidden = parse_channels(header['hidden_irreps'])
    features: dict[Kind, int] = {(0, 1): n_elements}
    yield Piece('atom_energies', (n_elements,), True)
    for index in range(header['n_layers']):
        kept = hidden if index < header['n_layers'] - 1 else {(0, 1): hidden[0, 1]}
        messages = dict.fromkeys(sorted(kept), 0)
        for (degree, parity), channels in features.items():
            for other, sign in harmonics:
                for total in range(abs(degree - other), degree + other + 1):
                    if (total, parity * sign) in kept:
                        messages[total, parity * sign] += channels
        # Every channel that is no scalar is multiplied with a scalar of its own.
        gated = {**kept, (0, 1): sum(kept.values())}
        prefix = f'layers.{index}'
        sizes = [header['radial_basis_size'], *[header['radial_mlp_size']] * header['radial_mlp_layers']]
        sizes.append(sum(messages.values()))
        for number, shape in enumerate(pairwise(sizes)):
            yield Piece(f'{prefix}.radial_mlp.layers.{number}.weights', shape, True)
        for kind in sorted(features):
            yield Piece(f'{prefix}.linear_1.weight', (features[kind], features[kind]))
        for kind in sorted(kept):
            if messages[kind]:
                yield Piece(f'{prefix}.linear_2.weight', (messages[kind], gated[kind]))
        for kind in sorted(kept):
            if kind in features:
                yield Piece(f'{prefix}.skip.weight', (features[kind], gated[kind]))
        if header['layer_norm']:
            for number, kind in enumerate(sorted(kept)):
                yield Piece(f'{prefix}.layer_norm.affine_weight.{number}', (gated[kind],), True)
        features = dict(kept)
    yield Piece('readout.weight', (features[0, 1], 1))


def parse_channels(text: str) -> dict[Kind, int]:
    """Return the channels of each kind of a text such as ``128x0e + 64x1o``.

    :raises ValueError: if it is none that is supported: scalars, then one kind for each higher degree.
    """
    found: dict[Kind, int] = {}
    for part in text.split('+'):
        match = _CHANNELS.fullmatch(part.strip())
        if match is None:
            raise ValueError(f'`{part.strip()[:50]!r}` is no number of channels of a kind')
        found[int(match[2]), 1 if match[3] == 'e' else -1] = int(match[1])
    degrees = [degree for degree, _ in found]
    if degrees != sorted(set(degrees)) or len(found) != text.count('+') + 1 or (0, 1) not in found:
        raise ValueError('scalars, then one kind for each degree are expected')
    if not all(0 < channels <= MOST_CHANNELS for channels in found.values()) or max(degrees) > HIGHEST_DEGREE:
        raise ValueError('there are more channels or higher degrees than in any model')
    return found


def _problem(header: Any) -> str | None:
    """Return why a model with these settings cannot be used, or ``None``."""
    if not isinstance(header, dict):
        return f'the first line of the Nequix file holds no settings: {REMEDY}'
    if header.get('index_weights') is not False:
        return 'the Nequix model has weights of each element in every layer, which its PyTorch model does not support'
    bounds = {
        'lmax': HIGHEST_DEGREE,
        'n_layers': MOST_LAYERS,
        'radial_basis_size': MOST_CHANNELS,
        'radial_mlp_size': MOST_CHANNELS,
        'radial_mlp_layers': MOST_LAYERS,
    }
    for name, most in bounds.items():
        if type(header.get(name)) is not int or not 0 < header[name] <= most:
            return f'the Nequix file does not say `{name}`, a whole number up to {most}: {REMEDY}'
    for name in ('cutoff', 'radial_polynomial_p', 'mlp_init_scale', 'avg_n_neighbors', 'scale', 'shift'):
        if not _is_number(header.get(name)) or (header[name] <= 0 and name != 'shift'):
            return f'the Nequix file does not say its `{name}`: {REMEDY}'
    if header['cutoff'] >= LONGEST_CUTOFF:
        return f'the cut-off of the Nequix model is {header["cutoff"]:g} Å, which cannot be: {REMEDY}'
    if type(header.get('layer_norm')) is not bool:
        return f'the Nequix file does not say whether it has `layer_norm`: {REMEDY}'
    numbers, energies = header.get('atomic_numbers'), header.get('atom_energies')
    if not isinstance(numbers, list) or not all(type(n) is int and 0 < n < len(chemical_symbols) for n in numbers):
        return f'the Nequix file does not say which elements it knows: {REMEDY}'
    if not numbers or numbers != sorted(set(numbers)):
        return f'the elements of the Nequix file are not in their order: {REMEDY}'
    if not isinstance(energies, dict) or not all(_is_number(energies.get(str(number))) for number in numbers):
        return f'the Nequix file does not say the energies of its atoms: {REMEDY}'
    try:
        parse_channels(str(header.get('hidden_irreps')))
    except ValueError as exception:
        return f'the channels of the Nequix model (`hidden_irreps`) are not supported: {exception}'
    return None


def _is_number(value: Any) -> bool:
    """Tell whether a value is a finite number of a usual size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30 and isfinite(value)


def _array(content: memoryview, place: int, piece: Piece) -> tuple[Array, int]:
    """Return the array at a place of a file, and where it ends.

    :raises ValueError: with a sentence, if there is not the array that is expected.
    """
    start = place + len(_MAGIC) + 2
    if bytes(content[place : place + len(_MAGIC)]) != _MAGIC or len(content) < start:
        raise ValueError(f'`{piece.name}` is missing in the Nequix file, or the file is cut off: {REMEDY}')
    begin = start + int.from_bytes(content[start - 2 : start], 'little')
    match = _DESCRIPTION.fullmatch(bytes(content[start:begin]))
    if match is None:
        raise ValueError(f'`{piece.name}` in the Nequix file is no array of numbers as it should be: {REMEDY}')
    shape = tuple(int(size) for size in match[2].decode().replace(',', ' ').split())
    if shape != piece.shape:
        raise ValueError(
            f'`{piece.name}` in the Nequix file has the shape {shape}, by its settings it has {piece.shape}: {REMEDY}'
        )
    dtype = np.dtype(f'<f{int(match[1])}')
    end = begin + prod(shape) * dtype.itemsize
    if len(content) < end:
        raise ValueError(f'`{piece.name}` in the Nequix file is shorter than it says: {REMEDY}')
    return np.frombuffer(content[begin:end], dtype=dtype).reshape(shape), end
