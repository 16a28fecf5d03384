"""Show how far a job is: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from aiida_equitrain.tools.progress import Progress, plain_lines, read_progress
from aiida_equitrain.tools.report.formatting import duration

MARKS = {'running': '[cyan]●', 'done': '[green]✓', 'failed': '[red]✗'}


class Display:
    """Called with a node from time to time, it shows what has changed; use it as a context."""

    def __init__(self, live: bool | None = None) -> None:
        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.is_terminal(live) else None
        self.earlier: Progress | None = None

    #: Seconds between two looks: the database is shared with the work.
    INTERVAL = 4.0

    @staticmethod
    def is_terminal(live: bool | None) -> bool:
        """Return whether a table can be redrawn in place."""
        return sys.stdout.isatty() if live is None else live

    def __enter__(self) -> Display:
        """Start to draw."""
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        if self.live:
            self.live.stop()

    def __call__(self, node: Any) -> None:
        """Show how far ``node`` is."""
        progress = read_progress(node)
        if self.live:
            self.live.update(table(node, progress), refresh=True)
        else:
            for line in plain_lines(progress, self.earlier):
                click.echo(line)
        self.earlier = progress


def table(node: Any, progress: Progress) -> Table:
    """Return the stages as a table."""
    grid = Table(box=None, title=f'{node.process_label} {node.pk} · {duration(progress.seconds)}', title_justify='left')
    for heading in ('', 'stage', 'jobs', 'time', ''):
        grid.add_column(heading, justify='right' if heading in ('jobs', 'time') else 'left')
    for stage in progress.stages:
        jobs = f'{stage.done}/{stage.jobs}' + (f' ({stage.reused} reused)' if stage.reused else '')
        grid.add_row(MARKS[stage.state], stage.title, jobs, duration(stage.seconds), f'[dim]{stage.note}')
    return grid
