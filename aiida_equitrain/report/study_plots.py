"""Figures of a study: errors, thermal deviations, confusion, cost; bands and learning curves of each crystal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from aiida_equitrain.common.strategies import ENGINES

from .instability import draw_wells
from .plots import GRID, INK, STYLE, frame_bands, style_of

#: One colour and mark per strategy, those of Okabe and Ito.
COLOURS = dict(zip(ENGINES, ('#0a85d1', '#56b4e9', '#009e73', '#cc79a7', '#b08f00', '#d55e00', '#7f8796'), strict=True))
MARKS = dict(zip(ENGINES, 'oshD^vP', strict=True))
DEVIATIONS = {
    'max_frequency_thz': 'ω max',
    'heat_capacity_j_per_k_mol': 'Cv',
    'entropy_j_per_k_mol': 'S',
    'free_energy_kj_per_mol': 'F',
    'k_diff_high_temp_limit_w_per_m_k': 'κ diff',
}


def draw_study(data: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw every figure for which the study holds something, by name."""
    drawers: dict[str, Callable[[Mapping[str, Any]], Figure | None]] = {
        'errors': draw_errors, 'deviations': draw_deviations, 'confusion': draw_confusion, 'cost': draw_cost,
    }  # fmt: skip
    with matplotlib.rc_context(STYLE):
        figures = {name: draw(data) for name, draw in drawers.items()}
    return {name: figure for name, figure in figures.items() if figure is not None}


def draw_errors(data: Mapping[str, Any]) -> Figure | None:
    """Draw the mean error over the number of frames with its interval, small marks for single rows."""
    groups = [group for group in data['aggregates']['strategies'] if 'phonon_mae_thz' in group]
    if not groups:
        return None
    figure = Figure(figsize=(4.6, 3.5), layout='constrained')
    axes = figure.subplots()
    strategies = list(dict.fromkeys(group['strategy'] for group in groups))
    for index, strategy in enumerate(strategies):
        mine = [group for group in groups if group['strategy'] == strategy]
        shift = 1 + 0.03 * (index - (len(strategies) - 1) / 2)
        sizes = np.array([group['n_train'] for group in mine]) * shift
        values = np.array([group['phonon_mae_thz']['mean']['value'] for group in mine])
        limits = [[group['phonon_mae_thz']['mean'][key] for key in ('low', 'high')] for group in mine]
        bars = np.array([[value - (low or value), (high or value) - value]
                         for value, (low, high) in zip(values, limits, strict=True)]).T  # fmt: skip
        axes.errorbar(sizes, values, yerr=np.abs(bars), color=COLOURS.get(strategy, INK), markersize=5,
                      marker=MARKS.get(strategy, 'x'),
                      capsize=2, linewidth=1.4, elinewidth=0.8, label=strategy, zorder=4)  # fmt: skip
        rows = [row for row in data['rows'] if row['strategy'] == strategy and row['phonon_mae_thz'] is not None]
        axes.scatter([row['n_train'] * shift for row in rows], [row['phonon_mae_thz'] for row in rows], s=14,
                     color=COLOURS.get(strategy, INK), alpha=0.45, linewidths=0, zorder=3)  # fmt: skip
    _draw_by_labels(axes, data)
    several = len({group['n_train'] for group in groups}) > 1
    for name, dash in (('foundation', '-'), ('symfc', (0, (1, 1.4)))):
        if name == 'symfc' and several:
            continue  # it has a curve
        error = (data['aggregates'][name].get('phonon_mae_thz') or {}).get('mean')
        if error:
            style = style_of(name)
            axes.axhline(error['value'], color=style['color'], linestyle=dash, linewidth=1.2, label=style['label'])
    axes.set_xscale('log')
    axes.set_yscale('log')
    sizes_there = sorted({group['n_train'] for group in groups})
    axes.set_xticks(sizes_there, [str(size) for size in sizes_there])
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    for axis in (axes.yaxis,):
        axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f'{value:g}'))
        axis.set_minor_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f'{value:g}'))
        axis.set_minor_locator(matplotlib.ticker.LogLocator(subs=(2, 5)))
    axes.grid(True, axis='y', which='both')
    axes.set_xlabel('training frames')
    axes.set_ylabel('phonon MAE (THz)')
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2, columnspacing=1.2)
    return figure


