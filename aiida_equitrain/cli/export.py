"""``aiida-equitrain export``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_equitrain.cli.completion import NODES
from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.places import folder_to_write
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo


@click.command(
    'export',
    epilog=examples('export 1420 si/', 'export starter model/', 'compare si/phonopy.yaml dft/phonopy.yaml'),
)
@click.argument('identifier', metavar='PK', shell_complete=NODES)
@click.argument('folder', metavar='DIR', type=click.Path(path_type=Path), callback=folder_to_write)
@with_profile
def cmd_export(identifier: str, folder: Path) -> None:
    """Write what is stored as files that phonopy, ASE, LAMMPS and spreadsheets open.

    PK (or a UUID, or the label of a potential) is that of any WorkChain of aiida-equitrain, of a potential, a dataset,
    phonons or a structure. DIR gets what there is of: phonopy.yaml (with force constants and Born charges),
    FORCE_CONSTANTS, band.yaml, densities of states, thermal properties and moduli as CSV, crystals as CIF, frames as
    extended XYZ, models with how they are used, the figures as SVG and PDF with their curves as CSV, summary.json, and
    README.md, which says what is what. Nothing in a model file is run.
    """
    from aiida.common.exceptions import NotExistent

    from aiida_equitrain.export.write import NoExportError, export
    from aiida_equitrain.launch.nodes import load_any

    try:
        files = export(load_any(identifier), folder, lambda text: echo(text, err=True))
    except NotExistent as exception:
        raise click.ClickException(f'{exception}; `aiida-equitrain list` shows what there is') from exception
    except NoExportError as exception:
        raise click.ClickException(str(exception)) from exception
    for file in sorted(files):
        echo(file)
    echo(f'{len(files)} files in {folder.absolute()}; README.md says what they are.')
