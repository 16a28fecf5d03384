"""Energy along imaginary modes as a figure, and the phases behind them as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from aiida import orm
from ase.data import chemical_symbols
from matplotlib.figure import Figure

from aiida_equitrain.calculations.arrays import arrays_of
from aiida_equitrain.common.names import ROOT_PHASE
from aiida_equitrain.common.printable import NAME, printable_tree
from aiida_equitrain.report.plots import STYLE, frame_bands, save
from aiida_equitrain.science import frames as batch
from aiida_equitrain.science.crystal_directions import crystal_direction

from .phonons import bands_of, path_of
from .verdict import parent_modes

#: Of more phases the first ones are drawn.
MANY_PHASES = 8
COLOURS = ('#0a85d1', '#c07600', '#009e73', '#cc79a7', '#d55e00', '#8a6fd1')


def describe_tree(phases: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the phases as lines of text, the lowest in energy last."""
    words = {True: 'stable', False: 'unstable', None: 'not examined'}
    rows = [('phase', 'space group', 'meV/atom below', 'phonons', 'reached from')]
    shown = printable_tree(dict(phases), longest=NAME)
    for name, phase in sorted(shown.items(), key=lambda pair: pair[1]['energy_below_root_mev_per_atom']):
        way = '' if phase['parent'] is None else f'{phase["parent"]}, {mode_name(phase)}'
        below = f'{phase["energy_below_root_mev_per_atom"]:.2f}'
        rows.append((name, phase['space_group'], below, words[phase['dynamically_stable']], way))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def save_figure(node: orm.WorkChainNode, path: str | Path) -> None:
    """Draw the energy along all modes of an ``InstabilityWorkChain``; the suffix of the file tells its format."""
    with matplotlib.rc_context(STYLE):
        save(draw_wells(printable_tree(mode_pairs(node), longest=NAME)), path)


def mode_pairs(node: Any) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return each direction that was scanned with its well, level by level; those without one are left out."""
    levels = sorted(node.outputs.wells) if 'wells' in node.outputs else []
    found: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for level in levels:
        entries, wells = node.outputs.modes[level]['entries'], node.outputs.wells[level]['entries']
        along = directions_of(node, level)
        for index, (entry, well) in enumerate(zip(entries, wells, strict=True)):
            if well is not None:
                found.append(({**entry, 'along': along.get(index, '')}, well))
    return found


def directions_of(node: Any, level: str) -> dict[int, str]:
    """Return by the number of each direction which atom moves most and where to, such as ``Te along [111]``.

    The basis of a degenerate mode is another in each run; where an atom goes, in the axes of the crystal, is not.
    """
    job = node.outputs.modes[level].creator
    if job is None or 'frames' not in job.outputs:
        return {}
    arrays = arrays_of(job.outputs.frames)
    structures, owner = list(batch.unpack(arrays)), arrays['entry']
    found = {}
    for index, entry in enumerate(node.outputs.modes[level]['entries']):
        amplitudes, here = np.array(entry['amplitudes_angstrom']), np.flatnonzero(owner == index)
        if len(here) != len(amplitudes) or not np.any(amplitudes == 0) or amplitudes.max() <= 0:
            continue
        numbers, sites, cell = structures[here[int(np.flatnonzero(amplitudes == 0)[0])]]
        moved = np.linalg.solve(cell.T, (structures[here[int(amplitudes.argmax())]][1] - sites).T).T
        moved = (moved - np.rint(moved)) @ cell
        most = int(np.linalg.norm(moved, axis=1).argmax())
        scaled = np.linalg.solve(cell.T, sites.T).T
        found[index] = (
            f'{chemical_symbols[numbers[most]]} along {crystal_direction(cell, scaled, numbers, moved[most])}'
        )
    return found


def soft_bands(node: Any) -> dict[str, Any] | None:
    """Return the bands of the parent with its imaginary modes marked, as :func:`~.plots.draw_bands` takes them."""
    if 'bands' not in node.outputs or ROOT_PHASE not in node.outputs.bands:
        return None
    side = 'potential' if 'potential' in node.inputs else 'dft'
    bands = bands_of(node.outputs.bands[ROOT_PHASE], side)
    marks = []
    for mode in parent_modes(node) or []:
        place = _place_of(mode, bands['segments'], bands['ticks'])
        if place is not None:
            followed = '' if mode['followed'] else f', not followed: {mode["why_not"]}'
            text = f'{mode_name(mode)}: {mode["frequency_thz"]:.2f} THz{followed}'
            marks.append({'x': place, 'y': mode['frequency_thz'], 'text': text})
    return {**bands, 'marks': {side: marks}, 'marked': 'imaginary modes'}


def _place_of(mode: Mapping[str, Any], segments: list[dict[str, Any]], ticks: list[tuple[float, str]]) -> float | None:
    """Return where on the path an imaginary mode is, if it is there."""
    for place, label in ticks:
        if mode['qpoint_name'] and mode['qpoint_name'] in label.split('|'):
            return place
    for part in segments:
        for sign in (1, -1):
            away = part['qpoints'] - sign * np.array(mode['qpoint'])
            here = np.flatnonzero(np.abs(away - np.rint(away)).max(axis=1) < 1e-3)
            if len(here):
                return float(part['distances'][here[0]])
    return None


def well_columns(pairs: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, list[Any]]:
    """Return the scans along all directions, one row for each point: what was computed, and the fit."""
    names = ('parent', 'mode', 'frequency_thz', 'direction', 'displacement_angstrom', 'energy_mev_per_atom',
             'fit_mev_per_atom')  # fmt: skip
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for entry, well in pairs:
        to_mev, along = 1000 / entry['n_atoms'], entry.get('along') or direction_text(entry)
        for place, energy in zip(entry['amplitudes_angstrom'], well['energies_ev'], strict=True):
            fit = sum(factor * place**power for power, factor in zip(well['powers'], well['coefficients'], strict=True))
            inside = abs(place) <= well['reach_angstrom']
            row = (entry['parent'], mode_name(entry), entry['frequency_thz'], along, place,
                   None if energy is None else energy * to_mev, fit * to_mev if inside else None)  # fmt: skip
            for name, cell in zip(names, row, strict=True):
                columns[name].append(cell)
    return columns


def phase_band_columns(node: Any, phases: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the bands of the phases that are drawn, one row for each q-point and branch."""
    names = ('phase', 'segment', 'distance_per_angstrom', 'q_1', 'q_2', 'q_3', 'branch', 'frequency_thz')
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for phase in drawn_phases(node, phases):
        for segment, part in enumerate(path_of(node.outputs.bands[phase])['segments']):
            for place, qpoint, values in zip(part['distances'], part['qpoints'], part['frequencies'], strict=True):
                for branch, value in enumerate(values):
                    row = (phase, segment + 1, float(place), *map(float, qpoint), branch + 1, float(value))
                    for name, cell in zip(names, row, strict=True):
                        columns[name].append(cell)
    return columns


