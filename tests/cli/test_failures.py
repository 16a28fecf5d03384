"""Bad luck ends in a sentence at the root of the command line, and a bug says how to see where it is."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from aiida.common import exceptions
from click.testing import CliRunner
from kiwipy import UnroutableError
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
    (exceptions.MultipleObjectsError('x'), 'name the one that you mean'),
    (ConnectionRefusedError(errno.ECONNREFUSED, 'Connection refused'), 'the broker of the profile'),
    (TimeoutError(), '`verdi status` says which'),
    (UnroutableError('x'), '`verdi status` says which'),
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


@pytest.mark.real
def test_broken_profile(tmp_path: Path) -> None:
    """A database that is damaged, empty or locked, and a broken configuration, each have their sentence."""
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path), 'PATH': f'{Path(sys.executable).parent}:/usr/bin:/bin'}
    environment.pop(TRACEBACK, None)

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environment, stdout=-1, stderr=-2, text=True, check=False, timeout=300)
        return f'{done.returncode} {done.stdout}'

    setup = ['verdi', 'profile', 'setup', 'core.sqlite_dos', '-n', '--profile-name', 'bad', '--email', 'a@b.c']
    assert run(*setup).startswith('0'), 'no profile'
    [database] = tmp_path.rglob('database.sqlite')
    good = database.read_bytes()
    for content, says in ((bytes(range(256)) * 99, 'damaged'), (b'', 'no database at all'), (good, 'locked')):
        database.write_bytes(content)
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            if content is good:
                connection.execute('PRAGMA locking_mode=EXCLUSIVE')
                connection.execute('BEGIN EXCLUSIVE')
            output = run('aiida-equitrain', '-p', 'bad', 'list', 'potentials')
        assert output.startswith('1 Error: the database of the profile'), output
        assert says in output
    next(tmp_path.rglob('config.json')).write_text('{')
    output = run('aiida-equitrain', '-p', 'bad', 'list', 'potentials')
    assert output.startswith('1 Error: the configuration of AiiDA cannot be used'), output


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
