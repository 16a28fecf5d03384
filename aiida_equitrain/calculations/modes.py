"""Find imaginary modes, and displace supercells along them, in one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from aiida_phonopy.data.phonopy import PhonopyData
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import phonons_problem, phonopy_arrays
from aiida_equitrain.calculations.script_job import Output, ScriptCalculation
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting, settings_problem
from aiida_equitrain.science.soft_modes import commensurate_matrix

#: Amplitudes of the scan, Å.
AMPLITUDES = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6]

MODE_SETTINGS = {
    **shared('stability_tolerance_thz', 'symprec'),
    'amplitudes_angstrom': Setting(AMPLITUDES, 'of the scan: the longest displacement of an atom, without 0'),
    'qpoints': Setting([], 'look only at these q-points, in units of the primitive reciprocal lattice; all if empty'),
    'max_modes': Setting(4, 'instabilities of each crystal that are followed, the strongest first', minimum=1),
    'max_directions': Setting(6, 'symmetric directions of a degenerate mode, the most symmetric first', minimum=1),
    'max_atoms_scan': Setting(64, 'largest supercell of a mode that is followed', minimum=2),
}


def mode_settings_problem(given: Mapping[str, Any]) -> str | None:
    """Return a sentence if a key is unknown or its value is wrong."""
    problem = settings_problem(given, MODE_SETTINGS)
    if problem:
        return problem
    problem = qpoints_problem(given.get('qpoints', []))
    if problem:
        return problem
    amplitudes = given.get('amplitudes_angstrom', AMPLITUDES)
    if any(isinstance(value, bool) or not isinstance(value, int | float) or not value > 0 for value in amplitudes):
        return (
            f'`settings.amplitudes_angstrom` must be lengths above zero, not {amplitudes}; 0 is always there, and the '
            'other side is scanned where it differs.'
        )
    if len(set(amplitudes)) < 3:
        return '`settings.amplitudes_angstrom` needs at least three different lengths for the fit of a double well.'
    return None


def qpoints_problem(qpoints: list[Any]) -> str | None:
    """Return a sentence if one of the q-points is none, or fits into no small supercell."""
    for qpoint in qpoints:
        numbers = isinstance(qpoint, list | tuple) and all(isinstance(item, int | float) for item in qpoint)
        if not numbers or len(qpoint) != 3:
            return f'`settings.qpoints` must be a list of q-points of three numbers each, not {qpoint!r}.'
        try:
            commensurate_matrix(qpoint)
        except ValueError as error:
            return f'`settings.qpoints`: {error}.'
    return None


def validate_parents(value: Mapping[str, PhonopyData], _: Any) -> str | None:
    """Return a sentence if there is no parent, or one without forces."""
    if not value:
        return 'give at least one set of phonons under `parents`.'
    return phonons_problem(value, 'parents')


class ModesCalculation(ScriptCalculation):
    """Instabilities of crystals at commensurate and high-symmetry q-points, and supercells displaced along them."""

    DRIVER = 'modes'
    OUTPUTS = {
        'modes': Output(
            'modes.json',
            '`parents`: the instabilities of each, and why one is not followed. `entries`: the directions that '
            'are scanned: `parent`, `qpoint`, `frequency_thz`, `irrep`, `direction`, `supercell_matrix`, '
            '`amplitudes_angstrom`, ...',
        ),
        'frames': Output(
            'frames.npz',
            'The displaced supercells, one after another: `n_atoms` (F,), `numbers` and `positions` (Å) of all '
            'atoms, `cells` (F, 3, 3) Å, and `entry` (F,), the index of the direction.',
        ),
    }
    NEEDS = INSTALL = 'phonopy, spglib and seekpath'
    MEMORY = 'raise that of `metadata.options`'
    SETTINGS = MODE_SETTINGS
    FAILURES = ScriptCalculation.FAILURES | {'phonons_unusable': 'ERROR_PHONONS_UNUSABLE'}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs, outputs and exit codes."""
        super().define(spec)
        spec.input_namespace(
            'parents',
            valid_type=PhonopyData,
            dynamic=True,
            validator=validate_parents,
            help='Phonons by name; all are examined in this job.',
        )
        spec.exit_code(
            410, 'ERROR_PHONONS_UNUSABLE', message='No force constants follow from one of `parents`: {message}'
        )

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, _: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        return None if value is None else mode_settings_problem(dict(value))

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        return {**self.get_settings(), 'parents': sorted(self.inputs.parents)}

    def get_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the phonons of every parent."""
        return {f'parent_{name}.npz': phonopy_arrays(node) for name, node in self.inputs.parents.items()}
