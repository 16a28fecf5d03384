"""Show how far a job is: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import sys
import warnings
from types import TracebackType
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aiida_equitrain.cli.terminal import echo
from aiida_equitrain.common.formatting import duration
from aiida_equitrain.common.printable import printable
from aiida_equitrain.launch.progress import Progress, ProgressReader, plain_lines, running_lines

#: Warnings that are shown below a table: the newest.
WARNINGS = 3
MARKS = {'running': '[cyan]●', 'done': '[green]✓', 'failed': '[red]✗'}


class Display:
    """Called with a node from time to time, it shows what has changed; use it as a context."""

    #: Seconds between two looks at first. They grow with the time that the job has taken, up to the longest: what takes
    #: hours need not be looked at every few seconds, and the cores are for the work.
    SHORTEST, LONGEST, SHARE = 2.0, 15.0, 0.03
    #: Seconds, and the part of the time that the job has taken, after which lines tell what runs, though nothing ended.
    QUIET, QUIET_SHARE = 60.0, 0.1

    def __init__(self, live: bool | None = None, by_daemon: bool = False) -> None:
        """Show on the terminal.

        :param by_daemon: whether a daemon runs the job: it may not, and then the context ends with a sentence.
        """
        self.by_daemon = by_daemon
        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.is_terminal(live) else None
        self.reader: ProgressReader | None = None
        self.earlier: Progress | None = None
        self.said = 0.0
        self.muted: list[tuple[logging.Handler, int]] = []

    @staticmethod
    def is_terminal(live: bool | None) -> bool:
        """Return whether a table can be redrawn in place."""
        return sys.stdout.isatty() if live is None else live

    def __enter__(self) -> Display:
        """Start to draw; what processes report and phonopy explains would stand between the lines."""
        self.muted = [(handler, handler.level) for handler in logging.getLogger('aiida').handlers
                      if handler.get_name() == 'console']  # fmt: skip
        for handler, _ in self.muted:
            handler.setLevel(logging.WARNING)
        warnings.filterwarnings('ignore', message='primitive_matrix defaulted')
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        for handler, level in self.muted:
            handler.setLevel(level)
        if self.live:
            self.live.stop()

    def __call__(self, node: Any) -> float:
        """Show how far ``node`` is.

        :returns: after how many seconds to look again.
        """
        self.reader = self.reader or ProgressReader(node, self.by_daemon)
        progress = self.reader.read()
        if self.live:
            self.live.update(table(node, progress), refresh=True)
        else:
            lines = list(plain_lines(progress, self.earlier))
            if not lines and progress.seconds - self.said > max(self.QUIET, self.QUIET_SHARE * progress.seconds):
                lines = list(running_lines(progress))
            for line in lines:
                echo(line)
            self.said = progress.seconds if lines else self.said
        self.earlier = progress
        if progress.trouble.stuck:
            raise click.ClickException(
                f'{node.process_label} {node.pk} does not go on: {progress.trouble.sentences[0]}'
            )
        return min(self.LONGEST, max(self.SHORTEST, self.SHARE * progress.seconds))


def table(node: Any, progress: Progress) -> Table:
    """Return the stages as a table; what jobs and nodes say is text, not markup."""
    title = Text(printable(f'{node.process_label} {node.pk} · {duration(progress.seconds)}'))
    grid = Table(box=None, title=title, title_justify='left')
    for heading in ('', 'stage', 'jobs', 'time', ''):
        grid.add_column(heading, justify='right' if heading in ('jobs', 'time') else 'left')
    for stage in progress.stages:
        jobs = f'{stage.done}/{stage.jobs}' + (f' ({stage.reused} reused)' if stage.reused else '')
        title, note = Text(printable(stage.title)), Text(printable(stage.note), style='dim')
        grid.add_row(MARKS[stage.state], title, jobs, duration(stage.seconds), note)
    for sentence in (*progress.warnings[-WARNINGS:], *progress.trouble.sentences):
        grid.add_row('[yellow]!', Text(printable(sentence), style='yellow'))
    return grid
