"""``aiida-equitrain data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.group import NamedGroup
from aiida_equitrain.cli.numbers import FiniteRange
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo


@click.group('data', cls=NamedGroup, epilog=examples('data import frames.xyz --functional PBE'))
def cmd_data() -> None:
    """Labelled frames from elsewhere."""


@cmd_data.command(
    'import',
    epilog=examples('data import frames.xyz --functional PBE --n-frames 10'),
)
@click.argument('files', nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option('--functional', required=True, help='Of the labels, such as PBE.')
@click.option('--n-frames', type=click.IntRange(min=2), help='Train on so many, drawn at random.  [default: all]')
@click.option('--n-test', type=click.IntRange(min=0), help='Keep at most so many of the other frames.  [default: all]')
@click.option('--valid-fraction', type=FiniteRange(0, 1, max_open=True), default=0.2, show_default=True)
@click.option('--seed', type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help='Of the draw.')
@click.option('--code', default='', help='Program that computed the labels.')
@click.option('--source', default='', help='Where the files came from, such as a DOI.')
@click.option('--licence', default='', help='Terms under which they may be used.')
@click.option('--label', default='', help='Of the nodes.  [default in a group: the formula]')
@click.option('--group', default='', help='Add the nodes to this group, of which `launch study` can be made.')
@with_profile
def cmd_import(files: tuple[Path, ...], **chosen: Any) -> None:
    """Store the labelled frames of files as one dataset.

    FILES are extended XYZ, vasprun.xml, output of pw.x, phonopy or phono3py files with displacements and forces (also
    .xz or .gz), or a folder, or .tar.xz or .tar.gz of one, of a phonopy_disp.yaml with its vasprun files. A phonopy
    file also gives the crystal and its phonons, as nodes of their own. What is left out is said.
    """
    from aiida_equitrain.launch.data_import import import_data

    try:
        found = import_data(files, **chosen)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if found.dataset is not None:
        _tell_dataset(found.dataset)
    for note in found.notes:
        echo(f'note       {note}')
    if found.structure is not None and found.phonopy_data is not None:
        echo(f'structure  PK {found.structure.pk}')
        echo(f'phonons    PK {found.phonopy_data.pk}')
    if found.nac is not None:
        echo(f'nac        PK {found.nac.pk}: Born charges and dielectric tensor, which the phonons are without')
    if found.dataset is not None:
        echo(_next_step(found.dataset))


def _tell_dataset(dataset: Any) -> None:
    """Say what a dataset holds."""
    from aiida_equitrain.common.formatting import formula

    roles = ', '.join(f'{number} {role}' for role, number in dataset.counts.items() if number)
    crystals = ' '.join(map(formula, dataset.formulas))
    echo(f'dataset    PK {dataset.pk}: {dataset.n_frames} frames of {crystals} ({roles})')
    frames = dataset.get_frames()
    for name, plural in (('energy', 'energies'), ('stress', 'stress')):
        missing = sum(getattr(frame, name) is None for frame in frames)
        if missing:
            what = f'no {plural}' if missing == len(frames) else f'{missing} of {len(frames)} frames have no {name}'
            echo(f'           {what}: `{name}_weight` is 0 in trainings with it')


def _next_step(dataset: Any) -> str:
    """Return what can be done with a dataset."""
    if not dataset.counts['valid']:
        return 'To train on it, frames to validate by are needed: import with a `--valid-fraction` above 0'
    return f'To train on it: aiida-equitrain launch finetune {dataset.pk}'
