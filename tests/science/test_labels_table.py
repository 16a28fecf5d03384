"""Every reader of labels, and what may be dropped on the way: energy, stress, its sign, units, convergence, order."""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.units import GPa, create_units

from aiida_equitrain.science.frame_files import LabelledFile, read_labelled

QE = create_units('2006')
CELL = 4.0


@dataclass
class Content:
    """What is written: energy and its sibling that does not belong to the forces, eV; stress, eV/Å³; forces, eV/Å."""

    symbols: tuple[str, ...] = ('Na', 'Cl')
    positions: Any = field(default_factory=lambda: np.array([[0.02, 0, 0], [2.0, 2.0, 1.97]]))
    forces: Any = field(default_factory=lambda: np.array([[0.5, -0.25, 0.125], [-0.5, 0.25, -0.125]]))
    energy: float | None = -3.0
    other_energy: float | None = -2.5
    stress: Any = field(default_factory=lambda: np.array([[0.01, 0.002, 0], [0.002, -0.03, 0], [0, 0, 0.02]]))
    cell: float = CELL
    converged: bool = True


def rows(values: Any) -> list[str]:
    return [' '.join(f'{value:.10f}' for value in row) for row in values]


def extxyz(content: Content, energy: str = 'free_energy', other: str = 'energy', rest: str = '') -> str:
    size = content.cell
    info = [f'Lattice="{size} 0 0 0 {size} 0 0 0 {size}"', f'Properties=species:S:1:pos:R:3:{rest}forces:R:3']
    for key, value in ((energy, content.energy), (other, content.other_energy)):
        info += [] if value is None or not key else [f'{key}={value!r}']
    if content.stress is not None:
        info.append(f'{rest}stress="{" ".join(rows(content.stress))}"')
    table = zip(content.symbols, rows(content.positions), rows(content.forces), strict=True)
    return '\n'.join([str(len(content.symbols)), ' '.join(info), *(' '.join(row) for row in table)]) + '\n'


def ref_keys(content: Content) -> str:
    """Labels under the keys of MACE, beside what another program predicts."""
    return extxyz(content, 'REF_energy', 'energy', 'REF_')


def vasprun(content: Content) -> str:
    def array(name: str, values: Any) -> str:
        return f'<varray name="{name}">' + ''.join(f'<v>{row}</v>' for row in rows(values)) + '</varray>'

    energy = '' if content.energy is None else f'<i name="e_fr_energy">{content.energy}</i>'
    energy += '' if content.other_energy is None else f'<i name="e_0_energy">{content.other_energy}</i>'
    stress = '' if content.stress is None else array('stress', -content.stress / (0.1 * GPa))
    atoms = ''.join(f'<rc><c>{symbol}</c><c>1</c></rc>' for symbol in content.symbols)
    scf = '<scstep><energy><i name="e_fr_energy">-1</i></energy></scstep>' * (5 if content.converged else 40)
    return (
        f'<?xml version="1.0" encoding="ISO-8859-1"?><modeling><incar><i type="string" name="SYSTEM">é</i></incar>'
        f'<parameters><i type="int" name="NELM">40</i><separator><i type="int" name="NELM">1</i></separator>'
        f'</parameters>'
        f'<atominfo><array name="atoms"><set>{atoms}</set></array></atominfo><calculation>{scf}'
        f'<structure><crystal>{array("basis", content.cell * np.eye(3))}</crystal>'
        f'{array("positions", content.positions / content.cell)}</structure>{array("forces", content.forces)}{stress}'
        f'<energy>{energy}</energy></calculation></modeling>'
    )


