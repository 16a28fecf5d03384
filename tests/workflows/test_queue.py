"""The queue of jobs refills when any of them ends, with real jobs that take unequally long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.engine import run_get_node, while_
from aiida.plugins import CalculationFactory

from aiida_equitrain.workflows.queue import JobQueue

Add: Any = CalculationFactory('core.arithmetic.add')
#: A program that Slurm ends so many times, and then is left alone.
ENDED = """#!/bin/bash
for number in $(seq {times}); do
    mkdir '{folder}'/$number 2>/dev/null || continue
    echo 'slurmstepd: error: *** JOB 7 ON cn1 CANCELLED AT 2026-11-28T12:00:00 {why}***' >&2
    exit 1
done
exec /bin/bash
"""


class Sleepers(JobQueue):
    """Run a job for each number of seconds, each of which adds it to one."""

    @classmethod
    def define(cls, spec: Any) -> None:
        super().define(spec)
        spec.input('code', valid_type=orm.AbstractCode)
        spec.input('seconds', valid_type=orm.List)
        spec.input('max_concurrent', valid_type=orm.Int)
        spec.output('order', valid_type=orm.List)
        spec.outline(cls.setup, while_(cls.has_jobs)(cls.sleep, cls.inspect), cls.finish)

    def setup(self) -> None:
        self.line_up(f'job_{index}' for index in range(len(self.inputs.seconds)))
        self.ctx.order, self.ctx.most = [], 0

    def sleep(self) -> None:
        def start(name: str) -> Any:
            seconds = self.inputs.seconds[int(name.removeprefix('job_'))]
            if seconds is None:
                return None
            options = {'sleep': seconds, 'resources': {'num_machines': 1}}
            return self.submit(
                Add, x=orm.Int(1), y=orm.Int(seconds), code=self.inputs.code,
                metadata={'options': options, 'call_link_label': self.in_second_try(name, {})},
            )  # fmt: skip

        self.run_jobs(start)
        self.ctx.most = max(self.ctx.most, len(self.ctx.running))

    def inspect(self) -> None:
        self.ctx.order += [
            name for name, node in self.ended() if node.is_finished_ok and node.outputs.sum == 1 + node.inputs.y.value
        ]

    def finish(self) -> None:
        assert self.ctx.most == self.inputs.max_concurrent.value
        self.out('order', orm.List(self.ctx.order).store())


@pytest.mark.real
def test_refills(make_code: Any) -> None:
    """While one job takes long, the others go through the second place; a name without a job is left out."""
    outputs, node = run_get_node(
        Sleepers, code=make_code('bash', '/bin/bash'), seconds=orm.List([8, 0, None, 0]), max_concurrent=orm.Int(2)
    )
    assert node.is_finished_ok, node.exception
    assert sorted(outputs['order'].get_list()) == ['job_0', 'job_1', 'job_3']
    jobs = {link.link_label: link.node for link in node.base.links.get_outgoing(orm.CalcJobNode)}
    assert jobs['job_1'].mtime < jobs['job_3'].ctime < jobs['job_0'].mtime


@pytest.mark.real
def test_all_at_once(make_code: Any) -> None:
    """Jobs that end together are all seen, each once."""
    outputs, node = run_get_node(
        Sleepers, code=make_code('bash', '/bin/bash'), seconds=orm.List([0, 0, 0, 0]), max_concurrent=orm.Int(4)
    )
    assert node.is_finished_ok, node.exception
    assert sorted(outputs['order'].get_list()) == ['job_0', 'job_1', 'job_2', 'job_3']


@pytest.mark.real
@pytest.mark.parametrize(
    ('why', 'times', 'labels', 'done'),
    [
        ('DUE TO TIME LIMIT ', 1, ['job_0', 'job_0_again_1'], ['job_0']),
        ('DUE TO TIME LIMIT ', 2, ['job_0', 'job_0_again_1'], []),
        ('', 1, ['job_0'], []),
    ],
)
def test_second_try(make_code: Any, tmp_path: Path, why: str, times: int, labels: list[str], done: list[str]) -> None:
    """What a cluster has ended is tried once more, not twice; what was cancelled is left, and it is said why."""
    script = tmp_path / 'program'
    script.write_text(ENDED.format(times=times, folder=tmp_path, why=why))
    script.chmod(0o755)
    code = make_code(f'ended-{len(why)}-{times}', str(script))
    outputs, node = run_get_node(Sleepers, code=code, seconds=orm.List([0]), max_concurrent=orm.Int(1))
    assert node.is_finished_ok, node.exception
    assert outputs['order'].get_list() == done
    assert sorted(link.link_label for link in node.base.links.get_outgoing(orm.CalcJobNode)) == labels
    said = [log.message for log in orm.Log.collection.find({'dbnode_id': node.pk})]
    assert any('out of walltime; it is tried once more' in text for text in said) == (len(labels) > 1)
