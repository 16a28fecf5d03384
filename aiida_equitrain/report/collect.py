"""Read a finished (or failed, or still running) job from the graph into plain dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np
from aiida import orm

import aiida_equitrain
from aiida_equitrain.calculations.arrays import arrays_of
from aiida_equitrain.common.formatting import counted, duration, formula, number
from aiida_equitrain.common.names import Role
from aiida_equitrain.query.failures import reason_of
from aiida_equitrain.science.epoch_choice import WORDS, describe_worse
from aiida_equitrain.science.verdict import numbers_in, volume_change

from ..query.jobs import stages_of, state_of
from .flow import flow_data
from .plots import path_ticks
from .verdict import as_data, for_summary, next_steps, verdict_of


class NoReportError(ValueError):
    """There is no report of this node, for a reason that is one sentence."""


#: WorkChains that a report can be made of.
REPORTABLE = ('equitrain.material', 'equitrain.finetune', 'equitrain.committee')

#: Quantities of the table of phonons: key of the comparison and heading.
QUANTITIES = {
    'phonon_mae_thz': 'error over the Brillouin zone: MAE (THz)',
    'phonon_rmse_thz': '… RMSE (THz)',
    'phonon_bias_thz': '… mean, signed (THz)',
    'max_frequency_thz': 'highest frequency (THz)',
    'mean_frequency_thz': 'mean frequency (THz)',
    'lowest_frequency_thz': 'lowest frequency on path and mesh (THz)',
    'dynamically_stable': 'dynamically stable',
    'uncertainty_thz': 'error bar of the frequencies, mean (THz)',
    'verdict': 'stable within error bars',
    'heat_capacity_j_per_k_mol': 'heat capacity (J/K/mol)',
    'entropy_j_per_k_mol': 'entropy (J/K/mol)',
    'free_energy_kj_per_mol': 'free energy (kJ/mol)',
    'k_diff_high_temp_limit_w_per_m_k': 'diffusive minimum conductivity (W/m/K)',
    'volume_angstrom3': 'primitive cell (Å³)',
}
#: The same of moduli, by the output that has them: from phonons, and from stresses of the potential.
MODULI = {
    'properties': {
        'bulk_modulus_from_phonons_gpa': 'bulk modulus from phonons (GPa)',
        'shear_modulus_from_phonons_gpa': 'shear modulus from phonons (GPa)',
    },
    'elastic': {
        'bulk_modulus_gpa': 'bulk modulus (GPa)',
        'shear_modulus_gpa': 'shear modulus (GPa)',
        'slack_conductivity_300k_w_per_m_k': 'Slack conductivity (W/m/K)',
    },
}
#: Those that are errors, which a fit that is the reference has none of.
OF_ERRORS = ('phonon_mae_thz', 'phonon_rmse_thz', 'phonon_bias_thz')
CELL, AT_DFT = 'at the cell of', 'DFT’s'
#: What is given of sides at DFT's cell, where some are at another.
MOVED = {'phonon_mae_thz': 'error, MAE (THz)', 'max_frequency_thz': 'highest frequency (THz)'}
#: Of more branches not each has a row; volumes that differ by less, in percent, are those of one cell.
MANY_BRANCHES, SAME_CELL = 12, 0.05
ERRORS = {
    'forces_mae_mev_per_angstrom': 'force MAE, {split} (meV/Å)',
    'energy_mae_mev_per_atom': 'energy MAE, {split} (meV/atom)',
    'stress_mae_mev_per_angstrom3': 'stress MAE, {split} (meV/Å³)',
}
SPLITS = {Role.TRAIN.value: 'training frames', Role.VALID.value: 'validation frames', Role.TEST.value: 'test frames'}


def read_once(read: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Let a function keep what it read last of a node that has ended, of which nothing changes.

    Page, files and terminal ask for the same, and to read it from the graph takes seconds.
    """
    last: dict[str, dict[str, Any]] = {}

    @wraps(read)
    def reread(node: Any) -> dict[str, Any]:
        if not getattr(node, 'is_terminated', False):
            return read(node)
        if node.uuid not in last:
            found = read(node)
            last.clear()
            last[node.uuid] = found
        return dict(last[node.uuid])

    return reread


