"""Metrics of phonons against what can be worked out by hand, and the authors' published columns where they are here."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
import pytest
import spglib
from phonopy import Phonopy
from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science import phonon_metrics
from aiida_equitrain.science.lattice_match import match_lattices
from aiida_equitrain.science.phonopy_io import load_phonopy

HARMONIC = Path(__file__).parents[1] / 'fixtures' / 'harmonic'
#: The authors' data, which have no licence.
REFERENCE = Path(__file__).parents[3] / 'shared' / 'reference' / 'phonons_pbe_vs_mp0b3'
#: Of those, the ones whose mesh takes a second.
QUICK = ('mp-691', 'mp-29138')
MATERIALS = [
    pytest.param(path.name, marks=pytest.mark.real if path.name in QUICK else pytest.mark.thorough)
    for path in sorted(REFERENCE.glob('mp-*'))
] or [pytest.param('', marks=pytest.mark.skip)]
UNSTABLE = {'mp-1883', 'mp-2612', 'mp-14017', 'mp-866132', 'mp-7845'}
#: phonopy 2.27, the authors', reduced the half-shifted mesh of this cell by rotations that do not preserve the mesh;
#: 4.10 warns and keeps the whole mesh. See test_other_mesh.
OTHER_MESH = 'mp-9571'
THERMAL = {
    'heat_capacity': 'heat_capacity_j_per_k_mol',
    'entropy': 'entropy_j_per_k_mol',
    'free_energy': 'free_energy_kj_per_mol',
}


@functools.cache
def _row(material: str) -> dict[str, float]:
    with (REFERENCE / 'phonon_properties.csv').open() as handle:
        rows = {row.pop('material'): row for row in csv.DictReader(handle)}
    return {key: float(value) for key, value in rows[material].items() if 'spacegroup' not in key}


def _load(material: str) -> list[Phonopy]:
    return [load_phonopy(REFERENCE / material / f'{name}.phonopy.yaml.xz') for name in ('mp0b3', 'dft')]


@pytest.mark.parametrize('material', MATERIALS)
def test_published_columns(material: str) -> None:
    row = _row(material)
    result = phonon_metrics.compare_phonons(*_load(material))
    candidate, reference = result['candidate'], result['reference']
    mesh = 2e-3 if material == OTHER_MESH else 1e-7
    errors = 5e-5 if material == OTHER_MESH else 1e-7
    assert candidate['phonon_mae_thz'] == pytest.approx(row['phonon_mae'], abs=errors)
    assert candidate['phonon_rmse_thz'] == pytest.approx(row['phonon_rmse'], abs=errors)
    for prefix, side in (('', candidate), ('benchmark_', reference)):
        for name in ('max_frequency', 'min_frequency'):
            assert side[f'{name}_thz'] == pytest.approx(row[prefix + name], abs=1e-7)
        for name, key in THERMAL.items():
            assert side[key] == pytest.approx(row[prefix + name], abs=mesh)
        assert side['volume_angstrom3'] == pytest.approx(row[f'{prefix}volume'], rel=1e-9)
    assert reference['mean_frequency_thz'] == pytest.approx(row['benchmark_mean_frequency'], abs=mesh)
    # The authors' k_B has five digits.
    conductivity = 'k_diff_high_temp_limit'
    assert reference[f'{conductivity}_w_per_m_k'] == pytest.approx(row[f'benchmark_{conductivity}'], rel=1e-4)
    # Their candidate's mean (and conductivity) is that of frequencies which `phonon_shifted_rmse` has scaled in place
    # by the ratio of the highest frequencies on the mesh. We report the mean itself.
    scale = reference['mesh_max_frequency_thz'] / candidate['mesh_max_frequency_thz']
    assert candidate['mean_frequency_thz'] * scale == pytest.approx(row['mean_frequency'], abs=mesh)
    assert candidate[f'{conductivity}_w_per_m_k'] * scale == pytest.approx(row[conductivity], rel=1e-4)
    assert reference['dynamically_stable'] is (material not in UNSTABLE)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason='the reference data are not here')
def test_other_mesh() -> None:
    """With the q-points that spglib alone chooses, as phonopy 2.27 did, the authors' errors come out to all digits."""
    candidate, reference = _load(OTHER_MESH)
    cell = reference.primitive.totuple()
    mapping, grid = spglib.get_ir_reciprocal_mesh([20, 20, 20], cell, is_shift=[1, 1, 1], symprec=1e-4)
    points, weights = np.unique(mapping, return_counts=True)
    qpoints = (grid[points] + 0.5) / 20
    frequencies = [phonon_metrics.frequencies_at(phonon, qpoints) for phonon in (candidate, reference)]
    errors = phonon_metrics.error_metrics(*frequencies, weights)
    assert errors['phonon_mae_thz'] == pytest.approx(_row(OTHER_MESH)['phonon_mae'], abs=1e-10)
    assert errors['phonon_rmse_thz'] == pytest.approx(_row(OTHER_MESH)['phonon_rmse'], abs=1e-10)


