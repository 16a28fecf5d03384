"""Parse third-order forces, and the conductivity from them."""

from __future__ import annotations

from pathlib import Path

from aiida import orm
from aiida.engine import ExitCode

from aiida_equitrain.calculations.conductivity import ConductivityCalculation, ThirdOrderCalculation
from aiida_equitrain.parsers.script_job import ScriptParser


class ThirdOrderParser(ScriptParser):
    """Parse the output of a ``ThirdOrderCalculation``."""

    PROCESS = ThirdOrderCalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``phono3py_params``."""

        def attach(path: Path) -> None:
            self.out('phono3py_params', orm.SinglefileData(path, filename=path.name))

        return [self.attach_file(folder / self.PROCESS.PARAMS, attach)]


class ConductivityParser(ScriptParser):
    """Parse the output of a ``ConductivityCalculation``."""

    PROCESS = ConductivityCalculation

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach ``kappa`` and ``modes``."""
        return [
            self.attach_json(self.PROCESS.KAPPA, 'kappa'),
            self.attach_file(folder / self.PROCESS.MODES, self.attach_arrays('modes')),
        ]
