"""Figures of the report, from the plain dictionaries of ``collect``.

Every figure is drawn once and written twice: as PNG for other uses, and as SVG text inside the page. The SVG takes the
colours of ink and grid from the page, so that it follows the reader's dark or light setting.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

#: Colours that the page replaces by its own (never used by a curve).
INK, GRID, PAPER = '#1b1d22', '#d5d8de', '#fefefd'

#: Rows for the names of points, and the width of a character in sizes of the font.
NAME_ROWS, CHARACTER = 3, 0.66
#: How a component of a q-point is written.
Q_MARK = '{:.3g}'
#: How each side is called, drawn and stacked; colours are near those of Okabe and Ito, told apart by the colour-blind,
#: and have a contrast of 3 and more on the light and on the dark page.
SIDES: dict[str, dict[str, Any]] = {
    'symfc': {'label': 'symfc fit, no potential', 'color': '#7f8796', 'linestyle': (0, (1, 1.4)), 'zorder': 2},
    'foundation': {'label': 'foundation', 'color': '#c07600', 'linestyle': '-', 'zorder': 3},
    'dft': {'label': 'DFT', 'color': INK, 'linestyle': '-', 'zorder': 4, 'linewidth': 2.0},
    'corrected': {'label': 'foundation, corrected', 'color': '#009e73', 'linestyle': '-', 'zorder': 5},
    'corrected_finetuned': {
        'label': 'fine-tuned, corrected',
        'color': '#cc79a7',
        'linestyle': (0, (4, 1.6)),
        'zorder': 5,
    },
    'finetuned': {'label': 'fine-tuned', 'color': '#0a85d1', 'linestyle': (0, (4, 1.6)), 'zorder': 5},
    'potential': {'label': 'the potential', 'color': '#009e73', 'linestyle': '-', 'zorder': 3},
}
#: Panels of a learning curve: end of the key, title, and the factor to its unit; names and colours of its curves.
LEARNING = (('forces_mae', 'force MAE (meV/Å)', 1e3), ('energy_mae', 'energy MAE (meV/atom)', 1e3))
SPLITS = {'train': ('training', '#7f8796'), 'valid': ('validation', '#0a85d1')}
STYLE: dict[Any, Any] = {
    'font.size': 9,
    'font.family': 'sans-serif',
    'svg.fonttype': 'none',
    'svg.hashsalt': 'equitrain',
    # A `$` in a name is a `$`.
    'text.parse_math': False,
    'axes.edgecolor': INK,
    'axes.labelcolor': INK,
    'axes.linewidth': 0.7,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.facecolor': 'none',
    'text.color': INK,
    'xtick.color': INK,
    'ytick.color': INK,
    'grid.color': GRID,
    'grid.linewidth': 0.6,
    'lines.linewidth': 1.4,
    'legend.frameon': False,
    'axes.unicode_minus': True,
}


def style_of(side: str) -> dict[str, Any]:
    """Return how the curves of ``side`` are drawn."""
    return dict(SIDES.get(side, {'label': side, 'color': '#009e73', 'linestyle': '-', 'zorder': 3}))


def ordered(sides: Mapping[str, Any]) -> list[str]:
    """Return the names of the sides in the order of the legend: DFT, foundation, fine-tuned, corrected, others."""
    first = ['dft', 'foundation', 'finetuned', 'corrected', 'corrected_finetuned']
    return [side for side in first if side in sides] + sorted(set(sides) - set(first))


def draw_all(data: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw every figure for which ``data`` holds something, by name."""
    drawers: dict[str, Callable[[Any], Figure]] = {
        'bands': draw_bands,
        'error_bars': draw_error_bars,
        'learning': draw_learning,
        'parity': draw_parity,
        'thermal': draw_thermal,
    }
    with matplotlib.rc_context(STYLE):
        return {name: draw(data[name]) for name, draw in drawers.items() if data.get(name)}


def frame_bands(axes: Axes, ticks: list[tuple[float, str]], size: float = 9.0) -> None:
    """Draw what is around a band structure: points of the path with their names, zero, and the axis of frequencies.

    :param size: of the names, in points.
    """
    positions = [position for position, _ in ticks]
    axes.set_xticks(positions, in_rows(ticks, axes, size))
    axes.tick_params(axis='x', length=0, labelsize=size)
    for position in positions:
        axes.axvline(position, color=GRID, linewidth=0.7, zorder=0)
    axes.axhline(0, color=INK, linewidth=0.5, zorder=1)
    axes.set_xlim(min(positions), max(positions))
    axes.set_ylabel('frequency (THz)')


