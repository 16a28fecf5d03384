"""Calculation functions of the phonon stage: thin, and nothing heavy."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from aiida_phonopy.data import PhonopyData, PreProcessData
from numpy.typing import NDArray
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.calculations.arrays import (
    kind_indices,
    new_phonopy_data,
    new_preprocess,
    preprocess_like,
    reversed_cell,
    structure_symbols,
)
from aiida_equitrain.calculations.correct import CORRECTION_SETTINGS
from aiida_equitrain.calculations.harmonic import THERMAL_SETTINGS, verdict_facts
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science import labelled_cell as science
from aiida_equitrain.science.phonon_metrics import band_path, stability
from aiida_equitrain.science.supercells import supercell_rows

#: How aiida-phonopy calls a point of the path whose name it cannot read.
UNREAD = '?'
#: Tolerance (Å) of phonopy's own path, ``BAND = auto``: seekpath's default, as phonopy 4 hands on no other.
PATH_SYMPREC = 1e-5
#: Frames that count as labels where nothing else is said.
LABEL_ROLES = tuple(CORRECTION_SETTINGS['roles'].default)


#: Keys of the ``settings`` of ``PhononsWorkChain``.
PHONON_SETTINGS = {
    **shared('relax', 'min_length_angstrom'),
    'nac_charge_tolerance': Setting(0.1, 'largest sum of the Born charges over the atoms, e', minimum=0.0),
    **THERMAL_SETTINGS,
    'harmonic': Setting(
        True,
        'all that follows from phonons in one job, densities of states of atoms, displacements, group velocities and '
        'sum rules among it; else bands, density of states and thermal properties by the `phonopy` command',
    ),
    'elastic': Setting(False, 'elastic tensor from stresses of the potential'),
    'elastic_strain': Setting(
        0.005, 'size of the strains for it; larger ones are not elastic', minimum=0.0, exclusive=True, maximum=0.05
    ),
}


@calcfunction
def choose_supercell(structure: orm.StructureData, settings: orm.Dict, symprec: orm.Float) -> orm.List:
    """Return the rows of a small supercell, long enough in all directions, that keeps the symmetry if it can."""
    return orm.List(phonon_supercell_rows(structure, dict(settings), symprec.value))


def phonon_supercell_rows(structure: orm.StructureData, settings: dict[str, Any], symprec: float) -> list[list[int]]:
    """Return what :func:`choose_supercell` stores, for settings that may lack keys."""
    min_length = with_defaults(settings, PHONON_SETTINGS)['min_length_angstrom']
    return supercell_rows(structure.get_ase(), min_length, any_shape=True, symprec=symprec)


@calcfunction
def right_handed(structure: orm.StructureData) -> orm.StructureData:
    """Return the same crystal with its three lattice vectors reversed; phonopy takes no left-handed ones."""
    return reversed_cell(structure)


@calcfunction
def preprocess(
    structure: orm.StructureData, supercell_matrix: orm.List, displacement: orm.Dict, symprec: orm.Float
) -> PreProcessData:
    """Return the displacements of a supercell.

    :param supercell_matrix: rows are the supercell's vectors in units of the cell's; phonopy wants them as columns.
    :param displacement: arguments of phonopy's ``generate_displacements``.
    """
    return _displacements(structure, supercell_matrix, displacement, symprec)


def _displacements(
    structure: orm.StructureData, supercell_matrix: orm.List, displacement: orm.Dict, symprec: orm.Float
) -> PreProcessData:
    data = new_preprocess(structure, np.transpose(supercell_matrix.get_list()).tolist(), symprec.value)
    data.set_displacements(**displacement.get_dict())
    return data


@calcfunction
def displace(
    structure: orm.StructureData,
    supercell_matrix: orm.List,
    displacement: orm.Dict,
    symprec: orm.Float,
    settings: orm.Dict,
    harmonic: orm.Dict | None = None,
) -> dict[str, orm.Data]:
    """Return all that the jobs of a potential's phonons need, in one process.

    :param settings: of the phonons.
    :param harmonic: those of the harmonic properties that are given by themselves.
    :returns: ``preprocess`` as of :func:`preprocess`, ``frames`` and ``supercell`` as of :func:`displaced_frames`,
        ``harmonic_settings`` as of :func:`harmonic_settings`.
    """
    data = _displacements(structure, supercell_matrix, displacement, symprec)
    return {'preprocess': data, **_frames(data), 'harmonic_settings': _harmonic_settings(settings, harmonic)}


@calcfunction
def displace_like(reference: PhonopyData, displacement: orm.Dict) -> dict[str, orm.Data]:
    """Return displacements in cell and supercell of other phonons: ``preprocess``, ``frames`` and ``supercell``."""
    data = preprocess_like(reference)
    data.set_displacements(**displacement.get_dict())
    return {'preprocess': data, **_frames(data)}


@calcfunction
def harmonic_settings(settings: orm.Dict, harmonic: orm.Dict | None = None) -> orm.Dict:
    """Return the settings of the harmonic properties: a part of those of the phonons, and what is given beside."""
    return _harmonic_settings(settings, harmonic)


def _harmonic_settings(settings: orm.Dict, harmonic: orm.Dict | None) -> orm.Dict:
    known = with_defaults(dict(settings), PHONON_SETTINGS)
    return orm.Dict({**{key: known[key] for key in THERMAL_SETTINGS}, **dict(harmonic or {})})


@calcfunction
def relax_settings(settings: orm.Dict, symprec: orm.Float) -> orm.Dict:
    """Return the settings of a relaxation with the tolerance of the space group that holds for the whole."""
    return orm.Dict({**dict(settings), 'symprec': symprec.value})


@calcfunction
def correction_settings(correct: orm.Dict, settings: orm.Dict) -> orm.Dict:
    """Return the settings of a correction, with those of the phonons that it shares with them."""
    known = with_defaults(dict(settings), PHONON_SETTINGS)
    return orm.Dict({**{key: known[key] for key in THERMAL_SETTINGS}, **dict(correct)})


@calcfunction
def labelled_cell(
    structure: orm.StructureData, labels: DatasetData, symprec: orm.Float, supercell_matrix: orm.List | None = None
) -> dict[str, orm.Data]:
    """Return the ``structure`` in the lattice of labelled frames, and the ``supercell_matrix`` (rows) of these."""
    matrix = None if supercell_matrix is None else supercell_matrix.get_list()
    lattice, rows = cell_of_labels(structure, labels, symprec.value, matrix)
    moved = structure.clone()
    scaled = structure.get_ase().get_scaled_positions(wrap=False)
    moved.reset_cell(lattice.tolist())
    moved.reset_sites_positions((scaled @ lattice).tolist())
    moved.label = structure.label
    return {'structure': moved, 'supercell_matrix': orm.List(rows)}


def cell_of_labels(structure: orm.StructureData, labels: DatasetData, symprec: float, matrix: Any) -> tuple[Any, Any]:
    """Return lattice and supercell, see :func:`aiida_equitrain.science.labelled_cell.labelled_cell`."""
    return science.labelled_cell(
        structure.get_ase(), labels.get_frames(), roles=LABEL_ROLES, supercell_matrix=matrix, symprec=symprec
    )


@calcfunction
def without_elastic(settings: orm.Dict) -> orm.Dict:
    """Return settings of phonons without an elastic tensor."""
    return orm.Dict({**dict(settings), 'elastic': False})


@calcfunction
def elastic_settings(settings: orm.Dict) -> orm.Dict:
    """Return the settings of a relaxation with the cell fixed and no symmetry kept: the strain has broken it."""
    return orm.Dict({**dict(settings), 'relax_cell': False, 'fix_symmetry': False})


@calcfunction
def displaced_frames(preprocess_data: PreProcessData) -> dict[str, orm.Data]:
    """Return the displaced supercells as ``frames``, and the ``supercell`` itself."""
    return _frames(preprocess_data)


def _frames(preprocess_data: PreProcessData) -> dict[str, orm.Data]:
    supercell = preprocess_data.get_supercell()
    cells = preprocess_data.get_phonopy_instance(distinguish=True).supercells_with_displacements
    frames = orm.TrajectoryData()
    frames.set_trajectory(
        symbols=structure_symbols(supercell),
        positions=np.array([cell.positions for cell in cells]),
        cells=np.array([cell.cell for cell in cells]),
        pbc=(True, True, True),
    )
    return {'frames': frames, 'supercell': supercell}


@calcfunction
def collect_forces(preprocess_data: PreProcessData, forces: orm.ArrayData) -> PhonopyData:
    """Return the displacements with the forces (F, N, 3) on them."""
    return _with_forces(preprocess_data, forces)


def _with_forces(preprocess_data: PreProcessData, forces: orm.ArrayData) -> PhonopyData:
    data = new_phonopy_data(preprocess_data)
    data.set_forces(sets_of_forces=forces.get_array('forces'))
    if 'residual_forces' in forces.get_arraynames():
        data.set_residual_forces(forces.get_array('residual_forces'))
    return data


@calcfunction
def collect_forces_like(preprocess_data: PreProcessData, forces: orm.ArrayData, reference: PhonopyData) -> PhonopyData:
    """Return displacements as of :func:`displace_like` with their forces, and with the Born charges of the others."""
    data = _with_forces(preprocess_data, forces)
    if reference.has_nac_parameters():
        data.set_dielectric(reference.dielectric)
        data.set_born_charges(reference.born_charges)
    return data


@calcfunction
def collect_dft_forces(preprocess_data: PreProcessData, **forces: orm.TrajectoryData) -> PhonopyData:
    """Return the displacements with the forces of DFT on them.

    :param forces: ``output_trajectory`` of pw.x by ``forces_<n>``, n counting the displacements from 1.
    """
    data = new_phonopy_data(preprocess_data)
    data.set_forces(dict_of_forces={name: node.get_array('forces') for name, node in forces.items()}, forces_index=0)
    return data


@calcfunction
def attach_nac(phonopy_data: PhonopyData, nac: orm.ArrayData) -> PhonopyData:
    """Return phonons with Born charges and dielectric tensor, from which phonopy makes the non-analytical term."""
    data: PhonopyData = phonopy_data.clone()
    data.set_dielectric(nac.get_array('dielectric'))
    data.set_born_charges(nac.get_array('born_charges'))
    return data


@calcfunction
def extract_nac(phonopy_data: PhonopyData) -> orm.ArrayData:
    """Return the Born charges and the dielectric tensor of phonons, as :func:`attach_nac` takes them."""
    return orm.ArrayData({'born_charges': phonopy_data.born_charges, 'dielectric': phonopy_data.dielectric})


@calcfunction
def primitive_bands(bands: orm.BandsData, phonopy_data: PhonopyData) -> orm.BandsData:
    """Return the bands with the primitive cell that their q-points refer to (aiida-phonopy gives the unit cell).

    Points of the path whose names aiida-phonopy cannot read, such as Σ₀, and calls ``?`` have them again.
    """
    primitive = phonopy_data.get_primitive_cell()
    atoms = primitive.get_ase()
    scaled = atoms.get_scaled_positions()
    cell = PhonopyAtoms(symbols_of(primitive), cell=atoms.cell[:], scaled_positions=scaled)
    path = band_path(cell, points=2, symprec=PATH_SYMPREC)
    ends = [name for segment in path.labels for name in segment]
    names = {qpoint_key(qpoint): name for qpoint, name in zip(path.qpoints, ends, strict=True)}
    points = bands.get_kpoints()
    node = orm.BandsData()
    node.set_cell_from_structure(primitive)
    node.set_kpoints(points)
    node.set_bands(bands.get_bands(), units=bands.units)
    node.labels = [
        (index, names.get(qpoint_key(points[index]), name) if name == UNREAD else name) for index, name in bands.labels
    ]
    return node


def symbols_of(structure: orm.StructureData) -> list[str]:
    """Return symbols with an index where there are several kinds of an element, as phonopy has them."""
    symbols, names = structure_symbols(structure), structure.get_site_kindnames()
    if symbols == names:
        return symbols
    return [f'{symbol}{kind}' for symbol, kind in zip(symbols, kind_indices(symbols, names), strict=True)]


def qpoint_key(qpoint: NDArray[Any]) -> tuple[float, ...]:
    """Return a q-point as something that can be looked up."""
    return tuple(float(component) for component in np.round(qpoint, 4) + 0.0)


@calcfunction
def judge_stability(
    mesh: orm.BandsData,
    bands: orm.BandsData,
    phonopy_data: PhonopyData,
    settings: orm.Dict,
    correction: orm.Dict | None = None,
) -> orm.Dict:
    """Return the verdict on mesh and path, see ``science.phonon_metrics.stability``, and what it was made of.

    ``min_frequency_thz`` is the lowest frequency along the path as it is, as everywhere.

    :param correction: of corrected phonons, whose verdict is that within their error bars.
    """
    result = stability(
        np.concatenate([mesh.get_kpoints(), bands.get_kpoints()]),
        np.concatenate([mesh.get_bands(), bands.get_bands()]),
        with_defaults(dict(settings), PHONON_SETTINGS)['stability_tolerance_thz'],
    )
    result['min_frequency_thz'] = float(bands.get_bands().min())
    return orm.Dict(result | verdict_facts(phonopy_data, correction))
