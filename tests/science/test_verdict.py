"""The rules by which a result is judged: each limit, what is said beside it, and which side is to be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aiida_equitrain.science import verdict
from aiida_equitrain.science.verdict import RED, flag_of_nac, flags_of_phonons, flags_of_training, judge

REFERENCE = {'max_frequency_thz': 10.0, 'volume_angstrom3': 40.0, 'n_atoms': 2, 'dynamically_stable': True}


def side(error: float | None = 0.05, **changes: Any) -> dict[str, Any]:
    """Return the numbers of one side that are right in every respect, but for changes."""
    branches = {'branch_mae_thz': [0.05] * 6}
    return {**REFERENCE, **branches, **({} if error is None else {'phonon_mae_thz': error}), **changes}


def comparison(**candidates: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison with DFT."""
    return {'reference': REFERENCE, 'candidates': candidates, 'symfc': None}


def keys(found: list[verdict.Flag]) -> list[tuple[str, str]]:
    """Return key and side of what is wrong."""
    return [(flag.key, flag.side) for flag in found if flag.level == RED]


def test_right() -> None:
    """A result that is right has no flag, and its words say how near it is."""
    found = comparison(foundation=side(0.3), finetuned=side(0.09))
    assert flags_of_phonons(found) == []
    said = judge(found, {}, {}, [])
    assert (said.level, said.side) == ('good', 'finetuned')
    assert said.title == 'Phonons of the fine-tuned potential are as good as DFT’s.'
    assert said.sentences[0] == 'Off by 0.0900 THz over the Brillouin zone, 0.90 % of the highest frequency.'
    assert 'foundation as it comes is off by 0.300 THz' in said.sentences[1]


@pytest.mark.parametrize(
    ('changes', 'key'),
    [
        ({'volume_angstrom3': 40 * 1.031}, 'volume'),
        ({'volume_angstrom3': 40 * 0.969}, 'volume'),
        ({'max_frequency_thz': 11.1}, 'highest_mode'),
        ({'max_frequency_thz': 8.9}, 'highest_mode'),
        ({'phonon_mae_thz': 1.01}, 'phonons_far'),
        ({'dynamically_stable': False}, 'stability'),
        ({'uncertainty_thz': 1.01}, 'error_bars'),
        ({'branch_mae_thz': [0.05, 0.05, 0.08, 0.05, 0.05, 0.05]}, 'acoustic_branch_worse'),
        ({'branch_mae_thz': [0.05, 0.05, 0.05, 0.05, 0.05, 0.08]}, 'optical_branch_worse'),
    ],
)
def test_limits(changes: dict[str, Any], key: str) -> None:
    """Each rule fires beyond its limit, on the side that is wrong, and says what to do."""
    found = flags_of_phonons(comparison(foundation=side(), finetuned=side(**changes)))
    assert keys(found) == [(key, 'finetuned')]
    assert found[0].remedy
    said = judge(comparison(foundation=side(), finetuned=side(**changes)), {}, {}, found)
    assert said.level == 'bad'
    assert said.title.startswith('One thing is wrong. ')


@pytest.mark.parametrize(
    'changes',
    [
        {'volume_angstrom3': 40 * 1.029},
        {'max_frequency_thz': 10.9},
        {'phonon_mae_thz': 0.99},
        {'uncertainty_thz': 0.99},
        {'branch_mae_thz': [0.07] * 6},
        # Of a larger cell with twice the atoms.
        {'volume_angstrom3': 80.0, 'n_atoms': 4},
    ],
)
def test_within_limits(changes: dict[str, Any]) -> None:
    assert flags_of_phonons(comparison(foundation=side(), finetuned=side(**changes))) == []


def test_the_foundation_is_no_result() -> None:
    """What is wrong with the foundation is no flag where there is a result beside it, and one where there is none."""
    bad = side(2.0, volume_angstrom3=50.0)
    assert flags_of_phonons(comparison(foundation=bad, corrected=side())) == []
    assert keys(flags_of_phonons(comparison(foundation=bad))) == [
        ('volume', 'foundation'),
        ('phonons_far', 'foundation'),
    ]


def test_a_wrong_side_is_not_chosen() -> None:
    """A side with a flag comes after one without, even if its error is smaller."""
    found = comparison(foundation=side(0.3), finetuned=side(0.01, volume_angstrom3=45.0), corrected=side(0.02))
    said = judge(found, {}, {'corrected': {'uncertainty_thz': 0.004}}, flags_of_phonons(found))
    assert said.side == 'corrected'
    assert 'error bar from the labels alone 0.00400 THz' in said.sentences[0]
    assert 'The fine-tuned potential by itself is off by 0.0100 THz' in said.sentences[-1]


