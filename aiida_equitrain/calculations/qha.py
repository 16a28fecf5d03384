"""The quasi-harmonic approximation, from phonons at several volumes, in one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from aiida_phonopy.data.phonopy import PhonopyData
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import phonons_problem, phonopy_arrays
from aiida_equitrain.calculations.harmonic import THERMAL_SETTINGS, mesh_problem
from aiida_equitrain.calculations.script_job import Output, ScriptCalculation
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting, settings_problem

#: Volumes that the equation of state needs.
MIN_VOLUMES = 5
QHA_SETTINGS = THERMAL_SETTINGS | {
    **shared('temperature_k', 'band_points'),
    'eos': Setting('vinet', 'equation of state', choices=('vinet', 'birch_murnaghan', 'murnaghan')),
    'pressure_gpa': Setting(0.0, 'pressure'),
}


def qha_settings_problem(given: Mapping[str, Any]) -> str | None:
    """Return a sentence if a value does not make sense with the others."""
    problem = mesh_problem(given['mesh']) if 'mesh' in given else None
    low, high, step = (
        given.get(f'temperature_{name}_k', THERMAL_SETTINGS[f'temperature_{name}_k'].default)
        for name in ('min', 'max', 'step')
    )
    if problem is None and high - low < 4 * step:
        return '`settings.temperature_max_k` must lie at least four steps above `settings.temperature_min_k`.'
    return problem


def validate_volumes(value: Mapping[str, PhonopyData], _: Any) -> str | None:
    """Return a sentence if there are too few volumes, or one without forces."""
    if len(value) < MIN_VOLUMES:
        return f'`phonons` holds {len(value)} volume(s); the equation of state needs at least {MIN_VOLUMES}.'
    return phonons_problem(value, 'phonons')


class QHACalculation(ScriptCalculation):
    """Thermal expansion, Gibbs energy, bulk modulus and Grüneisen parameters."""

    DRIVER = 'qha'
    OUTPUTS = {
        'qha': Output(
            'qha.json',
            'Numbers at `temperature_k`; volumes that were left out as unstable; the last temperature at '
            'which the equilibrium volume is among those that were computed (`temperature_reached_k`).',
        ),
        'curves': Output(
            'curves.npz',
            'Over `temperatures_k`, of the primitive cell: equilibrium volume, thermal expansion, Gibbs energy, '
            'bulk modulus, heat capacity at constant pressure, Grüneisen parameter; `helmholtz_ev` (T, V).',
        ),
        'gruneisen': Output(
            'gruneisen.npz',
            'Mode Grüneisen parameters on mesh and path.',
        ),
    }
    NEEDS = INSTALL = 'phonopy, spglib, seekpath and ase'
    MEMORY = 'lower `mesh` of `settings`'
    SETTINGS = QHA_SETTINGS
    FAILURES = ScriptCalculation.FAILURES | {
        'phonons_unusable': 'ERROR_PHONONS_UNUSABLE',
        'unstable': 'ERROR_UNSTABLE',
        'no_fit': 'ERROR_NO_FIT',
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs, outputs and exit codes."""
        super().define(spec)
        spec.input_namespace(
            'phonons',
            valid_type=PhonopyData,
            dynamic=True,
            validator=validate_volumes,
            help='Phonons at different volumes, by names whose order is that of `energies`.',
        )
        spec.input(
            'energies', valid_type=orm.ArrayData, help='`energies` (V,), eV, of the unit cells of `phonons`, by name.'
        )
        spec.exit_code(
            410, 'ERROR_PHONONS_UNUSABLE', message='No force constants follow from one of `phonons`: {message}'
        )
        spec.exit_code(
            411,
            'ERROR_UNSTABLE',
            message='Too few volumes have no imaginary modes; the approximation does not hold for this crystal, or '
            '`volume_factors` reach too far: {message}',
        )
        spec.exit_code(
            412,
            'ERROR_NO_FIT',
            message='The free energies have no minimum within the volumes at `temperature_k`; choose other '
            '`volume_factors`, or a lower temperature: {message}',
        )

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if there is not one energy for each volume."""
        energies = inputs['energies']
        if 'energies' not in energies.get_arraynames() or energies.get_shape('energies') != (len(inputs['phonons']),):
            return '`energies` must hold the array `energies` with one value for each of the phonons.'
        return None

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, _: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        if value is None:
            return None
        return settings_problem(dict(value), cls.SETTINGS) or qha_settings_problem(dict(value))

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        return {**self.get_settings(), 'phonons': sorted(self.inputs.phonons)}

    def get_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return energies and phonons."""
        arrays = {f'{name}.npz': phonopy_arrays(node) for name, node in self.inputs.phonons.items()}
        return {'static.npz': {'energies': self.inputs.energies.get_array('energies')}, **arrays}