@read_once
def collect(node: orm.ProcessNode) -> dict[str, Any]:
    """Return everything that the report shows of ``node``, as plain data.

    :raises NoReportError: if there can be none of this node.
    """
    if getattr(node, 'process_type', None) not in [f'aiida.workflows:{name}' for name in REPORTABLE]:
        kind = getattr(node, 'process_label', None) or type(node).__name__
        raise NoReportError(
            f'PK {node.pk} is of the kind {kind}: a report is made of a job of `aiida-equitrain launch`, but '
            'not of `label` and `active-learning` (`aiida-equitrain list jobs` shows them)'
        )
    inputs, outputs = _inputs(node), node.outputs
    comparison = dict(outputs.comparison) if 'comparison' in outputs else {}
    trainings = trainings_of(outputs)
    training = trainings.get('', {})
    stages = stages_of(node)
    summary = summarize(node, inputs, comparison, training, stages)
    learning = learning_data(outputs, training)
    judged = with_error_bars(comparison, outputs)
    found = verdict_of(node, inputs, judged, trainings, corrections_of(outputs), learning)
    summary |= for_summary(found)
    data = {
        'pk': node.pk,
        'uuid': node.uuid,
        'material': summary['material'] or 'unknown',
        'title': _title(comparison, trainings),
        'subtitle': f'{node.process_label} {node.pk} · {_state_sentence(node)} · {node.ctime:%Y-%m-%d %H:%M} UTC',
        'verdict': as_data(found, next_steps(node, inputs, found, summary['strategy'])),
        'warnings': training_warnings(node),
        'notes': _notes(node, inputs, stages),
        'headline': _headline(summary),
        'errors': [*phonon_rows(judged), *elastic_rows(outputs)],
        'branches': branch_rows(comparison),
        'how_symfc': symfc_words(comparison),
        'training_tables': {name: training_rows(each) for name, each in trainings.items()},
        'validation': [row for name, each in trainings.items() for row in validation_rows(each, _of(name))],
        'stages': stages,
        'facts': [*_facts(inputs, comparison, training), *_spread(outputs)],
        'commands': commands(node),
        'summary': summary,
        'bands': bands_data(outputs, comparison),
        'error_bars': error_bars_data(outputs),
        'thermal': thermal_data(outputs),
        'learning': learning,
        'parity': parity_data(outputs),
    }
    data['flow'] = flow_data(node, data) if comparison or len(stages) > 1 else None
    return data


