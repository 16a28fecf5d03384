"""Supercells of the protocol `fast`: made to fit its own limit of atoms, whatever the crystal, and computed at Γ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from aiida.orm import Float, StructureData
from aiida_quantumespresso.common.types import ElectronicType

from aiida_equitrain.science.structures import check_size

#: Protocols that do so, the setting that is changed, and the edges (Å) that are tried.
FITTING, EDGE, EDGES = ('fast',), 'min_length_angstrom', (9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0)
#: Cells narrower than this (Å) need more than Γ; frames are strained, and a little narrower than the cell.
NARROWEST, STRAIN = 7.0, 1.05


def fit_cell(
    structure: StructureData,
    settings: Mapping[str, Any],
    max_atoms: int,
    matrix_of: Callable[[dict[str, Any]], Any],
) -> dict[str, Any]:
    """Return settings with the longest shortest edge whose supercell has at most ``max_atoms``.

    A crystal whose unit cell alone is larger is left as it is, to be refused.

    :param settings: with the edge of the protocol.
    :param matrix_of: chooses the supercell of the crystal by such settings.
    """
    for edge in (settings[EDGE], *EDGES):
        trial = {**settings, EDGE: edge}
        if edge <= settings[EDGE] and check_size(len(structure.sites), max_atoms, matrix_of(trial)) is None:
            return trial
    return dict(settings)


def take_gamma(pw: Any, cell: Any, electronic_type: str) -> None:
    """Let pw.x compute supercells of an insulator at Γ alone, as the k-points of a shortened cell cost many times that.

    :param pw: inputs of a ``PwBaseWorkChain`` with `kpoints_distance`, which is changed.
    :param cell: lattice vectors of the supercell, Å.
    :param electronic_type: as aiida-quantumespresso names them.
    """
    width = 1 / float(np.linalg.norm(np.linalg.inv(np.array(cell, dtype=float)), axis=0).max())
    is_metal = electronic_type == ElectronicType.METAL.value
    if not is_metal and width >= NARROWEST and 2 * np.pi / width > pw.kpoints_distance.value:
        pw.kpoints_distance = Float(STRAIN * 2 * np.pi / width)
