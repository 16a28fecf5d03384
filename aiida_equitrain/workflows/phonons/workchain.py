"""From a structure to its phonons, with a potential or with DFT."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, ToContext, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_phonopy.calculations.phonopy import PhonopyCalculation
from aiida_phonopy.data.phonopy import PhonopyData
from aiida_quantumespresso.calculations.functions.create_kpoints_from_distance import create_kpoints_from_distance
from aiida_quantumespresso.utils.mapping import prepare_process_inputs
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.correct import CorrectCalculation, correction_codes
from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions import elastic
from aiida_equitrain.calculations.functions import phonons as functions
from aiida_equitrain.calculations.harmonic import HarmonicCalculation
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.common.formatting import describe_stability
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.workflows.base import StagedWorkChain
from aiida_equitrain.workflows.born_charges import BornCharges
from aiida_equitrain.workflows.dft import may_use_gamma_trick
from aiida_equitrain.workflows.phonons import ports
from aiida_equitrain.workflows.phonons.builder import PhononsBuilder
from aiida_equitrain.workflows.queue import JobQueue

#: Outputs of the harmonic properties that are outputs of the whole.
HARMONIC_OUTPUTS = tuple(HarmonicCalculation.OUTPUTS)


class DftForces(StagedWorkChain, JobQueue):
    """The part of the phonon WorkChain that runs one ``PwBaseWorkChain`` for each supercell, a few at a time."""

    def take_phonons(self, phonopy_data: Any) -> None:
        """Go on with displacements and forces."""
        raise NotImplementedError

    def run_dft_forces(self) -> None:
        """Compute as many supercells as may be at a time."""

        def start(label: str) -> Any:
            inputs = self.stage_inputs(PwBaseWorkChain, 'pw')
            for name in ('kpoints_distance', 'kpoints_force_parity'):
                inputs.pop(name, None)
            inputs.kpoints = self.ctx.kpoints
            inputs.pw.structure = self.ctx.supercells[label]
            if may_use_gamma_trick(self.ctx.kpoints, inputs.pw.parameters, inputs.pw.structure):
                inputs.pw.settings = {'GAMMA_ONLY': True, **dict(inputs.pw.get('settings', {}))}
            name = self.in_second_try(label, inputs, 'pw')
            return self.launch(PwBaseWorkChain, prepare_process_inputs(PwBaseWorkChain, inputs), name)

        self.run_jobs(start)

    def inspect_dft_forces(self) -> ExitCode | None:
        """Attach what has finished; start no more if anything failed, as phonopy needs every displacement."""
        for label, node in self.ended():
            if not node.is_finished_ok:
                self.ctx.failed.append(node.pk)
                continue
            self.ctx.done[label] = node.outputs.output_trajectory
            self.out(f'supercells_forces.{label}', self.ctx.done[label])
            if not np.isfinite(self.ctx.done[label].get_array('forces')).all():
                self.ctx.not_finite.append(node.pk)
        if not (self.ctx.failed or self.ctx.not_finite):
            return None
        self.ctx.queue = []
        if self.has_jobs():
            return None
        if self.ctx.not_finite:
            return self.fail('ERROR_FORCES_NOT_FINITE', orm.load_node(self.ctx.not_finite[0]))
        failed, total = len(self.ctx.failed), len(self.ctx.supercells)
        return self.fail('ERROR_DFT_FAILED', orm.load_node(self.ctx.failed[0]), failed=failed, total=total)

    def collect_dft_forces(self) -> None:
        """Collect the forces of DFT."""
        forces = {label.replace('supercell', 'forces'): node for label, node in self.ctx.done.items()}
        self.take_phonons(functions.collect_dft_forces(self.ctx.preprocess, **forces))


class PhononsWorkChain(PhononsBuilder, BornCharges, DftForces):
    """Relax a structure, displace its supercell, evaluate the forces, and post-process them with phonopy.

    The forces come from a potential (one job for all displacements) or from DFT (one ``PwBaseWorkChain`` for each).
    With ``labels`` the force constants of the potential are corrected by them before anything is derived.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        ports.declare_inputs(spec)

        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            if_(step.should_run_born_charges)(step.run_born_charges, step.inspect_born_charges),
            if_(step.should_run_relax)(step.run_relax, step.inspect_relax),
            step.run_displacements,
            if_(step.should_run_dft)(
                while_(step.has_jobs)(step.run_dft_forces, step.inspect_dft_forces),
                step.collect_dft_forces,
            ).else_(
                step.run_forces,
                step.inspect_forces,
                if_(step.should_run_correct)(step.run_correct, step.inspect_correct),
            ),
            if_(step.should_run_phonopy)(step.run_phonopy, step.inspect_phonopy, step.results),
            if_(step.should_run_elastic)(step.run_elastic, step.inspect_elastic),
            step.finish,
        )

        ports.declare_outputs(spec)

    def setup(self) -> None:
        """Choose the supercell, by the structure as it was given: all sources of forces then share it."""
        self.ctx.structure, self.ctx.symprec = self.right_handed(self.inputs.structure), self.inputs.symprec
        if 'labels' in self.inputs:
            self.take_cell_of_labels()
        elif 'supercell_matrix' in self.inputs:
            self.ctx.supercell_matrix = self.inputs.supercell_matrix
        else:
            self.ctx.supercell_matrix = functions.choose_supercell(
                self.ctx.structure, self.inputs.settings, self.inputs.symprec
            )
        self.hint_symmetry(self.ctx.supercell_matrix)
        self.out('supercell_matrix', self.ctx.supercell_matrix)

    def take_cell_of_labels(self) -> None:
        """Take the cell and the supercell that the labels are displacements of."""
        given = {name: self.inputs[name] for name in ('supercell_matrix',) if name in self.inputs}
        found = functions.labelled_cell(self.ctx.structure, self.inputs.labels, self.inputs.symprec, **given)
        self.ctx.structure, self.ctx.supercell_matrix = found['structure'], found['supercell_matrix']

    def should_run_dft(self) -> bool:
        """Return whether the forces come from DFT."""
        return 'potential' not in self.inputs

    def should_run_relax(self) -> bool:
        """Return whether the structure is relaxed first."""
        if self.should_run_dft():
            return bool(self.inputs.get('relax'))
        return 'labels' not in self.inputs and bool(self.get_setting('relax'))

    def run_relax(self) -> Any:
        """Relax the structure with what the forces come from."""
        if self.should_run_dft():
            process: Any = PwRelaxWorkChain
            inputs = self.stage_inputs(process, 'relax')
        else:
            process = RelaxCalculation
            inputs = self.stage_inputs(process, 'potential_relax')
            inputs.update(code=self.inputs.python_code, potential=self.inputs.potential)
            given = inputs.get('settings', orm.Dict({}))
            if dict(given).get('symprec', SYMPREC) != self.inputs.symprec.value:
                inputs.settings = functions.relax_settings(given, self.inputs.symprec)
        inputs.structure = self.ctx.structure
        return ToContext(relaxation=self.launch(process, inputs, 'relax'))

    def inspect_relax(self) -> ExitCode | None:
        """Take over the relaxed structure."""
        node = self.ctx.relaxation
        if not node.is_finished_ok:
            return self.fail('ERROR_RELAXATION_FAILED', node)
        name = 'output_structure' if self.should_run_dft() else 'relaxed_structure'
        self.ctx.structure = node.outputs[name]
        self.out('relaxed_structure', self.ctx.structure)
        return None

    def run_displacements(self) -> None:
        """Make the displaced supercells."""
        given = (self.ctx.structure, self.ctx.supercell_matrix, self.inputs.displacement, self.inputs.symprec)
        if not self.should_run_dft():
            made = functions.displace(*given, self.inputs.settings, **self.given_harmonic())
            self.ctx.preprocess, self.ctx.harmonic_settings = made.pop('preprocess'), made.pop('harmonic_settings')
            self.ctx.displaced = made
            return
        self.ctx.preprocess = functions.preprocess(*given)
        self.ctx.supercells = self.ctx.preprocess.calcfunctions.get_supercells_with_displacements()
        self.line_up(sorted(self.ctx.supercells))
        self.ctx.done, self.ctx.failed, self.ctx.not_finite = {}, [], []
        self.ctx.kpoints = create_kpoints_from_distance(
            self.ctx.supercells[self.ctx.queue[0]],
            self.inputs.pw.kpoints_distance,
            self.inputs.pw.get('kpoints_force_parity', orm.Bool(False)),
        )

    def run_forces(self) -> Any:
        """Evaluate all displaced supercells in one job."""
        inputs = self.stage_inputs(ForcesCalculation, 'potential_forces')
        inputs.update(code=self.inputs.python_code, potential=self.inputs.potential, **self.ctx.displaced)
        return ToContext(forces=self.launch(ForcesCalculation, inputs, 'forces'))

    def inspect_forces(self) -> ExitCode | None:
        """Collect the forces of the potential."""
        node = self.ctx.forces
        if 'forces' in node.outputs:
            self.out('forces', node.outputs.forces)
        if node.exit_status == ForcesCalculation.exit_codes.ERROR_FORCES_NOT_FINITE.status:
            return self.fail('ERROR_FORCES_NOT_FINITE', node)
        if not node.is_finished_ok:
            return self.fail('ERROR_FORCES_FAILED', node)
        self.take_phonons(functions.collect_forces(self.ctx.preprocess, node.outputs.forces))
        return None

    def take_phonons(self, phonopy_data: PhonopyData) -> None:
        """Attach the displacements with their forces, and what the non-analytical term needs."""
        nac = self.ctx.get('nac', self.inputs.get('nac'))
        self.ctx.phonopy_data = phonopy_data if nac is None else functions.attach_nac(phonopy_data, nac)
        self.out('uncorrected' if self.should_run_correct() else 'phonopy_data', self.ctx.phonopy_data)

    def should_run_correct(self) -> bool:
        """Return whether there are labels to correct by."""
        return 'labels' in self.inputs

    def run_correct(self) -> Any:
        """Evaluate the potential on the labelled frames, and fit what it gets wrong."""
        inputs = self.stage_inputs(CorrectCalculation, 'correct')
        inputs.update(
            potential=self.inputs.potential,
            phonopy_data=self.ctx.phonopy_data,
            dataset=self.inputs.labels,
            **correction_codes(self.inputs.potential, self.inputs.python_code, self.postprocess_code()),
        )
        inputs.settings = functions.correction_settings(inputs.get('settings', orm.Dict({})), self.inputs.settings)
        return ToContext(correct=self.launch(CorrectCalculation, inputs, 'correct'))

    def inspect_correct(self) -> ExitCode | None:
        """Go on with the corrected phonons."""
        node = self.ctx.correct
        for name in ports.CORRECTION_OUTPUTS:
            if name in node.outputs:
                self.out(name, node.outputs[name])
        if not node.is_finished_ok:
            return self.fail('ERROR_CORRECTION_FAILED', node)
        self.ctx.phonopy_data = node.outputs.phonopy_data
        self.out('phonopy_data', self.ctx.phonopy_data)
        facts = node.outputs.correction
        text = 'corrected' if facts['is_corrected'] else 'NOT corrected, as the labels do not favour it'
        self.report(f'{text}: {facts["n_frames"]} frames, mean error bar {facts["uncertainty_thz"]:.3f} THz')
        return None

    def should_run_phonopy(self) -> bool:
        """Return whether bands and what follows are made here; the caller needs the settings if not."""
        if self.inputs.get('postprocess', True) or not self.does_all_at_once():
            return True
        self.out('harmonic_settings', self.harmonic_settings())
        return False

    def run_phonopy(self) -> Any:
        """Post-process: in one job of a Python with phonopy, or by the command, which does thermal properties apart."""
        if self.does_all_at_once():
            inputs = self.stage_inputs(HarmonicCalculation, 'harmonic')
            inputs.update(code=self.postprocess_code(), phonopy_data=self.ctx.phonopy_data, **self.correction())
            inputs.settings = self.harmonic_settings()
            return ToContext(harmonic=self.launch(HarmonicCalculation, inputs, 'harmonic'))
        mesh = self.get_setting('mesh')
        common = {'MESH': mesh, 'FC_SYMMETRY': True, 'SYMMETRY_TOLERANCE': self.inputs.symprec.value}
        jobs = {
            'phonopy_bands': {'BAND': 'auto', 'DOS': True, 'WRITE_MESH': True, 'WRITE_FORCE_CONSTANTS': True},
            'phonopy_thermal': {
                'TPROP': True,
                'WRITE_MESH': False,
                'TMIN': self.get_setting('temperature_min_k'),
                'TMAX': self.get_setting('temperature_max_k'),
                'TSTEP': self.get_setting('temperature_step_k'),
            },
        }
        futures = {}
        for label, tags in jobs.items():
            inputs = self.stage_inputs(PhonopyCalculation, 'phonopy')
            inputs.update(code=self.inputs.phonopy_code, phonopy_data=self.ctx.phonopy_data)
            inputs.parameters = orm.Dict({**tags, **common})
            futures[label] = self.launch(PhonopyCalculation, inputs, label)
        return ToContext(**futures)

    def does_all_at_once(self) -> bool:
        """Return whether one job of ours does all that follows from phonons."""
        return self.postprocess_code() is not None and bool(self.get_setting('harmonic'))

    def harmonic_settings(self) -> orm.Dict:
        """Return the settings of the harmonic properties."""
        known: orm.Dict | None = self.ctx.get('harmonic_settings')
        if known is None:
            known = functions.harmonic_settings(self.inputs.settings, **self.given_harmonic())
        return known

    def given_harmonic(self) -> dict[str, Any]:
        """Return the settings of the harmonic properties that are given by themselves."""
        given = self.inputs.get('harmonic', {})
        return {'harmonic': given['settings']} if 'settings' in given else {}

    def correction(self) -> dict[str, Any]:
        """Return what says how far corrected phonons are to be trusted."""
        return {'correction': self.ctx.correct.outputs.correction} if 'correct' in self.ctx else {}

    def postprocess_code(self) -> Any:
        """Return a Python with phonopy, or ``None``: that of SevenNet has none."""
        potential = self.inputs.get('potential')
        of_potential = self.inputs.python_code if potential is not None and potential.family == 'mace' else None
        return self.inputs.get('postprocess_code', of_potential)

    def inspect_phonopy(self) -> ExitCode | None:
        """Attach bands, densities and thermal properties, and judge the stability."""
        if 'harmonic' in self.ctx:
            outputs = self.ctx.harmonic.outputs
            for name in HARMONIC_OUTPUTS:
                if name in outputs:
                    self.out(name, outputs[name])
            self.ctx.stability = outputs.stability if 'stability' in outputs else None
            return None
        bands, thermal = self.ctx.phonopy_bands, self.ctx.phonopy_thermal
        names = {'total_phonon_dos': 'total_dos', 'output_force_constants': 'force_constants'}
        for node in (bands, thermal):
            for name in (*names, 'thermal_properties'):
                if name in node.outputs:
                    self.out(names.get(name, name), node.outputs[name])
        if 'phonon_bands' in bands.outputs:
            self.ctx.bands = bands.outputs.phonon_bands
            primitive = self.ctx.phonopy_data.get_primitive_cell()
            unread = functions.UNREAD in [name for _, name in self.ctx.bands.labels]
            if unread or not np.allclose(primitive.cell, self.ctx.bands.cell, atol=1e-8):
                self.ctx.bands = functions.primitive_bands(self.ctx.bands, self.ctx.phonopy_data)
            self.out('bands', self.ctx.bands)
        failed = [node for node in (bands, thermal) if not node.is_finished_ok]
        if failed:
            return self.fail('ERROR_PHONOPY_FAILED', failed[0])
        self.ctx.stability = functions.judge_stability(
            bands.outputs.qpoints_mesh, self.ctx.bands, self.ctx.phonopy_data, self.inputs.settings, **self.correction()
        )
        self.out('stability', self.ctx.stability)
        return None

    def results(self) -> None:
        """Tell of the stability."""
        verdict = self.ctx.stability
        if verdict is None:
            return
        self.report(describe_stability(dict(verdict)))

    def should_run_elastic(self) -> bool:
        """Return whether the elastic tensor is wanted: of potentials only."""
        return not self.should_run_dft() and bool(self.get_setting('elastic'))

    def run_elastic(self) -> Any:
        """Relax the atoms of all strained cells in one job."""
        inputs = self.stage_inputs(RelaxCalculation, 'potential_elastic')
        inputs.update(code=self.inputs.python_code, potential=self.inputs.potential)
        inputs.frames = elastic.strained_frames(self.ctx.structure, self.inputs.settings)
        inputs.settings = functions.elastic_settings(inputs.get('settings', orm.Dict({})))
        return ToContext(elastic=self.launch(RelaxCalculation, inputs, 'elastic'))

    def inspect_elastic(self) -> ExitCode | None:
        """Fit the elastic tensor."""
        node = self.ctx.elastic
        if not node.is_finished_ok:
            return self.fail('ERROR_ELASTIC_FAILED', node)
        tensor = elastic.elastic_tensor(
            self.ctx.structure, node.outputs.trajectory, self.inputs.settings, self.inputs.symprec
        )
        self.out('elastic', tensor)
        return None

    def finish(self) -> ExitCode | None:
        """Tell of harmonic properties that are missing, once all else is there."""
        if 'harmonic' not in self.ctx or self.ctx.harmonic.is_finished_ok:
            return None
        return self.fail('ERROR_HARMONIC_FAILED', self.ctx.harmonic)

    def get_setting(self, key: str) -> Any:
        """Return a value of ``settings``, or its default."""
        return with_defaults(dict(self.inputs.settings), functions.PHONON_SETTINGS)[key]
