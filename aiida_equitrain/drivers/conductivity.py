"""Lattice thermal conductivity from forces of second and third order.

Reads ``job.json``, ``phono3py_params.yaml[.xz]``, and ``nac.npz``, ``phonons.npz`` and ``reference.npz``
where they are given; writes
``kappa.json`` and ``modes.npz``.
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

KAPPA, MODES = 'kappa.json', 'modes.npz'
PACKAGES = ('numpy', 'phono3py', 'phonopy')


def main() -> None:
    """Compute the conductivity, and its errors against a reference."""
    start = time.time()
    settings = read_job()
    import phono3py  # noqa: F401  # a missing module is told of as such

    from ..science import conductivity as science

    write_progress('force constants', 0, 2)
    try:
        nac = read_arrays('nac.npz') if settings['has_nac'] else None
        solver = science.load_phono3py(settings['filename'], nac=nac, symprec=settings['symprec'])
    except ValueError as error:
        raise DriverFailure('forces_unusable', str(error)) from error
    if settings['has_phonopy_data']:
        try:
            science.take_second_order(solver, read_phonons())
        except ValueError as error:
            raise DriverFailure('phonons_unusable', str(error)) from error
    write_progress('conductivity', 1, 2)
    modes = science.conductivity(solver, settings['mesh'], settings['temperatures_k'], settings['isotopes'])
    lowest = float(modes['frequencies_thz'].min())
    if lowest < -settings['stability_tolerance_thz']:
        raise DriverFailure('unstable', f'the lowest frequency on the mesh is {lowest:.2f} THz')
    write_arrays(MODES, **modes)
    kappa = modes['kappa_w_per_m_k']
    facts: dict[str, Any] = {
        'temperatures_k': modes['temperatures_k'].tolist(),
        'kappa_w_per_m_k': science.mean_conductivity(kappa).tolist(),
        **{f'kappa_{name}_w_per_m_k': kappa[:, index].tolist() for index, name in enumerate(science.COMPONENTS)},
        'mesh': modes['mesh'].tolist(),
        'isotopes': settings['isotopes'],
        'mesh_min_frequency_thz': lowest,
        'n_qpoints': len(modes['qpoints']),
        'space_group': str(getattr(solver.symmetry.dataset, 'international', '')),
    }
    if settings['has_reference']:
        try:
            facts['errors'] = science.conductivity_errors(modes, read_arrays('reference.npz'))
        except ValueError as error:
            write_json(KAPPA, facts)
            raise DriverFailure('different_references', str(error)) from error
    write_json(KAPPA, facts)
    write_progress('done', 2, 2)
    summary = {'seconds': round(time.time() - start, 3), 'versions': versions(*PACKAGES), 'settings': settings}
    write_json(SUMMARY_FILE, summary)


if __name__ == '__main__':
    run_driver(main)
