"""Conductivity: DFT's silicon as phono3py itself has it, the starter against it, and wrong input."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_equitrain.calculations.arrays import with_forces
from aiida_equitrain.export.write import export
from aiida_equitrain.report.write import write_report
from aiida_equitrain.science.conductivity import conductivity_errors
from aiida_equitrain.workflows.kappa import validate_settings

phono3py = pytest.importorskip('phono3py')
DFT = Path(__file__).parents[1] / 'fixtures' / 'phono3py' / 'phono3py_params_Si-111-222.yaml.xz'
MESH = [7, 7, 7]


@pytest.fixture
def run_conductivity(python_code: Any) -> Any:
    """Return a function that runs the job on a file, DFT's by default."""

    def run(path: Path = DFT, settings: dict[str, Any] | None = None, **inputs: Any) -> Any:
        return run_get_node(
            CalculationFactory('equitrain.conductivity'),
            code=python_code,
            phono3py_params=orm.SinglefileData(path),
            settings=orm.Dict({'mesh': MESH} | (settings or {})),
            **inputs,
        )

    return run


def silicon_of_another_cell() -> Any:
    """Return phonons of silicon in its primitive cell, with the forces of springs between neighbours."""
    from aiida_phonopy.data import PhonopyData, PreProcessData
    from ase.build import bulk

    data = PreProcessData(
        structure=orm.StructureData(ase=bulk('Si', a=5.43)), supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    )
    data.set_displacements(distance=0.01)
    node = PhonopyData(preprocess_data=data)
    forces = np.zeros((1, 16, 3))
    forces[0, 0, 0], forces[0, 1, 0] = -0.1, 0.1
    node.set_forces(sets_of_forces=forces)
    return node.store()


def load_dft() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return phono3py.load(DFT, log_level=0)


@pytest.mark.real
def test_dft(run_conductivity: Any) -> None:
    """The job says of DFT's forces what phono3py says when it is called directly."""
    outputs, node = run_conductivity(settings={'temperatures_k': [300.0, 600.0]})
    assert node.is_finished_ok, node.exit_message
    solver = load_dft()
    solver.mesh_numbers = MESH
    solver.init_phph_interaction()
    solver.run_thermal_conductivity(temperatures=[300, 600])
    expected = solver.thermal_conductivity.kappa[0]
    kappa, modes = outputs['kappa'].get_dict(), outputs['modes']
    assert kappa['kappa_w_per_m_k'] == pytest.approx(expected[:, :3].mean(axis=1), rel=1e-6)
    assert kappa['kappa_xx_w_per_m_k'] == pytest.approx(expected[:, 0], rel=1e-6)
    # Experiment: 130 to 150 W/m/K at 300 K; it falls about as 1/T.
    assert 60 < kappa['kappa_w_per_m_k'][0] < 200
    assert kappa['kappa_w_per_m_k'][0] / kappa['kappa_w_per_m_k'][1] == pytest.approx(2, rel=0.25)
    total = modes.get_array('mode_kappa_w_per_m_k').sum(axis=(1, 2))
    assert total == pytest.approx(modes.get_array('kappa_w_per_m_k'), abs=1e-6)
    assert modes.get_array('weights').sum() == np.prod(MESH)


@pytest.mark.real
def test_potential(run_conductivity: Any, silicon: Any, starter: Any, python_code: Any, tmp_path: Path) -> None:
    """Relaxation, one job of forces, one of phono3py; judged mode by mode against DFT."""
    reference = run_conductivity()[0]['modes']
    builder = WorkflowFactory('equitrain.kappa').get_builder_from_protocol(
        silicon,
        starter,
        python_code,
        supercell_matrix=[[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
        phonon_supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]],
        protocol='fast',
    )
    builder.reference = reference
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    jobs = sorted(child.process_label for child in node.called if isinstance(child, orm.CalcJobNode))
    assert jobs == ['ConductivityCalculation', 'RelaxCalculation', 'ThirdOrderCalculation']
    assert set(write_report(node, tmp_path)['figures']) == {'kappa'}
    assert 'W/m/K' in (tmp_path / 'report.html').read_text()
    export(node, tmp_path / 'files')
    loaded = phono3py.load(tmp_path / 'files' / 'phono3py_params.yaml.xz', produce_fc=False, log_level=0)
    assert loaded.dataset is not None
    head, first = (tmp_path / 'files' / 'kappa.csv').read_text().splitlines()[:2]
    assert head.startswith('temperature_k,kappa_w_per_m_k,kappa_xx_w_per_m_k')
    assert float(first.split(',')[1]) == outputs['kappa']['kappa_w_per_m_k'][0]
    kappa = outputs['kappa'].get_dict()
    assert kappa['space_group'] == 'Fd-3m'
    ours = kappa['kappa_w_per_m_k'][kappa['temperatures_k'].index(300.0)]
    assert 5 < ours < 1000
    errors = kappa['errors']
    assert errors['temperatures_k'] == [300.0]
    assert abs(errors['sre'][0]) <= errors['srme'][0] < 2
    dft = reference.get_array('kappa_w_per_m_k')[0, :3].mean()
    assert errors['sre'][0] == pytest.approx(2 * (ours - dft) / (ours + dft))
    # What is stored is phono3py's own file.
    with outputs['phono3py_params'].as_path() as path, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        solver = phono3py.load(path, produce_fc=False, log_level=0)
    assert solver.forces.shape[1:] == (8, 3)
    assert solver.phonon_forces.shape[1:] == (16, 3)


