"""A group of commands whose failures are sentences."""

from __future__ import annotations

import os
import warnings
from typing import Any

import click

from aiida_equitrain.cli.failures import TRACEBACK, sentence
from aiida_equitrain.common.printable import SENTENCE, printable

#: Libraries whose warnings say nothing to a user of a command: what is wrong, we say in a sentence.
LIBRARIES = ('ase', 'phonopy', 'phono3py', 'pymatgen', 'seekpath', 'spglib', 'symfc')


class SentenceGroup(click.Group):
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
