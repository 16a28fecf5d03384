"""Find what ``aiida-equitrain setup`` made: codes, pseudopotential family, foundation potential."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_equitrain.common.strategies import FAMILIES as POTENTIAL_FAMILIES
from aiida_equitrain.tools.pseudos import find_family
from aiida_equitrain.tools.resources import SHIPPED_FAMILY

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

_REMEDY = 'run `aiida-equitrain setup` (without internet: `aiida-equitrain setup --offline`)'


def find_code(label: str, computer: str = COMPUTER) -> Any:
    """Return a code of the set-up by its label, such as ``pw``, or by ``label@computer``.

    :raises NotExistent: if it is absent, with the remedy.
    """
    full_label = label if '@' in label else f'{label}@{computer}'
    try:
        return orm.load_code(full_label)
    except NotExistent as exception:
        own = {able.python: f'run `{able.setup}`' for able in POTENTIAL_FAMILIES.values() if able.python != PYTHON_CODE}
        remedy = own.get(label.partition('@')[0], _REMEDY)
        raise NotExistent(f'there is no code `{full_label}`: {remedy}, or name one of yours') from exception


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


def find_foundation(label: str) -> Any | None:
    """Return the newest foundation potential of that label, or ``None``."""
    from aiida_equitrain.data.potential import PotentialData

    builder = orm.QueryBuilder().append(PotentialData, filters={'label': label}, tag='node')
    found = builder.order_by({'node': {'id': 'desc'}}).first()
    return found[0] if found else None


def default_foundation() -> Any:
    """Return the foundation potential of the set-up: MACE-MP-0b3 where it is, else the starter.

    :raises NotExistent: if there is none, with the remedy.
    """
    for label in FOUNDATIONS:
        node = find_foundation(label)
        if node is not None:
            return node
    raise NotExistent(f'there is no foundation potential: {_REMEDY}')
