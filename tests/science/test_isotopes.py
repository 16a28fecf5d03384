"""Isotopes on sites that phonopy takes for equivalent: no mesh and no average may use a symmetry that they break."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science import error_bars, harmonic, phonon_metrics, quasi_harmonic
from aiida_equitrain.science.correction import Posterior, make_basis

pytestmark = pytest.mark.real

MESH = (4, 4, 4)
TEMPERATURES = np.array([50.0, 100.0, 150.0, 200.0])
#: The lattice of the sites stays cubic, that of the masses is tetragonal.
MIXED = (10.0, 63.5, 63.5, 200.0)


@functools.cache
def copper(masses: tuple[float, ...] = MIXED, edge: float = 3.6) -> Phonopy:
    """Return phonons of the conventional cell of copper."""
    atoms = bulk('Cu', a=edge, cubic=True)
    cell = PhonopyAtoms(symbols=['Cu'] * 4, cell=atoms.cell[:], positions=atoms.positions, masses=masses)
    phonon = Phonopy(cell, np.diag([2, 2, 2]), primitive_matrix='P', log_level=0)
    phonon.generate_displacements(distance=0.01)
    phonon.forces = [_forces(displaced) for displaced in phonon.supercells_with_displacements]
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants(show_drift=False)
    return phonon


def _forces(cell: Any) -> Any:
    atoms = Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True, calculator=EMT())
    return atoms.get_forces()


def curves_on(phonon: Phonopy, symmetry: bool) -> dict[str, NDArray[Any]]:
    """Return thermal properties by phonopy alone."""
    phonon.run_mesh(MESH, is_mesh_symmetry=symmetry)
    phonon.run_thermal_properties(temperatures=TEMPERATURES)
    return {name: getattr(phonon.thermal_properties, name) for name in ('heat_capacity', 'entropy', 'free_energy')}


def test_thermal_properties() -> None:
    """They are those of the whole mesh; that of the irreducible points is another, as phonopy knows no masses."""
    phonon = copper()
    whole, reduced = (curves_on(phonon, symmetry) for symmetry in (False, True))
    assert abs(whole['heat_capacity'] - reduced['heat_capacity']).max() > 1e-2
    curves = phonon_metrics.thermal_curves(phonon, TEMPERATURES, MESH)
    thermal = harmonic.thermal_properties(phonon, TEMPERATURES, MESH)
    for name, unit in (('heat_capacity', 'j_per_k_mol'), ('entropy', 'j_per_k_mol'), ('free_energy', 'kj_per_mol')):
        assert curves[name] == pytest.approx(whole[name], rel=1e-9)
        assert thermal[f'{name}_{unit}_cell'] == pytest.approx(whole[name], rel=1e-9)
    side = phonon_metrics.evaluate_side(phonon, mesh=MESH, temperature=TEMPERATURES[0])
    assert side.metrics['entropy_j_per_k_mol'] == pytest.approx(whole['entropy'][0], rel=1e-9)


@pytest.mark.parametrize(('masses', 'points'), [(MIXED, 64), ((63.5,) * 4, 4)], ids=['mixed', 'equal'])
def test_meshes(masses: tuple[float, ...], points: int) -> None:
    """All that is summed over a mesh has the whole one where masses differ, and only there."""
    phonon = copper(masses)
    phonon_metrics.thermal_curves(phonon, TEMPERATURES, MESH)
    assert len(phonon.mesh.qpoints) == points
    assert len(harmonic.group_velocities(phonon, MESH, 5)['mesh_weights']) == (64 if points == 64 else 10)
    quasi_harmonic.stable_volumes([phonon], MESH, 0.1)
    assert len(phonon.mesh.qpoints) == points
    basis = make_basis(phonon)
    posterior = Posterior(basis.map, np.eye(basis.n_constants))
    error_bars.thermal_errors(phonon, posterior, TEMPERATURES, MESH)
    assert len(phonon.mesh.qpoints) == points
    three = [copper(masses, edge) for edge in (3.58, 3.6, 3.62)]
    # Time reversal, which phonopy leaves on there, makes pairs.
    assert max(quasi_harmonic.mode_gruneisen(three, 1, MESH, 5)['mesh_weights']) == (2 if points == 64 else 24)


def test_quasi_harmonic() -> None:
    """Free energies over volume are those of the whole mesh."""
    phonons = [copper(MIXED, edge) for edge in (3.56, 3.58, 3.6, 3.62, 3.64)]
    found = quasi_harmonic.quasi_harmonic(
        phonons, np.array([0.05, 0.01, 0.0, 0.01, 0.05]), temperatures=TEMPERATURES, mesh=MESH
    )
    static = found['helmholtz_ev'][0] - found['energies_ev']
    assert static * 96.48533 == pytest.approx([curves_on(item, False)['free_energy'][0] for item in phonons], abs=1e-4)


def test_group_velocities() -> None:
    """They are the slopes of the frequencies, also where a broken operation would leave the q-point alone."""
    phonon = copper()
    found = harmonic.group_velocities(phonon, MESH, 5)
    qpoints = found['mesh_qpoints']
    slopes = np.zeros_like(found['mesh_velocities_thz_angstrom'])
    for axis in range(3):
        step = phonon.primitive.cell @ np.eye(3)[axis] * 1e-4
        up, down = (phonon_metrics.frequencies_at(phonon, qpoints + sign * step) for sign in (1, -1))
        slopes[:, :, axis] = (up - down) / 2e-4
    gaps = np.diff(found['mesh_frequencies_thz'], axis=1, prepend=-np.inf, append=np.inf)
    alone = np.minimum(gaps[:, 1:], gaps[:, :-1]) > 0.02
    assert alone.sum() > 200
    assert abs(found['mesh_velocities_thz_angstrom'] - slopes)[alone].max() < 1e-2