def summarize(
    node: orm.ProcessNode,
    inputs: Mapping[str, Any],
    comparison: Mapping[str, Any],
    training: Mapping[str, Any],
    stages: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the content of ``summary.json``: what is not known is ``None``."""
    candidates, moved = comparison.get('candidates') or {}, at_dft_cell(comparison)
    dataset = inputs.get('dataset')
    correction = corrections_of(node.outputs).get('corrected', {})
    forgetting = training.get('forgetting') or {}
    structure = inputs.get('structure')
    formulas = dataset.formulas if dataset is not None else []
    return {
        'material': formula(structure.get_formula()) if structure is not None else ' '.join(map(formula, formulas)),
        'foundation_mae_thz': (candidates.get('foundation') or {}).get('phonon_mae_thz'),
        'finetuned_mae_thz': (candidates.get('finetuned') or {}).get('phonon_mae_thz'),
        'corrected_mae_thz': (candidates.get('corrected') or {}).get('phonon_mae_thz'),
        'corrected_uncertainty_thz': correction.get('uncertainty_thz'),
        'corrected_finetuned_mae_thz': (candidates.get('corrected_finetuned') or {}).get('phonon_mae_thz'),
        'n_frames_corrected': correction.get('n_frames'),
        'foundation_mae_at_dft_cell_thz': (moved.get('foundation') or {}).get('phonon_mae_thz'),
        'finetuned_mae_at_dft_cell_thz': (moved.get('finetuned') or {}).get('phonon_mae_thz'),
        'symfc_mae_thz': (comparison.get('symfc') or {}).get('phonon_mae_thz'),
        'forgetting_mev_per_angstrom': forgetting.get('change_mev_per_angstrom'),
        'n_frames': dataset.n_frames if dataset is not None else None,
        'n_atoms': dataset.max_atoms if dataset is not None else None,
        'strategy': training.get('strategy') or inputs.get('strategy') or 'none',
        'seconds': round((node.mtime - node.ctime).total_seconds(), 1),
        'core_seconds': round(stages[-1]['core_seconds'], 1),
        'pk': node.pk,
        'uuid': node.uuid,
        'exit_status': node.exit_status,
        'version': aiida_equitrain.__version__,
    }


def corrections_of(outputs: Any) -> dict[str, dict[str, Any]]:
    """Return what is known of each correction, by the side whose phonons it gave."""
    phonons = outputs.phonons if 'phonons' in outputs else {}
    return {side: dict(phonons[side]['correction']) for side in phonons if 'correction' in phonons[side]}


def with_error_bars(comparison: Mapping[str, Any], outputs: Any) -> dict[str, Any]:
    """Return a comparison whose corrected sides have mean error bar and verdict."""
    candidates = {
        side: {**values, **{key: correction.get(key) for key in ('uncertainty_thz', 'verdict')}}
        for side, correction in corrections_of(outputs).items()
        if (values := (comparison.get('candidates') or {}).get(side)) is not None
    }
    return {**comparison, **({'candidates': {**comparison['candidates'], **candidates}} if candidates else {})}


def error_bars_data(outputs: Any) -> dict[str, Any] | None:
    """Return bands with error bars of the corrected phonons of the foundation."""
    phonons = outputs.phonons if 'phonons' in outputs else {}
    side = next((side for side in ('corrected', 'corrected_finetuned') if side in phonons), None)
    if side is None or 'error_bars' not in phonons[side]:
        return None
    return error_bars_of(phonons[side]['error_bars'])


def error_bars_of(node: orm.ArrayData) -> dict[str, Any]:
    """Return the arrays of error bars, names of points as a list."""
    arrays: dict[str, Any] = arrays_of(node)
    return {**arrays, 'path_labels': arrays['path_labels'].tolist()}


def bands_of_bars(bars: Mapping[str, Any]) -> dict[str, Any]:
    """Return corrected bands with their error bars, and those of the potential, as :func:`bands_data` does."""
    distances, starts = bars['path_distances'], [int(start) for start in bars['path_segment_starts']]
    parts = {
        name: np.split(np.asarray(bars[key]), starts[1:])
        for name, key in (('foundation', 'path_potential_thz'), ('corrected', 'path_frequencies_thz'))
    }
    segments = [
        {'distances': place, 'sides': {name: parts[name][index] for name in parts}}
        for index, place in enumerate(np.split(np.asarray(distances), starts[1:]))
    ]
    sigmas = {'corrected': np.split(np.asarray(bars['path_sigmas_thz']), starts[1:])}
    return {'segments': segments, 'ticks': path_ticks(distances, starts, bars['path_labels']), 'sigmas': sigmas}


def phonon_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the table of phonon quantities: one row per quantity, one key per side."""
    if not comparison:
        return []
    sides = {'dft': comparison.get('reference'), **(comparison.get('candidates') or {})}
    sides['symfc'] = comparison.get('symfc')
    rows = []
    for key, title in QUANTITIES.items():
        values = {name: side.get(key) for name, side in sides.items() if side}
        if any(value is not None for value in values.values()):
            rows.append({'quantity': title, **values})
    symfc = comparison.get('symfc') or {}
    if symfc.get('is_reference'):
        for row in rows:
            if row['quantity'] in {QUANTITIES[key] for key in OF_ERRORS}:
                row['symfc'] = 'is the reference'
    cells, moved = cells_of(comparison), at_dft_cell(comparison)
    if moved:
        place = len([row for row in rows if row['quantity'] in {QUANTITIES[key] for key in OF_ERRORS}])
        rows[place:place] = [
            {
                'quantity': f'all at DFT’s cell: {title}',
                **{name: side.get(key) for name, side in {'dft': comparison['reference'], **moved}.items()},
            }
            for key, title in MOVED.items()
        ]
    return [*rows, {'quantity': CELL, **cells}] if cells else rows


def symfc_words(comparison: Mapping[str, Any]) -> str:
    """Return in words what the fit without a potential was made of."""
    symfc = comparison.get('symfc') or {}
    words = str(symfc.get('how') or '')
    words = words.replace('frames', 'frame', 1) if symfc.get('n_frames') == 1 else words
    how = f': {symfc["n_frames"]} {words}' if words else ''
    if symfc.get('is_reference'):
        return f'{how}; it is the reference, which was made of the very same frames'
    return how


def branch_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return errors (THz) by branch and at the points of the path that have a name, one key per side.

    Of many optical branches the mean stands for all; at a point it is the mean over all branches.
    """
    own = dict(comparison.get('candidates') or {})
    if comparison.get('symfc'):
        own['symfc'] = comparison['symfc']
    moved = at_dft_cell(comparison)
    rows = _branches(comparison, own)
    more = [{**row, 'quantity': f'all at DFT’s cell: {row["quantity"]}'} for row in _branches(comparison, moved)]
    return [*rows, *more]


def at_dft_cell(comparison: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the metrics of all sides at DFT's cell: of those that were moved there, and of those that are there.

    Empty where no side was moved.
    """
    moved = comparison.get('at_reference') or {}
    there = [name for name, words in cells_of(comparison).items() if words == AT_DFT]
    sides = {name: moved.get(name) or (values if name in there else {})
             for name, values in (comparison.get('candidates') or {}).items()}  # fmt: skip
    symfc = comparison.get('symfc') or {}
    if symfc and not symfc.get('is_reference'):
        sides['symfc'] = symfc  # it is fitted in the cell of the reference
    return {name: values for name, values in sides.items() if values} if moved else {}


def _branches(comparison: Mapping[str, Any], sides: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of some sides, see :func:`branch_rows`."""
    sides = {name: values for name, values in sides.items() if numbers_in(values, 'branch_mae_thz')}
    if not sides:
        return []
    number_of = max(len(values['branch_mae_thz']) for values in sides.values())
    rows = []
    for index in range(number_of if number_of <= MANY_BRANCHES else 3):
        kind = 'acoustic' if index < 3 else 'optical'
        values = {name: errors[index] for name, side in sides.items() if index < len(errors := side['branch_mae_thz'])}
        rows.append({'quantity': f'branch {index + 1} ({kind})', **values})
    if number_of > MANY_BRANCHES:
        mean = {name: side.get('optical_mae_thz') for name, side in sides.items()}
        rows.append({'quantity': f'branches 4 to {number_of} (optical), mean', **mean})
    for point in comparison.get('points') or []:
        found = point['frequencies_thz']
        if 'reference' in found:
            wanted = np.sort(found['reference'])
            errors = {name: side['points'][point['name']] if 'points' in side
                      else float(np.abs(np.sort(found[name]) - wanted).mean())
                      for name, side in sides.items() if name in found}  # fmt: skip
            rows.append({'quantity': f'at {point["name"]}, mean of all branches', **errors})
    return rows


def cells_of(comparison: Mapping[str, Any]) -> dict[str, str]:
    """Return in words at which cell the phonons of each side are, by its volume and that of DFT's."""
    reference = comparison.get('reference') or {}
    words = {}
    for name, side in (comparison.get('candidates') or {}).items():
        share = volume_change(side, reference)
        if share is not None:
            change = 100 * share
            own = f'own ({"+" if change > 0 else ""}{number(change, 2)} %)'
            words[name] = AT_DFT if abs(change) < SAME_CELL else own
    return words


def elastic_rows(outputs: Any) -> list[dict[str, Any]]:
    """Return the moduli of each side: from phonons of all, from stresses where that was computed."""
    phonons = outputs.phonons if 'phonons' in outputs else {}
    rows = []
    for output, titles in MODULI.items():
        sides = {name: dict(phonons[name][output]) for name in phonons if output in phonons[name]}
        for key, title in titles.items():
            values = {name: side.get(key) for name, side in sides.items()}
            if any(value is not None for value in values.values()):
                rows.append({'quantity': title, **values})
    return rows


def training_rows(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return errors on labelled frames before and after, and on other crystals."""
    errors = training.get('errors') or {}
    before, after = errors.get('before') or {}, errors.get('after') or {}
    rows = []
    for split, words in SPLITS.items():
        for key, title in ERRORS.items():
            pair = {'before': (before.get(split) or {}).get(key), 'after': (after.get(split) or {}).get(key)}
            if pair['before'] is not None or pair['after'] is not None:
                rows.append({'quantity': title.format(split=words), **pair})
    forgetting = training.get('forgetting') or {}
    if forgetting:
        rows.append(
            {
                'quantity': 'force MAE, other crystals (meV/Å)',
                'before': forgetting.get('forces_mae_before_mev_per_angstrom'),
                'after': forgetting.get('forces_mae_after_mev_per_angstrom'),
            }
        )
    return rows


def validation_rows(training: Mapping[str, Any], of: str = '') -> list[dict[str, Any]]:
    """Return ``title``, ``unit``, ``before``, ``after`` and ``worse`` of the errors on validation frames.

    :param of: end of the titles.
    """
    errors = training.get('errors') or {}
    before, after = ((errors.get(side) or {}).get(Role.VALID.value) or {} for side in ('before', 'after'))
    worse = training.get('worse_than_foundation') or {}
    return [
        {'title': f'{WORDS[name][0]} of validation frames{of}', 'unit': WORDS[name][1], 'before': before.get(key),
         'after': after[key], 'worse': name in worse}
        for name, key in zip(('forces', 'energy', 'stress'), ERRORS, strict=True)
        if key in after
    ]  # fmt: skip


def training_warnings(node: orm.ProcessNode) -> list[str]:
    """Return what a fine-tuning, or the members of a committee, warn of, as sentences; the verdict has its flags."""
    return [
        f'Warning{_of(name)}: {text}.'
        for name, each in trainings_of(node.outputs).items()
        for text in each.get('warnings', [])
        if text not in describe_worse(each.get('worse_than_foundation') or {})
    ]


def trainings_of(outputs: Any) -> dict[str, dict[str, Any]]:
    """Return the summary of a fine-tuning under an empty name, or those of the members of a committee by theirs."""
    if 'summary' in outputs:
        return {'': dict(outputs.summary)}
    if 'summaries' in outputs:
        names = sorted(outputs.summaries, key=lambda name: (len(name), name))
        return {name: dict(outputs.summaries[name]) for name in names}
    return {}


def _of(member: str) -> str:
    """Return the name of a member of a committee as the end of a title; nothing of a single training."""
    return member and f' ({member})'


def _title(comparison: Mapping[str, Any], trainings: Mapping[str, Any]) -> str:
    if comparison:
        return 'a fine-tuned potential and its phonons' if trainings else 'phonons, corrected by labels'
    return 'fine-tuning of a potential' if len(trainings) < 2 else f'a committee of {len(trainings)} potentials'


def commands(node: orm.ProcessNode) -> list[str]:
    """Return the commands to look further."""
    return [
        f'verdi process status {node.pk}',
        f'verdi node graph generate {node.pk}',
        f'aiida-equitrain show {node.pk}',
        f'aiida-equitrain export {node.pk} DIR',
    ]


def _inputs(node: orm.ProcessNode) -> dict[str, Any]:
    """Return structure, foundation, dataset, and how it is trained, wherever the process takes them."""
    stage = node.inputs.finetune if 'finetune' in node.inputs else node.inputs
    train: Any = stage['train'] if 'train' in stage else {}  # noqa: SIM401
    places = {'structure': node.inputs, 'foundation': node.inputs if 'foundation' in node.inputs else train}
    found = {name: place[name] for name, place in places.items() if name in place}
    for place in (node.outputs, node.inputs, train):
        if 'dataset' in place:
            found.setdefault('dataset', place['dataset'])
    for name in ('strategy', 'seed', 'engine'):
        if name in train:
            found[name] = train[name].value
    if 'replay' in train:
        found['replay'] = train['replay']
    if 'n_seeds' in node.inputs:
        first = node.inputs.seed.value
        found['seed'] = f'{first} to {first + node.inputs.n_seeds.value - 1}'
    if 'hyperparameters' in train:
        found['hyperparameters'] = dict(train['hyperparameters'])
    if 'dropped' in node.outputs:
        found['dropped'] = dict(node.outputs.dropped)
    return found


def _state_sentence(node: orm.ProcessNode) -> str:
    state = state_of(node)
    return {'done': 'finished', 'running': 'still running'}.get(state, f'failed with exit code {node.exit_status}')


def _notes(node: orm.ProcessNode, inputs: Mapping[str, Any], stages: list[dict[str, Any]]) -> list[str]:
    """Return what must be known before the numbers are believed."""
    notes = []
    if state_of(node) == 'failed':
        notes.append(f'This run failed: {reason_of(node)}')
    if state_of(node) == 'running':
        notes.append('This run has not ended; the page shows what there is so far.')
    dropped = inputs.get('dropped') or {}
    frames = dropped.get('frames', dropped)
    if frames:
        was = 'was' if len(frames) == 1 else 'were'
        notes.append(f'{counted(len(frames), "frame")} {was} dropped because DFT failed; see the output `dropped`.')
    return notes


def _headline(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the few numbers at the top of the page."""
    forgetting = summary['forgetting_mev_per_angstrom']
    sign = '+' if forgetting is not None and forgetting > 0 else ''
    labels = counted(summary['n_frames_corrected'], 'label')
    corrected = f'of the foundation, corrected by {labels}'
    whose = f'error bar of the phonons {corrected}' if summary['corrected_mae_thz'] is None else 'its own error bar'
    items = [
        (summary['corrected_mae_thz'], ' THz', f'phonon error {corrected} (MAE over the Brillouin zone)'),
        (summary['corrected_uncertainty_thz'], ' THz', f'{whose}, from the labels alone'),
        (
            summary['finetuned_mae_thz'],
            ' THz',
            'phonon error of the fine-tuned potential (MAE over the Brillouin zone)',
        ),
        (summary['corrected_finetuned_mae_thz'], ' THz', 'of the fine-tuned potential, corrected by the labels'),
        (summary['foundation_mae_thz'], ' THz', 'of the foundation as it comes'),
        (summary['symfc_mae_thz'], ' THz', 'of a fit to the same frames without a potential (symfc)'),
        (forgetting, ' meV/Å', 'forgetting: change of the force error on other crystals'),
    ]
    numbers = [
        {'value': (sign if 'forgetting' in label else '') + number(value) + unit, 'label': label}
        for value, unit, label in items
        if value is not None
    ]
    if summary['n_frames']:
        several = 'frame of' if summary['n_frames'] == 1 else 'frames of up to'
        label = f'labelled {several} {summary["n_atoms"]} atoms'
        numbers.append({'value': str(summary['n_frames']), 'label': label})
    numbers.append(
        {'value': duration(summary['seconds']), 'label': f'in all, {duration(summary["core_seconds"])} of core time'}
    )
    return numbers


def _facts(
    inputs: Mapping[str, Any], comparison: Mapping[str, Any], training: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return what went in, for people."""
    facts: list[tuple[str, str]] = []
    structure, foundation, dataset = inputs.get('structure'), inputs.get('foundation'), inputs.get('dataset')
    if structure is not None:
        facts.append(
            ('structure', f'{formula(structure.get_formula())}, {len(structure.sites)} atoms (PK {structure.pk})')
        )
    if foundation is not None:
        name = foundation.card.get('name') or foundation.label or foundation.architecture
        facts.append(('foundation', f'{name}, {foundation.n_parameters:,} parameters (PK {foundation.pk})'))
        facts.append(('its SHA-256', foundation.checked_sha256()))
    if dataset is not None:
        roles = ', '.join(f'{count} {role}' for role, count in dataset.counts.items())
        facts.append(
            ('frames', f'{dataset.n_frames} ({roles}), {dataset.functional}, {dataset.code} (PK {dataset.pk})')
        )
    if 'strategy' in inputs:
        facts.append(('strategy', f'{inputs["strategy"]}, seed {inputs.get("seed")}'))
    if training:
        facts.append(
            (
                'training',
                f'best epoch {training.get("best_epoch")} of {training.get("epochs")}, '
                f'{training.get("n_trained_parameters", 0):,} of {training.get("n_parameters", 0):,} parameters, '
                f'{training.get("threads")} thread(s), {training.get("device_name")}',
            )
        )
        facts.append(('versions', ', '.join(f'{key} {value}' for key, value in training.get('versions', {}).items())))
    if inputs.get('hyperparameters'):
        facts.append(('hyperparameters', ', '.join(f'{k} {v}' for k, v in sorted(inputs['hyperparameters'].items()))))
    if comparison:
        mesh = ' × '.join(str(value) for value in comparison.get('mesh', []))
        facts.append(('comparison', f'mesh {mesh}, {number(comparison.get("temperature_k"))} K'))
    return facts


def _spread(outputs: Any) -> list[tuple[str, str]]:
    """Return how far the members of a committee are apart on validation frames, and how wrong they are."""
    found = dict(outputs.committee).get('valid') if 'committee' in outputs else None
    if not found:
        return []
    words = {
        'forces_spread_mev_per_angstrom': 'forces differ by {} meV/Å',
        'energy_spread_mev_per_atom': 'energies by {} meV/atom',
        'forces_mae_of_mean_mev_per_angstrom': 'force MAE of their mean {} meV/Å',
        'mean_forces_mae_mev_per_angstrom': 'of a single one {} meV/Å',
    }
    text = ', '.join(words[key].format(number(found.get(key))) for key in words)
    return [('members', f'{text} (validation frames)')]


#: The comparison calls DFT by its part in it.
NAMES = {'reference': 'dft'}


def bands_data(outputs: Any, comparison: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Return the bands of all sides along one path, segment by segment, and the ticks of the path.

    Where they are known, beside them stand densities of states, error bars of corrected sides, and the point where each
    side is furthest from DFT.
    """
    node = outputs.bands if 'bands' in outputs else None
    if not isinstance(node, orm.ArrayData) or isinstance(node, orm.BandsData):
        return None
    arrays = arrays_of(node)
    distances, starts, labels = arrays['distances'], arrays['segment_starts'].tolist(), arrays['labels'].tolist()
    sides = _by_side(node, 'frequencies')
    ends = [*starts[1:], len(distances)]
    segments = [
        {
            'distances': distances[a:b],
            'sides': {name: values[a:b] for name, values in sides.items()},
            'qpoints': arrays['qpoints'][a:b] if 'qpoints' in arrays else None,
        }
        for a, b in zip(starts, ends, strict=True)
    ]
    bands = {
        'segments': segments,
        'ticks': path_ticks(distances, starts, labels),
        'sigmas': _sigmas(outputs, labels, starts, len(distances)),
        'marks': _marks(comparison or {}, distances, sides),
        'marked': 'where a side is furthest from DFT' if 'dft' in sides else '',
    }
    if 'dos_frequencies' in arrays:
        densities = _by_side(node, 'dos')
        densities.pop('frequencies', None)
        bands |= {'dos': densities, 'dos_frequencies': arrays['dos_frequencies']}
    return bands


def _sigmas(outputs: Any, labels: list[Any], starts: list[int], number: int) -> dict[str, list[Any]]:
    """Return the standard deviations of corrected sides, by segment, if their path is that of the comparison."""
    phonons, found = outputs.phonons if 'phonons' in outputs else {}, {}
    for side in phonons:
        if 'error_bars' not in phonons[side]:
            continue
        bars = arrays_of(phonons[side]['error_bars'])
        own = [int(start) for start in bars['path_segment_starts']]
        if bars['path_labels'].tolist() == labels and own == starts and len(bars['path_sigmas_thz']) == number:
            found[side] = np.split(bars['path_sigmas_thz'], starts[1:])
    return found


def _marks(comparison: Mapping[str, Any], distances: Any, sides: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return where each side is furthest from DFT."""
    marks = {}
    for name, worst in (comparison.get('worst') or {}).items():
        if name not in sides or 'dft' not in sides:
            continue
        index, branch = int(worst['index']), int(worst['branch']) - 1
        where = '–'.join(dict.fromkeys(worst['between']))
        error = number(worst['error_thz'])
        text = f'furthest from DFT: {"+" if worst["error_thz"] > 0 else ""}{error} THz, branch {branch + 1}, {where}'
        marks[name] = [{'x': distances[index], 'y': np.sort(sides[name][index])[branch], 'text': text}]
    return marks


def thermal_data(outputs: Any) -> dict[str, Any] | None:
    """Return heat capacity, entropy and free energy of every side over temperature."""
    if 'thermal' not in outputs:
        return None
    node = outputs.thermal
    temperatures = node.get_array('temperatures')
    curves: dict[str, Any] = {}
    for key in ('heat_capacity', 'entropy', 'free_energy'):
        for name, values in _by_side(node, key).items():
            curves.setdefault(name, {'temperature_k': temperatures})[key] = values
    return curves


def learning_data(outputs: Any, training: dict[str, Any]) -> dict[str, Any] | None:
    """Return the errors by epoch."""
    node = outputs.metrics if 'metrics' in outputs else None
    if not isinstance(node, orm.ArrayData):  # of a committee there are several
        return None
    data: dict[str, Any] = arrays_of(node)
    data['best_epoch'] = training.get('best_epoch')
    return data if len(data.get('epoch', [])) > 1 else None


def parity_data(outputs: Any) -> dict[str, Any] | None:
    """Return force components of the frames that were not trained on, or of all if there are none."""
    if 'predictions' not in outputs:
        return None
    node = outputs.predictions
    arrays = arrays_of(node)
    chosen = ~arrays['is_train'][arrays['frame_index']]
    split = 'frames that were not trained on'
    if not chosen.any():
        chosen, split = np.ones_like(chosen), 'all frames'
    names = {'reference': 'forces_reference', 'foundation': 'forces_before', 'finetuned': 'forces_after'}
    parity: dict[str, Any] = {name: arrays[key][chosen].ravel() for name, key in names.items() if key in arrays}
    parity['split'] = split
    return parity


def _by_side(node: orm.ArrayData, key: str) -> dict[str, Any]:
    """Return the arrays ``<key>_<side>`` by side."""
    prefix = f'{key}_'
    names = [name.removeprefix(prefix) for name in node.get_arraynames() if name.startswith(prefix)]
    return {NAMES.get(name, name): node.get_array(prefix + name) for name in names}
