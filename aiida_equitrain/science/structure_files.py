"""Read a crystal from a file: formats that cannot run code, one structure of several, and what was left out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.io.cif import CIFBlock, parse_cif

from .extxyz import meanings
from .label_keys import unit_problem
from .structures import check_structure
from .text_files import base_name, read_bytes, shown

#: Formats of ASE by the end of a file's name; ASE's own guess is not asked, as some of its formats run what they read.
SUFFIXES = {
    '.cif': 'cif',
    '.vasp': 'vasp',
    '.poscar': 'vasp',
    '.xyz': 'extxyz',
    '.extxyz': 'extxyz',
    '.xml': 'vasp-xml',
    '.in': 'espresso-in',
    '.pwi': 'espresso-in',
    '.out': 'espresso-out',
    '.pwo': 'espresso-out',
    '.xsf': 'xsf',
}
#: ... and by its beginning.
PREFIXES = {'poscar': 'vasp', 'contcar': 'vasp', 'vasprun': 'vasp-xml'}
READABLE = 'CIF, POSCAR or CONTCAR (`.vasp`), extended XYZ, vasprun.xml, input or output of pw.x (`.in`, `.out`), XSF'
#: Formats of calculations: their structures are steps, of which the last one is meant where none is named.
STEPS = ('vasp-xml', 'espresso-out')
CALCULATIONS = (*STEPS, 'espresso-in')
#: Bytes of a file, unpacked, and atoms of a structure: more is no unit cell.
MAX_BYTES, MAX_ATOMS = 32 * 2**20, 5000
#: Numbers of an atom in one column of extended XYZ.
MAX_COLUMNS = 100
#: Sites times symmetry operations of a CIF file.
MAX_IMAGES = 50_000
#: Structures that a sentence lists.
SHOWN = 8
#: Isotopes with symbols of their own, amu.
ISOTOPES = {'D': 2.014, 'T': 3.016}
UNKNOWN = ('?', '.')
#: Labels of sites without an atom.
VACANT = ('Va', 'Vc', 'X')
#: Space groups with two choices of the origin.
TWO_ORIGINS = (
    48, 50, 59, 68, 70, 85, 86, 88, 125, 126, 129, 130, 133, 134, 137, 138, 141, 142, 201, 203, 222, 224, 227, 228,
)  # fmt: skip


@dataclass
class StructureFile:
    """A crystal of a file.

    :param atoms: with masses where they are not those of natural elements, and tags where atoms of one element differ.
    :param notes: sentences about what was chosen, changed or left out.
    """

    atoms: Atoms
    notes: list[str] = field(default_factory=list)


def read_structure(path: str | Path, block: str | None = None) -> StructureFile:
    """Read one structure.

    :param path: see :data:`READABLE`; also compressed.
    :param block: name of a block of a CIF file, or number of a structure, from 1 on.
    :raises ValueError: with a sentence, if there is no such file or structure, or something of it cannot be kept.
    """
    path = Path(path)
    kind = format_of(path)
    text = _text_of(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = _read_cif(text, block) if kind == 'cif' else _read_frames(text, kind, block)
    except StructureError as found_wrong:
        raise ValueError(f'`{path}` {found_wrong}') from found_wrong
    except Exception as error:
        raise ValueError(
            f'`{path}` cannot be read as {kind}: it is cut off, damaged, or not what its name says '
            f'({type(error).__name__})'
        ) from error
    problem = check_structure(found.atoms)
    if problem:
        raise ValueError(f'`{path}`: {problem}')
    return found


class StructureError(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


def format_of(path: Path) -> str:
    """Return ASE's name of a file's format.

    :raises ValueError: with a sentence, if it is none that is read.
    """
    name = base_name(path)
    if name.endswith('.mcif'):
        raise ValueError(
            f'`{path}` is a magnetic CIF: magnetic symmetry cannot be kept yet (support for spin is on the way); give '
            'a plain CIF of the same atoms for a calculation without spin'
        )
    for suffix, kind in SUFFIXES.items():
        if name.endswith(suffix):
            return kind
    for prefix, kind in PREFIXES.items():
        if name.startswith(prefix):
            return kind
    raise ValueError(f'`{path}` has no name of a structure file: give {READABLE}')


def _text_of(path: Path) -> str:
    """Return the text of a file; what is no UTF-8 is in comments and names."""
    content = read_bytes(path, MAX_BYTES)
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError:
        return content.decode('latin-1')


def _read_cif(text: str, wanted: str | None) -> StructureFile:
    """Return the structure of a block of a CIF file."""
    blocks = [item for item in parse_cif(StringIO(text)) if _has_sites(item)]
    if not blocks:
        raise StructureError('cannot be read as a crystal: it holds no block with atoms')
    chosen = blocks[_choose([item.name for item in blocks], wanted)]
    notes = [f'block `{shown(chosen.name)}` of {len(blocks)} is taken'] if len(blocks) > 1 else []
    if any(_number(chosen.get(f'_cell_length_{name}', 1.0)) <= 0 for name in 'abc'):
        raise StructureError('has a cell length that is not above zero')
    magnetic = [key for key in chosen if 'magn' in key or key.startswith(('_atom_site_moment', '_atom_site_spin'))]
    if magnetic:
        raise StructureError(
            f'has magnetic moments or a magnetic space group (`{magnetic[0]}`), which cannot be kept yet (support for '
            'spin is on the way): give a plain CIF for a calculation without spin'
        )
    if any(_number(value) for value in chosen.get('_atom_site_attached_hydrogens') or []):
        raise StructureError('has hydrogen atoms without a place (`_atom_site_attached_hydrogens`): add them as sites')
    if 'dum' in (chosen.get('_atom_site_calc_flag') or []):
        raise StructureError('has dummy atoms (`_atom_site_calc_flag` dum): take them out')
    groups: Any = chosen.get('_atom_site_disorder_group') or []
    shared = [value for value in groups if str(value) not in (*UNKNOWN, '0')]
    tags: dict[str, Any] = dict(chosen)
    occupancies = [1.0 if value in UNKNOWN else float(value) for value in tags.pop('_atom_site_occupancy', None) or []]
    partial = next((value for value in occupancies if abs(value - 1) > 1e-6), None)
    if partial is not None or len(set(shared)) > 1:
        what = 'disorder groups' if partial is None else f'partial occupancy ({partial:g})'
        raise StructureError(f'has {what}, which cannot be computed: order the structure first')
    symbols, isotopes = _split_isotopes(_cif_symbols(chosen, notes))
    tags['_atom_site_type_symbol'] = symbols
    plain = CIFBlock(chosen.name, tags)
    group = plain.get_spacegroup(True)
    if not any(key in chosen for key in _SYMMETRY_TAGS):
        notes.append('the CIF names no space group: its atoms are taken as they stand')
    elif not any('xyz' in key and key in chosen for key in _SYMMETRY_TAGS) and group.no in TWO_ORIGINS:
        notes.append('the CIF has no list of symmetry operations: the first of two choices of the origin is taken')
    images = len(symbols) * len(group.get_op()[0])
    if images > MAX_IMAGES:
        raise StructureError(f'makes {images} atoms of its symmetry operations, more than {MAX_IMAGES}')
    atoms = plain.get_atoms()
    if len(atoms) > MAX_ATOMS:
        raise StructureError(f'has {len(atoms)} atoms, more than {MAX_ATOMS}')
    if isotopes:
        # ASE says for each atom which site it comes from.
        kinds = atoms.arrays.get('spacegroup_kinds', np.arange(len(atoms)))
        _set_isotopes(atoms, [isotopes.get(int(kind)) for kind in kinds], notes)
    return StructureFile(_bare(atoms, notes), notes)


_SYMMETRY_TAGS = (
    '_space_group.it_number', '_space_group_it_number', '_symmetry_int_tables_number', '_space_group_name_h-m_alt',
    '_symmetry_space_group_name_h-m', '_space_group_symop_operation_xyz', '_space_group_symop.operation_xyz',
    '_symmetry_equiv_pos_as_xyz',
)  # fmt: skip


def _has_sites(block: CIFBlock) -> bool:
    return any(f'_atom_site_{name}' in block for name in ('fract_x', 'cartn_x'))


def _cif_symbols(block: CIFBlock, notes: list[str]) -> list[str]:
    """Return the elements of the sites; oxidation states and numbers are left out.

    A type that is no element, such as a vacancy `Va` or a group `OH`, is refused; a label may go on after its element.
    """
    names: Any = block.get('_atom_site_type_symbol') or [UNKNOWN[0]] * len(block.get('_atom_site_label') or [])
    labels: Any = block.get('_atom_site_label') or names
    symbols, guessed = [], {}
    for name, label in zip(names, labels, strict=True):
        is_type = name not in UNKNOWN
        found = re.match(r'[A-Za-z]+' if is_type else r'[A-Za-z]{1,2}', str(name if is_type else label).strip())
        letters = found.group(0).capitalize() if found else ''
        symbol = letters
        if not is_type and letters not in atomic_numbers and letters not in ISOTOPES and letters not in VACANT:
            symbol = guessed[label] = letters[:1]
        if symbol not in ISOTOPES and not atomic_numbers.get(symbol):
            raise StructureError(f'has a site `{shown(label)}` of no known element (`{shown(name)}`)')
        symbols.append(symbol)
    if guessed:
        named = ', '.join(f'`{shown(label)}` is {symbol}' for label, symbol in list(guessed.items())[:SHOWN])
        notes.append(f'elements are guessed from labels: {named}')
    return symbols


def _read_frames(text: str, kind: str, wanted: str | None) -> StructureFile:
    """Return one of the structures of a file that is no CIF."""
    notes: list[str] = []
    if kind == 'vasp':
        _check_poscar(text)
    text, marks = _without_isotopes(text, kind)
    images: Any = ase.io.read(StringIO(text), index=':', format=kind)
    if not images:
        raise StructureError('cannot be read as a crystal: it holds no structure')
    names = [str(image.symbols) if len(image) <= MAX_ATOMS else f'{len(image)} atoms' for image in images]
    if len(images) > 1 and wanted is None and kind in STEPS:
        index = len(images) - 1
    else:
        index = _choose(names, wanted, numbers=True)
    if len(images) > 1:
        notes.append(f'structure {index + 1} of {len(images)} is taken (`--block` takes another)')
    atoms = images[index]
    if len(atoms) > MAX_ATOMS:
        raise StructureError(f'has {len(atoms)} atoms, more than {MAX_ATOMS}')
    if kind == 'extxyz' and not atoms.cell.any():
        raise StructureError('has no cell: it is a molecule, and phonons need a crystal with three lattice vectors')
    if kind == 'extxyz':
        notes += _left_out(atoms)
    if kind in CALCULATIONS:
        notes.append(
            'only cell and atoms are taken from it: masses, spin, U and charge of the calculation are left out'
        )
    if atoms.constraints:
        notes.append('constraints (selective dynamics) are left out: all atoms move')
    calculated = {} if atoms.calc is None else getattr(atoms.calc, 'results', {})
    moments = [np.abs(np.asarray(calculated.get(name, 0.0))).max() for name in ('magmoms', 'magmom')]
    if kind not in CALCULATIONS and max(moments) > 1e-3:
        notes.append('the magnetic moments that a calculation gave are left out')
    isotopes = marks[sum(len(image) for image in images[:index]) :][: len(atoms)] if marks else []
    if any(isotopes):
        _set_isotopes(atoms, isotopes, notes)
    return StructureFile(_bare(atoms, notes), notes)


def _left_out(atoms: Atoms) -> list[str]:
    """Return sentences about what extended XYZ says of a structure and we do not keep; take `mass` for `masses`.

    :raises StructureError: if its numbers are of another unit.
    """
    problem = unit_problem(atoms.info)
    if problem:
        raise StructureError(problem)
    if 'mass' in atoms.arrays and not atoms.has('masses'):
        atoms.set_masses(atoms.arrays.pop('mass'))
    columns = sorted(set(atoms.arrays) - {'numbers', 'positions', 'masses', 'initial_magmoms'})
    named = ', '.join(f'`{shown(name, 30)}`' for name in columns[:SHOWN])
    return ([f'its columns {named} are left out'] if columns else []) + meanings([atoms])


def _check_poscar(text: str) -> None:
    """Refuse a POSCAR without elements, or with more atoms than any crystal has."""
    lines = [*text.splitlines(), *[''] * 8]
    names, counts = lines[5].split(), lines[6].split()
    if not names or names[0].isdigit():
        raise StructureError('has no line with the elements (VASP 4): write them above the numbers of atoms')
    numbers = [int(item) for item in counts if item.isdigit()]
    if sum(numbers) > MAX_ATOMS:
        raise StructureError(f'has {sum(numbers)} atoms, more than {MAX_ATOMS}')


def _without_isotopes(text: str, kind: str) -> tuple[str, list[str | None]]:
    """Return the text with D and T written as H, and the isotope of each atom, all structures one after another.

    Only POSCAR and XYZ, whose symbols ASE takes as they are; empty where there is none.
    """
    lines = text.splitlines()
    if kind == 'vasp':
        names = lines[5].split()
        counts = [int(item) for item in lines[6].split('!')[0].split()]
        names = [name.split('/')[0].split('_')[0] for name in names]
        if len(counts) != len(names):
            raise StructureError(f'names {len(names)} elements, but has {len(counts)} numbers of atoms')
        lines[5] = ' '.join(_split_isotopes(names)[0])
        pairs = zip(names, counts, strict=True)
        marks = [name if name in ISOTOPES else None for name, count in pairs for _ in range(count)]
        return '\n'.join(lines) + '\n', marks
    if kind != 'extxyz':
        return text, []
    if any(int(number) > MAX_COLUMNS for number in re.findall(r':[A-Za-z]:(\d{1,18})', text)):
        raise StructureError(f'has a column of more than {MAX_COLUMNS} numbers for each atom')
    marks, row = [], 0
    while row < len(lines) and lines[row].strip().isdigit():
        count = int(lines[row])
        if count > MAX_ATOMS:
            raise StructureError(f'has {count} atoms, more than {MAX_ATOMS}')
        for place in range(row + 2, min(row + 2 + count, len(lines))):
            words = lines[place].split()
            isotope = words[0] if words and words[0] in ISOTOPES else None
            if isotope:
                lines[place] = re.sub(r'^(\s*)[DT]\b', r'\1H', lines[place])
            marks.append(isotope)
        row += 2 + count
    return '\n'.join(lines) + '\n', marks if any(marks) else []


def _split_isotopes(symbols: Sequence[str]) -> tuple[list[str], dict[int, str]]:
    """Return the symbols with D and T as H, and which were what."""
    isotopes = {index: symbol for index, symbol in enumerate(symbols) if symbol in ISOTOPES}
    return ['H' if symbol in ISOTOPES else symbol for symbol in symbols], isotopes


def _set_isotopes(atoms: Atoms, isotopes: Iterable[str | None], notes: list[str]) -> None:
    """Give atoms the masses of their isotopes, and say so."""
    names = list(isotopes)
    masses = [
        ISOTOPES[name] if name else atomic_masses[number] for name, number in zip(names, atoms.numbers, strict=True)
    ]
    atoms.set_masses(masses)
    for name in sorted({name for name in names if name}):
        notes.append(f'{name} is hydrogen with the mass {ISOTOPES[name]}')


def _bare(atoms: Atoms, notes: list[str]) -> Atoms:
    """Return cell, atoms and masses alone; atoms with different magnetic moments are told apart by tags."""
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell[:], pbc=atoms.pbc)
    if atoms.has('masses'):
        bare.set_masses(atoms.get_masses())
    moments = np.array(atoms.get_initial_magnetic_moments(), dtype=float)
    if moments.ndim > 1 and moments.any():
        raise StructureError('has magnetic moments that are vectors, which cannot be kept yet: leave them out')
    if moments.any():
        bare.set_tags(moment_tags(moments))
        notes.append(
            'atoms with different magnetic moments are kept apart as kinds; only a potential can compute them, as '
            'support for spin in DFT is on the way'
        )
    return bare


def moment_tags(moments: Any) -> list[int]:
    """Return a number from 1 on for each value of magnetic moments, so that equal atoms have equal numbers."""
    values = np.round(np.asarray(moments, dtype=float), 3) + 0.0
    known = list(dict.fromkeys(values.tolist()))
    return [known.index(value) + 1 for value in values.tolist()]


def _choose(names: Sequence[str], wanted: str | None, numbers: bool = False) -> int:
    """Return the index of the structure that is meant."""
    listed = ', '.join(f'{index + 1}: {shown(name)}' for index, name in enumerate(names[:SHOWN]))
    more = ', ...' if len(names) > SHOWN else ''
    if wanted is None:
        if len(names) == 1:
            return 0
        raise StructureError(f'holds {len(names)} structures ({listed}{more}): choose one by `--block NAME_OR_NUMBER`')
    if not numbers and names.count(wanted) == 1:
        return names.index(wanted)
    if wanted.isdecimal() and len(wanted) < 10 and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    raise StructureError(f'has no structure `{wanted}`; it holds {listed}{more}')


def _number(value: Any) -> float:
    """Return a number of a CIF, 0 where it is unknown."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
