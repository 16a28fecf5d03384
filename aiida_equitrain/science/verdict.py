"""Is a result good? Stated rules over the numbers of a comparison and of a training; no process, no page.

The rules stand in words in docs/topics/trust.md; the limits are the constants below.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..common.formatting import number
from .epoch_choice import WORDS

#: Relative difference of volumes beyond which phonons belong to another crystal.
VOLUME = 0.03
#: The same of the highest frequency.
HIGHEST = 0.10
#: A branch is worse than the foundation's where its error is larger by this factor and this much, THz.
BRANCH_FACTOR, BRANCH_THZ = 1.1, 0.02
#: Errors relative to the highest frequency: up to the first as good as DFT's own, then close, rough, far off.
AS_DFT, CLOSE, ROUGH = 0.01, 0.03, 0.10
#: A training diverges where its last error on validation forces is so many times that of the epoch that is kept.
DIVERGING = 2.0
#: It forgets where the force error on other crystals has grown by this factor.
FORGETTING = 2.0
#: With one of these a compound is polar, if it is an insulator.
ANIONS = frozenset({'C', 'N', 'P', 'As', 'Sb', 'Bi', 'O', 'S', 'Se', 'Te', 'F', 'Cl', 'Br', 'I'})
#: Sides that are results, the best first where nothing else tells them apart.
RESULTS = ('corrected', 'corrected_finetuned', 'finetuned')
#: How sides are called in sentences.
SIDES = {
    'foundation': 'the foundation',
    'finetuned': 'the fine-tuned potential',
    'corrected': 'the foundation, corrected by labels',
    'corrected_finetuned': 'the fine-tuned potential, corrected by labels',
    'symfc': 'the fit without a potential',
}
RED, NOTE = 'red', 'note'
NAC_REMEDY = 'compute Born charges with `--born-charges`, or give `nac`'
MORE_LABELS = 'correct the phonons by frames made for it (`--recipe harmonic`)'


@dataclass(frozen=True)
class Flag:
    """One thing that is wrong (``red``) or to be known (``note``), and what to do.

    :param key: for machines.
    :param side: of the comparison, empty if it is about the whole.
    """

    key: str
    text: str
    remedy: str
    side: str = ''
    level: str = RED

    def as_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return asdict(self)


@dataclass
class Verdict:
    """What is to be said of a result.

    :param level: ``good``, ``fair`` or ``bad``.
    :param side: of the comparison that is to be used, ``None`` if there is none.
    """

    level: str
    title: str
    sentences: list[str]
    side: str | None = None
    flags: list[Flag] = field(default_factory=list)

    @property
    def red(self) -> list[Flag]:
        """Return what is wrong."""
        return [flag for flag in self.flags if flag.level == RED]


def judge(
    comparison: Mapping[str, Any],
    training: Mapping[str, Any],
    corrections: Mapping[str, Mapping[str, Any]],
    flags: Iterable[Flag],
) -> Verdict:
    """Return the verdict on the result of a main job or a fine-tuning.

    :param comparison: of ``equitrain.compare``, or empty.
    :param training: summary of the training, or empty.
    :param corrections: facts of corrections by side.
    :param flags: of the functions of this module.
    """
    flags = sorted(dict.fromkeys(flags), key=lambda flag: flag.level != RED)
    side = best_side(comparison, flags)
    if side is not None and _error(comparison, side) is not None:
        level, title, sentences = _against_dft(comparison, corrections, side)
    elif side is not None and side in corrections:
        level, title, sentences = _by_error_bars(comparison, corrections[side], side)
    else:
        level, title, sentences = _by_training(training, bool(comparison))
    red = [flag for flag in flags if flag.level == RED]
    if red:
        level = 'bad'
        what = 'One thing is wrong' if len(red) == 1 else f'{len(red)} things are wrong'
        title = f'{what}. {title}'
    return Verdict(level, title, sentences, side, flags)


def number_in(values: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number, or ``None``: an archive of somebody may hold anything under the key."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return float(value)


def numbers_in(values: Mapping[str, Any], key: str) -> list[float]:
    """Return a list of finite numbers; nothing if it is none."""
    found = values.get(key)
    items = [number_in({key: item}, key) for item in found] if isinstance(found, list) else []
    return [] if None in items else [item for item in items if item is not None]


def volume_change(values: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    """Return by how much the volume per atom of one side differs from that of another, relatively."""
    found = [number_in(part, 'volume_angstrom3') for part in (values, other)]
    atoms = [number_in(part, 'n_atoms') or 1.0 for part in (values, other)]
    if found[0] is None or not found[1]:
        return None
    return found[0] / atoms[0] / (found[1] / atoms[1]) - 1


def result_sides(comparison: Mapping[str, Any]) -> list[str]:
    """Return the sides that are results; the foundation only if there is nothing else."""
    candidates = comparison.get('candidates') or {}
    return [side for side in RESULTS if side in candidates] or [side for side in ('foundation',) if side in candidates]


def best_side(comparison: Mapping[str, Any], flags: Collection[Flag] = ()) -> str | None:
    """Return the result to use: without a red flag before one with, then the nearest to DFT."""
    sides = result_sides(comparison)
    wrong = {flag.side for flag in flags if flag.level == RED}

    def rank(side: str) -> tuple[bool, float, int]:
        error = _error(comparison, side)
        return side in wrong, np.inf if error is None else error, sides.index(side)

    return min(sides, key=rank) if sides else None


def flags_of_phonons(comparison: Mapping[str, Any], sides: Collection[str] | None = None) -> list[Flag]:
    """Return what is wrong with the phonons of a comparison.

    :param sides: that are judged; the results without it.
    """
    candidates = comparison.get('candidates') or {}
    chosen = [side for side in (result_sides(comparison) if sides is None else sides) if side in candidates]
    return [flag for side in chosen for flag in _flags_of_side(comparison, side)] + _flags_of_labels(comparison)


def flags_of_training(training: Mapping[str, Any], learning: Mapping[str, Any] | None = None) -> list[Flag]:
    """Return what is wrong with a training.

    :param learning: ``valid_forces_mae`` (E,) by epoch, and ``epoch`` (E,).
    """
    side, flags = 'finetuned', []
    for name, errors in (training.get('worse_than_foundation') or {}).items():
        if name not in WORDS:
            continue
        words, unit = WORDS[name]
        before, after = errors
        text = f'{words} of validation frames got worse: {number(after)} {unit}, {number(before)} with the foundation'
        remedy = f'raise `{name}_weight`, lower `lr`, give more `epochs` or frames, or take another `--strategy`'
        flags.append(Flag(f'{name}_worse', text, remedy, side))
    ratio = _divergence(training, learning or {})
    if ratio is not None:
        text = (
            'the training diverged'
            if ratio == np.inf
            else f'the training diverged: its last epoch misses validation forces by {number(ratio)} times as much as '
            'the epoch that is kept'
        )
        flags.append(Flag('training_diverged', text, 'lower `lr`, or take another `--strategy`', side))
    forgetting = training.get('forgetting') or {}
    before, after = (number_in(forgetting, f'forces_mae_{when}_mev_per_angstrom') for when in ('before', 'after'))
    if before and after and after > FORGETTING * before:
        text = (
            f'it forgets: forces of other crystals are off by {number(after)} meV/Å, by {number(before)} before the '
            'training'
        )
        flags.append(
            Flag('forgetting', text, 'use it for this crystal only, or take `--strategy multihead`', side, NOTE)
        )
    return flags


def flag_of_starter() -> Flag:
    """Return what is said wherever the starter is in use."""
    return Flag(
        'starter',
        'the foundation is the starter potential that ships with the package: small, made for trying things out, and '
        'not MACE-MP',
        'take a real one: `aiida-equitrain setup --with nequix`, or `potential import` of another',
    )


def flag_of_nac(elements: Collection[str], has_nac: bool, remedy: str = NAC_REMEDY) -> Flag | None:
    """Return a flag if a crystal of these elements is polar, should it be an insulator, and phonons have no NAC.

    :param remedy: other than the options of the commands that have some.
    """
    if has_nac or len(set(elements)) < 2 or not ANIONS & set(elements):
        return None
    return Flag(
        'no_nac',
        'the crystal is polar (if it is an insulator) and no phonons of it have the non-analytical term: its '
        'longitudinal optical modes near Γ are too low',
        remedy,
    )


def flag_of_cell(change: float | None, is_dft: bool) -> Flag | None:
    """Return a flag if a relaxation led to the cell of another crystal.

    :param change: relative one of the volume.
    """
    if change is None or abs(change) <= VOLUME:
        return None
    cause = 'look at functional, cut-offs and k-points of DFT' if is_dft else 'take another foundation'
    return Flag(
        'volume',
        f'the relaxed cell is off by {_percent(change)} in volume from the one that was given: these are phonons of '
        'another crystal',
        f'{cause}, or keep the cell that was given (`settings.relax`)',
    )


def _flags_of_side(comparison: Mapping[str, Any], side: str) -> list[Flag]:
    """Return what is wrong with one side."""
    candidates, reference = comparison['candidates'], comparison.get('reference')
    values, name, flags = candidates[side], SIDES.get(side, side), []
    remedy = MORE_LABELS if side in ('foundation', 'finetuned') else 'label more frames (`phonon_tolerance_thz`)'
    remedy += ', or take another foundation'
    found = [
        _volume_flag(values, reference, side, 'DFT')
        if reference
        else _volume_flag(values, candidates.get('corrected'), side, 'the labels')
    ]
    if reference:
        highest, wanted = number_in(values, 'max_frequency_thz'), number_in(reference, 'max_frequency_thz')
        if highest is not None and wanted and abs(highest / wanted - 1) > HIGHEST:
            text = (
                f'the highest mode of {name} is off by {_percent(highest / wanted - 1)}: {number(highest)} THz, by DFT '
                f'{number(wanted)}'
            )
            found.append(Flag('highest_mode', text, remedy, side))
        error = number_in(values, 'phonon_mae_thz')
        if error is not None and wanted and error > ROUGH * wanted:
            text = (
                f'phonons of {name} are far from DFT: off by {number(error)} THz, {_percent(error / wanted, False)} of '
                'the highest frequency'
            )
            found.append(Flag('phonons_far', text, remedy, side))
        stable = [part.get('dynamically_stable') for part in (values, reference)]
        if all(isinstance(value, bool) for value in stable) and stable[0] != stable[1]:
            words = ['stable' if value else 'unstable' for value in stable]
            text = f'the crystal is dynamically {words[0]} by {name}, {words[1]} by DFT'
            found.append(Flag('stability', text, remedy, side))
    found.append(flag_of_error_bars(values, side))
    if side != 'foundation' and 'foundation' in candidates:
        found += _branch_flags(values, candidates['foundation'], side)
    flags += [flag for flag in found if flag is not None]
    if values.get('verdict') == 'undecided':
        text = f'within its error bars {name} does not say whether the crystal is stable'
        flags.append(Flag('undecided', text, 'label more frames (`phonon_tolerance_thz`)', side, NOTE))
    return flags


def flag_of_error_bars(values: Mapping[str, Any], side: str) -> Flag | None:
    """Return a flag if the labels do not pin corrected phonons: too few of them, or DFT that is wrong itself.

    :param values: ``uncertainty_thz``, the mean error bar, and ``max_frequency_thz``.
    """
    bar, highest = number_in(values, 'uncertainty_thz'), number_in(values, 'max_frequency_thz')
    if bar is None or not highest or bar <= ROUGH * highest:
        return None
    text = (
        f'the error bars of {SIDES.get(side, side)} are {number(bar)} THz on average, '
        f'{_percent(bar / highest, False)} of the highest frequency: the labels do not say what the phonons are'
    )
    remedy = (
        'look at the forces of the labels (a wrong state of DFT, k-points, cut-off) and, where they are right, label '
        'more frames (`phonon_tolerance_thz`)'
    )
    return Flag('error_bars', text, remedy, side)


def _volume_flag(values: Mapping[str, Any], other: Mapping[str, Any] | None, side: str, whose: str) -> Flag | None:
    change = volume_change(values, other or {})
    if change is None or abs(change) <= VOLUME:
        return None
    name = SIDES.get(side, side)
    text = (
        f'the cell of {name} is off by {_percent(change)} in volume from that of {whose}: these are phonons of another '
        'crystal'
    )
    return Flag(
        'volume', text, 'train with stresses and strained frames (`--recipe mixed`), or take another foundation', side
    )


def _branch_flags(values: Mapping[str, Any], foundation: Mapping[str, Any], side: str) -> list[Flag]:
    """Return a flag for acoustic branches, and one for optical ones, that are worse than the foundation's."""
    after, before = numbers_in(values, 'branch_mae_thz'), numbers_in(foundation, 'branch_mae_thz')
    if len(after) != len(before):
        return []
    worse = [
        index
        for index, (new, old) in enumerate(zip(after, before, strict=True))
        if new > BRANCH_FACTOR * old + BRANCH_THZ
    ]
    flags = []
    for kind, chosen in (
        ('acoustic', [index for index in worse if index < 3]),
        ('optical', [index for index in worse if index >= 3]),
    ):
        if chosen:
            most = max(chosen, key=lambda index: after[index] - before[index])
            names = ', '.join(str(index + 1) for index in chosen[:6]) + (' …' if len(chosen) > 6 else '')
            text = (
                f'{kind} branches ({names}) of {SIDES.get(side, side)} are worse than untuned: branch {most + 1} is '
                f'off by {number(after[most])} THz, by {number(before[most])} with the foundation'
            )
            flags.append(Flag(f'{kind}_branch_worse', text, MORE_LABELS + ', or lower `lr`', side))
    return flags


