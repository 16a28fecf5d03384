"""Bands and density of states of one phonon calculation as figures and pages take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm

from aiida_equitrain.science.phonon_metrics import SUBSCRIPTS

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
    return {'segments': segments, 'ticks': ticks or [(0.0, ''), (total, '')]}


def bands_of(node: orm.BandsData, side: str, density: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the bands of one calculation as :func:`~.plots.draw_bands` takes them.

    :param side: their name, such as ``dft``.
    :param density: ``frequencies_thz`` (F,) and ``total_dos_per_thz`` (F,).
    """
    path = path_of(node)
    segments = [{**part, 'sides': {side: part['frequencies']}} for part in path['segments']]
    found = {'segments': segments, 'ticks': path['ticks']}
    if density is not None:
        found |= {'dos': {side: density['total_dos_per_thz']}, 'dos_frequencies': density['frequencies_thz']}
    return found


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
    plain = ''.join(character for character in name if character not in '${}_')
    return plain[:1] + plain[1:].translate(SUBSCRIPTS)