@pytest.fixture(scope='module')
def salts() -> list[Phonopy]:
    """Return NaCl by DFT, compressed (the candidate) and not."""
    return [load_phonopy(HARMONIC / f'phonopy_params_NaCl-{length}.yaml.xz') for length in ('0.995', '1.00')]


@pytest.mark.real
def test_columns_by_hand(salts: list[Phonopy]) -> None:
    """The columns that the authors publish, of phonopy alone and their definitions."""
    result = phonon_metrics.compare_phonons(*salts)
    meshes, weights = [], np.zeros(0)
    for side, length in (('candidate', '0.995'), ('reference', '1.00')):
        path = HARMONIC / f'phonopy_params_NaCl-{length}.yaml.xz'
        by_hand = phonopy.load(path, is_nac=False, symmetrize_fc=False, symprec=1e-4, log_level=0)
        qpoints, _, _ = get_band_qpoints_by_seekpath(by_hand.primitive, 101)
        by_hand.run_qpoints(np.concatenate(qpoints))
        found = result[side]
        assert found['min_frequency_thz'] == pytest.approx(by_hand.qpoints.frequencies.min(), abs=1e-7)
        assert found['max_frequency_thz'] == pytest.approx(by_hand.qpoints.frequencies.max(), abs=1e-7)
        by_hand.run_mesh([20, 20, 20])
        by_hand.run_thermal_properties(temperatures=[300])
        for name, key in THERMAL.items():
            assert found[key] == pytest.approx(getattr(by_hand.thermal_properties, name)[0], abs=1e-7)
        frequencies, weights = by_hand.mesh.frequencies, by_hand.mesh.weights
        mean = (weights @ np.where(frequencies > 0, frequencies, 0)).sum() / (weights @ (frequencies > 0)).sum()
        assert found['mean_frequency_thz'] == pytest.approx(mean, abs=1e-9)
        assert found['volume_angstrom3'] == pytest.approx(by_hand.primitive.volume)
        conductivity = 2 * (2 / (by_hand.primitive.volume * 1e-30)) ** (1 / 3) * 1.380649e-23 * mean * 1e12
        assert found['k_diff_high_temp_limit_w_per_m_k'] == pytest.approx(conductivity)
        assert found['dynamically_stable'] is True
        meshes.append(np.sort(frequencies, axis=1))
    difference = meshes[0] - meshes[1]
    assert len(weights) < 20**3
    errors = {'phonon_mae_thz': np.abs(difference), 'phonon_rmse_thz': difference**2}
    for name, values in errors.items():
        wanted = (weights @ values).sum() / (6 * weights.sum())
        assert result['candidate'][name] == pytest.approx(wanted ** (0.5 if 'rmse' in name else 1), abs=1e-9)
    by_branch = (weights[:, None] * np.abs(difference)).sum(axis=0) / weights.sum()
    assert result['candidate']['branch_mae_thz'] == pytest.approx(by_branch.tolist())
    assert result['candidate']['acoustic_mae_thz'] == pytest.approx(by_branch[:3].mean())
    assert result['candidate']['optical_mae_thz'] == pytest.approx(by_branch[3:].mean())
    # A compressed crystal is harder: the errors are no noise.
    assert result['candidate']['mean_frequency_thz'] > result['reference']['mean_frequency_thz'] + 0.02


