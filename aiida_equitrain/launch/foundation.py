"""Which foundation a job takes, and what is to be said about the choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_equitrain.common.foundations import BEST, FOUNDATIONS, known_by_sha256, zero_label_text
from aiida_equitrain.common.names import Family
from aiida_equitrain.common.printable import NAME, printable
from aiida_equitrain.common.strategies import FAMILIES
from aiida_equitrain.launch import nodes
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.foundations import import_potential

if TYPE_CHECKING:
    from aiida_equitrain.data.potential import PotentialData

#: The protocol of the paper starts from the paper's kind of foundation.
PAPER = 'paper'


def take_foundation(chosen: dict[str, Any]) -> tuple[PotentialData, list[str]]:
    """Return the potential that the options of a command ask for, and lines to be shown.

    :param chosen: ``foundation`` (a label, PK, UUID or model file, which is stored), and if the command has them
        ``protocol``, ``python``, ``strategy`` or ``strategies``, and ``engine``.
    :raises NotExistent: with the remedy, if there is none.
    :raises ValueError: with a sentence, if a model file cannot be used.
    """
    text = chosen['foundation']
    if text is None:
        return _default(chosen)
    path = Path(text)
    if path.is_file() and (len(path.parts) > 1 or path.suffix):
        try:
            node, _ = import_potential(text)
        except DownloadError as exception:
            raise ValueError(str(exception)) from exception
    else:
        node = nodes.load_potential(text)
    return node, [f'Foundation: {_about(node)}.']


def _default(chosen: dict[str, Any]) -> tuple[PotentialData, list[str]]:
    """Return the default foundation, and why it is the one."""
    family, reason = None, 'the best here'
    if chosen.get('protocol') == PAPER:
        family, reason = Family.MACE.value, 'as in the paper'
    elif chosen.get('python') is not None:
        family = _family_of(chosen['python'])
        reason = f'the best for `{printable(chosen["python"], longest=NAME)}`'
    strategies = chosen.get('strategies') or [item for item in (chosen.get('strategy'),) if item is not None]
    best, engine = FOUNDATIONS[BEST], chosen.get('engine')
    node = defaults.default_foundation(family, strategies, engine)
    lines = [f'Foundation: {_about(node)}; {reason}, as `--foundation` names none.']
    if family is None and node.sha256 != best.sha256 and best.may_be_default(strategies, engine):
        lines.append(
            f'Better: `{BEST}`, off by {zero_label_text(best.zero_label_thz)} before any label '
            f'({best.licence} licence): `{best.get}` gets it.'
        )
    return node, lines


def _family_of(label: str) -> str:
    """Return the family that the code of a label is for, by the labels that the set-up gives."""
    name = label.partition('@')[0]
    found = (family for family, able in FAMILIES.items() if able.python == name)
    return next(found, Family.MACE.value)


def _about(node: PotentialData) -> str:
    """Return what a potential is called, and how wrong its phonons are before any label where that is known."""
    match = known_by_sha256(node.sha256)
    errors = node.card.get('zero_label_thz') if match is None else match[1].zero_label_thz
    name = f'`{printable(node.label or node.card.get("name") or node.uuid, longest=NAME)}` (PK {node.pk})'
    if not isinstance(errors, dict) or not errors or not all(isinstance(item, int | float) for item in errors.values()):
        return name
    text = zero_label_text({printable(crystal, longest=NAME): value for crystal, value in errors.items()})
    return f'{name}, whose phonons are off by {text} before any label'
