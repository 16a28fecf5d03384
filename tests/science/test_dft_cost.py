"""The estimate of what DFT costs: its constants, and how it counts k-points."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from aiida_equitrain.science import dft_cost

ROOT = Path(__file__).parents[2]
PSEUDOS = ROOT / 'aiida_equitrain' / 'resources' / 'pseudos'


@pytest.fixture(scope='module')
def calibration():
    return runpy.run_path(str(ROOT / 'benchmarks' / 'dft_cost.py'))


def test_constants_are_those_of_the_fit(calibration):
    fitted = calibration['fit']()
    assert pytest.approx(fitted, rel=0.005) == [dft_cost.START, dft_cost.TRANSFORMS, dft_cost.PRODUCTS]
    logs = np.log(calibration['ratios']())
    assert np.exp(np.abs(logs).max()) == pytest.approx(dft_cost.LARGEST_FACTOR, abs=0.05)
    assert np.exp(np.sqrt(np.mean(logs**2))) == pytest.approx(dft_cost.TYPICAL_FACTOR, abs=0.05)


def test_larger_calculations_cost_more():
    base = {'bands': 32, 'volume': 300.0, 'ecutwfc': 30.0, 'ecutrho': 120.0, 'n_kpoints': 4}
    seconds = dft_cost.scf_seconds(**base)
    for key, value in (('bands', 64), ('volume', 600.0), ('ecutwfc', 60.0), ('ecutrho', 240.0), ('n_kpoints', 8)):
        assert dft_cost.scf_seconds(**{**base, key: value}) > seconds, key
    one = {**base, 'n_kpoints': 1}
    assert dft_cost.scf_seconds(**one, is_gamma=True) < dft_cost.scf_seconds(**one)
    setup = dft_cost.Setup({'Si': 4.0}, 20.0, 80.0, (2, 2, 2))
    metal = dft_cost.Setup({'Si': 4.0}, 20.0, 80.0, (2, 2, 2), is_metal=True)
    assert metal.seconds(bulk('Si'), 3) > setup.seconds(bulk('Si'), 3)


def test_kpoints_that_symmetry_leaves():
    """A crystal has all of its symmetry, a frame with all atoms displaced only that of time."""
    silicon = bulk('Si', cubic=True)
    assert dft_cost.count_kpoints(silicon, (2, 2, 2)) == 4
    assert dft_cost.count_kpoints(bulk('Si'), (4, 4, 4)) == 8
    moved = silicon.copy()
    moved.rattle(0.01, seed=1)
    assert dft_cost.count_kpoints(moved, (2, 2, 2)) == 8
    assert dft_cost.count_kpoints(moved, (3, 3, 3)) == 14
    assert dft_cost.count_kpoints(moved, (1, 1, 1)) == 1
    setup = dft_cost.Setup({'Si': 4.0}, 20.0, 80.0, (3, 3, 3))
    seconds, kpoints = dft_cost.total_seconds(setup, [silicon, moved])
    assert kpoints == [dft_cost.count_kpoints(silicon, (3, 3, 3)), 14]
    assert seconds == pytest.approx(setup.seconds(silicon, kpoints[0]) + setup.seconds(moved, 14))


@pytest.mark.parametrize(('element', 'electrons'), [('Si', 4), ('Na', 9), ('O', 6), ('Ga', 13)])
def test_valence_electrons(element, electrons):
    (file,) = PSEUDOS.glob(f'*/upf/{element}.upf')
    assert dft_cost.valence_electrons(file.read_text(encoding='utf-8')) == electrons
    old = '<PP_HEADER>\n   0                   Version Number\n    11.00000000000      Z valence\n</PP_HEADER>'
    assert dft_cost.valence_electrons(old) == 11
    with pytest.raises(ValueError, match='does not say its number of valence'):
        dft_cost.valence_electrons('<UPF version="2.0.1"></UPF>')


def test_real_waves() -> None:
    """At Γ alone, and of elements alone: pw.x misses states of compounds with real wave functions."""
    assert dft_cost.has_real_waves((1, 1, 1), ['Si', 'Si'])
    assert not dft_cost.has_real_waves((1, 1, 1), ['Mg', 'O'])
    assert not dft_cost.has_real_waves((2, 1, 1), ['Si'])
