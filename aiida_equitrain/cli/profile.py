"""Load the AiiDA profile of a command, only for commands that need one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from aiida_equitrain.cli.terminal import tame_logging

P = ParamSpec('P')
T = TypeVar('T')


def load_profile(name: str | None = None) -> None:
    """Load a profile, unless one is loaded and none is named.

    :raises click.ClickException: if there is no such profile, with the remedy.
    """
    from aiida.common.exceptions import MissingConfigurationError, ProfileConfigurationError
    from aiida.manage import get_manager
    from aiida.manage.configuration import load_profile as load

    if name is None and get_manager().get_profile() is not None:
        return
    try:
        load(name, allow_switch=True)
        tame_logging()
    except (MissingConfigurationError, ProfileConfigurationError) as exception:
        which = f'no AiiDA profile `{name}`' if name else 'no default AiiDA profile'
        raise click.ClickException(
            f'there is {which} here: after `bash scripts/quickstart.sh`, `source .venv/bin/activate` finds that of the '
            'checkout; `verdi presto --use-zeromq` makes a new one'
        ) from exception


def with_profile(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a command so that the profile of ``aiida-equitrain -p NAME`` is loaded before it runs."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        context = click.get_current_context()
        options = context.find_root().params
        load_profile(options.get('profile'))
        return function(*args, **kwargs)

    return wrapper
