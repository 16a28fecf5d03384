"""Parse the forces on many frames."""

from __future__ import annotations

from typing import Any

from aiida import orm
from numpy.typing import NDArray

from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.parsers.evaluation import EvaluationParser


class ForcesParser(EvaluationParser):
    """Parse the output of a ``ForcesCalculation``."""

    PROCESS = ForcesCalculation

    def attach(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Attach ``forces``."""
        node = orm.ArrayData()
        for name in sorted(arrays):
            node.set_array(name, arrays[name])
        self.out('forces', node)
