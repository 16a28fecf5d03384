"""The verdict at the top of a page, what is wrong, and what to do next, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm

from aiida_equitrain.calculations.train import check_training
from aiida_equitrain.common.formatting import formula, number
from aiida_equitrain.common.names import ROOT_PHASE, Family, Recipe, Strategy
from aiida_equitrain.common.strategies import ENGINES, FAMILIES
from aiida_equitrain.query.flags import uses_starter
from aiida_equitrain.science.verdict import (
    NAC_REMEDY,
    NOTE,
    RED,
    Flag,
    Verdict,
    flag_of_cell,
    flag_of_error_bars,
    flag_of_nac,
    flag_of_starter,
    flags_of_phonons,
    flags_of_training,
    judge,
    number_in,
    volume_change,
)

BELOW = 'energy_below_root_mev_per_atom'
#: The temperature up to which an expansion is trusted, in Debye temperatures; beyond it phonons are no longer harmonic.
QHA_DEBYE = 1.5
#: What is done about a term that is missing, of the kinds whose commands have no option for it.
NAC_REMEDIES = {
    'instability': 'begin from phonons that have it: `aiida-equitrain launch phonons` with `--born-charges`, then '
    '`aiida-equitrain launch instability` with the PK of its `phonopy_data`',
    'kappa': 'the command has no option for it: in Python give `nac`, an output of phonons with Born charges',
    'qha': 'no input takes it; `aiida-equitrain launch phonons` with `--born-charges` shows what it changes',
}
#: What is tried instead of the strategy that was taken, and the word for none.
OTHER_STRATEGIES = (Strategy.L2_TSP.value, Strategy.TRANSFER.value)
NO_STRATEGY = 'none'
#: The family of a foundation that anybody can install and that is better than the starter.
BETTER = Family.NEQUIX.value


def verdict_of(
    node: Any,
    inputs: Mapping[str, Any],
    comparison: Mapping[str, Any],
    trainings: Mapping[str, Mapping[str, Any]],
    corrections: Mapping[str, Mapping[str, Any]],
    learning: Mapping[str, Any] | None,
) -> Verdict:
    """Return the verdict on a main job, a fine-tuning or a committee.

    :param inputs: ``structure``, ``foundation`` and ``dataset``, where they are known.
    """
    training = trainings.get('', {})
    flags = flags_of_phonons(comparison) + flags_of_training(training, learning)
    for name, each in trainings.items():
        flags += [
            Flag(**{**flag.as_dict(), 'text': f'{name}: {flag.text}'}) for flag in flags_of_training(each) if name
        ]
    foundation, structure = inputs.get('foundation'), inputs.get('structure')
    if foundation is not None and uses_starter(foundation):
        flags.append(flag_of_starter())
    if structure is not None and comparison:
        has_nac = 'nac' in node.inputs or 'nac' in node.outputs or _any_nac(node)
        flags += [flag for flag in (flag_of_nac(structure.get_symbols_set(), has_nac),) if flag is not None]
    return judge(comparison, training, corrections, flags)


def of_corrected(node: Any, facts: Mapping[str, Any], highest: float) -> Verdict:
    """Return the verdict on phonons that were corrected by labels.

    :param highest: frequency, THz.
    """
    comparison = {'candidates': {'corrected': {'max_frequency_thz': highest}}}
    flags = common_flags(node)
    bars = flag_of_error_bars({**facts, 'max_frequency_thz': highest}, 'corrected')
    flags += [bars] if bars is not None else []
    if facts.get('verdict') == 'undecided':
        flags.append(
            Flag(
                'undecided', 'within their error bars the phonons do not say whether the crystal is stable',
                'label more frames', 'corrected', NOTE,
            )
        )  # fmt: skip
    return judge(comparison, {}, {'corrected': facts}, flags)


def of_phonons(node: Any, facts: Mapping[str, Any]) -> Verdict:
    """Return the verdict on phonons of a potential or of DFT as they are.

    :param facts: of the output ``stability``.
    """
    source = 'the potential' if 'potential' in node.inputs else 'DFT'
    flags, structure = common_flags(node), node.inputs.structure
    cell = flag_of_cell(_relaxed_by(node), 'potential' not in node.inputs)
    flags += [cell] if cell is not None else []
    is_stable = facts.get('dynamically_stable')
    words = 'of unknown stability' if is_stable is None else 'stable' if is_stable else 'unstable'
    if words == 'unstable':
        remedy = '`aiida-equitrain launch instability` follows them'
        flags.append(Flag('unstable', 'there are imaginary modes', remedy, '', NOTE))
    sentences = [
        f'Its lowest frequency is {number(number_in(facts, "lowest_frequency_thz"))} THz, '
        f'judged within {number(number_in(facts, "tolerance_thz"))} THz.'
    ]
    if 'potential' in node.inputs:
        sentences.append('Nothing judges the potential here: labelled frames do (`aiida-equitrain launch material`).')
    return _simple(f'{formula(structure.get_formula())} is dynamically {words} by {source}.', sentences, flags)


def of_phases(node: Any, phases: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """Return the verdict on a search for phases."""
    root = phases.get(ROOT_PHASE, {})
    source = 'the potential' if 'potential' in node.inputs else 'DFT'
    flags = common_flags(node)
    if 'potential' in node.inputs and 'dft' not in node.outputs:
        text = 'energies and phases are those of the potential; no DFT has looked at them'
        flags.append(Flag('no_dft', text, '`--dft` repeats the scans, `--dft-phases` the whole', '', NOTE))
    lower = {
        name: phase for name, phase in phases.items() if name != ROOT_PHASE and (number_in(phase, BELOW) or 0.0) > 0
    }
    crystal = f'{formula(str(root.get("formula") or "the crystal"))} ({root.get("space_group") or "no space group"})'
    if root.get('dynamically_stable'):
        title, sentences = f'{crystal} is stable by {source}.', ['It has no imaginary mode to be followed.']
    elif not lower:
        title, sentences, more = _nothing_below(parent_modes(node), crystal, source)
        flags += more
    else:
        name, lowest = max(lower.items(), key=lambda pair: number_in(pair[1], BELOW) or 0.0)
        title = (
            f'{crystal} is unstable by {source}; the lowest phase that was found is {lowest.get("space_group")}, '
            f'{number(number_in(lowest, BELOW))} meV/atom below.'
        )
        words = {True: 'stable', False: 'unstable: go on from it (`--depth`)', None: 'not examined further'}
        state = words.get(lowest.get('dynamically_stable'), words[None])
        among = 'the only phase' if len(lower) == 1 else f'the lowest of {len(lower)} phases'
        sentences = [f'It is {state} ({name}, {among} found below {crystal}).']
    return _simple(title, sentences, flags)


def parent_modes(node: Any) -> list[Mapping[str, Any]] | None:
    """Return the imaginary modes that were found of the parent; ``None`` where none were looked for."""
    levels = sorted(node.outputs.modes) if 'modes' in node.outputs else []
    found = node.outputs.modes[levels[0]]['parents'].get(ROOT_PHASE) if levels else None
    return None if found is None else list(found['modes'])


def _nothing_below(
    modes: list[Mapping[str, Any]] | None, crystal: str, source: str
) -> tuple[str, list[str], list[Flag]]:
    """Return title, advice and flags where the parent is unstable and no phase below it was found."""
    if modes == []:
        title = f'{crystal} has imaginary frequencies by {source}, but none at a wave vector of its supercell.'
        text = 'imaginary frequencies between the wave vectors of a supercell are interpolated'
        remedy = 'a larger supercell (`phonons.settings.min_length_angstrom`) shows whether they are real'
        return title, ['There was no mode to be followed.'], [Flag('interpolated', text, remedy, '', NOTE)]
    title = f'{crystal} is unstable by {source}, and no phase below it was found.'
    if modes and not any(mode['followed'] for mode in modes):
        reasons = sorted({str(mode['why_not']) for mode in modes})
        return title, [f'None of its imaginary modes was followed: {"; ".join(reasons)}.'], []
    return title, ['Follow more modes (`max_modes`), or scan further (`amplitudes_angstrom`).'], []


def of_expansion(node: Any, facts: Mapping[str, Any]) -> Verdict:
    """Return the verdict on thermal expansion."""
    flags = common_flags(node)
    left_out = len(facts['left_out'])
    if left_out:
        text = f'{left_out} volume(s) have imaginary modes and were left out'
        flags.append(Flag('left_out', text, 'the approximation may not hold: look at the modes', '', NOTE))
    title = (
        f'The linear thermal expansion is {number(1e6 * facts["linear_thermal_expansion_per_k"])}·10⁻⁶ per K at '
        f'{facts["temperature_k"]:g} K.'
    )
    trusted = trusted_temperature(facts)
    sentences = [
        f'Curves end at {facts["temperature_reached_k"]:g} K, as far as the volumes reach; above about {trusted:.0f} K '
        f'({QHA_DEBYE:g} Debye temperatures) the approximation itself ends: frequencies then change with temperature, '
        'not with volume alone.',
    ]
    return _simple(title, sentences, flags)


def trusted_temperature(facts: Mapping[str, Any]) -> float:
    """Return the temperature (K) up to which the quasi-harmonic approximation is trusted."""
    return QHA_DEBYE * float(facts['debye_temperature_k'])


def of_conductivity(node: Any, facts: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a thermal conductivity."""
    temperatures, kappa = facts['temperatures_k'], facts['kappa_w_per_m_k']
    index = min(range(len(temperatures)), key=lambda place: abs(temperatures[place] - 300.0))
    title = f'The lattice thermal conductivity is {number(kappa[index])} W/m/K at {temperatures[index]:g} K.'
    errors = facts.get('errors')
    sentences = (
        [f'Against the reference: SRE {errors["sre"][0]:+.3f}, SRME {errors["srme"][0]:.3f}.']
        if errors
        else ['Nothing judges it: give a `reference`. Third-order force constants feel an error of a potential most.']
    )
    return _simple(title, sentences, common_flags(node))


