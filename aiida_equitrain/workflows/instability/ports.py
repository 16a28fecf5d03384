"""Ports and exit codes of the WorkChain of instabilities."""

from __future__ import annotations

from aiida import orm
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_phonopy.data.phonopy import PhonopyData
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.arrays import validate_phonons
from aiida_equitrain.calculations.modes import ModesCalculation
from aiida_equitrain.calculations.scan import RelaxPhasesCalculation, ScanCalculation
from aiida_equitrain.common.settings import settings_help
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.checks import validate_positive
from aiida_equitrain.workflows.instability.checks import SETTINGS, validate_inputs, validate_settings
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain


def declare_inputs(spec: WorkChainSpec) -> None:
    """Declare what goes in."""
    spec.input('structure', valid_type=orm.StructureData, required=False, help='The parent; or give `phonopy_data`.')
    spec.input(
        'phonopy_data',
        valid_type=PhonopyData,
        required=False,
        validator=lambda value, _: validate_phonons(value, None, 'phonopy_data'),
        help='Phonons of the parent with forces, of the potential or of DFT: their modes are followed.',
    )
    spec.input('potential', valid_type=PotentialData, required=False,
               help='It scans and relaxes; or give `pw` and `pw_relax`: DFT finds the phases.')  # fmt: skip
    spec.input('python_code', valid_type=orm.AbstractCode, required=False, help='A Python for the `potential`.')
    spec.input(
        'postprocess_code',
        valid_type=orm.AbstractCode,
        required=False,
        help='A Python with phonopy, if there is no `python_code` or it has none (that of SevenNet).',
    )
    spec.input(
        'settings',
        valid_type=orm.Dict,
        default=lambda: orm.Dict({}),
        validator=validate_settings,
        help=settings_help(SETTINGS),
    )
    spec.expose_inputs(
        PhononsWorkChain,
        namespace='phonons',
        exclude=('structure', 'potential', 'python_code', 'postprocess_code', 'postprocess', 'clean_workdir'),
        namespace_options={'validator': None},
    )
    spec.expose_inputs(ModesCalculation, namespace='modes', exclude=('code', 'parents', 'settings'))
    hidden = ('code', 'potential', 'frames')
    spec.expose_inputs(ScanCalculation, namespace='scan', exclude=hidden)
    spec.expose_inputs(RelaxPhasesCalculation, namespace='relax', exclude=hidden)
    optional = {'required': False, 'populate_defaults': False}
    spec.expose_inputs(
        PwBaseWorkChain,
        namespace='pw',
        exclude=('pw.structure', 'pw.parent_folder', 'kpoints'),
        namespace_options={
            **optional,
            'help': 'DFT single points along the modes. With a `potential` they repeat its scans, and give its error.',
        },
    )
    spec.expose_inputs(
        PwRelaxWorkChain,
        namespace='pw_relax',
        exclude=('structure', 'base_init_relax'),
        namespace_options={**optional, 'help': 'DFT relaxations of the displaced structures, without a `potential`.'},
    )
    spec.input('dft_levels', valid_type=orm.Int, default=lambda: orm.Int(1), validator=validate_positive,
               help='Generations of phases whose scans by a `potential` are repeated with `pw`; 1: those of the '
                    'structure.')  # fmt: skip
    spec.input('max_concurrent', valid_type=orm.Int, default=lambda: orm.Int(4), validator=validate_positive,
               help='Largest number of DFT calculations at a time.')  # fmt: skip
    spec.inputs.validator = validate_inputs


def declare_outputs(spec: WorkChainSpec) -> None:
    """Declare what comes out, and how it can fail."""
    levels = {'dynamic': True, 'required': False}
    spec.output(
        'tree',
        valid_type=orm.Dict,
        required=False,
        help='`phases` by name (`root`, `phase_1`, ...): parent, the q-point, irrep and direction that led to it, '
        'space group, energy below parent and root (meV/atom), whether it is dynamically stable.',
    )
    spec.output_namespace('phases', valid_type=orm.StructureData,
                          help='The parent (`root`) and the new phases, as primitive cells.', **levels)  # fmt: skip
    spec.output_namespace('phonopy_data', valid_type=PhonopyData, help='Phonons by phase.', **levels)
    spec.output_namespace('bands', valid_type=orm.BandsData, help='THz, by phase.', **levels)
    spec.output_namespace('stability', valid_type=orm.Dict, help='By phase, see `equitrain.phonons`.', **levels)
    spec.output_namespace('modes', valid_type=orm.Dict, help='By level, see `ModesCalculation`.', **levels)
    spec.output_namespace('scan', valid_type=orm.ArrayData, help='Energies by level, of the directions.', **levels)
    spec.output_namespace(
        'wells',
        valid_type=orm.Dict,
        help='By level, for each direction: `energies_ev` over the amplitudes of `modes`, the fit, `minimum_angstrom`, '
        '`depth_ev` of the scanned cell, `depth_mev_per_atom`, `frequency_of_fit_thz`; nothing where too many points '
        'of DFT failed.',
        **levels,
    )
    spec.output_namespace(
        'dft',
        valid_type=orm.Dict,
        help='By level, for each direction: `energies_ev` of DFT, its fit, and `errors` of the `potential`.',
        **levels,
    )
    spec.output_namespace('relaxed', valid_type=orm.ArrayData, help='By level, every relaxation.', **levels)
    spec.exit_code(
        401,
        'ERROR_PHONONS_FAILED',
        message='The phonons of `structure` failed, see {process}: {message}',
    )
    spec.exit_code(402, 'ERROR_MODES_FAILED', message='The search for modes failed, see {process}: {message}')
    spec.exit_code(403, 'ERROR_SCAN_FAILED', message='The scan along the modes failed, see {process}: {message}')
    spec.exit_code(
        404,
        'ERROR_RELAXATION_FAILED',
        message='The relaxation along the modes failed, see {process}: {message}',
    )
    spec.exit_code(
        405,
        'ERROR_DFT_FAILED',
        message='{failed} DFT single point(s) along the modes failed, all else is there; see {process}: {message}',
    )
    spec.exit_code(
        406,
        'ERROR_DFT_RELAXATION_FAILED',
        message='{failed} DFT relaxation(s) of displaced structures failed, their phases are not known, all else is '
        'there; see {process}: {message}',
    )
