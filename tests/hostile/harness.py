"""Run the command line on one hostile input, in a forked child with walls around it, and judge what came of it."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import case as shape

#: Seconds of a core, and of waiting, that a case may take.
CPU_LIMIT, WALL_LIMIT = 10, 20
#: Bytes of memory that a case may take, and the wall behind them.
MEMORY_LIMIT, MEMORY_WALL = 10**9, 3 * 2**29
#: Characters of what a command says.
LONGEST = 2000
#: The file that code of an input touches.
CODE_RAN = 'code-ran'
#: Colours of our own words: click lets them through, as on a terminal.
OUR_COLOURS = re.compile('\x1b\\[(?:0|1|2|3[0-7])m')
CONTROLS = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f]')
#: What a library says on its own.
LIBRARY = re.compile(r'^\S*:\d+: \w*Warning|Exception ignored in|^\w*Warning:', re.MULTILINE)


def cases_of(*modules: str) -> list[shape.Case]:
    """Return the cases of modules by what follows ``cases_`` in their names."""
    return [case for name in modules for case in import_module(f'cases_{name}').CASES]


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    :param code: exit code; negative if a signal ended it.
    :param memory: bytes that it took at its peak, beyond those at its start.
    """

    code: int
    output: str
    seconds: float
    cpu_seconds: float
    memory: int


def run(case: shape.Case, folder: Path) -> Outcome:
    """Make the input below ``folder``, and run the command on it.

    :param folder: empty; gets the input, a home, a folder for temporary files, and the output.
    """
    for name in ('input', 'home', 'tmp'):
        (folder / name).mkdir()
    arguments = [str(argument) for argument in case.make(folder / 'input')]
    return run_command(arguments, folder, case.profile)


def run_command(arguments: list[str], folder: Path, profile: bool = False) -> Outcome:
    """Run ``aiida-equitrain`` with arguments in a child of this process, which has everything imported."""
    from aiida.manage import get_manager

    # A connection to SQLite does not survive a fork: each process opens its own.
    get_manager().reset_profile()
    before, start = _resident(), time.monotonic()
    pid = os.fork()
    if not pid:
        _child(arguments, folder, profile)
    watched = os.pidfd_open(pid)
    try:
        if not select.select([watched], [], [], WALL_LIMIT)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(watched)
        _, status, usage = os.wait4(pid, 0)
    return Outcome(
        os.waitstatus_to_exitcode(status),
        (folder / 'output').read_bytes().decode('utf-8', 'backslashreplace'),
        time.monotonic() - start,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024 - before,
    )


def problems(case: shape.Case, outcome: Outcome, folder: Path) -> list[str]:
    """Return what is wrong about the outcome of a case, in sentences."""
    output = outcome.output
    plain = OUR_COLOURS.sub('', output)
    found = {
        f'it was ended by {signal.Signals(-outcome.code).name}' if outcome.code < 0 else '': outcome.code < 0,
        f'its exit code is {outcome.code}': outcome.code not in ((1, 2) if case.fails else (0,)),
        f'it does not say {case.says!r}': re.search(case.says, plain) is None,
        'it shows a traceback': 'Traceback (most recent call last)' in output,
        'it did not expect this': 'EQUITRAIN_TRACEBACK' in output,
        f'it prints control characters: {CONTROLS.findall(plain)[:5]}': CONTROLS.search(plain) is not None,
        'a library speaks on its own': LIBRARY.search(plain) is not None,
        f'it says {len(plain)} characters': case.fails and len(plain) > LONGEST,
        'code of the input ran': (folder / 'input' / CODE_RAN).exists(),
        f'it took {outcome.cpu_seconds:.1f} s of a core': outcome.cpu_seconds >= CPU_LIMIT,
        f'it took {outcome.seconds:.1f} s': outcome.seconds >= WALL_LIMIT,
        f'it took {outcome.memory / 1e6:.0f} MB': outcome.memory > MEMORY_LIMIT,
    }
    left = [str(path.relative_to(folder)) for name in ('home', 'tmp') for path in (folder / name).rglob('*')]
    return [what for what, holds in found.items() if holds] + [f'it left `{name}`' for name in left]


def _resident() -> int:
    """Return the bytes of memory of this process."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()


def _child(arguments: list[str], folder: Path, profile: bool) -> NoReturn:
    """Run a command and end this process with its exit code; nothing of pytest runs on."""
    code: Any = 99
    try:
        _prepare(folder, profile)
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


def _prepare(folder: Path, profile: bool) -> None:
    """Make this process look like a fresh one in the folder of the input, with walls around it."""
    from aiida.common.log import configure_logging
    from aiida.manage import get_manager

    output = os.open(folder / 'output', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, opened in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(opened, number)
    sys.stdin, *streams = (os.fdopen(number, 'r' if number == 0 else 'w', encoding='utf-8') for number in range(3))
    sys.stdout, sys.stderr = streams
    faulthandler.disable()
    os.chdir(folder / 'input')
    os.environ.update(HOME=str(folder / 'home'), TMPDIR=str(folder / 'tmp'))
    os.environ.pop('EQUITRAIN_TRACEBACK', None)
    tempfile.tempdir = None
    _speak_as_outside()
    configure_logging()
    if not profile:
        get_manager()._profile = None
    size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_WALL, size + MEMORY_WALL))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT + 1, CPU_LIMIT + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The highest memory so far is that of the parent.
    Path('/proc/self/clear_refs').write_text('5')


def _speak_as_outside() -> None:
    """Let warnings and logs go where they go without pytest."""
    logging.getLogger().handlers.clear()
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter('ignore', kind)

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

    warnings.showwarning = show
