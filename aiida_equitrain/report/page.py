"""One self-contained HTML page: figures inline, no external request, dark and light.

What nodes and files say is text: the templates escape all of it, and only :func:`fill` lets HTML of ours through (the
figures, the style and the script).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from aiida_equitrain.common.formatting import duration, number
from aiida_equitrain.science.epoch_choice import worse_quantities

from . import live

#: Heading and caption of every figure, in the order of the page.
FIGURES = {
    'bands': ('Phonon bands', 'The curves that labels have changed should lie on that of DFT.'),
    'error_bars': ('Corrected phonon bands', 'Shaded: one and two standard deviations, from the labels alone.'),
    'flow': ('What led to what', 'Provenance, condensed: boxes of results are round, of work square.'),
    'learning': ('Learning curve', 'Errors on the labelled frames while training.'),
    'parity': ('Forces', 'Every point is one force component of one atom.'),
    'thermal': ('Thermal properties', 'In the harmonic approximation, per mole of primitive cells.'),
}
#: What is said of bands where there is no DFT.
NO_DFT = 'Imaginary frequencies are below zero; there is no DFT to hold the curves against.'
#: Of a figure that is wider, in points, the panels stand side by side.
WIDE = 400.0
#: Columns of the table of phonons; a long word may be parted.
SIDES = {
    'dft': 'DFT',
    'foundation': 'foun\u00addation',
    'finetuned': 'fine-tuned',
    'corrected': 'corrected',
    'corrected_finetuned': 'fine-tuned, corrected',
    'symfc': 'symfc fit',
}


def render(data: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """Return the page.

    :param data: what ``collect`` read.
    :param figures: SVG text by name of figure.
    """
    errors = data.get('errors', [])
    branches = data.get('branches', [])
    beside = {side: title for side, title in SIDES.items() if any(row.get(side) is not None for row in branches)}
    wrong = {flag.get('side') for flag in (data.get('verdict') or {}).get('flags', []) if flag['level'] == 'red'}
    sides = {side: title for side, title in SIDES.items() if any(row.get(side) is not None for row in errors)}
    bands = data.get('bands')
    judged = not bands or 'dft' in bands['segments'][0]['sides']
    captions = FIGURES if judged else {**FIGURES, 'bands': (FIGURES['bands'][0], NO_DFT)}
    return fill(
        'material.html',
        title=f'{data["material"]}: {data["title"]}',
        subtitle=data['subtitle'],
        verdict=data.get('verdict'),
        warnings=data.get('warnings', []),
        notes=data.get('notes', []),
        headline=data.get('headline', []),
        figures=accessible(figures, captions, data.get('described')),
        captions=captions,
        live=live_figures(data, figures),
        csv={name: f'{name}.csv' for name in data.get('curves', {})},
        sides=sides,
        errors=[[row['quantity'], *(_plain(row.get(side), side in wrong) for side in sides)] for row in errors],
        how_symfc=data.get('how_symfc', ''),
        branches=[[row['quantity'], *(row.get(side) for side in beside)] for row in branches],
        branch_sides=beside,
        trainings={
            name: [{**row, 'is_worse': _is_worse(row)} for row in rows]
            for name, rows in data.get('training_tables', {}).items()
            if rows
        },
        stages=data.get('stages', []),
        facts=data.get('facts', []),
        commands=data['commands'],
    )


def _plain(value: Any, is_wrong: bool) -> Any:
    """Return a value of a table; where something is wrong with its side, nothing of it is praised."""
    return 'yes' if value is True and is_wrong else value


def _is_worse(row: Mapping[str, Any]) -> bool:
    """Say whether an error is larger after the fine-tuning than before."""
    before, after = row.get('before'), row.get('after')
    return before is not None and after is not None and bool(worse_quantities({'': before}, {'': after}))


def accessible(
    figures: Mapping[str, str], captions: Mapping[str, Sequence[str]], described: Mapping[str, str] | None = None
) -> dict[str, Markup]:
    """Return figures, whose text matplotlib has escaped, as parts of a page, in words for who does not see them.

    :param described: what each shows, in numbers; the heading without it.
    """
    words = {name: f'{captions[name][0]}. {(described or {}).get(name, "")}'.strip() for name in figures}
    return {
        name: Markup(svg.replace('<svg ', f'<svg{_panels(svg)} role="img" aria-label="{escape(words[name])}" ', 1))
        for name, svg in figures.items()
    }


def _panels(svg: str) -> str:
    """Return what lets a figure of panels side by side keep its width, and scroll, where the screen is narrow."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ', svg[:2000])
    width = float(found[1]) if found else 0.0
    return f' class="panels" style="--width: {width:.0f}px"' if width > WIDE else ''


def live_figures(data: Mapping[str, Any], figures: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return what the page needs to draw figures live, by their names: data, and the switches of the sides.

    :param data: ``bands``, ``learning`` and ``parity``, where there are any, as for those who draw the still figures.
    :param figures: names of the still ones, of which no others are live.
    """
    makers = {'bands': live.band_spec, 'learning': live.learning_spec, 'parity': live.parity_spec}
    found = {}
    for name, make in makers.items():
        each = data.get(name)
        if each and name in figures:
            spec = make(each)
            # The labels of the data are escaped for plotly.js, those of the switches by the template.
            sides = [
                {'label': Markup(side['label']), 'color': 'var(--ink)' if side['color'] == 'ink' else side['color']}
                for side in spec['sides']
            ]
            found[name] = {
                'name': name,
                'block': live.data_block(spec),
                'sides': sides,
                'marked': each.get('marked', ''),
                'wide': name == 'bands',
            }
    return found


def fill(template: str, *, style: str = '', script: str = '', **content: Any) -> str:
    """Return a page of this house.

    :param template: name of a file of ``templates``.
    :param style: name of a file of ours with further CSS.
    :param script: name of the file of ours with a script that may run; with ``live`` figures it is that of theirs, and
        plotly.js. No other script runs.
    :param content: what the template shows, all of it escaped but ``Markup``.
    """
    css = _text('page.css') + (_text(style) if style else '')
    programs = [_text(script)] if script else []
    if content.get('live'):
        programs += [live.library(), _text('live.js')]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    if programs:
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in programs)
        policy += '; script-src ' + ' '.join(f"'sha256-{digest}'" for digest in digests)
    ours = {'policy': Markup(policy), 'style': Markup(css), 'programs': [Markup(text) for text in programs]}
    empty: dict[str, Any] = {'verdict': None, 'warnings': [], 'notes': [], 'headline': [], 'live': {}, 'csv': {}}
    shown = {**empty, **content, **ours}
    template_ = _environment().get_template(template)
    size = len(template_.render({**shown, 'size': '0.0 MB'}).encode()) if shown['live'] else 0
    return template_.render({**shown, 'size': f'{size / 1e6:.1f} MB'})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {'number': number, 'duration': duration, 'marked': marked}
    return environment


def marked(text: str) -> Markup:
    """Return text of which what stands between backticks is code; all of it is escaped."""
    parts = [escape(part) for part in text.split('`')]
    return Markup('').join(
        Markup('<code>{}</code>').format(part) if index % 2 and index < len(parts) - 1 else part
        for index, part in enumerate(parts)
    )


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding='utf-8')
