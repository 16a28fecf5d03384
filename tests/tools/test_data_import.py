"""Labelled frames of files as datasets: real data in each format, and what is refused."""

from __future__ import annotations

import lzma
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.calculations.arrays import phonopy_arrays
from aiida_equitrain.calculations.train import check_training
from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.launch.data_import import import_data, store_phonons
from aiida_equitrain.science.frame_files import read_labelled
from aiida_equitrain.science.frames import Frames, to_extxyz
from aiida_equitrain.science.phonopy_io import load_phonopy, phonon_from_arrays

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'


def test_extxyz(aiida_profile: Any, tiny_frames: Any, tmp_path: Path) -> None:
    """Frames come back exactly, with their roles; the source of the file is kept."""
    path = tmp_path / 'si.extxyz'
    path.write_text(to_extxyz(tiny_frames))
    found = import_data([path], functional='PBE', source='doi:10.1000/1', licence='CC-BY-4.0').dataset
    assert found.roles == [frame.role for frame in tiny_frames]
    for new, old in zip(found.get_frames(), tiny_frames, strict=True):
        assert new.energy == old.energy
        assert np.array_equal(new.forces, old.forces)
    assert found.source['uri'] == 'doi:10.1000/1'
    assert list(found.source['extras']['sha256']) == ['si.extxyz']
    assert (found.licence, found.has_energies, found.has_stress) == ('CC-BY-4.0', True, True)
    drawn = import_data([path], functional='PBE', n_frames=4).dataset
    assert drawn.counts == {'train': 3, 'valid': 1, 'test': 2}
    drawn = import_data([path], functional='PBE', n_frames=4, n_test=1).dataset
    assert drawn.counts == {'train': 3, 'valid': 1, 'test': 1}


def test_compressed(tiny_frames: Any, tmp_path: Path) -> None:
    path = tmp_path / 'si.extxyz.xz'
    path.write_bytes(lzma.compress(to_extxyz(tiny_frames).encode()))
    assert len(read_labelled(path).frames) == len(tiny_frames)


def test_without_energies(aiida_profile: Any, tiny_frames: Any, starter: Any, tmp_path: Path) -> None:
    """Frames without energies are not trained on as if all energies were 0."""
    path = tmp_path / 'si.extxyz'
    frames = Frames([replace(frame, energy=0.0) for frame in tiny_frames])
    path.write_text(to_extxyz(frames))
    dataset = import_data([path], functional='PBE').dataset
    assert not dataset.has_energies
    assert '`energy_weight` to 0' in str(check_training(starter, dataset, {}))
    assert check_training(starter, dataset, {'energy_weight': 0.0}) is None


def test_phonopy(aiida_profile: Any, load_silicon_phonons: Any, tmp_path: Path) -> None:
    """A phonopy file of DFT gives frames, crystal and phonons; the stored phonons are those of the file."""
    path = tmp_path / 'phonopy_params.yaml'
    load_silicon_phonons().save(path)
    found = read_labelled(path)
    assert found.phonon is not None
    assert np.array_equal([frame.forces for frame in found.frames], found.phonon.forces)
    structure, data = store_phonons(found.phonon, 'Si')
    assert structure.is_stored
    again, direct = phonon_from_arrays(phonopy_arrays(data), acoustic_sum_rule=False), load_phonopy(path)
    qpoint = [0.5, 0.25, 0.125]
    frequencies = []
    for phonon in (again, direct):
        phonon.run_qpoints([qpoint])
        frequencies.append(phonon.get_qpoints_dict()['frequencies'][0])
    assert frequencies[0] == pytest.approx(frequencies[1], abs=1e-6)


