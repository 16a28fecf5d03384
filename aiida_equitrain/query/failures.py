"""Why a process failed, in the words of what knows it best."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.common.names import WORKCHAINS

#: How the links to the runs of a restarting WorkChain begin, and characters of a line of others that are shown.
RESTART, LONGEST = 'iteration_', 200


def failed_process(node: Any) -> Any:
    """Return the process whose words say why ``node`` failed.

    WorkChains of ours repeat the words of what failed below them; those of others do not, so that it is searched for.
    """
    if not isinstance(node, orm.WorkChainNode) or str(node.process_type).startswith(WORKCHAINS):
        return node
    called: list[Any] = sorted(node.called, key=lambda child: child.pk or 0)
    return node if not called or called[-1].is_finished_ok else failed_process(called[-1])


def reason_of(node: Any) -> str:
    """Return why a process failed, without its name."""
    failed = failed_process(node)
    raised = (failed.exception or '').strip().splitlines()[-1:]
    state = failed.process_state.value if failed.process_state else 'created'
    return failed.exit_message or failed.process_status or (raised[0] if raised else f'it was {state}')


def root_of(node: Any) -> Any:
    """Return the process at the root of a failure, however deep: the last one that failed, and called none that did.

    A restart that a later one has mended is no root.
    """
    if not isinstance(node, orm.WorkChainNode) or node.is_finished_ok:
        return node
    links = node.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC)).all()
    called = sorted(((link.node, link.link_label) for link in links), key=lambda pair: int(pair[0].pk or 0))
    last = [child for child, label in called if label.startswith(RESTART)][-1:]
    failed = [
        child
        for child, label in called
        if child.is_terminated
        and not child.is_finished_ok
        and isinstance(child, orm.WorkChainNode | orm.CalcJobNode)
        and (not label.startswith(RESTART) or child.pk == last[0].pk)
    ]
    return root_of(failed[-1]) if failed else node


def cause_of(node: Any) -> str:
    """Return the last calculation that failed below a process, its exit code and its words; nothing if it is that."""
    root: Any = root_of(node)
    if root.pk == node.pk:
        return ''
    status = '' if root.exit_status is None else f' [{root.exit_status}]'
    said = _last_line(root) if isinstance(root, orm.CalcJobNode) else ''
    return f'{root.process_label}<{root.pk}>{status}: {reason_of(root).strip().rstrip(".")}{said}'


def _last_line(job: Any) -> str:
    """Return what a job wrote last to its standard error, as the end of a sentence."""
    if 'retrieved' not in job.outputs:
        return ''
    lines = [line.strip() for line in (job.get_scheduler_stderr() or '').splitlines() if line.strip()]
    return f'; its last words: {lines[-1][:LONGEST]}' if lines else ''


def describe_failure(node: Any) -> dict[str, str]:
    """Return ``process`` and ``message``, which messages of exit codes are filled in with."""
    failed = failed_process(node)
    return {'process': f'{failed.process_label}<{failed.pk}>', 'message': reason_of(failed)}


def failure_of(node: Any) -> str:
    """Return which process failed, and why, as one sentence."""
    return '{process}: {message}'.format(**describe_failure(node))
