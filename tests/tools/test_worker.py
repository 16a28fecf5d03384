"""A job that does not go on says why and what helps: no worker, a lost task, a pause."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.brokers import RabbitmqBroker, ZeromqBroker
from aiida.common.links import LinkType
from aiida.manage import get_manager
from click.testing import CliRunner
from plumpy import ProcessState
from rich.console import Console

from aiida_equitrain.cli.follow import table
from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.launch import worker
from aiida_equitrain.launch.progress import ProgressReader, Row, _scheduler_note, describe_job


@pytest.mark.real
def test_rows_of_a_study(aiida_profile: Any) -> None:
    """Rows stand by their names; of many those that have ended are one line."""
    study = orm.WorkChainNode(process_type='aiida.workflows:equitrain.study').store()
    study.set_process_label('StudyWorkChain')

    def call(name: str, state: ProcessState) -> None:
        row = orm.WorkChainNode(process_type='aiida.workflows:equitrain.material')
        row.base.links.add_incoming(study, LinkType.CALL_WORK, name)
        row.store().set_process_state(state)
        row.set_exit_status(0 if state == ProcessState.FINISHED else None)

    call('phonons_dft_Si', ProcessState.FINISHED)
    call('row_Si_l2_tsp_10_1', ProcessState.RUNNING)
    stages = ProgressReader(study).read().stages
    assert [(stage.title, stage.state) for stage in stages] == [
        ('phonons_dft_Si', 'done'),
        ('Si_l2_tsp_10_1', 'running'),
    ]
    for seed in range(2, 14):
        call(f'row_Si_l2_tsp_10_{seed}', ProcessState.FINISHED)
    assert [stage.title for stage in ProgressReader(study).read().stages] == ['13 ended', 'Si_l2_tsp_10_1']


def test_pw_tells(aiida_profile: Any, aiida_localhost: Any, tmp_path: Path) -> None:
    """Of pw.x on this machine the end of its output is read."""
    output = Path(__file__).parents[1] / 'fixtures' / 'cases' / 'si_unconv.out'
    kind, computer = 'aiida.calculations:quantumespresso.pw', aiida_localhost.store().pk
    row = make_row(kind=kind, job=True, folder=str(tmp_path), computer=computer)
    assert describe_job(row) == ''
    (tmp_path / 'aiida.out').write_bytes(output.read_bytes())
    assert describe_job(row) == 'SCF iteration 3, accuracy 8.1e-05 Ry'
    assert describe_job(make_row(kind='core.add', job=True, folder=str(tmp_path), computer=computer)) == ''


def make_row(pk: int = 1, **values: Any) -> Row:
    """Return a process that has waited for an hour."""
    then = datetime.now(UTC) - timedelta(hours=1)
    given: dict[str, Any] = {
        'label': 'MaterialWorkChain', 'job': False, 'tasked': True, 'kind': '', 'reused': False, 'state': 'waiting',
        'status': None, 'start': then, 'end': then, 'folder': None, 'computer': None, 'paused': None, 'said': None,
        'queued': None, 'told': None,
    }  # fmt: skip
    return Row(pk, **{**given, **values})


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Feign a daemon with a ZeroMQ broker; return a function that gives it the tasks of processes."""
    broker = ZeromqBroker.__new__(ZeromqBroker)
    broker._storage_path = tmp_path
    monkeypatch.setattr(worker, 'nobody_works', lambda: None)
    monkeypatch.setattr(get_manager(), 'get_broker', lambda: broker)

    def tasks(*pks: int, folder: str = 'pending') -> None:
        place = tmp_path / 'tasks' / folder
        place.mkdir(parents=True, exist_ok=True)
        for pk in pks:
            (place / f'{pk}.json').write_text(json.dumps({'body': {'task': 'continue', 'args': {'pid': pk}}}))

    return tasks


def test_nothing_wrong(daemon: Any) -> None:
    """A job in the queue, one that a worker has, and a function that runs with its caller are no trouble."""
    daemon(1)
    daemon(2, folder='processing')
    rows = [make_row(1), make_row(2, job=True), make_row(3, tasked=False)]
    assert worker.find_trouble(1, rows) == worker.Trouble()
    assert worker.find_trouble(1, []) == worker.Trouble()


def test_queue_that_never_runs(daemon: Any) -> None:
    """A job that asks for what no partition gives is named with the reason; one that waits for its turn is not."""
    daemon(1, 2, folder='processing')
    for reason, problem in (('PartitionTimeLimit', True), ('QOSMaxWallDurationPerJobLimit', True), ('Priority', False)):
        job = make_row(2, label='PwCalculation', job=True, queued='queued', told={'annotation': reason})
        found = worker.find_trouble(1, [make_row(1), job]).sentences
        assert bool(found) == problem
        if problem:
            assert f'PwCalculation 2 waits in the queue of the scheduler, and will not run ({reason})' in found[0]
            assert '--walltime' in found[0]


