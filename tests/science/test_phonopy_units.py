"""Files of every calculator that phonopy knows, in every form that phonopy writes, against ``phonopy.load`` by hand."""

from __future__ import annotations

import contextlib
import functools
import io
import lzma
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
import pytest
import yaml
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.file_IO import write_FORCE_CONSTANTS, write_FORCE_SETS
from phonopy.interface.calculator import calculator_info
from phonopy.physical_units import get_calculator_physical_units, get_physical_units
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.dataset import get_displacements_and_forces

from aiida_equitrain.science.frame_files import read_labelled
from aiida_equitrain.science.phonopy_io import load_phonopy

CALCULATORS = [None, *sorted(calculator_info)]
#: One of each set of units.
UNITS = [None, 'abinit', 'cp2k', 'elk', 'qe', 'siesta', 'wien2k']
QPOINTS = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0], [0.1, 0.2, 0.3]]
#: Edges of the cell in rows, Å: of low symmetry, so that phonopy has few operations to try.
CELL = np.array([[3.0, 0, 0], [0, 3.4, 0], [0.7, 0, 3.8]])
BORN = np.array([np.eye(3) * 1.1, np.eye(3) * -1.1])
DIELECTRIC = np.eye(3) * 2.4
ENERGY = -7.25


def salt(calculator: str | None = None, **settings: Any) -> Phonopy:
    """Return a salt of springs, without forces, in the units of a calculator."""
    units = get_calculator_physical_units(calculator)
    cell = PhonopyAtoms(
        cell=CELL / units.distance_to_A,
        symbols=['Na', 'Cl'],
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
        masses=[22.5, 36.0],
    )
    settings = {'primitive_matrix': 'P', 'calculator': calculator, **settings}
    return Phonopy(cell, np.diag([2, 1, 1]), **settings)


@functools.cache
def springs() -> NDArray[np.float64]:
    """Return force constants between neighbours and all their images, eV/Å²."""
    supercell = salt().supercell
    atoms = np.arange(len(supercell))
    constants = np.zeros((len(atoms), len(atoms), 3, 3))
    near = [np.linalg.norm(np.array(corner) @ CELL) / 2 for corner in ((1, 1, 1), (-1, 1, 1))]
    lengths = [
        (near[0], -2.0, -0.3),
        (near[1], -3.0, -0.4),
        *((edge, -0.7, 0.1) for edge in np.linalg.norm(CELL, axis=1)),
    ]
    for shift in np.ndindex(3, 3, 3):
        away = supercell.scaled_positions[:, None] - supercell.scaled_positions[None] + np.array(shift) - 1
        away = away @ supercell.cell
        distance = np.linalg.norm(away, axis=2)
        for length, stretch, bend in lengths:
            for i, j in np.argwhere(np.isclose(distance, length)):
                along = away[i, j] / length
                constants[i, j] += (stretch - bend) * np.outer(along, along) + bend * np.eye(3)
    constants[atoms, atoms] -= constants.sum(axis=1)
    return constants


def displaced(calculator: str | None, many: bool) -> Phonopy:
    """Return the salt with displacements, forces and energies in the units of a calculator."""
    units = get_calculator_physical_units(calculator)
    phonon = salt(calculator)
    if many:
        phonon.generate_displacements(distance=0.02 / units.distance_to_A, number_of_snapshots=6, random_seed=3)
    else:
        phonon.generate_displacements(distance=0.02 / units.distance_to_A)
    moves = get_displacements_and_forces(phonon.dataset)[0] * units.distance_to_A
    phonon.forces = -np.einsum('ijkl,fjl->fik', springs(), moves) / units.force_to_eVperA
    phonon.supercell_energies = np.full(len(moves), ENERGY / units.energy_to_eV)
    phonon.nac_params = {'born': BORN, 'dielectric': DIELECTRIC, 'factor': units.nac_factor, 'method': 'gonze'}
    return phonon


def params(folder: Path, calculator: str | None, many: bool) -> Path:
    """Write ``phonopy_params.yaml``."""
    displaced(calculator, many).save(folder / 'phonopy_params.yaml')
    return folder / 'phonopy_params.yaml'


def with_force_sets(folder: Path, calculator: str | None, many: bool) -> Path:
    """Write ``phonopy_disp.yaml`` and ``FORCE_SETS``."""
    phonon = displaced(calculator, many)
    write_FORCE_SETS(phonon.dataset, folder / 'FORCE_SETS')
    phonon.save(folder / 'phonopy_disp.yaml', settings={'force_sets': False})
    return folder / 'phonopy_disp.yaml'


