"""Parse a relaxation: the trajectory of every step, and the relaxed structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from numpy.typing import NDArray

from aiida_equitrain.calculations.evaluation import structure_symbols
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.parsers.evaluation import EvaluationParser


class RelaxParser(EvaluationParser):
    """Parse the output of a ``RelaxCalculation``."""

    PROCESS = RelaxCalculation

    def attach(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Attach ``trajectory``, and ``relaxed_structure`` if it converged."""
        structure = self.node.inputs.structure if 'structure' in self.node.inputs else None
        symbols = self.node.inputs.frames.symbols if structure is None else structure_symbols(structure)
        trajectory = orm.TrajectoryData()
        trajectory.set_trajectory(
            symbols=list(symbols),
            positions=arrays['positions'],
            cells=arrays['cells'],
            stepids=np.arange(len(arrays['positions'])),
            pbc=(True, True, True),
        )
        for name in ('energies', 'forces', 'stress', 'trajectory_index', 'trajectory_step'):
            trajectory.set_array(name, arrays[name])
        self.out('trajectory', trajectory)
        summary = self._read_json(self.PROCESS.SUMMARY)
        if structure is not None and summary is not None and summary['converged']:
            relaxed = structure.clone()  # type: ignore[no-untyped-call]
            relaxed.label = structure.label
            relaxed.reset_cell(arrays['cells'][-1].tolist())
            relaxed.reset_sites_positions(arrays['positions'][-1].tolist())
            self.out('relaxed_structure', relaxed)
