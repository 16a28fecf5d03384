"""A study: many materials, strategies, sizes and seeds in one table."""

from __future__ import annotations

import base64
import json
import zlib
from functools import cached_property
from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_equitrain.calculations.compare import FILLED_IN, CompareCalculation
from aiida_equitrain.calculations.functions.study import STUDY_SETTINGS, collect_study
from aiida_equitrain.common.settings import settings_help, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.query.failures import describe_failure
from aiida_equitrain.query.jobs import core_seconds_of
from aiida_equitrain.workflows.checks import validate_positive
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.instability.workchain import InstabilityWorkChain
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.material.workchain import MaterialWorkChain
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain
from aiida_equitrain.workflows.queue import JobQueue
from aiida_equitrain.workflows.study.builder import StudyBuilder
from aiida_equitrain.workflows.study.checks import validate_inputs, validate_settings
from aiida_equitrain.workflows.study.inputs import StudyInputs
from aiida_equitrain.workflows.study.rows import KEY, SHARED_STAGES, Row, find_done, key_of, rows_of, size_problem

PROCESSES: dict[str, Any] = {'label': LabelWorkChain, 'phonons_foundation': PhononsWorkChain,
                             'phonons_dft': PhononsWorkChain, 'row': MaterialWorkChain,
                             'instability': InstabilityWorkChain}  # fmt: skip
#: Results of a row that the table is made of: kind of input of ``collect_study`` and output of the row.
COLLECTED = {'comparison': 'comparison', 'summary': 'summary', 'correction': 'phonons.corrected.correction',
             'elastic': 'phonons.finetuned.elastic'}  # fmt: skip
#: What the context has of every row. As YAML, it would make each checkpoint of a study of thousands take a second.
OF_ROWS = ('queue', 'done', 'failures')


