"""Find what ``aiida-equitrain setup`` made: codes, pseudopotential family, foundation potential."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_equitrain.common.strategies import FAMILIES as POTENTIAL_FAMILIES
from aiida_equitrain.data.imported import is_imported
from aiida_equitrain.setup.record import recall_node
from aiida_equitrain.setup.shipped import SHIPPED_FAMILY, find_family

#: Label of the computer that is used unless another is named.
COMPUTER = 'localhost'
#: Labels of the codes: for training and evaluation, for DFT, for phonopy.
PYTHON_CODE, PW_CODE, PH_CODE, PHONOPY_CODE = 'python', 'pw', 'ph', 'phonopy'
#: Families by preference: the whole table of PseudoDojo, then the files that ship with the package.
ONLINE_FAMILY = 'PseudoDojo/0.4/PBE/SR/standard/upf'
FAMILIES = (ONLINE_FAMILY, SHIPPED_FAMILY)
#: Labels of foundation potentials by preference.
ONLINE_FOUNDATION, STARTER = 'mace-mp-0b3', 'starter'
FOUNDATIONS = (ONLINE_FOUNDATION, STARTER)
#: Label of the foundation that `aiida-equitrain setup --with sevennet` stores.
SEVENNET_FOUNDATION = 'sevennet-0'

#: In the labels of computers of archives that a rerun imported, or that the set-up has set aside.
ARCHIVE = ' (archive'

_REMEDY = 'run `aiida-equitrain setup` (without internet: `aiida-equitrain setup --offline`)'


def computer_problem(computer: orm.Computer) -> str | None:
    """Return what to do with a computer that nobody has configured here, or ``None``."""
    label = computer.label
    if computer.is_configured:
        return None
    if is_imported(computer) or ARCHIVE in label:
        return (
            f'`{label}` came with an archive: what it says, such as commands before each job, is of whoever made that. '
            'Make one of your own under another label with `verdi computer setup` and `verdi computer configure`'
        )
    return f'`{label}` is not configured: `verdi computer configure {computer.transport_type} {label}`'


def find_code(label: str, computer: str = COMPUTER) -> Any:
    """Return a code of the set-up by its label, such as ``pw``, or by ``label@computer``; or one that a person made.

    A code that came with an archive is not taken: it could run anything.

    :raises NotExistent: if it is absent, with the remedy.
    """
    full_label = label if '@' in label else f'{label}@{computer}'
    made = recall_node(f'code {full_label}')
    if made is not None and made.full_label == full_label:
        return made
    name, _, place = full_label.partition('@')
    builder = orm.QueryBuilder().append(orm.Computer, filters={'label': place}, tag='computer')
    builder.append(orm.AbstractCode, with_computer='computer', filters={'label': name})
    found = [code for code in builder.all(flat=True) if not is_imported(code)]
    if len(found) > 1:
        raise NotExistent(f'there are {len(found)} codes `{full_label}`: give all but one of them another label')
    if found:
        return found[0]
    own = {able.python: f'run `{able.setup}`' for able in POTENTIAL_FAMILIES.values() if able.python != PYTHON_CODE}
    remedy = own.get(label.partition('@')[0], _REMEDY)
    raise NotExistent(f'there is no code `{full_label}`: {remedy}, or name one of yours')


def python_label(potential: Any) -> str:
    """Return the label of the code whose Python has what a potential needs; `python` without one."""
    return PYTHON_CODE if potential is None else POTENTIAL_FAMILIES[potential.family].python


def default_family() -> Any:
    """Return the pseudopotential family of the set-up.

    :raises NotExistent: if there is none, with the remedy.
    """
    for label in FAMILIES:
        family = find_family(label)
        if family is not None:
            return family
    raise NotExistent(f'there is no pseudopotential family of PseudoDojo PBE: {_REMEDY}')


def made_foundation(name: str) -> Any | None:
    """Return the foundation potential that the set-up made under a name, or ``None``."""
    return recall_node(f'foundation {name}')


def labelled_potentials(label: str) -> list[Any]:
    """Return the potentials of a label, the newest first; those that came with an archive are left out."""
    from aiida_equitrain.data.potential import PotentialData

    builder = orm.QueryBuilder().append(PotentialData, filters={'label': label}, tag='node')
    return [node for node in builder.order_by({'node': {'id': 'desc'}}).all(flat=True) if not is_imported(node)]


def find_foundation(label: str) -> Any | None:
    """Return the foundation potential that the set-up made under this name, else that of the label, or ``None``.

    :raises ValueError: with a sentence, if different potentials bear the label.
    """
    made = made_foundation(label)
    if made is not None:
        return made
    found = labelled_potentials(label)
    if len({node.sha256 for node in found}) > 1:
        numbers = ', '.join(str(node.pk) for node in found)
        raise ValueError(f'different potentials bear the label `{label}` (PK {numbers}): name one by its PK or UUID')
    return found[0] if found else None


def default_foundation() -> Any:
    """Return the foundation potential that the set-up made: MACE-MP-0b3 where it is, else the starter.

    :raises NotExistent: if there is none, with the remedy.
    """
    for label in FOUNDATIONS:
        node = made_foundation(label)
        if node is not None:
            return node
    raise NotExistent(f'there is no foundation potential of the set-up: {_REMEDY}')