def _draw_by_labels(axes: Any, data: Mapping[str, Any]) -> None:
    """Draw the errors of what the same labels give without a training, and after one, over their number."""
    known = data['aggregates'].get('by_labels', [])
    for method in dict.fromkeys(item['method'] for item in known):
        mine = [item for item in known if item['method'] == method]
        if method == 'symfc' and len(mine) < 2:
            continue  # one number is a line
        of_strategy = method.removesuffix(', corrected')
        style = style_of(method) if method in ('symfc', 'corrected') else {
            'color': COLOURS.get(of_strategy, INK), 'linestyle': (0, (1, 1)), 'label': method}  # fmt: skip
        axes.plot(
            [item['n_train'] for item in mine],
            [item['phonon_mae_thz']['mean']['value'] for item in mine],
            color=style['color'],
            linestyle=style['linestyle'],
            marker='*' if method == 'corrected' else '.',
            linewidth=1.4,
            label=style['label'],
            zorder=5,
        )


def draw_deviations(data: Mapping[str, Any]) -> Figure | None:
    """Draw the deviations of the largest size from DFT: a mark per material and strategy, the foundation beside."""
    done = [row for row in data['rows'] if row['state'] == 'done' and row.get('reference_max_frequency_thz')]
    if not done:
        return None
    largest = max(row['n_train'] for row in done)
    rows = [row for row in done if row['n_train'] == largest]
    figure = Figure(figsize=(4.6, 3.3), layout='constrained')
    axes = figure.subplots()
    strategies = sorted({row['strategy'] for row in rows})
    sides = [*strategies, 'foundation']
    width = 0.7 / len(sides)
    for index, side in enumerate(sides):
        colour = COLOURS.get(side, style_of('foundation')['color'])
        for place, key in enumerate(DEVIATIONS):
            values = [_deviation(row, key, side) for row in rows if side in ('foundation', row['strategy'])]
            known = [value for value in values if value is not None]
            middle = place + (index - (len(sides) - 1) / 2) * width
            axes.scatter([middle] * len(known), known, s=14, color=colour, marker=MARKS.get(side, '_'), linewidths=1.2
                         if side == 'foundation' else 0, alpha=0.8, zorder=3,
                         label=side if place == 0 else None)  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.7)
    axes.set_yscale('symlog', linthresh=5)
    axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f'{value:g}'))
    axes.set_xticks(range(len(DEVIATIONS)), list(DEVIATIONS.values()))
    axes.tick_params(axis='x', length=0)
    axes.grid(True, axis='y')
    axes.set_ylabel('deviation from DFT (%)')
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.2)
    return figure


def draw_confusion(data: Mapping[str, Any]) -> Figure | None:
    """Draw one confusion matrix per strategy of the largest size, and that of the foundation."""
    groups = [group for group in data['aggregates']['strategies'] if 'true_positive' in (group.get('unstable') or {})]
    if not groups:
        return None
    largest = max(group['n_train'] for group in groups)
    shown = {group['strategy']: group['unstable'] for group in groups if group['n_train'] == largest}
    if 'true_positive' in (data['aggregates']['foundation'].get('unstable') or {}):
        shown['foundation'] = data['aggregates']['foundation']['unstable']
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.6, 2.15 * rows), layout='constrained')
    for index, (name, numbers) in enumerate(shown.items()):
        axes: Any = figure.add_subplot(rows, columns, index + 1)
        counts = np.array([[numbers['true_positive'], numbers['false_negative']],
                           [numbers['false_positive'], numbers['true_negative']]])  # fmt: skip
        for row in range(2):
            for column in range(2):
                colour = '#009e73' if row == column else '#d55e00'
                share = counts[row, column] / max(counts.sum(), 1)
                axes.add_patch(matplotlib.patches.Rectangle((column, 1 - row), 1, 1, facecolor=colour,
                                                            alpha=0.12 + 0.6 * share, edgecolor=GRID))  # fmt: skip
                axes.text(column + 0.5, 1.5 - row, str(counts[row, column]), ha='center', va='center', fontsize=11)
        axes.set_xlim(0, 2)
        axes.set_ylim(0, 2)
        axes.set_aspect('equal')
        axes.set_xticks([0.5, 1.5], ['un-\nstable', 'stable'], fontsize=7)
        names = ['unstable', 'stable'] if index % columns == 0 else ['', '']
        axes.set_yticks([1.5, 0.5], names, fontsize=7, rotation=90, va='center')
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(name, fontsize=8)
        if index % columns == 0:
            axes.set_ylabel('DFT', fontsize=8)
    return figure


