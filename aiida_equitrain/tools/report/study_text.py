"""A study in a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_equitrain.common.formatting import number
from aiida_equitrain.common.printable import NAME, printable

COLUMNS = (
    'strategy',
    'frames',
    'phonon MAE, THz',
    'wins',
    'F1 of instability',
    'forgetting, meV/Å',
    'F1 of new phases',
)


def describe_study(aggregates: Mapping[str, Any]) -> str:
    """Return the table of strategies with their intervals, and what failed."""
    confidence = f'{aggregates["confidence"]:.0%}'
    lines: list[tuple[str, ...]] = [COLUMNS]
    for group in aggregates['strategies']:
        lines.append(
            (
                printable(group['strategy'], longest=NAME),
                str(group['n_train']),
                interval((group.get('phonon_mae_thz') or {}).get('mean')),
                interval(group.get('wins'), percent=True),
                interval((group.get('unstable') or {}).get('f1')),
                interval((group.get('forgetting_mev_per_angstrom') or {}).get('mean')),
                interval((group.get('new_phases') or {}).get('f1')),
            )
        )
    for name, title in (('foundation', 'foundation'), ('symfc', 'no potential (symfc)')):
        error = (aggregates[name].get('phonon_mae_thz') or {}).get('mean')
        lines.append((title, '', interval(error), *[''] * (len(COLUMNS) - 3)))
    if not any(group.get('new_phases') for group in aggregates['strategies']):
        lines = [line[:-1] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ['  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    done = aggregates['n_rows'] - aggregates['n_failed']
    text.append(
        f'{aggregates["n_materials"]} materials, {done} of {aggregates["n_rows"]} rows done; in brackets {confidence} '
        'of the bootstrap over materials'
    )
    ratio = aggregates['cost']['label_over_dft']
    if ratio['value'] is not None:
        text.append(f'labels cost {interval(ratio, percent=True)} of the DFT phonons')
    return '\n'.join(text)


def interval(statistic: Mapping[str, Any] | None, *, percent: bool = False) -> str:
    """Return a statistic as ``value [low, high]``, or a dash."""
    if not statistic or statistic['value'] is None:
        return '–'

    def write(value: float) -> str:
        return f'{value:.0%}' if percent else number(value)

    if statistic['low'] is None:
        return write(statistic['value'])
    return f'{write(statistic["value"])} [{write(statistic["low"])}, {write(statistic["high"])}]'
