"""Born effective charges and dielectric tensor with pw.x and ph.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder, ToContext, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_quantumespresso.common.types import ElectronicType
from aiida_quantumespresso.utils.mapping import prepare_process_inputs
from aiida_quantumespresso.workflows.ph.base import PhBaseWorkChain
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain

from aiida_equitrain.calculations.functions import born_charges as functions
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.science.phonopy_io import check_nac
from aiida_equitrain.workflows.base import EquitrainProtocolMixin, StagedWorkChain
from aiida_equitrain.workflows.checks import (
    code_problem,
    kinds_problem,
    pseudo_problem,
    same_physics_problem,
    structure_problem,
    validate_positive,
)
from aiida_equitrain.workflows.dft import PW_PROTOCOL, mpi_options, recommended_cutoffs
from aiida_equitrain.workflows.options import set_options, take_options

#: Keys of ``output_parameters`` of ph.x.
TENSORS = ('effective_charges_eu', 'dielectric_constant')


class BornChargesWorkChain(EquitrainProtocolMixin, StagedWorkChain):
    """Make the ``nac`` input of ``equitrain.phonons``: an scf of the primitive cell, and its response at Γ by ph.x."""

    PROTOCOL = 'born_charges'

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData, help='The crystal, an insulator.')
        spec.input('symprec', valid_type=orm.Float, default=lambda: orm.Float(SYMPREC), validator=validate_positive)
        spec.input('charge_tolerance', valid_type=orm.Float, default=lambda: orm.Float(0.1),
                   help='Largest sum of the Born charges over the atoms, e; more means too few k-points.')  # fmt: skip
        spec.expose_inputs(PwBaseWorkChain, namespace='scf', exclude=('pw.structure', 'pw.parent_folder', 'kpoints'))
        spec.expose_inputs(PhBaseWorkChain, namespace='ph', exclude=('ph.parent_folder', 'qpoints', 'qpoints_distance'))
        spec.inputs.validator = born_charges_problem
        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            while_(step.should_run)(step.run_scf, step.inspect_scf, step.run_ph, step.inspect_ph),
            step.results,
        )
        spec.output('primitive_structure', valid_type=orm.StructureData, required=False, help='What `nac` is of.')
        spec.output('nac', valid_type=orm.ArrayData, required=False,
                    help='`born_charges` (n, 3, 3), e, and `dielectric` (3, 3).')  # fmt: skip
        for status, label, what in (
            (401, 'ERROR_SCF_FAILED', 'The scf of the primitive cell'),
            (402, 'ERROR_PH_FAILED', 'The response to an electric field'),
        ):
            spec.exit_code(status, label, message=f'{what} failed, see {{process}}: {{message}}')
        spec.exit_code(403, 'ERROR_TENSORS_MISSING', message='{process} gave no dielectric tensor or Born charges.')
        spec.exit_code(
            410,
            'ERROR_TENSORS_UNUSABLE',
            message='Born charges and dielectric tensor are there but not converged; use a smaller '
            '`scf.kpoints_distance`: {message}',
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        structure: orm.StructureData,
        pw_code: orm.AbstractCode,
        ph_code: orm.AbstractCode,
        pseudo_family: str,
        *,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with all inputs of a protocol.

        :param pseudo_family: label of the pseudopotential family.
        :param protocol: ``fast``, ``balanced`` (default), ``stringent`` or ``paper``.
        :param overrides: nested as the inputs; unknown keys are refused.
        :param options: ``metadata.options`` of all jobs.
        :raises ValueError: if an override is unknown, or a pseudopotential is missing.
        """
        overrides, options = take_options(overrides, options)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        name = PW_PROTOCOL.get(protocol or 'balanced', 'balanced')
        system = inputs['scf'].get('pw', {}).get('parameters', {}).get('SYSTEM', {})
        cutoffs = recommended_cutoffs(pseudo_family, structure, inputs.get('cutoff_stringency'), system.get('ecutwfc'))
        scf = PwBaseWorkChain.get_builder_from_protocol(
            pw_code,
            structure,
            name,
            overrides=recursive_merge(
                {'pseudo_family': pseudo_family, 'pw': {'parameters': {'SYSTEM': cutoffs}}}, inputs['scf']
            ),
            electronic_type=ElectronicType.INSULATOR,
            options=mpi_options(pw_code),
        )
        scf.pw.pop('structure', None)
        ph = PhBaseWorkChain.get_builder_from_protocol(
            ph_code,
            protocol=name,
            overrides=inputs['ph'],
            electronic_type=ElectronicType.INSULATOR,
            options=mpi_options(ph_code),
        )
        for key in ('qpoints', 'qpoints_distance'):
            ph.pop(key, None)
        builder = cls.get_builder()
        builder.structure, builder.scf, builder.ph = structure, scf, ph
        builder.symprec, builder.charge_tolerance = (orm.Float(inputs[key]) for key in ('symprec', 'charge_tolerance'))
        return set_options(builder, overrides, options)

    def setup(self) -> None:
        """Make the primitive cell."""
        self.hint_symmetry()
        self.ctx.primitive = functions.primitive_cell(self.inputs.structure, self.inputs.symprec)
        self.out('primitive_structure', self.ctx.primitive)
        self.ctx.done = self.ctx.without_cache = False

    def should_run(self) -> bool:
        """Return whether the response is not known yet."""
        return not self.ctx.done

    def run_scf(self) -> Any:
        """Compute the ground state of the primitive cell."""
        inputs = self.stage_inputs(PwBaseWorkChain, 'scf')
        inputs.pw.structure = self.ctx.primitive
        if self.ctx.without_cache:
            inputs.pw.metadata = {**inputs.pw.get('metadata', {}), 'disable_cache': True}
        return ToContext(scf=self.launch(PwBaseWorkChain, prepare_process_inputs(PwBaseWorkChain, inputs), 'scf'))

    def inspect_scf(self) -> ExitCode | None:
        """Stop without a ground state."""
        return None if self.ctx.scf.is_finished_ok else self.fail('ERROR_SCF_FAILED', self.ctx.scf)

    def run_ph(self) -> Any:
        """Compute the response to an electric field."""
        inputs = self.stage_inputs(PhBaseWorkChain, 'ph')
        inputs.ph.parent_folder = self.ctx.scf.outputs.remote_folder
        inputs.qpoints = orm.KpointsData()
        inputs.qpoints.set_kpoints_mesh([1, 1, 1])
        return ToContext(ph=self.launch(PhBaseWorkChain, prepare_process_inputs(PhBaseWorkChain, inputs), 'ph'))

    def inspect_ph(self) -> ExitCode | None:
        """Stop without a response; where the scf came from the cache, its scratch folder may be gone: once more."""
        node = self.ctx.ph
        if not node.is_finished_ok:
            if self.ctx.without_cache or not from_cache(self.ctx.scf):
                return self.fail('ERROR_PH_FAILED', node)
            self.report(f'ph.x failed after an scf from the cache, whose files may be gone: {node.process_label}'
                        f'<{node.pk}>; the scf is run again')  # fmt: skip
            self.ctx.without_cache = True
            return None
        self.ctx.done = True
        return None

    def results(self) -> ExitCode | None:
        """Attach the tensors, and check them."""
        node = self.ctx.ph
        parameters = node.outputs.output_parameters
        if any(key not in parameters.get_dict() for key in TENSORS):
            return self.fail('ERROR_TENSORS_MISSING', node)
        nac = functions.collect_tensors(parameters)
        self.out('nac', nac)
        problem = check_nac(
            nac.get_array('born_charges'),
            nac.get_array('dielectric'),
            len(self.ctx.primitive.sites),
            self.inputs.charge_tolerance.value,
            port='charge_tolerance',
        )
        if problem:
            code: ExitCode = self.exit_codes.ERROR_TENSORS_UNUSABLE.format(message=problem)
            return code
        return None