def _flags_of_labels(comparison: Mapping[str, Any]) -> list[Flag]:
    """Return a note if the reference was made of the labels."""
    symfc = comparison.get('symfc') or {}
    shared = number_in(symfc, 'n_frames_of_reference')
    if not shared:
        return []
    text = (
        f'{shared:.0f} of the supercells that the reference was made of are among the labels: what was fitted to them '
        'is nearer to it than to the crystal'
    )
    return [Flag('labels_of_reference', text, 'judge by a reference of its own', '', NOTE)]


def _divergence(training: Mapping[str, Any], learning: Mapping[str, Any]) -> float | None:
    """Return how many times the last epoch's error is that of the kept one, if that is a divergence."""
    if training.get('stopped_by') == 'diverged':
        return np.inf
    errors, best = learning.get('valid_forces_mae'), training.get('best_epoch')
    epochs: Sequence[Any] = list(learning.get('epoch', []))
    if errors is None or best not in epochs or len(errors) < 2:
        return None
    kept, last = float(errors[epochs.index(best)]), float(errors[-1])
    if not np.isfinite(last):
        return float(np.inf)
    return last / kept if kept > 0 and last > DIVERGING * kept else None


def _error(comparison: Mapping[str, Any], side: str) -> float | None:
    return number_in((comparison.get('candidates') or {}).get(side) or {}, 'phonon_mae_thz')


