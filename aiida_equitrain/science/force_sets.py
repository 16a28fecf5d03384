"""Forces and force constants in files of their own, beside a file of phonopy; atoms are paired by place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy.file_IO import parse_BORN_from_strings, parse_FORCE_SETS_from_strings
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_reduced_bases
from phonopy.structure.dataset import get_displacements_and_forces
from scipy.spatial import cKDTree

from .phonopy_yaml import PhonopyFile, as_array, as_dataset, as_force_constants, nac_factor, quiet
from .text_files import read_text, shown

Array = NDArray[np.float64]

#: Files that are looked for beside one of phonopy without forces, in this order.
BESIDE = ('FORCE_CONSTANTS', 'FORCE_SETS')
#: Files that phonopy and phono3py would read there and that we do not, and what writes all into the file itself.
UNREAD = {
    'force_constants.hdf5': '`phonopy-load --include-all {file}` writes it into a `phonopy.yaml`, which is read',
    **dict.fromkeys(
        ('FORCES_FC2', 'FORCES_FC3'),
        '`phono3py.load("{file}", produce_fc=False).save("phono3py_params.yaml")` in Python, called in its folder, '
        'writes it into a file that is read',
    ),
}
#: Bytes of the largest `BORN`.
SMALL = 2**20
#: How far an atom of the file's supercell may lie from where phonopy puts it, Å.
SAME_PLACE = 1e-2
#: How far a displacement of `FORCE_SETS`, of eight decimals, may differ from that of the file, Å.
SAME_DISPLACEMENT = 1e-5


def unread_beside(path: Path) -> list[str]:
    """Return a sentence with the remedy about each file beside one of phonopy that is not read."""
    return [
        f'`{name}` beside it is not read: {remedy.format(file=shown(path.name))}'
        for name, remedy in UNREAD.items()
        if (path.parent / name).exists()
    ]


def read_force_sets(path: Path, file: PhonopyFile) -> dict[str, Any]:
    """Return the dataset of ``FORCE_SETS`` of either type, in Å and eV/Å, for a file without forces.

    :raises ValueError: one sentence, if it is damaged, or not of the file's supercell and displacements.
    """
    text = read_text(path)
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if rows and len(rows[0]) == 1 and (problem := _rows_problem(rows, file.n_atoms)):
        raise ValueError(f'`{path}` {problem}')
    try:
        parsed: Any = parse_FORCE_SETS_from_strings(text, natom=file.n_atoms)
    except Exception as error:
        raise ValueError(
            f'`{path}` is not in the format of phonopy, or not of the {file.n_atoms} atoms of `{file.path}`.'
        ) from error
    try:
        dataset = as_dataset(parsed, file.n_atoms, file.units)
    except ValueError as error:
        raise ValueError(f'`{path}` {error}') from error
    if file.dataset is not None:
        _check_displacements_agree(path, dataset, file)
    return dataset


def _rows_problem(rows: list[list[str]], n_atoms: int) -> str | None:
    """Return what is wrong with the number of rows of a ``FORCE_SETS`` of type I, whose first two say how many."""
    counts = [row[0] for row in rows[:2]]
    if len(counts) < 2 or not all(count.isdecimal() and len(count) < 20 for count in counts):
        return 'is not in the format of phonopy.'
    atoms, displacements = (int(count) for count in counts)
    if atoms != n_atoms:
        return f'has forces on {shown(atoms)} atoms, but the supercell has {n_atoms}.'
    wanted = 2 + displacements * (2 + atoms)
    if len(rows) != wanted:
        moves = f'{shown(displacements)} displacements of {atoms} atoms'
        return f'has {len(rows)} rows; {moves} would be {shown(wanted)}.'
    return None


def _check_displacements_agree(path: Path, dataset: dict[str, Any], file: PhonopyFile) -> None:
    found: Any = dataset
    given: Any = file.dataset
    ours, theirs = get_displacements_and_forces(found)[0], get_displacements_and_forces(given)[0]
    for index, frame in enumerate(ours):
        # Nearly always in the same order.
        candidates = [theirs[index], theirs] if index < len(theirs) else [theirs]
        if not any((np.abs(side - frame).max(axis=(-1, -2)) < SAME_DISPLACEMENT).any() for side in candidates):
            raise ValueError(
                f'displacement {index + 1} of `{path}` is none of `{file.path}`: the two are not of one calculation, '
                'or their atoms are in another order.'
            )


def read_force_constants(path: Path, file: PhonopyFile, p2s_map: Any) -> Array:
    """Return force constants (eV/Å²) of ``FORCE_CONSTANTS``, shape (n, N, 3, 3).

    :param p2s_map: atoms of the supercell that the rows of compact force constants are of.
    :raises ValueError: one sentence, if they are damaged or not of the file's supercell.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    try:
        shape = [int(number) for number in lines[0]] * (1 if len(lines[0]) == 2 else 2)
        rows, columns = shape
        if len(lines) != 1 + 4 * rows * columns:
            raise ValueError('too few rows')
        values = [[float(number) for number in line] for index, line in enumerate(lines[1:]) if index % 4]
        atoms = [int(line[0]) - 1 for line in lines[1 :: 4 * columns]]
    except (ValueError, IndexError) as error:
        raise ValueError(f'`{path}` is cut off, or not in the format of phonopy.') from error
    if rows != columns and not np.array_equal(atoms, p2s_map):
        raise ValueError(f'`{path}` is not of the primitive cell of `{file.path}`: the atoms of its rows are others.')
    try:
        elements: Any = np.reshape(values, (-1, 3, 3)) if values else []
        constants: Array = as_force_constants({'shape': shape, 'elements': elements}, file.n_atoms, file.units)
    except ValueError as error:
        raise ValueError(f'`{path}` {error}') from error
    return constants


