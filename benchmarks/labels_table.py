"""Errors of phonons against the number of labels: the table and the figure of all sets and foundations.

    python benchmarks/labels_table.py --foundation FILE [--python PATH] [--pypolymlp PATH]      computes what is missing
    python benchmarks/labels_table.py --show [--markdown FILE] [--figure FILE]                  only shows

Each set of DFT frames (``../shared/reference/rattled``) is a run of ``labels.py``, whose rows are kept in
``rows/labels.jsonl`` and not computed again; rows without polynomial potentials get them where ``--pypolymlp`` is
given. Fine-tuned potentials, and their correction by the frames that trained them, are rows of ``phonon_accuracy.py``:

    python benchmarks/phonon_accuracy.py --materials NaCl AlN --data SnO2.yaml.xz --functional PBEsol --frames 2 4 10 \
        --strategies l2-tsp --hyperparameters '{"epochs": 60}' --output benchmarks/rows/labels_finetuned.jsonl
    python benchmarks/phonon_accuracy.py --data MgO.yaml.xz --phonon-frames --frames 2 [...]

NaCl has ten frames, two of which test at least; MgO four.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from foundations import RATTLED, REFERENCE, known_rows, show
from labels import Table, load_crystal

from aiida_equitrain.setup.shipped import starter_files

ROWS = Path(__file__).resolve().parent / 'rows' / 'labels.jsonl'
FINETUNED = ROWS.with_name('labels_finetuned.jsonl')
#: The sets, and the numbers of labels; MgO has four frames.
SETS = {'AlN': (1, 2, 4, 10), 'NaCl': (1, 2, 4), 'SnO2': (1, 2, 4, 10), 'MgO': (1, 2)}
DRAWS = 3


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--foundation', type=Path, default=None, help='model file; default: the starter')
    parser.add_argument('--python', default=sys.executable, help='Python of the potential; default: this')
    parser.add_argument('--pypolymlp', metavar='PYTHON', help='also fit polynomial potentials, with this Python')
    parser.add_argument('--materials', nargs='+', choices=SETS, default=list(SETS))
    parser.add_argument('--cache', type=Path, default=Path(tempfile.gettempdir()) / 'equitrain-labels')
    parser.add_argument('--show', action='store_true', help='compute nothing')
    parser.add_argument('--markdown', type=Path)
    parser.add_argument('--figure', type=Path)
    return parser.parse_args()


def compute(material: str, args: argparse.Namespace) -> None:
    """Append the rows of one set that are missing."""
    foundation = (args.foundation or starter_files()[0]).resolve()
    digest = hashlib.sha256(foundation.read_bytes()).hexdigest()
    rows = known_rows(ROWS)
    mine = [row for row in rows if (row['set'], row['foundation_sha256']) == (material, digest)]
    wanted = {(number, draw) for number in SETS[material] for draw in range(DRAWS)}
    missing = sorted(wanted - {(row['n_labels'], row['draw']) for row in mine})
    unfitted = [row for row in mine if args.pypolymlp and row['n_labels'] > 1 and row['pypolymlp_mae_thz'] is None]
    if not missing and not unfitted:
        return
    crystal = load_crystal(REFERENCE / 'rattled' / RATTLED[material])
    # Polynomial potentials are fitted to energies, too.
    unfitted = unfitted if crystal.energies is not None else []
    if not missing and not unfitted:
        return
    # What the potential computes does not depend on which rows are there.
    options = argparse.Namespace(
        labels=list(SETS[material]), draws=DRAWS, pairs=8, mesh=[10, 10, 10], cache=args.cache, pypolymlp=args.pypolymlp
    )
    table = Table(crystal, foundation, args.python, options)
    for row in unfitted:
        row.update(table.polynomial(table.drawn[row['n_labels'], row['draw']]))
        ROWS.write_text(''.join(json.dumps(row) + '\n' for row in rows))
        print(f'{material}, pypolymlp, {row["n_labels"]} labels, draw {row["draw"]}', file=sys.stderr, flush=True)
    for number, draw in missing:
        row = {**table.row(number, draw), 'set': material, 'foundation_sha256': digest}
        with ROWS.open('a') as file:
            file.write(json.dumps(row) + '\n')
        print(f'{material}, {foundation.stem}, {number} labels, draw {draw}', file=sys.stderr, flush=True)


def told_apart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the SHA-256 in the name of a foundation of which there are rows of a later file."""
    last = {row['foundation']: row['foundation_sha256'] for row in rows}
    return [
        row
        if row['foundation_sha256'] == last[row['foundation']]
        else {**row, 'foundation': f'{row["foundation"]} {row["foundation_sha256"][:8]}'}
        for row in rows
    ]


def means(rows: list[dict[str, Any]], name: str) -> dict[tuple[str, str, int], float]:
    """Return the mean over draws of a column, by set, foundation and number of labels; without rows that lack it."""
    found: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in rows:
        if row.get(name) is not None:
            found[row['set'], row['foundation'], row['n_labels']].append(row[name])
    return {key: float(np.mean(values)) for key, values in found.items()}


def of_set(column: dict[tuple[str, str, int], float], material: str) -> dict[int, float]:
    """Return a column of :func:`means` that is the same for all foundations, by number of labels."""
    return {number: value for (name, _, number), value in column.items() if name == material}


def foundations_of(rows: list[dict[str, Any]]) -> list[str]:
    """Return the names of the foundations, the one with the smallest errors last."""
    errors: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        errors[row['foundation']].append(row['zero_label_mae_thz'])
    return sorted(errors, key=lambda name: -float(np.median(errors[name])))


