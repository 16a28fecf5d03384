"""Parse harmonic properties."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode

from aiida_equitrain.calculations.harmonic import HarmonicCalculation
from aiida_equitrain.parsers.script_job import ScriptParser


class HarmonicParser(ScriptParser):
    """Parse the output of a ``HarmonicCalculation``."""

    PROCESS = HarmonicCalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``properties``, ``thermal``, ``projected_dos`` and ``group_velocities``."""
        return [
            self.attach_json(self.PROCESS.PROPERTIES, 'properties'),
            self.attach_file(folder / self.PROCESS.THERMAL, self.attach_arrays('thermal')),
            self.attach_file(folder / self.PROCESS.DOS, self.attach_arrays('projected_dos')),
            self.attach_file(folder / self.PROCESS.VELOCITIES, self.attach_arrays('group_velocities')),
        ]