def read_born(path: Path, file: PhonopyFile, primitive: PhonopyAtoms, symprec: float) -> dict[str, Any]:
    """Return the charges and the dielectric tensor of ``BORN``, as :attr:`~.phonopy_yaml.PhonopyFile.nac` has them.

    :param primitive: cell whose independent atoms ``BORN`` lists.
    :param symprec: tolerance of the symmetry, Å.
    :raises ValueError: one sentence, if it is damaged, or not of the file's atoms and units.
    """
    text = read_text(path, SMALL)
    try:
        with quiet():
            found = parse_BORN_from_strings(text, primitive, symprec=symprec)
    except Exception as error:
        raise ValueError(
            f'`{path}` is not in the format of phonopy, or not of the independent atoms of `{file.path}`.'
        ) from error
    try:
        return {
            'born': as_array(found['born'], (len(primitive), 3, 3), 'Born charges'),
            'dielectric': as_array(found['dielectric'], (3, 3), 'rows of a dielectric tensor'),
            'factor': nac_factor(found.get('factor'), file.content),
        }
    except ValueError as error:
        raise ValueError(f'`{path}` {error}') from error


def atom_order(supercell: PhonopyAtoms, file: PhonopyFile) -> NDArray[np.int64] | None:
    """Return which atom of the file's own supercell each atom of phonopy's is; ``None`` if the orders are the same.

    :raises ValueError: one sentence, if the two are not the same cell.
    """
    if file.supercell is None:
        return None
    symbols, sites = file.supercell
    numbers = np.array([PhonopyAtoms(cell=np.eye(3), symbols=[symbol], scaled_positions=[[0, 0, 0]]).numbers[0]
                        for symbol in sorted(set(symbols))])  # fmt: skip
    theirs = numbers[np.searchsorted(sorted(set(symbols)), symbols)]
    cell = np.array(supercell.cell)

    def distance(ours: Array, others: Array) -> Array:
        difference = ours - others
        length: Array = np.linalg.norm((difference - np.rint(difference)) @ cell, axis=-1)
        return length

    positions = np.array(supercell.scaled_positions)
    if np.array_equal(theirs, supercell.numbers) and distance(positions, sites).max() < SAME_PLACE:
        return None
    order = np.empty(len(positions), dtype=np.int64)
    for index, (number, position) in enumerate(zip(supercell.numbers, positions, strict=True)):
        away = np.where(theirs == number, distance(position, sites), np.inf)
        order[index] = away.argmin()
        if not away.min() < SAME_PLACE:
            break
    else:
        if len(set(order.tolist())) == len(order):
            return order
    raise ValueError(f'`{file.path}`: its supercell is not that of its unit cell and its supercell matrix.')


def reorder(dataset: dict[str, Any], order: NDArray[np.int64]) -> dict[str, Any]:
    """Return a dataset with its atoms in another order, see :func:`atom_order`."""
    if 'first_atoms' not in dataset:
        moved: dict[str, Any] = {key: dataset[key][:, order] for key in ('displacements', 'forces') if key in dataset}
        return {**dataset, **moved}
    place = np.argsort(order)
    atoms = []
    for atom in dataset['first_atoms']:
        forces = {'forces': atom['forces'][order]} if 'forces' in atom else {}
        atoms.append({**atom, 'number': int(place[atom['number']]), **forces})
    return {**dataset, 'first_atoms': atoms}


def check_displacements(displacements: Any, cell: PhonopyAtoms, names: Any) -> None:
    """Refuse displacements that no harmonic crystal has: their atoms are paired wrongly, or their unit is not Å.

    :param displacements: of the supercell's atoms, Å, shape (F, N, 3), or (F, 3) of one atom in each frame.
    :param cell: unit cell or supercell, Å.
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
    """Return the shortest distance between two atoms of a crystal, periodic images among them, Å.

    :raises ValueError: one sentence, if two atoms are at one place.
    """
    basis = get_reduced_bases(cell.cell)
    if basis is None:
        raise ValueError('the lattice of the crystal cannot be reduced: it is too flat.')
    sites = cell.positions @ np.linalg.inv(basis)
    shifts = np.array(list(np.ndindex(3, 3, 3))) - 1
    images = ((sites - np.floor(sites))[:, None] + shifts[None]).reshape(-1, 3) @ basis
    distances, _ = cKDTree(images).query((sites - np.floor(sites)) @ basis, k=2)
    bond = float(distances[:, 1].min())
    if bond < 0.1:
        raise ValueError(f'two atoms of the crystal are {bond:.3g} Å apart: their places are wrong.')
    return bond
