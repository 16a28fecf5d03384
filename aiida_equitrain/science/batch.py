"""Structures of different sizes as one set of arrays, so that one job takes them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A structure: atomic numbers (N,), Cartesian positions (N, 3) and cell (3, 3) in Å.
Structure = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def pack(structures: Sequence[Structure]) -> dict[str, NDArray[Any]]:
    """Return ``n_atoms`` (F,), and, one structure after another, ``numbers``, ``positions`` and ``cells``."""
    if not structures:
        return {
            'n_atoms': np.zeros(0, dtype=np.int64),
            'numbers': np.zeros(0, dtype=np.int64),
            'positions': np.zeros((0, 3)),
            'cells': np.zeros((0, 3, 3)),
        }
    return {
        'n_atoms': np.array([len(numbers) for numbers, _, _ in structures], dtype=np.int64),
        'numbers': np.concatenate([np.asarray(numbers, dtype=np.int64) for numbers, _, _ in structures]),
        'positions': np.concatenate([np.asarray(positions, dtype=float) for _, positions, _ in structures]),
        'cells': np.array([cell for _, _, cell in structures], dtype=float),
    }


def unpack(arrays: Mapping[str, NDArray[Any]]) -> Iterator[Structure]:
    """Yield the structures of :func:`pack`."""
    ends = np.cumsum(arrays['n_atoms'])
    for index, end in enumerate(ends):
        here = slice(end - arrays['n_atoms'][index], end)
        yield arrays['numbers'][here], arrays['positions'][here], arrays['cells'][index]
