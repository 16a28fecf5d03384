"""Find a node by what somebody typed."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent

#: Largest whole number that a database takes.
LARGEST = 2**63 - 1


def load_node(identifier: str) -> Any:
    """Return a node by PK or UUID.

    :raises NotExistent: with a sentence, if there is none, several, or none that can be.
    """
    message = f'there is no node `{identifier}` in this profile'
    # With a larger number SQLite fails, and AiiDA's session with it.
    if identifier.strip().lstrip('+-').isdecimal() and not 0 < int(identifier[:25]) <= LARGEST:
        raise NotExistent(message)
    try:
        return orm.load_node(identifier)
    except MultipleObjectsError as exception:
        raise NotExistent(f'several nodes of this profile fit `{identifier}`: give the whole UUID') from exception
    except (NotExistent, ValueError) as exception:
        raise NotExistent(message) from exception
