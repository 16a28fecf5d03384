"""Bad luck ends in a sentence at the root of the command line, and a bug says how to see where it is."""

from __future__ import annotations

import errno
import re
import sqlite3
from typing import Any

import click
import pytest
from aiida.common import exceptions
from click.testing import CliRunner
from sqlalchemy import exc

from aiida_equitrain.cli import compare
from aiida_equitrain.cli.failures import TRACEBACK
from aiida_equitrain.cli.root import cmd_root


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs a command that raises."""

    def run(failure: BaseException) -> Any:
        def fail() -> None:
            raise failure

        monkeypatch.setattr(compare, 'cmd_compare', click.command('compare')(fail))
        return CliRunner().invoke(cmd_root, ['compare'])

    return run


def _of_sqlite(text: str) -> exc.OperationalError:
    return exc.OperationalError('SELECT db_dbnode.attributes', {}, sqlite3.OperationalError(text))


CASES = [
    (OSError(errno.ENOSPC, 'No space left on device'), 'the disk is full'),
    (PermissionError(errno.EACCES, 'Permission denied', '/root/x'), '`/root/x` cannot be .* permission is denied'),
    (FileNotFoundError(errno.ENOENT, 'No such file', b'/a/\xff'), 'no such file or folder'),
    (NotADirectoryError(errno.ENOTDIR, 'Not a directory', 'a/b'), 'is a file, not a folder'),
    (OSError(errno.EROFS, 'Read-only', 'x'), 'read-only'),
    (OSError(errno.EIO, 'Input/output error'), 'input/output error'),
    (OverflowError('Python int too large to convert to SQLite INTEGER'), 'up to 9223372036854775807'),
    (_of_sqlite('database is locked'), 'another process keeps it locked'),
    (_of_sqlite('attempt to write a readonly database'), 'you may not write it'),
    (_of_sqlite('database or disk is full'), 'its disk is full'),
    (_of_sqlite('no such table: db_dbnode'), 'damaged or its server is off'),
    (sqlite3.DatabaseError('file is not a database'), 'is damaged'),
    (exceptions.UnreachableStorage('x'), 'nothing answers there'),
    (exceptions.CorruptStorage('x'), 'is damaged'),
    (exceptions.IncompatibleStorageSchema('x'), 'verdi storage migrate'),
    (exceptions.LockedProfileError('x'), 'maintenance of its storage'),
    (exceptions.ConfigurationError('x'), 'verdi profile list'),
    (MemoryError(), 'not enough memory'),
    (RecursionError(), 'nests deeper'),
]  # fmt: skip


@pytest.mark.parametrize(('failure', 'says'), CASES, ids=lambda item: type(item).__name__)
def test_known(failure: BaseException, says: str, failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine does to us is said with the remedy, without the words of a library."""
    monkeypatch.delenv(TRACEBACK)
    result = failing(failure)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    [line] = result.output.splitlines()
    assert re.search(says, line), line
    assert TRACEBACK not in line
    assert 'SELECT' not in line


def test_bug(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is one short line that says how to see more, and with that it is shown."""
    bug = KeyError('first\x1b]0;line' + 'x' * 500)
    assert failing(bug).exception is bug
    monkeypatch.delenv(TRACEBACK)
    result = failing(bug)
    assert result.exit_code == 1
    [line] = result.output.splitlines()
    assert f'{TRACEBACK}=1' in line
    assert 'KeyError' in line
    assert len(line) < 500
    assert '\x1b' not in line


@pytest.mark.parametrize('way_out', [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c(way_out: BaseException, failing: Any) -> None:
    """Ctrl-C is no bug."""
    result = failing(way_out)
    assert (result.exit_code, result.output.strip()) == (1, 'Aborted!')
