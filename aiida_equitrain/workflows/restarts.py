"""Jobs that a cluster has ended are started again by the WorkChain that waits for them, with what may help.

A ``BaseRestartWorkChain`` around each job would double the processes of a study; so the replacement is submitted where
the end of a job is noticed, and takes its place among what is waited for. The training has a WorkChain of its own, as
it has more to mend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from aiida import orm
from aiida.engine.processes.workchains.awaitable import Awaitable, construct_awaitable

from aiida_equitrain.calculations.script_job import ScriptCalculation
from aiida_equitrain.parsers.ending import Ending, ending_of
from aiida_equitrain.parsers.script_job import ENDINGS
from aiida_equitrain.workflows.watch import Watched

#: How often a job is started again that came no further than the one before.
MAX_IN_VAIN = 3
#: In the link labels of jobs that were started again: ``forces``, ``forces_again_1``, ...
AGAIN = '_again_'
#: What else a job of ours may end with that another try may mend.
INTERRUPTED = 'ERROR_INTERRUPTED'


@dataclass(frozen=True)
class Restart:
    """How a job is started again.

    :param changes: inputs that differ.
    :param text: what is said of it.
    """

    changes: dict[str, Any]
    text: str


def plan_restart(node: orm.CalcJobNode, number: int) -> Restart | None:
    """Return how to start a job again that ended, or ``None`` if that would change nothing, or nobody wants it.

    :param number: of restarts so far.
    """
    if node.is_finished_ok or not node.is_finished:
        return None
    cause, changes = cause_of(node), _go_on(node)
    came_further = bool(changes)
    done = ', going on from what it has done' if changes else ''
    if cause == Ending.MEMORY:
        smaller = _smaller_batch(node)
        if smaller is None:
            return None
        return Restart({**changes, **smaller[0]}, f'ran out of memory: {smaller[1]}{done}')
    if cause == Ending.WALLTIME:
        return Restart(changes, f'ran out of walltime: once more{done}') if came_further else None
    if cause in (Ending.NODE, Ending.PREEMPTED, INTERRUPTED) and (came_further or number < MAX_IN_VAIN):
        why = {Ending.NODE: 'was on a node that failed', Ending.PREEMPTED: 'had to make way for another'}
        return Restart(changes, f'{why.get(cast(Ending, cause), "was ended from outside")}: once more{done}')
    return None


def cause_of(node: orm.CalcJobNode) -> Ending | str | None:
    """Return why a job ended before it was done: of ours by its exit code, else by what the scheduler says."""
    process: Any = node.process_class
    if not issubclass(process, ScriptCalculation):
        return ending_of(node)
    causes: dict[str, Ending | str] = {label: ending for ending, label in ENDINGS.items()}
    causes[INTERRUPTED] = INTERRUPTED
    return next(
        (cause for label, cause in causes.items() if process.exit_codes[label].status == node.exit_status), None
    )


def _go_on(node: orm.CalcJobNode) -> dict[str, Any]:
    """Return as ``partial`` what a job has done, if it is more than it began with."""
    if 'partial' not in node.outputs:
        return {}
    sizes = [_size(source.partial) if 'partial' in source else 0 for source in (node.inputs, node.outputs)]
    return {'partial': node.outputs.partial} if sizes[1] > sizes[0] else {}


def _size(node: orm.SinglefileData) -> int:
    return node.base.repository.get_object_size(node.filename)


def _smaller_batch(node: orm.CalcJobNode) -> tuple[dict[str, Any], str] | None:
    """Return settings with half as many frames at once, and what is said of it."""
    settings = dict(node.inputs.settings) if 'settings' in node.inputs else {}
    size = settings.get('batch_size', 1)
    if size <= 1:
        return None
    half = size // 2
    return {'settings': orm.Dict({**settings, 'batch_size': half})}, f'{half} instead of {size} frames at once'


class Restarts(Watched):
    """Part of a WorkChain: what it waits for is replaced when a cluster has ended it before it was done."""

    def _on_awaitable_finished(self, awaitable: Awaitable) -> None:
        """Go on when a job has ended, or wait for the one that is started in its place."""
        node = orm.load_node(awaitable.pk)
        if isinstance(node, orm.CalcJobNode) and awaitable in self._awaitables:
            again = self._start_again(node)
            if again is not None:
                self._wait_instead(awaitable, again)
                return
        super()._on_awaitable_finished(awaitable)

    def _start_again(self, node: orm.CalcJobNode) -> orm.CalcJobNode | None:
        """Submit a job again, or return the one that was before this process was stopped; ``None`` if it is the end."""
        label, _, number = self._label_of(node).partition(AGAIN)
        restart = plan_restart(node, int(number or 0))
        if restart is None:
            return None
        new = f'{label}{AGAIN}{int(number or 0) + 1}'
        known = [link.node for link in self.node.base.links.get_outgoing().all() if link.link_label == new]
        if known:
            return cast(orm.CalcJobNode, known[0])
        inputs = node.get_builder_restart()._inputs(prune=True)
        inputs.update(restart.changes)
        inputs.setdefault('metadata', {})['call_link_label'] = new
        again = cast(orm.CalcJobNode, self.submit(cast(Any, node.process_class), **inputs))
        self.report(f'{node.process_label}<{node.pk}> `{label}` {restart.text} ({again.process_label}<{again.pk}>)')
        return again

    def _label_of(self, node: orm.CalcJobNode) -> str:
        """Return the label under which this WorkChain has called a job."""
        links = node.base.links.get_incoming(orm.WorkChainNode).all()
        return next(str(link.link_label) for link in links if link.node.pk == self.node.pk)

    def _wait_instead(self, awaitable: Awaitable, node: orm.ProcessNode) -> None:
        """Let a job take the place of another among what is waited for, and in the context."""
        new = construct_awaitable(node)
        new.key = awaitable.key
        self._awaitables[self._awaitables.index(awaitable)] = new
        where, key = self._resolve_nested_context(awaitable.key)
        where[key] = new
        self._update_process_status()
        callback: Any = partial(self.call_soon, self._on_awaitable_finished, new)
        self.runner.call_on_process_finish(cast(int, new.pk), callback)
