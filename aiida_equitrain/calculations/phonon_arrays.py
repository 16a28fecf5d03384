"""Stored phonons as the arrays that a job reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida_phonopy.data.phonopy import PhonopyData
from numpy.typing import NDArray

#: Modules that a job needs to make phonons of these arrays.
PHONON_MODULES = (
    'science.force_sets',
    'science.nac',
    'science.phonopy_io',
    'science.phonopy_yaml',
    'science.text_files',
)


def phonopy_arrays(node: PhonopyData, subtract_residual_forces: bool = False) -> dict[str, NDArray[Any]]:
    """Return what :func:`aiida_equitrain.science.phonopy_io.phonon_from_arrays` needs, exactly as stored.

    No ``Phonopy`` is built: its search for symmetry takes seconds for a large supercell, too long for a daemon. Kinds
    of one element count as that element.
    """
    from ase.data import atomic_numbers

    arrays = {
        'cell': np.array(node.cell, dtype=float),
        'positions': np.array(node.positions, dtype=float),
        'numbers': np.array([atomic_numbers[symbol] for symbol in node.symbols], dtype=np.int64),
        'masses': np.array(node.masses, dtype=float),
        'supercell_matrix': np.array(node.supercell_matrix, dtype=np.int64),
        'primitive_matrix': np.array(node.primitive_matrix),
        'symprec': np.array(node.symprec, dtype=float),
        'is_symmetry': np.array(bool(node.is_symmetry)),
    }
    dataset: Any = node.displacement_dataset
    if 'first_atoms' in dataset:
        arrays['displaced_atoms'] = np.array([atom['number'] for atom in dataset['first_atoms']], dtype=np.int64)
        arrays['displacements'] = np.array([atom['displacement'] for atom in dataset['first_atoms']], dtype=float)
    else:
        arrays['displacements'] = np.array(dataset['displacements'], dtype=float)
    names = node.get_arraynames()
    if 'forces' in names:
        forces = np.array(node.get_array('forces'), dtype=float)
    else:
        index = node.forces_index
        sets = [node.get_array(f'forces_{number + 1}') for number in range(len(arrays['displacements']))]
        forces = np.array([item if index is None else item[index] for item in sets], dtype=float)
    if subtract_residual_forces and 'residual_forces' in names:
        forces = forces - np.array(node.residual_forces, dtype=float)
    arrays['forces'] = forces
    if node.has_nac_parameters():
        arrays['born_charges'] = np.array(node.born_charges, dtype=float)
        arrays['dielectric'] = np.array(node.dielectric, dtype=float)
    return arrays
