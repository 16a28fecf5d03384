"""Fine-tuning as a WorkChain: protocols, one handler per cause, and real runs of tiny size."""

from __future__ import annotations

import copy
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessHandlerReport, run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from plumpy import ProcessState

from aiida_equitrain.calculations.train import TrainCalculation
from aiida_equitrain.cli.report import show_report
from aiida_equitrain.common.hyperparameters import check_hyperparameters
from aiida_equitrain.common.strategies import PAIRS
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.frames import Frames
from aiida_equitrain.workflows.finetune import FinetuneWorkChain

pytestmark = pytest.mark.real

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
SNAPSHOTS = Path(__file__).parent / 'snapshots'
CODES = TrainCalculation.exit_codes
#: The starter needs less for one frame of 64 atoms, and more for four.
ALLOWED = 300_000_000
#: Once the labels are written for training, the process may allocate no more than so many bytes.
LIMIT = """
import re, resource, sys

def limit(event, args):
    global done
    if done or event != 'open' or not str(args[0]).endswith('valid.xyz'):
        return
    done = True
    with open('/proc/self/status') as status:
        size = int(re.search(r'VmSize:\\s+(\\d+)', status.read()).group(1)) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + ALLOWED, size + ALLOWED))

done = False
sys.addaudithook(limit)
"""
RECOMMENDED = {'l2-tsp': {'weight_decay': 0.5}, 'transfer': {'lr': 0.002}}


@pytest.fixture
def foundation(aiida_profile: Any) -> PotentialData:
    return PotentialData(TINY_MODEL, card={'name': 'tiny', 'finetune': RECOMMENDED}).store()


@pytest.fixture
def build(foundation: Any, tiny_dataset: Any, python_code: Any) -> Any:
    def function(**inputs: Any) -> Any:
        inputs = {'foundation': foundation, 'dataset': tiny_dataset, 'python_code': python_code, **inputs}
        return FinetuneWorkChain.get_builder_from_protocol(**inputs)

    return function


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent', 'paper'])
@pytest.mark.parametrize('strategy', ['l2-tsp', 'transfer'])
def test_protocols(build: Any, protocol: str, strategy: str) -> None:
    """The hyperparameters of every protocol, held by a file."""
    builder = build(protocol=protocol, strategy=strategy)
    found = builder.train.hyperparameters.get_dict()
    path = SNAPSHOTS / 'finetune.json'
    assert found == json.loads(path.read_text())[f'{protocol} {strategy}']
    assert builder.train.strategy.value == strategy
    assert builder.train.metadata['options']['withmpi'] is False


def test_paper_is_what_was_published(build: Any) -> None:
    """The foundation's own recommendation does not touch the published numbers."""
    values = build(protocol='paper').train.hyperparameters.get_dict()
    published = {'lr': 0.01, 'weight_decay': 10.0, 'epochs': 200, 'huber_delta': 0.01, 'loss_type': 'huber',
                 'energy_weight': 10.0, 'forces_weight': 100.0, 'stress_weight': 1000.0, 'opt': 'adamw',
                 'scheduler': 'plateau', 'dtype': 'float32', 'ema': False, 'freeze_layers': '2-'}  # fmt: skip
    assert {name: values[name] for name in published} == published
    assert build(protocol='paper', strategy='transfer').train.hyperparameters['weight_decay'] == 5e-3


@pytest.mark.parametrize(('strategy', 'engine'), PAIRS)
@pytest.mark.parametrize('protocol', ['balanced', 'paper', 'guided'])
def test_every_pair_has_protocols(build: Any, tiny_dataset: Any, protocol: str, strategy: str, engine: str) -> None:
    """A protocol sets nothing that a strategy or an engine does not know."""
    replay = tiny_dataset if strategy == 'multihead' else None
    inputs = {'protocol': protocol, 'strategy': strategy, 'engine': engine, 'replay': replay}
    if protocol == 'guided' and strategy in ('l2-tsp', 'l2-sp'):
        with pytest.raises(ValueError, match='says nothing'):
            build(**inputs)
        return
    train = build(**inputs).train
    assert train.engine.value == engine
    assert ('replay' in train) is (replay is not None)
    assert check_hyperparameters(train.hyperparameters.get_dict(), strategy, engine) is None


def test_guidance(build: Any, tiny_dataset: Any) -> None:
    """The numbers of the authors of MACE, whatever the foundation's card recommends."""
    rates = {'transfer': 1e-3, 'lora': 1e-2, 'multihead': 1e-4}
    for strategy, rate in rates.items():
        replay = tiny_dataset if strategy == 'multihead' else None
        values = build(protocol='guided', strategy=strategy, replay=replay).train.hyperparameters.get_dict()
        assert (values['lr'], values['weight_decay']) == (rate, 0.0)


