"""How few DFT labels does a potential need for DFT's phonons? Force constants of a potential, corrected by labels.

    python benchmarks/labels.py --data FILE [--foundation FILE --python PATH] --labels 2 [4 10] --draws 3 [--json]

``labels_table.py`` makes the table and the figure of all sets and foundations.

- ``FILE`` is a params file of phonopy or phono3py with displacements and forces, or a folder or archive of vaspruns;
  the reference is the fit of symfc to all of its frames (the finite-displacement solver for single displaced atoms).
- ``zero_label_mae_thz``: the potential alone, finite displacements of 0.01 Å in the same supercell, at DFT's lattice
  and positions; ``symfc_mae_thz``: symfc on the drawn frames, no potential (``null`` where they do not determine the
  force constants); ``corrected_mae_thz``: ``science/correction.py``. Means over bands and mesh, no Born charges.
- The reference shows the crystal at the amplitude of the frames. So that like is compared with like, the potential's
  force constants are corrected as they are at this amplitude (``--pairs`` displacements of the set and their
  opposites, no labels); ``harmonic_mae_thz`` is the error where its harmonic ones are.
- ``uncertainty_thz``: mean error bar (standard deviation) of the mesh's frequencies; ``coverage_68``: share of them
  that lie within one error bar of the reference, its own error (``reference_sigma_thz``, from the residual of its fit)
  added in quadrature; ``coverage_68_bare``: without that. Acoustic modes at Γ are left out.
- ``--pypolymlp PATH``: a Python with phonopy and pypolymlp (``pypolymlp_fit.py`` says how); adds what phonopy's
  ``--pypolymlp`` makes of the same frames, ``pypolymlp_mae_thz`` and ``seconds_pypolymlp``, where the set has energies.
- The potential runs once, for the frames that are drawn, in a child process with ``--python``; its forces are kept
  below ``--cache`` and not computed again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_equitrain.science.correction import (
    Basis,
    compact_force_constants,
    correct_force_constants,
    count_finite_displacements,
    count_frames_needed,
    displacement_arrays,
    effective_force_constants,
    make_basis,
)
from aiida_equitrain.science.displaced_frames import displaced_phonon, load_labelled
from aiida_equitrain.science.error_bars import modes_at
from aiida_equitrain.science.phonon_metrics import error_metrics, frequencies_at
from aiida_equitrain.science.phonopy_io import load_phonopy, make_force_constants
from aiida_equitrain.setup.shipped import starter_files

Array = NDArray[np.float64]

CHILD = Path(__file__).with_name('potential_forces.py')
PYPOLYMLP = Path(__file__).with_name('pypolymlp_fit.py')
#: Modes below are the acoustic ones at Γ, zero by the sum rule.
ZERO_THZ = 1e-2


@dataclass
class Crystal:
    """A data set with what all of its rows share.

    :param reference: phonons of the fit to all frames, on whose supercell the frames are.
    :param displacements: Å, shape (F, N, 3).
    :param forces: of DFT, eV/Å, shape (F, N, 3).
    :param energies: of DFT, eV, shape (F,), where the file has them.
    """

    name: str
    reference: Any
    displacements: Array
    forces: Array
    energies: Array | None = None


def count(text: str) -> int:
    """Return a number of the command line that is at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is below 1')
    return number


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, nargs='+', required=True, help='params files of phonopy or phono3py')
    parser.add_argument('--foundation', type=Path, default=None, help='model file; default: the starter')
    parser.add_argument('--python', default=sys.executable, help='Python of the potential; default: this')
    parser.add_argument('--labels', type=count, nargs='+', default=[1, 2, 4], help='numbers of labelled frames')
    parser.add_argument('--draws', type=count, default=3, help='random draws of the frames, each by itself')
    parser.add_argument('--pairs', type=count, default=8, help='of opposite displacements for the potential')
    parser.add_argument('--mesh', type=count, nargs=3, default=[10, 10, 10], help='q-points; 20x20x20 gives the same')
    cache = Path(tempfile.gettempdir()) / f'equitrain-labels-{os.getuid()}'
    parser.add_argument('--cache', type=Path, default=cache, help='folder of forces computed before')
    parser.add_argument('--pypolymlp', metavar='PYTHON', help='also fit polynomial potentials, with this Python')
    parser.add_argument('--json', action='store_true', help='print the rows as a JSON list')
    return parser.parse_args()


