"""Compare phonons: errors on a mesh, frequencies along one path, thermal properties, and the fit without a potential.

Reads ``job.json``, ``reference.npz`` (optional), ``candidate_<name>.npz``, ``at_reference_<name>.npz`` (candidates at
the cell of the reference, optional) and ``frames.npz`` (optional); writes
``comparison.json``, ``bands.npz``, ``thermal.npz``, ``progress.json`` and ``summary.json``; for each candidate of
``harmonic`` in ``job.json`` what the driver ``harmonic`` writes, as ``harmonic_<name>_...``.
"""

from __future__ import annotations

import time
from typing import Any

from .harmonic import write_properties
from .job_io import (
    SUMMARY_FILE,
    DriverFailure,
    read_job,
    run_driver,
    versions,
    write_arrays,
    write_json,
    write_progress,
)
from .phonon_files import read_phonons

COMPARISON, BANDS, THERMAL = 'comparison.json', 'bands.npz', 'thermal.npz'
PACKAGES = ('numpy', 'phonopy', 'symfc', 'spglib', 'seekpath')
REFERENCE, SYMFC = 'reference', 'symfc'


def read_sides(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the phonons of every side with force constants, the reference first."""
    names = ([REFERENCE] if settings['has_reference'] else []) + settings['candidates']
    sides = {}
    for index, name in enumerate(names):
        write_progress('force constants', index, len(names), side=name)
        file = f'{name}.npz' if name == REFERENCE else f'candidate_{name}.npz'
        sides[name] = read_phonons(file, name, settings['acoustic_sum_rule'])
    return sides


def fit_baseline(settings: dict[str, Any], first: Any) -> tuple[dict[str, Any], Any]:
    """Fit force constants to the labelled frames; return facts about the fit, and the phonons if there are any.

    Where the reference was made of these very frames, the fit is the reference: its error would be 0 and say nothing.
    """
    from ..science.force_constants import METHODS, fit_force_constants, frames_shared
    from ..science.frames import Frames

    frames = [frame for frame in Frames.load('frames.npz') if frame.role in settings['symfc_roles']]
    write_progress('symfc', 0, 1, n_frames=len(frames))
    fit = fit_force_constants(
        first.unitcell, frames, primitive_matrix=first.primitive_matrix, symprec=first.symmetry.tolerance
    )
    shared, total = frames_shared(first, frames) if settings['has_reference'] else (0, 0)
    if fit.phonon is not None and first.nac_params is not None:
        fit.phonon.nac_params = first.nac_params
    facts = {
        'phonon_mae_thz': None,
        'phonon_rmse_thz': None,
        'n_frames': fit.n_frames,
        'n_parameters': fit.n_parameters,
        'method': fit.method,
        'how': METHODS.get(fit.method, ''),
        'n_strain_terms': fit.n_strain_terms,
        'n_frames_of_reference': shared,
        'is_reference': 0 < total == shared == fit.n_frames,
        'roles': settings['symfc_roles'],
        'left_out': fit.left_out,
        'reason': fit.reason,
    }
    return facts, fit.phonon


def write_curves(
    settings: dict[str, Any], first: Any, sides: dict[str, Any], evaluated: dict[str, Any]
) -> dict[str, Any]:
    """Write frequencies of all sides along the path of ``first``, densities of states, and thermal properties.

    :returns: ``points``, the frequencies at the points of the path that have a name, and ``worst``, where along the
        path each side is furthest from the reference.
    """
    import numpy as np

    from ..science import lattice_match, phonon_metrics

    path = phonon_metrics.band_path(first.primitive, settings['band_points'], float(first.symmetry.tolerance))
    bands: dict[str, Any] = {
        'qpoints': path.qpoints,
        'distances': path.distances,
        'segment_starts': np.array(path.starts),
        'labels': np.array(path.labels, dtype='U8'),
    }
    low, high, step = settings['temperatures_k']
    temperatures = np.arange(low, high + step / 2, step)
    thermal: dict[str, Any] = {'temperatures': temperatures}
    for index, (name, phonon) in enumerate(sides.items()):
        write_progress('curves', index, len(sides), side=name)
        transform = lattice_match.match_lattices(first.primitive, phonon.primitive)
        bands[f'frequencies_{name}'] = phonon_metrics.frequencies_at(phonon, path.qpoints @ transform.T)
        for key, values in phonon_metrics.thermal_curves(phonon, temperatures, settings['mesh']).items():
            thermal[f'{key}_{name}'] = values
    bands['dos_frequencies'], densities = phonon_metrics.densities_of_states(evaluated)
    bands.update({f'dos_{name}': values for name, values in densities.items()})
    write_arrays(BANDS, **bands)
    write_arrays(THERMAL, **thermal)
    along = {name: bands[f'frequencies_{name}'] for name in sides}
    points = [
        {
            'name': label,
            'qpoint': [round(float(component), 6) for component in qpoint],
            'frequencies_thz': {
                name: values[int(np.argmin(np.abs(path.qpoints - qpoint).sum(axis=1)))].tolist()
                for name, values in along.items()
            },
        }
        for label, qpoint in phonon_metrics.special_points(path).items()
    ]
    reference = along.pop(REFERENCE, None)
    worst = {
        name: phonon_metrics.worst_along(path, values, reference)
        for name, values in along.items()
        if reference is not None
    }
    return {'points': points, 'worst': worst}


def at_reference(settings: dict[str, Any], first: Any, reference: Any, points: list[dict[str, Any]]) -> dict[str, Any]:
    """Return metrics of the candidates at the cell of the reference, with ``points``: the mean error of all branches.

    :param first: the phonons of the reference.
    :param reference: the same, evaluated.
    """
    import numpy as np

    from ..science import lattice_match, phonon_metrics

    found: dict[str, Any] = {}
    for name in settings['at_reference']:
        write_progress('at the cell of the reference', len(found), len(settings['at_reference']), side=name)
        phonon = read_phonons(f'at_reference_{name}.npz', f'at_reference.{name}', settings['acoustic_sum_rule'])
        try:
            errors = phonon_metrics.errors_between(phonon, first, reference)
        except ValueError as error:
            raise DriverFailure('different_crystals', f'`at_reference.{name}` and `{REFERENCE}`: {error}') from error
        side = phonon_metrics.evaluate_side(
            phonon,
            mesh=settings['mesh'],
            temperature=settings['temperature_k'],
            tolerance=settings['stability_tolerance_thz'],
            mesh_symmetry=phonon_metrics.same_point_group(phonon),
        )
        transform = lattice_match.match_lattices(first.primitive, phonon.primitive)
        own = phonon_metrics.frequencies_at(phonon, np.array([point['qpoint'] for point in points]) @ transform.T)
        wanted = np.sort([point['frequencies_thz'][REFERENCE] for point in points], axis=1)
        means = np.abs(own - wanted).mean(axis=1).tolist()
        named = {point['name']: mean for point, mean in zip(points, means, strict=True)}
        found[name] = {**errors, **side.metrics, 'points': named}
    return found


def compare(settings: dict[str, Any]) -> None:
    """Compare all sides.

    :raises DriverFailure: if a side has no force constants or is another crystal.
    """
    from ..science import phonon_metrics

    sides = read_sides(settings)
    first = next(iter(sides.values()))
    comparison: dict[str, Any] = {REFERENCE: None, 'candidates': {}, SYMFC: None}
    if settings['has_dataset']:
        comparison[SYMFC], fitted = fit_baseline(settings, first)
        if fitted is not None:
            sides[SYMFC] = fitted
    symmetric = phonon_metrics.same_point_group(*sides.values())
    reference = None
    evaluated: dict[str, Any] = {}
    for index, (name, phonon) in enumerate(sides.items()):
        write_progress('metrics', index, len(sides), side=name)
        side = phonon_metrics.evaluate_side(
            phonon,
            mesh=settings['mesh'],
            temperature=settings['temperature_k'],
            tolerance=settings['stability_tolerance_thz'],
            mesh_symmetry=symmetric,
        )
        evaluated[name] = side
        if name == REFERENCE:
            reference = side
            comparison[REFERENCE] = side.metrics
            continue
        errors: dict[str, Any] = {}
        if reference is not None and not (name == SYMFC and comparison[SYMFC]['is_reference']):
            try:
                errors = phonon_metrics.errors_between(phonon, first, reference)
            except ValueError as error:
                raise DriverFailure('different_crystals', f'`{name}` and `{REFERENCE}`: {error}') from error
        if name == SYMFC:
            comparison[SYMFC].update(**side.metrics, **errors)
        else:
            comparison['candidates'][name] = {**errors, **side.metrics}
        comparison['n_qpoints'] = len(side.mesh_qpoints)
    for key in ('mesh', 'temperature_k', 'stability_tolerance_thz', 'acoustic_sum_rule'):
        comparison[key] = settings[key]
    write_json(COMPARISON, comparison)
    try:
        comparison |= write_curves(settings, first, sides, evaluated)
    except ValueError as error:
        raise DriverFailure('different_crystals', str(error)) from error
    if (comparison[SYMFC] or {}).get('is_reference'):
        comparison['worst'].pop(SYMFC, None)
    if settings['at_reference']:
        write_json(COMPARISON, comparison)
        comparison['at_reference'] = at_reference(settings, first, reference, comparison['points'])
    write_json(COMPARISON, comparison)


def main() -> None:
    """Compare all sides, and compute the harmonic properties of those for which they are wanted."""
    start = time.time()
    settings = read_job()
    harmonic = settings.pop('harmonic')
    failure = None
    try:
        compare(settings)
    except DriverFailure as error:
        if error.reason != 'different_crystals':
            raise
        failure = error  # each side is what it is all the same
    for own in harmonic.values():
        write_properties(own, own.pop('verdict'), own.pop('phonons'), own.pop('prefix'))
    if failure is not None:
        raise failure
    write_progress('done', 1, 1)
    facts = {'seconds': round(time.time() - start, 3), 'versions': versions(*PACKAGES), 'settings': settings}
    write_json(SUMMARY_FILE, facts)


if __name__ == '__main__':
    run_driver(main)
