"""phono3py's files as phono3py itself loads them, in other units and with the file's tolerance, running nothing."""

from __future__ import annotations

import contextlib
import io
import lzma
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from phonopy.physical_units import get_calculator_physical_units
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.conductivity import load_phono3py
from aiida_equitrain.science.phonopy_io import load_phonopy

pytestmark = pytest.mark.real

phono3py = pytest.importorskip('phono3py')
SILICON = Path(__file__).parents[1] / 'fixtures' / 'phono3py' / 'phono3py_params_Si-111-222.yaml.xz'


def by_hand(path: Path) -> Any:
    """Return what ``phono3py.load`` gives."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return phono3py.load(path, log_level=0)


def write(path: Path, calculator: str | None = None, positions: Any = None, tolerance: float = 1e-5) -> Path:
    """Write wurtzite of springs that bind each atom to its place: displacements, pairs of them, and forces.

    :param calculator: whose units the file is in.
    """
    third = [1 / 3, 2 / 3]
    sites = positions or [[*third, 0], [*third[::-1], 0.5], [*third, 0.382], [*third[::-1], 0.882]]
    units = get_calculator_physical_units(calculator)
    cell = PhonopyAtoms(
        cell=np.array([[3.11, 0, 0], [-1.555, 3.11 * 0.75**0.5, 0], [0, 0, 4.98]]) / units.distance_to_A,
        symbols=['Al', 'Al', 'N', 'N'],
        scaled_positions=sites,
        masses=[26.98, 26.98, 15.0, 15.0],
    )
    solver = phono3py.Phono3py(cell, np.eye(3, dtype=int), primitive_matrix='P', symprec=1e-2, calculator=calculator)
    solver.generate_displacements(distance=0.03 / units.distance_to_A)
    forces = []
    for moved in solver.supercells_with_displacements:
        moves = (moved.positions - solver.supercell.positions) * units.distance_to_A
        forces.append((-8.0 * moves - 5.0 * moves * np.abs(moves)) / units.force_to_eVperA)
    solver.forces = np.array(forces)
    content = yaml.safe_load(str(solver.to_phono3py_yaml(settings={'force_sets': True})))
    content['phono3py'] |= {'symmetry_tolerance': tolerance} | ({'calculator': calculator} if calculator else {})
    path.write_text(yaml.safe_dump(content))
    return path


def test_silicon() -> None:
    """The force constants of DFT's silicon are those of phono3py to the last digit."""
    ours, theirs = load_phono3py(SILICON, symprec=1e-5), by_hand(SILICON)
    assert np.array_equal(ours.fc2, theirs.fc2)
    assert np.array_equal(ours.fc3, theirs.fc3)
    assert ours.nac_params is None
    # The harmonic ones are what `compare` reads.
    phonon = load_phonopy(SILICON)
    assert len(phonon.supercell) == len(ours.phonon_supercell)


@pytest.mark.parametrize('calculator', [None, 'qe', 'wien2k', 'abinit', 'cp2k', 'elk'])
def test_units(tmp_path: Path, calculator: str | None) -> None:
    """Force constants of both orders, and masses, come out in eV and Å from the files of other calculators."""
    exact = load_phono3py(write(tmp_path / 'exact.yaml'))
    ours = load_phono3py(write(tmp_path / 'phono3py_params.yaml', calculator))
    assert ours.fc2 == pytest.approx(exact.fc2, abs=1e-6)
    assert ours.fc3 == pytest.approx(exact.fc3, abs=1e-4)
    assert ours.fc3 == pytest.approx(by_hand(tmp_path / 'phono3py_params.yaml').fc3, abs=1e-6)
    assert ours.primitive.masses == pytest.approx([26.98, 26.98, 15.0, 15.0])
    harmonic = load_phonopy(tmp_path / 'phono3py_params.yaml')
    assert harmonic.primitive.cell == pytest.approx(exact.primitive.cell)


def test_five_digits(tmp_path: Path) -> None:
    """Wurtzite with five digits: the tolerance of the file makes it hexagonal, and the Born charges too."""
    rounded = [[0.33333, 0.66667, 0], [0.66667, 0.33333, 0.5], [0.33333, 0.66667, 0.382], [0.66667, 0.33333, 0.882]]
    path = write(tmp_path / 'a.yaml', positions=rounded, tolerance=1e-3)
    packed = tmp_path / 'a.yaml.xz'
    packed.write_bytes(lzma.compress(path.read_bytes()))
    charges = np.diag([2.5, 2.5, 2.7]) * np.array([1, 1, -1, -1])[:, None, None]
    nac = {'born_charges': charges, 'dielectric': np.eye(3) * 4}
    solver = load_phono3py(packed, nac=nac)
    assert solver.symmetry.tolerance == 1e-3
    assert solver.symmetry.dataset.international == 'P6_3mc'
    assert solver.nac_params['born'].sum(axis=0) == pytest.approx(np.zeros((3, 3)), abs=1e-9)
    assert load_phono3py(packed, symprec=1e-6).symmetry.dataset.international == 'Cmc2_1'
    with pytest.raises(ValueError, match=r'makes no force constants of it with a tolerance of 0.001 Å'):
        load_phono3py(packed, nac={**nac, 'born_charges': charges[:2]})


def test_no_forces_of_third_order(tmp_path: Path) -> None:
    """Say what is missing."""
    content = yaml.safe_load(write(tmp_path / 'a.yaml').read_text())
    for pair in content['displacement_pairs']:
        pair.pop('forces')
        for second in pair['paired_with']:
            second.pop('forces')
    (tmp_path / 'a.yaml').write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match='holds no forces on supercells with two displaced atoms'):
        load_phono3py(tmp_path / 'a.yaml')
