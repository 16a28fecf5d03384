"""Tables of studies."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
from aiida import orm

from .tables import whole

STUDY = 'aiida.workflows:equitrain.study'


def studies(*, material: str | None = None) -> pd.DataFrame:
    """Return one row per ``equitrain.study``, the newest first.

    :param material: only those with a crystal of this name.
    :returns: ``pk``, ``uuid``, ``created``, ``label``, ``state``, ``materials``, ``strategies``, ``sizes``, ``seeds``,
        ``n_rows``, ``n_failed`` (the last two ``None`` where a study has not ended).
    """
    builder = orm.QueryBuilder()
    columns = {'pk': 'id', 'uuid': 'uuid', 'created': 'ctime', 'label': 'label', 'state': 'attributes.process_state'}
    builder.append(orm.WorkChainNode, filters={'process_type': STUDY}, tag='study', project=list(columns.values()))
    builder.append(orm.Dict, with_outgoing='study', edge_filters={'label': 'strategies'}, project='attributes')
    builder.append(orm.Dict, with_outgoing='study', edge_filters={'label': 'settings'}, project='attributes')
    table = pd.DataFrame(builder.all(), columns=[*columns, 'strategies', 'settings'])
    table['strategies'] = [sorted(item) for item in table['strategies']]
    settings = table.pop('settings')
    names = _materials()
    table.insert(5, 'materials', [names.get(pk, []) for pk in table['pk']])
    for key in ('sizes', 'seeds'):
        table[key] = [item.get(key) for item in settings]
    table = table.merge(_numbers(), on='pk', how='left')
    if material is not None:
        table = table[[material in found for found in table['materials']]]
    return table.sort_values('pk', ascending=False, ignore_index=True)


def study_table(node: orm.ProcessNode | orm.SinglefileData) -> pd.DataFrame:
    """Return the table of a study: one row per material, strategy, number of training frames and seed.

    :param node: the study, or its output ``table``.
    :raises ValueError: with a sentence, if it has no table.
    """
    table: Any = node
    if isinstance(node, orm.ProcessNode):
        if 'table' not in node.outputs:
            raise ValueError(f'PK {node.pk} has no `table`: it is no study, or one that has not ended')
        table = node.outputs.table
    return pd.read_csv(io.StringIO(table.get_content()), dtype={'reason': object}, float_precision='round_trip')


def _materials() -> dict[int, list[str]]:
    """Return the names of the crystals by the PK of the study."""
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={'process_type': STUDY}, tag='study', project='id')
    builder.append(orm.StructureData, with_outgoing='study', edge_filters={'label': {'like': 'materials%structure'}},
                   edge_project='label')  # fmt: skip
    names: dict[int, list[str]] = {}
    for pk, label in builder.all():
        names.setdefault(pk, []).append(label.removeprefix('materials__').removesuffix('__structure'))
    return {pk: sorted(found) for pk, found in names.items()}


def _numbers() -> pd.DataFrame:
    """Return how many rows there are, and how many failed."""
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={'process_type': STUDY}, tag='study', project='id')
    builder.append(orm.Dict, with_incoming='study', edge_filters={'label': 'aggregates'},
                   project=['attributes.n_rows', 'attributes.n_failed'])  # fmt: skip
    table = pd.DataFrame(builder.all(), columns=['pk', 'n_rows', 'n_failed'])
    return table.assign(n_rows=whole(table['n_rows']), n_failed=whole(table['n_failed'])).astype({'pk': 'int64'})
