"""Frames for phonons: what holds for any crystal."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.harmonic_frames import (
    displaced_frames,
    in_given_cell,
    phonon_supercell,
    primitive_cell,
    random_displacements,
)

CRYSTALS = {
    'primitive': bulk('Si'),
    'cubic': bulk('NaCl', 'rocksalt', a=5.64, cubic=True),
    'hexagonal': bulk('AlN', 'wurtzite', a=3.11, c=4.98),
    'doubled': bulk('Si', cubic=True).repeat((2, 1, 1)),
}


def test_seeds_and_amplitude():
    drawn = random_displacements(500, 4, 0.01, pairs=False, seed=3)
    assert np.array_equal(drawn, random_displacements(500, 4, 0.01, pairs=False, seed=3))
    assert not np.allclose(drawn, random_displacements(500, 4, 0.01, pairs=False, seed=4))
    assert len({frame.tobytes() for frame in drawn}) == 4
    lengths = np.sqrt((drawn**2).sum(axis=2).mean(axis=1))
    assert lengths == pytest.approx([0.01] * 4, rel=0.1)
    assert np.abs(drawn.mean(axis=1)).max() < 1e-15


def test_more_frames_begin_with_those_of_fewer():
    for pairs in (False, True):
        few, many = (random_displacements(8, number, 0.02, pairs, seed=1) for number in (2, 6))
        assert np.array_equal(few, many[:2])


def test_pairs_are_opposite():
    drawn = random_displacements(8, 4, 0.02, pairs=True, seed=1)
    assert np.array_equal(drawn[0], -drawn[1])
    assert np.array_equal(drawn[2], -drawn[3])
    assert not np.allclose(drawn[0], drawn[2])
    with pytest.raises(ValueError, match='3 frames are no whole number of pairs'):
        random_displacements(8, 3, 0.02, pairs=True, seed=1)


@pytest.mark.parametrize('name', CRYSTALS)
def test_supercell_is_that_of_phonons(name):
    """Cell, positions and order of the atoms are phonopy's, for a matrix that is not symmetric as well."""
    atoms, matrix = CRYSTALS[name], [[2, 1, 0], [0, 2, 0], [0, 0, 1]]
    supercell = phonon_supercell(atoms, matrix)
    unit = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell[:], positions=atoms.positions)
    phonon = Phonopy(unit, np.transpose(matrix), primitive_matrix='auto', log_level=0)
    assert np.allclose(supercell.cell[:], np.array(matrix) @ atoms.cell[:])
    assert np.allclose(supercell.positions, phonon.supercell.positions, atol=1e-12)
    assert np.array_equal(supercell.numbers, phonon.supercell.numbers)
    displacements = random_displacements(len(supercell), 2, 0.01, pairs=True, seed=0)
    for frame, shifts in zip(displaced_frames(supercell, displacements), displacements, strict=True):
        assert np.array_equal(frame.cell[:], supercell.cell[:])
        assert frame.positions - supercell.positions == pytest.approx(shifts, abs=1e-12)


@pytest.mark.parametrize(('name', 'size'), [('primitive', 2), ('cubic', 2), ('hexagonal', 4), ('doubled', 2)])
def test_relaxed_primitive_cell_is_brought_back_into_the_given_one(name, size):
    """A strain of the primitive cell is a strain of the given cell, and atoms that moved do so in every copy."""
    atoms = CRYSTALS[name]
    primitive = primitive_cell(atoms, 1e-4)
    assert len(primitive) == size
    strain = np.eye(3) + 0.01 * np.random.default_rng(0).normal(size=(3, 3))
    relaxed = primitive.copy()
    relaxed.set_cell(primitive.cell[:] @ strain, scale_atoms=True)
    relaxed.positions[-1] += [0.03, 0.02, -0.01]
    back = in_given_cell(atoms, relaxed, 1e-4)
    assert np.allclose(back.cell[:], atoms.cell[:] @ strain)
    assert np.array_equal(back.numbers, atoms.numbers)
    moved = np.linalg.norm(back.positions - atoms.positions @ strain, axis=1) > 1e-9
    assert moved.sum() == len(atoms) // size
    again = primitive_cell(back, 1e-4)
    assert len(again) == size
    assert again.get_volume() == pytest.approx(relaxed.get_volume())
