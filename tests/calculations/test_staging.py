"""What a job's folder holds of ours: a driver and what it imports, no more and no less; what the cache knows of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import pytest
from aiida.common.folders import Folder
from aiida.plugins import CalculationFactory
from aiida.plugins.entry_point import get_entry_point_names

from aiida_equitrain.calculations import staging
from aiida_equitrain.calculations.script_job import ScriptCalculation
from aiida_equitrain.calculations.staging import closure, digest, module_of, stage_driver
from aiida_equitrain.common.names import JOB_PACKAGE

NAMES = [name for name in get_entry_point_names('aiida.calculations') if name.startswith('equitrain.')]
#: Imports all modules of each folder that is given, where there is neither AiiDA nor aiida-equitrain.
IMPORT_ALL = f"""
import sys
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pathlib import Path

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('aiida', 'aiida_equitrain'):
            raise ImportError(f'{{name}} is not on the compute machine')

sys.meta_path.insert(0, Refuse())
for folder in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition('.')[0] == '{JOB_PACKAGE}']:
        del sys.modules[name]
    sys.path.insert(0, folder)
    invalidate_caches()
    for path in sorted(Path(folder).rglob('*.py')):
        name = '.'.join(path.relative_to(folder).with_suffix('').parts).removesuffix('.__init__')
        try:
            assert import_module(name).__file__ == str(path)
        except ModuleNotFoundError as error:
            top = (error.name or '').partition('.')[0]
            if top == '{JOB_PACKAGE}' or find_spec(top):
                raise
            print('without', top, name)
    sys.path.remove(folder)
"""


@pytest.mark.parametrize('name', NAMES)
def test_folder_is_the_closure(name: str, tmp_path: Path) -> None:
    """The standard library's search for imports, in the folder alone, finds all that is there, and misses nothing."""
    process = CalculationFactory(name)
    assert issubclass(process, ScriptCalculation)
    assert digest(process.DRIVER) == process.CACHE_VERSION
    stage_driver(Folder(str(tmp_path)), process.DRIVER)
    finder = ModuleFinder(path=[str(tmp_path)])
    finder.import_hook(module_of(process.DRIVER))
    staged = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*') if path.is_file()}
    found = {str(Path(module.__file__).relative_to(tmp_path)) for module in finder.modules.values() if module.__file__}
    assert staged == found == {f'{JOB_PACKAGE}/{path}' for path in closure(process.DRIVER)}
    tops = {missing.partition('.')[0] for missing in finder.any_missing()}
    assert tops & {JOB_PACKAGE, 'aiida_equitrain', 'aiida'} == set()


@pytest.mark.real
def test_modules_import(tmp_path: Path) -> None:
    """Each module in each job's folder can be imported without AiiDA and aiida-equitrain, but for other families'."""
    folders = [tmp_path / name for name in NAMES]
    for folder, name in zip(folders, NAMES, strict=True):
        stage_driver(Folder(str(folder)), CalculationFactory(name).DRIVER)
    command = [sys.executable, '-I', '-W', 'ignore', '-c', IMPORT_ALL, *map(str, folders)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert {line.split()[1] for line in result.stdout.splitlines()} <= {'matscipy', 'nequix', 'sevenn'}


SMALL = {
    '__init__.py': '',
    'common/__init__.py': '',
    'common/names.py': '',
    'drivers/__init__.py': '',
    'drivers/other.py': '',
    'drivers/rooms/__init__.py': '',
    'drivers/rooms/run.py': 'import json\nfrom ..shared import write\ndef main():\n    from ...science import far\n',
    'drivers/shared.py': 'import numpy as np\n',
    'science/__init__.py': '',
    'science/far.py': 'from .near import number\n',
    'science/near.py': 'class Number:\n    from ..common.names import Name\n',
}
RUN, OTHER = 'drivers/rooms/run.py', 'drivers/other.py'
STAGED = sorted(set(SMALL) - {OTHER})


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return a function: closure and digest of ``rooms.run`` of the small package after a change of some files."""

    def function(texts: dict[str, str]) -> tuple[list[str], int]:
        for path, text in (SMALL | texts).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        forget()
        return list(closure('rooms.run')), digest('rooms.run')

    with monkeypatch.context() as patch:
        patch.setattr(staging, 'files', lambda _: tmp_path)
        yield function
    forget()


def forget() -> None:
    """Let closures be computed anew."""
    closure.cache_clear()
    staging._imported.cache_clear()


def test_closure(change: Any) -> None:
    """Imports of imports count, in functions and classes too, and the packages around; what nobody imports does not."""
    assert change({})[0] == STAGED
    with pytest.raises(FileNotFoundError, match=r'gone\.py'):
        change({RUN: 'from .gone import something'})


def test_digest(change: Any) -> None:
    """The number changes with all that is staged, and with what is staged; the rest of the package leaves it alone."""
    _, before = change({})
    assert change({OTHER: 'x = 1\n'}) == (STAGED, before)
    for path in STAGED:
        found, after = change({path: SMALL[path] + '# a word\n'})
        assert (found, after == before) == (STAGED, False), path


@pytest.mark.parametrize('line', ['from .. import other\n', 'def later():\n    from ..other import x\n'])
def test_one_import_more(change: Any, line: str) -> None:
    """An import that nothing uses brings its module into the folder, and into the number."""
    more = {RUN: SMALL[RUN] + line}
    found, after = change(more)
    assert found == sorted(SMALL)
    assert len({change({})[1], after, change({**more, OTHER: 'x = 1\n'})[1]}) == 3


def test_one_import_less(change: Any) -> None:
    """Without an import in a function, what only it needed is left out, and the number is another one."""
    found, after = change({RUN: SMALL[RUN].replace('from ...science import far', 'pass')})
    assert found == [path for path in STAGED if not path.startswith(('science', 'common'))]
    assert after != change({})[1]
