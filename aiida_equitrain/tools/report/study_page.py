"""The page of a study: figures, a table that sorts, and a page of each crystal that a click on a row opens."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from aiida_equitrain.common.formatting import number

from . import page
from .study_collect import COLUMNS

#: Heading and caption of every figure.
FIGURES = {
    'errors': (
        'Error by strategy and number of frames',
        'Means over the materials with bootstrap intervals; small marks: single rows.',
    ),
    'deviations': (
        'Thermal properties',
        'Of the largest number of frames; a mark per material. Linear between −5 and 5 %.',
    ),
    'confusion': ('Which crystals are unstable', 'Columns: what the potential says. Of the largest number of frames.'),
    'cost': ('Cost', 'Core time of the jobs, from provenance; imported labels and phonons cost nothing here.'),
}


def render_study(
    data: Mapping[str, Any], figures: Mapping[str, str], materials: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the page.

    :param data: what ``collect_study`` read.
    :param figures: SVG text by name of figure.
    :param materials: the same by name of the crystal.
    """
    cards = ''.join(_card(*FIGURES[name], figures[name]) for name in FIGURES if name in figures)
    title = f'A study of {len(data["materials"])} materials'
    style, script = (
        files(__package__).joinpath(name).read_text(encoding='utf-8') for name in ('study.css', 'study.js')
    )
    body = f"""{page.notes(data['notes'])}
{page.numbers(data['headline'])}
<div class="grid">
{cards}
</div>
<section class="wide"><h2>All rows</h2>
<p class="soft">A heading sorts; a row opens the page of its crystal.</p>
{_table(data['rows'])}</section>
<section class="wide"><h2>Look further</h2><pre><code>{escape(chr(10).join(data['commands']))}</code></pre></section>
{''.join(_dialog(name, item, materials[name]) for name, item in data['materials'].items())}
<script>
{script}</script>"""
    return page.document(title, data['subtitle'], body, style)


def _card(heading: str, caption: str, svg: str) -> str:
    drawn = svg.replace('<svg ', f'<svg role="img" aria-label="{escape(heading)}" ', 1)
    return f'<section><h2>{heading}</h2><figure>{drawn}<figcaption>{caption}</figcaption></figure></section>'


def _table(rows: list[dict[str, Any]]) -> str:
    """Return the table; the headings are buttons, and so is the name of the crystal, for the keyboard.

    Columns of which nothing is known are left out.
    """
    columns = {key: value for key, value in COLUMNS.items() if any(row.get(key) is not None for row in rows)}
    heads = ''.join(
        f'<th scope="col" aria-sort="none"><button type="button" title="{escape(words or title)}">{escape(title)}'
        '</button></th>'
        for title, words in columns.values()
    )
    lines = []
    for row in rows:
        cells = [_cell(row.get(key)) for key in list(columns)[1:]]
        name = escape(row['material'])
        first = f'<td data-value="{name}"><button type="button" class="open">{name}</button></td>'
        if row['state'] != 'done':
            first = first.replace('</button>', '</button> <span class="bad">failed</span>')
            cells[-1] = f'<td class="reason" title="{escape(str(row["reason"]))}">why</td>'
        lines.append(f'<tr data-material="{name}">{first}{"".join(cells)}</tr>')
    body = '\n'.join(lines)
    return (
        f'<div class="scroll"><table id="rows"><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def _cell(value: Any) -> str:
    """Return a cell with the value that it is sorted by."""
    if isinstance(value, bool):
        word, tone = ('yes', 'good') if value else ('no', 'bad')
        return f'<td data-value="{int(value)}"><span class="{tone}">{word}</span></td>'
    if value is None:
        return '<td data-value="">–</td>'
    text = value if isinstance(value, str) else str(value) if isinstance(value, int) else number(value)
    return f'<td data-value="{escape(str(value))}">{escape(text)}</td>'


def _dialog(name: str, material: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """Return the page of one crystal."""
    which = '' if material['n_train'] is None else f'{material["n_train"]} training frames, seed {material["seed"]}'
    captions = {
        'bands': ('Phonon bands', f'All strategies over DFT: {which}.'),
        'learning': ('Learning curves', which),
        'wells': ('Energy along imaginary modes', f'With the first potential that has some: {which}.'),
    }
    cards = ''.join(_card(*captions[key], svg) for key, svg in figures.items())
    heads = ('strategy', 'n_train', 'seed', 'phonon_mae_thz', 'foundation_phonon_mae_thz', 'symfc_phonon_mae_thz')
    rows = [[_plain(row.get(key)) for key in heads] for row in material['rows']]
    table = page.table([COLUMNS[key][0] for key in heads], rows)
    facts = ''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in material['provenance'])
    return f"""<dialog id="material-{escape(name)}" aria-labelledby="title-{escape(name)}">
<form method="dialog"><button class="close" aria-label="close">×</button></form>
<h2 id="title-{escape(name)}">{escape(name)}</h2>
{cards}
<section><h2>Errors</h2>{table}</section>
<section><h2>Provenance</h2><p class="soft"><code>aiida-equitrain show UUID</code> says where a node came from.</p>
<dl>{facts}</dl></section>
</dialog>
"""


def _plain(value: Any) -> str:
    return escape(value if isinstance(value, str) else str(value) if isinstance(value, int) else number(value))
