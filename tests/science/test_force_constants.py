"""Force constants of labelled frames without a potential: on real DFT of NaCl, and on frames made to be difficult."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science import force_constants
from aiida_equitrain.science.correction import make_basis
from aiida_equitrain.science.frames import Frame
from aiida_equitrain.science.internal_strain import strain_fields, strain_of, unit_strains
from aiida_equitrain.science.phonon_metrics import errors_between, evaluate_side
from aiida_equitrain.science.phonopy_io import load_phonopy

CELL = PhonopyAtoms(
    symbols=['Na', 'Cl'],
    cell=2.8 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
)
MATRIX = np.array([[-2, 2, 2], [2, -2, 2], [2, 2, -2]])
STRAIN = np.eye(3) * 1.016 + np.array([[0.01, -0.02, 0.005], [0.0, -0.01, 0.02], [0.01, 0.0, -0.015]])


@pytest.fixture
def real_salts() -> list[Phonopy]:
    """Return real DFT phonons of NaCl at two lattice constants."""
    folder = Path(__file__).parents[1] / 'fixtures' / 'harmonic'
    return [load_phonopy(folder / f'phonopy_params_NaCl-{scale}.yaml.xz') for scale in ('1.00', '0.995')]


def harmonic(n_frames: int = 3) -> tuple[Phonopy, list[Frame], np.ndarray]:
    """Return cubic NaCl with nearest-neighbour springs, frames of it, and their displacements (mean removed)."""
    phonon = Phonopy(CELL, MATRIX, primitive_matrix=np.eye(3))
    supercell = phonon.supercell
    difference = supercell.scaled_positions[:, None] - supercell.scaled_positions[None]
    difference -= np.rint(difference)
    distance = np.linalg.norm(difference @ supercell.cell, axis=2)
    bond = (distance > 0.1) & (distance < 3.0)
    assert (bond.sum(axis=1) == 6).all()
    matrix = 2.0 * (np.diag(bond.sum(axis=1)) - bond)
    phonon.force_constants = np.einsum('ij,kl->ijkl', matrix, np.eye(3))
    rng = np.random.default_rng(5)
    displacements = rng.normal(0, 0.03, (n_frames, len(supercell), 3))
    displacements -= displacements.mean(axis=1, keepdims=True)
    frames = [
        Frame(
            np.array(supercell.numbers),
            supercell.positions + u,
            np.array(supercell.cell),
            0.0,
            -matrix @ u,
            role='train',
        )
        for u in displacements
    ]
    return phonon, frames, displacements


def disguise(frame: Frame, strain: np.ndarray = STRAIN) -> Frame:
    """Return a frame strained, shifted, with atoms in any order and in other images."""
    rng = np.random.default_rng(7)
    order = rng.permutation(len(frame))
    cell = frame.cell @ strain
    positions = (frame.positions[order] + [0.3, -0.2, 0.1]) @ strain + rng.integers(-1, 2, (len(frame), 3)) @ cell
    return Frame(frame.numbers[order], positions, cell, 0.0, frame.forces[order] + 0.01, role='train')


def test_map_strained_frame() -> None:
    phonon, frames, displacements = harmonic()
    mapped = force_constants.map_frame_to_supercell(CELL, disguise(frames[0]))
    strain, rotation = strain_of(np.eye(3), STRAIN)
    assert (mapped.matrix == MATRIX).all()
    assert np.allclose(mapped.strain, strain, atol=1e-12)
    assert np.allclose(mapped.displacements, displacements[0] @ STRAIN @ rotation, atol=1e-10)
    assert np.allclose(mapped.forces, frames[0].forces @ rotation, atol=1e-10)
    assert (np.asarray(disguise(frames[0]).numbers)[mapped.order] == phonon.supercell.numbers).all()


@pytest.mark.real
def test_harmonic_frames_are_fitted_exactly() -> None:
    phonon, frames, _ = harmonic()
    fit = force_constants.fit_force_constants(CELL, [disguise(frame, np.eye(3)) for frame in frames])
    assert fit.phonon is not None
    assert (fit.n_frames, fit.reason, fit.left_out) == (3, '', [])
    side = evaluate_side(phonon, mesh=(5, 5, 5))
    assert errors_between(fit.phonon, phonon, side)['phonon_mae_thz'] < 1e-6


def test_data_without_an_answer() -> None:
    _, frames, _ = harmonic()
    empty = force_constants.fit_force_constants(CELL, [])
    assert empty.phonon is None
    assert 'no frame' in empty.reason
    pristine = Frame(frames[0].numbers, np.array(frames[0].positions * 0), frames[0].cell, 0.0, frames[0].forces * 0)
    pristine.positions = Phonopy(CELL, MATRIX).supercell.positions
    assert 'displaced' in force_constants.fit_force_constants(CELL, [pristine]).reason
    alien = Frame(np.array([14] * 8), np.zeros((8, 3)), np.eye(3) * 5.4, 0.0, np.zeros((8, 3)))
    mixed = force_constants.fit_force_constants(CELL, [alien, *frames])
    assert mixed.phonon is not None
    assert 'frame 0' in mixed.left_out[0]


def test_too_few_frames_say_so() -> None:
    """A crystal without symmetry has more force constants than one frame has forces."""
    rng = np.random.default_rng(3)
    cell = PhonopyAtoms(
        symbols=['Na', 'Cl'] * 3, cell=np.eye(3) * 6 + rng.random((3, 3)), scaled_positions=rng.random((6, 3))
    )
    supercell = Phonopy(cell, np.diag([2, 1, 1])).supercell
    displaced = supercell.positions + rng.normal(0, 0.02, (12, 3))
    frame = Frame(np.array(supercell.numbers), displaced, np.array(supercell.cell), 0.0, rng.normal(0, 0.1, (12, 3)))
    fit = force_constants.fit_force_constants(cell, [frame])
    assert fit.phonon is None
    assert 'equations for' in fit.reason


@pytest.mark.real
def test_real_nacl(rattled_salt: Path) -> None:
    """Ten real frames give the DFT phonons; four of them nearly so."""
    reference = load_phonopy(rattled_salt / 'phonopy_disp.yaml', symprec=1e-5)
    data, supercell = reference.dataset, reference.supercell
    frames = [
        Frame(np.array(supercell.numbers), supercell.positions + u, np.array(supercell.cell), 0.0, f)
        for u, f in zip(data['displacements'], data['forces'], strict=True)
    ]
    side = evaluate_side(reference, mesh=(8, 8, 8))
    assert force_constants.frames_shared(reference, frames) == (10, 10)
    turned = [Frame(f.numbers[::-1], f.positions[::-1], f.cell, 0.0, f.forces[::-1] + 0.1) for f in frames[:4]]
    assert force_constants.frames_shared(reference, turned) == (4, 10)
    ten = force_constants.fit_force_constants(reference.unitcell, frames)
    four = force_constants.fit_force_constants(reference.unitcell, frames[:4])
    assert errors_between(ten.phonon, reference, side)['phonon_mae_thz'] < 1e-4
    assert 1e-4 < errors_between(four.phonon, reference, side)['phonon_mae_thz'] < 0.03


DIAMOND = PhonopyAtoms(
    symbols=['Si'] * 2,
    cell=2.715 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    scaled_positions=[[0, 0, 0], [0.25, 0.25, 0.25]],
)


def springs_of_diamond(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return forces of springs between nearest neighbours, at rest in silicon, along the bonds and (weaker) across."""
    difference = positions[None] - positions[:, None]
    difference -= np.rint(difference @ np.linalg.inv(cell)) @ cell
    length = np.linalg.norm(difference, axis=2) + np.eye(len(positions))
    bonds = (length < 2.9) & ~np.eye(len(positions), dtype=bool)
    rest = np.sqrt(3) / 4 * 5.43
    along = (9.0 * (length - rest) / length * bonds)[..., None] * difference
    # Across the bond a spring to the mean of the neighbours: it has an answer to shear of its own.
    return np.asarray(along.sum(axis=1) + 0.8 * (bonds[..., None] * difference).sum(axis=1))


