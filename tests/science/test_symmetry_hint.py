"""A symmetry that is missed by little is told of, with its price; the tolerance in use reaches what is looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.phonon_metrics import band_path, stability
from aiida_equitrain.science.structure_files import read_structure
from aiida_equitrain.science.supercells import Symmetry, check_symprec, species_of
from aiida_equitrain.science.symmetry_hint import count_displacements, symmetry_hint

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'


def test_four_digits() -> None:
    """AlN with 0.3333 is told of, with both numbers of displacements and the option that gives the higher group."""
    hint = symmetry_hint(read_structure(CASES / 'thirds.cif').atoms, 1e-4, np.diag([3, 3, 2]))
    assert hint is not None
    for text in ('Cmc2_1 (36)', 'P6_3mc (186) at 0.001 Å', '8 displacements instead of 4', '`--symprec 0.001`'):
        assert text in hint


def test_the_option_is_enough() -> None:
    """With the tolerance that is named there is nothing to tell, and none where coordinates are exact."""
    atoms = read_structure(CASES / 'thirds.cif').atoms
    assert symmetry_hint(atoms, 1e-3) is None
    assert symmetry_hint(atoms, 2e-2) is None
    assert symmetry_hint(read_structure(CASES / 'aln_exact.vasp').atoms, 1e-4) is None
    assert symmetry_hint(read_structure(CASES / 'Si_lh.vasp').atoms, 1e-4) is None


def test_exact_at_a_tighter_tolerance() -> None:
    """Five digits are exact at 1e-4 Å but not at 1e-6 Å."""
    atoms = read_structure(CASES / 'aln_exact.vasp').atoms
    atoms.set_scaled_positions(np.round(atoms.get_scaled_positions(), 5))
    assert symmetry_hint(atoms, 1e-4) is None
    assert 'P6_3mc (186)' in str(symmetry_hint(atoms, 1e-6))


@pytest.mark.parametrize('sign', [1, -1], ids=['right', 'left'])
def test_count_displacements(sign: int) -> None:
    """Silicon has one displacement, in a left-handed cell as well; two kinds have two."""
    atoms = bulk('Si')
    atoms.set_cell(sign * atoms.cell[:])
    assert count_displacements(atoms, np.eye(3, dtype=int) * 2, 1e-4) == 1
    atoms.set_tags([1, 2])
    assert count_displacements(atoms, np.eye(3, dtype=int) * 2, 1e-4) == 2


def test_supercell_sees_tolerance_and_kinds() -> None:
    """The symmetry that the choice of a supercell knows is that of the tolerance, and of the kinds."""
    atoms = read_structure(CASES / 'thirds.cif').atoms
    assert [len(Symmetry.of(atoms, symprec).rotations) for symprec in (1e-4, 1e-3)] == [4, 12]
    iron = Atoms('Fe2', scaled_positions=[[0] * 3, [0.5] * 3], cell=[2.9, 2.9, 3.0], pbc=True, tags=[1, 2])
    assert species_of(iron) == [1026, 2026]


def test_path_sees_tolerance_and_kinds() -> None:
    """So does the path through the zone."""
    atoms = read_structure(CASES / 'thirds.cif').atoms
    cell = PhonopyAtoms(symbols=list(atoms.symbols), cell=atoms.cell[:], scaled_positions=atoms.get_scaled_positions())
    loose, tight = (band_path(cell, 2, symprec) for symprec in (1e-3, 1e-4))
    assert {name for pair in loose.labels for name in pair} != {name for pair in tight.labels for name in pair}
    bcc = {'cell': np.eye(3) * 2.9, 'scaled_positions': [[0] * 3, [0.5] * 3]}
    plain, kinds = (band_path(PhonopyAtoms(symbols=symbols, **bcc), 2) for symbols in (['Fe'] * 2, ['Fe1', 'Fe2']))
    moments = band_path(PhonopyAtoms(symbols=['Fe'] * 2, magnetic_moments=[1, -1], **bcc), 2)
    assert plain.labels != kinds.labels
    assert kinds.labels == moments.labels


def test_lowest_is_one_thing() -> None:
    """Translations of Γ within the tolerance are no lowest frequency, whoever judges."""
    verdict = stability(np.array([[0.0, 0, 0], [0.5, 0, 0]]), np.array([[-0.02, 0.0, 0.01], [2.0, 2.0, 3.0]]), 0.15)
    assert (verdict['lowest_frequency_thz'], verdict['lowest_qpoint']) == (2.0, [0.5, 0, 0])


def test_too_large_a_tolerance() -> None:
    """A tolerance that takes neighbours for one atom is told of, with what is usual, also far beyond the cell."""
    for atoms, distance in ((bulk('Si'), '2.35'), (bulk('NaCl', 'rocksalt', a=5.64), '2.82'), (bulk('Cu'), '2.55')):
        for symprec in (1.5, 5.0, 500.0):
            with pytest.raises(ValueError, match=f'too large .* as near as {distance} Å: .* 1e-5 to 0.01'):
                Symmetry.of(atoms, symprec)
        assert check_symprec(atoms, 1.0) is None
        assert len(Symmetry.of(atoms, 0.1).rotations) == 48
