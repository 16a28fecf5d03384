"""Read phonopy's files, and arrays staged to a job, into :class:`phonopy.Phonopy` with force constants."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atomic_data import get_atomic_data
from phonopy.structure.atoms import PhonopyAtoms

from ..common.phonon_settings import SYMPREC
from .force_sets import (
    BESIDE,
    atom_order,
    check_displacements,
    read_born,
    read_force_constants,
    read_force_sets,
    reorder,
    unread_beside,
)
from .phonopy_yaml import PhonopyFile, quiet, read_phonopy
from .text_files import shown

#: Born charges and dielectric tensor in a file of their own.
BORN = 'BORN'
#: How far magnetic moments may differ (Bohr magnetons) and be those of one atom of the primitive cell.
SMALL_MOMENT = 0.1

#: Arrays that describe a phonon calculation, see :func:`phonon_from_arrays`.
ARRAY_KEYS = (
    'cell',
    'positions',
    'numbers',
    'masses',
    'supercell_matrix',
    'primitive_matrix',
    'symprec',
    'is_symmetry',
)


def load_phonopy(
    path: str | Path, *, symprec: float | None = None, acoustic_sum_rule: bool = False, nac: bool = False
) -> Phonopy:
    """Load a file of phonopy, compressed or not, in Å and eV, and make its force constants.

    Forces are taken from the file itself or from ``FORCE_SETS`` or ``FORCE_CONSTANTS`` beside it, never from the
    working directory. Single-atom displacements go through phonopy's own solver, those of many atoms ("random", type
    II) through symfc.

    :param path: ``phonopy.yaml``, ``phonopy_params.yaml`` or ``phonopy_disp.yaml``, or one of them with ``.xz``,
        ``.gz``, ``.bz2`` or ``.lzma``; of phono3py as well, whose harmonic force constants are made.
    :param symprec: tolerance of the symmetry search, Å; that of the file without it, or else ``SYMPREC``.
    :param acoustic_sum_rule: impose the sum rule and index symmetry on force constants that phonopy's solver made.
    :param nac: use Born charges and dielectric tensor of the file or of ``BORN`` beside it; off, as in the authors'
        phonons.
    :returns: the phonons, with force constants.
    :raises ValueError: one sentence, if the file is absent, cannot be read or holds no forces.
    """
    file = read_phonopy(path)
    phonon = open_phonopy(file, symprec=symprec)
    charges: Any = nac_of(file, phonon) if nac else None
    phonon.nac_params = charges
    finish_phonopy(phonon, path, acoustic_sum_rule)
    return phonon


def open_phonopy(file: PhonopyFile, *, symprec: float | None = None) -> Phonopy:
    """Return the crystal of a file with its displacements, forces, force constants and Born charges, nothing made yet.

    :param symprec: see :func:`load_phonopy`.
    :raises ValueError: one sentence, if there are neither forces nor force constants, or they are not of the cells.
    """
    tolerance = symprec or file.symprec or SYMPREC
    beside = {name: file.path.parent / name for name in BESIDE if (file.path.parent / name).exists()}
    if file.force_constants is None and not has_forces(file.dataset) and not beside:
        # Before phonopy makes a supercell, which may take minutes.
        raise ValueError(
            f'`{file.path}` holds no forces: it needs displaced supercells and their forces, '
            f'or {_names(BESIDE)} beside it{"".join(f"; {text}" for text in unread_beside(file.path))}.'
        )
    with quiet():
        try:
            phonon = make_phonon(file.cell, file.supercell_matrix, file.primitive_matrix, tolerance)
        except Exception as error:
            raise ValueError(
                f'`{file.path}`: phonopy makes no crystal of its cells with a tolerance of {tolerance:g} Å: '
                f'{shown(_first_line(error))}'
            ) from error
    check_primitive(phonon.supercell, phonon.primitive, file.path)
    dataset, constants = _forces(file, phonon, beside)
    order = atom_order(phonon.supercell, file)
    if order is not None and constants is not None:
        raise ValueError(f'`{file.path}`: its force constants are of atoms in another order than that of phonopy.')
    if dataset is not None:
        _set_dataset(phonon, dataset if order is None else reorder(dataset, order), file)
    if constants is not None:
        if len(constants) not in (len(phonon.primitive), len(phonon.supercell)):
            raise ValueError(
                f'`{file.path}` has force constants of {len(constants)} atoms, but another primitive cell.'
            )
        phonon.force_constants = constants
    if file.nac is not None:
        if len(file.nac['born']) != len(phonon.primitive):
            raise ValueError(
                f'`{file.path}` has Born charges of {len(file.nac["born"])} atoms, but {len(phonon.primitive)} atoms '
                'in its primitive cell.'
            )
        charges: Any = file.nac
        phonon.nac_params = charges
    return phonon


def nac_of(file: PhonopyFile, phonon: Phonopy) -> dict[str, Any] | None:
    """Return Born charges and dielectric tensor of a file, or else of ``BORN`` beside it, or ``None``.

    :param phonon: of :func:`open_phonopy`.
    :raises ValueError: one sentence, if ``BORN`` is damaged, or not of the file.
    """
    beside = file.path.parent / BORN
    if file.nac is None and beside.exists():
        return read_born(beside, file, phonon.primitive, float(phonon.symmetry.tolerance))
    return file.nac


def check_primitive(supercell: Any, primitive: Any, path: str | Path) -> None:
    """Refuse a primitive cell that takes atoms of different masses or moments for one: phonopy keeps those of one.

    :raises ValueError: one sentence that begins with the name of the file.
    """
    for name, tolerance in (('masses', 1e-3), ('magnetic_moments', SMALL_MOMENT)):
        values = getattr(supercell, name)
        if values is not None and not np.allclose(values, np.array(values)[primitive.s2p_map], atol=tolerance):
            raise ValueError(
                f'`{path}`: its primitive cell makes one atom of atoms with different {name.replace("_", " ")}: set '
                '`primitive_matrix: P` in it, or that of the cell in which they are told apart.'
            )


def _set_dataset(phonon: Phonopy, dataset: Any, file: PhonopyFile) -> None:
    single = 'first_atoms' in dataset
    moves = [atom['displacement'] for atom in dataset['first_atoms']] if single else dataset['displacements']
    check_displacements(moves, file.cell, [f'{file.path.name}#{index + 1}' for index in range(len(moves))])
    phonon.dataset = dataset


def finish_phonopy(phonon: Phonopy, path: str | Path, acoustic_sum_rule: bool = False) -> None:
    """Make the force constants of :func:`open_phonopy` from its forces, if it has none.

    :raises ValueError: one sentence that names ``path``, if there are no forces or too few.
    """
    if phonon.force_constants is not None:
        if acoustic_sum_rule:
            with quiet():
                phonon.symmetrize_force_constants(show_drift=False)
        return
    dataset: Any = phonon.dataset
    if not has_forces(dataset):
        raise ValueError(f'`{path}` holds no forces.')
    try:
        make_force_constants(phonon, dataset, acoustic_sum_rule)
    except Exception as error:
        raise ValueError(
            f'`{path}`: phonopy makes no force constants of its displacements; there may be too few: '
            f'{shown(_first_line(error))}'
        ) from error


def _names(names: Iterable[str]) -> str:
    return ' or '.join(f'`{name}`' for name in names)


def _forces(
    file: PhonopyFile, phonon: Phonopy, beside: Mapping[str, Path]
) -> tuple[dict[str, Any] | None, NDArray[np.float64] | None]:
    """Return displacements with forces, and force constants, of the file or else of those beside it."""
    dataset, constants = file.dataset, file.force_constants
    if constants is None and not has_forces(dataset):
        if 'FORCE_CONSTANTS' in beside:
            constants = read_force_constants(beside['FORCE_CONSTANTS'], file, phonon.primitive.p2s_map)
        if 'FORCE_SETS' in beside:
            dataset = read_force_sets(beside['FORCE_SETS'], file)
    return dataset, constants


def phonon_from_arrays(arrays: Mapping[str, NDArray[Any]], acoustic_sum_rule: bool = True) -> Phonopy:
    """Rebuild phonons from the arrays that a job was given.

    :param arrays: :data:`ARRAY_KEYS` of the unit cell (``positions`` Cartesian, ``cell`` in rows, Å),
        ``displacements`` (Å) of shape (D, 3) with ``displaced_atoms`` (D,) for single-atom displacements, or (D, N, 3)
        without, and ``forces`` (D, N, 3), eV/Å; ``born_charges`` and ``dielectric`` for :func:`~.nac.nac_params`;
        ``kinds`` (n,), which atoms of one element are alike, and ``magnetic_moments``, both for the symmetry.
    :param acoustic_sum_rule: see :func:`load_phonopy`.
    """
    symbols = [get_atomic_data().atom_data[number][1] for number in arrays['numbers']]
    if 'kinds' in arrays:
        symbols = [f'{symbol}{kind}' for symbol, kind in zip(symbols, arrays['kinds'], strict=True)]
    cell = PhonopyAtoms(
        cell=arrays['cell'],
        positions=arrays['positions'],
        symbols=symbols,
        masses=arrays['masses'],
        magnetic_moments=arrays.get('magnetic_moments'),
    )
    matrix = arrays['primitive_matrix']
    phonon = make_phonon(
        cell,
        arrays['supercell_matrix'],
        matrix if matrix.shape == (3, 3) else str(matrix),
        float(arrays['symprec']),
        bool(arrays['is_symmetry']),
        distinguish='kinds' in arrays,
    )
    if 'displaced_atoms' in arrays:
        dataset: dict[str, Any] = {
            'natom': len(phonon.supercell),
            'first_atoms': [
                {'number': int(atom), 'displacement': displacement, 'forces': forces}
                for atom, displacement, forces in zip(
                    arrays['displaced_atoms'], arrays['displacements'], arrays['forces'], strict=True
                )
            ],
        }
    else:
        dataset = {'displacements': arrays['displacements'], 'forces': arrays['forces']}
    if 'born_charges' in arrays:
        charges: Any = nac_params(
            phonon.primitive, arrays['born_charges'], arrays['dielectric'], phonon.symmetry.tolerance
        )
        phonon.nac_params = charges
    make_force_constants(phonon, dataset, acoustic_sum_rule)
    return phonon


def has_forces(dataset: Mapping[str, Any] | None) -> bool:
    """Say whether a displacement dataset of phonopy holds the forces."""
    if not dataset:
        return False
    if 'first_atoms' in dataset:
        return bool(dataset['first_atoms']) and all('forces' in atom for atom in dataset['first_atoms'])
    return dataset.get('forces') is not None and dataset.get('displacements') is not None


def make_force_constants(phonon: Phonopy, dataset: Mapping[str, Any], acoustic_sum_rule: bool = False) -> None:
    """Turn displacements and forces into compact force constants, eV/Å²; those of symfc obey the sum rule anyway.

    :raises ValueError: if the forces do not belong to the supercell or are not finite.
    """
    single = 'first_atoms' in dataset
    forces = np.array([atom['forces'] for atom in dataset['first_atoms']] if single else dataset['forces'], dtype=float)
    if forces.shape[1:] != (len(phonon.supercell), 3):
        raise ValueError(
            f'the forces have the shape {forces.shape}, but the supercell has {len(phonon.supercell)} atoms.'
        )
    if not np.isfinite(forces).all():
        raise ValueError('the forces are not finite.')
    with quiet():
        data: Any = dict(dataset)
        phonon.dataset = data
        phonon.produce_force_constants(
            calculate_full_force_constants=False, fc_calculator='traditional' if single else 'symfc', show_drift=False
        )
        if acoustic_sum_rule and single:
            phonon.symmetrize_force_constants(show_drift=False)


def make_phonon(
    cell: PhonopyAtoms,
    supercell: Any,
    primitive: Any,
    symprec: float,
    is_symmetry: bool = True,
    distinguish: bool = False,
) -> Phonopy:
    """Return phonopy's object without a word of phonopy's on the screen.

    It warns when supercell and primitive cell differ in point group; both are wanted as they are.
    """
    with quiet():
        return Phonopy(
            cell,
            np.array(supercell),
            primitive_matrix=primitive,
            symprec=symprec,
            is_symmetry=is_symmetry,
            distinguish_symbol_index=distinguish,
            log_level=0,
        )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def check_nac(
    born_charges: Any,
    dielectric: Any,
    n_atoms: int,
    charge_tolerance: float,
    port: str = 'settings.nac_charge_tolerance',
) -> str | None:
    """Return a sentence if Born charges and dielectric tensor cannot be those of a crystal, ``None`` if they can.

    :param born_charges: e, should have the shape (``n_atoms``, 3, 3).
    :param dielectric: should have the shape (3, 3), symmetric, all eigenvalues at least 1.
    :param n_atoms: of the primitive cell.
    :param charge_tolerance: largest component (e) of the sum over the atoms: the crystal is neutral.
    :param port: input that holds it, for the sentence.
    """
    born_charges, dielectric = np.asarray(born_charges, dtype=float), np.asarray(dielectric, dtype=float)
    if born_charges.shape != (n_atoms, 3, 3):
        return (
            f'`nac.born_charges` has the shape {born_charges.shape}; it must be ({n_atoms}, 3, 3), one tensor for each '
            'atom of the primitive cell.'
        )
    if dielectric.shape != (3, 3):
        return f'`nac.dielectric` has the shape {dielectric.shape}; it must be (3, 3).'
    if not (np.isfinite(born_charges).all() and np.isfinite(dielectric).all()):
        return '`nac` holds numbers that are not finite.'
    if not np.allclose(dielectric, dielectric.T, atol=1e-2) or np.linalg.eigvalsh(dielectric).min() < 1:
        return '`nac.dielectric` must be symmetric with eigenvalues of at least 1: it is a relative permittivity.'
    total = float(np.abs(born_charges.sum(axis=0)).max())
    if total > charge_tolerance:
        return (
            f'the `nac.born_charges` of the atoms sum up to {total:.3g} e, more than `{port}` '
            f'({charge_tolerance:g} e): converge them better, or raise it; the rest is spread over the atoms.'
        )
    return None


def nac_params(primitive: Any, born_charges: NDArray[Any], dielectric: NDArray[Any], symprec: float) -> dict[str, Any]:
    """Return the non-analytical term of Gonze and Lee (Phys. Rev. B 55, 10355 (1997)), as phonopy and phono3py take it.

    The tensors get the symmetry of the crystal, and charges that sum up to zero.

    :param primitive: primitive cell, of phonopy.
    :param born_charges: e, shape (n, 3, 3).
    :param dielectric: high-frequency dielectric tensor, shape (3, 3).
    :param symprec: tolerance of the symmetry, Å.
    """
    from phonopy.physical_units import get_physical_units
    from phonopy.structure.symmetry import symmetrize_borns_and_epsilon

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        born, epsilon = symmetrize_borns_and_epsilon(born_charges, dielectric, primitive, symprec=symprec)
    units = get_physical_units()
    return {'born': born, 'dielectric': epsilon, 'factor': units.Hartree * units.Bohr, 'method': 'gonze'}
