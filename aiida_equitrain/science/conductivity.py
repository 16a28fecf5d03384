"""Lattice thermal conductivity with phono3py (Togo, Chaput and Tanaka, Phys. Rev. B 91, 094306 (2015))."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc

from ..common.phonon_settings import SYMPREC
from .correction import compact_force_constants
from .force_sets import atom_order, check_displacements
from .phonopy_io import check_primitive, nac_params
from .phonopy_yaml import PhonopyFile, parse_phonopy, quiet, read_content
from .text_files import shown

Array = NDArray[np.float64]

#: Order of the six components of a conductivity tensor.
COMPONENTS = ('xx', 'yy', 'zz', 'yz', 'xz', 'xy')


def load_phono3py(path: str | Path, nac: Mapping[str, Array] | None = None, symprec: float | None = None) -> Any:
    """Return phono3py's object with force constants of second and third order, in Å and eV.

    As ``phono3py.load`` makes them, which would run code of the YAML, leave the file's tolerance aside and look into
    the working directory.

    :param path: ``phono3py_params.yaml``, compressed or not, with forces.
    :param nac: ``born_charges`` (n, 3, 3) and ``dielectric`` (3, 3); those of the file are used without it.
    :param symprec: tolerance of the symmetry search, Å; that of the file without it, or else ``SYMPREC``.
    :raises ValueError: one sentence, if the file cannot be read or holds no forces.
    """
    from phono3py.cui.load import compute_force_constants_from_datasets

    content = read_content(path)
    third = parse_phonopy(content, Path(path))
    harmonic = parse_phonopy(content, Path(path), 'phonon_') if 'phonon_supercell_matrix' in content else None
    tolerance = symprec or third.symprec or SYMPREC
    with quiet():
        try:
            solver = _solver(third, harmonic, tolerance)
            if nac is not None:
                solver.nac_params = nac_params(solver.primitive, nac['born_charges'], nac['dielectric'], tolerance)
            elif third.nac is not None:
                solver.nac_params = third.nac
            compute_force_constants_from_datasets(solver, use_symfc_projector=True)
        except Exception as error:
            text = shown((str(error).strip().splitlines() or [type(error).__name__])[0])
            raise ValueError(
                f'`{path}`: phono3py makes no force constants of it with a tolerance of {tolerance:g} Å: {text}'
            ) from error
    check_primitive(solver.supercell, solver.primitive, path)
    for dataset in (solver.dataset, solver.phonon_dataset):
        _check_moves(dataset or {}, third)
    if atom_order(solver.supercell, third) is not None:
        raise ValueError(f'`{path}`: its supercell has its atoms in another order than that of phono3py.')
    if solver.fc3 is None or solver.fc2 is None:
        raise ValueError(f'`{path}` holds no forces on supercells with two displaced atoms.')
    return solver


def take_second_order(solver: Any, phonon: Phonopy) -> None:
    """Replace the force constants of second order, and a missing non-analytical term, by those of phonons.

    :raises ValueError: one sentence, if they are of another cell or supercell.
    """
    pairs = {
        'supercell': (solver.phonon_supercell, phonon.supercell),
        'primitive cell': (solver.phonon_primitive, phonon.primitive),
    }
    for name, (here, there) in pairs.items():
        same = len(here) == len(there) and np.array_equal(here.numbers, there.numbers)
        if not same or not np.allclose(here.cell, there.cell, atol=1e-4) or not _same_sites(here, there):
            raise ValueError(f'the {name} of second order is not that of the phonons')
    solver.fc2 = compact_fc_to_full_fc(phonon.primitive, compact_force_constants(phonon))
    if solver.nac_params is None and phonon.nac_params is not None:
        solver.nac_params = phonon.nac_params


def _same_sites(here: Any, there: Any) -> bool:
    apart = np.array(here.scaled_positions) - np.array(there.scaled_positions)
    return bool(np.abs(apart - np.round(apart)).max() < 1e-3)


def _check_moves(dataset: Mapping[str, Any], file: PhonopyFile) -> None:
    """Refuse displacements that are too large, see :func:`~.force_sets.check_displacements`."""
    first = dataset.get('first_atoms', [])
    atoms = [atom for item in first for atom in (item, *item.get('second_atoms', []))]
    moves = [atom['displacement'] for atom in atoms] if first else dataset.get('displacements', [])
    check_displacements(moves, file.cell, [file.path.name] * len(moves))


def _solver(third: PhonopyFile, harmonic: PhonopyFile | None, symprec: float) -> Any:
    """Return phono3py's object with displacements and forces."""
    from phono3py import Phono3py

    solver: Any = Phono3py(
        third.cell,
        third.supercell_matrix,
        primitive_matrix=third.primitive_matrix,
        phonon_supercell_matrix=None if harmonic is None else harmonic.supercell_matrix,
        symprec=symprec,
    )
    solver.dataset = third_order_dataset(third)
    if harmonic is not None:
        solver.phonon_dataset = harmonic.dataset
    return solver


def third_order_dataset(file: PhonopyFile) -> Any:
    """Return displacements and forces of phono3py's supercells for force constants of third order, Å and eV/Å.

    phono3py parses the mapping, which is one of plain values; its numbers are converted here.
    """
    from phono3py.interface.phono3py_yaml import load_phono3py_yaml

    if 'displacement_pairs' not in file.content:
        return file.dataset
    plain = {key: value for key, value in file.content.items() if key != 'physical_unit'}
    dataset: Any = load_phono3py_yaml(plain).dataset
    length, force = file.units.distance_to_A, file.units.force_to_eVperA
    if 'cutoff_distance' in dataset:
        dataset['cutoff_distance'] *= length
    for first in dataset['first_atoms']:
        for atom in (first, *first['second_atoms']):
            atom['displacement'] = atom['displacement'] * length
            if 'forces' in atom:
                atom['forces'] = atom['forces'] * force
            if 'pair_distance' in atom:
                atom['pair_distance'] *= length
    return dataset


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
