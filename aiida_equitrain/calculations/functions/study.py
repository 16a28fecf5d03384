"""Calculation functions of a study: parts of a dataset, and the table."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from aiida import orm
from aiida.engine import calcfunction

from aiida_equitrain.calculations.functions.instability import phase_tolerances
from aiida_equitrain.common.names import ROOT_PHASE, Role
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science import phases, study_statistics

#: Keys of the ``settings`` of ``StudyWorkChain``.
STUDY_SETTINGS = {
    'sizes': Setting([10], 'numbers of training frames'),
    'seeds': Setting([1], 'each draws its own training frames and trains with them'),
    'n_resamples': Setting(2000, 'of the bootstrap', minimum=100),
    'bootstrap_seed': Setting(1, 'of the bootstrap'),
    'reuse': Setting(True, 'take what an earlier study with equal inputs has done'),
}
TABLE = 'table.csv'
#: What is read of one side of a comparison.
SIDE = (*study_statistics.DEVIATIONS, 'lowest_frequency_thz', 'min_frequency_thz', 'dynamically_stable')
COMPARED = ('phonon_mae_thz', 'phonon_rmse_thz', 'phonon_bias_thz', 'dos_error_percent')
#: Errors of phonons that labels have corrected: of the foundation, with its error bar, of the fine-tuned potential.
CORRECTED = ('corrected_phonon_mae_thz', 'corrected_uncertainty_thz', 'corrected_finetuned_phonon_mae_thz')
ELASTIC = ('bulk_modulus_gpa', 'shear_modulus_gpa', 'slack_conductivity_300k_w_per_m_k')
#: Names of the inputs of :func:`collect_study`, with the name of the row behind.
KINDS = ('comparison', 'summary', 'correction', 'elastic', 'foundation_elastic', 'tree', 'phase_match')
#: Prefix of DFT's phases among the inputs of :func:`match_phases`.
REFERENCE = 'reference_'


@calcfunction
def take_training_frames(dataset: DatasetData, n_train: orm.Int, seed: orm.Int) -> DatasetData:
    """Return the dataset with ``n_train`` of its training frames; validation and test frames stay.

    The frames are the first of an order that the seed draws, so that those of a smaller size are among those of a
    larger one.
    """
    frames = dataset.get_frames()
    training = [row for row, frame in enumerate(frames) if frame.role == Role.TRAIN.value]
    order = np.random.default_rng(seed.value).permutation(training)
    left_out = set(order[n_train.value :].tolist())
    return dataset.with_frames(frame for row, frame in enumerate(frames) if row not in left_out)


@calcfunction
def match_phases(settings: orm.Dict, **structures: orm.StructureData) -> orm.Dict:
    """Return which phases of DFT a potential finds, see ``science.phases.compare_phases``.

    :param settings: those of ``InstabilityWorkChain``, for its tolerances.
    :param structures: phases of the potential by name, and those of DFT as ``reference_<name>``; ``root`` is none.
    """
    sides: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    for label, node in structures.items():
        name = label.removeprefix(REFERENCE)
        if name != ROOT_PHASE:
            sides[label.startswith(REFERENCE)][name] = node.get_ase()
    return orm.Dict(phases.compare_phases(sides[False], sides[True], *phase_tolerances(settings)))


@calcfunction
def collect_study(rows: orm.Dict, settings: orm.Dict, **results: orm.Dict) -> dict[str, orm.Data]:
    """Return ``table`` (CSV, one line per row) and ``aggregates`` (see ``science.study_statistics``).

    :param rows: by its name what is known of each row before its results: ``material``, ``strategy``, ``n_train``,
        ``seed``, ``state``, ``reason``, identifiers, cost, and ``nothing_to_follow`` if it has no imaginary mode.
    :param results: ``comparison_<row>``, ``summary_<row>``, ``elastic_<row>`` and the like of the rows that are done.
    """
    numbers = {name: node.get_dict() for name, node in results.items()}
    table, aggregates = tabulate(rows.get_dict(), with_defaults(settings.get_dict(), STUDY_SETTINGS), numbers)
    text = table.to_csv(index=False).encode()
    return {'table': orm.SinglefileData(io.BytesIO(text), filename=TABLE), 'aggregates': orm.Dict(aggregates)}


def tabulate(
    rows: Mapping[str, Any], settings: Mapping[str, Any], results: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table and the aggregates; parameters as of :func:`collect_study`, as plain dictionaries."""
    lines = [{**facts, **_numbers(name, results), **_phases(name, facts, results)} for name, facts in rows.items()]
    table = pd.DataFrame(lines).reindex(columns=columns()).sort_values(list(study_statistics.ROW), ignore_index=True)
    return table, study_statistics.aggregate(
        table, n_resamples=settings['n_resamples'], seed=settings['bootstrap_seed']
    )


