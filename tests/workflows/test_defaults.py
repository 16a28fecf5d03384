"""A default stands once: in a table of settings, at a port, or as a constant; a protocol says only what differs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from aiida.plugins import WorkflowFactory
from aiida.plugins.entry_point import get_entry_point_names
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge

import aiida_equitrain
from aiida_equitrain.calculations.script_job import ScriptCalculation
from aiida_equitrain.common.phonon_settings import STABILITY_TOLERANCE_THZ, SYMPREC
from aiida_equitrain.common.settings import Setting
from aiida_equitrain.workflows.base import EquitrainProtocolMixin

NAMES = [name for name in get_entry_point_names('aiida.workflows') if name.startswith('equitrain.')]
CONSTANTS = {'symprec': SYMPREC, 'stability_tolerance': STABILITY_TOLERANCE_THZ}


def repeated(given: Mapping[str, Any], defaults: Mapping[str, Any], path: str = '') -> Iterator[str]:
    """Yield the dotted names of values that are those of the defaults."""
    for key, value in given.items():
        if key in defaults and isinstance(value, Mapping) and isinstance(defaults[key], Mapping):
            yield from repeated(value, defaults[key], f'{path}{key}.')
        elif key in defaults and value == defaults[key]:
            yield f'{path}{key}'


@pytest.mark.usefixtures('aiida_profile')
@pytest.mark.parametrize('name', NAMES)
def test_protocols(name: str) -> None:
    """No protocol repeats what a port or a table says, or what holds for all protocols."""
    process: Any = WorkflowFactory(name)
    content, defaults = process._load_protocol_file(), process.get_defaults()
    assert list(repeated(content['default_inputs'], defaults)) == []
    common = recursive_merge(defaults, content['default_inputs'])
    for protocol, given in content['protocols'].items():
        assert list(repeated(given, common)) == [], protocol


def tables() -> list[Mapping[str, Setting]]:
    """Return the tables of settings of jobs and WorkChains."""

    def below(cls: type) -> Iterator[Any]:
        for sub in cls.__subclasses__():
            yield from (sub, *below(sub))

    jobs = [sub.SETTINGS for sub in below(ScriptCalculation)]
    return [*jobs, *(table for sub in below(EquitrainProtocolMixin) for table in sub.TABLES.values())]


def test_tables() -> None:
    """Settings of one name and default are one object."""
    for name in NAMES:
        WorkflowFactory(name)
    for first, second in combinations(tables(), 2):
        for key in first.keys() & second.keys():
            same = first[key].default == second[key].default
            assert first[key] is second[key] or not same, key


def twins(source: str) -> list[tuple[str, int]]:
    """Return names beside which the value of a constant stands as a number, and their lines."""
    found: list[tuple[str, ast.AST | None]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arguments):
            named = [*node.posonlyargs, *node.args]
            found += [(arg.arg, value) for arg, value in zip(named[-len(node.defaults) :], node.defaults, strict=False)]
            found += [(arg.arg, value) for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
        elif isinstance(node, ast.Dict):
            found += [(getattr(key, 'value', ''), value) for key, value in zip(node.keys, node.values, strict=True)]
        elif isinstance(node, ast.Assign):
            found += [(getattr(target, 'id', ''), node.value) for target in node.targets]
        elif isinstance(node, ast.keyword):
            found.append((node.arg or '', node.value))
        elif isinstance(node, ast.Call):  # A port, or `get('symprec', 1e-4)`.
            words = [getattr(arg, 'value', '') for arg in node.args]
            rest = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
            found += [(words[0], value) for value in rest if words]
    return [
        (str(name), getattr(item, 'lineno', 0))
        for name, value in found
        for item in (ast.walk(value) if value is not None else ())
        for word, number in CONSTANTS.items()
        if word in str(name).lower() and getattr(item, 'value', None) == number
    ]


def test_constants() -> None:
    """The tolerances are written as numbers in one module only."""
    for path in Path(aiida_equitrain.__file__).parent.rglob('*.py'):
        if path.name != 'phonon_settings.py':
            assert twins(path.read_text(encoding='utf-8')) == [], path
    assert {name for name, _ in twins('def f(symprec=1e-4): pass\nspec.input("symprec", default=lambda: F(1e-4))')}
    assert twins('{"stability_tolerance_thz": Setting(0.15, "")}') == [('stability_tolerance_thz', 1)]
