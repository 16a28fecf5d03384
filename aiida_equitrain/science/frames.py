"""Labelled frames: one crystal structure with its energy, forces and stress, and files that hold many.

The NumPy file (``frames.npz``) is what the database stores and what jobs read; it is exact and needs no pickle.
Extended XYZ is for people and other codes; it is written with as many digits (up to 17) as make it exact as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Keys of labels in extended XYZ, as MACE and Equitrain read them without mistaking them for a calculator's results.
ENERGY_KEY, FORCES_KEY, STRESS_KEY = 'REF_energy', 'REF_forces', 'REF_stress'


@dataclass
class Frame:
    """A labelled structure of ``N`` atoms.

    :param numbers: atomic numbers, shape (N,).
    :param positions: Cartesian, Å, shape (N, 3).
    :param cell: lattice vectors in rows, Å, shape (3, 3).
    :param energy: total energy, eV.
    :param forces: eV/Å, shape (N, 3).
    :param stress: eV/Å³, shape (3, 3), ASE's sign (positive under tension); ``None`` where there is none.
    :param role: ``train``, ``valid`` or ``test``; empty while undecided.
    :param trajectory: index of the relaxation trajectory that the frame was taken from, -1 if from none.
    :param source: UUID of the node, or name of the file, that the labels come from.
    """

    numbers: NDArray[np.int64]
    positions: Array
    cell: Array
    energy: float
    forces: Array
    stress: Array | None = None
    pbc: tuple[bool, bool, bool] = (True, True, True)
    role: str = ''
    trajectory: int = -1
    source: str = ''

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
            atoms.info[ENERGY_KEY] = self.energy
            atoms.arrays[FORCES_KEY] = np.array(self.forces)
            if self.stress is not None:
                atoms.info[STRESS_KEY] = np.array(self.stress)
        else:
            results: dict[str, Any] = {'energy': self.energy, 'forces': np.array(self.forces)}
            if self.stress is not None:
                results['stress'] = np.array(self.stress)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            # Imported here, as ASE's calculators and readers are slow to import, and queries need none.
            from ase.calculators.singlepoint import SinglePointCalculator

            atoms.calc = SinglePointCalculator(atoms, **results)  # type: ignore[no-untyped-call]
        atoms.info.update(role=self.role, trajectory=self.trajectory, source=self.source)
        return atoms

    @classmethod
    def from_atoms(cls, atoms: Atoms, **meta: Any) -> Frame:
        """Read labels from the ``REF_*`` keys, or else from the attached calculator's results.

        :param meta: ``role``, ``trajectory``, ``source``; what is absent is taken from ``atoms.info``.
        :raises ValueError: if there is no energy or there are no forces.
        """
        results = atoms.calc.results if atoms.calc is not None else {}
        energy = atoms.info.get(ENERGY_KEY, results.get('energy'))
        forces = atoms.arrays.get(FORCES_KEY, results.get('forces'))
        stress = atoms.info.get(STRESS_KEY, results.get('stress'))
        if energy is None:
            raise ValueError(f'the frame {atoms.symbols} has no energy (key `{ENERGY_KEY}`)')
        if forces is None:
            raise ValueError(f'the frame {atoms.symbols} has no forces (key `{FORCES_KEY}`)')
        info: dict[str, Any] = {'role': '', 'trajectory': -1, 'source': '', **atoms.info, **meta}
        return cls(
            numbers=np.asarray(atoms.numbers, dtype=np.int64),
            positions=np.array(atoms.positions, dtype=float),
            cell=np.array(atoms.cell[:], dtype=float),
            energy=float(energy),
            forces=np.array(forces, dtype=float),
            stress=None if stress is None else _full_stress(stress),
            pbc=tuple(bool(value) for value in atoms.pbc),  # type: ignore[arg-type]
            role=str(info['role']),
            trajectory=int(info['trajectory']),
            source=str(info['source']),
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

        Atoms of all frames are concatenated; ``n_atoms`` (F,) tells them apart. Missing stress is NaN.
        """
        np.savez(file, **self.arrays())  # type: ignore[arg-type,unused-ignore]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the file that :meth:`save` writes."""
        return {
            'n_atoms': np.array([len(frame) for frame in self.items], dtype=np.int64),
            'numbers': np.concatenate([frame.numbers for frame in self.items]).astype(np.int64),
            'positions': np.concatenate([frame.positions for frame in self.items]),
            'forces': np.concatenate([frame.forces for frame in self.items]),
            'cells': np.array([frame.cell for frame in self.items]),
            'pbc': np.array([frame.pbc for frame in self.items]),
            'energies': np.array([frame.energy for frame in self.items]),
            'stress': np.array([np.full((3, 3), np.nan) if f.stress is None else f.stress for f in self.items]),
            'roles': np.array([frame.role for frame in self.items], dtype='U5'),
            'trajectories': np.array([frame.trajectory for frame in self.items], dtype=np.int64),
        }

    @classmethod
    def load(cls, file: str | Path | IO[bytes], sources: Sequence[str] | None = None) -> Frames:
        """Read what :meth:`save` wrote; ``sources`` are kept apart, as they do not belong to the content."""
        with np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
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
                    energy=float(arrays['energies'][index]),
                    forces=arrays['forces'][atoms],
                    stress=None if np.isnan(stress).all() else stress,
                    pbc=tuple(bool(value) for value in arrays['pbc'][index]),  # type: ignore[arg-type]
                    role=str(arrays['roles'][index]),
                    trajectory=int(arrays['trajectories'][index]),
                    source=sources[index] if sources else '',
                )
            )
        return cls(frames)

    @classmethod
    def from_atoms(cls, atoms: Iterable[Atoms], **meta: Any) -> Frames:
        """Read labels from many ASE atoms, see :meth:`Frame.from_atoms`."""
        return cls([Frame.from_atoms(item, **meta) for item in atoms])


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
            ENERGY_KEY: _numbers(np.array([frame.energy])),
        }
        if frame.stress is not None:
            info[STRESS_KEY] = _numbers(frame.stress)
        # JSON marks strings as strings: a source such as `0012` would be read as a number otherwise
        info |= {'role': _text(frame.role), 'trajectory': str(frame.trajectory), 'source': _text(frame.source)}
        lines = [str(len(frame)), ' '.join(f'{key}="{value}"' for key, value in info.items() if value)]
        symbols = Atoms(numbers=frame.numbers).symbols
        for symbol, position, force in zip(symbols, frame.positions, frame.forces, strict=True):
            lines.append(f'{symbol} {_numbers(position)} {_numbers(force)}')
        blocks.append('\n'.join(lines) + '\n')
    return ''.join(blocks)


def from_extxyz(text: str, **meta: Any) -> Frames:
    """Read labelled frames from extended XYZ, with ``REF_*`` keys or with ASE's own names of the labels.

    :param meta: ``role``, ``trajectory``, ``source`` for all frames; what is absent is taken from the file.
    :raises ValueError: if the text is no extended XYZ, or a frame has no energy or no forces.
    """
    try:
        from ase.io import read

        images = list(read(StringIO(text), index=':', format='extxyz'))
    except (OSError, KeyError, IndexError, ValueError, StopIteration) as exception:
        raise ValueError(f'the file is no extended XYZ: {exception}') from exception
    return Frames.from_atoms(images, **meta)


def _numbers(values: Array) -> str:
    return ' '.join(repr(float(value)) for value in np.ravel(values))


def _text(value: str) -> str:
    return '_JSON ' + json.dumps(value).replace('\\', '\\\\').replace('"', '\\"') if value else ''


def _full_stress(stress: Any) -> Array:
    """Return a (3, 3) stress from nine numbers or from ASE's Voigt order (xx, yy, zz, yz, xz, xy)."""
    values = np.asarray(stress, dtype=float)
    if values.shape == (6,):
        xx, yy, zz, yz, xz, xy = values
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return values.reshape(3, 3)
