"""Calculation functions of the conductivity: which supercells, which settings."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from aiida.orm.nodes.data.structure import Kind
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.calculations.conductivity import CONDUCTIVITY_SETTINGS
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.science.supercells import supercell_rows

#: Keys of the ``settings`` of ``KappaWorkChain``.
KAPPA_SETTINGS = CONDUCTIVITY_SETTINGS | {
    **shared('relax', 'min_length_angstrom'),
    'min_length_third_angstrom': Setting(
        8.0, 'shortest edge of the supercell of third order, if none is given', minimum=0.0, exclusive=True
    ),
}
#: The setting of each supercell.
LENGTHS = {'supercell_matrix': 'min_length_third_angstrom', 'phonon_supercell_matrix': 'min_length_angstrom'}
#: Lists of the conductivity that are reported side by side.
REPORTED = ('temperatures_k', 'kappa_w_per_m_k')


@calcfunction
def choose_supercell(structure: orm.StructureData, settings: orm.Dict, name: orm.Str, symprec: orm.Float) -> orm.List:
    """Return the rows of a supercell as for phonons, of its own length."""
    return orm.List(supercell_rows_of(structure, dict(settings), name.value, symprec.value))


@calcfunction
def crystal(phonopy_data: PhonopyData) -> dict[str, orm.Data]:
    """Return the ``structure`` of phonons with their masses, and the rows of their ``supercell_matrix``."""
    return crystal_of(phonopy_data)


def crystal_of(phonopy_data: PhonopyData) -> dict[str, Any]:
    """Return what :func:`crystal` stores."""
    structure = phonopy_data.get_unitcell()
    masses = dict(zip(structure.get_site_kindnames(), phonopy_data.masses, strict=True))
    cell = orm.StructureData(cell=structure.cell, pbc=structure.pbc)
    for kind in structure.kinds:
        cell.append_kind(Kind(name=kind.name, symbols=kind.symbols, weights=kind.weights, mass=masses[kind.name]))
    for site in structure.sites:
        cell.append_site(site)
    return {'structure': cell, 'supercell_matrix': orm.List(np.transpose(phonopy_data.supercell_matrix).tolist())}


def supercell_rows_of(
    structure: orm.StructureData, settings: dict[str, Any], name: str, symprec: float
) -> list[list[int]]:
    """Return what :func:`choose_supercell` stores, for settings that may lack keys."""
    length = with_defaults(settings, KAPPA_SETTINGS)[LENGTHS[name]]
    return supercell_rows(structure.get_ase(), length, any_shape=True, symprec=symprec)


@calcfunction
def conductivity_settings(settings: orm.Dict, symprec: orm.Float) -> orm.Dict:
    """Return the settings of the conductivity, a part of those of the WorkChain."""
    known = with_defaults(dict(settings), KAPPA_SETTINGS)
    return orm.Dict({**{key: known[key] for key in CONDUCTIVITY_SETTINGS}, 'symprec': symprec.value})