@pytest.mark.thorough
@pytest.mark.real
def test_phonons_that_exist(
    run_conductivity: Any, silicon_phonons: Any, starter: Any, python_code: Any, silicon: Any
) -> None:
    """Force constants of second order are those of the phonons, of DFT here; the third order is the potential's."""
    _, phonons = silicon_phonons
    outputs, node = run_conductivity(phonopy_data=phonons)
    assert node.is_finished_ok, node.exit_message
    alone = run_conductivity()[0]['kappa'].get_dict()
    assert outputs['kappa']['kappa_w_per_m_k'] == pytest.approx(alone['kappa_w_per_m_k'], rel=1e-3)
    stiffer = with_forces(phonons, 1.21 * np.array(phonons.forces)).store()
    raised = run_conductivity(phonopy_data=stiffer)[0]['modes'].get_array('frequencies_thz')
    # As the square root of the force constants.
    assert raised.max() == pytest.approx(1.1 * outputs['modes'].get_array('frequencies_thz').max(), rel=1e-3)
    builder = WorkflowFactory('equitrain.kappa').get_builder_from_protocol(
        None,
        starter,
        python_code,
        phonopy_data=stiffer,
        supercell_matrix=np.eye(3, dtype=int).tolist(),
        protocol='fast',
        overrides={'settings': {'mesh': MESH, 'temperatures_k': [300.0]}},
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert {child.process_label for child in node.called if isinstance(child, orm.CalcJobNode)} == {
        'ConductivityCalculation', 'ThirdOrderCalculation',
    }  # fmt: skip
    assert outputs['modes'].get_array('frequencies_thz').max() == pytest.approx(raised.max(), rel=1e-4)
    builder.structure = silicon
    with pytest.raises(ValueError, match='not both'):
        run_get_node(builder)
    del builder.structure
    builder.phonon_supercell_matrix = orm.List([[2, 0, 0], [0, 2, 0], [0, 0, 2]])
    with pytest.raises(ValueError, match='is that of `phonopy_data`'):
        run_get_node(builder)


@pytest.mark.thorough
@pytest.mark.real
def test_failures(run_conductivity: Any, tmp_path: Path) -> None:
    """An unreadable file, imaginary modes, and a reference on another mesh end with a code each."""
    broken = tmp_path / 'broken.yaml'
    broken.write_text('phono3py: nothing')
    assert run_conductivity(broken)[1].exit_status == 410

    solver = load_dft()
    solver.forces, solver.phonon_forces = -solver.forces, -solver.phonon_forces
    solver.save(tmp_path / 'unstable.yaml', settings={'force_sets': True, 'displacements': True})
    node = run_conductivity(tmp_path / 'unstable.yaml', {'mesh': [3, 3, 3]})[1]
    assert node.exit_status == 411
    assert 'equitrain.instability' in node.exit_message

    small = CalculationFactory('equitrain.conductivity')
    node = run_conductivity(phonopy_data=silicon_of_another_cell())[1]
    assert node.exit_status == small.exit_codes.ERROR_PHONONS_UNUSABLE.status
    assert 'the supercell of second order is not that of the phonons' in node.exit_message

    other = run_conductivity(settings={'mesh': [3, 3, 3]})[0]['modes']
    outputs, node = run_conductivity(reference=other)
    assert node.exit_status == 412
    assert 'the meshes differ' in node.exit_message
    assert outputs['kappa']['kappa_w_per_m_k'][0] > 0


def make_modes(shares: list[list[float]]) -> dict[str, Any]:
    """Return modes of one temperature with isotropic shares (Q, B)."""
    values = np.array(shares)
    tensors = np.zeros((1, *values.shape, 6))
    tensors[..., :3] = values[None, ..., None]
    return {
        'mesh': np.array([2, 2, 2]),
        'temperatures_k': np.array([300.0]),
        'qpoints': np.zeros((len(values), 3)),
        'frequencies_thz': values,
        'mode_kappa_w_per_m_k': tensors,
    }


def test_errors() -> None:
    """A factor is an error of both kinds; shares that change places are one of the modes only."""
    reference = make_modes([[1.0, 3.0], [2.0, 4.0]])
    same = conductivity_errors(reference, reference)
    assert (same['sre'], same['srme']) == ([0.0], [0.0])
    double = conductivity_errors(make_modes([[2.0, 6.0], [4.0, 8.0]]), reference)
    assert double['sre'] == double['srme'] == pytest.approx([2 / 3])
    swapped = conductivity_errors(make_modes([[3.0, 1.0], [4.0, 2.0]]), reference)
    assert swapped['sre'] == pytest.approx([0.0])
    assert swapped['srme'] == pytest.approx([2 * 8 / 20])


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'mesh': np.array([3, 3, 3])}, 'meshes differ'),
        ({'qpoints': np.ones((2, 3))}, 'different cells or symmetries'),
        ({'temperatures_k': np.array([400.0])}, 'no temperature'),
    ],
)
def test_errors_refused(changes: dict[str, Any], sentence: str) -> None:
    reference = make_modes([[1.0, 3.0], [2.0, 4.0]])
    with pytest.raises(ValueError, match=sentence):
        conductivity_errors(reference, reference | changes)


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'mesh': [7, 7]}, 'three positive integers'),
        ({'temperatures_k': [0.0]}, 'above zero'),
        ({'temperatures_k': []}, 'above zero'),
        ({'isotope': True}, 'isotopes'),
    ],
)
def test_wrong_settings(aiida_profile: Any, settings: dict[str, Any], sentence: str) -> None:
    assert sentence in validate_settings(orm.Dict(settings))
