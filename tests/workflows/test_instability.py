"""Instabilities: a double well that is known in closed form, the starter potential, and wrong input."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_equitrain.export.write import export
from aiida_equitrain.report.instability import describe_tree, save_figure
from aiida_equitrain.report.write import write_report
from aiida_equitrain.workflows.instability.checks import validate_settings

ANALYTIC = Path(__file__).parents[1] / 'fixtures' / 'analytic'
#: Stiffness a, quartic b and c, coupling k of the model in ``fixtures/analytic``.
FERRO = {'a': 2.0, 'b': 10.0, 'c': 6.0, 'k': 0.3, 'spring': 8.0}
ANTIFERRO = {'a': 0.5, 'b': 10.0, 'c': 6.0, 'k': -0.1, 'spring': 8.0}


@pytest.fixture
def cscl(aiida_profile: Any) -> orm.StructureData:
    """Return the cubic parent of the analytic model: A is Cl, B is Si."""
    structure = orm.StructureData(cell=np.eye(3) * 4.0)
    structure.append_atom(position=(0, 0, 0), symbols='Cl')
    structure.append_atom(position=(2, 2, 2), symbols='Si')
    return structure


@pytest.fixture
def analytic_code(make_code: Any, tmp_path: Path) -> Any:
    """Return a factory of Pythons whose loader of potentials gives the analytic model, whatever the potential."""

    def factory(model: dict[str, float]) -> Any:
        # One code, and one file, for each model: codes outlive a test.
        name = 'python-analytic-' + hashlib.sha256(json.dumps(model).encode()).hexdigest()[:8]
        script = tmp_path / name
        variables = f"PYTHONPATH='{ANALYTIC}' ANALYTIC_MODEL='{json.dumps(model)}'"
        script.write_text(f'#!/bin/sh\n{variables} exec {sys.executable} "$@"\n')
        script.chmod(0o755)
        return make_code(name, str(script))

    return factory


@pytest.fixture
def make_builder(cscl: Any, phonopy_code: Any, starter: Any, python_code: Any) -> Any:
    """Return a factory of builders."""

    def factory(settings: dict[str, Any] | None = None, min_length: float = 7.5, **changes: Any) -> Any:
        phonons = {'mesh': [4, 4, 4], 'temperature_step_k': 500.0, 'min_length_angstrom': min_length}
        arguments = {
            'structure': cscl,
            'phonopy_code': phonopy_code,
            'potential': starter,
            'python_code': python_code,
            'relax': False,
            'supercell_matrix': [[2, 0, 0], [0, 2, 0], [0, 0, 2]],
            'protocol': 'fast',
            'overrides': {'settings': settings or {}, 'phonons': {'settings': phonons}},
        }
        return WorkflowFactory('equitrain.instability').get_builder_from_protocol(**(arguments | changes))

    return factory


def closed_form(model: dict[str, float], stiffness: float, direction: tuple[int, int, int]) -> tuple[float, float]:
    """Return the displacement of B against its cage at the minimum (Å), and the energy per cell there (eV)."""
    unit = np.array(direction) / np.linalg.norm(direction)
    quartic = model['b'] + model['c'] * (unit**4).sum()
    return float(np.sqrt(stiffness / quartic)), -(stiffness**2) / (4 * quartic)


@pytest.mark.real
def test_double_well(make_builder: Any, analytic_code: Any, tmp_path: Path) -> None:
    """Depth and minimum are met within 1 %, and of the three phases the rhombohedral one is stable."""
    builder = make_builder({'max_modes': 1}, python_code=analytic_code(FERRO))
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    entries, wells = outputs['modes']['level_0']['entries'], outputs['wells']['level_0']['entries']
    assert [entry['irrep'] for entry in entries] == ['T1u'] * 3
    masses = {'Cl': 35.453, 'Si': 28.085}
    for entry, well, direction in zip(entries, wells, kinds_of(entries, wells), strict=True):
        displacement, depth = closed_form(FERRO, FERRO['a'], direction)
        # The longest displacement is that of the lighter atom; u is its distance from the cage.
        u = well['minimum_angstrom'] * (1 + masses['Si'] / masses['Cl'])
        assert u == pytest.approx(displacement, rel=0.01)
        assert well['depth_ev'] == pytest.approx(depth * entry['n_cells'], rel=0.01)
        assert well['frequency_of_fit_thz'] == pytest.approx(entry['frequency_thz'], rel=0.01)
    tree = outputs['tree']['phases']
    found = {phase['space_group']: phase for name, phase in tree.items() if name != 'root'}
    assert {group: phase['dynamically_stable'] for group, phase in found.items()} == {
        'R3m (160)': True,
        'Amm2 (38)': False,
        'P4mm (99)': False,
    }
    depth = closed_form(FERRO, FERRO['a'], (1, 1, 1))[1]
    assert found['R3m (160)']['energy_below_root_mev_per_atom'] == pytest.approx(-1000 * depth / 2, rel=0.01)
    assert describe_tree(tree).splitlines()[-1].split()[:3] == [name_of(tree, 'R3m (160)'), 'R3m', '(160)']
    save_figure(node, tmp_path / 'wells.png')
    assert (tmp_path / 'wells.png').read_bytes().startswith(b'\x89PNG')
    data = write_report(node, tmp_path / 'page')
    assert set(data['figures']) == {'bands', 'phase_phonons', 'phases', 'wells'}
    files = {str(path.relative_to(tmp_path / 'files')) for path in export(node, tmp_path / 'files')}
    assert {f'phases/{name}.cif' for name in outputs['phases']} <= files
    assert {'figures/wells.csv', 'phonopy_data/root/phonopy.yaml', 'tree.json'} <= files
    page = (tmp_path / 'page' / 'report.html').read_text()
    assert 'R3m (160)' in page
    assert page.count('<svg ') == 1 + len(data['figures'])
    # Data, plotly.js and our own script; the policy lets no other run.
    assert re.findall(r'<script(.*?)>', page) == [' type="application/json" id="live-bands"', '', '']
    assert page.count('; script-src ') == 1
    jobs = [child.process_label for child in node.called if isinstance(child, orm.CalcJobNode)]
    assert sorted(jobs) == ['ModesCalculation', 'RelaxPhasesCalculation', 'ScanCalculation']


def name_of(tree: dict[str, Any], group: str) -> str:
    return next(name for name, phase in tree.items() if phase['space_group'] == group)


def kinds_of(entries: list[dict[str, Any]], wells: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """Return which cubic direction each entry is, by the order of their depths."""
    order = np.argsort([well['depth_ev'] for well in wells])
    kinds = dict(zip(order, [(1, 1, 1), (1, 1, 0), (1, 0, 0)], strict=True))
    return [kinds[index] for index in range(len(entries))]


@pytest.mark.thorough
@pytest.mark.real
def test_levels(make_builder: Any, analytic_code: Any) -> None:
    """Cubic, tetragonal, orthorhombic, rhombohedral: each child is unstable but the last, which ends it all."""
    settings = {'max_modes': 1, 'max_directions': 1, 'max_depth': 4}
    outputs, node = run_get_node(make_builder(settings, python_code=analytic_code(FERRO)))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    tree = outputs['tree']['phases']
    assert [(phase['parent'], phase['level'], phase['dynamically_stable']) for phase in tree.values()] == [
        (None, 0, False),
        ('root', 1, False),
        ('phase_1', 2, False),
        ('phase_2', 3, True),
    ]
    assert [phase['space_group'] for phase in tree.values()] == [
        'Pm-3m (221)',
        'P4mm (99)',
        'Amm2 (38)',
        'R3m (160)',
    ]


@pytest.mark.thorough
@pytest.mark.real
def test_germanium_telluride(make_builder: Any, pw_code: Any, pseudo_family: Any) -> None:
    """The starter knows that cubic GeTe falls into the rhombohedral phase; DFT: R3m, Γ at -3.2 THz."""
    builder = make_builder(
        {'max_modes': 1, 'max_directions': 2, 'amplitudes_angstrom': [0.1, 0.2, 0.3, 0.45]},
        min_length=10.0,
        pw_code=pw_code,
        pseudo_family=pseudo_family.label,
        options={'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False},
        structure=orm.StructureData(ase=bulk('GeTe', 'rocksalt', a=6.0)),
        relax=True,
        supercell_matrix=[[-2, 2, 2], [2, -2, 2], [2, 2, -2]],
    )
    # Far from convergence: what counts is that both curves are of the same points.
    parameters = builder.pw.pw.parameters.get_dict()
    parameters['SYSTEM'] |= {'ecutwfc': 24.0, 'ecutrho': 96.0}
    builder.pw.pw.parameters, builder.pw.kpoints_distance = orm.Dict(parameters), orm.Float(0.7)
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    (mode, *_) = outputs['modes']['level_0']['parents']['root']['modes']
    assert (mode['qpoint_name'], mode['irrep'], mode['degeneracy']) == ('Γ', 'T1u', 3)
    tree = outputs['tree']['phases']
    (child,) = (phase for phase in tree.values() if phase['space_group'] == 'R3m (160)')
    assert child['dynamically_stable'] is True
    assert child['parent'] == 'root'
    assert 20 < child['energy_below_root_mev_per_atom'] < 40
    check_dft(outputs, node)


def check_dft(outputs: Any, node: Any) -> None:
    """Check that each point was computed once, and that the errors are those of the two curves."""
    wells, compared = outputs['wells']['level_0']['entries'], outputs['dft']['level_0']['entries']
    amplitudes = outputs['modes']['level_0']['entries'][0]['amplitudes_angstrom']
    points = [child for child in node.called if child.process_label == 'PwBaseWorkChain']
    assert len(points) == sum(len(well['energies_ev']) for well in wells)
    for well, told in zip(wells, compared, strict=True):
        assert told['n_failed'] == 0
        assert told['energies_ev'][amplitudes.index(0.0)] == 0.0
        difference = np.array(well['energies_ev']) - np.array(told['energies_ev'])
        assert told['errors']['energy_mae_ev'] == pytest.approx(np.abs(difference).mean())
        assert np.isfinite(told['energies_ev']).all()
        assert np.ptp(told['energies_ev']) > 1e-3


@pytest.mark.thorough
@pytest.mark.real
def test_zone_boundary(make_builder: Any, analytic_code: Any) -> None:
    """The mode of R doubles the cell; depth and minimum are those of the stiffness a - 12 k."""
    settings = {'max_modes': 1, 'max_directions': 1, 'qpoints': [[0.5, 0.5, 0.5]]}
    builder = make_builder(settings, python_code=analytic_code(ANTIFERRO))
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    (entry,), (well,) = outputs['modes']['level_0']['entries'], outputs['wells']['level_0']['entries']
    assert (entry['qpoint_text'], entry['qpoint_name'], entry['n_cells']) == ('1/2 1/2 1/2', 'R', 2)
    stiffness = ANTIFERRO['a'] - 12 * ANTIFERRO['k']
    wanted = [closed_form(ANTIFERRO, stiffness, direction)[1] for direction in ((1, 0, 0), (1, 1, 0), (1, 1, 1))]
    assert min(abs(well['depth_ev'] / 2 / depth - 1) for depth in wanted) < 0.01
    assert 'phase_1' in outputs['phases']


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'amplitudes_angstrom': [-0.1, 0.1, 0.2, 0.3]}, 'lengths above zero'),
        ({'amplitudes_angstrom': [0.1, 0.2]}, 'at least three'),
        ({'amplitudes_angstrom': [0.1, 0.2, 0.3], 'fit_degree': 8}, 'too few for `settings.fit_degree`'),
        ({'qpoints': [[0.5, 0.5, 0.317]]}, r'\(0.5, 0.5, 0.317\) is not commensurate'),
        ({'qpoints': [0.5, 0.5, 0.5]}, 'three numbers each'),
        ({'max_depths': 1}, 'did you mean `max_depth`'),
        ({'max_depth': 0}, 'at least 1'),
        ({'stability_tolerance_thz': -1.0}, 'at least 0'),
    ],
)
def test_wrong_settings(make_builder: Any, settings: dict[str, Any], sentence: str) -> None:
    builder = make_builder()
    with pytest.raises(ValueError, match=sentence):
        builder.settings = orm.Dict(settings)
    assert re.search(sentence, str(validate_settings(orm.Dict(settings))))


@pytest.mark.thorough
@pytest.mark.real
def test_corrected_modes(make_builder: Any, analytic_code: Any, cscl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A potential without the soft mode gets it from labels that have it; its own energies see no way down."""
    monkeypatch.setenv('ANALYTIC_MODEL', json.dumps(FERRO))
    monkeypatch.syspath_prepend(str(ANALYTIC))
    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.science.frames import Frames

    calculator = importlib.import_module('potential_loader').make_calculator()
    images = []
    for seed in range(2):
        atoms = cscl.get_ase().repeat(2)
        atoms.rattle(0.01, seed=seed)
        calculator.calculate(atoms)
        atoms.calc = SinglePointCalculator(atoms, **calculator.results)
        images.append(atoms)
    stable = FERRO | {'a': -0.5}
    builder = make_builder({'max_modes': 1, 'max_depth': 1}, python_code=analytic_code(stable))
    builder.phonons.labels = DatasetData(Frames.from_atoms(images, role='train'), functional='analytic').store()
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    verdict = outputs['stability']['root']
    assert verdict['verdict'] == 'unstable'
    entries = outputs['modes']['level_0']['entries']
    assert {entry['irrep'] for entry in entries} == {'T1u'}
    reference = make_builder({'max_modes': 1, 'max_depth': 1}, python_code=analytic_code(FERRO))
    expected = run_get_node(reference)[0]['modes']['level_0']['entries'][0]['frequency_thz']
    assert entries[0]['frequency_thz'] == pytest.approx(expected, abs=0.02)
    assert set(outputs['phases']) == {'root'}


def test_wrong_inputs(make_builder: Any) -> None:
    builder = make_builder()
    del builder.structure
    with pytest.raises(ValueError, match='either `structure` or `phonopy_data`'):
        run_get_node(builder)
    gold = orm.StructureData(cell=np.eye(3) * 3)
    gold.append_atom(position=(0, 0, 0), symbols='Au')
    builder = make_builder()
    builder.structure = gold
    with pytest.raises(ValueError, match='does not know Au'):
        run_get_node(builder)
