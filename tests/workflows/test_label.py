"""The labelling stage: its builder, its refusals, and real runs with pw.x."""

from __future__ import annotations

import json

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import Dict, InstalledCode, Int, StructureData, TrajectoryData
from ase import Atoms
from ase.build import bulk, molecule

from aiida_equitrain.calculations.functions import label as functions
from aiida_equitrain.calculations.functions.label import RATTLE, harmonic_supercell_rows, trajectory_of
from aiida_equitrain.calculations.functions.phonons import phonon_supercell_rows
from aiida_equitrain.common.names import Recipe
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.science.extxyz import from_extxyz
from aiida_equitrain.science.frame_files import read_labelled
from aiida_equitrain.science.frames import to_extxyz
from aiida_equitrain.science.harmonic_frames import phonon_supercell
from aiida_equitrain.science.structures import check_size
from aiida_equitrain.workflows.label.builder import fit_cells
from aiida_equitrain.workflows.label.checks import supercell_matrix
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.phonons.builder import fit_dft
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

pytestmark = pytest.mark.real

#: Only the zone centre, and a cut-off far from convergence: what is tested is the plumbing.
SMALL_PW = {
    'kpoints_distance': 2.0,
    'pw': {'parameters': {'SYSTEM': {'ecutwfc': 12.0}, 'ELECTRONS': {'mixing_beta': 0.7}}},
}


@pytest.fixture
def build(silicon, starter, python_code, pw_code, pseudo_family):
    """Return a function that builds, with silicon and the fast protocol unless told."""

    def factory(**kwargs):
        defaults = {
            'structure': silicon,
            'foundation': starter,
            'python_code': python_code,
            'pw_code': pw_code,
            'pseudo_family': pseudo_family.label,
            'protocol': 'fast',
        }
        return LabelWorkChain.get_builder_from_protocol(**{**defaults, **kwargs})

    return factory


def plain(value):
    """Return a builder's inputs as plain data: dictionaries, values, and labels of codes."""
    if isinstance(value, dict) or (hasattr(value, 'items') and not hasattr(value, 'uuid')):
        return {key: plain(item) for key, item in value.items()}
    for name in ('get_dict', 'get_list'):
        if hasattr(value, name):
            return getattr(value, name)()
    if isinstance(value, InstalledCode):
        return value.label
    return getattr(value, 'value', type(value).__name__ if hasattr(value, 'uuid') else value)


def test_builder_snapshot(build, data_regression):
    inputs = plain(build()._inputs(prune=True))
    inputs['pw']['pw'].pop('metadata')
    data_regression.check(inputs)
    assert json.dumps(inputs)


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent', 'paper'])
def test_all_protocols_build(build, protocol):
    builder = build(protocol=protocol)
    assert builder.functional.value == 'PBE'
    assert builder.pw.pw.parameters['SYSTEM']['occupations'] == 'fixed'
    if protocol == 'paper':
        assert builder.selection['n_train'] == 10
        assert builder.relax['fmax_ev_per_angstrom'] == 1e-4
        assert builder.relax_structure['fmax_ev_per_angstrom'] == 1e-5
        assert builder.rattle['volume_changes'] == [-0.05, -0.025, 0.0, 0.025, 0.05]


def test_cutoffs(build):
    system = build().pw.pw.parameters['SYSTEM']
    assert (system['ecutwfc'], system['ecutrho']) == pytest.approx((28, 112))
    system = build(overrides={'cutoff_stringency': 'high'}).pw.pw.parameters['SYSTEM']
    assert system['ecutwfc'] == pytest.approx(48)
    system = build(overrides={'pw': SMALL_PW}).pw.pw.parameters['SYSTEM']
    assert (system['ecutwfc'], system['ecutrho']) == pytest.approx((12, 48))


