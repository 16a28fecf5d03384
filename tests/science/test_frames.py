"""Frames keep every bit through their files."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_equitrain.science.extxyz import from_extxyz
from aiida_equitrain.science.frame_checks import check_frames, check_roles
from aiida_equitrain.science.frames import Frame, Frames, to_extxyz


def frame(atoms: Atoms | None = None, seed: int = 0, **kwargs) -> Frame:
    """Return a frame with arbitrary labels."""
    rng = np.random.default_rng(seed)
    atoms = bulk('NaCl', 'rocksalt', a=5.64) if atoms is None else atoms
    size = len(atoms)
    defaults = {
        'numbers': atoms.numbers.astype(np.int64),
        'positions': atoms.positions + rng.normal(size=(size, 3)),
        'cell': atoms.cell[:] + rng.normal(scale=0.1, size=(3, 3)),
        'energy': float(rng.normal() * 1e4),
        'forces': rng.normal(size=(size, 3)) * 10.0 ** rng.integers(-12, 3),
        'stress': rng.normal(size=(3, 3)) / 3,
        'role': 'train',
    }
    return Frame(**{**defaults, **kwargs})


def same(first: Frame, second: Frame) -> bool:
    """Return whether two frames are equal to the last bit."""
    return all(
        (getattr(first, name) is None) == (getattr(second, name) is None)
        and (getattr(first, name) is None or np.array_equal(getattr(first, name), getattr(second, name)))
        for name in vars(first)
    )


@pytest.fixture
def frames() -> Frames:
    return Frames(
        [
            frame(source='0012', trajectory=3, recipe='harmonic'),
            frame(bulk('Si', cubic=True), seed=1, stress=None, role='valid', source='a "quoted" \\ name = [x]'),
            frame(Atoms('He', cell=[3, 3, 3]), seed=2, pbc=(True, False, True), role='', energy=-5.0),
            frame(seed=3, energy=1.0, role='test', source='9a1b2c3d-0000-4e4e-8f8f-123456789abc'),
        ]
    )


def test_extended_xyz_is_exact(frames):
    back = from_extxyz(to_extxyz(frames))
    assert len(back) == len(frames)
    assert all(same(*pair) for pair in zip(frames, back, strict=True))


def test_npz_is_exact_and_reproducible(frames):
    first, second = io.BytesIO(), io.BytesIO()
    frames.save(first)
    frames.save(second)
    assert first.getvalue() == second.getvalue()
    first.seek(0)
    back = Frames.load(first, sources=[item.source for item in frames])
    assert all(same(*pair) for pair in zip(frames, back, strict=True))


def test_frames_that_do_not_say_their_recipe_are_stored_as_before(frames):
    plain = Frames([replace(item, recipe='') for item in frames])
    assert 'recipes' in frames.arrays()
    assert 'recipes' not in plain.arrays()
    buffer = io.BytesIO()
    plain.save(buffer)
    buffer.seek(0)
    assert [item.recipe for item in Frames.load(buffer)] == [''] * 4
    atoms = frames[0].to_atoms()
    atoms.info['recipe'] = 'pancakes'  # of another program
    assert Frame.from_atoms(atoms).recipe == ''


def test_ase_is_exact(frames):
    for item in frames:
        symmetric = frame(seed=5, stress=None)
        assert same(symmetric, Frame.from_atoms(symmetric.to_atoms()))
        assert same(item, Frame.from_atoms(item.to_atoms(keys=True)))


def test_labels_of_a_calculator_are_read_from_a_file(tmp_path):
    atoms = bulk('Si', cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=np.ones((8, 3)), stress=np.arange(6.0))
    atoms.write(tmp_path / 'x.xyz', format='extxyz')
    item = from_extxyz((tmp_path / 'x.xyz').read_text(), role='valid')[0]
    assert item.energy == -1.5
    assert item.role == 'valid'
    assert np.array_equal(item.stress, [[0, 5, 4], [5, 1, 3], [4, 3, 2]])


def test_missing_labels_are_named():
    with pytest.raises(ValueError, match='no energy'):
        Frame.from_atoms(bulk('Si'))
    atoms = bulk('Si')
    atoms.info['REF_energy'] = 1.0
    with pytest.raises(ValueError, match='no forces'):
        Frame.from_atoms(atoms)
    with pytest.raises(ValueError, match='no extended XYZ'):
        from_extxyz('what\nis this?\n')


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'forces': np.empty((0, 3))}, 'no forces'),
        ({'forces': np.full((2, 3), np.nan)}, 'forces are not finite'),
        ({'forces': np.zeros((3, 3))}, r'forces have the shape \(3, 3\) instead of \(2, 3\)'),
        ({'positions': np.full((2, 3), np.inf)}, 'positions are not finite'),
        ({'stress': np.full((3, 3), np.nan)}, 'stress are not finite'),
        ({'stress': np.zeros(6)}, r'stress have the shape \(6,\)'),
        ({'energy': float('nan')}, 'energy is not finite'),
        ({'cell': np.zeros((3, 3))}, 'no volume'),
        ({'role': 'valdi'}, 'did you mean `valid`'),
        ({'role': ''}, 'no role'),
        ({'numbers': np.array([11, 0])}, 'no elements'),
    ],
)
def test_wrong_frames_get_a_sentence(change, sentence):
    import re

    problem = check_frames(Frames([frame(), frame(**change)]))
    assert problem
    assert problem.startswith('frame 1: ')
    assert re.search(sentence, problem)


def test_roles_needed_for_training():
    assert check_roles(['train', 'valid']) is None
    assert 'validate by' in check_roles(['train', 'test'])
    assert 'train on' in check_roles(['valid'])
    assert 'no frames' in check_frames(Frames([]))


@pytest.mark.parametrize('key', ['converged=F', 'energy_unit=Ry', 'config_weight=0'])
def test_frames_that_say_to_be_none(key: str, tiny_frames: Any) -> None:
    """A frame that says to be no label, or one of another unit, is refused by its number."""
    text = to_extxyz(Frames(tiny_frames[:2]))
    with pytest.raises(ValueError, match='frame 1: '):
        from_extxyz(text.replace('pbc=', f'{key} pbc=', 1))
    (first, second) = from_extxyz(text.replace('pbc=', 'config_energy_weight=0 pbc=', 1))
    assert (first.energy, second.energy) == (None, tiny_frames[1].energy)
