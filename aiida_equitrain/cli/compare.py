"""Compare the phonons of two phonopy files; neither a profile nor AiiDA is needed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.numbers import FiniteRange
from aiida_equitrain.cli.terminal import echo
from aiida_equitrain.common.phonon_settings import MESH, STABILITY_TOLERANCE_THZ, SYMPREC, TEMPERATURE_K

if TYPE_CHECKING:
    from phonopy import Phonopy

#: Keys of the metrics with what the table calls them.
ROWS = {
    'phonon_mae_thz': ('Brillouin-zone MAE', 'THz'),
    'phonon_rmse_thz': ('Brillouin-zone RMSE', 'THz'),
    'max_frequency_thz': ('highest frequency', 'THz'),
    'min_frequency_thz': ('lowest frequency', 'THz'),
    'mean_frequency_thz': ('mean frequency', 'THz'),
    'heat_capacity_j_per_k_mol': ('heat capacity', 'J/K/mol'),
    'entropy_j_per_k_mol': ('entropy', 'J/K/mol'),
    'free_energy_kj_per_mol': ('free energy', 'kJ/mol'),
    'k_diff_high_temp_limit_w_per_m_k': ('diffusive conductivity', 'W/m/K'),
    'dynamically_stable': ('dynamically stable', ''),
}
#: The authors' names of columns, which have no units.
COLUMNS = {
    'phonon_mae_thz': 'phonon_mae',
    'phonon_rmse_thz': 'phonon_rmse',
    'max_frequency_thz': 'max_frequency',
    'min_frequency_thz': 'min_frequency',
    'mean_frequency_thz': 'mean_frequency',
    'heat_capacity_j_per_k_mol': 'heat_capacity',
    'entropy_j_per_k_mol': 'entropy',
    'free_energy_kj_per_mol': 'free_energy',
    'k_diff_high_temp_limit_w_per_m_k': 'k_diff_high_temp_limit',
    'volume_angstrom3': 'volume',
    'dynamically_stable': 'dynamically_stable',
    'lowest_frequency_thz': 'lowest_frequency',
    'space_group': 'spacegroup',
}


@click.command('compare', epilog=examples('compare si/phonopy.yaml dft/phonopy.yaml'))
@click.argument('candidate', type=click.Path(path_type=Path), metavar='A.yaml')
@click.argument('reference', type=click.Path(path_type=Path), metavar='B.yaml')
@click.option('--json', 'as_json', is_flag=True, help="Print one JSON object with the authors' names of columns.")
@click.option('--mesh', nargs=3, type=click.IntRange(1, 200), default=MESH, show_default=True)
@click.option(
    '--temperature',
    type=FiniteRange(min=0),
    default=TEMPERATURE_K,
    show_default=True,
    help='Of the thermal properties, K.',
)
@click.option(
    '--tolerance',
    type=FiniteRange(min=0),
    default=STABILITY_TOLERANCE_THZ,
    show_default=True,
    help='Of stability, THz.',
)
@click.option(
    '--symprec',
    type=FiniteRange(min=0, min_open=True),
    help=f'Of the symmetry search, Å.  [default: that of each file, or {SYMPREC:g}]',
)
@click.option('--acoustic-sum-rule', is_flag=True, help='Impose it on the force constants before anything is computed.')
def cmd_compare(
    candidate: Path,
    reference: Path,
    as_json: bool,
    mesh: tuple[int, int, int],
    temperature: float,
    tolerance: float,
    symprec: float | None,
    acoustic_sum_rule: bool,
) -> None:
    """Compare the phonons of A (candidate) with those of B (reference, usually DFT).

    Both are phonopy.yaml, phonopy_params.yaml or phonopy_disp.yaml (with FORCE_SETS or FORCE_CONSTANTS beside it), of
    any calculator that phonopy knows, also with .xz or .gz, of the same crystal; cells, units and order of the atoms
    may differ. Errors are means over all bands, sorted at each q-point,
    and a mesh; extrema are taken along the band path; thermal properties are per mole of primitive cells. In JSON, the
    reference's columns have the prefix `benchmark_`. No non-analytical correction is applied.
    """
    from aiida_equitrain.science.phonon_metrics import compare_phonons

    start = time.time()
    try:
        phonons = [_load(path, symprec, acoustic_sum_rule) for path in (candidate, reference)]
        echo('comparing ...', err=True, nl=True)
        result = compare_phonons(*phonons, mesh=mesh, temperature=temperature, tolerance=tolerance)
    except ValueError as error:
        echo(f'Error: {error}', err=True)
        raise SystemExit(2) from error
    if as_json:
        settings = {
            'mesh': list(mesh),
            'temperature': temperature,
            'stability_tolerance': tolerance,
            'acoustic_sum_rule': acoustic_sum_rule,
            'seconds': round(time.time() - start, 1),
        }
        echo(
            json.dumps(
                {'candidate_file': str(candidate), 'reference_file': str(reference), **columns(result), **settings}
            )
        )
        return
    echo(table(result, temperature), lines=True)


def columns(result: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics under the authors' names of columns; the reference's have the prefix ``benchmark_``."""
    row = {}
    for key, name in COLUMNS.items():
        row[name] = result['candidate'][key]
        if key in result['reference']:
            row[f'benchmark_{name}'] = result['reference'][key]
    return row


def table(result: dict[str, dict[str, Any]], temperature: float) -> str:
    """Return the table for people."""
    candidate, reference = result['candidate'], result['reference']
    lines = [f'{"":34s}{"candidate":>14s}{"reference":>14s}{"difference":>14s}']
    for key, (name, unit) in ROWS.items():
        values = [candidate[key], reference.get(key, '')]
        cells = [_cell(value) for value in values]
        numeric = all(isinstance(value, float) for value in values)
        difference = f'{values[0] - values[1]:+.4f}' if numeric else ''
        thermal = f' at {temperature:g} K' if unit in ('J/K/mol', 'kJ/mol') else ''
        label = f'{name}{thermal} ({unit})' if unit else name
        lines.append(f'{label:34s}{cells[0]:>14s}{cells[1]:>14s}{difference:>14s}'.rstrip())
    return '\n'.join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return f'{value:.4f}' if isinstance(value, float) else str(value)


def _load(path: Path, symprec: float | None, acoustic_sum_rule: bool) -> Phonopy:
    from aiida_equitrain.science.phonopy_io import load_phonopy

    echo(f'reading {path} ...', err=True)
    return load_phonopy(path, symprec=symprec, acoustic_sum_rule=acoustic_sum_rule)
