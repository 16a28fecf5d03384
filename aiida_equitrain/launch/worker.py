"""Why a job that was handed to the daemon does not go on, and what helps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from aiida.manage import get_manager

#: Seconds in which a process has its task, from when something happened to it.
GRACE = 30.0
#: Seconds in which a worker takes a new process, if one has a free slot, and something happens to one at work.
PATIENCE = 120.0
#: Parts of the reasons of Slurm with which a job stays where it is until somebody changes it or a limit.
NEVER = ('PartitionTimeLimit', 'PartitionNodeLimit', 'MaxWall', 'MaxCpuPerJob', 'MaxMemPerJob', 'MaxNodePerJob',
         'MaxTRESPerJob', 'InvalidAccount', 'InvalidQOS', 'QOSNotAllowed', 'AccountNotAllowed', 'BadConstraints',
         'JobHeldAdmin', 'JobHeldUser', 'PartitionInactive')  # fmt: skip
REPAIR = '`verdi daemon stop`, then `verdi process repair` and `verdi daemon start` let it go on'


class Active(Protocol):
    """A process that has not ended; ``end`` is when something happened to it last."""

    pk: int
    label: str
    state: str | None
    paused: bool | None
    said: str | None
    start: datetime
    end: datetime
    tasked: bool
    job: bool

    @property
    def waits_because(self) -> str | None:
        """Why it waits in the queue of a scheduler; ``None`` if it does not."""


@dataclass(frozen=True)
class Trouble:
    """What keeps a job from going on.

    :param sentences: each with its remedy.
    :param stuck: whether nothing at all goes on before somebody does something.
    """

    sentences: tuple[str, ...] = ()
    stuck: bool = False


def find_trouble(top: int, active: Iterable[Active], changed: datetime | None = None) -> Trouble:
    """Return what keeps a job from going on.

    :param top: PK of the job.
    :param active: the job and the processes below it, those that have not ended.
    :param changed: when something happened last to any of them or of those that have ended.
    """
    tasked = [row for row in active if row.tasked]
    if not tasked:
        return Trouble()
    if problem := nobody_works():
        return Trouble((problem,), True)
    lost, paused = _lost(tasked), [row for row in tasked if row.paused]
    sentences = [
        *(
            f'no worker has {row.label} {row.pk}, and none will take it, as its task was lost: {REPAIR}'
            for row in lost[:1]
        ),
        *_without_worker(tasked),
        *_maybe_lost(tasked, changed),
        *_paused(paused),
        *_never(tasked),
    ]
    at_work = [row for row in tasked if row.job] or tasked
    stuck = bool(lost) or any(row.pk == top for row in paused) or all(row.paused for row in at_work)
    return Trouble(tuple(sentences), stuck)


def nobody_works() -> str | None:
    """Return a sentence if the profile has nobody who could work on a job."""
    from aiida_equitrain.launch.run import daemon_problem

    problem = daemon_problem()
    if problem is None:
        return None
    remedy = 'launch it again' if 'broker' in problem else f'start the daemon, and if it does not go on then: {REPAIR}'
    return (
        f'nobody works on it, as {problem}, unless the command that started it still runs and shows it: if that has '
        f'ended, {remedy}'
    )


def _lost(rows: list[Active]) -> list[Active]:
    """Return the processes that no worker has, and none will take."""
    lost = [row for row in rows if _seconds(row.end) > GRACE]
    for _ in range(2):  # a task that changes its place while we look is found at the second look
        tasks = _tasks()
        lost = [row for row in lost if tasks is not None and row.pk not in tasks]
    return lost


def _without_worker(rows: list[Active]) -> list[str]:
    """Return a sentence of the processes that wait for a worker."""
    return [
        f'no worker has taken {row.label} {row.pk} yet: all slots may be in use (`verdi daemon incr` adds a worker), '
        f'or its task was lost ({REPAIR})'
        for row in rows
        if row.state == 'created' and not row.paused and _seconds(row.start) > PATIENCE
    ][:1]


def _maybe_lost(rows: list[Active], changed: datetime | None) -> list[str]:
    """Return a sentence of processes at work to which nothing happens, where lost tasks cannot be seen."""
    latest = max([row.end for row in rows] + ([changed] if changed else []))
    at_work = [row for row in rows if row.job] or rows
    known = any(row.state == 'created' for row in rows) or all(row.paused for row in at_work)
    if known or _seconds(latest) <= PATIENCE or not _is_queue_hidden():
        return []
    return [
        f'nothing has happened for more than {PATIENCE / 60:.0f} minutes: a step may take long, or a task was lost, '
        f'which cannot be seen in the queue of this broker; if it was lost, {REPAIR}'
    ]


def _paused(rows: list[Active]) -> list[str]:
    """Return sentences of paused processes."""
    sentences = []
    for row in rows[:3]:
        reason = (row.said or 'no reason is known').strip().rstrip('.')
        sentences.append(
            f'{row.label} {row.pk} is paused ({reason}): once the cause is mended, `verdi process play {row.pk}` lets '
            f'it go on; `verdi process report {row.pk}` says more'
        )
    if len(rows) > len(sentences):
        sentences.append(f'{len(rows) - len(sentences)} more are paused: `verdi process play --all` lets all go on')
    return sentences


def _never(rows: list[Active]) -> list[str]:
    """Return a sentence of jobs that wait in a queue for what will never be."""
    for row in rows:
        reason = row.waits_because or ''
        if any(word.lower() in reason.lower() for word in NEVER):
            return [
                f'{row.label} {row.pk} waits in the queue of the scheduler, and will not run ({reason}): it asks for '
                f'what is not given; `verdi process kill {row.pk}`, and launch again with another `--walltime`, '
                '`--queue`, `--qos`, `--account` or `--memory`'
            ]
    return []


def _is_queue_hidden() -> bool:
    """Return whether the broker, such as RabbitMQ, does not show which tasks it has."""
    from aiida.brokers import ZeromqBroker

    return not isinstance(get_manager().get_broker(), ZeromqBroker)


def _tasks() -> set[int] | None:
    """Return the PKs of the processes that workers have or will take; ``None`` where that cannot be seen.

    AiiDA's own function is for a daemon that stands still: it gives up all tasks that workers have.
    """
    if _is_queue_hidden():
        return None
    broker: Any = get_manager().get_broker()
    found = set()
    for file in Path(broker._storage_path, 'tasks').glob('*/*.json'):
        try:
            found.add(int(json.loads(file.read_text(encoding='utf-8'))['body']['args']['pid']))
        except (OSError, ValueError, KeyError, TypeError):
            # It has just ended, or is being moved: nothing is said on what is not known.
            return None
    return found


def _seconds(since: datetime) -> float:
    return (datetime.now(UTC) - since).total_seconds()
