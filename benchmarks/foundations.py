"""Which foundation? Phonons of potentials as they come, without any label, against DFT's.

    python benchmarks/foundations.py [--foundation FILE [--python PATH]] [--crystals mp-2534 AlN ...] [--show]
                                     [--markdown FILE] [--figure FILE]

- Crystals: the twelve of the authors (``phonons_pbe_vs_mp0b3``: finite displacements, PBE, cells of up to 640 atoms;
  their own MACE-MP-0b3 is a column) and the rattled sets, whose reference is the fit of symfc to all frames.
- Cells: ``dft`` is DFT's, unrelaxed; ``relaxed`` is relaxed with the potential. Finite displacements of 0.01 Å in the
  same supercell, the forces on the undisplaced one subtracted, acoustic sum rule, no Born charges; in float64, by the
  calculators that the jobs have.
- ``phonon_mae_thz``: mean over bands and a 20x20x20 mesh. ``dynamically_stable``: no frequency below -0.1 THz on mesh
  and band path. ``cpu_seconds``: of the potential on this machine, one thread, start of Python included.
- Each row is appended to ``rows/foundations.jsonl`` as soon as it is there, and not computed again. ``--show`` computes
  nothing. A potential that does not know an element of a crystal has no row there.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from labels import load_crystal, potential_phonon, run_child
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.phonon_metrics import compare_phonons
from aiida_equitrain.science.phonopy_cells import to_ase
from aiida_equitrain.science.phonopy_io import load_phonopy, make_phonon
from aiida_equitrain.setup.shipped import starter_files

Array = NDArray[np.float64]

ROWS = Path(__file__).resolve().parent / 'rows' / 'foundations.jsonl'
REFERENCE = Path(__file__).resolve().parents[2] / 'shared' / 'reference'
AUTHORS = REFERENCE / 'phonons_pbe_vs_mp0b3'
RATTLED = {
    'Si': 'Si-111-222-rd.tar.xz',
    'NaCl': 'NaCl-rd',
    'AlN': 'AlN-rd_phonopy_params_mp-661.yaml.xz',
    'SnO2': 'SnO2-rd_phonopy_params.yaml.xz',
    'MgO': 'phono3py_params_MgO-222rd-444rd.yaml.xz',
}
#: The authors' potential, of which their table tells; it is not computed here.
PUBLISHED = 'MACE-MP-0b3 (published)'
#: Keys of a row that tell it from all others.
KEY = ('crystal', 'foundation_sha256', 'cell')


def list_crystals() -> list[str]:
    """Return the names of all crystals, the authors' first."""
    return [*sorted(folder.name for folder in AUTHORS.glob('mp-*')), *RATTLED]


def reference_of(crystal: str) -> Phonopy:
    """Return DFT's phonons."""
    if crystal in RATTLED:
        return load_crystal(REFERENCE / 'rattled' / RATTLED[crystal]).reference  # type: ignore[no-any-return]
    return load_phonopy(AUTHORS / crystal / 'dft.phonopy.yaml.xz')


def cell_of(unitcell: PhonopyAtoms, cell: str, foundation: Path, python: str) -> PhonopyAtoms:
    """Return DFT's cell, or the one that the potential relaxes it to."""
    if cell == 'dft':
        return unitcell
    found = run_child(unitcell, unitcell.positions[None], foundation, python, '--relax')
    relaxed = unitcell.copy()
    relaxed.cell = found['cell']
    relaxed.positions = found['positions']
    return relaxed


def phonons_of(reference: Phonopy, unitcell: PhonopyAtoms, foundation: Path, python: str) -> Phonopy:
    """Return the potential's phonons in a cell, in the supercell of the reference."""
    symprec = float(reference.symmetry.tolerance)
    phonon: Any = make_phonon(unitcell, reference.supercell_matrix, reference.primitive_matrix, symprec)
    phonon.generate_displacements(distance=0.01)
    cells = [phonon.supercell, *phonon.supercells_with_displacements]
    positions = np.array([cell.positions for cell in cells])
    forces = run_child(phonon.supercell, positions, foundation, python)['forces']
    return potential_phonon(phonon, forces[1:] - forces[0])  # type: ignore[no-any-return]


def row_of(crystal: str, cell: str, foundation: Path, python: str) -> dict[str, Any]:
    """Compute a row."""
    reference = reference_of(crystal)
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    unitcell = cell_of(reference.unitcell, cell, foundation, python)
    phonon = phonons_of(reference, unitcell, foundation, python)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start
    compared = compare_phonons(phonon, reference)
    return {
        'crystal': crystal,
        'formula': formula_of(reference),
        'foundation': foundation.stem,
        'foundation_sha256': hashlib.sha256(foundation.read_bytes()).hexdigest(),
        'cell': cell,
        'n_atoms': len(phonon.supercell),
        'n_displacements': len(phonon.dataset['first_atoms']),
        'volume_change_percent': 100 * (float(unitcell.volume) / float(reference.unitcell.volume) - 1),
        **shared_numbers(compared['candidate'], compared['reference']),
        'cpu_seconds': round(seconds, 1),
    }


