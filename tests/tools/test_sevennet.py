"""The set-up of SevenNet: what it creates, that it changes nothing, and its sentences without internet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.common.foundations import FOUNDATIONS
from aiida_equitrain.setup import checks, defaults, environment, setup, sevennet
from aiida_equitrain.setup.download import DownloadError

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def items(python: str | None = None, **options: Any) -> dict[str, setup.Item]:
    return {item.name: item for item in sevennet.run_setup(setup.Options(**options), python)}


def test_offline(computer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Install nothing, and say what to do."""
    monkeypatch.setattr(environment, 'default_environment', lambda _: tmp_path / 'none')
    (item,) = items(offline=True).values()
    assert item.state == 'missing'
    assert '--sevennet-python PATH' in item.text
    assert not (tmp_path / 'none').exists()


def test_no_computer() -> None:
    """What is missing is said by the set-up of everything else."""
    assert items(computer='nowhere') == {}


@pytest.mark.real
def test_pip_fails(computer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sentence with pip's own reason; nothing is stored."""
    monkeypatch.setattr(environment, 'default_environment', lambda _: tmp_path / 'venv')
    monkeypatch.setattr(environment, 'TORCH', str(tmp_path / 'no_such-1.0-py3-none-any.whl'))
    (item,) = items().values()
    assert (item.name, item.state) == ('sevennet environment', 'missing')
    assert 'pip' in item.text
    assert 'no_such' in item.text
    assert orm.QueryBuilder().append(orm.Code).count() == 0


def test_folder_in_the_way(tmp_path: Path) -> None:
    """A folder that is no environment is left alone."""
    (tmp_path / 'mine').write_text('mine')
    with pytest.raises(DownloadError, match='no virtual environment'):
        environment.make_environment(sevennet.RECIPE, tmp_path)
    assert (tmp_path / 'mine').read_text() == 'mine'


def test_python_without_sevenn(computer: Any) -> None:
    """The code is made as asked for; that it has no SevenNet is said, and found by the check."""
    found = items(sys.executable)
    assert (found['python-sevennet'].state, found['sevennet-0'].state) == ('created', 'missing')
    assert 'has no package `sevenn`' in found['sevennet-0'].text
    with pytest.raises(checks.CheckError, match='setup --with sevennet'):
        checks.check_extra(sevennet.RECIPE, defaults.find_code('python-sevennet'))


def test_check_knows_what_is_asked_for(computer: Any) -> None:
    """Without a code for it, SevenNet is checked only where it is asked for."""
    assert 'python-sevennet' not in {check.name for check in checks.run_checks()}
    failed = {check.name: check.text for check in checks.run_checks(extras=['sevennet']) if not check.passed}
    for name in ('python-sevennet', 'sevennet-0'):
        assert 'aiida-equitrain setup --with sevennet' in failed[name]


@pytest.mark.real
def test_creates_then_finds(computer: Any, sevennet_python: str) -> None:
    """Create code and foundation, nothing the second time; the check runs the Python."""
    assert {name: item.state for name, item in items(sevennet_python).items()} == {
        'python-sevennet': 'created',
        'sevennet-0': 'created',
        'sevennet-l3i5': 'created',
    }
    count = orm.QueryBuilder().append(orm.Node).count()
    assert {item.state for item in items(sevennet_python).values()} == {'found'}
    assert orm.QueryBuilder().append(orm.Node).count() == count
    for name, n_parameters in (('sevennet-0', 842623), ('sevennet-l3i5', 1171327)):
        node = defaults.find_foundation(name)
        assert (node.sha256, node.n_parameters) == (FOUNDATIONS[name].sha256, n_parameters)
        assert node.elements == FOUNDATIONS[name].elements.split()
    assert node.card['licence'].startswith('MIT since 20 June 2025')
    node = defaults.find_foundation('sevennet-0')
    assert (node.family, node.n_parameters, node.card['name']) == ('sevennet', 842623, 'SevenNet-0')
    result = CliRunner().invoke(cmd_root, ['setup', '--check', '--with', 'sevennet'])
    assert 'ok  python-sevennet: `python-sevennet@localhost` has sevenn=' in result.output
    assert 'ok  sevennet-0: `sevennet-0`' in result.output
