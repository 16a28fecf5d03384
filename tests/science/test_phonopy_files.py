"""What a file of phonopy says reaches the phonons of every reader, and what it cannot say gets a sentence."""

from __future__ import annotations

import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.displaced_frames import displaced_phonon, load_labelled
from aiida_equitrain.science.frame_files import read_labelled
from aiida_equitrain.science.lattice_match import match_lattices
from aiida_equitrain.science.phonon_metrics import (
    compare_phonons,
    errors_between,
    evaluate_side,
    frequencies_at,
    same_point_group,
)
from aiida_equitrain.science.phonopy_io import load_phonopy

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'


def _conductivity(path: Path) -> Any:
    pytest.importorskip('phono3py')
    from aiida_equitrain.science.conductivity import _solver
    from aiida_equitrain.science.phonopy_yaml import read_phonopy

    return _solver(read_phonopy(path, ''), None, 1e-5)


READERS: dict[str, Callable[[Path], Any]] = {
    'load_phonopy': load_phonopy,
    'load_labelled': lambda path: load_labelled(path).reference,
    'displaced_phonon': lambda path: displaced_phonon(load_labelled(path).reference),
    'load_phono3py': _conductivity,
}


def write(path: Path, change: Callable[[dict[str, Any]], Any] | None = None, **cell: Any) -> Path:
    """Write displacements and forces of a body-centred cubic crystal of two elements, each bound to its place.

    :param change: of the content.
    :param cell: of the unit cell: masses, magnetic moments, ...
    """
    atoms: dict[str, Any] = {
        'symbols': ['Fe', 'Al'],
        'cell': np.eye(3) * 2.9,
        'scaled_positions': [[0, 0, 0], [0.5, 0.5, 0.5]],
    } | cell
    phonon = Phonopy(PhonopyAtoms(**atoms), np.diag([2, 2, 2]), primitive_matrix='P')
    phonon.generate_displacements(distance=0.01)
    phonon.forces = np.array([
        -3.0 * (moved.positions - phonon.supercell.positions) for moved in phonon.supercells_with_displacements
    ])  # fmt: skip
    content = yaml.safe_load(str(phonon.to_phonopy_yaml()))
    if change:
        change(content)
    path.write_text(yaml.safe_dump(content))
    return path


