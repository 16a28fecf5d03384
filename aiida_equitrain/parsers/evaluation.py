"""What the parsers of evaluation jobs share: attach what exists, then choose the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from aiida import orm
from aiida.engine import ExitCode
from aiida.parsers import Parser
from numpy.typing import NDArray

from aiida_equitrain.calculations.evaluation import EvaluationCalculation


class EvaluationParser(Parser):
    """Base of the parsers of jobs derived from :class:`EvaluationCalculation`."""

    PROCESS: ClassVar[type[EvaluationCalculation]]

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach results and summary, then return the exit code."""
        problem = self._attach_results(Path(kwargs['retrieved_temporary_folder']))
        summary = self._read_json(self.PROCESS.SUMMARY)
        if summary is not None:
            self.out('summary', orm.Dict(summary))  # type: ignore[no-untyped-call]
        return self._known_failure() or self._scheduler_failure() or problem or self._missing_summary(summary)

    def exit(self, label: str, **kwargs: str) -> ExitCode:
        """Return the exit code of ``label`` with its message filled in."""
        code: ExitCode = self.exit_codes[label].format(**kwargs)
        return code

    def attach(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Attach the outputs that ``arrays`` of the result file make."""
        raise NotImplementedError

    def _attach_results(self, folder: Path) -> ExitCode | None:
        """Read the result file and attach it; return the problem with it, if any."""
        path = folder / self.PROCESS.RESULT
        if not path.is_file():
            return self.exit('ERROR_OUTPUT_MISSING', filename=self.PROCESS.RESULT)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            self.attach(arrays)
        except Exception as exception:
            return self.exit('ERROR_OUTPUT_UNREADABLE', filename=self.PROCESS.RESULT, message=str(exception))
        return None

    def _read_json(self, name: str) -> dict[str, Any] | None:
        """Return a retrieved JSON file, or ``None`` where there is none that can be read."""
        try:
            data: dict[str, Any] = json.loads(self.retrieved.base.repository.get_object_content(name, 'r'))
        except (OSError, ValueError):
            return None
        return data

    def _known_failure(self) -> ExitCode | None:
        """Return the exit code of ``failure.json``, if there is one."""
        failure = self._read_json(self.PROCESS.FAILURE)
        if failure is None:
            return None
        label = self.PROCESS.FAILURES.get(failure.get('reason', ''), 'ERROR_DRIVER_FAILED')
        return self.exit(label, message=failure.get('message', 'no message'))

    def _scheduler_failure(self) -> ExitCode | None:
        """Return what the scheduler said (out of memory, out of walltime), or guess from a kill."""
        if self.node.exit_status:
            return ExitCode(self.node.exit_status, self.node.exit_message)
        stderr = self.node.get_scheduler_stderr() or ''
        last = stderr.strip().splitlines()[-1:] or ['']
        if 'Killed' in last[0]:
            return self.exit('ERROR_OUT_OF_MEMORY', message='the process was killed')
        return None

    def _missing_summary(self, summary: dict[str, Any] | None) -> ExitCode | None:
        """Return the exit code for a job that ended without a summary."""
        if summary is None:
            return self.exit('ERROR_OUTPUT_MISSING', filename=self.PROCESS.SUMMARY)
        return None
