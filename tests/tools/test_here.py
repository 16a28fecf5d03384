"""Jobs in this process: watched to their end, and ended as a whole by Ctrl-C."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.runners import Runner
from aiida.plugins import WorkflowFactory

from aiida_equitrain.launch import progress
from aiida_equitrain.launch.in_process import run_here
from aiida_equitrain.launch.run import describe_end

pytestmark = pytest.mark.real


@pytest.fixture
def bash(aiida_profile: Any, aiida_code_installed: Any) -> Any:
    """Return a function that makes a code for `core.arithmetic.add`, slow if need be."""

    def make(seconds: int = 0) -> orm.InstalledCode:
        return aiida_code_installed(
            label=f'bash{seconds}', filepath_executable='/bin/bash', default_calc_job_plugin='core.arithmetic.add',
            prepend_text=f'sleep {seconds}',
        )  # fmt: skip

    return make


def multiply_add(code: orm.InstalledCode) -> Any:
    """Return the builder of a WorkChain that calls a function and a job."""
    builder = WorkflowFactory('core.arithmetic.multiply_add').get_builder()
    builder.x, builder.y, builder.z, builder.code = orm.Int(2), orm.Int(3), orm.Int(4), code
    return builder


def test_run_here_twice(bash: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """A job runs in this process whatever ran in it before, and is watched to its end; nothing is printed meanwhile."""
    for total in (3, 4):
        builder = bash().get_builder()
        builder.x, builder.y = orm.Int(total - 1), orm.Int(1)
        seen: list[Any] = []

        def watch(node: Any, seen: list[Any] = seen) -> float:
            seen.append(node)
            return 0.1

        node = run_here(builder, watch)
        assert node.is_finished_ok
        assert node.outputs.sum.value == total
        assert {each.pk for each in seen} == {node.pk}
        assert describe_end(node) == 'is done'
    assert capfd.readouterr().out == ''


def test_interrupt_ends_all(bash: Any) -> None:
    """Ctrl-C kills the job and what it called; nothing stays behind as running, neither node nor program."""
    interrupted: list[orm.CalcJobNode] = []

    def watch(node: Any) -> float:
        jobs = [called for called in node.called if isinstance(called, orm.CalcJobNode)]
        if not interrupted and jobs and jobs[0].get_job_id():
            interrupted.append(jobs[0])
            signal.raise_signal(signal.SIGINT)
        return 0.1

    node = run_here(multiply_add(bash(300)), watch)
    assert node.is_killed
    assert interrupted[0].is_killed
    assert all(called.is_terminated for called in node.called_descendants)
    program = Path('/proc', interrupted[0].get_job_id())
    until = time.monotonic() + 10
    while program.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not program.exists()
    assert 'ended as killed' in describe_end(node)
    # The next job is not touched by it.
    assert run_here(multiply_add(bash())).is_finished_ok


def test_interrupt_at_the_start(bash: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the loop runs is not lost, and leaves no process that is created for ever."""
    submit = Runner.submit

    def interrupted(runner: Runner, *args: Any, **inputs: Any) -> Any:
        node = submit(runner, *args, **inputs)
        signal.raise_signal(signal.SIGINT)
        return node

    monkeypatch.setattr(Runner, 'submit', interrupted)
    node = run_here(multiply_add(bash(300)))
    monkeypatch.undo()
    assert node.is_killed
    assert all(called.is_terminated for called in node.called_descendants)


def test_progress_is_cheap(bash: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes below a job are counted without loading them; ended ones are asked for only once more."""
    node = run_get_node(multiply_add(bash())).node
    queries: list[Any] = []
    for name in ('_rows', '_called'):
        function = getattr(progress, name)

        def counted(given: Any, function: Any = function) -> Any:
            queries.append(given)
            return function(given)

        monkeypatch.setattr(progress, name, counted)
    reader = progress.ProgressReader(node)
    state = reader.read()
    assert [(stage.title, stage.state, stage.done, stage.jobs) for stage in state.stages] == [
        ('MultiplyAddWorkChain', 'done', 1, 1)
    ]
    assert len(queries) == 4
    assert reader.read() == state  # once more: a job from the cache has ended before it is said to be from there
    asked = len(queries)
    assert asked == 6
    assert reader.read() == state
    assert len(queries) == asked