def from_cache(work: orm.WorkChainNode) -> bool:
    """Return whether the last calculation of a WorkChain was taken from the cache."""
    jobs: list[Any] = [node for node in work.called if isinstance(node, orm.CalcJobNode)]
    return bool(jobs) and bool(max(jobs, key=lambda node: node.pk).base.caching.is_created_from_cache)


def fill_born_builder(
    builder: ProcessBuilder,
    inputs: dict[str, Any],
    pw_code: orm.AbstractCode | None,
    ph_code: orm.AbstractCode,
    pseudo_family: str | None,
    protocol: str | None,
    options: dict[str, Any] | None,
) -> None:
    """Set what Born charges need.

    :raises ValueError: if pw.x or the family is missing.
    """
    if pw_code is None or pseudo_family is None:
        raise ValueError('Born charges need `ph_code`, a code of pw.x and a `pseudo_family`')
    stage = BornChargesWorkChain.get_builder_from_protocol(
        builder['structure'],
        pw_code,
        ph_code,
        pseudo_family,
        protocol=protocol,
        overrides=inputs.get('born_charges'),
        options=options,
    )
    values = stage._inputs(prune=True)
    builder.born_charges = {name: values[name] for name in ('charge_tolerance', 'scf', 'ph')}


def born_charges_problem(inputs: Mapping[str, Any], ctx: Any = None) -> str | None:
    """Return a sentence if Born charges cannot be computed."""
    if ctx is not None and any(name not in ctx for name in ('structure', 'scf', 'ph')):
        return None
    structure, scf, ph = inputs['structure'], inputs['scf'], inputs['ph']
    occupations = scf['pw']['parameters'].get_dict().get('SYSTEM', {}).get('occupations', 'fixed')
    if occupations != 'fixed':
        return '`scf.pw.parameters`: Born charges are those of insulators; set `occupations` to `fixed`.'
    codes = {'scf.pw.code': scf['pw']['code'], 'ph.ph.code': ph['ph']['code']}
    problems = (code_problem(code, port) for port, code in codes.items())
    return (
        structure_problem(structure)
        or kinds_problem(structure)
        or same_physics_problem({'scf': scf})
        or pseudo_problem([kind.name for kind in structure.kinds], scf['pw'].get('pseudos'), 'scf.pw.pseudos')
        or next((problem for problem in problems if problem), None)
    )


class BornCharges(StagedWorkChain):
    """The part of a WorkChain that computes ``nac`` for its phonons, when the namespace ``born_charges`` is given."""

    def should_run_born_charges(self) -> bool:
        """Return whether Born charges are wanted."""
        return bool(self.inputs.get('born_charges'))

    def run_born_charges(self) -> Any:
        """Compute Born charges and dielectric tensor of the structure as it was given: all sides then share them."""
        inputs = self.stage_inputs(BornChargesWorkChain, 'born_charges')
        inputs.structure = self.inputs.structure
        inputs.symprec = self.ctx.symprec
        return ToContext(born_charges=self.launch(BornChargesWorkChain, inputs, 'born_charges'))

    def inspect_born_charges(self) -> ExitCode | None:
        """Take them over."""
        node = self.ctx.born_charges
        if 'nac' in node.outputs:
            self.ctx.nac = node.outputs.nac
            self.out('nac', self.ctx.nac)
        return None if node.is_finished_ok else self.fail('ERROR_BORN_CHARGES_FAILED', node)
