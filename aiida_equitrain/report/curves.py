"""The curves of figures as tables of numbers, for files beside the page, and in words for who does not see them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_equitrain.common.formatting import number

from .plots import ordered, style_of

#: Headings, and rows of numbers or text.
Table = tuple[list[str], list[list[Any]]]


def curves_of(data: Mapping[str, Any]) -> dict[str, Table]:
    """Return the curves of all figures that ``data`` has, by the names of the figures."""
    makers = {'bands': band_table, 'thermal': thermal_table, 'learning': learning_table, 'parity': parity_table}
    return {name: make(data[name]) for name, make in makers.items() if data.get(name)}


def band_table(bands: Mapping[str, Any]) -> Table:
    """Return one row for each point of the path: distance, q-point, frequencies (THz) of all sides and branches."""
    segments = bands['segments']
    names = ordered(segments[0]['sides'])
    heads = ['distance_per_angstrom', 'q1', 'q2', 'q3']
    heads += [f'{name}_{branch + 1}_thz' for name in names for branch in range(segments[0]['sides'][name].shape[1])]
    rows = []
    for part in segments:
        points = part.get('qpoints')
        for index, distance in enumerate(part['distances']):
            place = ['', '', ''] if points is None else points[index].tolist()
            rows.append([distance, *place, *np.concatenate([part['sides'][name][index] for name in names]).tolist()])
    return heads, rows


def thermal_table(thermal: Mapping[str, Any]) -> Table:
    """Return one row for each temperature."""
    names = ordered(thermal)
    units = {'heat_capacity': 'j_per_k_mol', 'entropy': 'j_per_k_mol', 'free_energy': 'kj_per_mol'}
    columns = [(name, key) for name in names for key in units if key in thermal[name]]
    heads = ['temperature_k', *(f'{name}_{key}_{units[key]}' for name, key in columns)]
    values = [thermal[names[0]]['temperature_k'], *(thermal[name][key] for name, key in columns)]
    return heads, np.array(values, dtype=float).T.tolist()


def learning_table(learning: Mapping[str, Any]) -> Table:
    """Return one row for each epoch."""
    length = len(learning['epoch'])
    names = [key for key, values in learning.items() if np.ndim(values) == 1 and len(values) == length]
    return names, [list(row) for row in zip(*(np.asarray(learning[name]).tolist() for name in names), strict=True)]


def parity_table(parity: Mapping[str, Any]) -> Table:
    """Return one row for each component of a force, eV/Å."""
    names = [name for name in ('reference', 'foundation', 'finetuned') if name in parity]
    values = np.array([parity[name] for name in names], dtype=float)
    return [f'{name}_ev_per_angstrom' for name in names], values.T.tolist()


def to_csv(table: Table) -> bytes:
    """Return a table as CSV."""
    heads, rows = table
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(heads)
    writer.writerows([f'{value:.8g}' if isinstance(value, float) else value for value in row] for row in rows)
    return buffer.getvalue().encode()


def describe(data: Mapping[str, Any]) -> dict[str, str]:
    """Return what each figure shows in numbers, as a sentence."""
    makers = {
        'bands': _describe_bands,
        'thermal': _describe_thermal,
        'learning': _describe_learning,
        'parity': _describe_parity,
    }
    return {name: make(data[name]) for name, make in makers.items() if data.get(name)}


def _describe_bands(bands: Mapping[str, Any]) -> str:
    path = ', '.join(str(label) for _, label in bands['ticks'])
    parts = [f'Along {path}, frequencies in THz']
    for name in ordered(bands['segments'][0]['sides']):
        values = [part['sides'][name] for part in bands['segments']]
        low, high = min(float(np.min(part)) for part in values), max(float(np.max(part)) for part in values)
        text = f'{style_of(name)["label"]} from {number(low)} to {number(high)}'
        marks = (bands.get('marks') or {}).get(name, [])
        parts.append(', '.join([text, *(str(mark['text']) for mark in marks)]))
    return '; '.join(parts) + '.'


def _describe_thermal(thermal: Mapping[str, Any]) -> str:
    parts = []
    for name in ordered(thermal):
        curve = thermal[name]
        index = int(np.argmin(np.abs(np.asarray(curve['temperature_k']) - 300.0)))
        found = [
            f'{title} {number(curve[key][index])} {unit}'
            for key, title, unit in (
                ('heat_capacity', 'heat capacity', 'J/K/mol'),
                ('entropy', 'entropy', 'J/K/mol'),
                ('free_energy', 'free energy', 'kJ/mol'),
            )
            if key in curve
        ]
        parts.append(f'{style_of(name)["label"]} at {curve["temperature_k"][index]:g} K: {", ".join(found)}')
    return '; '.join(parts) + '.'


def _describe_learning(learning: Mapping[str, Any]) -> str:
    errors = learning.get('valid_forces_mae')
    text = f'{len(learning["epoch"]) - 1} epochs, the best is {learning.get("best_epoch")}'
    if errors is not None and len(errors):
        text += f'; force error on validation frames from {number(1e3 * errors[0])} to {number(1e3 * errors[-1])} meV/Å'
    return text + '.'


def _describe_parity(parity: Mapping[str, Any]) -> str:
    reference = np.asarray(parity['reference'])
    parts = [
        f'{style_of(name)["label"]} {number(1e3 * float(np.abs(np.asarray(parity[name]) - reference).mean()))} meV/Å'
        for name in ('foundation', 'finetuned')
        if name in parity
    ]
    return f'Mean absolute error of {len(reference)} force components of {parity.get("split", "all frames")}: ' + (
        ', '.join(parts) + '.'
    )
