"""How far a job is, read from the graph, from the folder of a running job on this machine, or else from its log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.common.formatting import duration
from aiida_equitrain.common.names import PW, PW_OUTPUT
from aiida_equitrain.common.progress import PROGRESS_FILE, PW_TAIL, describe_output
from aiida_equitrain.launch.worker import Trouble, find_trouble
from aiida_equitrain.query.jobs import STAGES
from aiida_equitrain.query.running import TERMINATED, is_here, lines_since, says_something, warnings_since
from aiida_equitrain.query.studies import STUDY

JOB_TYPE = 'process.calculation.calcjob.'
#: What a worker takes on its own; functions run with the process that calls them.
TASKED = (JOB_TYPE, 'process.workflow.workchain.')
#: How a study calls its rows; of more parts than can be shown those that have ended are counted.
ROW, MANY_PARTS = 'row_', 12
CACHED_FROM = '_aiida_cached_from'
#: Names of nodes that are shown.
PLACES = 3
#: Seconds after which a line of a log is shown with its age: a new one comes every minute.
OLD = 180.0


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
    trouble: Trouble = field(default_factory=Trouble)
    warnings: tuple[str, ...] = ()

    def changes(self, earlier: Progress | None) -> list[str]:
        """Return lines of the stages that differ in more than their time from ``earlier``, and what else is new."""
        known = {stage.title: stage for stage in earlier.stages} if earlier else {}
        lines = []
        for stage in self.stages:
            before = known.get(stage.title)
            if before is None or (before.state, before.done, before.jobs) != (stage.state, stage.done, stage.jobs):
                lines.append(stage.sentence())
        lines += [f'Warning: {text}' for text in self.warnings[len(earlier.warnings) if earlier else 0 :]]
        known_trouble = earlier.trouble.sentences if earlier else ()
        return [*lines, *(text for text in self.trouble.sentences if text not in known_trouble)]


@dataclass
class Row:
    """What a look needs to know of a process."""

    pk: int
    label: str
    job: bool
    tasked: bool
    kind: str
    reused: bool
    state: str | None
    status: int | None
    start: datetime
    end: datetime
    folder: str | None
    computer: int | None
    paused: bool | None
    said: str | None
    queued: str | None
    told: Any

    @property
    def waits_because(self) -> str | None:
        """Why a job waits in a queue, in the word of the scheduler, empty if it gives none; ``None`` if it does not."""
        if self.terminated or not self.job or self.queued not in ('queued', 'queued held'):
            return None
        return self._scheduler_says('annotation')

    @property
    def runs_on(self) -> str:
        """On which nodes a job runs, as the scheduler calls them; empty where it names none, as on one machine."""
        return self._scheduler_says('allocated_machines_raw') if self.queued == 'running' else ''

    def _scheduler_says(self, key: str) -> str:
        told = self.told if isinstance(self.told, dict) else {}
        return str(told.get(key) or '')

    @property
    def elsewhere(self) -> bool:
        """Whether it is a job that tells how far it is, in a folder that is not on this machine."""
        return self.job and not self.terminated and says_something(self.kind) and not is_here(self.computer)

    @property
    def terminated(self) -> bool:
        """Whether it has ended; nothing of it changes then."""
        return self.state in TERMINATED

    @property
    def outcome(self) -> str:
        """``running``, ``done`` or ``failed``."""
        if not self.terminated:
            return 'running'
        return 'done' if self.state == 'finished' and self.status == 0 else 'failed'


class ProgressReader:
    """Looks at a job again and again, and asks the database only for what may have changed.

    The database and the cores are shared with the work: a look costs a query for the processes that had not ended, and
    one for each level of new ones, whatever the number of jobs.
    """

    def __init__(self, node: orm.ProcessNode, by_daemon: bool = False) -> None:
        """Look at a job.

        :param by_daemon: whether a daemon runs it, so that there may be nobody who does.
        """
        self.by_daemon = by_daemon
        self.top = int(node.pk or 0)
        self.rows: dict[int, Row] = {}
        self.called: dict[int, list[int]] = {}
        self.stages: dict[str, int] = {}
        # Ended at two looks: a job taken from the cache begins as a copy of one that has ended, goes through the states
        # of one that runs, and is said to be from there last.
        self.settled: set[int] = set()
        # What jobs on other machines have said, and the newest line of a log that was read.
        self.lines: dict[int, tuple[str, datetime]] = {}
        self.last_line = 0
        # The same of what WorkChains warn of, and those that may have since the last look.
        self.warnings: list[str] = []
        self.last_warning = 0
        self.looked_at: set[int] = set()

    def read(self) -> Progress:
        """Return how far the job is, from the database and from the folders of its running jobs on this machine."""
        self._refresh()
        elsewhere = {row.pk: row.label for row in self.rows.values() if row.elsewhere}
        lines, self.last_line = lines_since(elsewhere, self.last_line)
        self.lines.update(lines)
        workchains = [pk for pk in self.looked_at if not self.rows[pk].job and self.rows[pk].tasked]
        warnings, self.last_warning = warnings_since(workchains, self.last_warning)
        self.warnings += warnings
        now = datetime.now(UTC)
        top = self.rows[self.top]
        chosen = [(title, self.stages[name]) for name, title in STAGES.items() if name in self.stages]
        if top.kind == STUDY:
            chosen = [(name.removeprefix(ROW), pk) for name, pk in self.stages.items() if self.rows[pk].tasked]
        stages = [self._stage(title, pk, now) for title, pk in chosen or [(top.label, self.top)]]
        if len(stages) > MANY_PARTS:
            stages = _with_sum([stage for stage in stages if stage.state == 'done'], 'ended') + [
                stage for stage in stages if stage.state != 'done'
            ]
        seconds = ((top.end if top.terminated else now) - top.start).total_seconds()
        active = [row for row in self.rows.values() if not row.terminated] if self.by_daemon else []
        changed = max(row.end for row in self.rows.values())
        trouble = find_trouble(self.top, active, changed)
        return Progress(top.outcome, seconds, stages, trouble, tuple(self.warnings))

    def _refresh(self) -> None:
        """Update the processes that had not ended, and find what they have called meanwhile."""
        active = [pk for pk in self.rows if pk not in self.settled] if self.rows else [self.top]
        ended = [pk for pk in active if pk in self.rows and self.rows[pk].terminated]
        self.rows.update(_rows({'id': {'in': active}}) if active else {})
        self.settled.update(pk for pk in ended if self.rows[pk].terminated)
        self.looked_at = set(active)
        parents = active
        while parents:
            found = _called(parents)
            new = sorted({child for _, child, _ in found} - set(self.rows))
            self.rows.update(_rows({'id': {'in': new}}) if new else {})
            self.looked_at.update(new)
            for parent, child, label in found:
                if child in new:
                    self.called.setdefault(parent, []).append(child)
                    if parent == self.top:
                        self.stages[label] = child
            parents = new

    def _jobs(self, pk: int) -> list[Row]:
        """Return the jobs below a process, or itself."""
        row = self.rows[pk]
        below = [job for child in self.called.get(pk, []) for job in self._jobs(child)]
        return [row, *below] if row.job else below

    def _stage(self, title: str, pk: int, now: datetime) -> Stage:
        """Return a process as a stage."""
        row, jobs = self.rows[pk], self._jobs(pk)
        done, reused = sum(job.terminated for job in jobs), sum(job.reused for job in jobs)
        seconds = ((row.end if row.terminated else now) - row.start).total_seconds()
        told = next((note for job in jobs if (note := self._told(job, now))), '')
        queue = any(job.waits_because is not None or job.runs_on for job in jobs if not job.terminated)
        note = '; '.join(text for text in (told, _scheduler_note(jobs, now) if queue or not told else '') if text)
        return Stage(title, row.outcome, done, len(jobs), reused, seconds, note)

    def _told(self, job: Row, now: datetime) -> str:
        """Return what a running job says of itself, by its folder, or by its log if that is on another machine."""
        if job.terminated:
            return ''
        if not job.elsewhere:
            return describe_job(job)
        text, time = self.lines.get(job.pk, ('', now))
        age = (now - time).total_seconds()
        return f'{text} ({duration(age)} ago)' if age > OLD else text


def read_progress(node: orm.ProcessNode) -> Progress:
    """Return how far ``node`` is; who looks again keeps a :class:`ProgressReader`."""
    return ProgressReader(node).read()


def _with_sum(stages: list[Stage], words: str) -> list[Stage]:
    """Return many stages as one, or none."""
    if not stages:
        return []
    done, jobs, reused = (sum(getattr(part, name) for part in stages) for name in ('done', 'jobs', 'reused'))
    return [Stage(f'{len(stages)} {words}', 'done', done, jobs, reused, max(stage.seconds for stage in stages))]


def _scheduler_note(jobs: list[Row], now: datetime) -> str:
    """Return what the scheduler says of jobs that have not ended: how many run where, how long others wait, why."""
    waiting = [job for job in jobs if job.waits_because is not None]
    at_work = [job for job in jobs if not job.terminated and job.queued == 'running']
    places = sorted({job.runs_on for job in at_work} - {''})
    words = [f'{len(at_work)} at work'] if at_work else []
    if places:
        words[0] += f' on {", ".join(places[:PLACES])}' + (' and others' if len(places) > PLACES else '')
    if waiting:
        first = min(waiting, key=lambda job: job.start)
        why = f' ({first.waits_because})' if first.waits_because else ''
        words.append(f'{len(waiting)} in the queue for {duration((now - first.start).total_seconds())}{why}')
    return ', '.join(words)


def _rows(filters: dict[str, Any]) -> dict[int, Row]:
    """Return processes by PK, without loading a node."""
    project = [
        'id', 'attributes.process_label', 'node_type', 'process_type', f'extras.{CACHED_FROM}',
        'attributes.process_state', 'attributes.exit_status', 'ctime', 'mtime', 'attributes.remote_workdir',
        'dbcomputer_id', 'attributes.paused', 'attributes.process_status', 'attributes.scheduler_state',
        'attributes.last_job_info',
    ]  # fmt: skip
    rows: list[Any] = orm.QueryBuilder().append(orm.ProcessNode, filters=filters, project=project).all()
    return {
        pk: Row(pk, str(label), kind.startswith(JOB_TYPE), kind.startswith(TASKED), str(process or ''), bool(cached),
                *others)
        for pk, label, kind, process, cached, *others in rows
    }  # fmt: skip


def _called(parents: list[int]) -> list[list[Any]]:
    """Return the PKs of callers, those of the processes that they have called, and the labels of the links."""
    query = orm.QueryBuilder().append(orm.ProcessNode, filters={'id': {'in': parents}}, project='id', tag='caller')
    types = {'type': {'in': [LinkType.CALL_CALC.value, LinkType.CALL_WORK.value]}}
    query.append(orm.ProcessNode, with_incoming='caller', edge_filters=types, project='id', edge_project='label')
    found: list[list[Any]] = query.all()
    return found


def describe_job(job: Row) -> str:
    """Return what a running job says of itself in its folder; nothing unless that is on this machine."""
    if job.folder is None or not says_something(job.kind) or not is_here(job.computer):
        return ''
    return describe_output(job.kind, _tail(Path(job.folder, PW_OUTPUT if job.kind == PW else PROGRESS_FILE)))


def _tail(path: Path) -> str:
    """Return the end of a file that a program writes to, nothing if there is none."""
    try:
        with path.open('rb') as file:
            file.seek(max(0, path.stat().st_size - PW_TAIL))
            return file.read().decode(errors='replace')
    except OSError:
        return ''


def running_lines(progress: Progress) -> Iterable[str]:
    """Yield what the running stages say of themselves, with the time at which it was seen."""
    for stage in progress.stages:
        if stage.state == 'running' and stage.note:
            yield f'[{duration(progress.seconds)}] {stage.sentence()}'


def plain_lines(progress: Progress, earlier: Progress | None) -> Iterable[str]:
    """Yield the changes since ``earlier`` with the time at which they were seen."""
    for line in progress.changes(earlier):
        yield f'[{duration(progress.seconds)}] {line}'
