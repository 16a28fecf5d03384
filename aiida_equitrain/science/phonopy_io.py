"""Read phonopy's files, and arrays staged to a job, into :class:`phonopy.Phonopy` with force constants."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.file_IO import parse_FORCE_SETS
from phonopy.interface.phonopy_yaml import PhonopyYaml
from phonopy.physical_units import get_physical_units
from phonopy.structure.atomic_data import get_atomic_data
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.symmetry import symmetrize_borns_and_epsilon

#: Tolerance of symmetry (Å) of the authors' phonons.
SYMPREC = 1e-4

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
    path: str | Path, *, symprec: float = SYMPREC, acoustic_sum_rule: bool = False, nac: bool = False
) -> Phonopy:
    """Load a phonopy file, compressed or not, and make its force constants.

    Forces are taken from the file itself or from ``FORCE_SETS`` beside it, never from the working directory.
    Single-atom displacements go through phonopy's own solver, those of many atoms ("random", type II) through symfc.

    :param path: ``phonopy.yaml``, ``phonopy_params.yaml`` or ``phonopy_disp.yaml``, or one of them with ``.xz``.
    :param symprec: tolerance of the symmetry search, Å.
    :param acoustic_sum_rule: impose the sum rule and index symmetry on force constants that phonopy's solver made.
    :param nac: use Born charges and dielectric tensor of the file; off, as in the authors' phonons.
    :returns: the phonons, with force constants.
    :raises ValueError: one sentence, if the file is absent, cannot be read or holds no forces.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'there is no file `{path}`.')
    content = PhonopyYaml()
    try:
        content.read(str(path))
        cell = content.unitcell
    except Exception as error:
        raise ValueError(f'`{path}` is not a phonopy file: {_first_line(error)}') from error
    if cell is None:
        raise ValueError(f'`{path}` is not a phonopy file: it has no unit cell.')
    phonon = _make_phonon(
        cell,
        np.eye(3, dtype=int) if content.supercell_matrix is None else content.supercell_matrix,
        'auto' if content.primitive_matrix is None else content.primitive_matrix,
        symprec,
    )
    if nac and content.nac_params is not None:
        phonon.nac_params = content.nac_params
    if content.force_constants is not None:
        phonon.force_constants = content.force_constants
        if acoustic_sum_rule:
            phonon.symmetrize_force_constants()
        return phonon
    dataset: Any = content.dataset
    force_sets = path.parent / 'FORCE_SETS'
    if not has_forces(dataset) and force_sets.is_file():
        dataset = parse_FORCE_SETS(natom=len(phonon.supercell), filename=str(force_sets))
    if not has_forces(dataset):
        raise ValueError(f'`{path}` holds no forces, and there is no `FORCE_SETS` beside it.')
    make_force_constants(phonon, dataset, acoustic_sum_rule)
    return phonon


def phonon_from_arrays(arrays: Mapping[str, NDArray[Any]], acoustic_sum_rule: bool = True) -> Phonopy:
    """Rebuild phonons from the arrays that a job was given.

    :param arrays: :data:`ARRAY_KEYS` of the unit cell (``positions`` Cartesian, ``cell`` in rows, Å),
        ``displacements`` (Å) of shape (D, 3) with ``displaced_atoms`` (D,) for single-atom displacements, or (D, N, 3)
        without, and ``forces`` (D, N, 3), eV/Å; ``born_charges`` and ``dielectric`` for :func:`set_nac`; ``kinds``
        (n,), which atoms of one element are alike, and ``magnetic_moments``, both for the symmetry.
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
    phonon = _make_phonon(
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
        set_nac(phonon, arrays['born_charges'], arrays['dielectric'])
    make_force_constants(phonon, dataset, acoustic_sum_rule)
    return phonon


def set_nac(phonon: Phonopy, born_charges: NDArray[Any], dielectric: NDArray[Any]) -> None:
    """Give phonons the non-analytical term of Gonze and Lee (Phys. Rev. B 55, 10355 (1997)), as phonopy does.

    The tensors get the symmetry of the crystal, and charges that sum up to zero.

    :param born_charges: e, of the atoms of the primitive cell, shape (n, 3, 3).
    :param dielectric: high-frequency dielectric tensor, shape (3, 3).
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        born, epsilon = symmetrize_borns_and_epsilon(
            born_charges, dielectric, phonon.primitive, symprec=phonon.symmetry.tolerance
        )
    units = get_physical_units()
    phonon.nac_params = {'born': born, 'dielectric': epsilon, 'factor': units.Hartree * units.Bohr, 'method': 'gonze'}


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
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        data: Any = dict(dataset)
        phonon.dataset = data
        phonon.produce_force_constants(
            calculate_full_force_constants=False, fc_calculator='traditional' if single else 'symfc', show_drift=False
        )
        if acoustic_sum_rule and single:
            phonon.symmetrize_force_constants(show_drift=False)


def _make_phonon(
    cell: PhonopyAtoms,
    supercell: Any,
    primitive: Any,
    symprec: float,
    is_symmetry: bool = True,
    distinguish: bool = False,
) -> Phonopy:
    with warnings.catch_warnings():
        # phonopy warns when supercell and primitive cell differ in point group; both are wanted as they are.
        warnings.simplefilter('ignore')
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
