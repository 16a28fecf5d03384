"""Run commands in forked children of this process, which has all that they import, and one thread.

A child of pytest would inherit the locks that threads of earlier tests hold at that moment, and their memory. A line of
the standard input asks for a command, as JSON of the arguments of :func:`serve`; a line of the standard output answers.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

# Before NumPy: a pool of threads does not survive a fork.
for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[_name] = '1'

HEAVY = (
    'aiida.orm', 'aiida.engine', 'aiida.tools.archive', 'ase.io', 'ase.spacegroup', 'phonopy', 'symfc', 'pymatgen.core',
    'phono3py', 'matplotlib.pyplot', 'pandas', 'rich.live', 'safetensors.numpy', 'yaml',
)  # fmt: skip


def import_all() -> None:
    """Import all that commands import, and read the configuration."""
    import matplotlib as mpl
    from aiida.manage import get_manager

    mpl.use('agg')
    import aiida_equitrain

    ours = Path(str(aiida_equitrain.__file__)).parent
    for name in HEAVY:
        import_module(name)
    for part in (
        'cli',
        'setup',
        'launch',
        'report',
        'publish',
        'science',
        'data',
        'query',
        'workflows',
        'calculations',
        'parsers',
    ):
        for file in sorted((ours / part).rglob('*.py')):
            if '__' not in file.stem:
                import_module('.'.join(('aiida_equitrain', *file.relative_to(ours).with_suffix('').parts)))
    get_manager().get_config()
    threads = len(list(Path('/proc/self/task').iterdir()))
    assert threads == 1, f'{threads} threads: a fork copies the locks that the others hold'


def serve(wall: float, **request: Any) -> dict[str, float]:
    """Run a command.

    :param wall: seconds until it is killed.
    :param request: arguments of :func:`_child`.
    :returns: the parts of ``harness.Outcome`` but for the output.
    """
    at_start, start = mmap.mmap(-1, 8), time.monotonic()
    pid = os.fork()
    if not pid:
        _child(at_start, **request)
    watched = os.pidfd_open(pid)
    try:
        if not select.select([watched], [], [], wall)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(watched)
        _, status, usage = os.wait4(pid, 0)
    return {
        'code': os.waitstatus_to_exitcode(status),
        'seconds': time.monotonic() - start,
        'cpu_seconds': usage.ru_utime + usage.ru_stime,
        'memory': usage.ru_maxrss * 1024 - int.from_bytes(at_start),
    }


def _memory() -> list[int]:
    """Return the bytes of addresses and of memory that this process has."""
    return [int(pages) * resource.getpagesize() for pages in Path('/proc/self/statm').read_text().split()[:2]]


def _child(at_start: mmap.mmap, arguments: list[str], folder: str, **settings: Any) -> NoReturn:
    """Run a command and end this process with its exit code; nothing of the server runs on.

    :param at_start: gets the bytes of memory before the command.
    :param folder: with the input, a home and a folder for temporary files.
    :param settings: see :func:`_prepare`.
    """
    code: Any = 99
    try:
        at_start[:] = _memory()[1].to_bytes(8)
        _prepare(Path(folder), **settings)
        code = _call(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _call(arguments: list[str]) -> int:
    """Call the command as its program would.

    :returns: the exit code.
    """
    from aiida_equitrain.cli.root import cmd_root

    try:
        # With colours, or click would take out the control characters of strangers too.
        cmd_root.main(arguments, prog_name='aiida-equitrain', color=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _prepare(
    folder: Path,
    profile: bool,
    environment: dict[str, str],
    addresses: dict[str, str],
    instead: str,
    cpu: int,
    memory: int,
) -> None:
    """Make this process look like a fresh one in the folder of the input, with walls around it.

    :param profile: whether the default profile is loaded.
    :param environment: other variables.
    :param addresses: of names that are known besides MACE's own.
    :param instead: a key of ``bad_commands.BAD``, whose command takes the place of ``compare``; or nothing.
    :param cpu: seconds of a core.
    :param memory: bytes of addresses, beyond those that there are.
    """
    from aiida.common.log import configure_logging

    from aiida_equitrain.cli.profile import load_profile

    output = os.open(folder / 'output', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, opened in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(opened, number)
    sys.stdin, *streams = (os.fdopen(number, 'r' if number == 0 else 'w', encoding='utf-8') for number in range(3))
    sys.stdout, sys.stderr = streams
    os.chdir(folder / 'input')
    os.environ.update(environment, HOME=str(folder / 'home'), TMPDIR=str(folder / 'tmp'))
    os.environ.pop('EQUITRAIN_TRACEBACK', None)
    tempfile.tempdir = None
    configure_logging()
    if profile:
        load_profile()
    _replace(addresses, instead)
    size = _memory()[0]
    resource.setrlimit(resource.RLIMIT_AS, (size + memory, size + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _replace(addresses: dict[str, str], instead: str) -> None:
    """Put in place what the tests have instead of ours."""
    from aiida_equitrain.setup import foundations

    known = foundations.mace_address
    foundations.mace_address = lambda name: addresses.get(name) or known(name)
    if instead:
        import click
        from bad_commands import BAD

        from aiida_equitrain.cli import compare

        compare.cmd_compare = click.command('compare')(BAD[instead])


if __name__ == '__main__':
    # What an import prints is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    import_all()
    for line in sys.stdin:
        print(json.dumps(serve(**json.loads(line))), file=answers, flush=True)
