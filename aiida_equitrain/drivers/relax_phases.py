"""Relax structures of different sizes, each with its cell fixed and from there with its cell free, in one process.

Reads ``job.json`` and ``structures.npz``; writes ``relaxed.npz``, ``progress.json`` and ``summary.json``.
"""

from __future__ import annotations

import json
from typing import Any

from .evaluation_io import Evaluation, Partial, Progress, make_atoms
from .job_io import DriverFailure, run_driver, write_arrays
from .relax import Recorder, relax

RELAXED = 'relaxed.npz'
CELLS = ('fixed', 'free')
ARRAYS = ('positions', 'cell')


def relax_one(atoms: Any, index: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome of both relaxations; a failure of one structure does not end the others."""
    outcome: dict[str, Any] = {}
    for cell in CELLS:
        recorder = Recorder()
        try:
            facts = relax(atoms, index, {**settings, 'relax_cell': cell == 'free'}, recorder)
            facts['problem'] = '' if facts['converged'] else f'not converged within {settings["max_steps"]} steps'
        except DriverFailure as failure:
            facts = {'converged': False, 'problem': failure.message, 'energy_end_ev': float('nan')}
        atoms.set_constraint()
        outcome[cell] = {**facts, 'positions': atoms.positions.copy(), 'cell': atoms.cell[:].copy()}
    return outcome


def flatten(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return an outcome as arrays; what is said of it as text."""
    flat: dict[str, Any] = {}
    for cell, part in outcome.items():
        said = {key: value for key, value in part.items() if key not in ARRAYS}
        flat |= {f'{cell}_{key}': part[key] for key in ARRAYS} | {f'{cell}_said': json.dumps(said)}
    return flat


def unflatten(unit: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome that :func:`flatten` was given."""
    return {
        cell: {**json.loads(str(unit[f'{cell}_said'])), **{key: unit[f'{cell}_{key}'] for key in ARRAYS}}
        for cell in CELLS
    }


def main() -> None:
    """Relax all structures."""
    job = Evaluation()
    import numpy as np

    from ..science.frames import pack, unpack

    structures = list(unpack(job.structures))
    progress, partial = Progress('relax', len(structures)), Partial()
    for index in range(len(partial), len(structures)):
        atoms = make_atoms(*structures[index])
        atoms.calc = job.calculator
        partial.add(**flatten(relax_one(atoms, index, job.settings)))
        progress(index + 1)
    outcomes = [unflatten(unit) for unit in partial.units]
    arrays: dict[str, Any] = {}
    for cell in CELLS:
        parts = [outcome[cell] for outcome in outcomes]
        found = [(item[0], part['positions'], part['cell']) for item, part in zip(structures, parts, strict=True)]
        arrays |= pack(found, f'{cell}_')
        arrays[f'{cell}_energies'] = np.array([part['energy_end_ev'] for part in parts], dtype=float)
        arrays[f'{cell}_converged'] = np.array([part['converged'] for part in parts], dtype=bool)
    write_arrays(RELAXED, **arrays)
    partial.remove()
    kept = [
        {cell: {key: value for key, value in outcome[cell].items() if key not in ARRAYS} for cell in CELLS}
        for outcome in outcomes
    ]
    job.write_summary({'n_structures': len(structures), 'structures': kept})
    if outcomes and not any(outcome[cell]['converged'] for outcome in outcomes for cell in CELLS):
        raise DriverFailure('not_converged', f'none of the {len(outcomes)} displaced structures relaxed')


if __name__ == '__main__':
    run_driver(main)
