r"""What a plane-wave calculation costs, from numbers that are known before it runs.

Seconds of one core for one self-consistent calculation with forces,

.. math::

   t = t_0 + n_k g \, (a \, n_b N_f \log_2 N_f + b \, n_b^2 N_p),

with :math:`n_k` irreducible k-points, :math:`n_b` occupied bands, :math:`N_f` points of the FFT grid, :math:`N_p` plane
waves, and :math:`g = 1/2` where Γ alone lets wave functions be real: transforms of all bands, and what makes them
orthogonal. The number of iterations is that of ordinary crystals, about a dozen. The three constants were fitted to 13
calculations of pw.x (Debian, OpenBLAS, one core; ``benchmarks/dft_cost.py``), which they meet within a factor of
:data:`LARGEST_FACTOR`; another processor, a metal, or a crystal that is slow to converge adds to that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from ase.units import Bohr

#: t_0 in s, and a and b in s per billion of what they stand before.
START, TRANSFORMS, PRODUCTS = 0.969, 36.0, 148.0
#: The farthest of the calculations of the fit, and the root mean square, as factors.
LARGEST_FACTOR, TYPICAL_FACTOR = 2.0, 1.4
#: Self-consistent calculations that a relaxation of a crystal near its minimum takes, roughly.
RELAX_STEPS = 10
_VALENCE = re.compile(r'z_valence\s*=\s*"\s*([-+0-9.eEdD]+)|([-+0-9.eEdD]+)\s+Z valence')


@dataclass(frozen=True)
class Setup:
    """What all calculations of a stage share.

    :param valence: electrons per element.
    :param ecutwfc: cut-off of wave functions, Ry; ``ecutrho`` that of the density.
    :param mesh: k-points along the three axes.
    :param is_metal: with smearing, which adds a fifth of empty bands.
    :param has_spin: twice as many bands.
    """

    valence: dict[str, float]
    ecutwfc: float
    ecutrho: float
    mesh: tuple[int, int, int]
    is_metal: bool = False
    has_spin: bool = False

    def seconds(self, atoms: Atoms, n_kpoints: int) -> float:
        """Return the seconds of one core for one calculation."""
        electrons = sum(self.valence[symbol] for symbol in atoms.symbols)
        bands = electrons / 2 * (1.2 if self.is_metal else 1.0) * (2 if self.has_spin else 1)
        is_gamma = has_real_waves(self.mesh, atoms.symbols)
        return scf_seconds(bands, atoms.get_volume(), self.ecutwfc, self.ecutrho, n_kpoints, is_gamma)


def has_real_waves(mesh: Sequence[int], symbols: Iterable[str]) -> bool:
    """Return whether pw.x is to compute with real wave functions (``K_POINTS gamma``): Γ alone, and one element.

    Of compounds Quantum ESPRESSO 6.7 has missed occupied states so: MgO, 54 atoms rattled by 0.007 Å, 40 Ry, lies 19 Ry
    too high, by Davidson's method from any start, and is right with complex ones.
    """
    return list(mesh) == [1, 1, 1] and len(set(symbols)) == 1


def scf_seconds(
    bands: float, volume: float, ecutwfc: float, ecutrho: float, n_kpoints: int, is_gamma: bool = False
) -> float:
    """Return the seconds of one core for a self-consistent calculation with forces, see the formula above.

    :param volume: of the cell, Å³.
    :param ecutwfc: Ry; ``ecutrho`` too.
    :param is_gamma: whether wave functions are real (``K_POINTS gamma``).
    """
    transforms, products = cost_terms(bands, volume, ecutwfc, ecutrho, n_kpoints, is_gamma)
    return START + TRANSFORMS * transforms + PRODUCTS * products


def cost_terms(
    bands: float, volume: float, ecutwfc: float, ecutrho: float, n_kpoints: int, is_gamma: bool
) -> tuple[float, float]:
    """Return what stands behind a and b in the formula, in billions."""
    cell = volume / Bohr**3
    plane_waves = cell * ecutwfc**1.5 / (6 * np.pi**2)
    grid = cell * (2 * np.sqrt(ecutrho)) ** 3 / (2 * np.pi) ** 3
    weight = n_kpoints * (0.5 if is_gamma else 1.0) / 1e9
    return weight * bands * grid * np.log2(grid), weight * bands**2 * plane_waves


def count_kpoints(atoms: Atoms, mesh: Sequence[int], symprec: float = 1e-5) -> int:
    """Return the number of k-points of a mesh around Γ that the symmetry of a structure leaves."""
    cell = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    mapping, _ = spglib.get_ir_reciprocal_mesh(list(mesh), cell, is_shift=[0, 0, 0], symprec=symprec)
    return len(np.unique(mapping))


def total_seconds(setup: Setup, structures: Iterable[Atoms]) -> tuple[float, list[int]]:
    """Return the seconds of one core for all structures, and the k-points of each."""
    structures = list(structures)
    kpoints = [count_kpoints(atoms, setup.mesh) for atoms in structures]
    return sum(setup.seconds(atoms, n) for atoms, n in zip(structures, kpoints, strict=True)), kpoints


def valence_electrons(upf: str) -> float:
    """Return the valence electrons of a pseudopotential in the UPF format.

    :raises ValueError: if the file does not say it.
    """
    found = _VALENCE.search(upf)
    if found is None:
        raise ValueError('the pseudopotential does not say its number of valence electrons')
    return float((found.group(1) or found.group(2)).lower().replace('d', 'e'))
