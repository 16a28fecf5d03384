"""How a large study goes: rows an hour, CPU and memory of the workers, and whether rows among thousands cost more.

    bash scripts/cluster_test.sh up              PostgreSQL and RabbitMQ; prints what to export
    python benchmarks/scale.py [--rows 4 2862] [--minutes 20 40] [--every 10] [--workers 2] [--kill]
    bash scripts/cluster_test.sh down

Runs in the default profile, by its daemon. One row of silicon runs first and leaves what its jobs have written; in all
others a shell script in the place of Python and phonopy copies that, so that what is measured is the engine. A study
that has not ended after its minutes is killed; how many rows its processes amount to follows from the first, which has
to end. Each line of the table is a span of a study, so that one of thousands of rows shows whether its later rows cost
more than its first. With ``--kill`` the first study runs once more, a worker is killed in its middle (SIGKILL), and the
table has to be the same.
"""

from __future__ import annotations

import argparse
import io
import math
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from engine_cost import OVERRIDES, ROOT

#: Longest time for the daemon to start or stop (s).
PATIENCE = 60
STUB = """#!/bin/sh
# Stands for Python and phonopy: copies what a real job has written.
case "$2" in
    equitrain_job.*) name="$2" ;;
    *) name=phonopy_bands; if grep -q TPROP "$2"; then name=phonopy_thermal; fi ;;
esac
cp '{canned}'/"$name"/* .
"""


def make_computer(folder: Path) -> Any:
    """Return a computer of its own, whose jobs lie in a folder."""
    from aiida import orm

    label = f'scale-{folder.name}'
    computer = orm.Computer(label, 'localhost', '', 'core.local', 'core.direct', f'{folder}/jobs').store()
    computer.configure(safe_interval=0.0, use_login_shell=False)
    computer.set_minimum_job_poll_interval(0)
    return computer


def make_codes(computer: Any, label: str, python: str, phonopy: str) -> dict[str, Any]:
    """Return the codes of a study."""
    from aiida import orm

    from aiida_equitrain.setup.setup import PREPEND_TEXT

    given = {'computer': computer, 'prepend_text': PREPEND_TEXT}
    return {
        'python_code': orm.InstalledCode(label=f'python-{label}', filepath_executable=python, **given).store(),
        'phonopy_code': orm.InstalledCode(
            label=f'phonopy-{label}', filepath_executable=phonopy, default_calc_job_plugin='phonopy.phonopy', **given
        ).store(),
    }


def build(rows: int, codes: dict[str, Any], dataset: Any) -> Any:
    """Return a study of one crystal and so many seeds, which takes nothing from earlier ones."""
    from aiida import orm
    from ase.build import bulk

    from aiida_equitrain.setup import defaults
    from aiida_equitrain.workflows.study.workchain import StudyWorkChain

    return StudyWorkChain.get_builder_from_protocol(
        {'Si': orm.StructureData(ase=bulk('Si', a=5.47))},
        defaults.default_foundation(),
        sizes=[2],
        seeds=list(range(1, rows + 1)),
        datasets={'Si': dataset},
        dft=False,
        protocol='fast',
        overrides={**OVERRIDES, 'max_concurrent': 4, 'settings': {'reuse': False}},
        **codes,
    )


def record(codes: dict[str, Any], dataset: Any, folder: Path) -> str:
    """Run one row, keep what its jobs have written, and return a program that writes the same."""
    from aiida import orm
    from aiida.manage import get_manager

    from aiida_equitrain.launch.in_process import run_here

    node = run_here(build(1, codes, dataset))
    get_manager().reset_runner()  # that of this process hears nothing of the broker
    assert node.is_finished_ok, node.exit_message
    canned = folder / 'canned'
    for job in node.called_descendants:
        if not isinstance(job, orm.CalcJobNode):
            continue
        remote = Path(str(job.get_remote_workdir()))
        words = next(line for line in (remote / '_aiidasubmit.sh').read_text().splitlines() if 'python' in line)
        name = next((word.strip("'") for word in words.split() if 'equitrain_job.' in word), '')
        if not name:
            name = f'phonopy_{"thermal" if "TPROP" in (remote / "phonopy.conf").read_text() else "bands"}'
        place = canned / name
        place.mkdir(parents=True, exist_ok=True)
        for pattern in [*(job.get_retrieve_list() or []), *(job.get_retrieve_temporary_list() or [])]:
            for file in remote.glob(pattern):
                if not file.name.startswith('_scheduler'):
                    shutil.copy(file, place)
    program = folder / 'stub.sh'
    program.write_text(STUB.format(canned=canned), encoding='utf-8')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def workers() -> Iterator[psutil.Process]:
    """Yield the workers of the daemon, without the broker of the embedded kind."""
    from aiida.engine.daemon.client import get_daemon_client

    for process in psutil.Process(get_daemon_client().get_daemon_pid()).children():
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE and 'worker' in process.cmdline():
                yield process


def rows_done(study: Any) -> int:
    """Return how many rows of a study have ended."""
    from aiida import orm

    query = orm.QueryBuilder().append(orm.WorkChainNode, filters={'id': study.pk}, tag='study')
    ended = {'attributes.process_label': 'MaterialWorkChain', 'attributes.process_state': 'finished'}
    return int(query.append(orm.WorkChainNode, with_incoming='study', filters=ended).count())


def processes_done(study: Any) -> int:
    """Return how many processes have ended since a study was submitted; a row has a dozen."""
    from aiida import orm

    ended = {'id': {'>': study.pk}, 'attributes.process_state': 'finished'}
    return int(orm.QueryBuilder().append(orm.ProcessNode, filters=ended).count())