def point(index: int, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change of an atom of the unit cell; ``...`` takes it away."""

    def change(content: dict[str, Any]) -> None:
        content['unit_cell']['points'][index][key] = value
        if value is ...:
            del content['unit_cell']['points'][index][key]

    return change


@pytest.mark.parametrize('reader', READERS)
def test_isotopes(tmp_path: Path, reader: str) -> None:
    """Keep the masses of isotopes, of atoms of one element too."""
    phonon = READERS[reader](write(tmp_path / 'a.yaml', masses=[56.93, 27.5]))
    assert phonon.unitcell.masses == pytest.approx([56.93, 27.5])
    assert phonon.primitive.masses == pytest.approx([56.93, 27.5])
    phonon = READERS[reader](write(tmp_path / 'a.yaml', symbols=['Fe1', 'Fe2'], masses=[54.0, 58.0]))
    assert phonon.unitcell.masses == pytest.approx([54.0, 58.0])
    assert list(phonon.unitcell.numbers) == [26, 26]


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize(
    ('moments', 'operations'),
    [(None, 48), ([1.0, -1.0], 16), ([[0, 0, 1.0], [0, 0, -1.0]], 16), ([[0, 0, 1.0], [1.0, 0, 0]], 4)],
    ids=['none', 'up-down', 'vectors', 'canted'],
)
def test_moments(tmp_path: Path, reader: str, moments: Any, operations: int) -> None:
    """Keep magnetic moments, and the symmetry as low as they make it."""
    path = write(tmp_path / 'a.yaml', symbols=['Fe', 'Fe'], magnetic_moments=moments)
    phonon = READERS[reader](path)
    assert len(phonon.primitive) == 2
    if moments is not None:
        assert phonon.unitcell.magnetic_moments == pytest.approx(np.array(moments))
    by_hand = Phonopy(phonon.unitcell, np.diag([2, 2, 2]), primitive_matrix='P')
    assert len(phonon.primitive_symmetry.pointgroup_operations) == len(by_hand.primitive_symmetry.pointgroup_operations)


FOLDED = [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]


@pytest.mark.parametrize('reader', [name for name in READERS if name != 'load_phono3py'])
@pytest.mark.parametrize(
    ('cell', 'word'), [({'masses': [54.0, 58.0]}, 'masses'), ({'magnetic_moments': [2.0, -2.0]}, 'magnetic moments')]
)
def test_primitive_cell_that_loses_atoms(tmp_path: Path, reader: str, cell: dict[str, Any], word: str) -> None:
    """A primitive cell that takes two isotopes, or spins up and down, for one atom is refused."""

    def fold(content: dict[str, Any]) -> None:
        content['primitive_matrix'] = FOLDED

    with pytest.raises(ValueError, match=f'different {word}: set `primitive_matrix: P`'):
        READERS[reader](write(tmp_path / 'a.yaml', fold, symbols=['Fe', 'Fe'], **cell))
    assert len(READERS[reader](write(tmp_path / 'b.yaml', fold, symbols=['Fe', 'Fe'])).primitive) == 1


def test_isotopes_lower_the_symmetry_of_the_mesh(tmp_path: Path) -> None:
    """Points of the Brillouin zone that differ by masses alone are not taken for one another."""
    one, two = (
        load_phonopy(write(tmp_path / f'{index}.yaml', symbols=['Fe', 'Fe'], masses=masses))
        for index, masses in enumerate(([54.0, 54.0], [54.0, 58.0]))
    )
    assert same_point_group(one, one)
    assert not same_point_group(two, two)


@pytest.mark.parametrize('reader', [name for name in READERS if name != 'load_phono3py'])
def test_tolerance(tmp_path: Path, reader: str) -> None:
    """Use the tolerance of the file: with its own of 1e-5 Å, a crystal with noise would have no symmetry."""
    noisy = [[0, 0, 0], [0.5, 0.5003, 0.5001]]
    path = write(
        tmp_path / 'a.yaml',
        lambda content: content['phonopy'].update(symmetry_tolerance='1e-2'),
        scaled_positions=noisy,
    )
    assert 'symmetry_tolerance: 1e-2\n' in path.read_text()
    phonon = READERS[reader](path)
    assert phonon.symmetry.tolerance == 1e-2
    assert len(phonon.primitive_symmetry.pointgroup_operations) == 48


def test_conductivity_takes_the_tolerance(tmp_path: Path) -> None:
    """Make no force constants of third order without such supercells, with the tolerance told."""
    pytest.importorskip('phono3py')
    from aiida_equitrain.science.conductivity import load_phono3py

    with pytest.raises(ValueError, match=r'tolerance of 1e-05 Å'):
        load_phono3py(write(tmp_path / 'a.yaml'))
    with pytest.raises(ValueError, match=r'tolerance of 0.001 Å'):
        load_phono3py(write(tmp_path / 'a.yaml'), symprec=1e-3)


@pytest.mark.parametrize('letter', ['auto', 'P', None])
def test_primitive_matrix(tmp_path: Path, letter: str | None) -> None:
    """Take the primitive matrix of the file, a letter too, and have phonopy find it where there is none."""

    def change(content: dict[str, Any]) -> None:
        content['primitive_matrix'] = letter
        if letter is None:
            del content['primitive_matrix']

    path = write(tmp_path / 'a.yaml', change, symbols=['Fe', 'Fe'])
    for reader in ('load_phonopy', 'load_labelled'):
        assert len(READERS[reader](path).primitive) == (2 if letter == 'P' else 1)


# Rows of the list of cases.


def test_units_of_quantum_espresso() -> None:
    """The same crystal in bohr and Ry/bohr, and in Å and eV/Å."""
    qe, vasp = (load_phonopy(CASES / name) for name in ('cu_qe_t1.yaml.xz', 'cu_vasp_t1.yaml'))
    for phonon in (qe, vasp):
        assert frequencies_at(phonon, np.array([[0.5, 0.5, 0]]))[0, -1] == pytest.approx(7.972, abs=5e-4)
    assert compare_phonons(qe, vasp, mesh=(4, 4, 4))['candidate']['phonon_mae_thz'] < 1e-6


def test_deuterium() -> None:
    """Palladium deuteride: the mass of the file, not that of hydrogen."""
    for reader in ('load_phonopy', 'load_labelled'):
        phonon = READERS[reader](CASES / 'PdD_t1.yaml')
        assert phonon.primitive.masses == pytest.approx([106.42, 2.014])
        assert frequencies_at(phonon, np.array([[0.5, 0.5, 0.5]])).max() == pytest.approx(74.4, abs=0.1)


def test_antiferromagnet() -> None:
    """Nickel with moments up and down by layers: symmetrised as such."""
    for reader in ('load_phonopy', 'load_labelled'):
        phonon = READERS[reader](CASES / 'NiAFM_t1.yaml')
        found = frequencies_at(phonon, np.array([[0.5, 0.5, 0]]))[0]
        assert found == pytest.approx([2.999, 2.999, 3.665, 3.665, 4.356, 4.356], abs=1e-3)
    result = compare_phonons(phonon, phonon, mesh=(4, 4, 4))
    assert result['candidate']['phonon_mae_thz'] == 0


def test_two_settings_of_one_crystal() -> None:
    """A pseudo-cubic crystal with its axes in another order is the same crystal; itself is itself in its own order."""
    one, other = (load_phonopy(CASES / f'SmAlO3_{name}.yaml.xz') for name in ('Pnma', 'ba-c'))
    side = evaluate_side(one, mesh=(3, 3, 3))
    assert errors_between(other, one, side)['phonon_mae_thz'] < 1e-8
    assert errors_between(one, one, side)['phonon_mae_thz'] == 0
    assert (match_lattices(one.primitive, one.primitive) == np.eye(3)).all()


def test_tolerance_of_the_file() -> None:
    """Noise of 2e-3 Å below the tolerance of the file."""
    noisy, exact = (load_phonopy(CASES / f'Cu_symprec_{name}.yaml.xz') for name in ('noisy', 'exact'))
    assert noisy.symmetry.tolerance == exact.symmetry.tolerance == 1e-2
    assert compare_phonons(noisy, exact, mesh=(4, 4, 4))['candidate']['space_group'] == 'Fm-3m (225)'


def test_compressed_and_single() -> None:
    """A compressed file of six frames, and one displacement, which is enough for phonons."""
    many, one = read_labelled(CASES / 'cu_vasp_t2.yaml.gz'), read_labelled(CASES / 'cu_vasp_t1.yaml')
    assert (len(many.frames), len(one.frames)) == (6, 1)
    assert one.phonon is not None
    assert frequencies_at(one.phonon, np.array([[0.5, 0.5, 0]]))[0, -1] == pytest.approx(7.972, abs=5e-4)
    assert all(frame.energy is not None for frame in many.frames)


def test_forces_beside_and_inside() -> None:
    """Frames of all atoms in ``FORCE_SETS`` beside a file, or in a compressed file, give the same phonons."""
    beside, inside = load_phonopy(CASES / 'fs2' / 'phonopy_disp.yaml.xz'), load_phonopy(CASES / 'cu_vasp_t2.yaml.gz')
    assert compare_phonons(beside, inside, mesh=(4, 4, 4))['candidate']['phonon_mae_thz'] < 1e-4
    assert len(read_labelled(CASES / 'fs2' / 'phonopy_disp.yaml.xz').frames) == 6


# Pairing of atoms, and damage.


def _other_order(content: dict[str, Any]) -> None:
    """Write supercell, displaced atoms and forces in another order of the atoms, as another version might have."""
    sites = content['supercell']['points']
    order = list(np.random.default_rng(1).permutation(len(sites)))
    content['supercell']['points'] = [sites[index] for index in order]
    for moved in content['displacements']:
        moved['atom'] = order.index(moved['atom'] - 1) + 1
        moved['forces'] = [moved['forces'][index] for index in order]


def test_atoms_are_paired_by_place(tmp_path: Path) -> None:
    """Read a supercell whose atoms are in another order than phonopy makes it now."""
    plain = read_labelled(write(tmp_path / 'a.yaml'))
    other = read_labelled(write(tmp_path / 'b.yaml', _other_order))
    assert plain.phonon is not None
    assert other.phonon is not None
    for one, two in zip(plain.frames, other.frames, strict=True):
        assert two.positions == pytest.approx(one.positions)
        assert two.forces == pytest.approx(one.forces)
    assert other.phonon.force_constants == pytest.approx(plain.phonon.force_constants)


def _moved(content: dict[str, Any]) -> None:
    content['supercell']['points'][3]['coordinates'] = [0.1, 0.1, 0.1]


def _huge(content: dict[str, Any]) -> None:
    content['supercell_matrix'] = [[100, 0, 0], [0, 100, 0], [0, 0, 100]]


UNIT = np.eye(3).tolist()
BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    'moved-supercell': (_moved, 'its supercell is not that of its unit cell'),
    'other-supercell': (
        lambda c: c.update(supercell_matrix=np.diag([1, 1, 2]).tolist()),
        'has forces of the shape',
    ),
    'huge-supercell': (_huge, 'asks for a supercell of 2000000 atoms'),
    'flat-supercell': (lambda c: c.update(supercell_matrix=[[0, 0, 0]] * 3), 'a supercell matrix without volume'),
    'odd-supercell': (lambda c: c.update(supercell_matrix=[0.5, 1, 1]), 'not one of small integers'),
    'ragged-supercell': (lambda c: c.update(supercell_matrix=[[1], [1, 2], 3]), 'rows of a supercell matrix'),
    'words-in-supercell': (lambda c: c.update(supercell_matrix='big'), 'rows of a supercell matrix'),
    'flat-primitive': (lambda c: c.update(primitive_matrix=[[0, 0, 0]] * 3), 'a primitive matrix without volume'),
    'odd-primitive': (lambda c: c.update(primitive_matrix=np.diag([0.3, 1, 1]).tolist()), 'phonopy makes no crystal'),
    'unknown-centring': (lambda c: c.update(primitive_matrix='Z'), 'primitive matrix `Z`; known are auto, P'),
    'no-points': (lambda c: c['unit_cell'].update(points=[]), 'its unit cell has no points'),
    'no-lattice': (lambda c: c['unit_cell'].pop('lattice'), 'has rows of a lattice'),
    'flat-lattice': (lambda c: c['unit_cell'].update(lattice=[[1, 0, 0], [1, 0, 0], [0, 0, 1]]), 'no crystal'),
    'infinite-lattice': (lambda c: c['unit_cell'].update(lattice=[[float('inf')] * 3] * 3), 'that are not finite'),
    'unknown-element': (point(0, 'symbol', 'Xx'), 'the symbol `Xx`, which is no element'),
    'deuterium': (point(0, 'symbol', 'D'), 'deuterium is `symbol: H` with `mass: 2.014`'),
    'no-symbol': (point(0, 'symbol', ...), 'the symbol `None`'),
    'mixture': (point(0, 'weight', 0.5), 'mixes elements on one site'),
    'some-masses': (point(0, 'mass', ...), 'a `mass` of 1 atoms only, but 2 atoms'),
    'negative-mass': (point(0, 'mass', -1.0), 'a mass that is not above 0'),
    'some-moments': (point(0, 'magnetic_moment', 1.0), 'a `magnetic_moment` of 1 atoms only'),
    'one-place': (point(0, 'coordinates', [0.5, 0.5, 0.5]), 'phonopy makes no crystal|are 0 Å apart|supercell'),
    'text-tolerance': (lambda c: c['phonopy'].update(symmetry_tolerance='loose'), 'tolerance `loose`'),
    'large-tolerance': (lambda c: c['phonopy'].update(symmetry_tolerance=20), 'tolerance `20`'),
    'atom-0': (lambda c: c['displacements'][0].update(atom=0), 'displaces the atom `0` of a supercell of 16'),
    'atom-17': (lambda c: c['displacements'][0].update(atom=17), 'displaces the atom `17`'),
    'few-forces': (lambda c: c['displacements'][0]['forces'].pop(), r'has forces of the shape \(15, 3\)'),
    'ragged-forces': (lambda c: c['displacements'][0]['forces'][3].pop(), 'has forces that are not numbers'),
    'words-for-forces': (lambda c: c['displacements'][0].update(forces='none'), 'has forces that are not numbers'),
    'infinite-forces': (lambda c: c['displacements'][0].update(forces=[[float('nan')] * 3] * 16), 'not finite'),
    'forces-of-some': (lambda c: c['displacements'][1].pop('forces'), 'no forces for its displacement 2'),
    'dataset-of-words': (lambda c: c.update(dataset='none'), 'has displacements that are not of phonopy'),
    'displacements-of-words': (lambda c: c.update(displacements=3), 'has displacements that are not of phonopy'),
    'other-displacements': (lambda c: c.update(displacements=[{'atom': 1}]), 'has displacements'),
    'too-far': (lambda c: c['displacements'][1].update(displacement=[0, 0, 0.9]), r'`a.yaml#2` .* moved by 0.9 Å'),
    'no-forces': (lambda c: [moved.pop('forces') for moved in c['displacements']], 'no .*forces'),
    'no-displacements': (lambda c: c.pop('displacements'), 'no .*forces'),
    'too-few': (lambda c: c['displacements'].pop(), 'phonopy makes no force constants .* too few'),
    'charges-of-one': (
        lambda c: c.update(
            nac={'born_effective_charge': [np.eye(3).tolist()], 'dielectric_constant': np.eye(3).tolist()}
        ),
        'has Born charges of 1 atoms, but 2 atoms',
    ),
    'charges-alone': (lambda c: c.update(nac={'born_effective_charge': [UNIT]}), 'dielectric tensor'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_broken(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Say in one sentence what is wrong, in every reader, and nothing else on the screen."""
    change, message = BROKEN[name]
    path = write(tmp_path / 'a.yaml', change)
    for reader in (load_phonopy, read_labelled):
        with pytest.raises(ValueError, match=message) as caught:
            reader(path)
        assert '\n' not in str(caught.value)
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('text', ['', '- 1', 'just text', 'unit_cell: 3', '{', 'a: !!python/object/apply:os.getcwd []'])
def test_other_content(tmp_path: Path, text: str) -> None:
    """Refuse what is no file of phonopy, without a second try by another reader."""
    path = tmp_path / 'phonopy.yaml'
    path.write_text(text)
    for reader in (load_phonopy, read_labelled):
        with pytest.raises(ValueError, match=r'no unit cell|not valid YAML|object of Python'):
            reader(path)


def test_nothing_runs(tmp_path: Path) -> None:
    """Run no code of a file, in its first part or behind what is right, in the job of phono3py neither."""
    plain = write(tmp_path / 'a.yaml').read_text()
    readers: list[Callable[[Path], Any]] = [load_phonopy, read_labelled]
    try:
        import phono3py as _  # noqa: F401

        from aiida_equitrain.science.conductivity import load_phono3py

        readers.append(load_phono3py)
    except ImportError:
        pass
    for name in ('a.yaml', 'phono3py_params.yaml.xz'):
        for text in (
            '!!python/object/apply:os.system ["touch {0}/ran"]\n',
            '{1}\nb: !!python/object/apply:os.system ["touch {0}/ran"]\n',
        ):
            content = text.format(tmp_path, plain).encode()
            (tmp_path / name).write_bytes(lzma.compress(content) if name.endswith('.xz') else content)
            for reader in readers:
                with pytest.raises(ValueError, match='would make an object of Python'):
                    reader(tmp_path / name)
    assert not (tmp_path / 'ran').exists()


def _force_sets(folder: Path, text: Callable[[list[str]], list[str]] | None = None) -> Path:
    """Write ``phonopy_disp.yaml`` and ``FORCE_SETS`` with changed lines."""
    lines = ['16', '2']

    def take(content: dict[str, Any]) -> None:
        for moved in content['displacements']:
            lines.extend(['', str(moved['atom']), ' '.join(str(value) for value in moved['displacement'])])
            lines.extend(' '.join(str(value) for value in row) for row in moved.pop('forces'))

    path = write(folder / 'phonopy_disp.yaml', take)
    (folder / 'FORCE_SETS').write_text('\n'.join(text(lines) if text else lines))
    return path


FORCE_SETS: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    'cut-off': (lambda lines: lines[:-3], 'has 35 rows; 2 displacements of 16 atoms would be 38'),
    'too-many': (lambda lines: [*lines, '1 2 3'], 'has 39 rows'),
    'other-supercell': (lambda lines: ['8', *lines[1:]], 'has forces on 8 atoms, but the supercell has 16'),
    'other-displacement': (lambda lines: [*lines[:4], '0 0 0.02', *lines[5:]], 'displacement 1 of .* is none of'),
    'other-atom': (lambda lines: [*lines[:3], '2', *lines[4:]], 'displacement 1 of .* is none of'),
    'words': (lambda _: ['forces', 'of', 'mine'], 'not in the format of phonopy|has '),
    'empty': (lambda _: [], 'not in the format of phonopy'),
    'not-finite': (lambda lines: [*lines[:-1], 'nan nan nan'], 'that are not finite'),
    'huge-numbers': (lambda lines: ['16', '9' * 19, *lines[2:]], 'has 38 rows'),
    'endless-number': (lambda lines: ['16', '9' * 5000, *lines[2:]], 'not in the format'),
}


