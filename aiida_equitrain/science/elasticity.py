"""Elastic tensor of a crystal from stresses under small strains, or from its phonons, and what follows from it.

Strains and stresses are tensors in the Cartesian axes of the crystal as it is given; Voigt's order is xx, yy, zz, yz,
xz, xy. The fit of stresses and its symmetry are pymatgen's.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.harmonic.dynamical_matrix import DynamicalMatrix

from ..common.phonon_settings import SYMPREC

Array = NDArray[np.float64]

EV_PER_CUBIC_ANGSTROM_IN_GPA = 160.21766339999998
#: Pairs of Cartesian axes in Voigt's order.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
#: Wave vectors (without 2π, 1/Å) and random directions at which sound is looked at, and the smallest eigenvalue of an
#: optical mode at Γ (eV/Å²/amu; 0.5 THz) that lets the atoms of a strained cell relax.
SMALL_Q, N_DIRECTIONS, SOFT = 1e-3, 30, 1e-3
_BOLTZMANN, _HBAR, _AMU = 1.380649e-23, 1.054571817e-34, 1.66053906892e-27


@dataclass
class Deformation:
    """One deformation of a cell: Green-Lagrange strain (3, 3), and the symmetric gradient F (3, 3) that makes it."""

    strain: Array
    gradient: Array


def deformations(size: float) -> list[Deformation]:
    """Return the twelve deformations that give all elastic constants by central differences.

    :param size: of each strain component, without unit (0.005: half a percent); of the tensor, not of Voigt's shear.
    """
    found = []
    for first, second in VOIGT:
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[first, second] = strain[second, first] = sign * size
            # E = (F² - 1) / 2 for a symmetric F.
            values, vectors = np.linalg.eigh(np.eye(3) + 2 * strain)
            found.append(Deformation(strain, (vectors * np.sqrt(values)) @ vectors.T))
    return found


def deform(atoms: Atoms, deformation: Deformation) -> Atoms:
    """Return the crystal with cell and positions deformed."""
    deformed: Atoms = atoms.copy()
    deformed.set_cell(atoms.cell[:] @ deformation.gradient.T, scale_atoms=True)
    return deformed


def fit_elastic(
    atoms: Atoms, applied: Sequence[Deformation], stresses: Sequence[Array], *, symprec: float = SYMPREC
) -> dict[str, Any]:
    """Return elastic tensor, moduli and what they say about heat, for JSON.

    :param atoms: the undeformed crystal.
    :param applied: all of :func:`deformations`.
    :param stresses: Cauchy stress (3, 3) under each of them, eV/Å³, positive under tension.
    :returns: ``elastic_tensor_gpa`` (6, 6) with the symmetry of the crystal, ``asymmetry_gpa`` (the largest change that
        the symmetry brought), Voigt, Reuss and Hill averages of ``bulk_modulus`` and ``shear_modulus`` (GPa), Young's
        modulus, Poisson's ratio and universal anisotropy of the Hill averages, ``mechanically_stable`` (Born: all
        eigenvalues of the tensor above zero), and where it is: sound velocities, the Debye temperature (Anderson, J.
        Phys. Chem. Solids 24, 909 (1963)), and :func:`slack_conductivity` at 300 K with Belomestnykh's Grüneisen
        parameter.
    """
    from pymatgen.analysis.elasticity.elastic import ElasticTensor
    from pymatgen.analysis.elasticity.strain import Strain
    from pymatgen.analysis.elasticity.stress import Stress
    from pymatgen.io.ase import AseAtomsAdaptor

    second_kind = [
        Stress(stress * EV_PER_CUBIC_ANGSTROM_IN_GPA).piola_kirchoff_2(item.gradient)  # type: ignore[no-untyped-call]
        for item, stress in zip(applied, stresses, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        raw: Any = ElasticTensor.from_independent_strains([Strain(item.strain) for item in applied], second_kind)
        tensor: Any = raw.fit_to_structure(AseAtomsAdaptor.get_structure(atoms), symprec=symprec)
        matrix = np.array(tensor.voigt)
        matrix = (matrix + matrix.T) / 2
        tensor = ElasticTensor.from_voigt(matrix)
        facts: dict[str, Any] = {
            'elastic_tensor_gpa': matrix.round(6).tolist(),
            'asymmetry_gpa': float(np.abs(np.array(raw.voigt) - matrix).max()),
            'mechanically_stable': bool(np.linalg.eigvalsh(matrix).min() > 0),
            'bulk_modulus_voigt_gpa': float(tensor.k_voigt),
            'shear_modulus_voigt_gpa': float(tensor.g_voigt),
        }
        if not facts['mechanically_stable']:
            return facts
        bulk, shear = float(tensor.k_vrh), float(tensor.g_vrh)
        facts |= {
            'bulk_modulus_reuss_gpa': float(tensor.k_reuss),
            'shear_modulus_reuss_gpa': float(tensor.g_reuss),
            'bulk_modulus_gpa': bulk,
            'shear_modulus_gpa': shear,
            'universal_anisotropy': float(tensor.universal_anisotropy),
        }
    return facts | isotropic_properties(atoms, bulk, shear)


def elastic_from_phonons(phonon: Phonopy) -> dict[str, Any]:
    r"""Return the elastic tensor that the long acoustic waves of force constants tell, with relaxed atoms.

    Born and Huang, Dynamical Theory of Crystal Lattices, §26: the mass-weighted dynamical matrix between the three
    rigid translations, less what the optical modes that they bring along take from it,

    .. math::

       A(q) = D_{aa} - D_{ao} D_{oo}^{-1} D_{oa} \quad\to\quad
       \rho A_{ik} / q^2 = \sum_{jl} C_{ijkl} n_j n_l,

    at constant electric field (no non-analytical term). Force constants end with their supercell: moduli of 64 atoms
    are good to about a tenth, and errors of that kind are alike for all sides of a comparison.

    :returns: ``elastic_tensor_from_phonons_gpa`` (6, 6), and the Hill averages ``bulk_modulus_from_phonons_gpa`` and
        ``shear_modulus_from_phonons_gpa`` where the tensor is positive; nothing of a crystal with an imaginary optical
        mode at Γ, whose strained cell would go on to another phase.
    """
    primitive = phonon.primitive
    dynamical = DynamicalMatrix(phonon.supercell, primitive, np.array(phonon.force_constants))
    shares = np.sqrt(primitive.masses / primitive.masses.sum())
    translations = np.kron(shares[:, None], np.eye(3))
    optical = np.linalg.svd(translations)[0][:, 3:]

    def matrix(q: Array) -> Any:
        dynamical.run(primitive.cell @ q)
        return np.array(dynamical.dynamical_matrix)

    at_gamma = optical.T @ matrix(np.zeros(3)) @ optical
    if len(at_gamma) and np.linalg.eigvalsh(at_gamma).min() < SOFT:
        return {}

    def sound(direction: Array, size: float) -> Array:
        full = matrix(direction * size)
        bare, mixed = translations.T @ full @ translations, optical.T @ full @ translations
        taken = mixed.conj().T @ np.linalg.solve(optical.T @ full @ optical, mixed)
        return np.array(np.real(bare - taken)) / (2 * np.pi * size) ** 2

    directions = np.random.default_rng(0).normal(size=(N_DIRECTIONS, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    density = primitive.masses.sum() / primitive.volume
    # Two wave vectors take away the fourth order.
    found = [density * (4 * sound(n, SMALL_Q) - sound(n, 2 * SMALL_Q)) / 3 for n in directions]
    tensor = _tensor_of_sound(directions, np.array(found)) * EV_PER_CUBIC_ANGSTROM_IN_GPA
    facts: dict[str, Any] = {'elastic_tensor_from_phonons_gpa': tensor.round(4).tolist()}
    if np.linalg.eigvalsh(tensor).min() > 0:
        bulk, shear = hill_averages(tensor)
        facts |= {'bulk_modulus_from_phonons_gpa': bulk, 'shear_modulus_from_phonons_gpa': shear}
    return facts


def _tensor_of_sound(directions: Array, matrices: Array) -> Array:
    """Return the tensor (6, 6) that fits Christoffel's matrices (D, 3, 3) of directions (D, 3) best."""
    place = {pair: index for index, (i, j) in enumerate(VOIGT) for pair in ((i, j), (j, i))}
    rows, columns = np.triu_indices(6)
    number = np.zeros((6, 6), dtype=int)
    number[rows, columns] = number[columns, rows] = np.arange(len(rows))
    design = np.zeros((len(directions), 3, 3, len(rows)))
    for i, j, k, m in np.ndindex(3, 3, 3, 3):
        design[:, i, k, number[place[i, j], place[k, m]]] += directions[:, j] * directions[:, m]
    constants = np.linalg.lstsq(design.reshape(-1, len(rows)), matrices.ravel(), rcond=None)[0]
    tensor = np.zeros((6, 6))
    tensor[rows, columns] = tensor[columns, rows] = constants
    return tensor


