"""The main job: from a crystal to corrected phonons and a fine-tuned potential, judged by DFT."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ToContext, if_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.calculations.arrays import validate_phonons
from aiida_equitrain.calculations.compare import FILLED_IN, CompareCalculation
from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions.phonons import (
    cell_of_labels,
    choose_supercell,
    collect_forces_like,
    displace_like,
    without_elastic,
)
from aiida_equitrain.common.formatting import describe_stability
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.query.failures import describe_failure
from aiida_equitrain.workflows.born_charges import BornCharges, BornChargesWorkChain
from aiida_equitrain.workflows.checks import validate_positive
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.material.builder import MaterialBuilder
from aiida_equitrain.workflows.material.checks import validate_inputs
from aiida_equitrain.workflows.phonons import checks as phonon_checks
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

#: Inputs that the stages share; they are given once, at the top.
SHARED = ('structure', 'foundation', 'potential', 'python_code', 'phonopy_code', 'supercell_matrix', 'max_concurrent',
          'nac', 'postprocess_code', 'postprocess', 'clean_workdir')  # fmt: skip
#: Those of the labels.
OF_LABEL = ('structure', 'foundation', 'python_code', 'max_concurrent', 'postprocess_code', 'phonon_supercell_matrix',
            'clean_workdir')  # fmt: skip
#: Inputs of phonons that those of DFT do not take here.
OF_POTENTIAL = ('potential_relax', 'potential_elastic', 'potential_forces', 'born_charges', 'labels', 'correct')
#: Outputs of the fine-tuning that are outputs of the whole.
FINETUNE_OUTPUTS = ('potential', 'metrics', 'predictions', 'summary')
#: With fewer DFT calculations at a time than this, the labels have them all and the phonons of DFT follow, beside the
#: training: a share kept for phonons would lie idle for most of the labelling.
SHARED_FROM = 4
#: Whose phonons there are; corrected ones have those labels added to their force constants.
SIDES = ('foundation', 'finetuned', 'corrected', 'corrected_finetuned', 'dft')
#: Whose phonons come last: the comparison that follows does what follows from them too, in its own job.
LAST = ('finetuned', 'corrected_finetuned')
#: Labelled supercells with a shorter edge (Å) say nothing of phonons (of silicon, with 8 atoms, nothing was gained).
MIN_LABELLED_EDGE = 7.0
#: Whose phonons are at a cell of their own, which a relaxation gave; the share by which volumes of one cell differ.
OWN_CELL, SAME_VOLUME = ('foundation', 'finetuned'), 5e-4
COMPARE_OUTPUTS = ('comparison', 'bands', 'thermal')


def volume_of_atom(phonons: PhonopyData) -> float:
    """Return the volume of the cell of phonons for each of its atoms, Å³."""
    return float(abs(np.linalg.det(phonons.cell))) / len(phonons.numbers)


class MaterialWorkChain(MaterialBuilder, BornCharges):
    """Label frames, fine-tune, and compare the phonons of foundation, fine-tuned potential and DFT.

    Frames that are unstrained supercells correct the force constants of the foundation and of the fine-tuned potential.
    Without `finetune` nothing is trained: who wants the harmonic answer needs no more.
    What does not depend on one another runs at the same time: the phonons of the foundation and of DFT start first and
    are waited for last. A part that fails ends the job with an exit code of its own once all that runs has ended, and
    with everything attached that could be computed.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData, help='The crystal.')
        spec.input('foundation', valid_type=PotentialData, help='The potential to start from.')
        spec.input('dataset', valid_type=DatasetData, required=False, help='Labelled frames; instead of `label`.')
        spec.input('reference', valid_type=PhonopyData, required=False, validator=validate_phonons,
                   help='DFT phonons that exist; instead of `dft_phonons`.')  # fmt: skip
        spec.input('foundation_phonons', valid_type=PhonopyData, required=False,
                   validator=partial(validate_phonons, name='foundation_phonons'),
                   help='Phonons of the foundation that exist; they are not computed again.')  # fmt: skip
        spec.input('python_code', valid_type=orm.AbstractCode, help='A Python with MACE, Equitrain and phonopy.')
        spec.input('phonopy_code', valid_type=orm.AbstractCode, help='The `phonopy` command.')
        spec.input('supercell_matrix', valid_type=orm.List, required=False,
                   help='Supercell of all phonons, as in `equitrain.phonons`; else from its settings.')  # fmt: skip
        spec.input('postprocess_code', valid_type=orm.AbstractCode, required=False,
                   help='A Python with phonopy, where `python_code` has none (that of SevenNet).')  # fmt: skip
        spec.input('nac', valid_type=orm.ArrayData, required=False,
                   help='Born charges and dielectric tensor, as in `equitrain.phonons`, for all sides.')  # fmt: skip
        spec.input('max_concurrent', valid_type=orm.Int, default=lambda: orm.Int(4), validator=validate_positive,
                   help='Largest number of DFT calculations at a time, labels and phonons together; with 1 also one '
                        'stage runs after the other.')  # fmt: skip
        spec.input('at_dft_cell', valid_type=orm.Bool, default=lambda: orm.Bool(True),
                   help='Where there are DFT phonons: judge foundation and fine-tuned potential at the cell of these, '
                        'too, not only at their own; one job of forces for each.')  # fmt: skip
        for process, namespace, hidden, required in (
            (LabelWorkChain, 'label', OF_LABEL, False),
            (FinetuneWorkChain, 'finetune', ('train.code', 'train.foundation', 'train.dataset'), False),
            (BornChargesWorkChain, 'born_charges', ('structure', 'symprec', 'clean_workdir'), False),
            (PhononsWorkChain, 'phonons', (*SHARED, 'pw', 'relax', 'born_charges', 'labels'), True),
            (PhononsWorkChain, 'dft_phonons', (*SHARED, *OF_POTENTIAL), False),
            (CompareCalculation, 'compare', FILLED_IN, True),
        ):
            # The stages' own validators see complete inputs only in ``validate_inputs``.
            choices = {'validator': None, 'required': required, 'populate_defaults': required}
            spec.expose_inputs(process, namespace=namespace, exclude=hidden, namespace_options=choices)
        spec.inputs.validator = validate_inputs

        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            if_(step.should_run_born_charges)(step.run_born_charges, step.inspect_born_charges),
            if_(step.should_run_phonons_foundation)(step.run_phonons_foundation),
            if_(step.should_run_phonons_dft)(step.run_phonons_dft),
            if_(step.should_run_label)(step.run_label, step.inspect_label),
            if_(step.should_run_phonons_dft)(step.run_phonons_dft),
            if_(step.should_run_corrected)(step.run_corrected),
            if_(step.should_run_finetune)(step.run_finetune, step.inspect_finetune),
            if_(step.should_run_phonons_finetuned)(
                step.run_phonons_finetuned,
                if_(step.may_correct)(step.run_corrected_finetuned),
            ),
            step.wait_for_phonons,
            step.inspect_phonons,
            if_(step.should_run_at_dft_cell)(step.run_at_dft_cell, step.inspect_at_dft_cell),
            if_(step.should_run_compare)(step.run_compare, step.inspect_compare),
            step.results,
        )

        spec.output('dataset', valid_type=DatasetData, required=False, help='Labelled frames.')
        spec.output('nac', valid_type=orm.ArrayData, required=False, help='Of `born_charges`.')
        spec.output('dropped', valid_type=orm.Dict, required=False, help='Frames whose DFT failed.')
        spec.expose_outputs(FinetuneWorkChain, include=FINETUNE_OUTPUTS)
        for side in SIDES:
            options = {'required': False, 'help': f'Phonons: {side}.'}
            spec.expose_outputs(PhononsWorkChain, namespace=f'phonons.{side}', namespace_options=options)
        spec.expose_outputs(CompareCalculation, include=COMPARE_OUTPUTS)
        for status, label, what in (
            (401, 'ERROR_LABEL_FAILED', 'The labelling of frames'),
            (402, 'ERROR_FINETUNE_FAILED', 'The fine-tuning'),
            (403, 'ERROR_PHONONS_FOUNDATION_FAILED', 'The phonon calculation with the `foundation`'),
            (404, 'ERROR_PHONONS_FINETUNED_FAILED', 'The phonon calculation with the fine-tuned potential'),
            (405, 'ERROR_PHONONS_DFT_FAILED', 'The phonon calculation with DFT (`dft_phonons`)'),
            (406, 'ERROR_COMPARE_FAILED', 'The comparison of the phonons'),
            (408, 'ERROR_PHONONS_CORRECTED_FAILED', 'The correction of the phonons of the `foundation`'),
            (409, 'ERROR_PHONONS_CORRECTED_FINETUNED_FAILED', 'The correction of those of the fine-tuned potential'),
            (410, 'ERROR_AT_DFT_CELL_FAILED', "The evaluation of a potential at DFT's cell"),
            (407, 'ERROR_BORN_CHARGES_FAILED', 'The calculation of Born charges'),
        ):
            spec.exit_code(status, label, message=f'{what} failed, see {{process}}: {{message}}')

    def setup(self) -> None:
        """Choose the supercell that all phonons share."""
        self.ctx.failure = None
        self.ctx.dataset = self.inputs.get('dataset')
        self.ctx.symprec = self.inputs.phonons.symprec
        self.ctx.supercell_matrix = self.inputs.get('supercell_matrix') or choose_supercell(
            self.right_handed(self.inputs.structure), self.inputs.phonons.settings, self.ctx.symprec
        )
        self.hint_symmetry(self.ctx.supercell_matrix)

    def should_run_phonons_foundation(self) -> bool:
        """Return whether there are none yet."""
        return 'foundation_phonons' not in self.inputs

    def run_phonons_foundation(self) -> Any:
        """Start the phonons of the foundation; nobody waits for them yet."""
        return self.launch_phonons('foundation', self.inputs.foundation)

    def should_run_phonons_dft(self) -> bool:
        """Return whether DFT phonons are wanted and may start: after the labels if few jobs may run at a time."""
        if 'dft_phonons' not in self.inputs or 'phonons_dft' in self.ctx:
            return False
        return self.inputs.max_concurrent.value >= SHARED_FROM or self.ctx.dataset is not None or 'label' in self.ctx

    def run_phonons_dft(self) -> Any:
        """Start the phonons of DFT; nobody waits for them yet."""
        return self.launch_phonons('dft')

    def should_run_label(self) -> bool:
        """Return whether frames are to be labelled."""
        return self.ctx.dataset is None

    def run_label(self) -> Any:
        """Rattle, relax, select, and label with DFT."""
        inputs = self.stage_inputs(LabelWorkChain, 'label')
        inputs.update(
            structure=self.inputs.structure,
            foundation=self.inputs.foundation,
            python_code=self.inputs.python_code,
            max_concurrent=orm.Int(self.get_share('label')),
            symprec=self.ctx.symprec,
        )
        if 'harmonic' in inputs:
            inputs.update(phonon_supercell_matrix=self.ctx.supercell_matrix)
        if 'postprocess_code' in self.inputs:
            inputs.postprocess_code = self.inputs.postprocess_code
        return ToContext(label=self.launch(LabelWorkChain, inputs, 'label'))

    def inspect_label(self) -> None:
        """Take over the labelled frames."""
        node = self.ctx.label
        if 'dropped' in node.outputs:
            self.out('dropped', node.outputs.dropped)
        if 'dataset' in node.outputs:
            self.ctx.dataset = node.outputs.dataset
            self.out('dataset', self.ctx.dataset)
        self.note_failure(node, 'ERROR_LABEL_FAILED')

    def should_run_corrected(self) -> bool:
        """Return whether labelled frames can correct force constants, and say why if they cannot."""
        if self.ctx.dataset is None:
            return False
        inputs = self.corrected_inputs(self.inputs.foundation)
        problem = phonon_checks.labels_problem(inputs) or self.too_small(inputs)
        if problem:
            self.report(f'no phonons are corrected: {problem}')
        self.ctx.may_correct = not problem
        return not problem

    def too_small(self, inputs: Any) -> str | None:
        """Return a sentence if the labelled supercell is too small for phonons."""
        matrix = inputs.supercell_matrix.get_list() if 'supercell_matrix' in inputs else None
        lattice, rows = cell_of_labels(inputs.structure, self.ctx.dataset, self.ctx.symprec.value, matrix)
        edge = float(np.linalg.norm(np.array(rows) @ lattice, axis=1).min())
        if edge >= MIN_LABELLED_EDGE:
            return None
        return f'the labelled supercell has an edge of {edge:.1f} Å, shorter than {MIN_LABELLED_EDGE:g} Å'

    def run_corrected(self) -> Any:
        """Start the corrected phonons of the foundation; nobody waits for them yet."""
        return self.launch_corrected('corrected', self.inputs.foundation)

    def should_run_finetune(self) -> bool:
        """Return whether to train, and there is something to train on, of which nothing failed."""
        return bool(self.inputs.get('finetune')) and self.ctx.dataset is not None and self.ctx.failure is None

    def run_finetune(self) -> Any:
        """Fine-tune the foundation on the labelled frames."""
        inputs = self.stage_inputs(FinetuneWorkChain, 'finetune')
        inputs.train.update(code=self.inputs.python_code, foundation=self.inputs.foundation, dataset=self.ctx.dataset)
        return ToContext(finetune=self.launch(FinetuneWorkChain, inputs, 'finetune'))

    def inspect_finetune(self) -> None:
        """Take over the potential."""
        node = self.ctx.finetune
        for name in FINETUNE_OUTPUTS:
            if name in node.outputs:
                self.out(name, node.outputs[name])
        self.note_failure(node, 'ERROR_FINETUNE_FAILED')

    def should_run_phonons_finetuned(self) -> bool:
        """Return whether there is a fine-tuned potential."""
        return 'finetune' in self.ctx and self.ctx.finetune.is_finished_ok

    def run_phonons_finetuned(self) -> Any:
        """Start the phonons of the fine-tuned potential."""
        return self.launch_phonons('finetuned', self.ctx.finetune.outputs.potential)

    def may_correct(self) -> bool:
        """Return whether the labels can correct force constants."""
        return bool(self.ctx.get('may_correct'))

    def run_corrected_finetuned(self) -> Any:
        """Start the corrected phonons of the fine-tuned potential."""
        return self.launch_corrected('corrected_finetuned', self.ctx.finetune.outputs.potential)

    def wait_for_phonons(self) -> Any:
        """Wait for all phonons that were started."""
        started = [f'phonons_{side}' for side in SIDES]
        return ToContext(**{key: self.ctx[key] for key in started if key in self.ctx})

    def inspect_phonons(self) -> None:
        """Attach the phonons of every side."""
        given = {'foundation': 'foundation_phonons', 'dft': 'reference'}
        self.ctx.phonons = {side: self.inputs[port] for side, port in given.items() if port in self.inputs}
        for side in SIDES:
            node = self.ctx.get(f'phonons_{side}')
            if node is None:
                continue
            self.out_many(self.exposed_outputs(node, PhononsWorkChain, namespace=f'phonons.{side}'))
            if 'phonopy_data' in node.outputs:
                self.ctx.phonons[side] = node.outputs.phonopy_data
            self.note_failure(node, f'ERROR_PHONONS_{side.upper()}_FAILED')

    def should_run_at_dft_cell(self) -> bool:
        """Return whether potentials are to be judged at DFT's cell, too: those whose own is another."""
        dft = self.ctx.phonons.get('dft')
        if dft is None or not self.inputs.at_dft_cell.value:
            return False
        volume, phonons = volume_of_atom(dft), self.ctx.phonons
        own = [side for side in OWN_CELL if side in phonons]
        self.ctx.at_dft = [side for side in own if abs(volume_of_atom(phonons[side]) / volume - 1) > SAME_VOLUME]
        return bool(self.ctx.at_dft)

    def run_at_dft_cell(self) -> Any:
        """Displace the atoms of DFT's supercell, and evaluate the potentials on it."""
        made = displace_like(self.ctx.phonons['dft'], self.inputs.phonons.displacement)
        self.ctx.preprocess_at_dft = made.pop('preprocess')
        futures = {}
        for side in self.ctx.at_dft:
            potential = self.inputs.foundation if side == 'foundation' else self.ctx.finetune.outputs.potential
            inputs = self.stage_inputs(PhononsWorkChain, 'phonons').get('potential_forces', AttributeDict())
            inputs.setdefault('metadata', AttributeDict())
            inputs.update(code=self.inputs.python_code, potential=potential, **made)
            futures[f'at_dft_{side}'] = self.launch(ForcesCalculation, inputs, f'{side}_at_dft_cell')
        return ToContext(**futures)

    def inspect_at_dft_cell(self) -> None:
        """Collect the forces."""
        self.ctx.at_reference = {}
        for side in self.ctx.at_dft:
            node = self.ctx[f'at_dft_{side}']
            if node.is_finished_ok:
                made = self.ctx.preprocess_at_dft, node.outputs.forces, self.ctx.phonons['dft']
                self.ctx.at_reference[side] = collect_forces_like(*made)
            self.note_failure(node, 'ERROR_AT_DFT_CELL_FAILED')

    def should_run_compare(self) -> bool:
        """Return whether a potential has phonons to be judged; a missing side is left out."""
        return bool(set(self.ctx.phonons) - {'dft'})

    def run_compare(self) -> Any:
        """Compare all phonons, and those of force constants fitted to the same frames without a potential.

        The same job makes the bands and what else follows from the phonons that came last.
        """
        inputs = self.stage_inputs(CompareCalculation, 'compare')
        inputs.code = self.postprocess_code()
        inputs.candidates = {side: node for side, node in self.ctx.phonons.items() if side != 'dft'}
        outputs = {side: self.ctx[f'phonons_{side}'].outputs for side in LAST if side in self.ctx.phonons}
        for port, name in (('harmonic', 'harmonic_settings'), ('corrections', 'correction')):
            inputs[port] = {side: found[name] for side, found in outputs.items() if name in found}
        if 'dft' in self.ctx.phonons:
            inputs.reference = self.ctx.phonons['dft']
        inputs.at_reference = self.ctx.get('at_reference', {})
        if self.ctx.dataset is not None:
            inputs.dataset = self.ctx.dataset
        return ToContext(compare=self.launch(CompareCalculation, inputs, 'compare'))

    def inspect_compare(self) -> None:
        """Attach the comparison, and the harmonic properties that were made with it."""
        node = self.ctx.compare
        for name in COMPARE_OUTPUTS:
            if name in node.outputs:
                self.out(name, node.outputs[name])
        harmonic = node.outputs.harmonic if 'harmonic' in node.outputs else {}
        for side, outputs in harmonic.items():
            self.out_many({f'phonons.{side}.{name}': output for name, output in outputs.items()})
            if 'stability' in outputs:
                self.report(f'{side.replace("_", " ")}: {describe_stability(outputs["stability"].get_dict())}')
        self.note_failure(node, 'ERROR_COMPARE_FAILED')

    def results(self) -> ExitCode | None:
        """Attach a given dataset, and end with the first failure if there was one."""
        if self.ctx.dataset is not None and 'dataset' in self.inputs:
            self.out('dataset', self.ctx.dataset)
        if self.ctx.failure is None:
            return None
        label, failure = self.ctx.failure
        code: ExitCode = self.exit_codes[label].format(**failure)
        return code

    def postprocess_code(self) -> orm.AbstractCode:
        """Return the Python that looks at phonons."""
        code: orm.AbstractCode = self.inputs.get('postprocess_code', self.inputs.python_code)
        return code

    def get_share(self, stage: str) -> int:
        """Return how many of the DFT calculations in flight are for ``label``, and how many for ``phonons``."""
        total: int = self.inputs.max_concurrent.value
        if total < SHARED_FROM or 'dft_phonons' not in self.inputs or 'dataset' in self.inputs:
            return total
        return total // 2 if stage == 'phonons' else total - total // 2

    def launch_phonons(self, side: str, potential: PotentialData | None = None) -> Any:
        """Submit the phonons of one side without waiting for them, unless one stage runs after the other."""
        inputs = self.phonon_inputs('phonons' if potential is not None else 'dft_phonons')
        inputs.supercell_matrix = self.ctx.supercell_matrix
        if potential is not None:
            inputs.update(potential=potential, python_code=self.inputs.python_code)
        else:
            inputs.max_concurrent = orm.Int(self.get_share('phonons'))
        return self.begin(side, inputs)

    def launch_corrected(self, side: str, potential: PotentialData) -> Any:
        """Submit corrected phonons, see :meth:`launch_phonons`."""
        inputs = self.corrected_inputs(potential)
        inputs.settings = without_elastic(inputs.settings)  # it is that of the potential, which is there already
        return self.begin(side, inputs)

    def begin(self, side: str, inputs: Any) -> Any:
        """Submit phonons, and wait for them where ``max_concurrent`` is 1: each that waits holds a slot of a worker."""
        key = f'phonons_{side}'
        if side in LAST:
            inputs.postprocess = orm.Bool(False)
        self.ctx[key] = self.launch(PhononsWorkChain, inputs, key)
        return ToContext(**{key: self.ctx[key]}) if self.inputs.max_concurrent.value == 1 else None

    def corrected_inputs(self, potential: PotentialData) -> Any:
        """Return the inputs of corrected phonons: in the cell and, unless one is given, the supercell of the labels."""
        inputs = self.phonon_inputs('phonons')
        inputs.update(potential=potential, python_code=self.inputs.python_code, labels=self.ctx.dataset)
        if 'label' in self.ctx and 'harmonic_structure' in self.ctx.label.outputs:
            inputs.structure = self.ctx.label.outputs.harmonic_structure
        if 'supercell_matrix' in self.inputs:
            inputs.supercell_matrix = self.inputs.supercell_matrix
        return inputs

    def phonon_inputs(self, namespace: str) -> Any:
        """Return what all phonons share."""
        inputs = self.stage_inputs(PhononsWorkChain, namespace)
        inputs.update(
            structure=self.inputs.structure,
            phonopy_code=self.inputs.phonopy_code,
            postprocess_code=self.postprocess_code(),
            symprec=self.ctx.symprec,
        )
        nac = self.ctx.get('nac', self.inputs.get('nac'))
        if nac is not None:
            inputs.nac = nac
        return inputs

    def note_failure(self, node: orm.ProcessNode, label: str) -> None:
        """Remember the first stage that failed; what runs beside it may go on."""
        if node.is_finished_ok:
            return
        failure = describe_failure(node)
        self.report(f'{failure["process"]} failed [{node.exit_status}]: {failure["message"]}')
        if self.ctx.failure is None:
            self.ctx.failure = (label, failure)
