"""One set-up of a profile at a time: two would make everything twice."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aiida.manage import get_manager
from aiida.manage.configuration import get_config


@contextmanager
def one_at_a_time(on_wait: Callable[[], None]) -> Iterator[None]:
    """Keep the only set-up of the loaded profile; another one is waited for.

    The lock ends with its process, however that ends.

    :param on_wait: called if there is another.
    """
    profile = get_manager().get_profile()
    name = 'none' if profile is None else profile.uuid
    with Path(get_config().dirpath, f'equitrain-setup-{name}.lock').open('a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
            # A session that is open sees the database as it was before.
            get_manager().reset_profile_storage()
        yield
