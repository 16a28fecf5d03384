"""What files of phonopy and phono3py hold, in Å, eV, eV/Å and AMU whatever calculator they were made for.

phonopy's own reader runs code that a YAML asks for and leaves the units of the calculator: every reader of such files
goes through :func:`read_phonopy` instead.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy.interface.calculator import calculator_info
from phonopy.physical_units import CalculatorPhysicalUnits, get_calculator_physical_units, get_physical_units
from phonopy.structure.atomic_data import get_atomic_data
from phonopy.structure.atoms import PhonopyAtoms, split_symbol_and_index

from .text_files import parse_yaml, read_bytes, shown

Array = NDArray[np.float64]

#: Atoms of the largest supercell that a file may ask for.
MAX_ATOMS = 5_000
#: Centrings that phonopy knows by a letter.
_CENTRINGS = ('auto', 'P', 'F', 'I', 'A', 'C', 'R')
_UNITS = {
    'length': 'length_unit',
    'force': 'force_unit',
    'force_constants': 'force_constants_unit',
    'energy': 'energy_unit',
}


@dataclass
class PhonopyFile:
    """A crystal, its displaced supercells and what was computed for them.

    :param path: of the file.
    :param content: of the YAML, as it is.
    :param units: of the calculator, which the file's numbers had.
    :param cell: unit cell, with masses (AMU) and magnetic moments, Å.
    :param supercell_matrix: shape (3, 3), as phonopy means it.
    :param primitive_matrix: shape (3, 3), or a letter of phonopy, or `auto`.
    :param symprec: the file's own tolerance, Å.
    :param dataset: as :attr:`phonopy.Phonopy.dataset`, Å, eV/Å, eV; energies that are not there are NaN or absent.
    :param force_constants: eV/Å², shape (n, N, 3, 3).
    :param nac: ``born`` (e, shape (n, 3, 3)), ``dielectric`` (3, 3), ``factor`` (eV Å) and ``method``.
    :param supercell: symbols, and fractional positions (N, 3), of the supercell as the file has it.
    """

    path: Path
    content: dict[str, Any]
    units: CalculatorPhysicalUnits
    cell: PhonopyAtoms
    supercell_matrix: NDArray[np.int64]
    primitive_matrix: Array | str
    symprec: float | None
    dataset: dict[str, Any] | None
    force_constants: Array | None
    nac: dict[str, Any] | None
    supercell: tuple[list[str], Array] | None

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the supercell."""
        return _determinant(self.supercell_matrix) * len(self.cell)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and prints of phonopy, phono3py and spglib off the screen."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter('ignore')
        yield


def read_content(path: str | Path) -> dict[str, Any]:
    """Return the mapping of a phonopy or phono3py YAML, compressed or not, with the numbers as they are.

    :raises ValueError: one sentence that begins with the name of the file.
    """
    text = read_bytes(path)
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f'`{path}` is not a phonopy file: it {error}') from error
    if not isinstance(content, dict) or not isinstance(content.get('unit_cell'), dict):
        raise ValueError(f'`{path}` is not a phonopy file, nor one of phono3py: it has no unit cell.')
    return content


def read_phonopy(path: str | Path, prefix: str | None = None) -> PhonopyFile:
    """Read a file of phonopy, or one of the two calculations of a file of phono3py.

    :param prefix: of the keys: ``phonon_`` for the supercell of harmonic force constants of phono3py, if it has one of
        its own, empty for the other; ``None`` for that of harmonic force constants, whichever it is.
    :raises ValueError: one sentence that begins with the name of the file.
    """
    path = Path(path)
    content = read_content(path)
    if prefix is None:
        prefix = 'phonon_' if has_phonon_supercell(content) else ''
    return parse_phonopy(content, path, prefix)


def has_phonon_supercell(content: dict[str, Any]) -> bool:
    """Say whether a file of phono3py has a supercell of its own for harmonic force constants, with displacements."""
    return 'phonon_supercell_matrix' in content and any(
        key in content for key in ('phonon_dataset', 'phonon_displacements')
    )