def _against_dft(
    comparison: Mapping[str, Any], corrections: Mapping[str, Mapping[str, Any]], side: str
) -> tuple[str, str, list[str]]:
    error = _error(comparison, side)
    highest = number_in(comparison.get('reference') or {}, 'max_frequency_thz') or 0.0
    assert error is not None
    share = error / highest if highest > 0 else np.inf
    level = 'good' if share <= CLOSE else 'fair'
    words = next(
        word
        for limit, word in (
            (AS_DFT, 'as good as DFT’s'),
            (CLOSE, 'close to DFT’s'),
            (ROUGH, 'rough'),
            (np.inf, 'far off'),
        )
        if share <= limit
    )
    bar = number_in(corrections.get(side, {}), 'uncertainty_thz')
    text = f'Off by {number(error)} THz over the Brillouin zone, {_percent(share, False)} of the highest frequency'
    sentences = [text + (f'; error bar from the labels alone {number(bar)} THz.' if bar is not None else '.')]
    beside = []
    foundation = _error(comparison, 'foundation')
    if side != 'foundation' and foundation is not None:
        beside.append(f'the foundation as it comes is off by {number(foundation)} THz')
    symfc = comparison.get('symfc') or {}
    near = number_in(symfc, 'phonon_mae_thz')
    if symfc.get('is_reference'):
        beside.append('the fit to the same frames without a potential is the reference')
    elif near is not None:
        how = f' ({symfc["how"]})' if symfc.get('how') else ''
        beside.append(f'the fit to the same frames without a potential by {number(near)} THz{how}')
    if beside:
        sentences.append('Beside it: ' + ', '.join(beside) + '.')
    if near is not None and near < error:
        sentences.append('The fit without a potential is nearer: for these harmonic phonons no potential is needed.')
    tuned = _error(comparison, 'finetuned')
    if side != 'finetuned' and tuned is not None:
        sentences.append(
            f'The fine-tuned potential by itself is off by {number(tuned)} THz: it is for what force constants do not '
            'say, such as other volumes, wells and temperatures.'
        )
    name = SIDES.get(side, side)
    comma = ',' if ',' in name else ''
    return level, f'Phonons of {name}{comma} are {words}.', sentences


