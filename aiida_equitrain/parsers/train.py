"""Read what a training job left behind. No torch: a model file is only looked at, never loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from aiida.engine import ExitCode
from aiida.orm import ArrayData, Dict, SinglefileData
from aiida.parsers import Parser

from aiida_equitrain.calculations.train import TrainCalculation
from aiida_equitrain.data.potential import PotentialData

#: Reasons that the driver gives, and the exit codes that they become.
REASONS = {
    'diverged': 'ERROR_DIVERGED',
    'out_of_memory': 'ERROR_OUT_OF_MEMORY',
    'walltime': 'ERROR_OUT_OF_WALLTIME',
    'no_model': 'ERROR_NO_MODEL',
    'cuda_missing': 'ERROR_DEVICE_MISSING',
    'module_missing': 'ERROR_MODULE_MISSING',
    'bad_potential': 'ERROR_POTENTIAL_NOT_LOADED',
    'bad_checkpoint': 'ERROR_BAD_CHECKPOINT',
    'bad_input': 'ERROR_BAD_INPUT',
}
#: What the operating system or the shell writes when it ends a process that takes too much memory.
KILLED = ('Killed', 'oom-kill', 'out of memory', 'MemoryError')


class TrainParser(Parser):
    """Attach what exists, then choose the exit code."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the retrieved files."""
        folder = Path(kwargs['retrieved_temporary_folder'])
        problem = self._attach(folder)
        return self._known_failure() or self._kill() or self._scheduler_failure() or problem

    def _attach(self, folder: Path) -> ExitCode | None:
        """Attach every output that can be read; return the first problem."""
        names = TrainCalculation
        steps: list[tuple[str, Path, Callable[[Path], None]]] = [
            (names.POTENTIAL, folder, self._potential),
            (names.METRICS, folder, self._arrays('metrics', TrainCalculation.METRIC_UNITS)),
            (names.PREDICTIONS, folder, self._arrays('predictions', {'energies': 'eV', 'forces': 'eV/Å'})),
            (names.CHECKPOINT, folder, self._checkpoint),
        ]
        problem = self._summary()
        for name, place, attach in steps:
            path = place / name
            if not path.is_file():
                if name in (names.POTENTIAL, names.METRICS):
                    label = 'ERROR_NO_MODEL' if name == names.POTENTIAL else 'ERROR_OUTPUT_MISSING'
                    problem = problem or self._exit(label, filename=name, message='the file does not exist')
                continue
            try:
                attach(path)
            except Exception as error:
                problem = problem or self._exit('ERROR_OUTPUT_UNREADABLE', filename=name, message=str(error))
        return problem

    def _potential(self, path: Path) -> None:
        inputs = self.node.inputs
        strategy, foundation = inputs.strategy.value, inputs.foundation
        name = foundation.card.get('name') or foundation.origin or 'foundation'
        card = {
            'name': f'{name}, fine-tuned ({strategy})',
            'functional': inputs.dataset.functional,
            'starter': bool(foundation.card.get('starter', False)),
        }
        origin = f'{strategy} fine-tuning of {foundation.uuid} on {inputs.dataset.uuid}'
        node = PotentialData(path, card=card, origin=origin)
        self.out('potential', node)

    def _arrays(self, label: str, units: dict[str, str]) -> Callable[[Path], None]:
        def attach(path: Path) -> None:
            node = ArrayData()
            with np.load(path, allow_pickle=False) as data:
                for name in data.files:
                    node.set_array(name, data[name])
            node.base.attributes.set('units', units)
            self.out(label, node)

        return attach

    def _checkpoint(self, path: Path) -> None:
        self.out('checkpoint', SinglefileData(path, filename=TrainCalculation.CHECKPOINT))

    def _summary(self) -> ExitCode | None:
        content = self._json(TrainCalculation.SUMMARY)
        if content is None:
            return self._exit('ERROR_OUTPUT_MISSING', filename=TrainCalculation.SUMMARY)
        self.out('summary', Dict(content))  # type: ignore[no-untyped-call]
        return None

    def _known_failure(self) -> ExitCode | None:
        failure = self._json(TrainCalculation.FAILURE)
        if failure is None:
            return None
        label = REASONS.get(failure.get('reason', ''), 'ERROR_DRIVER_FAILED')
        return self._exit(label, message=str(failure.get('message', '')).rstrip('.'))

    def _kill(self) -> ExitCode | None:
        """Return the exit code for a process that the system ended: the driver could write nothing."""
        if self._json(TrainCalculation.SUMMARY) is not None:
            return None
        text = (self.node.get_scheduler_stderr() or '') + self._text(TrainCalculation.STDERR)
        for word in KILLED:
            if word in text:
                return self._exit('ERROR_OUT_OF_MEMORY', message=f'the process was ended by the system ({word})')
        return None

    def _scheduler_failure(self) -> ExitCode | None:
        """Return what the scheduler said, as nothing better is known."""
        if self.node.exit_status is None:
            return None
        scheduler = TrainCalculation.exit_codes
        labels = {
            scheduler.ERROR_SCHEDULER_OUT_OF_WALLTIME.status: 'ERROR_OUT_OF_WALLTIME',
            scheduler.ERROR_SCHEDULER_OUT_OF_MEMORY.status: 'ERROR_OUT_OF_MEMORY',
        }
        if self.node.exit_status in labels:
            return self._exit(labels[self.node.exit_status], message='the scheduler ended the job')
        return ExitCode(self.node.exit_status, self.node.exit_message)

    def _exit(self, label: str, **values: str) -> ExitCode:
        code: ExitCode = self.exit_codes[label]
        return code.format(**values)

    def _text(self, name: str) -> str:
        try:
            return str(self.retrieved.base.repository.get_object_content(name, 'r'))
        except OSError:
            return ''

    def _json(self, name: str) -> dict[str, Any] | None:
        try:
            content = json.loads(self._text(name))
        except ValueError:
            return None
        return content if isinstance(content, dict) else None
