"""Compute derived results again from their stored inputs, and compare; nothing of an archive is executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from aiida import orm

from aiida_equitrain.calculations.arrays import phonopy_arrays
from aiida_equitrain.calculations.compare import CompareCalculation
from aiida_equitrain.calculations.functions.study import STUDY_SETTINGS, tabulate
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.query import study_table
from aiida_equitrain.science import phonon_metrics
from aiida_equitrain.science.phonopy_io import phonon_from_arrays

from .effort import PATIENCE, check_crystal, check_points, check_size

COMPARE = 'aiida.calculations:equitrain.compare'
COLLECT = 'collect_study'
#: Largest difference of a number that is computed again from the same input: relative, and absolute in its own unit.
RELATIVE, ABSOLUTE = 1e-5, 1e-6
#: Drawings of the bootstrap times rows of a table, and times groups of these rows.
MOST_DRAWINGS, MOST_STATISTICS = 10**7, 10**5


@dataclass(frozen=True)
class Check:
    """One derived result and what came of it.

    :param difference: what differs, ``None`` if nothing does.
    """

    uuid: str
    what: str
    n_numbers: int
    difference: str | None


def recompute(
    nodes: list[str],
    progress: Callable[[int, int], None] | None = None,
    patience: float = PATIENCE,
) -> list[Check]:
    """Return one check per comparison of phonons and per table, of the nodes with these UUIDs.

    From forces and displacements follow force constants, frequencies, and metrics; from the comparisons the table, and
    from the table its aggregates. Force constants fitted by symfc to labelled frames are not fitted again.

    :param progress: called before each, with the number done and that of all.
    :param patience: seconds, see :mod:`.effort`.
    """
    jobs = _successful(orm.CalcJobNode, {'process_type': COMPARE}, nodes)
    tables = _successful(orm.CalcFunctionNode, {'attributes.process_label': COLLECT}, nodes)
    sides: dict[Any, Any] = {}
    checks = []
    for index, node in enumerate([*jobs, *tables]):
        if progress is not None:
            progress(index, len(jobs) + len(tables))
        try:
            checks.append(check_comparison(node, sides, patience) if node in jobs else check_table(node))
        except Exception as error:  # the inputs are a stranger's: whatever they lead to, nothing follows from them
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            checks.append(Check(node.uuid, str(node.process_label), 0, f'cannot be computed again: {reason}'))
    return checks


def check_comparison(node: orm.CalcJobNode, sides: dict[Any, Any], patience: float) -> Check:
    """Compute the metrics of a comparison again.

    :param sides: those that are known already, by UUID and settings.
    :param patience: seconds, see :mod:`.effort`.
    """
    given = node.inputs.settings.get_dict() if 'settings' in node.inputs else {}
    settings = with_defaults(given, CompareCalculation.SETTINGS)
    phonons = {name: node.inputs.candidates[name] for name in node.inputs.candidates}
    if 'reference' in node.inputs:
        phonons = {'reference': node.inputs.reference, **phonons}
    stored = node.outputs.comparison.get_dict()
    made = {name: _phonon(data, settings, patience) for name, data in phonons.items()}
    symmetric = phonon_metrics.same_point_group(*made.values())
    expected, found = {}, {}
    reference = None
    for name, phonon in made.items():
        check_points(phonon, settings['mesh'], symmetric, patience)
        key = (phonons[name].uuid, symmetric, str(settings))
        if key not in sides:
            sides[key] = phonon_metrics.evaluate_side(
                phonon, mesh=settings['mesh'], temperature=settings['temperature_k'],
                tolerance=settings['stability_tolerance_thz'], mesh_symmetry=symmetric,
            )  # fmt: skip
        numbers = dict(sides[key].metrics)
        if name == 'reference':
            reference = sides[key]
            expected[name] = stored['reference']
        else:
            if reference is not None:
                numbers |= phonon_metrics.errors_between(phonon, made['reference'], reference)
            expected[name] = stored['candidates'][name]
        found[name] = numbers
    return _compared(node, 'metrics of phonons', expected, found)


def check_table(node: orm.CalcFunctionNode) -> Check:
    """Make the table of a study again from the comparisons, and its aggregates from the table."""
    inputs = {link.link_label: link.node for link in node.base.links.get_incoming().all()}
    rows, settings = inputs.pop('rows').get_dict(), inputs.pop('settings').get_dict()
    results = {name: data.get_dict() for name, data in inputs.items() if isinstance(data, orm.Dict)}
    settings = with_defaults(settings, STUDY_SETTINGS)
    groups = {(row.get('strategy'), row.get('n_train')) for row in rows.values()}
    for what, number, most in (('rows', len(rows), MOST_DRAWINGS), ('groups', len(groups), MOST_STATISTICS)):
        check_size(f'`n_resamples` times the {what} of the table', settings['n_resamples'] * number, most)
    table, aggregates = tabulate(rows, settings, results)
    stored = study_table(node.outputs.table)
    old, new = (_records(item) for item in (stored, table))
    return _compared(node, 'table and aggregates', {'table': old, 'aggregates': node.outputs.aggregates.get_dict()},
                     {'table': new, 'aggregates': aggregates})  # fmt: skip


def first_difference(expected: Any, found: Any, path: str = '') -> str | None:
    """Return where two nested results differ by more than rounding, or ``None``.

    :param expected: those of an archive; one of an earlier version may lack keys, but not all that hold numbers.
    :param found: those that follow from its inputs.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        if unknown := sorted(set(expected) - set(found)):
            return f'{path}.{unknown[0]}'.lstrip('.') + ' is in the archive, but does not follow from its inputs'
        if _count(found) and not _count(expected):
            return f'{path.lstrip(".") or "the result"} has no numbers in the archive, but they follow from its inputs'
        keys = sorted(expected)
        return next(
            (text for key in keys if (text := first_difference(expected[key], found[key], f'{path}.{key}'))), None
        )
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f'{path.lstrip(".")} has {len(found)} entries, not {len(expected)}'
        pairs = enumerate(zip(expected, found, strict=True))
        return next((text for index, pair in pairs if (text := first_difference(*pair, f'{path}[{index}]'))), None)
    if _equal(expected, found):
        return None
    return f'{path.lstrip(".")} is {expected!r} in the archive, but {found!r} follows from its inputs'