def parse_phonopy(content: dict[str, Any], path: Path, prefix: str = '') -> PhonopyFile:
    """Return what a YAML holds, see :func:`read_phonopy`."""
    try:
        units = file_units(content)
        matrix = _supercell_matrix(content.get(f'{prefix}supercell_matrix'))
        cell = crystal(content['unit_cell'], units)
        n_atoms = _determinant(matrix) * len(cell)
        if n_atoms > MAX_ATOMS:
            raise ValueError(f'asks for a supercell of {n_atoms} atoms, more than {MAX_ATOMS}.')
        return PhonopyFile(
            path=path,
            content=content,
            units=units,
            cell=cell,
            supercell_matrix=matrix,
            primitive_matrix=primitive_matrix(content),
            symprec=file_symprec(content),
            dataset=_dataset(content, prefix, n_atoms, units),
            force_constants=as_force_constants(content.get('force_constants'), n_atoms, units),
            nac=_nac(content),
            supercell=_sites(content.get(f'{prefix}supercell'), n_atoms),
        )
    except ValueError as error:
        raise ValueError(f'`{path}` {error}') from error


def _header(content: dict[str, Any]) -> dict[str, Any]:
    for name in ('phonopy', 'phono3py'):
        if isinstance(content.get(name), dict):
            return dict(content[name])
    return {}


def file_units(content: dict[str, Any]) -> CalculatorPhysicalUnits:
    """Return the units of a file from its calculator, and hold them to what else the file says of units.

    :raises ValueError: the predicate of a sentence, if the calculator or a unit is unknown, or they contradict.
    """
    header = _header(content)
    name = header.get('calculator')
    if name is not None and str(name) not in calculator_info:
        raise ValueError(f'is of the calculator `{shown(name)}`, whose units are unknown; known are {_calculators()}.')
    units = get_calculator_physical_units(name)
    of = f'of its calculator `{name}`' if name else 'of a file that names no calculator (VASP)'
    given = content.get('physical_unit') or {}
    if not isinstance(given, dict):
        raise ValueError('has a `physical_unit` that is no mapping.')
    for key, unit in given.items():
        if key == 'atomic_mass':
            known: str | None = 'AMU'
        else:
            known = getattr(units, _UNITS[key]) if key in _UNITS else None
        if str(unit).lower() != str(known).lower():
            said = f'`{shown(key)}: {shown(unit)}` under `physical_unit`'
            reason = f'but the unit {of} is {known}' if known else 'which is unknown'
            raise ValueError(f'says {said}, {reason}: correct `calculator`, one of {_calculators()}.')
    if 'phono3py' not in content:  # which converts all to eV and Å before, and writes that factor
        _check_factor(header.get('frequency_unit_conversion_factor'), units, of)
    return units


def _calculators() -> str:
    return ', '.join(sorted(calculator_info))


def _check_factor(factor: Any, units: CalculatorPhysicalUnits, of: str) -> None:
    """Refuse a factor to THz that is that of other units; one to cm⁻¹ or meV is no matter of ours."""
    if not isinstance(factor, int | float) or np.isclose(factor, units.factor, rtol=1e-3):
        return
    others = [name for name in sorted(calculator_info)
              if np.isclose(factor, get_calculator_physical_units(name).factor, rtol=1e-3)]  # fmt: skip
    if others:
        raise ValueError(
            f'has the `frequency_unit_conversion_factor` {factor:g} of {", ".join(others)}, not that {of}: '
            'correct `calculator`.'
        )


def as_array(value: Any, shape: tuple[int | None, ...], what: str, missing: bool = False) -> Array:
    """Return an array of numbers.

    :param shape: what it has to be; ``None`` for any length.
    :param missing: whether single values may be missing: NaN.
    """
    wanted = '(' + ', '.join('any' if length is None else str(length) for length in shape) + ')'
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f'has {what} that are not numbers in the shape {wanted}.') from error
    if len(array.shape) != len(shape) or any(
        length is not None and length != found for length, found in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f'has {what} of the shape {array.shape}; it must be {wanted}.')
    if not missing and not np.isfinite(array).all():
        raise ValueError(f'has {what} that are not finite.')
    return array


