"""As many labels for phonons as are needed: round after round, until the error bars are below a tolerance."""

from __future__ import annotations

from typing import Any

from aiida.engine import ToContext
from aiida.orm import Dict, Int, Str, load_node

from aiida_equitrain.calculations.correct import CorrectCalculation, correction_codes
from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions import label as functions
from aiida_equitrain.calculations.functions import phonons
from aiida_equitrain.query.failures import failure_of
from aiida_equitrain.workflows.base import StagedWorkChain
from aiida_equitrain.workflows.phonons.checks import DISPLACEMENT
from aiida_equitrain.workflows.queue import JobQueue

#: Why no further frames are labelled.
TOLERANCE_REACHED, BUDGET_SPENT, NONE_LABELLED = 'phonon_tolerance_thz', 'max_frames', 'no frame was labelled'


class LabelRounds(StagedWorkChain, JobQueue):
    """The part of the labelling that corrects the foundation's phonons by the labels so far, and asks for more."""

    def has_tolerance(self) -> bool:
        """Return whether frames for phonons are labelled until error bars are small enough."""
        return self.ctx.harmonic is not None and self.ctx.harmonic['phonon_tolerance_thz'] is not None

    def start_rounds(self) -> None:
        """Line up the frames of the first round; those for phonons that are not in it are spare."""
        names = sorted(self.ctx.structures)
        first = functions.HARMONIC_LABEL.format(self.ctx.harmonic['n_frames']) if self.has_tolerance() else None
        self.ctx.spare = [name for name in names if first is not None and name >= first and name in self.harmonic()]
        self.line_up(name for name in names if name not in self.ctx.spare)
        #: Why no more frames are labelled, the corrections so far, and the frames for phonons that each had.
        self.ctx.reason, self.ctx.corrections, self.ctx.collected = None, {}, None

    def harmonic(self) -> list[str]:
        """Return the names of the frames for phonons."""
        prefix = functions.HARMONIC_LABEL.partition('{')[0]
        return [name for name in self.ctx.structures if name.startswith(prefix)]

    def has_reason(self) -> bool:
        """Return whether there is none to label more frames."""
        return self.ctx.reason is not None

    def should_label(self) -> bool:
        """Return whether a round is to be done."""
        return not self.has_reason()

    def run_foundation(self) -> Any:
        """Let the foundation evaluate the displaced supercells of its phonons, in the cell of the labels."""
        preprocess = phonons.preprocess(
            self.outputs['harmonic_structure'],
            self.outputs['phonon_supercell_matrix'],
            Dict(DISPLACEMENT),
            self.inputs.symprec,
        )
        self.ctx.preprocess = preprocess
        inputs = self.foundation_inputs()
        inputs.update(code=self.inputs.python_code, **phonons.displaced_frames(preprocess))
        return ToContext(foundation_forces=self.launch(ForcesCalculation, inputs, 'foundation_forces'))

    def inspect_foundation(self) -> Any:
        """Collect its forces."""
        job = self.ctx.foundation_forces
        if not job.is_finished_ok:
            return self.exit_codes.ERROR_CORRECTION_FAILED.format(message=failure_of(job))
        self.ctx.phonons = phonons.collect_forces(self.ctx.preprocess, job.outputs.forces)
        return None

    def should_correct(self) -> bool:
        """Return whether there are labels for phonons to correct by; if not, note the end, or line up more frames."""
        if not self.has_tolerance():
            self.ctx.reason = BUDGET_SPENT
        elif set(self.ctx.labelled) & set(self.harmonic()) - set(self.ctx.collected['dropped']['frames']):
            return True
        elif not self.line_up_spare():
            self.ctx.reason = NONE_LABELLED
        return False

    def run_correct(self) -> Any:
        """Correct the foundation's phonons by all labels so far."""
        inputs, python = self.foundation_inputs(), self.inputs.python_code
        inputs.update(phonopy_data=self.ctx.phonons, dataset=self.ctx.collected['dataset'])
        inputs.update(correction_codes(self.inputs.foundation, python, self.inputs.get('postprocess_code', python)))
        inputs['settings'] = Dict({})
        return ToContext(correct=self.launch(CorrectCalculation, inputs, f'correct_{len(self.ctx.corrections)}'))

    def inspect_correct(self) -> Any:
        """End if the error bars are small enough or the budget is spent; else line up the next frames."""
        job, tolerance = self.ctx.correct, self.ctx.harmonic['phonon_tolerance_thz']
        if not job.is_finished_ok:
            self.attach_dataset()
            return self.exit_codes.ERROR_CORRECTION_FAILED.format(message=failure_of(job))
        found = job.outputs.correction
        self.ctx.corrections[f'correction_{len(self.ctx.corrections)}'] = found.pk
        error = found['uncertainty_thz']
        self.report(f'round {len(self.ctx.corrections)}: {found["n_frames"]} frames, mean error bar {error:.4f} THz')
        if error <= tolerance:
            self.ctx.reason = TOLERANCE_REACHED
        elif not self.line_up_spare():
            self.ctx.reason = BUDGET_SPENT
            self.report(f'WARNING: the budget of frames is spent, and the mean error bar is above {tolerance:g} THz')
        return None

    def line_up_spare(self) -> bool:
        """Line up as many spare frames as may be at a time; return whether there were any."""
        number = self.inputs.max_concurrent.value
        number += number % 2 if self.ctx.harmonic['pairs'] else 0
        more, self.ctx.spare = self.ctx.spare[:number], self.ctx.spare[number:]
        self.line_up(more)
        return bool(more)

    def finish_rounds(self) -> None:
        """Attach what the rounds were."""
        if self.ctx.corrections:
            corrections: dict[str, Any] = {name: load_node(pk) for name, pk in self.ctx.corrections.items()}
            self.out('rounds', functions.gather_label_rounds(Str(self.ctx.reason), **corrections))

    def attach_dataset(self) -> None:
        """Attach the labelled frames."""
        for name, node in self.ctx.collected.items():
            self.out(name, node)
        self.finish_rounds()

    def foundation_inputs(self) -> dict[str, Any]:
        """Return what the jobs of the foundation share."""
        options = dict(self.inputs.options) if 'options' in self.inputs else {}
        return {'potential': self.inputs.foundation, 'metadata': {'options': options}}

    def n_displaced(self) -> Int:
        """Return how many frames for phonons there may be."""
        harmonic = self.ctx.harmonic
        return Int(max(harmonic['max_frames'], harmonic['n_frames']) if self.has_tolerance() else harmonic['n_frames'])
