"""Modes, directions, wells and phases, against known answers and, where they are here, the authors' own data."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science import frames as batch
from aiida_equitrain.science import phases
from aiida_equitrain.science.mode_displacements import mode_space, symmetric_directions
from aiida_equitrain.science.mode_scan import curve_errors, fit_well, frequency_of_curvature, may_fit
from aiida_equitrain.science.phonopy_io import load_phonopy
from aiida_equitrain.science.soft_modes import (
    SoftMode,
    commensurate_matrix,
    degenerate_sets,
    find_soft_modes,
    fraction_text,
    translation_part,
)

HARMONIC = Path(__file__).parents[1] / 'fixtures' / 'harmonic'
#: The authors' data, which have no licence.
REFERENCE = Path(__file__).parents[3] / 'shared' / 'reference' / 'phonons_pbe_vs_mp0b3'
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason='needs ../shared/reference')
TOLERANCE_THZ = 0.15


def published() -> dict[str, dict[str, str]]:
    """Return the authors' rows by material."""
    with (REFERENCE / 'phonon_properties.csv').open() as file:
        return {row['material']: row for row in csv.DictReader(file)}


@pytest.fixture(scope='module')
def titanate() -> Phonopy:
    """Return cubic SrTiO3 by DFT."""
    return load_phonopy(HARMONIC / 'phonopy_SrTiO3.yaml.xz', acoustic_sum_rule=True)


def hexagonal(out_of_plane: float) -> Phonopy:
    """Return a triangular layer of atoms of 1 amu above another, with springs along the bonds and across them.

    :param out_of_plane: constant of the springs of neighbours in a layer for displacements along c, eV/Å².
    """
    edge, height = 3.0, 4.0
    lattice = [[edge, 0, 0], [-edge / 2, edge * 0.75**0.5, 0], [0, 0, height]]
    cell = PhonopyAtoms(symbols=['Se'], cell=lattice, scaled_positions=[[0, 0, 0]], masses=[1.0])
    phonon = Phonopy(cell, np.diag([3, 3, 2]), primitive_matrix='P', symprec=1e-4)
    supercell = phonon.supercell
    atoms = np.arange(len(supercell))
    constants = np.zeros((len(atoms), len(atoms), 3, 3))
    for shift in np.ndindex(3, 3, 3):
        away = supercell.scaled_positions[:, None] - supercell.scaled_positions[None] + np.array(shift) - 1
        away = away @ supercell.cell
        distance = np.linalg.norm(away, axis=2)
        for i, j in np.argwhere(np.isclose(distance, edge)):
            constants[i, j] -= 3.0 * np.outer(away[i, j], away[i, j]) / edge**2 + np.diag([0, 0, out_of_plane])
        for i, j in np.argwhere(np.isclose(distance, height)):
            constants[i, j] -= np.diag([0.3, 0.3, 2.0])
    constants[atoms, atoms] -= constants.sum(axis=1)
    phonon.force_constants = constants
    return phonon


def subgroups(phonon: Phonopy, mode: SoftMode, amplitude: float) -> set[str]:
    """Return the space groups of the crystal displaced along the symmetric directions of a mode."""
    space = mode_space(phonon, mode)
    moved = [
        Atoms(numbers=space.numbers, positions=space.positions + amplitude * item.pattern, cell=space.cell, pbc=True)
        for item in symmetric_directions(space)
    ]
    return {phases.space_group(atoms, 1e-3).symbol for atoms in moved}


@pytest.mark.real
@pytest.mark.parametrize('name', ['phonopy_params_NaCl-1.00', 'phonopy_params_NaCl-0.995', 'phonopy_SrTiO3'])
def test_verdicts(name: str) -> None:
    """Rock salt is stable; cubic SrTiO3 is unstable where phonopy by hand has imaginary frequencies, and only there."""
    path = HARMONIC / f'{name}.yaml.xz'
    found = {mode.name: mode for mode in find_soft_modes(load_phonopy(path, acoustic_sum_rule=True), TOLERANCE_THZ)}
    by_hand = phonopy.load(path, is_nac=False, symprec=1e-4, log_level=0)
    by_hand.symmetrize_force_constants(show_drift=False)
    points = {'Γ': (0, 0, 0), 'X': (0, 0.5, 0), 'M': (0.5, 0.5, 0), 'R': (0.5, 0.5, 0.5)}
    by_hand.run_qpoints(list(points.values()))
    lowest = dict(zip(points, by_hand.qpoints.frequencies.min(axis=1), strict=True))
    assert set(found) == {point for point, frequency in lowest.items() if frequency < -TOLERANCE_THZ}
    assert set(found) == ({'Γ', 'M', 'R'} if 'SrTiO3' in name else set())
    for point, mode in found.items():
        assert mode.frequency_thz == pytest.approx(lowest[point], abs=1e-6)


