"""Correct the force constants of a potential by labelled frames, and say how far they are to be trusted.

Reads ``job.json``, ``phonons.npz``, ``structures.npz`` (its supercell) and ``frames.npz``; where a Python of its own
ran the potential, ``frame_forces.npz`` and ``frame_forces.json`` of :mod:`.frame_forces`. Writes ``forces.npz``,
``change.npz``, ``posterior.npz``, ``error_bars.npz``, ``correction.json``, ``progress.json`` and
``summary.json``.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from . import frame_forces
from .evaluation_io import Evaluation
from .job_io import (
    FAILURE_FILE,
    SUMMARY_FILE,
    DriverFailure,
    limit_threads,
    read_arrays,
    read_job,
    run_driver,
    versions,
    write_arrays,
    write_json,
    write_progress,
)
from .phonon_files import read_phonons

FORCES, CHANGE, POSTERIOR = 'forces.npz', 'change.npz', 'posterior.npz'
ERROR_BARS, CORRECTION = 'error_bars.npz', 'correction.json'
PACKAGES = ('numpy', 'scipy', 'phonopy', 'symfc', 'spglib', 'seekpath')
STEPS = 4
#: Below this length (Å) a displacement is rounding.
NO_DISPLACEMENT = 1e-8
#: Thermal properties and their units.
THERMAL = {'heat_capacity': 'j_per_k_mol', 'entropy': 'j_per_k_mol', 'free_energy': 'kj_per_mol'}


def read_potential_forces(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what :func:`.frame_forces.evaluate_frames` does, from the first half of the job if it ran on its own."""
    if not settings['separate']:
        return frame_forces.evaluate_frames(Evaluation())
    return read_arrays(frame_forces.FORCES), json.loads(Path(frame_forces.FACTS).read_text(encoding='utf-8'))


def map_frames(phonon: Any, evaluated: dict[str, Any], settings: dict[str, Any]) -> tuple[dict[str, Any], Counter[str]]:
    """Bring the frames onto the atoms of the supercell.

    :returns: ``frames`` (F,) that are used, ``displacements``, ``forces`` of DFT and ``potential_forces``, each
        (F, N, 3); and how many frames are not used, by reason.
    """
    import numpy as np

    from ..science.force_constants import map_frame_to_supercell
    from ..science.frames import Frames

    frames = list(Frames.load(frame_forces.FRAMES))
    left_out: Counter[str] = Counter()
    found: dict[str, list[Any]] = {'frames': [], 'displacements': [], 'forces': [], 'potential_forces': []}
    for index, forces in zip(evaluated['frames'], evaluated['forces'], strict=True):
        try:
            mapped = map_frame_to_supercell(phonon.unitcell, frames[index], phonon.supercell)
        except ValueError:
            left_out['its atoms are not those of the supercell, displaced'] += 1
            continue
        length = float(np.linalg.norm(mapped.displacements, axis=1).max())
        if length < NO_DISPLACEMENT:
            left_out['no atom is displaced'] += 1
        elif length > settings['max_displacement_angstrom']:
            left_out['an atom is displaced by more than `max_displacement_angstrom`'] += 1
        else:
            found['frames'].append(int(index))
            found['displacements'].append(mapped.displacements)
            found['forces'].append(mapped.forces)
            found['potential_forces'].append(forces[mapped.order] - evaluated['pristine'])
    if not found['frames']:
        told = ', '.join(f'{count} × {reason}' for reason, count in left_out.items())
        raise DriverFailure('no_frames', f'no frame on the supercell of the phonons can be used ({told})')
    return {name: np.array(values) for name, values in found.items()}, left_out


def corrected_forces(phonon: Any) -> Any:
    """Return -Φu (D, N, 3) for the displacements that the phonons were made of: phonopy gets Φ from them again."""
    from ..science.correction import displacements_of, harmonic_forces

    return harmonic_forces(phonon, displacements_of(len(phonon.supercell), phonon.dataset))


