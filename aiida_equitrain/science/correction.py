r"""Force constants of a potential, corrected by a few labelled frames.

What a potential gets wrong is small and nearly harmonic: its own anharmonic forces cancel in F_DFT(u) - F_ML(u). To
this difference the basis of symfc is fitted, :math:`\Phi = \Phi_\mathrm{ML} + \Delta\Phi`, with a Gaussian prior

.. math::

   \Delta\Phi_{ij} \sim N(0, \tau^2 w_{ij}^2), \qquad F_\mathrm{DFT} - F_\mathrm{ML} + \Delta\Phi u \sim N(0, \sigma^2)

that says "the potential is right, up to a correction that falls off" (see :func:`prior_weights`); on-site blocks
follow from the sum rule and are not held. The marginal likelihood of the labels weighs shapes w and widths τ, each with
its likeliest noise σ, and whether the potential's anharmonic forces help. With fewer equations than force constants the
prior decides what the labels leave open; with many labels it has no say and the result is the plain fit. Leaving frames
out judges the outcome: where the correction does not predict forces that it has not seen better than the potential
alone, or is no more likely, the potential's force constants are returned as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc, full_fc_to_compact_fc
from phonopy.interface.symfc import SymfcFCSolver
from scipy.sparse import csr_array

Array = NDArray[np.float64]

#: Matrices of this dimension take half a gigabyte each.
MAX_CONSTANTS = 8000
#: What is added to |Φ_ML| relative to the largest pair in a prior of that shape: a long-range error is not ruled out.
FLOOR = 0.01
#: The logarithm of the marginal likelihood must rise by this against the potential alone: noise that a prior of three
#: shapes and one width happens to fit does not reach it (odds of 150 to 1).
EVIDENCE_GAIN = 5.0
#: Groups of atoms that are left out in turn where there is one frame only, or one and its opposite.
ATOM_FOLDS = 8
#: Å and eV/Å: frames that differ by less are one frame.
SAME_FRAME = 1e-6
#: Relative: what two frames tell of the force constants is the same, such as u, -u and any image of it by symmetry.
SAME_MESSAGE = 1e-4
#: Relative: so much of a design matrix is rounding of positions in files.
ROUNDING = 1e-4


@dataclass
class Basis:
    """symfc's orthonormal basis of the harmonic force constants of a supercell, as phonopy's compact ones.

    :param expand: compressed coordinates to compact force constants, shape (p * N * 9, C), sparse.
    :param vectors: basis vectors in compressed coordinates, shape (C, n).
    :param symfc: the basis set as symfc made it.
    :param pairs: index of symfc's pair for every two atoms of the supercell, shape (N, N).
    :param primitive_atoms: the p atoms of the supercell that stand for the primitive cell.
    """

    expand: csr_array
    vectors: Array
    symfc: Any
    pairs: NDArray[np.int64]
    primitive_atoms: NDArray[np.int64]

    @property
    def n_constants(self) -> int:
        """Return the number of independent force constants."""
        return int(self.vectors.shape[1])

    @cached_property
    def map(self) -> csr_array:
        """Return coefficients to compact force constants, shape (p * N * 9, n), sparse: a vector has one orbit."""
        small = 1e-12 * float(np.abs(self.vectors).max())
        return csr_array(self.expand @ csr_array(np.where(np.abs(self.vectors) > small, self.vectors, 0.0)))

    def force_constants(self, coefficients: Array) -> Array:
        """Return compact force constants (p, N, 3, 3) of coefficients (n,)."""
        flat = self.expand @ (self.vectors @ coefficients)
        return np.array(flat).reshape(len(self.primitive_atoms), len(self.pairs), 3, 3)

    def design(self, displacements: Array) -> Array:
        """Return the forces of every basis vector, shape (F, 3N, n), for displacements (F, N, 3)."""
        from symfc.utils.solver_utils_O2 import reshape_compr_mat_O2

        n_atoms = len(self.pairs)
        matrix = reshape_compr_mat_O2(
            self.symfc.compact_compression_matrix, self.symfc.atomic_decompr_idx, n_atoms, 0, n_atoms
        )
        flat = displacements.reshape(len(displacements), -1)
        return np.stack([-(row @ matrix).reshape(3 * n_atoms, -1) @ self.vectors for row in flat])

    def penalty(self, weights: Array) -> Array:
        """Return the matrix (n, n) of the sum of squared force constants with a weight per pair of atoms (N, N)."""
        compress = self.symfc.compact_compression_matrix
        by_pair = np.zeros(compress.shape[0] // 9)
        by_pair[self.pairs.ravel()] = weights.ravel()
        inner = compress.T @ compress.multiply(np.repeat(by_pair, 9)[:, None]).tocsr()
        n_translations = 9 * self.pairs.size // compress.shape[0]
        return np.array(n_translations * (self.vectors.T @ (inner @ self.vectors)))

    def pair_norms(self, force_constants: Array) -> Array:
        """Return the norm of the 3x3 block of every two atoms, shape (N, N), from compact force constants."""
        return self.every_pair(np.linalg.norm(force_constants, axis=(2, 3)))

    def every_pair(self, values: Array) -> Array:
        """Return values of every two atoms of the supercell (N, N) from those of the primitive cell's atoms (p, N)."""
        by_pair = np.zeros(int(self.pairs.max()) + 1)
        by_pair[self.pairs[self.primitive_atoms].ravel()] = values.ravel()
        return np.array(by_pair[self.pairs])


