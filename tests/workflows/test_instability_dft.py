"""Phases that DFT finds, without a potential: a real search, what is refused, and what a failure costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage import get_manager
from aiida_phonopy.data import PhonopyData, PreProcessData
from ase.build import bulk

from aiida_equitrain.calculations.functions.instability import fit_wells
from aiida_equitrain.calculations.functions.instability_dft import take_dft_relaxations, take_dft_scan
from aiida_equitrain.launch.nodes import load_crystal, load_phases
from aiida_equitrain.report.write import write_report
from aiida_equitrain.science import frames as batch
from aiida_equitrain.workflows.instability.workchain import InstabilityWorkChain
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

pytestmark = pytest.mark.real

SETTINGS = {
    'max_modes': 1,
    'max_directions': 1,
    'max_depth': 1,
    'qpoints': [[0, 0, 0]],
    'amplitudes_angstrom': [0.15, 0.3, 0.45],
    'fit_degree': 4,
}


@pytest.fixture
def telluride(aiida_profile: Any) -> orm.StructureData:
    """Return cubic GeTe, which falls into the ferroelectric phase."""
    return orm.StructureData(ase=bulk('GeTe', 'rocksalt', a=6.0))


@pytest.fixture
def soft_phonons(telluride: Any) -> PhonopyData:
    """Return phonons of one cell in which the two atoms repel one another."""
    data = PreProcessData(structure=telluride, supercell_matrix=np.eye(3, dtype=int).tolist())
    data.set_displacements(distance=0.01)
    phonon = data.get_phonopy_instance()
    moves = [cell.positions - phonon.supercell.positions for cell in phonon.supercells_with_displacements]
    phonons = PhonopyData(preprocess_data=data)
    phonons.set_forces(sets_of_forces=np.array([2.0 * (move - move[::-1]) for move in moves]))
    return phonons.store()


@pytest.fixture
def make_builder(telluride: Any, phonopy_code: Any, python_code: Any, pw_code: Any, pseudo_family: Any) -> Any:
    """Return a factory of builders without a potential, far from convergence."""

    def factory(**changes: Any) -> Any:
        coarse = {'kpoints_distance': 0.7, 'pw': {'parameters': {'SYSTEM': {'ecutwfc': 24.0}}}}
        settings = {'min_length_angstrom': 4.0, 'mesh': [2, 2, 2], 'temperature_step_k': 500.0}
        arguments = {
            'postprocess_code': python_code,
            'pw_code': pw_code,
            'pseudo_family': pseudo_family.label,
            'relax': False,
            'supercell_matrix': np.eye(3, dtype=int).tolist(),
            'protocol': 'fast',
            'overrides': {
                'settings': SETTINGS,
                'max_concurrent': 2,
                'pw': coarse,
                'pw_relax': {
                    'base_relax': {'pw': {'parameters': {'CONTROL': {'forc_conv_thr': 1e-2, 'etot_conv_thr': 1e-3}}}}
                },
                'phonons': {'settings': settings, 'pw': coarse},
            },
            'options': {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False},
        }
        return InstabilityWorkChain.get_builder_from_protocol(telluride, phonopy_code, **(arguments | changes))

    return factory


def process_of(builder: Any) -> Any:
    """Return the process of a builder, not started."""
    return get_manager().get_runner().instantiate_process(builder)


@pytest.mark.thorough
def test_real(make_builder: Any, soft_phonons: Any, tmp_path: Any) -> None:
    """DFT alone: cubic GeTe falls into a polar phase with the energy that its scan and its relaxation tell."""
    builder = make_builder(phonopy_data=soft_phonons)
    assert 'potential' not in builder._inputs(prune=True)
    builder.phonons.pop('pw')
    # So far from convergence only the shape of the cell can be relaxed, not its volume.
    parameters = builder.pw_relax.base_relax.pw.parameters.get_dict()
    parameters['CELL'] |= {'cell_dofree': 'shape', 'press_conv_thr': 10.0}
    builder.pw_relax.base_relax.pw.parameters = orm.Dict(parameters)
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    children = [child.process_label for child in node.called if not isinstance(child, orm.CalcFunctionNode)]
    assert sorted(children) == ['ModesCalculation', *['PwBaseWorkChain'] * 4, 'PwRelaxWorkChain']
    (entry,), (well,) = outputs['modes']['level_0']['entries'], outputs['wells']['level_0']['entries']
    assert (entry['qpoint_name'], entry['irrep']) == ('Γ', 'T1u')
    assert well['energies_ev'][entry['amplitudes_angstrom'].index(0.0)] == 0.0
    assert set(outputs['phases']) == {'root', 'phase_1'}
    phase = outputs['tree']['phases']['phase_1']
    assert phase['space_group'] in ('I4mm (107)', 'R3m (160)')
    assert phase['energy_below_root_mev_per_atom'] > -1000 * min(well['energies_ev']) / entry['n_atoms'] - 0.1
    assert phase['dynamically_stable'] is None
    assert set(load_phases(str(node.pk))) == {'root', 'phase_1'}
    assert load_crystal(str(soft_phonons.pk))[1].uuid == soft_phonons.uuid
    write_report(node, tmp_path / 'page')
    assert 'Marks: DFT' in (tmp_path / 'page' / 'report.html').read_text()


def test_dft_phonons(make_builder: Any) -> None:
    """Without phonons that exist, DFT makes them: those of the structure with its relaxation, of a phase without."""
    process = process_of(make_builder(relax=True))
    process.setup()
    submitted = []
    process.launch = lambda _, inputs, label: submitted.append((label, inputs))
    process.to_context = lambda **_: None
    process.ctx.waiting = ['root', 'phase_1']
    process.ctx.structures['phase_1'] = process.ctx.structures['root']
    assert process.should_run_phonons()
    process.run_phonons()
    process.ctx.phonons['root'] = 'given'
    process.run_phonons()
    assert [label for label, _ in submitted] == ['phonons_root', 'phonons_phase_1']
    parts = ('relax', 'supercell_matrix', 'pw', 'potential')
    assert [[part in inputs for part in parts] for _, inputs in submitted] == [
        [True, True, True, False],
        [False, False, True, False],
    ]
    for _, inputs in submitted:
        inputs.metadata = {}
        get_manager().get_runner().instantiate_process(PhononsWorkChain, **inputs)


def test_nothing_to_compute_phonons_with(make_builder: Any, soft_phonons: Any) -> None:
    """Phases of DFT without `phonons.pw` are told of, and not examined."""
    builder = make_builder(phonopy_data=soft_phonons)
    builder.phonons.pop('pw')
    process = process_of(builder)
    process.setup()
    assert not process.should_run_phonons()
    assert process.ctx.waiting == ['root']
    process.ctx.waiting = ['phase_1']
    assert not process.should_run_phonons()
    assert process.ctx.waiting == []


def test_failed_relaxation(make_builder: Any, soft_phonons: Any, telluride: Any, ended: Any) -> None:
    """Of two relaxations one fails: the phase of the other is there, and 406 tells of the failure."""
    process = process_of(make_builder(phonopy_data=soft_phonons))
    process.setup()
    atoms = telluride.get_ase()
    atoms.positions[1] += 0.2
    place = {'parent': 'root', 'qpoint': [0, 0, 0], 'qpoint_text': '0 0 0', 'qpoint_name': 'Γ', 'irrep': 'T1u'}
    entry = {**place, 'frequency_thz': -3.0, 'direction': [1.0], 'n_atoms': 2}
    process.ctx.modes = orm.WorkChainNode().store()
    modes = orm.Dict({'entries': [entry]}).store()
    modes.base.links.add_incoming(process.ctx.modes, LinkType.RETURN, 'modes')
    process.ctx.wells = orm.Dict({'entries': [{'energy_parent_ev_per_atom': -10.0}]}).store()
    process.ctx.starts = starts_of([atoms, atoms])
    process.setup_dft_relax()
    assert process.ctx.queue == ['point_0', 'point_1']
    relaxed = ended(0)
    process.ctx.queue, process.ctx.running = [], {'point_0': ended(401).pk, 'point_1': relaxed.pk}
    outputs = {
        'output_structure': orm.StructureData(ase=atoms).store(),
        'output_parameters': orm.Dict({'energy': -20.1}).store(),
    }
    for label, node in outputs.items():
        node.base.links.add_incoming(relaxed, LinkType.RETURN, label)
    process.inspect_dft_relax()
    assert not process.has_jobs()
    process.collect_dft_relax()
    process.collect_phases()
    code = process.results()
    assert code.status == process.exit_codes.ERROR_DFT_RELAXATION_FAILED.status == 406
    assert 'what went wrong' in code.message
    phase = process.outputs['tree']['phases']['phase_1']
    assert phase['space_group'] == 'R3m (160)'
    assert phase['energy_below_root_mev_per_atom'] == pytest.approx(50.0)
    assert set(process.outputs['phases']) == {'root', 'phase_1'}


def starts_of(structures: list[Any]) -> orm.ArrayData:
    """Return structures as those where relaxations begin."""
    node = orm.ArrayData()
    packed = batch.pack([(atoms.numbers, atoms.positions, atoms.cell[:]) for atoms in structures])
    for name, array in packed.items():
        node.set_array(name, array)
    node.set_array('entry', np.zeros(len(structures), dtype=np.int64))
    node.set_array('amplitude', np.full(len(structures), 0.2))
    return node.store()


def test_failed_points(telluride: Any) -> None:
    """A point that failed is left out of the fit; a direction of which too few remain has no well."""
    atoms = telluride.get_ase()
    frames = starts_of([atoms] * 8)
    frames = orm.ArrayData({**{name: frames.get_array(name) for name in frames.get_arraynames()},
                            'entry': np.repeat([0, 1], 4)}).store()  # fmt: skip
    energies = (0.0, -0.1, -0.2, 0.1)
    points = {f'point_{index}': orm.Dict({'energy': energies[index % 4]}) for index in range(8) if index not in (1, 4)}
    scan = take_dft_scan(frames, **points)
    assert np.isnan(scan.get_array('energies')).nonzero()[0].tolist() == [1, 4]
    entry = {'amplitudes_angstrom': [0.0, 0.1, 0.2, 0.3], 'two_sided': False, 'inertia_amu': 1.0, 'n_atoms': 2}
    fitted = fit_wells(orm.Dict({'entries': [entry, entry]}), frames, scan, orm.Dict({'fit_degree': 4}))
    first, second = fitted['wells']['entries']
    assert first['energies_ev'] == [0.0, None, -0.2, 0.1]
    assert second is None
    starts = fitted['starts']
    assert (starts.get_array('entry').tolist(), starts.get_array('amplitude').tolist()) == ([0], [0.2])
    relaxed = take_dft_relaxations(starts)
    assert relaxed.get_array('free_converged').tolist() == [False]
    assert np.allclose(relaxed.get_array('free_positions'), atoms.positions)


def changed(builder: Any, *path: str, to: Any) -> None:
    """Change one value of the parameters of the relaxation."""
    base = builder.pw_relax.base_relax
    parameters = base.pw.parameters.get_dict()
    parameters[path[0]][path[1]] = to
    base.pw.parameters = orm.Dict(parameters)


def test_wrong(make_builder: Any, soft_phonons: Any, starter: Any, python_code: Any) -> None:
    """Each wrong combination has its sentence before anything is submitted."""

    def without(*names: str) -> Any:
        return lambda builder: [builder.pop(name, None) for name in names]

    def with_potential(builder: Any) -> None:
        builder.potential, builder.python_code = starter, python_code

    for change, sentence in (
        (without('pw_relax'), r'either from a `potential` .* or from DFT \(both `pw` and `pw_relax`\)'),
        (without('pw'), r'either from a `potential` .* or from DFT'),
        (without('postprocess_code'), 'need a `postprocess_code`'),
        (with_potential, '`pw_relax` is for phases of DFT: leave it out, or the `potential`'),
        (lambda builder: setattr(builder, 'potential', starter), 'a `potential` needs a `python_code`'),
        (lambda builder: changed(builder, 'CONTROL', 'calculation', to='relax'), 'to `vc-relax`'),
        (lambda builder: changed(builder, 'SYSTEM', 'ecutwfc', to=40.0), r'differ in `SYSTEM.ecutwfc`'),
        (lambda builder: setattr(builder.pw, 'kpoints_distance', orm.Float(0.5)), 'differ in `kpoints_distance`'),
        (lambda builder: builder.pw.pw.pseudos.pop('Te'), 'no pseudopotential for Te in `pw.pw.pseudos`'),
    ):
        builder = make_builder(phonopy_data=soft_phonons)
        change(builder)
        with pytest.raises(ValueError, match=sentence):
            process_of(builder)
    builder = make_builder()
    builder.phonons.pop('pw')
    with pytest.raises(ValueError, match=r'the phonons of `structure` need `phonons.pw`'):
        process_of(builder)
    for given in ({}, {'phonopy_data': soft_phonons}):
        builder = make_builder(**given)
        builder.phonons.pw.pop('kpoints_distance')
        with pytest.raises(ValueError, match='`phonons`: `pw` needs a `kpoints_distance`'):
            process_of(builder)
    with pytest.raises(ValueError, match='give a `potential` with its `python_code`, or `pw_code`'):
        make_builder(pw_code=None)


def test_not_phases_of_dft(aiida_profile: Any) -> None:
    """What is given as phases of DFT must be a search for them, without a potential, that has ended."""
    with pytest.raises(ValueError, match='there is no `nothing`'):
        load_phases('nothing')
    with pytest.raises(ValueError, match=r'is no `equitrain.instability`'):
        load_phases(str(orm.Int(1).store().pk))
    node = orm.WorkChainNode()
    node.set_process_type('aiida.workflows:equitrain.instability')
    node.store()
    with pytest.raises(ValueError, match='has no phases'):
        load_phases(str(node.pk))
    node = orm.WorkChainNode()
    node.set_process_type('aiida.workflows:equitrain.instability')
    node.base.links.add_incoming(orm.Int(1).store(), LinkType.INPUT_WORK, 'potential')
    node.store()
    with pytest.raises(ValueError, match='found its phases with a potential'):
        load_phases(str(node.pk))
