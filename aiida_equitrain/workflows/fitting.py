"""Supercells of the protocol `fast`, which are made to fit its own limit of atoms, whatever the crystal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiida.orm import StructureData

from aiida_equitrain.science.structures import check_size

#: Protocols that do so, the setting that is changed, and the edges (Å) that are tried.
FITTING, EDGE, EDGES = ('fast',), 'min_length_angstrom', (9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0)


def fit_cell(
    structure: StructureData,
    settings: Mapping[str, Any],
    max_atoms: int,
    matrix_of: Callable[[StructureData, dict[str, Any]], Any],
) -> dict[str, Any]:
    """Return settings with the longest shortest edge whose supercell has at most ``max_atoms``.

    A crystal whose unit cell alone is larger is left as it is, to be refused.

    :param settings: with the edge of the protocol.
    :param matrix_of: chooses the supercell of a crystal by such settings.
    """
    for edge in (settings[EDGE], *EDGES):
        trial = {**settings, EDGE: edge}
        if edge <= settings[EDGE] and check_size(len(structure.sites), max_atoms, matrix_of(structure, trial)) is None:
            return trial
    return dict(settings)
