"""Defaults that all phonons share, and the settings that several jobs have under one name."""

from __future__ import annotations

from .settings import Setting

#: Tolerance of the space group, Å, where none is given; that of the authors' phonons.
SYMPREC = 1e-4
#: 5 cm⁻¹: acoustic branches close to Γ are not known better from force constants of a 20 Å cell (DFT's stable SnSe of
#: the reference set reaches -0.135 THz there); unstable crystals of that set lie below -0.5 THz.
STABILITY_TOLERANCE_THZ = 0.15
MESH = (20, 20, 20)
TEMPERATURE_K = 300.0

SHARED = {
    'relax': Setting(True, 'relax cell and positions with the potential first'),
    'min_length_angstrom': Setting(
        12.0, 'shortest edge of the supercell, if no matrix of it is given', minimum=0.0, exclusive=True
    ),
    'symprec': Setting(SYMPREC, 'tolerance of the space group, Å', minimum=0.0, exclusive=True),
    'stability_tolerance_thz': Setting(
        STABILITY_TOLERANCE_THZ, 'imaginary frequencies up to here are noise', minimum=0.0
    ),
    'mesh': Setting(list(MESH), 'q-points of density of states, thermal properties and lowest frequency'),
    'temperature_k': Setting(TEMPERATURE_K, 'of the single numbers', minimum=0.0),
    'band_points': Setting(51, 'points per segment of the path', minimum=2),
}


def shared(*names: str) -> dict[str, Setting]:
    """Return some of :data:`SHARED`, in this order."""
    return {name: SHARED[name] for name in names}