def drawn_phases(node: Any, phases: Mapping[str, Any]) -> list[str]:
    """Return the names of the phases whose bands are drawn."""
    names = [name for name in sorted(node.outputs.bands) if name != ROOT_PHASE] if 'bands' in node.outputs else []
    return [name for name in names if name in phases][:MANY_PHASES]


def direction_text(entry: Mapping[str, Any]) -> str:
    """Return the components of a direction in its basis."""
    return '[' + ' '.join(f'{value:.2f}' for value in entry['direction']) + ']'


def draw_phase_phonons(node: Any, phases: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Draw the bands of each phase that was found, a panel each."""
    names = drawn_phases(node, phases)
    if not names:
        return None
    columns = min(len(names), 2)
    figure = Figure(figsize=(7.2 if columns == 2 else 4.6, 2.7 * -(-len(names) // columns)), layout='constrained')
    for number, name in enumerate(names):
        axes = figure.add_subplot(-(-len(names) // columns), columns, number + 1)
        path = path_of(node.outputs.bands[name])
        for part in path['segments']:
            axes.plot(part['distances'], part['frequencies'], color=COLOURS[0], linewidth=0.9)
        frame_bands(axes, path['ticks'], size=7.0)
        axes.set_title(f'{name}: {phases[name].get("space_group", "")}', fontsize=9)
    return figure


def draw_wells(pairs: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Figure:
    """Return a figure with one panel per mode: points of the scan near the well, the fit, and its minimum."""
    modes: dict[tuple[str, int], list[Any]] = {}
    for entry, well in pairs:
        modes.setdefault((entry['parent'], entry['mode']), []).append((entry, well))
    columns = max(min(len(modes), 3), 1)
    rows = max(-(-len(modes) // columns), 1)
    figure = Figure(figsize=(max(3.6 * columns, 4.6), 3.1 * rows), layout='constrained')
    for number, ((parent, _), curves) in enumerate(modes.items()):
        axis: Any = figure.add_subplot(rows, columns, number + 1)
        entry = curves[0][0]
        axis.set_title(f'{parent}: {mode_name(entry)}, {entry["frequency_thz"]:.2f} THz', fontsize=9)
        axis.axhline(0.0, color='#7f8796', linewidth=0.6)
        for colour, (item, well) in zip(COLOURS * len(curves), curves, strict=False):
            _draw_curve(axis, item, well, colour)
        axis.set_xlabel('largest displacement, Å')
        axis.set_ylabel('energy, meV per atom')
        axis.legend(fontsize=7)
    return figure


def _draw_curve(axis: Any, entry: Mapping[str, Any], well: Mapping[str, Any], colour: str) -> None:
    """Draw both sides of a well; where the crystal makes them alike, the one that was not computed is hollow."""
    to_mev = 1000 / entry['n_atoms']
    amplitudes = np.array(entry['amplitudes_angstrom'])
    shown = np.abs(amplitudes) <= well['reach_angstrom']
    mirrored = not entry.get('two_sided') and amplitudes.min() >= 0
    low, high = amplitudes[shown].min(), amplitudes[shown].max()
    fine = np.linspace(-high if mirrored else low, high, 400)
    fit = sum(factor * fine**power for power, factor in zip(well['powers'], well['coefficients'], strict=True))
    direction = entry.get('along') or direction_text(entry)
    depth = well['depth_mev_per_atom']
    text = direction + ('' if depth is None else f': {depth:.1f} meV/atom')
    axis.plot(fine, fit * to_mev, color=colour, linewidth=1.1)
    energies = np.array(well['energies_ev'], dtype=float)[shown] * to_mev
    axis.plot(amplitudes[shown], energies, 'o', color=colour, markersize=3, label=text)
    if mirrored:
        axis.plot(-amplitudes[shown], energies, 'o', color=colour, markersize=3, markerfacecolor='none')
    if well['minimum_angstrom'] is not None:
        places = [well['minimum_angstrom'], *([-well['minimum_angstrom']] if mirrored else [])]
        axis.plot(places, [well['depth_ev'] * to_mev] * len(places), 'v', color=colour, markersize=6, linestyle='')


def mode_name(entry: Mapping[str, Any]) -> str:
    """Return q-point and irreducible representation of a mode, such as ``Γ T1u``."""
    return f'{entry["qpoint_name"] or "q = " + entry["qpoint_text"]} {entry["irrep"]}'.strip()