class Watch:
    """What is seen of a study while it runs, a line of the table for each span of time.

    :param study: the node.
    :param rows: that it has.
    :param each: processes of a row, 0 if that is not known yet.
    :param every: seconds of a span.
    """

    def __init__(self, study: Any, rows: int, each: float, every: float) -> None:
        self.study, self.rows, self.each, self.every = study, rows, each, every
        self.start, self.memory = time.monotonic(), 0
        self.cpu: dict[int, float] = {}
        self.look()
        self.begin(self.start)

    def begin(self, now: float) -> None:
        """Begin a span."""
        self.since, self.before, self.memory = now, dict(self.cpu), 0
        self.done_before = processes_done(self.study), rows_done(self.study)

    def look(self) -> None:
        """Take a sample."""
        memory = 0
        for process in workers():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self.cpu[process.pid] = times.user + times.system
                memory += process.memory_info().rss
        self.memory = max(self.memory, memory)

    def wait(self, seconds: float, processes: int | None = None) -> bool:
        """Watch until the study has ended, or so many processes have; return whether that was in time."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self.look()
            if self.study.is_terminated or (processes is not None and processes_done(self.study) >= processes):
                return True
            if now - self.since >= self.every:
                self.print_span()
            time.sleep(2)
        return False

    def print_span(self) -> None:
        """Print what was seen since the span began, and begin the next."""
        now, done = time.monotonic(), (processes_done(self.study), rows_done(self.study))
        processes, rows = (after - before for after, before in zip(done, self.done_before, strict=True))
        self.each = self.each or processes / self.rows
        cpu = sum(value - self.before.get(pid, 0.0) for pid, value in self.cpu.items())
        stored, equivalent = len(self.study.checkpoint or '') / 1e3, max(processes, 1) / self.each
        minutes = f'{(self.since - self.start) / 60:.1f}-{(now - self.start) / 60:.1f}'
        print(
            f'{self.rows:>6}{minutes:>12}{rows:>11}{processes:>11}{3600 / (now - self.since) * equivalent:>14.0f}'
            f'{cpu / equivalent:>14.1f}{self.memory / 1e6:>12.0f}{stored:>15.1f}',
            flush=True,
        )
        self.begin(now)


def table_of(study: Any) -> Any:
    """Return the table of a study without what differs from one to another: identifiers and times."""
    import pandas as pd

    table = pd.read_csv(io.StringIO(study.outputs.table.get_content()))
    return table[[name for name in table if not name.endswith(('_uuid', '_core_seconds'))]]


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', type=int, nargs='+', default=[4, 2862], help='of each study')
    parser.add_argument(
        '--minutes',
        type=float,
        nargs='+',
        default=[20.0, 40.0],
        help='after which each study is killed; the last number is for all that follow',
    )
    parser.add_argument('--every', type=float, default=10.0, help='minutes of a line of the table')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--kill', action='store_true', help='run the first once more, and kill a worker')
    arguments = parser.parse_args()
    from aiida import load_profile, orm
    from aiida.engine import submit
    from aiida.engine.daemon.client import get_daemon_client
    from aiida.engine.processes.control import kill_processes
    from aiida.manage.configuration import get_config_option

    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.science.frames import Frames

    load_profile()
    if get_config_option('caching.default_enabled'):
        parser.error('jobs from the cache cost nothing: `verdi config set caching.default_enabled False` first')
    client = get_daemon_client()
    if client.is_daemon_running:
        client.stop_daemon(wait=True, timeout=PATIENCE)
    with tempfile.TemporaryDirectory(prefix='scale') as name:
        folder = Path(name)
        computer = make_computer(folder)
        frames = Frames.load(ROOT / 'tests' / 'fixtures' / 'si8_pbe.npz')
        dataset = DatasetData(frames, functional='PBE', code='Quantum ESPRESSO 6.7').store()
        phonopy = str(Path(sys.executable).with_name('phonopy'))
        program = record(make_codes(computer, 'real', sys.executable, phonopy), dataset, folder)
        codes = make_codes(computer, 'stub', program, program)
        client.start_daemon(arguments.workers, timeout=PATIENCE)
        tables: list[Any] = []
        minutes = [*arguments.minutes, *[arguments.minutes[-1]] * len(arguments.rows)]
        studies = list(zip(arguments.rows, minutes, strict=False))
        if arguments.kill:
            studies.insert(1, studies[0])
        each = 0.0
        print(
            '  rows     minutes  rows done  processes  rows an hour  CPU s a row  workers MB  checkpoint kB', flush=True
        )
        try:
            for number, (rows, limit) in enumerate(studies):
                study = submit(build(rows, codes, dataset))
                # The first is one span: it tells how many processes a row has.
                watch = Watch(study, rows, each, 60 * arguments.every if each else math.inf)
                if arguments.kill and number == 1:
                    watch.wait(60 * limit, processes=round(each * rows / 2))
                    victim = next(workers())
                    victim.kill()
                    print(f'worker {victim.pid} killed after {processes_done(study)} processes', flush=True)
                ended = watch.wait(60 * limit)
                if number == 0:
                    assert ended, 'the first study has not ended: give it more minutes'
                watch.print_span()
                each = each or watch.each
                if not ended:
                    kill_processes([study], timeout=30)
                    watch.wait(60)
                elif number <= int(arguments.kill):
                    assert study.is_finished_ok, study.exit_message
                    tables.append(table_of(orm.load_node(study.pk)))
        finally:
            client.stop_daemon(wait=True, timeout=PATIENCE)
    if arguments.kill:
        same = len(tables) > 1 and tables[0].equals(tables[-1])
        print('the same table' if same else 'NOT the same table')
        return 0 if same else 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
