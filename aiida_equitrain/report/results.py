"""The results of a finished WorkChain: a table with units for the terminal, and the content of ``summary.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from aiida import orm

import aiida_equitrain
from aiida_equitrain.common.formatting import duration, formula, number
from aiida_equitrain.common.names import CALCJOBS, WORKCHAINS
from aiida_equitrain.common.printable import NAME, printable
from aiida_equitrain.common.units import name_and_unit
from aiida_equitrain.query.jobs import cost
from aiida_equitrain.query.lineage import describe

from . import thermal
from .collect import REPORTABLE, collect, training_warnings, trainings_of, validation_rows
from .correction import describe_correction
from .instability import describe_tree
from .study_collect import describe_study, study_warnings

#: How the process types of WorkChains and jobs of ours begin.
OURS = (WORKCHAINS, CALCJOBS)
#: How the line of an error ends that is larger than before.
WORSE = ', worse'
#: Thermal properties of phonons that the table has.
PER_CELL = ('heat_capacity_j_per_k_mol_cell', 'entropy_j_per_k_mol_cell', 'free_energy_kj_per_mol_cell')
FROM_PHONONS = ('bulk_modulus_from_phonons_gpa', 'shear_modulus_from_phonons_gpa')
#: Width of the names in a table.
WIDTH = 40

Row = tuple[str, str, str]


def kind_of(node: Any) -> str:
    """Return which WorkChain of ours a node is, such as ``phonons``; nothing of all others."""
    kind = str(getattr(node, 'process_type', None) or '')
    return kind.removeprefix(WORKCHAINS) if kind.startswith(WORKCHAINS) else ''


def describe_result(node: Any) -> str:
    """Return the results of a WorkChain as a table, a line each with its unit; nothing where there are none."""
    describer = DESCRIBERS.get(kind_of(node))
    return '' if describer is None else describer(node)


def warnings_of(node: Any) -> list[str]:
    """Return what a WorkChain warns of, as sentences."""
    return study_warnings(node) if kind_of(node) == 'study' else training_warnings(node)


def summary_of(node: Any) -> dict[str, Any]:
    """Return the content of ``summary.json`` of any node of ours: numbers with their units in the keys.

    Of the main job and of fine-tuning it is the summary of the report; of all others what the node is, and the
    dictionaries among its results, the tensors left out.
    """
    if f'equitrain.{kind_of(node)}' in REPORTABLE:
        found: dict[str, Any] = collect(node)['summary']
        return found
    head: dict[str, Any] = {
        'pk': node.pk,
        'uuid': node.uuid,
        'label': node.label,
        'version': aiida_equitrain.__version__,
    }
    if not isinstance(node, orm.ProcessNode):
        return {'kind': type(node).__name__, **head, **{key: text for key, text in describe(node).items()
                                                       if key not in ('node', 'label')}}  # fmt: skip
    structure = crystal_of(node)
    head |= {
        'kind': str(node.process_label),
        'material': None if structure is None else formula(structure.get_formula()),
        'exit_status': node.exit_status,
        'seconds': round((node.mtime - node.ctime).total_seconds(), 1),
        'core_seconds': round(float(cost(node)['core_seconds'].sum()), 1),
    }
    return head | {name: node.outputs[name].get_dict() for name in SUMMARIES if _is_dictionary(node, name)}


#: Outputs whose content is part of a summary.
SUMMARIES = (
    'stability',
    'properties',
    'elastic',
    'correction',
    'qha',
    'kappa',
    'tree',
    'rounds',
    'aggregates',
    'dropped',
)


def crystal_of(node: Any) -> Any:
    """Return the crystal that a WorkChain began with, or ``None``."""
    if 'structure' in node.inputs:
        return node.inputs.structure
    return node.inputs.phonopy_data.get_unitcell() if 'phonopy_data' in node.inputs else None


def _is_dictionary(node: Any, name: str) -> bool:
    return name in node.outputs and isinstance(node.outputs[name], orm.Dict)


def table(title: str, rows: Iterable[Row]) -> str:
    """Return a title and one line for each row: name, value, unit. What a stranger named makes no lines of its own."""
    lines = [f'  {name:<{WIDTH}}{value:>9} {unit}'.rstrip() for name, value, unit in rows]
    return '\n'.join(printable(line) for line in [title, *lines])


def _phonons(node: Any) -> str:
    if 'stability' not in node.outputs:
        return ''
    facts, structure = node.outputs.stability.get_dict(), crystal_of(node)
    rows = _frequencies(facts)
    if 'properties' in node.outputs:
        known = node.outputs.properties.get_dict()
        if 'correction' not in node.outputs:
            temperature = number(known.get('temperature_k'))
            rows += [(f'{name} at {temperature} K', value, unit) for name, value, unit in _quantities(known, PER_CELL)]
        rows += _quantities(known, FROM_PHONONS)
    if 'elastic' in node.outputs:
        rows += _quantities(node.outputs.elastic.get_dict(), ('bulk_modulus_gpa', 'shear_modulus_gpa',
                            'debye_temperature_k', 'slack_conductivity_300k_w_per_m_k'))  # fmt: skip
    if 'relaxed_structure' in node.outputs and structure is not None:
        after, before = node.outputs.relaxed_structure.get_cell_volume(), structure.get_cell_volume()
        change = 100 * (after / before - 1)
        rows.append(('volume of the relaxed cell', number(after, 5), f'Å³, {change:+.2f} % of the one given'))
    rows.append(('displacements', str(facts.get('n_displacements', '–')),
                 f'in supercells of {facts.get("n_atoms_supercell", "–")} atoms'))  # fmt: skip
    source = 'of a potential' if 'potential' in node.inputs else 'of DFT'
    text = table(f'{_name(structure)}: phonons {source}', rows)
    if 'correction' in node.outputs:
        text += '\n' + describe_correction(node.outputs.correction.get_dict())
    return text


def _frequencies(stability: dict[str, Any]) -> list[Row]:
    """Return how low and high frequencies are, and what that says."""
    lowest = stability.get('lowest_frequency_thz', stability.get('min_frequency_thz'))
    where = stability.get('lowest_qpoint')
    return [
        ('lowest frequency', number(lowest), 'THz' + ('' if where is None else f' at q = {_qpoint(where)}')),
        ('highest frequency', number(stability.get('max_frequency_thz')), 'THz'),
        ('dynamically stable', _answer(stability.get('dynamically_stable')),
         f'within {number(stability.get("tolerance_thz"))} THz'),
    ]  # fmt: skip


def _training(node: Any) -> str:
    found = trainings_of(node.outputs)
    rows: list[Row] = []
    for name, summary in found.items():
        of = f' ({name})' if name else ''
        rows += _validation(summary, of)
        change = (summary.get('forgetting') or {}).get('change_mev_per_angstrom')
        if change is not None:
            rows.append((f'forgetting (forces of other crystals){of}', number(change), 'meV/Å'))
        rows.append((f'kept epoch{of}', str(summary.get('best_epoch', '–')), f'of {summary.get("epochs", "–")}'))
    rows += _potential(node)
    if 'potentials' in node.outputs:
        rows += [(f'potential ({name})', f'PK {node.outputs.potentials[name].pk}', '')
                 for name in sorted(node.outputs.potentials)]  # fmt: skip
    data = collect(node)
    title = f'{printable(data["material"], longest=NAME)}, {data["summary"]["strategy"]}: errors on validation frames'
    return table(title, rows) if rows else ''


def _material(node: Any) -> str:
    summary = collect(node)['summary']
    rows: list[Row] = [
        (title, number(summary[key]), unit) for key, title, unit in MATERIAL_ROWS if summary.get(key) is not None
    ]
    for name, each in trainings_of(node.outputs).items():
        rows += _validation(each, name and f' ({name})')
    if summary['n_frames']:
        rows.append(('labelled frames', str(summary['n_frames']), f'of up to {summary["n_atoms"]} atoms'))
    spent = f'({duration(summary["core_seconds"])} of core time)'
    rows.append(('time', duration(summary['seconds']), spent))
    rows += _potential(node)
    how = 'no fine-tuning' if summary['strategy'] == 'none' else summary['strategy']
    name = f'{printable(summary["material"], longest=NAME)}, {how}'
    titles = {key: title for key, title, _ in MATERIAL_ROWS}
    if any(key.endswith('_mae_thz') and summary.get(key) is not None for key in titles):
        return table(f'{name}: error against DFT', rows)
    phonons = node.outputs.phonons if 'phonons' in node.outputs else {}
    side = next((side for side in BEST_FIRST if 'stability' in phonons.get(side, {})), None)
    if side is None:
        return table(name, rows)
    # No DFT phonons to be compared with: what they are themselves.
    found = _frequencies(phonons[side]['stability'].get_dict())
    rows = [*found, *((title.strip(), value, unit) for title, value, unit in rows)]
    return table(f'{name}: {titles[f"{side}_mae_thz"]}', rows)


#: Of which side the frequencies are told where none can be judged.
BEST_FIRST = ('corrected_finetuned', 'corrected', 'finetuned', 'foundation')
#: Keys of the summary of the main job, what they are called, and their unit.
MATERIAL_ROWS = (
    ('foundation_mae_thz', 'phonons, foundation', 'THz'),
    ('foundation_mae_at_dft_cell_thz', '  at DFT’s cell', 'THz'),
    ('corrected_mae_thz', 'phonons, corrected by labels', 'THz'),
    ('corrected_uncertainty_thz', '  error bar, from the labels alone', 'THz'),
    ('finetuned_mae_thz', 'phonons, fine-tuned', 'THz'),
    ('finetuned_mae_at_dft_cell_thz', '  at DFT’s cell', 'THz'),
    ('corrected_finetuned_mae_thz', 'phonons, fine-tuned and corrected', 'THz'),
    ('symfc_mae_thz', 'phonons, symfc fit without a potential', 'THz'),
    ('forgetting_mev_per_angstrom', 'forgetting (forces of other crystals)', 'meV/Å'),
)


def _label(node: Any) -> str:
    if 'dataset' not in node.outputs:
        return ''
    dataset = node.outputs.dataset
    roles = ', '.join(f'{count} {role}' for role, count in dataset.counts.items() if count)
    dropped = node.outputs.dropped.get_dict() if 'dropped' in node.outputs else {}
    rows: list[Row] = [
        ('labelled frames', str(dataset.n_frames), f'of up to {dataset.max_atoms} atoms ({roles})'),
        ('dropped, as their DFT failed', str(dropped.get('n_dropped', 0)), ''),
        ('dataset', f'PK {dataset.pk}', f'{printable(dataset.functional)}, {printable(dataset.code)}'),
    ]
    return table(f'{_name(crystal_of(node))}: labels', rows)


def _born_charges(node: Any) -> str:
    if 'nac' not in node.outputs:
        return ''
    nac = node.outputs.nac
    charges = np.trace(nac.get_array('born_charges'), axis1=1, axis2=2) / 3
    constant = float(np.trace(nac.get_array('dielectric')) / 3)
    rows: list[Row] = [('dielectric constant, mean', number(constant), '')]
    rows += [(f'Born charge of atom {index + 1}, mean', number(value), 'e') for index, value in enumerate(charges)]
    return table(f'{_name(crystal_of(node))}: Born charges', rows)


def _qha(node: Any) -> str:
    if 'qha' not in node.outputs:
        return ''
    return f'{_name(crystal_of(node))}: thermal expansion ' + thermal.describe_qha(node.outputs.qha.get_dict())


def _kappa(node: Any) -> str:
    if 'kappa' not in node.outputs:
        return ''
    facts = thermal.describe_kappa(node.outputs.kappa.get_dict())
    return '\n'.join(
        [f'{_name(crystal_of(node))}: lattice thermal conductivity', *(f'  {line}' for line in facts.split('\n'))]
    )


def _instability(node: Any) -> str:
    if 'tree' not in node.outputs:
        return ''
    return f'{_name(crystal_of(node))}: phases behind imaginary modes\n' + describe_tree(node.outputs.tree['phases'])


def _active_learning(node: Any) -> str:
    if 'rounds' not in node.outputs:
        return ''
    return f'{_name(crystal_of(node))}: active learning\n' + describe_rounds(node.outputs.rounds.get_dict())


def describe_rounds(content: Mapping[str, Any]) -> str:
    """Return the rounds of active learning as lines of text."""
    lines = [f'{"frames":>6}  {"moved, THz":>10}  {"error, THz":>10}  {"spread of the pool, eV/Å":>24}']
    for item in content['rounds']:
        spread = (item.get('spread') or {}).get('max_ev_per_angstrom')
        moved, error = number(item['change_thz']), number(item['error_thz'])
        lines.append(f'{item["n_train"]:>6}  {moved:>10}  {error:>10}  {number(spread):>24}')
    reasons = {
        'phonon_tolerance_thz': 'the phonons stand still',
        'max_train': 'the budget of labels is spent',
        'pool': 'no frame of the pool is left',
    }
    return '\n'.join([*lines, f'ended as {printable(reasons.get(content["reason"], content["reason"]), longest=NAME)}'])


def _study(node: Any) -> str:
    return describe_study(node.outputs.aggregates.get_dict()) if 'aggregates' in node.outputs else ''


#: What makes the table of a WorkChain, by the end of its entry point.
DESCRIBERS: dict[str, Callable[[Any], str]] = {
    'phonons': _phonons,
    'finetune': _training,
    'committee': _training,
    'material': _material,
    'label': _label,
    'born_charges': _born_charges,
    'qha': _qha,
    'kappa': _kappa,
    'instability': _instability,
    'active_learning': _active_learning,
    'study': _study,
}


def _validation(summary: Mapping[str, Any], of: str) -> list[Row]:
    """Return the errors on validation frames, marked where they are worse than the foundation's.

    :param of: which member, for the names.
    """
    return [
        (
            row['title'],
            number(row['after']),
            f'{row["unit"]}, foundation {number(row["before"])}{WORSE if row["worse"] else ""}',
        )
        for row in validation_rows(summary, of)
    ]


def _potential(node: Any) -> list[Row]:
    return [('potential', f'PK {node.outputs.potential.pk}', '')] if 'potential' in node.outputs else []


def _quantities(facts: Mapping[str, Any], keys: Iterable[str]) -> list[Row]:
    return [(name_and_unit(key)[0], number(facts[key], 4), name_and_unit(key)[1]) for key in keys if key in facts]


def _name(structure: Any) -> str:
    return 'crystal' if structure is None else printable(formula(structure.get_formula()), longest=NAME)


def _answer(value: Any) -> str:
    return '–' if value is None else 'yes' if value else 'no'


def _qpoint(point: Any) -> str:
    return '(' + ', '.join(f'{round(component, 6) + 0.0:.3g}' for component in point) + ')'
