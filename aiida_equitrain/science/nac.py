"""Born charges and dielectric tensor: whether they can be those of a crystal, and what phonopy makes of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_nac(
    born_charges: Any,
    dielectric: Any,
    n_atoms: int,
    charge_tolerance: float,
    port: str = 'settings.nac_charge_tolerance',
) -> str | None:
    """Return a sentence if Born charges and dielectric tensor cannot be those of a crystal, ``None`` if they can.

    :param born_charges: e, should have the shape (``n_atoms``, 3, 3).
    :param dielectric: should have the shape (3, 3), symmetric, all eigenvalues at least 1.
    :param n_atoms: of the primitive cell.
    :param charge_tolerance: largest component (e) of the sum over the atoms: the crystal is neutral.
    :param port: input that holds it, for the sentence.
    """
    born_charges, dielectric = np.asarray(born_charges, dtype=float), np.asarray(dielectric, dtype=float)
    if born_charges.shape != (n_atoms, 3, 3):
        return (
            f'`nac.born_charges` has the shape {born_charges.shape}; it must be ({n_atoms}, 3, 3), one tensor for each '
            'atom of the primitive cell.'
        )
    if dielectric.shape != (3, 3):
        return f'`nac.dielectric` has the shape {dielectric.shape}; it must be (3, 3).'
    if not (np.isfinite(born_charges).all() and np.isfinite(dielectric).all()):
        return '`nac` holds numbers that are not finite.'
    if not np.allclose(dielectric, dielectric.T, atol=1e-2) or np.linalg.eigvalsh(dielectric).min() < 1:
        return '`nac.dielectric` must be symmetric with eigenvalues of at least 1: it is a relative permittivity.'
    total = float(np.abs(born_charges.sum(axis=0)).max())
    if total > charge_tolerance:
        return (
            f'the `nac.born_charges` of the atoms sum up to {total:.3g} e, more than `{port}` '
            f'({charge_tolerance:g} e): converge them better, or raise it; the rest is spread over the atoms.'
        )
    return None


def nac_params(primitive: Any, born_charges: NDArray[Any], dielectric: NDArray[Any], symprec: float) -> dict[str, Any]:
    """Return the non-analytical term of Gonze and Lee (Phys. Rev. B 55, 10355 (1997)), as phonopy and phono3py take it.

    The tensors get the symmetry of the crystal, and charges that sum up to zero.

    :param primitive: primitive cell, of phonopy.
    :param born_charges: e, shape (n, 3, 3).
    :param dielectric: high-frequency dielectric tensor, shape (3, 3).
    :param symprec: tolerance of the symmetry, Å.
    """
    from phonopy.physical_units import get_physical_units
    from phonopy.structure.symmetry import symmetrize_borns_and_epsilon

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        born, epsilon = symmetrize_borns_and_epsilon(born_charges, dielectric, primitive, symprec=symprec)
    units = get_physical_units()
    return {'born': born, 'dielectric': epsilon, 'factor': units.Hartree * units.Bohr, 'method': 'gonze'}
