"""Labelled frames: one crystal structure with its energy, forces and stress, and files that hold many.

The NumPy file (``frames.npz``) is what the database stores and what jobs read; it is exact and needs no pickle.
Extended XYZ is for people and other codes; it is written with as many digits (up to 17) as make it exact as well.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..common.names import Recipe
from .label_keys import left_out, unit_problem, weightless

Array = NDArray[np.float64]

#: Keys of labels in extended XYZ, as MACE and Equitrain read them without mistaking them for a calculator's results.
ENERGY_KEY, FORCES_KEY, STRESS_KEY = 'REF_energy', 'REF_forces', 'REF_stress'
#: A file of frames holds at most so many bytes, and so many times more than it takes on disk.
MAX_BYTES, MAX_RATIO = 4 * 2**30, 50
#: Arrays of that file: kind of NumPy's type, and shape.
SHAPES: dict[str, tuple[str | int, ...]] = {
    'n_atoms': ('i', 'frames'),
    'numbers': ('iu', 'atoms'),
    'positions': ('fi', 'atoms', 3),
    'forces': ('fi', 'atoms', 3),
    'cells': ('fi', 'frames', 3, 3),
    'pbc': ('b', 'frames', 3),
    'energies': ('fi', 'frames'),
    'stress': ('fi', 'frames', 3, 3),
    'roles': ('U', 'frames'),
    'trajectories': ('i', 'frames'),
}
#: Array of that file which older ones, and those of frames that do not say it, are without.
RECIPES = 'recipes'


@dataclass
class Frame:
    """A labelled structure of ``N`` atoms.

    :param numbers: atomic numbers, shape (N,).
    :param positions: Cartesian, Å, shape (N, 3).
    :param cell: lattice vectors in rows, Å, shape (3, 3).
    :param energy: total energy whose derivatives the forces are (the free energy with smeared occupations), eV;
        ``None`` where there is none.
    :param forces: eV/Å, shape (N, 3).
    :param stress: eV/Å³, shape (3, 3), ASE's sign (positive under tension); ``None`` where there is none.
    :param role: ``train``, ``valid`` or ``test``; empty while undecided.
    :param trajectory: index of the relaxation trajectory that the frame was taken from, -1 if from none.
    :param source: UUID of the node, or name of the file, that the labels come from.
    :param recipe: how the frame was made, one of ``common.names.Recipe``; empty where that is not known.
    """

    numbers: NDArray[np.int64]
    positions: Array
    cell: Array
    energy: float | None
    forces: Array
    stress: Array | None = None
    pbc: tuple[bool, bool, bool] = (True, True, True)
    role: str = ''
    trajectory: int = -1
    source: str = ''
    recipe: str = ''

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.numbers)

    @property
    def formula(self) -> str:
        """Reduced chemical formula, such as ``NaCl``."""
        return str(Atoms(numbers=self.numbers).symbols.formula.reduce()[0].format('hill'))

    def to_atoms(self, keys: bool = False) -> Atoms:
        """Return ASE atoms with the labels as a single-point result, or under the ``REF_*`` keys if ``keys``."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        if keys:
            if self.energy is not None:
                atoms.info[ENERGY_KEY] = self.energy
            atoms.arrays[FORCES_KEY] = np.array(self.forces)
            if self.stress is not None:
                atoms.info[STRESS_KEY] = np.array(self.stress)
        else:
            results: dict[str, Any] = {'forces': np.array(self.forces)}
            if self.energy is not None:
                results['energy'] = results['free_energy'] = self.energy
            if self.stress is not None:
                results['stress'] = np.array(self.stress)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            # Imported here, as ASE's calculators and readers are slow to import, and queries need none.
            from ase.calculators.singlepoint import SinglePointCalculator

            atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info.update(role=self.role, trajectory=self.trajectory, source=self.source)
        if self.recipe:
            atoms.info['recipe'] = self.recipe
        return atoms

    @classmethod
    def from_atoms(cls, atoms: Atoms, **meta: Any) -> Frame:
        """Read labels from the ``REF_*`` keys if there is one, or else from the attached calculator's results.

        Of the results, the free energy comes before the energy, as the forces are its derivatives. A label that is NaN
        is none.

        :param meta: ``role``, ``trajectory``, ``source``, ``recipe``; what is absent is taken from ``atoms.info``,
            where entries of another type than ours are left alone.
        :raises ValueError: if there are no forces, or only those that constraints left, or no numbers.
        """
        energy, forces, stress = _labels(atoms)
        if forces is None:
            missing = 'no energy and no forces' if energy is None else 'no forces'
            raise ValueError(f'the frame {atoms.symbols} has {missing} (keys `{ENERGY_KEY}` and `{FORCES_KEY}`)')
        forces = _floats(forces, 'forces', (len(atoms), 3))
        energy = None if energy is None else float(_floats(energy, 'energy', (1,))[0])
        stress = None if stress is None else _full_stress(stress)
        if _are_constrained(atoms, forces):
            raise ValueError('the forces on its fixed atoms are set to 0: give those without constraints')
        return cls(
            numbers=np.asarray(atoms.numbers, dtype=np.int64),
            positions=np.array(atoms.positions, dtype=float),
            cell=np.array(atoms.cell[:], dtype=float),
            energy=None if energy is None or np.isnan(energy).all() else energy,
            forces=forces,
            stress=None if stress is None or np.isnan(stress).all() else stress,
            pbc=tuple(bool(value) for value in atoms.pbc),  # type: ignore[arg-type]
            **{**_meta(atoms.info), **meta},
        )


