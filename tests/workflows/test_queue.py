"""The queue of jobs refills when any of them ends, with real jobs that take unequally long."""

from __future__ import annotations

from typing import Any

import pytest
from aiida import orm
from aiida.engine import run_get_node, while_
from aiida.plugins import CalculationFactory

from aiida_equitrain.workflows.queue import JobQueue

Add: Any = CalculationFactory('core.arithmetic.add')


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
                metadata={'options': options, 'call_link_label': name},
            )  # fmt: skip

        self.run_jobs(start)
        self.ctx.most = max(self.ctx.most, len(self.ctx.running))

    def inspect(self) -> None:
        self.ctx.order += [name for name, node in self.ended() if node.outputs.sum == 1 + node.inputs.y.value]

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
