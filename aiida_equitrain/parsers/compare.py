"""Parse a comparison of phonons."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode

from aiida_equitrain.calculations.compare import CompareCalculation
from aiida_equitrain.parsers.script_job import ScriptParser


class CompareParser(ScriptParser):
    """Parse the output of a ``CompareCalculation``."""

    PROCESS = CompareCalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``comparison``, ``bands`` and ``thermal``."""
        return [
            self.attach_json(self.PROCESS.COMPARISON, 'comparison'),
            self.attach_file(folder / self.PROCESS.BANDS, self.attach_arrays('bands')),
            self.attach_file(folder / self.PROCESS.THERMAL, self.attach_arrays('thermal')),
        ]