@dataclass
class Frames(Sequence[Frame]):
    """An ordered set of labelled frames."""

    items: list[Frame] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        """Return one frame, or the :class:`Frames` of a slice."""
        return Frames(self.items[index]) if isinstance(index, slice) else self.items[index]

    def with_role(self, role: str) -> Frames:
        """Return the frames of one role."""
        return Frames([frame for frame in self.items if frame.role == role])

    @property
    def elements(self) -> list[str]:
        """Chemical symbols that occur, by atomic number."""
        numbers = sorted({int(number) for frame in self.items for number in frame.numbers})
        return [str(symbol) for symbol in Atoms(numbers=numbers).symbols]

    def save(self, file: str | Path | IO[bytes]) -> None:
        """Write ``frames.npz``: equal frames give equal bytes.

        Atoms of all frames are concatenated; ``n_atoms`` (F,) tells them apart. A missing energy or stress is NaN.
        """
        np.savez(file, **self.arrays())  # type: ignore[arg-type,unused-ignore]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the file that :meth:`save` writes."""
        recipes = [frame.recipe for frame in self.items]
        return {
            'n_atoms': np.array([len(frame) for frame in self.items], dtype=np.int64),
            'numbers': np.concatenate([frame.numbers for frame in self.items]).astype(np.int64),
            'positions': np.concatenate([frame.positions for frame in self.items]),
            'forces': np.concatenate([frame.forces for frame in self.items]),
            'cells': np.array([frame.cell for frame in self.items]),
            'pbc': np.array([frame.pbc for frame in self.items]),
            'energies': np.array([np.nan if frame.energy is None else frame.energy for frame in self.items]),
            'stress': np.array([np.full((3, 3), np.nan) if f.stress is None else f.stress for f in self.items]),
            'roles': np.array([frame.role for frame in self.items], dtype='U5'),
            'trajectories': np.array([frame.trajectory for frame in self.items], dtype=np.int64),
            **({RECIPES: np.array(recipes)} if any(recipes) else {}),
        }

    @classmethod
    def load(cls, file: str | Path | IO[bytes], sources: Sequence[str] | None = None) -> Frames:
        """Read what :meth:`save` wrote; ``sources`` are kept apart, as they do not belong to the content.

        Where all energies are exactly 0 there are none: so they were written before they could be missing.

        :raises ValueError: if the file is broken, or far larger than it pretends to be.
        """
        arrays = _read_arrays(file)
        if sources and len(sources) != len(arrays['n_atoms']):
            raise ValueError(f'there are {len(sources)} sources of {len(arrays["n_atoms"])} frames')
        energies = arrays['energies']
        known = np.isfinite(energies) if energies.any() else np.zeros(len(energies), dtype=bool)
        ends = np.cumsum(arrays['n_atoms'])
        frames = []
        for index, (end, size) in enumerate(zip(ends, arrays['n_atoms'], strict=True)):
            atoms = slice(end - size, end)
            stress = arrays['stress'][index]
            frames.append(
                Frame(
                    numbers=arrays['numbers'][atoms],
                    positions=arrays['positions'][atoms],
                    cell=arrays['cells'][index],
                    energy=float(energies[index]) if known[index] else None,
                    forces=arrays['forces'][atoms],
                    stress=None if np.isnan(stress).all() else stress,
                    pbc=tuple(bool(value) for value in arrays['pbc'][index]),  # type: ignore[arg-type]
                    role=str(arrays['roles'][index]),
                    trajectory=int(arrays['trajectories'][index]),
                    source=sources[index] if sources else '',
                    recipe=str(arrays[RECIPES][index]) if RECIPES in arrays else '',
                )
            )
        return cls(frames)

    @classmethod
    def from_atoms(cls, atoms: Iterable[Atoms], **meta: Any) -> Frames:
        """Read labels from many ASE atoms, see :meth:`Frame.from_atoms`.

        :raises ValueError: with the number of the frame, if it is no label or of another unit by what its keys say.
        """
        images = list(atoms)
        for number, item in enumerate(images, 1):
            if problem := unit_problem(item.info) or left_out(item):
                raise ValueError(f'frame {number}: {problem}')
        return cls([Frame.from_atoms(item, **meta) for item in images])


