"""What the drivers that evaluate a potential share: how they start, their progress, and their summary.

A helper, staged beside them. It imports nothing heavy by itself, so that the number of threads can be set first.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .job_io import (
    SAVES,
    SUMMARY_FILE,
    limit_threads,
    read_arrays,
    read_job,
    versions,
    write_arrays,
    write_json,
    write_progress,
)

STRUCTURES = 'structures.npz'
PARTIAL, PARTIAL_IN = 'partial.npz', 'partial_in.npz'
#: Seconds between two saves of unfinished results.
SAVE_INTERVAL = 60.0
PACKAGES = ('numpy', 'ase', 'torch', 'mace-torch', 'sevenn', 'nequix', 'e3nn', 'equitrain')


class Evaluation:
    """The job as it was staged: ``settings``, ``structures`` (the arrays) and ``calculator``.

    :raises DriverFailure: if the device is missing or the file is no model that can be loaded.
    """

    def __init__(self) -> None:
        self.start = time.time()
        job = read_job()
        self.settings: dict[str, Any] = job['settings']
        limit_threads(self.settings['threads'])
        self.structures = read_arrays(STRUCTURES)
        self.calculator = load_potential(job['potential'], self.settings)
        self.seconds_loading = time.time() - self.start

    def write_summary(self, facts: dict[str, Any]) -> None:
        """Write ``summary.json``: the facts, and what every evaluation says of itself."""
        common = {
            'settings': self.settings,
            'seconds': round(time.time() - self.start, 3),
            'seconds_loading': round(self.seconds_loading, 3),
            'versions': versions(*PACKAGES),
        }
        write_json(SUMMARY_FILE, {**facts, **common})


class Partial:
    """What is done of a job, unit by unit, in its order: begins with what an interrupted job has done.

    It is saved now and then, and when the process is told to end. Once the results are written it is removed.
    """

    def __init__(self) -> None:
        self.units: list[dict[str, Any]] = []
        if Path(PARTIAL_IN).exists():
            arrays = read_arrays(PARTIAL_IN)
            count = int(arrays.pop('count'))
            self.units = [{} for _ in range(count)]
            for name, array in arrays.items():
                key, _, index = name.rpartition('.')
                self.units[int(index)][key] = array
        self.n_before = len(self.units)
        self.saved = time.time()
        SAVES.append(self.save)

    def __len__(self) -> int:
        """Return how many units are done."""
        return len(self.units)

    def add(self, **arrays: Any) -> None:
        """Add the arrays of a unit."""
        self.units.append(arrays)
        if time.time() - self.saved > SAVE_INTERVAL:
            self.save()

    def save(self) -> None:
        """Write what is done."""
        import numpy as np

        named = {f'{key}.{index}': value for index, unit in enumerate(self.units) for key, value in unit.items()}
        write_arrays(PARTIAL, count=np.array(len(self.units)), **named)
        self.saved = time.time()

    def remove(self) -> None:
        """Remove the file, as the results are there."""
        SAVES.remove(self.save)
        Path(PARTIAL).unlink(missing_ok=True)


class Progress:
    """Keep ``progress.json`` up to date, at most a few times per second.

    :param stage: what the numbers count.
    :param total: number of them.
    """

    def __init__(self, stage: str, total: int) -> None:
        self.stage, self.total = stage, total
        self.start, self.written = time.time(), 0.0
        self(0)

    def __call__(self, done: int) -> None:
        """Tell that ``done`` of the total are finished."""
        if time.time() - self.written < 0.5 and done < self.total:
            return
        self.written = time.time()
        write_progress(self.stage, done, self.total, seconds=round(self.written - self.start, 2))


def load_potential(potential: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return the ASE calculator of the staged model file.

    :param potential: ``filename``, ``family`` and ``head`` of the model.
    :param settings: ``device``, ``dtype`` and ``threads`` are used.
    """
    from .potential_loader import load_calculator, set_threads

    set_threads(settings['threads'])
    return load_calculator(
        potential['filename'], potential['family'], potential['head'], settings['device'], settings['dtype']
    )


def make_atoms(numbers: Any, positions: Any, cell: Any) -> Any:
    """Return periodic ASE atoms."""
    from ase import Atoms

    return Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)


def stress_tensor(results: dict[str, Any]) -> Any:
    """Return the stress (3, 3) of a calculator's results, eV/Å³."""
    from ase.stress import voigt_6_to_full_3x3_stress

    return voigt_6_to_full_3x3_stress(results['stress'])
