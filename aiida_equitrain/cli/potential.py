"""``aiida-equitrain potential``."""

from __future__ import annotations

from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_equitrain.cli.completion import CODES, POTENTIALS
from aiida_equitrain.cli.download import download_display
from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.group import NamedGroup
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo
from aiida_equitrain.common.validation import nearest

if TYPE_CHECKING:
    from aiida_equitrain.data.potential import PotentialData


#: Bytes of the largest card.
MAX_CARD = 2**20


@click.group(
    'potential', cls=NamedGroup, epilog=examples('potential import medium-mpa-0', 'potential export 88 si.model')
)
def cmd_potential() -> None:
    """Store and show potentials, and write them as model files for other programs."""


@cmd_potential.command('import', epilog=examples('potential import medium-mpa-0', 'potential import my.model'))
@click.argument('source', metavar='FILE_OR_NAME')
@click.option('--label', default='', help='Of the node.  [default: the name]')
@click.option('--functional', default='', help='Of the data that it was trained on, such as PBE.')
@click.option('--head', help='The one to use of a model with several.')
@click.option('--card', type=click.Path(exists=True, dir_okay=False, path_type=Path), help='JSON file about it.')
@click.option('--sha256', metavar='SUM', help='What the publisher says that the file has.')
@with_profile
def cmd_import(source: str, card: Path | None, **chosen: Any) -> None:
    """Store a foundation potential for `--foundation LABEL`.

    FILE_OR_NAME is a model file of MACE, a checkpoint of SevenNet, a `.nqx` of Nequix, or a name: that of a model of
    Nequix (nequix-oam-1-pft, nequix-mp-1, ...), whose SHA-256 is known, or one by which MACE knows a model (medium,
    medium-0b3, medium-mpa-0, ...), which is held to its first SHA-256. It is downloaded here, once. Jobs get the file
    and never download anything. Nothing in the file is run here.
    """
    from aiida_equitrain.science.json_text import parse_json
    from aiida_equitrain.science.text_files import read_text
    from aiida_equitrain.setup.download import DownloadError
    from aiida_equitrain.setup.foundations import describe, import_potential

    try:
        content = parse_json(read_text(card, MAX_CARD)) if card else {}
        node, is_new = import_potential(source, card=content, progress=download_display(), **chosen)
    except JSONDecodeError as error:
        raise click.ClickException(f'`--card` is no JSON: {error}') from error
    except (ValueError, DownloadError) as error:
        raise click.ClickException(str(error)) from error
    echo(f'{"Stored" if is_new else "It is there:"} {describe(node)}, SHA-256 {node.checked_sha256()}')
    if node.origin.startswith('http'):
        echo(f'From {node.origin}; its terms are those of the publisher.')
    echo(f'To use it: aiida-equitrain launch material FILE.cif --foundation {node.label}')


@cmd_potential.command('show', epilog=examples('potential show starter'))
@click.argument('identifier', metavar='PK', shell_complete=POTENTIALS)
@with_profile
def cmd_show(identifier: str) -> None:
    """Show what a potential is; nothing in its file is run.

    PK is that of a PotentialData, or its label or UUID.
    """
    node = _load(identifier)
    try:
        rows = _rows(node)
    except (TypeError, ValueError) as error:
        raise click.ClickException(
            f'PK {node.pk} has attributes that no potential of ours has: do not use it'
        ) from error
    for name, value in rows.items():
        echo(f'{name:<14}{value}')


@cmd_potential.command('forget', epilog=examples('potential forget medium-mpa-0'))
@click.argument('name')
def cmd_forget(name: str) -> None:
    """Forget the SHA-256 of a download, so that the next download of it may be another file.

    NAME is that of the message that refused the file. Do this only if the publisher announced a new file.
    """
    from aiida_equitrain.setup.download import DownloadError, pins

    try:
        found = pins().remove(name)
        known = pins().read()
    except DownloadError as error:
        raise click.ClickException(str(error)) from error
    if found is None:
        raise click.ClickException(f'no SHA-256 is kept for `{name}`: {nearest(name, known)}')
    echo(f'Forgot {name}, SHA-256 {found}: the next download decides.')