def to_extxyz(frames: Iterable[Frame]) -> str:
    """Return frames as extended XYZ with the labels under ``REF_*`` keys.

    ASE's own writer keeps 8 decimals; here every number is written so that it reads back to the same bits.
    """
    blocks = []
    for frame in frames:
        info = {
            'Lattice': _numbers(frame.cell),
            'Properties': f'species:S:1:pos:R:3:{FORCES_KEY}:R:3',
            'pbc': ' '.join('T' if value else 'F' for value in frame.pbc),
        }
        if frame.energy is not None:
            info[ENERGY_KEY] = _numbers(np.array([frame.energy]))
        if frame.stress is not None:
            info[STRESS_KEY] = _numbers(frame.stress)
        # JSON marks strings as strings: a source such as `0012` would be read as a number otherwise
        info |= {'role': _text(frame.role), 'trajectory': str(frame.trajectory), 'source': _text(frame.source)}
        info |= {'recipe': _text(frame.recipe)}
        lines = [str(len(frame)), ' '.join(f'{key}="{value}"' for key, value in info.items() if value)]
        symbols = Atoms(numbers=frame.numbers).symbols
        for symbol, position, force in zip(symbols, frame.positions, frame.forces, strict=True):
            lines.append(f'{symbol} {_numbers(position)} {_numbers(force)}')
        blocks.append('\n'.join(lines) + '\n')
    return ''.join(blocks)


def _read_arrays(file: str | Path | IO[bytes]) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``frames.npz``, whose types and shapes are right.

    :raises ValueError: with a sentence.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        size, packed = (sum(getattr(entry, name) for entry in entries) for name in ('file_size', 'compress_size'))
        if size > min(MAX_BYTES, MAX_RATIO * packed + 2**20):
            raise ValueError(f'it would unpack to {size / 2**20:.0f} MB')
        if not isinstance(file, str | Path):
            file.seek(0)
        with np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in SHAPES}
            if RECIPES in data:
                arrays[RECIPES] = data[RECIPES]
        if arrays['n_atoms'].ndim != 1 or arrays['n_atoms'].dtype.kind != 'i' or (arrays['n_atoms'] < 0).any():
            raise ValueError('`n_atoms` does not hold the numbers of atoms')
        sizes = {'frames': len(arrays['n_atoms']), 'atoms': sum(int(size) for size in arrays['n_atoms'])}
        for name in arrays:
            kind, *shape = SHAPES.get(name, SHAPES['roles'])
            wanted = tuple(sizes.get(str(size), size) for size in shape)
            if arrays[name].shape != wanted or arrays[name].dtype.kind not in str(kind):
                raise ValueError(f'`{name}` has the shape {arrays[name].shape} instead of {wanted}, or no such numbers')
    except KeyError as exception:
        raise ValueError(f'the file of frames is broken: it has no {exception}') from exception
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, MemoryError, NotImplementedError) as exception:
        raise ValueError(f'the file of frames is broken: {exception}') from exception
    return arrays


def _labels(atoms: Atoms) -> tuple[Any, Any, Any]:
    """Return energy, forces and stress, ``None`` where there are none or their weight is 0; all are of one source."""
    energy, forces, stress = _given_labels(atoms)
    without = weightless(atoms.info)
    return None if 'energy' in without else energy, forces, None if 'stress' in without else stress