def strained_silicon(n_frames: int, strain: float, seed: int) -> tuple[Phonopy, list[Frame]]:
    """Return silicon of springs, and frames of it at small displacements; some of its cells are strained at random."""
    phonon = Phonopy(DIAMOND, MATRIX, primitive_matrix=np.eye(3), log_level=0)
    supercell = phonon.supercell
    sites, cell, numbers = supercell.positions, np.array(supercell.cell), np.array(supercell.numbers)
    phonon.generate_displacements(distance=1e-3, is_plusminus=True)
    phonon.forces = [springs_of_diamond(each.positions, cell) for each in phonon.supercells_with_displacements]
    phonon.produce_force_constants(calculate_full_force_constants=False)
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        change = random.uniform(-strain, strain, (3, 3))
        deform = np.eye(3) + (change + change.T) / 2
        moved = sites @ deform + random.normal(0, 0.005, sites.shape)
        forces = springs_of_diamond(moved, cell @ deform)
        frames.append(Frame(numbers, moved, cell @ deform, 0.0, forces, role='train'))
    return phonon, frames


@pytest.mark.real
def test_internal_strain() -> None:
    """A strain moves the sublattices of silicon apart; taken for a displacement's force it spoils the optical modes."""
    phonon, frames = strained_silicon(6, 0.01, seed=3)
    side = evaluate_side(phonon, mesh=(6, 6, 6))
    fit = force_constants.fit_force_constants(DIAMOND, frames, primitive_matrix=np.eye(3))
    assert (fit.method, fit.n_strain_terms, fit.n_frames) == ('internal_strain', 1, 6)
    assert errors_between(fit.phonon, phonon, side)['phonon_mae_thz'] < 0.05
    mapped = [force_constants.map_frame_to_supercell(DIAMOND, frame, phonon.supercell) for frame in frames]
    plain = Phonopy(DIAMOND, MATRIX, primitive_matrix=np.eye(3), log_level=0)
    basis = make_basis(plain)
    plain.force_constants = force_constants._solve(plain, basis, mapped, strain_fields(plain)[:0])
    assert errors_between(plain, phonon, side)['phonon_mae_thz'] > 0.2


