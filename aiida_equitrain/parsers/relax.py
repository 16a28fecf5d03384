"""Parse a relaxation: the trajectory of every step, and the relaxed structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_equitrain.calculations.arrays import structure_symbols
from aiida_equitrain.calculations.relax import RelaxCalculation, last_steps
from aiida_equitrain.parsers.script_job import ScriptParser, read_arrays


class RelaxParser(ScriptParser):
    """Parse the output of a ``RelaxCalculation``."""

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``trajectory`` and ``relaxed_structure``."""
        outputs = RelaxCalculation.OUTPUTS
        return [
            self.attach_file(folder / outputs['trajectory'].file, self.attach_steps),
            self.attach_output('partial', outputs['partial'], folder),
        ]

    def attach_steps(self, path: Path) -> None:
        """Attach every step, and the last one if it converged."""
        arrays = read_arrays(path)
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
        summary = self.read_json(self.calculation.SUMMARY)
        if (
            structure is not None
            and summary is not None
            and summary['trajectories'][:1]
            and (summary['trajectories'][0]['converged'])
        ):
            relaxed = structure.clone()
            relaxed.label = structure.label
            last = int(last_steps(trajectory)[0])
            relaxed.reset_cell(arrays['cells'][last].tolist())
            relaxed.reset_sites_positions(arrays['positions'][last].tolist())
            self.out('relaxed_structure', relaxed)
