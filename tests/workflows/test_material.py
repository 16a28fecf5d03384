"""The main job: what a builder holds, sentences for wrong input, and how a failing part ends it."""

from __future__ import annotations

from typing import Any

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.manage import get_manager
from aiida.plugins import WorkflowFactory
from ase.build import bulk

pytestmark = pytest.mark.real


@pytest.fixture
def make_builder(make_material_builder: Any) -> Any:
    """Return a factory of builders of the main job; ``None`` removes an argument."""
    return make_material_builder


def plain(values: Any) -> Any:
    """Return inputs as plain values; nodes without a value by the name of their class."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if isinstance(values, orm.Dict):
        return values.get_dict()
    return getattr(values, 'value', type(values).__name__ if isinstance(values, orm.Node) else values)


def test_builder(make_builder: Any) -> None:
    """Every stage has its inputs once; what they share stands at the top."""
    inputs = plain(make_builder()._inputs(prune=True))
    assert set(inputs) == {
        'structure', 'foundation', 'python_code', 'phonopy_code', 'max_concurrent', 'label', 'finetune', 'phonons',
        'dft_phonons', 'compare', 'at_dft_cell',
    }  # fmt: skip
    assert inputs['max_concurrent'] == 2
    shared = {'structure', 'foundation', 'potential', 'python_code', 'phonopy_code', 'max_concurrent'}
    for stage in ('label', 'finetune', 'phonons', 'dft_phonons'):
        assert not shared & set(inputs[stage])
    assert set(inputs['finetune']['train']) == {'hyperparameters', 'metadata', 'monitors', 'seed', 'strategy'}
    assert inputs['finetune']['train']['strategy'] == 'l2-tsp'
    assert 'pw' not in inputs['phonons']
    assert 'potential_forces' not in inputs['dft_phonons']
    options = inputs['dft_phonons']['pw']['pw']['metadata']['options']
    assert options['withmpi'] is False
    assert inputs['label']['pw']['pw']['metadata']['options']['withmpi'] is False
    settings = [inputs[stage]['settings'] for stage in ('phonons', 'dft_phonons')]
    assert settings[0] == settings[1]


def test_fast_fits(make_builder: Any) -> None:
    """Cells of all stages are made to fit the limit of `fast`, and those of the phonons are the same."""
    magnesia = orm.StructureData(ase=bulk('MgO', 'rocksalt', a=4.25))
    edges = {}
    for recipe in ('paper', 'mixed'):
        inputs = plain(make_builder(structure=magnesia, overrides={'label': {'recipe': recipe}})._inputs(prune=True))
        edges[recipe] = [inputs[stage]['settings']['min_length_angstrom'] for stage in ('phonons', 'dft_phonons')]
    assert edges == {'paper': [9.0, 9.0], 'mixed': [9.0, 9.0]}
    # At Γ alone, which the protocol's own distance would not be in so small a cell; the unit cell keeps it.
    assert all(0.65 < inputs[stage]['pw']['kpoints_distance'] < 0.8 for stage in ('label', 'dft_phonons'))
    assert inputs['dft_phonons']['relax']['base_relax']['kpoints_distance'] == 0.6
    given = {'dft_phonons': {'settings': {'min_length_angstrom': 10.0}}}
    inputs = plain(make_builder(structure=magnesia, overrides=given)._inputs(prune=True))
    assert inputs['phonons']['settings']['min_length_angstrom'] == 10.0


def test_builder_options(make_builder: Any) -> None:
    """Options without resources reach every job; none asks for MPI of a code that is serial."""
    inputs = plain(make_builder(options={'max_wallclock_seconds': 600})._inputs(prune=True))
    phonons, dft = inputs['phonons'], inputs['dft_phonons']
    serial = [phonons['potential_relax'], phonons['potential_forces'], phonons['phonopy'], inputs['compare']]
    quantum = [inputs['label']['pw']['pw'], dft['pw']['pw'], dft['relax']['base_relax']['pw']]
    for job in (*serial, *quantum, inputs['finetune']['train'], dft['phonopy']):
        options = job['metadata']['options']
        assert (options['max_wallclock_seconds'], options['withmpi']) == (600, False)
        assert options['resources']['num_machines'] == 1


def test_builder_choices(make_builder: Any, tiny_dataset: Any) -> None:
    """Given frames replace the labelling; without DFT no pw.x is needed; seed, strategy, overrides arrive."""
    builder = make_builder(
        dataset=tiny_dataset,
        dft=False,
        pw_code=None,
        pseudo_family=None,
        strategy='transfer',
        seed=7,
        forgetting_dataset=tiny_dataset,
        overrides={'finetune': {'train': {'hyperparameters': {'epochs': 3}}}, 'max_concurrent': 5},
        supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]],
    )
    inputs = plain(builder._inputs(prune=True))
    assert 'label' not in inputs
    assert 'dft_phonons' not in inputs
    assert inputs['finetune']['train']['forgetting_dataset'] == 'DatasetData'
    assert inputs['finetune']['train']['strategy'] == 'transfer'
    assert inputs['finetune']['train']['seed'] == 7
    assert inputs['finetune']['train']['hyperparameters']['epochs'] == 3
    assert inputs['max_concurrent'] == 5
    assert inputs['supercell_matrix'] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    get_manager().get_runner().instantiate_process(builder)


def test_builder_without_training(
    silicon: Any, starter: Any, python_code: Any, pw_code: Any, phonopy_code: Any, pseudo_family: Any
) -> None:
    """Nothing is trained, and the frames are those for phonons, unless others are asked for."""
    for label, ports in (({}, {'harmonic'}), ({'recipe': 'paper'}, {'rattle'})):
        builder = WorkflowFactory('equitrain.material').get_builder_from_protocol(
            silicon, starter, python_code=python_code, phonopy_code=phonopy_code, pw_code=pw_code,
            pseudo_family=pseudo_family.label, protocol='fast', strategy=None, overrides={'label': label},
        )  # fmt: skip
        inputs = builder._inputs(prune=True)
        assert 'finetune' not in inputs
        assert {'rattle', 'harmonic'} & set(inputs['label']) == ports
        process = get_manager().get_runner().instantiate_process(builder)
        assert not process.should_run_finetune()


def test_supercell_of_the_labels(make_builder: Any) -> None:
    """Frames for the phonons are of the supercell that stands at the top, and its size is the one that counts."""
    given = {'overrides': {'label': {'recipe': 'harmonic', 'max_atoms': 20}}}
    with pytest.raises(ValueError, match='more than `max_atoms` \\(20\\)'):
        make_builder(**given)
    assert 'harmonic' in make_builder(supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 1]], **given)['label']


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'overrides': {'fintune': {}}}, 'did you mean `finetune`'),
        ({'overrides': {'phonons': {'setings': {}}}}, 'did you mean `settings`'),
        ({'overrides': {'compare': {'setting': {}}}}, 'did you mean `settings`'),
        ({'pw_code': None}, 'labelling needs `pw_code`'),
        ({'strategy': 'l2tsp'}, '`strategy` is `l2tsp`'),
        ({'protocol': 'quick'}, 'unknown protocol `quick`'),
    ],
)
def test_wrong_arguments(make_builder: Any, changes: dict[str, Any], sentence: str) -> None:
    """Each wrong argument has its sentence."""
    with pytest.raises(ValueError, match=sentence):
        make_builder(**changes)


def test_wrong_inputs(make_builder: Any, silicon: Any, tiny_dataset: Any) -> None:
    """Each wrong input has its sentence before anything is submitted."""
    runner = get_manager().get_runner()
    builder = make_builder()
    builder.dataset = tiny_dataset
    with pytest.raises(ValueError, match='either `dataset`'):
        runner.instantiate_process(builder)
    builder = make_builder(dataset=tiny_dataset)
    builder.structure = orm.StructureData(ase=bulk('Ge', a=5.7))
    with pytest.raises(ValueError, match='`dataset` has frames of Si, but `structure` is Ge'):
        runner.instantiate_process(builder)
    builder = make_builder()
    molecule = silicon.get_ase()
    molecule.pbc = False
    builder.structure = orm.StructureData(ase=molecule)
    with pytest.raises(ValueError, match='not periodic in three dimensions'):
        runner.instantiate_process(builder)
    builder = make_builder()
    builder.phonons.max_atoms = orm.Int(10)
    with pytest.raises(ValueError, match='`max_atoms` \\(10\\)'):
        runner.instantiate_process(builder)
    builder = make_builder()
    with pytest.raises(ValueError, match='above zero'):
        builder.max_concurrent = orm.Int(0)


def test_shares(make_builder: Any) -> None:
    """Labels and DFT phonons share what may run at a time; with few at a time the labels come first."""
    builder = make_builder()
    for total, label, phonons, at_once in ((1, 1, 1, False), (2, 2, 2, False), (5, 3, 2, True)):
        builder.max_concurrent = orm.Int(total)
        process = get_manager().get_runner().instantiate_process(builder)
        process.setup()
        assert (process.get_share('label'), process.get_share('phonons')) == (label, phonons)
        assert process.should_run_phonons_dft() is at_once


def ended(caller: Any, label: str, exit_status: int, **outputs: Any) -> Any:
    """Return a stored stage that ended with ``exit_status``."""
    node = orm.WorkChainNode()
    node.base.links.add_incoming(caller, LinkType.CALL_WORK, label)
    node.store()
    for name, output in outputs.items():
        output.store()
        output.base.links.add_incoming(node, LinkType.RETURN, name)
    node.set_process_label('StageWorkChain')
    node.set_process_state(ProcessState.FINISHED)
    node.set_exit_status(exit_status)
    node.set_exit_message('what went wrong' if exit_status else None)
    return node


@pytest.mark.parametrize(
    ('failing', 'step', 'label'),
    [
        ('label', 'inspect_label', 'ERROR_LABEL_FAILED'),
        ('finetune', 'inspect_finetune', 'ERROR_FINETUNE_FAILED'),
        ('phonons_foundation', 'inspect_phonons', 'ERROR_PHONONS_FOUNDATION_FAILED'),
        ('phonons_finetuned', 'inspect_phonons', 'ERROR_PHONONS_FINETUNED_FAILED'),
        ('phonons_dft', 'inspect_phonons', 'ERROR_PHONONS_DFT_FAILED'),
        ('at_dft_foundation', 'inspect_at_dft_cell', 'ERROR_AT_DFT_CELL_FAILED'),
        ('compare', 'inspect_compare', 'ERROR_COMPARE_FAILED'),
    ],
)
def test_failures(make_builder: Any, tiny_dataset: Any, failing: str, step: str, label: str) -> None:
    """A failing part ends the job with its own exit code, and what it has made is attached."""
    process = get_manager().get_runner().instantiate_process(make_builder())
    process.setup()
    process.ctx[failing], process.ctx.at_dft = ended(process.node, failing, 499), {'foundation': None}
    assert getattr(process, step)() is None
    code = process.results()
    assert code is not None
    assert code.status == process.exit_codes[label].status
    assert 'StageWorkChain' in code.message
    assert 'what went wrong' in code.message
    assert not process.should_run_finetune()


def test_too_few_labels(make_builder: Any, tiny_frames: Any) -> None:
    """Frames that were labelled before the labelling failed are attached, and not trained on."""
    from aiida_equitrain.data.dataset import DatasetData

    process = get_manager().get_runner().instantiate_process(make_builder())
    process.setup()
    dataset = DatasetData(tiny_frames, functional='PBE')
    dropped = orm.Dict({'frames': {'frame_000': 'no convergence'}, 'n_dropped': 1})
    process.ctx.label = ended(process.node, 'label', 401, dataset=dataset, dropped=dropped)
    process.inspect_label()
    assert process.outputs['dataset'].uuid == dataset.uuid
    assert process.outputs['dropped'].uuid == dropped.uuid
    assert not process.should_run_finetune()
    assert process.results().status == 401


def test_first_failure_counts(make_builder: Any) -> None:
    """Of several failures the first gives the exit code."""
    process = get_manager().get_runner().instantiate_process(make_builder())
    process.setup()
    process.ctx.label = ended(process.node, 'label', 401)
    process.inspect_label()
    process.ctx.phonons_dft = ended(process.node, 'phonons_dft', 403)
    process.inspect_phonons()
    assert process.results().status == 401
    assert not process.should_run_compare()
