"""Why a process failed: the words of the last calculation where a WorkChain of others has none that help."""

from __future__ import annotations

from typing import Any

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.query.failures import describe_failure, failure_of

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