def test_mode_of_three_cells() -> None:
    """A layer that buckles: all by hand.

    With springs b in the layer and s between layers, displacements along c have the curvature
    6b - 2b (cos q·a + cos q·b + cos q·(a + b)) + 2s (1 - cos q·c): for b < 0 the lowest is 9b, at K. The mode has an
    amplitude and a phase; its pattern (2, -1, -1) keeps the sixfold axis, (0, 1, -1) the inversion.
    """
    phonon = hexagonal(-0.1)
    mode = find_soft_modes(phonon, TOLERANCE_THZ)[0]
    assert (mode.name, fraction_text(mode.qpoint)) == ('K', '1/3 1/3 0')
    assert mode.frequency_thz == pytest.approx(frequency_of_curvature(-0.9, 1.0), abs=1e-5)
    space = mode_space(phonon, mode)
    assert (len(space.numbers), len(space.basis)) == (3 * len(phonon.primitive), 2)
    assert subgroups(phonon, mode, 0.3) == {'P6mm', 'P-3m1'}
    assert find_soft_modes(hexagonal(0.1), TOLERANCE_THZ) == []


def test_directions_of_a_perovskite(titanate: Phonopy) -> None:
    """SrTiO3: the polar mode has the directions <100>, <110> and <111>, with the phases of BaTiO3 as subgroups."""
    mode = next(mode for mode in find_soft_modes(titanate, TOLERANCE_THZ) if mode.name == 'Γ')
    assert (mode.irrep, len(mode.bands)) == ('T1u', 3)
    directions = symmetric_directions(mode_space(titanate, mode))
    assert subgroups(titanate, mode, 0.2) == {'P4mm', 'Amm2', 'R3m'}
    assert not any(item.two_sided for item in directions)
    assert all(np.linalg.norm(item.pattern, axis=1).max() == pytest.approx(1.0) for item in directions)


@pytest.mark.thorough
@needs_reference
@pytest.mark.parametrize('side', [('dft', 'benchmark_min_frequency'), ('mp0b3', 'min_frequency')], ids=['dft', 'mp0b3'])
def test_verdicts_of_the_authors(side: tuple[str, str]) -> None:
    """All twelve: unstable here where the published lowest frequency lies below the tolerance, and only there."""
    name, column = side
    verdicts = {}
    for material, row in published().items():
        phonon = load_phonopy(REFERENCE / material / f'{name}.phonopy.yaml.xz', acoustic_sum_rule=True)
        verdicts[material] = bool(find_soft_modes(phonon, TOLERANCE_THZ)), float(row[column]) < -TOLERANCE_THZ
    assert len(verdicts) == 12
    assert {material: pair for material, pair in verdicts.items() if pair[0] != pair[1]} == {}


@needs_reference
def test_mode_of_the_paper() -> None:
    """K3Sb (mp-14017): the mode of K; its supercell has three cells, its directions are two-dimensional."""
    phonon = load_phonopy(REFERENCE / 'mp-14017' / 'dft.phonopy.yaml.xz', acoustic_sum_rule=True)
    mode = find_soft_modes(phonon, TOLERANCE_THZ)[0]
    assert (mode.name, fraction_text(mode.qpoint)) == ('K', '1/3 1/3 0')
    assert mode.frequency_thz == pytest.approx(float(published()['mp-14017']['benchmark_min_frequency']), abs=0.01)
    space = mode_space(phonon, mode)
    assert (len(space.numbers), len(space.basis)) == (3 * len(phonon.primitive), 2)
    groups = []
    for direction in symmetric_directions(space):
        moved = Atoms(
            numbers=space.numbers, positions=space.positions + 0.3 * direction.pattern, cell=space.cell, pbc=1
        )
        groups.append(phases.space_group(moved, 1e-3).symbol)
    assert 'P6_3cm' in groups


