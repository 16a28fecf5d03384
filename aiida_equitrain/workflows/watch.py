"""What jobs on other machines say of themselves goes into their logs, where `launch follow` reads it.

AiiDA's monitors would do so too, but a monitor is an input: it would change the hash of every pw.x, so that the cache
knew none of those that ran without, and each would ask on its own. Here one command asks for all jobs of a WorkChain,
by the connection of the worker that has the WorkChain, once a minute.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from aiida import orm
from aiida.engine import WorkChain
from aiida.transports import Transport

from aiida_equitrain.common.names import PW, PW_OUTPUT
from aiida_equitrain.common.progress import PROGRESS_FILE, PW_LINES, PW_TAIL, describe_output, said_by
from aiida_equitrain.query.running import Elsewhere, jobs_elsewhere

#: Seconds between two looks.
INTERVAL = 60.0
#: Folders in one command: a command line has an end.
AT_ONCE = 50
#: Before what a job says, in what the command prints.
MARK = '=== equitrain job '


class Watched(WorkChain):
    """Part of a WorkChain: while it waits, the progress of its jobs on other machines comes into their logs."""

    _watch: Watch | None = None

    def _action_awaitables(self) -> None:
        """Wait for what was called, and look at it meanwhile; also after a worker has taken this process anew."""
        super()._action_awaitables()
        self._watch = self._watch or Watch(self)
        self._watch.go_on()

    def on_exit_waiting(self) -> None:
        """Look no more until this waits again."""
        base: Any = super()
        base.on_exit_waiting()
        if self._watch is not None:
            self._watch.stop()


class Watch:
    """Looks at the jobs of a WorkChain while that waits; what goes wrong at a look is no reason to end the WorkChain.

    A WorkChain that refills a queue waits for seconds at a time: the time since the last look goes on counting.
    Between two looks there is no task, which would be left behind by a loop that ends with the process.
    """

    def __init__(self, process: WorkChain) -> None:
        self.process = process
        self.told: dict[int, str] = {}
        self.due = process.loop.time() + INTERVAL
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def go_on(self) -> None:
        """Look when it is time for it."""
        if self.timer is None:
            self.timer = self.process.loop.call_at(self.due, self._begin)

    def stop(self) -> None:
        """Look no more; a look that has begun goes on to its end."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _begin(self) -> None:
        # Before the look, so that it can be stopped meanwhile; the next begins after this has ended or run out of time.
        self.due = self.process.loop.time() + INTERVAL
        self.timer = self.process.loop.call_at(self.due, self._begin)
        if self.task is None or self.task.done():
            self.task = self.process.loop.create_task(self._look())

    async def _look(self) -> None:
        try:
            await asyncio.wait_for(look_at(self.process, self.told), timeout=INTERVAL)
        except Exception as error:
            self.process.logger.debug('no look at the jobs of %s: %s', self.process.pid, error)


async def look_at(process: WorkChain, told: dict[int, str]) -> None:
    """Write into the logs what running jobs say, where that is new."""
    jobs = sorted(jobs_elsewhere(int(process.node.pk or 0)), key=lambda job: job.computer)
    for pk, some in groupby(jobs, key=lambda job: job.computer):
        authinfo = orm.load_computer(pk=pk).get_authinfo(process.node.user)
        async with process.runner.transport.request_transport(authinfo) as request:
            sentences = await ask(await request, list(some))
        for job, sentence in sentences.items():
            if told.get(job) != sentence:
                node = orm.load_node(job)
                node.logger.report(said_by(job, str(node.process_label)) + sentence)
                told[job] = sentence


async def ask(transport: Transport, jobs: Sequence[Elsewhere]) -> dict[int, str]:
    """Return what jobs say of themselves, by PK; those that say nothing are left out.

    :param transport: to the machine of all of them, open.
    """
    sentences = {}
    for start in range(0, len(jobs), AT_ONCE):
        some = jobs[start : start + AT_ONCE]
        _, text, _ = await transport.exec_command_wait_async('; '.join(map(_command, some)))
        kinds = {job.pk: job.kind for job in some}
        for pk, content in _parts(text):
            if pk in kinds and (sentence := describe_output(kinds[pk], content)):
                sentences[pk] = sentence
    return sentences


def _command(job: Elsewhere) -> str:
    """Return the command that prints what a job says of itself."""
    mark = f'echo; echo {shlex.quote(f"{MARK}{job.pk}")}'
    if job.kind != PW:
        return f'{mark}; cat {shlex.quote(f"{job.folder}/{PROGRESS_FILE}")} 2>/dev/null'
    output = shlex.quote(f'{job.folder}/{PW_OUTPUT}')
    # Few lines of many: what is sent is no more than what is read of it.
    return f'{mark}; tail -c {PW_TAIL} {output} 2>/dev/null | grep -E {shlex.quote(PW_LINES)} | tail -n 8'


def _parts(text: str) -> Iterable[tuple[int, str]]:
    """Yield PK and content of each job of what the command has printed; what a login shell says comes before."""
    for part in text.split(MARK)[1:]:
        number, _, content = part.partition('\n')
        if number.strip().isdecimal():
            yield int(number), content
