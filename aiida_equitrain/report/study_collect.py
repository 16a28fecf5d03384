"""Read a study from the graph into plain dictionaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from aiida import orm

from aiida_equitrain.common.formatting import number
from aiida_equitrain.common.printable import NAME, printable
from aiida_equitrain.query import study_table
from aiida_equitrain.query.studies import STUDY
from aiida_equitrain.science.epoch_choice import WORDS

from .collect import NoReportError, bands_data, learning_data, read_once, training_warnings, trainings_of
from .instability import mode_pairs

#: Columns of the table for people: heading, and what a longer word for it is.
COLUMNS = {
    'material': ('material', ''),
    'strategy': ('strategy', ''),
    'n_train': ('frames', 'training frames'),
    'seed': ('seed', ''),
    'made_worse': ('made worse', 'what the training made worse than the foundation on validation frames, or a warning'),
    'phonon_mae_thz': ('MAE, THz', 'phonons: mean absolute error over the Brillouin zone'),
    'foundation_phonon_mae_thz': ('foundation', 'the same of the foundation, THz'),
    'symfc_phonon_mae_thz': ('symfc', 'the same of force constants fitted to the same frames without a potential, THz'),
    'corrected_phonon_mae_thz': ('corrected', 'the same of the foundation, corrected by the labels, THz'),
    'corrected_uncertainty_thz': ('±', 'its error bar, from the labels alone, THz'),
    'corrected_finetuned_phonon_mae_thz': (
        'fine-tuned, corrected',
        'the same of the fine-tuned potential, corrected by the labels, THz',
    ),
    'dos_error_percent': ('DOS, %', 'error of the density of states'),
    'max_frequency_thz_deviation_percent': ('ω max, %', 'deviation of the highest frequency'),
    'heat_capacity_j_per_k_mol_deviation_percent': ('Cv, %', 'deviation of the heat capacity'),
    'entropy_j_per_k_mol_deviation_percent': ('S, %', 'deviation of the entropy'),
    'dynamically_stable': ('stable', 'dynamically stable with the potential'),
    'reference_dynamically_stable': ('DFT', 'dynamically stable with DFT'),
    'n_new_phases': ('phases', 'new phases behind imaginary modes, where they were followed'),
    'lowest_phase': ('lowest', 'space group of the lowest of them'),
    'n_reference_phases': ('DFT phases', 'phases that DFT finds behind imaginary modes'),
    'n_phases_found': ('found', 'those of them that the potential finds: same space group and structure'),
    'n_phases_wrong': ('wrong', "phases of the potential that match none of DFT's"),
    'forgetting_mev_per_angstrom': ('forgetting', 'change of the force error on other crystals, meV/Å'),
    'train_core_seconds': ('training, s', 'core-seconds of the training'),
}
#: What the table says of a training that warns and made nothing worse.
OTHER = 'other warning'


def is_study(node: Any) -> bool:
    """Say whether a node is a study."""
    return getattr(node, 'process_type', None) == STUDY


@read_once
def collect_study(node: orm.ProcessNode) -> dict[str, Any]:
    """Return everything that the page of a study shows.

    :raises NoReportError: if the study has no table.
    """
    from aiida_equitrain.science.study_statistics import with_deviations

    if 'table' not in node.outputs:
        raise NoReportError(f'PK {node.pk} has no `table`: it is a study that has not ended')
    table = with_deviations(study_table(node))
    aggregates = node.outputs.aggregates.get_dict()
    rows = _with_warnings(_records(table))
    return {
        'pk': node.pk,
        'uuid': node.uuid,
        'subtitle': f'{node.process_label} {node.pk} · {node.uuid} · {node.ctime:%Y-%m-%d %H:%M} UTC',
        'warnings': _warnings(rows),
        'notes': _notes(node, aggregates),
        'headline': headline(aggregates),
        'aggregates': aggregates,
        'rows': rows,
        'materials': {name: collect_material(name, rows) for name in sorted(set(table['material']))},
        'commands': [
            f'aiida-equitrain list studies; verdi process status {node.pk}',
            f'aiida-equitrain report {node.pk} -o DIR',
            f'aiida-equitrain publish {node.pk} -o study.aiida',
        ],
    }


def collect_material(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return bands, learning curves and provenance of one crystal, of the largest size and the first seed."""
    mine = [row for row in rows if row['material'] == name]
    done = [row for row in mine if row['state'] == 'done']
    largest = max((row['n_train'] for row in done), default=None)
    seed = min((row['seed'] for row in done if row['n_train'] == largest), default=None)
    shown = [row for row in done if (row['n_train'], row['seed']) == (largest, seed)]
    outputs = {row['strategy']: orm.load_node(row['process_uuid']).outputs for row in shown}
    learning = {}
    for strategy, found in outputs.items():
        curves = learning_data(found, dict(found.summary) if 'summary' in found else {})
        if curves is not None:
            learning[strategy] = curves
    return {
        'rows': mine,
        'n_train': largest,
        'seed': seed,
        'bands': _bands(outputs, shown),
        'learning': learning,
        'wells': _wells(shown),
        'warnings': [(_name(row), text) for row in mine for text in row['warnings']],
        'provenance': [
            (_name(row), row['reason'] or f'process {row["process_uuid"]}, potential {row["potential_uuid"]}')
            for row in mine
        ],
    }


