"""The direction of imports, read from the source: a layer imports from itself and from lower layers only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import aiida_equitrain

PACKAGE = 'aiida_equitrain'
ROOT = Path(aiida_equitrain.__file__).parent
LAYERS = {
    'common': 0,
    'science': 1,
    'drivers': 1,
    'data': 2,
    'calculations': 3,
    'parsers': 4,
    'query': 5,
    'workflows': 5,
    'tools': 6,
    'cli': 7,
}
#: Layers that may be used where there is no AiiDA.
WITHOUT_AIIDA = ('common', 'science', 'drivers')


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


def guarded_lines(tree: ast.AST) -> set[int]:
    """Return the lines below ``if __package__``, which a driver in a job's folder never reaches."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == '__package__':
            for inner in node.body:
                lines.update(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    return lines


def violations(source: str, module: str) -> list[str]:
    """Return one sentence for each import of ``module`` that goes against the direction."""
    layer = module.split('.')[1] if '.' in module else ''
    if layer not in LAYERS:
        return []
    found = []
    tree = ast.parse(source)
    guarded = guarded_lines(tree) if layer == 'drivers' else set()
    for name, line in imported(tree, module):
        top, _, rest = name.partition('.')
        target = rest.split('.')[0]
        if top == PACKAGE and target == layer == 'drivers' and line in guarded:
            continue
        if top == PACKAGE and layer == 'drivers':
            found.append(f'{module}:{line} a driver runs without aiida-equitrain but imports `{name}`')
        elif top == PACKAGE and target in LAYERS:
            same_level = LAYERS[target] == LAYERS[layer] and target != layer
            if LAYERS[target] > LAYERS[layer] or same_level:
                found.append(f'{module}:{line} `{layer}` imports `{name}` of the higher or sibling layer `{target}`')
        elif layer in WITHOUT_AIIDA and (top == 'aiida' or top.startswith('aiida_')) and top != PACKAGE:
            found.append(f'{module}:{line} `{layer}` imports `{name}`, but works without AiiDA')
    return found


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
        ('science.frames', 'from aiida_equitrain.data.dataset import DatasetData'),
        ('science.frames', 'def function():\n    from ..tools import report'),
        ('drivers.train', 'from aiida_equitrain.science.frames import Frames'),
        ('drivers.train', 'from aiida import orm'),
        ('drivers.train', 'from ..science import frames'),
        ('drivers.train', 'from .job_io import write'),
        ('drivers.train', 'if __package__:\n    from ..science import frames'),
        ('data.dataset', 'from aiida_equitrain import workflows'),
        ('calculations.train', 'from ..parsers.train import TrainParser'),
        ('tools.setup', 'import aiida_equitrain.cli.root'),
    ],
)
def test_wrong_direction_is_found(module: str, source: str) -> None:
    """Find each kind of import that goes against the direction."""
    assert len(violations(source, f'{PACKAGE}.{module}')) == 1


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('science.frames', 'from ..common.names import Role\nimport numpy'),
        ('drivers.train', 'from equitrain_job.science.frames import Frames'),
        ('drivers.loader', 'if __package__:\n    from .job_io import write\nelse:\n    from job_io import write'),
        ('workflows.material', 'from aiida_equitrain.calculations.functions.split import split\nfrom aiida import orm'),
        ('cli.setup', 'from aiida_equitrain.tools.setup import run'),
    ],
)
def test_right_direction_is_allowed(module: str, source: str) -> None:
    """Leave the imports alone that go upward in the list."""
    assert violations(source, f'{PACKAGE}.{module}') == []


def test_profile_load_is_found() -> None:
    """Find a profile that is loaded at import, and allow one that is loaded in a function."""
    assert profile_loads('from aiida import load_profile\nload_profile()') == [2]
    assert profile_loads('import aiida\nif True:\n    aiida.load_profile("x")') == [3]
    assert profile_loads('def main():\n    load_profile()') == []