def _supercell_matrix(value: Any) -> NDArray[np.int64]:
    if value is None:
        return np.eye(3, dtype=np.int64)
    rows = isinstance(value, list) and any(isinstance(row, list) for row in value)
    array = as_array(value, (3, 3) if rows else (3,), 'rows of a supercell matrix')
    array = array if rows else np.diag(array)
    matrix = np.rint(array)
    if not np.allclose(matrix, array) or np.abs(matrix).max() > MAX_ATOMS:
        raise ValueError('has a supercell matrix that is not one of small integers.')
    if not _determinant(matrix):
        raise ValueError('has a supercell matrix without volume.')
    return matrix.astype(np.int64)


def _determinant(matrix: Any) -> int:
    return abs(round(float(np.linalg.det(matrix))))


def primitive_matrix(content: dict[str, Any]) -> Array | str:
    """Return the primitive matrix of a file, or how phonopy is to find it.

    :raises ValueError: the predicate of a sentence, if it is none.
    """
    value = content.get('primitive_matrix')
    if value is None:
        return 'auto'
    if isinstance(value, str):
        if value not in _CENTRINGS:
            raise ValueError(f'has the primitive matrix `{shown(value)}`; known are {", ".join(_CENTRINGS)}.')
        return value
    matrix = as_array(value, (3, 3), 'rows of a primitive matrix')
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise ValueError('has a primitive matrix without volume.')
    return matrix


def file_symprec(content: dict[str, Any]) -> float | None:
    """Return the tolerance of symmetry that a file names, Å.

    :raises ValueError: the predicate of a sentence, if it is no small number.
    """
    value = _header(content).get('symmetry_tolerance')
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f'has the symmetry tolerance `{shown(value)}`; it must be a small number above 0.')
    return float(value) * file_units(content).distance_to_A


def crystal(content: dict[str, Any], units: CalculatorPhysicalUnits) -> PhonopyAtoms:
    """Return the cell of a mapping with ``lattice`` and ``points``, with masses and magnetic moments, Å.

    :raises ValueError: the predicate of a sentence, if it is no crystal.
    """
    points = content.get('points')
    if not isinstance(points, list) or not points or not all(isinstance(point, dict) for point in points):
        raise ValueError('is not a phonopy file, nor one of phono3py: its unit cell has no points.')
    if any(key in point for point in points for key in ('mixture', 'weight')):
        raise ValueError('mixes elements on one site, which is not supported here.')
    lattice = as_array(content.get('lattice'), (3, 3), 'rows of a lattice') * units.distance_to_A
    symbols = [_symbol(point) for point in points]
    positions = as_array([point.get('coordinates') for point in points], (len(points), 3), 'coordinates of atoms')
    volume = abs(np.linalg.det(lattice))
    if not volume > 0.1 * len(points) or volume > 1e6 * len(points):
        raise ValueError(f'has a unit cell of {volume:.3g} Å³ for {len(points)} atoms, which is no crystal.')
    masses = _of_all(points, 'mass')
    if masses is not None:
        masses = as_array(masses, (len(points),), 'masses')
        if (masses <= 0).any():
            raise ValueError('has a mass that is not above 0.')
    moments = _of_all(points, 'magnetic_moment')
    if moments is not None:
        vectors = isinstance(moments[0], list)
        moments = as_array(moments, (len(points), 3) if vectors else (len(points),), 'magnetic moments')
    try:
        return PhonopyAtoms(
            cell=lattice, symbols=symbols, scaled_positions=positions, masses=masses, magnetic_moments=moments
        )
    except RuntimeError as error:
        # The unstable elements have none.
        raise ValueError('has an element without a standard mass: give each atom a `mass`.') from error


