"""Why a process failed: the words of the last calculation where a WorkChain of others has none that help."""

from __future__ import annotations

from typing import Any

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.launch.run import describe_end
from aiida_equitrain.query.failures import cause_of, describe_failure, failure_of, root_of

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def process(cls: Any, kind: str, message: str | None, parent: Any = None, status: int = 300) -> Any:
    """Return a stored process that has ended."""
    node = cls(process_type=kind, label=kind)
    node.set_process_label(kind.rpartition('.')[2])
    node.set_process_state('finished')
    node.set_exit_status(status)
    node.set_exit_message(message)
    if parent is not None:
        link = LinkType.CALL_CALC if cls is orm.CalcJobNode else LinkType.CALL_WORK
        node.base.links.add_incoming(parent, link, 'child')
    return node.store()


@pytest.mark.parametrize('last', [300, 0])
def test_of_others(last: int) -> None:
    """However deep the calculation lies; where the last one did well, the WorkChain itself has the words."""
    relax = process(orm.WorkChainNode, 'aiida.workflows:quantumespresso.pw.relax', 'it failed')
    base = process(orm.WorkChainNode, 'aiida.workflows:quantumespresso.pw.base', 'unrecoverable', relax)
    job = process(orm.CalcJobNode, 'aiida.calculations:quantumespresso.pw', 'S matrix' if last else None, base, last)
    assert failure_of(relax) == (f'pw<{job.pk}>: S matrix' if last else f'base<{base.pk}>: unrecoverable')


def test_of_ours() -> None:
    """A WorkChain of ours has repeated the words, and says what to do."""
    ours = process(orm.WorkChainNode, 'aiida.workflows:equitrain.finetune', 'give a smaller `lr`')
    process(orm.CalcJobNode, 'aiida.calculations:equitrain.train', 'it diverged', ours)
    assert describe_failure(ours) == {'process': f'finetune<{ours.pk}>', 'message': 'give a smaller `lr`'}


def test_without_message() -> None:
    """What was raised, or the state."""
    node = process(orm.CalcJobNode, 'aiida.calculations:equitrain.train', None)
    assert describe_failure(node)['message'] == 'it was finished'
    node.set_process_state('excepted')
    node.set_exception('Traceback ...\nValueError: no such thing')
    assert describe_failure(node)['message'] == 'ValueError: no such thing'


def test_root_of_ours() -> None:
    """However deep the calculation lies, it is named with its exit code and its words; nothing of itself."""
    top = process(orm.WorkChainNode, 'aiida.workflows:equitrain.material', 'The labelling failed')
    label = process(orm.WorkChainNode, 'aiida.workflows:equitrain.label', 'too few frames', top)
    base = process(orm.WorkChainNode, 'aiida.workflows:quantumespresso.pw.base', 'unrecoverable', label)
    job = process(orm.CalcJobNode, 'aiida.calculations:quantumespresso.pw', 'S matrix not positive.', base, 305)
    process(orm.CalcJobNode, 'aiida.calculations:quantumespresso.pw', None, label, 0)
    assert root_of(top).pk == job.pk
    assert cause_of(top) == f'pw<{job.pk}> [305]: S matrix not positive'
    assert cause_of(job) == ''
    assert describe_end(top) == (
        f'ended as finished [300]: The labelling failed; at the root of it pw<{job.pk}> [305]: S matrix not positive'
    )


def test_mended() -> None:
    """A run that a later one of the same restarts has mended is no root."""
    top = process(orm.WorkChainNode, 'aiida.workflows:equitrain.finetune', 'worse than before')
    for number, status in ((1, 400), (2, 0)):
        node = orm.CalcJobNode(process_type='aiida.calculations:equitrain.train')
        node.set_process_state('finished')
        node.set_exit_status(status)
        node.base.links.add_incoming(top, LinkType.CALL_CALC, f'iteration_0{number}')
        node.store()
    assert root_of(top).pk == top.pk
    assert cause_of(top) == ''


def test_last_words() -> None:
    """What a job wrote last to its standard error stands beside its message."""
    top = process(orm.WorkChainNode, 'aiida.workflows:equitrain.finetune', 'it failed')
    job = orm.CalcJobNode(process_type='aiida.calculations:equitrain.train')
    job.set_option('scheduler_stderr', '_scheduler-stderr.txt')
    job.set_process_label('train')
    job.set_process_state('finished')
    job.set_exit_status(300)
    job.set_exit_message('it crashed')
    job.base.links.add_incoming(top, LinkType.CALL_CALC, 'child')
    job.store()
    folder = orm.FolderData()
    folder.base.repository.put_object_from_bytes(b'first\nRuntimeError: boom\n\n', '_scheduler-stderr.txt')
    folder.base.links.add_incoming(job, LinkType.CREATE, 'retrieved')
    folder.store()
    assert cause_of(top) == f'train<{job.pk}> [300]: it crashed; its last words: RuntimeError: boom'
