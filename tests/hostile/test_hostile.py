"""What strangers give to the command line ends in a sentence: no code runs, no traceback, within 10 s and 1 GB."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from case import Case
from harness import CODE_RAN, cases_of, problems, run

#: Half of the modules of cases; those of the other half are in `test_hostile_files.py`, for another worker.
CASES: list[Case] = cases_of('archives', 'bounds', 'downloads', 'pages')


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_hostile(case: Case, tmp_path: Path, commands: Any) -> None:
    """The command says what is wrong with the input, or takes what is harmless."""
    outcome = run(case, tmp_path)
    assert not problems(case, outcome, tmp_path), outcome.output[-3000:]


@pytest.fixture
def bad_command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that puts another function in the place of a subcommand."""
    import click

    from aiida_equitrain.cli import compare

    def put(function: Any) -> None:
        monkeypatch.setattr(compare, 'cmd_compare', click.command('compare')(function))

    return put


def _fail(text: str = 'refused') -> None:
    import click

    raise click.ClickException(text)


def _run_code() -> None:
    Path(CODE_RAN).touch()
    _fail()


def _eat_memory() -> None:
    assert b'\1' * 300_000_000
    _fail()


def _spin() -> None:
    while True:
        pass


def _show_traceback() -> None:
    print('Traceback (most recent call last):\nrefused')
    _fail()


def _warn() -> None:
    import warnings

    warnings.warn('look out', UserWarning, stacklevel=1)
    _fail()


def _log() -> None:
    import logging

    logging.getLogger('some.library').warning('\x1b]0;title\x07')
    _fail()


def _write_home() -> None:
    Path.home().joinpath('here').touch()
    _fail()


def _end_by_signal() -> None:
    import os

    print('refused', flush=True)
    os.abort()


BAD = {
    'code of the input ran': _run_code,
    'MB': _eat_memory,
    's of a core': _spin,
    'it shows a traceback': _show_traceback,
    'a library speaks': _warn,
    'control characters': _log,
    'it left `home/here`': _write_home,
    'ended by SIGABRT': _end_by_signal,
    'does not say': lambda: _fail('no'),
    'exit code is 0': lambda: print('refused'),
    'characters': lambda: _fail('refused' + ' and more' * 500),
}


@pytest.mark.parametrize('what', BAD)
def test_harness(what: str, bad_command: Any, tmp_path: Path, commands: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that must not be is found by the suite."""
    monkeypatch.setattr('harness.CPU_LIMIT', 1)
    monkeypatch.setattr('harness.MEMORY_LIMIT', 2 * 10**8)
    bad_command(BAD[what])
    case = Case('bad', lambda _: ['compare'], says='refused')
    found = problems(case, run(case, tmp_path), tmp_path)
    assert any(what in problem for problem in found), found


def test_harness_harmless(bad_command: Any, tmp_path: Path, commands: Any) -> None:
    """A command that refuses in a sentence passes."""
    bad_command(_fail)
    case = Case('good', lambda _: ['compare'], says='refused')
    assert problems(case, run(case, tmp_path), tmp_path) == []
