"""Calculation functions of the phonon stage: thin, and nothing heavy."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from aiida_phonopy.data import PhonopyData, PreProcessData
from numpy.typing import NDArray
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.calculations.evaluation import structure_symbols
from aiida_equitrain.calculations.harmonic import THERMAL_SETTINGS
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.science.phonon_metrics import band_path
from aiida_equitrain.science.supercells import supercell_rows

#: A q-point whose components are all this near to integers is Gamma.
GAMMA_TOLERANCE = 1e-6
#: How aiida-phonopy calls a point of the path whose name it cannot read.
UNREAD = '?'


#: Keys of the ``settings`` of ``PhononsWorkChain``.
PHONON_SETTINGS = {
    'relax': Setting(True, 'relax cell and positions with the potential first'),
    'min_length_angstrom': Setting(
        12.0, 'shortest edge of the supercell, if no `supercell_matrix` is given', minimum=0.0, exclusive=True
    ),
    'nac_charge_tolerance': Setting(0.1, 'largest sum of the Born charges over the atoms, e', minimum=0.0),
    **THERMAL_SETTINGS,
    'harmonic': Setting(True, 'densities of states of atoms, displacements, group velocities, sum rules'),
    'elastic': Setting(False, 'elastic tensor from stresses of the potential'),
    'elastic_strain': Setting(0.005, 'size of the strains for it', minimum=0.0, exclusive=True),
}


@calcfunction
def choose_supercell(structure: orm.StructureData, settings: orm.Dict) -> orm.List:
    """Return the rows of a small supercell, long enough in all directions, that keeps the symmetry if it can."""
    return orm.List(phonon_supercell_rows(structure, dict(settings)))


def phonon_supercell_rows(structure: orm.StructureData, settings: dict[str, Any]) -> list[list[int]]:
    """Return what :func:`choose_supercell` stores, for settings that may lack keys."""
    min_length = with_defaults(settings, PHONON_SETTINGS)['min_length_angstrom']
    return supercell_rows(structure.get_ase(), min_length, any_shape=True)


@calcfunction
def preprocess(
    structure: orm.StructureData, supercell_matrix: orm.List, displacement: orm.Dict, symprec: orm.Float
) -> PreProcessData:
    """Return the displacements of a supercell.

    :param supercell_matrix: rows are the supercell's vectors in units of the cell's; phonopy wants them as columns.
    :param displacement: arguments of phonopy's ``generate_displacements``.
    """
    data = PreProcessData(
        structure=structure,
        supercell_matrix=np.transpose(supercell_matrix.get_list()).tolist(),
        symprec=symprec.value,
    )
    data.set_displacements(**displacement.get_dict())
    return data


@calcfunction
def harmonic_settings(settings: orm.Dict) -> orm.Dict:
    """Return the settings of the harmonic properties, a part of those of the phonons."""
    known = with_defaults(dict(settings), PHONON_SETTINGS)
    return orm.Dict({key: known[key] for key in THERMAL_SETTINGS})  # type: ignore[no-untyped-call]


@calcfunction
def elastic_settings(settings: orm.Dict) -> orm.Dict:
    """Return the settings of a relaxation with the cell fixed and no symmetry kept: the strain has broken it."""
    return orm.Dict({**dict(settings), 'relax_cell': False, 'fix_symmetry': False})  # type: ignore[no-untyped-call]


@calcfunction
def displaced_frames(preprocess_data: PreProcessData) -> dict[str, orm.Data]:
    """Return the displaced supercells as ``frames``, and the ``supercell`` itself."""
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
    data = PhonopyData(preprocess_data=preprocess_data)
    data.set_forces(sets_of_forces=forces.get_array('forces'))
    if 'residual_forces' in forces.get_arraynames():
        data.set_residual_forces(forces.get_array('residual_forces'))
    return data


@calcfunction
def attach_nac(phonopy_data: PhonopyData, nac: orm.ArrayData) -> PhonopyData:
    """Return phonons with Born charges and dielectric tensor, from which phonopy makes the non-analytical term."""
    data: PhonopyData = phonopy_data.clone()
    data.set_dielectric(nac.get_array('dielectric'))
    data.set_born_charges(nac.get_array('born_charges'))
    return data


@calcfunction
def primitive_bands(bands: orm.BandsData, phonopy_data: PhonopyData) -> orm.BandsData:
    """Return the bands with the primitive cell that their q-points refer to (aiida-phonopy gives the unit cell).

    Points of the path whose names aiida-phonopy cannot read, such as Σ₀, and calls ``?`` have them again.
    """
    primitive = phonopy_data.get_primitive_cell()
    atoms = primitive.get_ase()
    scaled = atoms.get_scaled_positions()
    path = band_path(PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell[:], scaled_positions=scaled), points=2)
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


def qpoint_key(qpoint: NDArray[Any]) -> tuple[float, ...]:
    """Return a q-point as something that can be looked up."""
    return tuple(float(component) for component in np.round(qpoint, 4) + 0.0)


@calcfunction
def judge_stability(
    mesh: orm.BandsData, bands: orm.BandsData, phonopy_data: PhonopyData, settings: orm.Dict
) -> orm.Dict:
    """Return the lowest frequency on mesh and path, and the verdict; see :func:`stability`."""
    result = stability(
        np.concatenate([mesh.get_kpoints(), bands.get_kpoints()]),
        np.concatenate([mesh.get_bands(), bands.get_bands()]),
        with_defaults(dict(settings), PHONON_SETTINGS)['stability_tolerance_thz'],
    )
    result['n_displacements'] = len(phonopy_data.displacements)
    result['n_atoms_supercell'] = len(phonopy_data.get_supercell().sites)
    if phonopy_data.residual_forces is not None:
        result['residual_force_max_ev_per_angstrom'] = float(np.abs(phonopy_data.residual_forces).max())
    return orm.Dict(result)


def stability(qpoints: NDArray[Any], frequencies: NDArray[Any], tolerance: float) -> dict[str, Any]:
    """Return the verdict on frequencies (Q, B) in THz, imaginary ones negative.

    The three modes of Gamma that are nearest to zero are translations: as long as they stay within the tolerance they
    are noise, and do not count as the lowest frequency. Whatever else lies below ``-tolerance`` is an instability.

    :param qpoints: in units of the reciprocal lattice, shape (Q, 3).
    :returns: ``min_frequency_thz``, ``min_qpoint``, ``dynamically_stable``, ``tolerance_thz``, ``max_frequency_thz``,
        and, if Gamma is among the q-points, ``acoustic_gamma_thz``.
    """
    values = np.array(frequencies, dtype=float)
    result: dict[str, Any] = {'tolerance_thz': float(tolerance), 'max_frequency_thz': float(values.max())}
    gamma = np.abs(qpoints - np.round(qpoints)).max(axis=1) < GAMMA_TOLERANCE
    for index in np.flatnonzero(gamma):
        acoustic = np.argsort(np.abs(values[index]))[:3]
        result['acoustic_gamma_thz'] = [float(value) for value in values[index, acoustic]]
        noise = acoustic[np.abs(values[index, acoustic]) <= tolerance]
        values[index, noise] = np.inf
    lowest = np.unravel_index(np.argmin(values), values.shape)
    result['min_frequency_thz'] = float(values[lowest])
    result['min_qpoint'] = [float(component) for component in qpoints[lowest[0]]]
    result['dynamically_stable'] = bool(values[lowest] >= -tolerance)
    return result
