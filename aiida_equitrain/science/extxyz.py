"""Read extended XYZ of anybody: frame by frame, so that what is wrong is named, and in bounds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import islice
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from .frames import ENERGY_KEY, Frame, Frames
from .label_keys import is_zero, weightless
from .text_files import shown

#: Frames of a file, atoms of a frame, letters of its comment line, and columns of its table are at most so many.
MAX_FRAMES, MAX_ATOMS, MAX_COMMENT, MAX_COLUMNS = 100_000, 100_000, 100_000, 200


#: Keys of MACE for the weight of a frame, or of one of its labels, in the loss.
WEIGHT = re.compile(r'config(_[a-z]+)?_weight')


#: Words in the keys of other programs for a label that can be missing.
LABELS = {'energy': ('energy',), 'stress': ('stress', 'virial')}
#: Keys of magnetic moments, as ASE and others name them.
MOMENT = re.compile(r'magmom|magnetic_moment|magnetization')


def read_extxyz(text: str) -> list[Atoms]:
    """Return the frames of extended XYZ as ASE reads them, with labels in a calculator or in ``info`` and ``arrays``.

    :raises ValueError: one sentence with the number of the frame, if the text is no extended XYZ.
    """
    lines = _lines(text)
    images: list[Atoms] = []
    for head in lines:
        if not head.strip():
            break
        number = len(images) + 1
        size = _size(head, number)
        block = [head, *islice(lines, size + 1)]
        if len(block) < size + 2:
            present = max(len(block) - 2, 0)
            raise ValueError(f'frame {number} should have {size} atoms, but the file ends after {present}')
        images.append(_frame(block, number))
        if number > MAX_FRAMES:
            raise ValueError(f'it has more than {MAX_FRAMES} frames: leave some out')
    if not images:
        raise ValueError('the file is no extended XYZ: it does not begin with a number of atoms')
    if any(line.strip() for line in lines):
        raise ValueError(f'after frame {len(images)} comes an empty line, and more: take it out')
    return images


def _lines(text: str) -> Iterator[str]:
    """Give line after line: a list of all of them would take far more memory than the text."""
    start = 0
    while start < len(text):
        end = text.find('\n', start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def unread_labels(images: Sequence[Atoms], frames: Sequence[Frame]) -> list[str]:
    """Return sentences about keys that sound like a label that their frames lack, and about energies of two kinds.

    What other keys mean is not known to us: virials have another sign in every program.
    """
    found = set()
    for atoms, frame in zip(images, frames, strict=True):
        words = [word for name, words in LABELS.items() if getattr(frame, name) is None for word in words]
        given = {**atoms.info, **(atoms.calc.results if atoms.calc is not None else {})}
        keys = [str(key) for key, value in given.items() if not _is_nan(value) and not WEIGHT.fullmatch(str(key))]
        found |= {key for key in keys if any(word in key.lower() for word in words)}
    notes = _two_kinds(images)
    if not found:
        return notes
    names = ', '.join(f'`{shown(key, 30)}`' for key in sorted(found)[:5])
    return [
        *notes,
        f'{names} not read: labels are called `REF_energy` (eV), `REF_forces` (eV/Å) and `REF_stress` (eV/Å³, positive '
        'under tension), or `energy`, `forces` and `stress`',
    ]


def heed_weights(images: Sequence[Atoms]) -> tuple[list[Atoms], list[str]]:
    """Return frames without energies and stresses whose weight in the loss is 0, and sentences about weights."""
    heeded = []
    gone = {'energy': 0, 'stress': 0}
    weighted = 0
    for atoms in images:
        weights = [value for key, value in atoms.info.items() if WEIGHT.fullmatch(str(key))]
        weighted += any(value not in (0, 1) for value in weights)
        for name in weightless(atoms.info):
            atoms = _without(atoms, name)
            gone[name] += 1
        heeded.append(atoms)
    notes = [f'{number} without {name}: its weight is 0 there' for name, number in gone.items() if number]
    return heeded, notes + ([f'weights of {weighted} frames not read: all frames weigh the same'] if weighted else [])


def _without(atoms: Atoms, name: str) -> Atoms:
    """Return a copy without one label."""
    copy: Atoms = atoms.copy()
    copy.info.pop(f'REF_{name}', None)
    if atoms.calc is not None:
        kept = {key: value for key, value in atoms.calc.results.items() if key not in (name, f'free_{name}')}
        copy.calc = SinglePointCalculator(copy, **kept)
    return copy


def meanings(images: Sequence[Atoms]) -> list[str]:
    """Return sentences about keys for other physics than that of one functional and neutral cells."""
    charged = sum(any(_is_charge(key) and not is_zero(value) for key, value in a.info.items()) for a in images)
    heads = sorted({shown(atoms.info.get('head', ''), 30) for atoms in images})
    which = f'{charged} of {len(images)} frames have a charge'
    notes = [f'{which}, which is not kept: they are taken as neutral cells'] if charged else []
    if len(heads) > 1:
        named = ', '.join(f'`{head or "(none)"}`' for head in heads[:5])
        notes.append(f'its frames have different heads ({named}), which are not kept: import one functional at a time')
    return notes


def have_moments(images: Sequence[Atoms]) -> bool:
    """Say whether frames have magnetic moments, as columns, keys or results."""
    places = [
        place for atoms in images for place in (atoms.info, atoms.arrays, atoms.calc.results if atoms.calc else {})
    ]
    found = [value for place in places for key, value in place.items() if MOMENT.search(str(key).lower())]
    return any(np.asarray(value).dtype.kind in 'if' and bool(np.any(value)) for value in found)


def _is_charge(key: Any) -> bool:
    return str(key).lower() in ('charge', 'total_charge', 'net_charge', 'tot_charge')


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.ndarray) and np.asarray(value).dtype.kind == 'f' and bool(np.isnan(value).all())


def _two_kinds(images: Sequence[Atoms]) -> list[str]:
    """Return a sentence if some frames have a free energy, and others only another one."""
    every = [atoms.calc.results for atoms in images if atoms.calc is not None and ENERGY_KEY not in atoms.info]
    labelled = [results for results in every if 'energy' in results or 'free_energy' in results]
    free = sum('free_energy' in results for results in labelled)
    if free in (0, len(labelled)):
        return []
    return [
        f'{free} of {len(labelled)} frames have `free_energy`, the others `energy` only: these differ where '
        'occupations are smeared'
    ]


def _size(line: str, number: int) -> int:
    try:
        size = int(line.strip()) if len(line) < 30 else -1
    except ValueError:
        size = -1
    if size < 1:
        what = 'the file is no extended XYZ' if number == 1 else f'frame {number} is no extended XYZ'
        raise ValueError(f'{what}: it does not begin with a number of atoms')
    if size > MAX_ATOMS:
        raise ValueError(f'frame {number} should have {size} atoms, more than the {MAX_ATOMS} that are taken')
    return size


def _frame(lines: list[str], number: int) -> Atoms:
    """Return one frame."""
    from ase.io.extxyz import read_xyz

    if len(lines[1]) > MAX_COMMENT:
        raise ValueError(f'the comment line of frame {number} has {len(lines[1])} letters')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            atoms: Atoms = next(read_xyz(StringIO('\n'.join(lines) + '\n'), index=0, properties_parser=_comment))
            return atoms
    except KeyError as error:
        symbol = shown(error.args[0] if error.args else '', 10)
        known = '; write H for it, as labels do not depend on masses' if symbol in ('D', 'T') else ''
        raise ValueError(f'frame {number} has `{symbol}`, which is no element{known}') from error
    except (
        OSError, IndexError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, StopIteration,
        MemoryError, NotImplementedError,
    ) as error:  # fmt: skip
        reason = shown(error, 150) or type(error).__name__
        raise ValueError(f'frame {number} is no extended XYZ: {reason}') from error


def _comment(line: str) -> dict[str, Any]:
    """Read the comment line, and refuse a table that no memory would hold."""
    from ase.io.extxyz import key_val_str_to_dict

    info = key_val_str_to_dict(line)
    fields = str(info.get('Properties', 'species:S:1:pos:R:3')).split(':')
    columns = [int(width) for width in fields[2::3]]
    if len(fields) % 3 or not columns or min(columns) < 1 or sum(columns) > MAX_COLUMNS:
        raise ValueError('`Properties` do not describe a table of atoms')
    pbc = np.array(info.get('pbc', True))
    if pbc.dtype.kind not in 'bi' or pbc.shape not in ((), (3,)):
        raise ValueError('`pbc` is not made of three truth values')
    if 'Lattice' in info and not np.isfinite(np.asarray(info['Lattice'], dtype=float)).all():
        raise ValueError('its `Lattice` is not made of numbers')
    return dict(info)


def from_extxyz(text: str, **meta: Any) -> Frames:
    """Read labelled frames from extended XYZ, with ``REF_*`` keys or with ASE's own names of the labels.

    :param meta: ``role``, ``trajectory``, ``source`` for all frames; what is absent is taken from the file.
    :raises ValueError: if the text is no extended XYZ, or a frame has no forces or says that it is no label.
    """
    return Frames.from_atoms(read_extxyz(text), **meta)