@pytest.mark.parametrize('name', FORCE_SETS)
def test_broken_force_sets(tmp_path: Path, name: str) -> None:
    """Hold ``FORCE_SETS`` to the file that it lies beside."""
    change, message = FORCE_SETS[name]
    path = _force_sets(tmp_path)
    assert len(read_labelled(path).frames) == 2
    _force_sets(tmp_path, change)
    for reader in (load_phonopy, read_labelled):
        with pytest.raises(ValueError, match=message):
            reader(path)


def test_force_constants_beside(tmp_path: Path) -> None:
    """Say of ``FORCE_CONSTANTS`` what is wrong with them."""
    path = _force_sets(tmp_path)
    (tmp_path / 'FORCE_SETS').unlink()
    for text, message in {
        '16 16\n1 1\n0 0 0\n': 'is cut off',
        '999999999 999999999\n': 'is cut off',
        'text': 'is cut off, or not in the format',
        '': 'is cut off',
        '1 1\n1 1\n0 0 0\n0 0 0\n0 0 0\n': 'force constants of 1 atoms, but its supercell has 16',
    }.items():
        (tmp_path / 'FORCE_CONSTANTS').write_text(text)
        with pytest.raises(ValueError, match=message):
            load_phonopy(path)
    (tmp_path / 'FORCE_CONSTANTS').unlink()
    os.mkfifo(tmp_path / 'FORCE_CONSTANTS')
    with pytest.raises(ValueError, match='is not a regular file'):
        load_phonopy(path)


