"""Jobs that run on other machines, what they have said of themselves, and warnings: from the database alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.common.names import CALCJOBS, PW, WORKCHAINS
from aiida_equitrain.common.progress import said_by

TERMINATED = ('finished', 'excepted', 'killed')
LOCAL = 'core.local'
#: In the report of a WorkChain, after where that comes from.
WARNING = ']: WARNING: '


@dataclass(frozen=True)
class Elsewhere:
    """A job that runs on another machine."""

    pk: int
    kind: str
    folder: str
    computer: int


def jobs_elsewhere(process: int) -> list[Elsewhere]:
    """Return the running jobs of other machines that a WorkChain waits for, and that say something of themselves.

    Those below another WorkChain of ours are left out: that looks after them.
    """
    found, parents = [], [process]
    while parents:
        rows = _called(parents)
        found += [
            Elsewhere(pk, kind, folder, computer)
            for pk, kind, folder, computer, state in rows
            if state == 'running' and folder and computer and says_something(kind) and not is_here(computer)
        ]
        parents = [pk for pk, kind, *_ in rows if not kind.startswith((WORKCHAINS, 'aiida.calculations:'))]
    return found


def _called(parents: list[int]) -> list[tuple[int, str, str | None, int | None, str | None]]:
    """Return the processes that others have called and that have not ended."""
    query = orm.QueryBuilder().append(orm.ProcessNode, filters={'id': {'in': parents}}, tag='caller')
    query.append(
        orm.ProcessNode,
        with_incoming='caller',
        edge_filters={'type': {'in': [LinkType.CALL_CALC.value, LinkType.CALL_WORK.value]}},
        filters={'attributes.process_state': {'!in': list(TERMINATED)}},
        project=['id', 'process_type', 'attributes.remote_workdir', 'dbcomputer_id', 'attributes.scheduler_state'],
    )
    rows: list[Any] = query.all()
    return [(pk, str(kind or ''), folder, computer, state) for pk, kind, folder, computer, state in rows]


def says_something(kind: str) -> bool:
    """Return whether jobs of a process type write how far they are."""
    return kind == PW or kind.startswith(CALCJOBS)


@cache
def is_here(computer: int | None) -> bool:
    """Return whether the folders of a computer, of this PK, are on this machine."""
    filters = {'id': computer, 'transport_type': LOCAL}
    return computer is not None and bool(orm.QueryBuilder().append(orm.Computer, filters=filters).count())


def lines_since(jobs: dict[int, str], last: int) -> tuple[dict[int, tuple[str, datetime]], int]:
    """Return the newest line of each job that has told how far it is, with the time of it.

    :param jobs: their labels by PK.
    :param last: PK of a line: only newer ones are looked at.
    :returns: the lines by the PK of the job, and the PK of the newest line of all.
    """
    lines: dict[int, tuple[str, datetime]] = {}
    if not jobs:
        return lines, last
    query = orm.QueryBuilder().append(
        orm.Log,
        filters={'dbnode_id': {'in': sorted(jobs)}, 'id': {'>': last}},
        project=['id', 'dbnode_id', 'message', 'time'],
    )
    rows: list[Any] = query.order_by({orm.Log: 'id'}).all()
    for last, job, message, time in rows:  # noqa: B007
        begins = said_by(job, jobs[job])
        if message.startswith(begins):
            lines[job] = (message.removeprefix(begins), time)
    return lines, last


def warnings_since(workchains: Collection[int], last: int) -> tuple[list[str], int]:
    """Return what WorkChains have warned of in their reports, such as a frame that is dropped.

    :param last: PK of a line: only newer ones are looked at.
    :returns: the sentences, and the PK of the newest line with one.
    """
    if not workchains:
        return [], last
    query = orm.QueryBuilder().append(
        orm.Log,
        filters={'dbnode_id': {'in': sorted(workchains)}, 'id': {'>': last}, 'message': {'like': f'%{WARNING}%'}},
        project=['id', 'message'],
    )
    rows: list[Any] = query.order_by({orm.Log: 'id'}).all()
    return [message.partition(WARNING)[2] for _, message in rows], rows[-1][0] if rows else last