def test_precedence(build: Any) -> None:
    """Overrides win over the foundation's card, and the card over the protocol."""
    assert build().train.hyperparameters['weight_decay'] == 0.5
    overrides = {'train': {'hyperparameters': {'weight_decay': 2.0, 'momentum': 0.8}}}
    values = build(overrides=overrides).train.hyperparameters
    assert (values['weight_decay'], values['momentum']) == (2.0, 0.8)
    assert build(strategy='transfer').train.hyperparameters['lr'] == 0.002


@pytest.mark.parametrize(
    ('inputs', 'sentence'),
    [
        ({'overrides': {'train': {'hyperparameters': {'lrr': 1}}}}, 'did you mean `lr`'),
        ({'overrides': {'trian': {}}}, 'did you mean `train`'),
        ({'overrides': {'train': {'hyperparameters': {'lr': -1.0}}}}, 'above 0'),
        ({'protocol': 'quick'}, 'fast, balanced, stringent, paper, guided'),
        ({'strategy': 'lorra'}, 'did you mean `lora`'),
        ({'strategy': 'l2-sp', 'engine': 'mace'}, 'only through `equitrain`'),
        ({'strategy': 'multihead'}, 'give `replay`'),
        ({'protocol': 'guided'}, 'says nothing about the strategy `l2-tsp`'),
        ({'strategy': 'transfer', 'overrides': {'train': {'hyperparameters': {'rank': 4}}}}, 'only to `lora`'),
    ],
)
def test_wrong_input(build: Any, inputs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(**inputs)


def test_dataset_without_stress(build: Any, tiny_frames: Any) -> None:
    """The stress is left out of the loss, visibly, where the data have none; asked for, it is refused."""
    frames = copy.deepcopy(tiny_frames)
    for frame in frames:
        frame.stress = None
    dataset = DatasetData(frames, functional='PBE').store()
    assert build(dataset=dataset).train.hyperparameters['stress_weight'] == 0.0
    with pytest.raises(ValueError, match='without stress'):
        build(dataset=dataset, overrides={'train': {'hyperparameters': {'stress_weight': 1.0}}})


@pytest.mark.parametrize('rows', [(1,), (0, 1, 2, 3, 4, 5)])
def test_dataset_without_energies(build: Any, tiny_frames: Any, rows: tuple[int, ...], said: list[str]) -> None:
    """As for the stress, and for a mixture as well; the WorkChain says it."""
    frames = Frames([replace(frame, energy=None) if row in rows else frame for row, frame in enumerate(tiny_frames)])
    dataset = DatasetData(frames, functional='PBE').store()
    builder = build(dataset=dataset)
    assert builder.train.hyperparameters['energy_weight'] == 0.0
    with pytest.raises(ValueError, match='without energies'):
        build(dataset=dataset, overrides={'train': {'hyperparameters': {'energy_weight': 1.0}}})
    process: Any = instantiate_process(get_manager().get_runner(), builder)
    process.setup()
    assert 'not all frames of `dataset` have a label of the energy: it is not trained on' in said


@pytest.mark.parametrize('end', ['results', 'inspect_process'])
def test_warnings_of_the_job_are_reported(failed: Any, said: list[str], end: str) -> None:
    """At the end, and where a handler gives up."""
    process, node = failed(CODES.ERROR_OUT_OF_WALLTIME)
    summary = orm.Dict({'warnings': ['the labels are odd']})
    summary.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='summary')
    summary.store()
    getattr(process, end)()
    assert said.count('warning: the labels are odd') == 1


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what WorkChains report from now on."""
    found: list[str] = []
    monkeypatch.setattr(FinetuneWorkChain, 'report', lambda _, message, *args: found.append(message % args))
    return found


@pytest.fixture
def failed(build: Any, aiida_localhost: Any) -> Any:
    """Return a WorkChain of which the first calculation failed with an exit code."""

    def function(exit_code: Any, checkpoint: bool = False, strategy: str = 'l2-tsp', engine: str | None = None,
                 replay: Any = None, **hyperparameters: Any) -> Any:  # fmt: skip
        overrides = {'train': {'hyperparameters': hyperparameters}}
        builder = build(strategy=strategy, engine=engine, replay=replay, overrides=overrides)
        process: Any = instantiate_process(get_manager().get_runner(), builder)
        process.setup()
        process.ctx.iteration = 1
        node = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:equitrain.train')
        node.set_option('resources', {'num_machines': 1})
        node.set_process_state(ProcessState.FINISHED)
        node.set_exit_status(exit_code.status)
        node.set_exit_message(exit_code.message)
        node.store()
        if checkpoint:
            data = orm.SinglefileData.from_string('state', filename='checkpoint.pt')
            data.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='checkpoint')
            data.store()
        process.ctx.children = [node]
        return process, node

    return function


def test_walltime_continues_from_checkpoint(failed: Any) -> None:
    process, node = failed(CODES.ERROR_OUT_OF_WALLTIME, checkpoint=True)
    assert process.inspect_process().status == 0
    assert process.ctx.inputs.checkpoint.uuid == node.outputs.checkpoint.uuid


def test_walltime_without_checkpoint_stops(failed: Any) -> None:
    process, _ = failed(CODES.ERROR_OUT_OF_WALLTIME)
    assert process.inspect_process() == process.exit_codes.ERROR_NO_CHECKPOINT


def test_diverged_lowers_the_learning_rate(failed: Any) -> None:
    process, node = failed(CODES.ERROR_DIVERGED, lr=0.01)
    assert process.inspect_process().status == 0
    assert process.ctx.inputs.hyperparameters['lr'] == pytest.approx(0.002)
    assert process.inspect_process().status == 0
    assert process.ctx.inputs.hyperparameters['lr'] == pytest.approx(0.0004)
    report = process.handle_diverged(node)
    assert isinstance(report, ProcessHandlerReport)
    assert report.exit_code.status == process.exit_codes.ERROR_DIVERGED.status
    assert '0.0004' in report.exit_code.message


def test_diverged_continues_from_the_best_epoch(failed: Any) -> None:
    process, node = failed(CODES.ERROR_DIVERGED, lr=0.01, checkpoint=True)
    assert process.inspect_process().status == 0
    assert process.ctx.inputs.checkpoint.uuid == node.outputs.checkpoint.uuid
    assert process.ctx.inputs.hyperparameters['lr'] == pytest.approx(0.002)


def test_out_of_memory_sums_gradients(failed: Any) -> None:
    """Ever fewer frames at once, of numbers that divide the batch, which stays as it is."""
    process, node = failed(CODES.ERROR_OUT_OF_MEMORY, batch_size=4)
    atoms = process.ctx.inputs.dataset.max_atoms
    for size in (2, 1):
        assert process.inspect_process().status == 0
        assert process.ctx.inputs.hyperparameters['batch_max_nodes'] == size * atoms
    assert process.ctx.inputs.hyperparameters['batch_size'] == 4
    assert process.handle_out_of_memory(node).exit_code == process.exit_codes.ERROR_OUT_OF_MEMORY


def test_out_of_memory_with_mace(failed: Any) -> None:
    """MACE sums no gradients: its batches get smaller, and the report says so."""
    process, node = failed(CODES.ERROR_OUT_OF_MEMORY, batch_size=16, strategy='transfer', engine='mace')
    # The dataset has five training frames, so that a batch has no more than five.
    for size in (2, 1):
        assert process.inspect_process().status == 0
        assert process.ctx.inputs.hyperparameters['batch_size'] == size
    assert process.handle_out_of_memory(node).exit_code == process.exit_codes.ERROR_OUT_OF_MEMORY
    assert any('MACE sums no gradients' in message for message in reports(process.node))


def test_out_of_memory_with_replay(failed: Any, tiny_dataset: Any) -> None:
    """The batch that gets smaller is that of new and replayed frames: five and three."""
    values = {'batch_size': 16, 'replay_size': 3}
    process, _ = failed(CODES.ERROR_OUT_OF_MEMORY, strategy='multihead', replay=tiny_dataset, **values)
    for size in (4, 2, 1):
        assert process.inspect_process().status == 0
        assert process.ctx.inputs.hyperparameters['batch_size'] == size


def reports(node: Any) -> list[str]:
    """Return what is in the report of a process."""
    return [log.message for log in orm.Log.collection.get_logs_for(node, order_by=[{'id': 'asc'}])]


@pytest.mark.parametrize(
    'label', ['ERROR_DRIVER_FAILED', 'ERROR_NO_MODEL', 'ERROR_DEVICE_MISSING', 'ERROR_BAD_CHECKPOINT']
)
def test_unrecoverable_stops(failed: Any, label: str) -> None:
    process, _ = failed(CODES[label])
    assert process.inspect_process().status == process.exit_codes.ERROR_TRAINING_FAILED.status


@pytest.mark.parametrize('strategy', ['l2-tsp', pytest.param('transfer', marks=pytest.mark.thorough)])
def test_real_run(build: Any, strategy: str) -> None:
    overrides = {'train': {'hyperparameters': {'epochs': 3}}}
    outputs, node = run_get_node(build(strategy=strategy, protocol='fast', overrides=overrides))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert outputs['potential'].is_stored
    assert outputs['metrics'].get_array('epoch').tolist() == [0, 1, 2, 3]
    summary = outputs['summary'].get_dict()
    assert summary['strategy'] == strategy
    assert summary['errors']['after']['valid']['forces_mae_mev_per_angstrom'] > 0
    assert {'predictions'} <= set(outputs)


@pytest.mark.thorough
def test_real_run_that_makes_something_worse(
    build: Any, tiny_frames: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Energies that the foundation has right get worse: report, printed table and page say so, with the remedy."""
    overrides = {'train': {'hyperparameters': {'epochs': 2, 'lr': 0.03, 'energy_weight': 1e-3}}}
    inputs = {'strategy': 'transfer', 'protocol': 'fast', 'overrides': overrides}
    outputs, node = run_get_node(build(**inputs))
    assert not [message for message in reports(node) if 'worse' in message]
    frames = copy.deepcopy(tiny_frames)
    for frame, energy in zip(frames, outputs['predictions'].get_array('energies_before'), strict=True):
        frame.energy = float(energy)

    outputs, node = run_get_node(build(dataset=DatasetData(frames, functional='PBE').store(), **inputs))
    assert node.is_finished_ok, node.exit_message
    assert list(outputs['summary']['worse_than_foundation']) == ['energy']
    (message,) = [message for message in reports(node) if 'worse' in message]
    assert 'fine-tuning made the energies worse' in message
    show_report(node, tmp_path)
    printed, page = capsys.readouterr().out, (tmp_path / 'report.html').read_text()
    assert 'Wrong: energies of validation frames got worse' in printed
    assert 'raise `energy_weight`' in printed
    assert re.search(r'<li class="red">.*energies of validation frames got worse', page)
    assert re.search(r'energy MAE, validation frames[^\n]*\n<td class="bad">', page)


