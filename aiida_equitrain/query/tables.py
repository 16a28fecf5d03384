"""Tables of what is stored, as pandas DataFrames: a few queries each, whatever the number of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from aiida import orm
from aiida_phonopy.data.phonopy import PhonopyData
from ase.formula import Formula

from aiida_equitrain.common.names import Role
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData

TRAIN = 'aiida.calculations:equitrain.train'
MATERIAL = 'aiida.workflows:equitrain.material'
PHONONS = 'aiida.workflows:equitrain.phonons'
INSTABILITY = 'aiida.workflows:equitrain.instability'
#: Errors of a training: column and key of the job's summary.
TRAINING_ERRORS = {
    'forces_mae_mev_per_angstrom': 'errors.after.valid.forces_mae_mev_per_angstrom',
    'foundation_forces_mae_mev_per_angstrom': 'errors.before.valid.forces_mae_mev_per_angstrom',
    'forgetting_mev_per_angstrom': 'forgetting.change_mev_per_angstrom',
}
#: Errors of phonons: column and key of the comparison.
PHONON_ERRORS = {
    'phonon_mae_thz': 'candidates.finetuned.phonon_mae_thz',
    'foundation_phonon_mae_thz': 'candidates.foundation.phonon_mae_thz',
}
#: Columns of a potential and what they are in the database.
OF_POTENTIAL = {
    'pk': 'id', 'uuid': 'uuid', 'label': 'label', 'created': 'ctime', 'name': 'attributes.card.name',
    'kind': 'attributes.kind', 'family': 'attributes.family', 'n_bytes': 'attributes.n_bytes',
}  # fmt: skip
#: Columns of its training by the link of the job: kind of node, which way the link goes, and what is read of it.
OF_TRAINING: dict[str, tuple[Any, str, dict[str, str]]] = {
    'dataset': (DatasetData, 'with_outgoing', {'dataset_pk': 'id', 'materials': 'attributes.formulas',
                                               'n_frames': 'attributes.roles'}),
    'foundation': (PotentialData, 'with_outgoing', {'foundation_pk': 'id'}),
    'strategy': (orm.Str, 'with_outgoing', {'strategy': 'attributes.value'}),
    'seed': (orm.Int, 'with_outgoing', {'seed': 'attributes.value'}),
    'summary': (orm.Dict, 'with_incoming', {name: f'attributes.{key}' for name, key in TRAINING_ERRORS.items()}),
}  # fmt: skip
ALL_OF_TRAINING = {'job_pk', *(name for _, _, known in OF_TRAINING.values() for name in known)}
ALL_OF_POTENTIALS = {*OF_POTENTIAL, *ALL_OF_TRAINING, *PHONON_ERRORS}
#: So many potentials are asked for one by one; of more, all trainings are read.
FEW = 500
#: Lowest frequency on mesh and path, and what it was called before it was told apart from the lowest along the path.
LOWEST, OLD_LOWEST = 'lowest_frequency_thz', 'min_frequency_thz'
#: Columns of whole numbers, which may be unknown.
WHOLE = ('job_pk', 'dataset_pk', 'n_frames', 'foundation_pk', 'seed')
STABILITY = ('lowest_frequency_thz', 'max_frequency_thz', 'dynamically_stable', 'tolerance_thz', 'n_atoms_supercell')


def potentials(
    *,
    material: str | None = None,
    strategy: str | None = None,
    foundation: int | None = None,
    elements: Sequence[str] = (),
    max_phonon_mae_thz: float | None = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return all potentials, foundations included, the newest first.

    :param material: only those that were trained on this formula, in any order and number of formula units.
    :param strategy: only those that were trained with it.
    :param foundation: only those that were trained from the potential with this PK.
    :param elements: only those that know these.
    :param max_phonon_mae_thz: only those whose phonons were compared with DFT and have at most this error, THz.
    :param columns: only these, which is faster: what a column costs is to read it.
    :param limit: only so many, the newest ones.
    :returns: ``pk``, ``uuid``, ``label``, ``created``, ``name``, ``kind`` (``full`` or ``adapter``), ``family``,
        ``n_bytes``; of those that were trained here ``strategy``, ``seed``, ``materials``, ``n_frames``
        (to train on and to validate by), ``dataset_pk``, ``foundation_pk``, ``job_pk``, the errors of
        :data:`TRAINING_ERRORS` on validation frames,
        and, if the main job made them, those of :data:`PHONON_ERRORS` (mean absolute errors over the Brillouin zone).
    """
    filtered = {'materials': material, 'strategy': strategy, 'foundation_pk': foundation,
                'phonon_mae_thz': max_phonon_mae_thz}  # fmt: skip
    wanted = {'pk', *(columns or ALL_OF_POTENTIALS), *(name for name, value in filtered.items() if value is not None)}
    own = {name: path for name, path in OF_POTENTIAL.items() if name in wanted}
    filters = {'attributes.elements': {'contains': list(elements)}} if elements else {}
    builder = orm.QueryBuilder().append(PotentialData, filters=filters, project=list(own.values()), tag='potential')
    if limit is not None and all(value is None for value in filtered.values()):
        builder.order_by({'potential': {'id': 'desc'}}).limit(limit)
    table = _table(builder, [*own])
    among = {} if table.empty or len(table) > FEW else {'id': {'in': table['pk'].tolist()}}
    table = table.merge(_trainings(wanted, among), on='pk', how='left') if wanted & ALL_OF_TRAINING else table
    table = table.merge(_phonon_errors(wanted, among), on='pk', how='left') if wanted & set(PHONON_ERRORS) else table
    if material is not None:
        formula = reduced_formula(material)
        table = table[[isinstance(found, list) and formula in found for found in table['materials']]]
    if strategy is not None:
        table = table[table['strategy'] == strategy]
    if foundation is not None:
        table = table[table['foundation_pk'] == foundation]
    if max_phonon_mae_thz is not None:
        known = [isinstance(error, float) and error <= max_phonon_mae_thz for error in table['phonon_mae_thz']]
        table = table[known]
    table = table.sort_values('pk', ascending=False, ignore_index=True).head(len(table) if limit is None else limit)
    return table if columns is None else table[list(columns)]


