"""``aiida-equitrain list``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.group import NamedGroup
from aiida_equitrain.cli.numbers import FiniteRange
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo
from aiida_equitrain.common.printable import NAME, printable, printable_tree

if TYPE_CHECKING:
    import pandas as pd

#: Columns for people; ``--json`` and ``--csv`` have all.
SHOWN = {
    'jobs': ['pk', 'kind', 'label', 'material', 'state', 'result', 'created'],
    'potentials': ['pk', 'name', 'kind', 'materials', 'n_frames', 'seed', 'forces_mae_mev_per_angstrom',
                   'phonon_mae_thz'],
    'datasets': ['pk', 'label', 'materials', 'n_frames', 'max_atoms', 'functional', 'code', 'licence'],
    'phonons': ['pk', 'material', 'source', 'potential_pk', 'lowest_frequency_thz', 'max_frequency_thz',
                'dynamically_stable'],
    'instabilities': ['pk', 'material', 'phase', 'parent', 'space_group', 'energy_below_root_mev_per_atom',
                      'dynamically_stable'],
    'studies': ['pk', 'label', 'state', 'materials', 'strategies', 'sizes', 'seeds', 'n_rows', 'n_failed'],
}  # fmt: skip


#: So many potentials are shown unless another number is asked for.
SHOWN_AT_ONCE = 100
#: Columns of words, which begin at the left, and characters of a cell.
LEFT, LONGEST = ('kind', 'label', 'state', 'result', 'name', 'materials', 'material'), 100
#: Columns of chemical formulas, which the database has in Hill's order.
FORMULAS = ('material', 'materials')
#: Kinds of jobs.
KINDS = ('material', 'phonons', 'finetune', 'committee', 'label', 'qha', 'kappa', 'instability', 'active_learning',
         'study', 'born_charges')  # fmt: skip


@click.group('list', cls=NamedGroup, epilog=examples('list jobs', 'list potentials --material NaCl'))
def cmd_list() -> None:
    """Show what is in the database, as a table; `--json` and `--csv` give all columns."""


def _options(function: Any) -> Any:
    for option in (
        click.option('--csv', 'style', flag_value='csv', help='Print CSV.'),
        click.option('--json', 'style', flag_value='json', help='Print a JSON list of objects.'),
        click.option('--material', metavar='FORMULA', help='Only of this crystal, such as NaCl.'),
    ):
        function = option(function)
    return with_profile(function)


@cmd_list.command('potentials', epilog=examples('list potentials --material NaCl --max-error 0.1'))
@click.option('--strategy', help='Only those trained with it.')
@click.option(
    '--foundation', metavar='PK', type=click.IntRange(1, 2**63 - 1), help='Only those trained from this potential.'
)
@click.option('--elements', metavar='SYMBOLS', help='Only those that know these, such as Na,Cl.')
@click.option('--max-error', metavar='THz', type=FiniteRange(min=0), help='Only those with at most this phonon error.')
@click.option(
    '--limit', type=click.IntRange(min=0), help='Only the newest; 0: all.  [default: 100, with --json or --csv all]'
)
@_options
def cmd_potentials(
    elements: str | None, max_error: float | None, limit: int | None, style: str | None, **chosen: Any
) -> None:
    """List potentials, with errors on validation frames and of phonons."""
    symbols = [] if elements is None else [symbol.strip() for symbol in elements.split(',')]
    if limit is None and style is None:
        limit = SHOWN_AT_ONCE
    _write('potentials', style, elements=symbols, max_phonon_mae_thz=max_error, limit=limit or None, **chosen)


@cmd_list.command('jobs', epilog=examples('list jobs', 'list jobs --kind phonons --material NaCl', 'list jobs --json'))
@click.option('--kind', type=click.Choice(KINDS), help='Only of this kind.')
@click.option('--state', type=click.Choice(['running', 'done', 'failed']), help='Only of this state.')
@click.option('--called', is_flag=True, help='Also those that another one has called.')
@click.option(
    '--limit', type=click.IntRange(min=0), help='Only the newest; 0: all.  [default: 100, with --json or --csv all]'
)
@_options
def cmd_jobs(limit: int | None, style: str | None, **chosen: Any) -> None:
    """List jobs: what they are about, whether they ended, and what came out."""
    if limit is None and style is None:
        limit = SHOWN_AT_ONCE
    _write('jobs', style, limit=limit or None, **chosen)


@cmd_list.command('datasets', epilog=examples('list datasets --material NaCl'))
@_options
def cmd_datasets(style: str | None, **chosen: Any) -> None:
    """List labelled frames."""
    _write('datasets', style, **chosen)


@cmd_list.command('phonons', epilog=examples('list phonons --unstable'))
@click.option('--stable/--unstable', default=None, help='Only those without or with imaginary modes.')
@_options
def cmd_phonons(style: str | None, **chosen: Any) -> None:
    """List phonon results."""
    _write('phonons', style, **chosen)


@cmd_list.command('instabilities', epilog=examples('list instabilities --material GeTe'))
@_options
def cmd_instabilities(style: str | None, **chosen: Any) -> None:
    """List the phases behind imaginary modes."""
    _write('instabilities', style, **chosen)


@cmd_list.command('studies', epilog=examples('list studies --json'))
@_options
def cmd_studies(style: str | None, **chosen: Any) -> None:
    """List studies; `--material` takes the name of a crystal in it."""
    _write('studies', style, **chosen)


def _write(name: str, style: str | None, **filters: Any) -> None:
    from pandas.api.types import is_numeric_dtype

    from aiida_equitrain import query

    if style is None and name == 'potentials':
        filters['columns'] = SHOWN[name]
    try:
        table = getattr(query, name)(**filters)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if style == 'json':
        echo(table.to_json(orient='records', date_format='iso', indent=2), lines=True)
    elif style == 'csv':
        words = [name for name in table if not is_numeric_dtype(table[name])]
        table = table.assign(**{name: [printable_tree(value) for value in table[name]] for name in words})
        echo(table.to_csv(index=False), lines=True, nl=False)
    elif table.empty:
        echo(
            f'There are no {name} here'
            + (' that fit.' if any(value for key, value in filters.items() if key not in ('columns', 'limit')) else '.')
        )
    else:
        echo(_text(table[SHOWN[name]]), lines=True)
        if filters.get('limit') == len(table):
            echo(f'The newest {len(table)}; there may be more (`--limit 0`).')


def _text(table: pd.DataFrame) -> str:
    """Return a table for people: what is unknown is a dash, and formulas are as people write them."""
    from pandas import isna

    from aiida_equitrain.common.formatting import formula

    def cell(value: Any, name: str = '') -> str:
        if isinstance(value, list):
            return ' '.join(cell(item, name) for item in value)
        if isinstance(value, bool):
            return 'yes' if value else 'no'
        if name in FORMULAS and isinstance(value, str) and value:
            return printable(formula(value), longest=NAME)
        if value is None or isna(value) or value == '':
            return '–'
        if isinstance(value, datetime):
            return f'{value:%Y-%m-%d %H:%M}'
        return f'{value:.3f}' if isinstance(value, float) else printable(value, longest=LONGEST)

    names = list(table.columns)
    lines = table.itertuples(index=False)
    rows = [names, *([cell(value, name) for value, name in zip(row, names, strict=True)] for row in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = [name in LEFT for name in table.columns]
    return '\n'.join(
        '  '.join(
            text.ljust(width) if is_left else text.rjust(width)
            for text, width, is_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    )
