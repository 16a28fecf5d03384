"""Start a job, in this process or with the daemon, and say how it ended."""

from __future__ import annotations

import time

from aiida import orm
from aiida.engine import ProcessBuilder
from aiida.manage import get_manager

from aiida_equitrain.common.printable import printable
from aiida_equitrain.launch.in_process import Watch, run_here
from aiida_equitrain.launch.slots import slots_problem
from aiida_equitrain.query.failures import cause_of, reason_of


def daemon_problem() -> str | None:
    """Return a sentence if nothing can be submitted in the loaded profile, ``None`` if something can."""
    profile = get_manager().get_profile()
    if profile is None or not profile.process_control_backend:
        return 'the profile has no broker'
    from aiida.engine.daemon.client import get_daemon_client

    if not get_daemon_client().is_daemon_running:
        return 'the daemon is not running (`verdi daemon start` starts it)'
    return None


def start(builder: ProcessBuilder, submit: bool = False) -> orm.ProcessNode:
    """Run a job in this process, or hand it to the daemon, and print where its results are; for scripts.

    :returns: the node, terminated unless ``submit``.
    :raises SystemExit: with a sentence, if ``submit`` and there is nothing to submit to, or no room for it.
    """
    if submit:
        problem = daemon_problem() or slots_problem(builder)
        if problem:
            raise SystemExit(f'nothing can be submitted: {problem}')
        from aiida.engine import submit as submit_to_daemon

        node: orm.ProcessNode = submit_to_daemon(builder)
        print(f'Submitted {node.process_label} {node.pk}: aiida-equitrain launch follow {node.pk}')
        return node
    node = run_here(builder)
    print(printable(f'{node.process_label} {node.pk} {describe_end(node)}: verdi process show {node.pk}'))
    return node


def describe_end(node: orm.ProcessNode) -> str:
    """Return how a job ended, in a few words with the reason."""
    if node.is_finished_ok:
        return 'is done'
    state = node.process_state.value if node.process_state else 'created'
    status = '' if node.exit_status is None else f' [{node.exit_status}]'
    cause = cause_of(node)
    root = f'; at the root of it {cause}' if cause else ''
    return f'ended as {state}{status}: {reason_of(node).strip().rstrip(".")}{root}'


def follow(node: orm.ProcessNode, watch: Watch) -> None:
    """Call ``watch`` until the job has ended, and once more."""
    while not node.is_terminated:
        time.sleep(watch(node))
    watch(node)
