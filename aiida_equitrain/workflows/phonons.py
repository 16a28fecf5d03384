"""From a structure to its phonons, with a potential or with DFT."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, ToContext, if_, while_
from aiida_phonopy.calculations.phonopy import PhonopyCalculation
from aiida_phonopy.data.phonopy import PhonopyData
from aiida_quantumespresso.calculations.functions.create_kpoints_from_distance import create_kpoints_from_distance
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions import elastic
from aiida_equitrain.calculations.functions import phonons as functions
from aiida_equitrain.calculations.harmonic import HarmonicCalculation
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows import phonon_ports
from aiida_equitrain.workflows.common import serial_options
from aiida_equitrain.workflows.phonon_builder import fill_born_builder, fill_dft_builder, fill_potential_builder
from aiida_equitrain.workflows.phonon_dft import BornCharges, DftForces
from aiida_equitrain.workflows.protocols.base import EquitrainProtocolMixin

#: Outputs of the harmonic properties that are outputs of the whole.
HARMONIC_OUTPUTS = ('properties', 'thermal', 'projected_dos', 'group_velocities')


class PhononsWorkChain(EquitrainProtocolMixin, BornCharges, DftForces):
    """Relax a structure, displace its supercell, evaluate the forces, and post-process them with phonopy.

    The forces come from a potential (one job for all displacements) or from DFT (one ``PwBaseWorkChain`` for each).
    """

    PROTOCOLS = 'phonons'

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare ports, outline and exit codes."""
        super().define(spec)
        phonon_ports.declare_inputs(spec)

        step: Any = cls
        spec.outline(
            step.setup,
            if_(step.should_run_born_charges)(step.run_born_charges, step.inspect_born_charges),
            if_(step.should_run_relax)(step.run_relax, step.inspect_relax),
            step.run_displacements,
            if_(step.should_run_dft)(
                while_(step.should_run_dft_forces)(step.run_dft_forces, step.inspect_dft_forces),
                step.collect_dft_forces,
            ).else_(
                step.run_forces,
                step.inspect_forces,
            ),
            step.run_phonopy,
            step.inspect_phonopy,
            step.results,
            if_(step.should_run_elastic)(step.run_elastic, step.inspect_elastic),
            step.finish,
        )

        phonon_ports.declare_outputs(spec)

    @classmethod
    def get_builder_from_protocol(
        cls,
        structure: orm.StructureData,
        phonopy_code: orm.AbstractCode,
        *,
        potential: PotentialData | None = None,
        python_code: orm.AbstractCode | None = None,
        pw_code: orm.AbstractCode | None = None,
        born_pw_code: orm.AbstractCode | None = None,
        postprocess_code: orm.AbstractCode | None = None,
        ph_code: orm.AbstractCode | None = None,
        pseudo_family: str | None = None,
        electronic_type: str = 'insulator',
        relax: bool = True,
        supercell_matrix: list[list[int]] | orm.List | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> Any:
        """Return a builder with all inputs of a protocol.

        :param potential: the potential, with ``python_code``; or give ``pw_code`` with ``pseudo_family``.
        :param postprocess_code: a Python with phonopy, where there is no potential or that of SevenNet.
        :param ph_code: ``ph.x``: Born charges are computed by it and pw.x (``born_pw_code`` or ``pw_code``).
        :param pseudo_family: label of the pseudopotential family.
        :param electronic_type: of DFT: ``insulator`` (fixed occupations) or ``metal``.
        :param relax: whether cell and positions are relaxed first.
        :param supercell_matrix: rows of the supercell; otherwise chosen by the shortest edge of the protocol.
        :param protocol: ``fast``, ``balanced`` (default), ``stringent`` or ``paper``.
        :param overrides: nested as the inputs; unknown keys are refused.
        :param options: ``metadata.options`` of all jobs.
        :raises ValueError: if an override is unknown, or a pseudopotential is missing.
        """
        inputs = cls.get_protocol_inputs(protocol, overrides)
        builder: Any = cls.get_builder()
        builder.structure, builder.phonopy_code = structure, phonopy_code
        inputs['settings']['relax'] = bool(relax and inputs['settings'].get('relax', True))
        builder.settings = orm.Dict(inputs['settings'])  # type: ignore[no-untyped-call]
        builder.displacement = orm.Dict(inputs['displacement'])  # type: ignore[no-untyped-call]
        builder.symprec = orm.Float(inputs['symprec'])
        builder.max_atoms = orm.Int(inputs['max_atoms'])
        builder.max_concurrent = orm.Int(inputs['max_concurrent'])
        matrix = inputs.get('supercell_matrix') if supercell_matrix is None else supercell_matrix
        if matrix is not None:
            builder.supercell_matrix = matrix if isinstance(matrix, orm.List) else orm.List(np.array(matrix).tolist())
        if postprocess_code is not None:
            builder.postprocess_code = postprocess_code
        if options:
            builder.phonopy.metadata.options = serial_options(options)
            builder.harmonic.metadata.options = serial_options(options)
        if potential is not None:
            builder.potential, builder.python_code = potential, python_code
            fill_potential_builder(builder, inputs, options)
        if ph_code is not None:
            fill_born_builder(builder, inputs, born_pw_code or pw_code, ph_code, pseudo_family, protocol, options)
        if pw_code is not None:
            fill_dft_builder(builder, inputs, pw_code, pseudo_family, electronic_type, protocol, options)
        return builder

    def setup(self) -> None:
        """Choose the supercell, by the structure as it was given: all sources of forces then share it."""
        self.ctx.structure, self.ctx.symprec = self.right_handed(self.inputs.structure), self.inputs.symprec
        if 'supercell_matrix' in self.inputs:
            self.ctx.supercell_matrix = self.inputs.supercell_matrix
        else:
            self.ctx.supercell_matrix = functions.choose_supercell(
                self.ctx.structure, self.inputs.settings, self.inputs.symprec
            )
        self.hint_symmetry(self.inputs.symprec, self.ctx.supercell_matrix)
        self.out('supercell_matrix', self.ctx.supercell_matrix)

    def should_run_dft(self) -> bool:
        """Return whether the forces come from DFT."""
        return 'potential' not in self.inputs

    def should_run_relax(self) -> bool:
        """Return whether the structure is relaxed first."""
        if self.should_run_dft():
            return bool(self.inputs.get('relax'))
        return bool(self.get_setting('relax'))

    def run_relax(self) -> Any:
        """Relax the structure with what the forces come from."""
        if self.should_run_dft():
            process: Any = PwRelaxWorkChain
            inputs = self.stage_inputs(process, 'relax')
        else:
            process = RelaxCalculation
            inputs = self.stage_inputs(process, 'potential_relax')
            inputs.update(code=self.inputs.python_code, potential=self.inputs.potential)
            inputs.settings = functions.relax_settings(inputs.get('settings', orm.Dict({})), self.inputs.symprec)
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
        self.ctx.preprocess = functions.preprocess(
            self.ctx.structure, self.ctx.supercell_matrix, self.inputs.displacement, self.inputs.symprec
        )
        if self.should_run_dft():
            self.ctx.supercells = self.ctx.preprocess.calcfunctions.get_supercells_with_displacements()
            self.ctx.waiting = sorted(self.ctx.supercells)
            self.ctx.kpoints = create_kpoints_from_distance(
                self.ctx.supercells[self.ctx.waiting[0]],
                self.inputs.pw.kpoints_distance,
                self.inputs.pw.get('kpoints_force_parity', orm.Bool(False)),
            )
        else:
            self.ctx.displaced = functions.displaced_frames(self.ctx.preprocess)

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
        self.out('phonopy_data', self.ctx.phonopy_data)

    def run_phonopy(self) -> Any:
        """Post-process: phonopy does bands and density of states in one job, thermal properties in another."""
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
            inputs.parameters = orm.Dict({**tags, **common})  # type: ignore[no-untyped-call]
            futures[label] = self.launch(PhonopyCalculation, inputs, label)
        code = self.postprocess_code()
        if code is not None and self.get_setting('harmonic'):
            inputs = self.stage_inputs(HarmonicCalculation, 'harmonic')
            inputs.update(code=code, phonopy_data=self.ctx.phonopy_data)
            inputs.settings = functions.harmonic_settings(self.inputs.settings)
            futures['harmonic'] = self.launch(HarmonicCalculation, inputs, 'harmonic')
        return ToContext(**futures)

    def postprocess_code(self) -> Any:
        """Return a Python with phonopy, or ``None``: that of SevenNet has none."""
        potential = self.inputs.get('potential')
        of_potential = self.inputs.python_code if potential is not None and potential.family == 'mace' else None
        return self.inputs.get('postprocess_code', of_potential)

    def inspect_phonopy(self) -> ExitCode | None:
        """Attach bands, densities and thermal properties."""
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
        for name in HARMONIC_OUTPUTS:
            if 'harmonic' in self.ctx and name in self.ctx.harmonic.outputs:
                self.out(name, self.ctx.harmonic.outputs[name])
        failed = [node for node in (bands, thermal) if not node.is_finished_ok]
        return self.fail('ERROR_PHONOPY_FAILED', failed[0]) if failed else None

    def results(self) -> None:
        """Judge the stability."""
        mesh = self.ctx.phonopy_bands.outputs.qpoints_mesh
        verdict = functions.judge_stability(mesh, self.ctx.bands, self.ctx.phonopy_data, self.inputs.settings)
        self.out('stability', verdict)
        stable = 'dynamically stable' if verdict['dynamically_stable'] else 'dynamically unstable'
        self.report(f'{stable}: lowest frequency {verdict["lowest_frequency_thz"]:.3f} THz')

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