def load_crystal(path: Path) -> Crystal:
    """Return the frames of a file and the phonons that all of them give together."""
    try:
        labelled = load_labelled(path)
        name, reference, frames = labelled.name, labelled.reference, list(labelled.frames)
    except ValueError:
        try:
            reference = load_phonopy(path, acoustic_sum_rule=True)
        except ValueError as error:
            raise SystemExit(str(error)) from error
        name, frames = path.name.split('.')[0], []
    dataset: Any = reference.dataset
    if dataset is None:
        raise SystemExit(f'`{path}` holds no displacements with forces; give a params file of phonopy or phono3py.')
    energies = dataset.get('supercell_energies')
    if energies is None:
        energies = [frame.energy for frame in frames if len(frame) == len(reference.supercell)]
    displacements, forces = displacement_arrays(len(reference.supercell), dataset)
    known = np.array(energies, dtype=float)
    complete = len(known) == len(displacements) and np.isfinite(known).all()
    return Crystal(name, reference, displacements, forces, known if complete else None)


def potential_forces(crystal: Crystal, displacements: Array, foundation: Path, python: str, cache: Path) -> Array:
    """Return the potential's forces (F, N, 3) on displaced supercells, from the cache where they are there."""
    supercell = crystal.reference.supercell
    known: dict[str, Array] = {}
    cell = np.round(supercell.cell, 9).tobytes() + np.round(supercell.positions, 9).tobytes()
    digest = hashlib.sha256(foundation.read_bytes() + cell + np.array(supercell.numbers).tobytes()).hexdigest()
    file = cache / f'{crystal.name}-{foundation.stem}-{digest[:16]}.npz'
    if file.is_file():
        with np.load(file) as stored:
            known = dict(stored)
    keys = [hashlib.sha256(np.round(frame, 9).tobytes()).hexdigest()[:32] for frame in displacements]
    missing = {key: frame for key, frame in zip(keys, displacements, strict=True) if key not in known}
    if missing:
        positions = supercell.positions + np.array(list(missing.values()))
        known.update(zip(missing, run_child(supercell, positions, foundation, python)['forces'], strict=True))
        cache.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix('.tmp.npz')
        np.savez(scratch, **known)
        scratch.replace(file)
    return np.array([known[key] for key in keys])


def run_child(
    supercell: Any, positions: Array, foundation: Path, python: str, *options: str
) -> dict[str, NDArray[np.float64]]:
    """Return what ``potential_forces.py`` writes, run with the Python of the potential."""
    structures = {'numbers': supercell.numbers, 'cell': supercell.cell, 'positions': positions}
    return run_script(python, [str(CHILD), str(foundation)], structures, *options)


def run_script(python: str, script: list[str], arrays: dict[str, Any], *options: str) -> dict[str, Array]:
    """Return the arrays that a script writes, run with another Python: ``SCRIPT ... INPUT.npz OUTPUT.npz OPTIONS``."""
    with tempfile.TemporaryDirectory(prefix='equitrain-labels-') as scratch:
        given, output = Path(scratch) / 'input.npz', Path(scratch) / 'output.npz'
        np.savez(given, **arrays)
        command = [python, '-W', 'ignore', *script, str(given), str(output), *options]
        # The child's environment is another one: modules of this one must not reach it.
        environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
        child = subprocess.run(command, env=environment, capture_output=True, text=True)
        if child.returncode:
            last = (child.stderr.strip().splitlines() or ['no message'])[-1]
            raise SystemExit(f'`{" ".join(map(os.path.basename, script))}` failed with `{python}`: {last}')
        with np.load(output) as stored:
            return dict(stored)


