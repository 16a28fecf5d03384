"""Commands that do what none must do: `fork_server.py` puts one in the place of ``compare``."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import click
from harness import CODE_RAN


def fail(text: str = 'refused') -> None:
    raise click.ClickException(text)


def run_code() -> None:
    Path(CODE_RAN).touch()
    fail()


def eat_memory() -> None:
    assert b'\1' * 300_000_000
    fail()


def spin() -> None:
    while True:
        pass


def show_traceback() -> None:
    print('Traceback (most recent call last):\nrefused')
    fail()


def warn() -> None:
    warnings.warn('look out', UserWarning, stacklevel=1)
    fail()


def log() -> None:
    logging.getLogger('some.library').warning('\x1b]0;title\x07')
    fail()


def write_home() -> None:
    Path.home().joinpath('here').touch()
    fail()


def end_by_signal() -> None:
    print('refused', flush=True)
    os.abort()


#: What the suite has to find, and a command that does it.
BAD: dict[str, Callable[[], object]] = {
    'code of the input ran': run_code,
    'MB': eat_memory,
    's of a core': spin,
    'ended by SIGKILL': lambda: time.sleep(60),
    'it shows a traceback': show_traceback,
    'a library speaks': warn,
    'control characters': log,
    'it left `home/here`': write_home,
    'ended by SIGABRT': end_by_signal,
    'does not say': lambda: fail('no'),
    'exit code is 0': lambda: print('refused'),
    'characters': lambda: fail('refused' + ' and more' * 500),
}
