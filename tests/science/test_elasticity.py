"""Moduli that long acoustic waves tell, against springs with an answer on paper; averages, against pymatgen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.elasticity import EV_PER_CUBIC_ANGSTROM_IN_GPA, elastic_from_phonons, hill_averages


def springs(symbols: str, structure: str, edge: float, reach: float, constant: float = 3.0) -> Phonopy:
    """Return phonons of a cubic crystal whose atoms within ``reach`` (Å) are joined by central springs, eV/Å²."""
    atoms = bulk(symbols, structure, a=edge)
    cell = PhonopyAtoms(symbols=list(atoms.symbols), cell=atoms.cell[:], scaled_positions=atoms.get_scaled_positions())
    phonon = Phonopy(cell, 3 * np.eye(3, dtype=int), primitive_matrix=np.eye(3))
    supercell: Any = phonon.supercell
    size = len(supercell)
    constants = np.zeros((size, size, 3, 3))
    for i in range(size):
        fractional = supercell.scaled_positions - supercell.scaled_positions[i]
        for shift in np.ndindex(3, 3, 3):
            vectors = (fractional + np.array(shift) - 1) @ supercell.cell
            lengths = np.linalg.norm(vectors, axis=1)
            for j in np.flatnonzero((lengths > 1e-6) & (lengths < reach)):
                block = constant * np.outer(vectors[j], vectors[j]) / lengths[j] ** 2
                constants[i, j] -= block
                constants[i, i] += block
    phonon.force_constants = constants
    return phonon


def test_springs() -> None:
    """Springs between nearest neighbours of an fcc crystal: C11 = 2k/a, C12 = C44 = k/a (Born and Huang, §23)."""
    edge, constant = 4.0, 3.0
    found = elastic_from_phonons(springs('Cu', 'fcc', edge, 3.0, constant))
    tensor = np.array(found['elastic_tensor_from_phonons_gpa'])
    unit = constant / edge * EV_PER_CUBIC_ANGSTROM_IN_GPA
    expected = np.diag([2.0] * 3 + [1.0] * 3) * unit
    expected[:3, :3] += unit * (1 - np.eye(3))
    np.testing.assert_allclose(tensor, expected, atol=1e-3)
    assert found['bulk_modulus_from_phonons_gpa'] == pytest.approx(4 / 3 * unit)


def test_inner_strain() -> None:
    """Atoms of a strained zinc blende crystal move: the shear that springs of its bonds leave is none at all."""
    assert elastic_from_phonons(springs('Si', 'diamond', 5.4, 2.5)).get('shear_modulus_from_phonons_gpa') is None
    stiff = elastic_from_phonons(springs('Si', 'diamond', 5.4, 4.0))
    tensor = np.array(stiff['elastic_tensor_from_phonons_gpa'])
    # Bonds add nothing to C11 - C12; springs to second neighbours, k/a for each of the two fcc lattices.
    unit = 3.0 / 5.4 * EV_PER_CUBIC_ANGSTROM_IN_GPA
    assert tensor[0, 0] - tensor[0, 1] == pytest.approx(2 * unit, rel=1e-4)


def test_soft_optical_mode() -> None:
    """A crystal with an imaginary optical mode has no elastic tensor of its own."""
    phonon = springs('NaCl', 'rocksalt', 5.6, 3.0)
    phonon.force_constants = -np.array(phonon.force_constants)
    assert elastic_from_phonons(phonon) == {}


def test_averages() -> None:
    """Hill's averages of a tensor without symmetry are pymatgen's."""
    from pymatgen.analysis.elasticity.elastic import ElasticTensor

    random = np.random.default_rng(1).normal(size=(6, 6))
    tensor = 100 * np.eye(6) + 5 * (random + random.T)
    known: Any = ElasticTensor.from_voigt(tensor)
    assert hill_averages(tensor) == pytest.approx((known.k_vrh, known.g_vrh))
