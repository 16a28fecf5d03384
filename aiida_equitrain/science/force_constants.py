"""Harmonic force constants fitted to labelled frames without any potential: the baseline beside every result.

Atoms of frames may come in any order; each is brought onto the supercell of a given unit cell. Frames of one unstrained
cell are fitted by themselves where they are enough. Where they are not, strained frames enter, and what a strain does
to free atoms is fitted with the force constants: left out, it is taken for a restoring force, which spoiled the optical
modes of silicon from frames that were strained by 2 % (0.44 THz over the zone, 0.11 with it).
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
from .correction import Basis, make_basis, symmetric_fields
from .frames import Frame
from .internal_strain import strain_fields, strain_of, symmetric_part, unit_strains
from .phonopy_io import make_force_constants
from .supercell_frames import OTHER_SUPERCELL, STRAIN_TOLERANCE

Array = NDArray[np.float64]

#: Unstrained frames are enough by themselves if they give so many equations per force constant.
ENOUGH = 2.0
#: What was fitted, for people.
METHODS = {
    'unstrained': 'unstrained frames alone',
    'internal_strain': 'strained frames, with the forces that a strain causes fitted too',
    'plain': 'all frames as if unstrained (too many force constants for more)',
}


@dataclass
class MappedFrame:
    """A frame on the atoms of a supercell, in phonopy's order.

    :param matrix: supercell matrix of phonopy, shape (3, 3): rows of the supercell are ``matrix.T @ unitcell``.
    :param order: ``order[i]`` is the frame's atom that sits on atom ``i`` of the supercell.
    :param displacements: Å, shape (N, 3), without their mean.
    :param forces: eV/Å, shape (N, 3), without their mean.
    :param strain: of the frame's cell against the supercell, shape (3, 3).
    """

    matrix: NDArray[np.int64]
    order: NDArray[np.int64]
    displacements: Array
    forces: Array
    strain: Array


@dataclass
class Fit:
    """Outcome of a fit.

    :param phonon: phonons with the fitted force constants, ``None`` if there is no answer.
    :param n_frames: frames that were used.
    :param n_parameters: independent force constants, 0 if unknown.
    :param method: key of :data:`METHODS`, empty if nothing was fitted.
    :param n_strain_terms: independent forces linear in strain that were fitted beside them.
    :param reason: one sentence, why there is no answer.
    :param left_out: sentences about frames that could not be used.
    """

    phonon: Phonopy | None = None
    n_frames: int = 0
    n_parameters: int = 0
    method: str = ''
    n_strain_terms: int = 0
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
    if strain > OTHER_SUPERCELL:
        raise ValueError(f'its cell is strained by {100 * strain:.0f} % from a supercell of the unit cell')
    return np.array(matrix.T)


def map_frame_to_supercell(unitcell: PhonopyAtoms, frame: Frame, supercell: PhonopyAtoms | None = None) -> MappedFrame:
    """Bring a frame onto the supercell of ``unitcell`` that it is.

    Displacements are differences of fractional coordinates, by the nearest image, turned into Å with the frame's own
    lattice: a strain is no displacement. Displacements and forces are turned back by the rotation of the cell. Atoms
    are assigned so that the sum of squared distances within each species is smallest; the mean displacement is removed
    before the final assignment.

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
    strain, rotation = strain_of(np.array(supercell.cell), frame.cell)
    displacements = difference @ frame.cell @ rotation
    forces = np.asarray(frame.forces)[order] @ rotation
    return MappedFrame(
        matrix=matrix,
        order=np.asarray(order, dtype=np.int64),
        displacements=displacements - displacements.mean(axis=0),
        forces=forces - forces.mean(axis=0),
        strain=strain,
    )


