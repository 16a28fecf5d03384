"""Jobs whose folder is not on this machine: what they say of themselves comes by their WorkChain into their logs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiida import orm
from aiida.engine import ToContext

from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.common.names import PW
from aiida_equitrain.launch import progress
from aiida_equitrain.launch.in_process import run_here
from aiida_equitrain.query import running
from aiida_equitrain.query.running import Elsewhere
from aiida_equitrain.workflows import watch
from aiida_equitrain.workflows.watch import Watched

OUTPUT = Path(__file__).parents[1] / 'fixtures' / 'cases' / 'si_unconv.out'
#: Stands for a driver: tells how far it is, until it is told to end.
JOB = """#!/bin/bash
say() { echo "{\\"stage\\": \\"forces\\", \\"done\\": $1, \\"total\\": 60}" >progress.json; }
say 12
for _ in $(seq 300); do [ -e on ] && say 48; [ -e off ] && exit; sleep 0.1; done
"""


class WaitingWorkChain(Watched):
    """Waits for one job."""

    @classmethod
    def define(cls, spec: Any) -> None:
        super().define(spec)
        spec.expose_inputs(ForcesCalculation, 'forces')
        spec.outline(cls.forces, cls.end)

    def forces(self) -> Any:
        inputs = self.exposed_inputs(ForcesCalculation, 'forces')
        return ToContext(forces=self.submit(ForcesCalculation, **inputs))

    def end(self) -> None:
        pass


@pytest.mark.real
def test_progress_of_other_machines(
    aiida_localhost: Any, starter: Any, silicon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who follows a job reads its progress where there is no folder of it, and sees how old that is."""
    monkeypatch.setattr(watch, 'INTERVAL', 0.3)
    script = tmp_path / 'job.sh'
    script.write_text(JOB)
    script.chmod(0o755)
    code = orm.InstalledCode(label='job', computer=aiida_localhost, filepath_executable=str(script)).store()
    builder: Any = WaitingWorkChain.get_builder()
    inputs = {'code': code, 'potential': starter, 'supercell': silicon, 'frames': orm.TrajectoryData([silicon])}
    for name, value in inputs.items():
        builder.forces[name] = value
    # From here on nobody finds a folder on this machine, but those that go by a transport.
    for module in (running, progress):
        monkeypatch.setattr(module, 'is_here', lambda computer: False)
    reader: Any = None
    seen: list[str] = []

    def look(node: Any) -> float:
        nonlocal reader
        reader = reader or progress.ProgressReader(node)
        note = reader.read().stages[0].note
        if note and note not in seen:
            seen.append(note)
        folder = Path(next((called.get_remote_workdir() or '' for called in node.called), '') or tmp_path)
        if 'forces 12/60' in seen:
            (folder / 'on').touch()
        if 'forces 48/60' in seen:
            monkeypatch.setattr(progress, 'OLD', 0.0)
        if seen[-1:] and 'ago' in seen[-1]:
            (folder / 'off').touch()
        return 0.1

    node = run_here(builder, look)
    (job,) = node.called
    told = [text for text in seen if 'forces' in text]
    assert told[:2] == ['forces 12/60', 'forces 48/60']
    assert told[2].startswith('forces 48/60 (')
    lines = [log.message for log in orm.Log.collection.find({'dbnode_id': job.pk}) if 'forces' in log.message]
    assert lines == [f'ForcesCalculation<{job.pk}>: forces {done}/60' for done in (12, 48)]  # each once


def test_waits_of_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WorkChain that waits again and again, for less than the time between two looks, is looked at all the same."""
    looks: list[float] = []

    async def look(process: Any, told: Any) -> None:
        looks.append(process.loop.time())
        raise OSError('no route to host')  # and so what fails is no end

    monkeypatch.setattr(watch, 'INTERVAL', 0.1)
    monkeypatch.setattr(watch, 'look_at', look)

    async def wait_often() -> None:
        process: Any = SimpleNamespace(loop=asyncio.get_running_loop(), pid=1, logger=logging.getLogger('test'))
        looking = watch.Watch(process)
        while len(looks) < 3:
            looking.go_on()
            await asyncio.sleep(0.01)
            looking.stop()
        await asyncio.sleep(0.2)

    asyncio.run(asyncio.wait_for(wait_often(), 30))
    assert len(looks) == 3
    assert looks[2] - looks[0] >= 0.19


def test_one_command_for_all(aiida_localhost: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all jobs of a machine, ours and pw.x, one command asks; those that say nothing yet are left out."""
    folders = [tmp_path / name for name in ("it's one", 'two', 'three', 'four')]
    for folder in folders:
        folder.mkdir()
    (folders[0] / 'progress.json').write_text(json.dumps({'stage': 'train', 'done': 3, 'total': 9, 'seconds_left': 90}))
    (folders[1] / 'aiida.out').write_bytes(OUTPUT.read_bytes())
    (folders[2] / 'progress.json').write_text('{"stage": "tra')
    kinds = ['aiida.calculations:equitrain.train', PW, 'aiida.calculations:equitrain.train', PW]
    jobs = [Elsewhere(pk, kind, str(folder), 1) for pk, kind, folder in zip(range(4), kinds, folders, strict=True)]
    commands: list[str] = []
    with aiida_localhost.get_transport() as transport:
        run = transport.exec_command_wait_async

        async def counted(command: str) -> Any:
            commands.append(command)
            code, text, error = await run(command)
            return code, f'Welcome!{os.linesep}{text}', error

        monkeypatch.setattr(transport, 'exec_command_wait_async', counted)
        said = asyncio.run(watch.ask(transport, jobs))
        monkeypatch.setattr(watch, 'AT_ONCE', 3)
        assert asyncio.run(watch.ask(transport, jobs)) == said
    assert said == {0: 'train 3/9, 1 min 30 s left at most', 1: 'SCF iteration 3, accuracy 8.1e-05 Ry'}
    assert len(commands) == 3
