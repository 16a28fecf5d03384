"""Find what an earlier study has done with equal inputs, so that it is not done again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.hashing import make_hash

import aiida_equitrain

#: Extra of a process that a study has submitted: what its inputs are.
KEY = 'equitrain_study_key'
#: Inputs that do not change results.
IGNORED = ('metadata', 'max_concurrent', 'clean_workdir', 'monitors')


def key_of(process: Any, inputs: Mapping[str, Any]) -> str:
    """Return a hash of a process class, the content of its inputs where it changes a result, and our version."""
    return str(make_hash([process.get_name(), aiida_equitrain.__version__, _content(inputs)]))


def find_done(process: Any, key: str) -> orm.WorkChainNode | None:
    """Return the last successful process with these inputs, or ``None``."""
    builder = orm.QueryBuilder().append(
        orm.WorkChainNode,
        filters={
            f'extras.{KEY}': key,
            'attributes.exit_status': 0,
            'process_type': process.build_process_type(),
        },
    )
    builder.order_by({orm.WorkChainNode: {'id': 'desc'}}).limit(1)
    found: orm.WorkChainNode | None = builder.first(flat=True)
    return found


def _content(value: Any) -> Any:
    """Return nodes as their content, nested as the ports are."""
    if isinstance(value, Mapping):
        return {key: _content(item) for key, item in sorted(value.items()) if key not in IGNORED}
    if isinstance(value, orm.Node):
        return make_hash(value.base.caching.get_objects_to_hash())
    return value
