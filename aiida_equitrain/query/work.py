"""A table of the jobs that were launched, with what came out in a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from aiida import orm

from aiida_equitrain.common.formatting import formula, number
from aiida_equitrain.common.names import WORKCHAINS
from aiida_equitrain.data.dataset import DatasetData

from .running import TERMINATED
from .tables import _formula, reduced_formula

COLUMNS = ('pk', 'uuid', 'kind', 'label', 'material', 'state', 'result', 'created')
#: Links of the frames that a WorkChain is about; those of replay and of forgetting are of other crystals.
DATASETS = ['dataset', 'train__dataset', 'finetune__train__dataset']
#: Characters of the reason of a failure that are shown.
REASON = 90


def jobs(
    *,
    material: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    called: bool = False,
    begins: str = '',
    limit: int | None = None,
) -> pd.DataFrame:
    """Return the WorkChains of ours, the newest first.

    :param material: only those of crystals with this formula.
    :param kind: only those of one kind, such as ``phonons``, ``material`` or ``study``.
    :param state: only those that are ``running``, ``done`` or ``failed``.
    :param called: also those that another WorkChain has called.
    :param begins: only those whose PK begins with these digits.
    :param limit: only so many, the newest ones.
    :returns: ``pk``, ``uuid``, ``kind``, ``label``, ``material``, ``state``, ``result`` (in words with units, or why it
        failed), ``created``.
    """
    like = {'process_type': {'like': f'{WORKCHAINS}%' if kind is None else f'{WORKCHAINS}{kind}'}}
    project = ['id', 'uuid', 'process_type', 'label', 'ctime', 'attributes.process_state', 'attributes.exit_status',
               'attributes.exit_message']  # fmt: skip
    found = orm.QueryBuilder().append(orm.WorkChainNode, filters=like, project=project).all()
    if not called:
        query = orm.QueryBuilder().append(orm.WorkChainNode, tag='caller')
        query.append(orm.WorkChainNode, with_incoming='caller', filters=like, project='id')
        below = set(query.all(flat=True))
        found = [row for row in found if row[0] not in below]
    rows = {}
    for pk, uuid, process, label, created, process_state, status, message in sorted(found, reverse=True):
        ended = process_state in TERMINATED
        now = 'running' if not ended else 'done' if process_state == 'finished' and status == 0 else 'failed'
        said = '' if now != 'failed' else _short(message or f'it was {process_state}')
        rows[pk] = {'pk': pk, 'uuid': uuid, 'kind': process.removeprefix(WORKCHAINS), 'label': label, 'material': None,
                    'state': now, 'result': said, 'created': created}  # fmt: skip
    rows = {pk: row for pk, row in rows.items() if state in (None, row['state']) and str(pk).startswith(begins)}
    if material is None and limit is not None:
        rows = dict(list(rows.items())[:limit])
    for pk, name in _materials(list(rows)).items():
        rows[pk]['material'] = name
    if material is not None:
        wanted = reduced_formula(material)
        rows = {pk: row for pk, row in rows.items() if _same(row['material'], wanted)}
        rows = dict(list(rows.items())[:limit])
    for pk, content in _results({pk: row['kind'] for pk, row in rows.items() if row['state'] == 'done'}).items():
        rows[pk]['result'] = content
    return pd.DataFrame(list(rows.values()), columns=list(COLUMNS))


def _same(name: str | None, wanted: str) -> bool:
    try:
        return name is not None and reduced_formula(name) == wanted
    except ValueError:
        return False


def _short(text: str) -> str:
    """Return the end of a message, where the root of a failure stands."""
    text = ' '.join(text.split())
    return text if len(text) <= REASON else '…' + text[1 - REASON :]


def _materials(pks: list[int]) -> dict[int, str]:
    """Return the crystals of WorkChains: of their structure, or else of their labelled frames."""
    if not pks:
        return {}
    among: dict[str, Any] = {'id': {'in': pks}}
    names: dict[int, str] = {}
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters=among, tag='work', project='id')
    query.append(
        DatasetData, with_outgoing='work', edge_filters={'label': {'in': DATASETS}}, project='attributes.formulas'
    )
    for pk, formulas in query.all():
        names[pk] = ' '.join(formula(item) for item in formulas) if isinstance(formulas, list) else ''
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters=among, tag='work', project='id')
    query.append(orm.StructureData, with_outgoing='work', edge_filters={'label': 'structure'},
                 project=['attributes.kinds', 'attributes.sites'])  # fmt: skip
    for pk, kinds, sites in query.all():
        found = _formula(kinds, sites)
        names |= {} if found is None else {pk: formula(found)}
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters=among, tag='work', project='id')
    query.append(orm.StructureData, with_outgoing='work', edge_filters={'label': {'like': 'materials%structure'}},
                 edge_project='label')  # fmt: skip
    several: dict[int, list[str]] = {}
    for pk, label in query.all():
        several.setdefault(pk, []).append(label.removeprefix('materials__').removesuffix('__structure'))
    return names | {pk: ' '.join(sorted(items)) for pk, items in several.items()}


def _results(kinds: Mapping[int, str]) -> dict[int, str]:
    """Return the results of WorkChains in words, of one query for each output that they are read from."""
    found: dict[int, str] = {}
    outputs: dict[str, list[int]] = {}
    for pk, kind in kinds.items():
        if kind in WORDS:
            outputs.setdefault(WORDS[kind][0], []).append(pk)
    for label, pks in outputs.items():
        query = orm.QueryBuilder().append(orm.WorkChainNode, filters={'id': {'in': pks}}, tag='work', project='id')
        query.append(orm.Node, with_incoming='work', edge_filters={'label': label}, project='attributes')
        for pk, content in query.all():
            try:
                found[pk] = WORDS[kinds[pk]][1](content)
            except (KeyError, TypeError, ValueError, IndexError):
                # An archive of somebody may hold anything there.
                found[pk] = 'its results are not of the form that ours have'
    return found | _error_bars([pk for pk, text in found.items() if text == NO_REFERENCE])


def _error_bars(pks: list[int]) -> dict[int, str]:
    """Return the error bars of phonons that labels have corrected, of main jobs without a reference."""
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters={'id': {'in': pks}}, tag='work', project='id')
    query.append(orm.Dict, with_incoming='work', edge_filters={'label': 'phonons__corrected__correction'},
                 project='attributes.uncertainty_thz')  # fmt: skip
    bars = {pk: bar for pk, bar in (query.all() if pks else []) if isinstance(bar, int | float)}
    return {pk: f'corrected, error bar {number(bar)} THz' for pk, bar in bars.items()}


#: What is said of a main job that nothing judges.
NO_REFERENCE = 'no reference to compare with'


def _material(content: Mapping[str, Any]) -> str:
    sides = content.get('candidates') or {}
    names = {'finetuned': 'fine-tuned', 'corrected': 'corrected', 'foundation': 'foundation'}
    errors = [f'{title} {number(sides[side]["phonon_mae_thz"])}' for side, title in names.items()
              if (sides.get(side) or {}).get('phonon_mae_thz') is not None]  # fmt: skip
    return f'phonons off by {", ".join(errors)} THz' if errors else NO_REFERENCE


def _phonons(content: Mapping[str, Any]) -> str:
    lowest = content.get('lowest_frequency_thz', content.get('min_frequency_thz'))
    word = content.get('verdict') or ('stable' if content['dynamically_stable'] else 'unstable')
    return f'{word}, lowest {number(lowest)} THz, highest {number(content.get("max_frequency_thz"))} THz'


def _finetune(content: Mapping[str, Any]) -> str:
    after, before = (((content.get('errors') or {}).get(side) or {}).get('valid') or {} for side in ('after', 'before'))
    key = 'forces_mae_mev_per_angstrom'
    worse = content.get('worse_than_foundation') or {}
    text = f'forces off by {number(after.get(key))} meV/Å, foundation {number(before.get(key))}'
    return text + (f'; worse: {", ".join(worse)}' if worse else '')


def _qha(content: Mapping[str, Any]) -> str:
    expansion = 1e6 * content['linear_thermal_expansion_per_k']
    return f'expansion {expansion:.2f}e-6 per K, bulk modulus {number(content["bulk_modulus_gpa"])} GPa at ' \
           f'{content["temperature_k"]:g} K'  # fmt: skip


def _kappa(content: Mapping[str, Any]) -> str:
    pairs = list(zip(content['temperatures_k'], content['kappa_w_per_m_k'], strict=True))
    temperature, value = min(pairs, key=lambda pair: abs(pair[0] - 300))
    return f'{number(value)} W/m/K at {temperature:g} K'


def _instability(content: Mapping[str, Any]) -> str:
    phases = content['phases']
    lowest = max(phases.values(), key=lambda phase: phase['energy_below_root_mev_per_atom'])
    count = len(phases) - 1
    if not count:
        return 'no phase below'
    below = number(abs(lowest['energy_below_root_mev_per_atom']))
    return f'{count} phase{"" if count == 1 else "s"}, {lowest["space_group"]} {below} meV/atom below'


def _study(content: Mapping[str, Any]) -> str:
    done = content['n_rows'] - content['n_failed']
    return f'{done} of {content["n_rows"]} rows'


def _label(content: Mapping[str, Any]) -> str:
    return f'{content["n_frames"]} frames of up to {content["max_atoms"]} atoms'


def _rounds(content: Mapping[str, Any]) -> str:
    last = content['rounds'][-1]
    moved = number(last['change_thz'])
    return f'{len(content["rounds"])} rounds, {last["n_train"]} frames, phonons moved by {moved} THz'


def _committee(content: Mapping[str, Any]) -> str:
    spread = (content.get('valid') or {}).get('forces_spread_mev_per_angstrom')
    return f'forces of the members differ by {number(spread)} meV/Å'


#: By kind of WorkChain: the output that its result is read from, and what puts it in words.
WORDS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    'material': ('comparison', _material),
    'phonons': ('stability', _phonons),
    'finetune': ('summary', _finetune),
    'committee': ('committee', _committee),
    'qha': ('qha', _qha),
    'kappa': ('kappa', _kappa),
    'instability': ('tree', _instability),
    'study': ('aggregates', _study),
    'label': ('dataset', _label),
    'active_learning': ('rounds', _rounds),
}
