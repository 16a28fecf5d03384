"""Figures as data for the script that draws them live in the page, by plotly.js, which the page carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup

from aiida_equitrain.common.formatting import number

from .plots import INK, Q_MARK, SPLITS, learning_panels, ordered, style_of

#: A figure holds no more numbers than this; of longer paths not all points are taken.
MAX_NUMBERS = 120_000
DASHES = {'-': 'solid', ':': 'dot', '--': 'dash'}


@cache
def library() -> str:
    """Return plotly.js, the whole program, from the package of Python that ships it."""
    return files('plotly').joinpath('package_data', 'plotly.min.js').read_text(encoding='utf-8')


def band_spec(bands: Mapping[str, Any]) -> dict[str, Any]:
    """Return bands, densities of states, error bars and marks of all sides for ``live.js``.

    :param bands: as for :func:`~.plots.draw_bands`.
    """
    segments = bands['segments']
    names = ordered(segments[0]['sides'])
    numbers = sum(len(part['distances']) for part in segments) * segments[0]['sides'][names[0]].shape[1] * len(names)
    step = max(1, -(-numbers // MAX_NUMBERS))
    kept = [_every(len(part['distances']), step) for part in segments]
    sides = []
    for name in names:
        style, dos = style_of(name), (bands.get('dos') or {}).get(name)
        values = [part['sides'][name][chosen] for part, chosen in zip(segments, kept, strict=True)]
        side = {
            'name': name,
            'label': _text(style['label']),
            'color': 'ink' if style['color'] == INK else style['color'],
            'dash': DASHES.get(style['linestyle'], 'dash') if isinstance(style['linestyle'], str) else 'dash',
            'width': style.get('linewidth', 1.6),
            'bands': _by_band(values),
            'dos': None if dos is None else _rounded(dos),
            'marks': _marks(bands, name),
            'sigmas': None,
        }
        if name in (bands.get('sigmas') or {}):
            sigmas = bands['sigmas'][name]
            side['sigmas'] = _by_band([part[chosen] for part, chosen in zip(sigmas, kept, strict=True)])
        sides.append(side)
    low, high = _range(bands, names)
    return {
        'x': _joined([part['distances'][chosen] for part, chosen in zip(segments, kept, strict=True)]),
        'q': _qpoints(segments, kept),
        'ticks': [[round(float(place), 5), _text(label)] for place, label in bands['ticks']],
        'range': [low, high],
        'dos': _rounded(bands['dos_frequencies']) if bands.get('dos') else None,
        'sides': sides,
    }


def learning_spec(learning: Mapping[str, Any]) -> dict[str, Any]:
    """Return errors by epoch, a panel for each quantity, for ``live.js``.

    :param learning: as for :func:`~.plots.draw_learning`.
    """
    panels = learning_panels(learning)
    sides = []
    for split, (label, color) in SPLITS.items():
        curves = [
            {'panel': index, 'x': _numbers(learning['epoch']), 'y': _numbers(learning[f'{split}_{key}'], factor)}
            for index, (key, _, factor) in enumerate(panels)
            if learning.get(f'{split}_{key}') is not None
        ]
        if curves:
            sides.append({'label': label, 'color': color, 'curves': curves})
    best = learning.get('best_epoch')
    return {
        'panels': [{'title': title.replace(' (', '<br>('), 'log': True} for _, title, _ in panels],
        'x': 'epoch (dotted: the one that is kept)',
        'hover': 'epoch %{x}: %{y:.3g}',
        'line': None if best is None else int(best),
        'diagonal': None,
        'points': False,
        'sides': sides,
    }


def parity_spec(parity: Mapping[str, Any]) -> dict[str, Any]:
    """Return predicted against reference forces for ``live.js``; of very many not all.

    :param parity: as for :func:`~.plots.draw_parity`.
    """
    reference = np.asarray(parity['reference'], dtype=float)
    names = [name for name in ('foundation', 'finetuned') if name in parity]
    kept = slice(None, None, max(1, -(-len(reference) * 2 * len(names) // MAX_NUMBERS)))
    limit = 1.08 * float(np.abs(reference).max() or 1.0)
    sides = []
    for name in names:
        values, style = np.asarray(parity[name], dtype=float), style_of(name)
        error = number(1e3 * float(np.abs(values - reference).mean()))
        curve = {'panel': 0, 'x': _numbers(reference[kept]), 'y': _numbers(values[kept])}
        label = _text(f'{style["label"]}: MAE {error} meV/Å')
        sides.append({'label': label, 'color': style['color'], 'curves': [curve]})
    return {
        'panels': [{'title': 'predicted (eV/Å)', 'log': False}],
        'x': _text(f'DFT (eV/Å), {parity.get("split", "all frames")}'),
        'hover': 'DFT %{x:.3f} eV/Å, predicted %{y:.3f}',
        'line': None,
        'diagonal': round(limit, 4),
        'points': True,
        'sides': sides,
    }


def data_block(spec: Mapping[str, Any]) -> Markup:
    """Return data as JSON that may stand in a block of a page: no sign of it begins or ends an element."""
    text = json.dumps(spec, separators=(',', ':'), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace('&', '\\u0026').replace('<', '\\u003c').replace('>', '\\u003e'))


def _text(value: Any) -> str:
    """Return text as plotly.js takes it: neither tags nor formulas of TeX."""
    return escape(str(value)).replace('$', '&#36;')


def _marks(bands: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return [
        {'x': round(float(mark['x']), 5), 'y': round(float(mark['y']), 4), 'text': _text(mark['text'])}
        for mark in (bands.get('marks') or {}).get(name, [])
    ]


def _range(bands: Mapping[str, Any], names: list[str]) -> tuple[float, float]:
    """Return the frequencies that are shown at first."""
    values = [part['sides'][name] for part in bands['segments'] for name in names]
    low, high = min(float(np.min(part)) for part in values), max(float(np.max(part)) for part in values)
    return (0.0 if low > -0.05 else round(1.05 * low, 3)), round(1.04 * high, 3)


def _every(length: int, step: int) -> Any:
    """Return every so many indices of a segment, its ends among them."""
    return np.unique(np.append(np.arange(0, length, step), length - 1))


def _joined(parts: list[Any]) -> list[float | None]:
    """Return segments one after another, with a gap between them."""
    result: list[float | None] = []
    for part in parts:
        result += [*([None] if result else []), *_rounded(part)]
    return result


def _by_band(parts: list[Any]) -> list[list[float | None]]:
    return [_joined([part[:, band] for part in parts]) for band in range(parts[0].shape[1])]


def _qpoints(segments: Any, kept: list[Any]) -> list[str]:
    """Return the q-points of the path as text, where they are known."""
    result: list[str] = []
    for part, chosen in zip(segments, kept, strict=True):
        points = part.get('qpoints')
        texts = (
            [''] * len(chosen) if points is None else [' '.join(Q_MARK.format(c) for c in q) for q in points[chosen]]
        )
        result += [*([''] if result else []), *texts]
    return result


def _numbers(values: Any, factor: float = 1.0) -> list[float | None]:
    """Return numbers of five digits; what is none is a gap."""
    return [float(f'{factor * value:.5g}') if np.isfinite(value) else None for value in np.asarray(values, dtype=float)]


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]
