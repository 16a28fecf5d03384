"""Jobs of a process: how many, how long they took, how many were reused, what is running."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import pandas as pd
from aiida import orm
from aiida.common.links import LinkType


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


def cost(node: orm.Node) -> pd.DataFrame:
    """Return what all jobs cost that a node was made by, or that a process has run.

    :returns: by ``process``: ``n_jobs``, ``n_reused`` (from the cache, which cost nothing) and ``core_seconds`` (wall
        time × cores); the most expensive first.
    """
    if isinstance(node, orm.CalcJobNode):
        jobs = [node]
    elif isinstance(node, orm.ProcessNode):
        jobs = jobs_of(node)
    else:
        builder = orm.QueryBuilder().append(orm.Node, filters={'id': node.pk}, tag='node')
        builder.append(orm.CalcJobNode, with_descendants='node')
        jobs = list({job.pk: job for job in builder.all(flat=True)}.values())
    rows = [
        {'process': job.process_label, 'n_jobs': 1, 'n_reused': int(is_reused(job)),
         'core_seconds': job_seconds(job) * cores_of(job)}
        for job in jobs
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=['process', 'n_jobs', 'n_reused', 'core_seconds'])
    return (
        table.groupby('process', as_index=False).sum().sort_values('core_seconds', ascending=False, ignore_index=True)
    )


#: Link labels of the stages of ``equitrain.material``, in the order of the work, and how they are called.
STAGES = {
    'label': 'label frames',
    'finetune': 'fine-tune',
    'phonons_foundation': 'phonons, foundation',
    'phonons_finetuned': 'phonons, fine-tuned',
    'phonons_corrected': 'phonons, corrected',
    'phonons_corrected_finetuned': 'phonons, fine-tuned and corrected',
    'phonons_dft': 'phonons, DFT',
    'foundation_at_dft_cell': 'forces, foundation at DFT’s cell',
    'finetuned_at_dft_cell': 'forces, fine-tuned at DFT’s cell',
    'compare': 'compare',
}


def stages_of(node: orm.ProcessNode) -> list[dict[str, Any]]:
    """Return the stages that a run has called so far, with their cost, and their sum if there are several."""
    called = node.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC)).all()
    children: dict[str, Any] = {link.link_label: link.node for link in called}
    stages = [describe(children[name], name, title) for name, title in STAGES.items() if name in children]
    if not stages:
        return [describe(node, 'all', str(node.process_label))]
    return [*stages, _total(stages)]


def describe(process: orm.ProcessNode, name: str, title: str) -> dict[str, Any]:
    """Return what a stage is made of: jobs, how many of them were reused, times in seconds."""
    jobs = [process] if isinstance(process, orm.CalcJobNode) else jobs_of(process)
    times = [job_seconds(job) for job in jobs]
    return {
        'name': name,
        'title': title,
        'pk': process.pk,
        'state': state_of(process),
        'jobs': len(jobs),
        'kinds': dict(Counter(str(job.process_label) for job in jobs)),
        'reused': sum(is_reused(job) for job in jobs),
        'running': sum(not job.is_terminated for job in jobs),
        'start': process.ctime,
        'end': process.mtime,
        'wall_seconds': (process.mtime - process.ctime).total_seconds(),
        'core_seconds': sum(seconds * cores_of(job) for job, seconds in zip(jobs, times, strict=True)),
    }


def state_of(process: orm.ProcessNode) -> str:
    """Return ``running``, ``done`` or ``failed``."""
    if not process.is_terminated:
        return 'running'
    return 'done' if process.is_finished_ok else 'failed'


def _total(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum; times of stages that overlap are not added, their span is taken."""
    span = max(stage['end'] for stage in stages) - min(stage['start'] for stage in stages)
    total = {key: sum(stage[key] for stage in stages) for key in ('jobs', 'reused', 'running', 'core_seconds')}
    return {'name': 'all', 'title': 'all', 'state': '', 'wall_seconds': span.total_seconds(), **total}