@cmd_potential.command('export', epilog=examples('potential export 88 si.model'))
@click.argument('identifier', metavar='PK', shell_complete=POTENTIALS)
@click.argument('file', type=click.Path(dir_okay=False, path_type=Path))
@click.option('--python', shell_complete=CODES, metavar='LABEL', help='Code: its Python.  [default: of the set-up]')
@click.option('-y', '--yes', is_flag=True, help='Do not ask: I trust the model file of an archive.')
@with_profile
def cmd_export(identifier: str, file: Path, python: str | None, yes: bool) -> None:
    """Write a potential as one model file that the calculator of MACE, SevenNet or Nequix itself loads.

    PK is that of a PotentialData, or its label or UUID. An adapter is put together with its foundation: of MACE and
    SevenNet by a job, as it runs what is in the foundation's file; of Nequix nothing is run. `aiida-equitrain export PK
    DIR` also writes the file for LAMMPS, and how the files are used.
    """
    from aiida_equitrain.launch.conversion import ConversionError, came_with_archive, convert

    node = _load(identifier)
    foundation = _foundation(node)
    if file.exists():
        raise click.ClickException(f'`{file}` exists, and is not overwritten: give another name')
    if not file.absolute().parent.is_dir():
        raise click.ClickException(f'there is no folder `{file.absolute().parent}`')
    try:
        content = node.whole_model()
        if content is None:
            if came_with_archive(node) and not yes:
                whose = f' (or its foundation, PK {foundation.pk})' if foundation is not None else ''
                echo(f'PK {node.pk}{whose} came with an archive. The model file')
                click.confirm('is a program, which a job runs to put the model together. Do you trust it?', abort=True)
            echo('a job puts adapter and foundation together ...', err=True)
            content = convert(node, python, needs='whole_model').outputs.whole_model.get_content(mode='rb')
        with file.open('xb') as target:
            target.write(content)
    except (ConversionError, ValueError, OSError) as exception:
        raise click.ClickException(f'the model file cannot be made: {exception}') from exception
    echo(f'Wrote {file} ({file.stat().st_size} bytes).')


def _load(identifier: str) -> PotentialData:
    """Return a potential, or end with a sentence."""
    from aiida.common.exceptions import NotExistent

    from aiida_equitrain.launch.nodes import load_potential

    try:
        node = load_potential(identifier)
        node.checked_sha256()  # what is printed was computed
        return node
    except (NotExistent, ValueError) as exception:
        raise click.ClickException(str(exception)) from exception


def _foundation(node: PotentialData) -> PotentialData | None:
    """Return the foundation of an adapter, or end with a sentence."""
    from aiida.common.exceptions import NotExistent

    try:
        return node.foundation
    except NotExistent as exception:
        raise click.ClickException(str(exception)) from exception


def _rows(node: PotentialData) -> dict[str, str]:
    """Return what a potential says of itself."""
    rows = {
        'name': node.card.get('name') or node.label or '–',
        'kind': node.kind,
        'architecture': f'{node.architecture} ({node.family}), {node.n_parameters} parameters, {node.dtype}',
        'elements': f'{len(node.elements)}: {" ".join(node.elements)}',
        'cut-off': f'{node.cutoff:g} Å',
        'head': node.head or '–',
        'file': f'{node.filename}, {node.n_bytes} bytes, SHA-256 {node.sha256}',
        'origin': node.origin or '–',
    }
    foundation = _foundation(node)
    if trained_on := (foundation or node).trained_on:
        rows['trained on'] = ', '.join(trained_on)
    if foundation is not None:
        rows['foundation'] = f'PK {foundation.pk}, {foundation.n_bytes} bytes, SHA-256 {foundation.sha256}'
    return rows