def pw(content: Content) -> str:
    unit, pressure = QE['Ry'] / QE['Bohr'], QE['Ry'] / QE['Bohr'] ** 3
    lines = [
        '     Program PWSCF v.6.7 starts',
        f'     number of atoms/cell      =  {len(content.symbols)}',
        f'     celldm(1)= {content.cell / QE["Bohr"]:.10f}  celldm(2)= 0.0',
        '     crystal axes: (cart. coord. in units of alat)',
        *(f'     a({i + 1}) = (  {row}  )' for i, row in enumerate(rows(np.eye(3)))),
        '     site n.     atom                  positions (alat units)',
        *(
            f'     {i + 1}   {symbol}  tau( {i + 1}) = (  {row}  )'
            for i, (symbol, row) in enumerate(zip(content.symbols, rows(content.positions / content.cell), strict=True))
        ),
    ]
    if not content.converged:
        lines += ['     convergence NOT achieved after  40 iterations: stopping']
    elif content.energy is not None:
        # hybrid functionals: the first energy is of another functional
        energies = [content.other_energy or content.energy, content.energy]
        lines += [f'!    total energy              =  {energy / QE["Ry"]:.10f} Ry' for energy in energies]
    lines += ['     Forces acting on atoms (cartesian axes, Ry/au):', '']
    lines += [f'     atom {i + 1} type 1   force = {row}' for i, row in enumerate(rows(content.forces / unit))]
    lines += [
        '     The non-local contrib.  to forces',
        *[f'     atom {i + 1} type 1   force = 9 9 9' for i in range(2)],
    ]
    if content.stress is not None:
        lines += ['', '     total   stress  (Ry/bohr**3)                (kbar)     P=  1.00']
        lines += [f'{row}   0.0 0.0 0.0' for row in rows(-content.stress / pressure)]
    return '\n'.join([*lines, '   JOB DONE.', ''])


READERS: dict[str, tuple[str, Callable[[Content], str]]] = {
    'extxyz': ('a.extxyz', extxyz),
    'extxyz-ref': ('a.xyz', ref_keys),
    'vasprun': ('vasprun.xml', vasprun),
    'pw': ('pw.out', pw),
}
every_reader = pytest.mark.parametrize('reader', READERS)


def read(folder: Path, reader: str, ending: str = '', edit: Callable[[str], str] = str, **what: Any) -> LabelledFile:
    """Write the content as the reader's program does, and read it."""
    name, write = READERS[reader]
    data = edit(write(Content(**what))).encode('latin-1' if reader == 'vasprun' else 'utf-8')
    pack: Callable[[bytes], bytes] = {'': bytes, '.gz': gzip.compress, '.xz': lzma.compress}[ending]
    path = folder / f'{name}{ending}'
    path.write_bytes(pack(data))
    return read_labelled(path)


@every_reader
@pytest.mark.parametrize('ending', ['', '.gz', '.xz'])
def test_labels(reader: str, ending: str, tmp_path: Path) -> None:
    """Positions, energy of the forces, forces and stress with its sign, in our units, of a compressed file as well."""
    found, content = read(tmp_path, reader, ending), Content()
    (frame,) = found.frames
    assert frame.energy == pytest.approx(content.energy, abs=1e-8)
    assert [str(symbol) for symbol in frame.to_atoms(keys=True).symbols] == list(content.symbols)
    for name in ('positions', 'forces', 'stress'):
        assert getattr(frame, name) == pytest.approx(getattr(content, name), abs=1e-7), name
    assert frame.cell == pytest.approx(CELL * np.eye(3), abs=1e-7)
    assert frame.source
    assert found.notes == []


@every_reader
def test_no_energy(reader: str, tmp_path: Path) -> None:
    """An energy that is not there is none; pw.x has one wherever its electrons converged."""
    if reader == 'pw':
        with pytest.raises(ValueError, match='did not converge'):
            read(tmp_path, reader, energy=None)
        return
    (frame,) = read(tmp_path, reader, energy=None, other_energy=None).frames
    assert frame.energy is None


@every_reader
def test_no_stress(reader: str, tmp_path: Path) -> None:
    (frame,) = read(tmp_path, reader, stress=None).frames
    assert frame.stress is None


@every_reader
def test_other_energies_are_not_taken(reader: str, tmp_path: Path) -> None:
    """The energy at zero smearing, or one predicted beside the labels, does not stand in; of `energy` alone it does."""
    if reader == 'pw':
        return
    (frame,) = read(tmp_path, reader, energy=None).frames
    assert frame.energy == (-2.5 if reader == 'extxyz' else None)


@every_reader
def test_units(reader: str, tmp_path: Path) -> None:
    """What no crystal reaches is of another unit, and the likely one is named."""
    with pytest.raises(ValueError, match=r'frame 1: its stress reaches 8\.\d* ?.*kbar or GPa'):
        read(tmp_path, reader, stress=8.01 * np.eye(3))
    with pytest.raises(ValueError, match=r'frame 1: its forces reach 2000.*meV/Å'):
        read(tmp_path, reader, forces=np.array([[2000.0, 0, 0], [-2000.0, 0, 0]]))


