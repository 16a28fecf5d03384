"""Read labels from ``vasprun.xml``: of steps whose electrons converged, the free energy, forces and stress."""

from __future__ import annotations

from collections import Counter
from typing import Any
from xml.parsers import expat

import numpy as np
from ase.data import atomic_numbers
from ase.units import GPa
from numpy.typing import NDArray

from .frame_checks import other_physics
from .frames import Frame
from .text_files import shown

#: Electronic steps at most, where the file does not say (VASP's default); atoms, levels of elements, letters of a row.
NELM, MAX_ATOMS, MAX_DEPTH, MAX_TEXT = 60, 100_000, 40, 1000
#: Names of zirconium and xenon in files of VASP, which cuts those of their pseudopotentials.
CUT_NAMES = {'r': 'Zr', 'X': 'Xe'}
KBAR = 0.1 * GPa
#: Where the rows of a step are.
ROWS = {
    ('modeling', 'calculation', 'structure', 'crystal', 'varray basis'): 'cell',
    ('modeling', 'calculation', 'structure', 'varray positions'): 'positions',
    ('modeling', 'calculation', 'varray forces'): 'forces',
    ('modeling', 'calculation', 'varray stress'): 'stress',
}  # fmt: skip
#: Why a step is no label.
UNCONVERGED = 'its electrons did not converge'
NO_FORCES, NO_ELECTRONS = 'it has no forces', 'it was not computed by DFT (machine-learned forces)'


def read_vasprun(content: bytes) -> tuple[list[Frame | None], list[str]]:
    """Return a frame for each ionic step, ``None`` where it is no label, and sentences about these.

    Expat is used, as files are large, most of them is of no interest, and the memory it takes is ours to bound.

    :raises ValueError: one sentence, if this is no vasprun.xml or none of its steps is a label.
    """
    if b'<!DOCTYPE' in content or b'<!ENTITY' in content or b'\0' in content:
        raise ValueError('it declares a document type or holds null bytes, as no file of VASP does')
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    cut_off = False
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, UnicodeError) as error:
        if not reader.frames:
            line = f' (line {error.lineno})' if isinstance(error, expat.ExpatError) else ''
            raise ValueError(f'cannot be read: it is no whole vasprun.xml, but cut off or damaged{line}') from error
        cut_off = True
    return _told(reader, cut_off)


def _told(reader: _Reader, cut_off: bool) -> tuple[list[Frame | None], list[str]]:
    """Return frames and sentences."""
    total = len(reader.frames)
    if not total:
        raise ValueError('it holds no ionic step: it is no vasprun.xml, or of a calculation that did not get far')
    if UNCONVERGED in reader.problems:
        reader.problems[f'{UNCONVERGED} (NELM = {reader.nelm} reached)'] = reader.problems.pop(UNCONVERGED)
    reasons = [f'{number} of {total} steps left out: {reason}' for reason, number in reader.problems.items()]
    if not any(reader.frames):
        raise ValueError('it holds no labels; ' + '; '.join(reasons))
    reasons += other_physics(reader.setting('ISPIN', 1) == 2, 'T' in reader.text_of('LDAU').upper())
    return reader.frames, reasons + (['it is cut off: its whole steps are taken'] if cut_off else [])


