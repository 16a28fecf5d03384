"""Parse what a job of ours has written: attach what exists, then choose the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from aiida import orm
from aiida.engine import ExitCode
from aiida.parsers import Parser
from numpy.typing import NDArray

from aiida_equitrain.calculations.script_job import Output, ScriptCalculation
from aiida_equitrain.parsers.ending import Ending, ending_of

#: What the operating system or the shell writes when it ends a process that takes too much memory.
KILLED = ('Killed', 'oom-kill', 'out of memory', 'MemoryError')
#: Reasons of a driver that was told to end, and does not know why: the scheduler may.
FROM_OUTSIDE = ('terminated', 'walltime')
#: Exit codes for what a scheduler says.
ENDINGS = {
    Ending.MEMORY: 'ERROR_OUT_OF_MEMORY',
    Ending.WALLTIME: 'ERROR_OUT_OF_WALLTIME',
    Ending.NODE: 'ERROR_NODE_FAILURE',
    Ending.PREEMPTED: 'ERROR_PREEMPTED',
    Ending.CANCELLED: 'ERROR_CANCELLED',
}


class ScriptParser(Parser):
    """Parser of the jobs derived from :class:`ScriptCalculation`: makes nodes of what their ``OUTPUTS`` declare."""

    @property
    def calculation(self) -> type[ScriptCalculation]:
        """Return the class of the job."""
        return cast(type[ScriptCalculation], self.node.process_class)

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach what exists, then return the exit code."""
        problems = [
            self.attach_json(self.calculation.SUMMARY, 'summary'),
            *self.attach_results(Path(kwargs['retrieved_temporary_folder'])),
        ]
        problem = next((item for item in problems if item is not None), None)
        return self._known_failure() or self._ending() or self._kill() or self._last_words() or problem

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach the outputs other than the summary, and return the problem with each.

        :param folder: where the files are that become nodes.
        """
        outputs = self.calculation.outputs_of(self.node.inputs)
        return [self.attach_output(name, output, folder) for name, output in outputs.items()]

    def attach_output(self, name: str, output: Output, folder: Path) -> ExitCode | None:
        """Attach an output as its declaration says."""
        if output.valid_type is orm.Dict:
            return self.attach_json(output.file, name)
        missing = None if output.may_lack else 'ERROR_OUTPUT_MISSING'

        def attach(path: Path) -> None:
            if output.valid_type is orm.SinglefileData:
                self.out(name, orm.SinglefileData(path, filename=path.name))
            else:
                self.attach_arrays(name, read_arrays(path), output.units)

        return self.attach_file(folder / output.file, attach, missing)

    def attach_json(self, name: str, output: str) -> ExitCode | None:
        """Attach a retrieved JSON file as a ``Dict``."""
        text = self.read_text(name)
        if not text:
            return self.exit('ERROR_OUTPUT_MISSING', filename=name)
        try:
            self.out(output, orm.Dict(json.loads(text)))
        except ValueError as error:
            return self.exit('ERROR_OUTPUT_UNREADABLE', filename=name, message=str(error))
        return None

    def attach_file(
        self, path: Path, attach: Callable[[Path], None], missing: str | None = 'ERROR_OUTPUT_MISSING'
    ) -> ExitCode | None:
        """Attach what ``attach`` makes of a file.

        :param missing: label of the exit code if there is no such file; ``None`` where that is no problem.
        """
        if not path.is_file():
            return self.exit(missing, filename=path.name, message='the file does not exist') if missing else None
        try:
            attach(path)
        except Exception as error:
            return self.exit('ERROR_OUTPUT_UNREADABLE', filename=path.name, message=str(error))
        return None

    def attach_arrays(self, output: str, arrays: dict[str, NDArray[Any]], units: dict[str, str] | None = None) -> None:
        """Attach arrays as ``ArrayData``."""
        node = orm.ArrayData()
        for name, array in arrays.items():
            node.set_array(name, array)
        if units:
            node.base.attributes.set('units', units)
        self.out(output, node)

    def read_text(self, name: str) -> str:
        """Return a retrieved file, empty where there is none."""
        try:
            return str(self.retrieved.base.repository.get_object_content(name, 'r'))
        except OSError:
            return ''

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a retrieved JSON file, or ``None`` where there is none that can be read."""
        try:
            content = json.loads(self.read_text(name))
        except ValueError:
            return None
        return content if isinstance(content, dict) else None

    def exit(self, label: str, **values: str) -> ExitCode:
        """Return the exit code of ``label`` with its message filled in."""
        code: ExitCode = self.exit_codes[label]
        return code.format(**values)

    def _known_failure(self) -> ExitCode | None:
        """Return the exit code of ``failure.json``, if there is one."""
        failure = self.read_json(self.calculation.FAILURE)
        if failure is None or (failure.get('reason') in FROM_OUTSIDE and ending_of(self.node) is not None):
            return None
        label = self.calculation.FAILURES.get(failure.get('reason', ''), 'ERROR_DRIVER_FAILED')
        return self.exit(label, message=str(failure.get('message', 'no message')).rstrip('.'))

    def _ending(self) -> ExitCode | None:
        """Return what the scheduler said, such as that walltime or memory ran out."""
        ending = ending_of(self.node)
        if ending is not None:
            return self.exit(ENDINGS[ending], message='the scheduler ended the job')
        return ExitCode(self.node.exit_status, self.node.exit_message) if self.node.exit_status else None

    def _kill(self) -> ExitCode | None:
        """Return the exit code for a process that the system ended: the driver could write nothing."""
        if self.read_json(self.calculation.SUMMARY) is not None:
            return None
        text = (self.node.get_scheduler_stderr() or '') + self.read_text(self.calculation.STDERR)
        word = next((word for word in KILLED if word in text), None)
        return (
            self.exit('ERROR_OUT_OF_MEMORY', message=f'the process was ended by the system ({word})') if word else None
        )

    def _last_words(self) -> ExitCode | None:
        """Return the exit code for a job that began, and neither finished nor failed: its own words decide."""
        if self.read_json(self.calculation.SUMMARY) is not None or self.read_json(self.calculation.PROGRESS) is None:
            return None
        return self.exit('ERROR_INTERRUPTED', message='it says neither that it finished nor that it failed')


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file; nothing in it is run."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in sorted(file.files)}
