"""What all drivers read and write: the job, progress, results, and a failure with its reason.

It imports nothing heavy by itself, so that the number of threads can be set first.

The parser reads ``failure.json`` before anything else, so a driver that knows why it stops raises
:class:`DriverFailure` and does not just print a traceback.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

JOB_FILE, SUMMARY_FILE = 'job.json', 'summary.json'
PROGRESS_FILE, FAILURE_FILE = 'progress.json', 'failure.json'
#: How glibc is told to keep what is freed: number of the option in ``mallopt``, name in the environment, value.
ALLOCATOR = ((-4, 'MALLOC_MMAP_MAX_', 0), (-1, 'MALLOC_TRIM_THRESHOLD_', 2**31 - 1))


class DriverFailure(Exception):  # noqa: N818
    """A failure whose cause is known.

    :param reason: short key, which the parser turns into an exit code, such as ``out_of_memory``.
    :param message: full sentence for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Terminated(BaseException):
    """The system or a person told the process to end; no ``except Exception`` on the way may keep it."""


#: What is saved when the process is told to end.
SAVES: list[Callable[[], None]] = []


def read_job() -> dict[str, Any]:
    """Return the content of ``job.json``, after a look at the files that came with it: nothing of them is loaded yet.

    :raises DriverFailure: ``file_changed``, if one is not the file that the job was made with.
    """
    job: dict[str, Any] = json.loads(Path(JOB_FILE).read_text(encoding='utf-8'))
    for name, expected in job.pop('sha256', {}).items():
        found = sha256_of(name)
        if found != expected:
            raise DriverFailure('file_changed', f'`{name}` has the SHA-256 {found}, its node says {expected}')
    return job


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    with Path(path).open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def limit_threads(number: int) -> None:
    """Fix the number of threads (0: as the machine likes). NumPy and torch read it once, when they are imported."""
    if number:
        for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
            os.environ[name] = str(number)


def keep_memory() -> None:
    """Keep freed memory for the next allocation, in this process and its children, where the C library is glibc.

    Every evaluation of a large cell frees hundreds of megabytes and asks for them again; given back to the system in
    between, all their pages are cleared and mapped anew: 10 to 30 % of the time on a CPU, as
    ``benchmarks/kept_memory.py`` measures. What the environment says already is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    for option, name, value in ALLOCATOR:
        if mallopt and name not in os.environ:
            mallopt(option, value)
            os.environ[name] = str(value)


def write_json(name: str | Path, content: Any) -> None:
    """Write JSON atomically: someone who polls the file never sees half of it.

    NaN and infinity are not JSON; they become ``null``.
    """
    path = Path(name)
    partial = path.with_name(path.name + '.part')
    partial.write_text(json.dumps(_clean(content), indent=1), encoding='utf-8')
    partial.replace(path)


def write_progress(stage: str, done: int, total: int, **more: Any) -> None:
    """Write ``progress.json``: the stage, how many of its steps are done, and whatever else is of interest."""
    write_json(PROGRESS_FILE, {'stage': stage, 'done': done, 'total': total, **more})


def read_arrays(name: str | Path) -> dict[str, Any]:
    """Return the arrays of a staged ``.npz`` file."""
    import numpy as np

    with np.load(name, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def write_arrays(name: str | Path, **arrays: Any) -> None:
    """Write an ``.npz`` file atomically."""
    import numpy as np

    partial = Path(f'{name}.part')
    with partial.open('wb') as handle:
        np.savez(handle, **arrays)
    partial.replace(name)


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of what the numbers depend on; packages that are not there are left out."""
    from importlib.metadata import PackageNotFoundError, version

    found = {'python': sys.version.split()[0]}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run_driver(main: Callable[[], None]) -> None:
    """Run ``main``; when it fails, write ``failure.json`` and exit with 1."""
    keep_memory()

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    # Slurm's time limit, scancel, preemption and a node that is drained all begin with it, seconds before the end.
    signal.signal(signal.SIGTERM, terminate)
    try:
        main()
    except Terminated:
        for save in SAVES:
            save()
        write_json(FAILURE_FILE, {'reason': 'terminated', 'message': 'it was told to end (SIGTERM)'})
        sys.exit('TERMINATED: what was done is saved')
    except Exception as error:
        reason, message = 'crashed', f'{type(error).__name__}: {_first_line(error)}'
        if isinstance(error, DriverFailure):
            reason, message = error.reason, error.message
        else:
            traceback.print_exc()
        if isinstance(error, ModuleNotFoundError):
            reason, message = 'module_missing', f'{error} (Python: {sys.executable})'
        if is_out_of_memory(error):
            reason = 'out_of_memory'
        write_json(FAILURE_FILE, {'reason': reason, 'message': message[:2000]})
        sys.exit(f'FAILED ({reason}): {message}')


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out: we and CUDA have an exception for it, torch's CPU allocator only a message."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, DriverFailure) and error.reason == 'out_of_memory')
        or type(error).__name__ == 'OutOfMemoryError'
        or any(
            part in text for part in ('out of memory', "can't allocate memory", 'cannot allocate memory', 'bad_alloc')
        )
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _clean(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _clean(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_clean(value) for value in content]
    if hasattr(content, 'item') and getattr(content, 'ndim', 0) == 0:
        content = content.item()
    if isinstance(content, float) and content - content != 0.0:
        return None
    return content
