"""Find what an earlier study has done with equal inputs, so that it is not done again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.hashing import make_hash

import aiida_equitrain
from aiida_equitrain.calculations.script_job import ScriptCalculation
from aiida_equitrain.data.imported import is_imported

#: Extra of a process that a study has submitted: what its inputs are.
KEY = 'equitrain_study_key'
#: Inputs that do not change results.
IGNORED = ('metadata', 'max_concurrent', 'clean_workdir', 'monitors')


def key_of(process: Any, inputs: Mapping[str, Any]) -> str:
    """Return a hash of a process class, its inputs where they change a result, our version and drivers."""
    return str(make_hash([process.get_name(), aiida_equitrain.__version__, _drivers(), _content(inputs)]))


def find_done(process: Any, key: str) -> orm.WorkChainNode | None:
    """Return the last successful process with these inputs, or ``None``.

    What came with an archive is left out: its extras may say what its maker liked.
    """
    builder = orm.QueryBuilder().append(
        orm.WorkChainNode,
        filters={
            f'extras.{KEY}': key,
            'attributes.exit_status': 0,
            'process_type': process.build_process_type(),
        },
    )
    found: list[orm.WorkChainNode] = builder.order_by({orm.WorkChainNode: {'id': 'desc'}}).all(flat=True)
    return next((node for node in found if not is_imported(node)), None)


def _drivers(base: type[ScriptCalculation] = ScriptCalculation) -> list[tuple[str, Any]]:
    """Return the digests of the drivers of all jobs, as the cache of jobs looks at them."""
    own: list[tuple[str, Any]] = [(base.__name__, base.CACHE_VERSION)] if hasattr(base, 'DRIVER') else []
    return sorted({*own, *(item for child in base.__subclasses__() for item in _drivers(child))})


def _content(value: Any) -> Any:
    """Return nodes as their content, nested as the ports are."""
    if isinstance(value, Mapping):
        return {key: _content(item) for key, item in sorted(value.items()) if key not in IGNORED}
    if isinstance(value, orm.Node):
        return make_hash(value.base.caching.get_objects_to_hash())
    return value
