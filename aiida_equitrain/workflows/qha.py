"""The quasi-harmonic approximation with a potential, in two of its jobs whatever the number of volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder, ToContext
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions import phonons as phonon_functions
from aiida_equitrain.calculations.functions import qha as functions
from aiida_equitrain.calculations.qha import MIN_VOLUMES, QHACalculation, qha_settings_problem
from aiida_equitrain.calculations.relax import RelaxCalculation, volumes_problem
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import settings_help, settings_problem
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.base import EquitrainProtocolMixin, StagedWorkChain
from aiida_equitrain.workflows.checks import symprec_problem, validate_positive, validate_supercell_matrix
from aiida_equitrain.workflows.options import set_options, take_options
from aiida_equitrain.workflows.phonons import checks

#: Fractional coordinates that differ by less are those of one site of a crystal.
SAME_SITE = 0.02


def validate_settings(value: orm.Dict, _: Any = None) -> str | None:
    """Return a sentence if a key of ``settings`` is unknown or its value is wrong."""
    given = dict(value)
    problem = settings_problem(given, functions.VOLUME_SETTINGS) or qha_settings_problem(given)
    factors = given.get('volume_factors', functions.VOLUME_SETTINGS['volume_factors'].default)
    problem = problem or volumes_problem(factors)
    if problem is None and len(set(factors)) < MIN_VOLUMES:
        return f'`settings.volume_factors` needs at least {MIN_VOLUMES} different volumes for the equation of state.'
    if problem is None and not min(factors) < 1.0 < max(factors):
        return f'`settings.volume_factors` must lie on both sides of 1, the relaxed volume, not {factors}.'
    return problem


def validate_inputs(inputs: Any, ctx: Any = None) -> str | None:
    """Return a sentence about what only all inputs together tell."""
    if ctx is not None and any(name not in ctx for name in ('structure', 'potential', 'python_code')):
        return None
    if inputs['potential'].family != 'mace' and 'postprocess_code' not in inputs:
        return 'give a `postprocess_code`, a Python with phonopy: that of SevenNet has none.'
    return (
        checks.cell_problem(inputs)
        or symprec_problem(inputs, inputs['symprec'].value, 'potential_relax')
        or change_problem(inputs)
        or checks.codes_problem(inputs)
    )


def validate_change(value: orm.ArrayData | None, _: Any = None) -> str | None:
    """Return a sentence if an array of the change of force constants is missing."""
    missing = [] if value is None else sorted({'change', 'numbers', 'scaled_positions'} - set(value.get_arraynames()))
    return f'`change` lacks the array(s) {", ".join(missing)}.' if missing else None


def change_problem(inputs: Any) -> str | None:
    """Return a sentence if the change of force constants is not of the supercell of all volumes."""
    if 'change' not in inputs:
        return None
    if 'supercell_matrix' not in inputs:
        return '`change` is of one supercell: give it as `supercell_matrix`.'
    here = functions.supercell_of(inputs['structure'], inputs['supercell_matrix'].get_list())
    there = {name: inputs['change'].get_array(name) for name in ('numbers', 'scaled_positions')}
    if here['numbers'].tolist() == there['numbers'].tolist():
        apart = here['scaled_positions'] - there['scaled_positions']
        if np.abs(apart - np.round(apart)).max() < SAME_SITE:
            return None
    return (
        '`change` is of another supercell, or its atoms stand in another order: give the `structure` and the '
        '`supercell_matrix` of the phonons that it comes from.'
    )


class QHAWorkChain(EquitrainProtocolMixin, StagedWorkChain):
    """Relax at several volumes, displace all of their supercells, and fit the free energies.

    The potential takes two jobs (relaxations, forces), the fit a third.
    """

    PROTOCOL = 'qha'
    TABLES = {
        'settings': functions.VOLUME_SETTINGS,
        'potential_relax.settings': RelaxCalculation.SETTINGS,
        'potential_forces.settings': ForcesCalculation.SETTINGS,
    }

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare ports, outline and exit codes."""
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData, help='The crystal; it is relaxed first.')
        spec.input('potential', valid_type=PotentialData, help='The potential.')
        spec.input('python_code', valid_type=orm.AbstractCode, help='A Python for the `potential`.')
        spec.input('postprocess_code', valid_type=orm.AbstractCode, required=False,
                   help='A Python with phonopy, if `python_code` has none (that of SevenNet).')  # fmt: skip
        spec.input('supercell_matrix', valid_type=orm.List, required=False, validator=validate_supercell_matrix,
                   help='Of the phonons at all volumes, rows as in `equitrain.phonons`.')  # fmt: skip
        spec.input('displacement', valid_type=orm.Dict, default=lambda: orm.Dict(checks.DISPLACEMENT),
                   validator=checks.validate_displacement, help='As in `equitrain.phonons`.')  # fmt: skip
        spec.input('change', valid_type=orm.ArrayData, required=False, validator=validate_change,
                   help='`change` of phonons of this crystal that labels have corrected (`equitrain.phonons`): it is '
                   'added to the force constants at all volumes, as the labels are of one.')  # fmt: skip
        spec.input('settings', valid_type=orm.Dict, default=lambda: orm.Dict({}), validator=validate_settings,
                   help=settings_help(functions.VOLUME_SETTINGS))  # fmt: skip
        spec.input('symprec', valid_type=orm.Float, default=lambda: orm.Float(SYMPREC), validator=validate_positive,
                   help='Tolerance of the space group, Å, of all stages.')  # fmt: skip
        spec.input('max_atoms', valid_type=orm.Int, default=lambda: orm.Int(1000), validator=validate_positive)
        for process, namespace, hidden in (
            (RelaxCalculation, 'potential_relax', ('code', 'potential', 'structure', 'frames')),
            (ForcesCalculation, 'potential_forces', ('code', 'potential', 'frames', 'supercell')),
            (QHACalculation, 'qha', ('code', 'phonons', 'energies', 'settings')),
        ):
            spec.expose_inputs(process, namespace=namespace, exclude=hidden, namespace_options={'validator': None})
        spec.inputs.validator = validate_inputs

        step: Any = cls  # AiiDA takes steps of the base class only
        spec.outline(
            step.setup,
            step.run_relax,
            step.inspect_relax,
            step.run_forces,
            step.inspect_forces,
            step.run_qha,
            step.inspect_qha,
        )

        spec.output('relaxed_structure', valid_type=orm.StructureData, required=False, help='Without vibrations.')
        spec.output('energies', valid_type=orm.ArrayData, required=False, help='`energies` (V,) eV, `volumes` (V,) Å³.')
        spec.output_namespace('structures', valid_type=orm.StructureData, dynamic=True, required=False,
                              help='Relaxed at each volume.')  # fmt: skip
        spec.output_namespace('phonopy_data', valid_type=PhonopyData, dynamic=True, required=False,
                              help='Phonons at each volume.')  # fmt: skip
        spec.expose_outputs(QHACalculation, include=('qha', 'curves', 'gruneisen'))
        for status, label, what in (
            (401, 'ERROR_RELAXATION_FAILED', 'The relaxation'),
            (402, 'ERROR_FORCES_FAILED', 'The evaluation of forces'),
            (403, 'ERROR_QHA_FAILED', 'The post-processing'),
        ):
            spec.exit_code(status, label, message=f'{what} failed, see {{process}}: {{message}}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        structure: orm.StructureData,
        potential: PotentialData,
        python_code: orm.AbstractCode,
        *,
        postprocess_code: orm.AbstractCode | None = None,
        supercell_matrix: list[list[int]] | None = None,
        change: orm.ArrayData | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with all inputs of a protocol.

        :param postprocess_code: a Python with phonopy, if that of the potential has none (SevenNet's).
        :param supercell_matrix: rows of the supercell; otherwise chosen by the shortest edge of the protocol.
        :param change: of corrected phonons of ``structure`` with this ``supercell_matrix``.
        :param protocol: ``fast``, ``balanced`` (default), ``stringent`` or ``paper``.
        :param overrides: nested as the inputs; unknown keys are refused.
        :param options: ``metadata.options`` of all jobs.
        :raises ValueError: if an override is unknown.
        """
        overrides, options = take_options(overrides, options)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        builder = cls.get_builder()
        builder.structure, builder.potential, builder.python_code = structure, potential, python_code
        if postprocess_code is not None:
            builder.postprocess_code = postprocess_code
        matrix = inputs.get('supercell_matrix') if supercell_matrix is None else supercell_matrix
        if matrix is not None:
            builder.supercell_matrix = orm.List([list(row) for row in matrix])
        if change is not None:
            builder.change = change
        builder.settings = orm.Dict(inputs['settings'])
        builder.displacement = orm.Dict(inputs['displacement'])
        builder.symprec, builder.max_atoms = orm.Float(inputs['symprec']), orm.Int(inputs['max_atoms'])
        for name in ('potential_relax', 'potential_forces'):
            getattr(builder, name).settings = orm.Dict(inputs[name]['settings'])
        return set_options(builder, overrides, options)

    def setup(self) -> None:
        """Choose the supercell of all volumes, by the structure as it was given."""
        self.ctx.structure = self.right_handed(self.inputs.structure)
        self.ctx.supercell_matrix = self.inputs.get('supercell_matrix')
        if self.ctx.supercell_matrix is None:
            self.ctx.supercell_matrix = functions.choose_supercell(
                self.ctx.structure, self.inputs.settings, self.inputs.symprec
            )
        self.hint_symmetry(self.ctx.supercell_matrix)

    def run_relax(self) -> Any:
        """Relax, and relax again at each volume, in one job."""
        inputs = self.stage_inputs(RelaxCalculation, 'potential_relax')
        inputs.update(code=self.inputs.python_code, potential=self.inputs.potential, structure=self.ctx.structure)
        inputs.settings = functions.relax_settings(inputs.settings, self.inputs.settings, self.inputs.symprec)
        return ToContext(relax=self.launch(RelaxCalculation, inputs, 'relax'))

    def inspect_relax(self) -> ExitCode | None:
        """Displace the supercells of all volumes."""
        node = self.ctx.relax
        if 'relaxed_structure' in node.outputs:
            self.out('relaxed_structure', node.outputs.relaxed_structure)
        if not node.is_finished_ok:
            return self.fail('ERROR_RELAXATION_FAILED', node)
        found = functions.volume_structures(self.ctx.structure, node.outputs.trajectory)
        self.ctx.energies = found.pop('energies')
        self.out('energies', self.ctx.energies)
        self.ctx.volumes = {}
        structures: dict[str, Any] = dict(sorted(found.items()))
        for name, structure in structures.items():
            self.out(f'structures.{name}', structure)
            self.ctx.volumes[name] = phonon_functions.preprocess(
                structure, self.ctx.supercell_matrix, self.inputs.displacement, self.inputs.symprec
            )
        self.ctx.frames = functions.gather_displaced(**self.ctx.volumes)
        return None

    def run_forces(self) -> Any:
        """Evaluate the displaced supercells of all volumes in one job."""
        inputs = self.stage_inputs(ForcesCalculation, 'potential_forces')
        inputs.update(code=self.inputs.python_code, potential=self.inputs.potential, frames=self.ctx.frames)
        return ToContext(forces=self.launch(ForcesCalculation, inputs, 'forces'))

    def inspect_forces(self) -> ExitCode | None:
        """Collect the phonons of each volume."""
        node = self.ctx.forces
        if not node.is_finished_ok:
            return self.fail('ERROR_FORCES_FAILED', node)
        given = {'change': self.inputs.change} if 'change' in self.inputs else {}
        self.ctx.phonons = functions.split_forces(self.ctx.frames, node.outputs.forces, **given, **self.ctx.volumes)
        for name, phonons in self.ctx.phonons.items():
            self.out(f'phonopy_data.{name}', phonons)
        return None

    def run_qha(self) -> Any:
        """Fit the free energies."""
        inputs = self.stage_inputs(QHACalculation, 'qha')
        inputs.code = self.inputs.get('postprocess_code', self.inputs.python_code)
        inputs.update(phonons=dict(self.ctx.phonons), energies=self.ctx.energies)
        inputs.settings = functions.qha_settings(self.inputs.settings)
        return ToContext(qha=self.launch(QHACalculation, inputs, 'qha'))

    def inspect_qha(self) -> ExitCode | None:
        """Attach the results."""
        node = self.ctx.qha
        self.out_many(self.exposed_outputs(node, QHACalculation))
        if not node.is_finished_ok:
            return self.fail('ERROR_QHA_FAILED', node)
        facts = node.outputs.qha
        expansion = 1e6 * facts['linear_thermal_expansion_per_k']
        self.report(
            f'{facts["temperature_k"]:g} K: linear expansion {expansion:.2f}e-6 per K, bulk modulus '
            f'{facts["bulk_modulus_gpa"]:.1f} GPa, Grüneisen parameter {facts["thermal_gruneisen_parameter"]:.2f}'
        )
        return None
