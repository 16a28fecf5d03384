"""The Tab key of a shell, as docs/howto/setup.md sets it up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / 'docs' / 'howto' / 'setup.md'
PROGRAM = [sys.executable, '-c', 'from aiida_equitrain.cli.root import cmd_root; cmd_root(prog_name="aiida-equitrain")']


def complete(**environment: str) -> str:
    """Return what the program prints for the shell."""
    result = subprocess.run(
        PROGRAM, env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=120
    )
    return result.stdout


@pytest.mark.real
def test_completion() -> None:
    """The variable of the page makes a shell complete commands and options."""
    variable, shell = re.findall(r'`eval "\$\((\w+)=(\w+)_source aiida-equitrain\)"`', PAGE.read_text())[0]
    assert shell == 'bash'
    assert 'complete -o nosort' in complete(**{variable: 'bash_source'})
    words = {'COMP_WORDS': 'aiida-equitrain lau', 'COMP_CWORD': '1', variable: 'bash_complete'}
    assert complete(**words).split() == ['plain,launch']
    words |= {'COMP_WORDS': 'aiida-equitrain launch phonons --born', 'COMP_CWORD': '3'}
    assert 'plain,--born-charges' in complete(**words)
