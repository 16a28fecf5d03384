"""``aiida-equitrain report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo


@click.command('report')
@click.argument('identifier', metavar='PK')
@click.option(
    '-o',
    '--output',
    type=click.Path(file_okay=False, path_type=Path),
    default=Path('equitrain-report'),
    show_default=True,
    help='Folder for report.html, the figures as PNG, and summary.json.',
)
@with_profile
def cmd_report(identifier: str, output: Path) -> None:
    """Write the page of results of a job: bands, learning curve, errors, cost, provenance.

    PK is that of a StudyWorkChain, a MaterialWorkChain, a FinetuneWorkChain, a CommitteeWorkChain, or of one that
    computes instabilities, thermal expansion, conductivity or corrected phonons. A MaterialWorkChain that failed or
    still runs is shown as far as it got.
    """
    from aiida.common.exceptions import NotExistent

    from aiida_equitrain.launch.nodes import load_node

    try:
        node = load_node(identifier)
    except NotExistent as exception:
        raise click.ClickException(f'{exception}; `verdi process list -a` shows the jobs') from exception
    show_report(node, output)


def show_report(node: Any, folder: Path) -> None:
    """Write the report, and print the table of results, where the files are, and how to look further."""
    from aiida_equitrain.common.formatting import duration, number
    from aiida_equitrain.report.write import PAGE, SUMMARY, write_report

    try:
        data = write_report(node, folder)
    except ValueError as exception:
        raise click.ClickException(str(exception)) from exception
    except OSError as exception:
        remedy = f'`aiida-equitrain report {node.pk} -o FOLDER` writes it elsewhere'
        message = f'the report cannot be written to `{folder}` ({exception.strerror}): {remedy}'
        raise click.ClickException(message) from exception
    if 'text' in data:
        echo(data['text'], lines=True)
        for warning in data.get('warnings', ()):
            echo(warning, fg='red')
        echo(f'page      {folder.absolute() / PAGE}')
        return
    summary = data['summary']
    rows = [
        ('phonons, foundation', number(summary['foundation_mae_thz']), 'THz', 'foundation_mae_thz'),
        ('phonons, corrected by labels', number(summary['corrected_mae_thz']), 'THz', 'corrected_mae_thz'),
        (
            '  error bar, from the labels alone',
            number(summary['corrected_uncertainty_thz']),
            'THz',
            'corrected_uncertainty_thz',
        ),
        ('phonons, fine-tuned', number(summary['finetuned_mae_thz']), 'THz', 'finetuned_mae_thz'),
        (
            'phonons, fine-tuned and corrected',
            number(summary['corrected_finetuned_mae_thz']),
            'THz',
            'corrected_finetuned_mae_thz',
        ),
        ('phonons, symfc fit without a potential', number(summary['symfc_mae_thz']), 'THz', 'symfc_mae_thz'),
        (
            'forgetting (forces of other crystals)',
            number(summary['forgetting_mev_per_angstrom']),
            'meV/Å',
            'forgetting_mev_per_angstrom',
        ),
    ]
    echo()
    echo(f'{summary["material"]}, {summary["strategy"]}: error against DFT', bold=True)
    for title, value, unit, key in rows:
        if summary[key] is not None:
            echo(f'  {title:<40}{value:>9} {unit}')
    for row in data['validation']:
        text = f'  {row["title"]:<40}{number(row["after"]):>9} {row["unit"]}, foundation {number(row["before"])}'
        echo(text, fg='red' if row['worse'] else None)
    echo(f'  {"labelled frames":<40}{summary["n_frames"] or "–":>9} of up to {summary["n_atoms"]} atoms')
    echo(f'  {"time":<40}{duration(summary["seconds"]):>9}, {duration(summary["core_seconds"])} of core time')
    for warning in data['warnings']:
        echo(f'  {warning}', fg='red')
    verdict = data['verdict']
    echo(f'  {verdict["title"]}', fg={'good': 'green', 'bad': 'red'}.get(verdict['level']), bold=True)
    for flag in verdict['flags']:
        echo(
            f'  {"Wrong" if flag["level"] == "red" else "To know"}: {flag["text"]}.',
            fg='red' if flag['level'] == 'red' else None,
        )
        echo(f'    What to do: {flag["remedy"]}.')
    for note in data['notes']:
        echo(f'  Note: {note}', fg='yellow')
    echo()
    echo(f'  page      {folder.absolute() / PAGE}')
    echo(f'  summary   {folder.absolute() / SUMMARY}')
    echo()
    echo('  To look further:')
    for command in data['commands']:
        echo(f'    {command}')
