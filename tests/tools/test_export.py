"""`aiida-equitrain export`: what is written of each kind of node, and that other programs open it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import phonopy
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from click.testing import CliRunner

from aiida_equitrain.calculations.functions.phonons import attach_nac
from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.export.figures import points_of
from aiida_equitrain.export.tables import tables_of
from aiida_equitrain.export.write import NoExportError, export
from aiida_equitrain.report.phonons import path_of
from aiida_equitrain.report.results import describe_result
from aiida_equitrain.science.phonon_metrics import frequencies_at
from aiida_equitrain.science.phonopy_io import load_phonopy

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
QPOINTS = np.array([[0.1, 0.2, 0.3], [0.5, 0.0, 0.5]])


def finished(process: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    """Return a stored WorkChain of ours that has ended well, with its inputs and outputs."""
    node = orm.WorkChainNode(process_type=f'aiida.workflows:equitrain.{process}')
    for name, value in inputs.items():
        node.base.links.add_incoming(value, LinkType.INPUT_WORK, name)
    node.store()
    for name, value in outputs.items():
        value.base.links.add_incoming(node, LinkType.RETURN, name)
    node.set_process_label(f'{process.capitalize()}WorkChain')
    node.set_process_state(ProcessState.FINISHED)
    node.set_exit_status(0)
    return node


@pytest.mark.real
def test_phonons(silicon_phonons: tuple[Any, Any], tmp_path: Path) -> None:
    """Of phonons alone: files of phonopy, density of states, thermal properties; `compare` reads them."""
    _, phonons = silicon_phonons
    files = {path.name for path in export(phonons, tmp_path)}
    assert files == {
        'phonopy.yaml', 'FORCE_CONSTANTS', 'band.yaml', 'thermal.csv', 'dos.csv', 'summary.json', 'README.md',
    }  # fmt: skip
    assert files == {path.name for path in tmp_path.iterdir()}
    ours, theirs = load_phonopy(tmp_path / 'phonopy.yaml'), phonopy.load(tmp_path / 'phonopy.yaml', log_level=0)
    assert frequencies_at(theirs, QPOINTS) == pytest.approx(frequencies_at(ours, QPOINTS), abs=1e-6)
    with (tmp_path / 'thermal.csv').open() as file:
        rows = list(csv.DictReader(file))
    # Dulong and Petit at the end, nothing at the beginning.
    assert float(rows[0]['entropy_j_per_k_mol_cell']) == 0
    assert 45 < float(rows[-1]['heat_capacity_j_per_k_mol_cell']) < 6 * 8.3145
    with (tmp_path / 'dos.csv').open() as file:
        density = np.array([[float(cell) for cell in row.values()] for row in csv.DictReader(file)])
    assert np.trapezoid(density[:, 1], density[:, 0]) == pytest.approx(6, rel=0.02)
    found = json.loads((tmp_path / 'summary.json').read_text())
    assert (found['pk'], found['kind']) == (phonons.pk, 'PhonopyData')
    arguments = [
        'compare',
        str(tmp_path / 'phonopy.yaml'),
        str(tmp_path / 'phonopy.yaml'),
        '--json',
        '--mesh',
        '4',
        '4',
        '4',
    ]
    result = CliRunner().invoke(cmd_root, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)['phonon_mae'] == 0


@pytest.mark.real
def test_born_charges(silicon_phonons: tuple[Any, Any], tmp_path: Path) -> None:
    """Born charges and dielectric tensor are in the one file."""
    nac = orm.ArrayData({'dielectric': 12 * np.eye(3), 'born_charges': np.zeros((2, 3, 3))})
    export(attach_nac(silicon_phonons[1], nac), tmp_path)
    loaded = phonopy.load(tmp_path / 'phonopy.yaml', log_level=0)
    assert loaded.nac_params is not None
    assert loaded.nac_params['dielectric'] == pytest.approx(12 * np.eye(3))
    assert (tmp_path / 'BORN').exists()


@pytest.mark.real
def test_work_chain(silicon_phonons: tuple[Any, Any], tmp_path: Path) -> None:
    """Of a WorkChain: all outputs, tables, figures with their curves; what was corrected stands in the file."""
    structure, phonons = silicon_phonons
    points = np.linspace([0, 0, 0], [0.5, 0.0, 0.5], 5)
    bands = orm.BandsData()
    bands.set_cell_from_structure(phonons.get_primitive_cell())
    bands.set_kpoints(points)
    bands.set_bands(np.arange(30.0).reshape(5, 6), units='THz')
    bands.labels = [(0, r'$\Gamma$'), (4, 'X')]
    density = orm.XyData(np.arange(4.0), np.arange(4.0), x_name='f', x_units='THz', y_names='DOS', y_units='1/THz')
    facts = {'lowest_frequency_thz': 0.25, 'lowest_qpoint': [0.0, 0.0, 0.5], 'max_frequency_thz': 15.0,
             'dynamically_stable': True, 'tolerance_thz': 0.15, 'n_displacements': 1,
             'n_atoms_supercell': 64}  # fmt: skip
    outputs = {
        'bands': bands, 'total_dos': density, 'stability': orm.Dict(facts), 'relaxed_structure': structure.clone(),
        'elastic': orm.Dict({'bulk_modulus_gpa': 90.0, 'elastic_tensor_gpa': np.eye(6).tolist()}),
        'forces': orm.ArrayData({'forces': np.zeros((1, 2, 3))}),
        'group_velocities': orm.ArrayData({'mesh_weights': np.ones(3)}),
    }  # fmt: skip
    node = finished('phonons', {'structure': structure}, {name: value.store() for name, value in outputs.items()})
    phonons.clone().store().base.links.add_incoming(node, LinkType.RETURN, 'phonopy_data')
    node = orm.load_node(node.pk)
    names = {str(path.relative_to(tmp_path)) for path in export(node, tmp_path)}
    assert names == {
        'phonopy.yaml', 'FORCE_CONSTANTS', 'band.yaml', 'dos.csv', 'moduli.csv', 'elastic.json', 'stability.json',
        'structure.cif', 'relaxed_structure.cif', 'group_velocities.npz', 'summary.json', 'README.md',
        'figures/bands.svg', 'figures/bands.pdf', 'figures/bands.csv',
    }  # fmt: skip
    assert (tmp_path / 'dos.csv').read_text().splitlines()[:2] == ['frequency_thz,total_dos_per_thz', '0.0,0.0']
    assert (tmp_path / 'moduli.csv').read_text().splitlines() == ['quantity,unit,value', 'bulk modulus,GPa,90.0']
    assert (tmp_path / 'figures' / 'bands.svg').read_text().count('<svg') == 1
    assert (tmp_path / 'figures' / 'bands.pdf').read_bytes().startswith(b'%PDF')
    curves = (tmp_path / 'figures' / 'bands.csv').read_text().splitlines()
    assert curves[0].split(',')[:6] == ['segment', 'distance_per_angstrom', 'q_1', 'q_2', 'q_3', 'dft_thz_1']
    assert [float(cell) for cell in curves[-1].split(',')[5:]] == [24, 25, 26, 27, 28, 29]
    crystal = ase.io.read(tmp_path / 'relaxed_structure.cif')
    assert crystal.get_chemical_formula() == structure.get_formula()
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['material'] == 'Si'
    assert summary['stability'] == facts
    text = describe_result(node)
    assert text.splitlines()[0] == 'Si: phonons of DFT'
    assert '0.250 THz at q = (0, 0, 0.5)' in text
    assert '90.00 GPa' in text
    readme = (tmp_path / 'README.md').read_text()
    assert all(f'`{name}`' in readme for name in names - {'README.md'})


def test_main_job_without_reference(silicon_phonons: tuple[Any, Any]) -> None:
    """Where no DFT phonons judge, the table tells the phonons themselves, and of which side they are."""
    facts = {'min_frequency_thz': 0.25, 'max_frequency_thz': 15.0, 'dynamically_stable': True, 'tolerance_thz': 0.15}
    sides = {'foundation': -0.5, 'corrected': 0.25}
    stability = {
        f'phonons__{side}__stability': orm.Dict({**facts, 'min_frequency_thz': lowest}).store()
        for side, lowest in sides.items()
    }
    node = finished('material', {'structure': silicon_phonons[0]}, stability)
    lines = describe_result(orm.load_node(node.pk)).splitlines()
    assert lines[0] == 'Si, no fine-tuning: phonons, corrected by labels'
    assert lines[1].split() == ['lowest', 'frequency', '0.250', 'THz']


def test_columns_have_units() -> None:
    """Learning curves, all sides of a comparison, and expansion: quantity and unit stand in the name of each column."""
    errors = {
        'epoch': np.arange(2),
        'valid_energy_mae': np.ones(2),
        'train_forces_mae': np.ones(2),
        'seconds': np.ones(2),
    }
    thermal = {'temperatures': np.arange(2.0), 'entropy_reference': np.ones(2), 'free_energy_corrected': np.ones(2)}
    expansion = {'temperatures_k': np.arange(2.0), 'thermal_expansion_per_k': np.full(2, 3e-5)}
    outputs = {'metrics': errors, 'thermal': thermal, 'curves': expansion}
    tables = tables_of({name: orm.ArrayData(arrays) for name, arrays in outputs.items()})
    assert {name: set(text.split('\n')[0].split(',')) for name, text in tables.items()} == {
        'metrics': {'epoch', 'valid_energy_mae_ev_per_atom', 'train_forces_mae_ev_per_angstrom', 'seconds'},
        'thermal': {'temperature_k', 'dft_entropy_j_per_k_mol_cell', 'corrected_free_energy_kj_per_mol_cell'},
        'qha': {'temperature_k', 'linear_thermal_expansion_per_k', 'volumetric_thermal_expansion_per_k'},
    }
    assert tables['qha'].split('\n')[1].split(',') == ['0.0', '1e-05', '3e-05']


@pytest.mark.real
def test_corrected(silicon_phonons: tuple[Any, Any], tmp_path: Path) -> None:
    """What was corrected stands at the head of the file, and what the labels added lies beside it."""
    structure, phonons = silicon_phonons
    size = (len(phonons.get_primitive_cell().sites), phonons.get_phonopy_instance().supercell.positions.shape[0], 3, 3)
    change = {'change': np.ones(size), 'primitive_atoms': np.array([0, size[1] // 2])}
    outputs = {
        'correction': orm.Dict({'n_frames': 3, 'uncertainty_thz': 0.0123}),
        'change': orm.ArrayData(change),
    }
    node = finished('correct', {'structure': structure}, {name: value.store() for name, value in outputs.items()})
    for name in ('phonopy_data', 'uncorrected'):
        phonons.clone().store().base.links.add_incoming(node, LinkType.RETURN, name)
    names = {str(path.relative_to(tmp_path)) for path in export(orm.load_node(node.pk), tmp_path)}
    assert {'phonopy.yaml', 'uncorrected/phonopy.yaml', 'FORCE_CONSTANTS_change', 'correction.json'} <= names
    assert 'change.npz' not in names
    head = (tmp_path / 'phonopy.yaml').read_text().splitlines()[:3]
    assert (
        head[1] == '# Corrected by 3 labelled frames: mean error bar 0.0123 THz; see correction.json beside this file.'
    )
    assert 'Corrected' not in (tmp_path / 'uncorrected' / 'phonopy.yaml').read_text()[:500]
    added = phonopy.file_IO.parse_FORCE_CONSTANTS(tmp_path / 'FORCE_CONSTANTS_change')
    assert np.all(added == 1)


def test_potential(starter: Any, tmp_path: Path) -> None:
    """The model file as it is stored, byte for byte, by the label of the node; how ASE takes it."""
    starter.label = 'starter'
    result = CliRunner().invoke(cmd_root, ['export', 'starter', str(tmp_path / 'model'), '--no-lammps'])
    assert result.exit_code == 0, result.output
    content = starter.base.repository.get_object_content(starter.FILENAME, mode='rb')
    assert (tmp_path / 'model' / 'potential.model').read_bytes() == content
    text = (tmp_path / 'model' / 'potential.md').read_text()
    assert 'from mace.calculators import MACECalculator' in text
    assert 'There is no file for LAMMPS: `--no-lammps` was given.' in text
    assert 'starter potential' in text


@pytest.mark.real
def test_lammps(aiida_profile_clean: Any, python_code: Any, tmp_path: Path) -> None:
    """A job makes the file for LAMMPS once, then it comes from the cache; of an archive only when it is asked for."""
    node = PotentialData(TINY_MODEL).store()
    command = ['export', str(node.pk), str(tmp_path), '--python', python_code.full_label]
    written = []
    for _ in range(2):
        result = CliRunner().invoke(cmd_root, command)
        assert result.exit_code == 0, result.output
        written.append((tmp_path / 'potential-lammps.pt').read_bytes())
        (tmp_path / 'potential-lammps.pt').unlink()
    jobs = orm.QueryBuilder().append(orm.CalcJobNode).all(flat=True)
    assert sorted(job.base.caching.is_created_from_cache for job in jobs) == [False, True]
    assert written[0] == written[1] == jobs[0].outputs.lammps.get_content(mode='rb')
    text = (tmp_path / 'potential.md').read_text()
    assert 'pair_style mace no_domain_decomposition\npair_coeff * * potential-lammps.pt Na Si Cl' in text
    orm.ImportGroup(label='of somebody').store().add_nodes([node])
    result = CliRunner().invoke(cmd_root, command)
    assert 'came with an archive' in result.output
    assert not (tmp_path / 'potential-lammps.pt').exists()
    assert CliRunner().invoke(cmd_root, [*command, '--lammps']).exit_code == 0
    assert (tmp_path / 'potential-lammps.pt').exists()


def test_no_code_for_lammps(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """Without a code there is no file for LAMMPS, which is said; all else is written."""
    node = PotentialData(TINY_MODEL).store()
    result = CliRunner().invoke(cmd_root, ['export', str(node.pk), str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert 'Note: no file for LAMMPS: there is no code `python@localhost`: run `aiida-equitrain setup`' in result.output
    assert (tmp_path / 'potential.model').read_bytes() == TINY_MODEL.read_bytes()
    assert 'There is no file for LAMMPS: there is no code' in (tmp_path / 'potential.md').read_text()


@pytest.mark.real
def test_two_lines_of_ase(starter: Any, tmp_path: Path) -> None:
    """The two lines of ASE are run as they are written."""
    import subprocess
    import sys

    export(starter, tmp_path)
    lines = (tmp_path / 'potential.md').read_text().split('```python\n')[1].split('```')[0]
    script = f'{lines}\nfrom ase.build import bulk\natoms = bulk("Si")\natoms.calc = calculator\n'
    script += 'print(atoms.get_potential_energy())'
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', script], cwd=tmp_path, capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert -12 < float(done.stdout.split()[-1]) < -9


def test_dataset_and_structure(tiny_dataset: Any, silicon: Any, tmp_path: Path) -> None:
    """Labelled frames as extended XYZ, a crystal as CIF."""
    export(tiny_dataset, tmp_path)
    images = ase.io.read(tmp_path / 'dataset.extxyz', ':')
    assert len(images) == tiny_dataset.n_frames
    export(silicon.store(), tmp_path)
    assert ase.io.read(tmp_path / 'structure.cif').get_chemical_formula() == 'Si2'


def test_sentences(aiida_profile: Any, tmp_path: Path) -> None:
    """What cannot be exported, or is not there, is said in one sentence, and nothing is written."""
    number = orm.Int(1).store()
    with pytest.raises(NoExportError, match='is of the kind Int'):
        export(number, tmp_path / 'no')
    assert not (tmp_path / 'no').exists()
    for identifier, sentence in ((str(number.pk), 'is of the kind Int'), ('77777777', 'there is no node `77777777`')):
        result = CliRunner().invoke(cmd_root, ['export', identifier, str(tmp_path / 'no')])
        assert result.exit_code == 1
        assert sentence in result.output
    (tmp_path / 'file').touch()
    result = CliRunner().invoke(cmd_root, ['export', str(number.pk), str(tmp_path / 'file')])
    assert result.exit_code == 2
    assert 'is no folder' in result.output
    with pytest.raises(NoExportError, match='has no outputs'):
        export(finished('phonons', {}, {}), tmp_path / 'empty')


def test_jumps_of_the_path(silicon_phonons: tuple[Any, Any]) -> None:
    """Where two named points follow one another the path jumps: a new segment without a gap, both names there."""
    node = orm.BandsData()
    node.set_cell_from_structure(silicon_phonons[1].get_primitive_cell())
    node.set_kpoints([[0, 0, 0], [0.25, 0, 0.25], [0.5, 0, 0.5], [0.375, 0.375, 0.75], [0.1, 0.1, 0.2], [0, 0, 0]])
    node.set_bands(np.zeros((6, 6)), units='THz')
    node.labels = [(0, r'$\Gamma$'), (2, 'X'), (3, 'K'), (5, r'$\Gamma$')]
    path = path_of(node)
    assert [len(segment['distances']) for segment in path['segments']] == [3, 3]
    assert [name for _, name in path['ticks']] == ['Γ', 'X|K', 'Γ']
    assert path['segments'][0]['distances'][-1] == path['segments'][1]['distances'][0] == path['ticks'][1][0]


def test_curves_of_a_figure() -> None:
    """Lines and points with the names of the legend and the axes; lines across the panel are no data."""
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [2, 3], label='first')
    axes.plot([0, 1], [4, 5])
    axes.scatter([7], [8], label='points')
    axes.axhline(0.0)
    axes.axvline(1.0)
    axes.set_xlabel('x\n(THz)')
    columns = points_of(figure)
    assert columns['curve'] == ['first', 'first', 'curve 2', 'curve 2', 'points']
    assert columns['y'] == [2, 3, 4, 5, 8]
    assert set(columns['x_axis']) == {'x (THz)'}