def hill_averages(tensor: Array) -> tuple[float, float]:
    """Return bulk and shear modulus, means of Voigt's and Reuss's, in the unit of the tensor (6, 6)."""

    def sums(matrix: Array) -> tuple[float, float, float]:
        others = matrix[0, 1] + matrix[1, 2] + matrix[0, 2]
        return float(np.trace(matrix[:3, :3])), float(others), float(np.trace(matrix[3:, 3:]))

    diagonal, others, shears = sums(tensor)
    voigt = (diagonal + 2 * others) / 9, (diagonal - others + 3 * shears) / 15
    diagonal, others, shears = sums(np.array(np.linalg.inv(tensor), dtype=float))
    reuss = 1 / (diagonal + 2 * others), 15 / (4 * diagonal - 4 * others + 3 * shears)
    return (voigt[0] + reuss[0]) / 2, (voigt[1] + reuss[1]) / 2


def isotropic_properties(atoms: Atoms, bulk_gpa: float, shear_gpa: float) -> dict[str, float]:
    """Return what bulk and shear modulus say of a solid that is alike in all directions."""
    poisson = (3 * bulk_gpa - 2 * shear_gpa) / (2 * (3 * bulk_gpa + shear_gpa))
    volume = atoms.get_volume()
    density = float(atoms.get_masses().sum()) * _AMU / (volume * 1e-30)
    longitudinal = np.sqrt((bulk_gpa + 4 / 3 * shear_gpa) * 1e9 / density)
    transverse = np.sqrt(shear_gpa * 1e9 / density)
    mean = (3 / (longitudinal**-3 + 2 * transverse**-3)) ** (1 / 3)
    debye = _HBAR / _BOLTZMANN * mean * (6 * np.pi**2 * len(atoms) / (volume * 1e-30)) ** (1 / 3)
    gruneisen = 3 * (1 + poisson) / (2 * (2 - 3 * poisson))
    return {
        'young_modulus_gpa': 9.0 * bulk_gpa * shear_gpa / (3 * bulk_gpa + shear_gpa),
        'poisson_ratio': float(poisson),
        'density_g_per_cm3': float(density / 1000),
        'sound_velocity_longitudinal_m_per_s': float(longitudinal),
        'sound_velocity_transverse_m_per_s': float(transverse),
        'sound_velocity_mean_m_per_s': float(mean),
        'debye_temperature_k': float(debye),
        'gruneisen_parameter': float(gruneisen),
        'slack_conductivity_300k_w_per_m_k': slack_conductivity(
            float(atoms.get_masses().mean()), volume, len(atoms), float(debye), float(gruneisen), 300.0
        ),
    }


def slack_conductivity(
    mean_mass_amu: float,
    volume_angstrom3: float,
    n_atoms: int,
    debye_temperature_k: float,
    gruneisen: float,
    temperature_k: float,
) -> float:
    """Return Slack's lattice thermal conductivity in W/m/K, as Toher et al. (Phys. Rev. B 90, 174107 (2014), eq. 12).

    :param volume_angstrom3: of the primitive cell of ``n_atoms``.
    :param debye_temperature_k: of all modes; that of the acoustic ones is lower by n^(1/3).
    """
    acoustic = debye_temperature_k / n_atoms ** (1 / 3)
    factor = 0.849 * 3 * 4 ** (1 / 3) / (20 * np.pi**3 * (1 - 0.514 / gruneisen + 0.228 / gruneisen**2))
    rate = (_BOLTZMANN * acoustic / _HBAR) ** 2
    length = volume_angstrom3 ** (1 / 3) * 1e-10
    at_debye = factor * rate * _BOLTZMANN * mean_mass_amu * _AMU * length / (_HBAR * gruneisen**2)
    return float(at_debye * acoustic / temperature_k)