@pytest.mark.parametrize(
    ('name', 'content', 'sentence'),
    [
        ('a.csv', 'x', 'is of an unknown kind'),
        ('a.yaml', 'a: 1', 'not a phonopy file'),
        ('a.extxyz', '1\n\nSi 0 0 0\n', 'has no energy'),
        ('vasprun.xml', '<modeling>', 'cannot be read'),
    ],
)
def test_refused(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_labelled(path)


def test_command(aiida_profile: Any, tiny_frames: Any, tmp_path: Path) -> None:
    path = tmp_path / 'si.extxyz'
    path.write_text(to_extxyz(tiny_frames))
    good = CliRunner().invoke(cmd_root, ['data', 'import', str(path), '--functional', 'PBE'])
    assert good.exit_code == 0, good.output
    assert '6 frames of Si (5 train, 1 valid)' in good.output
    bad = CliRunner().invoke(cmd_root, ['data', 'import', str(tmp_path / 'none.xyz'), '--functional', 'PBE'])
    assert bad.exit_code == 1
    assert 'there is no file' in bad.output


def test_vasprun(rattled_salt: Path, tmp_path: Path) -> None:
    """A vasprun.xml of somebody's calculation gives the frame that the folder of all of them gives."""
    with lzma.open(Path(__file__).parents[1] / 'fixtures' / 'rattled' / 'NaCl-rd_vasprun-002.xml.xz') as content:
        (tmp_path / 'vasprun.xml').write_bytes(content.read())
    (frame,) = read_labelled(tmp_path / 'vasprun.xml').frames
    assert len(frame) == 64
    assert frame.energy < 0
    assert frame.stress is not None
    known = read_labelled(rattled_salt).frames
    assert min(np.abs(frame.forces - item.forces).max() for item in known) < 1e-8


def test_single_displacements_of_phono3py() -> None:
    """Pairs of single displacements, of which phono3py makes third order, are no frames to train on."""
    path = Path(__file__).parents[1] / 'fixtures' / 'phono3py' / 'phono3py_params_Si-111-222.yaml.xz'
    with pytest.raises(ValueError, match='supercells with two displaced atoms') as caught:
        read_labelled(path)
    assert str(caught.value).count(path.name) == 1


def run(*arguments: str | Path) -> Any:
    """Run `data import` on files, by name those of the fixtures."""
    return CliRunner().invoke(cmd_root, ['data', 'import', *(str(item) for item in arguments), '--functional', 'PBE'])


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('stress_kbar.extxyz', 'frame 1: its stress reaches 251, .* in kbar or GPa'),
        ('role_val.extxyz', 'its role `training` is unknown: did you mean `train`.*`--n-frames` draws roles anew'),
        ('vasprun_unconv.xml', r'2 of 2 steps left out: its electrons did not converge \(NELM = 60 reached\)'),
        ('si_unconv.out', 'the calculation did not converge'),
    ],
)
def test_cases_refused(aiida_profile: Any, name: str, sentence: str) -> None:
    """What is no label, or of another unit, is refused in one sentence with the name of the file."""
    result = run(CASES / name)
    assert result.exit_code == 1
    assert re.search(f'^Error: `.*{re.escape(name)}.*{sentence}', result.output), result.output
    assert result.output.count('\n') == 1


def test_roles_can_be_drawn_anew(aiida_profile: Any) -> None:
    result = run(CASES / 'role_val.extxyz', '--n-frames', '2')
    assert result.exit_code == 0, result.output
    assert '2 frames had a role in their file: all roles are drawn anew' in result.output


def test_keys_that_are_not_ours(aiida_profile: Any) -> None:
    """A trajectory by name, or roles of a part of the frames, do not stop an import."""
    result = run(CASES / 'trajectory.extxyz')
    assert result.exit_code == 0, result.output
    assert '2 frames of Ni (1 train, 1 valid)' in result.output


def test_isolated_atoms_are_left_out(aiida_profile: Any) -> None:
    result = run(CASES / 'train_iso.extxyz')
    assert '6 frames of Si' in result.output, result.output
    assert 'note       `train_iso.extxyz`: 1 left out: isolated atoms' in result.output
    found = import_data([CASES / 'train_iso.extxyz'], functional='PBE').dataset
    assert {len(frame) for frame in found.get_frames()} == {8}


def test_frames_with_and_without_energies(aiida_profile: Any, starter: Any) -> None:
    """Those without have none; a training with energies is refused, or leaves them out."""
    paths = [CASES / 'si_noE_t2.yaml', CASES / 'train_good.extxyz']
    result = run(*paths)
    assert '4 of 10 frames have no energy: `energy_weight` is 0 in trainings with it' in result.output
    dataset = import_data(paths, functional='PBE').dataset
    assert not dataset.has_energies
    assert sorted(frame.energy is None for frame in dataset.get_frames()) == [False] * 6 + [True] * 4
    assert '`energy_weight` to 0' in str(check_training(starter, dataset, {'stress_weight': 0.0}))


def test_one_displacement_is_no_dataset(aiida_profile: Any) -> None:
    """Its phonons are a reference all the same."""
    result = run(CASES / 'cu_vasp_t1.yaml')
    assert result.exit_code == 0, result.output
    assert 'note       one frame is no dataset' in result.output
    assert 'phonons    PK' in result.output
    assert 'dataset    PK' not in result.output
    found = import_data([CASES / 'cu_vasp_t1.yaml'], functional='PBE', group='copper')
    assert found.dataset is None
    assert found.phonopy_data is not None
    assert found.phonopy_data.label == 'Cu'


def test_no_validation(aiida_profile: Any) -> None:
    """A part of 0 is none."""
    result = run(CASES / 'train_good.extxyz', '--valid-fraction', '0')
    assert '6 frames of Si (6 train)' in result.output, result.output
    assert 'frames to validate by are needed' in result.output
    result = run(CASES / 'train_good.extxyz', '--valid-fraction', '0.95')
    assert '6 frames of Si (1 train, 5 valid)' in result.output, result.output


