"""Parse a correction: its phonons are those of the input with other forces."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.calculations.arrays import with_forces
from aiida_equitrain.calculations.script_job import Output
from aiida_equitrain.parsers.script_job import ScriptParser, read_arrays


class CorrectParser(ScriptParser):
    """Parse the output of a ``CorrectCalculation``."""

    def attach_output(self, name: str, output: Output, folder: Path) -> ExitCode | None:
        """Attach an output; phonons are made of the input and the forces of the file."""
        if output.valid_type is not PhonopyData:
            return super().attach_output(name, output, folder)

        def attach(path: Path) -> None:
            self.out(name, with_forces(self.node.inputs.phonopy_data, read_arrays(path)['forces']))

        return self.attach_file(folder / output.file, attach)
