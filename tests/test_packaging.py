"""What an installation holds: data files in the wheel, entry points as the AiiDA plugin registry wants them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from importlib.metadata import EntryPoint, distribution
from inspect import signature
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'aiida_equitrain'
ENTRY_POINTS = [point for point in distribution('aiida-equitrain').entry_points if point.group.startswith('aiida.')]


def entry_point_id(point: EntryPoint) -> str:
    """Return a readable name of a case."""
    return f'{point.group}:{point.name}'


def test_entry_points_are_there() -> None:
    """Know the groups that the project is about."""
    assert {point.group for point in ENTRY_POINTS} >= {
        'aiida.calculations',
        'aiida.data',
        'aiida.parsers',
        'aiida.workflows',
    }


@pytest.mark.parametrize('point', ENTRY_POINTS, ids=entry_point_id)
def test_entry_point(point: EntryPoint) -> None:
    """Hold each entry point to the registry's prefix, to dotted lower case, and to a class that loads."""
    if point.group == 'aiida.cmdline.data':
        assert re.fullmatch(r'equitrain-[a-z]+', point.name)
        assert point.load().name == point.name
        return
    assert re.fullmatch(r'equitrain(\.[a-z0-9_]+)+', point.name)
    suffix = {'calculations': 'Calculation', 'data': 'Data', 'parsers': 'Parser', 'workflows': 'WorkChain'}
    layer = point.group.split('.')[1]
    loaded = point.load()
    if point.group == 'aiida.calculations.monitors':
        assert list(signature(loaded).parameters) == ['node', 'transport']
        return
    assert loaded.__name__.endswith(suffix[layer])
    assert loaded.__module__.startswith(f'aiida_equitrain.{layer}.')


@pytest.mark.parametrize('name', (ROOT / 'tests' / 'fixtures' / 'stored_processes.txt').read_text().split())
def test_stored_process(name: str) -> None:
    """A process that is stored, or waits for the daemon, under a name of before its module moved is still found."""
    module, _, attribute = name.partition(':')
    assert getattr(import_module(module), attribute).__name__ == attribute


def test_command_loads() -> None:
    """Load the command of the console script."""
    (script,) = (point for point in distribution('aiida-equitrain').entry_points if point.group == 'console_scripts')
    assert script.name == 'aiida-equitrain'
    assert callable(script.load())


def test_registry_metadata() -> None:
    """Give what the registry shows: name, framework, licence, version, development status."""
    metadata = distribution('aiida-equitrain').metadata
    assert metadata['Name'] == 'aiida-equitrain'
    assert metadata['License-Expression'] == 'MIT'
    classifiers = metadata.get_all('Classifier')
    assert 'Framework :: AiiDA' in classifiers
    assert any(classifier.startswith('Development Status ::') for classifier in classifiers)


@pytest.fixture(scope='module')
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the wheel from a copy of the sources and return the names in it."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    ignore = shutil.ignore_patterns('__pycache__', '*.pyc')
    shutil.copytree(PACKAGE, source / 'aiida_equitrain', ignore=ignore)
    for name in ('pyproject.toml', 'setup.cfg', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', str(folder), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    (wheel,) = folder.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.real
def test_wheel_holds_everything(wheel_names: set[str]) -> None:
    """Find every file of the package in the wheel: modules, model, pseudopotentials, protocols, pages."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts and not path.name.endswith(('.pyc', '~'))
    }
    assert expected - wheel_names == set()


@pytest.mark.real
def test_wheel_holds_licences(wheel_names: set[str]) -> None:
    """Ship our licence, and that of the pseudopotentials beside them."""
    assert any(name.endswith('.dist-info/licenses/LICENSE') for name in wheel_names)
    assert 'aiida_equitrain/resources/pseudos/PseudoDojo-0.4-PBE-SR-standard/LICENSE.txt' in wheel_names


@pytest.mark.real
def test_wheel_holds_no_tests(wheel_names: set[str]) -> None:
    """Install nothing but the package."""
    assert all(name.startswith(('aiida_equitrain/', 'aiida_equitrain-')) for name in wheel_names)