def datasets(*, material: str | None = None) -> pd.DataFrame:
    """Return all datasets, the newest first.

    :param material: only those with frames of this formula.
    :returns: ``pk``, ``uuid``, ``label``, ``created``, ``materials``, ``n_frames``, ``max_atoms``, ``has_stress``,
        ``functional``, ``code``, ``licence``, ``source`` (where imported frames came from).
    """
    attributes = ('n_frames', 'max_atoms', 'has_stress', 'functional', 'code', 'licence')
    columns = {
        'pk': 'id', 'uuid': 'uuid', 'label': 'label', 'created': 'ctime', 'materials': 'attributes.formulas',
        **{name: f'attributes.{name}' for name in attributes}, 'source': 'attributes.source.uri',
    }  # fmt: skip
    filters = {} if material is None else {'attributes.formulas': {'contains': [reduced_formula(material)]}}
    builder = orm.QueryBuilder().append(DatasetData, filters=filters, project=list(columns.values()))
    return _table(builder, [*columns]).sort_values('pk', ascending=False, ignore_index=True)


def phonons(*, material: str | None = None, stable: bool | None = None) -> pd.DataFrame:
    """Return the results of all ``equitrain.phonons``, the newest first.

    :param material: only those of crystals with this formula.
    :param stable: only those with (``False``) or without (``True``) imaginary modes beyond the tolerance.
    :returns: ``pk`` of the WorkChain, ``created``, ``material``, ``source`` (``potential`` or ``dft``),
        ``potential_pk``, ``phonopy_pk``, and :data:`STABILITY`.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={'process_type': PHONONS}, tag='work', project=['id', 'ctime'])
    builder.append(orm.StructureData, with_outgoing='work', edge_filters={'label': 'structure'},
                   project=['attributes.kinds', 'attributes.sites'])  # fmt: skip
    builder.append(orm.Dict, with_incoming='work', edge_filters={'label': 'stability'},
                   project=[f'attributes.{name}' for name in (*STABILITY, OLD_LOWEST)])  # fmt: skip
    table = _table(builder, ['pk', 'created', 'kinds', 'sites', *STABILITY, OLD_LOWEST])
    table[LOWEST] = table[LOWEST].combine_first(table.pop(OLD_LOWEST)).astype(float)
    # A database may have it as a number.
    table['dynamically_stable'] = [None if value is None else bool(value) for value in table['dynamically_stable']]
    formulas = [_formula(*pair) for pair in zip(table.pop('kinds'), table.pop('sites'), strict=True)]
    table.insert(2, 'material', formulas)
    sides: list[tuple[str, Any, dict[str, Any]]] = [
        ('potential_pk', PotentialData, {'with_outgoing': 'work', 'edge_filters': {'label': 'potential'}}),
        ('phonopy_pk', PhonopyData, {'with_incoming': 'work', 'edge_filters': {'label': 'phonopy_data'}}),
    ]
    for name, kind, side in sides:
        found = orm.QueryBuilder().append(
            orm.WorkChainNode, filters={'process_type': PHONONS}, tag='work', project='id'
        )
        found.append(kind, project='id', **side)
        table = table.merge(_table(found, ['pk', name]), on='pk', how='left').astype({name: 'Int64'})
    table.insert(3, 'source', ['dft' if missing else 'potential' for missing in table['potential_pk'].isna()])
    if material is not None:
        table = table[table['material'] == reduced_formula(material)]
    if stable is not None:
        table = table[table['dynamically_stable'] == stable]
    return table.sort_values('pk', ascending=False, ignore_index=True)


def instabilities(*, material: str | None = None) -> pd.DataFrame:
    """Return one row for each phase that ``equitrain.instability`` found, its parent included.

    :param material: only phases of this formula.
    :returns: ``pk`` of the WorkChain, ``created``, ``material``, ``phase`` (its name, which is also that of its output
        in ``phases``), ``parent``, ``space_group``, ``energy_below_root_mev_per_atom``, ``dynamically_stable``,
        ``lowest_frequency_thz``.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={'process_type': INSTABILITY}, tag='work', project=['id', 'ctime'])
    builder.append(orm.StructureData, with_outgoing='work', edge_filters={'label': 'structure'},
                   project=['attributes.kinds', 'attributes.sites'])  # fmt: skip
    builder.append(orm.Dict, with_incoming='work', edge_filters={'label': 'tree'}, project='attributes.phases')
    keys = ('parent', 'space_group', 'energy_below_root_mev_per_atom', 'dynamically_stable', LOWEST)
    rows = [
        {'pk': pk, 'created': created, 'material': _formula(kinds, sites), 'phase': name}
        | {key: phase.get(key) for key in keys}
        | {LOWEST: phase.get(LOWEST, phase.get(OLD_LOWEST))}
        for pk, created, kinds, sites, phases in builder.all()
        # An archive of somebody may hold anything under this name.
        for name, phase in (phases.items() if isinstance(phases, dict) else ())
        if isinstance(phase, dict)
    ]
    table = pd.DataFrame(rows, columns=['pk', 'created', 'material', 'phase', *keys])
    if material is not None:
        table = table[table['material'] == reduced_formula(material)]
    return table.sort_values(['pk', 'phase'], ascending=[False, True], ignore_index=True)


