"""Write the report of a job: page, figures, summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiida import orm

from aiida_equitrain.common.printable import NAME, SENTENCE, printable_tree
from aiida_equitrain.science.phonon_files import csv_text

from .collect import NoReportError, collect
from .curves import curves_of, describe
from .flow import draw_flow
from .page import render
from .plots import draw_all, to_png, to_svg
from .property_page import collect_property, is_property, render_property
from .study_collect import collect_study, describe_study, is_study
from .study_page import render_study
from .study_plots import draw_material, draw_study

PAGE, SUMMARY = 'report.html', 'summary.json'


def write_report(node: orm.ProcessNode, folder: Path) -> dict[str, Any]:
    """Write ``report.html``, ``summary.json`` and one PNG per figure into ``folder``, and return what was collected.

    :raises NoReportError: if there can be no report of this node.
    :raises OSError: if the folder cannot be written.
    """
    write_page = _write_study if is_study(node) else _write_property if is_property(node) else _write_material
    try:
        return write_page(node, folder)
    except (NoReportError, OSError):
        raise
    except Exception as exception:
        # Somebody's archive may hold anything where our WorkChains have their results.
        raise NoReportError(
            f'the results of PK {node.pk} are not of the form that aiida-equitrain gives them, so that there is no '
            f'page of them ({type(exception).__name__}: {exception})'
        ) from exception


def _write_material(node: orm.ProcessNode, folder: Path) -> dict[str, Any]:
    """Write the page of the main job or of a fine-tuning, its summary and its figures."""
    data: dict[str, Any] = printable_tree(collect(node), longest=SENTENCE)
    folder.mkdir(parents=True, exist_ok=True)
    drawable = printable_tree(data, longest=NAME)
    figures = draw_all(drawable)
    if data['flow']:
        figures['flow'] = draw_flow(drawable['flow'])
    for name, figure in figures.items():
        _write(folder / f'{name}.png', to_png(figure))
    curves = curves_of(data)
    for name, columns in curves.items():
        _write(folder / f'{name}.csv', csv_text(columns).encode())
    drawn = {name: to_svg(figure, name) for name, figure in figures.items()}
    shown = {**data, 'curves': curves, 'described': describe(drawable)}
    _write(folder / PAGE, render(shown, drawn).encode())
    _write(folder / SUMMARY, (json.dumps(data['summary'], indent=2) + '\n').encode())
    return data


def _write_property(node: orm.ProcessNode, folder: Path) -> dict[str, Any]:
    """Write the page of phases, expansion or conductivity, its figures, and their curves."""
    data = collect_property(node)
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in data['curves'].items():
        _write(folder / f'{name}.csv', csv_text(columns).encode())
    for name, content in data.get('files', {}).items():
        _write(folder / name, content)
    for name, figure in data['figures'].items():
        _write(folder / f'{name}.png', to_png(figure))
    drawn = {name: to_svg(figure, name) for name, figure in data['figures'].items()}
    _write(folder / PAGE, render_property(data, drawn).encode())
    if 'summary' in data:
        _write(folder / SUMMARY, (json.dumps(data['summary'], indent=2) + '\n').encode())
    return data


def _write_study(node: orm.ProcessNode, folder: Path) -> dict[str, Any]:
    """Write the page of a study, its summary (the aggregates and the warnings) and its figures."""
    data: dict[str, Any] = printable_tree(collect_study(node), longest=SENTENCE)
    folder.mkdir(parents=True, exist_ok=True)
    drawable = printable_tree(data, longest=NAME)
    figures = draw_study(drawable)
    materials = {name: draw_material(printable_tree(item, longest=NAME)) for name, item in data['materials'].items()}
    for name, figure in figures.items():
        _write(folder / f'{name}.png', to_png(figure))
    drawn = {name: to_svg(figure, name) for name, figure in figures.items()}
    inner = {
        material: {name: to_svg(figure, f'{number}-{name}') for name, figure in each.items()}
        for number, (material, each) in enumerate(materials.items())
    }
    _write(folder / PAGE, render_study(data, drawn, inner).encode())
    summary = {**data['aggregates'], 'warnings': data['warnings']}
    _write(folder / SUMMARY, (json.dumps(summary, indent=2) + '\n').encode())
    return {**data, 'text': describe_study(data['aggregates'])}


def _write(path: Path, content: bytes) -> None:
    """Write a file of a report anew: where a link stands, what it leads to is not touched."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
