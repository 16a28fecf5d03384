"""Harmonic properties of one set of phonons.

Reads ``job.json`` and ``phonons.npz``; writes ``properties.json``, ``thermal.npz``, ``dos.npz``, ``velocities.npz``.
"""

from __future__ import annotations

import time
from typing import Any

from .job_io import (
    SUMMARY_FILE,
    DriverFailure,
    read_arrays,
    read_job,
    run_driver,
    versions,
    write_arrays,
    write_json,
    write_progress,
)

PHONONS, PROPERTIES = 'phonons.npz', 'properties.json'
THERMAL, DOS, VELOCITIES = 'thermal.npz', 'dos.npz', 'velocities.npz'
PACKAGES = ('numpy', 'phonopy', 'seekpath', 'spglib', 'symfc')
STEPS = 4


def read_phonons(name: str, acoustic_sum_rule: bool = True) -> Any:
    """Return the phonons of a staged file.

    :raises DriverFailure: if no force constants follow from it.
    """
    from ..science.phonopy_io import phonon_from_arrays

    arrays = read_arrays(name)
    try:
        return phonon_from_arrays(arrays, acoustic_sum_rule)
    except Exception as error:
        raise DriverFailure('phonons_unusable', f'`{name}`: {error}') from error


def main() -> None:
    """Compute all properties."""
    start = time.time()
    settings = read_job()
    import numpy as np

    from ..science import harmonic, phonon_metrics

    write_progress('force constants', 0, STEPS)
    phonon = read_phonons(PHONONS, acoustic_sum_rule=False)
    before = harmonic.sum_rules(phonon)
    phonon = read_phonons(PHONONS)
    after = harmonic.sum_rules(phonon)
    write_progress('thermal properties', 1, STEPS)
    side = phonon_metrics.evaluate_side(
        phonon,
        mesh=settings['mesh'],
        temperature=settings['temperature_k'],
        tolerance=settings['stability_tolerance_thz'],
    )
    low, high, step = (settings[f'temperature_{name}_k'] for name in ('min', 'max', 'step'))
    temperatures = np.arange(low, high + step / 2, step)
    thermal = harmonic.thermal_properties(phonon, temperatures, settings['mesh'])
    units = harmonic.formula_units(phonon)
    write_progress('atoms', 2, STEPS)
    atomic = harmonic.atomic_properties(
        phonon, temperatures, settings['projected_mesh'], settings['stability_tolerance_thz']
    )
    thermal['mean_square_displacements_angstrom2'] = atomic.pop('mean_square_displacements_angstrom2')
    write_arrays(THERMAL, **thermal)
    write_arrays(DOS, **atomic)
    write_progress('group velocities', 3, STEPS)
    write_arrays(VELOCITIES, **harmonic.group_velocities(phonon, settings['mesh'], settings['band_points']))
    metrics = dict(side.metrics)
    for name, unit in (('heat_capacity', 'j_per_k_mol'), ('entropy', 'j_per_k_mol'), ('free_energy', 'kj_per_mol')):
        value = metrics.pop(f'{name}_{unit}')
        metrics[f'{name}_{unit}_cell'], metrics[f'{name}_{unit}_formula_unit'] = value, value / units
    rules = {f'{key}_before': value for key, value in before.items()}
    more = {
        'temperature_k': settings['temperature_k'],
        'formula_units': units,
        'symbols': list(phonon.primitive.symbols),
    }
    write_json(PROPERTIES, {**metrics, **rules, **after, **more})
    write_progress('done', STEPS, STEPS)
    facts = {'seconds': round(time.time() - start, 3), 'versions': versions(*PACKAGES), 'settings': settings}
    write_json(SUMMARY_FILE, facts)


if __name__ == '__main__':
    run_driver(main)
