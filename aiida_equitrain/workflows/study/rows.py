"""What a study consists of: its rows, their names, and the inputs of what they need."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiida import orm
from aiida.common.hashing import make_hash

import aiida_equitrain
from aiida_equitrain.calculations.script_job import ScriptCalculation
from aiida_equitrain.common.names import Role
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.imported import is_imported

#: What is made once per material, in this order: link label, and the namespace of its inputs in ``materials.<name>``.
SHARED_STAGES = {'label': 'label', 'phonons_foundation': 'phonons', 'phonons_dft': 'dft_phonons'}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    material: str
    strategy: str
    n_train: int
    seed: int

    @property
    def name(self) -> str:
        """Return the name that stands in link labels, such as ``NaCl_l2_tsp_10_1``."""
        return f'{self.material}_{self.strategy.replace("-", "_")}_{self.n_train}_{self.seed}'

    def facts(self) -> dict[str, Any]:
        """Return what tells this row from the others."""
        return asdict(self)


def rows_of(materials: Mapping[str, Any], strategies: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Row]:
    """Return all rows: all materials and seeds of a strategy and size stand together."""
    product = itertools.product(sorted(strategies), settings['sizes'], sorted(materials), settings['seeds'])
    return [Row(material, strategy, size, seed) for strategy, size, material, seed in product]


def size_problem(dataset: DatasetData, n_train: int) -> str | None:
    """Return a sentence if there are fewer training frames than a row asks for."""
    there = dataset.counts[Role.TRAIN.value]
    if there >= n_train:
        return None
    return f'{n_train} training frames are wanted, but there are {there}'


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
