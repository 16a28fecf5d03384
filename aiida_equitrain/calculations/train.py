"""Fine-tune a potential on labelled frames, in one job."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from aiida.orm import Dict, Int, SinglefileData, Str, TrajectoryData

from aiida_equitrain.calculations.arrays import trajectory_arrays
from aiida_equitrain.calculations.evaluation import frames_problem
from aiida_equitrain.calculations.script_job import Output, PotentialScriptCalculation
from aiida_equitrain.common.hyperparameters import MAY_CHANGE_ON_RESTART, OPTIONS, check_hyperparameters, complete
from aiida_equitrain.common.names import Engine, Role, Strategy
from aiida_equitrain.common.strategies import ENGINES, check_strategy, default_engine
from aiida_equitrain.common.validation import nearest
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.frames import Frame, Frames
from aiida_equitrain.science.structures import check_elements


class TrainCalculation(PotentialScriptCalculation):
    """Fine-tune ``foundation`` on ``dataset`` with Equitrain or MACE."""

    DRIVER, PARSER = 'training.job', 'equitrain.train'
    NEEDS = 'Equitrain and MACE'
    POTENTIAL_PORT, DEVICE_PORT = 'foundation', 'hyperparameters'
    # What the driver reads and writes; tests/calculations/test_train.py holds the driver to these.
    FOUNDATION, FRAMES, FORGETTING = 'foundation.model', 'frames.npz', 'forgetting.npz'
    REPLAY = 'replay.npz'
    CHECKPOINT_IN = 'checkpoint_in.pt'
    # The potential, or what is left of it if the strategy is one of `ADAPTER_STRATEGIES`.
    POTENTIAL, ADAPTER = 'potential.model', 'adapter.safetensors'
    OUTPUTS = {
        'metrics': Output(
            'metrics.npz',
            'One entry per epoch, starting with the foundation: `epoch`, `learning_rate`, `seconds`, '
            '`{train,valid}_loss`, `{train,valid}_{energy,forces,stress}_mae`, with replay the same of `replay`; NaN '
            'where the engine does not compute it; see the attribute `units`. Energies are those after the best shift '
            'per element, and `energy_shift` is its mean per atom.',
            units={'energy': 'eV/atom', 'forces': 'eV/Å', 'stress': 'eV/Å³', 'seconds': 's'},
        ),
        'predictions': Output(
            'predictions.npz',
            'Labels of the dataset and what foundation and result predict for them.',
            units={'energies': 'eV', 'forces': 'eV/Å'},
            may_lack=True,
        ),
        'checkpoint': Output(
            'checkpoint.pt',
            'State of the training when the time or the memory ran out, that of the best epoch when it diverged.',
            may_lack=True,
        ),
    }
    RESULTS = (POTENTIAL, ADAPTER)
    FAILURES = PotentialScriptCalculation.FAILURES | {
        'diverged': 'ERROR_DIVERGED',
        'walltime': 'ERROR_OUT_OF_WALLTIME',
        'no_model': 'ERROR_NO_MODEL',
        'bad_checkpoint': 'ERROR_BAD_CHECKPOINT',
        'bad_input': 'ERROR_BAD_INPUT',
        'no_replay': 'ERROR_NO_REPLAY',
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare ports and exit codes."""
        super().define(spec)
        spec.input('foundation', valid_type=PotentialData, help='Potential to start from.')
        spec.input('dataset', valid_type=DatasetData, help='Labelled frames with `train` and `valid` roles.')
        spec.input('strategy', valid_type=Str, default=lambda: Str(Strategy.L2_TSP.value), validator=validate_strategy,
                   help='How the weights change: ' + ', '.join(f'`{name}`' for name in ENGINES) + '.')  # fmt: skip
        spec.input('engine', valid_type=Str, required=False, validator=validate_engine,
                   help='What trains: `equitrain` or `mace`; by default the first that has the strategy.')  # fmt: skip
        spec.input('replay', valid_type=(DatasetData, TrajectoryData), required=False,
                   help='For `multihead`: what should not be forgotten. The labels of a `DatasetData` are used; a '
                        '`TrajectoryData` is labelled by the foundation.')  # fmt: skip
        spec.input('hyperparameters', valid_type=Dict, default=lambda: Dict({}),
                   validator=validate_hyperparameters,
                   help='Hyperparameters under the names of `common.hyperparameters`; what is absent has its default.',
                   )  # fmt: skip
        spec.input('seed', valid_type=Int, default=lambda: Int(1),
                   help='Seed of the order of the frames, of random weights, of the choice of replayed frames.',
                   )  # fmt: skip
        spec.input('forgetting_dataset', valid_type=DatasetData, required=False,
                   help='Other crystals, on which the change of the force error is measured.')  # fmt: skip
        spec.input('checkpoint', valid_type=SinglefileData, required=False,
                   help='State of an interrupted training with the same inputs, to be continued.')  # fmt: skip
        spec.output('potential', valid_type=PotentialData, required=False,
                    help='The fine-tuned potential of the best epoch.')  # fmt: skip
        spec.default_output_node = 'summary'

        spec.exit_code(313, 'ERROR_NO_MODEL',
                       message='The training wrote no model: {message}. Lower `lr` in `hyperparameters`, and look at '
                               'the labels of `dataset`.')  # fmt: skip
        spec.exit_code(324, 'ERROR_BAD_CHECKPOINT',
                       message='Training cannot be continued from `checkpoint`: {message}')  # fmt: skip
        spec.exit_code(325, 'ERROR_BAD_INPUT', message='The inputs do not fit together: {message}')
        spec.exit_code(326, 'ERROR_NO_REPLAY',
                       message='Nothing was replayed: {message}. Look at the labels of `replay`, or take another '
                               'strategy than `multihead`.')  # fmt: skip
        spec.exit_code(400, 'ERROR_OUT_OF_WALLTIME', invalidates_cache=True,
                       message='The training ran out of walltime ({message}); continue it by giving its output '
                               '`checkpoint` as the input `checkpoint`.')  # fmt: skip
        spec.exit_code(401, 'ERROR_OUT_OF_MEMORY', invalidates_cache=True,
                       message='The training ran out of memory: {message}. Lower `batch_size` in `hyperparameters`, or '
                               'ask for more memory.')  # fmt: skip
        spec.exit_code(410, 'ERROR_DIVERGED',
                       message='The training diverged: {message}. Lower `lr` in `hyperparameters`; what was best '
                               'before is kept in `potential`.')  # fmt: skip

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if the inputs do not fit together."""
        if not {'dataset', 'foundation', 'hyperparameters', 'strategy'} <= set(inputs):
            return None
        strategy = inputs['strategy'].value
        engine = inputs['engine'].value if 'engine' in inputs else None
        values, replay = dict(inputs['hyperparameters']), inputs.get('replay')
        return (
            check_strategy(strategy, engine, replay is not None, inputs['foundation'].family)
            or check_hyperparameters(values, strategy, engine)
            or check_training(inputs['foundation'], inputs['dataset'], values, replay)
        )

    def get_copies(self) -> list[tuple[str, str, str]]:
        """Return the files of potential and datasets, and of the checkpoint."""
        copies = [*self.inputs.foundation.stage(self.FOUNDATION), *self.inputs.dataset.stage(self.FRAMES)]
        if 'forgetting_dataset' in self.inputs:
            copies += self.inputs.forgetting_dataset.stage(self.FORGETTING)
        if 'checkpoint' in self.inputs:
            node = self.inputs.checkpoint
            copies.append((node.uuid, node.filename, self.CHECKPOINT_IN))
        if isinstance(self.inputs.get('replay'), DatasetData):
            copies += self.inputs.replay.stage(self.REPLAY)
        return copies

    def get_arrays(self) -> dict[str, dict[str, Any]]:
        """Return the frames to replay, where they have no labels yet."""
        replay = self.inputs.get('replay')
        if not isinstance(replay, TrajectoryData):
            return {}
        arrays = trajectory_arrays(replay)
        items = [
            Frame(arrays['numbers'], positions, cell, math.nan, np.full(positions.shape, math.nan))
            for positions, cell in zip(arrays['positions'], arrays['cells'], strict=True)
        ]
        return {self.REPLAY: Frames(items).arrays()}

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        foundation, strategy = self.inputs.foundation, self.inputs.strategy.value
        engine = self.inputs.engine.value if 'engine' in self.inputs else default_engine(strategy)
        limit = self.inputs.metadata.options.get('max_wallclock_seconds', None)
        return {
            'strategy': strategy,
            'engine': engine,
            'hyperparameters': complete(dict(self.inputs.hyperparameters), strategy, engine, foundation.family),
            'replay_labels': 'foundation' if isinstance(self.inputs.get('replay'), TrajectoryData) else 'given',
            'seed': self.inputs.seed.value,
            'family': foundation.family,
            'head': foundation.head,
            'elements': foundation.elements,
            'may_change': list(MAY_CHANGE_ON_RESTART),
            # The reserve is for writing and copying files; the driver adds the time that its own evaluation takes.
            'limits': {'max_seconds': limit, 'reserve_seconds': min(60.0, 0.05 * limit) if limit else 0.0},
        }


def validate_strategy(value: Str, _: Any) -> str | None:
    """Return a sentence if the strategy is unknown."""
    return check_strategy(value.value)


def validate_engine(value: Str | None, _: Any) -> str | None:
    """Return a sentence if the engine is unknown."""
    known = [engine.value for engine in Engine]
    if value is None or value.value in known:
        return None
    return f'`engine` is `{value.value}`, which does not exist: {nearest(value.value, known)}'


def validate_hyperparameters(value: Dict, _: Any) -> str | None:
    """Return a sentence if a name is unknown or a value is out of range."""
    return check_hyperparameters(dict(value))


def check_training(
    foundation: PotentialData, dataset: DatasetData, hyperparameters: dict[str, Any], replay: Any = None
) -> str | None:
    """Return a sentence if ``dataset`` cannot train ``foundation``, or ``replay`` cannot be replayed, or ``None``."""
    for role in (Role.TRAIN, Role.VALID):
        if role.value not in dataset.roles:
            return f'`dataset` has no frame with the role `{role.value}`; give at least one frame that role.'
    if problem := check_elements(dataset.elements, foundation.elements, 'dataset', 'foundation'):
        return problem
    if hyperparameters.get('stress_weight', OPTIONS['stress_weight'].default) and not dataset.has_stress:
        return '`dataset` has frames without stress; set `stress_weight` to 0 in `hyperparameters`.'
    if hyperparameters.get('energy_weight', OPTIONS['energy_weight'].default) and not dataset.has_energies:
        return '`dataset` has frames without energies; set `energy_weight` to 0 in `hyperparameters`.'
    return None if replay is None else check_replay(foundation, replay, hyperparameters.get('replay_size'))


def count_frames(replay: DatasetData | TrajectoryData) -> int:
    """Return how many frames there are to replay, with those for validation."""
    return int(replay.numsteps if isinstance(replay, TrajectoryData) else replay.n_frames)


def check_replay(foundation: PotentialData, replay: Any, size: int | None) -> str | None:
    """Return a sentence if ``replay`` cannot be replayed with ``foundation``, or ``None``."""
    if isinstance(replay, TrajectoryData):
        problem, elements = frames_problem({'replay': replay}, 'replay'), replay.symbols
    else:
        problem, elements = None, replay.elements
    if problem := problem or check_elements(elements, foundation.elements, 'replay', 'foundation'):
        return problem
    n_frames, needed = count_frames(replay), (size or 1) + 1
    if n_frames < needed:
        return f'`replay` has {n_frames} frames, but {needed} are needed: `replay_size`, and one for validation.'
    return None
