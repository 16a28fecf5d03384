"""Forces of a potential on the labelled frames of one supercell, and on the supercell itself.

Reads ``job.json``, ``structures.npz`` (the supercell) and ``frames.npz``; writes ``frame_forces.npz`` and
``frame_forces.json``. It is the first half of :mod:`.correct`, and runs on its own where the Python of the potential
has no phonopy.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from .evaluation_io import PACKAGES, Evaluation, Progress, make_atoms
from .forces import evaluate
from .job_io import DriverFailure, run_driver, versions, write_arrays, write_json

FRAMES, FORCES, FACTS = 'frames.npz', 'frame_forces.npz', 'frame_forces.json'


def evaluate_frames(job: Evaluation) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evaluate the frames that are on the supercell.

    :returns: ``frames`` (F,), their indices; ``forces`` (F, N, 3) in the order of the atoms of each; ``pristine``
        (N, 3) of the supercell; and the facts: how many frames were left out by reason, versions, seconds.
    :raises DriverFailure: if there is no such frame, or forces are not finite.
    """
    import numpy as np

    from ..science.frames import Frames
    from ..science.supercell_frames import why_not

    numbers, positions, cell = (job.structures[name] for name in ('numbers', 'positions', 'cells'))
    settings = job.settings
    frames = list(Frames.load(FRAMES))
    reasons = [
        why_not(frame, numbers, cell[0], roles=settings['roles'], strain_tolerance=settings['strain_tolerance'])
        for frame in frames
    ]
    left_out = dict(Counter(reason for reason in reasons if reason))
    chosen = [index for index, reason in enumerate(reasons) if not reason]
    if not chosen:
        told = ', '.join(f'{count} × {reason}' for reason, count in left_out.items())
        raise DriverFailure('no_frames', f'of {len(frames)} frames none is on the supercell of the phonons ({told})')
    structures = [make_atoms(numbers, positions[0], cell[0])]
    structures += [make_atoms(frames[index].numbers, frames[index].positions, frames[index].cell) for index in chosen]
    progress, parts = Progress('forces on frames', len(structures)), []
    for _, forces, _ in evaluate(job.calculator, structures, settings['batch_size']):
        parts.append(forces)
        progress(sum(len(part) for part in parts))
    every = np.concatenate(parts)
    if not np.isfinite(every).all():
        raise DriverFailure('forces_not_finite', 'the forces on labelled frames, or on the supercell, are not finite')
    facts = {
        'n_frames_given': len(frames),
        'left_out': left_out,
        'seconds_forces': round(time.time() - job.start, 3),
        'versions': versions(*PACKAGES),
    }
    return {'frames': np.array(chosen), 'forces': every[1:], 'pristine': every[0]}, facts


def main() -> None:
    """Evaluate all frames, for the second half of the job."""
    arrays, facts = evaluate_frames(Evaluation())
    write_arrays(FORCES, **arrays)
    write_json(FACTS, facts)


if __name__ == '__main__':
    run_driver(main)