def potential_phonon(phonon: Any, forces: Array) -> Any:
    """Return the potential's phonons.

    :param phonon: with displacements and no forces yet; it gets them.
    :param forces: on the supercells with one displaced atom, less those on the undisplaced one.
    """
    for entry, force in zip(phonon.dataset['first_atoms'], forces, strict=True):
        entry['forces'] = force
    make_force_constants(phonon, phonon.dataset, acoustic_sum_rule=True)
    return phonon


def polynomial_phonon(
    python: str | None,
    reference: Any,
    displacements: Array,
    forces: Array,
    energies: Array | None,
    supercell: Any = None,
) -> tuple[Any, float] | None:
    """Return phonons of a polynomial potential fitted to frames, and the seconds; ``None`` where it cannot be fitted.

    :param python: one with phonopy and pypolymlp; without it there is no fit.
    :param reference: phonons whose cell and supercell those of the fit get.
    :param displacements: (F, N, 3), Å, of the supercell; ``forces`` (F, N, 3), eV/Å.
    :param energies: (F,), eV, without which there is no fit; nor with one frame, as phonopy tests on a tenth, at least
        one.
    :param supercell: of the frames; default: that of the reference.
    """
    if python is None or energies is None or len(displacements) < 2:
        return None
    start, finite = time.time(), displaced_phonon(reference)
    supercell = reference.supercell if supercell is None else supercell
    cells = [finite.supercell, *finite.supercells_with_displacements]
    arrays = {
        'numbers': supercell.numbers,
        'cell': supercell.cell,
        'positions': supercell.positions,
        'displacements': displacements,
        'forces': forces,
        'energies': energies,
        'wanted_numbers': finite.supercell.numbers,
        'wanted_cell': finite.supercell.cell,
        'wanted_positions': np.array([cell.positions for cell in cells]),
    }
    found = run_script(python, [str(PYPOLYMLP)], arrays)['forces']
    seconds = round(time.time() - start, 1)
    return potential_phonon(finite, found[1:] - found[0]), seconds


def polynomial_columns(fit: tuple[Any, float] | None, error: Callable[[Any], float]) -> dict[str, float | None]:
    """Return the columns of a polynomial potential."""
    if fit is None:
        return {'pypolymlp_mae_thz': None, 'seconds_pypolymlp': None}
    return {'pypolymlp_mae_thz': error(fit[0]), 'seconds_pypolymlp': fit[1]}