def test_scheduler_note(daemon: Any) -> None:
    """What the scheduler says of the jobs of a stage is told in a few words."""
    jobs = [
        make_row(2, job=True, queued='running'),
        make_row(3, job=True, queued='queued', told={'annotation': 'Resources'}),
        make_row(4, job=True, queued='queued', state='finished'),
    ]
    note = _scheduler_note(jobs, datetime.now(UTC))
    assert note.startswith('1 at work, 1 in the queue for 1 h')
    assert note.endswith('(Resources)')
    assert _scheduler_note([make_row(1)], datetime.now(UTC)) == ''
    jobs = [make_row(pk, job=True, queued='running', told={'allocated_machines_raw': f'cn{pk}'}) for pk in range(5)]
    assert _scheduler_note(jobs[:1], datetime.now(UTC)) == '1 at work on cn0'
    assert _scheduler_note(jobs, datetime.now(UTC)) == '5 at work on cn0, cn1, cn2 and others'


def test_lost_task(daemon: Any) -> None:
    """A process that no worker has or will take is named, with what helps; not while it is being started."""
    daemon(1)
    trouble = worker.find_trouble(1, [make_row(1), make_row(2, job=True, label='PwCalculation')])
    assert len(trouble.sentences) == 1
    assert 'no worker has PwCalculation 2' in trouble.sentences[0]
    assert '`verdi process repair`' in trouble.sentences[0]
    assert trouble.stuck
    young = make_row(2, job=True, end=datetime.now(UTC))
    assert worker.find_trouble(1, [make_row(1), young]) == worker.Trouble()


def test_no_worker_yet(daemon: Any) -> None:
    """A process that nobody has taken for minutes is told of, and waited for."""
    daemon(1)
    trouble = worker.find_trouble(1, [make_row(1, state='created')])
    assert 'no worker has taken MaterialWorkChain 1 yet' in trouble.sentences[0]
    assert '`verdi daemon incr`' in trouble.sentences[0]
    assert not trouble.stuck


def test_unreadable_queue(daemon: Any, tmp_path: Path) -> None:
    """A task that is being moved is no lost one."""
    daemon(2)
    (tmp_path / 'tasks' / 'pending' / 'half.json').write_text('{"bo')
    assert worker.find_trouble(1, [make_row(1)]) == worker.Trouble()