def whole(values: Iterable[Any]) -> Any:
    """Return a column of whole numbers; unknown where there is none, whatever somebody's archive holds in its place."""
    known = [value if isinstance(value, int) and abs(value) < 2**63 else None for value in values]
    return pd.array(known, dtype='Int64')


def reduced_formula(text: str) -> str:
    """Return a formula in the form of the database: reduced, in Hill's order.

    :raises ValueError: with a sentence, if it is none.
    """
    try:
        return str(Formula(text, strict=True).reduce()[0].format('hill'))
    except ValueError as error:
        raise ValueError(f'`{text}` is no chemical formula such as NaCl') from error


def _trainings(wanted: set[str], among: dict[str, Any]) -> pd.DataFrame:
    """Return what potentials were trained from and their errors on labelled frames, by their PK."""
    builder = orm.QueryBuilder()
    job = {name: path for name, path in (('job_pk', 'id'),) if name in wanted}
    builder.append(orm.CalcJobNode, filters={'process_type': TRAIN}, tag='job', project=list(job.values()))
    builder.append(PotentialData, with_incoming='job', edge_filters={'label': 'potential'}, filters=among, project='id')
    columns = [*job, 'pk']
    for label, (kind, direction, known) in OF_TRAINING.items():
        here = {name: path for name, path in known.items() if name in wanted}
        if here:
            way: dict[str, Any] = {direction: 'job'}
            builder.append(kind, edge_filters={'label': label}, project=list(here.values()), **way)
            columns += here
    table = _table(builder, columns)
    if 'n_frames' in columns:
        table['n_frames'] = [sum(role != Role.TEST.value for role in roles) for roles in table['n_frames']]
    return table.assign(**{name: whole(table[name]) for name in WHOLE if name in columns})


def _phonon_errors(wanted: set[str], among: dict[str, Any]) -> pd.DataFrame:
    """Return the errors over the Brillouin zone by the PK of the potential; of several main jobs, of the last."""
    here = {name: f'attributes.{key}' for name, key in PHONON_ERRORS.items() if name in wanted}
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={'process_type': MATERIAL}, tag='work')
    builder.append(
        PotentialData, with_incoming='work', edge_filters={'label': 'potential'}, filters=among, project='id'
    )
    builder.append(orm.Dict, with_incoming='work', edge_filters={'label': 'comparison'}, project=['id', *here.values()])
    table = _table(builder, ['pk', 'comparison_pk', *here]).sort_values('comparison_pk')
    return table.drop_duplicates('pk', keep='last').drop(columns='comparison_pk')


def _table(builder: orm.QueryBuilder, columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(builder.all(), columns=columns)


def _formula(kinds: list[dict[str, Any]], sites: list[dict[str, Any]]) -> str | None:
    """Return the reduced formula of the attributes of a structure; ``None`` if they are not those of one."""
    try:
        symbols = {kind['name']: kind['symbols'] for kind in kinds}
        return reduced_formula(''.join(symbol for site in sites for symbol in symbols[site['kind_name']]))
    except (ValueError, TypeError, KeyError):
        return None
