"""What a result cost, from provenance."""

from __future__ import annotations

import pandas as pd
from aiida import orm

from aiida_equitrain.calculations.cost import cores_of, is_reused, job_seconds, jobs_of


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
