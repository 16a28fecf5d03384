"""Whether the workers of the daemon have room for a job: WorkChains that wait must leave a slot for their jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.manage import get_manager
from aiida.manage.configuration import get_config_option

from aiida_equitrain.common.names import WORKCHAINS
from aiida_equitrain.workflows.slots import TWO, count_waiting


def slots_problem(builder: Any) -> str | None:
    """Return a sentence if the slots of the workers could all be held by WorkChains that wait, ``None`` if not.

    What runs already counts, each job with the most that can wait of it.

    :param builder: of the job that is to be submitted.
    """
    workers = count_workers()
    if workers is None:
        return None
    slots = int(get_config_option('daemon.worker_process_slots'))
    needed = count_waiting(builder.process_class.__name__, builder._inputs(prune=True)) + 1
    running = sum(_waiting_of(node) for node in _unfinished())
    if needed + running <= workers * slots:
        return None
    more = -(-(needed + running) // slots) - workers
    beside = f', and {running} of what runs already' if running else ''
    return (
        f'nothing is submitted, as it could stand still: up to {needed - 1} WorkChains of it wait at the same time'
        f'{beside}, each holds a slot, and {workers} worker{"" if workers == 1 else "s"} with {slots} slots would '
        f'leave none for the jobs: `verdi daemon incr {more}` adds workers (`verdi config set '
        'daemon.worker_process_slots N` slots), or give a smaller `max_concurrent`, that of a study and of `material` '
        'in its overrides; with 1 a WorkChain runs one stage after the other'
    )


def count_workers() -> int | None:
    """Return how many workers the running daemon has, or ``None`` where that cannot be known."""
    from aiida.engine.daemon.client import DaemonException, get_daemon_client

    profile = get_manager().get_profile()
    if profile is None or not profile.process_control_backend:
        return None
    try:
        return int(get_daemon_client().get_numprocesses()['numprocesses'])
    except (DaemonException, KeyError, TypeError):
        return None


def _unfinished() -> list[orm.WorkChainNode]:
    """Return the WorkChains that have not ended and that no other has called."""
    states = ['created', 'running', 'waiting']
    query = orm.QueryBuilder().append(
        orm.WorkChainNode, filters={'attributes.process_state': {'in': states}}, project='*'
    )
    found: list[orm.WorkChainNode] = query.all(flat=True)
    return [node for node in found if node.caller is None]


def _waiting_of(node: orm.WorkChainNode) -> int:
    """Return how many WorkChains of a job can wait at the same time; what is not ours counts as two."""
    if not str(node.process_type).startswith(WORKCHAINS):
        return TWO
    return count_waiting(str(node.process_label), _nested(node))


def _nested(node: orm.WorkChainNode) -> Mapping[str, Any]:
    """Return the inputs of a job as its ports are nested."""
    inputs: dict[str, Any] = {}
    for link in node.base.links.get_incoming(link_type=(LinkType.INPUT_WORK,)).all():
        *places, name = link.link_label.split('__')
        where = inputs
        for place in places:
            where = where.setdefault(place, {})
        where[name] = link.node
    return inputs
