"""Where a node came from, and which potential is the best for a crystal."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, cast

import pandas as pd
from aiida import orm

from aiida_equitrain.common.formatting import duration, formula
from aiida_equitrain.common.names import PW
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.verdict import Flag

from .failures import cause_of, reason_of
from .flags import red_flags
from .jobs import cost
from .tables import potentials, reduced_formula


def lineage(node: orm.Node) -> dict[str, pd.DataFrame]:
    """Return what a node was made from, however far back.

    :returns: tables with ``pk`` and more, in the order of their making: ``datasets`` (``n_frames``, ``functional``),
        ``potentials`` (``name``, ``kind``, ``sha256``; the foundation among them), ``structures`` (``label``), ``dft``
        (``exit_status``; runs of pw.x) and ``jobs`` (``process``, ``exit_status``).
    """
    return {
        'datasets': _ancestors(node, DatasetData, n_frames='attributes.n_frames', functional='attributes.functional'),
        'potentials': _ancestors(
            node, PotentialData, name='attributes.card.name', kind='attributes.kind', sha256='attributes.sha256'
        ),
        'structures': _ancestors(node, orm.StructureData, label='label'),
        'dft': _ancestors(node, orm.CalcJobNode, filters={'process_type': PW}, exit_status='attributes.exit_status'),
        'jobs': _ancestors(
            node, orm.CalcJobNode, process='attributes.process_label', exit_status='attributes.exit_status'
        ),
    }


def best_potential(structure: orm.StructureData) -> PotentialData | None:
    """Return the potential for a crystal whose training has shown the smallest error on its own formula.

    Those with fewer red flags (:func:`~aiida_equitrain.query.red_flags`) come first. Then those whose phonons
    were compared with DFT come before the others, by the error over the Brillouin zone; then those with validation
    frames, by the error of the forces. Training on other structures of the same formula counts.

    :returns: ``None`` if nothing was trained on this formula. A warning says what is wrong with it if nothing without a
        red flag is there.
    """
    formula = reduced_formula(''.join(atom.symbol for atom in structure.get_ase()))
    table = potentials(material=formula).dropna(subset=['phonon_mae_thz', 'forces_mae_mev_per_angstrom'], how='all')
    if table.empty:
        return None
    order = table.sort_values(['phonon_mae_thz', 'forces_mae_mev_per_angstrom'], na_position='last')
    flagged: list[tuple[list[Flag], PotentialData]] = []
    for pk in order['pk']:
        node: Any = orm.load_node(int(pk))
        flags = red_flags(node)
        if not flags:  # none that follows can be better
            return cast(PotentialData, node)
        flagged.append((flags, node))
    flags, potential = min(flagged, key=lambda pair: len(pair[0]))
    wrong = '; '.join(f'{flag.text} ({flag.remedy})' for flag in flags)
    warnings.warn(
        f'every potential for {formula} has a red flag; of PK {potential.pk}, the best of them: {wrong}', stacklevel=2
    )
    return potential


def describe(node: orm.Node) -> dict[str, str]:
    """Return what a node is and where it came from, as lines of a name and a sentence each."""
    rows = {'node': f'{_kind(node)}, PK {node.pk}, {node.uuid}', 'created': f'{node.ctime:%Y-%m-%d %H:%M} UTC'}
    if node.label:
        rows['label'] = node.label
    try:
        rows |= _facts(node)
    except (AttributeError, KeyError, TypeError, ValueError):
        # An archive of somebody may hold anything under the name of a class of ours.
        rows['note'] = 'its attributes are not of the form that its kind has: do not use it'
    creator = node.creator if isinstance(node, orm.Data) else node.caller if isinstance(node, orm.ProcessNode) else None
    if creator is not None:
        verb = 'made by' if isinstance(node, orm.Data) else 'called by'
        rows[verb] = f'{creator.process_label}, PK {creator.pk}'
    elif isinstance(node, orm.Data):
        source = node.source if isinstance(node.source, dict) else {}
        rows['made by'] = 'nothing in this database' + (f'; from {source["uri"]}' if source.get('uri') else '')
    made_of = lineage(node)
    jobs = Counter(made_of['jobs']['process'])
    if isinstance(node, orm.ProcessNode):
        rows |= _spent(node)
    if jobs or not isinstance(node, orm.ProcessNode):
        rows['behind it'] = ', '.join(f'{number} × {name}' for name, number in jobs.most_common()) or 'no jobs'
    for name in ('datasets', 'potentials', 'structures'):
        if len(made_of[name]):
            pks = [str(pk) for pk in made_of[name]['pk']]
            rows[name] = ' '.join(pks[:10]) + (f' … ({len(pks)})' if len(pks) > 10 else '')
    return rows


def _spent(node: orm.ProcessNode) -> dict[str, str]:
    """Return the jobs that a process has run itself, and what they cost."""
    spent = cost(node)
    names = [
        f'{row.n_jobs} × {row.process}' + (f' ({row.n_reused} reused)' if row.n_reused else '')
        for row in spent.itertuples()
    ]
    wall = (node.mtime - node.ctime).total_seconds()
    core = float(spent['core_seconds'].sum())
    return {'jobs': ', '.join(names) or 'none', 'cost': f'{duration(wall)}, {duration(core)} of core time'}


def _facts(node: orm.Node) -> dict[str, str]:
    """Return what is to be known of the kinds of this package, and of structures and processes."""
    if isinstance(node, PotentialData):
        table = potentials()
        row = table[table['pk'] == node.pk].iloc[0]
        rows = {
            'potential': f'{node.card.get("name") or node.label or "unnamed"}, {node.family}, {node.kind}, '
            f'{node.n_bytes} bytes',
            'elements': ' '.join(node.elements) if len(node.elements) < 12 else f'{len(node.elements)}',
        }
        if pd.notna(row['strategy']):
            rows['trained'] = (
                f'{row["strategy"]} on {row["n_frames"]} frames of {" ".join(map(formula, row["materials"]))}'
            )
        for column, unit in (('forces_mae_mev_per_angstrom', 'meV/Å'), ('phonon_mae_thz', 'THz')):
            before, after = row[f'foundation_{column}'], row[column]
            if pd.notna(after) and pd.notna(before):
                rows['error of ' + column.split('_')[0]] = f'{before:.3g} → {after:.3g} {unit}'
        wrong = red_flags(node)
        if wrong:
            rows['red flags'] = '; '.join(f'{flag.text}: {flag.remedy}' for flag in wrong)
        return rows
    if isinstance(node, DatasetData):
        roles = ', '.join(f'{number} {role}' for role, number in node.counts.items() if number)
        rows = {'frames': f'{node.n_frames} of {" ".join(map(formula, node.formulas))} ({roles}), {node.functional}'}
        return rows | ({'licence': node.licence} if node.licence else {})
    if isinstance(node, orm.StructureData):
        return {'crystal': f'{node.get_formula()}, {len(node.sites)} atoms, {node.get_cell_volume():.2f} Å³'}
    if isinstance(node, orm.ProcessNode):
        state = node.process_state.value if node.process_state else 'unknown'
        code = '' if node.exit_status is None else f' [{node.exit_status}]'
        message = f': {reason_of(node)}' if node.is_terminated and not node.is_finished_ok else ''
        rows = {'state': f'{state}{code}{message}'}
        cause = '' if node.is_finished_ok or not node.is_terminated else cause_of(node)
        return rows | ({'root of it': cause} if cause else {}) | {'outputs': ' '.join(sorted(node.outputs)) or 'none'}
    return {}


def _kind(node: orm.Node) -> str:
    return str(node.process_label) if isinstance(node, orm.ProcessNode) else type(node).__name__


def _ancestors(node: orm.Node, cls: Any, /, filters: dict[str, Any] | None = None, **columns: str) -> pd.DataFrame:
    builder = orm.QueryBuilder().append(orm.Node, filters={'id': node.pk}, tag='node')
    builder.append(cls, with_descendants='node', filters=filters or {}, project=['id', *columns.values()])
    table = pd.DataFrame(builder.all(), columns=['pk', *columns])
    return table.drop_duplicates('pk').sort_values('pk', ignore_index=True)
