"""Corrected phonons as a few lines of text, and their bands with error bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aiida_equitrain.common.formatting import describe_verdict, number

from .collect import path_ticks
from .plots import frame_bands, style_of

#: Colour of corrected phonons and of their error bars.
CORRECTED = style_of('corrected')['color']
#: What the shapes of the prior are called for people.
PRIORS = {
    'distance': 'falling off with the square of the distance',
    'potential': "following the potential's own force constants",
    'both': "following distance and the potential's own force constants",
}


def describe_correction(facts: Mapping[str, Any]) -> str:
    """Return the numbers of a correction as lines of text."""
    left_out = ', '.join(f'{count} × {reason}' for reason, count in facts['left_out'].items())
    lines = [
        f'corrected by {facts["n_frames"]} of {facts["n_frames_given"]} labelled frames'
        + (f' (left out: {left_out})' if left_out else ''),
        f'  force constants           {facts["n_constants"]} independent ones from {facts["n_equations"]} equations',
        f'  to determine them all     {facts["n_frames_that_determine"]} frames, or {facts["n_finite_displacements"]} '
        'finite displacements',
        f'  prior                     {PRIORS.get(facts["prior"], facts["prior"])}, '
        f'{number(facts["effective_constants"])} force constants are decided by the labels',
        f'  error of unseen forces    {number(1e3 * facts["left_out_error_ev_per_angstrom"])} meV/Å, '
        f'of the potential {number(1e3 * facts["potential_error_ev_per_angstrom"])}',
        f'  noise                     {number(1e3 * facts["noise_ev_per_angstrom"])} meV/Å',
        f'  changed by                {number(facts["change_thz"])} THz on average',
        f'  error bar                 {number(facts["uncertainty_thz"])} THz on average, at most '
        f'{number(facts["largest_uncertainty_thz"])}',
        f'  lowest frequency          {describe_verdict(facts)}; of the potential '
        f'{number(facts["potential"]["lowest_frequency_thz"])} THz',
    ]
    for name, title, unit in (
        ('heat_capacity_j_per_k_mol', 'heat capacity', 'J/K/mol'),
        ('entropy_j_per_k_mol', 'entropy', 'J/K/mol'),
        ('free_energy_kj_per_mol', 'free energy', 'kJ/mol'),
    ):
        value = f'{facts[name]:.4g} ± {number(facts[f"{name}_sigma"], 2)} {unit} at {facts["temperature_k"]:g} K'
        lines.append(f'  {title:<26}{value}')
    if not facts['is_corrected']:
        lines.append('The labels do not favour a correction: these are the phonons of the potential.')
    return '\n'.join(lines)


def draw_corrected(bars: Mapping[str, Any]) -> Figure:
    """Draw corrected bands with one and two standard deviations as shades, over those of the potential alone."""
    figure = Figure(figsize=(5.6, 3.8), layout='constrained')
    axes = figure.subplots()
    distances, starts = bars['path_distances'], [int(start) for start in bars['path_segment_starts']]
    before = style_of('foundation') | {'label': 'potential alone', 'linewidth': 1.0}
    for begin, end in zip(starts, [*starts[1:], len(distances)], strict=True):
        place = distances[begin:end]
        middle, sigma = bars['path_frequencies_thz'][begin:end], bars['path_sigmas_thz'][begin:end]
        axes.plot(place, bars['path_potential_thz'][begin:end], **{**before, 'label': None})
        axes.plot(place, middle, color=CORRECTED, linewidth=1.2, zorder=5)
        for band in range(middle.shape[1]):
            for factor, alpha in ((2, 0.18), (1, 0.3)):
                low, high = (middle[:, band] + sign * factor * sigma[:, band] for sign in (-1, 1))
                axes.fill_between(place, low, high, color=CORRECTED, alpha=alpha, linewidth=0, zorder=4)
    axes.plot([], [], **before)
    axes.plot([], [], color=CORRECTED, label='corrected, ± 1 and 2 σ')
    frame_bands(axes, path_ticks(distances, starts, np.asarray(bars['path_labels']).tolist()))
    lowest = min(float((bars['path_frequencies_thz'] - 2 * bars['path_sigmas_thz']).min()), float(
        bars['path_potential_thz'].min()))  # fmt: skip
    axes.set_ylim(bottom=0 if lowest > -0.05 else None)
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2, columnspacing=1.2)
    return figure
