"""Parse the forces on many frames."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode

from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.parsers.script_job import ScriptParser


class ForcesParser(ScriptParser):
    """Parse the output of a ``ForcesCalculation``."""

    PROCESS = ForcesCalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``forces``."""
        return [self.attach_file(folder / self.PROCESS.RESULTS[0], self.attach_arrays('forces'))]
