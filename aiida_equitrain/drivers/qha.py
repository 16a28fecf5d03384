"""The quasi-harmonic approximation from phonons at several volumes.

Reads ``job.json``, ``static.npz`` and ``<name>.npz`` of each volume; writes ``qha.json``, ``curves.npz`` and
``gruneisen.npz``.
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
from .phonon_files import read_phonons

STATIC, QHA, CURVES, GRUNEISEN = 'static.npz', 'qha.json', 'curves.npz', 'gruneisen.npz'
PACKAGES = ('numpy', 'phonopy', 'seekpath', 'spglib')
STEPS = 4


def numbers_at(temperature: float, curves: dict[str, Any]) -> dict[str, float]:
    """Return all curves at one temperature, interpolated."""
    import numpy as np

    temperatures = curves['temperatures_k']
    return {
        name: float(np.interp(temperature, temperatures, values))
        for name, values in curves.items()
        if name != 'temperatures_k' and values.shape == temperatures.shape
    }


def main() -> None:
    """Fit free energies and compute Grüneisen parameters."""
    start = time.time()
    settings = read_job()
    import numpy as np

    from ..science import elasticity, quasi_harmonic

    write_progress('force constants', 0, STEPS)
    phonons = [read_phonons(f'{name}.npz', name) for name in settings['phonons']]
    energies = read_arrays(STATIC)['energies']
    order = np.argsort([abs(phonon.primitive.volume) for phonon in phonons])
    phonons, energies = [phonons[index] for index in order], energies[order]
    mesh = settings['mesh']
    stable, lowest = quasi_harmonic.stable_volumes(phonons, mesh, settings['stability_tolerance_thz'])
    if len(stable) < quasi_harmonic.MIN_VOLUMES:
        text = ', '.join(f'{value:.2f}' for value in lowest)
        raise DriverFailure(
            'unstable', f'only {len(stable)} of {len(phonons)} volumes are stable (lowest frequencies: {text} THz)'
        )
    phonons, energies = [phonons[index] for index in stable], energies[stable]
    write_progress('free energies', 1, STEPS)
    low, high, step = (settings[f'temperature_{name}_k'] for name in ('min', 'max', 'step'))
    temperatures = np.arange(low, high + step / 2, step)
    try:
        curves = quasi_harmonic.quasi_harmonic(
            phonons, energies, temperatures=temperatures, mesh=mesh, eos=settings['eos'],
            pressure_gpa=settings['pressure_gpa'],
        )  # fmt: skip
    except ValueError as error:
        raise DriverFailure('no_fit', str(error)) from error
    write_arrays(CURVES, **curves)
    write_progress('Grüneisen parameters', 2, STEPS)
    at, reached = settings['temperature_k'], curves['temperatures_k']
    if not len(reached) or not reached[0] <= at <= reached[-1]:
        last = f'above {reached[-1]:g} K' if len(reached) else 'at all temperatures'
        raise DriverFailure('no_fit', f'{last} the equilibrium volume lies outside of the volumes that were computed')
    numbers = numbers_at(at, curves)
    volumes = curves['volumes_angstrom3']
    centre = int(np.clip(np.argmin(np.abs(volumes - numbers['equilibrium_volume_angstrom3'])), 1, len(volumes) - 2))
    modes = quasi_harmonic.mode_gruneisen(phonons, centre, mesh, settings['band_points'])
    write_arrays(GRUNEISEN, **modes)
    primitive = phonons[centre].primitive
    mean = quasi_harmonic.mean_gruneisen(modes, len(primitive))
    slack = elasticity.slack_conductivity(
        float(np.mean(primitive.masses)), abs(float(primitive.volume)), len(primitive), mean['debye_temperature_k'],
        mean['gruneisen_parameter'], 300.0,
    )  # fmt: skip
    facts: dict[str, Any] = {
        'temperature_k': at,
        'n_atoms': len(primitive),
        'n_volumes': len(volumes),
        'lowest_frequencies_thz': lowest,
        'left_out': [index for index in range(len(lowest)) if index not in stable],
        'temperature_reached_k': float(reached[-1]),
        'thermal_gruneisen_parameter': numbers.pop('gruneisen_parameter'),
        **numbers,
        'linear_thermal_expansion_per_k': numbers['thermal_expansion_per_k'] / 3,
        'mean_gruneisen_parameter': mean['gruneisen_parameter'],
        'debye_temperature_k': mean['debye_temperature_k'],
        'slack_conductivity_300k_w_per_m_k': slack,
    }
    write_json(QHA, facts)
    write_progress('done', STEPS, STEPS)
    write_json(
        SUMMARY_FILE, {'seconds': round(time.time() - start, 3), 'versions': versions(*PACKAGES), 'settings': settings}
    )


if __name__ == '__main__':
    run_driver(main)
