"""The numbers of a study against ones that can be counted by hand, and intervals that cover what they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from aiida_equitrain.calculations.functions.study import columns
from aiida_equitrain.science.phonon_metrics import dos_error
from aiida_equitrain.science.study_statistics import (
    PHASE_COUNTS,
    Bootstrap,
    aggregate,
    count_verdicts,
    detection_scores,
)


def rows(**changes: Any) -> pd.DataFrame:
    """Return four materials, two strategies, two sizes and two seeds; the second strategy has twice the error."""
    lines = [
        {
            'material': material, 'strategy': strategy, 'n_train': n_train, 'seed': seed, 'state': 'done',
            'phonon_mae_thz': (1 + place + 0.1 * seed) * (1 if strategy == 'l2-tsp' else 2) / n_train,
            'foundation_phonon_mae_thz': 3.0, 'symfc_phonon_mae_thz': 0.5, 'max_frequency_thz': 9.0,
            'reference_max_frequency_thz': 10.0, 'foundation_max_frequency_thz': 8.0,
            'dynamically_stable': material != 'A', 'foundation_dynamically_stable': True,
            'reference_dynamically_stable': material not in ('A', 'B'), 'label_core_seconds': 10.0,
            'dft_core_seconds': 30.0, 'train_core_seconds': 5.0,
        }
        for place, material in enumerate('ABCD') for strategy in ('l2-tsp', 'transfer') for n_train in (2, 4)
        for seed in (1, 2)
    ]  # fmt: skip
    return pd.DataFrame(lines).reindex(columns=columns()).assign(**changes)


@pytest.mark.real
def test_by_labels() -> None:
    """Errors over the number of labels: one curve of the foundation, one of each strategy, where they are known."""
    table = rows()
    assert [item['method'] for item in aggregate(table, n_resamples=100)['by_labels']] == ['symfc'] * 2
    table = table.assign(
        corrected_phonon_mae_thz=0.2 / table['n_train'], corrected_finetuned_phonon_mae_thz=0.1 / table['n_train']
    )
    found = aggregate(table, n_resamples=100)['by_labels']
    means = {(item['method'], item['n_train']): item['phonon_mae_thz']['mean']['value'] for item in found}
    assert means == pytest.approx({
        ('symfc', 2): 0.5, ('symfc', 4): 0.5, ('corrected', 2): 0.1, ('corrected', 4): 0.05,
        ('l2-tsp, corrected', 2): 0.05, ('l2-tsp, corrected', 4): 0.025, ('transfer, corrected', 2): 0.05,
        ('transfer, corrected', 4): 0.025,
    })  # fmt: skip


def test_aggregates() -> None:
    """Means over materials of means over seeds, wins, F1, deviations and cost are those that one counts."""
    numbers = aggregate(rows(), n_resamples=500)
    assert [(group['strategy'], group['n_train']) for group in numbers['strategies']] == [
        ('l2-tsp', 2), ('l2-tsp', 4), ('transfer', 2), ('transfer', 4)]  # fmt: skip
    first = numbers['strategies'][0]
    assert first['phonon_mae_thz']['mean']['value'] == pytest.approx((1 + 2 + 3 + 4 + 4 * 0.15) / 4 / 2)
    assert first['phonon_mae_thz']['median']['value'] == pytest.approx((2.5 + 0.15) / 2)
    assert first['wins'] == {'value': 1.0, 'low': 1.0, 'high': 1.0, 'n': 4}
    assert numbers['strategies'][2]['wins']['value'] == 0.0
    assert first['max_frequency_thz_deviation_percent']['mean']['value'] == pytest.approx(-10.0)
    assert numbers['foundation']['max_frequency_thz_deviation_percent']['mean']['value'] == pytest.approx(-20.0)
    unstable = first['unstable']
    assert [unstable[name]['value'] for name in ('precision', 'recall')] == [1.0, 0.5]
    assert unstable['f1']['value'] == pytest.approx(2 / 3)
    assert [unstable[f'{word}_{kind}'] for word in ('true', 'false') for kind in ('positive', 'negative')] == [
        1,
        2,
        0,
        1,
    ]
    assert numbers['foundation']['unstable']['recall']['value'] == 0.0
    assert numbers['cost']['label_over_dft']['value'] == pytest.approx(1 / 3)
    assert (numbers['cost']['label_core_seconds'], numbers['cost']['train_core_seconds']['mean']) == (40.0, 5.0)


def test_failed_rows_are_left_out() -> None:
    """A failed row counts as failed and nothing else; with nothing but failed rows there are no statistics."""
    table = rows()
    table.loc[table['material'] == 'D', 'state'] = 'failed'
    numbers = aggregate(table, n_resamples=200)
    assert (numbers['n_failed'], numbers['n_materials'], numbers['strategies'][0]['n_materials']) == (8, 4, 3)
    numbers = aggregate(rows(state='failed'), n_resamples=200)
    assert numbers['strategies'] == []
    assert numbers['n_failed'] == numbers['n_rows'] == 32


def test_no_reference() -> None:
    """Without DFT there are no errors, and nothing is classified."""
    empty = {name: np.nan for name in columns() if name.startswith('reference_') or name == 'phonon_mae_thz'}
    group = aggregate(rows(**empty), n_resamples=200)['strategies'][0]
    assert 'phonon_mae_thz' not in group
    assert group['unstable'] == {}
    assert 'wins' not in group


def test_interval_covers() -> None:
    """Of many samples, the interval of the mean holds the true mean about as often as it says."""
    rng = np.random.default_rng(0)
    hits = 0
    for index in range(100):
        result = Bootstrap(300, index)(np.mean, rng.normal(2.0, 1.0, 40))
        hits += result['low'] <= 2.0 <= result['high']
    assert 85 <= hits <= 100


def test_few_materials() -> None:
    """One material has no interval; the same seed gives the same one."""
    assert Bootstrap(200, 1)(np.mean, np.array([1.0])) == {'value': 1.0, 'low': None, 'high': None, 'n': 1}
    values = np.arange(5.0)
    assert Bootstrap(200, 1)(np.mean, values) == Bootstrap(200, 1)(np.mean, values)
    assert Bootstrap(200, 1)(np.mean, values) != Bootstrap(200, 2)(np.mean, values)


def test_detection() -> None:
    verdicts = count_verdicts([True, True, False, False], [True, False, True, False])
    assert set(verdicts.values()) == {1}
    assert set(detection_scores(1, 1, 1).values()) == {0.5}
    assert count_verdicts([False, False], [False, False])['true_negative'] == 2
    assert all(np.isnan(value) for value in detection_scores(0, 0, 0).values())


@pytest.mark.real
def test_new_phases() -> None:
    """Phases are counted over all materials, each the mean of its seeds; one of which DFT's are unknown is left out."""
    table = rows()
    counts = {'A': (2, 1, 1), 'B': (0, 0, 2), 'C': (1, 1, 0)}
    for material, numbers in counts.items():
        table.loc[table['material'] == material, list(PHASE_COUNTS)] = numbers
    found = (table['material'] == 'A') & (table['seed'] == 2)
    table.loc[found, 'n_phases_found'] = 2
    numbers = aggregate(table, n_resamples=200)
    scores = numbers['strategies'][0]['new_phases']
    assert [scores[name] for name in ('true_positive', 'false_positive', 'false_negative')] == [2.5, 3.0, 0.5]
    assert scores['precision']['value'] == pytest.approx(2.5 / 5.5)
    assert scores['recall']['value'] == pytest.approx(2.5 / 3)
    assert scores['f1']['value'] == pytest.approx(5 / 8.5)
    assert scores['f1']['n'] == 3
    assert 0 <= scores['f1']['low'] < scores['f1']['value'] < scores['f1']['high'] <= 1
    assert 'new_phases' not in numbers['foundation']
    assert aggregate(rows(), n_resamples=200)['strategies'][0]['new_phases'] == {}


def test_dos_error() -> None:
    """Equal densities differ by 0, those without overlap by 200 %; a shift counts, the scale of weights does not."""
    rng = np.random.default_rng(1)
    frequencies, weights = np.sort(rng.uniform(0, 10, (50, 6)), axis=1), rng.uniform(1, 5, 50)
    assert dos_error(frequencies, frequencies, weights) == 0.0
    assert dos_error(frequencies + 100, frequencies, weights) == pytest.approx(200.0, abs=0.01)
    shifted = dos_error(frequencies + 0.5, frequencies, weights)
    assert 0 < shifted < 200
    assert dos_error(frequencies + 0.5, frequencies, 3 * weights) == pytest.approx(shifted)
