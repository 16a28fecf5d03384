"""Cut-offs of a job that are lower than the tables of its pseudopotentials recommend: allowed, but told of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiida import orm

#: Ry; what is below a recommendation by less is a rounding.
TOLERANCE = 0.01


def cutoff_hints(inputs: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each cut-off of wave functions that is below all that is recommended for an element.

    :param inputs: of a WorkChain, in which the pseudopotentials are stored.
    """
    stages: dict[float, dict[str, Any]] = {}
    for port, pw in _stages(inputs):
        ecutwfc = pw['parameters'].get_dict().get('SYSTEM', {}).get('ecutwfc')
        if isinstance(ecutwfc, int | float):
            stages.setdefault(float(ecutwfc), {})[port] = pw['pseudos']
    hints = []
    for ecutwfc, ports in sorted(stages.items()):
        upfs = {upf.element: upf for pseudos in ports.values() for upf in pseudos.values()}
        tables = {element: _recommended(upf) for element, upf in upfs.items()}
        low = {element: row for element, row in tables.items() if row and ecutwfc < min(row.values()) - TOLERANCE}
        if low:
            element, row = max(low.items(), key=lambda pair: min(pair[1].values()))
            words = ', '.join(f'{value:g} Ry ({name})' for name, value in sorted(row.items(), key=lambda pair: pair[1]))
            hints.append(
                f'`ecutwfc` is {ecutwfc:g} Ry in {", ".join(f"`{port}`" for port in ports)}, but the table of the '
                f'pseudopotentials recommends {words} for {element}: differences may still count, absolute numbers do '
                f'not; in the overrides there, write `SYSTEM: {{ecutwfc: {row.get("normal", max(row.values())):g}}}` '
                'or leave it out'
            )
    return hints


def _stages(inputs: Mapping[str, Any], port: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the inputs of pw.x by the ports of their WorkChains, such as ``label.pw``."""
    for name, value in inputs.items():
        if not isinstance(value, Mapping) or isinstance(value, orm.Node):
            continue
        if {'parameters', 'pseudos'} <= set(value):
            yield port, value
        else:
            yield from _stages(value, f'{port}.{name}'.lstrip('.'))


def _recommended(upf: Any) -> dict[str, float]:
    """Return the cut-offs (Ry) of a pseudopotential by stringency, of the first family that has it and a table."""
    query = orm.QueryBuilder().append(orm.Node, filters={'id': upf.pk}, tag='upf')
    kinds = {'type_string': {'like': 'pseudo.family%'}}
    families: list[Any] = query.append(orm.Group, with_node='upf', filters=kinds).all(flat=True)
    for family in families:
        names = family.get_cutoff_stringencies() if hasattr(family, 'get_cutoff_stringencies') else ()
        if names:
            of = {'elements': (upf.element,), 'unit': 'Ry'}
            return {name: round(family.get_recommended_cutoffs(stringency=name, **of)[0], 3) for name in names}
    return {}
