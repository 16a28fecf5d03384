"""``aiida-equitrain export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.completion import CODES, NODES
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
@click.option(
    '--lammps/--no-lammps',
    default=None,
    help='Whether a job makes the file for LAMMPS of a potential.  [default: unless it came with an archive]',
)
@click.option('--python', shell_complete=CODES, metavar='LABEL', help='Code: its Python.  [default: of the set-up]')
@with_profile
def cmd_export(identifier: str, folder: Path, lammps: bool | None, python: str | None) -> None:
    """Write what is stored as files that phonopy, ASE, LAMMPS and spreadsheets open.

    PK (or a UUID, or the label of a potential) is that of any WorkChain of aiida-equitrain, of a potential, a dataset,
    phonons or a structure. DIR gets what there is of: phonopy.yaml (with force constants and Born charges),
    FORCE_CONSTANTS, band.yaml, densities of states, thermal properties and moduli as CSV, crystals as CIF, frames as
    extended XYZ, models with how they are used, the figures as SVG and PDF with their curves as CSV, summary.json, and
    README.md, which says what is what. What has to load a model (to put an adapter and its foundation together, or to
    make the file for LAMMPS) is done by a job, as it runs what is in the file; a job that was done before is not
    repeated.
    """
    from aiida.common.exceptions import NotExistent

    from aiida_equitrain.export.model import Conversion
    from aiida_equitrain.export.write import NoExportError, export
    from aiida_equitrain.launch.nodes import load_any

    def convert(potential: Any) -> Conversion:
        conversion: Conversion = conversion_of(potential, lammps, python)
        if conversion.reason:
            echo(f'Note: no file for LAMMPS: {conversion.reason}.', err=True, fg='yellow')
        return conversion

    try:
        files = export(load_any(identifier), folder, lambda text: echo(text, err=True), convert)
    except NotExistent as exception:
        raise click.ClickException(
            f'{exception}; `aiida-equitrain list jobs` and `list potentials` show what there is'
        ) from exception
    except NoExportError as exception:
        raise click.ClickException(str(exception)) from exception
    for file in sorted(files):
        echo(file)
    echo(f'{len(files)} files in {folder.absolute()}; README.md says what they are.')


def conversion_of(potential: Any, lammps: bool | None, python: str | None) -> Any:
    """Return what a job makes of a potential, or why there is none.

    :param lammps: whether it is wanted; ``None``: unless the potential came with an archive.
    """
    from aiida_equitrain.export.model import Conversion
    from aiida_equitrain.launch.conversion import ConversionError, came_with_archive, convert

    if lammps is False:
        return Conversion(reason='`--no-lammps` was given')
    if lammps is None and came_with_archive(potential):
        return Conversion(reason='the potential came with an archive, and making it runs what is in the model: '
                                 '`--lammps` has a job do so')  # fmt: skip
    echo('a job makes the file for LAMMPS ...', err=True)
    try:
        return Conversion(convert(potential, python))
    except ConversionError as exception:
        return Conversion(reason=str(exception).rstrip('.'))
