"""Multi-head replay against the number of frames that it replays; ``transfer``, which replays nothing, beside it.

    python benchmarks/replay_table.py [--show] [--markdown table.md] [--figure table.png] [--jobs 2]

Rows, rules and arguments are those of ``strategy_table.py``; the defaults are ten labelled frames and 20, 100 and 400
replayed ones.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

from strategy_table import DEFAULTS, QUANTITIES, cell_of, line_of, mean_and_spread, tabulate

Rows = list[dict[str, Any]]

FORCES = ('forces, meV/Å', 'forces_mae_mev_per_angstrom', '.2f')


def sizes_of(rows: Rows, material: str) -> dict[tuple[int, str], Rows]:
    """Return the rows of a material by the number of replayed frames (0: none), in ascending order, and the strategy.

    The error on unseen frames gets a key of its own.
    """
    sizes: dict[tuple[int, str], Rows] = {}
    for row in rows:
        if row['material'] == material:
            forces = row['errors']['after']['test'][FORCES[1]]
            sizes.setdefault((row['replay'] or 0, row['strategy']), []).append({**row, FORCES[1]: forces})
    return dict(sorted(sizes.items()))


def markdown(rows: Rows) -> str:
    """Return a table for each material."""
    columns, text = (*QUANTITIES, FORCES), []
    for material in dict.fromkeys(row['material'] for row in rows):
        titles = ['replayed frames', *(title for title, _, _ in columns), 'epochs']
        text += [f'### {material}\n', line_of(titles), line_of(['---'] * len(titles))]
        for (size, strategy), group in sizes_of(rows, material).items():
            epochs = [row['epochs'] for row in group]
            cells = [cell_of(group, key, style) for _, key, style in columns]
            name = str(size) if size else f'none (`{strategy}`)'
            text.append(line_of([name, *cells, f'{min(epochs)} to {max(epochs)}']))
        text.append('')
    return '\n'.join(text)


def draw(rows: Rows, path: Path) -> None:
    """Draw the error of the phonons, and forgetting, over the number of replayed frames."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(QUANTITIES), figsize=(8.4, 3.6))
    all_sizes = sorted({row['replay'] for row in rows if row['replay']})
    for axis, (title, key, _) in zip(axes, QUANTITIES, strict=True):
        for number, material in enumerate(dict.fromkeys(row['material'] for row in rows)):
            sizes, color = sizes_of(rows, material), f'C{number}'
            found = [(size, *mean_and_spread(group, key)) for (size, _), group in sizes.items() if size]
            if found:
                xs, ys, spreads = zip(*found, strict=True)
                errors = [spread or 0 for spread in spreads]
                axis.errorbar(xs, ys, errors, color=color, marker='o', ms=4, capsize=2, label=f'{material}, multihead')
            without = [(strategy, group) for (size, strategy), group in sizes.items() if not size]
            for (strategy, group), style in zip(without, cycle(['--', ':', '-.'])):
                value = mean_and_spread(group, key)[0]
                axis.axhline(value, color=color, ls=style, lw=1, label=f'{material}, {strategy}')
        axis.set_xscale('log')
        axis.set_xticks(all_sizes, [str(size) for size in all_sizes])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_xlabel('replayed frames')
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc='lower center', ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=130)


if __name__ == '__main__':
    defaults = {'strategies': ['transfer', 'multihead'], 'frames': [10], 'replay': [20, 100, 400]}
    tabulate({**DEFAULTS, **defaults}, markdown, draw)
