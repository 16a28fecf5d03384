"""Forces of a potential on all supercells that force constants of second and third order need, in one process.

Reads ``job.json`` and ``structures.npz``; writes ``phono3py_params.yaml.xz``, ``progress.json`` and ``summary.json``.
"""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

from .evaluation_io import Evaluation, Partial, Progress, make_atoms
from .job_io import DriverFailure, run_driver

PARAMS = 'phono3py_params.yaml'


def make_solver(job: Any) -> Any:
    """Return phono3py's object with all displacements."""
    import numpy as np
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

    arrays, settings = job.structures, job.settings
    cell = PhonopyAtoms(
        cell=arrays['cells'][0],
        positions=arrays['positions'][0],
        numbers=arrays['numbers'].tolist(),
        masses=arrays.get('masses'),
    )
    # Rows of the supercell in ours, columns in phono3py's matrices.
    solver = Phono3py(
        cell,
        supercell_matrix=np.transpose(settings['supercell_matrix']),
        phonon_supercell_matrix=np.transpose(settings['phonon_supercell_matrix']),
        primitive_matrix='auto',
        symprec=settings['symprec'],
    )
    solver.generate_displacements(
        distance=settings['distance_angstrom'], cutoff_pair_distance=settings['cutoff_pair_angstrom'] or None
    )
    solver.generate_fc2_displacements(distance=settings['distance_angstrom'])
    return solver


def save(solver: Any) -> None:
    """Write crystal, displacements and forces, compressed."""
    plain = Path(PARAMS)
    solver.save(plain, settings={'force_sets': True, 'displacements': True})
    with lzma.open(f'{PARAMS}.xz', 'wb') as handle:
        handle.write(plain.read_bytes())
    plain.unlink()


def main() -> None:
    """Displace, evaluate, save."""
    job = Evaluation()
    import numpy as np

    solver = make_solver(job)
    groups = [solver.supercells_with_displacements, solver.phonon_supercells_with_displacements]
    total = sum(cell is not None for cells in groups for cell in cells)
    progress, partial = Progress('forces', total), Partial()
    wanted = [cell for cells in groups for cell in cells if cell is not None]
    for cell in wanted[len(partial) :]:
        atoms = make_atoms(cell.numbers, cell.positions, cell.cell)
        job.calculator.calculate(atoms)
        partial.add(forces=np.array(job.calculator.results['forces'], dtype=float))
        progress(len(partial))
    found = iter(unit['forces'] for unit in partial.units)
    none = np.zeros((len(solver.supercell), 3))  # beyond the cut-off
    forces = [np.array([none if cell is None else next(found) for cell in cells]) for cells in groups]
    solver.forces, solver.phonon_forces = forces
    save(solver)
    partial.remove()
    job.write_summary(
        {
            'n_supercells_third_order': sum(cell is not None for cell in groups[0]),
            'n_supercells_second_order': len(groups[1]),
            'n_atoms_third_order': len(solver.supercell),
            'n_atoms_second_order': len(solver.phonon_supercell),
        }
    )
    if not all(np.isfinite(part).all() for part in forces):
        raise DriverFailure('forces_not_finite', 'forces on displaced supercells are not finite')


if __name__ == '__main__':
    run_driver(main)
