"""The curves of figures as tables of numbers, for files beside the page, and in words for who does not see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_equitrain.common.formatting import number

from .plots import ordered, style_of

#: What the errors of learning curves are in.
LEARNING_UNITS = {
    'energy_mae': 'ev_per_atom', 'forces_mae': 'ev_per_angstrom', 'stress_mae': 'ev_per_angstrom3',
    'energy_shift': 'ev_per_atom',
}  # fmt: skip
#: Columns by their headings, which have the units; one of two dimensions is several columns.
Columns = dict[str, Any]


def curves_of(data: Mapping[str, Any]) -> dict[str, Columns]:
    """Return the curves of all figures that ``data`` has, by the names of the figures."""
    makers = {
        'bands': band_columns,
        'error_bars': error_bar_columns,
        'thermal': thermal_columns,
        'learning': learning_columns,
        'parity': parity_columns,
    }
    return {name: make(data[name]) for name, make in makers.items() if data.get(name)}


def band_columns(bands: Mapping[str, Any]) -> Columns:
    """Return one row for each point of the path: segment, distance, q-point, frequencies of all sides and branches."""
    segments = bands['segments']
    columns: Columns = {
        'segment': [index + 1 for index, part in enumerate(segments) for _ in part['distances']],
        'distance_per_angstrom': np.concatenate([part['distances'] for part in segments]),
    }
    if all(part.get('qpoints') is not None for part in segments):
        columns['q'] = np.concatenate([part['qpoints'] for part in segments])
    for name in ordered(segments[0]['sides']):
        columns[f'{name}_thz'] = np.concatenate([part['sides'][name] for part in segments])
    for name, sigmas in (bands.get('sigmas') or {}).items():
        columns[f'{name}_sigma_thz'] = np.concatenate(sigmas)
    return columns


def error_bar_columns(bars: Mapping[str, Any]) -> Columns:
    """Return corrected bands, their standard deviations, and the bands of the potential alone."""
    return {
        'distance_per_angstrom': bars['path_distances'],
        'corrected_thz': bars['path_frequencies_thz'],
        'sigma_thz': bars['path_sigmas_thz'],
        'potential_thz': bars['path_potential_thz'],
    }


def thermal_columns(thermal: Mapping[str, Any]) -> Columns:
    """Return one row for each temperature."""
    names = ordered(thermal)
    units = {'heat_capacity': 'j_per_k_mol', 'entropy': 'j_per_k_mol', 'free_energy': 'kj_per_mol'}
    columns = [(name, key) for name in names for key in units if key in thermal[name]]
    curves = {f'{name}_{key}_{units[key]}': thermal[name][key] for name, key in columns}
    return {'temperature_k': thermal[names[0]]['temperature_k'], **curves}


def with_unit(name: str) -> str:
    """Return the name of a column of the learning curve with its unit."""
    quantity = next((part for part in LEARNING_UNITS if part in name), None)
    return name if quantity is None else f'{name}_{LEARNING_UNITS[quantity]}'


def learning_columns(learning: Mapping[str, Any]) -> Columns:
    """Return one row for each epoch."""
    length = len(learning['epoch'])
    return {
        with_unit(key): values for key, values in learning.items() if np.ndim(values) == 1 and len(values) == length
    }


def parity_columns(parity: Mapping[str, Any]) -> Columns:
    """Return one row for each component of a force."""
    names = [name for name in ('reference', 'foundation', 'finetuned') if name in parity]
    return {f'{name}_ev_per_angstrom': np.asarray(parity[name], dtype=float) for name in names}


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
