"""Quantities whose keys end with their unit, as people read them."""

from __future__ import annotations

#: Ends of keys and the units that they stand for, the longest first where one is the end of another.
UNITS = {
    '_j_per_k_mol_formula_unit': 'J/K/mol of formula units',
    '_kj_per_mol_formula_unit': 'kJ/mol of formula units',
    '_j_per_k_mol_cell': 'J/K/mol of cells',
    '_kj_per_mol_cell': 'kJ/mol of cells',
    '_j_per_k_mol': 'J/K/mol',
    '_kj_per_mol': 'kJ/mol',
    '_w_per_m_k': 'W/m/K',
    '_mev_per_atom': 'meV/atom',
    '_ev_per_atom': 'eV/atom',
    '_mev_per_angstrom3': 'meV/Å³',
    '_mev_per_angstrom': 'meV/Å',
    '_ev_per_angstrom2': 'eV/Å²',
    '_ev_per_angstrom': 'eV/Å',
    '_g_per_cm3': 'g/cm³',
    '_m_per_s': 'm/s',
    '_angstrom3': 'Å³',
    '_angstrom2': 'Å²',
    '_angstrom': 'Å',
    '_per_k': '1/K',
    '_thz': 'THz',
    '_gpa': 'GPa',
    '_ev': 'eV',
    '_k': 'K',
}


def name_and_unit(key: str) -> tuple[str, str]:
    """Return the name of a quantity in words and its unit, of a key such as ``bulk_modulus_gpa``."""
    for end, unit in UNITS.items():
        if key.endswith(end):
            return key.removesuffix(end).replace('_', ' '), unit
    return key.replace('_', ' '), ''
