"""Ports and exit codes of the phonon WorkChain."""

from __future__ import annotations

from aiida import orm
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_phonopy.calculations.phonopy import PhonopyCalculation
from aiida_phonopy.data.phonopy import PhonopyData
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.correct import CorrectCalculation
from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions.phonons import PHONON_SETTINGS
from aiida_equitrain.calculations.harmonic import HarmonicCalculation
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import settings_help
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.born_charges import BornChargesWorkChain
from aiida_equitrain.workflows.checks import validate_positive, validate_supercell_matrix
from aiida_equitrain.workflows.phonons import checks

#: Outputs of the correction that are outputs of the whole.
CORRECTION_OUTPUTS = ('correction', 'change', 'posterior', 'error_bars')


def declare_inputs(spec: WorkChainSpec) -> None:
    """Declare what goes in, with the inputs of every job."""
    spec.input('structure', valid_type=orm.StructureData, help='The crystal, primitive or not.')
    spec.input('potential', valid_type=PotentialData, required=False, help='The potential; or give `pw`.')
    spec.input(
        'labels',
        valid_type=DatasetData,
        required=False,
        help='Labelled frames, by which the phonons of the `potential` are corrected, see `equitrain.correct`: all '
        'outputs are then those of the corrected phonons, in the cell of the frames, which is not relaxed.',
    )
    spec.input('python_code', valid_type=orm.AbstractCode, required=False, help='A Python for the `potential`.')
    spec.input('phonopy_code', valid_type=orm.AbstractCode, help='The `phonopy` command.')
    spec.input(
        'postprocess_code',
        valid_type=orm.AbstractCode,
        required=False,
        help='A Python with phonopy and seekpath for all that follows from phonons, in one job; by default the '
        '`python_code` of a MACE potential. Without one, `phonopy_code` gives bands, densities of states and thermal '
        'properties in two, and `properties`, `thermal`, `projected_dos` and `group_velocities` are left out.',
    )
    spec.input(
        'postprocess',
        valid_type=orm.Bool,
        required=False,
        help='`False` leaves all that one job of the `postprocess_code` would do to the caller, such as a comparison '
        'that does it in its own job: `harmonic_settings` are then an output, `bands` and what follows are not.',
    )
    spec.input(
        'supercell_matrix',
        valid_type=orm.List,
        required=False,
        validator=validate_supercell_matrix,
        help='Three rows of integers: the vectors of the supercell in units of those of `structure`. Without it, that '
        'of the `labels`, or the smallest nearly cubic supercell whose edges have `settings.min_length_angstrom`.',
    )
    spec.input(
        'displacement',
        valid_type=orm.Dict,
        default=lambda: orm.Dict(checks.DISPLACEMENT),
        validator=checks.validate_displacement,
        help='Arguments of phonopy: ' + ', '.join(f'`{key}`' for key in checks.DISPLACEMENT_KEYS) + '.',
    )
    spec.input(
        'settings',
        valid_type=orm.Dict,
        default=lambda: orm.Dict({}),
        validator=checks.validate_settings,
        help=settings_help(PHONON_SETTINGS),
    )
    spec.input(
        'nac',
        valid_type=orm.ArrayData,
        required=False,
        help='For the non-analytical term (Gonze and Lee) of a polar crystal: `born_charges` (n, 3, 3) in e, of the '
        'atoms of the primitive cell, and `dielectric` (3, 3), the high-frequency dielectric tensor. Potential and DFT '
        'compare alike only with the same ones.',
    )
    spec.input(
        'symprec',
        valid_type=orm.Float,
        default=lambda: orm.Float(SYMPREC),
        validator=validate_positive,
        help='Tolerance of the space group, Å, of all stages.',
    )
    spec.input('max_atoms', valid_type=orm.Int, default=lambda: orm.Int(1000), validator=validate_positive)
    spec.input(
        'max_concurrent',
        valid_type=orm.Int,
        default=lambda: orm.Int(4),
        validator=validate_positive,
        help='Largest number of DFT calculations at a time.',
    )
    optional = {'required': False, 'populate_defaults': False}
    spec.expose_inputs(
        BornChargesWorkChain,
        namespace='born_charges',
        exclude=('structure', 'symprec', 'clean_workdir'),
        namespace_options={**optional, 'help': 'In place of `nac`: compute it with pw.x and ph.x.', 'validator': None},
    )
    for process, namespace, hidden in (
        (RelaxCalculation, 'potential_relax', ('code', 'potential', 'structure', 'frames')),
        (RelaxCalculation, 'potential_elastic', ('code', 'potential', 'structure', 'frames')),
        (ForcesCalculation, 'potential_forces', ('code', 'potential', 'frames', 'supercell')),
        (CorrectCalculation, 'correct', ('code', 'potential_code', 'potential', 'phonopy_data', 'dataset')),
        (HarmonicCalculation, 'harmonic', ('code', 'phonopy_data')),
        (PhonopyCalculation, 'phonopy', ('code', 'parameters', 'phonopy_data', 'force_constants')),
        (PwBaseWorkChain, 'pw', ('pw.structure', 'pw.parent_folder', 'kpoints')),
        (PwRelaxWorkChain, 'relax', ('structure', 'base_init_relax')),
    ):
        spec.expose_inputs(process, namespace=namespace, exclude=hidden, namespace_options=dict(optional))
    spec.inputs.validator = checks.validate_inputs