def fit_force_constants(
    unitcell: PhonopyAtoms,
    frames: Iterable[Frame],
    *,
    primitive_matrix: Any = 'auto',
    symprec: float = SYMPREC,
) -> Fit:
    """Fit harmonic force constants to frames in the basis of symfc; never raises for data that allow no answer.

    Only frames of one and the same supercell, the most frequent one, enter; of these the unstrained ones alone if they
    are enough. The forces on the undisplaced cell that symmetry allows are fitted too.

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
    fit = Fit(n_frames=len(used), left_out=left_out)
    if max(np.abs(item.displacements).max() for item in used) < 1e-8:
        fit.reason = 'no atom of any frame is displaced'
        return fit
    try:
        basis = make_basis(phonon)
    except ValueError:
        basis = None
    fit.n_parameters = count_parameters(phonon) if basis is None else basis.n_constants
    # Three rows per frame only say that the forces sum to zero.
    per_frame = 3 * len(phonon.supercell) - 3
    if basis is not None:
        fit.method = 'internal_strain'
        group = _unstrained(phonon, used, ENOUGH * fit.n_parameters / per_frame)
        if group:
            fit.method = 'unstrained'
            if len(group) < len(used):
                left_out.append(f'{len(used) - len(group)} strained frames: the {len(group)} others are enough')
            used, fit.n_frames = group, len(group)
    else:
        fit.method = 'plain'
    if per_frame * len(used) < fit.n_parameters:
        fit.reason = f'{len(used)} frames give {per_frame * len(used)} equations for {fit.n_parameters} force constants'
        return fit
    try:
        if basis is None:
            displacements = np.array([item.displacements for item in used])
            make_force_constants(
                phonon, {'displacements': displacements, 'forces': np.array([item.forces for item in used])}
            )
        else:
            terms = strain_fields(phonon) if fit.method == 'internal_strain' else strain_fields(phonon)[:0]
            fit.n_strain_terms = len(terms)
            phonon.force_constants = _solve(phonon, basis, used, terms)
    except (np.linalg.LinAlgError, RuntimeError, ValueError) as error:
        fit.reason = f'symfc found no answer: {error}'
        return fit
    if not np.isfinite(np.array(phonon.force_constants)).all():
        fit.reason = 'symfc found no answer: the frames do not determine the force constants'
        return fit
    fit.phonon = phonon
    return fit


def _unstrained(phonon: Phonopy, frames: list[MappedFrame], needed: float) -> list[MappedFrame]:
    """Return the frames of one cell that has the crystal's symmetry, if there are as many as needed.

    Of several such volumes it is the one nearest to the crystal's own.
    """
    groups: list[tuple[Array, list[MappedFrame]]] = []
    for item in frames:
        center = symmetric_part(item.strain, phonon)
        if np.abs(item.strain - center).max() > STRAIN_TOLERANCE:
            continue
        for other, members in groups:
            if np.abs(center - other).max() <= STRAIN_TOLERANCE:
                members.append(item)
                break
        else:
            groups.append((center, [item]))
    enough = [(float(np.abs(center).max()), members) for center, members in groups if len(members) >= needed]
    return min(enough, key=lambda pair: pair[0])[1] if enough else []


def _solve(phonon: Phonopy, basis: Basis, frames: list[MappedFrame], strain_terms: Array) -> Array:
    """Return compact force constants by least squares, beside them constant forces and those linear in strain.

    :raises np.linalg.LinAlgError: if the frames do not determine the force constants.
    """
    constant = symmetric_fields(phonon)
    size = basis.n_constants + constant.shape[1] + len(strain_terms)
    normal, right = np.zeros((size, size)), np.zeros(size)
    for item in frames:
        components = np.einsum('mij,ij->m', unit_strains(), item.strain)
        linear = np.einsum('kmia,m->iak', strain_terms, components).reshape(item.forces.size, len(strain_terms))
        rows = np.concatenate([basis.design(item.displacements[None])[0], constant, linear], axis=1)
        normal += rows.T @ rows
        right += rows.T @ item.forces.ravel()
    # What the frames do not show of the strain's forces does no harm; force constants must all be determined.
    scale = np.sqrt(np.where(np.diag(normal) > 0, np.diag(normal), 1.0))
    values, vectors = np.linalg.eigh(normal / np.outer(scale, scale))
    open_ = values < 1e-10 * values[-1]
    if np.any(np.abs(vectors[: basis.n_constants, open_]) > 1e-6):
        raise np.linalg.LinAlgError('the frames do not determine the force constants')
    inverse = np.where(open_, 0.0, 1 / np.where(open_, 1.0, values))
    solution = (vectors * inverse) @ (vectors.T @ (right / scale)) / scale
    return basis.force_constants(solution[: basis.n_constants])


def frames_shared(reference: Phonopy, frames: Iterable[Frame]) -> tuple[int, int]:
    """Return how many displaced supercells that phonons were made of are among labelled frames, and how many there are.

    They are known by their forces, whatever the order of the atoms; a net force does not count.
    """
    dataset: Any = reference.dataset or {}
    sets = [entry['forces'] for entry in dataset.get('first_atoms', []) if entry.get('forces') is not None]
    if 'forces' in dataset:
        sets = list(dataset['forces'])
    numbers = np.array(reference.supercell.numbers)
    known = [_sorted_forces(numbers, np.array(forces, dtype=float)) for forces in sets]
    given = [
        _sorted_forces(np.asarray(frame.numbers), np.asarray(frame.forces))
        for frame in frames
        if len(frame) == len(numbers)
    ]
    shared = sum(any(np.allclose(forces, other, rtol=0.0, atol=1e-6) for other in given) for forces in known)
    return shared, len(known)


def _sorted_forces(numbers: NDArray[Any], forces: Array) -> Array:
    """Return the norms of the forces (N,), without their mean, by element and size."""
    norms = np.linalg.norm(forces - forces.mean(axis=0), axis=1)
    return np.array(norms[np.lexsort((norms, numbers))])


def count_parameters(phonon: Phonopy) -> int:
    """Return the number of independent harmonic force constants of the supercell, as symfc counts them."""
    from symfc import Symfc

    solver = Symfc(phonon.supercell, spacegroup_operations=None)
    solver.compute_basis_set(2)
    return int(solver.basis_set[2].basis_set.shape[1])