@pytest.mark.thorough
def test_real_replay(build: Any, silicon: Any) -> None:
    """Structures without labels are labelled by the foundation, and replayed through MACE."""
    frames = []
    for seed in range(3):
        atoms = silicon.get_ase() * (2, 1, 1)
        atoms.rattle(0.05, seed=seed)
        frames.append(orm.StructureData(ase=atoms))
    overrides = {'train': {'hyperparameters': {'epochs': 2, 'replay_size': 2}}}
    replay = orm.TrajectoryData(frames)
    outputs, node = run_get_node(build(strategy='multihead', replay=replay, protocol='fast', overrides=overrides))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert outputs['potential'].heads == ['Default']
    assert np.all(outputs['metrics'].get_array('replay_loss')[1:] > 0)
    facts = outputs['summary']['replay']
    assert facts == {'labels': 'of the foundation', 'n_train': 2, 'n_valid': 1, 'n_given': 3}


@pytest.mark.thorough
def test_real_walltime_restart(build: Any) -> None:
    """A walltime of a second ends every job after one epoch; the WorkChain goes on until all epochs are done."""
    overrides = {'train': {'hyperparameters': {'epochs': 2}}}
    whole, _ = run_get_node(build(protocol='fast', overrides=overrides))
    parts, node = run_get_node(build(protocol='fast', overrides=overrides, options={'max_wallclock_seconds': 1}))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    calculations = sorted(node.called, key=lambda item: item.pk)
    assert [item.exit_status for item in calculations[:-1]] == [CODES.ERROR_OUT_OF_WALLTIME.status] * 2
    assert calculations[-1].is_finished_ok
    assert parts['summary']['weights_sha256'] == whole['summary']['weights_sha256']
    for name in ('epoch', 'learning_rate', 'train_forces_mae', 'valid_forces_mae'):
        np.testing.assert_array_equal(parts['metrics'].get_array(name), whole['metrics'].get_array(name))


