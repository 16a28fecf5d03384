"""What every stage of a run cost, from provenance."""

from __future__ import annotations

from collections import Counter
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.calculations.cost import cores_of, is_reused, job_seconds, jobs_of

#: Link labels of the stages of ``equitrain.material``, in the order of the work, and how they are called.
STAGES = {
    'label': 'label frames',
    'finetune': 'fine-tune',
    'phonons_foundation': 'phonons, foundation',
    'phonons_finetuned': 'phonons, fine-tuned',
    'phonons_dft': 'phonons, DFT',
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
        'message': process.exit_message if process.is_failed else None,
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