class Table:
    """Compute the rows of one data set and one foundation."""

    def __init__(self, crystal: Crystal, foundation: Path, python: str, args: argparse.Namespace) -> None:
        self.crystal, self.foundation, self.pypolymlp = crystal, foundation, args.pypolymlp
        n_frames = len(crystal.forces)
        too_many = [number for number in args.labels if not 1 <= number <= n_frames]
        if too_many:
            raise SystemExit(f'--labels {too_many[0]}: `{crystal.name}` has {n_frames} frames.')
        self.drawn = {
            (number, draw): np.random.default_rng([draw, number]).permutation(n_frames)[:number]
            for number in args.labels
            for draw in range(args.draws)
        }
        used = sorted({int(index) for chosen in self.drawn.values() for index in chosen})
        finite = displaced_phonon(crystal.reference)
        singles, _ = displacement_arrays(len(finite.supercell), _with_zeros(finite.dataset, len(finite.supercell)))
        # The frames that are drawn first, as the potential runs for them anyway.
        pairs = crystal.displacements[(used + [k for k in range(n_frames) if k not in used])[: args.pairs]]
        groups = [np.zeros((1, *singles.shape[1:])), singles, crystal.displacements[used], pairs, -pairs]
        start = time.time()
        forces = potential_forces(crystal, np.concatenate(groups), foundation, python, args.cache)
        self.seconds_potential = time.time() - start
        pristine, single, frames, forward, backward = np.split(forces, np.cumsum([len(g) for g in groups])[:-1])
        self.harmonic = potential_phonon(finite, single - pristine)
        self.potential_forces = dict(zip(used, frames - pristine, strict=True))
        self.basis = make_basis(self.harmonic)
        self.phonon = self.harmonic.copy()
        self.phonon.force_constants = effective_force_constants(
            self.harmonic, pairs, forward, backward, basis=self.basis
        )
        crystal.reference.run_mesh(args.mesh)
        grid: Any = crystal.reference.mesh
        self.qpoints, self.weights = np.array(grid.qpoints), np.array(grid.weights, dtype=float)
        self.frequencies = frequencies_at(crystal.reference, self.qpoints)
        self.zero_label = self.error(compact_force_constants(self.harmonic))
        covariance = reference_covariance(crystal, self.basis)
        self.reference_sigma = modes_at(crystal.reference, self.basis, self.qpoints).sigma(covariance)

    def error(self, force_constants: Array) -> float:
        """Return the mean error over bands and mesh, THz."""
        phonon = self.phonon.copy()
        phonon.force_constants = force_constants
        found = frequencies_at(phonon, self.qpoints)
        return error_metrics(found, self.frequencies, self.weights)['phonon_mae_thz']

    def symfc_error(self, chosen: NDArray[np.int64]) -> float | None:
        """Return the error of symfc on the frames alone, ``None`` where they do not determine the force constants."""
        design = self.basis.design(self.crystal.displacements[chosen]).reshape(-1, self.basis.n_constants)
        coefficients, _, rank, _ = np.linalg.lstsq(design, self.crystal.forces[chosen].ravel(), rcond=1e-7)
        return self.error(self.basis.force_constants(coefficients)) if rank == self.basis.n_constants else None

    def polynomial(self, chosen: NDArray[np.int64]) -> dict[str, float | None]:
        """Return error and time of a polynomial potential fitted to the frames, where it can be."""
        crystal = self.crystal
        energies = None if crystal.energies is None else crystal.energies[chosen]
        fit = polynomial_phonon(
            self.pypolymlp, crystal.reference, crystal.displacements[chosen], crystal.forces[chosen], energies
        )
        return polynomial_columns(fit, lambda phonon: self.error(compact_force_constants(phonon)))

    def row(self, number: int, draw: int) -> dict[str, Any]:
        """Return one row."""
        chosen, start = self.drawn[number, draw], time.time()
        correction = correct_force_constants(
            self.phonon,
            self.crystal.displacements[chosen],
            self.crystal.forces[chosen],
            np.array([self.potential_forces[int(index)] for index in chosen]),
            basis=self.basis,
        )
        seconds, phonon = time.time() - start, self.phonon.copy()
        phonon.force_constants = correction.force_constants
        modes = modes_at(phonon, self.basis, self.qpoints)
        sigma = modes.sigma(correction.covariance)
        deviation = np.abs(modes.frequencies - self.frequencies)
        return {
            'material': self.crystal.name,
            'foundation': self.foundation.stem,
            'n_labels': number,
            'draw': draw,
            'zero_label_mae_thz': self.zero_label,
            'symfc_mae_thz': self.symfc_error(chosen),
            **self.polynomial(chosen),
            'corrected_mae_thz': float(np.average(deviation.mean(axis=1), weights=self.weights)),
            'harmonic_mae_thz': self.error(
                correction.force_constants
                + compact_force_constants(self.harmonic)
                - compact_force_constants(self.phonon)
            ),
            'uncertainty_thz': float(np.average(sigma.mean(axis=1), weights=self.weights)),
            'coverage_68': self.coverage(deviation, np.hypot(sigma, self.reference_sigma)),
            'coverage_68_bare': self.coverage(deviation, sigma),
            'reference_sigma_thz': float(np.average(self.reference_sigma.mean(axis=1), weights=self.weights)),
            'prior': correction.prior,
            'is_anharmonic': correction.is_anharmonic,
            'is_corrected': correction.is_corrected,
            'determined': correction.determined,
            'n_equations': correction.n_equations,
            'n_constants': correction.n_constants,
            'effective_constants': correction.effective_constants,
            'noise_ev_per_angstrom': correction.noise,
            'left_out_error_ev_per_angstrom': correction.left_out_error,
            'potential_error_ev_per_angstrom': correction.potential_error,
            'n_frames_that_determine': count_frames_needed(self.phonon),
            'n_finite_displacements': count_finite_displacements(self.phonon),
            'n_reference_frames': len(self.crystal.forces),
            'seconds_fit': round(seconds, 2),
            'seconds_potential': round(self.seconds_potential, 1),
        }

    def coverage(self, deviation: Array, sigma: Array) -> float:
        """Return the share of frequencies within one standard deviation."""
        counted = np.broadcast_to(self.weights[:, None], deviation.shape) * (np.abs(self.frequencies) > ZERO_THZ)
        return float(np.average(deviation <= sigma, weights=counted))


