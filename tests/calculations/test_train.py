"""Training as a CalcJob: the folder of the job, and what is refused before submission."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory

from aiida_equitrain.calculations.train import TrainCalculation
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.drivers import job_io
from aiida_equitrain.drivers.training import job as driver
from aiida_equitrain.science.frames import Frames

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'


@pytest.fixture
def tiny_potential(aiida_profile: Any) -> PotentialData:
    return PotentialData(TINY_MODEL).store()


@pytest.fixture
def builder(tiny_potential: Any, tiny_dataset: Any, python_code: Any) -> Any:
    builder = CalculationFactory('equitrain.train').get_builder()
    builder.code, builder.foundation, builder.dataset = python_code, tiny_potential, tiny_dataset
    return builder


def prepare(builder: Any) -> Any:
    process = instantiate_process(get_manager().get_runner(), builder)
    folder = SandboxFolder()
    return folder, process.prepare_for_submission(folder)


def test_folder(builder: Any) -> None:
    """The job's folder holds the package of the driver and a complete job file."""
    builder.hyperparameters = orm.Dict({'lr': 0.003})
    builder.forgetting_dataset = builder.dataset
    builder.checkpoint = orm.SinglefileData.from_string('state', filename='checkpoint.pt').store()
    builder.metadata.options.max_wallclock_seconds = 3600
    folder, info = prepare(builder)
    assert set(folder.get_content_list()) == {'equitrain_job', 'job.json'}
    assert info.codes_info[0].cmdline_params == ['-m', 'equitrain_job.drivers.training.job']
    assert {copied[2] for copied in info.local_copy_list} == {
        'foundation.model', 'frames.npz', 'forgetting.npz', 'checkpoint_in.pt'
    }  # fmt: skip
    job = json.loads(Path(folder.get_abs_path('job.json')).read_text())
    assert job['strategy'] == 'l2-tsp'
    assert job['hyperparameters']['lr'] == 0.003
    assert job['hyperparameters']['weight_decay'] == 10.0
    assert job['limits'] == {'max_seconds': 3600, 'reserve_seconds': 60.0}
    assert job['elements'] == ['Na', 'Si', 'Cl']


@pytest.mark.real
@pytest.mark.parametrize(
    ('port', 'name', 'value'),
    [
        ('dataset', 'roles', ['train', 'train', 'valid']),
        ('dataset', 'has_energies', 'maybe'),
        ('dataset', 'elements', ['Na', 'Si', 'Cl', 'Au']),
        ('forgetting_dataset', 'n_frames', 99),
        ('replay', 'max_atoms', 99),
        ('foundation', 'cutoff', 99.0),
        ('foundation', 'elements', ['Na', 'Si', 'Cl', 'Au']),
        ('foundation', 'sha256', '0' * 64),
    ],
)
def test_node_that_says_what_its_file_does_not(
    builder: Any, tiny_dataset: Any, port: str, name: str, value: Any
) -> None:
    """Attributes that came with an archive are compared with the file before a job, which fails in a sentence."""
    builder.forgetting_dataset = tiny_dataset.with_frames(tiny_dataset.get_frames()).store()
    if port == 'replay':
        builder.strategy, builder.replay = 'multihead', tiny_dataset.with_frames(tiny_dataset.get_frames()).store()
    process = instantiate_process(get_manager().get_runner(), builder)
    assert process.get_node_problem() is None
    builder[port].backend_entity.set_attribute(name, value)
    problem = process.get_node_problem()
    assert f' {builder[port].pk}: ' in problem
    assert name in problem or (name == 'sha256' and value in problem)
    builder[port].backend_entity.set_attribute('trajectories', ['x'] * 9999)
    assert len(process.get_node_problem()) < 400


@pytest.mark.real
def test_job_of_such_a_node(builder: Any, tiny_dataset: Any) -> None:
    """The job ends with an exit code, and nothing of it is uploaded."""
    tiny_dataset.backend_entity.set_attribute('max_atoms', 99)
    _, node = run_get_node(builder)
    assert node.exit_status == TrainCalculation.exit_codes.ERROR_FILE_CHANGED.status, node.exception
    assert f'DatasetData {tiny_dataset.pk}: `max_atoms` of the dataset differs from its frames' in node.exit_message
    assert 'Import or create the node anew' in node.exit_message
    assert 'remote_folder' not in node.outputs