@pytest.mark.thorough
def test_real_job_from_elsewhere(build: Any) -> None:
    """A job that ran where there is no AiiDA, and out of walltime, is taken in and continued."""
    overrides = {'train': {'hyperparameters': {'epochs': 2}}}
    inputs = build(protocol='fast', overrides=overrides, options={'max_wallclock_seconds': 1}).train
    elsewhere = run_get_node(TrainCalculation, **inputs)[1].outputs.remote_folder
    builder = build(protocol='fast', overrides=overrides)
    builder.train['remote_folder'] = elsewhere
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    taken, continued = sorted(node.called, key=lambda item: item.pk)
    assert taken.exit_status == CODES.ERROR_OUT_OF_WALLTIME.status
    assert 'remote_folder' not in taken.outputs
    assert continued.inputs.checkpoint.uuid == taken.outputs.checkpoint.uuid
    assert outputs['metrics'].get_array('epoch').tolist() == [0, 1, 2]


@pytest.mark.thorough
def test_real_divergence(build: Any) -> None:
    """A learning rate beyond reason is lowered twice, and then the WorkChain stops with a sentence."""
    hyperparameters = {'epochs': 3, 'lr': 1e30, 'weight_decay': 0.0}
    _, node = run_get_node(build(protocol='fast', overrides={'train': {'hyperparameters': hyperparameters}}))
    assert node.exit_status == node.process_class.exit_codes.ERROR_DIVERGED.status, node.exit_message
    assert len(node.called) == 3
    rates = [float(item.inputs.hyperparameters['lr']) for item in sorted(node.called, key=lambda item: item.pk)]
    np.testing.assert_allclose(rates, [1e30, 2e29, 4e28])