def common_flags(node: Any) -> list[Flag]:
    """Return what is to be said of every result of a potential, and of all phonons."""
    potential = node.inputs.potential if 'potential' in node.inputs else None
    flags = [flag_of_starter()] if potential is not None and uses_starter(potential) else []
    given = node.inputs.phonopy_data if 'phonopy_data' in node.inputs else None
    if 'structure' in node.inputs:
        elements = node.inputs.structure.get_symbols_set()
    else:
        elements = set() if given is None else set(given.symbols)
    places = [node.inputs, node.outputs, node.inputs.phonons if 'phonons' in node.inputs else {}]
    has_nac = any('nac' in place for place in places) or (given is not None and given.has_nac_parameters())
    kind = str(node.process_type).rpartition('.')[2]
    nac = flag_of_nac(elements, has_nac, NAC_REMEDIES.get(kind, NAC_REMEDY))
    return flags if nac is None else [*flags, nac]


def _relaxed_by(node: Any) -> float | None:
    """Return by how much a relaxation changed the volume per atom, relatively; ``None`` if there was none."""
    if 'relaxed_structure' not in node.outputs:
        return None
    after, before = (
        {'volume_angstrom3': abs(float(np.linalg.det(each.cell))), 'n_atoms': len(each.sites)}
        for each in (node.outputs.relaxed_structure, node.inputs.structure)
    )
    return volume_change(after, before)


