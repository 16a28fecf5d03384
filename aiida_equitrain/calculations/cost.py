"""What jobs cost, from provenance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiida import orm


def jobs_of(process: orm.ProcessNode) -> list[orm.CalcJobNode]:
    """Return all jobs below a process."""
    return [node for node in process.called_descendants if isinstance(node, orm.CalcJobNode)]


def is_reused(job: orm.CalcJobNode) -> bool:
    """Say whether a job was taken from the cache."""
    return bool(job.base.caching.is_created_from_cache)


def job_seconds(job: orm.CalcJobNode, *, of_reused: bool = False) -> float:
    """Return the wall time of a job: by its own account, by the scheduler's, or else as the engine saw it.

    :param of_reused: for a job from the cache, return what the original said of itself, and not 0.
    """
    if is_reused(job) and not of_reused:
        return 0.0
    for name, key in (('output_parameters', 'wall_time_seconds'), ('summary', 'seconds')):
        if name in job.outputs:
            value = dict(job.outputs[name]).get(key)
            if value is not None:
                return float(value)
    info = job.get_last_job_info()
    scheduled = getattr(info, 'wallclock_time_seconds', None)
    if scheduled:
        return float(scheduled)
    end: datetime = job.mtime
    return float((end - job.ctime).total_seconds())


def core_seconds_of(process: Any) -> float:
    """Return what all jobs below a process cost, those from the cache as if they had been run: wall time × cores."""
    return sum(job_seconds(job, of_reused=True) * cores_of(job) for job in jobs_of(process))


def cores_of(job: orm.CalcJobNode) -> int:
    """Return the number of cores that a job asked for."""
    resources = job.get_option('resources') or {}
    total = resources.get('tot_num_mpiprocs')
    if total is None:
        total = resources.get('num_machines', 1) * resources.get('num_mpiprocs_per_machine', 1)
    return int(total) * int(resources.get('num_cores_per_mpiproc') or 1)
