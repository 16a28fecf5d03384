"""Try what the set-up made: each check runs the real thing once, on the computer of the code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_equitrain.common.foundations import FOUNDATIONS
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.blas import VARIABLE, faster_kernels
from aiida_equitrain.setup.connection import connect
from aiida_equitrain.setup.environment import Recipe
from aiida_equitrain.setup.extras import EXTRAS

#: What the Python of the code must be able to import. MACE comes first: equitrain and e3nn want it so.
PYTHON_PROBE = """
import importlib.metadata as m
import mace.calculators, equitrain, phonopy, symfc, seekpath, ase
names = ("mace-torch", "equitrain", "torch", "phonopy", "symfc", "seekpath", "ase")
print(*(p + "=" + m.version(p) for p in names), end=" ")
"""
#: What only `launch kappa` needs there.
KAPPA_PROBE = """
import importlib.metadata as m, importlib.util
found = importlib.util.find_spec("phono3py")
print("phono3py=" + m.version("phono3py") if found else "but no phono3py, for `launch kappa`: pip install phono3py")
"""
#: It alone, quickly: nothing is imported.
PHONO3PY_PROBE = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("phono3py") is None)'
#: Seconds after which a program that is tried has lost its chance.
PATIENCE_S = 300
#: How `timeout` ends then.
TIMED_OUT = 124


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    :param text: what was found, or what is wrong and how to mend it.
    """

    name: str
    passed: bool
    text: str


class CheckError(RuntimeError):
    """A check failed; the message is a sentence with the remedy."""


def run_checks(computer: str = defaults.COMPUTER, extras: Collection[str] = ()) -> Iterator[Check]:
    """Yield the checks of the loaded profile one by one, as they are done.

    :param extras: names of ``setup.extras`` to check in any case; the others are where there is a code for them.
    """
    checks: dict[str, Callable[[], str]] = {
        'profile': check_profile,
        'computer': lambda: check_computer(computer),
        'pw': lambda: check_pw(defaults.find_code(defaults.PW_CODE, computer)),
        'python': lambda: check_python(defaults.find_code(defaults.PYTHON_CODE, computer)),
        'phonopy': lambda: check_phonopy(defaults.find_code(defaults.PHONOPY_CODE, computer)),
        'pseudopotentials': lambda: check_family(defaults.default_family()),
        'foundation': lambda: check_foundation(defaults.default_foundation()),
    }
    for name, extra in EXTRAS.items():
        label = extra.recipe.able.python
        if name in extras or defaults.has_code(label, computer):
            checks[label] = partial(_check_extra, extra.recipe, computer)
            checks[extra.foundation] = partial(_check_known, extra.foundation)
    for name, function in checks.items():
        try:
            yield Check(name, True, function())
        except (CheckError, NotExistent) as exception:
            yield Check(name, False, str(exception))
        except Exception as exception:  # a computer that does not answer can raise anything
            yield Check(name, False, _not_tried(exception))


def _not_tried(exception: Exception) -> str:
    """Return a sentence on a check that could not be made."""
    lines = str(exception).strip().splitlines()
    reason = f'{type(exception).__name__}: {lines[0][:200]}' if lines else type(exception).__name__
    return f'this could not be tried ({reason}): `verdi status` and `verdi computer test` say more'


def _check_extra(recipe: Recipe, computer: str) -> str:
    return check_extra(recipe, defaults.find_code(recipe.able.python, computer))


def _check_known(name: str) -> str:
    node = defaults.stored_foundation(name)
    if node is None:
        raise CheckError(f'there is no potential `{name}`: run `{FOUNDATIONS[name].get}`')
    return check_foundation(node)


def check_profile() -> str:
    """Tell the back ends; without a broker jobs run, but cannot be submitted to a daemon."""
    from aiida.manage import get_manager

    profile = get_manager().get_profile()
    if profile is None:
        raise CheckError('no AiiDA profile is loaded: name one with `-p`')
    if profile.process_control_backend is None:
        return (
            f'`{profile.name}` with {profile.storage_backend}; without a broker there is no daemon, no `--submit`: '
            f'`verdi profile configure-broker core.zeromq {profile.name}` adds one'
        )
    return f'`{profile.name}` with {profile.storage_backend} and the broker {profile.process_control_backend}'


def check_computer(label: str) -> str:
    """Connect, and write to the working directory."""
    try:
        computer = orm.load_computer(label)
    except NotExistent as exception:
        raise CheckError(f'there is no computer `{label}`: run `aiida-equitrain setup`') from exception
    if problem := defaults.computer_problem(computer):
        raise CheckError(f'the computer {problem}')
    with connect(computer) as transport:
        workdir = computer.get_workdir().format(username=transport.whoami())
    code, _, stderr = _run(computer, f'mkdir -p "{workdir}" && test -w "{workdir}"')
    if code:
        raise CheckError(f'the working directory `{workdir}` of `{label}` cannot be written: {stderr.strip()}')
    # Without `ps` the scheduler core.direct finds no job, and AiiDA takes every one for done as soon as it began.
    if computer.scheduler_type == 'core.direct' and _run(computer, 'command -v ps')[0]:
        raise CheckError(f'`{label}` has no `ps`, by which AiiDA follows its jobs: install it (Debian: procps)')
    return f'`{label}`, jobs run in {workdir}'