def test_driver_uses_the_names_of_the_calculation(builder: Any) -> None:
    """What the driver writes is what is retrieved, and what the parser reads."""
    for name in ('FOUNDATION', 'FRAMES', 'FORGETTING', 'CHECKPOINT_IN', 'POTENTIAL', 'ADAPTER'):
        assert getattr(driver, name) == getattr(TrainCalculation, name)
    for name, output in TrainCalculation.OUTPUTS.items():
        assert getattr(driver, name.upper()) == output.file
    _, info = prepare(builder)
    written = {
        getattr(driver, name)
        for name in ('POTENTIAL', 'ADAPTER', 'METRICS', 'PREDICTIONS', 'CHECKPOINT', 'SUMMARY_FILE')
    }
    assert job_io.JOB_FILE == TrainCalculation.JOB
    assert written <= set(info.retrieve_list) | set(info.retrieve_temporary_list)


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'lrr': 0.1}, 'did you mean `lr`'),
        ({'lr': 0}, 'above 0'),
        ({'epochs': 1.5}, 'must be of type `int`'),
        ({'loss_type': 'l3'}, 'one of huber'),
        ({'device': 'tpu'}, '`cpu` or `cuda`'),
        ({'energy_weight': 0, 'forces_weight': 0, 'stress_weight': 0}, 'nothing to learn'),
        ({'best_by': 'stress', 'stress_weight': 0}, 'that error is not computed'),
    ],
)
def test_wrong_hyperparameters(builder: Any, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        builder.hyperparameters = orm.Dict(values)


def test_wrong_strategy(builder: Any) -> None:
    with pytest.raises(ValueError, match='did you mean `lora`'):
        builder.strategy = orm.Str('lorra')
    with pytest.raises(ValueError, match='did you mean `mace`'):
        builder.engine = orm.Str('mac')


@pytest.mark.parametrize(
    ('strategy', 'engine', 'values', 'sentence'),
    [
        ('l2-sp', 'mace', {}, 'only through `equitrain`'),
        ('multihead', None, {}, 'give `replay`'),
        ('transfer', 'mace', {'min_lr': 1e-6}, 'means nothing to the engine `mace`'),
        ('transfer', None, {'rank': 4}, 'only to `lora`'),
    ],
)
def test_wrong_pair(builder: Any, strategy: str, engine: str | None, values: dict[str, Any], sentence: str) -> None:
    builder.strategy, builder.hyperparameters = orm.Str(strategy), orm.Dict(values)
    if engine:
        builder.engine = orm.Str(engine)
    with pytest.raises(ValueError, match=sentence):
        prepare(builder)


def test_replay(builder: Any, tiny_dataset: Any, silicon: Any) -> None:
    """Labelled frames are copied as they are; those without labels are written for the foundation to label."""
    builder.strategy = orm.Str('multihead')
    builder.replay = tiny_dataset
    folder, info = prepare(builder)
    assert 'replay.npz' in {copied[2] for copied in info.local_copy_list}
    job = json.loads(Path(folder.get_abs_path('job.json')).read_text())
    assert (job['engine'], job['replay_labels']) == ('mace', 'given')
    assert 'scheduler_monitor' not in job['hyperparameters']

    builder.replay = orm.TrajectoryData([silicon, silicon, silicon])
    folder, _ = prepare(builder)
    job = json.loads(Path(folder.get_abs_path('job.json')).read_text())
    assert job['replay_labels'] == 'foundation'
    frames = Frames.load(folder.get_abs_path('replay.npz'))
    assert [frame.formula for frame in frames] == ['Si'] * 3

    builder.hyperparameters = orm.Dict({'replay_size': 3})
    with pytest.raises(ValueError, match='3 frames, but 4 are needed'):
        prepare(builder)


@pytest.mark.parametrize(
    ('what', 'sentence'),
    [('valid', 'role `valid`'), ('stress', '`stress_weight` to 0'), ('element', 'does not know C')],
)
def test_wrong_dataset(builder: Any, tiny_frames: Any, what: str, sentence: str) -> None:
    frames: Frames = copy.deepcopy(tiny_frames)
    for frame in frames:
        if what == 'valid':
            frame.role = 'train'
        elif what == 'stress':
            frame.stress = None
        else:
            frame.numbers[0] = 6
    builder.dataset = DatasetData(frames, functional='PBE').store()
    with pytest.raises(ValueError, match=sentence):
        prepare(builder)
