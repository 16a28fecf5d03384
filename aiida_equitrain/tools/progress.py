"""How far a job is, read from the graph and, where that is cheap, from the folder of a running job."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida import orm

from aiida_equitrain.tools.report.cost import describe, jobs_of, stages_of, state_of
from aiida_equitrain.tools.report.formatting import duration, number

#: What every driver of ours writes while it works.
PROGRESS_FILE = 'progress.json'


@dataclass(frozen=True)
class Stage:
    """One stage of a job.

    :param state: ``running``, ``done`` or ``failed``.
    :param jobs: number of jobs so far; more may follow while it runs.
    :param note: what a running job says of itself.
    """

    title: str
    state: str
    done: int
    jobs: int
    reused: int
    seconds: float
    note: str = ''

    def sentence(self) -> str:
        """Return the stage in one line."""
        reused = f', {self.reused} reused' if self.reused else ''
        note = f' · {self.note}' if self.note else ''
        return f'{self.title}: {self.state}, {self.done}/{self.jobs} jobs{reused}, {duration(self.seconds)}{note}'


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    state: str
    seconds: float
    stages: list[Stage] = field(default_factory=list)

    def changes(self, earlier: Progress | None) -> list[str]:
        """Return the lines of the stages that differ in more than their time from ``earlier``."""
        known = {stage.title: stage for stage in earlier.stages} if earlier else {}
        lines = []
        for stage in self.stages:
            before = known.get(stage.title)
            if before is None or (before.state, before.done, before.jobs) != (stage.state, stage.done, stage.jobs):
                lines.append(stage.sentence())
        return lines


def read_progress(node: orm.ProcessNode) -> Progress:
    """Return how far ``node`` is, from the database and from the folders of its running jobs on this machine."""
    now = datetime.now(UTC)
    parts = [part for part in stages_of(node) if part['name'] != 'all'] or [
        describe(node, 'all', str(node.process_label))
    ]
    stages = []
    for part in parts:
        running = part['state'] == 'running'
        seconds = (now - part['start']).total_seconds() if running else part['wall_seconds']
        note = _note(orm.load_node(part['pk'])) if running else ''
        done = part['jobs'] - part['running']
        stages.append(Stage(part['title'], part['state'], done, part['jobs'], part['reused'], seconds, note))
    end = now if not node.is_terminated else node.mtime
    return Progress(state_of(node), (end - node.ctime).total_seconds(), stages)


def _note(process: Any) -> str:
    """Return what the running jobs of a stage say of themselves."""
    jobs = [process] if isinstance(process, orm.CalcJobNode) else jobs_of(process)
    notes = (describe_progress(read_job_progress(job)) for job in jobs if not job.is_terminated)
    return next((note for note in notes if note), '')


def read_job_progress(job: orm.CalcJobNode) -> dict[str, Any]:
    """Return the content of ``progress.json`` of a running job; nothing unless it is on this machine.

    Elsewhere every look would cost a connection.
    """
    folder = job.get_remote_workdir()
    if folder is None or job.computer is None or job.computer.transport_type != 'core.local':
        return {}
    try:
        with TemporaryDirectory() as here, job.get_transport() as transport:
            target = Path(here, PROGRESS_FILE)
            transport.getfile(f'{folder}/{PROGRESS_FILE}', str(target))
            content = json.loads(target.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def describe_progress(content: dict[str, Any]) -> str:
    """Return ``progress.json`` as a few words, such as ``train 12/60, force MAE 31 meV/Å``."""
    if not content.get('stage'):
        return ''
    words = f'{content["stage"]} {content.get("done", 0)}/{content.get("total", "?")}'
    error = content.get('valid_forces_mae')
    if error is not None:
        words += f', validation forces {number(1e3 * float(error))} meV/Å'
    left = content.get('seconds_left')
    if left is not None:
        words += f', {duration(float(left))} left at most'
    return words


def plain_lines(progress: Progress, earlier: Progress | None) -> Iterable[str]:
    """Yield the changes since ``earlier`` with the time at which they were seen."""
    for line in progress.changes(earlier):
        yield f'[{duration(progress.seconds)}] {line}'
