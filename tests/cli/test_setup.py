"""The command line of the set-up, and the root command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
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


@pytest.mark.thorough
@pytest.mark.thorough
@pytest.mark.real
def test_two_at_once(tmp_path: Path) -> None:
    """Two set-ups of one profile at the same time make everything once; the second finds what the first has made."""
    scripts = Path(sys.executable).parent
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path), 'PATH': f'{scripts}:{os.environ["PATH"]}'}

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    profile = start('verdi', 'profile', 'setup', 'core.sqlite_dos', '-n', '--profile-name', 'two', '--email', 'a@b.c')
    assert profile.wait() == 0, profile.communicate()
    both = [start('aiida-equitrain', '-p', 'two', 'setup', '--offline') for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert not any('Traceback' in output for output in outputs)
    created = [name for output in outputs for name in re.findall(r'created  (\S+):', output)]
    assert {'computer', 'python', 'pseudopotentials', 'foundation'} <= set(created)
    assert len(set(created)) == len(created), outputs
    assert sum('waiting for it' in output for output in outputs) == 1
    script = (
        'from collections import Counter\nfrom aiida import load_profile, orm\nload_profile("two")\n'
        'for kind in (orm.Computer, orm.Code, orm.Group, orm.Data):\n'
        '    labels = orm.QueryBuilder().append(kind, project="label").all(flat=True)\n'
        '    print(Counter(label for label in labels if label).most_common(1))'
    )
    counted = start(sys.executable, '-c', script).communicate()[0]
    assert re.findall(r"', (\d+)\)", counted) == ['1', '1', '1', '1'], counted


def test_python_without_phono3py() -> None:
    """What `launch kappa` lacks is told with the remedy, and found where it is."""
    from aiida_equitrain.setup.checks import KAPPA_PROBE

    def run(*options: str) -> str:
        command = [sys.executable, *options, '-c', KAPPA_PROBE]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    # Without the installed packages there is none.
    assert run('-S', '-I') == 'but no phono3py, for `launch kappa`: pip install phono3py'
    assert run().startswith('phono3py=')


def test_kappa_without_phono3py(make_code: Any, tmp_path: Path) -> None:
    """`launch kappa` asks the Python on this machine before anything is submitted; of another it says how to ask."""
    from aiida import orm

    from aiida_equitrain.setup.checks import phono3py_hint

    assert phono3py_hint(make_code('python', sys.executable)) is None
    bare = tmp_path / 'python'
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -I "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(ValueError, match=r'has no phono3py, which .* needs: `.*pip install phono3py`'):
        phono3py_hint(make_code('bare', str(bare)))
    elsewhere = orm.Computer('far', 'far', transport_type='core.ssh', scheduler_type='core.slurm').store()
    code = orm.InstalledCode(label='python', computer=elsewhere, filepath_executable='/usr/bin/python3')
    assert 'setup --check --computer far' in str(phono3py_hint(code))