def columns() -> list[str]:
    """Return the columns of the table, in their order."""
    errors = [*COMPARED, *(f'foundation_{name}' for name in COMPARED), 'symfc_phonon_mae_thz', *CORRECTED]
    training = ['forces_mae_mev_per_angstrom', 'foundation_forces_mae_mev_per_angstrom', 'forgetting_mev_per_angstrom',
                'n_trained_parameters', 'best_epoch']  # fmt: skip
    sides = [f'{side}{name}' for name in SIDE for side in ('', 'foundation_', 'reference_')]
    sides += [f'{side}{name}' for name in ELASTIC for side in ('', 'foundation_')]
    cost = [f'{stage}_core_seconds' for stage in ('label', 'dft', 'foundation_phonons', 'train', 'row')]
    found = ['n_new_phases', 'lowest_phase', 'lowest_phase_mev_per_atom', *study_statistics.PHASE_COUNTS]
    facts = ['state', 'reason', 'process_uuid', 'potential_uuid', 'dataset_uuid', 'instability_uuid']
    return [*study_statistics.ROW, *facts[:2], *errors, *training, *sides, *found, *cost, *facts[2:]]


def _numbers(name: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the results of one row say."""
    found = {kind: results[f'{kind}_{name}'] for kind in KINDS if f'{kind}_{name}' in results}
    comparison, training = found.get('comparison', {}), found.get('summary', {})
    sides = {'': 'finetuned', 'foundation_': 'foundation'}
    numbers: dict[str, Any] = {}
    for prefix, side in sides.items():
        values = comparison.get('candidates', {}).get(side) or {}
        numbers |= {f'{prefix}{key}': values.get(key) for key in (*COMPARED, *SIDE)}
        numbers |= {f'{prefix}{key}': found.get(f'{prefix}elastic', {}).get(key) for key in ELASTIC}
    numbers |= {f'reference_{key}': (comparison.get('reference') or {}).get(key) for key in SIDE}
    errors = training.get('errors') or {}
    for prefix, when in (('', 'after'), ('foundation_', 'before')):
        of_frames = (errors.get(when) or {}).get(Role.VALID.value) or {}
        numbers[f'{prefix}forces_mae_mev_per_angstrom'] = of_frames.get('forces_mae_mev_per_angstrom')
    numbers |= {key: training.get(key) for key in ('n_trained_parameters', 'best_epoch')}
    numbers['forgetting_mev_per_angstrom'] = (training.get('forgetting') or {}).get('change_mev_per_angstrom')
    for side in ('corrected', 'corrected_finetuned'):
        values = comparison.get('candidates', {}).get(side) or {}
        numbers[f'{side}_phonon_mae_thz'] = values.get('phonon_mae_thz')
    numbers['corrected_uncertainty_thz'] = found.get('correction', {}).get('uncertainty_thz')
    numbers['symfc_phonon_mae_thz'] = (comparison.get('symfc') or {}).get('phonon_mae_thz')
    return numbers


def _phases(name: str, facts: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many phases one row has behind imaginary modes, the lowest of them, and how many are those of DFT.

    A crystal that is stable with DFT has no such phase; of another one DFT's phases have to be given.
    """
    tree, match = results.get(f'tree_{name}'), results.get(f'phase_match_{name}')
    if tree is None and not facts.get('nothing_to_follow'):
        return {}
    new = [] if tree is None else [phase for phase in tree['phases'].values() if phase['parent'] is not None]
    numbers: dict[str, Any] = {'n_new_phases': len(new)}
    lowest = max(new, key=lambda phase: float(phase['energy_below_root_mev_per_atom']), default=None)
    if lowest is not None:
        numbers['lowest_phase'] = lowest['space_group']
        numbers['lowest_phase_mev_per_atom'] = lowest['energy_below_root_mev_per_atom']
    reference = results.get(f'comparison_{name}', {}).get('reference') or {}
    if match is not None:
        numbers |= {key: match[key] for key in study_statistics.PHASE_COUNTS}
    elif reference.get('dynamically_stable'):
        numbers |= dict(zip(study_statistics.PHASE_COUNTS, (0, 0, len(new)), strict=True))
    return numbers
