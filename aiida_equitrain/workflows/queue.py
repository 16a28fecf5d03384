"""Run many jobs of one WorkChain, a few at a time: the next one starts when any of them ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from aiida.common import AttributeDict
from aiida.engine import WorkChain
from aiida.engine.processes.workchains.awaitable import Awaitable
from aiida.orm import CalcFunctionNode, CalcJobNode, ProcessNode, load_node

from aiida_equitrain.common.names import WORKCHAINS
from aiida_equitrain.parsers.ending import Ending, accounting_of, ending_of
from aiida_equitrain.query.failures import failure_of
from aiida_equitrain.workflows.restarts import AGAIN


def why_failed(node: Any) -> str:
    """Return why a process failed; of one that the scheduler ended, how."""
    job = last_job(node)
    ending = None if job is None else ending_of(job)
    return failure_of(node) if ending is None else f'{job.process_label}<{job.pk}>: {ending.value}'


def last_job(node: Any) -> Any:
    """Return the last job below a process of Quantum ESPRESSO, ``None`` if there is none."""
    if isinstance(node, CalcJobNode):
        return node
    if str(node.process_type).startswith(WORKCHAINS):
        return None  # its own affair
    called = sorted(
        (child for child in node.called if not isinstance(child, CalcFunctionNode)), key=lambda child: child.pk
    )
    return last_job(called[-1]) if called else None


def more_memory(job: Any) -> dict[str, int]:
    """Return twice the memory (kB) that a job asked for, or was given."""
    asked = job.get_option('max_memory_kb') or _kilobytes(accounting_of(job).get('ReqMem', ''))
    return {'max_memory_kb': 2 * asked} if asked else {}


def _kilobytes(text: str) -> int | None:
    """Return what Slurm writes as ``2000M`` or ``4Gc``."""
    match = re.match(r'([\d.]+)([KMGT])', text)
    return int(float(match.group(1)) * 1000 ** 'KMGT'.index(match.group(2))) if match else None


#: Place in the context of the job that has ended.
ENDED = 'queue_ended'


class JobQueue(WorkChain):
    """Part of a WorkChain with the input ``max_concurrent``.

    In its outline stands ``while_(cls.has_jobs)(cls.run_..., cls.inspect_...)``: the first step calls
    :meth:`run_jobs`, the second takes what has :meth:`ended`.
    """

    def line_up(self, names: Iterable[str]) -> None:
        """Set the names of the jobs to run, in their order."""
        self.ctx.queue, self.ctx.running, self.ctx.second = list(names), {}, {}

    def has_jobs(self) -> bool:
        """Return whether jobs wait or run."""
        return bool(self.ctx.queue or self.ctx.running)

    def run_jobs(self, start: Callable[[str], ProcessNode | None]) -> None:
        """Start jobs until as many run as may, and wait until any of them ends.

        :param start: submits the job of a name; returns ``None`` where there is nothing to run.
        """
        while self.ctx.queue and len(self.ctx.running) < self.inputs.max_concurrent.value:
            name = self.ctx.queue.pop(0)
            if (node := start(name)) is not None:
                self.ctx.running[name] = node.pk
        for pk in self.ctx.running.values():
            self.to_context(**{ENDED: cast(ProcessNode, load_node(pk))})

    def ended(self) -> Iterator[tuple[str, Any]]:
        """Yield names and nodes of the jobs that have ended since the last call, but those that are tried once more."""
        for name, pk in list(self.ctx.running.items()):
            node: Any = load_node(pk)
            if node.is_terminated:
                self.ctx.running.pop(name)
                if not self.tries_again(name, node):
                    yield name, node

    def tries_again(self, name: str, node: Any) -> bool:
        """Line up a calculation of Quantum ESPRESSO once more that a cluster has ended, unless it was cancelled."""
        job = last_job(node)
        ending = None if node.is_finished_ok or job is None else ending_of(job)
        if ending is None or ending == Ending.CANCELLED or name in self.ctx.second:
            return False
        self.ctx.second[name] = more_memory(job) if ending == Ending.MEMORY else {}
        more = ''.join(f', with {key} {value}' for key, value in self.ctx.second[name].items())
        self.report(f'{name} ended, see {job.process_label}<{job.pk}>: {ending.value}; it is tried once more{more}')
        self.ctx.queue.insert(0, name)
        return True

    def in_second_try(self, name: str, inputs: Any, job: str | None = None) -> str:
        """Set the options of a second try, and return the label of the call.

        :param job: namespace of the job in the inputs, where its options are at hand.
        """
        if name not in self.ctx.second:
            return name
        if job is not None:
            options = inputs[job].setdefault('metadata', AttributeDict()).setdefault('options', AttributeDict())
            options.update(self.ctx.second[name])
        return f'{name}{AGAIN}1'

    def _on_awaitable_finished(self, awaitable: Awaitable) -> None:
        """Go on when the first job of the queue ends: AiiDA would wait for all."""
        if awaitable.key == ENDED:
            if awaitable not in self._awaitables:
                return  # It ended together with another, and was seen then.
            self._awaitables = [awaitable]
        super()._on_awaitable_finished(awaitable)