@pytest.mark.parametrize(
    ('overrides', 'sentence'),
    [
        ({'ratle': {}}, '`ratle`.*did you mean `rattle`'),
        ({'pw': {'kpoint_distance': 1}}, r'`pw\.kpoint_distance`.*`kpoints_distance`'),
        ({'pw': {'pw': {'parameter': {}}}}, r'`pw\.pw\.parameter`'),
        ({'rattle': {'displacement': 0.1}}, '`displacement`.*`displacement_angstrom`'),
        ({'selection': {'n_trian': 3}}, '`n_trian`.*`n_train`'),
        ({'relax': {'fmax': 3}}, '`fmax`'),
        ({'rattle': {'volume_changes': [0.0]}}, 'at least two'),
        (
            {'pw': {'pw': {'parameters': {'ELECTRONS': {'conv_thr': '1.d-8'}}}}},
            r'`pw\.pw\.parameters\.ELECTRONS\.conv_thr`.*write `1.0e-08`, without quotes',
        ),
        ({'pw': {'meta_parameters': {'conv_thr_per_atom': '1d-12'}}}, 'write `1.0e-12`, without quotes'),
    ],
)
def test_unknown_override_keys_are_refused(build, overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(overrides=overrides)


def test_wrong_names_are_refused(build):
    with pytest.raises(ValueError, match='unknown protocol `quick`'):
        build(protocol='quick')
    with pytest.raises(ValueError, match='no pseudopotential family `nope`'):
        build(pseudo_family='nope')
    with pytest.raises(ValueError, match='did you mean `metal`'):
        build(electronic_type='metall')


def partly_occupied() -> StructureData:
    structure = StructureData(cell=np.eye(3) * 4)
    structure.append_atom(position=(0, 0, 0), symbols=['Si', 'Ge'], weights=[0.5, 0.5])
    return structure


def vacant() -> StructureData:
    structure = StructureData(cell=np.eye(3) * 4)
    structure.append_atom(position=(0, 0, 0), symbols='Si', weights=0.7)
    return structure


@pytest.mark.parametrize(
    ('structure', 'sentence'),
    [
        (lambda: StructureData(ase=bulk('W')), 'does not know W'),
        (partly_occupied, 'partial occupancy'),
        (vacant, 'partial occupancy'),
        (lambda: StructureData(ase=molecule('Si2', vacuum=4)), 'not periodic in three dimensions'),
        (lambda: StructureData(ase=Atoms('Si2', [[0, 0, 0], [0.5, 0, 0]], cell=[4] * 3, pbc=True)), 'atoms overlap'),
    ],
)
def test_wrong_structures_are_refused_by_builder_and_submission(build, structure, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(structure=structure())
    builder = build()
    builder.structure = structure()
    with pytest.raises(ValueError, match=sentence):
        run_get_node(builder)


def test_large_supercell_is_refused(build):
    with pytest.raises(ValueError, match='the supercell has 64 atoms, more than `max_atoms` \\(10\\)'):
        build(overrides={'max_atoms': 10})
    builder = build()
    builder.max_atoms = Int(10)
    with pytest.raises(ValueError, match='more than `max_atoms`'):
        run_get_node(builder)


def test_missing_pseudopotential_is_refused(build, pseudo_family):
    builder = build()
    builder.structure = StructureData(ase=bulk('NaCl', 'rocksalt', a=5.64))
    with pytest.raises(ValueError, match=r'no pseudopotential for Cl, Na in `pw\.pw\.pseudos`'):
        run_get_node(builder)


def test_frames_with_kinds_are_refused(build):
    """Atoms of one element that frames tell apart would be taken as equal."""
    frames = trajectory_of([bulk('Si', a=5.47, cubic=True) for _ in range(3)])
    frames.base.attributes.set('symbols', ['Si1', 'Si2'] * 4)
    with pytest.raises(ValueError, match='the frames have the kind `Si1`'):
        build(structure=None, frames=frames)


@pytest.mark.parametrize(('name', 'sentence'), [('absent', 'does not exist'), ('plain', 'is not executable')])
def test_code_that_cannot_run_is_refused(build, aiida_localhost, tmp_path, name, sentence):
    (tmp_path / 'plain').write_text('no program')
    (tmp_path / 'plain').chmod(0o644)
    builder = build()
    builder.python_code = InstalledCode(
        label=name, computer=aiida_localhost, filepath_executable=str(tmp_path / name)
    ).store()
    with pytest.raises(ValueError, match=f'`python_code`: .*{sentence}'):
        run_get_node(builder)


def test_frames_are_checked(build):
    images = [bulk('Si', a=5.47, cubic=True) for _ in range(2)]
    with pytest.raises(ValueError, match='fewer than `min_frames`'):
        run_get_node(build(frames=trajectory_of(images)))
    images[1].positions[0] = images[1].positions[1] + 0.1
    with pytest.raises(ValueError, match='`frames` 1: atoms overlap'):
        run_get_node(build(frames=trajectory_of(images), overrides={'min_frames': 2}))


def check_import(node, dataset):
    """Compare what `data import` reads of the output of pw.x with what was stored: energy, forces, stress, signs."""
    jobs = {job.uuid: job for job in node.called_descendants if job.process_label == 'PwCalculation'}
    for frame, source in zip(dataset.get_frames(), dataset.sources, strict=True):
        with jobs[source].outputs.retrieved.as_path() as folder:
            (read,) = read_labelled(folder / 'aiida.out').frames
        assert read.energy == pytest.approx(frame.energy, rel=1e-7)
        assert read.forces == pytest.approx(frame.forces, abs=1e-4)
        assert read.stress == pytest.approx(frame.stress, abs=2e-5)
        assert np.array_equal(read.numbers, frame.numbers)


@pytest.mark.parametrize('recipe', ['paper', 'harmonic', 'mixed'])
def test_recipes(build, recipe):
    """A recipe brings the inputs that it needs, and no others; its name may stand in the overrides."""
    for builder in (build(recipe=recipe), build(overrides={'recipe': recipe})):
        assert ('rattle' in builder) == ('relax' in builder) == (recipe != 'harmonic')
        assert ('harmonic' in builder) == ('relax_dft' in builder._inputs(prune=True)) == (recipe != 'paper')
        assert builder.min_frames.value == (1 if recipe == 'harmonic' else 8)


def test_harmonic_recipe_is_that_of_the_phonons(build, silicon, phonopy_code, pw_code, pseudo_family):
    """Supercell and DFT of the relaxation are those of `equitrain.phonons` of the same protocol."""
    kinds = {'pw_code': pw_code, 'pseudo_family': pseudo_family.label}
    for protocol in ('fast', 'balanced', 'paper'):
        inputs = {'protocol': protocol, 'overrides': {'max_atoms': 2000}}
        builder = build(recipe='harmonic', **inputs)
        phonons = PhononsWorkChain.get_builder_from_protocol(silicon, phonopy_code, **kinds, **inputs)
        length = builder.harmonic['min_length_angstrom']
        assert length == phonons.settings['min_length_angstrom']
        matrix = harmonic_supercell_rows(silicon, builder.harmonic.get_dict(), 1e-4)
        assert matrix == phonon_supercell_rows(silicon, phonons.settings.get_dict(), 1e-4)
        relax = phonons.relax._inputs(prune=True)
        assert plain(builder.relax_dft._inputs(prune=True)) == plain(relax)
        assert 'base_relax' in relax
    pw = {'pw': {'parameters': {'SYSTEM': {'ecutwfc': 12.0}, 'ELECTRONS': {'conv_thr': 1e-6}}}}
    builder = build(recipe='harmonic', overrides={'harmonic': {'min_length_angstrom': 8.0}, 'pw': pw})
    assert builder.harmonic['min_length_angstrom'] == 8.0
    assert builder.relax_dft.base_relax.pw.parameters['SYSTEM']['ecutwfc'] == 12
    # Thresholds that grow with the number of atoms are those of the supercells only.
    assert builder['pw'].pw.parameters['ELECTRONS']['conv_thr'] == 1e-6
    assert builder.relax_dft.base_relax.pw.parameters['ELECTRONS']['conv_thr'] < 1e-8


@pytest.mark.parametrize(
    ('overrides', 'sentence'),
    [
        ({'recipe': 'harmonics'}, 'unknown `recipe` `harmonics`.*`harmonic`'),
        ({'harmonic': {'pairs': True, 'n_frames': 3}}, r'`harmonic\.n_frames` is 3.*must be even'),
        ({'harmonic': {'relax': 'vasp'}}, r'`harmonic\.relax` is .vasp.; it must be one of dft, potential, none'),
        ({'harmonic': {'displacement_angstrom': 1.0}}, 'at most 0.2'),
        ({'harmonic': {'amplitude': 0.01}}, '`amplitude`'),
        ({'max_atoms': 10}, '64 atoms, more than `max_atoms`'),
    ],
)
def test_wrong_harmonic_recipes_are_refused(build, overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(overrides={'recipe': 'harmonic', **overrides})


def test_harmonic_recipe_needs_what_relaxes(build):
    builder = build(recipe='harmonic')
    builder.pop('relax_dft')
    with pytest.raises(ValueError, match=r'`harmonic\.relax` is `dft`: give `relax_dft`'):
        run_get_node(builder)
    builder = build(recipe='harmonic', overrides={'harmonic': {'relax': 'potential'}})
    assert 'relax_structure' in builder
    builder.pop('relax_structure')
    with pytest.raises(ValueError, match='give `relax_structure`'):
        run_get_node(builder)
    builder = build(recipe='harmonic', overrides={'min_frames': 3})
    with pytest.raises(ValueError, match=r'`harmonic.n_frames` is 2, fewer than `min_frames` \(3\)'):
        run_get_node(builder)


def test_mixed_silicon_is_labelled(build):
    """Eight atoms: frames of both recipes in one dataset; the conventional cell is relaxed by DFT as two atoms."""
    conventional = StructureData(ase=bulk('Si', a=5.40, cubic=True))
    overrides = {
        'rattle': {'min_length_angstrom': 5.0, 'max_length_angstrom': 10.0, 'volume_changes': [-0.02, 0.0]},
        'selection': {'frames_per_trajectory': 1},
        'harmonic': {'min_length_angstrom': 5.0, 'pairs': True},
        'min_frames': 4,
        # At the zone centre alone, gaps of eight atoms close under a strain.
        'pw': {**SMALL_PW, 'kpoints_distance': 0.7},
    }
    results, node = run_get_node(build(structure=conventional, recipe='mixed', overrides=overrides))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    dataset = results['dataset']
    assert dataset.recipes == ['paper', 'paper', 'harmonic', 'harmonic']
    assert dataset.counts == {'train': 3, 'valid': 1, 'test': 0}
    assert dataset.roles[2:] == ['train', 'train']
    frames = dataset.get_frames()
    assert [frame.recipe for frame in frames] == dataset.recipes
    assert [frame.trajectory for frame in frames[2:]] == [-1, -1]

    crystal = results['harmonic_structure']
    (relaxation,) = (item for item in node.called if item.process_label == 'PwRelaxWorkChain')
    assert len(relaxation.inputs.structure.sites) == 2
    assert len(crystal.sites) == 8
    assert crystal.get_cell_volume() == pytest.approx(4 * relaxation.outputs.output_structure.get_cell_volume())
    assert crystal.get_cell_volume() != pytest.approx(conventional.get_cell_volume(), rel=1e-3)
    supercell = phonon_supercell(crystal.get_ase(), results['phonon_supercell_matrix'].get_list())
    shifts = [frame.positions - supercell.positions for frame in frames[2:]]
    assert shifts[0] == pytest.approx(-shifts[1], abs=1e-9)
    assert np.sqrt((shifts[0] ** 2).sum(axis=1).mean()) == pytest.approx(0.01, rel=0.5)
    assert all(np.allclose(frame.cell, supercell.cell[:]) for frame in frames[2:])
    # What is odd in the displacements is nearly all of the forces.
    total, odd = (np.abs(frames[2].forces - sign * frames[3].forces).max() for sign in (1, -1))
    assert odd < 0.2 * total
    shown = to_extxyz(frames)
    assert 'recipe="_JSON' in shown
    assert [frame.recipe for frame in from_extxyz(shown)] == dataset.recipes


def test_tolerance_needs_an_even_budget_of_pairs(build):
    settings = {'pairs': True, 'phonon_tolerance_thz': 0.01, 'max_frames': 5}
    with pytest.raises(ValueError, match=r'`harmonic\.max_frames` is 5.*must be even'):
        build(recipe='harmonic', overrides={'harmonic': settings})
    with pytest.raises(ValueError, match='above 0'):
        build(recipe='harmonic', overrides={'harmonic': {'phonon_tolerance_thz': 0.0}})


def test_as_many_labels_as_needed(build):
    """Silicon, eight atoms: one label after the other until the error bar is small enough, or the budget is spent."""
    settings = {'relax': 'none', 'min_length_angstrom': 5.0, 'n_frames': 1, 'max_frames': 3}
    overrides = {'max_concurrent': 1, 'pw': {**SMALL_PW, 'kpoints_distance': 0.7}}

    def run(**more):
        overrides['harmonic'] = {**settings, **more}
        return run_get_node(build(recipe='harmonic', overrides=overrides))

    results, node = run(phonon_tolerance_thz=1.0)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert results['rounds']['reason'] == 'phonon_tolerance_thz'
    assert [item['n_frames'] for item in results['rounds']['rounds']] == [1]
    assert 0 < results['rounds']['rounds'][0]['uncertainty_thz'] <= 1.0
    assert results['dataset'].n_frames == 1
    assert len(results['harmonic_frames'].get_positions()) == 3

    with enable_caching():
        results, node = run(phonon_tolerance_thz=1e-9, max_frames=2)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert results['rounds']['reason'] == 'max_frames'
    assert [item['n_frames'] for item in results['rounds']['rounds']] == [1, 2]
    assert results['dataset'].n_frames == 2
    called = [item.process_label for item in node.called]
    assert called.count('CorrectCalculation') == called.count('PwBaseWorkChain') == 2


def test_a_frame_that_fails_is_followed_by_the_next(build, monkeypatch):
    """The first label is refused: the next spare one is made, and corrects."""
    settings = {
        'relax': 'none',
        'min_length_angstrom': 5.0,
        'n_frames': 1,
        'max_frames': 2,
        'phonon_tolerance_thz': 1.0,
    }
    overrides = {'max_concurrent': 1, 'harmonic': settings, 'pw': {**SMALL_PW, 'kpoints_distance': 0.7}}
    check, refused = functions.check_labels, []

    def refuse_the_first(frame):
        refused.append(frame.energy)
        return 'its electrons are excited' if frame.energy == refused[0] else check(frame)

    monkeypatch.setattr(functions, 'check_labels', refuse_the_first)
    results, node = run_get_node(build(recipe='harmonic', overrides=overrides))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert list(results['dropped']['frames']) == ['harmonic_000']
    assert results['rounds']['reason'] == 'phonon_tolerance_thz'
    assert [item['n_frames'] for item in results['rounds']['rounds']] == [1]


@pytest.mark.thorough
def test_rattled_silicon_is_labelled(build):
    """Relax the structure, rattle it, relax, choose and label: eight atoms, four frames, one mesh."""
    overrides = {
        'rattle': {'min_length_angstrom': 5.0, 'max_length_angstrom': 10.0, 'volume_changes': [-0.02, 0.0]},
        'selection': {'frames_per_trajectory': 2},
        'min_frames': 4,
        'pw': SMALL_PW,
    }
    results, node = run_get_node(build(overrides=overrides))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    dataset = results['dataset']
    assert dataset.counts == {'train': 2, 'valid': 2, 'test': 0}
    assert dataset.trajectories == [0, 0, 1, 1]
    assert dataset.functional == 'PBE'
    assert dataset.code.startswith('Quantum ESPRESSO')
    assert dataset.has_stress
    assert dataset.max_atoms == 8
    check_import(node, dataset)
    frames = dataset.get_frames()
    volumes = [abs(np.linalg.det(frame.cell)) for frame in frames]
    assert volumes[0] / volumes[2] == pytest.approx(0.98)
    chosen = results['frames'].get_positions()
    assert all(np.array_equal(frame.positions, chosen[row]) for row, frame in enumerate(frames))
    assert all(np.abs(frame.forces.sum(axis=0)).max() < 0.05 for frame in frames)
    assert frames[0].energy > frames[1].energy
    assert results['dropped']['n_dropped'] == 0
    assert np.abs(np.linalg.det(results['supercell_matrix'].get_list())) == pytest.approx(4)
    relaxations = [item for item in node.called if item.process_label == 'RelaxCalculation']
    assert len(relaxations) == 2
    sources = {item.uuid for item in node.called_descendants if item.process_label == 'PwCalculation'}
    assert set(dataset.sources) == sources


@pytest.fixture
def frames_one_bad() -> TrajectoryData:
    """Return three frames of silicon; pw.x refuses the second, whose cell has two atoms at nearly one place."""
    rng = np.random.default_rng(0)
    images = [bulk('Si', a=5.47) for _ in range(3)]
    for image in images:
        image.positions += rng.normal(scale=0.05, size=(2, 3))
    return trajectory_of(images)


@pytest.mark.thorough
def test_failed_frame_is_dropped_and_the_rest_is_kept(build, frames_one_bad, monkeypatch):
    """One frame makes pw.x fail for real: its second atom sits on the first, which is let through for the test."""
    positions = frames_one_bad.get_positions().copy()
    positions[1, 1] = positions[1, 0]
    bad = trajectory_of([Atoms('Si2', item, cell=frames_one_bad.get_cells()[0], pbc=True) for item in positions])
    monkeypatch.setattr('aiida_equitrain.workflows.label.checks.check_overlap', lambda image: None)
    results, node = run_get_node(build(structure=None, frames=bad, overrides={'min_frames': 2, 'pw': SMALL_PW}))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert list(results['dropped']['frames']) == ['frame_001']
    assert results['dataset'].n_frames == 2
    assert np.array_equal(results['dataset'].get_frames()[1].positions, positions[2])
    assert results['dataset'].counts['valid'] == 1

    results, node = run_get_node(build(structure=None, frames=bad, overrides={'min_frames': 3, 'pw': SMALL_PW}))
    assert node.exit_status == LabelWorkChain.exit_codes.ERROR_TOO_FEW_FRAMES.status
    assert '2 of 3 remain' in node.exit_message
    assert results['dataset'].n_frames == 2


@pytest.mark.thorough
def test_stress_and_forces_are_derivatives_of_the_energy(build):
    """Units and signs of what pw.x wrote, against finite differences of its energies."""
    start = bulk('Si', a=5.3)
    start.positions[1] += [0.1, 0.05, 0.02]
    step = 0.005
    images = [start]
    for sign in (1, -1):
        strained = start.copy()
        strained.set_cell(start.cell[:] @ (np.eye(3) + sign * step * np.diag([1, 0, 0])), scale_atoms=True)
        moved = start.copy()
        moved.positions[1, 0] += sign * 0.01
        images += [strained, moved]
    system = {'ecutwfc': 30.0, 'qcutz': 30.0, 'ecfixed': 24.0, 'q2sigma': 2.0, 'nosym': True}
    overrides = {'pw': {'kpoints_distance': 0.5, 'pw': {'parameters': {'SYSTEM': system}}}}
    results, node = run_get_node(
        build(structure=None, frames=trajectory_of(images), overrides={**overrides, 'min_frames': 5})
    )
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    frames = results['dataset'].get_frames()
    volume = abs(np.linalg.det(frames[0].cell))
    assert frames[0].stress[0, 0] == pytest.approx(
        (frames[1].energy - frames[3].energy) / (2 * step * volume), rel=0.03
    )
    assert frames[0].forces[1, 0] == pytest.approx(-(frames[2].energy - frames[4].energy) / 0.02, rel=0.02)
    assert frames[0].stress[0, 0] < 0, 'compressed silicon pushes outwards: negative in the sign of ASE'


def test_functional_has_to_be_known(build, monkeypatch):
    from aiida_equitrain.workflows import dft as dft_inputs

    assert dft_inputs.functional_of('SSSP/1.3/PBEsol/efficiency', {'pw': {'parameters': Dict({})}}) == 'PBEsol'
    with pytest.raises(ValueError, match='give `functional`'):
        dft_inputs.functional_of('mine', {'pw': {'parameters': Dict({})}})


@pytest.mark.parametrize(
    ('cell', 'edge'), [(bulk('MgO', 'rocksalt', a=4.25), 9.0), (bulk('Si', a=5.47), 10.0)], ids=['MgO', 'Si']
)
def test_fast_fits(aiida_profile, cell, edge) -> None:
    """`fast` takes the longest edge whose supercell is within its own limit, and leaves what fits as it is."""
    inputs = LabelWorkChain.get_protocol_inputs('fast')
    structure = StructureData(ase=cell)
    fit_cells(structure, inputs, {}, (Recipe.PAPER,))
    assert with_defaults(inputs['rattle'], RATTLE)['min_length_angstrom'] == edge
    matrix = supercell_matrix(structure, None, inputs['rattle'], inputs['symprec'])
    assert check_size(len(cell), inputs['max_atoms'], matrix) is None
    given = LabelWorkChain.get_protocol_inputs('fast')
    fit_cells(structure, given, {'rattle': {'min_length_angstrom': 10.0}}, (Recipe.PAPER,))
    assert given == LabelWorkChain.get_protocol_inputs('fast')


@pytest.mark.parametrize(('cell', 'edge'), [(bulk('MgO', 'rocksalt', a=4.25), 9.0), (bulk('Si', a=5.47), 10.0)])
def test_phonons_of_dft_fit(aiida_profile, cell, edge) -> None:
    """So do the phonons of DFT, unless their edge is given."""
    inputs, structure = PhononsWorkChain.get_protocol_inputs('fast'), StructureData(ase=cell)
    fit_dft(structure, inputs, {})
    assert inputs['settings']['min_length_angstrom'] == edge
    assert abs(np.linalg.det(phonon_supercell_rows(structure, inputs['settings'], inputs['symprec']))) * 2 <= 100
    for protocol, overrides in (('fast', {'settings': {'min_length_angstrom': 10.0}}), ('balanced', {})):
        given = PhononsWorkChain.get_protocol_inputs(protocol)
        fit_dft(structure, given, overrides)
        assert given == PhononsWorkChain.get_protocol_inputs(protocol)


def test_line_that_raises_the_limit() -> None:
    """The sentence about the limit has the line to paste."""
    sentence = check_size(2, 100, [[0, 4, 4], [4, 0, 4], [4, 4, 0]], 'label')
    assert sentence is not None
    assert 'by a line of `--overrides`: `max_atoms: 256` (of the main job: `label: {max_atoms: 256}`)' in sentence
