"""Find what ``aiida-equitrain setup`` made: codes, pseudopotential family, foundation potential."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_equitrain.common.foundations import FOUNDATIONS as KNOWN
from aiida_equitrain.common.names import Family
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
#: Labels of the foundation potentials that the set-up stores in any case, by preference: online, offline.
ONLINE_FOUNDATION, STARTER = 'mace-mp-0b3', 'starter'

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


def postprocess_code(potential: Any = None) -> dict[str, Any]:
    """Return as ``postprocess_code`` the Python that looks at phonons where that of a potential cannot.

    :param potential: ``None`` for DFT.
    """
    if potential is not None and potential.family == Family.MACE.value:
        return {}
    try:
        return {'postprocess_code': find_code(PYTHON_CODE)}
    except NotExistent:
        return {}


def codes_for(potential: Any) -> dict[str, Any]:
    """Return the codes that a potential needs, as ``python_code`` and, of some families, ``postprocess_code``.

    :raises NotExistent: if there is none, with the remedy.
    """
    return {'python_code': find_code(python_label(potential)), **postprocess_code(potential)}


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


def stored_foundation(name: str) -> Any | None:
    """Return a foundation that we know, made by the set-up or imported: the published file under its label."""
    made, digest = made_foundation(name), KNOWN[name].sha256
    return made or next((node for node in labelled_potentials(name) if node.checked_sha256() == digest), None)


def has_code(label: str, computer: str = COMPUTER) -> bool:
    """Tell whether there is a code, see :func:`find_code`."""
    try:
        find_code(label, computer)
    except NotExistent:
        return False
    return True


def default_foundation(family: str | None = None, strategies: Collection[str] = (), engine: str | None = None) -> Any:
    """Return the best foundation potential that is stored and that the environments at hand can run, else the starter.

    The best is the one whose phonons have the smallest error before any label, among those whose licence allows all.

    :param family: the only one that may be taken.
    :param strategies: that it has to have beside the default one, with the ``engine``.
    :raises NotExistent: if there is none, with the remedy.
    """
    for name, known in KNOWN.items():
        if not known.may_be_default(strategies, engine) or family not in (None, known.family):
            continue
        node = stored_foundation(name)
        # Without MACE nothing runs; the jobs say so.
        if node is not None and (
            known.family == Family.MACE.value or has_code(POTENTIAL_FAMILIES[known.family].python)
        ):
            return node
    if (node := made_foundation(STARTER)) is not None:
        return node
    raise NotExistent(f'there is no foundation potential of the set-up: {_REMEDY}')