def declare_outputs(spec: WorkChainSpec) -> None:
    """Declare what comes out, and how it can fail."""
    spec.output('supercell_matrix', valid_type=orm.List, required=False, help='The rows of the supercell.')
    spec.output('relaxed_structure', valid_type=orm.StructureData, required=False, help='Absent if not relaxed.')
    spec.output('forces', valid_type=orm.ArrayData, required=False, help='Of a potential, see `equitrain.forces`.')
    spec.output_namespace(
        'supercells_forces', valid_type=orm.TrajectoryData, dynamic=True, required=False, help='Of DFT.'
    )
    spec.output('phonopy_data', valid_type=PhonopyData, required=False, help='Displacements and forces.')
    spec.output('uncorrected', valid_type=PhonopyData, required=False, help='Of the potential alone, with `labels`.')
    spec.expose_outputs(CorrectCalculation, include=CORRECTION_OUTPUTS)
    spec.output('nac', valid_type=orm.ArrayData, required=False, help='Of `born_charges`.')
    spec.output(
        'harmonic_settings',
        valid_type=orm.Dict,
        required=False,
        help='For `equitrain.harmonic`, without `postprocess`.',
    )
    spec.output('force_constants', valid_type=orm.ArrayData, required=False, help='eV/Å², compact.')
    spec.output('bands', valid_type=orm.BandsData, required=False, help='THz, along the seekpath, with labels.')
    spec.output('total_dos', valid_type=orm.XyData, required=False, help='States per THz.')
    spec.output(
        'thermal_properties',
        valid_type=orm.XyData,
        required=False,
        help='Free energy (kJ/mol), entropy and heat capacity (J/K/mol), per mole of primitive cells.',
    )
    for name, kind, what in (
        (
            'properties',
            orm.Dict,
            'Numbers at one temperature, per cell and per formula unit; the sum rules; '
            'moduli from the long acoustic waves (GPa).',
        ),
        ('thermal', orm.ArrayData, 'Per cell and per formula unit over temperature, and mean square displacements.'),
        ('projected_dos', orm.ArrayData, 'States per THz of each atom of the primitive cell.'),
        ('group_velocities', orm.ArrayData, 'Along the path and on the mesh, THz Å.'),
    ):
        spec.output(name, valid_type=kind, required=False, help=f'{what} See `equitrain.harmonic`.')
    spec.output(
        'elastic',
        valid_type=orm.Dict,
        required=False,
        help='`elastic_tensor_gpa` (6, 6) in the Cartesian axes of the relaxed structure, bulk, shear and Young '
        'moduli, Debye temperature, Slack conductivity, ...',
    )
    spec.output(
        'stability',
        valid_type=orm.Dict,
        required=False,
        help='`lowest_frequency_thz` on mesh and path, `lowest_qpoint`, `dynamically_stable`, `tolerance_thz`, ...; of '
        'corrected phonons also `verdict` (`stable`, `unstable`, `undecided`) and `lowest_frequency_sigma_thz`.',
    )
    spec.exit_code(
        401, 'ERROR_RELAXATION_FAILED', message='The relaxation of `structure` failed, see {process}: {message}'
    )
    spec.exit_code(402, 'ERROR_FORCES_FAILED', message='The evaluation of forces failed, see {process}: {message}')
    spec.exit_code(
        403,
        'ERROR_DFT_FAILED',
        message='DFT failed for {failed} of {total} displaced supercells, see {process}: {message}',
    )
    spec.exit_code(404, 'ERROR_PHONOPY_FAILED', message='The post-processing failed, see {process}: {message}')
    spec.exit_code(407, 'ERROR_BORN_CHARGES_FAILED', message='The Born charges failed, see {process}: {message}')
    spec.exit_code(405, 'ERROR_HARMONIC_FAILED', message='The harmonic properties failed, see {process}: {message}')
    spec.exit_code(406, 'ERROR_ELASTIC_FAILED', message='The elastic tensor failed, see {process}: {message}')
    spec.exit_code(408, 'ERROR_CORRECTION_FAILED', message='The correction failed, see {process}: {message}')
    spec.exit_code(
        410,
        'ERROR_FORCES_NOT_FINITE',
        message='The forces on displaced supercells are not finite, see {process}: {message}',
    )
