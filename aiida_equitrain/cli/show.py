"""``aiida-equitrain show``."""

from __future__ import annotations

import click

from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo


@click.command('show')
@click.argument('identifier', metavar='PK')
@with_profile
def cmd_show(identifier: str) -> None:
    """Say what a node is and where it came from.

    PK may also be a UUID. Nothing in the files of the node is run.
    """
    from aiida.common.exceptions import NotExistent

    from aiida_equitrain.launch.nodes import load_node
    from aiida_equitrain.query import describe

    try:
        node = load_node(identifier)
    except NotExistent as error:
        raise click.ClickException(f'{error}; `aiida-equitrain list potentials` shows what there is') from error
    for name, text in describe(node).items():
        echo(f'{name:<18}{text}')
