"""Arrays that a job reads of structures, trajectories and phonons; phonons that keep masses and magnetic moments.

aiida-phonopy drops the masses of kinds that are named after their element, and all magnetic moments, when it makes
phonons of a structure or of other phonons. It keeps them once they are attributes, so they are set after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida import orm
from aiida.common.constants import elements
from aiida_phonopy.data import PhonopyData, PreProcessData
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray
from phonopy.structure.atomic_data import get_atomic_data
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_supercell

from aiida_equitrain.science.structures import is_left_handed

#: How far a mass may be from that of one of the tables (relative) and be that of the natural element.
NATURAL_MASS = 1e-5
#: Attributes that aiida-phonopy does not hand on.
DROPPED = ('masses', 'magnetic_moments')


def is_natural(symbol: str, mass: float) -> bool:
    """Return whether a mass is that of the natural element by the tables of phonopy, AiiDA or ASE."""
    number = atomic_numbers[symbol]
    tables: tuple[Any, ...] = (get_atomic_data().atom_data[number][3], elements[number]['mass'], atomic_masses[number])
    return any(abs(mass - known) <= NATURAL_MASS * known for known in tables if known)


def isotopes_of(structure: orm.StructureData) -> list[str]:
    """Return the names of the kinds whose mass is not that of the natural element."""
    return sorted(kind.name for kind in structure.kinds if not is_natural(kind.symbol, kind.mass))


def reversed_cell(structure: orm.StructureData) -> orm.StructureData:
    """Return the structure with its lattice vectors reversed if they are left-handed: the same lattice and atoms."""
    if not is_left_handed(structure.cell):
        return structure
    turned = structure.clone()
    turned.reset_cell((-np.array(structure.cell)).tolist())
    turned.label = structure.label
    return turned  # type: ignore[no-any-return]


def new_preprocess(structure: orm.StructureData, supercell_matrix: Any, symprec: float) -> PreProcessData:
    """Return the node of a supercell, before its displacements, with the masses of the structure.

    :param supercell_matrix: columns are the supercell's vectors, as phonopy has it.
    """
    data = PreProcessData(structure=structure, supercell_matrix=supercell_matrix, symprec=symprec)
    if isotopes_of(structure):
        given = {kind.name: float(kind.mass) for kind in structure.kinds if kind.name in isotopes_of(structure)}
        pairs = zip(structure.get_site_kindnames(), data.masses, strict=True)
        data.base.attributes.set('masses', [given.get(name, float(mass)) for name, mass in pairs])
    return data


def preprocess_like(phonons: PhonopyData) -> PreProcessData:
    """Return the cell and the supercell of phonons as a node without displacements of its own yet."""
    data = PreProcessData(
        structure=phonons.get_unitcell(),
        supercell_matrix=phonons.supercell_matrix,
        primitive_matrix=phonons.primitive_matrix,
        symprec=phonons.symprec,
        is_symmetry=phonons.is_symmetry,
        distinguish_kinds=phonons.distinguish_kinds,
    )
    for name in DROPPED:
        data.base.attributes.set(name, phonons.base.attributes.get(name))
    return data


def new_phonopy_data(preprocess: PreProcessData) -> PhonopyData:
    """Return phonons without forces yet, with the masses and moments of the displacements."""
    data = PhonopyData(preprocess_data=preprocess)
    for name in DROPPED:
        data.base.attributes.set(name, preprocess.base.attributes.get(name))
    return data


def with_forces(phonons: PhonopyData, forces: NDArray[Any]) -> PhonopyData:
    """Return the same phonons, unstored, with other forces (D, N, 3) on the displaced supercells, eV/Å."""
    data: PhonopyData = phonons.clone()
    for name in data.get_arraynames():
        if name.startswith('forces') or name == 'residual_forces':
            data.delete_array(name)
    if data.forces_index is not None:
        data.base.attributes.delete('forces_index')
    data.set_forces(sets_of_forces=forces)
    return data


def supercell_arrays(node: PhonopyData) -> dict[str, NDArray[Any]]:
    """Return the supercell of phonons as a single frame, atoms in phonopy's order; no symmetry is searched for."""
    cell = PhonopyAtoms(
        cell=node.cell, positions=node.positions, numbers=[atomic_numbers[symbol] for symbol in node.symbols]
    )
    supercell = get_supercell(cell, np.array(node.supercell_matrix))
    return {
        'numbers': np.array(supercell.numbers, dtype=np.int64),
        'positions': np.array([supercell.positions], dtype=float),
        'cells': np.array([supercell.cell], dtype=float),
    }


