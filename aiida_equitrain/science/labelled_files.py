"""Read labelled frames from the files that people have: extended XYZ, VASP, Quantum ESPRESSO, phonopy, phono3py."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import ase.io
from phonopy import Phonopy

from .frames import Frame, Frames, from_extxyz
from .labelled_phonons import load_labelled
from .text_files import base_name

#: Formats of ASE by what the name of a file has in it.
_ASE = {'espresso-out': ('.out', '.pwo', '.log'), 'vasp-xml': ('.xml',)}
KNOWN = '.extxyz, .xyz, vasprun.xml, output of pw.x (.out, .pwo, .log), phonopy or phono3py .yaml, or a folder of them'


@dataclass
class LabelledFile:
    """Frames of a file, and the phonons if it is one of phonopy.

    :param phonon: with force constants; ``None`` for other files.
    """

    frames: Frames
    phonon: Phonopy | None = None


def read_labelled(path: str | Path) -> LabelledFile:
    """Read labelled frames, without roles unless extended XYZ has them.

    :param path: of a kind in :data:`KNOWN`, also with ``.xz`` or ``.gz``; a folder or ``.tar.xz`` as
        :func:`~aiida_equitrain.science.labelled_phonons.load_labelled` takes them.
    :raises ValueError: one sentence, if the file is absent, of an unknown kind, or has a frame without labels.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f'there is no file `{path}`')
    name = base_name(path)
    try:
        if path.is_dir() or name.endswith('.tar'):
            return _phonons(path)
        if name.endswith(('.yaml', '.yml')):
            return _phonons(path)
        if name.endswith(('.extxyz', '.xyz')):
            return LabelledFile(_named(from_extxyz(_text(path)), path))
        kind = next((kind for kind, ends in _ASE.items() if name.endswith(ends)), None)
        if kind is None:
            raise ValueError(f'is of an unknown kind; known are {KNOWN}')
        images = ase.io.read(StringIO(_text(path)), index=':', format=kind)
        return LabelledFile(_named(Frames([Frame.from_atoms(atoms) for atoms in images]), path))
    except ValueError as error:
        text = str(error).rstrip('.')
        raise ValueError(text if text.startswith(f'`{path}`') else f'`{path}`: {text}') from error
    except (OSError, KeyError, IndexError, AttributeError, StopIteration, SyntaxError, AssertionError) as error:
        raise ValueError(f'`{path}` cannot be read: {error or type(error).__name__}') from error


def join(files: Sequence[LabelledFile]) -> Frames:
    """Return the frames of all files."""
    return Frames([frame for file in files for frame in file.frames])


def _phonons(path: Path) -> LabelledFile:
    """Read displaced supercells, and the phonons that they give."""
    found = load_labelled(path)
    return LabelledFile(found.frames, found.reference)


def _named(frames: Frames, path: Path) -> Frames:
    """Say of each frame which one of which file it is."""
    for index, frame in enumerate(frames):
        frame.source = frame.source or f'{path.name}#{index + 1}'
    return frames


def _text(path: Path) -> str:
    opener = {'.xz': lzma.open, '.gz': gzip.open}.get(path.suffix.lower(), open)
    with opener(path, 'rt', encoding='utf-8') as file:  # type: ignore[operator]
        return str(file.read())
