"""The table of a study in numbers: means, medians and classifications, each with its bootstrap interval.

Materials are what is resampled (rows of one material are no independent observations), seeds are averaged first.
Intervals are percentiles of the resampled statistic (Efron, Ann. Statist. 7, 1 (1979)), by ``scipy.stats.bootstrap``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: What tells the rows of a study apart.
ROW = ('material', 'strategy', 'n_train', 'seed')
#: Errors that are averaged as they are: columns of the table.
ERRORS = (
    'phonon_mae_thz',
    'phonon_rmse_thz',
    'dos_error_percent',
    'forces_mae_mev_per_angstrom',
    'forgetting_mev_per_angstrom',
)
#: Quantities whose deviation from the reference is given in percent of it.
DEVIATIONS = (
    'max_frequency_thz',
    'mean_frequency_thz',
    'heat_capacity_j_per_k_mol',
    'entropy_j_per_k_mol',
    'free_energy_kj_per_mol',
    'k_diff_high_temp_limit_w_per_m_k',
    'volume_angstrom3',
)
#: Phases of DFT behind imaginary modes, those of them that the potential finds, and the potential's that match none.
PHASE_COUNTS = ('n_reference_phases', 'n_phases_found', 'n_phases_wrong')
CONFIDENCE = 0.95
Values = NDArray[np.float64]


def aggregate(table: pd.DataFrame, *, n_resamples: int = 2000, seed: int = 1) -> dict[str, Any]:
    """Return the numbers of a study.

    :param table: one row per material, strategy, number of training frames (``n_train``) and seed, with ``state``
        (``done`` or ``failed``), ``phonon_mae_thz`` and more, and the same with ``foundation_`` and ``reference_``.
    :returns: ``strategies`` (a list with one entry per strategy and ``n_train``), ``foundation``, ``symfc``,
        ``by_labels`` (``method`` and ``n_train`` of what uses the same labels without or after a training), ``cost``,
        ``n_materials``, ``n_rows``, ``n_failed``, ``confidence``, ``n_resamples``, ``seed``. A statistic is a
        dictionary of ``value``, ``low``, ``high``, ``n``; the limits are ``None`` for fewer than two materials.
    """
    done = with_deviations(table[table['state'] == 'done'])
    boot = Bootstrap(n_resamples, seed)
    groups = [
        {'strategy': str(strategy), 'n_train': int(n_train), **_group(group, boot)}
        for (strategy, n_train), group in done.groupby(['strategy', 'n_train'], sort=True)
    ]
    _add_wins(groups, done, boot)
    foundation = done.drop(columns=[*ERRORS, *DEVIATIONS, *PHASE_COUNTS, 'dynamically_stable'], errors='ignore')
    symfc = done[['material', 'symfc_phonon_mae_thz']].rename(columns={'symfc_phonon_mae_thz': 'phonon_mae_thz'})
    foundation = foundation.rename(columns=lambda name: name.removeprefix('foundation_'))
    return {
        'strategies': groups,
        'foundation': _group(with_deviations(foundation), boot),
        'symfc': _group(symfc, boot),
        'by_labels': _by_labels(done, boot),
        'cost': cost(table, boot),
        'n_materials': int(table['material'].nunique()),
        'n_rows': len(table),
        'n_failed': int((table['state'] != 'done').sum()),
        'confidence': CONFIDENCE,
        'n_resamples': n_resamples,
        'seed': seed,
    }


def _by_labels(done: pd.DataFrame, boot: Bootstrap) -> list[dict[str, Any]]:
    """Return the errors by number of labels: symfc, the corrected foundation, each strategy with the correction."""
    tables = {'symfc': (done, 'symfc_phonon_mae_thz'), 'corrected': (done, 'corrected_phonon_mae_thz')}
    for strategy, rows in done.groupby('strategy', sort=True):
        tables[f'{strategy}, corrected'] = (rows, 'corrected_finetuned_phonon_mae_thz')
    return [
        {'method': method, 'n_train': int(n_train), **_group(group, boot)}
        for method, (rows, column) in tables.items()
        if column in rows and rows[column].notna().any()
        for n_train, group in rows[['material', 'n_train', column]]
        .rename(columns={column: 'phonon_mae_thz'})
        .dropna()
        .groupby('n_train', sort=True)
    ]


class Bootstrap:
    """Statistics of one number per material, with percentile intervals."""

    def __init__(self, n_resamples: int, seed: int) -> None:
        self.n_resamples, self.seed = n_resamples, seed

    def __call__(self, statistic: Callable[..., Any], *samples: Values) -> dict[str, Any]:
        """Return ``value``, ``low``, ``high`` and ``n`` of a statistic of paired samples."""
        from scipy.stats import bootstrap

        with np.errstate(all='ignore'):
            value = float(statistic(*samples)) if len(samples[0]) else np.nan
        result = {'value': _plain(value), 'low': None, 'high': None, 'n': len(samples[0])}
        if len(samples[0]) < 2 or not np.isfinite(value):
            return result
        rng = np.random.default_rng(self.seed)
        with warnings.catch_warnings(), np.errstate(all='ignore'):
            warnings.simplefilter('ignore')
            drawn = bootstrap(samples, statistic, paired=True, vectorized=False, n_resamples=self.n_resamples,
                              method='percentile', random_state=rng).bootstrap_distribution  # fmt: skip
        low, high = np.nanpercentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
        return result | {'low': _plain(low), 'high': _plain(high)}


def with_deviations(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with ``<quantity>_deviation_percent`` of all :data:`DEVIATIONS` that have a reference."""
    table = table.copy()
    for name in DEVIATIONS:
        if name in table and f'reference_{name}' in table:
            reference = table[f'reference_{name}'].astype(float)
            table[f'{name}_deviation_percent'] = 100 * (table[name].astype(float) - reference) / reference.abs()
    return table


