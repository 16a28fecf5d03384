"""What strangers give to the command line ends in a sentence: no code runs, no traceback, within 10 s and 1 GB."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bad_commands import BAD
from case import Case
from harness import Commands, cases_of, problems, run

#: Half of the modules of cases; those of the other half are in `test_hostile_files.py`, for another worker.
CASES: list[Case] = cases_of('archives', 'bounds', 'downloads', 'pages')


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_hostile(case: Case, tmp_path: Path, commands: Commands) -> None:
    """The command says what is wrong with the input, or takes what is harmless."""
    outcome = run(case, tmp_path, commands)
    assert not problems(case, outcome, tmp_path), outcome.output[-3000:]


@pytest.mark.parametrize('what', BAD)
def test_harness(what: str, tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that must not be is found by the suite."""
    monkeypatch.setattr('harness.CPU_LIMIT', 1)
    monkeypatch.setattr('harness.MEMORY_LIMIT', 2 * 10**8)
    if what == 'ended by SIGKILL':  # on a busy machine, others need longer
        monkeypatch.setattr('harness.WALL_LIMIT', 2)
    case = Case('bad', lambda _: ['compare'], says='refused')
    found = problems(case, run(case, tmp_path, commands, instead=what), tmp_path)
    assert any(what in problem for problem in found), found


def test_harness_harmless(tmp_path: Path, commands: Commands) -> None:
    """A command that refuses in a sentence passes."""
    case = Case('good', lambda _: ['compare'], says='Missing argument')
    assert problems(case, run(case, tmp_path, commands), tmp_path) == []