def reference_covariance(crystal: Crystal, basis: Basis) -> Array:
    """Return the covariance of the plain fit to all frames, for noise that is independent in every force.

    Frames in opposite pairs count as one: what is even in the displacements cancels in them.
    """
    size = basis.n_constants
    normal, right, total = np.zeros((size, size)), np.zeros(size), 0.0
    frames = merge_pairs(crystal.displacements, crystal.forces)
    for displacements, forces in frames:
        design = basis.design(displacements[None])[0]
        normal += design.T @ design
        right += design.T @ forces.ravel()
        total += float(np.sum(forces**2))
    inverse = np.linalg.pinv(normal, hermitian=True)
    equations = len(frames) * (crystal.forces[0].size - 3)
    return np.array(inverse * max(total - right @ inverse @ right, 0.0) / max(equations - size, 1))


def merge_pairs(displacements: Array, forces: Array) -> list[tuple[Array, Array]]:
    """Return displacements and forces of frames, opposite displacements as one frame with half the difference."""
    left, merged = list(range(len(displacements))), []
    while left:
        first = left.pop(0)
        other = [k for k in left if np.allclose(displacements[k], -displacements[first], atol=1e-6)]
        if other:
            left.remove(other[0])
            merged.append((displacements[first], (forces[first] - forces[other[0]]) / 2))
        else:
            merged.append((displacements[first], forces[first]))
    return merged


def _with_zeros(dataset: Any, n_atoms: int) -> dict[str, Any]:
    return {'first_atoms': [{**entry, 'forces': np.zeros((n_atoms, 3))} for entry in dataset['first_atoms']]}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text."""
    columns = ('zero_label_mae_thz', 'symfc_mae_thz', 'corrected_mae_thz', 'uncertainty_thz', 'coverage_68')
    head = f'{"material":10s}{"foundation":24s}{"labels":>7s}{"draw":>5s}{"zero":>9s}{"symfc":>9s}{"corrected":>10s}'
    lines = [f'{head}{"error bar":>10s}{"coverage":>9s}']
    for row in rows:
        values = ['-' if row[name] is None else f'{row[name]:.4f}' for name in columns]
        lines.append(
            f'{row["material"]:10s}{row["foundation"]:24s}{row["n_labels"]:7d}{row["draw"]:5d}{values[0]:>9s}'
            f'{values[1]:>9s}{values[2]:>10s}{values[3]:>10s}{float(values[4]):9.2f}'
        )
    return '\n'.join(lines)


def main() -> None:
    args = read_arguments()
    warnings.simplefilter('ignore')
    foundation = (args.foundation or starter_files()[0]).resolve()
    rows = []
    for file in (*args.data, foundation):
        if not file.exists():
            raise SystemExit(f'There is no `{file}`.')
    for path in args.data:
        crystal = load_crystal(path)
        computed = Table(crystal, foundation, args.python, args)
        for number, draw in computed.drawn:
            rows.append(computed.row(number, draw))
            print(f'{crystal.name}, {number} labels, draw {draw}', file=sys.stderr)
    print(json.dumps(rows) if args.json else table(rows))


if __name__ == '__main__':
    main()