def draw_cost(data: Mapping[str, Any]) -> Figure | None:
    """Draw the core time of labels, DFT phonons and trainings of each material."""
    stages = {
        'label_core_seconds': 'labels (DFT)',
        'dft_core_seconds': 'phonons (DFT)',
        'foundation_phonons_core_seconds': 'phonons (foundation)',
        'train_core_seconds': 'one training',
    }
    materials = sorted({row['material'] for row in data['rows']})
    values: dict[str, list[float]] = {}
    for key in stages:
        means = []
        for name in materials:
            known = [row[key] for row in data['rows'] if row['material'] == name and row.get(key) is not None]
            means.append(float(np.mean(known)) / 60 if known else np.nan)
        if not np.isnan(means).all():
            values[key] = means
    if not values:
        return None
    figure = Figure(
        figsize=(4.6, 1.0 + 0.16 * len(values) * len(materials) + 0.12 * len(materials)), layout='constrained'
    )
    axes = figure.subplots()
    height = 0.8 / len(values)
    colours = ('#d55e00', INK, '#c07600', '#0a85d1')
    for index, (key, numbers) in enumerate(values.items()):
        places = np.arange(len(materials)) + (index - (len(values) - 1) / 2) * height
        axes.barh(places, numbers, height * 0.9, color=colours[list(stages).index(key)], label=stages[key])
    axes.set_yticks(range(len(materials)), materials)
    axes.invert_yaxis()
    axes.tick_params(axis='y', length=0)
    axes.set_xlabel('core-minutes')
    axes.grid(True, axis='x')
    axes.set_axisbelow(True)
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2, columnspacing=1.2)
    return figure


def draw_material(material: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw the bands of all strategies over DFT, with the worst place marked, and their learning curves."""
    figures = {}
    with matplotlib.rc_context(STYLE):
        if material['bands'] is not None:
            figures['bands'] = draw_bands(material['bands'])
        if material['learning']:
            figures['learning'] = draw_learning(material['learning'])
        if material['wells']:
            figures['wells'] = draw_wells(material['wells'])
    return figures


def draw_bands(bands: Mapping[str, Any]) -> Figure:
    """Draw bands: DFT in ink, the foundation and the strategies in their colours; a dotted line where it is worst."""
    figure = Figure(figsize=(5.6, 3.8), layout='constrained')
    axes = figure.subplots()
    names = [name for name in ('foundation', 'dft') if name in bands['segments'][0]['sides']]
    names += [name for name in bands['segments'][0]['sides'] if name not in names]
    for name in names:
        style = style_of(name) if name in ('foundation', 'dft') else {
            'color': COLOURS.get(name, INK), 'linestyle': (0, (4, 1.6)), 'zorder': 5, 'label': name}  # fmt: skip
        label = style.pop('label')
        style['linewidth'] = 1.8 if name == 'dft' else 1.0
        for segment in bands['segments']:
            axes.plot(segment['distances'], np.asarray(segment['sides'][name]), **style)
        axes.plot([], [], label=label, **style)
    if bands['worst'] is not None:
        place, error = bands['worst']
        axes.axvline(place, color='#d1383d', linestyle=':', linewidth=1.2, zorder=6,
                     label=f'{bands["best"]} worst: {error:.2g} THz')  # fmt: skip
    frame_bands(axes, bands['ticks'])
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.2)
    return figure


def draw_learning(learning: Mapping[str, Any]) -> Figure:
    """Draw the force error on validation frames by epoch, a curve per strategy."""
    figure = Figure(figsize=(5.6, 2.4), layout='constrained')
    axes = figure.subplots()
    for strategy, curves in learning.items():
        key = 'valid_forces_mae' if 'valid_forces_mae' in curves else 'train_forces_mae'
        axes.plot(curves['epoch'], 1e3 * np.asarray(curves[key]), color=COLOURS.get(strategy, INK), label=strategy)
    axes.set_yscale('log')
    axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f'{value:g}'))
    axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes.grid(True, axis='y', which='both')
    axes.set_xlabel('epoch')
    axes.set_ylabel('force MAE,\nvalidation (meV/Å)')
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0.2, columnspacing=1.2)
    return figure


def _deviation(row: Mapping[str, Any], key: str, side: str) -> float | None:
    """Return the deviation of a quantity from DFT in percent."""
    if side != 'foundation':
        value: float | None = row.get(f'{key}_deviation_percent')
        return value
    reference, found = row.get(f'reference_{key}'), row.get(f'foundation_{key}')
    return None if not reference or found is None else 100 * (found - reference) / abs(reference)