def test_worst_point(salts: list[Phonopy]) -> None:
    """Where two sides are furthest apart along the path, and what the points with a name are."""
    path = phonon_metrics.band_path(salts[1].primitive, points=21)
    points = phonon_metrics.special_points(path)
    assert list(points)[:2] == ['Γ', 'X']
    frequencies = phonon_metrics.frequencies_at(salts[1], path.qpoints)
    other = frequencies.copy()
    other[30, 5] += 0.7
    worst = phonon_metrics.worst_along(path, other, frequencies)
    assert (worst['index'], worst['between']) == (30, list(path.labels[1]))
    assert worst['error_thz'] == pytest.approx(0.7)
    assert worst['branch'] == 6


def test_unstable_perovskite() -> None:
    """Cubic SrTiO3 is unstable, at M and R of its path."""
    phonon = load_phonopy(HARMONIC / 'phonopy_SrTiO3.yaml.xz')
    side = phonon_metrics.evaluate_side(phonon, mesh=(3, 3, 3))
    assert side.metrics['dynamically_stable'] is False
    assert sorted(np.abs(side.metrics['lowest_qpoint']))[1:] == [0.5, 0.5]
    assert side.metrics['min_frequency_thz'] == pytest.approx(side.metrics['lowest_frequency_thz'], abs=0.05)


def hexagonal(stiffness: float) -> Phonopy:
    """Return a hexagonal crystal of isotropic springs between neighbours."""
    cell = np.array([[4, 0, 0], [-2, 12**0.5, 0], [0, 0, 5]])
    atoms = PhonopyAtoms(symbols=['Sn'], cell=cell, scaled_positions=[[0, 0, 0]])
    phonon = Phonopy(atoms, np.diag([3, 3, 3]), primitive_matrix='P', symprec=1e-4)
    supercell = phonon.supercell
    difference = supercell.scaled_positions[:, None] - supercell.scaled_positions[None]
    distance = np.linalg.norm((difference - np.rint(difference)) @ supercell.cell, axis=2)
    bonds = np.isclose(distance, 4) + 0.5 * np.isclose(distance, 5)
    phonon.force_constants = stiffness * np.einsum('ij,kl->ijkl', np.diag(bonds.sum(axis=1)) - bonds, np.eye(3))
    return phonon


def test_mesh_that_rotations_do_not_keep() -> None:
    """A half-shifted mesh that a threefold axis does not map on itself is halved by time reversal alone.

    The errors are those of all its points, see :func:`test_other_mesh`.
    """
    soft, hard = hexagonal(2.0), hexagonal(2.5)
    result = phonon_metrics.compare_phonons(hard, soft, mesh=(4, 4, 4))
    assert phonon_metrics.evaluate_side(soft, mesh=(4, 4, 4)).mesh_weights.tolist() == [2] * 32
    whole = (np.array(list(np.ndindex(4, 4, 4))) + 0.5) / 4
    difference = phonon_metrics.frequencies_at(hard, whole) - phonon_metrics.frequencies_at(soft, whole)
    assert result['candidate']['phonon_mae_thz'] == pytest.approx(np.abs(difference).mean(), abs=1e-10)
    assert result['candidate']['phonon_rmse_thz'] == pytest.approx(np.sqrt((difference**2).mean()), abs=1e-10)


CUBE = np.array([[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]])