def with_force_constants(folder: Path, calculator: str | None, beside: bool, compact: bool = False) -> Path:
    """Write force constants into ``phonopy.yaml``, or beside it."""
    phonon = displaced(calculator, many=False)
    phonon.produce_force_constants(calculate_full_force_constants=not compact, fc_calculator='traditional')
    constants = phonon.force_constants
    phonon.dataset = None
    phonon.force_constants = constants
    if beside:
        write_FORCE_CONSTANTS(phonon.force_constants, folder / 'FORCE_CONSTANTS', p2s_map=phonon.primitive.p2s_map)
    phonon.save(folder / 'phonopy.yaml', settings={'force_constants': not beside})
    return folder / 'phonopy.yaml'


FORMS: dict[str, Callable[[Path, str | None], Path]] = {
    'params-one-atom': lambda folder, name: params(folder, name, many=False),
    'params-all-atoms': lambda folder, name: params(folder, name, many=True),
    'FORCE_SETS-one-atom': lambda folder, name: with_force_sets(folder, name, many=False),
    'FORCE_SETS-all-atoms': lambda folder, name: with_force_sets(folder, name, many=True),
    'force-constants-inside': lambda folder, name: with_force_constants(folder, name, beside=False),
    'FORCE_CONSTANTS': lambda folder, name: with_force_constants(folder, name, beside=True),
    'FORCE_CONSTANTS-compact': lambda folder, name: with_force_constants(folder, name, beside=True, compact=True),
}


def frequencies(phonon: Phonopy) -> NDArray[np.float64]:
    """Return frequencies, THz."""
    phonon.run_qpoints(QPOINTS, nac_q_direction=[1, 0, 0])
    return np.array(phonon.qpoints.frequencies)


def by_hand(path: Path, nac: bool, monkeypatch: pytest.MonkeyPatch) -> Phonopy:
    """Return what ``phonopy.load`` gives, without the symmetrisation that we leave to ``--acoustic-sum-rule``."""
    monkeypatch.chdir(path.parent)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return phonopy.load(path.name, is_nac=nac, symmetrize_fc=False, symprec=1e-5)


CASES = [
    *((calculator, form) for calculator in CALCULATORS for form in ('params-one-atom', 'FORCE_SETS-one-atom')),
    *(
        pytest.param(calculator, form, marks=pytest.mark.real)
        for calculator in UNITS
        for form in FORMS
        if 'one-atom' not in form
    ),
]


def test_every_set_of_units_is_tried() -> None:
    """Hold the short list to what phonopy knows."""
    assert {get_calculator_physical_units(name) for name in CALCULATORS} == {
        get_calculator_physical_units(name) for name in UNITS
    }


