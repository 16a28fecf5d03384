"""``aiida-equitrain show``."""

from __future__ import annotations

import click

from aiida_equitrain.cli.completion import NODES
from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.results import show_result
from aiida_equitrain.cli.terminal import echo


@click.command('show', epilog=examples('list jobs', 'show 1420', 'show starter'))
@click.argument('identifier', metavar='PK', shell_complete=NODES)
@with_profile
def cmd_show(identifier: str) -> None:
    """Say what a node is and where it came from.

    PK may also be a UUID, or the label of a potential. Of a job that has ended it prints the results, too. Nothing in
    the files of the node is run.
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import ProcessNode

    from aiida_equitrain.launch.nodes import load_any
    from aiida_equitrain.query import describe

    try:
        node = load_any(identifier)
    except NotExistent as error:
        raise click.ClickException(
            f'{error}; `aiida-equitrain list jobs` and `list potentials` show what there is'
        ) from error
    for name, text in describe(node).items():
        echo(f'{name:<18}{text}')
    if isinstance(node, ProcessNode) and node.is_terminated:
        echo()
        show_result(node)
