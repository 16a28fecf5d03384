"""Evaluate a potential on structures of different sizes, in one process.

Reads ``job.json`` and ``structures.npz``; writes ``scan.npz``, ``progress.json`` and ``summary.json``.
"""

from __future__ import annotations

import time
from typing import Any

from .evaluation_io import SAVE_INTERVAL, Evaluation, Progress, make_atoms, stress_tensor
from .job_io import DriverFailure, run_driver, write_arrays

SCAN = 'scan.npz'


def main() -> None:
    """Evaluate all structures; what is finished is saved now and then."""
    job = Evaluation()
    import numpy as np

    from ..science.frames import unpack

    structures = list(unpack(job.structures))
    progress, saved = Progress('scan', len(structures)), time.time()
    energies: list[float] = []
    forces: list[Any] = []
    stress: list[Any] = []
    for index, structure in enumerate(structures):
        atoms = make_atoms(*structure)
        job.calculator.calculate(atoms)
        results = job.calculator.results
        energies.append(float(results['energy']))
        forces.append(np.array(results['forces'], dtype=float))
        stress.append(np.array(stress_tensor(results), dtype=float))
        progress(index + 1)
        if index + 1 == len(structures) or time.time() - saved > SAVE_INTERVAL:
            write_arrays(SCAN, energies=np.array(energies), forces=np.concatenate(forces), stress=np.array(stress))
            saved = time.time()
    job.write_summary({'n_frames': len(structures)})
    if not all(np.isfinite(part).all() for part in (energies, *forces)):
        raise DriverFailure('forces_not_finite', 'energies or forces of the scan are not finite')


if __name__ == '__main__':
    run_driver(main)
