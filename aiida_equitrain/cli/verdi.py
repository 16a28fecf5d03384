"""``verdi data equitrain-potential`` and ``verdi data equitrain-dataset``: commands of ours at AiiDA's own place."""

from __future__ import annotations

import click

from aiida_equitrain.cli.data import cmd_import as cmd_import_dataset
from aiida_equitrain.cli.group import SentenceGroup
from aiida_equitrain.cli.list import cmd_datasets, cmd_potentials
from aiida_equitrain.cli.potential import cmd_export, cmd_import, cmd_show


@click.group('equitrain-potential', cls=SentenceGroup)
def cmd_potential() -> None:
    """List, show, export and import machine-learning potentials (aiida-equitrain)."""


@click.group('equitrain-dataset', cls=SentenceGroup)
def cmd_dataset() -> None:
    """List and import labelled frames (aiida-equitrain)."""


for name, command in (('list', cmd_potentials), ('show', cmd_show), ('export', cmd_export), ('import', cmd_import)):
    cmd_potential.add_command(command, name)
for name, command in (('list', cmd_datasets), ('import', cmd_import_dataset)):
    cmd_dataset.add_command(command, name)
