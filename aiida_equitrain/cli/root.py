"""The command ``aiida-equitrain``: subcommands are imported only when they are called."""

from __future__ import annotations

from importlib import import_module

import click

import aiida_equitrain
from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.group import SentenceGroup

#: Subcommands and their line in the help. ``name`` is ``cmd_<name>`` in ``aiida_equitrain.cli.<name>``.
COMMANDS = {
    'setup': 'Create what a profile lacks: computer, codes, pseudopotentials, foundation potential.',
    'launch': 'Run a job, such as the main job on a crystal structure.',
    'report': 'Write the page of results of a finished job.',
    'export': 'Write phonons, potentials, datasets and results as files that other programs open.',
    'list': 'List jobs, potentials, datasets, phonons, instabilities or studies in the database.',
    'show': 'Say what a node is and where it came from.',
    'data': 'Import labelled frames that exist already.',
    'publish': 'Write the graph of a study as an archive that others can check and run again.',
    'reproduce': 'Check a published archive, and run steps of it again.',
    'potential': 'Import or show a potential, or write it as a model file.',
    'compare': 'Compare the phonons of two phonopy.yaml files; needs no profile.',
}


class LazyGroup(SentenceGroup):
    """A group whose help needs no import of its subcommands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f'aiida_equitrain.cli.{cmd_name}')
        command: click.Command = getattr(module, f'cmd_{cmd_name}')
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands."""
        with formatter.section('Commands'):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    'aiida-equitrain',
    cls=LazyGroup,
    context_settings={'help_option_names': ['-h', '--help']},
    epilog=examples('setup', 'launch material Si.cif --protocol fast --dry-run', 'list jobs', 'export 1420 si/'),
)
@click.option('-p', '--profile', metavar='NAME', help='AiiDA profile; by default the default profile.')
@click.version_option(aiida_equitrain.__version__, prog_name='aiida-equitrain')
def cmd_root(profile: str | None) -> None:
    """From a crystal structure to a fine-tuned machine-learning potential and its phonons."""
