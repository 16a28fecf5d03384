"""Remember what `aiida-equitrain setup` made in a profile: by UUID, in the settings of its database.

Labels, extras and groups can come with an archive; settings cannot.
"""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.manage import get_manager

PREFIX = 'aiida_equitrain.setup'


def remember(name: str, entity: Any) -> None:
    """Remember a node or a computer as what the set-up calls by a name, such as ``foundation starter``."""
    get_manager().get_profile_storage().set_global_variable(f'{PREFIX} {name}', str(entity.uuid))


def recall(name: str) -> str | None:
    """Return the UUID of what the set-up made under a name, or ``None``."""
    try:
        return str(get_manager().get_profile_storage().get_global_variable(f'{PREFIX} {name}'))
    except (KeyError, NotImplementedError):  # the latter in a read-only profile
        return None


def recall_node(name: str) -> Any | None:
    """Return the node that the set-up made under a name, or ``None``."""
    uuid = recall(name)
    return None if uuid is None else orm.QueryBuilder().append(orm.Node, filters={'uuid': uuid}).first(flat=True)
