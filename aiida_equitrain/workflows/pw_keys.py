"""Where a key of pw.x belongs in overrides, for those who write it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from aiida_quantumespresso.calculations import helpers


def pw_key_hint(key: str, overrides: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """Return where a key of pw.x belongs in overrides, with a line to paste; ``None`` if it is not one.

    :param key: dotted path at which it stands.
    :param schema: the keys that overrides may have, nested; the last of ``key`` is none of them.
    """
    *path, name = key.split('.')
    known = _namelists()
    if name.lower() not in known and name.upper() not in known.values():
        return None
    given, level = overrides, schema
    try:
        for step in path:
            given, level = given[step], level[step]
        value = given[name]
    except (KeyError, TypeError):  # a key that has a point itself
        return None
    line: dict[str, Any] = {name.upper(): value}
    if name.lower() in known:
        line = {known[name.lower()]: {name.lower(): value}}
    places = [[*path, *rest] for rest in _parameters_below(level)] or list(_parameters_below(schema))
    if not places:
        return None
    best: list[str] = min(places, key=lambda place: ('born_charges' in place, len(place)))
    for step in reversed(best):
        line = {step: line}
    text = yaml.safe_dump(line, default_flow_style=True, width=10**6).strip()[1:-1]
    return f'`{name}` is of pw.x, whose input stands below `parameters`: `{text}`'


def _parameters_below(schema: Any) -> Iterator[list[str]]:
    """Yield the path of every `parameters` of a pw.x."""
    for key, below in schema.items() if isinstance(schema, Mapping) else ():
        for rest in _parameters_below(below):
            yield [key, *rest]
        if key == 'pw' and isinstance(below, Mapping) and 'parameters' in below:
            yield [key, 'parameters']


@cache
def _namelists() -> dict[str, str]:
    """Return the namelist of each key, from the newest description of pw.x's input that aiida-quantumespresso has."""
    files = Path(str(helpers.__file__)).parent.glob('INPUT_PW-*.xml')
    newest = max(files, key=lambda path: [int(item) for item in path.stem.partition('-')[2].split('.')])
    return {
        item.attrib['name']: namelist.attrib['name']
        for namelist in ElementTree.parse(newest).iter('namelist')
        for item in namelist.iter()
        if item.tag in ('var', 'dimension') and 'name' in item.attrib
    }
