"""Phonons that are corrected by labels: sentences for wrong input, and a real run on rock salt down to its page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase.build import bulk

from aiida_equitrain.calculations.arrays import phonopy_arrays
from aiida_equitrain.common.formatting import describe_verdict
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.export.write import export
from aiida_equitrain.launch.data_import import store_phonons
from aiida_equitrain.report.collect import NoReportError, cells_of
from aiida_equitrain.report.write import write_report
from aiida_equitrain.science.correction import compact_force_constants
from aiida_equitrain.science.frames import Frames
from aiida_equitrain.science.labelled_cell import labelled_cell
from aiida_equitrain.science.phonon_metrics import frequencies_at
from aiida_equitrain.science.phonopy_io import load_phonopy, phonon_from_arrays

CHEAP = {'settings': {'mesh': [6, 6, 6], 'temperature_step_k': 500.0, 'harmonic': False}}
QPOINTS = np.array([[0.5, 0.0, 0.5], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
FACTS = {'functional': 'PBEsol', 'code': 'VASP'}


@pytest.fixture
def labels(aiida_profile: Any, salt: Any) -> DatasetData:
    """Return two of the frames, and one whose cell is strained."""
    strain = np.diag([1.0, 1.01, 0.99])
    third = salt.frames[2]
    strained = replace(third, cell=third.cell @ strain, positions=third.positions @ strain)
    return DatasetData(Frames([replace(f, role='train') for f in (*salt.frames[:2], strained)]), **FACTS).store()


@pytest.fixture
def make_builder(phonopy_code: Any, python_code: Any, starter: Any, labels: Any) -> Any:
    """Return a factory of builders: the primitive cell, 2 % larger than that of the labels."""

    def factory(**changes: Any) -> Any:
        arguments = {
            'structure': orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=5.8)),
            'phonopy_code': phonopy_code,
            'potential': starter,
            'python_code': python_code,
            'labels': labels,
            'protocol': 'fast',
            'overrides': CHEAP,
        }
        return WorkflowFactory('equitrain.phonons').get_builder_from_protocol(**(arguments | changes))

    return factory


@pytest.mark.real
def test_corrected(make_builder: Any, salt: Any, tmp_path: Path) -> None:
    """The cell is that of the labels; every output is of the corrected phonons, which are nearly those of DFT."""
    outputs, node = run_get_node(make_builder())
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    jobs = sorted(child.process_label for child in node.called if isinstance(child, orm.CalcJobNode))
    assert jobs == ['CorrectCalculation', 'ForcesCalculation', 'PhonopyCalculation', 'PhonopyCalculation']
    assert 'relaxed_structure' not in outputs
    # Two conventional cells along each edge, in units of the primitive one.
    assert outputs['supercell_matrix'].get_list() == [[-2, 2, 2], [2, -2, 2], [2, 2, -2]]
    corrected, alone = (phonon_from_arrays(phonopy_arrays(outputs[name])) for name in ('phonopy_data', 'uncorrected'))
    assert corrected.supercell.cell == pytest.approx(np.array(salt.reference.supercell.cell), abs=1e-6)
    correction = outputs['correction'].get_dict()
    assert correction['frames'] == [0, 1]
    assert correction['left_out'] == {'strained': 1}
    truth = frequencies_at(salt.reference, QPOINTS @ transform(salt.reference, corrected))
    errors = [np.abs(frequencies_at(phonon, QPOINTS) - truth).mean() for phonon in (corrected, alone)]
    assert errors[0] < min(0.4 * errors[1], 0.02)
    stability = outputs['stability'].get_dict()
    assert stability['verdict'] == 'stable'
    assert describe_verdict(stability) in str(orm.Log.collection.get_logs_for(node)[-1].message)
    compact = outputs['force_constants'].get_array('force_constants')
    assert compact == pytest.approx(compact_force_constants(corrected), abs=1e-5)
    check_page(node, correction, tmp_path)


def transform(reference: Any, phonon: Any) -> Any:
    """Return the matrix that takes q-points of one primitive cell to those of another one."""
    from aiida_equitrain.science.lattice_match import match_lattices

    return np.asarray(match_lattices(phonon.primitive, reference.primitive)).T


def check_page(node: Any, correction: dict[str, Any], folder: Path) -> None:
    data = write_report(node, folder)
    assert 'lowest frequency' in data['text']
    assert 'left out: 1 × strained' in data['text']
    page = (folder / 'report.html').read_text()
    assert 'corrected, ± 1 and 2 σ' in page
    assert page.count('<div class="still">') == len(data['figures']) == 1
    summary = json.loads((folder / 'summary.json').read_text())
    assert summary['correction']['uncertainty_thz'] == correction['uncertainty_thz']
    files = {str(path.relative_to(folder / 'files')) for path in export(node, folder / 'files')}
    assert {'phonopy.yaml', 'uncorrected/phonopy.yaml', 'FORCE_CONSTANTS_change', 'figures/bands.csv'} <= files
    written = load_phonopy(folder / 'files' / 'phonopy.yaml')
    assert np.array(written.force_constants) == pytest.approx(
        node.outputs.force_constants.get_array('force_constants'), abs=1e-5
    )


@pytest.mark.thorough
@pytest.mark.real
def test_correction_fails(make_builder: Any) -> None:
    """The phonons of the potential are there, and the reason is named."""
    builder = make_builder()
    builder.correct.settings = orm.Dict({'max_displacement_angstrom': 1e-3})
    outputs, node = run_get_node(builder)
    assert node.exit_status == node.process_class.exit_codes.ERROR_CORRECTION_FAILED.status
    assert '2 × an atom is displaced by more than `max_displacement_angstrom`' in node.exit_message
    assert set(outputs) == {'supercell_matrix', 'forces', 'uncorrected'}
    with pytest.raises(NoReportError, match='no `bands`: it failed'):
        write_report(node, Path('nowhere'))


def without(builder: Any, name: str) -> None:
    delattr(builder, name)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda b: setattr(b, 'supercell_matrix', orm.List([[2, 0, 0], [0, 2, 0], [0, 0, 2]])), 'none of 3 frames is'),
        (lambda b: setattr(b, 'structure', orm.StructureData(ase=bulk('MgO', 'rocksalt', a=4.2))), 'none of 3 frames'),
        (lambda b: setattr(b, 'max_atoms', orm.Int(63)), '64 atoms, more than `max_atoms`'),
        (lambda b: setattr(b.correct, 'settings', orm.Dict({'strain': 0.1})), 'unknown key `strain`'),
    ],
)
def test_wrong_input(make_builder: Any, change: Any, sentence: str) -> None:
    builder = make_builder()

    def change_and_run() -> None:
        change(builder)
        run_get_node(builder)

    with pytest.raises(ValueError, match=sentence):
        change_and_run()


def test_other_python(make_builder: Any, hollow_sevennet: Any, labels: Any, aiida_computer_local: Any) -> None:
    """Without a Python that has phonopy, on the same computer, there is no fit."""
    builder = make_builder(potential=hollow_sevennet)
    with pytest.raises(ValueError, match='`labels` need a `postprocess_code`'):
        run_get_node(builder)
    computer = aiida_computer_local(label='elsewhere')
    builder.postprocess_code = orm.InstalledCode(computer=computer, filepath_executable='/bin/python').store()
    with pytest.raises(ValueError, match='must be on the same computer'):
        run_get_node(builder)


@pytest.mark.real
def test_labels_of_dft(make_builder: Any, pw_code: Any, pseudo_family: Any) -> None:
    builder = make_builder(
        potential=None, python_code=None, labels=None, pw_code=pw_code, pseudo_family=pseudo_family.label,
        structure=orm.StructureData(ase=bulk('Si')),
    )  # fmt: skip
    builder.labels = make_builder().labels
    with pytest.raises(ValueError, match='those of DFT'):
        run_get_node(builder)


def test_cell_of_labels(salt: Any) -> None:
    """Of unstrained lattices the nearest is taken, of supercells that with most frames; strained ones never are."""
    atoms = bulk('NaCl', 'rocksalt', a=5.8)
    near = [replace(frame, cell=frame.cell * 1.02, positions=frame.positions * 1.02) for frame in salt.frames[:1]]
    lattice, rows = labelled_cell(atoms, [*salt.frames[:3], *near], symprec=1e-4)
    assert np.array(rows) @ lattice == pytest.approx(near[0].cell)
    lattice, _ = labelled_cell(atoms, salt.frames[:3], symprec=1e-4, supercell_matrix=rows)
    assert np.array(rows) @ lattice == pytest.approx(salt.frames[0].cell)
    with pytest.raises(ValueError, match='none of 0 frames is a supercell of the crystal'):
        labelled_cell(atoms, salt.frames, roles=['train'], symprec=1e-4)
    far = [replace(frame, cell=frame.cell * 1.2, positions=frame.positions * 1.2) for frame in salt.frames[:1]]
    with pytest.raises(ValueError, match='none of 1 frames'):
        labelled_cell(atoms, far, symprec=1e-4)


@pytest.mark.thorough
@pytest.mark.real
def test_main_job_without_training(
    phonopy_code: Any, python_code: Any, starter: Any, salt: Any, tmp_path: Path
) -> None:
    """The foundation, corrected by two labels, beside the foundation alone and symfc: table, page and summary."""
    structure, reference = store_phonons(salt.reference, 'NaCl')
    frames = [replace(f, role=role) for f, role in zip(salt.frames[:2], ('train', 'valid'), strict=True)]
    builder = WorkflowFactory('equitrain.material').get_builder_from_protocol(
        structure,
        starter,
        python_code=python_code,
        phonopy_code=phonopy_code,
        dataset=DatasetData(Frames(frames), **FACTS).store(),
        reference=reference,
        strategy=None,
        protocol='fast',
        overrides={'phonons': CHEAP, 'compare': {'settings': {'mesh': [6, 6, 6]}}},
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    comparison = outputs['comparison'].get_dict()
    assert set(comparison['candidates']) == {'foundation', 'corrected'}
    errors = {side: values['phonon_mae_thz'] for side, values in comparison['candidates'].items()}
    assert errors['corrected'] < 0.3 * errors['foundation']
    assert errors['corrected'] < comparison['symfc']['phonon_mae_thz'] + 0.01
    # The foundation's own cell is not DFT's: there it is judged as well, by one job of forces.
    assert cells_of(comparison)['foundation'].startswith('own (')
    assert cells_of(comparison)['corrected'] == 'DFT’s'
    moved = comparison['at_reference']['foundation']
    assert moved['volume_angstrom3'] == pytest.approx(comparison['reference']['volume_angstrom3'], rel=1e-6)
    assert moved['phonon_mae_thz'] < errors['foundation']
    assert [child.process_label for child in node.called if 'Forces' in child.process_label] == ['ForcesCalculation']
    assert set(outputs['phonons']) == {'foundation', 'corrected'}
    assert 'potential' not in outputs
    data = write_report(node, tmp_path)
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['corrected_mae_thz'] == errors['corrected']
    assert summary['foundation_mae_at_dft_cell_thz'] == moved['phonon_mae_thz']
    assert summary['corrected_uncertainty_thz'] == outputs['phonons']['corrected']['correction']['uncertainty_thz']
    assert summary['strategy'] == 'none'
    assert data['headline'][0]['label'].startswith('phonon error of the foundation, corrected by 2 labels')
    page = (tmp_path / 'report.html').read_text()
    assert {'corrected, ± 1 and 2 σ', 'foundation, corrected'} <= set(re.findall(r'>([^<>]*corrected[^<>]*)<', page))
    assert {path.stem for path in tmp_path.glob('*.png')} == {'bands', 'error_bars', 'flow', 'thermal'}
