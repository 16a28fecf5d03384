"""Read what a training job left behind. No torch: a model file is only looked at, never loaded."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode
from aiida.orm import SinglefileData

from aiida_equitrain.calculations.train import TrainCalculation
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.parsers.script_job import ScriptParser


class TrainParser(ScriptParser):
    """Parse the output of a ``TrainCalculation``."""

    PROCESS = TrainCalculation
    SCHEDULER_FAILURES = {
        'ERROR_SCHEDULER_OUT_OF_WALLTIME': 'ERROR_OUT_OF_WALLTIME',
        'ERROR_SCHEDULER_OUT_OF_MEMORY': 'ERROR_OUT_OF_MEMORY',
    }

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach the potential, how it came about, and the state of an interrupted training."""
        names = self.PROCESS
        metrics = self.attach_arrays('metrics', names.METRIC_UNITS)
        predictions = self.attach_arrays('predictions', {'energies': 'eV', 'forces': 'eV/Å'})
        return [
            # A job that was killed at the wrong moment has left both: the adapter is the one that is checked.
            self.attach_file(
                folder / (names.ADAPTER if (folder / names.ADAPTER).is_file() else names.POTENTIAL),
                self.attach_potential,
                missing='ERROR_NO_MODEL',
            ),
            self.attach_file(folder / names.METRICS, metrics),
            self.attach_file(folder / names.PREDICTIONS, predictions, missing=None),
            self.attach_file(folder / names.CHECKPOINT, self.attach_checkpoint, missing=None),
        ]

    def attach_potential(self, path: Path) -> None:
        """Attach the potential, with a card that says where it comes from."""
        inputs = self.node.inputs
        strategy, foundation = inputs.strategy.value, inputs.foundation
        name = foundation.card.get('name') or foundation.origin or 'foundation'
        card = {
            'name': f'{name}, fine-tuned ({strategy})',
            'functional': inputs.dataset.functional,
            'starter': bool(foundation.card.get('starter', False)),
        }
        origin = f'{strategy} fine-tuning of {foundation.uuid} on {inputs.dataset.uuid}'
        if path.name == self.PROCESS.ADAPTER:
            node = PotentialData.from_adapter(path, foundation=foundation, card=card, origin=origin)
        else:
            node = PotentialData(path, card=card, origin=origin)
        self.out('potential', node)

    def attach_checkpoint(self, path: Path) -> None:
        """Attach the checkpoint."""
        self.out('checkpoint', SinglefileData(path, filename=self.PROCESS.CHECKPOINT))