def in_rows(ticks: list[tuple[float, str]], axes: Axes, size: float) -> list[str]:
    """Return the names of the points of a path, each a row lower where it would meet one before it."""
    start, end = ticks[0][0], ticks[-1][0]
    width: float = axes.get_position().width * axes.get_figure(root=True).get_figwidth() * 72  # type: ignore[union-attr]
    ends, names = [-np.inf] * NAME_ROWS, []
    for position, label in ticks:
        place, half = (position - start) / ((end - start) or 1.0) * width, len(label) * size * CHARACTER / 2
        row = next((row for row, last in enumerate(ends) if place - half >= last), int(np.argmin(ends)))
        ends[row] = place + half + size * CHARACTER / 2
        names.append('\n' * row + label)
    return names


def draw_bands(bands: Mapping[str, Any]) -> Figure:
    """Draw the bands of all sides over one another, beside them the densities of states.

    :param bands: ``segments`` (a list of ``distances`` (Q,), ``sides`` {name: (Q, B) in THz} and, where known,
        ``qpoints`` (Q, 3)) and ``ticks`` (positions and labels); where known ``dos`` {name: (F,)} over
        ``dos_frequencies`` (F,), ``marks`` {name: [``x``, ``y``, ``text``]}, and ``sigmas`` {name: (Q, B) by segment}.
    """
    figure = Figure(figsize=(4.6, 3.8), layout='constrained')
    density = bands.get('dos')
    if density:
        axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
    else:
        axes, beside = figure.subplots(), None
    names = ordered(bands['segments'][0]['sides'])
    for name, sigmas in (bands.get('sigmas') or {}).items():
        for segment, spread in zip(bands['segments'], sigmas, strict=True):
            _shade(axes, segment['distances'], segment['sides'][name], spread, style_of(name)['color'])
    for segment in bands['segments']:
        for name in names:
            style = style_of(name)
            style.pop('label')
            axes.plot(segment['distances'], np.asarray(segment['sides'][name]), **style)
    for name in names:
        axes.plot([], [], **style_of(name))
    frame_bands(axes, bands['ticks'])
    for name, marks in (bands.get('marks') or {}).items():
        place, height = [mark['x'] for mark in marks], [mark['y'] for mark in marks]
        color = style_of(name)['color']
        axes.plot(place, height, 'o', markersize=8, markerfacecolor='none', markeredgecolor=color, zorder=6)
    if beside is not None and density:
        for name in names:
            if name in density:
                style = style_of(name)
                beside.plot(density[name], bands['dos_frequencies'], **{**style, 'label': None, 'linewidth': 1.0})
        beside.set_xlim(left=0)
        beside.set_xticks([])
        beside.set_xlabel('DOS')
        beside.axhline(0, color=INK, linewidth=0.5, zorder=1)
    lowest = min(float(np.min(segment['sides'][name])) for segment in bands['segments'] for name in names)
    axes.set_ylim(bottom=0 if lowest > -0.05 else None)
    _legend_above(axes, 8.0)
    return figure


def _shade(axes: Axes, place: Any, middle: Any, sigma: Any, color: str) -> None:
    """Draw one and two standard deviations of bands (Q, B) as shades."""
    for band in range(middle.shape[1]):
        for factor, alpha in ((2, 0.18), (1, 0.3)):
            low, high = (middle[:, band] + sign * factor * sigma[:, band] for sign in (-1, 1))
            axes.fill_between(place, low, high, color=color, alpha=alpha, linewidth=0, zorder=4)


def path_ticks(distances: Any, starts: list[int], labels: list[list[str]]) -> list[tuple[float, str]]:
    """Return positions and labels of the ends of segments; where the path jumps, both names stand there."""
    ticks: list[tuple[float, str]] = []
    for index, (start, (first, last)) in enumerate(zip(starts, labels, strict=True)):
        end = starts[index + 1] - 1 if index + 1 < len(starts) else len(distances) - 1
        if ticks and ticks[-1][1] != first:
            ticks[-1] = (ticks[-1][0], f'{ticks[-1][1]}|{first}')
        elif not ticks:
            ticks.append((float(distances[start]), first))
        ticks.append((float(distances[end]), last))
    return ticks