def published_row(crystal: str) -> dict[str, Any]:
    """Return the authors' numbers of MACE-MP-0b3, in its own relaxed cell; the error is that of their table."""
    reference, candidate = (load_phonopy(AUTHORS / crystal / f'{name}.phonopy.yaml.xz') for name in ('dft', 'mp0b3'))
    compared = compare_phonons(candidate, reference)
    with (AUTHORS / 'phonon_properties.csv').open() as file:
        theirs = next(row for row in csv.DictReader(file) if row['material'] == crystal)
    mine = compared['candidate']['phonon_mae_thz']
    if abs(mine - float(theirs['phonon_mae'])) > 1e-3:
        raise SystemExit(f'{crystal}: {mine} THz from the files, {theirs["phonon_mae"]} THz in their table')
    return {
        'crystal': crystal,
        'formula': formula_of(reference),
        'foundation': PUBLISHED,
        'foundation_sha256': PUBLISHED,
        'cell': 'relaxed',
        'volume_change_percent': 100 * (float(candidate.primitive.volume) / float(reference.primitive.volume) - 1),
        **shared_numbers(compared['candidate'], compared['reference']),
    }


def shared_numbers(candidate: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """Return error, verdict and extremes of both sides."""
    return {
        'phonon_mae_thz': candidate['phonon_mae_thz'],
        'max_frequency_error_percent': 100 * (candidate['max_frequency_thz'] / reference['max_frequency_thz'] - 1),
        'lowest_frequency_thz': candidate['lowest_frequency_thz'],
        'reference_lowest_frequency_thz': reference['lowest_frequency_thz'],
        'dynamically_stable': candidate['dynamically_stable'],
        'reference_dynamically_stable': reference['dynamically_stable'],
    }


def formula_of(reference: Phonopy) -> str:
    """Return the formula of the primitive cell."""
    return to_ase(reference.primitive).symbols.formula.reduce()[0].format('metal')


def known_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown: errors at DFT's cell / at the potential's own, by crystal and foundation."""
    names = sorted({row['foundation'] for row in rows}, key=lambda name: -mean_error(rows, name))
    found = {(row['crystal'], row['foundation'], row['cell']): row for row in rows}
    lines = [
        '| crystal | lowest frequency of DFT, THz | ' + ' | '.join(names) + ' |',
        '| --- ' * (len(names) + 2) + '|',
    ]
    for crystal in list_crystals():
        some = [row for row in rows if row['crystal'] == crystal]
        if some:
            pairs = [[found.get((crystal, name, cell)) for cell in ('dft', 'relaxed')] for name in names]
            cells = [' / '.join(map(error_text, pair)) if any(pair) else '–' for pair in pairs]
            lowest = f'{some[0]["reference_lowest_frequency_thz"]:.2f}'
            which = 'rattled' if crystal in RATTLED else crystal
            lines.append(f'| {some[0]["formula"]}, {which} | {lowest} | ' + ' | '.join(cells) + ' |')
    for title, number in (
        ('mean error of the `mp-` crystals that all know, own cell', lambda name: f'{mean_error(rows, name):.3f}'),
        ('verdict on stability as DFT has it', lambda name: verdicts(rows, name)),
        ('core seconds for the forces on 1000 atoms', lambda name: speed(rows, name)),
    ):
        lines.append(f'| {title} | | ' + ' | '.join(number(name) for name in names) + ' |')
    return '\n'.join(lines)


def error_text(row: dict[str, Any] | None) -> str:
    """Return the error, with a mark where the verdict on stability is not DFT's."""
    if row is None:
        return '–'
    mark = '' if row['dynamically_stable'] == row['reference_dynamically_stable'] else ' ✗'
    return f'{row["phonon_mae_thz"]:.3f}{mark}'


def mean_error(rows: list[dict[str, Any]], name: str) -> float:
    """Return the mean error in the own cell over the authors' crystals that all foundations have rows of."""
    own = [row for row in rows if row['cell'] == 'relaxed' and row['crystal'] not in RATTLED]
    everyone = {row['foundation'] for row in own}
    shared = [
        crystal
        for crystal in {row['crystal'] for row in own}
        if {row['foundation'] for row in own if row['crystal'] == crystal} == everyone
    ]
    errors = [row['phonon_mae_thz'] for row in own if row['foundation'] == name and row['crystal'] in shared]
    return float(np.mean(errors)) if errors else float('nan')


def verdicts(rows: list[dict[str, Any]], name: str) -> str:
    """Return how many verdicts in the own cell are DFT's."""
    own = [row for row in rows if row['cell'] == 'relaxed' and row['foundation'] == name]
    right = sum(row['dynamically_stable'] == row['reference_dynamically_stable'] for row in own)
    return f'{right} of {len(own)}'


def speed(rows: list[dict[str, Any]], name: str) -> str:
    """Return the seconds for the forces on a thousand atoms, from the largest cells."""
    own = [row for row in rows if row['cell'] == 'dft' and row['foundation'] == name and row['n_atoms'] >= 400]
    rates = [1000 * row['cpu_seconds'] / (row['n_atoms'] * (row['n_displacements'] + 1)) for row in own]
    return f'{np.median(rates):.0f}' if rates else '–'


def figure(rows: list[dict[str, Any]], target: Path) -> None:
    """Draw the errors of every crystal, by foundation."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    names = sorted({row['foundation'] for row in rows}, key=lambda name: -mean_error(rows, name))
    crystals = [crystal for crystal in list_crystals() if any(row['crystal'] == crystal for row in rows)]
    formulas = {row['crystal']: row['formula'] for row in rows}
    sheet = pyplot.figure(figsize=(8, 4.6), layout='constrained')
    axes = sheet.gca()
    # The best one is green.
    colours = ('#007a5e', '#d55e00', '#1f77b4', '#7f7f7f', '#c9a000', '#8a6fd1', '#cc79a7')
    styles = dict(zip(reversed(names), zip(colours, '^Dso*Pv', strict=True), strict=False))
    for name in names:
        # MACE-MP-0b3 has no rows in DFT's cell.
        own = {row['crystal']: row for row in rows if row['foundation'] == name and row['cell'] == 'relaxed'}
        places = [index for index, crystal in enumerate(crystals) if crystal in own]
        errors = [own[crystals[index]]['phonon_mae_thz'] for index in places]
        colour, marker = styles[name]
        axes.plot(places, errors, marker, color=colour, label=name, markersize=6, alpha=0.85)
    axes.set_yscale('log')
    axes.set_xticks(range(len(crystals)), [formulas[crystal] for crystal in crystals], rotation=40, ha='right')
    axes.set_ylabel('error of the phonons, THz')
    axes.set_title('Phonons without any label, in the cell of the potential, against DFT', fontsize=10)
    axes.grid(axis='y', which='both', alpha=0.3)
    axes.grid(axis='x', alpha=0.15)
    axes.axvline(sum(crystal not in RATTLED for crystal in crystals) - 0.5, color='0.5', linewidth=0.8, linestyle=':')
    sheet.legend(loc='outside lower center', ncols=3, frameon=False, fontsize=8)
    sheet.savefig(target, dpi=150)


def show(
    rows: list[dict[str, Any]],
    args: argparse.Namespace,
    as_text: Callable[[list[dict[str, Any]]], str],
    draw: Callable[[list[dict[str, Any]], Path], None],
) -> None:
    """Print rows as a table; write it to ``args.markdown`` and the figure to ``args.figure``, where they are given."""
    text = as_text(rows)
    print(text)
    if args.markdown:
        args.markdown.write_text(text + '\n')
    if args.figure:
        draw(rows, args.figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--foundation', type=Path, default=None, help='model file; default: the starter')
    parser.add_argument('--python', default=sys.executable, help='Python of the potential; default: this')
    parser.add_argument('--crystals', nargs='+', default=None, help=f'of {", ".join(list_crystals())}; default: all')
    parser.add_argument('--cells', nargs='+', choices=('dft', 'relaxed'), default=['dft', 'relaxed'])
    parser.add_argument('--output', type=Path, default=ROWS)
    parser.add_argument('--show', action='store_true')
    parser.add_argument('--markdown', type=Path)
    parser.add_argument('--figure', type=Path)
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    foundation = args.foundation or starter_files()[0]
    sha256 = hashlib.sha256(foundation.read_bytes()).hexdigest()
    for crystal in [] if args.show else args.crystals or list_crystals():
        tasks = [(PUBLISHED, 'relaxed')] if crystal not in RATTLED else []
        for source, cell in [*tasks, *((sha256, cell) for cell in args.cells)]:
            if any(tuple(row[name] for name in KEY) == (crystal, source, cell) for row in known_rows(args.output)):
                continue
            try:
                row = published_row(crystal) if source == PUBLISHED else row_of(crystal, cell, foundation, args.python)
            except SystemExit as problem:
                print(f'{crystal}, {foundation.stem}: no row: {problem}', file=sys.stderr, flush=True)
                continue
            with args.output.open('a') as file:
                file.write(json.dumps(row) + '\n')
            print(f'{crystal} {row["foundation"]} {cell}: {row["phonon_mae_thz"]:.3f} THz', file=sys.stderr, flush=True)
    rows = known_rows(args.output)
    if rows:
        show(rows, args, table, figure)


if __name__ == '__main__':
    main()