def phonopy_arrays(node: PhonopyData, subtract_residual_forces: bool = False) -> dict[str, NDArray[Any]]:
    """Return what :func:`aiida_equitrain.science.phonopy_io.phonon_from_arrays` needs, exactly as stored.

    No ``Phonopy`` is built: its search for symmetry takes seconds for a large supercell, too long for a daemon.
    """
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
    if node.distinguish_kinds and list(node.names) != list(node.symbols):
        arrays['kinds'] = kind_indices(node.symbols, node.names)
    if node.magnetic_moments is not None:
        arrays['magnetic_moments'] = np.array(node.magnetic_moments, dtype=float)
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


def kind_indices(symbols: list[str], names: list[str]) -> NDArray[np.int64]:
    """Return for each atom which of the kinds of its element it is, from 1 on."""
    kinds: dict[str, list[str]] = {}
    found = []
    for symbol, name in zip(symbols, names, strict=True):
        known = kinds.setdefault(symbol, [])
        if name not in known:
            known.append(name)
        found.append(known.index(name) + 1)
    return np.array(found, dtype=np.int64)


def arrays_of(node: orm.ArrayData) -> dict[str, NDArray[Any]]:
    """Return all arrays of a node by their names."""
    return {name: node.get_array(name) for name in node.get_arraynames()}


def numbers_of(symbols: Sequence[str]) -> NDArray[np.int64]:
    """Return the atomic numbers of chemical symbols."""
    return np.array([atomic_numbers[symbol] for symbol in symbols], dtype=np.int64)


def structure_symbols(structure: orm.StructureData) -> list[str]:
    """Return the chemical symbol of every site."""
    kinds = {kind.name: kind.symbol for kind in structure.kinds}
    return [kinds[site.kind_name] for site in structure.sites]


def trajectory_arrays(frames: orm.TrajectoryData) -> dict[str, NDArray[Any]]:
    """Return ``numbers`` (N,), ``positions`` (F, N, 3) and ``cells`` (F, 3, 3) of frames."""
    return {
        'numbers': numbers_of(frames.symbols),
        'positions': np.array(frames.get_positions(), dtype=float),
        'cells': np.array(frames.get_cells(), dtype=float),
    }


def structure_arrays(structure: orm.StructureData) -> dict[str, NDArray[Any]]:
    """Return the same arrays of one structure, as a single frame."""
    return {
        'numbers': numbers_of(structure_symbols(structure)),
        'positions': np.array([[site.position for site in structure.sites]], dtype=float),
        'cells': np.array([structure.cell], dtype=float),
    }


def trajectory_atoms(frames: orm.TrajectoryData) -> list[Atoms]:
    """Return the steps of a trajectory as ASE atoms, periodic unless the node says otherwise.

    :raises ValueError: with a sentence, if it tells atoms of one element apart, which would be lost.
    """
    kinds = [symbol for symbol in frames.symbols if symbol not in atomic_numbers]
    if kinds:
        raise ValueError(
            f'the frames have the kind `{kinds[0]}`, which is no element: atoms of one element that differ, for '
            'magnetic order, would be taken as equal; name every kind after its element for a calculation without spin'
        )
    cells = frames.get_cells()
    pbc = True if frames.pbc is None else frames.pbc
    return [
        Atoms(symbols=frames.symbols, positions=positions, cell=None if cells is None else cells[index], pbc=pbc)
        for index, positions in enumerate(frames.get_positions())
    ]


def validate_phonons(value: PhonopyData | None, _: Any, name: str = 'reference') -> str | None:
    """Return a sentence if phonons have no forces."""
    if value is None or {'forces', 'forces_1'} & set(value.get_arraynames()):
        return None
    return f'`{name}` has displacements but no forces; set them before the comparison'


def phonons_problem(nodes: Mapping[str, PhonopyData], port: str) -> str | None:
    """Return a sentence on the first phonons of a namespace that have no forces."""
    problems = (validate_phonons(node, None, f'{port}.{name}') for name, node in nodes.items())
    return next((problem for problem in problems if problem), None)
