"""The figures of a page as SVG and PDF, and what is drawn in them as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_equitrain.common.printable import NAME, printable_tree
from aiida_equitrain.report.collect import NoReportError, collect
from aiida_equitrain.report.curves import curves_of
from aiida_equitrain.report.plots import draw_all, to_bytes
from aiida_equitrain.report.property_page import collect_property, is_property
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
        yield f'{name}.csv', csv_text(tables[name] if name in tables else points_of(figure)).encode()


def figures_of(node: Any) -> tuple[dict[str, Figure], dict[str, dict[str, Any]]]:
    """Return the figures of a job, and the curves of those that have tables: of the others they are read off.

    :raises NoReportError: if there is no page of it.
    """
    if is_study(node):
        data = printable_tree(collect_study(node), longest=NAME)
        figures = dict(draw_study(data))
        for name, each in data['materials'].items():
            figures |= {f'{name}_{key}': figure for key, figure in draw_material(each).items()}
        return figures, {}
    if is_property(node):
        data = collect_property(node)
        return dict(data['figures']), data['curves']
    data = printable_tree(collect(node), longest=NAME)
    return draw_all(data), curves_of(data)


def points_of(figure: Figure) -> dict[str, list[Any]]:
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
