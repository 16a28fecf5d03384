"""Evaluate a potential on structures of different sizes, in one process.

Reads ``job.json`` and ``structures.npz``; writes ``scan.npz``, ``progress.json`` and ``summary.json``.
"""

from __future__ import annotations

from .evaluation_io import Evaluation, Partial, Progress, make_atoms, stress_tensor
from .job_io import DriverFailure, run_driver, write_arrays

SCAN = 'scan.npz'


def main() -> None:
    """Evaluate all structures; what is finished is saved now and then."""
    job = Evaluation()
    import numpy as np

    from ..science.frames import unpack

    structures = list(unpack(job.structures))
    progress, partial = Progress('scan', len(structures)), Partial()
    for index in range(len(partial), len(structures)):
        atoms = make_atoms(*structures[index])
        job.calculator.calculate(atoms)
        results = job.calculator.results
        partial.add(
            energy=float(results['energy']),
            forces=np.array(results['forces'], dtype=float),
            stress=np.array(stress_tensor(results), dtype=float),
        )
        progress(index + 1)
    energies, forces, stress = ([unit[key] for unit in partial.units] for key in ('energy', 'forces', 'stress'))
    write_arrays(SCAN, energies=np.array(energies), forces=np.concatenate(forces), stress=np.array(stress))
    partial.remove()
    job.write_summary({'n_frames': len(structures)})
    if not all(np.isfinite(part).all() for part in (energies, *forces)):
        raise DriverFailure('forces_not_finite', 'energies or forces of the scan are not finite')


if __name__ == '__main__':
    run_driver(main)
