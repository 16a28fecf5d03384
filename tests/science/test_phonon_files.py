"""Files of phonons: phonopy, Euphonic and our own reader open what is written, and find the same phonons."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
import pytest
import yaml

from aiida_equitrain.science.phonon_files import _math, csv_text, write_bands, write_phonons
from aiida_equitrain.science.phonon_metrics import frequencies_at
from aiida_equitrain.science.phonopy_io import load_phonopy

#: The phonons of 64 atoms take seconds.
pytestmark = pytest.mark.real
QPOINTS = np.array([[0.0, 0.0, 0.01], [0.1, 0.2, 0.3], [0.5, 0.0, 0.5]])


@pytest.fixture(scope='module')
def written(rattled_salt: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Return phonons of NaCl with Born charges, and the folder of their files."""
    phonon = load_phonopy(rattled_salt / 'phonopy_disp.yaml', nac=True)
    folder = tmp_path_factory.mktemp('files')
    files = write_phonons(phonon, folder, ['first line\nsecond', 'third'])
    assert {file.name for file in files} == {'phonopy.yaml', 'FORCE_CONSTANTS', 'band.yaml', 'BORN'}
    assert {file.name for file in folder.iterdir()} == {file.name for file in files}
    return phonon, folder


def test_phonopy(written: tuple[Any, Path], tmp_path: Path) -> None:
    """Phonopy itself finds the same frequencies in the one file, the splitting of the polar modes among them."""
    phonon, folder = written
    for name in ('phonopy.yaml',):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    loaded = phonopy.load(tmp_path / 'phonopy.yaml', log_level=0)
    assert loaded.nac_params is not None
    assert frequencies_at(loaded, QPOINTS) == pytest.approx(frequencies_at(phonon, QPOINTS), abs=1e-4)
    lines = (folder / 'phonopy.yaml').read_text().splitlines()
    assert lines[:3] == ['# first line', '# second', '# third']
    # Without the polar term the highest mode near Gamma is lower by some THz.
    loaded.nac_params = None
    assert frequencies_at(loaded, QPOINTS)[0, -1] < frequencies_at(phonon, QPOINTS)[0, -1] - 1


def test_own_reader(written: tuple[Any, Path]) -> None:
    """What `compare` reads with is held to the same."""
    phonon, folder = written
    loaded = load_phonopy(folder / 'phonopy.yaml', nac=True)
    assert np.array(loaded.force_constants) == pytest.approx(np.array(phonon.force_constants), abs=1e-8)
    assert frequencies_at(loaded, QPOINTS) == pytest.approx(frequencies_at(phonon, QPOINTS), abs=1e-4)


def test_force_constants_alone(written: tuple[Any, Path]) -> None:
    """`FORCE_CONSTANTS` with `BORN` beside it hold the same numbers."""
    from phonopy.file_IO import parse_BORN, parse_FORCE_CONSTANTS

    phonon, folder = written
    constants = parse_FORCE_CONSTANTS(folder / 'FORCE_CONSTANTS', p2s_map=phonon.primitive.p2s_map)
    assert constants == pytest.approx(np.array(phonon.force_constants), abs=1e-8)
    born = parse_BORN(phonon.primitive, filename=str(folder / 'BORN'))
    assert born['born'] == pytest.approx(phonon.nac_params['born'], abs=1e-3)  # it has the symmetry


def test_band_yaml(written: tuple[Any, Path]) -> None:
    """`band.yaml` has the segments of the path with the names of their ends, and the frequencies."""
    phonon, folder = written
    content = yaml.safe_load((folder / 'band.yaml').read_text())
    assert content['labels'][0] == [r'$\Gamma$', 'X']
    assert ['X', 'U'] in content['labels']
    assert ['K', r'$\Gamma$'] in content['labels']
    assert content['npath'] == len(content['labels']) == len(content['segment_nqpoint'])
    point = content['phonon'][70]
    found = sorted(band['frequency'] for band in point['band'])
    assert found == pytest.approx(frequencies_at(phonon, np.array([point['q-position']]))[0].tolist(), abs=1e-6)


def test_euphonic(written: tuple[Any, Path]) -> None:
    """Euphonic reads cells, force constants and Born charges of the one file."""
    euphonic = pytest.importorskip('euphonic', reason='an extra of the tests')
    phonon, folder = written
    constants = euphonic.ForceConstants.from_phonopy(path=str(folder), summary_name='phonopy.yaml')
    modes = constants.calculate_qpoint_frequencies(QPOINTS)
    found = np.sort(modes.frequencies.to('THz').magnitude, axis=1)
    # Both sum over the lattice differently for the polar term.
    assert found == pytest.approx(frequencies_at(phonon, QPOINTS), abs=0.02)


def test_again(written: tuple[Any, Path], tmp_path: Path) -> None:
    """A second time writes anew, and what a link leads to is not touched."""
    target = tmp_path / 'precious'
    target.write_text('mine')
    (tmp_path / 'phonopy.yaml').symlink_to(target)
    write_phonons(written[0], tmp_path)
    assert target.read_text() == 'mine'
    assert not (tmp_path / 'phonopy.yaml').is_symlink()
    write_bands(written[0], tmp_path / 'few.yaml', points=3)
    assert yaml.safe_load((tmp_path / 'few.yaml').read_text())['segment_nqpoint'][0] == 3


@pytest.mark.parametrize(
    ('label', 'text'), [('Γ', r'$\Gamma$'), ('Σ₀', r'$\Sigma_{0}$'), ('X', 'X'), ('H₂', '$H_{2}$')]
)
def test_names_of_points(label: str, text: str) -> None:
    assert _math(label) == text


def test_csv() -> None:
    """Names and units in the head, arrays as several columns, all digits, and nothing that a spreadsheet would run."""
    text = csv_text({'a_thz': [0.1, 2.0], 'b': np.array([[1, 2], [3, 4]]), 'c': ['=1+1', 'x, "y"'], 'd': [None, 1 / 3]})
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ['a_thz', 'b_1', 'b_2', 'c', 'd']
    assert rows[1] == ['0.1', '1', '2', "'=1+1", '']
    assert rows[2] == ['2.0', '3', '4', 'x, "y"', repr(1 / 3)]