def steps_after(node: Any, done: str) -> list[dict[str, Any]]:
    """Return what to do after a result of a potential.

    :param done: the kind of job that this is, which is not done again.
    """
    structure = node.inputs.structure if 'structure' in node.inputs else None
    crystal = str(structure.pk) if structure is not None else 'FILE.cif'
    potential = node.inputs.potential if 'potential' in node.inputs else None
    verdict = Verdict('', '', [])
    corrected = node.outputs.phonopy_data if 'correction' in node.outputs else None
    further = _further(crystal, potential, None, verdict, corrected)
    steps = [step for step in further if f'launch {done} ' not in step[1]]
    improve = []
    if potential is not None and 'correction' not in node.outputs:
        command = f'launch material {crystal} --recipe harmonic --strategy {NO_STRATEGY} --foundation {potential.pk}'
        improve.append(('Judge and correct the phonons by labels', f'aiida-equitrain {command}'))
    if potential is not None and uses_starter(potential):
        improve.append(('A better foundation', 'aiida-equitrain setup --with nequix'))
    return [
        {
            'title': 'Use it',
            'items': _items([('Take along figures and numbers', f'aiida-equitrain export {node.pk} DIR')]),
        },
        *([{'title': 'Improve it', 'items': _items(improve)}] if improve else []),
        {'title': 'Go on', 'items': _items(steps)},
    ]


def _simple(title: str, sentences: list[str], flags: list[Flag]) -> Verdict:
    """Return a verdict that is bad if there is a red flag, else fair: nothing has judged it."""
    level = 'bad' if any(flag.level == RED for flag in flags) else 'fair'
    return Verdict(level, title, sentences, None, sorted(flags, key=lambda flag: flag.level != RED))


