"""A left-handed cell and the right-handed one of the same crystal: the same supercells, displacements and phases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from ase import Atoms

from aiida_equitrain.calculations.arrays import reversed_cell
from aiida_equitrain.calculations.functions import born_charges, elastic, phonons
from aiida_equitrain.science.elasticity import deform, deformations
from aiida_equitrain.science.phases import same_structure, space_group, symmetric_primitive
from aiida_equitrain.science.rattle import rattled_structures
from aiida_equitrain.science.structure_files import read_structure
from aiida_equitrain.science.structures import is_left_handed
from aiida_equitrain.science.supercells import make_supercell, supercell_rows

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'


def wurtzite(distorted: bool = False) -> Atoms:
    """Return AlN in a right-handed cell, where wanted without any symmetry."""
    atoms = read_structure(CASES / 'aln_exact.vasp').atoms
    if distorted:
        atoms.set_cell(atoms.cell[:] @ [[1, 0.03, 0.01], [0, 1.02, -0.04], [0, 0, 1]], scale_atoms=True)
        atoms.positions[1] += [0.1, -0.05, 0.02]
    return atoms


def turned(atoms: Atoms) -> Atoms:
    """Return the same crystal with its lattice vectors reversed."""
    other: Atoms = atoms.copy()
    other.set_cell(-atoms.cell[:])
    return other


def assert_same(first: Atoms, second: Atoms) -> None:
    """Check that two cells span one lattice and hold the same atoms, in any order."""
    assert abs(first.cell[:]) == pytest.approx(abs(second.cell[:]), abs=1e-9)
    assert len(first) == len(second)
    difference = first.get_scaled_positions()[:, None] - turned_to(second, first)[None]
    equal = np.abs(difference - np.round(difference)).max(axis=2) < 1e-7
    assert (equal & (first.numbers[:, None] == second.numbers)).sum(axis=1).tolist() == [1] * len(first)


def turned_to(atoms: Atoms, other: Atoms) -> Any:
    """Return positions in units of another's lattice vectors."""
    return atoms.positions @ np.linalg.inv(other.cell[:])


@pytest.mark.parametrize('distorted', [False, True], ids=['wurtzite', 'triclinic'])
def test_supercells(distorted: bool) -> None:
    """The choice of a supercell, the supercell, and what is rattled and strained of it."""
    right = wurtzite(distorted)
    left = turned(right)
    assert is_left_handed(left.cell)
    assert not is_left_handed(right.cell)
    for any_shape in (True, False):
        rows = supercell_rows(right, 9.0, any_shape=any_shape)
        assert supercell_rows(left, 9.0, any_shape=any_shape) == rows
        assert_same(make_supercell(left, rows), make_supercell(right, rows))
    for one, other in zip(*(rattled_structures(atoms, [-0.05, 0.05], 0.05, 0.03, 1) for atoms in (left, right)),
                          strict=True):  # fmt: skip
        assert_same(one, other)
    for deformation in deformations(0.005):
        assert_same(deform(left, deformation), deform(right, deformation))


def test_phases() -> None:
    """Space group and primitive cell."""
    right = wurtzite()
    left = turned(right)
    assert space_group(left, 1e-4) == space_group(right, 1e-4)
    assert same_structure(symmetric_primitive(left, 1e-4), right, tolerance=1e-3)


@pytest.mark.parametrize('distorted', [False, True], ids=['wurtzite', 'triclinic'])
def test_displacements(aiida_profile: Any, distorted: bool) -> None:
    """Displaced and strained cells, and the cell of Born charges, as the WorkChains have them made."""
    right = orm.StructureData(ase=wurtzite(distorted))
    left = orm.StructureData(ase=turned(wurtzite(distorted)))
    given = orm.List([[2, 0, 0], [0, 2, 0], [0, 0, 1]]), orm.Dict({'distance': 0.01}), orm.Float(1e-4)
    arrays = {}
    for name, crystal in (('left', left), ('right', right)):
        cell = reversed_cell(crystal)
        frames = phonons.displaced_frames(phonons.preprocess(cell, *given))['frames']
        strained = elastic.strained_frames(cell, orm.Dict({}))
        primitive = born_charges.primitive_cell(crystal, given[2])
        arrays[name] = [
            *(node.get_array(key) for node in (frames, strained) for key in ('positions', 'cells')),
            primitive.get_ase().positions,
            primitive.cell,
        ]
    for one, other in zip(arrays['left'], arrays['right'], strict=True):
        assert np.array(one) == pytest.approx(np.array(other), abs=1e-9)
