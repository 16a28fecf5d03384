"""Have the command line run on one hostile input, in a child with walls around it, and judge what came of it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, Popen

import case as shape

Commands = Popen[str]

#: Seconds of a core, and of waiting, that a case may take.
CPU_LIMIT, WALL_LIMIT = 10, 20
#: Bytes of memory that a case may take, and the wall behind them.
MEMORY_LIMIT, MEMORY_WALL = 10**9, 3 * 2**29
#: Characters of what a command says.
LONGEST = 2000
#: The file that code of an input touches.
CODE_RAN = 'code-ran'
#: What a case tells the child besides arguments: environment variables, and addresses of names besides MACE's own.
ENVIRONMENT: dict[str, str] = {}
ADDRESSES: dict[str, str] = {}
#: Colours of our own words: click lets them through, as on a terminal.
OUR_COLOURS = re.compile('\x1b\\[(?:0|1|2|3[0-7])m')
CONTROLS = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f]')
#: What a library says on its own.
LIBRARY = re.compile(r'^\S*:\d+: \w*Warning|Exception ignored in|^\w+Warning:', re.MULTILINE)


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


def start() -> Commands:
    """Start a process of `fork_server.py`: of the package that is tested here, in the loaded configuration of AiiDA."""
    import aiida_equitrain

    environment = {**os.environ, 'PYTHONPATH': str(Path(str(aiida_equitrain.__file__)).parents[1])}
    program = [sys.executable, str(Path(__file__).with_name('fork_server.py'))]
    return Popen(program, stdin=PIPE, stdout=PIPE, text=True, env=environment)


def run(case: shape.Case, folder: Path, commands: Commands, instead: str = '') -> Outcome:
    """Make the input below ``folder``, and run the command on it.

    :param folder: empty; gets the input, a home, a folder for temporary files, and the output.
    :param instead: a key of ``bad_commands.BAD``, whose command takes the place of ``compare``.
    """
    from aiida.manage import get_manager

    for name in ('input', 'home', 'tmp'):
        (folder / name).mkdir()
    request = {
        'arguments': [str(argument) for argument in case.make(folder / 'input')],
        'folder': str(folder),
        'profile': case.profile,
        'environment': ENVIRONMENT,
        'addresses': ADDRESSES,
        'instead': instead,
        'wall': WALL_LIMIT,
        'cpu': CPU_LIMIT + 1,
        'memory': MEMORY_WALL,
    }
    # What is open here could lock the database.
    get_manager().reset_profile()
    print(json.dumps(request), file=commands.stdin, flush=True)
    assert commands.stdout is not None
    answer = json.loads(commands.stdout.readline())
    return Outcome(output=(folder / 'output').read_bytes().decode('utf-8', 'backslashreplace'), **answer)


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
