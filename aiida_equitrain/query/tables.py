"""Tables of what is stored, as pandas DataFrames: a few queries each, whatever the number of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from aiida import orm
from ase.formula import Formula

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
STABILITY = ('min_frequency_thz', 'max_frequency_thz', 'dynamically_stable', 'tolerance_thz', 'n_atoms_supercell')


def potentials(
    *,
    material: str | None = None,
    strategy: str | None = None,
    foundation: int | None = None,
    elements: Sequence[str] = (),
    max_phonon_mae_thz: float | None = None,
) -> pd.DataFrame:
    """Return all potentials, foundations included, the newest first.

    :param material: only those that were trained on this formula, in any order and number of formula units.
    :param strategy: only those that were trained with it.
    :param foundation: only those that were trained from the potential with this PK.
    :param elements: only those that know these.
    :param max_phonon_mae_thz: only those whose phonons were compared with DFT and have at most this error, THz.
    :returns: ``pk``, ``uuid``, ``label``, ``created``, ``name``, ``kind`` (``full`` or ``adapter``), ``family``,
        ``n_bytes``; of those that were trained here ``strategy``, ``seed``, ``materials``, ``n_frames``,
        ``dataset_pk``, ``foundation_pk``, ``job_pk``, the errors of :data:`TRAINING_ERRORS` on validation frames,
        and, if the main job made them, those of :data:`PHONON_ERRORS` (mean absolute errors over the Brillouin zone).
    """
    columns = {
        'pk': 'id', 'uuid': 'uuid', 'label': 'label', 'created': 'ctime', 'name': 'attributes.card.name',
        'kind': 'attributes.kind', 'family': 'attributes.family', 'n_bytes': 'attributes.n_bytes',
    }  # fmt: skip
    filters = {'attributes.elements': {'contains': list(elements)}} if elements else {}
    builder = orm.QueryBuilder().append(PotentialData, filters=filters, project=list(columns.values()))
    table = _table(builder, [*columns])
    table = table.merge(_trainings(), on='pk', how='left').merge(_training_errors(), on='pk', how='left')
    table = table.merge(_phonon_errors(), on='pk', how='left')
    if material is not None:
        wanted = reduced_formula(material)
        table = table[[isinstance(found, list) and wanted in found for found in table['materials']]]
    if strategy is not None:
        table = table[table['strategy'] == strategy]
    if foundation is not None:
        table = table[table['foundation_pk'] == foundation]
    if max_phonon_mae_thz is not None:
        table = table[pd.to_numeric(table['phonon_mae_thz']) <= max_phonon_mae_thz]
    return table.sort_values('pk', ascending=False, ignore_index=True)


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
                   project=[f'attributes.{name}' for name in STABILITY])  # fmt: skip
    table = _table(builder, ['pk', 'created', 'kinds', 'sites', *STABILITY])
    formulas = [_formula(*pair) for pair in zip(table.pop('kinds'), table.pop('sites'), strict=True)]
    table.insert(2, 'material', formulas)
    sides: list[tuple[str, Any, dict[str, Any]]] = [
        ('potential_pk', PotentialData, {'with_outgoing': 'work', 'edge_filters': {'label': 'potential'}}),
        ('phonopy_pk', orm.ArrayData, {'with_incoming': 'work', 'edge_filters': {'label': 'phonopy_data'}}),
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
        ``min_frequency_thz``.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={'process_type': INSTABILITY}, tag='work', project=['id', 'ctime'])
    builder.append(orm.StructureData, with_outgoing='work', edge_filters={'label': 'structure'},
                   project=['attributes.kinds', 'attributes.sites'])  # fmt: skip
    builder.append(orm.Dict, with_incoming='work', edge_filters={'label': 'tree'}, project='attributes.phases')
    keys = ('parent', 'space_group', 'energy_below_root_mev_per_atom', 'dynamically_stable', 'min_frequency_thz')
    rows = [
        {'pk': pk, 'created': created, 'material': _formula(kinds, sites), 'phase': name}
        | {key: phase.get(key) for key in keys}
        for pk, created, kinds, sites, phases in builder.all()
        for name, phase in phases.items()
    ]
    table = pd.DataFrame(rows, columns=['pk', 'created', 'material', 'phase', *keys])
    if material is not None:
        table = table[table['material'] == reduced_formula(material)]
    return table.sort_values(['pk', 'phase'], ascending=[False, True], ignore_index=True)


def reduced_formula(text: str) -> str:
    """Return a formula in the form of the database: reduced, in Hill's order.

    :raises ValueError: with a sentence, if it is none.
    """
    try:
        return str(Formula(text, strict=True).reduce()[0].format('hill'))
    except ValueError as error:
        raise ValueError(f'`{text}` is no chemical formula such as NaCl') from error


def _trainings() -> pd.DataFrame:
    """Return what potentials were trained from, by their PK."""
    builder = orm.QueryBuilder()
    builder.append(orm.CalcJobNode, filters={'process_type': TRAIN}, tag='job', project='id')
    builder.append(PotentialData, with_incoming='job', edge_filters={'label': 'potential'}, project='id')
    builder.append(DatasetData, with_outgoing='job', edge_filters={'label': 'dataset'},
                   project=['id', 'attributes.formulas', 'attributes.n_frames'])  # fmt: skip
    for kind, name, wanted in (
        (PotentialData, 'foundation', 'id'), (orm.Str, 'strategy', 'attributes.value'),
        (orm.Int, 'seed', 'attributes.value'),
    ):  # fmt: skip
        builder.append(kind, with_outgoing='job', edge_filters={'label': name}, project=wanted)
    columns = ['job_pk', 'pk', 'dataset_pk', 'materials', 'n_frames', 'foundation_pk', 'strategy', 'seed']
    whole = dict.fromkeys(('job_pk', 'dataset_pk', 'n_frames', 'foundation_pk', 'seed'), 'Int64')
    return _table(builder, columns).astype(whole)


def _training_errors() -> pd.DataFrame:
    """Return the errors on labelled frames by the PK of the potential."""
    builder = orm.QueryBuilder()
    builder.append(orm.CalcJobNode, filters={'process_type': TRAIN}, tag='job')
    builder.append(PotentialData, with_incoming='job', edge_filters={'label': 'potential'}, project='id')
    builder.append(orm.Dict, with_incoming='job', edge_filters={'label': 'summary'},
                   project=[f'attributes.{key}' for key in TRAINING_ERRORS.values()])  # fmt: skip
    return _table(builder, ['pk', *TRAINING_ERRORS])


def _phonon_errors() -> pd.DataFrame:
    """Return the errors over the Brillouin zone by the PK of the potential; of several main jobs, of the last."""
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={'process_type': MATERIAL}, tag='work')
    builder.append(PotentialData, with_incoming='work', edge_filters={'label': 'potential'}, project='id')
    builder.append(orm.Dict, with_incoming='work', edge_filters={'label': 'comparison'},
                   project=['id', *(f'attributes.{key}' for key in PHONON_ERRORS.values())])  # fmt: skip
    table = _table(builder, ['pk', 'comparison_pk', *PHONON_ERRORS]).sort_values('comparison_pk')
    return table.drop_duplicates('pk', keep='last').drop(columns='comparison_pk')


def _table(builder: orm.QueryBuilder, columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(builder.all(), columns=columns)


def _formula(kinds: list[dict[str, Any]], sites: list[dict[str, Any]]) -> str:
    """Return the reduced formula of the attributes of a structure."""
    symbols = {kind['name']: kind['symbols'] for kind in kinds}
    return reduced_formula(''.join(symbol for site in sites for symbol in symbols[site['kind_name']]))
