"""A group of commands whose failures are sentences."""

from __future__ import annotations

import os
import warnings
from typing import Any

import click

from aiida_equitrain.cli.failures import TRACEBACK, sentence
from aiida_equitrain.common.printable import NAME, SENTENCE, printable
from aiida_equitrain.common.validation import nearest

#: Libraries whose warnings say nothing to a user of a command: what is wrong, we say in a sentence.
LIBRARIES = ('ase', 'phonopy', 'phono3py', 'pymatgen', 'seekpath', 'spglib', 'symfc')


#: Characters of the first sentence of a command in the list of its group.
LONGEST_HELP = 200


class NamedGroup(click.Group):
    """A group that names the nearest command where there is none of a name, and whose help cuts no sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were made, which is that of the work."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands, each with its whole first sentence."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [(name, item.get_short_help_str(LONGEST_HELP)) for name, item in commands.items() if item is not None]
        with formatter.section('Commands'):
            formatter.write_dl(rows)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a subcommand; of a wrong name the nearest one is told.

        :raises click.UsageError: with that.
        """
        name = args[0] if args else ''
        if name and not name.startswith('-') and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            groups = ((item, self.get_command(ctx, item)) for item in known)
            below = [
                item for item, group in groups if isinstance(group, click.Group) and name in group.list_commands(ctx)
            ]
            right = f'did you mean `{below[0]} {name}`?' if below else nearest(name, known)
            raise click.UsageError(f'there is no command `{printable(name, longest=NAME)}`: {right}', ctx)
        return super().resolve_command(ctx, args)


class SentenceGroup(NamedGroup):
    """A group that ends with a sentence, whatever goes wrong below it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand; whatever it ends with is a sentence, which quotes files and nodes and is made printable."""
        try:
            with warnings.catch_warnings():
                for library in LIBRARIES:
                    warnings.filterwarnings('ignore', module=rf'{library}(\.|$)')
                return super().invoke(ctx)
        except click.ClickException as exception:
            exception.message = printable(exception.message, longest=SENTENCE)
            raise
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as exception:
            if os.environ.get(TRACEBACK):
                raise
            raise click.ClickException(printable(sentence(exception), longest=SENTENCE)) from exception
