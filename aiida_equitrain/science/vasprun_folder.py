"""Read the VASP calculations of displaced supercells from a folder, and pair their atoms with those of the crystal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from phonopy.structure.atoms import PhonopyAtoms

from .archives import is_archive, unpacked
from .frame_checks import PHYSICS
from .frames import Frame
from .text_files import base_name, read_bytes
from .vasprun import read_vasprun

Array = NDArray[np.float64]
#: How far a cell vector may be from that of the supercell: digits of files, Å.
CELL_TOLERANCE = 0.01


@contextmanager
def vaspruns(folder: Path) -> Iterator[dict[str, Path]]:
    """Give the vasprun files of a folder, or of tar archives in it, by their names in the order of their numbers."""
    with ExitStack() as stack:
        archives = sorted(file for file in folder.iterdir() if is_archive(file) and file.is_file())
        roots = [folder, *(stack.enter_context(unpacked(file)) for file in archives)]
        found = {
            str(name.relative_to(root)): name
            for root in roots
            for name in root.rglob('vasprun*')
            if base_name(name).endswith('.xml')
        }
        yield {name: found[name] for name in sorted(found, key=lambda name: (_numbers(name), name))}


def read_folder(folder: Path) -> tuple[list[Frame], list[str]]:
    """Return the last step of each vasprun file, if it is a label, and sentences about those that are none."""
    frames: list[Frame] = []
    notes = []
    with vaspruns(folder) as files:
        for name, path in files.items():
            try:
                steps, told = read_vasprun(read_bytes(path))
            except ValueError as error:
                notes.append(f'`{name}` left out: {str(error).replace(f"`{path}` ", "").rstrip(".")}')
                continue
            notes += [note for note in told if note.startswith(PHYSICS) and note not in notes]
            last = steps[-1]
            if last is None:
                notes.append(f'`{name}` left out: its last step is no label (its electrons did not converge)')
                continue
            last.source = '/'.join(Path(name).parts[-2:])
            frames.append(last)
        if files and not frames:
            raise ValueError(f'`{folder}` holds no labels: {notes[0]}')
    return frames, notes


def displacements_and_forces(supercell: PhonopyAtoms, frame: Frame) -> tuple[Array, Array]:
    """Return displacements and forces (N, 3) in the order of the supercell's atoms, whatever that of the frame is.

    Each atom of the frame belongs to the site of its element that is nearest, over the boundaries of the cell.

    :raises ValueError: one sentence, if the cells differ or the atoms are not one on each site.
    """
    if not np.allclose(frame.cell, supercell.cell, rtol=0, atol=CELL_TOLERANCE):
        raise ValueError(f'`{frame.source}` has another cell than the supercell of the phonopy file.')
    if sorted(frame.numbers) != sorted(supercell.numbers):
        raise ValueError(f'`{frame.source}` has other atoms than the supercell of the phonopy file.')
    inverse = np.linalg.inv(supercell.cell)
    sites = np.empty(len(frame), dtype=int)
    moves = np.empty((len(frame), 3))
    for row, (number, position) in enumerate(zip(frame.numbers, frame.positions, strict=True)):
        fractional = (position - supercell.positions) @ inverse
        every = (fractional - np.rint(fractional)) @ supercell.cell
        distances = np.where(supercell.numbers == number, np.linalg.norm(every, axis=1), np.inf)
        sites[row] = distances.argmin()
        moves[row] = every[sites[row]]
    if len(set(sites.tolist())) != len(frame):
        raise ValueError(f'two atoms of `{frame.source}` are on one site of the supercell: it is another crystal.')
    order = np.argsort(sites)
    return moves[order], np.array(frame.forces)[order]


def unique(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """Return frames without those that are there twice, and sentences about these."""
    kept: dict[bytes, Frame] = {}
    notes = []
    for frame in frames:
        key = np.round(frame.positions, 6).tobytes() + np.asarray(frame.numbers).tobytes()
        if key in kept:
            notes.append(f'`{frame.source}` left out: it is the same as `{kept[key].source}`')
        else:
            kept[key] = frame
    return list(kept.values()), notes


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d{1,15}', name)]
