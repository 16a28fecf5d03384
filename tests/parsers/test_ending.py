"""Why a scheduler ended a job: what ``sacct`` and ``slurmstepd`` write, of a real Slurm 22.05."""

from __future__ import annotations

from typing import Any

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.parsers.ending import Ending, ending_of

COLUMNS = 'JobID|State|ReqMem|'
STDERR = 'slurmstepd: error: *** JOB 7 ON localhost CANCELLED AT 2026-11-28T10:41:05{} ***\n'


@pytest.fixture
def job(aiida_profile: Any, aiida_localhost: Any) -> Any:
    """Return a factory of jobs with a state of the accounting, and with an stderr of the scheduler."""

    def factory(state: str | None = None, stderr: str = '', exit_status: int | None = None) -> Any:
        node = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:equitrain.forces')
        node.set_option('scheduler_stderr', '_scheduler-stderr.txt')
        if state is not None:
            info = {'retval': 0, 'stderr': '', 'stdout': f'{COLUMNS}\n7|{state}|2000M|\n7.batch|{state}||\n'}
            node.set_detailed_job_info(info)
        if exit_status is not None:
            node.set_exit_status(exit_status)
        node.store()
        retrieved = orm.FolderData()
        retrieved.base.repository.put_object_from_bytes(stderr.encode(), '_scheduler-stderr.txt')
        retrieved.base.links.add_incoming(node, LinkType.CREATE, 'retrieved')
        retrieved.store()
        return node

    return factory


@pytest.mark.parametrize(
    ('facts', 'ending'),
    [
        ({'state': 'TIMEOUT'}, Ending.WALLTIME),
        ({'state': 'OUT_OF_MEMORY'}, Ending.MEMORY),
        ({'state': 'NODE_FAIL'}, Ending.NODE),
        ({'state': 'PREEMPTED'}, Ending.PREEMPTED),
        ({'state': 'CANCELLED by 1000'}, Ending.CANCELLED),
        ({'state': 'COMPLETED'}, None),
        ({'state': 'FAILED'}, None),
        # Without accounting.
        ({'stderr': STDERR.format(' DUE TO TIME LIMIT')}, Ending.WALLTIME),
        ({'stderr': 'a line before\n' + STDERR.format(' DUE TO PREEMPTION')}, Ending.PREEMPTED),
        ({'stderr': STDERR.format(' DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS')}, Ending.NODE),
        ({'stderr': STDERR.format('')}, Ending.CANCELLED),
        ({'stderr': 'slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch.'}, Ending.MEMORY),
        # Of another scheduler, from AiiDA.
        ({'exit_status': 110}, Ending.MEMORY),
        ({'exit_status': 120}, Ending.WALLTIME),
        ({'exit_status': 140}, Ending.NODE),
        ({'stderr': 'a warning'}, None),
        ({}, None),
    ],
)
def test_ending(job: Any, facts: dict[str, Any], ending: Ending | None) -> None:
    """Each has its own."""
    assert ending_of(job(**facts)) == ending
