"""``aiida-equitrain report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.completion import JOBS
from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo

#: Folder for the files of :mod:`aiida_equitrain.export` beside the page.
FILES = 'files'


@click.command('report', epilog=examples('list jobs', 'report 1420 -o si/'))
@click.argument('identifier', metavar='PK', shell_complete=JOBS)
@click.option(
    '-o',
    '--output',
    type=click.Path(file_okay=False, path_type=Path),
    default=Path('equitrain-report'),
    show_default=True,
    help='Folder for report.html, the figures as PNG, summary.json, and `files/`, what `export` writes.',
)
@with_profile
def cmd_report(identifier: str, output: Path) -> None:
    """Write the page of results of a job: bands, learning curve, errors, cost, provenance.

    PK is that of a StudyWorkChain, a MaterialWorkChain, a FinetuneWorkChain, a CommitteeWorkChain, or of one that
    computes phonons, instabilities, thermal expansion or conductivity. A MaterialWorkChain that failed or still runs is
    shown as far as it got.
    """
    from aiida.common.exceptions import NotExistent

    from aiida_equitrain.launch.nodes import load_node

    try:
        node = load_node(identifier)
    except NotExistent as exception:
        raise click.ClickException(f'{exception}; `aiida-equitrain list jobs` shows them') from exception
    show_report(node, output)


def show_report(node: Any, folder: Path) -> None:
    """Write the report and the files of the results; print their table, where they are, and how to look further."""
    from aiida_equitrain.cli.results import show_result
    from aiida_equitrain.export.write import NoExportError, export
    from aiida_equitrain.report.write import PAGE, SUMMARY, write_report

    try:
        data = write_report(node, folder)
        files = export(node, folder / FILES)
    except NoExportError:
        files = []
    except ValueError as exception:
        raise click.ClickException(str(exception)) from exception
    except OSError as exception:
        remedy = f'`aiida-equitrain report {node.pk} -o FOLDER` writes it elsewhere'
        message = f'the report cannot be written to `{folder}` ({exception.strerror}): {remedy}'
        raise click.ClickException(message) from exception
    echo()
    show_result(node)
    for note in data.get('notes', ()):
        echo(f'  Note: {note}', fg='yellow')
    echo()
    echo(f'  page      {folder.absolute() / PAGE}')
    echo(f'  summary   {folder.absolute() / SUMMARY}')
    if files:
        echo(f'  files     {folder.absolute() / FILES} ({len(files)}, see README.md)')
    echo()
    echo('  To look further:')
    for command in data['commands']:
        echo(f'    {command}')
