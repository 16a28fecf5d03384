"""What the drivers that evaluate a potential share: input, progress, results, and the reason of a failure.

A helper, staged beside them. It imports nothing heavy by itself, so that the number of threads can be set first.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job_io import DriverFailure  # type: ignore[import-not-found]

INPUT, PROGRESS, SUMMARY, FAILURE = 'input.json', 'progress.json', 'summary.json', 'failure.json'


def write_json(path: str, data: dict[str, Any]) -> None:
    """Write a JSON file that is never seen half written; numbers that are not finite become ``null``."""
    partial = Path(f'{path}.part')
    partial.write_text(json.dumps(_finite(data), indent=1, allow_nan=False), encoding='utf-8')
    partial.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_arrays(path: str, **arrays: Any) -> None:
    """Write an ``.npz`` file that is never seen half written."""
    import numpy as np

    partial = Path(f'{path}.part')
    with partial.open('wb') as handle:
        np.savez(handle, **arrays)
    partial.replace(path)


def read_input() -> dict[str, Any]:
    """Return ``input.json``, after fixing the number of threads that its settings ask for (0: as the machine likes).

    Call it before NumPy or torch are imported: they read the number once.
    """
    data: dict[str, Any] = json.loads(Path(INPUT).read_text(encoding='utf-8'))
    threads = int(data['settings'].get('threads') or 0)
    if threads:
        for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
            os.environ[name] = str(threads)
    return data


class Progress:
    """Keep ``progress.json`` up to date, at most a few times per second.

    :param stage: what the numbers count.
    :param total: number of them.
    """

    def __init__(self, stage: str, total: int) -> None:
        self.stage, self.total = stage, total
        self.start, self.written = time.time(), 0.0

    def __call__(self, done: int, **extra: Any) -> None:
        """Tell that ``done`` of the total are finished."""
        if time.time() - self.written < 0.5 and done < self.total:
            return
        self.written = time.time()
        seconds = round(self.written - self.start, 2)
        write_json(PROGRESS, {'stage': self.stage, 'done': done, 'total': self.total, 'seconds': seconds, **extra})


def load_potential(potential: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return the ASE calculator of the staged model file.

    :param potential: ``filename``, ``family`` and ``head`` of the model.
    :param settings: ``device``, ``dtype`` and ``threads`` are used.
    :raises DriverFailure: if the device is missing or the file is no model that can be loaded.
    """
    import torch
    from potential_loader import load_calculator  # type: ignore[import-not-found]

    if settings.get('threads'):
        torch.set_num_threads(int(settings['threads']))
    return load_calculator(
        potential['filename'], potential['family'], potential.get('head'), settings['device'], settings['dtype']
    )


def versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {'python': sys.version.split()[0]}
    for name in ('numpy', 'ase', 'torch', 'mace-torch', 'e3nn', 'equitrain'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run(main: Callable[[], None]) -> None:
    """Run ``main``; when it fails, write ``failure.json`` and exit with 1."""
    try:
        main()
    except Exception as error:
        traceback.print_exc()
        reason, message = 'unexpected', f'{type(error).__name__}: {error}'
        if isinstance(error, DriverFailure):
            reason, message = error.reason, str(error)
        elif isinstance(error, ModuleNotFoundError):
            reason, message = 'module_missing', f'{error} (Python: {sys.executable})'
        elif isinstance(error, MemoryError) or type(error).__name__ == 'OutOfMemoryError':
            reason = 'out_of_memory'
        write_json(FAILURE, {'reason': reason, 'message': message[:2000]})
        sys.exit(1)
