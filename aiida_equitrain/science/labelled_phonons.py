"""Read displaced supercells with DFT forces, as labelled frames and as the phonons that all of them give together."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from .archives import extract_files as extract_files  # moved there
from .archives import is_archive, unpacked
from .frames import Frame, Frames
from .phonopy_io import SYMPREC, make_force_constants
from .selection import count_validation
from .vasprun_folder import displacements_and_forces, read_folder, unique

Array = NDArray[np.float64]


@dataclass
class LabelledPhonons:
    """A crystal with labelled frames and its DFT phonons.

    :param name: reduced formula.
    :param reference: phonons whose force constants symfc fitted to all frames of the largest supercell.
    :param frames: labelled frames, without roles.
    :param n_reference: frames that the reference was fitted to.
    :param notes: what was left out, and why.
    """

    name: str
    reference: Phonopy
    frames: Frames
    n_reference: int
    notes: list[str] = field(default_factory=list)


def load_labelled(path: str | Path) -> LabelledPhonons:
    """Load frames and reference phonons.

    ``path`` is a phonopy or phono3py params file with displacements and forces (``.yaml`` or ``.yaml.xz``), or a
    folder, or a ``.tar.xz`` of one, that holds a ``_disp.yaml`` and ``vasprun*.xml`` (also in a ``.tar.xz``).
    Where a phono3py file has a supercell of its own for harmonic force constants, that one gives the reference and the
    smaller one the frames.

    :raises ValueError: one sentence, if the file does not hold random displacements with forces.
    """
    path = Path(path)
    if is_archive(path):
        with unpacked(path) as folder:
            inner = list(folder.iterdir())
            return _load_folder(inner[0] if len(inner) == 1 and inner[0].is_dir() else folder, path)
    if path.is_dir():
        return _load_folder(path)
    if not path.is_file():
        raise ValueError(f'there is no file `{path}`.')
    content = _read_yaml(path)
    dataset = content.get('dataset', content)
    main = _displacements_forces(dataset, '')
    if main is None:
        raise ValueError(f'`{path}` holds no supercells with displacements of all atoms and their forces.')
    energies = dataset.get('supercell_energies')
    harmonic = _displacements_forces(dataset, 'phonon_')
    return _assemble(content, str(path.name), *main, energies, harmonic)


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
    phonon = Phonopy(
        reference.unitcell,
        reference.supercell_matrix,
        primitive_matrix=reference.primitive_matrix,
        symprec=float(reference.symmetry.tolerance),
        log_level=0,
    )
    phonon.generate_displacements(distance=distance)
    return phonon


def check_displacements(displacements: Array, cell: PhonopyAtoms, names: Sequence[str]) -> None:
    """Refuse displacements that no harmonic crystal has: their atoms are paired wrongly, or their unit is not Å.

    :param displacements: of the supercell's atoms, Å, shape (F, N, 3), or (F, 3) of one atom in each frame.
    :param cell: supercell, Å.
    :param names: of the F frames.
    :raises ValueError: one sentence, if an atom has moved by more than a third of the shortest bond.
    """
    bond = shortest_bond(cell)
    for name, frame in zip(names, displacements, strict=True):
        largest = float(np.linalg.norm(frame, axis=-1).max())
        if not largest <= bond / 3:
            raise ValueError(
                f'in `{name}` an atom has moved by {largest:.3g} Å, more than a third of the shortest bond '
                f'({bond:.3g} Å): its atoms do not belong to those of the crystal, or its unit is not Å.'
            )


def shortest_bond(cell: PhonopyAtoms) -> float:
    """Return the shortest distance between two atoms of a crystal, periodic images among them, Å."""
    # No packing is closer than that of spheres: two atoms are at most so far apart.
    cutoff = 1.13 * (abs(np.linalg.det(cell.cell)) / len(cell)) ** (1 / 3)
    return float(primitive_neighbor_list('d', [True] * 3, np.array(cell.cell), cell.positions, cutoff).min())


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
        _, harmonic, more = _displaced(unitcell, np.array(content['phonon_supercell_matrix']), groups[True])
        told += more
    reference, n_reference = _reference(content, unitcell, matrix, stacked, harmonic)
    return LabelledPhonons(_name(main[0]), reference, Frames(main), n_reference, notes + told)


def _assemble(
    content: dict[str, Any],
    source: str,
    displacements: Array,
    forces: Array,
    energies: Any,
    harmonic: tuple[Array, Array] | None,
) -> LabelledPhonons:
    unitcell = _cell(content['unit_cell'])
    matrix = np.array(content['supercell_matrix'])
    reference, n_reference = _reference(content, unitcell, matrix, (displacements, forces), harmonic)
    supercell = Phonopy(unitcell, matrix, log_level=0).supercell if harmonic else reference.supercell
    values = np.zeros(len(forces)) if energies is None else np.array(energies, dtype=float)
    frames = Frames(
        [
            Frame(
                numbers=np.array(supercell.numbers, dtype=np.int64),
                positions=supercell.positions + shift,
                cell=np.array(supercell.cell),
                energy=float(energy),
                forces=force,
                source=f'{source}#{index + 1}',
            )
            for index, (shift, force, energy) in enumerate(zip(displacements, forces, values, strict=True))
        ]
    )
    return LabelledPhonons(_name(frames[0]), reference, frames, n_reference)


def _reference(
    content: dict[str, Any],
    unitcell: PhonopyAtoms,
    matrix: NDArray[np.int64],
    main: tuple[Array, Array],
    harmonic: tuple[Array, Array] | None,
) -> tuple[Phonopy, int]:
    """Return phonons fitted by symfc to all frames of the supercell for harmonic force constants."""
    if harmonic is not None:
        matrix = np.array(content['phonon_supercell_matrix'])
    phonon = Phonopy(
        unitcell, matrix, primitive_matrix=content.get('primitive_matrix', 'auto'), symprec=SYMPREC, log_level=0
    )
    displacements, forces = harmonic or main
    make_force_constants(phonon, {'displacements': displacements, 'forces': forces})
    return phonon, len(forces)


def _displaced(
    unitcell: PhonopyAtoms, matrix: NDArray[np.int64], frames: Sequence[Frame]
) -> tuple[list[Frame], tuple[Array, Array], list[str]]:
    """Return the frames whose atoms are displaced, displacements and forces (F, N, 3), sentences on what is left out.

    The pristine supercell teaches nothing about force constants. The order of the atoms is that of the supercell.
    """
    supercell = Phonopy(unitcell, matrix, primitive_matrix=np.eye(3), log_level=0).supercell
    kept, notes = unique(frames)
    pairs = [displacements_and_forces(supercell, frame) for frame in kept]
    rows = [row for row, (moves, _) in enumerate(pairs) if np.abs(moves).max() > 1e-4]
    displacements, forces = (np.array([pairs[row][part] for row in rows]) for part in (0, 1))
    kept = [kept[row] for row in rows]
    check_displacements(displacements, supercell, [frame.source for frame in kept])
    return kept, (displacements, forces), notes


def _displacements_forces(dataset: dict[str, Any], prefix: str) -> tuple[Array, Array] | None:
    displacements, forces = dataset.get(f'{prefix}displacements'), dataset.get(f'{prefix}forces')
    if not displacements:
        return None
    try:
        if forces is None and isinstance(displacements[0][0], dict):
            forces = [[atom['force'] for atom in cell] for cell in displacements]
        if isinstance(displacements[0][0], dict):
            displacements = [[atom['displacement'] for atom in cell] for cell in displacements]
        if forces is None:
            return None
        return np.array(displacements, dtype=float), np.array(forces, dtype=float)
    except (KeyError, TypeError, ValueError):
        return None


def _name(frame: Frame) -> str:
    """Return the reduced formula, metals first, such as NaCl."""
    return str(Atoms(numbers=frame.numbers).symbols.formula.reduce()[0].format('metal'))


def _cell(content: dict[str, Any]) -> PhonopyAtoms:
    points = content['points']
    return PhonopyAtoms(
        cell=content['lattice'],
        symbols=[point['symbol'] for point in points],
        scaled_positions=[point['coordinates'] for point in points],
        masses=[point['mass'] for point in points] if all('mass' in point for point in points) else None,
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    opener: Any = lzma.open if path.suffix == '.xz' else open
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    try:
        with opener(path, 'rt', encoding='utf-8') as handle:
            content = yaml.load(handle, Loader=loader)
    except (yaml.YAMLError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f'`{path}` cannot be read as YAML.') from error
    if not isinstance(content, dict) or 'unit_cell' not in content or 'supercell_matrix' not in content:
        raise ValueError(f'`{path}` is not a phonopy or phono3py file: it has no unit cell or supercell.')
    return content
