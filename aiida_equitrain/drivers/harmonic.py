"""All that follows from one set of phonons by itself.

Reads ``job.json`` and ``phonons.npz``; writes ``bands.npz``, ``total_dos.npz``, ``thermal_properties.npz``,
``force_constants.npz``, ``stability.json``, and ``properties.json``, ``thermal.npz``, ``dos.npz``, ``velocities.npz``.
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
from .phonon_files import PHONONS, read_phonons

PROPERTIES, STABILITY = 'properties.json', 'stability.json'
BANDS, TOTAL_DOS, CELL_THERMAL = 'bands.npz', 'total_dos.npz', 'thermal_properties.npz'
CONSTANTS = 'force_constants.npz'
THERMAL, DOS, VELOCITIES = 'thermal.npz', 'dos.npz', 'velocities.npz'
PACKAGES = ('numpy', 'phonopy', 'seekpath', 'spglib', 'symfc')
STEPS = 5


def write_curves(phonon: Any, settings: dict[str, Any], facts: dict[str, Any], prefix: str) -> None:
    """Write force constants, bands, density of states, and the verdict on path and mesh.

    :param facts: what the verdict says beside.
    """
    import numpy as np

    from ..science import harmonic, phonon_metrics

    write_arrays(prefix + CONSTANTS, force_constants=phonon.force_constants)
    bands = harmonic.bands_along_path(phonon, settings['band_points'])
    write_arrays(prefix + BANDS, **bands)
    density = harmonic.mesh_density(phonon, settings['mesh'])
    mesh = density.pop('mesh_qpoints'), density.pop('mesh_frequencies_thz')
    write_arrays(prefix + TOTAL_DOS, **density)
    verdict = phonon_metrics.stability(
        np.concatenate([mesh[0], bands['qpoints']]),
        np.concatenate([mesh[1], bands['frequencies_thz']]),
        settings['stability_tolerance_thz'],
    )
    verdict['min_frequency_thz'] = float(bands['frequencies_thz'].min())
    write_json(prefix + STABILITY, verdict | facts)


def write_properties(settings: dict[str, Any], verdict: dict[str, Any], file: str = PHONONS, prefix: str = '') -> None:
    """Compute all properties, and write them.

    :param verdict: what the verdict on the stability says beside the frequencies.
    :param file: of the phonons.
    :param prefix: how the names of all files begin that are written.
    """
    import numpy as np

    from ..science import elasticity, harmonic, phonon_metrics

    write_progress('force constants', 0, STEPS)
    phonon = read_phonons(file, acoustic_sum_rule=False)
    before = harmonic.sum_rules(phonon)
    phonon = read_phonons(file)
    after = harmonic.sum_rules(phonon)
    write_progress('bands', 1, STEPS)
    write_curves(phonon, settings, verdict, prefix)
    write_progress('thermal properties', 2, STEPS)
    side = phonon_metrics.evaluate_side(
        phonon,
        mesh=settings['mesh'],
        temperature=settings['temperature_k'],
        tolerance=settings['stability_tolerance_thz'],
    )
    low, high, step = (settings[f'temperature_{name}_k'] for name in ('min', 'max', 'step'))
    temperatures = np.arange(low, high + step / 2, step)
    thermal = harmonic.thermal_properties(phonon, temperatures, settings['mesh'])
    cell = {name.removesuffix('_cell'): values for name, values in thermal.items() if 'formula_unit' not in name}
    write_arrays(prefix + CELL_THERMAL, **cell)
    units = harmonic.formula_units(phonon)
    write_progress('atoms', 3, STEPS)
    atomic = harmonic.atomic_properties(
        phonon, temperatures, settings['projected_mesh'], settings['stability_tolerance_thz']
    )
    thermal['mean_square_displacements_angstrom2'] = atomic.pop('mean_square_displacements_angstrom2')
    write_arrays(prefix + THERMAL, **thermal)
    write_arrays(prefix + DOS, **atomic)
    write_progress('group velocities', 4, STEPS)
    write_arrays(prefix + VELOCITIES, **harmonic.group_velocities(phonon, settings['mesh'], settings['band_points']))
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
    write_json(prefix + PROPERTIES, {**metrics, **rules, **after, **elasticity.elastic_from_phonons(phonon), **more})


def main() -> None:
    """Compute all properties."""
    start = time.time()
    settings = read_job()
    verdict = settings.pop('verdict')
    write_properties(settings, verdict)
    write_progress('done', STEPS, STEPS)
    facts = {'seconds': round(time.time() - start, 3), 'versions': versions(*PACKAGES), 'settings': settings}
    write_json(SUMMARY_FILE, facts)


if __name__ == '__main__':
    run_driver(main)
