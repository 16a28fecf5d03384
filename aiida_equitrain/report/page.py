"""One self-contained HTML page: figures inline, no external request, dark and light.

What nodes and files say is text: the templates escape all of it, and only :func:`fill` lets HTML of ours through (the
figures, the style and the script).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from aiida_equitrain.common.formatting import duration, number
from aiida_equitrain.science.epoch_choice import worse_quantities

#: Heading and caption of every figure, in the order of the page.
FIGURES = {
    'bands': ('Phonon bands', 'Where there is DFT, the curves that labels have changed should lie on its own.'),
    'error_bars': ('Corrected phonon bands', 'Shaded: one and two standard deviations, from the labels alone.'),
    'flow': ('What led to what', 'Provenance, condensed: boxes of results are round, of work square.'),
    'learning': ('Learning curve', 'Errors on the labelled frames while training.'),
    'parity': ('Forces', 'Every point is one force component of one atom.'),
    'thermal': ('Thermal properties', 'In the harmonic approximation, per mole of primitive cells.'),
}
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
    wrong = {flag.get('side') for flag in (data.get('verdict') or {}).get('flags', []) if flag['level'] == 'red'}
    sides = {side: title for side, title in SIDES.items() if any(row.get(side) is not None for row in errors)}
    return fill(
        'material.html',
        title=f'{data["material"]}: {data["title"]}',
        subtitle=data['subtitle'],
        verdict=data.get('verdict'),
        warnings=data.get('warnings', []),
        notes=data.get('notes', []),
        headline=data.get('headline', []),
        figures=accessible(figures, FIGURES),
        captions=FIGURES,
        sides=sides,
        errors=[[row['quantity'], *(_plain(row.get(side), side in wrong) for side in sides)] for row in errors],
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


def accessible(figures: Mapping[str, str], captions: Mapping[str, Sequence[str]]) -> dict[str, Markup]:
    """Return figures, whose text matplotlib has escaped, as parts of a page, with their headings for screen readers."""
    return {
        name: Markup(svg.replace('<svg ', f'<svg role="img" aria-label="{escape(captions[name][0])}" ', 1))
        for name, svg in figures.items()
    }


def fill(template: str, *, style: str = '', script: str = '', **content: Any) -> str:
    """Return a page of this house.

    :param template: name of a file of ``templates``.
    :param style: name of a file of ours with further CSS.
    :param script: name of the file of ours with the only script that may run.
    :param content: what the template shows, all of it escaped but ``Markup``.
    """
    css, program = _text('page.css') + (_text(style) if style else ''), _text(script) if script else ''
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    if program:
        digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    ours = {'policy': Markup(policy), 'style': Markup(css), 'script': Markup(program)}
    shown = {'verdict': None, 'warnings': [], 'notes': [], 'headline': [], **content, **ours}
    return _environment().get_template(template).render(shown)


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
