"""Force constants of a potential, corrected by labelled frames, and their error bars."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.correction import (
    Basis,
    Correction,
    compact_force_constants,
    correct_force_constants,
    count_finite_displacements,
    count_frames_needed,
    displacement_arrays,
    effective_force_constants,
    forces_of_constants,
    frame_groups,
    harmonic_forces,
    make_basis,
    pair_distances,
    prior_weights,
    symmetric_fields,
)
from aiida_equitrain.science.error_bars import modes_at, stability, thermal_errors

ROOT = Path(__file__).parents[2]
RATTLED = ROOT / 'tests' / 'fixtures' / 'rattled'
MESH = (4, 4, 4)

Array = NDArray[np.float64]


def forces_of(calculator: Any, phonon: Phonopy, displacements: Array) -> Array:
    """Return the forces (F, N, 3) on displaced supercells, less those on the undisplaced one."""
    cell = phonon.supercell
    atoms = Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)
    atoms.calc = calculator
    pristine, result = atoms.get_forces(), []
    for shift in displacements:
        atoms.positions = cell.positions + shift
        result.append(atoms.get_forces() - pristine)
    return np.array(result)


def make_phonon(unitcell: Atoms, matrix: Any, calculator: Any) -> Phonopy:
    """Return phonons of a calculator by finite displacements."""
    cell = PhonopyAtoms(numbers=unitcell.numbers, positions=unitcell.positions, cell=unitcell.cell)
    phonon = Phonopy(cell, matrix, primitive_matrix='auto', symprec=1e-4, log_level=0)
    phonon.generate_displacements(distance=0.01)
    dataset: Any = phonon.dataset
    displacements, _ = displacement_arrays(
        len(phonon.supercell), with_forces(dataset, np.zeros((len(dataset['first_atoms']), len(phonon.supercell), 3)))
    )
    phonon.forces = forces_of(calculator, phonon, displacements)
    phonon.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    return phonon


def with_forces(dataset: dict[str, Any], forces: Array) -> dict[str, Any]:
    return {'first_atoms': [{**entry, 'forces': f} for entry, f in zip(dataset['first_atoms'], forces, strict=True)]}


def lennard_jones() -> LennardJones:
    return LennardJones(sigma=2.3, epsilon=0.35, rc=5.0, smooth=True)


@pytest.fixture(scope='module')
def cubic() -> tuple[Phonopy, Phonopy, Basis]:
    """Return phonons of copper by EMT ("DFT") and by Lennard-Jones ("the potential"), with their basis."""
    unitcell = bulk('Cu', cubic=True, a=3.6)
    truth, potential = (make_phonon(unitcell, np.eye(3) * 2, calculator) for calculator in (EMT(), lennard_jones()))
    return truth, potential, make_basis(potential)


@pytest.fixture(scope='module')
def triclinic() -> tuple[Phonopy, Phonopy, Basis]:
    """Return the same of a cell without any symmetry, where a frame is far from determining the force constants."""
    unitcell = bulk('Cu', cubic=True, a=3.6)
    strain = np.array([[1.0, 0.02, 0.01], [0.0, 1.03, 0.02], [0.0, 0.0, 0.98]])
    unitcell.set_cell(unitcell.cell @ strain, scale_atoms=True)
    unitcell.rattle(0.05, seed=3)
    truth, potential = (make_phonon(unitcell, [2, 2, 1], calculator) for calculator in (EMT(), lennard_jones()))
    return truth, potential, make_basis(potential)


def frames(phonon: Phonopy, number: int, seed: int, amplitude: float = 0.02) -> Array:
    return np.random.default_rng(seed).normal(0, amplitude / 3**0.5, (number, len(phonon.supercell), 3))


def frequencies(phonon: Phonopy, force_constants: Array) -> Array:
    other = phonon.copy()
    other.force_constants = force_constants
    other.run_mesh(MESH, is_mesh_symmetry=False)
    result: Any = other.mesh
    return np.sort(result.frequencies, axis=1)


def error(truth: Phonopy, force_constants: Array) -> float:
    reference = frequencies(truth, compact_force_constants(truth))
    return float(np.abs(frequencies(truth, force_constants) - reference).mean())


def correct(truth: Phonopy, potential: Phonopy, basis: Basis, displacements: Array, noise: float = 0.0) -> Correction:
    """Correct by the harmonic forces of the truth, with noise."""
    forces = harmonic_forces(truth, displacements)
    seed = int(1e6 * np.abs(displacements).sum())
    forces += noise * np.random.default_rng(seed).normal(size=forces.shape)
    return correct_force_constants(
        potential, displacements, forces, harmonic_forces(potential, displacements), basis=basis
    )


@pytest.mark.parametrize('name', ['cubic', 'triclinic'])
def test_harmonic_forces_give_the_exact_force_constants(name: str, request: pytest.FixtureRequest) -> None:
    truth, potential, basis = request.getfixturevalue(name)
    number = count_frames_needed(potential) + 1
    result = correct(truth, potential, basis, frames(truth, number, 1))
    assert result.determined
    assert result.is_corrected
    # Of the twelve coordinates of the triclinic cell nine are free.
    assert result.n_equations == number * (3 * len(truth.supercell) - 3) - (9 if name == 'triclinic' else 0)
    assert np.abs(result.force_constants - compact_force_constants(truth)).max() < 1e-3
    assert np.abs(potential.force_constants - truth.force_constants).max() > 0.3
    assert result.effective_constants == pytest.approx(result.n_constants, abs=0.1)


def test_a_cell_that_dft_has_not_relaxed(triclinic: tuple[Phonopy, Phonopy, Basis]) -> None:
    """Forces of DFT on the undisplaced cell, as symmetry allows them, change nothing."""
    truth, potential, basis = triclinic
    displacements = frames(truth, 4, 1)
    forces = harmonic_forces(truth, displacements)
    fields = symmetric_fields(truth)
    assert fields.shape == (3 * len(truth.supercell), 9)
    assert np.allclose(fields.T @ fields, np.eye(9))
    constant = (fields @ np.random.default_rng(0).normal(size=9)).reshape(-1, 3)
    # The same in each of the four cells.
    assert np.allclose(constant.reshape(4, 4, 3), constant.reshape(4, 4, 3)[:, :1])
    own = harmonic_forces(potential, displacements)
    results = [
        correct_force_constants(potential, displacements, forces + shift, own, basis=basis)
        for shift in (0.0, 0.1 * constant)
    ]
    assert np.allclose(results[0].force_constants, results[1].force_constants, atol=1e-6)


def test_no_atom_of_copper_is_free(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    assert symmetric_fields(cubic[0]).shape == (3 * len(cubic[0].supercell), 0)


def test_many_labels_give_symfcs_fit_of_the_difference(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    truth, potential, basis = cubic
    displacements = frames(truth, 20, 2)
    forces, own = (forces_of(calculator, truth, displacements) for calculator in (EMT(), lennard_jones()))
    result = correct_force_constants(potential, displacements, forces, own, basis=basis)
    plain = potential.copy()
    plain.dataset = {'displacements': displacements, 'forces': forces - own}
    plain.produce_force_constants(fc_calculator='symfc', calculate_full_force_constants=False)
    change = compact_force_constants(plain)
    assert np.abs(result.force_constants - potential.force_constants - change).max() < 0.01 * np.abs(change).max()
    assert result.determined


def test_corrected_phonons_are_those_of_dft(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    truth, potential, basis = cubic
    displacements = frames(truth, 1, 3)
    forces, own = (forces_of(calculator, truth, displacements) for calculator in (EMT(), lennard_jones()))
    result = correct_force_constants(potential, displacements, forces, own, basis=basis)
    assert error(truth, result.force_constants) < 0.1 * error(truth, compact_force_constants(potential))
    assert result.left_out_error < 0.3 * result.potential_error


@pytest.mark.parametrize('number', [1, 2, 4])
def test_too_few_labels_still_help(triclinic: tuple[Phonopy, Phonopy, Basis], number: int) -> None:
    """Fewer equations than constants: better than the potential in every draw, and than the fit of least norm."""
    truth, potential, basis = triclinic
    before, plain, after = error(truth, compact_force_constants(potential)), [], []
    for seed in range(4):
        displacements = frames(truth, number, seed)
        result = correct(truth, potential, basis, displacements, noise=1e-3)
        assert not result.determined
        assert result.effective_constants < result.n_constants
        after.append(error(truth, result.force_constants))
        difference = harmonic_forces(truth, displacements) - harmonic_forces(potential, displacements)
        flat = basis.design(displacements).reshape(-1, basis.n_constants)
        shortest = np.linalg.lstsq(flat, difference.ravel(), rcond=None)[0]
        plain.append(error(truth, potential.force_constants + basis.force_constants(shortest)))
    assert max(after) < before
    assert np.mean(after) < np.mean(plain)


def test_noise_leaves_the_potential_as_it_is(triclinic: tuple[Phonopy, Phonopy, Basis]) -> None:
    _, potential, basis = triclinic
    before = error(potential, compact_force_constants(potential))
    for seed in range(4):
        displacements = frames(potential, 2, seed)
        result = correct(potential, potential, basis, displacements, noise=0.01)
        assert result.left_out_error <= result.potential_error or not result.is_corrected
        assert error(potential, result.force_constants) < before + 0.02
        if not result.is_corrected:
            assert np.array_equal(result.force_constants, compact_force_constants(potential))


@pytest.mark.real
@pytest.mark.parametrize(('name', 'number'), [('cubic', 1), ('cubic', 4), ('triclinic', 2), ('triclinic', 12)])
def test_error_bars_hold_two_thirds(name: str, number: int, request: pytest.FixtureRequest) -> None:
    """Truths that are drawn from the prior, noise in the forces: the share within one error bar is 68 %."""
    _, potential, basis = request.getfixturevalue(name)
    weights = prior_weights(potential, basis, compact_force_constants(potential))['distance']
    spread = np.linalg.cholesky(np.linalg.inv(basis.penalty(weights)))
    qpoints = np.random.default_rng(7).random((6, 3))
    inside = []
    truth, corrected = potential.copy(), potential.copy()
    for seed in range(30):
        random = np.random.default_rng(seed)
        change = basis.force_constants(2.0 * spread @ random.normal(size=basis.n_constants))
        truth.force_constants = compact_force_constants(potential) + change
        displacements = frames(potential, number, seed)
        result = correct(truth, potential, basis, displacements, noise=3e-3)
        corrected.force_constants = result.force_constants
        modes = modes_at(corrected, basis, qpoints)
        deviation = np.abs(modes.frequencies - modes_at(truth, basis, qpoints).frequencies)
        inside.append(np.mean(deviation < modes.sigma(result.covariance)))
    assert 0.55 < np.mean(inside) < 0.85


@pytest.mark.parametrize('name', ['cubic', 'triclinic'])
def test_gradients_are_those_of_finite_differences(name: str, request: pytest.FixtureRequest) -> None:
    """Also at Γ and X, where modes are degenerate."""
    _, potential, basis = request.getfixturevalue(name)
    qpoints = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0], [0.1, 0.3, 0.2]])
    direction = np.random.default_rng(0).normal(size=basis.n_constants)
    squares = []
    moved = potential.copy()
    for step in (-1e-4, 1e-4):
        moved.force_constants = compact_force_constants(potential) + basis.force_constants(step * direction)
        found = modes_at(moved, basis, qpoints).frequencies
        squares.append(np.sign(found) * found**2)
    expected = (squares[1] - squares[0]) / 2e-4
    assert np.allclose(
        modes_at(potential, basis, qpoints).gradients @ direction, expected, atol=1e-3 * np.abs(expected).max()
    )


def test_error_bars_are_the_spread_of_draws(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    truth, potential, basis = cubic
    result = correct(truth, potential, basis, frames(truth, 2, 5), noise=3e-3)
    corrected = potential.copy()
    corrected.force_constants = result.force_constants
    qpoints = np.array([[0.5, 0.5, 0], [0.1, 0.3, 0.2], [0, 0, 0]])
    drawn = []
    for force_constants in result.draws(300):
        corrected.force_constants = force_constants
        drawn.append(modes_at(corrected, basis, qpoints).frequencies)
    corrected.force_constants = result.force_constants
    sigma = modes_at(corrected, basis, qpoints).sigma(result.covariance)
    assert np.allclose(np.std(drawn, axis=0), sigma, rtol=0.2, atol=2e-3)
    assert sigma[2, :3] == pytest.approx(0, abs=1e-3)  # the sum rule holds in every draw


def test_thermal_error_bars(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    """One uncertain direction: the error bar is the change of the property along it."""
    truth, potential, basis = cubic
    result = correct(truth, potential, basis, frames(truth, 2, 5), noise=1e-3)
    direction = 0.02 * np.random.default_rng(1).normal(size=basis.n_constants)
    result.covariance = np.outer(direction, direction)
    corrected = potential.copy()
    corrected.force_constants = result.force_constants
    found = thermal_errors(corrected, result.posterior, [0.0, 300.0], MESH)
    values: dict[str, list[Array]] = {name: [] for name in found}
    for sign in (-1, 1):
        corrected.force_constants = result.force_constants + sign * basis.force_constants(direction)
        corrected.run_mesh(MESH)
        corrected.run_thermal_properties(temperatures=[0, 300])
        properties: Any = corrected.thermal_properties
        for name, stored in values.items():
            stored.append(np.array(getattr(properties, name)))
    for name, (low, high) in values.items():
        assert found[name] == pytest.approx(np.abs(high - low) / 2, rel=0.02, abs=1e-9), name
    assert found['free_energy'].min() > 0


def test_verdict_on_stability(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    truth, potential, basis = cubic
    result = correct(truth, potential, basis, frames(truth, 2, 5), noise=1e-3)
    corrected = potential.copy()
    qpoints = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.0]])
    corrected.force_constants = result.force_constants
    assert stability(corrected, result.posterior, qpoints, 0.15)[0] == 'stable'
    corrected.force_constants = -result.force_constants
    verdict, lowest, sigma = stability(corrected, result.posterior, qpoints, 0.15)
    assert verdict == 'unstable'
    assert lowest < -2
    assert 0 < sigma < 0.1
    result.covariance = result.covariance * 1e6
    assert stability(corrected, result.posterior, qpoints, 0.15)[0] == 'undecided'


def test_finite_displacements_count_as_frames(triclinic: tuple[Phonopy, Phonopy, Basis]) -> None:
    """Half of a DFT calculation helps; the whole of it is DFT's phonons."""
    truth, potential, basis = triclinic
    dataset: Any = truth.dataset
    displacements, forces = displacement_arrays(len(truth.supercell), dataset)
    forces = harmonic_forces(truth, displacements)
    errors = [error(truth, compact_force_constants(potential))]
    for number in (len(forces) // 2, len(forces)):
        chosen = slice(0, number)
        result = correct_force_constants(
            potential,
            displacements[chosen],
            forces[chosen],
            harmonic_forces(potential, displacements[chosen]),
            basis=basis,
        )
        errors.append(error(truth, result.force_constants))
    assert errors[1] < 0.9 * errors[0]
    assert errors[2] < 0.02 * errors[0]


def test_displacements_without_forces_are_left_out() -> None:
    dataset = {
        'first_atoms': [
            {'number': 1, 'displacement': [0.01, 0, 0], 'forces': [[1.0, 0, 0], [-1.0, 0, 0]]},
            {'number': 0, 'displacement': [0, 0.01, 0]},
        ]
    }
    displacements, forces = displacement_arrays(2, dataset)
    assert displacements.tolist() == [[[0, 0, 0], [0.01, 0, 0]]]
    assert forces.tolist() == [[[1, 0, 0], [-1, 0, 0]]]


@pytest.mark.parametrize('name', ['cubic', 'triclinic'])
def test_frames_that_determine_the_force_constants(name: str, request: pytest.FixtureRequest) -> None:
    """The number is that from which on symfc's equations have full rank."""
    _, potential, basis = request.getfixturevalue(name)
    needed = count_frames_needed(potential)
    for number in {max(needed - 1, 1), needed}:
        flat = basis.design(frames(potential, number, 9)).reshape(-1, basis.n_constants)
        full = np.linalg.matrix_rank(flat, tol=1e-9 * np.linalg.norm(flat)) == basis.n_constants
        assert full == (number >= needed), number
    assert count_finite_displacements(potential) == (1 if name == 'cubic' else 24)


def test_force_constants_at_an_amplitude(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    """They explain the forces at that amplitude better than the harmonic ones, and are these at a small one."""
    truth, _, basis = cubic
    harmonic = compact_force_constants(truth)
    for amplitude, changes in ((0.005, False), (0.15, True)):
        displacements = frames(truth, 4, 11, amplitude)
        forward, backward = (forces_of(EMT(), truth, sign * displacements) for sign in (1, -1))
        found = effective_force_constants(truth, displacements, forward, backward, basis=basis)
        assert (np.abs(found - harmonic).max() > 0.01) == changes
        if changes:
            fresh, other = frames(truth, 4, 12, amplitude), truth.copy()
            other.force_constants = found
            odd = (forces_of(EMT(), truth, fresh) - forces_of(EMT(), truth, -fresh)) / 2
            misfits = [np.abs(harmonic_forces(item, fresh) - odd).mean() for item in (other, truth)]
            assert misfits[0] < misfits[1]


def test_anharmonic_forces_are_taken_where_they_are_right(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    truth, potential, basis = cubic
    displacements = frames(truth, 2, 3, 0.06)
    forces = forces_of(EMT(), truth, displacements)
    linear = harmonic_forces(potential, displacements)
    anharmonic = forces - harmonic_forces(truth, displacements)
    results = [
        correct_force_constants(potential, displacements, forces, linear + factor * anharmonic, basis=basis)
        for factor in (1, -1)
    ]
    assert [result.is_anharmonic for result in results] == [True, False]
    errors = [error(truth, result.force_constants) for result in results]
    assert errors[0] < 1e-3 < errors[1]
    # Twice the anharmonic forces as noise would be worse than none of them subtracted.
    plain = potential.copy()
    plain.dataset = {'displacements': displacements, 'forces': forces - linear + anharmonic}
    plain.produce_force_constants(fc_calculator='symfc', calculate_full_force_constants=False)
    assert errors[1] < error(truth, potential.force_constants + compact_force_constants(plain))


def test_full_and_compact_force_constants_give_the_same(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    from phonopy.harmonic.force_constants import compact_fc_to_full_fc

    truth, potential, basis = cubic
    displacements = frames(truth, 1, 3)
    full = potential.copy()
    full.force_constants = compact_fc_to_full_fc(potential.primitive, potential.force_constants)
    results = [correct(truth, item, basis, displacements) for item in (potential, full)]
    assert np.allclose(results[0].force_constants, results[1].force_constants, atol=1e-8)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda u, f: (u[:, :-1], f[:, :-1]), 'frames of the very supercell'),
        (lambda u, f: (u[:0], f[:0]), 'frames of the very supercell'),
        (lambda u, f: (u, f[:1]), 'frames of the very supercell'),
        (lambda u, f: (0 * u, f), 'no atom of any frame is displaced'),
        (lambda u, f: (0 * u + 0.1, f), 'no atom of any frame is displaced'),
        (lambda u, f: (u, f * np.nan), 'not finite'),
    ],
)
def test_frames_that_cannot_be_used(cubic: tuple[Phonopy, Phonopy, Basis], change: Any, message: str) -> None:
    truth, potential, basis = cubic
    displacements = frames(truth, 2, 1)
    moved, forces = change(displacements, harmonic_forces(truth, displacements))
    with pytest.raises(ValueError, match=message):
        correct_force_constants(potential, moved, forces, np.zeros_like(displacements), basis=basis)
    with pytest.raises(ValueError, match='those of the potential'):
        correct_force_constants(potential, displacements, displacements, np.zeros(3), basis=basis)


def test_a_relaxed_crystal_says_nothing(triclinic: tuple[Phonopy, Phonopy, Basis]) -> None:
    """Displacements that symmetry allows the whole crystal cannot be told from forces on the undisplaced one."""
    truth, potential, basis = triclinic
    relaxed = np.round(0.02 * symmetric_fields(truth)[:, :1].T.reshape(1, -1, 3), 8)
    with pytest.raises(ValueError, match='as symmetry lets the whole crystal relax'):
        correct(truth, potential, basis, relaxed)
    assert np.isfinite(correct(truth, potential, basis, np.concatenate([relaxed, frames(truth, 1, 1)])).noise)


def test_copies_are_one_frame(triclinic: tuple[Phonopy, Phonopy, Basis]) -> None:
    truth, potential, basis = triclinic
    displacements = frames(truth, 2, 5)
    forces = harmonic_forces(truth, displacements)
    forces += 1e-3 * np.random.default_rng(0).normal(size=forces.shape)
    own = harmonic_forces(potential, displacements)
    once = correct_force_constants(potential, displacements, forces, own, basis=basis)
    order = [0, 1, 1, 0, 1]
    # The whole supercell may be elsewhere.
    moved = displacements[order] + np.arange(5)[:, None, None] * 1e-3
    often = correct_force_constants(potential, moved, forces[order], own[order], basis=basis)
    assert (often.n_frames, often.n_equations) == (2, once.n_equations)
    assert np.allclose(often.force_constants, once.force_constants, atol=1e-9)
    assert np.allclose(often.covariance, once.covariance)


def test_frames_that_tell_the_same_are_left_out_together(cubic: tuple[Phonopy, Phonopy, Basis]) -> None:
    truth, _, basis = cubic
    first, second = frames(truth, 2, 6)
    lattice = np.array(truth.supercell.cell).T
    rotation = lattice @ truth.symmetry.symmetry_operations['rotations'][7] @ np.linalg.inv(lattice)
    image = np.empty_like(first)
    image[truth.symmetry.atomic_permutations[7]] = first @ rotation.T
    told = np.stack([first, -first, second, image, 2 * first, second + 1e-9, frames(truth, 1, 7)[0]])
    assert frame_groups(basis.design(told)).tolist() == [0, 0, 1, 0, 0, 1, 2]


def test_opposite_frames_do_not_predict_each_other(triclinic: tuple[Phonopy, Phonopy, Basis]) -> None:
    """What is left out is at least as far off as forces of frames that are new: it is predicted from fewer."""
    truth, potential, basis = triclinic
    ratios = []
    for seed in range(4):
        some, new = frames(truth, 2, seed), frames(truth, 20, 100 + seed)
        result = correct(truth, potential, basis, np.concatenate([some, -some]), noise=1e-4)
        wrong = forces_of_constants(potential, result.force_constants, new) - harmonic_forces(truth, new)
        ratios.append(result.left_out_error / float(np.sqrt(np.mean(wrong**2))))
    assert 1.0 < np.mean(ratios) < 3.0


@pytest.mark.parametrize('copies', [1, 5, 20])
def test_noise_in_one_frame_corrects_nothing(cubic: tuple[Phonopy, Phonopy, Basis], copies: int) -> None:
    truth, _, basis = cubic
    for seed in range(10):
        displacements = frames(truth, 1, seed)
        right = harmonic_forces(truth, displacements)
        forces = right + 0.02 * np.random.default_rng(100 + seed).normal(size=right.shape)
        tiled = [np.concatenate([values] * copies) for values in (displacements, forces, right)]
        assert not correct_force_constants(truth, *tiled, basis=basis).is_corrected


def test_nearest_images_in_a_sheared_supercell() -> None:
    """The same lattice, whatever its vectors."""
    unitcell = bulk('Cu', cubic=True, a=3.6)
    sheared = make_phonon(unitcell, [[2, 0, 0], [6, 2, 0], [0, 0, 2]], EMT())
    plain = make_phonon(unitcell, [2, 2, 2], EMT())
    found, expected = (np.sort(pair_distances(phonon, make_basis(phonon))[0]) for phonon in (sheared, plain))
    assert found == pytest.approx(expected, abs=1e-6)


def test_too_many_force_constants(cubic: tuple[Phonopy, Phonopy, Basis], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('aiida_equitrain.science.correction.MAX_CONSTANTS', 2)
    with pytest.raises(ValueError, match='take a smaller supercell'):
        make_basis(cubic[1])


@pytest.mark.thorough
@pytest.mark.real
def test_benchmark_on_real_labels(tmp_path: Path) -> None:
    """The starter and one or two labels of SnO2."""
    command = [sys.executable, str(ROOT / 'benchmarks' / 'labels.py'), '--cache', str(tmp_path), '--json']
    command += ['--data', str(RATTLED / 'SnO2-rd_phonopy_params.yaml.xz'), '--labels', '1', '2', '--draws', '2']
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert [(row['n_labels'], row['draw']) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for row in rows:
        assert row['corrected_mae_thz'] < 0.5 * row['zero_label_mae_thz']
        assert 0 < row['uncertainty_thz'] < row['zero_label_mae_thz']
        assert (row['symfc_mae_thz'] is None) == (row['n_labels'] == 1)
    assert np.mean([row['corrected_mae_thz'] < row['symfc_mae_thz'] for row in rows[2:]]) == 1