# Which cell belongs onto which.


def cell(lattice: Any, positions: Any, symbols: str = 'Ti O', moments: Any = None) -> PhonopyAtoms:
    """Return a cell; ``lattice`` may be three lengths."""
    lattice = np.diag(lattice) if np.ndim(lattice) == 1 else np.array(lattice)
    return PhonopyAtoms(symbols=symbols.split(), cell=lattice, scaled_positions=positions, magnetic_moments=moments)


POLAR = [[0, 0, 0], [0.5, 0.5, 0.54]]
AXES = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ('other', 'matrix'),
    [
        pytest.param(cell([4.0, 4.01, 4.02], POLAR), np.eye(3), id='itself'),
        pytest.param(cell([4.02, 4.0, 4.01], POLAR), np.eye(3), id='relaxed-to-another-shape'),
        pytest.param(cell([4.0, 4.01, 4.02], [[0, 0, 0], [0.5, 0.5, 0.52]]), np.eye(3), id='relaxed-atoms'),
        pytest.param(cell([4.0, 4.01, 4.02], np.array(POLAR) + 0.3), np.eye(3), id='another-origin'),
        pytest.param(cell([4.02, 4.0, 4.01], np.array(POLAR) @ AXES.T), AXES, id='axes-in-another-order'),
        pytest.param(cell([4.03, 4.0, 4.0], np.array(POLAR) @ AXES.T), AXES, id='both'),
    ],
)
def test_match(other: PhonopyAtoms, matrix: Any) -> None:
    """Keep the orientation where the atoms agree; else the atoms decide, and strain comes last."""
    found = match_lattices(cell([4.0, 4.01, 4.02], POLAR), other)
    assert (found[0] == matrix[0]).all()
    assert (np.abs(found) == matrix).all() or other.cell[0, 0] == 4.03