def _symbol(point: dict[str, Any]) -> str:
    """Return the symbol of an atom, with the number of its kind if the file has it, as phonopy does."""
    symbol = point.get('extended_symbol', point.get('symbol'))
    try:
        element, _ = split_symbol_and_index(symbol)  # type: ignore[arg-type]
    except (RuntimeError, TypeError):
        element = ''
    if element not in get_atomic_data().symbol_map:
        hint = ' (deuterium is `symbol: H` with `mass: 2.014`)' if symbol == 'D' else ''
        raise ValueError(f'has an atom with the symbol `{shown(symbol)}`, which is no element{hint}.')
    return str(symbol)


def _of_all(points: list[dict[str, Any]], key: str) -> list[Any] | Any:
    """Return what all atoms have, or ``None`` if none has it."""
    values = [point[key] for point in points if point.get(key) is not None]
    if values and len(values) != len(points):
        raise ValueError(f'has a `{key}` of {len(values)} atoms only, but {len(points)} atoms.')
    return values or None


def _sites(content: Any, n_atoms: int) -> tuple[list[str], Array] | None:
    """Return symbols and fractional positions of the file's own supercell, for the order of its atoms."""
    if not isinstance(content, dict) or not isinstance(content.get('points'), list):
        return None
    points = content['points']
    if len(points) != n_atoms or not all(isinstance(point, dict) for point in points):
        raise ValueError(f'has a supercell of {len(points)} atoms, but its matrix makes one of {n_atoms}.')
    positions = as_array([point.get('coordinates') for point in points], (n_atoms, 3), 'coordinates of the supercell')
    return [split_symbol_and_index(_symbol(point))[0] for point in points], positions


def _dataset(
    content: dict[str, Any], prefix: str, n_atoms: int, units: CalculatorPhysicalUnits
) -> dict[str, Any] | None:
    """Return displacements, forces and energies, of type I or II and of the formats of all versions of phonopy."""
    single, many = content.get(f'{prefix}displacements'), content.get(f'{prefix}dataset')
    if not prefix and not single and not many:
        # Third-order supercells of phono3py: their first displacements are those of harmonic force constants.
        single = content.get('displacement_pairs')
    for items, kind in ((single, list), (many, dict)):
        if items is not None and not isinstance(items, kind):
            raise ValueError('has displacements that are not of phonopy.')
    if many and many.get('displacements'):
        return _all_atoms(many, n_atoms, units)
    if not single:
        return None
    if isinstance(single[0], dict):
        return _single_atoms(single, n_atoms, units)
    energies = content.get(f'{prefix}supercell_energies')
    return _all_atoms({'displacements': single, 'forces': content.get(f'{prefix}forces'),
                       'supercell_energies': energies}, n_atoms, units)  # fmt: skip


def as_dataset(parsed: dict[str, Any], n_atoms: int, units: CalculatorPhysicalUnits) -> dict[str, Any]:
    """Return a dataset that phonopy parsed, checked and converted.

    :raises ValueError: the predicate of a sentence.
    """
    if 'first_atoms' not in parsed:
        return _all_atoms(parsed, n_atoms, units)
    return _single_atoms([{**atom, 'atom': int(atom['number']) + 1} for atom in parsed['first_atoms']], n_atoms, units)


def _single_atoms(items: list[Any], n_atoms: int, units: CalculatorPhysicalUnits) -> dict[str, Any]:
    if not all(isinstance(item, dict) for item in items):
        raise ValueError('has displacements that are not of phonopy.')
    with_forces = [item.get('forces') is not None for item in items]
    if any(with_forces) and not all(with_forces):
        raise ValueError(f'has no forces for its displacement {with_forces.index(False) + 1}, but for others.')
    first_atoms = []
    for item in items:
        number = item.get('atom')
        if not isinstance(number, int) or not 1 <= number <= n_atoms:
            raise ValueError(f'displaces the atom `{shown(number)}` of a supercell of {n_atoms} atoms.')
        atom: dict[str, Any] = {
            'number': number - 1,
            'displacement': as_array(item.get('displacement'), (3,), 'displacements') * units.distance_to_A,
        }
        if with_forces[0]:
            atom['forces'] = as_array(item['forces'], (n_atoms, 3), 'forces') * units.force_to_eVperA
        if item.get('supercell_energy') is not None:
            atom['supercell_energy'] = float(as_array(item['supercell_energy'], (), 'energies')) * units.energy_to_eV
        first_atoms.append(atom)
    return {'natom': n_atoms, 'first_atoms': first_atoms}