@dataclass
class Posterior:
    """What is known of the error of force constants, in a form that a file takes.

    :param map: independent force constants to compact ones, shape (p * N * 9, n), sparse.
    :param covariance: of the independent ones, (eV/Å²)², shape (n, n).
    """

    map: csr_array
    covariance: Array

    @property
    def n_constants(self) -> int:
        """Return the number of independent force constants."""
        return len(self.covariance)

    @cached_property
    def factor(self) -> Array:
        """Return the matrix (n, r) whose product with its transpose is the covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        kept = values > 1e-12 * max(float(values[-1]), 1e-300)
        return np.array(vectors[:, kept] * np.sqrt(values[kept]))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``covariance``, and the map (CSR) as ``map_data``, ``map_indices``, ``map_indptr``, ``map_shape``."""
        return {
            'covariance': self.covariance,
            'map_data': self.map.data,
            'map_indices': self.map.indices,
            'map_indptr': self.map.indptr,
            'map_shape': np.array(self.map.shape),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Posterior:
        """Return what :meth:`to_arrays` wrote."""
        data, indices, indptr = (arrays[f'map_{name}'] for name in ('data', 'indices', 'indptr'))
        shape = tuple(int(number) for number in arrays['map_shape'])
        return cls(csr_array((data, indices, indptr), shape=shape), np.asarray(arrays['covariance'], dtype=float))


@dataclass
class Correction:
    """Corrected force constants and what is known of their error.

    :param force_constants: compact, eV/Å², shape (p, N, 3, 3).
    :param frames: indices of those that are not copies of another.
    :param n_equations: 3N - 3 for every frame, less the forces on the undisplaced supercell that symmetry allows.
    :param n_constants: independent force constants.
    :param determined: whether the frames alone determine them all.
    :param prior: shape of the prior that the labels favour, of :func:`prior_weights`.
    :param prior_width: its width τ, eV/Å² where w is 1: at a distance of 1 Å, or as the potential's largest pair.
    :param is_anharmonic: whether the labels favour the potential's forces over its harmonic ones, -Φu, as what is
        subtracted; a potential whose anharmonicity is wrong would only add noise.
    :param is_corrected: ``False`` where marginal likelihood or leaving frames out does not favour the correction, so
        that it was left off.
    :param noise: standard deviation of what the harmonic correction does not explain, eV/Å.
    :param effective_constants: how many force constants the labels decide, the others being the prior's.
    :param left_out_error: RMS error of forces of frames left out of the fit, those that tell the same together (a frame
        and its opposite); where there are no others, of groups of atoms; eV/Å.
    :param potential_error: RMS error of the potential alone on the frames, eV/Å.
    :param surprise: squared errors of what was left out, relative to what the fit expected of them; the covariance is
        scaled by it where it is above 1.
    :param covariance: of the coefficients of ``basis``, (eV/Å²)², shape (n, n).
    """

    force_constants: Array
    frames: list[int]
    n_equations: int
    n_constants: int
    determined: bool
    prior: str
    prior_width: float
    is_anharmonic: bool
    is_corrected: bool
    noise: float
    effective_constants: float
    left_out_error: float
    potential_error: float
    surprise: float
    covariance: Array
    basis: Basis

    @property
    def n_frames(self) -> int:
        """Return the number of frames of the fit."""
        return len(self.frames)

    @property
    def posterior(self) -> Posterior:
        """Return what error bars are computed from."""
        return Posterior(self.basis.map, self.covariance)

    def draws(self, number: int, seed: int = 0) -> Array:
        """Return force constants (number, p, N, 3, 3) drawn from the posterior."""
        factor = self.posterior.factor
        changes = factor @ np.random.default_rng(seed).normal(size=(factor.shape[1], number))
        return self.force_constants + np.stack([self.basis.force_constants(column) for column in changes.T])


def make_basis(phonon: Phonopy) -> Basis:
    """Return symfc's basis for the supercell and the symmetry of phonons.

    :raises ValueError: one sentence, if there are too many force constants for the memory of an ordinary machine.
    """
    solver = SymfcFCSolver(phonon.supercell, symmetry=phonon.symmetry)
    estimate = solver.estimate_basis_size(orders=[2])[2]
    if estimate > MAX_CONSTANTS:
        raise ValueError(
            f'the supercell has about {estimate} independent force constants, more than {MAX_CONSTANTS}; '
            'take a smaller supercell.'
        )
    basis_set = solver.compute_basis_set(orders=[2])[2]
    n_atoms = len(phonon.supercell)
    pairs = np.asarray(basis_set.atomic_decompr_idx).reshape(n_atoms, n_atoms)
    atoms = np.asarray(phonon.primitive.p2s_map)
    rows = (pairs[atoms][..., None] * 9 + np.arange(9)).ravel()
    expand = basis_set.compact_compression_matrix.tocsr()[rows]
    return Basis(expand, np.asarray(basis_set.basis_set), basis_set, pairs, atoms)


def correct_force_constants(
    phonon: Phonopy, displacements: Array, forces: Array, potential_forces: Array, *, basis: Basis | None = None
) -> Correction:
    """Correct the potential's force constants by frames of the same supercell.

    :param phonon: with the potential's force constants, compact or full.
    :param displacements: Å, shape (F, N, 3), atoms in phonopy's order; one displaced atom is a frame too.
    :param forces: of DFT, eV/Å, shape (F, N, 3).
    :param potential_forces: of the potential on the same frames, less its forces on the undisplaced supercell.
    :param basis: of :func:`make_basis` for this phonon, where it is at hand.
    :raises ValueError: one sentence, if the arrays do not belong to the supercell, or if the displacements say nothing
        about force constants.
    """
    displacements, forces, potential_forces = _checked(phonon, displacements, forces, potential_forces)
    kept = distinct_frames(displacements, forces)
    displacements, forces, potential_forces = (values[kept] for values in (displacements, forces, potential_forces))
    n_atoms, difference = len(phonon.supercell), forces - potential_forces
    basis = basis or make_basis(phonon)
    before = compact_force_constants(phonon)
    fields = symmetric_fields(phonon)
    # A net force is an error of DFT that no force constants explain; nor do they the forces on the undisplaced
    # supercell, which DFT has not relaxed: one constant of the fit for each that symmetry allows.
    targets = [
        _without_constant((values - values.mean(axis=1, keepdims=True)).reshape(len(values), -1), fields)
        for values in (difference, forces - harmonic_forces(phonon, displacements))
    ]
    whole = basis.design(displacements)
    design = _without_constant(whole, fields)
    if np.abs(design).max() <= ROUNDING * np.abs(whole).max():
        raise ValueError(
            'the atoms are displaced only as symmetry lets the whole crystal relax, by which the frames say nothing '
            'about force constants; give frames with random displacements.'
        )
    n_equations = len(difference) * (3 * n_atoms - 3) - fields.shape[1]
    fits = []
    for name, weights in prior_weights(phonon, basis, before).items():
        whitened = _whiten(design, basis.penalty(weights))
        fits += [_fit(name, whitened, target, n_equations) for target in targets]
    best = max(fits, key=lambda fit: fit.log_marginal)
    shares = np.exp([fit.log_marginal - best.log_marginal for fit in fits])
    shares /= shares.sum()
    left_out, surprise = best.leave_out(frame_groups(whole))
    alone = float(np.sqrt(np.mean(targets[0] ** 2)))
    nothing = -0.5 * n_equations * np.log(float(np.sum(targets[0] ** 2)) / n_equations) if alone else np.inf
    is_corrected = bool(left_out < alone and best.log_evidence > nothing + EVIDENCE_GAIN)
    coefficients = np.zeros(basis.n_constants)
    if is_corrected:
        coefficients += sum(share * fit.coefficients(fit.shrinkage) for share, fit in zip(shares, fits, strict=True))
    covariance = sum(
        share * fit.covariance(coefficients) for share, fit in zip(shares, fits, strict=True) if share > 1e-3
    )
    return Correction(
        force_constants=before + basis.force_constants(coefficients),
        frames=kept,
        n_equations=n_equations,
        n_constants=basis.n_constants,
        determined=best.rank == basis.n_constants,
        prior=best.name,
        prior_width=best.width,
        is_anharmonic=best.target is targets[0],
        is_corrected=is_corrected,
        noise=best.noise,
        effective_constants=float(best.shrinkage.sum()),
        left_out_error=left_out,
        potential_error=alone,
        covariance=np.asarray(covariance) * max(surprise, 1.0),
        surprise=surprise,
        basis=basis,
    )


def _checked(phonon: Phonopy, *arrays: Array) -> tuple[Array, Array, Array]:
    """Return displacements, forces and the potential's (F, N, 3) as arrays, or raise a ValueError."""
    n_atoms = len(phonon.supercell)
    displacements, forces, potential_forces = (np.asarray(values, dtype=float) for values in arrays)
    shapes = [values.shape for values in (displacements, forces, potential_forces)]
    if len(set(shapes)) > 1 or displacements.shape[1:] != (n_atoms, 3) or not len(displacements):
        raise ValueError(
            f'displacements {shapes[0]}, forces {shapes[1]} and those of the potential {shapes[2]} do not fit a '
            f'supercell of {n_atoms} atoms; give frames of the very supercell of the phonons.'
        )
    if not all(np.isfinite(values).all() for values in (displacements, forces, potential_forces)):
        raise ValueError('displacements or forces of the frames are not finite.')
    if np.abs(displacements - displacements.mean(axis=1, keepdims=True)).max() < 1e-8:
        raise ValueError('no atom of any frame is displaced, so the frames say nothing about force constants.')
    return displacements, forces, potential_forces


def distinct_frames(displacements: Array, forces: Array) -> list[int]:
    """Return the indices of frames without those that are copies of one before, moved as a whole or not.

    A copy is no second measurement: it would make the fit sure of the noise of the first, and predict it when left out.

    :param displacements: Å, shape (F, N, 3); ``forces`` eV/Å, of the same shape.
    """
    moved = displacements - displacements.mean(axis=1, keepdims=True)
    both = np.concatenate([moved, forces], axis=1).reshape(len(moved), -1)
    kept: list[int] = []
    for index, frame in enumerate(both):
        if not kept or np.abs(both[kept] - frame).max(axis=1).min() > SAME_FRAME:
            kept.append(index)
    return kept


def frame_groups(design: Array) -> NDArray[np.int64]:
    """Return a number (F,) for each frame; those with the same one tell the same of the force constants.

    So do a frame, its opposite, a multiple of it, and its images by symmetry: for each of them the information XᵀX that
    it has about the force constants is the same up to a factor, which its product with one random vector shows.

    :param design: forces of every basis vector, shape (F, 3N, n).
    """
    probe = np.random.default_rng(0).normal(size=design.shape[2])
    told = np.stack([frame.T @ (frame @ probe) for frame in design])
    told /= np.maximum(np.linalg.norm(told, axis=1, keepdims=True), 1e-300)
    first = [
        int(np.argmax(np.linalg.norm(told - message, axis=1) < SAME_MESSAGE)) if message.any() else index
        for index, message in enumerate(told)
    ]
    return np.unique(first, return_inverse=True)[1]


def prior_weights(phonon: Phonopy, basis: Basis, force_constants: Array) -> dict[str, Array]:
    """Return the weights 1/w² of pairs of atoms (N, N), zero on site, for every shape of the prior that is tried.

    - ``distance``: w falls off with the square of the distance r of the nearest images;
    - ``potential``: w follows the norm of the potential's own force constants, with a floor;
    - ``both``: the square root of that times r⁻².
    """
    distances = pair_distances(phonon, basis)
    site = np.eye(len(distances), dtype=bool)
    distances[site] = 1.0
    norms = basis.pair_norms(force_constants)
    relative = norms / max(float(norms[~site].max(initial=0.0)), 1e-12) + FLOOR
    widths = {'distance': distances**-2, 'potential': relative, 'both': np.sqrt(relative) * distances**-2}
    weights = {name: width**-2.0 for name, width in widths.items()}
    for weight in weights.values():
        weight[site] = 0.0
    return weights


def symmetric_fields(phonon: Phonopy) -> Array:
    """Return the forces on the undisplaced supercell that symmetry allows, orthonormal, shape (3N, k).

    None of them is a net force. There are none where no atom is free to move, as in rock salt.
    """
    n_atoms, lattice = len(phonon.supercell), np.array(phonon.supercell.cell).T
    rotations = [
        lattice @ rotation @ np.linalg.inv(lattice) for rotation in phonon.symmetry.symmetry_operations['rotations']
    ]
    fields = []
    for atom in phonon.symmetry.get_independent_atoms():
        images = np.zeros((n_atoms, 3, 3))
        for rotation, permutation in zip(rotations, phonon.symmetry.atomic_permutations, strict=True):
            images[permutation[atom]] += rotation / len(rotations)
        fields.append((images - images.mean(axis=0)).reshape(3 * n_atoms, 3))
    left, values, _ = np.linalg.svd(np.concatenate(fields, axis=1), full_matrices=False)
    return np.array(left[:, values > 1e-5 / n_atoms])


def _without_constant(values: Array, fields: Array) -> Array:
    """Return values (F, 3N, ...) of frames, less the part of their mean that lies in ``fields`` (3N, k)."""
    return values - np.tensordot(fields @ fields.T, values.mean(axis=0), axes=1)


def pair_distances(phonon: Phonopy, basis: Basis) -> Array:
    """Return the distances (Å) of the nearest images of every two atoms of the supercell, shape (N, N)."""
    vectors, multiplicity = phonon.primitive.get_smallest_vectors()
    nearest = vectors[multiplicity[..., 1]] @ phonon.primitive.cell
    return basis.every_pair(np.linalg.norm(nearest, axis=2).T)


def compact_force_constants(phonon: Phonopy) -> Array:
    """Return the force constants of phonons as compact ones, shape (p, N, 3, 3)."""
    values = np.array(phonon.force_constants)
    if values.shape[0] == values.shape[1] != len(phonon.primitive):
        return np.array(full_fc_to_compact_fc(phonon.primitive, values))
    return values


def harmonic_forces(phonon: Phonopy, displacements: Array) -> Array:
    """Return -Φu (F, N, 3), eV/Å, of the phonons' force constants for displacements (F, N, 3) of the supercell."""
    return forces_of_constants(phonon, compact_force_constants(phonon), displacements)


def forces_of_constants(phonon: Phonopy, force_constants: Array, displacements: Array) -> Array:
    """Return -Φu (F, N, 3), eV/Å, of compact force constants (p, N, 3, 3) for displacements (F, N, 3)."""
    full = compact_fc_to_full_fc(phonon.primitive, force_constants)
    return np.array(-np.einsum('ijab,fjb->fia', full, displacements, optimize=True))


def effective_force_constants(
    phonon: Phonopy, displacements: Array, forward: Array, backward: Array, *, basis: Basis | None = None
) -> Array:
    """Return the force constants (p, N, 3, 3) that a potential shows at a finite amplitude.

    Force constants fitted to random displacements are those of a stiffer or softer crystal, as the quartic term shows
    through (AlN at 0.03 Å: by 0.03 THz). To compare with such a reference, correct these and not the harmonic ones.

    :param phonon: with the potential's harmonic force constants.
    :param displacements: Å, shape (F, N, 3), of the amplitude of the frames; no labels are needed.
    :param forward: forces of the potential there; ``backward``: at minus these displacements, where the cubic term and
        the forces on the undisplaced supercell cancel.
    """
    odd = (np.asarray(forward) - np.asarray(backward)) / 2
    return correct_force_constants(
        phonon, displacements, odd, harmonic_forces(phonon, displacements), basis=basis
    ).force_constants


def displacement_arrays(n_atoms: int, dataset: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return displacements and forces (F, N, 3) of a displacement dataset of phonopy, of either type.

    Displacements of single atoms whose forces are not there yet are left out: half a DFT calculation is data too.
    """
    if 'first_atoms' not in dataset:
        return np.array(dataset['displacements'], dtype=float), np.array(dataset['forces'], dtype=float)
    done = [entry for entry in dataset['first_atoms'] if entry.get('forces') is not None]
    displacements = displacements_of(n_atoms, {'first_atoms': done})
    forces = np.array([entry['forces'] for entry in done], dtype=float).reshape(displacements.shape)
    return displacements, forces


def displacements_of(n_atoms: int, dataset: Mapping[str, Any]) -> Array:
    """Return the displacements (F, N, 3) of a displacement dataset of phonopy, of either type."""
    if 'first_atoms' not in dataset:
        return np.array(dataset['displacements'], dtype=float)
    displacements = np.zeros((len(dataset['first_atoms']), n_atoms, 3))
    for frame, entry in zip(displacements, dataset['first_atoms'], strict=True):
        frame[entry['number']] = entry['displacement']
    return displacements


def count_frames_needed(phonon: Phonopy, limit: int = 1000) -> int:
    """Return how many frames with random displacements of all atoms determine all force constants without a potential.

    They do so once the displacements and their images by all symmetry operations of the supercell span the space of all
    displacements: each irreducible representation needs as many vectors as it occurs there.
    """
    random, n_atoms = np.random.default_rng(0), len(phonon.supercell)
    lattice = np.array(phonon.supercell.cell).T
    operations = phonon.symmetry.symmetry_operations
    rotations = [lattice @ rotation @ np.linalg.inv(lattice) for rotation in operations['rotations']]
    permutations = phonon.symmetry.atomic_permutations
    gram = np.zeros((3 * n_atoms, 3 * n_atoms))
    for number in range(1, limit + 1):
        frame = random.normal(size=(n_atoms, 3))
        frame -= frame.mean(axis=0)
        images = np.empty((len(rotations), n_atoms, 3))
        for image, rotation, permutation in zip(images, rotations, permutations, strict=True):
            image[permutation] = frame @ rotation.T
        flat = images.reshape(len(images), -1)
        gram += flat.T @ flat / len(flat)
        if np.linalg.matrix_rank(gram, tol=1e-9 * float(np.trace(gram)), hermitian=True) == 3 * n_atoms - 3:
            return number
    return limit


def count_finite_displacements(phonon: Phonopy, distance: float = 0.01) -> int:
    """Return how many supercells with one displaced atom a calculation by finite displacements needs."""
    other = Phonopy(
        phonon.unitcell,
        phonon.supercell_matrix,
        primitive_matrix=phonon.primitive_matrix,
        symprec=float(phonon.symmetry.tolerance),
        log_level=0,
    )
    other.generate_displacements(distance=distance)
    dataset: Any = other.dataset
    return len(dataset['first_atoms'])


@dataclass
class _Fit:
    """A fit with one shape of the prior, averaged over its width.

    ``left`` diag(``values``) ``right`` is the design matrix, whitened by ``root``, the Cholesky factor of the penalty.

    :param ridges: ratios σ²/τ² of the average, shape (K,), with their ``weights`` and noise ``variances`` σ².
    :param log_evidence: logarithm of the marginal likelihood of the best ridge, up to a constant that all fits share.
    :param log_marginal: the same, summed over the ridges.
    """

    name: str
    left: Array
    values: Array
    right: Array
    root: Array
    target: Array
    ridges: Array
    weights: Array
    variances: Array
    log_evidence: float
    log_marginal: float
    n_equations: int

    @property
    def rank(self) -> int:
        return int(np.sum(self.values > 1e-7 * self.values[0]))

    @property
    def noise(self) -> float:
        return float(np.sqrt(self.weights @ self.variances))

    @property
    def width(self) -> float:
        """Return the root mean square of τ."""
        return float(np.sqrt(self.weights @ (self.variances / self.ridges)))

    @property
    def shrinkages(self) -> Array:
        """Return how far the labels decide each singular direction, 0 to 1, for every ridge, shape (K, n)."""
        return np.array(self.values**2 / (self.values**2 + self.ridges[:, None]))

    @property
    def shrinkage(self) -> Array:
        return np.array(self.weights @ self.shrinkages)

    def coefficients(self, shrinkage: Array) -> Array:
        """Return the coefficients (..., n) for shrinkages (..., n) of the singular directions."""
        scaled = shrinkage * (self.left.T @ self.target.ravel()) / np.maximum(self.values, 1e-12 * self.values[0])
        return np.array(scipy.linalg.solve_triangular(self.root, (scaled @ self.right).T).T)

    def covariance(self, center: Array) -> Array:
        """Return the mean square about ``center`` (n,): σ² (XᵀX + ridge P)⁻¹ and the spread of means."""
        outside = float(self.weights @ (self.variances / self.ridges))
        inside = (self.weights * self.variances) @ (1 / (self.values**2 + self.ridges[:, None]))
        inner = outside * np.eye(len(self.root)) + (self.right.T * (inside - outside)) @ self.right
        half = scipy.linalg.solve_triangular(self.root, inner)
        spread = self.coefficients(self.shrinkages) - center
        return np.array(scipy.linalg.solve_triangular(self.root, half.T) + (spread.T * self.weights) @ spread)

    def leave_out(self, groups: NDArray[np.int64]) -> tuple[float, float]:
        """Predict groups of frames (groups of atoms where there is one) that are left out of the fit, the prior kept.

        :param groups: number of the group of each frame, shape (F,).
        :returns: the RMS error of the predictions, eV/Å, and its square relative to what the posterior expects.
        """
        n_rows = len(self.left)
        per_frame = n_rows // len(groups)
        if len(np.unique(groups)) > 1:
            folds = np.repeat(groups, per_frame)
        else:
            atoms = np.repeat(np.random.default_rng(0).permutation(per_frame // 3) % ATOM_FOLDS, 3)
            folds = np.tile(atoms, len(groups))
        target, shrinkage = self.target.ravel(), self.shrinkage
        residual = target - self.left @ (shrinkage * (self.left.T @ target))
        total = relative = 0.0
        for fold in np.unique(folds):
            rows, inside = self.left[folds == fold], residual[folds == fold]
            error = np.linalg.solve(np.eye(len(rows)) - (rows * shrinkage) @ rows.T, inside)
            total += float(error @ error)
            relative += float(error @ inside) / self.noise**2
        return float(np.sqrt(total / n_rows)), relative / self.n_equations


def _whiten(design: Array, penalty: Array) -> tuple[Array, Array, Array, Array]:
    """Return ``left``, ``values``, ``right`` and ``root`` of :class:`_Fit`."""
    root = np.asarray(np.linalg.cholesky(penalty).T, dtype=float)
    whitened = scipy.linalg.solve_triangular(root, design.reshape(-1, design.shape[2]).T, trans='T').T
    return (*np.linalg.svd(whitened, full_matrices=False), root)


def _fit(name: str, whitened: tuple[Array, Array, Array, Array], target: Array, n_equations: int) -> _Fit:
    """Fit with one shape of the prior.

    The marginal likelihood weighs its widths τ; the noise is the likeliest for each.
    A single likeliest width would be overconfident where the labels hardly tell it from zero.
    """
    left, values, right, root = whitened
    projected = (left.T @ target.ravel()) ** 2
    # What no force constants can explain, which rounding must not make zero.
    rest = max(float(np.sum(target**2) - projected.sum()), 1e-12 * float(np.sum(target**2)), 1e-24)
    ridges = values[0] ** 2 * np.exp(np.arange(-30.0, 5.0, 0.25))
    shares = ridges[:, None] / (values**2 + ridges[:, None])
    variances = (shares @ projected + rest) / n_equations
    log_evidence = 0.5 * (np.log(shares).sum(axis=1) - n_equations * np.log(variances))
    # Flat in τ, with dτ = τ dlnτ: the flat likelihood towards τ = 0 gets no more weight than its width.
    log_weights = log_evidence - 0.5 * np.log(ridges / values[0] ** 2)
    weights = np.exp(log_weights - log_weights.max())
    kept = weights > 1e-3
    return _Fit(
        name=name,
        left=left,
        values=values,
        right=right,
        root=root,
        target=target,
        ridges=ridges[kept],
        weights=weights[kept] / weights[kept].sum(),
        variances=variances[kept],
        log_evidence=float(log_evidence.max()),
        log_marginal=float(np.log(np.sum(weights)) + log_weights.max()),
        n_equations=n_equations,
    )
