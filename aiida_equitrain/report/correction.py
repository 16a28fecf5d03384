"""Corrected phonons as a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_equitrain.common.formatting import describe_verdict, number

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
