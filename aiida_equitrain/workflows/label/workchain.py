"""From a crystal to labelled frames: rattle, relax with the foundation, select, displace, compute with DFT."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ToContext, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import Dict, List, StructureData, TrajectoryData, load_node
from aiida_quantumespresso.calculations.functions.create_kpoints_from_distance import create_kpoints_from_distance
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.functions import label as functions
from aiida_equitrain.calculations.functions.phonons import relax_settings
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.query.failures import failure_of
from aiida_equitrain.workflows.dft import may_use_gamma_trick
from aiida_equitrain.workflows.label import ports
from aiida_equitrain.workflows.label.builder import LabelBuilder
from aiida_equitrain.workflows.label.rounds import LabelRounds
from aiida_equitrain.workflows.queue import why_failed


class LabelWorkChain(LabelBuilder, LabelRounds):
    """Label rattled and displaced supercells of a structure, or a user's frames, with Quantum ESPRESSO."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        spec.expose_inputs(
            PwBaseWorkChain,
            namespace='pw',
            exclude=('pw.structure', 'pw.parent_folder', 'kpoints'),
            namespace_options={
                'help': 'DFT of one frame. `kpoints_distance` is turned into one mesh for all frames of a recipe.'
            },
        )
        ports.declare(spec)
        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            if_(step.should_relax_structure)(step.run_relax_structure, step.inspect_relax_structure),
            if_(step.should_rattle)(step.rattle),
            if_(step.should_relax)(step.run_relaxations, step.inspect_relaxations),
            step.select_frames,
            if_(step.has_tolerance)(step.run_foundation, step.inspect_foundation),
            while_(step.should_label)(
                while_(step.has_jobs)(step.run_frames, step.inspect_frames),
                step.collect,
                if_(step.should_correct)(step.run_correct, step.inspect_correct),
            ),
            step.results,
        )
        spec.output('dataset', valid_type=DatasetData, required=False, help='The labelled frames.')
        spec.output('dropped', valid_type=Dict, help='Frames whose DFT failed, and why: keys `frames`, `n_dropped`.')
        spec.output('frames', valid_type=TrajectoryData, required=False,
                    help='The frames that were given to DFT, but those of `harmonic_frames`.')  # fmt: skip
        spec.output('harmonic_frames', valid_type=TrajectoryData, required=False,
                    help='The frames for phonons that were given to DFT, atoms in the order of phonopy.')  # fmt: skip
        spec.output('harmonic_structure', valid_type=StructureData, required=False,
                    help='The crystal, relaxed as `harmonic.relax` says, whose supercell they are.')  # fmt: skip
        spec.output('phonon_supercell_matrix', valid_type=List, required=False, help='Of these frames.')
        spec.output('rounds', valid_type=Dict, required=False,
                    help='With a `phonon_tolerance_thz`: `rounds` of labels for phonons, with numbers of frames and '
                         'error bars, and the `reason` of the end.')  # fmt: skip
        spec.output('trajectory', valid_type=TrajectoryData, required=False, help='The relaxation trajectories.')
        spec.output('supercell_matrix', valid_type=List, required=False, help='Of the rattled supercells.')
        spec.output('relaxed_structure', valid_type=StructureData, required=False, help='With the foundation.')
        spec.exit_code(
            301,
            'ERROR_RELAX_STRUCTURE_FAILED',
            message='The foundation could not relax `structure` ({message}); leave out `relax_structure`, or give it '
            'more `max_steps`.',
        )
        spec.exit_code(
            302,
            'ERROR_RELAX_FAILED',
            message='The foundation could not relax the rattled supercells ({message}); see the job, change `relax`.',
        )
        spec.exit_code(
            303,
            'ERROR_RELAX_DFT_FAILED',
            message='DFT could not relax the primitive cell ({message}); see the job, change `relax_dft`, or choose '
            'another `harmonic.relax`.',
        )
        spec.exit_code(
            304,
            'ERROR_CORRECTION_FAILED',
            message='The phonons of the foundation could not be corrected by the labels ({message}); what was labelled '
            'is in `dataset`. Leave out `harmonic.phonon_tolerance_thz` for a fixed number of frames.',
        )
        spec.exit_code(
            401,
            'ERROR_TOO_FEW_FRAMES',
            message='DFT failed for too many frames: {remain} of {total} remain, `min_frames` is {needed}. What was '
            'labelled is in `dataset`, why the others failed in `dropped`.',
        )

    def setup(self) -> None:
        """Take the inputs."""
        self.ctx.harmonic = (
            with_defaults(dict(self.inputs.harmonic), functions.HARMONIC) if 'harmonic' in self.inputs else None
        )
        if self.should_rattle() or self.ctx.harmonic:
            self.ctx.given = self.ctx.structure = self.ctx.crystal = self.right_handed(self.inputs.structure)
            self.hint_symmetry()
        self.ctx.frames, self.ctx.structures, self.ctx.kpoints, self.ctx.settings = {}, {}, {}, {}
        self.ctx.labelled = {}
        self.ctx.failures = {}

    def should_rattle(self) -> bool:
        """Return whether supercells have to be rattled: a user's own frames are taken as they are."""
        return 'frames' not in self.inputs and 'rattle' in self.inputs

    def should_relax_structure(self) -> bool:
        """Return whether the structure is relaxed with the foundation first."""
        wanted = self.should_rattle() or self.is_relaxed_by('potential')
        return wanted and 'relax_structure' in self.inputs

    def is_relaxed_by(self, what: str) -> bool:
        """Return whether that is what relaxes the crystal whose supercell is displaced."""
        return self.ctx.harmonic is not None and self.ctx.harmonic['relax'] == what

    def run_relax_structure(self) -> Any:
        """Relax the input structure with the foundation."""
        inputs = self._relax_inputs('relax_structure')
        return ToContext(relax_structure=self.submit(RelaxCalculation, structure=self.ctx.structure, **inputs))

    def inspect_relax_structure(self) -> Any:
        """Take the relaxed structure."""
        job = self.ctx.relax_structure
        if not job.is_finished_ok:
            return self.exit_codes.ERROR_RELAX_STRUCTURE_FAILED.format(message=failure_of(job))
        self.ctx.structure = job.outputs.relaxed_structure
        self.out('relaxed_structure', self.ctx.structure)
        return None

    def rattle(self) -> None:
        """Make the rattled supercells."""
        matrix = self.inputs.get('supercell_matrix')
        if matrix is None:
            # of the input structure, so that the size was checked before submission
            matrix = functions.find_supercell_matrix(self.inputs.structure, self.inputs.rattle, self.inputs.symprec)
        self.out('supercell_matrix', matrix)
        self.ctx.rattled = functions.rattle_structure(self.ctx.structure, matrix, self.inputs.rattle, self.inputs.seed)[
            'frames'
        ]

    def should_relax(self) -> bool:
        """Return whether there is something to relax."""
        return self.should_rattle() or self.should_relax_dft()

    def run_relaxations(self) -> Any:
        """Relax all rattled supercells with the foundation, in one job, and at the same time the crystal with DFT."""
        jobs = {}
        if self.should_rattle():
            jobs['relax'] = self.submit(RelaxCalculation, frames=self.ctx.rattled, **self._relax_inputs('relax'))
        if self.should_relax_dft():
            jobs['relax_dft'] = self.submit_relax_dft()
        return ToContext(**jobs)

    def inspect_relaxations(self) -> Any:
        """Take what came out of both."""
        failed = self.inspect_relax() if self.should_rattle() else None
        if failed is None and self.should_relax_dft():
            failed = self.inspect_relax_dft()
        return failed

    def inspect_relax(self) -> Any:
        """Take the trajectories; one that did not converge is still a trajectory."""
        job = self.ctx.relax
        codes = RelaxCalculation.exit_codes
        unconverged = job.exit_status == codes.ERROR_NOT_CONVERGED.status
        if not (job.is_finished_ok or unconverged) or 'trajectory' not in job.outputs:
            return self.exit_codes.ERROR_RELAX_FAILED.format(message=failure_of(job))
        if unconverged:
            self.report(f'WARNING: {job.exit_message} Frames are taken from what there is.')
        self.ctx.trajectory = job.outputs.trajectory
        self.out('trajectory', self.ctx.trajectory)
        return None

    def should_relax_dft(self) -> bool:
        """Return whether DFT relaxes the crystal whose supercell is displaced."""
        return self.is_relaxed_by('dft')

    def submit_relax_dft(self) -> Any:
        """Start the relaxation of the primitive cell with DFT: larger cells say nothing more."""
        crystal = self.ctx.crystal
        primitive = functions.find_primitive(crystal, self.inputs.symprec)
        self.ctx.is_primitive = len(primitive.sites) == len(crystal.sites)
        inputs = AttributeDict(self.exposed_inputs(PwRelaxWorkChain, 'relax_dft'))
        inputs.structure = crystal if self.ctx.is_primitive else primitive
        inputs.metadata.call_link_label = 'relax_dft'
        return self.submit(PwRelaxWorkChain, **inputs)

    def inspect_relax_dft(self) -> Any:
        """Take the relaxed crystal, in its cell as it was given."""
        work = self.ctx.relax_dft
        if not work.is_finished_ok:
            return self.exit_codes.ERROR_RELAX_DFT_FAILED.format(message=failure_of(work))
        relaxed = work.outputs.output_structure
        self.ctx.crystal = (
            relaxed
            if self.ctx.is_primitive
            else functions.in_given_cell(self.ctx.crystal, relaxed, self.inputs.symprec)
        )
        return None

    def select_frames(self) -> None:
        """Choose the frames of every recipe, and the one mesh of k-points for all frames of it."""
        if self.should_rattle():
            self.take_frames('frames', functions.select_frames(self.ctx.trajectory, self.inputs.selection))
        elif 'frames' in self.inputs:
            self.take_frames('frames', functions.take_frames(self.inputs.frames))
        if self.ctx.harmonic is not None:
            crystal = self.ctx.structure if self.is_relaxed_by('potential') else self.ctx.crystal
            matrix = self.inputs.get('phonon_supercell_matrix')
            if matrix is None:
                # Of the structure as it was given, as phonons do.
                matrix = functions.find_phonon_supercell(self.ctx.given, self.inputs.harmonic, self.inputs.symprec)
            self.out('phonon_supercell_matrix', matrix)
            self.out('harmonic_structure', crystal)
            displaced = functions.displace_structure(
                crystal, matrix, self.inputs.harmonic, self.inputs.seed, self.n_displaced()
            )
            self.take_frames('harmonic_frames', displaced)
        self.start_rounds()

    def take_frames(self, port: str, chosen: dict[str, Any]) -> None:
        """Take the frames of a recipe.

        :param chosen: all of them together (``frames``), and one by one.
        """
        self.ctx.frames[port] = chosen.pop('frames')
        self.out(port, self.ctx.frames[port])
        self.ctx.structures.update(chosen)
        first = chosen[min(chosen)]
        # the same mesh for all, or else energies of different frames would not compare
        kpoints = create_kpoints_from_distance(
            structure=first,
            distance=self.inputs.pw.kpoints_distance,
            force_parity=self.inputs.pw.get('kpoints_force_parity'),
            metadata={'call_link_label': 'create_kpoints_from_distance'},
        )
        settings = dict(self.inputs.pw.pw.settings) if 'settings' in self.inputs.pw.pw else {}
        if may_use_gamma_trick(kpoints, self.inputs.pw.pw.parameters, first):
            settings.setdefault('GAMMA_ONLY', True)
        known = Dict(settings).store() if settings else None
        for name in chosen:
            self.ctx.kpoints[name], self.ctx.settings[name] = kpoints, known

    def run_frames(self) -> None:
        """Label as many frames as may be at a time."""

        def start(name: str) -> Any:
            inputs = AttributeDict(self.exposed_inputs(PwBaseWorkChain, 'pw'))
            inputs.pw.structure = self.ctx.structures[name]
            inputs.pop('kpoints_distance', None)
            inputs.kpoints = self.ctx.kpoints[name]
            if self.ctx.settings[name] is not None:
                inputs.pw.settings = self.ctx.settings[name]
            inputs.metadata.call_link_label = self.in_second_try(name, inputs, 'pw')
            return self.submit(PwBaseWorkChain, **inputs)

        self.run_jobs(start)

    def inspect_frames(self) -> None:
        """Note the frames that have finished."""
        for name, job in self.ended():
            if job.is_finished_ok and 'output_trajectory' in job.outputs:
                self.ctx.labelled[name] = job.pk
            else:
                self.ctx.failures[name] = why_failed(job)
                self.report(f'WARNING: {name} is dropped, its DFT failed: {self.ctx.failures[name]}')
        done = len(self.ctx.labelled) + len(self.ctx.failures)
        self.report(f'{done} of {len(self.ctx.structures) - len(self.ctx.spare)} frames done')

    def collect(self) -> None:
        """Make the dataset of the frames whose DFT succeeded so far."""
        labels = {name: load_node(pk).outputs.output_trajectory for name, pk in self.ctx.labelled.items()}
        if self.ctx.labelled:
            labels['parameters'] = load_node(next(iter(self.ctx.labelled.values()))).outputs.output_parameters
        if self.should_rattle():
            labels['rattled'] = self.ctx.rattled
        self.ctx.collected = functions.collect_dataset(
            self.inputs.selection,
            self.inputs.seed,
            self.inputs.functional,
            Dict(self.ctx.failures),
            **self.ctx.frames,
            **labels,
        )

    def results(self) -> Any:
        """Attach what is labelled, and end well if enough frames remain."""
        self.attach_dataset()
        remain = self.outputs['dropped']['n_labelled']
        if remain < self.inputs.min_frames.value:
            return self.exit_codes.ERROR_TOO_FEW_FRAMES.format(
                remain=remain, total=len(self.ctx.structures) - len(self.ctx.spare), needed=self.inputs.min_frames.value
            )
        return None

    def _relax_inputs(self, name: str) -> dict[str, Any]:
        """Return the inputs that the relaxations share; ``name`` is the port with the settings."""
        settings = relax_settings(self.inputs[name], self.inputs.symprec)
        options = dict(self.inputs.options) if 'options' in self.inputs else {}
        return {
            'code': self.inputs.python_code,
            'potential': self.inputs.foundation,
            'settings': settings,
            'metadata': {'call_link_label': name, 'options': options},
        }