def as_data(verdict: Verdict, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a verdict for the page."""
    return {
        'level': verdict.level,
        'title': verdict.title,
        'sentences': verdict.sentences,
        'flags': [flag.as_dict() for flag in verdict.flags],
        'steps': steps,
    }


def for_summary(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict for ``summary.json``."""
    return {
        'verdict_level': verdict.level,
        'verdict_text': ' '.join([verdict.title, *verdict.sentences]),
        'best_side': verdict.side,
        'red_flags': [flag.key for flag in verdict.red],
        'flags': [flag.as_dict() for flag in verdict.flags],
    }


def describe_flags(flags: list[Mapping[str, str]]) -> list[str]:
    """Return a sentence for everything that is wrong or to be known, with what to do."""
    return [f'{flag["text"][:1].upper()}{flag["text"][1:]}: {flag["remedy"]}.' for flag in flags]


def next_steps(node: Any, inputs: Mapping[str, Any], verdict: Verdict, strategy: str) -> list[dict[str, Any]]:
    """Return what to do next in three groups: use it, improve it, go on; each step is a sentence and a command.

    The commands repeat what the job was, but for what they change; what cannot work, or is the job itself, is left out.

    :param inputs: ``structure``, ``foundation``, ``dataset``, ``engine`` and ``replay``, where they are known.
    :param strategy: ``none`` without a training.
    """
    structure, dataset, foundation = (inputs.get(name) for name in ('structure', 'dataset', 'foundation'))
    crystal = str(structure.pk) if structure is not None and structure.is_stored else 'FILE.cif'
    potential = node.outputs.potential if 'potential' in node.outputs else None
    launch = f'aiida-equitrain launch material {crystal}'
    judged, metal = _judged_by(node), ' --metal' if _is_metal(node) else ''
    labels = '' if dataset is None else f' --dataset {dataset.pk}'
    of = '' if foundation is None else f' --foundation {foundation.pk}'
    # Occupations have no effect where nothing is computed with DFT.
    again = f'{launch}{labels}{judged}' + ('' if labels and judged else metal)
    trains = _can_train(foundation, dataset)
    own = strategy if trains else NO_STRATEGY
    same = f' --strategy {own}'
    if own != NO_STRATEGY:
        same += f' --engine {inputs["engine"]}' if 'engine' in inputs else ''
        same += f' --replay {inputs["replay"].pk}' if 'replay' in inputs else ''
    use = [('Take along phonons, figures and numbers', f'aiida-equitrain export {node.pk} DIR')]
    if potential is not None:
        use.append(('The fine-tuned potential as an ASE calculator', f"load_node('{potential.uuid}').get_calculator()"))
    keys = {flag.key for flag in verdict.red}
    improve = []
    if not _has_harmonic(node, dataset):
        command = f'{launch} --recipe harmonic --strategy {NO_STRATEGY}{judged}{metal}{of}'
        improve.append(('Frames made to correct the phonons', command))
    if 'starter' in keys or foundation is None or foundation.family != BETTER:
        command = f'{again} --strategy {_strategy_for(BETTER, own)}'
        improve.append(
            ('A better foundation, with the same labels', f'aiida-equitrain setup --with {BETTER} && {command} '
             '--foundation nequix-oam-1-pft')
        )  # fmt: skip
    known = ENGINES if foundation is None or foundation.family not in FAMILIES else FAMILIES[foundation.family].engines
    other = next((name for name in OTHER_STRATEGIES if name in known and name != strategy), None)
    if trains and dataset is not None and other is not None:
        title = 'A potential that is fine-tuned on the labels' if strategy == NO_STRATEGY else 'Another strategy'
        improve.append((title, f'{again} --strategy {other}{of}'))
    if 'no_nac' in keys and not metal:
        # A reference without the term is none for phonons with it.
        without = '' if 'dft_phonons' in node.inputs else ' --no-dft'
        improve.append(('The non-analytical term', f'{launch}{labels}{without}{same}{of} --born-charges'))
    return [
        {'title': 'Use it', 'items': _items(use)},
        {'title': 'Improve it', 'items': _items(improve), 'note': _not_recorded(node) if improve else ''},
        {'title': 'Go on', 'items': _items(_further(crystal, potential, foundation, verdict, _corrected(node)))},
    ]


def _strategy_for(family: str, strategy: str) -> str:
    """Return a strategy if a family of potentials has it, else the first that it has."""
    known = FAMILIES[family].engines
    return strategy if strategy == NO_STRATEGY or strategy in known else next(iter(known))


def _can_train(foundation: Any, dataset: Any) -> bool:
    """Say whether labelled frames can train; what they have no labels of is not trained on."""
    if foundation is None or dataset is None:
        return True
    return check_training(foundation, dataset, {'stress_weight': 0.0, 'energy_weight': 0.0}) is None


def _has_harmonic(node: Any, dataset: Any) -> bool:
    """Say whether the frames of a job were made to correct phonons."""
    asked = 'label' in node.inputs and 'harmonic' in node.inputs.label
    return asked or (dataset is not None and Recipe.HARMONIC.value in dataset.recipes)


def _is_metal(node: Any) -> bool:
    """Say whether DFT of the main job has the occupations of a metal."""
    for stage in ('label', 'dft_phonons'):
        place: Any = node.inputs[stage] if stage in node.inputs else {}  # noqa: SIM401
        if 'pw' in place and 'parameters' in place['pw']['pw']:
            return bool(dict(place['pw']['pw']['parameters']).get('SYSTEM', {}).get('occupations') == 'smearing')
    return False


def _not_recorded(node: Any) -> str:
    """Return what a command has to repeat of a main job and no node has by name."""
    if 'phonons' not in node.inputs:
        return ''
    text = (
        'Give the `--protocol` and the `--overrides` of this job again, where it had some: the database has what they '
        'led to, not their names'
    )
    phonons = node.outputs.phonons if 'phonons' in node.outputs else {}
    matrix = next((phonons[side]['supercell_matrix'] for side in phonons if 'supercell_matrix' in phonons[side]), None)
    return (
        f'{text}.'
        if matrix is None
        else f'{text}. Its supercell, for `--overrides`: `supercell_matrix: {list(matrix)}`.'
    )


def _further(crystal: str, potential: Any, foundation: Any, verdict: Verdict, corrected: Any) -> list[tuple[str, str]]:
    """Return the commands that take a potential further: the fine-tuned one unless something is wrong with it.

    :param corrected: phonons that labels corrected: the second order of the conductivity.
    """
    wrong = any(flag.side == 'finetuned' and flag.level == RED for flag in verdict.flags)
    chosen = foundation if potential is None or (wrong and foundation is not None) else potential
    of = f' --foundation {chosen.pk}' if chosen is not None else ''
    return [
        ('Thermal expansion', f'aiida-equitrain launch qha {crystal}{of}'),
        ('Thermal conductivity', f'aiida-equitrain launch kappa {crystal if corrected is None else corrected.pk}{of}'),
        ('Phases behind imaginary modes', f'aiida-equitrain launch instability {crystal}{of}'),
    ]


def _corrected(node: Any) -> Any:
    """Return the phonons of a main job that labels corrected, ``None`` if there are none."""
    phonons = node.outputs.phonons if 'phonons' in node.outputs else {}
    sides = (side for side in ('corrected_finetuned', 'corrected') if side in phonons)
    return next((phonons[side]['phonopy_data'] for side in sides if 'phonopy_data' in phonons[side]), None)


def _items(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{'text': text, 'command': command} for text, command in pairs]


def _judged_by(node: Any) -> str:
    """Return the options that judge another main job by the DFT phonons of this one, or by none if it had none."""
    if 'phonons' not in node.inputs:
        return ''
    phonons = node.outputs.phonons if 'phonons' in node.outputs else {}
    own = phonons['dft'].get('phonopy_data') if 'dft' in phonons else None
    reference = node.inputs.reference if 'reference' in node.inputs else own
    has_dft = 'dft_phonons' in node.inputs
    if reference is None:
        return '' if has_dft else ' --no-dft'
    return f' --reference {reference.pk}'


def _any_nac(node: orm.ProcessNode) -> bool:
    """Say whether the reference or any phonons have the non-analytical term."""
    found: list[Any] = [node.inputs.reference] if 'reference' in node.inputs else []
    phonons = node.outputs.phonons if 'phonons' in node.outputs else {}
    found += [phonons[side]['phonopy_data'] for side in phonons if 'phonopy_data' in phonons[side]]
    return any(data.has_nac_parameters() for data in found)
