"""Calculation functions of an instability: thin, and nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from aiida_phonopy.data.phonopy import PhonopyData
from ase import Atoms

from aiida_equitrain.calculations.arrays import arrays_of, isotopes_of
from aiida_equitrain.calculations.modes import MODE_SETTINGS
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.science import frames as batch
from aiida_equitrain.science import phases
from aiida_equitrain.science.mode_scan import fit_well, frequency_of_curvature, may_fit

#: Keys of the ``settings`` of ``InstabilityWorkChain`` beside those of ``ModesCalculation``.
PHASE_SETTINGS = {
    'max_depth': Setting(2, 'generations of phases: 1 finds the children of the structure only', minimum=1),
    'fit_degree': Setting(6, 'highest power of the fit of the energy along a mode', minimum=4),
    'energy_tolerance_ev_per_atom': Setting(1e-4, 'a phase lies further below its parent than this', minimum=0.0),
    'phase_symprec_angstrom': Setting(1e-2, 'tolerance of the space group of a phase', minimum=0.0, exclusive=True),
    'match_tolerance': Setting(
        0.1, "two phases are one below this RMS displacement in (volume per atom)^(1/3), pymatgen's `stol`", minimum=0.0
    ),
}
CELLS = ('fixed', 'free')


@calcfunction
def fit_wells(modes: orm.Dict, frames: orm.ArrayData, scan: orm.ArrayData, settings: orm.Dict) -> dict[str, orm.Data]:
    """Return the double wells of all directions as ``wells``, and where relaxations begin as ``starts``.

    ``starts`` has the arrays of structures of different sizes, the index ``entry`` of the direction of each, and the
    ``amplitude`` (Å, negative on the other side) that it lies at.

    :param scan: ``energies`` are not a number where DFT failed. A direction of which too few remain has no well.
    """
    degree = with_defaults(own_settings(settings), PHASE_SETTINGS)['fit_degree']
    owner, energies = frames.get_array('entry'), scan.get_array('energies')
    structures = list(batch.unpack(arrays_of(frames)))
    wells: list[dict[str, Any] | None] = []
    starts = []
    for index, entry in enumerate(modes['entries']):
        here = np.flatnonzero(owner == index)
        every, known = energies[here], np.isfinite(energies[here])
        amplitudes, curve, here = np.array(entry['amplitudes_angstrom'])[known], every[known], here[known]
        if not may_fit(amplitudes, entry['two_sided'], degree):
            wells.append(None)
            continue
        fit = fit_well(amplitudes, curve, entry['two_sided'], degree)
        inertia = entry['inertia_amu']
        curvature = 2 * fit.coefficients[fit.powers.index(2)]
        at_zero = float(curve[amplitudes == 0][0])
        well = {
            **fit.as_dict(),
            'frequency_of_fit_thz': frequency_of_curvature(curvature, inertia),
            'depth_mev_per_atom': None if fit.depth_ev is None else 1000 * fit.depth_ev / entry['n_atoms'],
            'energies_ev': [float(energy - at_zero) if np.isfinite(energy) else None for energy in every],
            'energy_parent_ev_per_atom': at_zero / entry['n_atoms'],
        }
        wells.append(well)
        starts += [(index, side, _displaced(structures, here, amplitudes, side)) for side in _sides(curve, amplitudes)]
    arrays = batch.pack([structure for _, _, structure in starts])
    arrays['entry'] = np.array([index for index, _, _ in starts], dtype=np.int64)
    arrays['amplitude'] = np.array([side for _, side, _ in starts], dtype=float)
    return {'wells': orm.Dict({'entries': wells}), 'starts': orm.ArrayData(arrays)}


@calcfunction
def collect_phases(
    modes: orm.Dict, wells: orm.Dict, starts: orm.ArrayData, relaxed: orm.ArrayData, settings: orm.Dict, **parents: Any
) -> dict[str, orm.Data]:
    """Return the phases that are new, the lowest first, and the outcome of every relaxation in ``summary``.

    :param relaxed: of a potential with the cell ``fixed`` and ``free``, of DFT with a ``free`` one.
    :param parents: structures by their name: every phase that is known so far, those of this level among them.
    :returns: ``phase_<n>`` counting on from the number of phases that are known (the root is number 0).
    """
    options = with_defaults(own_settings(settings), PHASE_SETTINGS)
    symprec, tolerance = phase_tolerances(settings)
    known = {name: node.get_ase() for name, node in parents.items()}
    told, candidates = [], []
    for index, entry_index in enumerate(starts.get_array('entry')):
        entry, well = modes['entries'][entry_index], wells['entries'][entry_index]
        for cell in (cell for cell in CELLS if f'{cell}_energies' in relaxed.get_arraynames()):
            atoms, energy = _relaxed(relaxed, cell, index)
            item = {
                'parent': entry['parent'],
                **{key: entry[key] for key in ('qpoint', 'qpoint_text', 'qpoint_name', 'irrep', 'frequency_thz')},
                'entry': int(entry_index),
                'direction': entry['direction'],
                'start_amplitude_angstrom': float(starts.get_array('amplitude')[index]),
                'cell': cell,
                'converged': bool(relaxed.get_array(f'{cell}_converged')[index]),
            }
            told.append(item)
            item['outcome'] = 'not converged'
            if not item['converged']:
                continue
            below = energy / len(atoms) - well['energy_parent_ev_per_atom']
            group = phases.space_group(atoms, symprec)
            item |= {'space_group': str(group), 'energy_below_parent_mev_per_atom': -1000 * below}
            item['outcome'] = 'not below its parent'
            if below < -options['energy_tolerance_ev_per_atom'] and cell == 'fixed':
                item['outcome'] = 'strained: no phase before its cell is free'
            elif below < -options['energy_tolerance_ev_per_atom']:
                item['outcome'] = 'another of the new phases'
                candidates.append((item, phases.symmetric_primitive(atoms, symprec), energy / len(atoms)))
    structures, energies = [item[1] for item in candidates], [item[2] for item in candidates]
    outputs: dict[str, orm.Data] = {}
    for index in phases.distinct(structures, energies, symprec, tolerance):
        item, atoms, energy = candidates[index]
        twin = next((name for name, other in known.items() if _same(atoms, other, symprec, tolerance)), None)
        item['outcome'], item['new'] = twin or f'phase_{len(known) + len(outputs)}', twin is None
        if twin is None:
            item |= {'energy_ev_per_atom': float(energy), 'n_atoms': len(atoms)}
            item['volume_per_atom_angstrom3'] = float(atoms.get_volume() / len(atoms))
            outputs[item['outcome']] = _with_masses(atoms, next(iter(parents.values())))
    return {'summary': orm.Dict({'relaxations': told}), **outputs}


@calcfunction
def gather_tree(settings: orm.Dict, **levels: Any) -> orm.Dict:
    """Return the whole tree: ``phases`` by name, with parent, path, space group, energy and verdict of each."""
    symprec, _ = phase_tolerances(settings)
    tree: dict[str, Any] = {name: _root(node, symprec) for name, node in _with_prefix(levels, 'structure_').items()}
    for level, summary in sorted(_with_prefix(levels, 'summary_').items(), key=lambda pair: int(pair[0])):
        for item in summary['relaxations']:
            if item.get('new'):
                below = item['energy_below_parent_mev_per_atom']
                above = tree[item['parent']]['energy_below_root_mev_per_atom']
                tree[item['outcome']] |= {
                    **{key: value for key, value in item.items() if key not in ('outcome', 'new', 'converged')},
                    'level': int(level) + 1,
                    'energy_below_root_mev_per_atom': below + above,
                }
    for name, verdict in _with_prefix(levels, 'stability_').items():
        tree[name]['dynamically_stable'] = verdict['dynamically_stable']
        tree[name]['lowest_frequency_thz'] = verdict['lowest_frequency_thz']
    return orm.Dict({'phases': tree})


@calcfunction
def mode_settings(settings: orm.Dict, symprec: orm.Float) -> orm.Dict:
    """Return the settings of the search for modes."""
    own = {key: value for key, value in dict(settings).items() if key in MODE_SETTINGS} | {'symprec': symprec.value}
    return orm.Dict(own)


@calcfunction
def without_relaxation(settings: orm.Dict) -> orm.Dict:
    """Return settings of phonons for a structure that is relaxed already."""
    return orm.Dict({**dict(settings), 'relax': False})


@calcfunction
def unit_cell(phonopy_data: PhonopyData) -> orm.StructureData:
    """Return the structure that phonons belong to."""
    cell: orm.StructureData = phonopy_data.get_primitive_cell()
    return cell


def _with_masses(atoms: Atoms, parent: orm.StructureData) -> orm.StructureData:
    """Return a phase as a node; isotopes of the parent stay what they are."""
    masses = {kind.symbol: kind.mass for kind in parent.kinds if kind.name in isotopes_of(parent)}
    if masses:
        natural = zip(atoms.symbols, atoms.get_masses(), strict=True)
        atoms.set_masses([masses.get(symbol, mass) for symbol, mass in natural])
    return orm.StructureData(ase=atoms)


@calcfunction
def symprec_of(phonopy_data: PhonopyData) -> orm.Float:
    """Return the tolerance of the space group that phonons were made with, Å."""
    return orm.Float(phonopy_data.symprec)


def own_settings(settings: orm.Dict) -> dict[str, Any]:
    """Return the settings that are not those of the search for modes."""
    return {key: value for key, value in dict(settings).items() if key in PHASE_SETTINGS}


def phase_tolerances(settings: orm.Dict) -> tuple[float, float]:
    """Return the tolerances of a space group (Å) and of a match that settings ask for."""
    options = with_defaults(own_settings(settings), PHASE_SETTINGS)
    return options['phase_symprec_angstrom'], options['match_tolerance']


def _with_prefix(nodes: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): node for name, node in nodes.items() if name.startswith(prefix)}


def _root(node: orm.StructureData, symprec: float) -> dict[str, Any]:
    atoms = node.get_ase()
    return {
        'parent': None,
        'level': 0,
        'uuid': node.uuid,
        'formula': node.get_formula(),
        'space_group': str(phases.space_group(atoms, symprec)),
        'n_atoms': len(atoms),
        'energy_below_parent_mev_per_atom': 0.0,
        'energy_below_root_mev_per_atom': 0.0,
        'dynamically_stable': None,
    }


def _sides(curve: Any, amplitudes: Any) -> list[float]:
    """Return the amplitude of the lowest point of each side that lies below the parent at all."""
    result = []
    for side in (amplitudes > 0, amplitudes < 0):
        if side.any() and curve[side].min() < curve[amplitudes == 0][0]:
            result.append(float(amplitudes[side][curve[side].argmin()]))
    return result


def _displaced(structures: Sequence[batch.Structure], here: Any, amplitudes: Any, amplitude: float) -> batch.Structure:
    found: batch.Structure = structures[here[int(np.flatnonzero(amplitudes == amplitude)[0])]]
    return found


def _relaxed(relaxed: orm.ArrayData, cell: str, index: int) -> tuple[Atoms, float]:
    numbers, positions, lattice = list(batch.unpack(arrays_of(relaxed), f'{cell}_'))[index]
    atoms = Atoms(numbers=numbers, positions=positions, cell=lattice, pbc=True)
    return atoms, float(relaxed.get_array(f'{cell}_energies')[index])


def _same(first: Atoms, second: Atoms, symprec: float, tolerance: float) -> bool:
    return phases.space_group(first, symprec) == phases.space_group(second, symprec) and phases.same_structure(
        first, second, tolerance
    )
