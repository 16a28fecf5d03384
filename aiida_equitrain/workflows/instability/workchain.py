"""From phonons with imaginary modes to the phases behind them, with a potential or with DFT."""

from __future__ import annotations

from typing import Any

from aiida.engine import ExitCode, ToContext, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_equitrain.calculations.functions import instability as functions
from aiida_equitrain.calculations.functions.phonons import relax_settings
from aiida_equitrain.calculations.modes import ModesCalculation
from aiida_equitrain.calculations.scan import RelaxPhasesCalculation, ScanCalculation
from aiida_equitrain.common.names import ROOT_PHASE
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.query.failures import failure_of
from aiida_equitrain.workflows.instability import ports
from aiida_equitrain.workflows.instability.builder import InstabilityBuilder
from aiida_equitrain.workflows.instability.checks import SETTINGS
from aiida_equitrain.workflows.instability.dft import DftPhases
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

#: What evaluates the potential, and looks at phonons.
EVALUATION = ('potential', 'python_code', 'postprocess_code')


class InstabilityWorkChain(InstabilityBuilder, DftPhases):
    """Follow imaginary modes downhill: scan the energy along them, relax both sides, and go on from the new phases.

    With a potential a level takes three jobs, whatever the number of phases and modes: one finds the modes, one scans,
    one relaxes. With DFT each point of a scan and each relaxation is a job. The phonons of each phase come on top.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        ports.declare_inputs(spec)

        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            while_(step.should_run_level)(
                while_(step.should_run_phonons)(step.run_phonons, step.inspect_phonons),
                if_(step.should_run_modes)(
                    step.run_modes,
                    step.inspect_modes,
                    if_(step.should_run_scan)(
                        if_(step.has_potential)(step.run_scan, step.inspect_scan, step.fit_wells),
                        if_(step.should_run_dft)(
                            step.setup_dft,
                            while_(step.has_jobs)(step.run_dft_points, step.inspect_dft_points),
                            if_(step.has_potential)(step.compare_dft).else_(step.collect_dft, step.fit_wells),
                        ),
                        if_(step.should_run_relax)(
                            if_(step.has_potential)(step.run_relax, step.inspect_relax).else_(
                                step.setup_dft_relax,
                                while_(step.has_jobs)(step.run_dft_relax, step.inspect_dft_relax),
                                step.collect_dft_relax,
                            ),
                            step.collect_phases,
                        ),
                    ),
                ),
            ),
            step.results,
        )

        ports.declare_outputs(spec)

    def setup(self) -> None:
        """Begin with the structure, or with the phonons that are given."""
        self.ctx.level = 0
        #: Phases by name: their structures, those to be examined next, and what is known of each.
        self.ctx.structures, self.ctx.waiting, self.ctx.levels = {}, [ROOT_PHASE], {}
        self.ctx.phonons, self.ctx.failed_dft, self.ctx.failed_dft_relax = {}, [], []
        self.ctx.symprec = self.inputs.phonons.symprec
        if 'phonopy_data' in self.inputs:
            self.ctx.phonons[ROOT_PHASE] = self.inputs.phonopy_data
            self.ctx.structures[ROOT_PHASE] = functions.unit_cell(self.inputs.phonopy_data)
            self.ctx.symprec = functions.symprec_of(self.inputs.phonopy_data)
        else:
            self.ctx.structures[ROOT_PHASE] = self.right_handed(self.inputs.structure)
            self.hint_symmetry()

    def should_run_level(self) -> bool:
        """Return whether phases are left to be examined."""
        return bool(self.ctx.waiting)

    def has_potential(self) -> bool:
        """Return whether a potential scans and relaxes, and not DFT."""
        return 'potential' in self.inputs

    def should_run_phonons(self) -> bool:
        """Return whether a phase of this level has no phonons yet; without `phonons.pw`, DFT's phases get none."""
        missing = [name for name in self.ctx.waiting if name not in self.ctx.phonons]
        if missing and not self.has_potential() and not self.inputs.phonons.get('pw'):
            self.report(f'no phonons of {", ".join(missing)}, as there is no `phonons.pw`')
            self.ctx.waiting = [name for name in self.ctx.waiting if name in self.ctx.phonons]
            return False
        return bool(missing)

    def run_phonons(self) -> Any:
        """Compute the phonons of phases of this level, in their own supercells; with DFT one phase at a time."""
        futures = {}
        missing = [name for name in self.ctx.waiting if name not in self.ctx.phonons]
        for name in missing[: self.inputs.max_concurrent.value if self.has_potential() else 1]:
            inputs = self.stage_inputs(PhononsWorkChain, 'phonons')
            inputs.update({port: self.inputs[port] for port in EVALUATION if port in self.inputs})
            inputs.update(structure=self.ctx.structures[name], symprec=self.ctx.symprec)
            if name != ROOT_PHASE:
                for port in ('supercell_matrix', 'relax', 'labels'):
                    inputs.pop(port, None)
                inputs.settings = functions.without_relaxation(inputs.settings)
            futures[f'phonons_{name}'] = self.launch(PhononsWorkChain, inputs, f'phonons_{name}')
        return ToContext(**futures)

    def inspect_phonons(self) -> ExitCode | None:
        """Take over the phonons; a child that has none is told of and not followed."""
        followed = []
        for name in self.ctx.waiting:
            node = self.ctx.get(f'phonons_{name}')
            if node is None or name in self.ctx.phonons:
                followed.append(name)
                continue
            if not node.is_finished_ok:
                if name == ROOT_PHASE:
                    return self.fail('ERROR_PHONONS_FAILED', node)
                self.report(f'no phonons of {name}, see {failure_of(node)}')
                continue
            followed.append(name)
            self.ctx.phonons[name] = node.outputs.phonopy_data
            if name == ROOT_PHASE and 'relaxed_structure' in node.outputs:
                self.ctx.structures[ROOT_PHASE] = node.outputs.relaxed_structure
            for output in ('phonopy_data', 'bands', 'stability'):
                self.out(f'{output}.{name}', node.outputs[output])
            self.ctx.levels[f'stability_{name}'] = node.outputs.stability
        self.ctx.waiting = followed
        return None

    def should_run_modes(self) -> bool:
        """Return whether the instabilities of this level are followed; those of the last one are only told."""
        if self.ctx.waiting and self.ctx.level < self.get_setting('max_depth'):
            return True
        self.ctx.waiting = []
        return False

    def run_modes(self) -> Any:
        """Find the imaginary modes of all phases of this level."""
        inputs = self.stage_inputs(ModesCalculation, 'modes')
        inputs.code = self.inputs.get('postprocess_code', self.inputs.get('python_code'))
        inputs.settings = functions.mode_settings(self.inputs.settings, self.ctx.symprec)
        inputs.parents = {name: self.ctx.phonons[name] for name in self.ctx.waiting}
        return ToContext(modes=self.launch(ModesCalculation, inputs, f'modes_{self.ctx.level}'))

    def inspect_modes(self) -> ExitCode | None:
        """Say what is unstable."""
        node = self.ctx.modes
        if 'modes' in node.outputs:
            self.out(f'modes.level_{self.ctx.level}', node.outputs.modes)
        if not node.is_finished_ok:
            return self.fail('ERROR_MODES_FAILED', node)
        for name, verdict in node.outputs.modes['parents'].items():
            found = [
                f'{mode["frequency_thz"]:.2f} THz at {mode["qpoint_name"] or mode["qpoint_text"]} {mode["irrep"]}'
                for mode in verdict['modes']
            ]
            self.report(f'{name}: ' + (f'unstable: {", ".join(found)}' if found else 'no imaginary mode'))
        return None

    def should_run_scan(self) -> bool:
        """Return whether there is a mode to follow."""
        if self.ctx.modes.outputs.modes['entries']:
            return True
        self.ctx.waiting = []
        return False

    def run_scan(self) -> Any:
        """Evaluate the energy along all modes."""
        inputs = self.stage_inputs(ScanCalculation, 'scan')
        inputs.update(code=self.inputs.python_code, potential=self.inputs.potential)
        inputs.frames = self.ctx.modes.outputs.frames
        return ToContext(scan=self.launch(ScanCalculation, inputs, f'scan_{self.ctx.level}'))

    def inspect_scan(self) -> ExitCode | None:
        """Take over the energies."""
        node = self.ctx.scan
        if 'scan' in node.outputs:
            self.out(f'scan.level_{self.ctx.level}', node.outputs.scan)
        if not node.is_finished_ok:
            return self.fail('ERROR_SCAN_FAILED', node)
        self.ctx.energies = node.outputs.scan
        return None

    def fit_wells(self) -> None:
        """Fit the double wells."""
        modes = self.ctx.modes.outputs
        fitted = functions.fit_wells(modes.modes, modes.frames, self.ctx.energies, self.inputs.settings)
        self.ctx.wells, self.ctx.starts = fitted['wells'], fitted['starts']
        self.out(f'wells.level_{self.ctx.level}', self.ctx.wells)

    def should_run_relax(self) -> bool:
        """Return whether any mode lowers the energy at all."""
        if len(self.ctx.starts.get_array('entry')):
            return True
        self.report('no imaginary mode is known to lower the energy: there is nothing to relax')
        self.ctx.waiting = []
        return False

    def run_relax(self) -> Any:
        """Relax the lowest structures of each side of each mode."""
        inputs = self.stage_inputs(RelaxPhasesCalculation, 'relax')
        inputs.update(code=self.inputs.python_code, potential=self.inputs.potential, frames=self.ctx.starts)
        inputs.settings = relax_settings(inputs.settings, self.ctx.symprec)
        return ToContext(relax=self.launch(RelaxPhasesCalculation, inputs, f'relax_{self.ctx.level}'))

    def inspect_relax(self) -> ExitCode | None:
        """Take over the relaxed structures."""
        node = self.ctx.relax
        if 'relaxed' in node.outputs:
            self.out(f'relaxed.level_{self.ctx.level}', node.outputs.relaxed)
        if not node.is_finished_ok:
            return self.fail('ERROR_RELAXATION_FAILED', node)
        self.ctx.relaxed = node.outputs.relaxed
        return None

    def collect_phases(self) -> None:
        """Collect the new phases: they are the next level."""
        level = self.ctx.level
        found = functions.collect_phases(
            self.ctx.modes.outputs.modes,
            self.ctx.wells,
            self.ctx.starts,
            self.ctx.relaxed,
            self.inputs.settings,
            **self.ctx.structures,
        )
        self.ctx.levels[f'summary_{level}'] = found.pop('summary')
        self.ctx.waiting = sorted(found, key=lambda name: int(name.rsplit('_', 1)[1]))
        for name in self.ctx.waiting:
            self.ctx.structures[name] = found[name]
            self.out(f'phases.{name}', found[name])
        self.report(f'level {level}: {len(found)} new phase(s)')
        self.ctx.level += 1

    def results(self) -> ExitCode | None:
        """Put the tree together; then tell of DFT that failed."""
        structures = {f'structure_{name}': node for name, node in self.ctx.structures.items()}
        tree = functions.gather_tree(self.inputs.settings, **structures, **self.ctx.levels)
        self.out('tree', tree)
        self.out(f'phases.{ROOT_PHASE}', self.ctx.structures[ROOT_PHASE])
        for name, phase in tree['phases'].items():
            stable = {True: 'stable', False: 'unstable', None: 'not examined'}[phase['dynamically_stable']]
            below = phase['energy_below_root_mev_per_atom']
            self.report(f'{name}: {phase["formula"]} {phase["space_group"]}, {below:.2f} meV/atom below, {stable}')
        if self.ctx.failed_dft_relax:
            failed = self.ctx.failed_dft_relax
            return self.fail('ERROR_DFT_RELAXATION_FAILED', failed[0], failed=len(failed))
        failed = self.ctx.failed_dft
        return self.fail('ERROR_DFT_FAILED', failed[0], failed=len(failed)) if failed else None

    def get_setting(self, key: str) -> Any:
        """Return a value of ``settings``, or its default."""
        return with_defaults(dict(self.inputs.settings), SETTINGS)[key]