def draw_error_bars(bars: Mapping[str, Any]) -> Figure:
    """Draw corrected bands with one and two standard deviations as shades, over those of the potential alone."""
    figure = Figure(figsize=(4.6, 3.6), layout='constrained')
    axes = figure.subplots()
    distances, starts = bars['path_distances'], [int(start) for start in bars['path_segment_starts']]
    color = style_of('corrected')['color']
    before = style_of('foundation') | {'label': 'potential alone', 'linewidth': 1.0}
    for begin, end in zip(starts, [*starts[1:], len(distances)], strict=True):
        place = distances[begin:end]
        middle, sigma = bars['path_frequencies_thz'][begin:end], bars['path_sigmas_thz'][begin:end]
        axes.plot(place, bars['path_potential_thz'][begin:end], **{**before, 'label': None})
        axes.plot(place, middle, color=color, linewidth=1.2, zorder=5)
        _shade(axes, place, middle, sigma, color)
    axes.plot([], [], **before)
    axes.plot([], [], color=color, label='corrected, ± 1 and 2 σ')
    frame_bands(axes, path_ticks(distances, starts, bars['path_labels']))
    lowest = min(float((bars['path_frequencies_thz'] - 2 * bars['path_sigmas_thz']).min()), float(
        bars['path_potential_thz'].min()))  # fmt: skip
    axes.set_ylim(bottom=0 if lowest > -0.05 else None)
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2, columnspacing=1.2)
    return figure


