"""What a structure file says is kept, or told of, or refused in a sentence; for each format where it can be said."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write

from aiida_equitrain.science.structure_files import read_structure

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'
POSCAR = 'a\n1\n0 2 2\n2 0 2\n2 2 0\n{elements}\n{counts}\n{more}Direct\n0 0 0\n.5 .5 .5\n'
XYZ = '2\nLattice="0 2 2 2 0 2 2 2 0" Properties=species:S:1:pos:R:3{columns}\n{first}\n{second}\n'
CIF = 'data_a\n' + ''.join(f'_cell_length_{name} 4\n' for name in 'abc')
CIF += ''.join(f'_cell_angle_{name} 90\n' for name in ('alpha', 'beta', 'gamma'))
SITES = 'loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n'


def poscar(elements: str = 'Pd D', counts: str = '1 1', more: str = '') -> str:
    """Return a POSCAR of two atoms."""
    return POSCAR.format(elements=elements, counts=counts, more=more)


def xyz(second: str = 'D 2 0 0', columns: str = '', first: str = 'Pd 0 0 0') -> str:
    """Return an extended XYZ of two atoms."""
    return XYZ.format(columns=columns, first=first, second=second)


def cif(*sites: str, header: str = SITES, more: str = '_symmetry_space_group_name_H-M "P 1"\n') -> str:
    """Return a CIF with sites."""
    return CIF + more + header + ''.join(f'{site}\n' for site in sites)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a.vasp', poscar()),
        ('POSCAR', poscar('Pd_pv/123 D/456')),
        ('a.xyz', xyz()),
        ('a.extxyz', xyz()),
        ('a.cif', cif('Pd1 Pd 0 0 0', 'D1 D .5 .5 .5')),
        ('b.cif', cif('Pd1 Pd 0 0 0', 'D1 D1- .5 .5 .5')),
    ],
)
def test_deuterium(tmp_path: Path, name: str, text: str) -> None:
    """D is hydrogen of mass 2.014, the other elements are as in nature, and it is said."""
    (tmp_path / name).write_text(text)
    found = read_structure(tmp_path / name)
    assert str(found.atoms.symbols) == 'PdH'
    assert found.atoms.get_masses().tolist() == pytest.approx([106.42, 2.014])
    assert found.notes == ['D is hydrogen with the mass 2.014']


def test_tritium_beside_hydrogen(tmp_path: Path) -> None:
    """Each atom has the mass of its own isotope, also where a symmetry makes several of one site."""
    (tmp_path / 'a.xyz').write_text(xyz('T 2 0 0', first='H 0 0 0'))
    assert read_structure(tmp_path / 'a.xyz').atoms.get_masses().tolist() == pytest.approx([1.008, 3.016])
    more = '_symmetry_space_group_name_H-M "P -1"\n'
    (tmp_path / 'a.cif').write_text(cif('H1 H 0 0 0', 'D1 D .2 .3 .4', more=more))
    atoms = read_structure(tmp_path / 'a.cif').atoms
    assert sorted(atoms.get_masses().tolist()) == pytest.approx([1.008, 2.014, 2.014])


@pytest.mark.parametrize('occupancies', [('?', '.'), ('1.0', '1'), ('1.0(0)', '?')])
def test_unknown_occupancy(tmp_path: Path, occupancies: tuple[str, str]) -> None:
    """An occupancy that is not given is 1."""
    header = SITES.replace('_atom_site_fract_x', '_atom_site_occupancy\n_atom_site_fract_x')
    sites = [f'{name}1 {name} {value} {where}' for name, value, where in
             (('Na', occupancies[0], '0 0 0'), ('Cl', occupancies[1], '.5 .5 .5'))]  # fmt: skip
    (tmp_path / 'a.cif').write_text(cif(*sites, header=header))
    assert str(read_structure(tmp_path / 'a.cif').atoms.symbols) == 'NaCl'


def test_occupancies_of_the_case() -> None:
    """The whole of rock salt, not a traceback."""
    assert str(read_structure(CASES / 'occ_q.cif').atoms.symbols) == 'Na4Cl4'


@pytest.mark.parametrize(('block', 'formula'), [('x', 'Na4Cl4'), ('y', 'Si8'), ('1', 'Na4Cl4'), ('2', 'Si8')])
def test_block(block: str, formula: str) -> None:
    """One of several structures is chosen by name or number, and said."""
    found = read_structure(CASES / 'two_structures.cif', block)
    assert str(found.atoms.symbols) == formula
    assert 'of 2 is taken' in found.notes[0]


def test_block_of_frames(tmp_path: Path) -> None:
    """The same for XYZ; the isotopes are those of the structure that is taken."""
    path = tmp_path / 'a.xyz'
    path.write_text(xyz('H 2 0 0') + xyz('D 2 0 0'))
    with pytest.raises(ValueError, match=r'holds 2 structures .1: PdH, 2: PdH.: choose one by `--block'):
        read_structure(path)
    assert read_structure(path, '1').atoms.get_masses()[1] == pytest.approx(1.008)
    assert read_structure(path, '2').atoms.get_masses()[1] == pytest.approx(2.014)
    for wrong in ('3', '0', 'x', '-1', '9' * 30):
        with pytest.raises(ValueError, match='has no structure'):
            read_structure(path, wrong)


@pytest.mark.parametrize('opener', [gzip.open, lzma.open], ids=['gz', 'xz'])
def test_compressed(tmp_path: Path, opener: object) -> None:
    """Compressed files are read."""
    path = tmp_path / ('Si.vasp.gz' if opener is gzip.open else 'Si.vasp.xz')
    with opener(path, 'wt') as handle:  # type: ignore[operator]
        handle.write((CASES / 'Si_lh.vasp').read_text())
    assert len(read_structure(path).atoms) == 2


def test_told(tmp_path: Path) -> None:
    """What is left out is said: constraints, no space group, moments of a calculation, steps before the last."""
    atoms = bulk('Si')
    atoms.set_constraint(FixAtoms([0]))
    write(tmp_path / 'a.vasp', atoms)
    assert read_structure(tmp_path / 'a.vasp').notes == [
        'constraints (selective dynamics) are left out: all atoms move'
    ]
    (tmp_path / 'a.cif').write_text(cif('Si1 Si4+ 0 0 0', more=''))
    assert 'names no space group' in read_structure(tmp_path / 'a.cif').notes[0]
    (tmp_path / 'a.xyz').write_text(xyz('O 2 0 0 0', ':magmoms:R:1', 'Ni 0 0 0 1.5'))
    assert 'magnetic moments that a calculation gave' in read_structure(tmp_path / 'a.xyz').notes[0]


def test_moments_are_kinds(tmp_path: Path) -> None:
    """Atoms with different moments stay apart."""
    path = tmp_path / 'a.xyz'
    path.write_text(xyz('Ni 2 0 0 -2.0', ':initial_magmoms:R:1', 'Ni 0 0 0 2.0'))
    found = read_structure(path)
    assert found.atoms.get_tags().tolist() == [1, 2]
    assert 'support for spin' in found.notes[0]


def test_tags_are_no_kinds(tmp_path: Path) -> None:
    """Numbers that another program wrote beside atoms do not lower the symmetry."""
    (tmp_path / 'a.xyz').write_text(xyz('Si 2 0 0 3', ':tags:I:1', 'Si 0 0 0 1'))
    assert not read_structure(tmp_path / 'a.xyz').atoms.get_tags().any()


@pytest.mark.parametrize('name', ['tags:I', 'initial_charges:R', 'occupancy:R', 'spin:R'])
def test_left_out_columns_are_told(tmp_path: Path, name: str) -> None:
    (tmp_path / 'a.xyz').write_text(xyz('Si 2 0 0 3', f':{name}:1', 'Si 0 0 0 1'))
    assert read_structure(tmp_path / 'a.xyz').notes == [f'its columns `{name[:-2]}` are left out']


@pytest.mark.parametrize('site', ['Va1 Va', 'O1 OH', 'W1 Wat', 'Va1 ?'])
def test_cif_site_that_is_no_element(tmp_path: Path, site: str) -> None:
    """A vacancy is no vanadium, a hydroxyl group no oxygen."""
    (tmp_path / 'a.cif').write_text(cif(f'Si1 Si 0 0 0\n{site} .5 .5 .5'))
    with pytest.raises(ValueError, match='of no known element'):
        read_structure(tmp_path / 'a.cif')


def test_cif_element_of_a_label(tmp_path: Path) -> None:
    (tmp_path / 'a.cif').write_text(cif('OW1 ? 0 0 0\nSi1 ? .5 .5 .5'))
    found = read_structure(tmp_path / 'a.cif')
    assert str(found.atoms.symbols) == 'OSi'
    assert found.notes == ['elements are guessed from labels: `OW1` is O']


@pytest.mark.parametrize(('group', 'told'), [('F d -3 m', True), ('F m -3 m', False)])
def test_cif_choice_of_origin(tmp_path: Path, group: str, told: bool) -> None:
    """A space group with two origins, named without its operations, is told of."""
    (tmp_path / 'a.cif').write_text(cif('Si1 Si 0 0 0', more=f"_symmetry_space_group_name_H-M '{group}'\n"))
    assert any('origin' in note for note in read_structure(tmp_path / 'a.cif').notes) is told


@pytest.mark.parametrize('name', ['mass', 'masses'])
def test_masses_of_extended_xyz(tmp_path: Path, name: str) -> None:
    (tmp_path / 'a.xyz').write_text(xyz('Si 2 0 0 28.0', f':{name}:R:1', 'Si 0 0 0 30.0'))
    assert read_structure(tmp_path / 'a.xyz').atoms.get_masses().tolist() == [30.0, 28.0]


def test_charge_and_unit_of_extended_xyz(tmp_path: Path) -> None:
    text = xyz('Si 2 0 0', '', 'Si 0 0 0')
    (tmp_path / 'a.xyz').write_text(text.replace('Properties', 'charge=1 Properties'))
    assert 'have a charge' in read_structure(tmp_path / 'a.xyz').notes[0]
    (tmp_path / 'a.xyz').write_text(text.replace('Properties', 'unit=bohr Properties'))
    with pytest.raises(ValueError, match='says `unit=bohr`'):
        read_structure(tmp_path / 'a.xyz')


REFUSED = {
    'several': ('a.cif', cif('Si1 Si 0 0 0') + cif('Ge1 Ge 0 0 0').replace('data_a', 'data_b'), 'holds 2 structures'),
    'no-sites': ('a.cif', 'data_a\n_cell_length_a 4\n', 'no block with atoms'),
    'partial': (
        'a.cif',
        cif('Si1 Si .5 0 0 0', header=SITES.replace('_atom_site_fract_x', '_atom_site_occupancy\n_atom_site_fract_x')),
        'partial occupancy .0.5.',
    ),
    'moments': ('a.cif', cif('Ni1 Ni 0 0 0', more='_space_group_magn.number_BNS 166.101\n'), 'magnetic'),
    'mcif': ('a.mcif', cif('Ni1 Ni 0 0 0'), 'magnetic CIF'),
    'hydrogens': (
        'a.cif',
        cif(
            'C1 C 4 0 0 0',
            header=SITES.replace('_atom_site_fract_x', '_atom_site_attached_hydrogens\n_atom_site_fract_x'),
        ),
        'hydrogen atoms without a place',
    ),
    'unknown-element': ('a.cif', cif('Q1 Q 0 0 0'), 'no known element'),
    'molecule': ('a.xyz', '2\n\nH 0 0 0\nH 0 0 0.7\n', 'has no cell'),
    'vector-moments': ('a.xyz', xyz('Ni 2 0 0 0 0 1', ':initial_magmoms:R:3', 'Ni 0 0 0 0 1 0'), 'vectors'),
    'nan': ('a.xyz', xyz('H nan 0 0'), 'not finite'),
    'flat': ('a.vasp', poscar('Si Si').replace('2 2 0', '2 0 2'), 'no volume'),
    'thin': ('a.vasp', poscar('Si Si').replace('0 2 2', '0 .01 .01'), 'Å thick'),
    'metres': ('a.vasp', poscar('Si Si').replace('a\n1\n', 'a\n1e10\n'), 'more than 1000 Å'),
    'vasp4': ('a.vasp', poscar('1 1', 'Direct'), 'VASP 4'),
    'too-many': ('a.vasp', poscar('Si', '999999999'), 'has 999999999 atoms'),
    'too-many-xyz': ('a.xyz', '99999999\n' + xyz(), 'has 99999999 atoms'),
    'cut-off': ('a.vasp', poscar('Si Si')[:30], '2 elements, but has 1'),
    'python': ('a.py', 'open("ran", "w")', 'no name of a structure file'),
    'json': ('a.json', '{}', 'no name of a structure file'),
    'trajectory': ('a.traj', '', 'no name of a structure file'),
    'bad-gz': ('a.cif.gz', 'no gzip', 'cif.gz'),
}


@pytest.mark.parametrize(('name', 'text', 'says'), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    """What cannot be kept ends in one sentence that names the file."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says) as error:
        read_structure(tmp_path / name)
    assert name in str(error.value)
    assert '\n' not in str(error.value)


def test_positions_are_those_of_the_file(tmp_path: Path) -> None:
    """Cell and positions come through, left-handed ones as well."""
    atoms = Atoms(
        'NaCl', cell=[[2.8, 0, 2.8], [0, 2.8, 2.8], [2.8, 2.8, 0]], pbc=True, scaled_positions=[[0, 0, 0], [0.5] * 3]
    )
    for name in ('a.vasp', 'a.xyz', 'a.cif', 'a.xsf'):
        write(tmp_path / name, atoms)
        found = read_structure(tmp_path / name).atoms
        assert found.get_all_distances(mic=True) == pytest.approx(atoms.get_all_distances(mic=True), abs=1e-6)
        assert abs(found.get_volume() - atoms.get_volume()) < 1e-4
    assert np.linalg.det(read_structure(CASES / 'Si_lh.vasp').atoms.cell[:]) < 0