@pytest.mark.real
@needs_reference
def test_directions_of_a_polar_mode() -> None:
    """SnTe: the threefold mode of Γ has the directions <100>, <110> and <111>, with the known subgroups of Fm-3m."""
    phonon = load_phonopy(REFERENCE / 'mp-1883' / 'dft.phonopy.yaml.xz', acoustic_sum_rule=True)
    mode = find_soft_modes(phonon, TOLERANCE_THZ)[0]
    assert (mode.name, mode.irrep, len(mode.bands)) == ('Γ', 'T1u', 3)
    space = mode_space(phonon, mode)
    directions = symmetric_directions(space)
    moved = [
        Atoms(numbers=space.numbers, positions=space.positions + 0.2 * item.pattern, cell=space.cell, pbc=True)
        for item in directions
    ]
    assert {phases.space_group(atoms, 1e-3).symbol for atoms in moved} == {'I4mm', 'Imm2', 'R3m'}
    assert not any(item.two_sided for item in directions)
    assert all(np.linalg.norm(item.pattern, axis=1).max() == pytest.approx(1.0) for item in directions)


def test_translations_are_no_soft_modes() -> None:
    masses = np.array([10.0, 30.0])
    weights = np.repeat(np.sqrt(masses / masses.sum()), 3) * np.tile([1, 0, 0], 2)
    assert translation_part(weights.astype(complex), masses) == pytest.approx(1.0)
    optical = np.array([np.sqrt(0.75), 0, 0, -np.sqrt(0.25), 0, 0], dtype=complex)
    assert translation_part(optical, masses) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ('qpoint', 'cells'),
    [((0, 0, 0), 1), ((0.5, 0, 0.5), 2), ((1 / 3, 1 / 3, 0), 3), ((-3 / 8, 1 / 4, -3 / 8), 8), ((0.25, 0.5, 0.75), 4)],
)
def test_commensurate_cell(qpoint: Any, cells: int) -> None:
    rows = commensurate_matrix(qpoint)
    assert round(np.linalg.det(rows)) == cells
    phases_of_rows = rows @ np.array(qpoint)
    assert np.abs(phases_of_rows - np.round(phases_of_rows)).max() < 1e-9


def test_incommensurate_point_is_refused() -> None:
    with pytest.raises(ValueError, match=r'\(0.1234, 0, 0\) is not commensurate'):
        commensurate_matrix((0.1234, 0, 0))


def test_degenerate_bands() -> None:
    frequencies = np.array([-3.0, -2.999, -1.0, 5.0])
    assert degenerate_sets(frequencies, [0, 1, 2]) == [[0, 1], [2]]


def test_quartic_well_is_exact() -> None:
    amplitudes = np.linspace(0, 0.6, 13)
    fit = fit_well(amplitudes, 3.0 - amplitudes**2 + 4 * amplitudes**4)
    assert fit.minimum_angstrom == pytest.approx(np.sqrt(1 / 8), rel=1e-3)
    assert fit.depth_ev == pytest.approx(-1 / 16, rel=1e-6)
    assert fit.rmse_ev < 1e-12


def test_walls_do_not_drown_a_shallow_well() -> None:
    """Walls a thousand times as high as the well is deep: the fit leaves them out."""
    amplitudes = np.linspace(0, 0.6, 25)
    energies = -0.02 * amplitudes**2 + 2 * amplitudes**4 + 400 * amplitudes**8
    fit = fit_well(amplitudes, energies)
    fine = np.linspace(0, 0.6, 100001)
    exact = -0.02 * fine**2 + 2 * fine**4 + 400 * fine**8
    assert fit.depth_ev == pytest.approx(exact.min(), rel=0.01)
    assert fit.minimum_angstrom == pytest.approx(fine[exact.argmin()], rel=0.01)
    assert fit.reach_angstrom < 0.3


def test_tilted_well_has_two_sides() -> None:
    amplitudes = np.linspace(-0.6, 0.6, 25)
    energies = -(amplitudes**2) - 0.5 * amplitudes**3 + 4 * amplitudes**4
    fit = fit_well(amplitudes, energies, two_sided=True)
    assert fit.minimum_angstrom is not None
    assert fit.minimum_angstrom > 0
    assert fit.depth_ev == pytest.approx(energies.min(), abs=1e-3)


@pytest.mark.parametrize(('energies', 'at_end'), [([0, 1, 4, 9], False), ([0, -1, -4, -9], True)])
def test_no_minimum_inside(energies: list[float], at_end: bool) -> None:
    fit = fit_well([0, 0.1, 0.2, 0.3], energies, degree=4)
    assert (fit.minimum_angstrom, fit.depth_ev, fit.minimum_at_end) == (None, None, at_end)


def test_fit_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match='needs the amplitude 0'):
        fit_well([0.1, 0.2, 0.3], [0, 1, 2])
    with pytest.raises(ValueError, match='give more of them'):
        fit_well([0, 0.1], [0, 1])
    assert may_fit(np.array([0, 0.1, 0.2]), False, 4)
    assert not may_fit(np.array([0.1, 0.2, 0.3]), False, 4)
    assert not may_fit(np.array([0, 0.1, 0.2]), True, 4)