@pytest.fixture
def rabbit(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feign a daemon with a broker whose queue cannot be seen."""
    monkeypatch.setattr(get_manager(), 'get_broker', lambda: RabbitmqBroker.__new__(RabbitmqBroker))


@pytest.mark.parametrize('state', ['waiting', 'running'])
def test_lost_task_of_another_broker(rabbit: None, state: str) -> None:
    """Where the queue cannot be seen, a job to which nothing happens is told of after a while, and waited for."""
    rows = [make_row(1), make_row(2, job=True, state=state)]
    trouble = worker.find_trouble(1, rows)
    assert len(trouble.sentences) == 1
    assert 'cannot be seen in the queue of this broker' in trouble.sentences[0]
    assert '`verdi daemon stop`, then `verdi process repair`' in trouble.sentences[0]
    assert not trouble.stuck
    young = datetime.now(UTC) - timedelta(seconds=worker.PATIENCE / 2)
    assert worker.find_trouble(1, rows, young) == worker.Trouble()
    assert worker.find_trouble(1, [make_row(1), make_row(2, end=young)]) == worker.Trouble()


def test_known_reasons_of_another_broker(rabbit: None) -> None:
    """A new process and a paused one have a sentence of their own, and only that."""
    for values in ({'state': 'created'}, {'paused': True}):
        rows = [make_row(1), make_row(2, job=True, **values)]
        assert len(worker.find_trouble(1, rows).sentences) == 1
        assert len(worker.find_trouble(2, rows[1:]).sentences) == 1
        assert len(worker.find_trouble(1, [*rows, make_row(3, job=True)]).sentences) == 1 + ('paused' in values)


def test_progress_of_another_broker(job: Any, rabbit: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows a job is told, and it is no end."""
    node = job()
    assert ProgressReader(node, by_daemon=True).read().trouble == worker.Trouble()
    monkeypatch.setattr(worker, 'PATIENCE', 0.0)
    trouble = ProgressReader(node, by_daemon=True).read().trouble
    assert 'nothing has happened' in trouble.sentences[0]
    assert not trouble.stuck


def test_paused(daemon: Any) -> None:
    """Paused jobs are named with their reason and the command; others go on meanwhile."""
    daemon(*range(1, 8))
    said = 'Pausing after failed transport task: upload_calculation failed 5 times consecutively'
    paused = [make_row(pk, job=True, paused=True, said=said, label='RelaxCalculation') for pk in range(2, 7)]
    trouble = worker.find_trouble(1, [make_row(1), *paused, make_row(7, job=True)])
    assert f'RelaxCalculation 2 is paused ({said})' in trouble.sentences[0]
    assert '`verdi process play 2`' in trouble.sentences[0]
    assert trouble.sentences[-1].startswith('2 more are paused')
    assert not trouble.stuck
    assert worker.find_trouble(1, [make_row(1), *paused]).stuck
    assert worker.find_trouble(1, [make_row(1, paused=True), make_row(7, job=True)]).stuck


@pytest.fixture
def job(aiida_profile: Any) -> Any:
    """Return a function that stores a WorkChain that waits for a job with attributes."""

    def make(**attributes: Any) -> orm.WorkChainNode:
        top, child = orm.WorkChainNode().store(), orm.CalcJobNode()
        child.base.links.add_incoming(top, LinkType.CALL_CALC, 'relax')
        child.store()
        for node in (top, child):
            node.set_process_label('MaterialWorkChain' if node is top else 'RelaxCalculation')
            node.set_process_state(ProcessState.WAITING)
        child.base.attributes.set_many(attributes)
        return top

    return make


def test_warnings_are_told(job: Any) -> None:
    """What a WorkChain warns of while it runs, such as a frame that is dropped, is said once, when it happens."""
    node = job()
    reader = ProgressReader(node)
    first = reader.read()
    assert first.warnings == ()
    for text in ('launched PwBaseWorkChain<7>', 'WARNING: frame_001 is dropped, its DFT failed: cancelled'):
        node.logger.report(f'[{node.pk}|LabelWorkChain|inspect_frames]: {text}')
    second = reader.read()
    assert second.changes(first) == ['Warning: frame_001 is dropped, its DFT failed: cancelled']
    node.logger.report(f'[{node.pk}|LabelWorkChain|inspect_frames]: WARNING: frame_002 is dropped')
    third = reader.read()
    assert third.changes(second) == ['Warning: frame_002 is dropped']
    assert reader.read().changes(third) == []
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(node, third))
    assert 'frame_001 is dropped, its DFT failed: cancelled' in console.export_text()


def test_job_from_the_cache(job: Any) -> None:
    """A job that is taken from the cache has the state of its source, then those of one that runs, and ends."""
    node = job()
    reader, child = ProgressReader(node), node.called[0]
    seen = []
    for state in (ProcessState.FINISHED, ProcessState.RUNNING, ProcessState.WAITING, ProcessState.FINISHED):
        child.set_process_state(state)
        seen.append(reader.read().stages[0].done)
    assert seen == [1, 0, 0, 1]


def test_follow_without_a_worker(job: Any) -> None:
    """`launch follow` does not wait for ever for what nobody works on."""
    node = job()
    result = CliRunner().invoke(cmd_root, ['launch', 'follow', str(node.pk)])
    assert result.exit_code == 1
    assert (
        f'MaterialWorkChain {node.pk} does not go on: nobody works on it, as the profile has no broker' in result.output
    )


def test_follow_paused(job: Any, daemon: Any) -> None:
    """`launch follow` says the reason of a pause, from the database, and the command that ends it."""
    node = job(paused=True, process_status='Pausing after failed transport task: upload failed 5 times')
    daemon(node.pk, node.called[0].pk)
    assert ProgressReader(node).read().trouble == worker.Trouble()  # in a process of our own
    result = CliRunner().invoke(cmd_root, ['launch', 'follow', str(node.pk)])
    assert result.exit_code == 1
    assert 'is paused (Pausing after failed transport task: upload failed 5 times)' in result.output
    assert f'`verdi process play {node.called[0].pk}`' in result.output


@pytest.mark.parametrize('identifier', ['9' * 20, str(2**63), '-1', 'no such job', '0'])
def test_follow_what_is_not_there(aiida_profile: Any, identifier: str) -> None:
    """A number that the database cannot take is no job either."""
    result = CliRunner().invoke(cmd_root, ['launch', 'follow', '--', identifier])
    assert result.exit_code == 1
    assert f'there is no job `{identifier}`' in result.output
