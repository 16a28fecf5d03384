"""Bands and density of states of one phonon calculation as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from aiida import orm
from matplotlib.figure import Figure

from .plots import INK, STYLE, frame_bands, style_of

#: Names of points that AiiDA writes for LaTeX.
_SIGNS = {r'\Gamma': 'Γ', r'\Delta': 'Δ', r'\Lambda': 'Λ', r'\Sigma': 'Σ'}


def path_of(node: orm.BandsData) -> dict[str, Any]:
    """Return bands along their path, segment by segment.

    :returns: ``segments``, a list of ``distances`` (Q,) in 1/Å (without 2π), ``qpoints`` (Q, 3) and ``frequencies``
        (Q, B) in the unit of the node, and ``ticks``, positions and names. Where two named points follow one another,
        the path jumps.
    """
    points = np.array(node.get_kpoints(), dtype=float)
    bands = np.array(node.get_bands(), dtype=float)
    cartesian = points @ np.linalg.inv(np.array(node.cell)).T
    names = {int(index): _plain(name) for index, name in node.labels or []}
    begins = [index for index in range(1, len(points)) if index in names and index - 1 in names]
    starts = [0, *begins]
    ends = [*begins, len(points)]
    segments: list[dict[str, Any]] = []
    ticks: list[tuple[float, str]] = []
    total = 0.0
    for start, end in zip(starts, ends, strict=True):
        steps = np.linalg.norm(np.diff(cartesian[start:end], axis=0), axis=1)
        distances = total + np.concatenate([[0.0], np.cumsum(steps)])
        total = float(distances[-1])
        segments.append({'distances': distances, 'frequencies': bands[start:end], 'qpoints': points[start:end]})
        for index in range(start, end):
            if index in names:
                place = float(distances[index - start])
                if ticks and abs(ticks[-1][0] - place) < 1e-9:
                    if ticks[-1][1] != names[index]:
                        ticks[-1] = (place, f'{ticks[-1][1]}|{names[index]}')
                else:
                    ticks.append((place, names[index]))
    return {'segments': segments, 'ticks': ticks}


def draw_phonons(path: Mapping[str, Any], side: str, density: Mapping[str, Any] | None = None) -> Figure:
    """Draw bands, and beside them the density of states.

    :param path: of :func:`path_of`.
    :param side: whose colour they have, such as ``dft``.
    :param density: ``frequencies_thz`` (F,) and ``total_dos_per_thz`` (F,).
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.6), layout='constrained')
        style = style_of(side) | {'label': None, 'linestyle': '-'}
        if density is None:
            axes, beside = figure.subplots(), None
        else:
            axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
        for segment in path['segments']:
            axes.plot(segment['distances'], segment['frequencies'], **style)
        frame_bands(axes, path['ticks'] or [(0.0, ''), (float(path['segments'][-1]['distances'][-1]), '')])
        lowest = min(float(segment['frequencies'].min()) for segment in path['segments'])
        axes.set_ylim(bottom=0 if lowest > -0.05 else None)
        if beside is not None and density is not None:
            beside.plot(density['total_dos_per_thz'], density['frequencies_thz'], **style)
            beside.axhline(0, color=INK, linewidth=0.5, zorder=1)
            beside.set_xlim(left=0)
            beside.set_xlabel('states (1/THz)')
    return figure


def density_of(node: Any) -> dict[str, Any] | None:
    """Return the density of states of a ``PhononsWorkChain``, if there is one."""
    if 'total_dos' not in node.outputs:
        return None
    found = node.outputs.total_dos
    return {'frequencies_thz': found.get_x()[1], 'total_dos_per_thz': found.get_y()[0][1]}


def _plain(name: str) -> str:
    """Return the name of a point without the signs of LaTeX."""
    for sign, letter in _SIGNS.items():
        name = name.replace(sign, letter)
    return ''.join(character for character in name if character not in '${}_')