def test_unstrained_frames_go_first() -> None:
    """Where the frames of one unstrained cell are enough, no strained one is used, and that is said."""
    phonon, strained = strained_silicon(3, 0.01, seed=3)
    _, plain = strained_silicon(2, 0.0, seed=4)
    fit = force_constants.fit_force_constants(DIAMOND, [*strained, *plain], primitive_matrix=np.eye(3))
    assert (fit.method, fit.n_frames, fit.n_strain_terms) == ('unstrained', 2, 0)
    assert fit.left_out == ['3 strained frames: the 2 others are enough']
    side = evaluate_side(phonon, mesh=(6, 6, 6))
    assert errors_between(fit.phonon, phonon, side)['phonon_mae_thz'] < 0.02


def test_forces_that_strain_may_cause() -> None:
    """None in rock salt, one in diamond, and what the springs answer to a strain is among them."""
    assert len(strain_fields(Phonopy(CELL, MATRIX, primitive_matrix=np.eye(3), log_level=0))) == 0
    phonon = Phonopy(DIAMOND, MATRIX, primitive_matrix=np.eye(3), log_level=0)
    fields = strain_fields(phonon)
    assert fields.shape == (1, 6, len(phonon.supercell), 3)
    supercell = phonon.supercell
    for number, strain in enumerate(unit_strains()):
        deform = np.eye(3) + 1e-5 * strain
        forces = springs_of_diamond(supercell.positions @ deform, np.array(supercell.cell) @ deform) / 1e-5
        share = float(np.sum(forces * fields[0, number])) / max(float(np.sum(fields[0, number] ** 2)), 1e-30)
        assert np.allclose(forces, share * fields[0, number], atol=1e-3 * max(np.abs(forces).max(), 1.0))
        assert (np.abs(forces).max() > 1.0) == (number >= 3)


@pytest.mark.real
def test_two_volumes_of_real_nacl(real_salts: list[Phonopy]) -> None:
    """Displacements of DFT at two volumes are not mixed: those of the crystal's own volume are enough."""
    own, other = real_salts
    frames = []
    for phonon in (other, own):
        cell, numbers = np.array(phonon.supercell.cell), np.array(phonon.supercell.numbers)
        dataset: Any = phonon.dataset
        for entry in dataset['first_atoms']:
            positions = phonon.supercell.positions.copy()
            positions[entry['number']] += entry['displacement']
            frames.append(Frame(numbers, positions, cell, 0.0, np.array(entry['forces']), role='train'))
    for phonon in (own, other):
        fit = force_constants.fit_force_constants(phonon.unitcell, frames, primitive_matrix=phonon.primitive_matrix)
        assert (fit.method, fit.n_frames) == ('unstrained', 2)
        errors = errors_between(fit.phonon, phonon, evaluate_side(phonon, mesh=(6, 6, 6)))
        assert errors['phonon_mae_thz'] < 0.01
