"""Relax structures with a potential, one after another in one process, and keep every step.

Reads ``job.json`` and ``structures.npz``; writes ``trajectory.npz``, ``progress.json`` and ``summary.json``.
"""

from __future__ import annotations

import time
from typing import Any

from .evaluation_io import Evaluation, Partial, Progress, make_atoms, stress_tensor
from .job_io import DriverFailure, run_driver, write_arrays

TRAJECTORY = 'trajectory.npz'
#: A cell whose volume changes by more than this factor has left the region that the potential knows.
MAX_VOLUME_RATIO = 3.0


class Recorder:
    """Collect every step of every trajectory, and save them now and then."""

    def __init__(self, partial: Partial | None = None) -> None:
        """Begin with the steps of an interrupted job, if there are any."""
        self.partial = partial
        self.steps: list[dict[str, Any]] = [] if partial is None else [plain(unit) for unit in partial.units]

    def add(self, atoms: Any, index: int, step: int) -> None:
        """Append the present step; energy, forces and stress are the calculator's, free of constraints."""
        import numpy as np

        self.steps.append(
            {
                'positions': atoms.positions.copy(),
                'cells': np.array(atoms.cell[:]),
                'energies': float(atoms.calc.results['energy']),
                'forces': np.array(atoms.calc.results['forces'], dtype=float),
                'stress': np.array(stress_tensor(atoms.calc.results), dtype=float),
                'trajectory_index': index,
                'trajectory_step': step,
            }
        )
        if self.partial is not None:
            self.partial.add(**self.steps[-1])

    def save(self) -> None:
        """Write ``trajectory.npz``."""
        import numpy as np

        if self.steps:
            write_arrays(TRAJECTORY, **{key: np.array([step[key] for step in self.steps]) for key in self.steps[0]})

    def of(self, index: int) -> list[dict[str, Any]]:
        """Return the steps of a trajectory."""
        return [step for step in self.steps if step['trajectory_index'] == index]


def plain(step: dict[str, Any]) -> dict[str, Any]:
    """Return a step that was read from a file with plain numbers."""
    return {key: value.item() if value.ndim == 0 else value for key, value in step.items()}


def optimizer_of(atoms: Any, settings: dict[str, Any]) -> Any:
    """Return the ASE optimizer, over the cell as well if asked."""
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE, LBFGS
    from ase.spacegroup.symmetrize import refine_symmetry

    if settings['fix_symmetry']:
        # What is within the tolerance becomes exact: later stages and other programs then see the same space group.
        refine_symmetry(atoms, settings['symprec'])
        atoms.set_constraint(FixSymmetry(atoms, symprec=settings['symprec']))
    target: Any = atoms
    if settings['relax_cell']:
        target = FrechetCellFilter(atoms, constant_volume=settings['constant_volume'])
    return {'BFGS': BFGS, 'LBFGS': LBFGS, 'FIRE': FIRE}[settings['optimizer']](target, logfile=None)


def relax(atoms: Any, index: int, settings: dict[str, Any], recorder: Recorder) -> dict[str, Any]:
    """Relax one structure in place.

    :returns: what ``summary.json`` says of it.
    :raises DriverFailure: if energy or forces are not finite, or the cell explodes or collapses.
    """
    import numpy as np

    start, volume = time.time(), atoms.get_volume()
    before = recorder.of(index)
    if before:
        atoms.set_cell(before[-1]['cells'])
        atoms.positions = before[-1]['positions']
    optimizer = optimizer_of(atoms, settings)
    converged, first = False, max(len(before) - 1, 0)
    limit = max(settings['max_steps'] - first, 0)
    for step, state in enumerate(optimizer.irun(fmax=settings['fmax_ev_per_angstrom'], steps=limit), start=first):
        converged = bool(state)
        if before and step == first:
            continue  # the last one of the interrupted job
        recorder.add(atoms, index, step)
        last = recorder.steps[-1]
        if not (np.isfinite(last['energies']) and np.isfinite(last['forces']).all()):
            raise DriverFailure('forces_not_finite', f'step {step} of structure {index} has forces that are not finite')
        ratio = atoms.get_volume() / volume
        if not 1 / MAX_VOLUME_RATIO < ratio < MAX_VOLUME_RATIO:
            raise DriverFailure(
                'cell_diverged', f'at step {step} of structure {index} the volume is {ratio:.3g} times the initial one'
            )
    steps = recorder.of(index)
    return {
        'converged': converged,
        'n_steps': len(steps) - 1,
        'energy_start_ev': steps[0]['energies'],
        'energy_end_ev': steps[-1]['energies'],
        'force_max_ev_per_angstrom': float(np.linalg.norm(steps[-1]['forces'], axis=1).max()),
        'stress_max_ev_per_cubic_angstrom': float(np.abs(steps[-1]['stress']).max()),
        'seconds': round(time.time() - start, 3),
    }


def main() -> None:
    """Relax all structures."""
    job = Evaluation()
    numbers, positions, cells = (job.structures[name] for name in ('numbers', 'positions', 'cells'))
    factors = job.settings.get('volume_factors', [])
    n_trajectories = len(positions) + len(factors)
    partial = Partial()
    recorder, progress = Recorder(partial), Progress('relax', n_trajectories)
    results: list[dict[str, Any]] = []
    try:
        for index in range(len(positions)):
            atoms = make_atoms(numbers, positions[index], cells[index])
            atoms.calc = job.calculator
            results.append(relax(atoms, index, job.settings, recorder))
            progress(index + 1)
        relaxed, at_volume = atoms, {**job.settings, 'relax_cell': True, 'constant_volume': True}
        for index, factor in enumerate(factors, start=len(positions)):
            atoms = make_atoms(numbers, relaxed.positions, relaxed.cell[:])
            atoms.set_cell(relaxed.cell[:] * factor ** (1 / 3), scale_atoms=True)
            atoms.calc = job.calculator
            results.append(relax(atoms, index, at_volume, recorder))
            progress(index + 1)
        partial.remove()
    finally:
        recorder.save()
        job.write_summary(
            {
                'converged': len(results) == n_trajectories and all(result['converged'] for result in results),
                'n_trajectories': n_trajectories,
                'n_steps_total': len(recorder.steps),
                'trajectories': results,
            }
        )
    failed = [str(index) for index, result in enumerate(results) if not result['converged']]
    if failed:
        raise DriverFailure(
            'not_converged',
            f'structure(s) {", ".join(failed)} did not reach {job.settings["fmax_ev_per_angstrom"]} eV/Å '
            f'within {job.settings["max_steps"]} steps',
        )


if __name__ == '__main__':
    run_driver(main)