class _Reader:
    """Collects what is needed of each ionic step."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.text = ''
        self.species: list[str] = []
        self.column = 0
        self.settings: dict[tuple[str, str], str] = {}
        self.fixed: list[bool] = []
        self.rows: dict[str, list[list[float]]] = {}
        self.energy: float | None = None
        self.n_electronic = 0
        self.frames: list[Frame | None] = []
        self.problems: Counter[str] = Counter()

    @property
    def nelm(self) -> int:
        """Largest number of electronic steps."""
        value = self.setting('NELM', NELM)
        return int(value) if np.isfinite(value) else NELM

    def setting(self, name: str, default: float) -> float:
        """Return a number of the settings."""
        return _number(self.text_of(name) or default)

    def text_of(self, name: str) -> str:
        """Return a setting: what VASP took, or else what was asked for; empty where there is none."""
        return self.settings.get(('parameters', name), self.settings.get(('incar', name), '')).strip()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin an element."""
        self.path.append(f'{tag} {attributes["name"]}' if 'name' in attributes and tag != 'structure' else tag)
        if len(self.path) > MAX_DEPTH:
            raise ValueError('it is no vasprun.xml: its elements are nested too deeply')
        self.text = ''
        if tag == 'rc':
            self.column = 0
        elif tag == 'calculation':
            self.rows, self.energy, self.n_electronic = {}, None, 0

    def data(self, text: str) -> None:
        """Take in text of a number, a row or a cell of a table."""
        if len(self.text) < MAX_TEXT:
            self.text += text

    def end(self, tag: str) -> None:
        """Finish an element."""
        name, parents = self.path.pop(), tuple(self.path)
        if tag == 'v':
            self.row(parents)
        elif tag == 'c' and 'array atoms' in parents:
            if self.column == 0:
                self.species.append(self.text.strip())
                _check_size(len(self.species), MAX_ATOMS)
            self.column += 1
        elif name in ('i NELM', 'i PSTRESS', 'i ISPIN', 'i LDAU') and parents[1:2] in (('incar',), ('parameters',)):
            # the first one: another NELM stands in the part on GW
            self.settings.setdefault((parents[1], name.removeprefix('i ')), self.text)
        elif name == 'i e_fr_energy' and parents == ('modeling', 'calculation', 'energy'):
            self.energy = _number(self.text)
        elif tag == 'scstep':
            self.n_electronic += 1
        elif tag == 'calculation':
            self.step()
        self.text = ''

    def row(self, parents: tuple[str, ...]) -> None:
        """Take in a row of an array."""
        if parents in ROWS:
            rows = self.rows.setdefault(ROWS[parents], [])
            _check_size(len(rows) + 1, max(3, len(self.species)))
            rows.append([_number(word) for word in self.text.split()])
        elif parents[1:] == ('structure', 'varray selective') and not self.frames:
            _check_size(len(self.fixed) + 1, 2 * len(self.species))
            self.fixed.append('T' not in self.text)

    def step(self) -> None:
        """Take in a whole ionic step."""
        size = len(self.species)
        shapes = {'cell': (3, 3), 'positions': (size, 3), 'forces': (size, 3), 'stress': (3, 3)}
        arrays: dict[str, NDArray[np.float64]] = {}
        for name, rows in self.rows.items():
            if [len(row) for row in rows] != [3] * shapes[name][0]:
                raise ValueError(f'its {name} in step {len(self.frames) + 1} are not of {size} atoms')
            arrays[name] = np.array(rows)
        problem = self.problem(arrays)
        if problem:
            self.problems[problem] += 1
            self.frames.append(None)
            return
        cell = arrays['cell']
        energy = self.energy
        if energy is not None:
            # VASP adds the work against PSTRESS to this energy, and to no other
            energy -= self.setting('PSTRESS', 0.0) * KBAR * float(abs(np.linalg.det(cell)))
        self.frames.append(
            Frame(
                numbers=np.array([_atomic_number(symbol) for symbol in self.species], dtype=np.int64),
                positions=arrays['positions'] @ cell,
                cell=cell,
                energy=energy,
                forces=arrays['forces'],
                # VASP writes the pressure, in kbar
                stress=-KBAR * arrays['stress'] if 'stress' in arrays else None,
            )
        )

    def problem(self, arrays: dict[str, Any]) -> str | None:
        """Return why the step is no label, ``None`` if it is one."""
        if not {'cell', 'positions'} <= set(arrays):
            return 'it has no structure'
        if 'forces' not in arrays:
            return NO_FORCES
        if not self.n_electronic:
            return NO_ELECTRONS
        if self.n_electronic >= self.nelm:
            return UNCONVERGED
        if not all(np.isfinite(array).all() for array in arrays.values()) or not np.isfinite(self.energy or 0.0):
            return 'its numbers overflow (`****`)'
        fixed = np.array(self.fixed, dtype=bool)
        some = len(fixed) == len(self.species) and fixed.any() and arrays['forces'].any()
        return 'the forces on its fixed atoms are set to 0' if some and not arrays['forces'][fixed].any() else None


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise ValueError(f'it is no vasprun.xml: an array has more rows than there are atoms ({largest})')


def _number(text: Any) -> float:
    """Return a number; NaN for the stars of Fortran."""
    try:
        return float(text)
    except ValueError:
        return float('nan')


def _atomic_number(symbol: str) -> int:
    symbol = CUT_NAMES.get(symbol, symbol)
    if not atomic_numbers.get(symbol):
        raise ValueError(f'its atoms have the name `{shown(symbol, 10)}`, which is no element')
    return int(atomic_numbers[symbol])
