"""Calculation functions of the quasi-harmonic approximation: from one relaxation of all volumes to their phonons."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from aiida_phonopy.data import PhonopyData, PreProcessData
from phonopy.structure.cells import get_supercell

from aiida_equitrain.calculations.arrays import new_phonopy_data, structure_symbols
from aiida_equitrain.calculations.functions.phonons import phonon_supercell_rows
from aiida_equitrain.calculations.qha import QHA_SETTINGS
from aiida_equitrain.calculations.relax import last_steps
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.science.correction import displacements_of, forces_of_constants
from aiida_equitrain.science.phonopy_cells import to_phonopy

#: Keys of the ``settings`` of ``QHAWorkChain``.
VOLUME_SETTINGS = QHA_SETTINGS | {
    'volume_factors': Setting([0.97, 0.985, 1.0, 1.015, 1.03, 1.045, 1.06], 'volumes, in units of the relaxed one'),
    **shared('min_length_angstrom'),
}


@calcfunction
def choose_supercell(structure: orm.StructureData, settings: orm.Dict, symprec: orm.Float) -> orm.List:
    """Return the rows of a supercell as for phonons, of the length of the settings."""
    length = with_defaults(dict(settings), VOLUME_SETTINGS)['min_length_angstrom']
    return orm.List(phonon_supercell_rows(structure, {'min_length_angstrom': length}, symprec.value))


def supercell_of(structure: orm.StructureData, rows: Any) -> dict[str, Any]:
    """Return ``numbers`` and ``scaled_positions`` of a supercell in phonopy's order."""
    supercell = get_supercell(to_phonopy(structure.get_ase()), np.transpose(rows))
    return {'numbers': np.array(supercell.numbers), 'scaled_positions': np.array(supercell.scaled_positions)}


@calcfunction
def qha_settings(settings: orm.Dict) -> orm.Dict:
    """Return the settings of the post-processing, a part of those of the WorkChain."""
    known = with_defaults(dict(settings), VOLUME_SETTINGS)
    return orm.Dict({key: known[key] for key in QHA_SETTINGS})


@calcfunction
def relax_settings(relax: orm.Dict, settings: orm.Dict, symprec: orm.Float) -> orm.Dict:
    """Return the settings of the relaxation, with the volumes and the tolerance of the space group."""
    factors = with_defaults(dict(settings), VOLUME_SETTINGS)['volume_factors']
    return orm.Dict({**dict(relax), 'volume_factors': factors, 'symprec': symprec.value})


@calcfunction
def volume_structures(structure: orm.StructureData, trajectory: orm.TrajectoryData) -> dict[str, orm.Data]:
    """Return the relaxed structures ``volume_00``, ... in the order of the factors, and their ``energies``."""
    last, cells = last_steps(trajectory)[1:], trajectory.get_array('cells')
    found: dict[str, orm.Data] = {}
    for index, step in enumerate(last):
        relaxed = structure.clone()
        relaxed.reset_cell(cells[step].tolist())
        relaxed.reset_sites_positions(trajectory.get_array('positions')[step].tolist())
        found[volume_name(index)] = relaxed
    energies = orm.ArrayData()
    energies.set_array('energies', np.array(trajectory.get_array('energies')[last], dtype=float))
    energies.set_array('volumes', np.array([node.get_cell_volume() for node in found.values()]))
    return {**found, 'energies': energies}


def volume_name(index: int) -> str:
    """Return the name of a volume."""
    return f'volume_{index:02d}'


@calcfunction
def gather_displaced(**volumes: PreProcessData) -> orm.TrajectoryData:
    """Return the displaced supercells of all volumes as frames, for one job; ``volume_index`` tells whose they are."""
    cells: list[Any] = []
    owners: list[int] = []
    for index, name in enumerate(sorted(volumes)):
        displaced = volumes[name].get_phonopy_instance(distinguish=True).supercells_with_displacements
        cells += displaced
        owners += [index] * len(displaced)
    frames = orm.TrajectoryData()
    frames.set_trajectory(
        symbols=structure_symbols(next(iter(volumes.values())).get_supercell()),
        positions=np.array([cell.positions for cell in cells]),
        cells=np.array([cell.cell for cell in cells]),
        pbc=(True, True, True),
    )
    frames.set_array('volume_index', np.array(owners))
    return frames


@calcfunction
def split_forces(
    frames: orm.TrajectoryData, forces: orm.ArrayData, change: orm.ArrayData | None = None, **volumes: PreProcessData
) -> dict[str, PhonopyData]:
    """Return the phonons of each volume, from the forces on the frames of all.

    :param change: of the force constants, whose forces -ΔΦ·u are added.
    """
    owners = frames.get_array('volume_index')
    phonons = {}
    for index, name in enumerate(sorted(volumes)):
        phonons[name] = new_phonopy_data(volumes[name])
        own = forces.get_array('forces')[owners == index]
        if change is not None:
            phonon = volumes[name].get_phonopy_instance(distinguish=True)
            displacements = displacements_of(len(phonon.supercell), volumes[name].displacement_dataset)
            own = own + forces_of_constants(phonon, change.get_array('change'), displacements)
        phonons[name].set_forces(sets_of_forces=own)
    return phonons
