"""Harmonic force constants fitted to labelled frames without any potential: the baseline beside every result.

Frames may be strained and scaled in volume, and their atoms may come in any order. Each is brought onto the supercell
of a given unit cell; symfc then solves for the force constants that the symmetry of the crystal allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_supercell
from scipy.optimize import linear_sum_assignment

from ..common.phonon_settings import SYMPREC
from .frames import Frame
from .phonopy_io import make_force_constants

Array = NDArray[np.float64]


@dataclass
class MappedFrame:
    """A frame on the atoms of a supercell, in phonopy's order.

    :param matrix: supercell matrix of phonopy, shape (3, 3): rows of the supercell are ``matrix.T @ unitcell``.
    :param order: ``order[i]`` is the frame's atom that sits on atom ``i`` of the supercell.
    :param displacements: Å, shape (N, 3), without their mean.
    :param forces: eV/Å, shape (N, 3), without their mean.
    """

    matrix: NDArray[np.int64]
    order: NDArray[np.int64]
    displacements: Array
    forces: Array


@dataclass
class Fit:
    """Outcome of a fit.

    :param phonon: phonons with the fitted force constants, ``None`` if there is no answer.
    :param n_frames: frames that were used.
    :param n_parameters: independent force constants, 0 if unknown.
    :param reason: one sentence, why there is no answer.
    :param left_out: sentences about frames that could not be used.
    """

    phonon: Phonopy | None = None
    n_frames: int = 0
    n_parameters: int = 0
    reason: str = ''
    left_out: list[str] = field(default_factory=list)


def find_supercell_matrix(unitcell: PhonopyAtoms, frame: Frame) -> NDArray[np.int64]:
    """Return phonopy's supercell matrix of a frame, whatever its volume and (small) strain.

    :raises ValueError: one sentence, if the frame is no supercell of ``unitcell``.
    """
    count = Counter(int(number) for number in frame.numbers)
    unit = Counter(int(number) for number in unitcell.numbers)
    multiple, rest = divmod(len(frame), len(unitcell))
    if rest or any(count[number] != multiple * unit[number] for number in count | unit):
        raise ValueError(f'its {len(frame)} atoms are no whole number of unit cells of {len(unitcell)} atoms')
    cell = np.array(unitcell.cell)
    scale = (abs(np.linalg.det(frame.cell)) / (multiple * abs(np.linalg.det(cell)))) ** (1 / 3)
    exact = frame.cell / scale @ np.linalg.inv(cell)
    matrix = np.rint(exact).astype(np.int64)
    if abs(round(np.linalg.det(matrix))) != multiple:
        raise ValueError('its cell is no supercell of the unit cell')
    strain = np.linalg.norm(np.linalg.solve(matrix @ cell, frame.cell / scale) - np.eye(3))
    if strain > 0.2:
        raise ValueError(f'its cell is strained by {100 * strain:.0f} % from a supercell of the unit cell')
    return np.array(matrix.T)


def map_frame_to_supercell(unitcell: PhonopyAtoms, frame: Frame, supercell: PhonopyAtoms | None = None) -> MappedFrame:
    """Bring a frame onto the supercell of ``unitcell`` that it is.

    Displacements are differences of fractional coordinates, by the nearest image, turned into Å with the frame's own
    lattice: a strain is no displacement. Atoms are assigned so that the sum of squared distances within each species is
    smallest; the mean displacement is removed before the final assignment.

    :param supercell: the supercell in phonopy's order, when it is at hand.
    :raises ValueError: see :func:`find_supercell_matrix`.
    """
    matrix = find_supercell_matrix(unitcell, frame)
    if supercell is None:
        supercell = get_supercell(unitcell, matrix)
    sites = np.array(supercell.scaled_positions)
    numbers = np.array(supercell.numbers)
    fractional = np.linalg.solve(frame.cell.T, frame.positions.T).T
    shift = np.zeros(3)
    for _ in range(2):
        difference = fractional[None] - sites[:, None] - shift
        difference -= np.rint(difference)
        cost = np.einsum('ijk,ijk->ij', difference @ frame.cell, difference @ frame.cell)
        cost[numbers[:, None] != np.asarray(frame.numbers)[None]] = 1e6
        rows, order = linear_sum_assignment(cost)
        shift = shift + difference[rows, order].mean(axis=0)
    difference = fractional[order] - sites
    difference -= np.rint(difference)
    displacements = difference @ frame.cell
    forces = np.asarray(frame.forces)[order]
    return MappedFrame(
        matrix=matrix,
        order=np.asarray(order, dtype=np.int64),
        displacements=displacements - displacements.mean(axis=0),
        forces=forces - forces.mean(axis=0),
    )


def fit_force_constants(
    unitcell: PhonopyAtoms,
    frames: Iterable[Frame],
    *,
    primitive_matrix: Any = 'auto',
    symprec: float = SYMPREC,
) -> Fit:
    """Fit harmonic force constants to frames by symfc; never raises for data that allow no answer.

    Only frames of one and the same supercell, the most frequent one, enter.

    :param unitcell: undistorted cell whose lattice and symmetry the phonons get.
    """
    mapped: list[MappedFrame] = []
    left_out: list[str] = []
    cells: dict[tuple[int, ...], PhonopyAtoms] = {}
    for index, frame in enumerate(frames):
        try:
            key = tuple(find_supercell_matrix(unitcell, frame).ravel().tolist())
            if key not in cells:
                cells[key] = get_supercell(unitcell, np.array(key).reshape(3, 3))
            mapped.append(map_frame_to_supercell(unitcell, frame, cells[key]))
        except ValueError as error:
            left_out.append(f'frame {index}: {error}')
    if not mapped:
        return Fit(reason='no frame is a supercell of the unit cell', left_out=left_out)
    (main, _), *others = Counter(tuple(item.matrix.ravel().tolist()) for item in mapped).most_common()
    if others:
        left_out.append(f'{sum(number for _, number in others)} frames of other supercells')
    used = [item for item in mapped if tuple(item.matrix.ravel().tolist()) == main]
    phonon = Phonopy(
        unitcell,
        np.array(main).reshape(3, 3),
        primitive_matrix=primitive_matrix,
        symprec=symprec,
        distinguish_symbol_index=any(symbol[-1].isdigit() for symbol in unitcell.symbols),
        log_level=0,
    )
    displacements = np.array([item.displacements for item in used])
    forces = np.array([item.forces for item in used])
    fit = Fit(n_frames=len(used), left_out=left_out)
    if np.abs(displacements).max() < 1e-8:
        fit.reason = 'no atom of any frame is displaced'
        return fit
    fit.n_parameters = count_parameters(phonon)
    # Three rows per frame only say that the forces sum to zero.
    equations = forces.size - 3 * len(used)
    if equations < fit.n_parameters:
        fit.reason = f'{len(used)} frames give {equations} equations for {fit.n_parameters} force constants'
        return fit
    try:
        make_force_constants(phonon, {'displacements': displacements, 'forces': forces})
    except (np.linalg.LinAlgError, RuntimeError, ValueError) as error:
        fit.reason = f'symfc found no answer: {error}'
        return fit
    if not np.isfinite(np.array(phonon.force_constants)).all():
        fit.reason = 'symfc found no answer: the frames do not determine the force constants'
        return fit
    fit.phonon = phonon
    return fit


def count_parameters(phonon: Phonopy) -> int:
    """Return the number of independent harmonic force constants of the supercell, as symfc counts them."""
    from symfc import Symfc

    solver = Symfc(phonon.supercell, spacegroup_operations=None)
    solver.compute_basis_set(2)
    return int(solver.basis_set[2].basis_set.shape[1])
