"""Read labelled frames from the files that people have: extended XYZ, VASP, Quantum ESPRESSO, phonopy, phono3py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phonopy import Phonopy

from .archives import is_archive
from .displaced_frames import load_labelled
from .extxyz import have_moments, heed_weights, meanings, read_extxyz, unread_labels
from .frame_checks import check_labels, is_isolated, other_physics
from .frames import Frame, Frames
from .label_keys import ISOLATED, left_out, unit_problem
from .pw_output import read_pw
from .text_files import base_name, read_bytes, read_text
from .vasprun import read_vasprun

KNOWN = (
    '.extxyz, .xyz, vasprun.xml, output of pw.x (.out, .pwo, .log), phonopy or phono3py .yaml, all of them also with '
    '.xz or .gz, or a folder or .tar of a phonopy file and its vasprun files'
)


@dataclass
class LabelledFile:
    """Frames of a file, and the phonons if it is one of phonopy.

    :param phonon: with force constants; ``None`` for other files.
    :param notes: sentences about what is in the file and was left out.
    :param nac: Born charges and dielectric tensor, see :class:`~.labelled_phonons.LabelledPhonons`.
    """

    frames: Frames
    phonon: Phonopy | None = None
    notes: list[str] = field(default_factory=list)
    nac: dict[str, Any] | None = None


def read_labelled(path: str | Path) -> LabelledFile:
    """Read labelled frames, without roles unless extended XYZ has them.

    :param path: of a kind in :data:`KNOWN`; a folder or a tar file as
        :func:`~aiida_equitrain.science.displaced_frames.load_labelled` takes them.
    :raises ValueError: one sentence, if the file is absent, of an unknown kind, or has no labels.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise ValueError(f'there is no file `{path}`')
        found = _reader(path)(path)
        _check(found.frames)
        found.frames, isolated = _without_isolated(found.frames)
    except ValueError as error:
        text = str(error).rstrip('.')
        known = text.startswith(f'`{path}') or f'file `{path}' in text
        raise ValueError(text if known else f'`{path}`: {text}') from error
    except OSError as error:
        raise ValueError(f'`{path}` cannot be read: {error.strerror}') from error
    for index, frame in enumerate(found.frames):
        frame.source = frame.source or f'{path.name}#{index + 1}'
    found.notes = [f'`{path.name}`: {note}' for note in [*found.notes, *isolated]]
    return found


def join(files: Sequence[LabelledFile]) -> Frames:
    """Return the frames of all files."""
    return Frames([frame for file in files for frame in file.frames])


def _reader(path: Path) -> Callable[[Path], LabelledFile]:
    """Return what reads a file of this name.

    :raises ValueError: if nothing does.
    """
    name = base_name(path)
    if path.is_dir() or is_archive(path) or name.endswith(('.yaml', '.yml')):
        return _phonons
    kinds = {('.extxyz', '.xyz'): _extxyz, ('.xml',): _vasprun, ('.out', '.pwo', '.log'): _pw}
    for ends, reader in kinds.items():
        if name.endswith(ends):
            return reader
    raise ValueError(f'is of an unknown kind; known are {KNOWN}')


def _extxyz(path: Path) -> LabelledFile:
    images = read_extxyz(read_text(path))
    reasons = [left_out(atoms) for atoms in images]
    places = [index for index, reason in enumerate(reasons) if reason is None]
    counts = Counter(reason for reason in reasons if reason is not None)
    if not places:
        raise ValueError(f'holds no frames to train on: {"; ".join(counts)}')
    kept, weights = heed_weights([images[index] for index in places])
    notes = [f'{number} left out: {reason}' for reason, number in counts.items()] + weights
    notes += other_physics(have_moments(kept), False)
    frames = []
    for index, atoms in zip(places, kept, strict=True):
        try:
            if problem := unit_problem(atoms.info):
                raise ValueError(problem)
            frames.append(Frame.from_atoms(atoms))
        except ValueError as error:
            raise ValueError(f'frame {index + 1}: {error}') from error
        frames[-1].source = frames[-1].source or f'{path.name}#{index + 1}'
    return LabelledFile(Frames(frames), notes=notes + meanings(kept) + unread_labels(kept, frames))


def _vasprun(path: Path) -> LabelledFile:
    steps, notes = read_vasprun(read_bytes(path))
    return LabelledFile(Frames([frame for frame in steps if frame is not None]), notes=notes)


def _pw(path: Path) -> LabelledFile:
    frames, notes = read_pw(read_text(path))
    return LabelledFile(Frames(frames), notes=notes)


def _check(frames: Frames) -> None:
    """Refuse labels that cannot be right."""
    for index, frame in enumerate(frames):
        if problem := check_labels(frame):
            raise ValueError(f'frame {index + 1}: {problem}')


def _without_isolated(frames: Frames) -> tuple[Frames, list[str]]:
    """Leave out single atoms without neighbours, and say so.

    :raises ValueError: if there are no other frames.
    """
    kept = [frame for frame in frames if not is_isolated(frame)]
    if frames and not kept:
        raise ValueError(f'holds no frames to train on: {ISOLATED}')
    return Frames(kept), _isolated(len(frames) - len(kept))


def _isolated(number: int) -> list[str]:
    return [f'{number} left out: {ISOLATED}'] if number else []


def _phonons(path: Path) -> LabelledFile:
    """Read displaced supercells, and the phonons that they give."""
    found = load_labelled(path)
    return LabelledFile(found.frames, found.reference, found.notes, found.nac)
