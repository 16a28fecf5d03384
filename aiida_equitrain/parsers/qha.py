"""Parse the quasi-harmonic approximation."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode

from aiida_equitrain.calculations.qha import QHACalculation
from aiida_equitrain.parsers.script_job import ScriptParser


class QHAParser(ScriptParser):
    """Parse the output of a ``QHACalculation``."""

    PROCESS = QHACalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``qha``, ``curves`` and ``gruneisen``."""
        return [
            self.attach_json(self.PROCESS.QHA, 'qha'),
            self.attach_file(folder / self.PROCESS.CURVES, self.attach_arrays('curves')),
            self.attach_file(folder / self.PROCESS.GRUNEISEN, self.attach_arrays('gruneisen')),
        ]
