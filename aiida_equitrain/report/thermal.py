"""Thermal expansion and thermal conductivity as a few lines of text and as figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from aiida import orm
from matplotlib.figure import Figure

from aiida_equitrain.calculations.arrays import arrays_of
from aiida_equitrain.report.plots import STYLE, save

BLUE, ORANGE = '#0a85d1', '#c07600'
#: From low temperatures to high ones, seen on light and dark pages.
WARMER = ('#1f7fd6', '#7d66dc', '#b14fc4', '#d0457f', '#cf5a1e')


def describe_qha(facts: Mapping[str, Any]) -> str:
    """Return the numbers at one temperature as lines of text."""
    lines = [
        f'at {facts["temperature_k"]:g} K',
        f'  linear thermal expansion  {1e6 * facts["linear_thermal_expansion_per_k"]:.2f}e-6 per K',
        f'  volume of primitive cell  {facts["equilibrium_volume_angstrom3"]:.3f} Å³',
        f'  bulk modulus              {facts["bulk_modulus_gpa"]:.1f} GPa',
        f'  heat capacity Cp          {facts["heat_capacity_p_j_per_k_mol"]:.2f} J/K/mol of cells',
        f'  Grüneisen parameter       {facts["thermal_gruneisen_parameter"]:.2f}',
        f'  Slack conductivity        {facts["slack_conductivity_300k_w_per_m_k"]:.3g} W/m/K (300 K)',
    ]
    if facts['left_out']:
        lines.append(f'{len(facts["left_out"])} volume(s) were left out: they have imaginary modes')
    lines.append(f'curves up to {facts["temperature_reached_k"]:g} K, as far as `volume_factors` allow')
    return '\n'.join(lines)


def describe_kappa(facts: Mapping[str, Any]) -> str:
    """Return the conductivity as lines of text."""
    pairs = zip(facts['temperatures_k'], facts['kappa_w_per_m_k'], strict=True)
    lines = [f'{temperature:g} K: {kappa:.4g} W/m/K' for temperature, kappa in pairs]
    errors = facts.get('errors') or {'temperatures_k': [], 'sre': [], 'srme': []}
    for temperature, sre, srme in zip(errors['temperatures_k'], errors['sre'], errors['srme'], strict=True):
        lines.append(f'{temperature:g} K, against the reference: SRE {sre:+.3f}, SRME {srme:.3f}')
    return '\n'.join(lines)


def save_qha(node: orm.WorkChainNode, path: str | Path) -> None:
    """Draw the curves of a ``QHAWorkChain``; the suffix of the file tells its format."""
    curves = arrays_of(node.outputs.curves)
    with matplotlib.rc_context(STYLE):
        save(draw_qha(curves), path)


def save_kappa(node: orm.WorkChainNode, path: str | Path) -> None:
    """Draw the conductivity of a ``KappaWorkChain``; the suffix of the file tells its format."""
    modes = arrays_of(node.outputs.modes)
    with matplotlib.rc_context(STYLE):
        save(draw_kappa(modes), path)


def draw_qha(curves: Mapping[str, Any], trusted: float | None = None, modes: Mapping[str, Any] | None = None) -> Figure:
    """Return free energies over volume, expansion, bulk modulus, heat capacity and Grüneisen parameters.

    :param curves: of ``equitrain.qha``.
    :param trusted: temperature (K) beyond which the approximation ends; what lies there is grey.
    :param modes: ``mesh_frequencies_thz`` and ``mesh_gruneisen`` (Q, B), of the modes.
    """
    figure = Figure(figsize=(7.2, 7.8), layout='constrained')
    first, expansion, modulus, capacity, mean, single = figure.subplots(3, 2).ravel()
    temperatures, volumes = curves['temperatures_k'], curves['volumes_angstrom3']
    chosen = np.unique(np.linspace(0, len(temperatures) - 1, len(WARMER)).astype(int))
    for index, color in zip(chosen, WARMER, strict=False):
        # Above the minimum of each temperature: the minima are volts apart, and the wells a hundredth of that.
        energies = 1000 * (curves['helmholtz_ev'][index] - curves['gibbs_ev'][index])
        first.plot(volumes, energies, 'o-', color=color, markersize=3, label=f'{temperatures[index]:g} K')
        first.plot(curves['equilibrium_volume_angstrom3'][index], 0.0, 'v', color=color, markersize=5)
    first.set_xlabel('volume of primitive cell (Å³)')
    first.set_ylabel('free energy above\nits minimum (meV)')
    first.legend(fontsize=8, ncols=2, loc='upper center')
    low, high = first.get_ylim()
    first.set_ylim(low, high + 0.45 * (high - low))
    for axis, key, factor, label in (
        (expansion, 'thermal_expansion_per_k', 1e6 / 3, 'linear expansion (10⁻⁶/K)'),
        (modulus, 'bulk_modulus_gpa', 1.0, 'bulk modulus (GPa)'),
        (capacity, 'heat_capacity_p_j_per_k_mol', 1.0, 'heat capacity Cp\n(J/K/mol of cells)'),
        (mean, 'gruneisen_parameter', 1.0, 'Grüneisen parameter'),
    ):
        axis.plot(temperatures, factor * curves[key], color=BLUE)
        axis.set_xlabel('temperature (K)')
        axis.set_ylabel(label)
        axis.grid(True)
        if trusted is not None and trusted < temperatures[-1]:
            axis.axvspan(trusted, temperatures[-1], color='#7f8796', alpha=0.25, linewidth=0)
    if modes is None:
        single.set_axis_off()
        return figure
    frequencies, values = modes['mesh_frequencies_thz'].ravel(), modes['mesh_gruneisen'].ravel()
    real = (frequencies > 0.05 * frequencies.max()) & np.isfinite(values)
    single.plot(frequencies[real], values[real], '.', color=ORANGE, markersize=2, rasterized=True)
    single.axhline(0, color='#7f8796', linewidth=0.8)
    single.set_xlabel('frequency (THz)')
    single.set_ylabel('Grüneisen parameter\nof each mode')
    single.grid(True)
    return figure


def qha_columns(curves: Mapping[str, Any]) -> dict[str, Any]:
    """Return what depends on temperature as columns."""
    names = [
        name
        for name, values in curves.items()
        if np.ndim(values) == 1 and len(values) == len(curves['temperatures_k']) and name != 'volumes_angstrom3'
    ]
    names = sorted(set(names) - {'temperatures_k', 'energies_ev'})
    columns = {'temperature_k': curves['temperatures_k'], **{name: curves[name] for name in names}}
    volumetric = columns.pop('thermal_expansion_per_k', None)
    if volumetric is not None:
        columns |= {
            'linear_thermal_expansion_per_k': volumetric / 3, 'volumetric_thermal_expansion_per_k': volumetric,
        }  # fmt: skip
    return columns


def draw_kappa(modes: Mapping[str, Any]) -> Figure:
    """Return a figure of the conductivity over temperature, and near 300 K summed over modes up to a frequency."""
    temperatures, kappa = modes['temperatures_k'], modes['kappa_w_per_m_k'][:, :3].mean(axis=1)
    several = len(temperatures) > 1
    figure = Figure(figsize=(7.2 if several else 4.0, 3.0), layout='constrained')
    *left, right = np.ravel(figure.subplots(1, 1 + several))
    for axis in left:
        axis.plot(temperatures, kappa, 'o-', color=BLUE, markersize=3)
        axis.set_xlabel('temperature, K')
        axis.set_ylabel('conductivity, W/m/K')
    room = int(np.argmin(np.abs(temperatures - 300.0)))
    frequencies = modes['frequencies_thz'].ravel()
    order = np.argsort(frequencies)
    share = modes['mode_kappa_w_per_m_k'][room, ..., :3].mean(axis=-1).ravel()[order]
    right.plot(frequencies[order], np.cumsum(share), color=ORANGE)
    right.set_xlabel('frequency, THz')
    right.set_ylabel(f'of modes up to there, W/m/K ({temperatures[room]:g} K)')
    return figure