def _name(row: dict[str, Any]) -> str:
    return f'{row["strategy"]}, {row["n_train"]} frames, seed {row["seed"]}'


def _wells(rows: list[dict[str, Any]]) -> list[Any]:
    """Return the energies along the modes of the first row whose modes were followed, as the figure takes them."""
    for row in rows:
        if row.get('instability_uuid'):
            pairs = mode_pairs(orm.load_node(row['instability_uuid']))
            if pairs:
                return pairs
    return []


def _bands(outputs: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the bands of DFT, the foundation and every strategy on one path, and where the best one is worst."""
    merged: dict[str, Any] | None = None
    for strategy, found in outputs.items():
        data = bands_data(found)
        if data is None:
            continue
        if merged is None:
            merged = {'ticks': data['ticks'], 'segments': []}
            for segment in data['segments']:
                known = {side: segment['sides'][side] for side in ('dft', 'foundation') if side in segment['sides']}
                merged['segments'].append({'distances': segment['distances'], 'sides': known})
        for place, segment in zip(merged['segments'], data['segments'], strict=True):
            if len(place['distances']) == len(segment['distances']):
                place['sides'][strategy] = segment['sides']['finetuned']
    if merged is None:
        return None
    best = min(rows, key=lambda row: row['phonon_mae_thz'] if row['phonon_mae_thz'] is not None else np.inf)
    return merged | {'best': best['strategy'], 'worst': _worst(merged['segments'], best['strategy'])}


def _worst(segments: list[dict[str, Any]], strategy: str) -> tuple[float, float] | None:
    """Return the place on the path where a strategy is farthest from DFT, and the mean distance there, THz."""
    worst: tuple[float, float] | None = None
    for segment in segments:
        if not {'dft', strategy} <= set(segment['sides']):
            return None
        errors = np.abs(np.asarray(segment['sides'][strategy]) - np.asarray(segment['sides']['dft'])).mean(axis=1)
        index = int(errors.argmax())
        if worst is None or errors[index] > worst[1]:
            worst = (float(segment['distances'][index]), float(errors[index]))
    return worst


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict('records')
    return records


def study_warnings(node: orm.ProcessNode) -> list[str]:
    """Return in sentences in how many rows of a study a training made something worse or has another warning."""
    return _warnings(_with_warnings(_records(study_table(node))))


def _with_warnings(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with ``warnings``, the sentences of their trainings, and ``made_worse``, them in short."""
    uuids = [row['process_uuid'] for row in rows if row['process_uuid']]
    builder = orm.QueryBuilder().append(orm.ProcessNode, filters={'uuid': {'in': uuids}})
    nodes = {node.uuid: node for node in builder.all(flat=True)} if uuids else {}
    known = []
    for row in rows:
        node = nodes.get(row['process_uuid'])
        warnings = [] if node is None else training_warnings(node)
        training = {} if node is None else trainings_of(node.outputs).get('', {})
        worse = ', '.join(WORDS[name][0] for name in WORDS if name in (training.get('worse_than_foundation') or {}))
        known.append({**row, 'warnings': warnings, 'made_worse': worse or (OTHER if warnings else None)})
    return known


def _warnings(rows: list[dict[str, Any]]) -> list[str]:
    counts = Counter(word for row in rows if row['made_worse'] for word in row['made_worse'].split(', '))
    n_other = counts.pop(OTHER, 0)
    found = []
    if counts:
        what = ', '.join(f'{words} in {count}' for words, count in counts.items())
        found.append(f'trainings made errors on validation frames worse than those of the foundation: {what}')
    if n_other:
        found.append(f'trainings warn of something else in {n_other}')
    where = 'The table shows which, the page of the crystal how much and what to do.'
    return [f'Warning: {text} of {len(rows)} rows. {where}' for text in found]


def _notes(node: Any, aggregates: dict[str, Any]) -> list[str]:
    notes = []
    if node.inputs.foundation.card.get('starter'):
        notes.append(
            'The foundation is the starter potential that ships with the package: small, made for trying things out. '
            'It is not MACE-MP, and its numbers say nothing about MACE-MP.'
        )
    if aggregates['n_failed']:
        notes.append(f'{aggregates["n_failed"]} of {aggregates["n_rows"]} rows failed; the table says why.')
    if aggregates['n_materials'] < 10:
        notes.append(f'Intervals are those of a bootstrap over {aggregates["n_materials"]} materials: too few to rank.')
    return notes


def headline(aggregates: dict[str, Any]) -> list[dict[str, str]]:
    """Return the few numbers at the top: the best strategy of the largest size, and what it is compared with."""
    groups = [group for group in aggregates['strategies'] if 'phonon_mae_thz' in group]
    numbers = [{'value': str(aggregates['n_materials']), 'label': f'materials, {aggregates["n_rows"]} rows'}]
    if not groups:
        return numbers
    largest = max(group['n_train'] for group in groups)
    best = min((group for group in groups if group['n_train'] == largest),
               key=lambda group: float(group['phonon_mae_thz']['mean']['value']))  # fmt: skip
    error = best['phonon_mae_thz']['mean']['value']
    label = f'phonon MAE of {best["strategy"]}, the best with {largest} frames'
    numbers.insert(0, {'value': f'{number(error)} THz', 'label': label})
    for key, label in (('foundation', 'of the foundation as it comes'), ('symfc', 'of fits without a potential')):
        if 'phonon_mae_thz' in aggregates[key]:
            value = aggregates[key]['phonon_mae_thz']['mean']['value']
            numbers.insert(-1, {'value': f'{number(value)} THz', 'label': label})
    corrected = [item for item in aggregates.get('by_labels', []) if item['method'] == 'corrected']
    if corrected:
        most = max(corrected, key=lambda item: int(item['n_train']))
        value = number(most['phonon_mae_thz']['mean']['value'])
        label = f'of the foundation, corrected by {most["n_train"]} training frames and those for validation'
        numbers.insert(0, {'value': f'{value} THz', 'label': label})
    scores = best.get('new_phases') or {}
    if scores.get('f1', {}).get('value') is not None:
        words = ', '.join(f'{name} {interval(scores[name], percent=True)}' for name in ('precision', 'recall'))
        label = f'F1 of its new phases: {words}'
        numbers.insert(-1, {'value': number(scores['f1']['value']), 'label': label})
    return numbers


TEXT_COLUMNS = (
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
    lines: list[tuple[str, ...]] = [TEXT_COLUMNS]
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
    for item in aggregates.get('by_labels', []):
        if item['method'] != 'symfc':
            method = 'foundation, corrected' if item['method'] == 'corrected' else item['method']
            cells = (printable(method, longest=NAME), str(item['n_train']), interval(item['phonon_mae_thz']['mean']))
            lines.append((*cells, *[''] * (len(TEXT_COLUMNS) - 3)))
    for name, title in (('foundation', 'foundation'), ('symfc', 'no potential (symfc)')):
        error = (aggregates[name].get('phonon_mae_thz') or {}).get('mean')
        lines.append((title, '', interval(error), *[''] * (len(TEXT_COLUMNS) - 3)))
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
