"""The direction of imports, read from the source: a layer imports from itself and from lower layers only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

import aiida_equitrain

PACKAGE = 'aiida_equitrain'
ROOT = Path(aiida_equitrain.__file__).parent
#: From the lowest to the highest.
LAYERS = ('common', 'science', 'drivers', 'data', 'calculations', 'parsers', 'query', 'workflows', 'setup', 'launch',
          'report', 'export', 'publish', 'cli')  # fmt: skip
#: Layers that may be used where there is no AiiDA.
WITHOUT_AIIDA = ('common', 'science', 'drivers')
#: Ways to import by a name that is computed; the command does so with its subcommands, which stand in a table.
HIDDEN = ('import_module', '__import__', 'spec_from_file_location', 'run_path', 'run_module')


def sources() -> list[Path]:
    """Return all modules of the package."""
    return sorted(ROOT.rglob('*.py'))


def imported(tree: ast.AST, module: str) -> Iterator[tuple[str, int]]:
    """Yield the absolute dotted name and the line of everything that the code of ``module`` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parent = module.split('.')[: -node.level]
                base = '.'.join([*parent, *([base] if base else [])])
            # ``from aiida_equitrain import data`` imports a layer by the name of an alias.
            yield from ((f'{base}.{alias.name}', node.lineno) for alias in node.names)


def violations(source: str, module: str) -> list[str]:
    """Return one sentence for each import of ``module`` that goes against the direction, or hides from tools."""
    layer = module.split('.')[1] if '.' in module else ''
    if layer not in LAYERS:
        return []
    found = []
    tree = ast.parse(source)
    for name, line in imported(tree, module):
        top, _, rest = name.partition('.')
        target = rest.split('.')[0]
        if top == PACKAGE and target in LAYERS and LAYERS.index(target) > LAYERS.index(layer):
            found.append(f'{module}:{line} `{layer}` imports `{name}` of the higher layer `{target}`')
        elif layer in WITHOUT_AIIDA and (top == 'aiida' or top.startswith('aiida_')) and top != PACKAGE:
            found.append(f'{module}:{line} `{layer}` imports `{name}`, but works without AiiDA')
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) and not node.level else []
        absolute = any(name.split('.')[0] == PACKAGE for name in names)
        if layer in WITHOUT_AIIDA and absolute:
            found.append(f'{module}:{node.lineno} a job knows the package under another name: import relatively')
        name = getattr(node, 'id', getattr(node, 'attr', ''))
        if isinstance(node, ast.Name | ast.Attribute) and name in HIDDEN and module != f'{PACKAGE}.cli.root':
            found.append(
                f'{module}:{node.lineno} `{name}` hides an import from tools, and from what is staged for a job'
            )
    return found


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, at once or in functions."""
    graph, found = {name: set(others) for name, others in imports.items()}, []
    while True:
        try:
            tuple(TopologicalSorter(graph).static_order())
            return found
        except CycleError as error:
            circle = error.args[1]
            found.append(circle)
            for first, second in pairwise(circle):
                graph[second].discard(first)


def all_imports() -> dict[str, set[str]]:
    """Return the modules of the package that each module of it imports."""
    names = {module_name(path).removesuffix('.__init__') for path in sources()}
    result = {}
    for path in sources():
        module = module_name(path)
        found = {
            name if name in names else name.rpartition('.')[0]
            for name, _ in imported(ast.parse(path.read_text()), module)
        }
        result[module.removesuffix('.__init__')] = found & names
    return result


def profile_loads(source: str) -> list[int]:
    """Return the lines where ``load_profile`` is called while the module is imported."""
    found = []
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')
            if name == 'load_profile':
                found.append(node.lineno)
        waiting.extend(ast.iter_child_nodes(node))
    return sorted(found)


def module_name(path: Path) -> str:
    """Return the dotted name of a module; a package's ``__init__`` counts as a module in it."""
    return '.'.join([PACKAGE, *path.relative_to(ROOT).with_suffix('').parts])


def test_every_folder_is_a_layer() -> None:
    """Refuse a new folder of code that no layer knows."""
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob('*.py'))}
    assert folders - {'resources'} == set(LAYERS)


@pytest.mark.parametrize('path', sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module(path: Path) -> None:
    """Hold each module to the direction, and to loading no profile when it is imported."""
    source = path.read_text(encoding='utf-8')
    assert violations(source, module_name(path)) == []
    assert profile_loads(source) == []


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('science.frames', 'import aiida'),
        ('science.frames', 'from aiida_phonopy.data import PhonopyData'),
        ('calculations.train', 'from aiida_equitrain.workflows.base import StagedWorkChain'),
        ('science.frames', 'def function():\n    from ..report import page'),
        ('drivers.forces', 'from aiida_equitrain.science.frames import Frames'),
        ('drivers.forces', 'import aiida_equitrain.science.frames'),
        ('drivers.forces', 'from aiida import orm'),
        ('drivers.forces', 'from ..data import dataset'),
        ('drivers.training.job', 'from ...data import dataset'),
        ('science.frames', 'from ..drivers.job_io import DriverFailure'),
        ('drivers.forces', 'def function():\n    importlib.import_module(name)'),
        ('cli.show', 'module = __import__(name)'),
        ('data.dataset', 'from aiida_equitrain import workflows'),
        ('calculations.train', 'from ..parsers.train import TrainParser'),
        ('setup.setup', 'import aiida_equitrain.cli.root'),
        ('query.tables', 'from aiida_equitrain.workflows import base'),
        ('report.page', 'from ..publish import check'),
    ],
)
def test_wrong_direction_is_found(module: str, source: str) -> None:
    """Find each kind of import that goes against the direction."""
    assert len(violations(source, f'{PACKAGE}.{module}')) == 1


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('science.frames', 'from ..common.names import Role\nimport numpy'),
        ('drivers.forces', 'from .job_io import write'),
        ('drivers.training.job', 'from ...science.frames import Frames\nfrom ..job_io import write'),
        ('workflows.material', 'from aiida_equitrain.calculations.functions.split import split\nfrom aiida import orm'),
        ('cli.setup', 'from aiida_equitrain.setup.setup import run'),
    ],
)
def test_right_direction_is_allowed(module: str, source: str) -> None:
    """Leave the imports alone that go upward in the list."""
    assert violations(source, f'{PACKAGE}.{module}') == []


@pytest.mark.real
def test_no_circle() -> None:
    """Hold the modules to an order in which each can be read before those that need it."""
    assert circles(all_imports()) == []


def test_circle_is_found() -> None:
    """Find two modules that import each other, and leave two alone that need the same third."""
    assert circles({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}) == []
    assert circles({'a': {'b'}, 'b': {'c'}, 'c': {'a'}}) != []


def test_profile_load_is_found() -> None:
    """Find a profile that is loaded at import, and allow one that is loaded in a function."""
    assert profile_loads('from aiida import load_profile\nload_profile()') == [2]
    assert profile_loads('import aiida\nif True:\n    aiida.load_profile("x")') == [3]
    assert profile_loads('def main():\n    load_profile()') == []
