"""Calculation functions of Born charges: the cell that phonopy means, and the tensors of ph.x."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_equitrain.calculations.arrays import new_preprocess, reversed_cell


@calcfunction
def primitive_cell(structure: orm.StructureData, symprec: orm.Float) -> orm.StructureData:
    """Return the primitive cell as phonopy has it: the atoms of ``nac`` are its atoms, in its order."""
    data = new_preprocess(reversed_cell(structure), np.eye(3, dtype=int).tolist(), symprec.value)
    primitive: orm.StructureData = data.get_primitive_cell()
    return primitive


@calcfunction
def collect_tensors(output_parameters: orm.Dict) -> orm.ArrayData:
    """Return ``born_charges`` (n, 3, 3) in e and ``dielectric`` (3, 3) as ph.x printed them."""
    nac = orm.ArrayData()
    nac.set_array('born_charges', np.array(output_parameters['effective_charges_eu'], dtype=float))
    nac.set_array('dielectric', np.array(output_parameters['dielectric_constant'], dtype=float))
    return nac
