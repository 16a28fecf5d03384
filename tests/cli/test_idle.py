"""Options that another one leaves without an effect, and figures that nothing can draw: refused before anything."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from aiida_equitrain.cli.launch_idle import IDLE
from aiida_equitrain.cli.root import cmd_root

LABELLED = 'launch material x.cif --dataset 1 --reference 2'


@pytest.fixture(autouse=True)
def no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is not refused ends where a profile would be loaded."""

    def fail(_: object) -> None:
        raise click.ClickException('allowed')

    monkeypatch.setattr('aiida_equitrain.cli.profile.load_profile', fail)


@pytest.mark.parametrize(
    ('words', 'option', 'cause'),
    [
        (f'{LABELLED} --metal', '--metal', '`--dataset`'),
        (f'{LABELLED} --insulator', '--insulator', '`--dataset`'),
        (f'{LABELLED} --family a', '--family', '`--reference`'),
        ('launch material x.cif --dataset 1 --no-dft --pw a', '--pw', '`--no-dft`'),
        (f'{LABELLED} --recipe harmonic', '--recipe', '`--dataset`'),
        (f'{LABELLED} --no-dft', '--no-dft', '`--reference`'),
        (f'{LABELLED} --strategy none --seed 1', '--seed', '`--strategy none`'),
        ('launch material x.cif --strategy none --engine mace', '--engine', '`--strategy none`'),
        ('launch material x.cif --strategy none --replay 1', '--replay', '`--strategy none`'),
        ('launch material x.cif --ph a', '--ph', '`--born-charges`'),
        ('launch material x.cif --dry-run --submit', '--submit', '`--dry-run`'),
        ('launch label x.cif --dry-run --submit', '--submit', '`--dry-run`'),
        ('launch phonons x.cif --dft --foundation a', '--foundation', '`--dft`'),
        ('launch phonons x.cif --dft --labels 1', '--labels', '`--dft`'),
        ('launch phonons x.cif --family a', '--family', '`--dft`'),
        ('launch phonons x.cif --born-charges --metal', '--metal', '`--dft`'),
        ('launch phonons x.cif --dft --born-charges --metal', '--born-charges', '`--metal`'),
        ('launch material x.cif --born-charges --metal', '--born-charges', '`--metal`'),
        ('launch phonons x.cif --ph a', '--ph', '`--born-charges`'),
        ('launch phonons x.cif --born-charges --nac 1', '--nac', '`--born-charges`'),
        ('launch material x.cif --nac 1 --metal', '--nac', '`--metal`'),
        ('launch instability x.cif --dft-phases --foundation a', '--foundation', '`--dft-phases`'),
        ('launch instability x.cif --dft-phases --dft', '--dft', '`--dft-phases`'),
        ('launch instability x.cif --pw a', '--pw', '`--dft-phases`'),
    ],
)
def test_without_effect(words: str, option: str, cause: str) -> None:
    result = CliRunner().invoke(cmd_root, words.split())
    assert result.exit_code == 2, result.output
    assert f'`{option}` has no effect' in result.output
    assert cause in result.output


@pytest.mark.parametrize(
    'words',
    [
        LABELLED,
        f'{LABELLED} --born-charges --pw a --ph a --family a',
        'launch material x.cif --dataset 1 --pw a --metal',
        'launch material x.cif --no-dft --strategy none --recipe harmonic --pw a --family a --seed 2',
        'launch material x.cif --dry-run --report . --label a',
        'launch phonons x.cif --dft --python a --pw a --metal --family a',
        'launch phonons x.cif --born-charges --pw a --family a --ph a --foundation a',
        'launch instability x.cif --dft --foundation a --pw a --metal',
        'launch instability x.cif --dft-phases --python a --pw a',
    ],
)
def test_with_effect(words: str) -> None:
    assert 'allowed' in CliRunner().invoke(cmd_root, words.split()).output


def test_tables_name_parameters() -> None:
    """A row of a parameter that the command has not would never refuse anything."""
    group = cmd_root.get_command(click.Context(cmd_root), 'launch')
    assert isinstance(group, click.Group)
    for command, rows in IDLE.items():
        known = {parameter.name for parameter in group.commands[command].params}
        assert {name for row in rows for name in row.names} <= known, command


@pytest.mark.parametrize('command', ['instability', 'qha', 'kappa'])
def test_endings_of_figures(command: str, tmp_path: Path) -> None:
    for name in ('a.txt', 'a'):
        result = CliRunner().invoke(cmd_root, ['launch', command, 'x.cif', '--figure', str(tmp_path / name)])
        assert result.exit_code == 2
        assert "'--figure'" in result.output
        assert 'has to end in .png, .pdf or .svg' in result.output
    result = CliRunner().invoke(cmd_root, ['launch', command, 'x.cif', '--figure', str(tmp_path / 'a.PNG')])
    assert 'allowed' in result.output
