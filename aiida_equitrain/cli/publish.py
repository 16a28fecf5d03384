"""``aiida-equitrain publish``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo


@click.command('publish', epilog=examples('publish 1420 -o study.aiida'))
@click.argument('identifier', metavar='PK')
@click.option('-o', '--output', type=click.Path(dir_okay=False, path_type=Path), default=Path('study.aiida'),
              show_default=True, help='Archive to write; its README and report go beside it.')  # fmt: skip
@with_profile
def cmd_publish(identifier: str, output: Path) -> None:
    """Write the graph of a study or a main job as an AiiDA archive that anybody can check and run again.

    Home folders, user names in paths, mail addresses and what schedulers said of jobs are taken out of what nodes say
    and of the text files of jobs; other files stay as they are. What the archive says of machines, and which files may
    name you, is printed first.
    """
    from aiida.common.exceptions import NotExistent

    from aiida_equitrain.launch.nodes import load_node
    from aiida_equitrain.publish.write import publish

    try:
        node: Any = load_node(identifier)
        done = publish(node, output, _tell)
    except (NotExistent, ValueError) as error:
        raise click.ClickException(str(error)) from error
    echo(f'archive  {done.archive} ({done.archive.stat().st_size / 1e6:.1f} MB, {len(done.manifest["nodes"])} nodes)')
    echo(f'readme   {done.readme}')
    if done.report is not None:
        echo(f'report   {done.report}')
    echo(f'SHA-256  {done.sha256}')
    echo(f'To check it elsewhere: aiida-equitrain reproduce {done.archive.name} --sha256 {done.sha256}')


def _tell(stays: dict[str, list[str]]) -> None:
    for what, items in stays.items():
        echo(f'it says  {what}: {", ".join(items) or "none"}')
