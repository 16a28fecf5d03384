"""Correct the force constants of a potential by labelled frames of the same supercell, in one job."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida import orm
from aiida.common.datastructures import CalcInfo, CodeInfo, CodeRunMode
from aiida.common.folders import Folder
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from aiida_phonopy.data.phonopy import PhonopyData
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import phonopy_arrays, supercell_arrays, validate_phonons
from aiida_equitrain.calculations.evaluation import BATCH_SIZE, COMMON_SETTINGS, EvaluationCalculation
from aiida_equitrain.calculations.harmonic import THERMAL_SETTINGS, mesh_problem
from aiida_equitrain.calculations.script_job import Output
from aiida_equitrain.calculations.staging import module_of
from aiida_equitrain.common.names import Family, Role
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting
from aiida_equitrain.common.strategies import check_evaluation
from aiida_equitrain.common.validation import refuse_unknown
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.structures import check_elements
from aiida_equitrain.science.supercell_frames import OTHER_SUPERCELL, STRAIN_TOLERANCE

#: Settings of the correction that are those of phonons, or that decide which frames are used.
CORRECTION_SETTINGS = {
    'roles': Setting([Role.TRAIN.value, Role.VALID.value], 'frames that the fit uses'),
    'strain_tolerance': Setting(
        STRAIN_TOLERANCE,
        'largest relative difference of the cell of a frame from that of the phonons',
        minimum=0.0,
        maximum=OTHER_SUPERCELL,
    ),
    'max_displacement_angstrom': Setting(
        0.3, 'frames with an atom farther from its site are left out', minimum=0.0, exclusive=True
    ),
}


def correction_codes(
    potential: PotentialData, python_code: orm.AbstractCode, postprocess_code: orm.AbstractCode
) -> dict[str, orm.AbstractCode]:
    """Return the inputs ``code`` and ``potential_code`` of a correction.

    The Python of a MACE has phonopy too, so that one process does it all.

    :param python_code: Python of the potential.
    :param postprocess_code: a Python with phonopy and symfc.
    """
    if potential.family == Family.MACE.value or postprocess_code.uuid == python_code.uuid:
        return {'code': python_code}
    return {'code': postprocess_code, 'potential_code': python_code}


class CorrectCalculation(EvaluationCalculation):
    """Evaluate the potential on labelled frames, and add to its force constants what symfc fits to the difference."""

    DRIVER = 'correct'
    #: The half of the driver that runs the potential, where this has a Python of its own.
    FIRST_DRIVER = 'frame_forces'
    FRAMES, PHONONS = 'frames.npz', 'phonons.npz'
    FIRST_STDOUT, FIRST_STDERR = 'frame_forces.out', 'frame_forces.err'
    NEEDS = 'MACE (or whatever the potential needs), phonopy and symfc'
    CHECKED: ClassVar[tuple[str, ...]] = ('potential', 'phonopy_data', 'dataset')
    OUTPUTS = {
        'phonopy_data': Output(
            'forces.npz',
            'The corrected phonons: the displacements of the input with the forces -Φ·u that their force constants Φ '
            'give, so that whatever takes phonons takes these. Masses and Born charges are those of the input.',
            node=PhonopyData,
        ),
        'change': Output(
            'change.npz',
            '`change` (p, N, 3, 3), what was added to the compact force constants of the potential, and '
            '`force_constants`, the sum; `primitive_atoms` (p,), the atoms of the supercell that the rows are of; '
            '`numbers` (N,) and `scaled_positions` (N, 3) of the supercell. `equitrain.qha` takes it.',
            units={'force_constants': 'eV/Å²', 'change': 'eV/Å²'},
        ),
        'posterior': Output(
            'posterior.npz',
            '`covariance` (n, n) of the independent force constants, (eV/Å²)², and the sparse `map` (CSR) from these '
            'to the compact ones: error bars of anything linear follow from both.',
        ),
        'error_bars': Output(
            'error_bars.npz',
            'Standard deviations: `path_frequencies_thz` with `path_sigmas_thz`, the same of the `mesh`, beside '
            '`..._potential_thz`, the frequencies of the potential alone; heat capacity, entropy and free energy of '
            'one mole of primitive cells over `temperatures_k`, and `..._sigma`.',
        ),
        'correction': Output(
            'correction.json',
            'Frames used and left out by reason, equations, independent force constants, residual noise, errors of '
            'forces of frames that were left out of the fit and of the potential alone, the prior, the mean error bar '
            '`uncertainty_thz`, and the `verdict` on stability: `stable`, `unstable` or `undecided`.',
        ),
    }
    SETTINGS = (
        COMMON_SETTINGS
        | {'batch_size': BATCH_SIZE}
        | CORRECTION_SETTINGS
        | THERMAL_SETTINGS
        | shared('temperature_k', 'band_points')
    )
    FAILURES = EvaluationCalculation.FAILURES | {
        'no_frames': 'ERROR_NO_FRAMES',
        'too_many_constants': 'ERROR_TOO_MANY_CONSTANTS',
        'phonons_unusable': 'ERROR_PHONONS_UNUSABLE',
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and exit codes."""
        super().define(spec)
        spec.input(
            'potential_code',
            valid_type=orm.AbstractCode,
            required=False,
            help='A Python for the `potential` on the same computer, where that of `code` cannot run it (SevenNet).',
        )
        spec.input(
            'phonopy_data',
            valid_type=PhonopyData,
            validator=lambda value, _: validate_phonons(value, None, 'phonopy_data'),
            help='Phonons of the `potential`, in the cell of the frames: a supercell that is relaxed otherwise fits '
            'none of them (`equitrain.phonons` with `labels` sees to that).',
        )
        spec.input(
            'dataset',
            valid_type=DatasetData,
            help='Labelled frames. Those on the supercell of `phonopy_data`, unstrained, are used; also those with '
            'one displaced atom.',
        )
        spec.exit_code(
            411,
            'ERROR_NO_FRAMES',
            message='No frame of `dataset` can be used; label displaced supercells of the cell of `phonopy_data`: '
            '{message}',
        )
        spec.exit_code(412, 'ERROR_TOO_MANY_CONSTANTS', message='The fit would not fit into memory: {message}')
        spec.exit_code(
            413,
            'ERROR_PHONONS_UNUSABLE',
            message='No force constants follow from `phonopy_data`; compute it again: {message}',
        )

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, ctx: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        problem = super().validate_settings(value, ctx)
        if problem or value is None:
            return problem
        given = dict(value)
        problem = mesh_problem(given['mesh']) if 'mesh' in given else None
        return problem or refuse_unknown(given.get('roles', []), [role.value for role in Role], '`settings.roles`')

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if potential, phonons and frames are not of the same elements."""
        symbols = set(inputs['phonopy_data'].symbols)
        problem = check_elements(symbols, inputs['potential'].elements, 'phonopy_data')
        if problem:
            return problem
        if not symbols <= set(inputs['dataset'].elements):
            missing = ', '.join(sorted(symbols - set(inputs['dataset'].elements)))
            return f'`dataset` has no frame with {missing}, which is in `phonopy_data`: give frames of this crystal.'
        if 'potential_code' in inputs and inputs['potential_code'].computer.pk != inputs['code'].computer.pk:
            return '`potential_code` and `code` must be on the same computer: both are parts of one job.'
        settings = inputs['settings'].get_dict() if 'settings' in inputs else {}
        return check_evaluation(inputs['potential'].family, None, settings.get('batch_size'))

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        return {**super().get_job(), 'separate': 'potential_code' in self.inputs}

    def get_structures(self) -> dict[str, NDArray[Any]]:
        """Return the supercell."""
        return supercell_arrays(self.inputs.phonopy_data)

    def get_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the supercell and the phonons."""
        return {**super().get_arrays(), self.PHONONS: phonopy_arrays(self.inputs.phonopy_data)}

    def get_copies(self) -> list[tuple[str, str, str]]:
        """Return the files of the potential and of the dataset."""
        return [*super().get_copies(), *self.inputs.dataset.stage(self.FRAMES)]

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Let the Python of the potential run first, where it has one of its own."""
        calc_info = super().prepare_for_submission(folder)
        if 'potential_code' in self.inputs:
            first = CodeInfo()
            first.code_uuid = self.inputs.potential_code.uuid
            first.cmdline_params = ['-m', module_of(self.FIRST_DRIVER)]
            first.stdout_name, first.stderr_name = self.FIRST_STDOUT, self.FIRST_STDERR
            calc_info.codes_info = [first, *(calc_info.codes_info or [])]
            calc_info.codes_run_mode = CodeRunMode.SERIAL
            calc_info.retrieve_list = [*(calc_info.retrieve_list or []), self.FIRST_STDOUT, self.FIRST_STDERR]
        return calc_info
