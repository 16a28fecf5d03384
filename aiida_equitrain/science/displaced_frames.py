"""Read displaced supercells with DFT forces, as labelled frames and as the phonons that all of them give together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.physical_units import get_calculator_physical_units
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.dataset import get_displacements_and_forces

from ..common.phonon_settings import SYMPREC
from .archives import is_archive, unpacked
from .force_sets import check_displacements, unread_beside
from .frame_checks import other_physics
from .frames import Frame, Frames
from .phonopy_io import (
    BORN,
    check_primitive,
    finish_phonopy,
    has_forces,
    make_force_constants,
    make_phonon,
    nac_of,
    open_phonopy,
)
from .phonopy_yaml import (
    PhonopyFile,
    crystal,
    file_symprec,
    has_phonon_supercell,
    parse_phonopy,
    primitive_matrix,
    read_content,
    read_phonopy,
)
from .selection import count_validation
from .text_files import shown
from .vasprun_folder import displacements_and_forces, read_folder, unique

Array = NDArray[np.float64]


@dataclass
class LabelledPhonons:
    """A crystal with labelled frames and its DFT phonons.

    :param name: reduced formula.
    :param reference: phonons that all frames of the largest supercell give: by symfc where all atoms are displaced.
    :param frames: labelled frames, without roles.
    :param n_reference: frames that the reference was fitted to.
    :param notes: what was left out, and why.
    :param nac: ``born`` (e) of the atoms of the primitive cell and ``dielectric``, if the file has them; the reference
        is without.
    """

    name: str
    reference: Phonopy
    frames: Frames
    n_reference: int
    notes: list[str] = field(default_factory=list)
    nac: dict[str, Any] | None = None


def load_labelled(path: str | Path) -> LabelledPhonons:
    """Load frames and reference phonons.

    ``path`` is a phonopy or phono3py file with displacements and forces, compressed or not, with ``FORCE_SETS`` beside
    it or not, or a folder, or a tar archive of one, that holds a ``_disp.yaml`` and ``vasprun*.xml`` (compressed or
    not, also in a tar archive).
    Where a phono3py file has a supercell of its own for harmonic force constants, that one gives the reference and the
    smaller one the frames.

    :raises ValueError: one sentence, if the file does not hold displaced supercells with forces.
    """
    path = Path(path)
    found = _load(path)
    moments = found.reference.unitcell.magnetic_moments
    found.notes += other_physics(moments is not None and bool(np.any(moments)), False)
    return found


def _load(path: Path) -> LabelledPhonons:
    if is_archive(path):
        with unpacked(path) as folder:
            inner = list(folder.iterdir())
            return _load_folder(inner[0] if len(inner) == 1 and inner[0].is_dir() else folder, path)
    if path.is_dir():
        return _load_folder(path)
    return _load_file(path)


def choose_frames(frames: Frames, n_frames: int, seed: int, valid_fraction: float = 0.2) -> Frames:
    """Draw ``n_frames`` labelled frames at random, a fifth of them for validation; all others are for testing.

    :raises ValueError: if there are fewer frames.
    """
    if n_frames > len(frames):
        raise ValueError(f'{n_frames} frames are wanted, but there are only {len(frames)}.')
    order = np.random.default_rng(seed).permutation(len(frames))
    n_valid = min(count_validation(n_frames, valid_fraction), n_frames - 1)
    roles = ['test'] * len(frames)
    for rank, index in enumerate(order[:n_frames]):
        roles[index] = 'valid' if rank < n_valid else 'train'
    return Frames([replace(frame, role=role) for frame, role in zip(frames, roles, strict=True)])


def displaced_phonon(reference: Phonopy, distance: float = 0.01) -> Phonopy:
    """Return phonons of the same cell and supercell with single-atom displacements (Å) and no forces yet."""
    phonon = make_phonon(
        reference.unitcell,
        reference.supercell_matrix,
        reference.primitive_matrix,
        float(reference.symmetry.tolerance),
    )
    phonon.generate_displacements(distance=distance)
    return phonon


def _load_folder(folder: Path, name: Path | None = None) -> LabelledPhonons:
    """Load a folder.

    :param name: what messages call it, where it is the content of an archive.
    """
    name = name or folder
    disp = sorted([*folder.glob('phono*py_disp.yaml*'), *folder.glob('phono*py_params*.yaml*')])
    if not disp:
        raise ValueError(f'`{name}` holds no phonopy or phono3py file.')
    content = _read_yaml(disp[0])
    every, notes = read_folder(folder)
    groups: dict[bool, list[Frame]] = {True: [], False: []}
    for frame in every:
        groups['fc2' in Path(frame.source).name].append(frame)
    unitcell = _cell(content['unit_cell'])
    matrix = np.array(content['supercell_matrix'])
    if not every and (folder / 'FORCE_SETS').is_file():
        return load_labelled(disp[0])
    main, stacked, told = _displaced(unitcell, matrix, groups[False])
    if not main:
        raise ValueError(f'`{name}` holds no vasprun files of displaced supercells.')
    wanted = len(content.get('displacements') or content.get('dataset', {}).get('displacements') or [])
    if len(main) < wanted:
        told.append(f'of {wanted} displaced supercells {len(main)} have labels')
    harmonic = None
    if groups[True]:
        if 'phonon_supercell_matrix' not in content:
            raise ValueError(f'`{name}` holds vasprun files of `fc2`, but `{disp[0].name}` no supercell for them.')
        large, pairs, more = _displaced(unitcell, np.array(content['phonon_supercell_matrix']), groups[True])
        harmonic = pairs if large else None
        told += more
    reference, n_reference = _reference(disp[0], content, unitcell, matrix, stacked, harmonic)
    nac, more = _nac(content['file'], reference)
    told += more
    return LabelledPhonons(_name(main[0]), reference, Frames(main), n_reference, notes + told, nac)


def _load_file(path: Path) -> LabelledPhonons:
    content = read_content(path)
    if 'displacement_pairs' in content:
        raise ValueError(
            f'`{path}` holds no supercells with displacements of all atoms, but supercells with two displaced atoms '
            '(phono3py), which are not taken as frames.'
        )
    file = parse_phonopy(content, path)
    harmonic = parse_phonopy(content, path, 'phonon_') if has_phonon_supercell(content) else None
    if harmonic is not None and not has_forces(harmonic.dataset):
        harmonic = None
    if harmonic is not None and not has_forces(file.dataset):
        file, harmonic = harmonic, None
    main = open_phonopy(file)
    if not has_forces(_dataset(main)):
        raise ValueError(f'`{path}` holds force constants, but no supercells with displaced atoms and their forces.')
    reference = main if harmonic is None else open_phonopy(harmonic)
    reference.nac_params = None
    finish_phonopy(reference, path)
    frames = _frames(main, path.name)
    moves, _ = get_displacements_and_forces(_dataset(reference))
    nac, notes = _nac(file, main)
    return LabelledPhonons(_name(frames[0]), reference, frames, len(moves), notes, nac)


def _nac(file: PhonopyFile, phonon: Phonopy) -> tuple[dict[str, Any] | None, list[str]]:
    """Return Born charges of a file or of ``BORN`` beside it, and sentences about the files there that are not read."""
    notes = unread_beside(file.path)
    if file.nac is not None and (file.path.parent / BORN).exists():
        notes.append(f'`{BORN}` beside it is not read: the file has Born charges itself, and these are taken')
    return nac_of(file, phonon), notes


def _dataset(phonon: Phonopy) -> Any:
    return phonon.dataset


def _frames(phonon: Phonopy, source: str) -> Frames:
    """Return the displaced supercells with what was computed for them; an energy that the file lacks is none."""
    dataset = _dataset(phonon)
    displacements, forces = get_displacements_and_forces(dataset)
    if 'first_atoms' in dataset:
        energies = [atom.get('supercell_energy') for atom in dataset['first_atoms']]
    else:
        energies = [None if np.isnan(energy) else float(energy)
                    for energy in dataset.get('supercell_energies', np.full(len(displacements), np.nan))]  # fmt: skip
    supercell = phonon.supercell
    return Frames(
        [
            Frame(
                numbers=np.array(supercell.numbers, dtype=np.int64),
                positions=supercell.positions + shift,
                cell=np.array(supercell.cell),
                energy=energy,
                forces=np.array(force),
                source=f'{source}#{index + 1}',
            )
            for index, (shift, force, energy) in enumerate(zip(displacements, forces, energies, strict=True))  # type: ignore[arg-type]
        ]
    )


def _reference(
    path: Path,
    content: dict[str, Any],
    unitcell: PhonopyAtoms,
    matrix: NDArray[np.int64],
    main: tuple[Array, Array],
    harmonic: tuple[Array, Array] | None,
) -> tuple[Phonopy, int]:
    """Return phonons fitted by symfc to all frames of the supercell for harmonic force constants."""
    if harmonic is not None:
        matrix = np.array(content['phonon_supercell_matrix'])
    displacements, forces = harmonic or main
    try:
        phonon = make_phonon(unitcell, matrix, primitive_matrix(content), file_symprec(content) or SYMPREC)
        make_force_constants(phonon, {'displacements': displacements, 'forces': forces})
    except Exception as error:
        raise ValueError(
            f'`{path}`: phonopy makes no force constants of its cells and the vasprun files: {shown(error)}'
        ) from error
    check_primitive(phonon.supercell, phonon.primitive, path)
    return phonon, len(forces)


def _displaced(
    unitcell: PhonopyAtoms, matrix: NDArray[np.int64], frames: Sequence[Frame]
) -> tuple[list[Frame], tuple[Array, Array], list[str]]:
    """Return the frames whose atoms are displaced, displacements and forces (F, N, 3), sentences on what is left out.

    The pristine supercell teaches nothing about force constants. The order of the atoms is that of the supercell.
    """
    supercell = make_phonon(unitcell, matrix, np.eye(3), SYMPREC).supercell
    kept, notes = unique(frames)
    pairs = [displacements_and_forces(supercell, frame) for frame in kept]
    rows = [row for row, (moves, _) in enumerate(pairs) if np.abs(moves).max() > 1e-4]
    displacements, forces = (np.array([pairs[row][part] for row in rows]) for part in (0, 1))
    kept = [kept[row] for row in rows]
    check_displacements(displacements, supercell, [frame.source for frame in kept])
    return kept, (displacements, forces), notes


def _name(frame: Frame) -> str:
    """Return the reduced formula, metals first, such as NaCl."""
    return str(Atoms(numbers=frame.numbers).symbols.formula.reduce()[0].format('metal'))


def _cell(content: dict[str, Any]) -> PhonopyAtoms:
    return crystal(content, get_calculator_physical_units())


def _read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a phonopy or phono3py file that vasprun files belong to, with checked supercells."""
    file = read_phonopy(path, '')
    if file.units != get_calculator_physical_units():
        raise ValueError(f'`{path}` has other units than the vasprun files: it is of another calculator.')
    matrices = {'supercell_matrix': file.supercell_matrix}
    if 'phonon_supercell_matrix' in file.content:
        matrices['phonon_supercell_matrix'] = parse_phonopy(file.content, path, 'phonon_').supercell_matrix
    return {**file.content, **matrices, 'file': file}
