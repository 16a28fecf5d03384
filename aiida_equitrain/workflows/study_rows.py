"""What a study consists of: its rows, their names, and the inputs of what they need."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiida_equitrain.common.names import Role
from aiida_equitrain.data.dataset import DatasetData

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
    """Return all rows; what takes equally long stands together, as jobs that run side by side wait for one another."""
    product = itertools.product(sorted(strategies), settings['sizes'], sorted(materials), settings['seeds'])
    return [Row(material, strategy, size, seed) for strategy, size, material, seed in product]


def size_problem(dataset: DatasetData, n_train: int) -> str | None:
    """Return a sentence if there are fewer training frames than a row asks for."""
    there = dataset.counts[Role.TRAIN.value]
    if there >= n_train:
        return None
    return f'{n_train} training frames are wanted, but there are {there}'
