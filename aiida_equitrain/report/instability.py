"""Energy along imaginary modes as a figure, and the phases behind them as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from aiida import orm
from matplotlib.figure import Figure

from aiida_equitrain.common.printable import NAME, printable_tree
from aiida_equitrain.report.plots import STYLE, save

COLOURS = ('#0a85d1', '#c07600', '#009e73', '#cc79a7', '#d55e00', '#8a6fd1')


def describe_tree(phases: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the phases as lines of text, the lowest in energy last."""
    words = {True: 'stable', False: 'unstable', None: 'not examined'}
    rows = [('phase', 'space group', 'meV/atom below', 'phonons', 'reached from')]
    shown = printable_tree(dict(phases), longest=NAME)
    for name, phase in sorted(shown.items(), key=lambda pair: pair[1]['energy_below_root_mev_per_atom']):
        way = '' if phase['parent'] is None else f'{phase["parent"]}, {_mode_name(phase)}'
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
    return [
        (entry, well)
        for level in levels
        for entry, well in zip(node.outputs.modes[level]['entries'], node.outputs.wells[level]['entries'], strict=True)
        if well is not None
    ]


def draw_wells(pairs: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Figure:
    """Return a figure with one panel per mode: points of the scan near the well, the fit, and its minimum."""
    modes: dict[tuple[str, int], list[Any]] = {}
    for entry, well in pairs:
        modes.setdefault((entry['parent'], entry['mode']), []).append((entry, well))
    columns = max(min(len(modes), 3), 1)
    rows = max(-(-len(modes) // columns), 1)
    figure = Figure(figsize=(3.6 * columns, 2.9 * rows), layout='constrained')
    for number, ((parent, _), curves) in enumerate(modes.items()):
        axis: Any = figure.add_subplot(rows, columns, number + 1)
        entry = curves[0][0]
        axis.set_title(f'{parent}: {_mode_name(entry)}, {entry["frequency_thz"]:.2f} THz', fontsize=9)
        axis.axhline(0.0, color='#7f8796', linewidth=0.6)
        for colour, (item, well) in zip(COLOURS * len(curves), curves, strict=False):
            _draw_curve(axis, item, well, colour)
        axis.set_xlabel('largest displacement, Å')
        axis.set_ylabel('energy, meV per atom')
        axis.legend(fontsize=7)
    return figure


def _draw_curve(axis: Any, entry: Mapping[str, Any], well: Mapping[str, Any], colour: str) -> None:
    to_mev = 1000 / entry['n_atoms']
    amplitudes = np.array(entry['amplitudes_angstrom'])
    shown = np.abs(amplitudes) <= well['reach_angstrom']
    fine = np.linspace(amplitudes[shown].min(), amplitudes[shown].max(), 200)
    fit = sum(factor * fine**power for power, factor in zip(well['powers'], well['coefficients'], strict=True))
    direction = ' '.join(f'{value:.2f}' for value in entry['direction'])
    depth = well['depth_mev_per_atom']
    text = f'[{direction}]' + ('' if depth is None else f': {depth:.1f} meV/atom')
    axis.plot(fine, fit * to_mev, color=colour, linewidth=1.1)
    energies = np.array(well['energies_ev'], dtype=float)[shown] * to_mev
    axis.plot(amplitudes[shown], energies, 'o', color=colour, markersize=3, label=text)
    if well['minimum_angstrom'] is not None:
        axis.plot(well['minimum_angstrom'], well['depth_ev'] * to_mev, 'v', color=colour, markersize=6)


def _mode_name(entry: Mapping[str, Any]) -> str:
    return f'{entry["qpoint_name"] or "q = " + entry["qpoint_text"]} {entry["irrep"]}'.strip()
