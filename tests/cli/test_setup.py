"""The command line of the set-up, and the root command."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from aiida_equitrain.cli.root import COMMANDS, cmd_root


def invoke(*arguments: str) -> Any:
    """Run the command line in this process."""
    return CliRunner().invoke(cmd_root, list(arguments))


def test_help_imports_neither_aiida_nor_torch() -> None:
    """Keep the help fast: it imports no subcommand."""
    code = (
        'import sys\nfrom click.testing import CliRunner\nfrom aiida_equitrain.cli.root import cmd_root\n'
        'result = CliRunner().invoke(cmd_root, ["--help"])\nassert result.exit_code == 0, result.output\n'
        'print(result.output)\nassert not {"aiida", "torch", "numpy"} & set(sys.modules)'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for name in COMMANDS:
        assert name in result.stdout


@pytest.mark.parametrize('name', COMMANDS)
def test_subcommand_has_help(name: str) -> None:
    """Import each subcommand that the help names."""
    result = invoke(name, '--help')
    assert result.exit_code == 0, result.output


def test_unknown_profile_has_a_remedy() -> None:
    """Say which profile is not there and how to get one."""
    result = invoke('-p', 'nothing-of-the-kind', 'setup', '--check')
    assert result.exit_code == 1
    assert 'no AiiDA profile `nothing-of-the-kind`' in result.output
    assert 'quickstart.sh' in result.output


@pytest.mark.usefixtures('aiida_profile_clean')
def test_check_of_empty_profile_fails_and_changes_nothing() -> None:
    """Create nothing with ``--check``, and leave with a failure."""
    from aiida import orm

    result = invoke('setup', '--check')
    assert result.exit_code == 1
    assert 'FAILED  computer: there is no computer `localhost`' in result.output
    assert 'the set-up is not complete' in result.output
    assert orm.QueryBuilder().append(orm.Node).count() == 0


@pytest.mark.real
@pytest.mark.usefixtures('aiida_profile_clean')
def test_setup_offline(pw_code: Any) -> None:
    """Set up an empty profile without internet and report each part."""
    result = invoke('setup', '--offline')
    assert result.exit_code == 0, result.output
    for text in (
        'created  python:',
        'found  pw:',
        'created  pseudopotentials:',
        'created  foundation:',
        'ok  phonopy:',
    ):
        assert text in result.output, result.output
    assert 'not MACE-MP' in result.output
