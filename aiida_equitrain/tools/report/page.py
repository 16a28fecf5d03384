"""One self-contained HTML page: figures inline, no script, no external request, dark and light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from aiida_equitrain.common.formatting import duration, number
from aiida_equitrain.science.epoch_choice import worse_quantities

#: Heading and caption of every figure, in the order of the page.
FIGURES = {
    'bands': ('Phonon bands', 'Where there is DFT, the fine-tuned curves (dashed) should lie on its own.'),
    'flow': ('What led to what', 'Provenance, condensed: boxes of results are round, of work square.'),
    'learning': ('Learning curve', 'Errors on the labelled frames while training.'),
    'parity': ('Forces', 'Every point is one force component of one atom.'),
    'thermal': ('Thermal properties', 'In the harmonic approximation, per mole of primitive cells.'),
}


def render(data: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """Return the page.

    :param data: what ``collect`` read.
    :param figures: SVG text by name of figure.
    """
    title = f'{data["material"]}: {data["title"]}'
    cards = [
        _figure('bands', figures),
        _errors(data.get('errors', [])),
        _figure('learning', figures),
        _figure('parity', figures),
        _training(data.get('training_table', [])),
        _figure('thermal', figures),
        _figure('flow', figures),
        _cost(data.get('stages', [])),
        _facts(data.get('facts', [])),
        _commands(data),
    ]
    body = '\n'.join(card for card in cards if card)
    head = [notes(data.get('warnings', []), 'note warning'), notes(data.get('notes', []))]
    parts = [*head, numbers(data.get('headline', [])), f'<div class="grid">\n{body}\n</div>']
    return document(title, data['subtitle'], '\n'.join(parts))


def document(title: str, subtitle: str, body: str, style: str = '') -> str:
    """Return a page of this house: nothing from elsewhere, dark and light.

    :param body: HTML below the title.
    :param style: further CSS.
    """
    style = files(__package__).joinpath('page.css').read_text(encoding='utf-8') + style
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p class="soft">{escape(subtitle)}</p>
</header>
{body}
</main>
</body>
</html>
"""


def notes(notes: Iterable[str], kind: str = 'note') -> str:
    """Return boxes with what the reader must know before believing the numbers."""
    return '\n'.join(f'<p class="{kind}">{escape(note)}</p>' for note in notes)


def numbers(headline: Iterable[Mapping[str, Any]]) -> str:
    """Return the few large numbers at the top."""
    items = '\n'.join(
        f'<li><b>{escape(item["value"])}</b><small>{escape(item["label"])}</small></li>' for item in headline
    )
    return f'<ul class="numbers">\n{items}\n</ul>' if items else ''


def _figure(name: str, figures: Mapping[str, str]) -> str:
    """Return a card with one figure, or nothing when it was not drawn."""
    if name not in figures:
        return ''
    heading, caption = FIGURES[name]
    svg = figures[name].replace('<svg ', f'<svg role="img" aria-label="{escape(heading)}" ', 1)
    return f'<section><h2>{heading}</h2><figure>{svg}<figcaption>{caption}</figcaption></figure></section>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], last_is_sum: bool = False) -> str:
    """Return a table that scrolls sideways inside its card where the screen is narrow; cells are HTML."""
    head = ''.join(f'<th scope="col">{text}</th>' for text in heads)
    lines = list(rows)
    body = ''.join(
        f'<tr{" class=sum" if last_is_sum and index == len(lines) - 1 else ""}>'
        + ''.join(f'<td>{cell}</td>' for cell in row)
        + '</tr>\n'
        for index, row in enumerate(lines)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _errors(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of phonon quantities by side."""
    if not errors:
        return ''
    titles = {'dft': 'DFT', 'foundation': 'foun&shy;dation', 'finetuned': 'fine-tuned', 'symfc': 'symfc fit'}
    sides = [side for side in titles if any(row.get(side) is not None for row in errors)]
    rows = [[escape(row['quantity'])] + [_cell(row.get(side)) for side in sides] for row in errors]
    note = (
        '<p class="soft">“symfc fit”: force constants fitted to the same labelled frames, with no potential at all: '
        'the baseline that a potential should be compared with.</p>'
        if 'symfc' in sides
        else ''
    )
    drawn = table(['', *(titles[side] for side in sides)], rows)
    return f'<section><h2>Phonons in numbers</h2>{drawn}{note}</section>'


def _cell(value: Any) -> str:
    """Return a number, a yes or no, or a dash."""
    if isinstance(value, bool):
        return '<span class="good">yes</span>' if value else '<span class="bad">no</span>'
    return escape(number(value))


def _after(row: Mapping[str, Any]) -> str:
    """Return the error after the fine-tuning, in red where it is larger than before."""
    cell, (before, after) = _cell(row.get('after')), (row.get('before'), row.get('after'))
    is_worse = before is not None and after is not None and worse_quantities({'': before}, {'': after})
    return f'<span class="bad">{cell}</span>' if is_worse else cell


def _training(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the errors on labelled frames, and on other crystals, before and after the fine-tuning."""
    if not rows:
        return ''
    lines = [[escape(row['quantity']), _cell(row.get('before')), _after(row)] for row in rows]
    drawn = table(['', 'foun&shy;dation', 'fine-tuned'], lines)
    note = (
        '<p class="soft">Forgetting: a potential that improves here by getting worse elsewhere shows it in the rows of '
        '“other crystals”, which took no part in the training.</p>'
    )
    return f'<section><h2>Errors on energies, forces, stress</h2>{drawn}{note}</section>'


def _cost(stages: Sequence[Mapping[str, Any]]) -> str:
    """Return what every stage cost."""
    if not stages:
        return ''
    rows = [
        [
            escape(stage['title'])
            + ('' if stage['state'] in ('done', '') else f' <span class="bad">{stage["state"]}</span>'),
            str(stage['jobs']),
            str(stage['reused']),
            escape(duration(stage['wall_seconds'])),
            escape(duration(stage['core_seconds'])),
        ]
        for stage in stages
    ]
    heads = ['stage', 'jobs', 'of them reused', 'first start to last end', 'cores × time']
    return (
        f'<section><h2>Cost</h2>{table(heads, rows, last_is_sum=True)}'
        '<p class="soft">Cores × time: what every job reports itself, or else what the engine saw, times its cores; a '
        'reused job costs nothing. Stages run at the same time where they can.</p></section>'
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    """Return what went in."""
    lines = ''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n' for name, value in facts)
    return f'<section><h2>What went in</h2><dl>{lines}</dl></section>' if lines else ''


def _commands(data: Mapping[str, Any]) -> str:
    """Return how to look further."""
    lines = '\n'.join(escape(command) for command in data['commands'])
    return f'<section><h2>Look further</h2><pre><code>{lines}</code></pre></section>'
