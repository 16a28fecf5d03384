"""Structures, supercells, rattling, selection and energy shift: what holds for any input."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from aiida_equitrain.science.energy_shift import fit_energy_shift
from aiida_equitrain.science.rattle import rattled_structures, strained_cell
from aiida_equitrain.science.selection import select_frames, select_steps, split_random, split_roles
from aiida_equitrain.science.structures import check_structure
from aiida_equitrain.science.supercells import Symmetry, make_supercell, nearly_cubic_matrix, supercell_rows

CELLS = {
    'fcc': bulk('Si').cell[:],
    'hexagonal': bulk('Zn').cell[:],
    'long': Atoms(cell=[6, 6, 25, 90, 90, 120]).cell[:],
    'triclinic': Atoms(cell=[4, 5, 13, 80, 70, 100]).cell[:],
    'large': Atoms(cell=[12, 12, 12, 90, 90, 90]).cell[:],
}


@pytest.mark.real
@pytest.mark.parametrize('name', CELLS)
@pytest.mark.parametrize(('shortest', 'longest'), [(5.0, 10.0), (10.0, 15.0)])
def test_supercell_has_long_edges_and_moderate_angles(name, shortest, longest):
    cell = CELLS[name]
    matrix = nearly_cubic_matrix(cell, shortest, longest)
    assert np.array_equal(matrix, nearly_cubic_matrix(cell.copy(), shortest, longest))
    assert np.linalg.det(matrix) > 0
    parameters = Atoms(cell=matrix @ cell).cell.cellpar()
    assert parameters[:3].min() >= shortest - 1e-6
    assert 75 <= parameters[3:].min() <= parameters[3:].max() <= 105
    diagonal = np.prod(np.ceil(shortest / np.linalg.norm(cell, axis=1)))
    assert np.linalg.det(matrix) <= diagonal * 2


def test_supercell_of_silicon_is_the_cube():
    assert len(make_supercell(bulk('Si'), nearly_cubic_matrix(bulk('Si').cell[:], 10, 15))) == 64
    supercell = make_supercell(bulk('Si'), nearly_cubic_matrix(bulk('Si').cell[:], 5, 10))
    assert np.allclose(supercell.cell.cellpar(), [5.43] * 3 + [90] * 3)


def test_wrong_lengths():
    with pytest.raises(ValueError, match='below the shortest'):
        nearly_cubic_matrix(CELLS['fcc'], 10, 5)
    with pytest.raises(ValueError, match='has to be a length'):
        nearly_cubic_matrix(CELLS['fcc'], 0)


def test_rattled_structures():
    atoms = bulk('NaCl', 'rocksalt', a=5.64, cubic=True).repeat(3)
    changes = [-0.05, -0.025, 0.0, 0.025, 0.05]
    structures = rattled_structures(atoms, changes, displacement=0.1, strain=0.02, seed=3)
    again = rattled_structures(atoms, changes, displacement=0.1, strain=0.02, seed=3)
    other = rattled_structures(atoms, changes, displacement=0.1, strain=0.02, seed=4)
    for change, structure, same, different in zip(changes, structures, again, other, strict=True):
        assert structure.get_volume() == pytest.approx((1 + change) * atoms.get_volume(), rel=1e-12)
        assert np.array_equal(structure.positions, same.positions)
        assert not np.allclose(structure.positions, different.positions)
        shifts = structure.positions - atoms.get_scaled_positions(wrap=False) @ structure.cell[:]
        assert np.abs(shifts.mean(axis=0)).max() < 1e-12
        assert np.sqrt((shifts**2).sum(axis=1).mean()) == pytest.approx(0.1, rel=0.1)
    assert len({structure.cell.tobytes() for structure in structures}) == len(changes)


@pytest.mark.parametrize('name', CELLS)
def test_strain_stays_within_its_bounds(name):
    generator = np.random.default_rng(0)
    before = Atoms(cell=CELLS[name]).cell.cellpar()
    for _ in range(20):
        after = Atoms(cell=strained_cell(CELLS[name], 0.02, generator)).cell.cellpar()
        assert np.abs(after / before - 1).max() <= 0.02 + 1e-9
        assert not np.allclose(after, before)


def test_selected_steps_are_equally_spaced_in_energy():
    energies = np.exp(-np.arange(60) / 8)
    steps = select_steps(energies, 4)
    assert steps[0] == 0
    gained = (energies[0] - energies[steps]) / (energies[0] - energies[-1])
    assert np.allclose(gained, [0, 0.3, 0.6, 0.9], atol=0.06)


@pytest.mark.parametrize('energies', [[1.0], [1.0, 0.5], [1.0, 0.1, 0.0, 0.0], [1.0] * 9, [1.0, 2.0, 0.3, 0.2, 0.0]])
def test_selection_survives_short_flat_and_uneven_trajectories(energies):
    steps = select_steps(energies, 4)
    assert len(set(steps)) == len(steps) == min(4, len(energies))
    assert steps[0] == 0
    assert steps == sorted(steps)


def test_selection_from_many_trajectories():
    energies = np.concatenate([np.linspace(1, 0, 11), np.linspace(5, 4, 3)])
    index = np.array([0] * 11 + [1] * 3)
    assert select_frames(energies, index, 4) == [0, 3, 6, 9, 11, 12, 13]


def test_split_of_the_paper():
    changes = [-0.05, -0.025, 0.0, 0.025, 0.05]
    trajectories = [index for index in range(5) for _ in range(4)]
    roles = split_roles(trajectories, changes, n_train=10, seed=1)
    assert [roles.count(role) for role in ('train', 'valid', 'test')] == [10, 4, 6]
    assert roles[8:12] == ['valid'] * 4
    assert roles == split_roles(trajectories, changes, n_train=10, seed=1)
    assert roles != split_roles(trajectories, changes, n_train=10, seed=2)
    assert split_roles([0, 0, 4], changes) == ['valid', 'valid', 'train']


def test_random_split():
    roles = split_random(20, seed=1)
    assert [roles.count(role) for role in ('train', 'valid', 'test')] == [16, 4, 0]
    assert split_random(2, n_train=5).count('valid') == 1
    assert split_random(1) == ['train']


def test_energy_shift_recovers_elements():
    generator = np.random.default_rng(0)
    numbers = [np.array([11] * a + [17] * b) for a, b in ((4, 4), (1, 0), (3, 1), (8, 2))]
    predictions = generator.normal(size=4)
    labels = predictions + [np.sum(item == 11) * -100.0 + np.sum(item == 17) * 33.0 for item in numbers]
    shift = fit_energy_shift(numbers, labels, predictions)
    assert shift.rank == 2
    assert shift.numbers == (11, 17)
    assert np.allclose(shift.shifts, [-100, 33])
    assert np.allclose([shift.apply(*pair) for pair in zip(numbers, labels, strict=True)], predictions)
    with pytest.raises(ValueError, match='no energy shift'):
        shift.apply(np.array([14]), 0.0)


def test_energy_shift_of_one_composition_is_of_least_norm():
    numbers = [np.array([11, 17] * size) for size in (4, 4, 1)]
    predictions = np.array([1.0, 1.2, 0.3])
    shift = fit_energy_shift(numbers, predictions - 50.0 * np.array([8, 8, 2]), predictions)
    assert shift.rank == 1
    assert np.allclose(shift.shifts, [-50, -50])
    assert shift.rmse_per_atom < 1e-12
    with pytest.raises(ValueError, match='finite'):
        fit_energy_shift(numbers, np.array([1.0, np.nan, 1.0]), predictions)


@pytest.mark.parametrize(
    ('atoms', 'kwargs', 'sentence'),
    [
        (bulk('Si'), {'elements': ['Na', 'Cl']}, 'does not know Si'),
        (bulk('Si'), {'occupations': {'Si': 0.5}}, 'partial occupancy'),
        (molecule('H2O'), {}, 'not periodic'),
        (molecule('H2O', vacuum=4, pbc=(True, True, False)), {}, 'not periodic'),
        (Atoms('Si', pbc=True), {}, 'no volume'),
        (Atoms('Si2', positions=[[0, 0, 0], [0.9, 0, 0]], cell=[5, 5, 5], pbc=True), {}, 'Si1 and Si2 are 0.90'),
        (Atoms('Si', cell=[1, 5, 5], pbc=True), {}, 'overlap'),
        (bulk('Si'), {'max_atoms': 10, 'supercell_matrix': [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}, 'has 16 atoms'),
        (bulk('Si'), {'max_atoms': 10, 'supercell_matrix': [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}, 'no volume'),
        (bulk('Si'), {'max_atoms': 10, 'supercell_matrix': [1, 2, 3]}, 'three rows'),
        (Atoms(cell=[1, 1, 1], pbc=True), {}, 'no atoms'),
    ],
)
def test_wrong_structures_get_a_sentence(atoms, kwargs, sentence):
    assert sentence in check_structure(atoms, **kwargs)


@pytest.mark.parametrize(
    'atoms', [bulk('Si'), bulk('C'), bulk('Cu'), bulk('NaCl', 'rocksalt', a=5.64), bulk('MgO', 'rocksalt', a=4.21)]
)
def test_good_structures_pass(atoms):
    assert check_structure(atoms, elements=['Si', 'C', 'Cu', 'Na', 'Cl', 'Mg', 'O'], max_atoms=2) is None


def test_supercell_of_phonons_keeps_the_symmetry():
    """Wurtzite in a hexagonal supercell: thick enough, and mapped onto itself by every rotation of the crystal."""
    wurtzite = bulk('AlN', 'wurtzite', a=3.11, c=4.98)
    symmetry = Symmetry.of(wurtzite)
    matrix = nearly_cubic_matrix(wurtzite.cell[:], 9.0, symmetry=symmetry, any_shape=True)
    for rotation in symmetry.rotations:
        image = matrix @ rotation.T @ np.linalg.inv(matrix)
        assert np.allclose(image, np.round(image), atol=1e-8)
    assert (1 / np.linalg.norm(np.linalg.inv(matrix @ wurtzite.cell[:]), axis=0)).min() >= 9.0
    cubic = nearly_cubic_matrix(wurtzite.cell[:], 9.0)
    assert abs(np.linalg.det(matrix)) <= 1.5 * abs(np.linalg.det(cubic)) + 1e-6
    assert not np.array_equal(matrix, cubic)


def test_supercell_does_not_depend_on_the_orientation():
    turned = bulk('Si', a=5.474)
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    matrix = nearly_cubic_matrix(turned.cell[:], 10, 15, Symmetry.of(turned))
    assert supercell_rows(turned, 10, 15) == supercell_rows(turned.copy(), 10, 15) == matrix.tolist()
    assert len(make_supercell(turned, matrix)) == 64
