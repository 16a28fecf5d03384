"""Strategies of fine-tuning against the number of labelled frames, trained until nothing gets better.

    python benchmarks/strategy_table.py --markdown table.md --figure table.png [--jobs 2] [--show]

Each row is computed and judged as in ``phonon_accuracy.py``, of which all arguments hold here too, with other defaults:
all strategies, 2 to 16 frames, three seeds, and training as ``rule_of`` has it. Rows that are in ``--output`` already
are not computed again; by default that is the file in this checkout, so that whoever has time adds to it. The table has
means and standard deviations over the seeds that are there. ``--show`` computes nothing and shows what is there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import phonon_accuracy
from phonon_accuracy import key_of, name_of

STRATEGIES = ['l2-tsp', 'l2-sp', 'lora', 'transfer', 'freeze', 'multihead', 'scratch']
DEFAULTS = {
    'materials': ['Si', 'AlN'],
    'strategies': STRATEGIES,
    'frames': [2, 4, 6, 8, 10, 16],
    'hyperparameters': None,
    'replay': [100],
    'test_frames': 6,
    'output': Path(__file__).resolve().parent / 'rows' / 'strategies.jsonl',
}
#: The two numbers of every cell: heading, key of the row, factor, format.
QUANTITIES = (
    ('error of the phonons, THz', 'finetuned_mae_thz', '.3f'),
    ('forgetting, meV/Å', 'forgetting_mev_per_angstrom', '+.0f'),
)

Cells = dict[tuple[str, str, int], list[dict[str, Any]]]


def read_arguments(defaults: dict[str, Any]) -> argparse.Namespace:
    """Return the arguments of ``phonon_accuracy.py`` with other defaults, and those of a table."""
    mine = argparse.ArgumentParser(add_help=False)
    mine.add_argument('--markdown', type=Path)
    mine.add_argument('--figure', type=Path)
    mine.add_argument('--show', action='store_true')
    own, rest = mine.parse_known_args()
    sys.argv[1:] = rest
    args = phonon_accuracy.read_arguments(defaults)
    return argparse.Namespace(**vars(args), **vars(own))


def rule_of(task: dict[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters with which a strategy is trained until it gains little.

    The rate is halved after epochs that gained less than 1 % on the validation frames, three and as many as make 15
    steps of one frame; training ends when three halvings in a row brought no more. Two strategies stand still at first:
    ``freeze`` gets a higher rate (with that of its card it takes four times as many steps) and waits for 40 steps, at
    most 25 epochs; ``multihead``, for which MACE has its own plateau, gets batches of new and replayed frames and their
    mean over an epoch, and waits longer the fewer frames it replays, as its loss is noisy and its epochs are short. Few
    new frames count for nothing beside a hundred replayed ones: AlN's are repeated up to the share that ten of them
    have beside twenty (not beside more, where an epoch has steps enough without). Silicon's cells have 8 atoms: they
    are repeated as often as something is replayed, which counts less, and with a hundred replayed frames the mean is
    over four epochs; and they cost little, so that the other strategies end when 60 epochs brought nothing at all.

    :param task: as in ``phonon_accuracy.list_tasks``.
    """
    from aiida_equitrain.science.selection import count_validation

    material, strategy, n_frames = task['material'], task['strategy'], task['n_frames']
    if strategy == 'multihead':
        replay = task['replay']
        own: dict[str, Any]
        if material == 'Si':
            own, replayed = {'replay_ratio': 1.0, 'replay_weight': 0.3}, 300
            if replay == 100:
                own |= {'ema_decay': 0.99, 'patience': 20}
        else:
            own, replayed = {'replay_ratio': 0.4} if replay == 100 else {}, 600
        wait = min(15, max(3, replayed // replay))
        return {
            'epochs': 200 * wait // 3,
            'batch_size': 8,
            'ema': True,
            'ema_decay': 0.9,
            'plateau_patience': wait - 1,
            'patience': 3 * wait,
            'patience_threshold': 0.01,
            **own,
        }
    if material == 'Si':
        return {'epochs': 1000, 'patience': 60}
    shortest, n_steps, longest = (5, 40, 25) if strategy == 'freeze' else (3, 15, 15)
    wait = min(longest, max(shortest, -(-n_steps // (n_frames - count_validation(n_frames)))))
    return {
        **({'lr': 0.03} if strategy == 'freeze' else {}),
        'epochs': 400,
        'batch_size': 1,
        'scheduler_monitor': 'val',
        'plateau_patience': wait - 1,
        'plateau_threshold': 0.01,
        'patience': 3 * wait,
        'patience_threshold': 0.01,
    }


def cells_of(rows: list[dict[str, Any]]) -> Cells:
    """Return the rows by material, strategy and number of frames."""
    cells: Cells = {}
    for row in rows:
        cells.setdefault((row['material'], name_of(row), row['n_frames']), []).append(row)
    return cells


def mean_and_spread(rows: list[dict[str, Any]], key: str) -> tuple[float, float | None]:
    """Return mean and standard deviation over the seeds."""
    values = [row[key] for row in rows]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def line_of(cells: list[str]) -> str:
    """Return a line of a table in Markdown."""
    return f'| {" | ".join(cells)} |'


def cell_of(rows: list[dict[str, Any]] | None, key: str, style: str) -> str:
    """Return mean and standard deviation as text."""
    if not rows:
        return '–'
    mean, spread = mean_and_spread(rows, key)
    return f'{mean:{style}}' + ('' if spread is None else f' ± {spread:{style.strip("+")}}')


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table for each material and quantity."""
    cells, text = cells_of(rows), []
    for material in dict.fromkeys(row['material'] for row in rows):
        here = [row for row in rows if row['material'] == material]
        sizes = sorted({row['n_frames'] for row in here})
        text.append(f'### {material}: {here[0]["n_atoms"]} atoms, {len({row["seed"] for row in here})} seeds\n')
        for title, key, style in QUANTITIES:
            text += [line_of([title, *map(str, sizes)]), line_of(['---'] * (len(sizes) + 1))]
            for strategy in dict.fromkeys(name_of(row) for row in here):
                found = [cells.get((material, strategy, size)) for size in sizes]
                text.append(line_of([f'`{strategy}`', *(cell_of(item, key, style) for item in found)]))
            if key == 'finetuned_mae_thz':
                text.append(line_of(['untuned', *[f'{here[0]["foundation_mae_thz"]:.3f}'] * len(sizes)]))
                fits = [_once([row for row in here if row['n_frames'] == size]) for size in sizes]
                text.append(line_of(['symfc, no potential', *(cell_of(item, 'symfc_mae_thz', style) for item in fits)]))
            text.append('')
    return '\n'.join(text)


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per seed that has a fit: the fit does not depend on the strategy."""
    return list({row['seed']: row for row in rows if row['symfc_mae_thz'] is not None}.values())


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the error of the phonons, and forgetting, over the number of frames."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter, SymmetricalLogLocator

    cells, materials = cells_of(rows), list(dict.fromkeys(row['material'] for row in rows))
    figure, axes = plt.subplots(
        2, len(materials), figsize=(max(6, 4.5 * len(materials)), 6.4), squeeze=False, sharex=True
    )
    for column, material in enumerate(materials):
        here = [row for row in rows if row['material'] == material]
        sizes = sorted({row['n_frames'] for row in here})
        for (title, key, _), axis in zip(QUANTITIES, axes[:, column], strict=True):
            for strategy in dict.fromkeys(name_of(row) for row in here):
                found = [(size, *mean_and_spread(cells[material, strategy, size], key)) for size in sizes
                         if (material, strategy, size) in cells]  # fmt: skip
                xs, ys, spreads = zip(*found, strict=True)
                axis.errorbar(xs, ys, [spread or 0 for spread in spreads], marker='o', ms=4, capsize=2, label=strategy)
            axis.set_ylabel(title)
            axis.grid(alpha=0.3)
        axes[0, column].axhline(here[0]['foundation_mae_thz'], color='0.4', ls='--', label='untuned')
        fits = [(size, _once([row for row in here if row['n_frames'] == size])) for size in sizes]
        fits = [(size, mean_and_spread(found, 'symfc_mae_thz')[0]) for size, found in fits if found]
        axes[0, column].plot(*zip(*fits, strict=True), color='k', ls=':', marker='s', ms=4, label='symfc, no potential')
        axes[0, column].set_yscale('log')
        axes[0, column].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[1, column].set_yscale('symlog', linthresh=10)
        axes[1, column].yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=10, subs=(1, 2, 5)))
        axes[1, column].set_ylim(bottom=min(0, *(row['forgetting_mev_per_angstrom'] for row in here)))
        for axis in axes[:, column]:
            axis.set_xticks(sizes)
            axis.yaxis.set_major_formatter(FormatStrFormatter('%g'))
            axis.yaxis.set_minor_formatter(NullFormatter())
        axes[0, column].set_title(material)
        axes[1, column].set_xlabel('labelled frames')
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='lower center', ncols=min(2 * len(materials) + 1, 5), frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path, dpi=130)


def tabulate(
    defaults: dict[str, Any],
    markdown: Callable[[list[dict[str, Any]]], str],
    draw: Callable[[list[dict[str, Any]], Path], None],
) -> None:
    """Compute what is missing, print the table, and write what the arguments ask for."""
    args = read_arguments(defaults)
    tasks = phonon_accuracy.list_tasks(args)
    if args.hyperparameters is None:
        for task in tasks:
            task['hyperparameters'] = rule_of(task)
    if args.show:
        known = phonon_accuracy.known_rows(tasks, args.output)
        rows = [known[key_of(task)] for task in tasks if key_of(task) in known]
    else:
        rows = phonon_accuracy.compute(tasks, args.output, args.jobs)
    text = markdown(rows)
    print(text)
    if args.markdown:
        args.markdown.write_text(text)
    if args.figure:
        draw(rows, args.figure)
    sys.exit(0 if len(rows) == len(tasks) else 1)


if __name__ == '__main__':
    tabulate(DEFAULTS, markdown, draw)
