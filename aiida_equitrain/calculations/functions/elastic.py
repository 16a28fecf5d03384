"""Calculation functions around the elastic tensor: strained cells before, the fit after."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_equitrain.calculations.arrays import structure_symbols
from aiida_equitrain.calculations.functions.phonons import PHONON_SETTINGS
from aiida_equitrain.calculations.relax import last_steps
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.science.elasticity import deform, deformations, fit_elastic


@calcfunction
def strained_frames(structure: orm.StructureData, settings: orm.Dict) -> orm.TrajectoryData:
    """Return the cell under each of the strains, see :mod:`aiida_equitrain.science.elasticity`."""
    atoms = structure.get_ase()
    strained = [deform(atoms, item) for item in deformations(strain_size(settings))]
    frames = orm.TrajectoryData()
    frames.set_trajectory(
        symbols=structure_symbols(structure),
        positions=np.array([item.positions for item in strained]),
        cells=np.array([item.cell[:] for item in strained]),
        pbc=(True, True, True),
    )
    return frames


@calcfunction
def elastic_tensor(
    structure: orm.StructureData, trajectory: orm.TrajectoryData, settings: orm.Dict, symprec: orm.Float
) -> orm.Dict:
    """Return elastic tensor, moduli and Slack's conductivity from the stresses of the relaxed strained cells."""
    stresses = list(trajectory.get_array('stress')[last_steps(trajectory)])
    return orm.Dict(
        fit_elastic(structure.get_ase(), deformations(strain_size(settings)), stresses, symprec=symprec.value)
    )


def strain_size(settings: orm.Dict) -> float:
    """Return the size of the strains."""
    return float(with_defaults(dict(settings), PHONON_SETTINGS)['elastic_strain'])