class StudyWorkChain(StudyBuilder, StudyInputs, JobQueue):
    """Run ``equitrain.material`` for every material, strategy, number of training frames and seed.

    Labels, phonons of the foundation and DFT phonons are made once per material. What an earlier study has done with
    equal inputs is taken from there. Something that fails is a row with its reason in the table.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        spec.input_namespace(
            'materials', dynamic=True, required=True,
            help='By name the inputs of one crystal, named as in `equitrain.material`: `structure`; `dataset` or '
                 '`label`; `reference` or `dft_phonons`, or neither; `phonons`; `nac`, `supercell_matrix`, '
                 '`max_concurrent`; and `reference_phases`, as `phases` of an `equitrain.instability` with DFT: '
                 '`root` and the phases behind its imaginary modes, `root` alone where DFT finds none.',
        )  # fmt: skip
        spec.input('foundation', valid_type=PotentialData, help='The potential to start from.')
        spec.input('strategies', valid_type=orm.Dict,
                   help='`hyperparameters` (and `engine`) by name of the strategy.')  # fmt: skip
        spec.input('settings', valid_type=orm.Dict, validator=validate_settings, help=settings_help(STUDY_SETTINGS))
        spec.input('python_code', valid_type=orm.AbstractCode, help='A Python with MACE, Equitrain and phonopy.')
        spec.input('phonopy_code', valid_type=orm.AbstractCode, help='The `phonopy` command.')
        spec.input('postprocess_code', valid_type=orm.AbstractCode, required=False,
                   help='A Python with phonopy, where `python_code` has none (that of SevenNet).')  # fmt: skip
        spec.input('max_concurrent', valid_type=orm.Int, default=lambda: orm.Int(4), validator=validate_positive,
                   help='Largest number of WorkChains (a labelling, a set of phonons, a row) at a time.')  # fmt: skip
        hidden = ('train.code', 'train.foundation', 'train.dataset', 'train.strategy', 'train.engine', 'train.seed',
                  'train.hyperparameters', 'train.remote_folder')  # fmt: skip
        options = {'validator': None}
        spec.expose_inputs(FinetuneWorkChain, namespace='finetune', exclude=hidden, namespace_options=options)
        spec.expose_inputs(CompareCalculation, namespace='compare', exclude=FILLED_IN, namespace_options=options)
        spec.expose_inputs(
            InstabilityWorkChain,
            namespace='instability',
            exclude=('structure', 'phonopy_data', 'potential', 'python_code', 'postprocess_code', 'pw', 'pw_relax',
                     'dft_levels', 'phonons.pw', 'phonons.relax', 'phonons.phonopy_code', 'phonons.supercell_matrix',
                     'phonons.nac', 'clean_workdir'),
            namespace_options={'validator': None, 'required': False, 'populate_defaults': False,
                               'help': 'Follow the imaginary modes of each fine-tuned potential to new phases.'},
        )  # fmt: skip
        spec.inputs.validator = validate_inputs

        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            while_(step.has_jobs)(step.run_shared, step.inspect),
            step.prepare_rows,
            while_(step.has_jobs)(step.run_rows, step.inspect),
            step.prepare_instabilities,
            while_(step.has_jobs)(step.run_instabilities, step.inspect),
            step.collect,
        )
        spec.output('table', valid_type=orm.SinglefileData, required=False, help='CSV, one line per row.')
        spec.output('aggregates', valid_type=orm.Dict, required=False,
                    help='Means, medians, precision, recall, F1, wins and cost, with bootstrap intervals.')  # fmt: skip
        for name, kind in (('datasets', DatasetData), ('potentials', PotentialData), ('comparisons', orm.Dict)):
            what = 'material' if name == 'datasets' else 'row'
            spec.output_namespace(name, valid_type=kind, dynamic=True, required=False, help=f'By name of the {what}.')
        spec.exit_code(401, 'ERROR_ALL_ROWS_FAILED', message='No row of the study succeeded; the first: {reason}')

    def save_instance_state(self, out_state: Any, save_context: Any) -> None:
        """Save a checkpoint whose size hardly grows with the number of rows."""
        base: Any = super()
        base.save_instance_state(out_state, save_context)
        short = {key: _pack(self.ctx[key]) for key in OF_ROWS if key in self.ctx}
        out_state[self._CONTEXT] = AttributeDict({**self.ctx, **short})

    def load_instance_state(self, saved_state: Any, load_context: Any) -> None:
        """Load a checkpoint."""
        base: Any = super()
        base.load_instance_state(saved_state, load_context)
        for key in OF_ROWS:
            if isinstance(self.ctx.get(key), str):
                self.ctx[key] = _unpack(self.ctx[key])

    def setup(self) -> None:
        """List what is made once per material."""
        self.ctx.settings = with_defaults(dict(self.inputs.settings), STUDY_SETTINGS)
        self.ctx.done, self.ctx.failures = {}, {}
        self.hint_symmetry()
        # What is made of DFT first, as it takes longest.
        order = ('label', 'phonons_dft', 'phonons_foundation')
        self.ctx.shared = {
            f'{stage}_{material}': (stage, material)
            for stage in order
            for material, inputs in sorted(self.inputs.materials.items())
            if SHARED_STAGES[stage] in inputs
        }
        self.line_up(self.ctx.shared)

    def run_shared(self) -> None:
        """Run as much of what is made once per material as may be at a time."""

        def start(name: str) -> Any:
            stage, material = self.ctx.shared[name]
            return self.start(stage, name, self.shared_inputs(stage, material))

        self.run_jobs(start)

    def prepare_rows(self) -> None:
        """List the rows whose material has all that they need; the others have failed already."""
        obstacles = {row.name: self.get_obstacle(row) for row in self.get_rows()}
        self.ctx.failures |= {name: reason for name, reason in obstacles.items() if reason is not None}
        self.line_up(name for name, reason in obstacles.items() if reason is None)
        for material in sorted(self.inputs.materials):
            if (dataset := self.get_dataset(material)) is not None:
                self.out(f'datasets.{material}', dataset)

    def run_rows(self) -> None:
        """Run as many rows as may be at a time."""
        self.run_jobs(lambda name: self.start('row', name, self.row_inputs(self.get_row(name))))

    def prepare_instabilities(self) -> None:
        """List the rows whose phonons have imaginary modes, if these are to be followed."""
        self.line_up(f'instability_{row.name}' for row in self.get_rows() if self.may_follow(row))

    def run_instabilities(self) -> None:
        """Follow the modes of as many rows as may be at a time."""

        def start(name: str) -> Any:
            row = self.get_row(name.removeprefix('instability_'))
            return self.start('instability', name, self.instability_inputs(row))

        self.run_jobs(start)

    def inspect(self) -> None:
        """Note what has ended."""
        for name, node in self.ended():
            self.ctx.done[name] = node.pk
            if not node.is_finished_ok:
                failure = describe_failure(node)
                self.ctx.failures[name] = f'{failure["process"]} [{node.exit_status}]: {failure["message"]}'
                self.report(f'WARNING: {name} failed: {self.ctx.failures[name]}')
        self.report(f'{len(self.ctx.done)} done, {len(self.ctx.running)} running, {len(self.ctx.queue)} waiting')

    def collect(self) -> ExitCode | None:
        """Make the table."""
        rows = self.get_rows()
        facts: dict[str, Any] = {}
        results: dict[str, Any] = {}
        for row in rows:
            node = orm.load_node(self.ctx.done[row.name]) if row.name in self.ctx.done else None
            facts[row.name] = self.row_facts(row, node)
            if node is not None:
                results |= self.row_results(row, node)
        made = collect_study(rows=orm.Dict(facts), settings=self.inputs.settings, **results)
        for label in ('table', 'aggregates'):
            self.out(label, made[label])
        if len([row for row in rows if row.name in self.ctx.failures]) < len(rows):
            return None
        code: ExitCode = self.exit_codes.ERROR_ALL_ROWS_FAILED.format(reason=self.ctx.failures[rows[0].name])
        return code

    def start(self, stage: str, name: str, inputs: AttributeDict) -> Any:
        """Submit a WorkChain, or take the result of one that an earlier study has run with equal inputs."""
        process = PROCESSES[stage]
        key = key_of(process, inputs)
        found = find_done(process, key) if self.ctx.settings['reuse'] else None
        if found is not None:
            self.report(f'{name} is done already: {found.process_label}<{found.pk}>')
            self.ctx.done[name] = found.pk
            return None
        inputs.metadata = AttributeDict(inputs.get('metadata', {}))
        if 'clean_workdir' in self.inputs:
            inputs.clean_workdir = self.inputs.clean_workdir  # as soon as a part has ended
        node = self.launch(process, inputs, name if stage != 'row' else f'row_{name}')
        node.base.extras.set(KEY, key)
        return node

    def get_rows(self) -> list[Row]:
        """Return all rows."""
        return rows_of(self.inputs.materials, self.inputs.strategies.get_dict(), self.ctx.settings)

    def get_row(self, name: str) -> Row:
        """Return a row by its name."""
        return self._rows[name]

    @cached_property
    def _rows(self) -> dict[str, Row]:
        """Rows by name: looked for among thousands of them, each would cost more than the one before."""
        return {row.name: row for row in self.get_rows()}

    def get_obstacle(self, row: Row) -> str | None:
        """Return why a row cannot be run, or ``None``."""
        for stage in SHARED_STAGES:
            if f'{stage}_{row.material}' in self.ctx.failures:
                return str(self.ctx.failures[f'{stage}_{row.material}'])
        dataset = self.get_dataset(row.material)
        assert dataset is not None
        return size_problem(dataset, row.n_train)

    def row_facts(self, row: Row, node: Any) -> dict[str, Any]:
        """Return what the table says of a row beside its results."""
        reason = self.ctx.failures.get(row.name)
        facts = {**row.facts(), 'state': 'done' if reason is None else 'failed', 'reason': reason}
        for column, stage in (('label', 'label'), ('dft', 'phonons_dft'), ('foundation_phonons', 'phonons_foundation')):
            pk = self.ctx.done.get(f'{stage}_{row.material}')
            facts[f'{column}_core_seconds'] = None if pk is None else core_seconds_of(orm.load_node(pk))
        if self.may_follow(row) is False:
            facts['nothing_to_follow'] = True
        followed = self.ctx.done.get(f'instability_{row.name}')
        if followed is not None:
            facts['instability_uuid'] = orm.load_node(followed).uuid
            facts['reason'] = self.ctx.failures.get(f'instability_{row.name}')
        if node is not None:
            facts |= {'process_uuid': node.uuid, 'row_core_seconds': core_seconds_of(node)}
            training = [child for child in node.called if child.process_label == FinetuneWorkChain.__name__]
            facts['train_core_seconds'] = core_seconds_of(training[0]) if training else None
            for label in ('potential', 'dataset'):
                if label in node.outputs:
                    facts[f'{label}_uuid'] = node.outputs[label].uuid
        return facts

    def row_results(self, row: Row, node: Any) -> dict[str, Any]:
        """Return the nodes that the table is made of, and attach those that people look for."""
        results = {}
        for kind, path in COLLECTED.items():
            found = node.outputs
            for part in path.split('.'):
                found = found[part] if found is not None and part in found else None
            if found is not None:
                results[f'{kind}_{row.name}'] = found
        elastic = self.get_output(f'phonons_foundation_{row.material}', 'elastic')
        if elastic is not None:
            results[f'foundation_elastic_{row.name}'] = elastic
        tree, match = self.get_output(f'instability_{row.name}', 'tree'), self.match_phases(row)
        results |= {
            f'{kind}_{row.name}': node for kind, node in (('tree', tree), ('phase_match', match)) if node is not None
        }
        for label in ('potential', 'comparison'):
            if label in node.outputs:
                self.out(f'{label}s.{row.name}', node.outputs[label])
        return results


def _pack(value: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def _unpack(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text)))
