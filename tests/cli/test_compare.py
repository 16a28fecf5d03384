"""The command that compares two phonopy files, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.cli.compare import cmd_compare
from aiida_equitrain.cli.root import cmd_root


def write_phonons(path: Path, stiffness: float, symbols: tuple[str, str] = ('Na', 'Cl')) -> Path:
    """Write the phonopy.yaml of rock salt with nearest-neighbour springs: displacements and their forces."""
    cell = PhonopyAtoms(symbols=symbols, cell=2.8 * (1 - np.eye(3)), scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]])
    phonon = Phonopy(cell, [[-1, 1, 1], [1, -1, 1], [1, 1, -1]], primitive_matrix=np.eye(3))
    supercell = phonon.supercell
    phonon.generate_displacements(distance=0.01)
    difference = supercell.scaled_positions[:, None] - supercell.scaled_positions[None]
    images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    bonds = (np.linalg.norm((difference[:, :, None] + images) @ supercell.cell, axis=3).round(3) == 2.8).sum(axis=2)
    matrix = stiffness * (np.diag(bonds.sum(axis=1)) - bonds)
    displaced = [item.positions - supercell.positions for item in phonon.supercells_with_displacements]
    phonon.forces = np.array([-matrix @ displacement for displacement in displaced])
    phonon.save(path, settings={'force_sets': True, 'displacements': True, 'force_constants': False})
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return (str(write_phonons(tmp_path / 'a.yaml', 1.21)), str(write_phonons(tmp_path / 'b.yaml', 1.0)))


def test_table(files: tuple[str, str]) -> None:
    result = CliRunner().invoke(cmd_compare, [*files, '--mesh', '6', '6', '6'])
    assert result.exit_code == 0, result.output
    assert 'Brillouin-zone MAE (THz)' in result.stdout
    assert 'yes           yes' in result.stdout


def test_json(files: tuple[str, str]) -> None:
    result = CliRunner().invoke(cmd_compare, [*files, '--json', '--mesh', '6', '6', '6', '--temperature', '100'])
    row = json.loads(result.stdout)
    assert row['phonon_mae'] == pytest.approx(0.1 * row['benchmark_mean_frequency'], rel=1e-4)
    assert row['max_frequency'] == pytest.approx(1.1 * row['benchmark_max_frequency'], rel=1e-4)
    assert row['dynamically_stable'] is True
    assert row['benchmark_dynamically_stable'] is True
    assert (row['mesh'], row['temperature']) == ([6, 6, 6], 100.0)


def test_roles(files: tuple[str, str]) -> None:
    """Columns without prefix belong to the first file."""
    forward = json.loads(CliRunner().invoke(cmd_compare, [*files, '--json', '--mesh', '4', '4', '4']).stdout)
    backward = json.loads(CliRunner().invoke(cmd_compare, [*files[::-1], '--json', '--mesh', '4', '4', '4']).stdout)
    assert forward['max_frequency'] == backward['benchmark_max_frequency']
    assert forward['phonon_mae'] == pytest.approx(backward['phonon_mae'])


@pytest.mark.real
@pytest.mark.parametrize('wrong', ['absent.yaml', 'text.yaml', 'other.yaml'])
def test_errors_are_one_sentence(files: tuple[str, str], tmp_path: Path, wrong: str) -> None:
    (tmp_path / 'text.yaml').write_text('no: phonons')
    write_phonons(tmp_path / 'other.yaml', 1.0, ('K', 'Cl'))
    result = CliRunner().invoke(cmd_compare, [files[0], str(tmp_path / wrong)])
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith('Error: ')]
    assert len(errors) == 1
    assert 'Traceback' not in result.stderr
    assert result.stdout == ''


@pytest.mark.real
def test_needs_neither_profile_nor_aiida(files: tuple[str, str], tmp_path: Path) -> None:
    script = (
        'import sys; from aiida_equitrain.cli.root import cmd_root\n'
        f'cmd_root(["compare", {files[0]!r}, {files[1]!r}, "--json", "--mesh", "2", "2", "2"], standalone_mode=False)\n'
        'assert not any(name == "aiida" or name.startswith("aiida.") for name in sys.modules)'
    )
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path / 'nowhere'), 'HOME': str(tmp_path)}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / 'nowhere').exists()


def test_listed() -> None:
    assert 'compare' in CliRunner().invoke(cmd_root, ['--help']).output
    assert CliRunner().invoke(cmd_compare, ['--help']).exit_code == 0


@pytest.mark.parametrize('option', ['--temperature', '--tolerance', '--symprec'])
@pytest.mark.parametrize('value', ['nan', 'inf', '-1'])
def test_numbers_that_are_none(option: str, value: str) -> None:
    """NaN is within no bounds, though every comparison with it lets it through."""
    result = CliRunner().invoke(cmd_root, ['compare', 'a.yaml', 'b.yaml', option, value])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
