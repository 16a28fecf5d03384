"""Parse the jobs of an instability: modes, energies along them, relaxed structures."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode

from aiida_equitrain.calculations.modes import ModesCalculation
from aiida_equitrain.calculations.scan import RelaxPhasesCalculation, ScanCalculation
from aiida_equitrain.parsers.script_job import ScriptParser


class ModesParser(ScriptParser):
    """Parse the output of a ``ModesCalculation``."""

    PROCESS = ModesCalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``modes`` and ``frames``."""
        return [
            self.attach_json(self.PROCESS.MODES, 'modes'),
            self.attach_file(folder / self.PROCESS.FRAMES, self.attach_arrays('frames')),
        ]


class ScanParser(ScriptParser):
    """Parse the output of a ``ScanCalculation``."""

    PROCESS = ScanCalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``scan``."""
        return [self.attach_file(folder / self.PROCESS.RESULTS[0], self.attach_arrays('scan'))]


class RelaxPhasesParser(ScriptParser):
    """Parse the output of a ``RelaxPhasesCalculation``."""

    PROCESS = RelaxPhasesCalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``relaxed``."""
        return [self.attach_file(folder / self.PROCESS.RESULTS[0], self.attach_arrays('relaxed'))]