def check_pw(code: orm.InstalledCode) -> str:
    """Start ``pw.x`` without input: it prints its version before it complains."""
    _, stdout, stderr = _run_code(code, '')
    match = re.search(r'Program PWSCF\s+v\.?\s*(\S+)', stdout)
    if match is None:
        raise CheckError(f'`{code.full_label}` did not say that it is PWSCF: {(stdout + stderr).strip()[:300]}')
    found = f'`{code.full_label}` is Quantum ESPRESSO {match.group(1)}'
    if code.computer.transport_type == 'core.local' and VARIABLE not in code.prepend_text:
        kernels = faster_kernels(str(code.filepath_executable))
        if kernels:
            return (
                f'{found}, slower than need be, as its OpenBLAS does not know this processor: a code with `export '
                f'{VARIABLE}={kernels}` in its prepended text, such as `aiida-equitrain setup` makes, helps'
            )
    return found


def check_python(code: orm.InstalledCode) -> str:
    """Import what training, evaluation and comparison need."""
    remedy = (
        'install there `torch==2.13.0`, then `"equitrain[torch,mace]==1.0.0" mace-torch==0.3.16 phonopy symfc seekpath`'
    )
    return _check_imports(code, PYTHON_PROBE + KAPPA_PROBE, 'jobs need', remedy)


def phono3py_hint(code: orm.InstalledCode) -> str | None:
    """Return a sentence if it is not known before a job runs whether the Python of a code has phono3py.

    :raises ValueError: with a sentence, if it has none.
    """
    if code.computer.transport_type != 'core.local':
        check = f'`aiida-equitrain setup --check --computer {code.computer.label}`'
        return f'whether `{code.full_label}` has phono3py is not known before the job runs there: {check} looks'
    try:
        status, _, _ = _run_code(code, f"-c '{PHONO3PY_PROBE}'")
    except CheckError:
        return None  # The checks of the inputs say what is wrong with the code.
    if status:
        python = code.filepath_executable
        raise ValueError(
            f'the Python of `{code.full_label}` ({python}) has no phono3py, which thermal conductivity needs: '
            f'`{python} -m pip install phono3py`'
        )
    return None


def check_extra(recipe: Recipe, code: orm.InstalledCode) -> str:
    """Import what training and evaluation of a family need in its own Python."""
    remedy = f'delete the code and run `{recipe.able.setup}`'
    return _check_imports(code, recipe.probe, f'jobs with {recipe.able.name} need', remedy)


def _check_imports(code: orm.InstalledCode, probe: str, what: str, remedy: str) -> str:
    """Run lines of Python that import something and print what it is."""
    status, stdout, stderr = _run_code(code, f"-c '{probe}'")
    if status == TIMED_OUT:
        raise CheckError(
            f'the Python of `{code.full_label}` has not imported what {what} within {PATIENCE_S} s: try again'
        )
    if status:
        reason = (stderr.strip().splitlines() or ['no message'])[-1]
        raise CheckError(f'the Python of `{code.full_label}` cannot import what {what} ({reason}): {remedy}')
    return f'`{code.full_label}` has {stdout.strip().splitlines()[-1]}'


def check_phonopy(code: orm.InstalledCode) -> str:
    """Start phonopy in an empty folder: it prints its version before it misses its input."""
    _, stdout, stderr = _run_code(code, '')
    match = re.search(r'^\s+(\d+\.\d+\.\d+\S*)\s*$', stdout, re.MULTILINE)
    if match is None or 'phonopy' not in stdout:
        reason = ((stderr.strip() or stdout.strip()).splitlines() or ['no message'])[-1]
        raise CheckError(f'`{code.full_label}` did not say that it is phonopy: {reason}')
    return f'`{code.full_label}` is phonopy {match.group(1)}'


def check_family(family: Any) -> str:
    """Ask for recommended cut-offs of every element."""
    cutoffs = family.get_cutoffs() if hasattr(family, 'get_cutoffs') else {}
    missing = sorted(set(family.elements) - set(cutoffs))
    if missing:
        raise CheckError(f'the family `{family.label}` has no recommended cut-offs for {", ".join(missing)}')
    return f'`{family.label}` with cut-offs for {len(cutoffs)} elements'


def check_foundation(node: Any) -> str:
    """Compare the stored model file with its recorded SHA-256; nothing of the model is executed."""
    with node.base.repository.open(node.filename, 'rb') as handle:
        found = hashlib.file_digest(handle, 'sha256').hexdigest()
    if found != node.sha256:
        raise CheckError(f'the file of the potential `{node.label}` ({node.uuid}) is damaged: its SHA-256 is {found}')
    return f'`{node.label}` (PK {node.pk}), {node.architecture}, {len(node.elements)} elements, SHA-256 {found[:12]}…'


def _run_code(code: orm.InstalledCode, arguments: str) -> tuple[int, str, str]:
    """Run the executable of ``code`` with the environment that its jobs get."""
    status, _, _ = _run(code.computer, f'test -x "$(command -v "{code.filepath_executable}")"')
    if status:
        raise CheckError(
            f'`{code.full_label}` points to `{code.filepath_executable}`, which is not there or not executable: '
            'install the program there, or make a code with the right path'
        )
    prepend = f'{code.prepend_text}\n' if code.prepend_text else ''
    # What the program starts and leaves behind (OpenMPI's `orted`) would keep the connection open by its stdout.
    program = f'timeout {PATIENCE_S} "{code.filepath_executable}" {arguments} </dev/null >stdout 2>stderr'
    command = f'cd "$(mktemp -d)"\n{prepend}{program}\nstatus=$?\ncat stdout; cat stderr >&2\n'
    return _run(code.computer, f'{command}rm -rf "$PWD"; exit $status')


def _run(computer: orm.Computer, command: str) -> tuple[int, str, str]:
    """Run a command on a computer through its transport."""
    with connect(computer) as transport:
        status, stdout, stderr = transport.exec_command_wait(command)
    return int(status), str(stdout), str(stderr)
