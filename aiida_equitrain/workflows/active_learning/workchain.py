"""Choose the frames that are worth a label: those on which a committee disagrees, until the phonons stand still."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ToContext, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.calculations.arrays import validate_phonons
from aiida_equitrain.calculations.compare import FILLED_IN, CompareCalculation
from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions import active_learning as functions
from aiida_equitrain.calculations.functions.active_learning import ACTIVE_SETTINGS
from aiida_equitrain.common.settings import settings_help, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.active_learning.builder import ActiveLearningBuilder
from aiida_equitrain.workflows.active_learning.checks import validate_inputs, validate_settings
from aiida_equitrain.workflows.base import StagedWorkChain
from aiida_equitrain.workflows.committee import CommitteeWorkChain
from aiida_equitrain.workflows.finetune import without_labels
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain


class ActiveLearningWorkChain(ActiveLearningBuilder, StagedWorkChain):
    """Train a committee, choose frames of a pool on which it disagrees, label them, and train again.

    It ends when the phonons of the first member move by less than ``phonon_tolerance_thz`` from one round to the next,
    when ``max_train`` frames are trained on, or when the pool is empty.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData, help='The crystal.')
        spec.input('foundation', valid_type=PotentialData, help='The potential to start from.')
        spec.input('pool', valid_type=(DatasetData, orm.TrajectoryData),
                   help='Frames to choose from: with labels, which are looked at only once a frame is chosen, or '
                        'without, which `label` computes then. All of the same atoms.')  # fmt: skip
        spec.input('dataset', valid_type=DatasetData, required=False,
                   help='Labelled frames of the first round; for a `pool` without labels.')  # fmt: skip
        spec.input('reference', valid_type=PhonopyData, required=False, validator=validate_phonons,
                   help='DFT phonons: the error of each round is reported, and nothing depends on it.')  # fmt: skip
        spec.input('python_code', valid_type=orm.AbstractCode, help='A Python with MACE, Equitrain and phonopy.')
        spec.input('phonopy_code', valid_type=orm.AbstractCode, help='The `phonopy` command.')
        spec.input('settings', valid_type=orm.Dict, validator=validate_settings, help=settings_help(ACTIVE_SETTINGS))
        spec.input('seed', valid_type=orm.Int, default=lambda: orm.Int(1), help='Of the frames of the first round.')
        no_check = {'validator': None}
        hidden = (*(f'finetune.train.{name}' for name in ('code', 'foundation', 'dataset')), 'clean_workdir')
        spec.expose_inputs(CommitteeWorkChain, namespace='committee', exclude=hidden, namespace_options=no_check)
        hidden = ('structure', 'potential', 'python_code', 'phonopy_code', 'postprocess_code', 'postprocess', 'pw',
                  'relax', 'born_charges', 'clean_workdir')  # fmt: skip
        spec.expose_inputs(PhononsWorkChain, namespace='phonons', exclude=hidden, namespace_options=no_check)
        spec.expose_inputs(CompareCalculation, namespace='compare', exclude=FILLED_IN, namespace_options=no_check)
        hidden = ('code', 'potential', 'frames', 'supercell')
        spec.expose_inputs(ForcesCalculation, namespace='evaluate', exclude=hidden, namespace_options=no_check)
        optional = {**no_check, 'required': False, 'populate_defaults': False}
        hidden = ('structure', 'frames', 'foundation', 'python_code', 'clean_workdir')
        spec.expose_inputs(LabelWorkChain, namespace='label', exclude=hidden, namespace_options=optional)
        spec.inputs.validator = validate_inputs

        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            while_(step.should_go_on)(
                step.run_committee,
                step.inspect_committee,
                step.run_phonons,
                step.inspect_phonons,
                if_(step.should_run_compare)(step.run_compare, step.inspect_compare),
                if_(step.should_choose)(
                    step.run_evaluate,
                    step.choose,
                    if_(step.should_run_label)(step.run_label, step.inspect_label),
                ),
            ),
            step.results,
        )
        spec.output('dataset', valid_type=DatasetData, required=False, help='All frames that were trained on.')
        spec.output('potential', valid_type=PotentialData, required=False, help='The first member of the last round.')
        spec.output('phonopy_data', valid_type=PhonopyData, required=False, help='Its phonons.')
        spec.output('rounds', valid_type=orm.Dict, required=False,
                    help='`rounds`: number of training frames, spread of the pool (eV/Å), `change_thz` of the phonons, '
                         '`error_thz` against `reference`; and `reason` of the end.')  # fmt: skip
        for status, label, what in (
            (401, 'ERROR_COMMITTEE_FAILED', 'The training of a committee'),
            (402, 'ERROR_PHONONS_FAILED', 'A phonon calculation'),
            (403, 'ERROR_COMPARE_FAILED', 'A comparison of phonons'),
            (404, 'ERROR_EVALUATE_FAILED', 'The evaluation of the pool'),
            (405, 'ERROR_LABEL_FAILED', 'The labelling of chosen frames'),
        ):
            spec.exit_code(status, label, message=f'{what} failed, see {{process}}: {{message}}')

    def setup(self) -> None:
        """Take the frames of the first round."""
        self.ctx.settings = with_defaults(dict(self.inputs.settings), ACTIVE_SETTINGS)
        self.ctx.rounds, self.ctx.reason, self.ctx.phonons, self.ctx.previous = [], None, None, None
        #: What the rounds are told from, see ``gather_rounds``.
        self.ctx.told = {}
        self.hint_symmetry()
        pool = self.inputs.pool
        if isinstance(pool, DatasetData):
            made = functions.start_pool(pool, self.inputs.settings, self.inputs.seed)
            self.ctx.dataset, self.ctx.rows = made['dataset'], made['rows']
        else:
            self.ctx.dataset = self.inputs.dataset
            self.ctx.rows = orm.List(list(range(len(pool.get_positions())))).store()

    def should_go_on(self) -> bool:
        """Return whether there is no reason to end."""
        return self.ctx.reason is None

    def run_committee(self) -> Any:
        """Train the members on what is labelled."""
        inputs = self.stage_inputs(CommitteeWorkChain, 'committee')
        train = inputs.finetune.train
        train.update(code=self.inputs.python_code, foundation=self.inputs.foundation, dataset=self.ctx.dataset)
        missing = dict.fromkeys(without_labels(self.ctx.dataset), 0.0)
        train.hyperparameters = orm.Dict({**train.hyperparameters.get_dict(), **missing})
        return ToContext(committee=self.launch(CommitteeWorkChain, inputs, f'committee_{len(self.ctx.rounds)}'))

    def inspect_committee(self) -> ExitCode | None:
        """End if there is no committee."""
        if not self.ctx.committee.is_finished_ok:
            return self.stop('ERROR_COMMITTEE_FAILED', self.ctx.committee)
        members = self.ctx.committee.outputs.potentials
        self.ctx.members = {name: members[name] for name in sorted(members)}
        self.tell('dataset', self.ctx.dataset, new=True)
        return None

    def run_phonons(self) -> Any:
        """Compute the phonons of the first member."""
        inputs = self.stage_inputs(PhononsWorkChain, 'phonons')
        inputs.update(structure=self.inputs.structure, potential=next(iter(self.ctx.members.values())),
                      python_code=self.inputs.python_code, phonopy_code=self.inputs.phonopy_code)  # fmt: skip
        return ToContext(phonon_work=self.launch(PhononsWorkChain, inputs, f'phonons_{len(self.ctx.rounds) - 1}'))

    def inspect_phonons(self) -> ExitCode | None:
        """End if there are no phonons."""
        if not self.ctx.phonon_work.is_finished_ok:
            return self.stop('ERROR_PHONONS_FAILED', self.ctx.phonon_work)
        self.ctx.previous, self.ctx.phonons = self.ctx.phonons, self.ctx.phonon_work.outputs.phonopy_data
        return None

    def should_run_compare(self) -> bool:
        """Return whether there is something to compare these phonons with."""
        return self.ctx.previous is not None or 'reference' in self.inputs

    def run_compare(self) -> Any:
        """Compare with the round before, and with DFT if there is some."""
        others = {'change': self.ctx.previous, 'error': self.inputs.get('reference')}
        jobs = {}
        for name, other in others.items():
            if other is not None:
                inputs = self.stage_inputs(CompareCalculation, 'compare')
                inputs.update(code=self.inputs.python_code, reference=other, candidates={'present': self.ctx.phonons})
                jobs[name] = self.launch(CompareCalculation, inputs, f'{name}_{len(self.ctx.rounds) - 1}')
        self.ctx.compared = list(jobs)
        return ToContext(**{f'compare_{name}': job for name, job in jobs.items()})

    def inspect_compare(self) -> ExitCode | None:
        """Note how far the phonons moved, and end if that is little."""
        for name in self.ctx.compared:
            job = self.ctx[f'compare_{name}']
            if not job.is_finished_ok:
                return self.stop('ERROR_COMPARE_FAILED', job)
            self.tell(name, job.outputs.comparison)
        change = self.ctx.rounds[-1]['change_thz']
        if change is not None and change <= self.ctx.settings['phonon_tolerance_thz']:
            self.ctx.reason = 'phonon_tolerance_thz'
        return None

    def should_choose(self) -> bool:
        """Return whether more frames are to be labelled; note the reason if not."""
        if self.ctx.reason is None and self.ctx.rounds[-1]['n_train'] >= self.ctx.settings['max_train']:
            self.ctx.reason = 'max_train'
        if self.ctx.reason is None and not len(self.ctx.rows):
            self.ctx.reason = 'pool'
        self.report(f'round {len(self.ctx.rounds)}: {self.ctx.rounds[-1]}')
        return self.ctx.reason is None

    def run_evaluate(self) -> Any:
        """Let each member look at what is left of the pool."""
        frames = functions.pool_frames(self.inputs.pool, self.ctx.rows)
        jobs = {}
        for name, potential in self.ctx.members.items():
            inputs = self.stage_inputs(ForcesCalculation, 'evaluate')
            inputs.update(code=self.inputs.python_code, potential=potential, frames=frames)
            label = f'evaluate_{name}_{len(self.ctx.rounds) - 1}'
            jobs[f'evaluate_{name}'] = self.launch(ForcesCalculation, inputs, label)
        return ToContext(**jobs)

    def choose(self) -> ExitCode | None:
        """Choose the frames on which the members disagree most."""
        jobs = {name: self.ctx[f'evaluate_{name}'] for name in self.ctx.members}
        for job in jobs.values():
            if not job.is_finished_ok:
                return self.stop('ERROR_EVALUATE_FAILED', job)
        wanted = min(self.ctx.settings['n_per_round'], self.ctx.settings['max_train'] - self.ctx.rounds[-1]['n_train'])
        forces = {name: job.outputs.forces for name, job in jobs.items()}
        made = functions.choose_disputed(self.ctx.rows, orm.Int(wanted), **forces)
        self.ctx.chosen, self.ctx.rows = made['chosen'], made['left']
        spread = made['spread'].get_dict()
        if spread['max_ev_per_angstrom'] < functions.AGREEMENT_EV_PER_ANGSTROM:
            self.report('WARNING: the members are all the same, so that frames are chosen at random: let them '
                        'train on different frames (`committee.subsample` below 1)')  # fmt: skip
        self.tell('spread', made['spread'])
        self.tell('chosen', made['chosen'])
        if isinstance(self.inputs.pool, DatasetData):
            self.ctx.dataset = functions.reveal_labels(self.ctx.dataset, self.inputs.pool, self.ctx.chosen)
        return None

    def should_run_label(self) -> bool:
        """Return whether the chosen frames have no labels yet."""
        return not isinstance(self.inputs.pool, DatasetData)

    def run_label(self) -> Any:
        """Label the chosen frames with DFT."""
        inputs = self.stage_inputs(LabelWorkChain, 'label')
        inputs.update(frames=functions.pool_frames(self.inputs.pool, self.ctx.chosen),
                      foundation=self.inputs.foundation, python_code=self.inputs.python_code)  # fmt: skip
        return ToContext(label=self.launch(LabelWorkChain, inputs, f'label_{len(self.ctx.rounds) - 1}'))

    def inspect_label(self) -> ExitCode | None:
        """Add the labelled frames; end if there are none."""
        if 'dataset' not in self.ctx.label.outputs:
            return self.stop('ERROR_LABEL_FAILED', self.ctx.label)
        self.ctx.dataset = functions.add_labelled(self.ctx.dataset, self.ctx.label.outputs.dataset)
        return None

    def results(self) -> None:
        """Attach what there is."""
        self.out('dataset', self.ctx.dataset)
        if 'members' in self.ctx:
            self.out('potential', next(iter(self.ctx.members.values())))
        if self.ctx.phonons is not None:
            self.out('phonopy_data', self.ctx.phonons)
        self.out('rounds', functions.gather_rounds(orm.Str(str(self.ctx.reason)), **self.ctx.told))

    def tell(self, kind: str, node: Any, new: bool = False) -> None:
        """Note a node that tells of this round, or of a ``new`` one."""
        index = len(self.ctx.rounds) if new else len(self.ctx.rounds) - 1
        self.ctx.told[f'{kind}_{index}'] = node
        self.ctx.rounds = functions.rounds_of(self.ctx.told)

    def stop(self, label: str, node: Any) -> ExitCode:
        """End with what there is so far."""
        self.ctx.reason = label
        self.results()
        return self.fail(label, node)
