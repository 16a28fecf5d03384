"""Lattice thermal conductivity with phono3py (Togo, Chaput and Tanaka, Phys. Rev. B 91, 094306 (2015))."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Order of the six components of a conductivity tensor.
COMPONENTS = ('xx', 'yy', 'zz', 'yz', 'xz', 'xy')


def load_phono3py(path: str | Path, nac: Mapping[str, Array] | None = None) -> Any:
    """Return phono3py's object with force constants of second and third order.

    :param path: ``phono3py_params.yaml`` or the same with ``.xz``, with forces.
    :param nac: ``born_charges`` (n, 3, 3) and ``dielectric`` (3, 3); those of the file are used without it.
    :raises ValueError: one sentence, if the file cannot be read or holds no forces.
    """
    import phono3py

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            solver: Any = phono3py.load(str(path), is_nac=nac is None, log_level=0)
        except Exception as error:
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(f'it is no file of phono3py: {text}') from error
        if solver.fc3 is None or solver.fc2 is None:
            raise ValueError('it holds no forces on supercells with two displaced atoms.')
        if nac is not None:
            solver.nac_params = nac_params(solver.primitive, nac['born_charges'], nac['dielectric'])
    return solver


def nac_params(primitive: Any, born_charges: Array, dielectric: Array) -> dict[str, Any]:
    """Return the parameters of the non-analytical term, symmetrised."""
    from phonopy.physical_units import get_physical_units
    from phonopy.structure.symmetry import symmetrize_borns_and_epsilon

    born, epsilon = symmetrize_borns_and_epsilon(born_charges, dielectric, primitive)
    units = get_physical_units()
    return {'born': born, 'dielectric': epsilon, 'factor': units.Hartree * units.Bohr, 'method': 'gonze'}


def conductivity(solver: Any, mesh: Sequence[int], temperatures: Sequence[float], isotopes: bool) -> dict[str, Array]:
    """Return the conductivity in the relaxation-time approximation, and what each mode brings.

    :returns: ``temperatures_k`` (T,), ``kappa_w_per_m_k`` (T, 6) in the order of :data:`COMPONENTS`; of the irreducible
        q-points ``qpoints`` (Q, 3), ``weights`` (Q,), ``frequencies_thz`` (Q, B), ``gamma_thz`` (T, Q, B), half the
        linewidths, ``group_velocities_thz_angstrom`` (Q, B, 3), and ``mode_kappa_w_per_m_k`` (T, Q, B, 6): what
        a q-point and its star contribute, which adds up to the conductivity.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        solver.mesh_numbers = list(mesh)
        solver.init_phph_interaction()
        solver.run_thermal_conductivity(temperatures=list(temperatures), is_isotope=isotopes)
    result = solver.thermal_conductivity
    kappa = np.array(result.kappa[0], dtype=float)
    share = np.array(result.mode_kappa[0], dtype=float) / np.prod(result.mesh_numbers)
    return {
        'temperatures_k': np.array(result.temperatures, dtype=float),
        'mesh': np.array(result.mesh_numbers, dtype=np.int64),
        'kappa_w_per_m_k': kappa,
        'qpoints': np.array(result.qpoints, dtype=float),
        'weights': np.array(result.grid_weights, dtype=np.int64),
        'frequencies_thz': np.array(result.frequencies, dtype=float),
        'gamma_thz': np.array(result.gamma[0], dtype=float),
        'group_velocities_thz_angstrom': np.array(result.group_velocities, dtype=float),
        'mode_kappa_w_per_m_k': share,
    }


def mean_conductivity(kappa: Array) -> Array:
    """Return a third of the trace of conductivities (..., 6)."""
    mean: Array = kappa[..., :3].mean(axis=-1)
    return mean


def conductivity_errors(modes: Mapping[str, Array], reference: Mapping[str, Array]) -> dict[str, list[float]]:
    r"""Return the errors of a conductivity against a reference at each temperature of both.

    - ``sre``: symmetric relative error, :math:`2 (\kappa - \kappa_r) / (\kappa + \kappa_r)`;
    - ``srme``: symmetric relative mean error in the modes, :math:`2 \sum_{qs} |K_{qs} - K_{r,qs}| / (\kappa +
      \kappa_r)`, which no cancellation makes small: from 0 to 2. Both from Póta, Ahlawat, Csányi and Simoncelli
      (arXiv 2408.00755), with a third of the traces for :math:`\kappa` and :math:`K`.

    :param modes: as :func:`conductivity` returns them.
    :raises ValueError: one sentence, if meshes, crystals or temperatures differ.
    """
    if not np.array_equal(modes['mesh'], reference['mesh']):
        raise ValueError(f'the meshes differ: {modes["mesh"].tolist()} and {reference["mesh"].tolist()}')
    if modes['frequencies_thz'].shape != reference['frequencies_thz'].shape or not np.allclose(
        modes['qpoints'], reference['qpoints'], atol=1e-6
    ):
        raise ValueError('the irreducible q-points differ: the crystals have different cells or symmetries')
    common = [value for value in modes['temperatures_k'] if np.isclose(reference['temperatures_k'], value).any()]
    if not common:
        raise ValueError('there is no temperature that both have')
    errors: dict[str, list[float]] = {'temperatures_k': [float(value) for value in common], 'sre': [], 'srme': []}
    for temperature in common:
        ours, theirs = (
            mean_conductivity(side['mode_kappa_w_per_m_k'][np.argmin(np.abs(side['temperatures_k'] - temperature))])
            for side in (modes, reference)
        )
        total = ours.sum() + theirs.sum()
        errors['sre'].append(float(2 * (ours.sum() - theirs.sum()) / total))
        errors['srme'].append(float(2 * np.abs(ours - theirs).sum() / total))
    return errors
