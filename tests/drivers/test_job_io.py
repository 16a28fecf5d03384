"""What all drivers share, in a process of its own where it changes the process."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from hashlib import sha256
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


def test_changed_file_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job reads nothing before it has looked at the files that came with it."""
    monkeypatch.chdir(tmp_path)
    content = b'a model'
    Path('potential.model').write_bytes(content)
    Path('job.json').write_text(json.dumps({'a': 1, 'sha256': {'potential.model': sha256(content).hexdigest()}}))
    assert job_io.read_job() == {'a': 1}
    Path('potential.model').write_bytes(b'another')
    with pytest.raises(job_io.DriverFailure, match=r'`potential\.model` has the SHA-256') as failure:
        job_io.read_job()
    assert failure.value.reason == 'file_changed'


def test_every_driver_looks_first() -> None:
    """Each script that is run reads its job by the function that looks at the files."""
    drivers = [path.read_text() for path in Path(job_io.__file__).parent.rglob('*.py') if path.stem != 'job_io']
    scripts = [text for text in drivers if 'run_driver(' in text]
    assert len(scripts) >= 11
    assert all('read_job()' in text or 'evaluation_io' in text for text in scripts)
    assert not any('JOB_FILE' in text or "'job.json'" in text for text in drivers)


@pytest.mark.real
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='the C library is not glibc')
def test_memory_is_kept() -> None:
    """What is freed is used again, here and in a child, unless the environment wants it otherwise."""
    given_back = faults(CHURN)
    assert faults(KEEP + CHURN) < given_back / 5
    assert faults(KEEP + CHILD) < given_back / 5
    assert faults(KEEP + CHURN, MALLOC_MMAP_MAX_='65536', MALLOC_TRIM_THRESHOLD_='131072') > given_back / 2
