"""Fine-tune the same potential from several seeds, and see how far the results are apart."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import ArrayData, Bool, Dict, Float, Int, load_node

from aiida_equitrain.calculations.functions.committee import compare_members, draw_subsample
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.query.failures import failure_of
from aiida_equitrain.workflows.base import EquitrainProtocolMixin, StagedWorkChain
from aiida_equitrain.workflows.checks import validate_positive
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.options import take_options
from aiida_equitrain.workflows.queue import JobQueue

#: Name of a member: link label of its WorkChain, and key of its outputs.
MEMBER = 'seed_{}'
#: Outputs of a member, and the namespaces that collect them.
COLLECTED = {'potential': 'potentials', 'summary': 'summaries', 'metrics': 'metrics'}


class CommitteeWorkChain(EquitrainProtocolMixin, StagedWorkChain, JobQueue):
    """Run :class:`FinetuneWorkChain` with ``n_seeds`` seeds, and store the spread of the members."""

    PROTOCOL = 'committee'

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        of_one = ('train.seed', 'train.remote_folder')
        spec.expose_inputs(FinetuneWorkChain, namespace='finetune', exclude=of_one)
        spec.input('n_seeds', valid_type=Int, default=lambda: Int(4), validator=validate_n_seeds,
                   help='Number of members.')  # fmt: skip
        spec.input('seed', valid_type=Int, default=lambda: Int(1), help='Seed of the first member; the next count up.')
        spec.input('subsample', valid_type=Float, default=lambda: Float(1.0), validator=validate_subsample,
                   help='Share of the training frames, drawn by its seed, that each member after the first trains on. '
                        'At 1 the members differ in their seeds only.')  # fmt: skip
        spec.input('max_concurrent', valid_type=Int, default=lambda: Int(2), validator=validate_positive,
                   help='Members trained at once.')  # fmt: skip

        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            while_(step.has_jobs)(step.run_members, step.inspect_members),
            step.compare,
        )
        spec.output_namespace('potentials', valid_type=PotentialData, dynamic=True, help='The members, by seed.')
        spec.output_namespace('summaries', valid_type=Dict, dynamic=True, help='Their summaries.')
        spec.output_namespace('metrics', valid_type=ArrayData, dynamic=True, help='Their epochs.')
        spec.output('spread', valid_type=ArrayData, required=False,
                    help='Of every frame: `energy_spread` (eV/atom), `forces_spread` (eV/Å), `forces_mae` of the '
                         'mean (eV/Å), `is_train`, `is_valid`.')  # fmt: skip
        spec.output('committee', valid_type=Dict, required=False,
                    help='Means of the spread and of the errors over training and validation frames.')  # fmt: skip
        spec.exit_code(
            420,
            'ERROR_TOO_FEW_MEMBERS',
            message='{done} of {total} members could be trained, but a committee needs two; the last one that could '
            'not: {reason}',
        )

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides may have."""
        names = ('n_seeds', 'seed', 'subsample', 'max_concurrent', 'clean_workdir')
        return {**dict.fromkeys(names), 'finetune': FinetuneWorkChain.get_override_schema()}

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        n_seeds: int | None = None,
        seed: int | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        **finetune: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param n_seeds: number of members.
        :param seed: of the first member; the next count up.
        :param overrides: inputs in the nesting of the ports.
        :param finetune: the other arguments of ``FinetuneWorkChain.get_builder_from_protocol``.
        :raises ValueError: with a sentence, if a key or a value is wrong or the inputs do not fit together.
        """
        overrides, options = take_options(overrides, finetune.pop('options', None))
        inputs = cls.get_protocol_inputs(protocol, overrides)
        builder = cls.get_builder()
        member = FinetuneWorkChain.get_builder_from_protocol(
            protocol=protocol, overrides=overrides.get('finetune'), options=options, **finetune
        )
        member['train'].pop('seed', None)
        builder['finetune']._update(member)
        builder.n_seeds = Int(n_seeds if n_seeds is not None else inputs['n_seeds'])
        builder.seed = Int(seed if seed is not None else inputs['seed'])
        builder.subsample = Float(inputs['subsample'])
        builder.max_concurrent = Int(inputs['max_concurrent'])
        if inputs.get('clean_workdir') is not None:
            builder.clean_workdir = Bool(inputs['clean_workdir'])
        return builder

    def setup(self) -> None:
        """List the seeds."""
        first = self.inputs.seed.value
        self.ctx.seeds = {MEMBER.format(seed): seed for seed in range(first, first + self.inputs.n_seeds.value)}
        self.line_up(self.ctx.seeds)
        self.ctx.done = {}
        self.ctx.reason = ''

    def run_members(self) -> None:
        """Train as many members as may be at a time."""

        def start(name: str) -> Any:
            seed = self.ctx.seeds[name]
            inputs = AttributeDict(self.exposed_inputs(FinetuneWorkChain, 'finetune'))
            inputs.train.seed = Int(seed)
            if seed != self.inputs.seed.value and self.inputs.subsample.value < 1.0:
                inputs.train.dataset = draw_subsample(inputs.train.dataset, self.inputs.subsample, inputs.train.seed)
            inputs.metadata.call_link_label = name
            return self.submit(FinetuneWorkChain, **inputs)

        self.run_jobs(start)

    def inspect_members(self) -> None:
        """Take the members that are trained; one that failed is left out with a warning."""
        for name, job in self.ended():
            if job.is_finished_ok:
                self.ctx.done[name] = job.pk
                for label, namespace in COLLECTED.items():
                    self.out(f'{namespace}.{name}', job.outputs[label])
            else:
                self.ctx.reason = failure_of(job)
                self.report(f'WARNING: the member {name} is left out: {self.ctx.reason}')

    def compare(self) -> ExitCode | None:
        """Store how far the members are apart."""
        total, done = self.inputs.n_seeds.value, len(self.ctx.done)
        if done < 2:
            return self.exit_codes.ERROR_TOO_FEW_MEMBERS.format(  # type: ignore[no-any-return]
                done=done, total=total, reason=self.ctx.reason
            )
        predictions = {name: load_node(pk).outputs.predictions for name, pk in self.ctx.done.items()}
        for label, node in compare_members(**predictions).items():
            self.out(label, node)
        return None


def validate_n_seeds(value: Int, _: Any) -> str | None:
    """Return a sentence if there is no committee."""
    return None if value.value >= 2 else f'`n_seeds` is {value.value}; a committee has at least 2 members.'


def validate_subsample(value: Float, _: Any) -> str | None:
    """Return a sentence if nothing, or more than all, would train."""
    return None if 0 < value.value <= 1 else f'`subsample` is {value.value}; it is a share: above 0, 1 at most.'