def _by_error_bars(comparison: Mapping[str, Any], facts: Mapping[str, Any], side: str) -> tuple[str, str, list[str]]:
    bar = number_in(facts, 'uncertainty_thz')
    highest = number_in(comparison['candidates'][side], 'max_frequency_thz') or 0.0
    share = bar / highest if bar is not None and highest > 0 else np.inf
    unseen, alone = (number_in(facts, f'{name}_error_ev_per_angstrom') for name in ('left_out', 'potential'))
    sentences = [
        f'Error bar of the frequencies {number(bar)} THz on average, {_percent(share, False)} of the highest.',
        f'Forces of frames that were left out are missed by {_mev(unseen)}, by the potential alone by {_mev(alone)}.',
    ]
    if facts.get('is_corrected') is False:
        sentences.append('The labels do not favour a correction: these are the phonons of the potential.')
    name = SIDES.get(side, side)
    title = f'No DFT phonons judge this; the phonons of {name}{"," if "," in name else ""} have error bars.'
    return 'good' if share <= CLOSE else 'fair', title, sentences


def _by_training(training: Mapping[str, Any], has_phonons: bool) -> tuple[str, str, list[str]]:
    errors = training.get('errors') or {}
    key = 'forces_mae_mev_per_angstrom'
    before, after = (number_in((errors.get(side) or {}).get('valid') or {}, key) for side in ('before', 'after'))
    if after is None:
        what = 'phonons of the foundation as it comes' if has_phonons else 'nothing'
        return 'fair', f'There is neither DFT nor a label to judge by: {what}.', []
    text = f'Forces of validation frames are off by {number(after)} meV/Å, by {number(before)} with the foundation.'
    level = 'good' if before is not None and after < before else 'fair'
    return level, 'No DFT phonons judge this potential; its errors on validation frames do.', [text]


def _percent(share: float, signed: bool = True) -> str:
    sign = '+' if signed and share > 0 else ''
    return f'{sign}{number(100 * share, 2)} %'


def _mev(value: float | None) -> str:
    return f'{number(None if value is None else 1e3 * value)} meV/Å'