def learning_panels(learning: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Return those of :data:`LEARNING` of which there are errors."""
    return [
        panel
        for panel in LEARNING
        if any(
            np.isfinite(np.asarray(learning.get(f'{split}_{panel[0]}', np.nan), dtype=float)).any() for split in SPLITS
        )
    ]


def draw_learning(learning: Mapping[str, Any]) -> Figure:
    """Draw force and energy errors of training and validation by epoch, and the learning rate.

    :param learning: ``epoch`` (E,), ``train_forces_mae`` ... (E,) in eV/Å, ``best_epoch``.
    """
    panels = learning_panels(learning)
    figure = Figure(figsize=(4.6, 1.5 + 1.45 * len(panels)), layout='constrained')
    rows = figure.subplots(len(panels) + 1, 1, sharex=True, height_ratios=[3] * len(panels) + [1.3], squeeze=False)
    epoch = np.asarray(learning['epoch'])
    for axes, (key, title, factor) in zip(rows[:, 0], panels, strict=False):
        for split, (label, color) in SPLITS.items():
            values = learning.get(f'{split}_{key}')
            if values is not None:
                axes.plot(epoch, np.asarray(values) * factor, color=color, label=label)
        axes.set_yscale('log')
        axes.set_ylabel(title)
        axes.grid(True, axis='y', which='major')
        axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f'{value:g}'))
        axes.yaxis.set_minor_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f'{value:g}'))
        axes.yaxis.set_minor_locator(matplotlib.ticker.LogLocator(subs=(2, 5)))
        if learning.get('best_epoch') is not None:
            axes.axvline(learning['best_epoch'], color='#0a85d1', linewidth=0.8, linestyle=':')
    _legend_above(rows[0, 0])
    last = rows[-1, 0]
    if learning.get('learning_rate') is not None:
        rate = np.asarray(learning['learning_rate'], dtype=float)
        last.plot(epoch, rate, color=INK, drawstyle='steps-mid')
        last.set_ylim(0, 1.25 * float(np.nanmax(rate)) or None)
        last.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(2))
    last.set_ylabel('learning\nrate')
    last.set_xlabel('epoch (dotted: the best one, which is kept)')
    figure.align_ylabels(rows[:, 0])
    return figure


def draw_parity(parity: Mapping[str, Any]) -> Figure:
    """Draw predicted against DFT forces before and after the fine-tuning.

    :param parity: ``reference``, and ``foundation`` and/or ``finetuned``: flat lists in eV/Å; ``split``: which frames.
    """
    figure = Figure(figsize=(4.6, 3.9), layout='constrained')
    axes = figure.subplots()
    reference = np.asarray(parity['reference'])
    limit = 1.08 * float(np.abs(reference).max() or 1.0)
    axes.plot([-limit, limit], [-limit, limit], color=INK, linewidth=0.8, zorder=1)
    for name in ('foundation', 'finetuned'):
        if name in parity:
            values = np.asarray(parity[name])
            style = style_of(name)
            error = 1e3 * float(np.abs(values - reference).mean())
            label = f'{style["label"]}: MAE {error:.3g} meV/Å'
            axes.scatter(reference, values, s=7, color=style['color'], alpha=0.55, linewidths=0, label=label, zorder=3)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(-limit, limit)
    axes.set_aspect('equal')
    axes.grid(True)
    axes.set_xlabel(f'DFT force component (eV/Å), {parity.get("split", "all frames")}')
    axes.set_ylabel('predicted (eV/Å)')
    axes.legend(loc='upper left', handletextpad=0.2, borderaxespad=0.2)
    return figure


def draw_thermal(thermal: Mapping[str, Any]) -> Figure:
    """Draw heat capacity, entropy and free energy over temperature.

    :param thermal: by side: ``temperature_k`` (T,), ``heat_capacity``, ``entropy`` (J/K/mol), ``free_energy`` (kJ/mol).
    """
    figure = Figure(figsize=(4.6, 5.2), layout='constrained')
    rows = figure.subplots(3, 1, sharex=True)
    titles = {
        'heat_capacity': 'heat capacity\n(J/K/mol)',
        'entropy': 'entropy\n(J/K/mol)',
        'free_energy': 'free energy\n(kJ/mol)',
    }
    names = ordered(thermal)
    for axes, (key, title) in zip(rows, titles.items(), strict=True):
        for name in names:
            if key in thermal[name]:
                axes.plot(thermal[name]['temperature_k'], thermal[name][key], **style_of(name))
        axes.set_ylabel(title)
        axes.grid(True)
    rows[-1].set_xlabel('temperature (K)')
    figure.align_ylabels(rows)
    _legend_above(rows[0])
    return figure


def to_png(figure: Figure) -> bytes:
    """Return ``figure`` as PNG on a white ground."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with _drawing():
        figure.savefig(buffer, format='png', dpi=200, facecolor='white')
    return buffer.getvalue()


def to_bytes(figure: Figure, suffix: str) -> bytes:
    """Return ``figure`` as a file of its own: ``svg`` with text as text, or ``pdf``; the same bytes each time."""
    buffer = io.BytesIO()
    with _drawing():
        figure.savefig(buffer, format=suffix, metadata={'svg': {'Date': None}, 'pdf': {'CreationDate': None}}[suffix])
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write ``figure`` to a file, whose suffix tells the format."""
    FigureCanvasAgg(figure)
    with _drawing():
        figure.savefig(Path(path), dpi=150)


@contextmanager
def _drawing() -> Iterator[None]:
    """Draw in our style; where the font lacks a sign of a name, or a name has no room, nothing is said of it."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph .* missing|constrained_layout not applied')
        yield


def to_svg(figure: Figure, name: str) -> str:
    """Return ``figure`` as an SVG element for the page, see-through, with the page's ink and fonts.

    :param name: of ours, no name of a node; it makes the ids of this figure unlike those of the page's other figures.
    """
    name = re.sub(r'[^\w-]', '', name, flags=re.ASCII)
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    with _drawing():
        figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None, 'Creator': None})
    text = buffer.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>\s*', '', text, flags=re.DOTALL)
    text = re.sub(r'(id="|href="#|url\(#)', rf'\g<1>{name}-', text)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt" ', '', text, count=1)
    text = re.sub(r'font: ([\d.]+)px [^;\"]*', r'font-size: \1px; font-family: inherit', text)
    for color, variable in ((INK, 'ink'), ('#000000', 'ink'), (GRID, 'grid'), (PAPER, 'paper')):
        text = text.replace(color, f'var(--{variable})')
    return text.strip()


def _legend_above(axes: Axes, size: float = 9.0) -> None:
    """Put the legend above the figure, in as many columns as it has room for."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    handles, labels = axes.get_legend_handles_labels()
    columns = legend_columns(labels, figure.get_figwidth() * 72, size)
    figure.legend(handles, labels, loc='outside upper left', ncols=columns, columnspacing=1.0, fontsize=size)


def legend_columns(labels: list[str], width: float, size: float) -> int:
    """Return the number of columns of a legend, three at most, that are not wider than the figure.

    :param width: of the figure, points.
    :param size: of the letters, points.
    """
    for columns in (3, 2):
        parts = np.array_split(np.array([len(label) for label in labels]), min(columns, len(labels)))
        # Beside its letters each column has a line, and a gap to the next.
        wide = sum((CHARACTER * part.max() + 4.0) * size for part in parts if len(part))
        if wide <= width:
            return columns
    return 1