@every_reader
def test_isolated_atom(reader: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='isolated atoms'):
        read(tmp_path, reader, symbols=('Na',), positions=np.zeros((1, 3)), forces=np.zeros((1, 3)), cell=12.0)


@every_reader
def test_not_finite(reader: str, tmp_path: Path) -> None:
    """A number that is none is told of, by the name of the file."""
    with pytest.raises(ValueError, match=rf'{READERS[reader][0]}`: .*(finite|overflow|cannot be read)'):
        read(tmp_path, reader, forces=np.array([[np.nan, 0, 0], [0, 0, 0]]))


@every_reader
def test_cut_off(reader: str, tmp_path: Path) -> None:
    """Half a file is told of; nothing of it is a label."""
    with pytest.raises(ValueError, match=r'ends after|no extended XYZ|cut off'):
        read(tmp_path, reader, edit=lambda text: text[: text.rindex('Na') if 'xyz' in reader else -len(text) // 3])


@pytest.mark.parametrize('reader', ['vasprun', 'pw'])
def test_unconverged(reader: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='did not converge'):
        read(tmp_path, reader, converged=False)


@pytest.mark.parametrize('reader', ['extxyz', 'pw'])
def test_steps(reader: str, tmp_path: Path) -> None:
    """Of several steps those without labels are left out, and said."""
    write = READERS[reader][1]
    other = write(Content(converged=False)) if reader == 'pw' else extxyz(Content()).replace('energy=', 'dft_energy=')
    found = read(tmp_path, reader, edit=lambda text: text + other + text)
    if reader == 'pw':
        assert len(found.frames) == 2
        assert found.notes == ['`pw.out`: 1 steps left out: their scf did not converge']
    else:
        assert [frame.energy is None for frame in found.frames] == [False, True, False]
        assert '`dft_energy`' in found.notes[0]


def test_extxyz_two_kinds_of_energy(tmp_path: Path) -> None:
    """Free energies beside others are said, as the two differ."""
    found = read(tmp_path, 'extxyz', edit=lambda text: text + extxyz(Content(), energy='', other='energy'))
    assert [frame.energy for frame in found.frames] == [-3.0, -2.5]
    assert '1 of 2 frames have `free_energy`' in found.notes[0]


def test_extxyz_virial_is_not_stress(tmp_path: Path) -> None:
    """A virial has another sign and unit: it is left alone, and said."""
    virial = 'virial="1 0 0 0 1 0 0 0 1"'
    found = read(tmp_path, 'extxyz', stress=None, edit=lambda text: text.replace(' energy=', f' {virial} energy='))
    assert found.frames[0].stress is None
    assert '`virial` not read' in found.notes[0]


@pytest.mark.parametrize('element', ['D', 'X', 'Si1'])
def test_no_elements(element: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no element'):
        read(tmp_path, 'extxyz', symbols=(element, 'Cl'))


def test_extxyz_pbc(tmp_path: Path) -> None:
    found = read(tmp_path, 'extxyz', edit=lambda text: text.replace(' energy=', ' pbc="T T F" energy='))
    assert found.frames[0].pbc == (True, True, False)


def test_extxyz_fixed_atoms(tmp_path: Path) -> None:
    """Forces that constraints set to 0 are no labels; those of fixed atoms are."""
    table = 'Properties=species:S:1:pos:R:3:forces:R:3'

    def fix(text: str) -> str:
        lines = text.replace(table, f'{table}:move_mask:L:1').splitlines()
        return '\n'.join([*lines[:2], f'{lines[2]} F', f'{lines[3]} T']) + '\n'

    assert len(read(tmp_path, 'extxyz', edit=fix).frames) == 1
    with pytest.raises(ValueError, match='fixed atoms'):
        read(tmp_path, 'extxyz', edit=fix, forces=np.array([[0.0, 0, 0], [0.1, 0, 0]]))


def test_vasprun_pressure(tmp_path: Path) -> None:
    """The energy of a calculation under pressure is without the work against it."""
    setting = '<parameters><i name="PSTRESS">100.0</i>'
    (frame,) = read(tmp_path, 'vasprun', edit=lambda text: text.replace('<parameters>', setting)).frames
    assert frame.energy == pytest.approx(-3.0 - 10 * GPa * CELL**3)


def test_vasprun_later_steps(tmp_path: Path) -> None:
    """Converged steps are kept, the others said; a cut-off file gives its whole steps."""
    good, bad = (vasprun(Content(converged=value)) for value in (True, False))
    step = bad[bad.index('<calculation>') : bad.index('</modeling>')]
    found = read(tmp_path, 'vasprun', edit=lambda text: text.replace('</modeling>', step + '</modeling>'))
    assert len(found.frames) == 1
    assert 'NELM = 40 reached' in found.notes[0]
    found = read(tmp_path, 'vasprun', edit=lambda text: text.replace('</modeling>', good[100:900]))
    assert len(found.frames) == 1
    assert 'cut off' in found.notes[0]


# Folders of displaced supercells

SITES = CELL * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0],
                         [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])  # fmt: skip
NAMES = ('Na',) * 4 + ('Cl',) * 4


def folder(path: Path, order: Any = range(8), number: int = 4, name: str = 'vasprun-{}.xml', **what: Any) -> Path:
    """Write supercells of springs to the sites: atoms in another order, over the boundaries of the cell."""
    path.mkdir()
    points = [
        {'symbol': symbol, 'coordinates': (site / CELL).tolist()} for symbol, site in zip(NAMES, SITES, strict=True)
    ]
    content: dict[str, Any] = {
        'unit_cell': {'lattice': (CELL * np.eye(3)).tolist(), 'points': points},
        'supercell_matrix': np.eye(3, dtype=int).tolist(),
    }
    (path / 'phonopy_disp.yaml').write_text(yaml.safe_dump(content))
    rng = np.random.default_rng(3)
    order = list(order)
    for index in range(number):
        moves = rng.normal(0, 0.02, (8, 3))
        forces = -2.0 * (moves - moves.mean(axis=0))
        given = Content(
            symbols=tuple(NAMES[row] for row in order),
            positions=((SITES + moves) % CELL)[order],
            forces=forces[order],
            **what,
        )
        (path / name.format(index)).write_bytes(vasprun(given).encode('latin-1'))
    return path


def constants(path: Path) -> Any:
    phonon = read_labelled(path).phonon
    assert phonon is not None
    return phonon.force_constants


def test_folder_pairs_atoms_by_place(tmp_path: Path) -> None:
    """The order of the atoms in a calculation, and whether they are wrapped into the cell, change nothing."""
    wanted = constants(folder(tmp_path / 'a'))
    for name, order in {'b': (3, 1, 0, 2, 7, 5, 4, 6), 'c': (4, 0, 5, 1, 6, 2, 7, 3)}.items():
        assert constants(folder(tmp_path / name, order)) == pytest.approx(wanted, abs=1e-9), name


@pytest.mark.parametrize('ending', ['.gz', '.xz'])
def test_folder_compressed(ending: str, tmp_path: Path) -> None:
    path = folder(tmp_path / 'a')
    wanted = constants(path)
    pack = {'.gz': gzip.compress, '.xz': lzma.compress}[ending]
    for file in list(path.iterdir()):
        file.with_name(file.name + ending).write_bytes(pack(file.read_bytes()))
        file.unlink()
    assert constants(path) == pytest.approx(wanted)


@pytest.mark.parametrize('kind', ['xz', 'gz'])
@pytest.mark.parametrize('top', ['.', 'a'])
def test_folder_in_an_archive(kind: str, top: str, tmp_path: Path) -> None:
    """A tar archive of a folder, or of its content, is the folder."""
    import tarfile

    path = folder(tmp_path / 'a')
    with tarfile.open(tmp_path / f'a.tar.{kind}', f'w:{kind}') as archive:
        archive.add(path, top)
    assert constants(tmp_path / f'a.tar.{kind}') == pytest.approx(constants(path))


def test_folder_what_is_left_out_is_said(tmp_path: Path) -> None:
    """Unconverged, broken and doubled calculations, and displacements without one."""
    path = folder(tmp_path / 'a')
    content = yaml.safe_load((path / 'phonopy_disp.yaml').read_text())
    content['displacements'] = [[{'displacement': [0.0, 0.0, 0.01]}] * 8] * 6
    (path / 'phonopy_disp.yaml').write_text(yaml.safe_dump(content))
    (path / 'vasprun-4.xml').write_bytes((path / 'vasprun-0.xml').read_bytes())
    folder(tmp_path / 'b', number=1, converged=False)
    (path / 'vasprun-5.xml').write_bytes((tmp_path / 'b' / 'vasprun-0.xml').read_bytes())
    (path / 'vasprun-6.xml').write_text('<modeling>')
    found = read_labelled(path)
    assert len(found.frames) == 4
    notes = '\n'.join(found.notes)
    for sentence in ('`vasprun-5.xml` left out', 'converge', '`vasprun-6.xml` left out', 'same as `vasprun-0.xml`',
                     'of 6 displaced supercells 4 have labels'):  # fmt: skip
        assert sentence in notes


def test_folder_of_another_crystal(tmp_path: Path) -> None:
    """Another cell, other atoms, and atoms that moved too far are refused with the name of the file."""
    with pytest.raises(ValueError, match=r'`vasprun-0\.xml` has another cell'):
        read_labelled(folder(tmp_path / 'a', cell=CELL + 0.1))
    path = folder(tmp_path / 'b')
    (path / 'vasprun-1.xml').write_bytes((path / 'vasprun-1.xml').read_bytes().replace(b'Cl', b'Br'))
    with pytest.raises(ValueError, match=r'`vasprun-1\.xml` has other atoms'):
        read_labelled(path)
    path = folder(tmp_path / 'c')
    shift = SITES + np.array([0.9, 0, 0])
    (path / 'vasprun-2.xml').write_bytes(
        vasprun(Content(symbols=NAMES, positions=shift, forces=np.ones((8, 3)))).encode('latin-1')
    )
    with pytest.raises(ValueError, match=r'in `vasprun-2\.xml` an atom has moved by 0\.9'):
        read_labelled(path)


def comment(text: str, add: str, frame: int = 0) -> str:
    """Return extended XYZ with more keys in the comment line of a frame of two atoms."""
    lines = text.split('\n')
    lines[4 * frame + 1] += f' {add}'
    return '\n'.join(lines)


@pytest.mark.parametrize('name', ['energy', 'stress'])
def test_weightless_label_is_none(name: str, tmp_path: Path) -> None:
    """A label that has no weight in the loss, as MACE writes where there is none, is not there."""
    for reader in ('extxyz', 'extxyz-ref'):
        found = read(tmp_path, reader, edit=lambda text: comment(text, f'config_{name}_weight=0.0'))
        assert getattr(found.frames[0], name) is None
        assert any(f'1 without {name}: its weight is 0' in note for note in found.notes)
    found = read(tmp_path, 'extxyz', edit=lambda text: comment(text, f'config_{name}_weight=2.0'))
    assert getattr(found.frames[0], name) is not None
    assert 'weights of 1 frames not read' in found.notes[0]


def test_nan_is_no_label(tmp_path: Path) -> None:
    found = read(tmp_path, 'extxyz', energy=float('nan'), other_energy=None, stress=np.full((3, 3), np.nan))
    assert (found.frames[0].energy, found.frames[0].stress, found.notes) == (None, None, [])


@pytest.mark.parametrize(
    ('key', 'kept'),
    [
        ('converged=F', False),
        ('scf_converged=False', False),
        ('unconverged=T', False),
        ('config_weight=0', False),
        ('config_forces_weight=0.0', False),
        ('converged=T', True),
        ('unconverged=F', True),
        ('relax_converged=F', True),
        ('config_weight=1.0', True),
    ],
)
def test_frames_that_say_to_be_none(key: str, kept: bool, tmp_path: Path) -> None:
    """Electrons that did not converge, and a weight of 0, make no frame; ions on their way do."""
    found = read(tmp_path, 'extxyz', edit=lambda text: comment(text + text, key))
    assert len(found.frames) == 1 + kept
    assert bool(found.notes) is not kept


@pytest.mark.parametrize('key', ['energy_unit=Hartree', 'length_unit=bohr', 'unit=kcal/mol', 'Units="atomic"'])
def test_units_that_are_named(key: str, tmp_path: Path) -> None:
    """Numbers of another unit are refused where a key says so."""
    with pytest.raises(ValueError, match=rf'frame 1: says `{re.split("=", key)[0]}='):
        read(tmp_path, 'extxyz', edit=lambda text: comment(text, key))
    assert read(tmp_path, 'extxyz', edit=lambda text: comment(text, 'energy_unit=eV length_unit=Angstrom')).frames


def test_other_physics_is_told(tmp_path: Path) -> None:
    """Charged cells, and heads of other functionals, are labels of another kind."""
    (note,) = read(tmp_path, 'extxyz', edit=lambda text: comment(text, 'total_charge=1')).notes
    assert '1 of 1 frames have a charge' in note
    (note,) = read(tmp_path, 'extxyz', edit=lambda text: comment(text + text, 'head=r2scan')).notes
    assert 'different heads (`(none)`, `r2scan`)' in note
    assert not read(tmp_path, 'extxyz', edit=lambda text: comment(text, 'charge=0 head=Default')).notes


@pytest.mark.parametrize(('name', 'number'), [('r ', 40), ('X', 54)])
def test_vasprun_cut_names(name: str, number: int, tmp_path: Path) -> None:
    """VASP writes zirconium and xenon with half their names."""
    assert read(tmp_path, 'vasprun', symbols=(name, 'Cl')).frames[0].numbers.tolist() == [number, 17]


PHYSICS = {
    ('vasprun', 'spin'): '<i type="int" name="ISPIN">     2</i>',
    ('vasprun', 'a Hubbard U'): '<i type="logical" name="LDAU"> T  </i>',
    ('pw', 'spin'): '     Starting magnetic structure\n',
    ('pw', 'a Hubbard U'): '     Simplified LDA+U calculation (l_max = 2) with parameters (eV):\n',
}


@pytest.mark.parametrize(('reader', 'what'), PHYSICS)
def test_spin_and_u_are_told(reader: str, what: str, tmp_path: Path) -> None:
    """Labels with spin or U are taken, and said to be such."""
    place = {'vasprun': '<parameters>', 'pw': '     site n.'}[reader]

    def edit(text: str) -> str:
        add = PHYSICS[reader, what]
        return text.replace(place, place + add if reader == 'vasprun' else add + place)

    (note,) = read(tmp_path, reader, edit=edit).notes
    assert f'with {what}, which is not kept' in note


def changed(path: Path, change: Any) -> Path:
    """Change the phonopy file of a folder."""
    file = path / 'phonopy_disp.yaml'
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ('key', 'values', 'word'),
    [('mass', (23.0, 24.0), 'masses'), ('magnetic_moment', (2.0, -2.0), 'magnetic moments')],
)
def test_folder_keeps_what_its_phonopy_file_says(key: str, values: Any, word: str, tmp_path: Path) -> None:
    """Masses and moments of a folder reach the phonons; a primitive cell that loses them is refused, and spin told."""

    def change(content: dict[str, Any], primitive: Any = 'P') -> None:
        for index, point in enumerate(content['unit_cell']['points']):
            point[key] = values[index % 2]
        content['primitive_matrix'] = primitive

    found = read_labelled(changed(folder(tmp_path / 'a'), change))
    assert found.phonon is not None
    cell = found.phonon.unitcell
    kept = cell.masses if key == 'mass' else cell.magnetic_moments
    assert list(kept) == [values[index % 2] for index in range(8)]
    assert any('spin' in note for note in found.notes) is (key == 'magnetic_moment')
    face_centred = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    with pytest.raises(ValueError, match=f'different {word}'):
        read_labelled(changed(folder(tmp_path / 'b'), lambda content: change(content, face_centred)))


def test_folder_of_cells_that_phonopy_refuses(tmp_path: Path) -> None:
    """A primitive matrix that is none of the crystal is a sentence with the file's name."""
    path = changed(folder(tmp_path / 'a'), lambda content: content.update(primitive_matrix=(0.3 * np.eye(3)).tolist()))
    with pytest.raises(ValueError, match=r'phonopy_disp\.yaml`: phonopy makes no force constants'):
        read_labelled(path)


@pytest.mark.parametrize('key', ['magmom=2.0', 'total_magmom=1.5', 'magnetization=0.1'])
def test_moments_of_extended_xyz_are_told(key: str, tmp_path: Path) -> None:
    """Labels that were made with spin are said to be such."""
    found = read(tmp_path, 'extxyz', edit=lambda text: comment(text, key))
    assert any('spin' in note for note in found.notes), found.notes
    found = read(tmp_path, 'extxyz', edit=lambda text: comment(text, 'magmom=0.0'))
    assert not any('spin' in note for note in found.notes)