def _all_atoms(given: dict[str, Any], n_atoms: int, units: CalculatorPhysicalUnits) -> dict[str, Any]:
    displacements, forces = given['displacements'], given.get('forces')
    try:
        if isinstance(displacements[0][0], dict):  # before phonopy 2.24
            if forces is None and 'force' in displacements[0][0]:
                forces = [[atom['force'] for atom in cell] for cell in displacements]
            displacements = [[atom['displacement'] for atom in cell] for cell in displacements]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError('has displacements that are not of phonopy.') from error
    moves = as_array(displacements, (None, n_atoms, 3), 'displacements') * units.distance_to_A
    dataset = {'displacements': moves}
    if forces is not None:
        dataset['forces'] = as_array(forces, moves.shape, 'forces') * units.force_to_eVperA
    if given.get('supercell_energies') is not None:
        energies = as_array(given['supercell_energies'], (len(moves),), 'energies', missing=True)
        dataset['supercell_energies'] = energies * units.energy_to_eV
    return dataset


def as_force_constants(content: Any, n_atoms: int, units: CalculatorPhysicalUnits) -> Any:
    """Return force constants (eV/Å²) of a mapping with their ``shape`` and ``elements``; ``None`` for ``None``.

    :raises ValueError: the predicate of a sentence, if they are not of ``n_atoms`` atoms or no numbers.
    """
    if content is None:
        return None
    if not isinstance(content, dict):
        raise ValueError('has force constants that are not of phonopy.')
    rows, columns = (int(length) for length in as_array(content.get('shape'), (2,), 'lengths of force constants'))
    if columns != n_atoms:
        raise ValueError(f'has force constants of {columns} atoms, but its supercell has {n_atoms}.')
    elements = as_array(content.get('elements'), (rows * columns, 3, 3), 'force constants')
    return elements.reshape(rows, columns, 3, 3) * (units.force_to_eVperA / units.distance_to_A)


def _nac(content: dict[str, Any]) -> dict[str, Any] | None:
    """Return Born charges and dielectric tensor; before phonopy 2.18 they stood on the top level."""
    given, header = content.get('nac', content), _header(content)
    if not isinstance(given, dict) or given.get('born_effective_charge') is None:
        return None
    born = as_array(given['born_effective_charge'], (None, 3, 3), 'Born charges')
    nac: dict[str, Any] = {
        'born': born,
        'dielectric': as_array(given.get('dielectric_constant'), (3, 3), 'rows of a dielectric tensor'),
    }
    nac['factor'] = nac_factor(given.get('unit_conversion_factor', header.get('nac_unit_conversion_factor')), content)
    method = given.get('method')
    if isinstance(method, str):
        nac['method'] = method.lower()
    return nac


def nac_factor(factor: Any, content: dict[str, Any]) -> float:
    """Return the factor of the non-analytical term, eV Å.

    :param factor: in the units of the calculator, ``None`` for the natural one.
    :param content: of the YAML that it belongs to.
    :raises ValueError: the predicate of a sentence, if it is that of other units.
    """
    natural: float = get_physical_units().Hartree * get_physical_units().Bohr
    if factor is None:
        return natural
    factor = float(as_array(factor, (), 'factors of Born charges'))
    units = file_units(content)
    # phono3py converts everything but this factor, which is in eV Å already.
    scales = [units.force_to_eVperA * units.distance_to_A**2, *([1.0] if 'phono3py' in content else [])]
    close = [factor * scale for scale in scales if np.isclose(factor * scale, natural, rtol=1e-3)]
    if not close:
        raise ValueError(f'has the factor {factor:g} for Born charges, which is not that of its units.')
    return float(close[0])
