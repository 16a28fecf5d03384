"""The scripts on a machine that lacks something: one sentence that says what, and how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / 'scripts'
#: Everyday programs of the scripts; no apt-get, no sudo, no Python.
TOOLS = 'bash cat cut date dirname env grep id mkdir mktemp rm sed sha256sum tail tee'


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """Return a copy of the scripts, and a folder that is all of its PATH."""
    programs = tmp_path / 'bin'
    programs.mkdir()
    for tool in TOOLS.split():
        (programs / tool).symlink_to(str(shutil.which(tool)))
    shutil.copytree(SCRIPTS, tmp_path / 'checkout' / 'scripts')
    shutil.copy(ROOT / 'pyproject.toml', tmp_path / 'checkout')
    return tmp_path / 'checkout', programs


def run(checkout: Path, programs: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the quickstart with nothing but those programs, as somebody whose home folder is empty."""
    home = checkout.parent / 'home'
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [str(programs / 'bash'), str(checkout / 'scripts' / 'quickstart.sh'), *arguments],
        env={'PATH': str(programs), 'HOME': str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    'script',
    [*sorted(SCRIPTS.glob('*.sh')), *sorted((ROOT / 'examples').glob('*.sh')), ROOT / '.ci' / 'run'],
    ids=lambda path: path.name,
)
def test_syntax(script: Path) -> None:
    """Parse each script."""
    subprocess.run(['bash', '-n', str(script)], check=True)
    assert script.name.startswith('_') or os.access(script, os.X_OK)


def test_without_pw_and_without_debian(machine: tuple[Path, Path]) -> None:
    """Say in one sentence that pw.x is missing and how to get it, and leave the home folder alone."""
    result = run(*machine)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert 'pw.x of Quantum ESPRESSO is not on the PATH' in line
    assert 'sudo apt-get install quantum-espresso libopenblas0-pthread' in line
    assert list((machine[0].parent / 'home').iterdir()) == []


def test_without_ps(machine: tuple[Path, Path]) -> None:
    """Say that AiiDA cannot follow jobs on a machine without ps, as Debian's container images are."""
    for tool in ('pw.x', 'python3'):
        (machine[1] / tool).symlink_to('/bin/true')
    result = run(*machine)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert 'ps is not on the PATH' in line
    assert 'sudo apt-get install procps' in line


def test_without_python(machine: tuple[Path, Path]) -> None:
    """Say in one sentence which Python is wanted."""
    for tool in ('pw.x', 'ps'):
        (machine[1] / tool).symlink_to('/bin/true')
    result = run(*machine)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert 'Python 3.11 or newer is not on the PATH' in line


def test_unknown_option(machine: tuple[Path, Path]) -> None:
    """Refuse an option before anything is set up."""
    result = run(*machine, '--ofline')
    assert result.returncode == 1
    assert 'unknown option --ofline' in result.stderr
    assert not (machine[0] / '.quickstart').exists()


def test_help(machine: tuple[Path, Path]) -> None:
    """Print what the script does."""
    result = run(*machine, '--help')
    assert result.returncode == 0
    assert '--online' in result.stdout


def test_debian_packages_are_asked_for(machine: tuple[Path, Path]) -> None:
    """Install Quantum ESPRESSO and OpenBLAS where we may, and only those; show the log when that fails."""
    checkout, programs = machine
    for name, text in {
        'apt-get': 'echo "apt-get $*"; exit 100',
        'id': 'echo 0',
    }.items():
        (programs / name).unlink(missing_ok=True)
        (programs / name).write_text(f'#!{programs}/bash\n{text}\n')
        (programs / name).chmod(0o755)
    result = run(checkout, programs)
    assert result.returncode == 1
    assert 'install -y -q --no-install-recommends quantum-espresso libopenblas0-pthread' in result.stderr
    assert 'setup.log' in result.stderr