def springs(cell: Any = CUBE, positions: Any = ((0, 0, 0), (0.25, 0.25, 0.25)), stiffness: float = 5.0) -> Phonopy:
    """Return zinc-blende with isotropic springs between nearest neighbours."""
    atoms = PhonopyAtoms(symbols=['Ga', 'As'], cell=cell, scaled_positions=positions)
    phonon = Phonopy(atoms, np.diag([3, 3, 3]), primitive_matrix=np.eye(3), symprec=1e-4)
    supercell = phonon.supercell
    difference = supercell.scaled_positions[:, None] - supercell.scaled_positions[None]
    difference -= np.rint(difference)
    distance = np.linalg.norm(difference @ supercell.cell, axis=2)
    bond = (distance > 0.1) & (distance < 2.6)
    assert (bond.sum(axis=1) == 4).all()
    matrix = np.diag(bond.sum(axis=1)) - bond
    phonon.force_constants = stiffness * np.einsum('ij,kl->ijkl', matrix, np.eye(3))
    return phonon


def test_springs_by_hand() -> None:
    side = phonon_metrics.evaluate_side(springs(), mesh=(6, 6, 6))
    reduced = 69.723 * 74.9216 / (69.723 + 74.9216)
    optical = np.sqrt(4 * 5.0 * 2 / (2 * reduced) * 1.602176634e-19 / 1e-20 / 1.66053907e-27) / (2e12 * np.pi)
    assert side.metrics['max_frequency_thz'] == pytest.approx(optical, rel=1e-4)
    assert abs(side.metrics['min_frequency_thz']) < 1e-4
    assert side.metrics['dynamically_stable'] is True
    assert side.metrics['space_group'] == 'F-43m (216)'
    assert side.mesh_weights.sum() == 216


def test_scaled_springs_give_scaled_errors() -> None:
    soft, hard = springs(stiffness=5.0), springs(stiffness=5.0 * 1.21)
    result = phonon_metrics.compare_phonons(hard, soft, mesh=(6, 6, 6))
    mean = result['reference']['mean_frequency_thz']
    assert result['candidate']['phonon_mae_thz'] == pytest.approx(0.1 * mean, rel=1e-6)
    assert result['candidate']['phonon_bias_thz'] == pytest.approx(0.1 * mean, rel=1e-6)
    unstable = phonon_metrics.evaluate_side(springs(stiffness=-1.0), mesh=(4, 4, 4))
    assert unstable.metrics['dynamically_stable'] is False


def test_same_crystal_in_another_basis() -> None:
    """Another primitive cell, another origin, strain: the same q-points are compared."""
    matrix = np.array([[1, 0, 0], [-1, 1, 0], [0, 0, 1]])
    positions = np.array([[0.1, 0.2, 0.3], [0.35, 0.45, 0.55]]) @ np.linalg.inv(matrix)
    other = springs(matrix @ CUBE, positions)
    one = springs()
    assert (match_lattices(one.primitive, one.primitive) == np.eye(3)).all()
    assert (match_lattices(one.primitive, other.primitive) == matrix).all()
    side = phonon_metrics.evaluate_side(one, mesh=(5, 5, 5))
    # Springs of two 3x3x3 supercells of different shape differ by their images only where neighbours are images.
    assert phonon_metrics.errors_between(other, one, side)['phonon_mae_thz'] < 1e-6


def test_other_crystals_are_refused() -> None:
    one = PhonopyAtoms(symbols=['Ga', 'As'], cell=CUBE, scaled_positions=[[0, 0, 0], [0.25, 0.25, 0.25]])
    salt = PhonopyAtoms(symbols=['Na', 'Cl'], cell=CUBE, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]])
    rocksalt = PhonopyAtoms(symbols=['Ga', 'As'], cell=CUBE, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match='primitive cells hold'):
        match_lattices(one, salt)
    with pytest.raises(ValueError, match='no choice of basis'):
        match_lattices(one, rocksalt)


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [('{', 'not a phonopy file'), ('a: 1', 'not a phonopy file'), (None, 'there is no file')],
)
def test_bad_files(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / 'phonopy.yaml'
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load_phonopy(path)


def test_file_without_forces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phonon = springs()
    phonon.generate_displacements(distance=0.01)
    path = tmp_path / 'phonopy_disp.yaml'
    path.write_text(str(phonon.to_phonopy_yaml()))
    with pytest.raises(ValueError, match='holds no forces'):
        load_phonopy(path)
