"""Why a scheduler ended a job before it was done, as far as it says so.

AiiDA's plugin of Slurm tells walltime, memory and a failed node, if there is accounting; it says nothing of jobs that
were cancelled or preempted, and nothing at all without accounting. What Slurm writes into the job's own stderr is there
in any case.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from aiida import orm


class Ending(Enum):
    """What ended a job from outside."""

    MEMORY = 'out of memory'
    WALLTIME = 'out of walltime'
    NODE = 'a node failed'
    PREEMPTED = 'preempted by another job'
    CANCELLED = 'cancelled'


#: States of ``sacct``, by how they begin (``CANCELLED by 1000``).
STATES = {
    'OUT_OF_MEMORY': Ending.MEMORY,
    'TIMEOUT': Ending.WALLTIME,
    'DEADLINE': Ending.WALLTIME,
    'NODE_FAIL': Ending.NODE,
    'BOOT_FAIL': Ending.NODE,
    'PREEMPTED': Ending.PREEMPTED,
    'CANCELLED': Ending.CANCELLED,
}
#: What ``slurmstepd`` writes, the more specific first.
WORDS = (
    (re.compile(r'CANCELLED AT .* DUE TO TIME LIMIT', re.IGNORECASE), Ending.WALLTIME),
    (re.compile(r'CANCELLED AT .* DUE TO PREEMPTION', re.IGNORECASE), Ending.PREEMPTED),
    (re.compile(r'CANCELLED AT .* DUE TO NODE FAILURE', re.IGNORECASE), Ending.NODE),
    (re.compile(r'oom-kill event|oom_kill event|exceeded .*memory limit', re.IGNORECASE), Ending.MEMORY),
    (re.compile(r'slurmstepd: error: \*\*\* .*CANCELLED AT', re.IGNORECASE), Ending.CANCELLED),
)
#: Exit codes with which AiiDA tells of any scheduler.
STATUSES = {110: Ending.MEMORY, 120: Ending.WALLTIME, 140: Ending.NODE}


def ending_of(node: orm.CalcJobNode) -> Ending | None:
    """Return what ended a job, ``None`` if the scheduler ended nothing or says nothing."""
    state = accounting_of(node).get('State', '')
    for name, ending in STATES.items():
        if state.startswith(name):
            return ending
    text = node.get_scheduler_stderr() or ''
    for pattern, ending in WORDS:
        if pattern.search(text):
            return ending
    return STATUSES.get(node.exit_status or 0)


def accounting_of(node: orm.CalcJobNode) -> dict[str, str]:
    """Return what ``sacct`` tells of the whole job, by the names of its columns; empty where there is no accounting."""
    info: Any = node.get_detailed_job_info() or {}
    lines = str(info.get('stdout') or '').splitlines()
    if len(lines) < 2:
        return {}
    names, values = lines[0].split('|'), lines[1].split('|')
    return dict(zip(names, values, strict=True)) if len(names) == len(values) else {}
