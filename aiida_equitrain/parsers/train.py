"""Read what a training job left behind. No torch: a model file is only looked at, never loaded."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode

from aiida_equitrain.calculations.train import TrainCalculation
from aiida_equitrain.common.formatting import formula
from aiida_equitrain.common.names import Role
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.parsers.script_job import ScriptParser


class TrainParser(ScriptParser):
    """Parse the output of a ``TrainCalculation``."""

    def attach_results(self, folder: Path) -> list[ExitCode | None]:
        """Attach the potential, how it came about, and the state of an interrupted training."""
        # A job that was killed at the wrong moment has left both: the adapter is the one that is checked.
        has_adapter = (folder / TrainCalculation.ADAPTER).is_file()
        file = folder / (TrainCalculation.ADAPTER if has_adapter else TrainCalculation.POTENTIAL)
        potential = self.attach_file(file, self.attach_potential, missing='ERROR_NO_MODEL')
        return [potential, *super().attach_results(folder)]

    def attach_potential(self, path: Path) -> None:
        """Attach the potential, with a card that says where it comes from."""
        inputs = self.node.inputs
        strategy, foundation = inputs.strategy.value, inputs.foundation
        name = foundation.card.get('name') or foundation.origin or 'foundation'
        dataset = inputs.dataset
        materials = ' '.join(formula(item) for item in dataset.formulas)
        n_frames = dataset.n_frames - dataset.counts.get(Role.TEST.value, 0)
        card = {
            'name': f'{materials}, {name} → {strategy}, {n_frames} frames',
            'functional': dataset.functional,
            'starter': bool(foundation.card.get('starter', False)),
        }
        origin = f'{strategy} fine-tuning of {foundation.uuid} on {inputs.dataset.uuid}'
        if path.name == TrainCalculation.ADAPTER:
            node = PotentialData.from_adapter(path, foundation=foundation, card=card, origin=origin)
        else:
            node = PotentialData(path, card=card, origin=origin)
        self.out('potential', node)