def detection_scores(true_positive: float, false_positive: float, false_negative: float) -> dict[str, float]:
    """Return precision, recall and F1; ``nan`` where a ratio has no denominator."""

    def ratio(part: float, whole: float) -> float:
        return float(part / whole) if whole else float('nan')

    return {
        'precision': ratio(true_positive, true_positive + false_positive),
        'recall': ratio(true_positive, true_positive + false_negative),
        'f1': ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative),
    }


def count_verdicts(predicted: Any, actual: Any) -> dict[str, int]:
    """Return the confusion matrix of booleans, such as whether a crystal is unstable: of a potential, and of DFT."""
    predicted, actual = np.asarray(predicted, dtype=bool), np.asarray(actual, dtype=bool)
    return {
        'true_positive': int((predicted & actual).sum()),
        'false_positive': int((predicted & ~actual).sum()),
        'false_negative': int((~predicted & actual).sum()),
        'true_negative': int((~predicted & ~actual).sum()),
    }


def cost(table: pd.DataFrame, boot: Bootstrap) -> dict[str, Any]:
    """Return the core-seconds of labels and DFT phonons, each material once, their ratio, and those of a training."""
    known = table.drop_duplicates('material')[['label_core_seconds', 'dft_core_seconds']].astype(float).dropna()
    pair = known.to_numpy().T
    training = table['train_core_seconds'].astype(float).dropna().to_numpy()
    return {
        'label_core_seconds': _plain(pair[0].sum()) if len(known) else None,
        'dft_core_seconds': _plain(pair[1].sum()) if len(known) else None,
        'label_over_dft': boot(lambda label, dft: label.sum() / dft.sum(), *pair),
        'train_core_seconds': {'mean': _plain(training.mean()) if len(training) else None, 'n': len(training)},
    }


def _group(rows: pd.DataFrame, boot: Bootstrap) -> dict[str, Any]:
    """Return the statistics of the rows of one strategy and size."""
    deviations = [f'{name}_deviation_percent' for name in DEVIATIONS]
    result: dict[str, Any] = {'n_materials': int(rows['material'].nunique())}
    for name in (*ERRORS, *deviations):
        if name not in rows:
            continue
        values = rows.assign(value=rows[name].astype(float)).groupby('material')['value'].mean().dropna().to_numpy()
        if len(values):
            result[name] = {'mean': boot(np.mean, values), 'median': boot(np.median, values)}
    if {'dynamically_stable', 'reference_dynamically_stable'} <= set(rows):
        result['unstable'] = _unstable(rows, boot)
    if set(PHASE_COUNTS) <= set(rows):
        result['new_phases'] = _new_phases(rows, boot)
    return result


def _unstable(rows: pd.DataFrame, boot: Bootstrap) -> dict[str, Any]:
    """Return how well instability is predicted: the majority of the seeds counts."""
    known = rows.dropna(subset=['dynamically_stable', 'reference_dynamically_stable'])
    votes = known.assign(predicted=~known['dynamically_stable'].astype(bool),
                         actual=~known['reference_dynamically_stable'].astype(bool))  # fmt: skip
    sides = votes.groupby('material')[['predicted', 'actual']].mean().to_numpy().T > 0.5
    if not sides.size:
        return {}

    def count(*pair: Any) -> tuple[float, float, float]:
        verdicts = count_verdicts(*pair)
        return verdicts['true_positive'], verdicts['false_positive'], verdicts['false_negative']

    return {**count_verdicts(*sides), **_scores(count, sides, boot)}


def _new_phases(rows: pd.DataFrame, boot: Bootstrap) -> dict[str, Any]:
    """Return how well the phases behind imaginary modes are found: counts of phases, pooled over the materials.

    The counts of a material are means over its seeds.
    """
    known = rows.dropna(subset=list(PHASE_COUNTS)).astype(dict.fromkeys(PHASE_COUNTS, float))
    means = known.groupby('material')[list(PHASE_COUNTS)].mean().to_numpy().T
    if not means.size:
        return {}

    def count(reference: Values, found: Values, wrong: Values) -> tuple[float, float, float]:
        return float(found.sum()), float(wrong.sum()), float(reference.sum() - found.sum())

    counts = dict(zip(('true_positive', 'false_positive', 'false_negative'), count(*means), strict=True))
    return {**counts, **_scores(count, means, boot)}


def _scores(count: Callable[..., tuple[float, float, float]], samples: Any, boot: Bootstrap) -> dict[str, Any]:
    """Return precision, recall and F1 with their intervals.

    :param count: gives true positives, false positives and false negatives of samples of materials.
    :param samples: arrays with one number per material each.
    """
    names = ('precision', 'recall', 'f1')
    return {name: boot(lambda *drawn, name=name: detection_scores(*count(*drawn))[name], *samples) for name in names}


def _add_wins(groups: list[dict[str, Any]], done: pd.DataFrame, boot: Bootstrap) -> None:
    """Add ``wins``: the part of materials on which a strategy has the smallest error of its size, ties shared."""
    for n_train, rows in done.dropna(subset=['phonon_mae_thz']).groupby('n_train'):
        errors = rows.assign(value=rows['phonon_mae_thz'].astype(float))
        errors = errors.pivot_table(index='material', columns='strategy', values='value').dropna()
        if errors.shape[1] < 2:
            continue
        best = errors.eq(errors.min(axis=1), axis=0)
        share = best.div(best.sum(axis=1), axis=0)
        for group in groups:
            if group['n_train'] == n_train and group['strategy'] in share:
                group['wins'] = boot(np.mean, share[group['strategy']].to_numpy())


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
