"""Fine-tune a foundation potential on labelled frames, and recover from what can go wrong."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import BaseRestartWorkChain, ExitCode, ProcessBuilder, ProcessHandlerReport, process_handler, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, CalcJobNode, Dict, Int, Str, TrajectoryData

from aiida_equitrain.calculations.train import TrainCalculation, check_training, count_frames
from aiida_equitrain.common.hyperparameters import (
    FAMILY_DEFAULTS,
    OPTIONS,
    PUBLISHED,
    STRATEGY_DEFAULTS,
    check_hyperparameters,
    complete,
    keep_meaningful,
)
from aiida_equitrain.common.names import Engine, Strategy
from aiida_equitrain.common.strategies import check_strategy, default_engine
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.base import EquitrainProtocolMixin
from aiida_equitrain.workflows.options import set_options, take_options

CODES = TrainCalculation.exit_codes
#: Protocols of other people's numbers: what the foundation's card recommends does not touch them.
AS_PUBLISHED = ('paper', 'guided')
#: Failures of the job that would come again however often it is run.
UNRECOVERABLE = [
    CODES.ERROR_DRIVER_FAILED,
    CODES.ERROR_NO_MODEL,
    CODES.ERROR_POTENTIAL_NOT_LOADED,
    CODES.ERROR_DEVICE_MISSING,
    CODES.ERROR_MODULE_MISSING,
    CODES.ERROR_BAD_CHECKPOINT,
    CODES.ERROR_BAD_INPUT,
    CODES.ERROR_NO_REPLAY,
]
#: Ends of the job that another run does not have.
INTERRUPTIONS = [CODES.ERROR_NODE_FAILURE, CODES.ERROR_PREEMPTED, CODES.ERROR_INTERRUPTED]


class FinetuneWorkChain(EquitrainProtocolMixin, BaseRestartWorkChain):  # type: ignore[misc,unused-ignore]
    """Run :class:`TrainCalculation` until it succeeds, mending one cause of failure at a time."""

    PROTOCOL = 'finetune'

    _process_class = TrainCalculation

    #: A diverged training starts again with its learning rate multiplied by this, so often.
    LR_FACTOR, MAX_LR_REDUCTIONS = 0.2, 2

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        spec.expose_inputs(TrainCalculation, namespace='train')
        spec.expose_outputs(TrainCalculation)
        spec.outputs['remote_folder'].required = False  # a job that was run elsewhere has none
        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(step.setup, while_(step.should_run_process)(step.run_process, step.inspect_process), step.results)
        spec.exit_code(303, 'ERROR_TRAINING_FAILED', message='The training cannot be mended: {message}')
        spec.exit_code(410, 'ERROR_DIVERGED',
                       message='The training diverged with every learning rate tried, the last being {lr:g}; give a '
                               'smaller `lr`, or look at the labels of `dataset`.')  # fmt: skip
        spec.exit_code(411, 'ERROR_OUT_OF_MEMORY',
                       message='The training ran out of memory with one frame at once; ask for more memory in '
                               '`metadata.options`, or give smaller frames.')  # fmt: skip
        spec.exit_code(413, 'ERROR_CANCELLED',
                       message='The training was cancelled; where it has left a `checkpoint`, another goes on '
                               'from it.')  # fmt: skip
        spec.exit_code(412, 'ERROR_NO_CHECKPOINT',
                       message='The walltime ended before a first checkpoint was written; raise '
                               '`max_wallclock_seconds` in `metadata.options`.')  # fmt: skip

    @classmethod
    def get_defaults(cls) -> dict[str, Any]:
        """Return the defaults of the ports, the hyperparameters that were published, and those of the strategies."""
        hyperparameters = {name: OPTIONS[name].default for name in PUBLISHED}
        by_strategy = {strategy.value: STRATEGY_DEFAULTS.get(strategy.value, {}) for strategy in Strategy}
        return {**super().get_defaults(), 'train': {'hyperparameters': hyperparameters}, 'by_strategy': by_strategy}

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides may have; every hyperparameter is one, whether a protocol sets it or not."""
        schema = super().get_override_schema()
        names: dict[str, Any] = dict.fromkeys(OPTIONS)
        schema['train']['hyperparameters'] = names
        schema['by_strategy'] = {strategy.value: names for strategy in Strategy}
        return schema

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        foundation: PotentialData,
        dataset: DatasetData | None,
        python_code: AbstractCode,
        strategy: str | Strategy = Strategy.L2_TSP,
        engine: str | Engine | None = None,
        replay: DatasetData | TrajectoryData | None = None,
        forgetting_dataset: DatasetData | None = None,
        seed: int = 1,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param foundation: potential to start from; what its card recommends for the strategy is used, except by
            the protocol ``paper``.
        :param dataset: labelled frames; ``None`` where another WorkChain makes them.
        :param python_code: a Python with Equitrain and MACE.
        :param strategy: ``l2-tsp``, ``l2-sp``, ``lora``, ``transfer``, ``freeze``, ``multihead`` or ``scratch``.
        :param engine: ``equitrain`` or ``mace``; the first that has the strategy if ``None``.
        :param replay: for ``multihead``, frames of what should not be forgotten; a trajectory is labelled by the
            foundation.
        :param forgetting_dataset: other crystals, on which forgetting is measured.
        :param protocol: ``fast``, ``balanced``, ``stringent``, ``paper`` or ``guided``. What it sets and the strategy
            or the engine does not know is left out.
        :param overrides: inputs in the nesting of the ports.
        :param options: ``metadata.options`` of the job, such as ``max_wallclock_seconds``, see ``workflows.options``.
        :raises ValueError: with a sentence, if a key or a value is wrong or the inputs do not fit together.
        """
        overrides, options = take_options(overrides, options)
        strategy = str(getattr(strategy, 'value', strategy))
        engine = None if engine is None else str(getattr(engine, 'value', engine))
        if problem := check_strategy(strategy, engine, replay is not None, foundation.family):
            raise ValueError(problem)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        hyperparameters = cls._hyperparameters(protocol, overrides or {}, foundation, strategy, engine)
        if dataset is not None:
            hyperparameters |= {key: 0.0 for key in without_labels(dataset) if key not in _given(overrides)}
        problem = check_hyperparameters(hyperparameters, strategy, engine)
        if dataset is not None:
            problem = problem or check_training(foundation, dataset, hyperparameters, replay)
        if problem:
            raise ValueError(problem)

        metadata = inputs['train'].get('metadata', {})
        builder = cls.get_builder()
        builder['train']['code'] = python_code
        builder['train']['foundation'] = foundation
        builder['train']['strategy'] = Str(strategy)
        if engine is not None:
            builder['train']['engine'] = Str(engine)
        if replay is not None:
            builder['train']['replay'] = replay
        builder['train']['hyperparameters'] = Dict(hyperparameters)
        builder['train']['monitors'] = {name: Dict(content) for name, content in inputs['train']['monitors'].items()}
        builder['train']['seed'] = Int(inputs['train'].get('seed', seed))
        builder['train']['metadata'] = metadata
        if dataset is not None:
            builder['train']['dataset'] = dataset
        if forgetting_dataset is not None:
            builder['train']['forgetting_dataset'] = forgetting_dataset
        builder.max_iterations = Int(inputs['max_iterations'])
        builder.clean_workdir = inputs['clean_workdir']
        return set_options(builder, overrides, options)

    @classmethod
    def _hyperparameters(
        cls,
        protocol: str | None,
        overrides: dict[str, Any],
        foundation: PotentialData,
        strategy: str,
        engine: str | None,
    ) -> dict[str, Any]:
        """Return the hyperparameters: protocol, then strategy, then the foundation's card, then the overrides.

        :raises ValueError: if the protocol says nothing about the strategy.
        """
        base = cls.get_protocol_inputs(protocol)
        if base['by_strategy'].get(strategy) is None:
            raise ValueError(
                f'the protocol `{protocol}` says nothing about the strategy `{strategy}`; take another one'
            )
        card = {} if protocol in AS_PUBLISHED else foundation.card.get('finetune', {}).get(strategy, {})
        of_strategy = {**base['by_strategy'][strategy], **FAMILY_DEFAULTS.get(foundation.family, {}).get(strategy, {})}
        known = {**base['train']['hyperparameters'], **of_strategy, **card}
        given = {**overrides.get('by_strategy', {}).get(strategy, {}), **_given(overrides)}
        return {**keep_meaningful(known, strategy, engine), **given}

    def setup(self) -> None:
        """Take the inputs of the first attempt."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(TrainCalculation, 'train'))
        self.ctx.lr_reductions = 0
        for weight in without_labels(self.ctx.inputs.dataset):
            what = weight.removesuffix('_weight')
            self.report(f'not all frames of `dataset` have a label of the {what}: it is not trained on')

    def results(self) -> ExitCode | None:
        """Attach the outputs, and say what is odd about the labels, or worse than before."""
        self.report_warnings(self.ctx.children[-1])
        exit_code: ExitCode | None = super().results()
        return exit_code

    def report_warnings(self, calculation: CalcJobNode) -> None:
        """Say what the summary of a calculation warns of, if it has one."""
        outputs = calculation.outputs
        for warning in outputs.summary.get('warnings', []) if 'summary' in outputs else []:
            self.report(f'warning: {warning}')

    def run_process(self) -> Any:
        """Submit the next attempt; only the first can be a job that was run elsewhere."""
        running = super().run_process()
        self.ctx.inputs.pop('remote_folder', None)
        return running

    def hyperparameter(self, name: str) -> Any:
        """Return a hyperparameter of the present attempt, its default included."""
        inputs = self.ctx.inputs
        strategy, family = inputs.strategy.value, inputs.foundation.family
        return complete(dict(inputs.hyperparameters), strategy, self.engine, family)[name]

    @property
    def engine(self) -> str:
        """What trains."""
        inputs = self.ctx.inputs
        return str(inputs.engine.value) if 'engine' in inputs else default_engine(inputs.strategy.value)

    def change(self, calculation: CalcJobNode, name: str, value: Any) -> str:
        """Set a hyperparameter for the next attempt; return where that starts from: the checkpoint, if there is one."""
        self.ctx.inputs.hyperparameters = Dict({**dict(self.ctx.inputs.hyperparameters), name: value})
        if 'checkpoint' in calculation.outputs:
            self.ctx.inputs.checkpoint = calculation.outputs.checkpoint
        return 'continuing' if 'checkpoint' in self.ctx.inputs else 'starting again'

    def give_up(self, calculation: CalcJobNode, exit_code: ExitCode) -> ProcessHandlerReport:
        """Stop, with the outputs that the last attempt has, and what its summary warns of."""
        self.report_warnings(calculation)
        self.out_many(self.exposed_outputs(calculation, TrainCalculation))
        return ProcessHandlerReport(True, exit_code)

    @process_handler(priority=600, exit_codes=UNRECOVERABLE)  # type: ignore[untyped-decorator,unused-ignore]
    def handle_unrecoverable(self, calculation: CalcJobNode) -> ProcessHandlerReport:
        """Stop at a failure that no other attempt would change."""
        self.report(f'{calculation.process_label}<{calculation.pk}> failed: {calculation.exit_message}')
        exit_code = self.exit_codes.ERROR_TRAINING_FAILED.format(message=calculation.exit_message)
        return self.give_up(calculation, exit_code)

    @process_handler(priority=500, exit_codes=CODES.ERROR_OUT_OF_WALLTIME)  # type: ignore[untyped-decorator,unused-ignore]
    def handle_out_of_walltime(self, calculation: CalcJobNode) -> ProcessHandlerReport:
        """Continue from the checkpoint."""
        if 'checkpoint' not in calculation.outputs:
            return self.give_up(calculation, self.exit_codes.ERROR_NO_CHECKPOINT)
        self.ctx.inputs.checkpoint = calculation.outputs.checkpoint
        self.report(
            f'{calculation.process_label}<{calculation.pk}> ran out of walltime: continuing from its checkpoint'
        )
        return ProcessHandlerReport(True)

    @process_handler(priority=495, exit_codes=INTERRUPTIONS)  # type: ignore[untyped-decorator,unused-ignore]
    def handle_interruption(self, calculation: CalcJobNode) -> ProcessHandlerReport:
        """Run again after a node failed, or the job had to make way: from the checkpoint, if there is one."""
        how = 'starting again'
        if 'checkpoint' in calculation.outputs:
            self.ctx.inputs.checkpoint = calculation.outputs.checkpoint
            how = 'continuing from its checkpoint'
        self.report(
            f'{calculation.process_label}<{calculation.pk}> was interrupted ({calculation.exit_message}): {how}'
        )
        return ProcessHandlerReport(True)

    @process_handler(priority=494, exit_codes=CODES.ERROR_CANCELLED)  # type: ignore[untyped-decorator,unused-ignore]
    def handle_cancelled(self, calculation: CalcJobNode) -> ProcessHandlerReport:
        """Stop, as somebody wants it; the checkpoint is kept."""
        return self.give_up(calculation, self.exit_codes.ERROR_CANCELLED)

    @process_handler(priority=490, exit_codes=CODES.ERROR_DIVERGED)  # type: ignore[untyped-decorator,unused-ignore]
    def handle_diverged(self, calculation: CalcJobNode) -> ProcessHandlerReport:
        """Continue from the best epoch with a smaller learning rate, twice at most."""
        lr = self.hyperparameter('lr')
        if self.ctx.lr_reductions >= self.MAX_LR_REDUCTIONS:
            return self.give_up(calculation, self.exit_codes.ERROR_DIVERGED.format(lr=lr))
        self.ctx.lr_reductions += 1
        how = self.change(calculation, 'lr', lr * self.LR_FACTOR)
        best = ' from the best epoch' if how == 'continuing' else ''
        self.report(
            f'{calculation.process_label}<{calculation.pk}> diverged with lr={lr:g}: '
            f'{how}{best} with lr={lr * self.LR_FACTOR:g}'
        )
        return ProcessHandlerReport(True)

    @process_handler(priority=480, exit_codes=CODES.ERROR_OUT_OF_MEMORY)  # type: ignore[untyped-decorator,unused-ignore]
    def handle_out_of_memory(self, calculation: CalcJobNode) -> ProcessHandlerReport:
        """Evaluate fewer frames at once: their gradients are summed, so that the batch stays; MACE has smaller batches.

        The number of frames divides that of the batch, as every part of a batch has the same weight.
        """
        dataset = self.ctx.inputs.dataset
        n_train = dataset.counts['train']
        if 'replay' in self.ctx.inputs:
            n_train += self.hyperparameter('replay_size') or count_frames(self.ctx.inputs.replay) - 1
        batch = min(self.hyperparameter('batch_size'), n_train)
        sums = self.engine == Engine.EQUITRAIN.value
        largest = sums and self.hyperparameter('batch_max_nodes')
        at_once = min(batch, max(1, largest // dataset.max_atoms)) if largest else batch
        smaller = [size for size in range(1, at_once) if batch % size == 0 or not sums]
        if not smaller:
            return self.give_up(calculation, self.exit_codes.ERROR_OUT_OF_MEMORY)
        size = smaller[-1] if sums else at_once // 2
        if sums:
            how = self.change(calculation, 'batch_max_nodes', size * dataset.max_atoms)
            what = f'{size} at once ({size * dataset.max_atoms} atoms), their gradients summed'
        else:
            how, what = self.change(calculation, 'batch_size', size), f'batches of {size}, as MACE sums no gradients'
        self.report(
            f'{calculation.process_label}<{calculation.pk}> ran out of memory with {at_once} frames at once: '
            f'{how} with {what}'
        )
        return ProcessHandlerReport(True)


def without_labels(dataset: DatasetData) -> list[str]:
    """Return the weights of what the frames have no labels of."""
    present = {'stress_weight': dataset.has_stress, 'energy_weight': dataset.has_energies}
    return [key for key, has in present.items() if not has]


def _given(overrides: dict[str, Any] | None) -> dict[str, Any]:
    """Return the hyperparameters that the overrides give."""
    return dict((overrides or {}).get('train', {}).get('hyperparameters', {}))
