"""Lattice thermal conductivity with a potential: relaxation, third-order forces, phono3py."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder, ToContext, if_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.calculations.arrays import isotopes_of, validate_phonons
from aiida_equitrain.calculations.conductivity import (
    ConductivityCalculation,
    ThirdOrderCalculation,
    conductivity_settings_problem,
)
from aiida_equitrain.calculations.functions import kappa as functions
from aiida_equitrain.calculations.functions.phonons import relax_settings
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import settings_help, settings_problem, with_defaults
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.base import EquitrainProtocolMixin, StagedWorkChain
from aiida_equitrain.workflows.checks import (
    kinds_problem,
    structure_problem,
    symprec_problem,
    validate_positive,
    validate_supercell_matrix,
)
from aiida_equitrain.workflows.options import set_options, take_options
from aiida_equitrain.workflows.phonons import checks

MATRICES = ('supercell_matrix', 'phonon_supercell_matrix')


def validate_settings(value: orm.Dict, _: Any = None) -> str | None:
    """Return a sentence if a key of ``settings`` is unknown or its value is wrong."""
    return settings_problem(dict(value), functions.KAPPA_SETTINGS) or conductivity_settings_problem(dict(value))


def validate_inputs(inputs: Any, ctx: Any = None) -> str | None:
    """Return a sentence about what only all inputs together tell."""
    if ctx is not None and any(name not in ctx for name in ('structure', 'potential', 'python_code')):
        return None
    if ('structure' in inputs) == ('phonopy_data' in inputs):
        return 'give either `structure` or `phonopy_data`' + (', not both.' if 'structure' in inputs else '.')
    if 'phonopy_data' in inputs:
        given = [name for name in ('phonon_supercell_matrix', 'nac') if name in inputs]
        if given:
            return f'`{given[0]}` is that of `phonopy_data`: leave it out.'
        known = functions.crystal_of(inputs['phonopy_data'])
        inputs = {**inputs, 'structure': known['structure'], MATRICES[1]: known['supercell_matrix']}
    structure, settings, symprec = inputs['structure'], dict(inputs['settings']), inputs['symprec'].value
    problem = (
        kinds_problem(structure, may_have_u=True)
        or _isotopes_problem(structure, settings)
        or structure_problem(structure)
        or symprec_problem(inputs, symprec, 'potential_relax', 'third_order')
    )
    if problem:
        return problem
    for name in MATRICES:
        rows = (
            inputs[name].get_list()
            if name in inputs
            else functions.supercell_rows_of(structure, settings, name, symprec)
        )
        problem = structure_problem(structure, inputs['potential'].elements, inputs['max_atoms'].value, rows)
        if problem:
            return f'`{name}`: {problem}' if name in inputs else problem
    return checks.nac_problem(inputs) or checks.codes_problem(inputs)


def _isotopes_problem(structure: orm.StructureData, settings: dict[str, Any]) -> str | None:
    """Return a sentence if phono3py would take isotopes for the natural mixture of theirs."""
    isotopes = isotopes_of(structure)
    if not isotopes or not settings.get('isotopes', functions.KAPPA_SETTINGS['isotopes'].default):
        return None
    return (
        f'`settings.isotopes` is the scattering by the natural mixture of isotopes, but {", ".join(isotopes)} of '
        '`structure` has a mass of its own: set it to false.'
    )


class KappaWorkChain(EquitrainProtocolMixin, StagedWorkChain):
    """Relax, evaluate all supercells with displaced pairs in one job, and solve for the conductivity in another."""

    PROTOCOL = 'kappa'
    TABLES = {
        'settings': functions.KAPPA_SETTINGS,
        'potential_relax.settings': RelaxCalculation.SETTINGS,
        'third_order.settings': ThirdOrderCalculation.SETTINGS,
    }

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData, required=False,
                   help='The crystal; or give `phonopy_data`.')  # fmt: skip
        spec.input('phonopy_data', valid_type=PhonopyData, required=False,
                   validator=partial(validate_phonons, name='phonopy_data'),
                   help='Phonons that exist, such as corrected ones: their force constants are those of second order, '
                   'their cell, which is not relaxed, is that of the crystal.')  # fmt: skip
        spec.input('potential', valid_type=PotentialData, help='The potential.')
        spec.input('python_code', valid_type=orm.AbstractCode, help='A Python for the `potential`, with phono3py.')
        spec.input('postprocess_code', valid_type=orm.AbstractCode, required=False,
                   help='A Python with phono3py for the conductivity itself; by default `python_code`.')  # fmt: skip
        for name, order in zip(MATRICES, ('third', 'second'), strict=True):
            spec.input(name, valid_type=orm.List, required=False, validator=validate_supercell_matrix,
                       help=f'Rows of the supercell of force constants of {order} order; else by length.')  # fmt: skip
        spec.input('nac', valid_type=orm.ArrayData, required=False, help='As in `equitrain.phonons`.')
        spec.input('reference', valid_type=orm.ArrayData, required=False,
                   help='`modes` of another conductivity on the same mesh, for the errors.')  # fmt: skip
        spec.input('settings', valid_type=orm.Dict, default=lambda: orm.Dict({}), validator=validate_settings,
                   help=settings_help(functions.KAPPA_SETTINGS))  # fmt: skip
        spec.input('symprec', valid_type=orm.Float, default=lambda: orm.Float(SYMPREC), validator=validate_positive,
                   help='Tolerance of the space group, Å, of all stages.')  # fmt: skip
        spec.input('max_atoms', valid_type=orm.Int, default=lambda: orm.Int(1000), validator=validate_positive)
        for process, namespace, hidden in (
            (RelaxCalculation, 'potential_relax', ('code', 'potential', 'structure', 'frames')),
            (ThirdOrderCalculation, 'third_order', ('code', 'potential', 'structure', *MATRICES)),
            (
                ConductivityCalculation,
                'conductivity',
                ('code', 'phono3py_params', 'phonopy_data', 'nac', 'reference', 'settings'),
            ),
        ):
            spec.expose_inputs(process, namespace=namespace, exclude=hidden, namespace_options={'validator': None})
        spec.inputs.validator = validate_inputs

        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            if_(step.should_run_relax)(step.run_relax, step.inspect_relax),
            step.run_third_order,
            step.inspect_third_order,
            step.run_conductivity,
            step.inspect_conductivity,
        )

        spec.output('relaxed_structure', valid_type=orm.StructureData, required=False, help='Absent if not relaxed.')
        spec.expose_outputs(ThirdOrderCalculation, include=('phono3py_params',))
        spec.expose_outputs(ConductivityCalculation, include=('kappa', 'modes'))
        for status, label, what in (
            (401, 'ERROR_RELAXATION_FAILED', 'The relaxation of `structure`'),
            (402, 'ERROR_FORCES_FAILED', 'The evaluation of third-order forces'),
            (403, 'ERROR_CONDUCTIVITY_FAILED', 'The conductivity'),
        ):
            spec.exit_code(status, label, message=f'{what} failed, see {{process}}: {{message}}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        structure: orm.StructureData | None,
        potential: PotentialData,
        python_code: orm.AbstractCode,
        *,
        phonopy_data: PhonopyData | None = None,
        postprocess_code: orm.AbstractCode | None = None,
        supercell_matrix: list[list[int]] | None = None,
        phonon_supercell_matrix: list[list[int]] | None = None,
        relax: bool = True,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with all inputs of a protocol.

        :param structure: the crystal; ``None`` with ``phonopy_data``, phonons that exist, such as corrected ones.
        :param supercell_matrix: rows of the supercell of third order, and ``phonon_supercell_matrix`` of second order;
            otherwise chosen by the shortest edges of the protocol.
        :param protocol: ``fast``, ``balanced`` (default), ``stringent`` or ``paper``.
        :param overrides: nested as the inputs; unknown keys are refused.
        :param options: ``metadata.options`` of all jobs.
        :raises ValueError: if an override is unknown.
        """
        overrides, options = take_options(overrides, options)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        builder = cls.get_builder()
        builder.potential, builder.python_code = potential, python_code
        for name, node in {'structure': structure, 'phonopy_data': phonopy_data}.items():
            if node is not None:
                builder[name] = node
        if postprocess_code is not None:
            builder.postprocess_code = postprocess_code
        for name, given in zip(MATRICES, (supercell_matrix, phonon_supercell_matrix), strict=True):
            rows = inputs.get(name) if given is None else given
            if rows is not None:
                builder[name] = orm.List([list(row) for row in rows])
        inputs['settings']['relax'] = bool(relax and inputs['settings'].get('relax', True))
        builder.settings = orm.Dict(inputs['settings'])
        builder.symprec, builder.max_atoms = orm.Float(inputs['symprec']), orm.Int(inputs['max_atoms'])
        for name in ('potential_relax', 'third_order'):
            getattr(builder, name).settings = orm.Dict(inputs[name]['settings'])
        return set_options(builder, overrides, options)

    def setup(self) -> None:
        """Choose the supercells."""
        known: dict[str, Any] = dict(self.inputs)
        if 'phonopy_data' in self.inputs:
            crystal = functions.crystal(self.inputs.phonopy_data)
            known |= {'structure': crystal['structure'], MATRICES[1]: crystal['supercell_matrix']}
        self.ctx.structure = self.right_handed(known['structure'])
        self.ctx.matrices = {
            name: known[name]
            if name in known
            else functions.choose_supercell(
                self.ctx.structure, self.inputs.settings, orm.Str(name), self.inputs.symprec
            )
            for name in MATRICES
        }
        self.hint_symmetry(self.ctx.matrices['phonon_supercell_matrix'])

    def should_run_relax(self) -> bool:
        """Return whether the structure is relaxed first."""
        return 'phonopy_data' not in self.inputs and bool(
            with_defaults(dict(self.inputs.settings), functions.KAPPA_SETTINGS)['relax']
        )

    def run_relax(self) -> Any:
        """Relax the structure."""
        inputs = self.stage_inputs(RelaxCalculation, 'potential_relax')
        inputs.update(code=self.inputs.python_code, potential=self.inputs.potential, structure=self.ctx.structure)
        inputs.settings = relax_settings(inputs.settings, self.inputs.symprec)
        return ToContext(relax=self.launch(RelaxCalculation, inputs, 'relax'))

    def inspect_relax(self) -> ExitCode | None:
        """Take over the relaxed structure."""
        node = self.ctx.relax
        if not node.is_finished_ok:
            return self.fail('ERROR_RELAXATION_FAILED', node)
        self.ctx.structure = node.outputs.relaxed_structure
        self.out('relaxed_structure', self.ctx.structure)
        return None

    def run_third_order(self) -> Any:
        """Evaluate all displaced supercells in one job."""
        inputs = self.stage_inputs(ThirdOrderCalculation, 'third_order')
        inputs.update(code=self.inputs.python_code, potential=self.inputs.potential, structure=self.ctx.structure)
        inputs.update(self.ctx.matrices)
        inputs.settings = relax_settings(inputs.settings, self.inputs.symprec)
        return ToContext(third_order=self.launch(ThirdOrderCalculation, inputs, 'third_order'))

    def inspect_third_order(self) -> ExitCode | None:
        """Attach the forces."""
        node = self.ctx.third_order
        self.out_many(self.exposed_outputs(node, ThirdOrderCalculation))
        return None if node.is_finished_ok else self.fail('ERROR_FORCES_FAILED', node)

    def run_conductivity(self) -> Any:
        """Solve for the conductivity."""
        inputs = self.stage_inputs(ConductivityCalculation, 'conductivity')
        inputs.code = self.inputs.get('postprocess_code', self.inputs.python_code)
        inputs.phono3py_params = self.ctx.third_order.outputs.phono3py_params
        inputs.settings = functions.conductivity_settings(self.inputs.settings, self.inputs.symprec)
        inputs.update({name: self.inputs[name] for name in ('nac', 'phonopy_data', 'reference') if name in self.inputs})
        return ToContext(conductivity=self.launch(ConductivityCalculation, inputs, 'conductivity'))

    def inspect_conductivity(self) -> ExitCode | None:
        """Attach the conductivity."""
        node = self.ctx.conductivity
        self.out_many(self.exposed_outputs(node, ConductivityCalculation))
        if not node.is_finished_ok:
            return self.fail('ERROR_CONDUCTIVITY_FAILED', node)
        for temperature, kappa in zip(*(node.outputs.kappa[key] for key in functions.REPORTED), strict=True):
            self.report(f'{temperature:g} K: {kappa:.3g} W/m/K')
        return None
