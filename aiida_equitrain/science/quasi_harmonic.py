"""The quasi-harmonic approximation: harmonic phonons at several volumes, and what follows from them.

Free energies are fitted by phonopy (Togo and Tanaka, Scr. Mater. 108, 1 (2015)); all numbers are of primitive cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy, PhonopyGruneisen, PhonopyQHA

from .phonon_metrics import band_path, masses_keep_symmetry

Array = NDArray[np.float64]

#: Volumes that an equation of state with four parameters needs.
MIN_VOLUMES = 5
_BOLTZMANN, _PLANCK = 1.380649e-23, 6.62607015e-34


def stable_volumes(phonons: Sequence[Phonopy], mesh: Sequence[int], tolerance: float) -> tuple[list[int], list[float]]:
    """Return the indices of the volumes without imaginary modes, and the lowest frequency of each volume (THz)."""
    lowest = []
    for phonon in phonons:
        _run_mesh(phonon, mesh)
        grid: Any = phonon.mesh
        lowest.append(float(np.min(grid.frequencies)))
    return [index for index, value in enumerate(lowest) if value >= -tolerance], lowest


def quasi_harmonic(
    phonons: Sequence[Phonopy],
    energies: Array,
    *,
    temperatures: Array,
    mesh: Sequence[int],
    eos: str = 'vinet',
    pressure_gpa: float = 0.0,
) -> dict[str, Array]:
    """Return properties at constant pressure over temperature.

    :param phonons: at ascending volumes, without imaginary modes.
    :param energies: of their unit cells without vibrations, eV, shape (V,).
    :param temperatures: K, equally spaced, shape (T,).
    :param eos: ``vinet``, ``birch_murnaghan`` or ``murnaghan``.
    :returns: ``temperatures_k``, ``volumes_angstrom3`` (V,) and ``energies_ev`` (V,) of the primitive cells,
        ``helmholtz_ev`` (T, V), and, each (T,): ``equilibrium_volume_angstrom3``, ``gibbs_ev``, ``bulk_modulus_gpa``,
        ``thermal_expansion_per_k`` (of the volume), ``heat_capacity_p_j_per_k_mol``, ``gruneisen_parameter``.
        Temperatures end where the equilibrium volume leaves the given ones: no fit is to be believed beyond.
    :raises ValueError: if no equation of state fits.
    """
    step = temperatures[1] - temperatures[0]
    # phonopy takes derivatives by differences: it wants temperatures beyond the last one.
    beyond = np.concatenate([temperatures, temperatures[-1] + step * np.arange(1, 4)])
    parts: dict[str, list[Array]] = {'free_energy': [], 'entropy': [], 'heat_capacity': []}
    for phonon in phonons:
        _run_mesh(phonon, mesh)
        phonon.run_thermal_properties(temperatures=beyond)
        for name, values in parts.items():
            values.append(np.array(getattr(phonon.thermal_properties, name)))
    share = np.array([len(phonon.primitive) / len(phonon.unitcell) for phonon in phonons])
    volumes = np.array([abs(phonon.primitive.volume) for phonon in phonons])
    static = np.asarray(energies) * share
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            qha = PhonopyQHA(
                volumes=volumes,
                electronic_energies=static,
                temperatures=beyond,
                free_energy=np.array(parts['free_energy']).T.tolist(),
                entropy=np.array(parts['entropy']).T.tolist(),
                cv=np.array(parts['heat_capacity']).T.tolist(),
                pressure=pressure_gpa,
                eos=eos,
                t_max=float(temperatures[-1]),
            )
        except (RuntimeError, np.linalg.LinAlgError, IndexError) as error:
            raise ValueError(f'no equation of state fits the free energies: {error}') from error
    curves = {
        'equilibrium_volume_angstrom3': qha.volume_temperature,
        'gibbs_ev': qha.gibbs_temperature,
        'bulk_modulus_gpa': qha.bulk_modulus_temperature,
        'thermal_expansion_per_k': qha.thermal_expansion,
        'heat_capacity_p_j_per_k_mol': qha.heat_capacity_P_polyfit,
        'gruneisen_parameter': qha.gruneisen_temperature,
    }
    number = min(len(temperatures), *(len(values) for values in curves.values()))
    equilibrium = np.array(qha.volume_temperature)[:number]
    outside = (equilibrium < volumes.min()) | (equilibrium > volumes.max())
    if outside.any():
        number = int(np.argmax(outside))
    return {
        'temperatures_k': temperatures[:number],
        'volumes_angstrom3': volumes,
        'energies_ev': static,
        'helmholtz_ev': np.array(qha.helmholtz_volume)[:number],
        **{name: np.array(values, dtype=float)[:number] for name, values in curves.items()},
    }


def mode_gruneisen(phonons: Sequence[Phonopy], centre: int, mesh: Sequence[int], points: int = 51) -> dict[str, Array]:
    """Return mode Grüneisen parameters from a volume and its neighbours, on a mesh and along the path.

    :returns: for ``mesh`` and ``path``: ``<where>_qpoints`` (Q, 3), ``<where>_frequencies_thz`` and
        ``<where>_gruneisen`` (Q, B); ``mesh_weights`` and ``path_distances`` (Q,).
    """
    gruneisen = PhonopyGruneisen(phonons[centre], phonons[centre + 1], phonons[centre - 1])
    gruneisen.set_mesh(list(mesh), is_mesh_symmetry=masses_keep_symmetry(phonons[centre]))
    grid: Any = gruneisen.get_mesh()
    qpoints, weights, frequencies, _, values = grid
    path = band_path(phonons[centre].primitive, points, float(phonons[centre].symmetry.tolerance))
    segments = [path.qpoints[start : start + points] for start in path.starts]
    gruneisen.set_band_structure(segments)
    found: Any = gruneisen.get_band_structure()
    return {
        'mesh_qpoints': np.array(qpoints),
        'mesh_weights': np.array(weights),
        'mesh_frequencies_thz': np.array(frequencies),
        'mesh_gruneisen': np.array(values),
        'path_qpoints': path.qpoints,
        'path_distances': path.distances,
        'path_frequencies_thz': np.concatenate(found[2]),
        'path_gruneisen': np.concatenate(found[4]),
    }


def mean_gruneisen(modes: Mapping[str, Array], n_atoms: int) -> dict[str, float]:
    r"""Return Debye temperature and mean Grüneisen parameter of modes on a mesh, as pymatgen (Nath et al., Scr. Mater.
    129, 88 (2017)) defines them.

    :returns: ``debye_temperature_k``, :math:`(h/k) \sqrt{5/3 \langle f^2 \rangle}`, and ``gruneisen_parameter``, the
        root of the mean square weighted by the heat capacities at the Debye temperature of the acoustic modes.
    """
    frequencies, gruneisen = modes['mesh_frequencies_thz'], modes['mesh_gruneisen']
    weights = np.broadcast_to(modes['mesh_weights'][:, None], frequencies.shape)
    real = frequencies > 1e-3
    squares = np.average(frequencies[real] ** 2, weights=weights[real])
    debye = float(_PLANCK * 1e12 / _BOLTZMANN * np.sqrt(5 / 3 * squares))
    reduced = _PLANCK * 1e12 * frequencies[real] / (_BOLTZMANN * debye / n_atoms ** (1 / 3))
    capacities = reduced**2 * np.exp(reduced) / np.expm1(reduced) ** 2
    mean = np.sqrt(np.average(gruneisen[real] ** 2, weights=weights[real] * capacities))
    return {'debye_temperature_k': debye, 'gruneisen_parameter': float(mean)}


def _run_mesh(phonon: Phonopy, mesh: Sequence[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.run_mesh(list(mesh), is_mesh_symmetry=masses_keep_symmetry(phonon))
