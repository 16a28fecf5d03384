"""Force constants of labelled frames without a potential: on real DFT of NaCl, and on frames made to be difficult."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science import force_constants
from aiida_equitrain.science.frames import Frame
from aiida_equitrain.science.phonon_metrics import errors_between, evaluate_side
from aiida_equitrain.science.phonopy_io import load_phonopy

CELL = PhonopyAtoms(
    symbols=['Na', 'Cl'],
    cell=2.8 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
)
MATRIX = np.array([[-2, 2, 2], [2, -2, 2], [2, 2, -2]])
STRAIN = np.eye(3) * 1.016 + np.array([[0.01, -0.02, 0.005], [0.0, -0.01, 0.02], [0.01, 0.0, -0.015]])


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
    assert (mapped.matrix == MATRIX).all()
    assert np.allclose(mapped.displacements, displacements[0] @ STRAIN, atol=1e-10)
    assert np.allclose(mapped.forces, frames[0].forces, atol=1e-10)
    assert (np.asarray(disguise(frames[0]).numbers)[mapped.order] == phonon.supercell.numbers).all()


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


def test_real_nacl(rattled_salt: Path) -> None:
    """Ten real frames give the DFT phonons; four of them nearly so."""
    reference = load_phonopy(rattled_salt / 'phonopy_disp.yaml', symprec=1e-5)
    data, supercell = reference.dataset, reference.supercell
    frames = [
        Frame(np.array(supercell.numbers), supercell.positions + u, np.array(supercell.cell), 0.0, f)
        for u, f in zip(data['displacements'], data['forces'], strict=True)
    ]
    side = evaluate_side(reference, mesh=(8, 8, 8))
    ten = force_constants.fit_force_constants(reference.unitcell, frames)
    four = force_constants.fit_force_constants(reference.unitcell, frames[:4])
    assert errors_between(ten.phonon, reference, side)['phonon_mae_thz'] < 1e-4
    assert 1e-4 < errors_between(four.phonon, reference, side)['phonon_mae_thz'] < 0.03
