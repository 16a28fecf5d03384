"""Text and figure of corrected phonons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aiida_equitrain.common.formatting import describe_verdict
from aiida_equitrain.report.correction import describe_correction
from aiida_equitrain.report.plots import draw_error_bars, to_svg

FACTS: dict[str, Any] = {
    'n_frames': 2, 'n_frames_given': 3, 'left_out': {'strained': 1}, 'n_constants': 220, 'n_equations': 761,
    'n_frames_that_determine': 2, 'n_finite_displacements': 4, 'prior': 'distance', 'effective_constants': 150.2,
    'left_out_error_ev_per_angstrom': 0.012, 'potential_error_ev_per_angstrom': 0.1, 'noise_ev_per_angstrom': 0.01,
    'change_thz': 0.4, 'uncertainty_thz': 0.03, 'largest_uncertainty_thz': 0.2, 'verdict': 'undecided',
    'lowest_frequency_thz': -0.3, 'lowest_frequency_sigma_thz': 0.12, 'potential': {'lowest_frequency_thz': -0.9},
    'heat_capacity_j_per_k_mol': 48.11, 'heat_capacity_j_per_k_mol_sigma': 0.021, 'entropy_j_per_k_mol': 40.0,
    'entropy_j_per_k_mol_sigma': 0.05, 'free_energy_kj_per_mol': 3.0, 'free_energy_kj_per_mol_sigma': 0.01,
    'temperature_k': 300.0, 'is_corrected': True,
}  # fmt: skip


@pytest.mark.parametrize(
    ('lowest', 'sigma', 'text'),
    [
        (-1.234, 0.1, 'unstable: -1.23 ± 0.10 THz'),
        (-12.34, 1.3, 'unstable: -12.3 ± 1.3 THz'),
        (-100.0, 23.0, 'unstable: -100 ± 23 THz'),
        (0.5, 0.0, 'unstable: 0.500 ± 0.000 THz'),
    ],
)
def test_verdict(lowest: float, sigma: float, text: str) -> None:
    facts = {'verdict': 'unstable', 'lowest_frequency_thz': lowest, 'lowest_frequency_sigma_thz': sigma}
    assert describe_verdict(facts) == text


def test_text() -> None:
    """What was left out, and a correction that was left off, are told of."""
    text = describe_correction(FACTS)
    assert 'corrected by 2 of 3 labelled frames (left out: 1 × strained)' in text
    assert 'undecided: -0.30 ± 0.12 THz; of the potential −0.900 THz' in text
    assert '48.11 ± 0.021 J/K/mol at 300 K' in text
    assert 'do not favour' not in text
    assert 'do not favour' in describe_correction(FACTS | {'is_corrected': False})


def test_figure() -> None:
    """Each band has two shades in each segment; imaginary ones are shown."""
    middle = np.array([[-0.2, 2.0], [1.0, 2.5], [1.0, 2.5], [0.5, 3.0]])
    bars = {
        'path_distances': np.array([0, 1, 1, 2.0]),
        'path_segment_starts': np.array([0, 2]),
        'path_labels': [['Γ', 'X'], ['X', 'L']],
        'path_frequencies_thz': middle,
        'path_sigmas_thz': 0.1 + 0 * middle,
        'path_potential_thz': middle + 0.3,
    }
    figure = draw_error_bars(bars)
    (axes,) = figure.axes
    assert len(axes.collections) == 2 * 2 * 2
    assert axes.get_ylim()[0] < -0.2
    assert 'corrected, ± 1 and 2 σ' in to_svg(figure, 'error_bars')
    assert draw_error_bars(bars | {'path_frequencies_thz': middle + 1}).axes[0].get_ylim()[0] == 0