def test_match_of_a_lattice_alone() -> None:
    """A tetragonal lattice with its axis along another direction is the same crystal; a strained one is not turned."""
    one = cell([4.0, 4.0, 4.4], [[0, 0, 0]], 'In')
    turned = match_lattices(one, cell([4.4, 4.0, 4.0], [[0, 0, 0]], 'In'))
    assert np.abs(turned @ one.cell @ (turned @ one.cell).T - np.diag([4.4, 4.0, 4.0]) ** 2).max() < 1e-9
    assert (match_lattices(one, cell([4.2, 4.1, 4.1], [[0, 0, 0]], 'In')) == np.eye(3)).all()


def test_match_of_moments() -> None:
    """Layers of up and down lie on layers of up and down, whichever of them is called up."""
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    one = cell([3.7] * 3, sites, 'Ni Ni Ni Ni', [1, 1, -1, -1])
    assert (match_lattices(one, cell([3.7] * 3, sites, 'Ni Ni Ni Ni', [-1, -1, 1, 1])) == np.eye(3)).all()
    found = match_lattices(one, cell([3.7] * 3, sites, 'Ni Ni Ni Ni', [1, -1, -1, 1]))
    assert abs(found[:, 2]).tolist() in ([1, 0, 0], [0, 1, 0])
    assert (match_lattices(one, cell([3.7] * 3, sites, 'Ni Ni Ni Ni')) == np.eye(3)).all()


def test_left_handed_cell(tmp_path: Path) -> None:
    """A crystal whose lattice vectors are left-handed is the crystal, and its volume is one."""
    cell = np.array([[0, 2.9, 0], [2.9, 0, 0], [0, 0, 2.9]])
    left, right = load_phonopy(write(tmp_path / 'a.yaml', cell=cell)), load_phonopy(write(tmp_path / 'b.yaml'))
    assert left.primitive.volume < 0
    result = compare_phonons(left, right, mesh=(3, 3, 3))
    assert result['candidate']['phonon_mae_thz'] < 1e-8
    assert result['candidate']['volume_angstrom3'] == pytest.approx(2.9**3)
    assert result['candidate']['k_diff_high_temp_limit_w_per_m_k'] == pytest.approx(
        result['reference']['k_diff_high_temp_limit_w_per_m_k']
    )
