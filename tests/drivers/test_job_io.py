"""What all drivers share, in a process of its own where it changes the process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

import aiida_equitrain.drivers.job_io as job_io

#: Allocate and free 64 megabytes ten times, each byte written; print the page faults of it. (glibc learns by itself to
#: keep blocks of up to 32 megabytes.)
CHURN = """
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = bytearray(b'x') * 2**26
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
KEEP = 'import job_io; job_io.keep_memory()\n'
#: MACE trains in a child of the driver.
CHILD = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {CHURN!r}], check=True)'


def faults(script: str, **environment: str) -> int:
    """Return what a script prints that is run beside the drivers."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith('MALLOC_')}
    process = subprocess.run(
        [sys.executable, '-c', script], env={**clean, **environment}, cwd=Path(job_io.__file__).parent,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(process.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='the C library is not glibc')
def test_memory_is_kept() -> None:
    """What is freed is used again, here and in a child, unless the environment wants it otherwise."""
    given_back = faults(CHURN)
    assert faults(KEEP + CHURN) < given_back / 5
    assert faults(KEEP + CHILD) < given_back / 5
    assert faults(KEEP + CHURN, MALLOC_MMAP_MAX_='65536', MALLOC_TRIM_THRESHOLD_='131072') > given_back / 2
