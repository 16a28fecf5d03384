"""Calculation functions of what DFT does for an instability: thin, and nothing heavy."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms

from aiida_equitrain.calculations.arrays import arrays_of
from aiida_equitrain.calculations.functions.instability import PHASE_SETTINGS, own_settings
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.science import frames as batch
from aiida_equitrain.science.mode_scan import curve_errors, fit_well


@calcfunction
def scan_structures(frames: orm.ArrayData) -> dict[str, orm.StructureData]:
    """Return the displaced supercells as structures ``point_<n>``, for DFT."""
    structures = batch.unpack(arrays_of(frames))
    return {
        f'point_{index}': orm.StructureData(ase=Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True))
        for index, (numbers, positions, cell) in enumerate(structures)
    }


@calcfunction
def compare_with_dft(
    modes: orm.Dict, frames: orm.ArrayData, wells: orm.Dict, settings: orm.Dict, **points: orm.Dict
) -> orm.Dict:
    """Return, for each direction, the energies of DFT on the points of the scan, their fit, and the potential's errors.

    :param points: ``output_parameters`` of pw.x by ``point_<n>``; a point that failed is absent.
    """
    degree = with_defaults(own_settings(settings), PHASE_SETTINGS)['fit_degree']
    owner, entries = frames.get_array('entry'), []
    for index, (entry, well) in enumerate(zip(modes['entries'], wells['entries'], strict=True)):
        amplitudes = np.array(entry['amplitudes_angstrom'])
        names = [f'point_{number}' for number in np.flatnonzero(owner == index)]
        there = np.array([name in points for name in names])
        told: dict[str, Any] = {'n_failed': int((~there).sum()), 'energies_ev': None, 'errors': None}
        entries.append(told)
        if not there[amplitudes == 0].all():
            continue  # Nothing to measure energies from.
        energies = np.array([points[name]['energy'] for name in names if name in points], dtype=float)
        amplitudes = amplitudes[there]
        energies -= energies[amplitudes == 0][0]
        told |= {'amplitudes_angstrom': amplitudes.tolist(), 'energies_ev': energies.tolist()}
        ours = np.array(well['energies_ev'])[there]
        order = np.argsort(np.abs(amplitudes), kind='stable')
        told['errors'] = curve_errors(ours[order], energies[order])
        told['errors']['energy_mae_mev_per_atom'] = 1000 * told['errors']['energy_mae_ev'] / entry['n_atoms']
        if there.all():
            fit = fit_well(amplitudes, energies, entry['two_sided'], degree)
            told |= {'minimum_angstrom': fit.minimum_angstrom, 'depth_ev': fit.depth_ev}
            told['depth_mev_per_atom'] = None if fit.depth_ev is None else 1000 * fit.depth_ev / entry['n_atoms']
    return orm.Dict({'entries': entries})


@calcfunction
def take_dft_scan(frames: orm.ArrayData, **points: orm.Dict) -> orm.ArrayData:
    """Return ``energies`` (F,) of the displaced supercells in eV, as ``ScanCalculation`` does.

    :param points: ``output_parameters`` of pw.x by ``point_<n>``; the energy of one that is absent is not a number.
    """
    energies = np.full(len(frames.get_array('n_atoms')), np.nan)
    for name, parameters in points.items():
        energies[int(name.removeprefix('point_'))] = parameters['energy']
    return orm.ArrayData({'energies': energies})


@calcfunction
def take_dft_relaxations(starts: orm.ArrayData, **relaxed: Any) -> orm.ArrayData:
    """Return the relaxed structures with a ``free`` cell, as ``RelaxPhasesCalculation`` does.

    :param relaxed: ``structure_point_<n>`` and ``parameters_point_<n>`` of pw.x; of a relaxation that failed the start
        is returned as not converged.
    """
    structures = list(batch.unpack(arrays_of(starts)))
    energies = np.full(len(structures), np.nan)
    for index in range(len(structures)):
        if f'structure_point_{index}' in relaxed:
            atoms = relaxed[f'structure_point_{index}'].get_ase()
            structures[index] = (atoms.numbers, atoms.positions, atoms.cell[:])
            energies[index] = relaxed[f'parameters_point_{index}']['energy']
    outcome = {'free_energies': energies, 'free_converged': np.isfinite(energies)}
    return orm.ArrayData(batch.pack(structures, 'free_') | outcome)