def compute_error_bars(
    phonon: Any, before: Any, posterior: Any, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of error bars along the path, on the mesh and over temperature; and the numbers among them.

    :param before: phonons of the potential alone.
    """
    import numpy as np

    from ..science import error_bars, phonon_metrics

    path = phonon_metrics.band_path(phonon.primitive, settings['band_points'], float(phonon.symmetry.tolerance))
    phonon.run_mesh(list(settings['mesh']), is_mesh_symmetry=phonon_metrics.masses_keep_symmetry(phonon))
    qpoints, weights = np.array(phonon.mesh.qpoints), np.array(phonon.mesh.weights)
    low, high, step = (settings[f'temperature_{name}_k'] for name in ('min', 'max', 'step'))
    temperatures = np.arange(low, high + step / 2, step)
    write_progress('error bars', 2, STEPS)
    along, along_sigma = error_bars.frequency_errors(phonon, posterior, path.qpoints)
    at = np.append(temperatures, settings['temperature_k'])
    mesh, mesh_sigma, thermal = error_bars.mesh_errors(phonon, posterior, qpoints, weights, at.tolist())
    write_progress('properties', 3, STEPS)
    values = phonon_metrics.thermal_curves(phonon, at, settings['mesh'])
    arrays = {
        'path_qpoints': path.qpoints,
        'path_distances': path.distances,
        'path_segment_starts': np.array(path.starts),
        'path_labels': np.array(path.labels, dtype='U8'),
        'path_frequencies_thz': along,
        'path_sigmas_thz': along_sigma,
        'path_potential_thz': phonon_metrics.frequencies_at(before, path.qpoints),
        'mesh_qpoints': qpoints,
        'mesh_weights': weights,
        'mesh_frequencies_thz': mesh,
        'mesh_sigmas_thz': mesh_sigma,
        'mesh_potential_thz': phonon_metrics.frequencies_at(before, qpoints),
        'temperatures_k': temperatures,
    }
    numbers: dict[str, Any] = {
        'uncertainty_thz': float(np.average(mesh_sigma.mean(axis=1), weights=weights)),
        'largest_uncertainty_thz': float(max(mesh_sigma.max(), along_sigma.max())),
        'change_thz': float(np.average(np.abs(mesh - arrays['mesh_potential_thz']).mean(axis=1), weights=weights)),
        'temperature_k': settings['temperature_k'],
    }
    for name, unit in THERMAL.items():
        arrays[f'{name}_{unit}'], arrays[f'{name}_{unit}_sigma'] = values[name][:-1], thermal[name][:-1]
        numbers[f'{name}_{unit}'], numbers[f'{name}_{unit}_sigma'] = float(values[name][-1]), float(thermal[name][-1])
    every = np.concatenate([path.qpoints, qpoints])
    tolerance = settings['stability_tolerance_thz']
    verdict, lowest, sigma = error_bars.verdict_of(
        every, np.concatenate([along, mesh]), np.concatenate([along_sigma, mesh_sigma]), tolerance
    )
    numbers |= {
        'verdict': verdict,
        'lowest_frequency_thz': lowest,
        'lowest_frequency_sigma_thz': sigma,
        'stability_tolerance_thz': tolerance,
    }
    own = np.concatenate([arrays['path_potential_thz'], arrays['mesh_potential_thz']])
    alone = phonon_metrics.stability(every, own, tolerance)
    numbers['potential'] = {key: alone[key] for key in ('lowest_frequency_thz', 'dynamically_stable')}
    return arrays, numbers


def main() -> None:
    """Evaluate the potential on the frames, fit, and propagate the error."""
    if Path(FAILURE_FILE).exists():
        sys.exit('the first half of the job has failed')
    start, job = time.time(), read_job()
    settings = {**job['settings'], 'separate': job['separate']}
    limit_threads(settings['threads'])
    evaluated, facts = read_potential_forces(settings)
    import numpy as np

    from ..science import correction as science

    write_progress('fit', 1, STEPS)
    before = read_phonons()
    used, more_left_out = map_frames(before, evaluated, settings)
    try:
        basis = science.make_basis(before)
    except ValueError as error:
        raise DriverFailure('too_many_constants', str(error)) from error
    try:
        found = science.correct_force_constants(
            before, used['displacements'], used['forces'], used['potential_forces'], basis=basis
        )
    except ValueError as error:
        raise DriverFailure('no_frames', str(error)) from error
    potential = science.compact_force_constants(before)
    change = found.force_constants - potential
    phonon = read_phonons()
    phonon.force_constants = found.force_constants
    write_arrays(FORCES, forces=corrected_forces(phonon))
    write_arrays(
        CHANGE,
        change=change,
        force_constants=found.force_constants,
        primitive_atoms=basis.primitive_atoms,
        numbers=np.array(phonon.supercell.numbers),
        scaled_positions=np.array(phonon.supercell.scaled_positions),
    )
    posterior = found.posterior
    write_arrays(POSTERIOR, **posterior.to_arrays())
    arrays, numbers = compute_error_bars(phonon, before, posterior, settings)
    write_arrays(ERROR_BARS, **arrays)
    # What has left out none does not appear in a sum of counters.
    copies = Counter({'a copy of another frame': len(used['frames']) - found.n_frames})
    left_out = Counter(facts.pop('left_out')) + more_left_out + copies
    write_json(
        CORRECTION,
        {
            'n_frames': found.n_frames,
            'n_frames_given': facts.pop('n_frames_given'),
            'frames': used['frames'][found.frames].tolist(),
            'left_out': dict(left_out),
            'n_equations': found.n_equations,
            'n_constants': found.n_constants,
            'effective_constants': found.effective_constants,
            'determined': found.determined,
            'n_frames_that_determine': science.count_frames_needed(before),
            'n_finite_displacements': science.count_finite_displacements(before),
            'is_corrected': found.is_corrected,
            'prior': found.prior,
            'prior_width_ev_per_angstrom2': found.prior_width,
            'is_anharmonic': found.is_anharmonic,
            'noise_ev_per_angstrom': found.noise,
            'potential_error_ev_per_angstrom': found.potential_error,
            'left_out_error_ev_per_angstrom': found.left_out_error,
            'surprise': found.surprise,
            'largest_change_ev_per_angstrom2': float(np.abs(change).max()),
            **numbers,
        },
    )
    write_progress('done', STEPS, STEPS)
    summary = {
        'seconds': round(time.time() - start, 3),
        'settings': job['settings'],
        **facts,
        'versions': {**facts['versions'], **versions(*PACKAGES)},
    }
    write_json(SUMMARY_FILE, summary)


if __name__ == '__main__':
    run_driver(main)
