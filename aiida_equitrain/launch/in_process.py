"""Run a job in this process, watched, and end all of it on Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder, ProcessFuture
from aiida.engine.runners import Runner
from aiida.manage import get_manager
from kiwipy import LocalCommunicator, UnroutableError
from plumpy.process_states import Interruption

#: Called with a node, it looks at it and returns after how many seconds to look again.
Watch = Callable[[orm.ProcessNode], float]
#: What ends the job: Ctrl-C, and what `kill` sends.
SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds between two looks at what ends.
PAUSE = 2.0
#: Seconds that the jobs of a killed process have to end.
END_WITHIN = 60.0
#: Of AiiDA, about monitors of jobs.
LOGGER = logging.getLogger('aiida.engine.processes.calcjobs.tasks')


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


def run_here(builder: ProcessBuilder, watch: Watch | None = None) -> orm.ProcessNode:
    """Run a job in this process, and call ``watch`` with its node from time to time and at the end.

    Ctrl-C kills the job with all that it called; its node is returned all the same.
    """
    manager = get_manager()
    # The earlier runner is closed before another is made: two would share one event loop, closed with the first.
    manager.reset_runner()
    # The broker of the embedded kind runs only with the daemon, and nothing here needs one.
    manager.set_runner(manager.create_runner(communicator=InProcessCommunicator()))
    runner = manager.get_runner()
    runner.loop.set_exception_handler(_without_interruptions)
    LOGGER.addFilter(_is_news)
    with _interrupts(runner.loop, lambda: _kill(runner, node)):
        # Not `run`: its handler of signals acts wherever the interpreter is just then, and those of functions replace
        # it. The one of the loop waits until the loop runs, here and during functions.
        node: orm.ProcessNode = runner.submit(builder)
        runner.run_until_complete(asyncio.ensure_future(_until_the_end(runner, node, watch), loop=runner.loop))
    if watch:
        watch(node)
    return node


@contextmanager
def _interrupts(loop: asyncio.AbstractEventLoop, react: Callable[[], None]) -> Iterator[None]:
    """Let the loop call ``react`` at each Ctrl-C; also at one that came while a function had its own handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in SIGNALS:
        loop.add_signal_handler(number, react)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _kill(runner: Runner, node: orm.ProcessNode) -> None:
    """Ask a process of this runner to end, and with it those that it called."""
    with suppress(UnroutableError):
        runner.controller.kill_process(node.pk, msg_text='Ctrl-C')  # type: ignore[union-attr]


async def _until_the_end(runner: Runner, node: orm.ProcessNode, watch: Watch | None) -> None:
    """Run the loop until the process has ended, and all that it called."""
    # Not the runner's own future, which prints a line. What is broadcast and not heard is seen at the next look.
    ended = ProcessFuture(int(node.pk or 0), loop=runner.loop, communicator=runner.communicator)
    while not node.is_terminated:
        await asyncio.wait([ended], timeout=watch(node) if watch else PAUSE)
        if ended.done():
            break
    if node.is_finished:
        return
    until = time.monotonic() + END_WITHIN
    while (left := [called for called in node.called_descendants if not called.is_terminated]) and (
        time.monotonic() < until
    ):
        # What was just being started did not hear of it the first time.
        for called in left:
            _kill(runner, called)
        await asyncio.sleep(PAUSE)


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a warning is worth a line: that a job ended before its monitor looked again is not, as all do."""
    return 'skipping task_monitor_job' not in record.getMessage()


def _without_interruptions(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep tracebacks of the tasks that were interrupted on purpose off the terminal."""
    if not isinstance(context.get('exception'), Interruption):
        loop.default_exception_handler(context)