@pytest.mark.parametrize(('calculator', 'form'), CASES)
def test_frequencies(tmp_path: Path, calculator: str | None, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agree with phonopy by hand, and with the crystal in Å and eV that the file was made of, to 1e-6 THz."""
    path = FORMS[form](tmp_path, calculator)
    exact = salt()
    exact.force_constants = springs()
    for nac in (False, True) if form == 'params-one-atom' else (False,):
        if nac:
            physical = get_physical_units()
            factor = physical.Hartree * physical.Bohr
            exact.nac_params = {'born': BORN, 'dielectric': DIELECTRIC, 'factor': factor, 'method': 'gonze'}
        ours = load_phonopy(path, nac=nac)
        assert (ours.nac_params is not None) == nac
        assert np.abs(frequencies(ours) - frequencies(by_hand(path, nac, monkeypatch))).max() < 1e-6
        # Files have few digits, which the root of a zero would magnify.
        squares = [np.abs(values) * values for values in (frequencies(ours), frequencies(exact))]
        assert np.abs(squares[0] - squares[1]).max() < (2e-2 if form == 'FORCE_SETS-all-atoms' else 1e-3)
    assert ours.primitive.masses == pytest.approx([22.5, 36.0])
    assert ours.unitcell.cell == pytest.approx(CELL)


def write_born(folder: Path, first: str) -> None:
    """Write ``BORN`` with this first line."""
    rows = (DIELECTRIC, *BORN)
    text = [' '.join(f'{number:g}' for number in row.ravel()) for row in rows]
    (folder / 'BORN').write_text('\n'.join([first, *text]) + '\n')


@pytest.mark.real
@pytest.mark.parametrize('form', ['FORCE_SETS-one-atom', 'FORCE_CONSTANTS'])
@pytest.mark.parametrize('natural', [True, False])
@pytest.mark.parametrize('calculator', UNITS)
def test_born_beside(
    tmp_path: Path, calculator: str | None, natural: bool, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Charges of ``BORN`` count as phonopy by hand has them, with the factor of the calculator or the file's own."""
    path = FORMS[form](tmp_path, calculator)
    content = yaml.safe_load(path.read_text())
    for key in ('nac', 'born_effective_charge', 'dielectric_constant'):
        content.pop(key, None)
    path.write_text(yaml.safe_dump(content))
    write_born(tmp_path, 'default value' if natural else repr(get_calculator_physical_units(calculator).nac_factor))
    with_charges = load_phonopy(path, nac=True)
    assert np.abs(frequencies(with_charges) - frequencies(by_hand(path, True, monkeypatch))).max() < 1e-6
    assert np.abs(frequencies(with_charges) - frequencies(load_phonopy(path))).max() > 0.1
    if form == 'FORCE_SETS-one-atom':
        found = read_labelled(path)
        assert found.nac is not None
        assert np.abs(found.nac['born'] - BORN).max() < 1e-6
        assert found.notes == read_labelled(path.rename(tmp_path / 'phonopy_params.yaml')).notes


@pytest.mark.parametrize(
    ('text', 'what'),
    [('14.4', 'not in the format'), ('', 'not in the format'), ('{}\n{}', 'not in the format'),
     ('default\n' + '1 0 0 0 1 0 0 0 1\n' * 4, 'independent atoms'),
     ('default\n' + 'nan 0 0 0 1 0 0 0 1\n' * 3, 'not finite'), ('7\n' + '2 0 0 0 2 0 0 0 2\n' * 3, 'factor 7'),
     ('\0', 'not in the format'), ('x' * 2**21, 'larger than')],
)  # fmt: skip
def test_broken_born(tmp_path: Path, text: str, what: str) -> None:
    """A ``BORN`` of something else is refused in a sentence that names it."""
    path = with_force_sets(tmp_path, None, many=False)
    content = yaml.safe_load(path.read_text())
    content.pop('nac')
    path.write_text(yaml.safe_dump(content))
    (tmp_path / 'BORN').write_text(text)
    for read in (read_labelled, functools.partial(load_phonopy, nac=True)):
        with pytest.raises(ValueError, match=f'BORN.*{what}'):
            read(path)
    load_phonopy(path)


def test_unread_beside(tmp_path: Path) -> None:
    """What lies beside a file and is not read is named with what to do."""
    path = with_force_sets(tmp_path, None, many=False)
    for name in ('force_constants.hdf5', 'FORCES_FC2', 'BORN'):
        (tmp_path / name).write_text('')
    notes = read_labelled(path).notes
    assert [text for text in notes if 'phonopy-load --include-all phonopy_disp.yaml' in text]
    assert [text for text in notes if 'phono3py.load("phonopy_disp.yaml"' in text]
    assert [text for text in notes if '`BORN` beside it is not read: the file has Born charges' in text]
    (tmp_path / 'FORCE_SETS').unlink()
    with pytest.raises(
        ValueError, match=r'holds no forces.*`force_constants\.hdf5` beside it is not read: `phonopy-load'
    ):
        load_phonopy(path)


@pytest.mark.parametrize('form', [form for form in FORMS if form.endswith('atoms') or form.endswith('one-atom')])
@pytest.mark.parametrize('calculator', UNITS)
def test_frames(tmp_path: Path, calculator: str | None, form: str) -> None:
    """Take frames in Å, eV and eV/Å from the files of all calculators."""
    found = read_labelled(FORMS[form](tmp_path, calculator))
    assert found.phonon is not None
    sites = salt().supercell
    for frame in found.frames:
        assert frame.cell == pytest.approx(sites.cell, abs=1e-9)
        moves = frame.positions - sites.positions
        assert np.linalg.norm(moves, axis=1).max() == pytest.approx(0.02, abs=1e-7)
        assert frame.forces == pytest.approx(-np.einsum('ijkl,jl->ik', springs(), moves), abs=1e-6)
        assert frame.energy == (None if form.startswith('FORCE_SETS') else pytest.approx(ENERGY, abs=1e-6))


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change a file in place."""
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))
    return path


def set_in(section: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change of one value; ``None`` takes it away."""

    def change(content: dict[str, Any]) -> None:
        content.setdefault(section, {})[key] = value
        if value is None:
            del content[section][key]

    return change


CONTRADICTIONS = {
    'unknown-calculator': (
        set_in('phonopy', 'calculator', 'dmol\x1b[31m'),
        r'calculator `dmol\\u001b\[31m`, whose units are',
    ),
    'calculator-is-a-list': (set_in('phonopy', 'calculator', ['qe']), 'whose units are unknown'),
    'length-of-another': (set_in('physical_unit', 'length', 'angstrom'), 'says `length: angstrom`.*`qe` is au'),
    'force-of-another': (set_in('physical_unit', 'force', 'hartree/au'), 'says `force: hartree/au`.*`qe` is Ry/au'),
    'force-constants-of-another': (set_in('physical_unit', 'force_constants', 'eV/angstrom^2'), r'is Ry/au\^2'),
    'unknown-quantity': (set_in('physical_unit', 'time', 'fs'), 'says `time: fs`.*unknown'),
    'mass-in-other-units': (set_in('physical_unit', 'atomic_mass', 'me'), 'is AMU'),
    'no-calculator': (set_in('phonopy', 'calculator', None), 'says `force: Ry/au`.*names no calculator'),
    'units-no-mapping': (lambda content: content.update(physical_unit=['au']), 'is no mapping'),
    'old-file-of-another': (
        lambda content: (content.pop('physical_unit'), content['phonopy'].pop('calculator'))[0],
        r'`frequency_unit_conversion_factor` 108.971 of qe, qlm',
    ),
    'factor-of-Born-charges': (set_in('nac', 'unit_conversion_factor', 14.39965), 'not that of its units'),
}


@pytest.mark.parametrize('name', CONTRADICTIONS)
def test_contradictions_are_refused(tmp_path: Path, name: str) -> None:
    """Refuse units that are unknown or contradict, in every reader."""
    change, message = CONTRADICTIONS[name]
    path = edited(params(tmp_path, 'qe', many=False), change)
    for reader in (load_phonopy, read_labelled):
        with pytest.raises(ValueError, match=message) as caught:
            reader(path)
        assert str(caught.value).startswith(f'`{path}`')


def test_frequencies_in_wavenumbers_change_nothing(tmp_path: Path) -> None:
    """Leave the factor alone that somebody set to see wavenumbers."""
    path = params(tmp_path, 'qe', many=False)
    before = frequencies(load_phonopy(path))
    edited(path, set_in('phonopy', 'frequency_unit_conversion_factor', 3634.87))
    assert np.array_equal(frequencies(load_phonopy(path)), before)


def test_tolerance_has_the_unit_of_the_file(tmp_path: Path) -> None:
    """Take the file's tolerance, in the length of its calculator, unless one is given."""
    path = edited(params(tmp_path, 'qe', many=False), set_in('phonopy', 'symmetry_tolerance', 0.01))
    assert load_phonopy(path).symmetry.tolerance == pytest.approx(0.01 * 0.529177, rel=1e-5)
    assert load_phonopy(path, symprec=1e-3).symmetry.tolerance == 1e-3
    edited(path, set_in('phonopy', 'symmetry_tolerance', None))
    assert load_phonopy(path).symmetry.tolerance == 1e-4


def test_old_formats(tmp_path: Path) -> None:
    """Read displacements of all atoms, and Born charges, as older versions of phonopy wrote them, in their units."""
    path = params(tmp_path, 'abinit', many=True)
    exact = frequencies(load_phonopy(path, nac=True))

    def older(content: dict[str, Any]) -> None:
        dataset, nac = content.pop('dataset'), content.pop('nac')
        content['displacements'] = [
            [{'displacement': move, 'force': force} for move, force in zip(*pair, strict=True)]
            for pair in zip(dataset['displacements'], dataset['forces'], strict=True)
        ]
        content['supercell_energies'] = dataset['supercell_energies']
        content['phonopy']['nac_unit_conversion_factor'] = nac['unit_conversion_factor']
        content |= {key: nac[key] for key in ('born_effective_charge', 'dielectric_constant')}

    edited(path, older)
    assert frequencies(load_phonopy(path, nac=True)) == pytest.approx(exact, abs=1e-5)
    assert read_labelled(path).frames[0].energy == pytest.approx(ENERGY, abs=1e-6)
    packed = tmp_path / 'phonopy.yaml.xz'
    packed.write_bytes(lzma.compress(path.read_bytes()))
    assert len(read_labelled(packed).frames) == 6
