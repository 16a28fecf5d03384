"""How many labels determine all force constants of a crystal, and how many finite displacements DFT needs instead.

    python benchmarks/labels_needed.py [FILE ...] [--min-length 12 | --own] [--markdown]

No DFT and no potential: only symmetry. ``FILE`` are phonopy files; by default the authors' twelve materials. For each
crystal in the supercell that ``equitrain.phonons`` chooses for ``--min-length``, or with ``--own`` in that of its file:

- ``force constants``: independent ones of that supercell (of symfc's basis; - above the limit of memory);
- ``labels``: frames with random displacements of all atoms that determine them without any potential;
- ``displacements``: supercells of a calculation by finite displacements (phonopy's default).

A label and a finite displacement are one calculation of the same supercell each. With the potential's force constants
as a prior fewer labels will do (``benchmarks/labels.py``): often one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from aiida_equitrain.launch.plan import count_constants, displaced_supercells, phonon_of
from aiida_equitrain.science.phases import space_group
from aiida_equitrain.science.phonopy_cells import to_ase
from aiida_equitrain.science.phonopy_io import load_phonopy
from aiida_equitrain.science.supercells import supercell_rows

AUTHORS = Path(__file__).resolve().parents[2] / 'shared' / 'reference' / 'phonons_pbe_vs_mp0b3'


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', type=Path, nargs='*', metavar='FILE', help='phonopy files')
    parser.add_argument('--min-length', type=float, default=12.0, help='shortest edge of our supercell, Å')
    parser.add_argument('--own', action='store_true', help='the supercell of each file; takes minutes at 20 Å')
    parser.add_argument('--markdown', action='store_true', help='print a table instead of JSON lines')
    args = parser.parse_args()
    args.files = args.files or sorted(AUTHORS.glob('*/dft.phonopy.yaml.xz'))
    if not args.files:
        parser.error(f'no FILE is given, and there are none in {AUTHORS}')
    return args


def row(path: Path, min_length: float | None) -> dict[str, Any]:
    """Return what a crystal needs.

    :param min_length: shortest edge of the supercell, Å; that of the file if ``None``.
    """
    given = load_phonopy(path)
    symprec = float(given.symmetry.tolerance)
    atoms = to_ase(given.unitcell)
    matrix = given.supercell_matrix.T.tolist()
    if min_length is not None:
        matrix = supercell_rows(atoms, min_length, any_shape=True, symprec=symprec)
    phonon = phonon_of(atoms, matrix, symprec)
    return {
        'name': path.parent.name if path.name.startswith('dft.') else path.name.split('.')[0],
        'formula': atoms.symbols.formula.reduce()[0].format('metal'),
        'space_group': space_group(atoms, symprec).symbol,
        **count_constants(phonon, displaced_supercells(phonon)),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = ['| crystal | atoms | force constants | labels | finite displacements |', '| --- | --- | --- | --- | --- |']
    for item in sorted(rows, key=lambda item: (item['n_finite_displacements'], item['n_frames_that_determine'])):
        cells = [
            f'{item["formula"]}, {item["space_group"]} ({item["name"]})',
            str(item['n_atoms']),
            '-' if item['n_constants'] is None else str(item['n_constants']),
            f'**{item["n_frames_that_determine"]}**',
            str(item['n_finite_displacements']),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def main() -> None:
    args = read_arguments()
    rows = []
    for path in args.files:
        rows.append(row(path, None if args.own else args.min_length))
        if not args.markdown:
            print(json.dumps(rows[-1]), flush=True)
    if args.markdown:
        print(markdown(rows))


if __name__ == '__main__':
    main()