def test_structures_in_two_roles(aiida_profile: Any) -> None:
    """Test frames that are trained on as well are no test."""
    good = CASES / 'train_good.extxyz'
    found = import_data([good, good, good], functional='PBE', n_frames=3)
    assert any('in more than one role' in note for note in found.notes)
    assert not import_data([good], functional='PBE', n_frames=3).notes


def test_phonons_of_several_files(aiida_profile: Any) -> None:
    """None is taken for that of the crystal, and that is said."""
    result = run(CASES / 'si_noE_t2.yaml', CASES / 'cu_vasp_t1.yaml')
    assert result.exit_code == 0, result.output
    assert '2 files have phonons, and none is stored: import them one by one' in result.output


@pytest.mark.parametrize('name', ['folder_ase_order', 'folder_phonopy_order'])
def test_order_of_the_atoms(name: str) -> None:
    """The same calculations with their atoms in two orders give the same phonons."""
    phonon = read_labelled(CASES / f'{name}.tar.xz').phonon
    assert phonon is not None
    phonon.run_qpoints([[0.5, 0.5, 0]])
    assert phonon.qpoints.frequencies[0] == pytest.approx([5.468, 5.468, 8.003], abs=1e-3)


@pytest.mark.parametrize(
    'told_apart',
    [
        {'masses': [1.008, 2.014]},
        {'masses': [1.008, 2.014], 'magnetic_moments': [1.0, -1.0]},
        {'symbols': ['H1', 'H2']},
    ],
    ids=['isotopes', 'isotopes-and-moments', 'names'],
)
def test_atoms_that_a_phonopy_file_tells_apart(aiida_profile: Any, tmp_path: Path, told_apart: dict[str, Any]) -> None:
    """Atoms of one element with other masses or names are kinds, and the phonons stay those of the file."""
    atoms: dict[str, Any] = {'symbols': ['H', 'H'], 'cell': 2.9 * np.eye(3), 'scaled_positions': [[0, 0, 0], [0.5] * 3]}
    phonon = Phonopy(PhonopyAtoms(**(atoms | told_apart)), np.diag([2, 2, 2]), primitive_matrix='P')
    phonon.generate_displacements(distance=0.01)
    cells: Any = phonon.supercells_with_displacements
    phonon.forces = np.array([-3.0 * (moved.positions - phonon.supercell.positions) for moved in cells])
    phonon.save(tmp_path / 'a.yaml', settings={'force_sets': True})
    direct = load_phonopy(tmp_path / 'a.yaml')
    structure, data = store_phonons(direct)
    masses = told_apart.get('masses', [1.008, 1.008])
    assert [kind.mass for kind in structure.kinds] == pytest.approx(masses, abs=1e-3)
    assert [kind.mass for kind in data.get_primitive_cell().kinds] == pytest.approx(masses, abs=1e-3)
    assert data.magnetic_moments == told_apart.get('magnetic_moments')
    again = phonon_from_arrays(phonopy_arrays(data), acoustic_sum_rule=False)
    assert again.get_frequencies([0.1, 0.2, 0.3]) == pytest.approx(direct.get_frequencies([0.1, 0.2, 0.3]), abs=1e-6)


def test_born_charges(aiida_profile: Any, tmp_path: Path) -> None:
    """Born charges of a phonopy file are a node of their own, and what lies beside a file and is not read is named."""
    content = (CASES / 'cu_vasp_t1.yaml').read_text()
    tensor = '[ [ 1.5, 0, 0 ], [ 0, 1.5, 0 ], [ 0, 0, 1.5 ] ]'
    text = f'born_effective_charge:\n- {tensor.replace("1.5", "0.0")}\ndielectric_constant: {tensor}\n'
    path = tmp_path / 'phonopy_params.yaml'
    path.write_text(f'{content}\n{text}')
    (tmp_path / 'BORN').write_text('14.4')
    found = import_data([path], functional='PBE')
    assert found.nac is not None
    assert found.nac.get_array('born_charges').tolist() == np.zeros((1, 3, 3)).tolist()
    assert found.nac.get_array('dielectric').tolist() == (1.5 * np.eye(3)).tolist()
    assert found.phonopy_data is not None
    assert not found.phonopy_data.has_nac_parameters()
    assert any('`BORN` beside it is not read: the file has Born charges' in note for note in found.notes)
    result = run(path)
    assert 'Born charges and dielectric tensor' in result.output, result.output


@pytest.mark.real
def test_nothing_else_on_the_screen(aiida_profile: Any) -> None:
    """Phonopy warns of an antiferromagnet, as its primitive cell has another point group; the screen stays ours."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')
        result = run(CASES / 'NiAFM_t1.yaml')
    assert result.exit_code == 0, result.output
    assert [str(item.message) for item in caught if 'phonopy' in item.filename] == []
