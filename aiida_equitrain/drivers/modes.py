"""Find imaginary modes of crystals, and displace supercells along them.

Reads ``job.json`` and ``parent_<name>.npz``; writes ``modes.json``, ``frames.npz``, ``progress.json`` and
``summary.json``.
"""

from __future__ import annotations

import time
from typing import Any

from .job_io import (
    SUMMARY_FILE,
    read_job,
    run_driver,
    versions,
    write_arrays,
    write_json,
    write_progress,
)
from .phonon_files import read_phonons

MODES, FRAMES = 'modes.json', 'frames.npz'
PACKAGES = ('numpy', 'phonopy', 'spglib', 'seekpath', 'ase')


def describe(mode: Any, **more: Any) -> dict[str, Any]:
    """Return what ``modes.json`` says of a mode."""
    from ..science.soft_modes import fraction_text

    return {
        'qpoint': [float(value) for value in mode.qpoint],
        'qpoint_text': fraction_text(mode.qpoint),
        'qpoint_name': mode.name,
        'frequency_thz': mode.frequency_thz,
        'degeneracy': len(mode.bands),
        'bands': mode.bands,
        'irrep': mode.irrep,
        **more,
    }


def entries_of(phonon: Any, mode: Any, settings: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return the directions of a mode, and for each the supercells displaced along it, undisplaced ones first."""
    import numpy as np

    from ..science.mode_displacements import mode_space, symmetric_directions

    space = mode_space(phonon, mode)
    entries, frames = [], []
    for direction in symmetric_directions(space, settings['symprec'], settings['max_directions']):
        one_side = sorted(settings['amplitudes_angstrom'])
        amplitudes = [*(-value for value in reversed(one_side)), 0.0, *one_side]
        if not direction.two_sided:
            amplitudes = [0.0, *one_side]
        inertia = float(np.sum(space.masses[:, None] * direction.pattern**2))
        entries.append(
            {
                'direction': [float(value) for value in direction.coefficients],
                'two_sided': direction.two_sided,
                'supercell_matrix': space.matrix.tolist(),
                'n_cells': round(abs(float(np.linalg.det(space.matrix)))),
                'n_atoms': len(space.numbers),
                'amplitudes_angstrom': amplitudes,
                'inertia_amu': inertia,
            }
        )
        frames.append([(space.numbers, space.positions + a * direction.pattern, space.cell) for a in amplitudes])
    return entries, frames


def examine(name: str, settings: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]], list[Any]]:
    """Return the verdict on one parent, the directions that are followed, and their displaced supercells."""
    from ..science.soft_modes import common_denominator, find_soft_modes

    phonon = read_phonons(f'parent_{name}.npz', name)
    modes = find_soft_modes(phonon, settings['stability_tolerance_thz'], settings['symprec'], settings['qpoints'])
    told, entries, frames = [], [], []
    followed = 0
    for mode in modes:
        number = common_denominator(mode.qpoint)
        n_atoms = None if number is None else number * len(phonon.primitive)
        reason = ''
        if n_atoms is None:
            reason = 'not commensurate with a small supercell'
        elif n_atoms > settings['max_atoms_scan']:
            reason = f'its supercell has {n_atoms} atoms, more than `max_atoms_scan`'
        elif followed >= settings['max_modes']:
            reason = f'{settings["max_modes"]} stronger modes are followed (`max_modes`)'
        told.append(describe(mode, followed=not reason, why_not=reason))
        if reason:
            continue
        followed += 1
        for entry, group in zip(*entries_of(phonon, mode, settings), strict=True):
            entries.append({'parent': name, 'mode': len(told) - 1, **describe(mode), **entry})
            frames.append(group)
    verdict = {'unstable': bool(modes), 'modes': told, 'n_atoms_primitive': len(phonon.primitive)}
    return verdict, entries, frames


def main() -> None:
    """Examine all parents."""
    import numpy as np

    start, settings = time.time(), read_job()
    from ..science.frames import pack

    parents: dict[str, Any] = {}
    entries: list[dict[str, Any]] = []
    frames: list[Any] = []
    for index, name in enumerate(settings['parents']):
        write_progress('modes', index, len(settings['parents']), parent=name)
        parents[name], more, groups = examine(name, settings)
        entries += more
        frames += groups
    owners = np.array([index for index, group in enumerate(frames) for _ in group], dtype=np.int64)
    write_arrays(FRAMES, entry=owners, **pack([frame for group in frames for frame in group]))
    write_json(MODES, {'parents': parents, 'entries': entries})
    facts = {'seconds': round(time.time() - start, 3), 'versions': versions(*PACKAGES), 'settings': settings}
    write_json(SUMMARY_FILE, {**facts, 'n_frames': len(owners), 'n_directions': len(entries)})


if __name__ == '__main__':
    run_driver(main)