def test_without_dft() -> None:
    """The cell of the labels is what volumes are held against; error bars and residual are the verdict."""
    found = {
        'reference': None,
        'candidates': {
            'foundation': side(None),
            'finetuned': side(None, volume_angstrom3=45.0),
            'corrected': side(None),
        },
    }
    flags = flags_of_phonons(found)
    assert keys(flags) == [('volume', 'finetuned')]
    assert 'that of the labels' in flags[0].text
    facts = {
        'uncertainty_thz': 0.02, 'left_out_error_ev_per_angstrom': 0.004, 'potential_error_ev_per_angstrom': 0.05,
        'is_corrected': False,
    }  # fmt: skip
    said = judge(found, {}, {'corrected': facts}, [])
    assert said.sentences[0] == 'Error bar of the frequencies 0.0200 THz on average, 0.20 % of the highest.'
    assert 'missed by 4.00 meV/Å, by the potential alone by 50.0 meV/Å' in said.sentences[1]
    assert 'do not favour' in said.sentences[2]


def test_baseline() -> None:
    """A fit that is the reference has no error; one that is nearer than the potential is told of."""
    found = comparison(foundation=side(0.3), finetuned=side(0.2))
    near = {'phonon_mae_thz': 0.1, 'how': 'unstrained frames alone', 'n_frames_of_reference': 2}
    said = judge({**found, 'symfc': near}, {}, {}, flags_of_phonons({**found, 'symfc': near}))
    assert 'without a potential by 0.100 THz (unstrained frames alone)' in said.sentences[1]
    assert 'no potential is needed' in said.sentences[2]
    assert [(flag.key, flag.level) for flag in said.flags] == [('labels_of_reference', 'note')]
    same = {'phonon_mae_thz': None, 'is_reference': True}
    assert 'without a potential is the reference' in judge({**found, 'symfc': same}, {}, {}, []).sentences[1]


def test_training() -> None:
    """A training that made something worse, ran away, or forgot."""
    forgot = {'forces_mae_before_mev_per_angstrom': 70.0, 'forces_mae_after_mev_per_angstrom': 150.0}
    found = flags_of_training({'worse_than_foundation': {'energy': [0.03, 0.4]}, 'forgetting': forgot})
    assert [(flag.key, flag.level) for flag in found] == [('energy_worse', RED), ('forgetting', 'note')]
    assert '`energy_weight`' in found[0].remedy
    errors = {'epoch': np.arange(4), 'valid_forces_mae': np.array([0.1, 0.05, 0.06, 0.11])}
    assert keys(flags_of_training({'best_epoch': 1}, errors)) == [('training_diverged', 'finetuned')]
    assert flags_of_training({'best_epoch': 1}, {**errors, 'valid_forces_mae': np.array([0.1, 0.05, 0.06, 0.09])}) == []
    nan = {**errors, 'valid_forces_mae': np.array([0.1, 0.05, 0.06, np.nan])}
    assert keys(flags_of_training({'best_epoch': 1}, nan)) == [('training_diverged', 'finetuned')]
    assert keys(flags_of_training({'stopped_by': 'diverged'})) == [('training_diverged', 'finetuned')]
    assert flags_of_training({}) == []


@pytest.mark.parametrize(
    ('elements', 'has_nac', 'polar'),
    [({'Na', 'Cl'}, False, True), ({'Na', 'Cl'}, True, False), ({'Si'}, False, False), ({'Ni', 'Al'}, False, False)],
)
def test_polar(elements: set[str], has_nac: bool, polar: bool) -> None:
    assert (flag_of_nac(elements, has_nac) is not None) == polar


def test_only_a_training() -> None:
    """Without phonons the errors on validation frames are all there is; without those nothing is claimed."""
    errors = {
        when: {'valid': {'forces_mae_mev_per_angstrom': value}} for when, value in (('before', 40.0), ('after', 9.0))
    }
    said = judge({}, {'errors': errors}, {}, [])
    assert (said.level, said.side) == ('good', None)
    assert said.sentences == ['Forces of validation frames are off by 9.00 meV/Å, by 40.0 with the foundation.']
    assert judge({}, {}, {}, []).level == 'fair'