def _equal(expected: Any, found: Any) -> bool:
    numbers = [isinstance(item, int | float) and not isinstance(item, bool) for item in (expected, found)]
    if all(numbers):
        return bool(np.isclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True))
    missing = [item is None or item == '' or (isinstance(item, float) and np.isnan(item)) for item in (expected, found)]
    return all(missing) or bool(expected == found)


def _compared(node: Any, what: str, expected: Any, found: Any) -> Check:
    return Check(node.uuid, what, _count(expected), first_difference(expected, found))


def _count(content: Any) -> int:
    if isinstance(content, dict | list):
        return sum(_count(item) for item in (content.values() if isinstance(content, dict) else content))
    return int(isinstance(content, int | float) and not isinstance(content, bool))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict('records')
    return records


def _phonon(data: Any, settings: dict[str, Any], patience: float) -> Any:
    arrays = phonopy_arrays(data, settings['subtract_residual_forces'])
    check_crystal(arrays, patience)
    return phonon_from_arrays(arrays, settings['acoustic_sum_rule'])


def _successful(kind: Any, filters: dict[str, Any], nodes: list[str]) -> list[Any]:
    builder = orm.QueryBuilder().append(kind, filters={**filters, 'attributes.exit_status': 0}, tag='node')
    wanted = set(nodes)
    found: list[Any] = builder.order_by({'node': 'id'}).all(flat=True)
    return [node for node in found if node.uuid in wanted]