def test_frequency_of_an_oscillator() -> None:
    """1 eV/Å² and 1 amu: 15.633 THz, phonopy's factor."""
    assert frequency_of_curvature(1.0, 1.0) == pytest.approx(15.633302, rel=1e-6)
    assert frequency_of_curvature(-4.0, 1.0) == pytest.approx(-2 * 15.633302, rel=1e-6)


def test_curves_are_compared_from_their_start() -> None:
    errors = curve_errors([5.0, 4.0, 4.5], [1.0, -0.5, 0.5])
    assert errors['energy_max_error_ev'] == pytest.approx(0.5)
    assert errors['depth_error_ev'] == pytest.approx(0.5)


def test_batch_round_trip() -> None:
    given = [(atoms.numbers, atoms.positions, atoms.cell[:]) for atoms in (bulk('Si'), bulk('NaCl', 'rocksalt', a=5.6))]
    for before, after in zip(given, batch.unpack(batch.pack(given)), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert list(batch.unpack(batch.pack([]))) == []


def test_twins_are_one_phase() -> None:
    """A supercell, turned and shifted, is the same phase; a compressed crystal is another."""
    first = bulk('GeTe', 'rocksalt', a=6.0)
    twin = first * (2, 1, 1)
    twin.rotate(30, 'z', rotate_cell=True)
    twin.positions += 0.3
    small = bulk('GeTe', 'rocksalt', a=5.0)
    assert phases.distinct([first, twin, small], [-1.0, -1.1, -0.5], 1e-2, 0.1) == [1, 2]
    assert len(phases.symmetric_primitive(twin, 1e-3)) == 2


def test_primitive_cell_is_not_turned() -> None:
    polar = bulk('GeTe', 'rocksalt', a=6.0)
    polar.positions[1] += 0.1
    primitive = phases.symmetric_primitive(polar, 1e-3)
    bond = primitive.get_distance(0, 1, mic=True, vector=True)
    assert phases.space_group(primitive, 1e-3).number == 160
    reduced = np.sort(np.abs(bond))
    assert np.allclose(reduced, np.sort(np.abs(polar.get_distance(0, 1, mic=True, vector=True))), atol=1e-6)


def shifted(x: float, y: float, z: float, a: float = 6.0) -> Atoms:
    """Return rock salt whose second atom is moved."""
    atoms = bulk('GeTe', 'rocksalt', a=a)
    atoms.positions[1] += (x, y, z)
    return atoms


def test_found_phases() -> None:
    """Of rhombohedral and tetragonal GeTe the first is found, whatever its cell; what else there is, is wrong."""
    references = {'phase_1': shifted(0.15, 0.15, 0.15), 'phase_2': shifted(0, 0, 0.25)}
    candidates = {
        'phase_1': shifted(0.14, 0.14, 0.14, 5.8) * (2, 1, 1),
        'phase_2': shifted(0.2, 0.2, 0),
        'phase_3': bulk('GeTe', 'zincblende', a=6.0),
    }
    result = phases.compare_phases(candidates, references, 1e-2)
    assert result == {
        'found_by': {'phase_1': ['phase_1'], 'phase_2': []},
        'wrong': ['phase_2', 'phase_3'],
        'n_reference_phases': 2,
        'n_phases_found': 1,
        'n_phases_wrong': 2,
    }


def test_same_group_is_not_enough() -> None:
    """A small and a large displacement along <111>: the space group agrees, the structure does not."""
    far = shifted(0.8, 0.8, 0.8)
    near = shifted(0.1, 0.1, 0.1)
    assert phases.space_group(far, 1e-2) == phases.space_group(near, 1e-2)
    assert phases.compare_phases({'phase_1': far}, {'phase_1': near}, 1e-2)['n_phases_found'] == 0


def test_twins_find_a_phase_once() -> None:
    """Two candidates that match the same phase of DFT are one phase found and none wrong; nothing finds nothing."""
    reference = {'phase_1': shifted(0.15, 0.15, 0.15)}
    twins = {'phase_1': shifted(0.15, 0.15, 0.15, 5.6), 'phase_2': shifted(0.15, 0.15, 0.15, 6.4)}
    result = phases.compare_phases(twins, reference, 1e-2)
    assert (result['n_phases_found'], result['n_phases_wrong']) == (1, 0)
    assert phases.compare_phases({}, {}, 1e-2)['n_reference_phases'] == 0