def _given_labels(atoms: Atoms) -> tuple[Any, Any, Any]:
    keys = {ENERGY_KEY: atoms.info, FORCES_KEY: atoms.arrays, STRESS_KEY: atoms.info}
    if any(key in place for key, place in keys.items()):
        energy, forces, stress = (place.get(key) for key, place in keys.items())
        return energy, forces, stress
    results = atoms.calc.results if atoms.calc is not None else {}
    return results.get('free_energy', results.get('energy')), results.get('forces'), results.get('stress')


def _are_constrained(atoms: Atoms, forces: Array) -> bool:
    """Tell whether the forces on fixed atoms were set to 0, all of them and no others."""
    fixed = np.zeros(forces.shape, dtype=bool)
    for constraint in atoms.constraints:
        if type(constraint).__name__ in ('FixAtoms', 'FixCartesian'):
            fixed[constraint.get_indices()] = getattr(constraint, 'mask', True)
    return bool(fixed.any() and not forces[fixed].any() and forces[~fixed].any())


def _meta(info: dict[str, Any]) -> dict[str, Any]:
    """Return what is ours of ``role``, ``trajectory``, ...: keys of that name with another meaning are not."""
    found: dict[str, Any] = {key: info[key] for key in ('role', 'source') if isinstance(info.get(key), str)}
    if info.get('recipe') in [item.value for item in Recipe]:
        found['recipe'] = info['recipe']
    row = info.get('trajectory')
    if isinstance(row, int | np.integer) and not isinstance(row, bool) and abs(int(row)) < 2**31:
        found['trajectory'] = int(row)
    return found


def _numbers(values: Array) -> str:
    return ' '.join(repr(float(value)) for value in np.ravel(values))


def _text(value: str) -> str:
    return '_JSON ' + json.dumps(value).replace('\\', '\\\\').replace('"', '\\"') if value else ''


def _floats(values: Any, name: str, shape: tuple[int, ...]) -> Array:
    """Return a label as numbers.

    :raises ValueError: with a sentence, if it has other words or another shape.
    """
    try:
        numbers = np.array(values, dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f'its {name} are no numbers') from error
    if numbers.size != np.prod(shape):
        raise ValueError(f'its {name} have the shape {numbers.shape} instead of {shape}')
    return numbers.reshape(shape)


def _full_stress(stress: Any) -> Array:
    """Return a (3, 3) stress from nine numbers or from ASE's Voigt order (xx, yy, zz, yz, xz, xy)."""
    if np.shape(stress) == (6,):
        xx, yy, zz, yz, xz, xy = _floats(stress, 'stress', (6,))
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return _floats(stress, 'stress', (3, 3))


#: A structure: atomic numbers (N,), Cartesian positions (N, 3) and cell (3, 3) in Å.
Structure = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


#: Arrays of a bag of structures of different sizes.
PACKED = ('n_atoms', 'numbers', 'positions', 'cells')


def pack(structures: Sequence[Structure], prefix: str = '') -> dict[str, NDArray[Any]]:
    """Return ``n_atoms`` (F,), and, one structure after another, ``numbers``, ``positions`` and ``cells``.

    :param prefix: of the names of positions and cells, where there are several of the same atoms.
    """
    return {
        'n_atoms': np.array([len(numbers) for numbers, _, _ in structures], dtype=np.int64),
        'numbers': np.concatenate([np.zeros(0, dtype=np.int64), *(numbers for numbers, _, _ in structures)]),
        f'{prefix}positions': np.concatenate([np.zeros((0, 3)), *(positions for _, positions, _ in structures)]),
        f'{prefix}cells': np.array([cell for _, _, cell in structures], dtype=float).reshape(-1, 3, 3),
    }


def unpack(arrays: Mapping[str, NDArray[Any]], prefix: str = '') -> Iterator[Structure]:
    """Yield the structures of :func:`pack`."""
    ends = np.cumsum(arrays['n_atoms'])
    for index, end in enumerate(ends):
        here = slice(end - arrays['n_atoms'][index], end)
        yield arrays['numbers'][here], arrays[f'{prefix}positions'][here], arrays[f'{prefix}cells'][index]
