"""Structures, labels and phonons of strangers, as in `test_hostile.py`; and what holds of all cases together."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import test_hostile  # noqa: E402
from case import Case  # noqa: E402
from harness import Commands, cases_of, problems, run  # noqa: E402

CASES: list[Case] = cases_of('labels', 'phonopy', 'structures')


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_hostile_file(case: Case, tmp_path: Path, commands: Commands) -> None:
    """The command says what is wrong with the file, or takes what is harmless."""
    outcome = run(case, tmp_path, commands)
    assert not problems(case, outcome, tmp_path), outcome.output[-3000:]


def test_names() -> None:
    """A name tells which case failed, and every module of cases is run by one of the two files."""
    counts = Counter(case.name for case in CASES + test_hostile.CASES)
    assert [name for name, count in counts.items() if count > 1 or not name.isprintable() or ' ' in name] == []
    every = cases_of(*(file.stem.removeprefix('cases_') for file in HERE.glob('cases_*.py')))
    assert len(every) == len(CASES) + len(test_hostile.CASES) >= 200
