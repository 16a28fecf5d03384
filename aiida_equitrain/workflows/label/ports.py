"""Ports of labelling."""

from __future__ import annotations

from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import (
    AbstractCode,
    Dict,
    Float,
    Int,
    List,
    Str,
    StructureData,
    TrajectoryData,
)
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.functions.label import HARMONIC, RATTLE, SELECTION
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import settings_help
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.checks import validate_positive, validate_supercell_matrix
from aiida_equitrain.workflows.label.checks import (
    validate_harmonic,
    validate_inputs,
    validate_rattle,
    validate_selection,
)


def declare(spec: WorkChainSpec) -> None:
    """Declare the ports that are the stage's own."""
    spec.input('structure', valid_type=StructureData, required=False, help='The crystal; not needed with `frames`.')
    spec.input('frames', valid_type=TrajectoryData, required=False, help='Your own frames, labelled as they are; an '
               'array `trajectory_index` may say which belong together.')  # fmt: skip
    spec.input('foundation', valid_type=PotentialData, help='Potential that relaxes the rattled supercells.')
    spec.input('python_code', valid_type=AbstractCode, help='A Python with MACE.')
    spec.input('postprocess_code', valid_type=AbstractCode, required=False,
               help='Python with phonopy, where `python_code` has none; for a `phonon_tolerance_thz`.')  # fmt: skip
    spec.input('functional', valid_type=Str, help='Exchange-correlation functional of the labels, such as `PBE`.')
    spec.input('supercell_matrix', valid_type=List, required=False, help='Three rows of three integers.')
    spec.input('rattle', valid_type=Dict, required=False, validator=validate_rattle,
               help='For frames of the recipe `paper`, which bend the potential. ' + settings_help(RATTLE))  # fmt: skip
    spec.input('harmonic', valid_type=Dict, required=False, validator=validate_harmonic,
               help='For frames of the recipe `harmonic`, which pin the phonons: the supercell that these have, '
               'unstrained, with small random displacements. ' + settings_help(HARMONIC))  # fmt: skip
    spec.input('phonon_supercell_matrix', valid_type=List, required=False, validator=validate_supercell_matrix,
               help='That supercell, three rows of three integers; without it from `harmonic.min_length_angstrom`, as '
               '`equitrain.phonons` chooses it.')  # fmt: skip
    options = {'required': False, 'populate_defaults': False, 'help': 'Relaxation of the primitive cell by DFT, for '
               '`harmonic.relax`.', 'validator': None}  # fmt: skip
    spec.expose_inputs(
        PwRelaxWorkChain, namespace='relax_dft', exclude=('structure', 'base_init_relax'), namespace_options=options
    )
    spec.input('selection', valid_type=Dict, validator=validate_selection, help=settings_help(SELECTION))
    spec.input('relax', valid_type=Dict, required=False, validator=RelaxCalculation.validate_settings,
               help='`settings` of the relaxations of the rattled supercells. By default their cells are fixed: '
               'the publication does not say, and so the volumes stay.')  # fmt: skip
    spec.input('relax_structure', valid_type=Dict, required=False, validator=RelaxCalculation.validate_settings,
               help='`settings` of a first relaxation of `structure` by the foundation; else none.')  # fmt: skip
    spec.input('options', valid_type=Dict, required=False, help='`metadata.options` of the Python jobs.')
    spec.input('seed', valid_type=Int, default=lambda: Int(1), help='Of displacements and of the split.')
    spec.input('symprec', valid_type=Float, default=lambda: Float(SYMPREC), validator=validate_positive,
               help='Tolerance of the space group, Å: of the supercell and of `relax_structure`.')  # fmt: skip
    spec.input('max_concurrent', valid_type=Int, default=lambda: Int(2), validator=validate_positive,
               help='pw.x calculations at a time.')  # fmt: skip
    spec.input('min_frames', valid_type=Int, default=lambda: Int(2), validator=validate_positive,
               help='Frames that have to remain when DFT of others fails.')  # fmt: skip
    spec.input('max_atoms', valid_type=Int, default=lambda: Int(250), validator=validate_positive,
               help='Largest supercell that is accepted.')  # fmt: skip
    spec.inputs.validator = validate_inputs