def finetuned_means(material: str, digest: str) -> dict[str, dict[int, float]]:
    """Return the mean errors of a fine-tuned foundation as it is and corrected, by method and number of labels."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    columns = {'fine-tuned': 'finetuned_mae_thz', 'fine-tuned and corrected, harmonic': 'finetuned_corrected_mae_thz'}
    for row in known_rows(FINETUNED):
        if (row['material'], row['foundation_sha256']) == (material, digest):
            epochs = row['hyperparameters'].get('epochs')
            how = row['strategy'] + (f', {epochs} epochs' if epochs else '')
            for method, column in columns.items():
                if row[column] is not None:
                    found[f'{how}: {method}'][row['n_frames']].append(row[column])
    return {method: {n: float(np.mean(some)) for n, some in by.items()} for method, by in found.items()}


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table: a line for each set and method, a column for each number of labels."""
    numbers = sorted({number for some in SETS.values() for number in some})
    lines = ['| set | method | ' + ' | '.join(['0', *map(str, numbers)]) + ' |', '| --- ' * (len(numbers) + 3) + '|']
    zero, symfc, polynomial, corrected, harmonic = (
        means(rows, f'{name}_mae_thz') for name in ('zero_label', 'symfc', 'pypolymlp', 'corrected', 'harmonic')
    )
    for material in SETS:
        for method, column in (('symfc, no potential', symfc), ('pypolymlp', polynomial)):
            # The same frames whatever the foundation.
            by_number = of_set(column, material)
            if by_number:
                lines.append(_line(material, method, None, [by_number.get(number) for number in numbers]))
        for name in foundations_of([row for row in rows if row['set'] == material]):
            values = [corrected.get((material, name, number)) for number in numbers]
            own = [harmonic.get((material, name, number)) for number in numbers]
            start = zero[material, name, SETS[material][0]]
            lines.append(_line(material, f'{name}, corrected', start, values))
            lines.append(_line(material, f'{name}, corrected, harmonic', None, own))
            digest = next(row['foundation_sha256'] for row in rows if row['foundation'] == name)
            for method, by_number in finetuned_means(material, digest).items():
                lines.append(_line(material, f'{name}, {method}', None, [by_number.get(n) for n in numbers]))
    return '\n'.join(lines)


def _line(material: str, method: str, start: float | None, values: list[float | None]) -> str:
    cells = ['–' if value is None else f'{value:.4f}' for value in (start, *values)]
    return f'| {material} | {method} | ' + ' | '.join(cells) + ' |'


def methods_beside(rows: list[dict[str, Any]], material: str) -> list[tuple[str, str, dict[int, float]]]:
    """Return label, line and errors by number of labels of what the correction is compared with."""
    found = [
        (label, line, of_set(means(rows, f'{column}_mae_thz'), material))
        for label, line, column in (('symfc, no potential', 'k--x', 'symfc'), ('pypolymlp', 'k:+', 'pypolymlp'))
    ]
    trained = [
        (f'{foundation}, {method}', 'C4-.v', by_number)
        for foundation, digest in {row['foundation']: row['foundation_sha256'] for row in rows}.items()
        for method, by_number in finetuned_means(material, digest).items()
        if method.endswith('fine-tuned')
    ]
    # Of several trainings, the one that has been to the most numbers of labels.
    return found + sorted(trained, key=lambda one: -len(one[2]))[:1]


def figure(rows: list[dict[str, Any]], target: Path) -> None:
    """Draw error against number of labels, a panel for each set."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    names = foundations_of(rows)
    # The best one is green, whatever is drawn beside it.
    styles = dict(
        zip(reversed(names), (('#007a5e', '^'), ('#d55e00', 'D'), ('#1f77b4', 's'), ('#7f7f7f', 'o')), strict=False)
    )
    sets = [material for material in SETS if any(row['set'] == material for row in rows)]
    sheet, panels = pyplot.subplots(
        1, len(sets), figsize=(2.9 * len(sets), 3.4), layout='constrained', sharey=True, squeeze=False
    )
    zero, corrected = (means(rows, f'{name}_mae_thz') for name in ('zero_label', 'corrected'))
    for axes, material in zip(panels[0], sets, strict=True):
        places = range(len(SETS[material]) + 1)
        for label, style, by_number in methods_beside(rows, material):
            xs = [index for index, number in enumerate(SETS[material], 1) if number in by_number]
            axes.plot(xs, [by_number[SETS[material][x - 1]] for x in xs], style, label=label, linewidth=1.2)
        for name in names:
            if (material, name, SETS[material][0]) not in zero:
                continue
            color, marker = styles[name]
            ys = [zero[material, name, SETS[material][0]]]
            ys += [corrected.get((material, name, number), np.nan) for number in SETS[material]]
            axes.plot(places, ys, color=color, marker=marker, label=f'{name}, corrected', linewidth=1.4)
        axes.set_xticks(places, ['0', *map(str, SETS[material])])
        axes.set_title(material, fontsize=11)
        axes.set_xlabel('labelled supercells')
        axes.grid(axis='y', which='both', alpha=0.25)
    panels[0, 0].set_yscale('log')
    # Two frames are too few for a polynomial potential, whose error is off the sheet.
    panels[0, 0].set_ylim(top=6)
    panels[0, 0].set_ylabel('error of the phonons, THz')
    handles, labels = panels[0, 0].get_legend_handles_labels()
    sheet.legend(handles, labels, loc='outside lower center', ncols=3, frameon=False, fontsize=9)
    sheet.savefig(target, dpi=150)


def main() -> None:
    args = read_arguments()
    warnings.simplefilter('ignore')
    for material in [] if args.show else args.materials:
        compute(material, args)
    show(told_apart(known_rows(ROWS)), args, markdown, figure)


if __name__ == '__main__':
    main()
