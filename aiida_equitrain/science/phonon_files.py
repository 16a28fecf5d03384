"""Write phonons as the files that phonopy, and what reads its files, opens."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.file_IO import write_BORN, write_FORCE_CONSTANTS

from .phonon_metrics import GREEK, SUBSCRIPTS, band_path

PHONOPY, CONSTANTS, BANDS, BORN = 'phonopy.yaml', 'FORCE_CONSTANTS', 'band.yaml', 'BORN'
#: Points of a segment of the path in ``band.yaml``, as phonopy's own command has them.
BAND_POINTS = 51
#: What phonopy's YAML holds: all of it, so that no other file is needed.
SETTINGS = {
    'force_sets': True,
    'displacements': True,
    'force_constants': True,
    'born_effective_charge': True,
    'dielectric_constant': True,
}


def write_phonons(phonon: Phonopy, folder: Path, comments: Sequence[str] = ()) -> list[Path]:
    """Write ``phonopy.yaml`` with force constants, ``FORCE_CONSTANTS``, ``band.yaml``, and ``BORN`` of a polar crystal.

    ``phonopy.yaml`` alone holds everything: cells, displacements, forces, force constants (eV/Å²), Born charges (e) and
    the dielectric tensor. ``band.yaml`` is along the path of Hinuma et al., with the non-analytical term if there are
    Born charges.

    :param phonon: with force constants.
    :param folder: it exists; files in it are written anew.
    :param comments: lines that stand as comments at the head of ``phonopy.yaml``.
    :returns: the files.
    """
    files = [folder / PHONOPY, folder / CONSTANTS, folder / BANDS]
    for file in files:
        file.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.save(files[0], settings=dict(SETTINGS))
        head = ''.join(f'# {line}\n' for comment in comments for line in comment.splitlines())
        files[0].write_text(head + files[0].read_text(encoding='utf-8'), encoding='utf-8')
        write_constants(np.array(phonon.force_constants), np.array(phonon.primitive.p2s_map), files[1])
        write_bands(phonon, files[2])
        nac: Any = phonon.nac_params
        if nac is not None:
            files.append(folder / BORN)
            files[-1].unlink(missing_ok=True)
            write_BORN(phonon.primitive, nac['born'], nac['dielectric'], filename=str(files[-1]))
    return files


def write_constants(constants: NDArray[Any], primitive_atoms: NDArray[Any], file: Path) -> None:
    """Write compact (p, N, 3, 3) or full (N, N, 3, 3) force constants, eV/Å², as phonopy's ``FORCE_CONSTANTS``.

    :param primitive_atoms: atoms of the supercell that the rows of compact ones are of.
    """
    is_full = constants.shape[0] == constants.shape[1]
    rows = None if is_full else np.array(primitive_atoms, dtype='int64')
    write_FORCE_CONSTANTS(constants, filename=str(file), p2s_map=rows)


def write_bands(phonon: Phonopy, file: Path, points: int = BAND_POINTS) -> None:
    """Write the bands (THz) along the path as phonopy's ``band.yaml``."""
    path = band_path(phonon.primitive, points, float(phonon.symmetry.tolerance))
    ends = [*path.starts[1:], len(path.qpoints)]
    connected = [
        first[1] == second[0] and bool(np.allclose(path.qpoints[end - 1], path.qpoints[end]))
        for first, second, end in zip(path.labels, path.labels[1:], path.starts[1:], strict=False)
    ]
    labels = [path.labels[0][0]]
    for index, (first, last) in enumerate(path.labels):
        if index and not connected[index - 1]:
            labels.append(first)
        labels.append(last)
    segments = [path.qpoints[begin:end] for begin, end in zip(path.starts, ends, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        phonon.run_band_structure(
            segments, path_connections=[*connected, False], labels=[_math(label) for label in labels]
        )
        phonon.write_yaml_band_structure(filename=str(file))


def _math(label: str) -> str:
    r"""Return the name of a point as phonopy writes it: ``Γ`` as ``$\Gamma$``, ``Σ₀`` as ``$\Sigma_{0}$``."""
    name, index = label.rstrip('₀₁₂₃₄₅₆₇₈₉'), ''
    index = label[len(name) :].translate({value: chr(key) for key, value in SUBSCRIPTS.items()})
    greek = {sign: rf'\{spelled.capitalize()}' for spelled, sign in GREEK.items()}
    if name in greek:
        return f'${greek[name]}{f"_{{{index}}}" if index else ""}$'
    return f'${name}_{{{index}}}$' if index else name


def csv_text(columns: Mapping[str, Any]) -> str:
    """Return a table as CSV: names with units, then one line for each entry of the columns, all digits kept.

    :param columns: each of the same length; of two dimensions it is several columns, numbered from 1.
    """
    names: list[str] = []
    values: list[Any] = []
    for name, column in columns.items():
        array = np.asarray(column)
        if array.ndim == 1:
            names.append(name)
            values.append(array.tolist())
            continue
        flat = array.reshape(len(array), -1)
        names += [f'{name}_{number + 1}' for number in range(flat.shape[1])]
        values += flat.T.tolist()
    lines = [','.join(_quoted(name) for name in names)]
    lines += [','.join(_quoted(cell) for cell in row) for row in zip(*values, strict=True)]
    return '\n'.join(lines) + '\n'


def _quoted(cell: Any) -> str:
    """Return a cell of a CSV file; what a spreadsheet would take for a formula is quoted as text."""
    if not isinstance(cell, str):
        return '' if cell is None else repr(cell)
    text = f"'{cell}" if cell[:1] in ('=', '@', '\t', '\r') else cell
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n\r') else text
