"""The figures of a page as SVG and PDF, and what is drawn in them as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_equitrain.common.printable import NAME, printable_tree
from aiida_equitrain.report.collect import NoReportError, collect, error_bars_of
from aiida_equitrain.report.phonons import path_of
from aiida_equitrain.report.plots import draw_all, ordered, to_bytes
from aiida_equitrain.report.property_page import collect_property, is_property
from aiida_equitrain.report.results import kind_of
from aiida_equitrain.report.study_collect import collect_study, is_study
from aiida_equitrain.report.study_plots import draw_material, draw_study
from aiida_equitrain.science.phonon_files import csv_text

FORMATS = ('svg', 'pdf')


def files_of(node: Any) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of every figure in each format, and of its curves.

    A job without a page has none.
    """
    try:
        figures, tables = figures_of(node)
    except NoReportError:
        return
    for name, figure in figures.items():
        for suffix in FORMATS:
            yield f'{name}.{suffix}', to_bytes(figure, suffix)
        yield f'{name}.csv', csv_text(tables[name] if name in tables else curves_of(figure)).encode()


def figures_of(node: Any) -> tuple[dict[str, Figure], dict[str, dict[str, Any]]]:
    """Return the figures of a job, and for bands their columns, as the curves of a figure have no names there.

    :raises NoReportError: if there is no page of it.
    """
    if is_study(node):
        data = printable_tree(collect_study(node), longest=NAME)
        figures = dict(draw_study(data))
        for name, each in data['materials'].items():
            figures |= {f'{name}_{key}': figure for key, figure in draw_material(each).items()}
        return figures, {}
    if is_property(node):
        figures = dict(collect_property(node)['figures'])
        if kind_of(node) != 'phonons':
            return figures, {}
        if 'error_bars' in node.outputs:
            return figures, {'bands': error_bar_columns(error_bars_of(node.outputs.error_bars))}
        return figures, {'bands': path_columns(path_of(node.outputs.bands))}
    data = printable_tree(collect(node), longest=NAME)
    tables = {'bands': band_columns(data['bands'])} if data.get('bands') else {}
    if data.get('error_bars'):
        tables['error_bars'] = error_bar_columns(data['error_bars'])
    return draw_all(data), tables


def band_columns(bands: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bands of all sides: segment, distance along the path, and one column for each band of each side."""
    segments = bands['segments']
    columns: dict[str, Any] = {
        'segment': [index + 1 for index, segment in enumerate(segments) for _ in segment['distances']],
        'distance_per_angstrom': np.concatenate([segment['distances'] for segment in segments]),
    }
    for side in ordered(segments[0]['sides']):
        columns[f'{side}_thz'] = np.concatenate([segment['sides'][side] for segment in segments])
    return columns


def path_columns(path: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bands of one calculation: segment, distance along the path, and one column for each band."""
    segments = [{**segment, 'sides': {'frequency': segment['frequencies']}} for segment in path['segments']]
    return band_columns({'segments': segments})


def error_bar_columns(bars: Mapping[str, Any]) -> dict[str, Any]:
    """Return corrected bands, their standard deviations, and the bands of the potential alone."""
    return {
        'distance_per_angstrom': bars['path_distances'],
        'corrected_thz': bars['path_frequencies_thz'],
        'sigma_thz': bars['path_sigmas_thz'],
        'potential_thz': bars['path_potential_thz'],
    }


def curves_of(figure: Figure) -> dict[str, list[Any]]:
    """Return all curves and points of a figure, one row for each point: panel, names of the axes, curve, x and y."""
    columns: dict[str, list[Any]] = {key: [] for key in ('panel', 'x_axis', 'y_axis', 'curve', 'x', 'y')}
    for number, axes in enumerate(figure.axes):
        title = axes.get_title() or str(number + 1)
        names = (_one_line(axes.get_xlabel()), _one_line(axes.get_ylabel()))
        for curve, xs, ys in _curves(axes):
            for x, y in zip(xs, ys, strict=True):
                for key, value in zip(columns, (title, *names, curve, x, y), strict=True):
                    columns[key].append(value)
    return columns


def _curves(axes: Axes) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield name and points of what is drawn in the coordinates of the data: no lines across the panel."""
    number = 0
    for line in axes.get_lines():
        xs, ys = np.atleast_1d(line.get_xdata()), np.atleast_1d(line.get_ydata())
        if line.get_transform() != axes.transData or not len(xs):
            continue
        number += 1
        yield _name(line.get_label(), number), [_cell(x) for x in xs], [_cell(y) for y in ys]
    for collection in axes.collections:
        points: Any = np.ma.filled(np.ma.asarray(collection.get_offsets(), dtype=float), np.nan)
        if collection.get_offset_transform() != axes.transData or not len(points):
            continue
        number += 1
        yield _name(collection.get_label(), number), points[:, 0].tolist(), points[:, 1].tolist()


def _name(label: Any, number: int) -> str:
    """Return the name of a curve in the legend, or else its number."""
    text = str(label or '')
    return f'curve {number}' if not text or text.startswith('_') else _one_line(text)


def _cell(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _one_line(text: str) -> str:
    return ' '.join(str(text).split())
