"""Why a process failed, in the words of what knows it best."""

from __future__ import annotations

from typing import Any

from aiida import orm


def failed_process(node: Any) -> Any:
    """Return the process whose words say why ``node`` failed.

    WorkChains of ours repeat the words of what failed below them; those of others do not, so that it is searched for.
    """
    if not isinstance(node, orm.WorkChainNode) or str(node.process_type).startswith('aiida.workflows:equitrain.'):
        return node
    called: list[Any] = sorted(node.called, key=lambda child: child.pk or 0)
    return node if not called or called[-1].is_finished_ok else failed_process(called[-1])


def reason_of(node: Any) -> str:
    """Return why a process failed, without its name."""
    failed = failed_process(node)
    raised = (failed.exception or '').strip().splitlines()[-1:]
    state = failed.process_state.value if failed.process_state else 'created'
    return failed.exit_message or failed.process_status or (raised[0] if raised else f'it was {state}')


def describe_failure(node: Any) -> dict[str, str]:
    """Return ``process`` and ``message``, which messages of exit codes are filled in with."""
    failed = failed_process(node)
    return {'process': f'{failed.process_label}<{failed.pk}>', 'message': reason_of(failed)}


def failure_of(node: Any) -> str:
    """Return which process failed, and why, as one sentence."""
    return '{process}: {message}'.format(**describe_failure(node))
