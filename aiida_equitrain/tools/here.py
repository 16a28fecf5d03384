"""Run a job in this process, watched, and end all of it on Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiida import orm
from aiida.manage import get_manager
from kiwipy import LocalCommunicator
from plumpy import KilledError
from plumpy.process_states import Interruption

#: Called with a node, it looks at it and returns after how many seconds to look again.
Watch = Callable[[orm.ProcessNode], float]
#: Seconds after which a job that was just started is looked for.
FIRST_LOOK = 0.5
#: Seconds that the jobs of a killed process have to end.
END_WITHIN = 60.0


class InProcessCommunicator(LocalCommunicator):  # type: ignore[misc]
    """Messages between the processes of one interpreter, as the loop of a runner takes them.

    With no communicator at all, killing a process leaves those that it called running for ever.
    """

    def fire_rpc(self, recipient_id: Any, msg: Any) -> Any:
        """Tell one process, which has subscribed by its PK as text."""
        return super().fire_rpc(str(recipient_id), msg)

    def fire_broadcast(self, body: Any, sender: Any = None, subject: Any = None, correlation_id: Any = None) -> bool:
        """Tell all subscribers: by position, as their filters read it; those of now, as a message may make new ones."""
        self._ensure_open()
        for subscriber in list(self._broadcast_subscribers.values()):
            subscriber(self, body, sender, subject, correlation_id)
        return True


def run_here(builder: Any, watch: Watch | None = None) -> orm.ProcessNode:
    """Run a job in this process, and call ``watch`` with its node from time to time and at the end.

    Ctrl-C kills the job with all that it called; its node is returned all the same.
    """
    manager = get_manager()
    # The earlier runner is closed before another is made: two would share one event loop, closed with the first.
    manager.reset_runner()
    # The broker of the embedded kind runs only with the daemon, and nothing here needs one.
    manager.set_runner(manager.create_runner(communicator=InProcessCommunicator()))
    runner = manager.get_runner()
    find = _finder(builder.process_class.build_process_type())
    timer: list[asyncio.TimerHandle] = []

    def tick() -> None:
        node = find()
        wait = watch(node) if watch and node else FIRST_LOOK
        timer[:] = [runner.loop.call_later(wait, tick)]

    if watch:
        tick()
    try:
        node: orm.ProcessNode = runner.run_get_node(builder).node
    except KilledError:
        node = find()
        runner.loop.set_exception_handler(_without_interruptions)
        runner.run_until_complete(asyncio.ensure_future(_wait_for_called(node), loop=runner.loop))
    finally:
        for handle in timer:
            handle.cancel()
    if watch:
        watch(node)
    return node


def _finder(process_type: str) -> Callable[[], Any]:
    """Return a function that returns the first node of a type that is made from now on, ``None`` before."""
    last = orm.QueryBuilder().append(orm.ProcessNode, project='id', tag='n').order_by({'n': {'id': 'desc'}}).first()
    filters = {'process_type': process_type, 'id': {'>': last[0] if last else 0}}
    found: list[orm.ProcessNode] = []

    def find() -> orm.ProcessNode | None:
        if not found:
            query = orm.QueryBuilder().append(orm.ProcessNode, filters=filters, tag='n').order_by({'n': {'id': 'asc'}})
            found.extend(query.limit(1).all(flat=True))
        return found[0] if found else None

    return find


def _without_interruptions(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep tracebacks of the tasks that were interrupted on purpose off the terminal."""
    if not isinstance(context.get('exception'), Interruption):
        loop.default_exception_handler(context)


async def _wait_for_called(node: orm.ProcessNode) -> None:
    """Let the loop run until all that a killed process had called has ended too."""
    for _ in range(round(END_WITHIN / FIRST_LOOK)):
        if all(called.is_terminated for called in node.called_descendants):
            return
        await asyncio.sleep(FIRST_LOOK)
