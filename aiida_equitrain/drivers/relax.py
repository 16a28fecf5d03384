"""Relax structures with a potential, one after another in one process, and keep every step.

Reads ``input.json`` and ``structures.npz``; writes ``trajectory.npz``, ``progress.json`` and ``summary.json``.
"""

from __future__ import annotations

import time
from typing import Any

from evaluation_io import (  # type: ignore[import-not-found]
    SUMMARY,
    Progress,
    load_potential,
    read_input,
    run,
    versions,
    write_arrays,
    write_json,
)
from job_io import DriverFailure  # type: ignore[import-not-found]

STRUCTURES, TRAJECTORY = 'structures.npz', 'trajectory.npz'
#: A cell whose volume changes by more than this factor has left the region that the potential knows.
MAX_VOLUME_RATIO = 3.0
#: Seconds between two saves of an unfinished trajectory.
SAVE_INTERVAL = 60.0


class Recorder:
    """Collect every step of every trajectory, and save them now and then."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.saved = time.time()

    def add(self, atoms: Any, index: int, step: int) -> None:
        """Append the present step; energy, forces and stress are the calculator's, free of constraints."""
        import numpy as np

        xx, yy, zz, yz, xz, xy = np.array(atoms.calc.results['stress'], dtype=float)
        self.steps.append(
            {
                'positions': atoms.positions.copy(),
                'cells': np.array(atoms.cell[:]),
                'energies': float(atoms.calc.results['energy']),
                'forces': np.array(atoms.calc.results['forces'], dtype=float),
                'stress': np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]),
                'trajectory_index': index,
                'trajectory_step': step,
            }
        )
        if time.time() - self.saved > SAVE_INTERVAL:
            self.save()

    def save(self) -> None:
        """Write ``trajectory.npz``."""
        import numpy as np

        if self.steps:
            write_arrays(TRAJECTORY, **{key: np.array([step[key] for step in self.steps]) for key in self.steps[0]})
        self.saved = time.time()


def optimizer_of(atoms: Any, settings: dict[str, Any]) -> Any:
    """Return the ASE optimizer, over the cell as well if asked."""
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE, LBFGS

    if settings['fix_symmetry']:
        atoms.set_constraint(FixSymmetry(atoms, symprec=settings['symprec']))  # type: ignore[no-untyped-call]
    target: Any = atoms
    if settings['relax_cell']:
        target = FrechetCellFilter(atoms)  # type: ignore[no-untyped-call]
    return {'BFGS': BFGS, 'LBFGS': LBFGS, 'FIRE': FIRE}[settings['optimizer']](target, logfile=None)


def relax(atoms: Any, index: int, settings: dict[str, Any], recorder: Recorder) -> dict[str, Any]:
    """Relax one structure in place.

    :returns: what ``summary.json`` says of it.
    :raises DriverFailure: if energy or forces are not finite, or the cell explodes or collapses.
    """
    import numpy as np

    start, volume = time.time(), atoms.get_volume()
    first = len(recorder.steps)
    optimizer = optimizer_of(atoms, settings)
    converged = False
    for step, state in enumerate(optimizer.irun(fmax=settings['fmax_ev_per_angstrom'], steps=settings['max_steps'])):
        converged = bool(state)
        recorder.add(atoms, index, step)
        last = recorder.steps[-1]
        if not (np.isfinite(last['energies']) and np.isfinite(last['forces']).all()):
            raise DriverFailure('forces_not_finite', f'step {step} of structure {index} has forces that are not finite')
        ratio = atoms.get_volume() / volume
        if not 1 / MAX_VOLUME_RATIO < ratio < MAX_VOLUME_RATIO:
            raise DriverFailure(
                'cell_diverged', f'at step {step} of structure {index} the volume is {ratio:.3g} times the initial one'
            )
    steps = recorder.steps[first:]
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
    start = time.time()
    data = read_input()
    settings = data['settings']

    import numpy as np
    from ase import Atoms

    with np.load(STRUCTURES, allow_pickle=False) as file:
        numbers, positions, cells = file['numbers'], file['positions'], file['cells']
    calculator = load_potential(data['potential'], settings)
    loaded = time.time() - start
    recorder, progress = Recorder(), Progress('relax', len(positions))
    results: list[dict[str, Any]] = []
    progress(0)
    try:
        for index in range(len(positions)):
            atoms = Atoms(
                numbers=numbers, positions=positions[index], cell=cells[index], pbc=True, calculator=calculator
            )
            results.append(relax(atoms, index, settings, recorder))
            progress(index + 1)
    finally:
        recorder.save()
        write_json(
            SUMMARY,
            {
                'converged': len(results) == len(positions) and all(result['converged'] for result in results),
                'n_trajectories': len(positions),
                'n_steps_total': len(recorder.steps),
                'trajectories': results,
                'settings': settings,
                'seconds': round(time.time() - start, 3),
                'seconds_loading': round(loaded, 3),
                'versions': versions(),
            },
        )
    failed = [str(index) for index, result in enumerate(results) if not result['converged']]
    if failed:
        raise DriverFailure(
            'not_converged',
            f'structure(s) {", ".join(failed)} did not reach {settings["fmax_ev_per_angstrom"]} eV/Å '
            f'within {settings["max_steps"]} steps',
        )


if __name__ == '__main__':
    run(main)
