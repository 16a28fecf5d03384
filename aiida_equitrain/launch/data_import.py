"""Store labelled frames of files as a dataset, with the phonons that come with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida_phonopy.data.phonopy import PhonopyData
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.calculations.arrays import is_natural, new_phonopy_data
from aiida_equitrain.common.names import Role
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science.displaced_frames import choose_frames
from aiida_equitrain.science.frame_checks import role_problem
from aiida_equitrain.science.frame_files import join, read_labelled
from aiida_equitrain.science.frames import Frames
from aiida_equitrain.science.phonopy_cells import to_ase
from aiida_equitrain.science.structure_files import moment_tags


@dataclass
class Imported:
    """What was stored.

    :param dataset: all frames; ``None`` where there is only one, of a phonopy file.
    :param structure: the crystal, if there is one phonopy file among the files.
    :param phonopy_data: its displacements and forces.
    :param nac: its Born charges and dielectric tensor, as the input `nac` of the phonons takes them.
    :param notes: sentences about what was in the files and is not in the nodes.
    """

    dataset: DatasetData | None = None
    structure: orm.StructureData | None = None
    phonopy_data: PhonopyData | None = None
    nac: orm.ArrayData | None = None
    notes: list[str] = field(default_factory=list)


def import_data(
    paths: Sequence[Path],
    *,
    functional: str,
    n_frames: int | None = None,
    n_test: int | None = None,
    valid_fraction: float = 0.2,
    seed: int = 1,
    code: str = '',
    source: str = '',
    licence: str = '',
    label: str = '',
    group: str = '',
) -> Imported:
    """Read files and store what is in them.

    :param n_frames: frames to train on, validation included; the others are for testing. ``None``: all frames, with
        the roles of the file where all have one.
    :param n_test: keep at most so many of the others, drawn at random; ``None``: all.
    :param source: where the files came from, such as a DOI.
    :param label: of all nodes; if they go into a group, the formula by default.
    :param group: label of a group that the nodes are added to, such as the crystals of a study.
    :raises ValueError: with a sentence, if a file cannot be read or the frames are not fit for a dataset.
    """
    if not functional.strip():
        raise ValueError('`functional` is empty: give that of the labels, such as PBE')
    files = [read_labelled(path) for path in paths]
    frames = join(files)
    phonons = [file.phonon for file in files if file.phonon is not None]
    result = Imported(notes=[note for file in files for note in file.notes])
    digests = {str(file.relative_to(path.parent)): _digest(file) for path in paths for file in _files(path)}
    origin: dict[str, object] = {'extras': {'sha256': digests}}
    origin |= {**({'uri': source} if source else {}), **({'license': licence} if licence else {})}
    label = label or (min({frame.formula for frame in frames}) if group else '')
    if len(frames) == 1 and len(phonons) == 1:
        result.notes.append('one frame is no dataset: there has to be another one to validate by')
    else:
        frames = _with_roles(frames, n_frames, n_test, valid_fraction, seed, result.notes)
        dataset = DatasetData(_without_unused(frames), functional=functional, code=code, licence=licence)
        dataset.label, dataset.source = label, origin
        result.dataset = dataset
    # the dataset last: it was checked when it was made, and the phonons may be refused
    if len(phonons) == 1:
        result.structure, result.phonopy_data = store_phonons(phonons[0], label, origin)
        nac = next((file.nac for file in files if file.nac is not None), None)
        result.nac = None if nac is None else _store_nac(nac, label, origin)
    elif phonons:
        result.notes.append(f'{len(phonons)} files have phonons, and none is stored: import them one by one')
    if result.dataset is not None:
        result.dataset.store()
    if group:
        members = [
            node for node in (result.dataset, result.structure, result.phonopy_data, result.nac) if node is not None
        ]
        orm.Group.collection.get_or_create(label=group)[0].add_nodes(members)
    return result


def store_phonons(
    phonon: Phonopy, label: str = '', source: dict[str, object] | None = None
) -> tuple[orm.StructureData, PhonopyData]:
    """Store the unit cell and the displacements with forces of phonons that were read from a file.

    Masses and magnetic moments are kept. Atoms with different moments are kinds of the structure, so that phonons of it
    have no more symmetry than these; DFT refuses such kinds.
    """
    from aiida_phonopy.data.preprocess import PreProcessData

    cell = phonon.unitcell
    atoms = to_ase(cell)
    # The cells that the node is remade from know neither.
    if not all(is_natural(*pair) for pair in zip(atoms.symbols, cell.masses, strict=True)):
        atoms.set_masses(cell.masses)
    moments = None if cell.magnetic_moments is None else np.array(cell.magnetic_moments, dtype=float)
    if moments is not None and moments.ndim > 1 and moments.any():
        raise ValueError('the phonons have magnetic moments that are vectors, which cannot be kept: leave the phonopy '
                         'file out, or its `magnetic_moment` lines')  # fmt: skip
    tags = _kind_tags(cell, moments)
    if tags:
        atoms.set_tags(tags)
    elif moments is not None and moments.any():
        atoms.set_tags(moment_tags(moments))
    structure = orm.StructureData(ase=atoms)
    structure.label = label
    given = PreProcessData(
        # Only a structure hands kinds on; phonopy, whose symmetry the displacements have, does not tell them apart.
        **({'structure': structure, 'distinguish_kinds': False} if tags else {'phonopy_atoms': cell}),
        supercell_matrix=phonon.supercell_matrix.tolist(),
        primitive_matrix=phonon.primitive_matrix.tolist(),
        symprec=float(phonon.symmetry.tolerance),
        is_symmetry=True,
    )
    if tags:
        given.base.attributes.set('masses', cell.masses.tolist())
        given.base.attributes.set('magnetic_moments', None if moments is None else moments.tolist())
    given.set_displacements_from_dataset(phonon.dataset)
    data = new_phonopy_data(given)
    data.set_forces(sets_of_forces=phonon.forces)
    data.label = label
    if source:
        structure.source = data.source = source
    return structure.store(), data.store()


def _kind_tags(cell: PhonopyAtoms, moments: Any) -> list[int]:
    """Return numbers that tell atoms of one element with other names or masses apart, empty where there are none."""
    names = list(zip(cell.symbols, np.round(cell.masses, 3).tolist(), strict=True))
    if len(set(names)) == len(set(cell.numbers.tolist())):
        return []
    signs = [0.0] * len(names) if moments is None else np.round(moments, 3).tolist()
    keys = list(zip(names, signs, strict=True))
    known = list(dict.fromkeys(keys))
    return [known.index(key) + 1 for key in keys]


def _store_nac(nac: Mapping[str, Any], label: str, source: dict[str, object]) -> orm.ArrayData:
    """Store Born charges and dielectric tensor of a phonopy file."""
    node = orm.ArrayData()
    node.set_array('born_charges', np.array(nac['born'], dtype=float))
    node.set_array('dielectric', np.array(nac['dielectric'], dtype=float))
    node.label, node.source = label, source
    return node.store()


def _with_roles(
    frames: Frames, n_frames: int | None, n_test: int | None, valid_fraction: float, seed: int, notes: list[str]
) -> Frames:
    """Return frames with roles, see :func:`import_data`; add sentences about what may surprise to the notes.

    :raises ValueError: if a role is unknown, or none is for training.
    """
    if len(frames) < 2:
        raise ValueError('there is one frame, and a dataset needs two: one to train on, one to validate by')
    given = [frame for frame in frames if frame.role]
    if n_frames is not None or len(given) < len(frames):
        if given:
            notes.append(f'{len(given)} frames had a role in their file: all roles are drawn anew')
        frames = choose_frames(frames, len(frames) if n_frames is None else n_frames, seed, valid_fraction)
    for frame in frames:
        if problem := role_problem(frame.role):
            raise ValueError(f'`{frame.source}`: {problem}; `--n-frames` draws roles anew')
    if n_test is not None:
        frames = _with_few_tests(frames, n_test, seed)
    if Role.TRAIN.value not in {frame.role for frame in frames}:
        raise ValueError(
            f'none of {len(frames)} frames is left for training: lower `--valid-fraction`, or draw roles anew by '
            '`--n-frames`'
        )
    if twice := _in_two_roles(frames):
        notes.append(f'{twice} structures are in more than one role: errors on them are no test')
    return frames


def _in_two_roles(frames: Frames) -> int:
    """Return how many structures occur in frames of different roles."""
    roles: dict[bytes, set[str]] = {}
    for frame in frames:
        parts = (frame.numbers, np.round(frame.cell, 5) + 0.0, np.round(frame.positions, 5) + 0.0)
        roles.setdefault(b''.join(part.tobytes() for part in parts), set()).add(frame.role)
    return sum(len(every) > 1 for every in roles.values())


def _with_few_tests(frames: Frames, number: int, seed: int) -> Frames:
    """Leave out test frames beyond a number."""
    tests = [row for row, frame in enumerate(frames) if frame.role == Role.TEST.value]
    left_out = set(np.random.default_rng(seed).permutation(tests)[number:].tolist())
    return Frames([frame for row, frame in enumerate(frames) if row not in left_out])


def _without_unused(frames: Frames) -> Frames:
    """Say that frames belong to no trajectory of this database."""
    return Frames([replace(frame, trajectory=-1) for frame in frames])


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob('*') if file.is_file()) if path.is_dir() else [path]


def _digest(path: Path) -> str:
    try:
        with path.open('rb') as file:
            return file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise ValueError(f'`{path}` cannot be read: {error.strerror}') from error