@pytest.mark.thorough
@pytest.mark.parametrize('engine', ['equitrain', 'mace'])
def test_real_divergence_after_a_good_epoch(build: Any, engine: str) -> None:
    """The rate explodes after the first epoch: training goes on from the best one, until it gets through."""
    # The rate grows by twenty orders of magnitude per epoch: one epoch of each attempt is good.
    hyperparameters = {'epochs': 2, 'lr': 1e-6, 'weight_decay': 0.0, 'scheduler': 'exponential', 'gamma': 1e20}
    overrides = {'train': {'hyperparameters': hyperparameters}}
    outputs, node = run_get_node(build(protocol='fast', strategy='transfer', engine=engine, overrides=overrides))
    calculations = sorted(node.called, key=lambda item: item.pk)
    assert [item.exit_status for item in calculations[:-1]] == [CODES.ERROR_DIVERGED.status]
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert calculations[1].inputs.checkpoint.uuid == calculations[0].outputs.checkpoint.uuid
    rows = outputs['metrics']
    assert rows.get_array('epoch').tolist() == [0, 1, 2]
    assert np.isfinite(rows.get_array('valid_loss')).all()
    rates = rows.get_array('learning_rate')[1:]
    np.testing.assert_allclose(rates, [1e-6, 2e-7])
    assert any('continuing from the best epoch' in message for message in reports(node))


@pytest.mark.thorough
def test_real_out_of_memory(starter: Any, large_frames: Any, make_code: Any, tmp_path: Path) -> None:
    """A job that may take a little more memory than it has after its imports gets through with fewer frames at once."""
    python_code = make_code('python that reads its start-up files', sys.executable)
    dataset = DatasetData(large_frames(2), functional='PBE').store()
    (tmp_path / 'sitecustomize.py').write_text(LIMIT.replace('ALLOWED', str(ALLOWED)))
    overrides = {'train': {'hyperparameters': {'epochs': 1, 'batch_size': 4}}}
    options = {'prepend_text': f'export PYTHONPATH={tmp_path}'}
    builder = FinetuneWorkChain.get_builder_from_protocol(
        foundation=starter, dataset=dataset, python_code=python_code, protocol='fast', overrides=overrides,
        options=options,
    )  # fmt: skip
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    calculations = sorted(node.called, key=lambda item: item.pk)
    assert {item.exit_status for item in calculations[:-1]} == {CODES.ERROR_OUT_OF_MEMORY.status}
    values = calculations[-1].inputs.hyperparameters
    assert values['batch_size'] == 4
    assert values['batch_max_nodes'] < 4 * dataset.max_atoms
    assert outputs['summary']['errors']['after']['valid']['forces_mae_mev_per_angstrom'] > 0


@pytest.mark.thorough
def test_progress_is_in_the_report(build: Any) -> None:
    """The monitor writes what the running job says into the reports of the job and of the WorkChain."""
    overrides = {'train': {'hyperparameters': {'epochs': 30, 'patience': None},
                           'monitors': {'progress': {'minimum_poll_interval': 1}}}}  # fmt: skip
    _, node = run_get_node(build(protocol='fast', overrides=overrides))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    lines = [message for message in reports(node) if ': train ' in message]
    assert lines, reports(node)
    assert 'validation forces' in lines[0]
    assert len(set(lines)) == len(lines)
    assert set(lines) <= set(reports(node.called[0]))
