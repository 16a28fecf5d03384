"""Run many jobs of one WorkChain, a few at a time: the next one starts when any of them ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from aiida.engine import WorkChain
from aiida.engine.processes.workchains.awaitable import Awaitable
from aiida.orm import ProcessNode, load_node

#: Place in the context of the job that has ended.
ENDED = 'queue_ended'


class JobQueue(WorkChain):
    """Part of a WorkChain with the input ``max_concurrent``.

    In its outline stands ``while_(cls.has_jobs)(cls.run_..., cls.inspect_...)``: the first step calls
    :meth:`run_jobs`, the second takes what has :meth:`ended`.
    """

    def line_up(self, names: Iterable[str]) -> None:
        """Set the names of the jobs to run, in their order."""
        self.ctx.queue, self.ctx.running = list(names), {}

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
        """Yield names and nodes of the jobs that have ended since the last call."""
        for name, pk in list(self.ctx.running.items()):
            node = load_node(pk)
            if node.is_terminated:
                self.ctx.running.pop(name)
                yield name, node

    def _on_awaitable_finished(self, awaitable: Awaitable) -> None:
        """Go on when the first job of the queue ends: AiiDA would wait for all."""
        if awaitable.key == ENDED:
            if awaitable not in self._awaitables:
                return  # It ended together with another, and was seen then.
            self._awaitables = [awaitable]
        super()._on_awaitable_finished(awaitable)
