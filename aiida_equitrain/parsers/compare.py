"""Parse a comparison of phonons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode
from aiida.parsers import Parser

from aiida_equitrain.calculations.compare import CompareCalculation as Compare


class CompareParser(Parser):
    """Parse the output of a :class:`~aiida_equitrain.calculations.compare.CompareCalculation`."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach what exists, then return the exit code."""
        folder = Path(kwargs['retrieved_temporary_folder'])
        problems = [
            self._attach_dict(Compare.COMPARISON, 'comparison'),
            self._attach_dict(Compare.SUMMARY, 'summary'),
            self._attach_arrays(folder / Compare.BANDS, 'bands'),
            self._attach_arrays(folder / Compare.THERMAL, 'thermal'),
        ]
        problem = next((item for item in problems if item is not None), None)
        return self._known_failure() or self._scheduler_failure() or problem

    def _exit(self, label: str, **kwargs: str) -> ExitCode:
        code: ExitCode = self.exit_codes[label].format(**kwargs)
        return code

    def _read(self, name: str) -> str | None:
        try:
            return str(self.retrieved.base.repository.get_object_content(name, 'r'))
        except OSError:
            return None

    def _attach_dict(self, name: str, output: str) -> ExitCode | None:
        text = self._read(name)
        if text is None:
            return self._exit('ERROR_OUTPUT_MISSING', filename=name)
        try:
            self.out(output, orm.Dict(json.loads(text)))  # type: ignore[no-untyped-call]
        except ValueError as error:
            return self._exit('ERROR_OUTPUT_UNREADABLE', filename=name, message=str(error))
        return None

    def _attach_arrays(self, path: Path, output: str) -> ExitCode | None:
        if not path.is_file():
            return self._exit('ERROR_OUTPUT_MISSING', filename=path.name)
        node = orm.ArrayData()
        try:
            with np.load(path, allow_pickle=False) as file:
                for name in file.files:
                    node.set_array(name, file[name])
        except Exception as error:
            return self._exit('ERROR_OUTPUT_UNREADABLE', filename=path.name, message=str(error))
        self.out(output, node)
        return None

    def _known_failure(self) -> ExitCode | None:
        try:
            failure = json.loads(self._read(Compare.FAILURE) or 'null')
        except ValueError:
            return None
        if failure is None:
            return None
        label = Compare.FAILURES.get(failure.get('reason', ''), 'ERROR_DRIVER_FAILED')
        return self._exit(label, message=failure.get('message', 'no message'))

    def _scheduler_failure(self) -> ExitCode | None:
        """Return what the scheduler said (out of memory, out of walltime)."""
        if self.node.exit_status:
            return ExitCode(self.node.exit_status, self.node.exit_message)
        return None
