"""All that follows from one set of phonons by itself, in one job: bands, densities of states, and what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from aiida_phonopy.data.phonopy import PhonopyData
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import phonopy_arrays, validate_phonons
from aiida_equitrain.calculations.script_job import Output, ScriptCalculation
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting, settings_problem

#: Settings of phonons that the harmonic properties share with the WorkChain.
THERMAL_SETTINGS = {
    **shared('mesh'),
    'temperature_min_k': Setting(0.0, 'lowest temperature', minimum=0.0),
    'temperature_max_k': Setting(1000.0, 'highest temperature', minimum=0.0),
    'temperature_step_k': Setting(10.0, 'step of temperature', minimum=0.0, exclusive=True),
    **shared('stability_tolerance_thz'),
}


def verdict_facts(phonopy_data: PhonopyData, correction: orm.Dict | None) -> dict[str, Any]:
    """Return what a verdict on the stability says beside the frequencies.

    :param correction: of corrected phonons, whose verdict is that within their error bars.
    """
    facts: dict[str, Any] = {
        'n_displacements': len(phonopy_data.displacements),
        'n_atoms_supercell': len(phonopy_data.get_supercell().sites),
    }
    if phonopy_data.residual_forces is not None:
        facts['residual_force_max_ev_per_angstrom'] = float(np.abs(phonopy_data.residual_forces).max())
    if correction is not None:
        facts |= {key: correction[key] for key in ('verdict', 'lowest_frequency_sigma_thz', 'uncertainty_thz')}
    return facts


def mesh_problem(mesh: Any, key: str = 'mesh') -> str | None:
    """Return a sentence if a mesh is not three positive integers."""
    if len(mesh) == 3 and all(type(number) is int and number > 0 for number in mesh):
        return None
    return f'`settings.{key}` must be three positive integers, not {mesh}.'


class HarmonicCalculation(ScriptCalculation):
    """Bands, densities of states, thermal properties, displacements, group velocities, sum rules, and the verdict."""

    DRIVER, PARSER = 'harmonic', 'equitrain.harmonic'
    OUTPUTS = {
        'stability': Output(
            'stability.json',
            '`lowest_frequency_thz` on mesh and path, `lowest_qpoint`, `dynamically_stable`, `tolerance_thz`, ...',
        ),
        'bands': Output('bands.npz', 'THz, along the seekpath, with labels.', orm.BandsData),
        'total_dos': Output('total_dos.npz', 'States per THz, by the tetrahedron method.', orm.XyData),
        'thermal_properties': Output(
            'thermal_properties.npz',
            'Free energy (kJ/mol), entropy and heat capacity (J/K/mol), per mole of primitive cells.',
            orm.XyData,
        ),
        'force_constants': Output('force_constants.npz', 'eV/Å², compact.', units={'force_constants': 'eV/Å²'}),
        'properties': Output(
            'properties.json',
            'Numbers at `temperature_k`, per cell and per formula unit, units in the keys; the conductivity of '
            'Agne et al.; how far the force constants miss the sum rules, `..._before` and after they were imposed; '
            'the elastic tensor and moduli that long acoustic waves tell, `..._from_phonons_gpa`.',
        ),
        'thermal': Output(
            'thermal.npz',
            'Over `temperatures_k` (T,): heat capacity, entropy, free energy per cell and per formula unit, and '
            '`mean_square_displacements_angstrom2` (T, n, 3).',
        ),
        'projected_dos': Output(
            'dos.npz',
            '`frequencies_thz` (F,), `projected_dos_per_thz` (n, F) of each atom of the primitive cell, '
            '`total_dos_per_thz` (F,).',
        ),
        'group_velocities': Output(
            'velocities.npz',
            'Along the path and on the mesh, THz Å (100 m/s), shape (Q, bands, 3), with frequencies.',
        ),
    }
    NEEDS = INSTALL = 'phonopy, spglib and seekpath'
    MEMORY = 'lower `mesh` or `projected_mesh`'
    SETTINGS = THERMAL_SETTINGS | {
        **shared('temperature_k', 'band_points'),
        'projected_mesh': Setting([12, 12, 12], 'q-points where eigenvectors are needed; without symmetry'),
    }
    PHONONS = 'phonons.npz'
    FAILURES = ScriptCalculation.FAILURES | {'phonons_unusable': 'ERROR_PHONONS_UNUSABLE'}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs, outputs and exit codes."""
        super().define(spec)
        spec.input(
            'phonopy_data',
            valid_type=PhonopyData,
            validator=lambda value, _: validate_phonons(value, None, 'phonopy_data'),
            help='Phonons with forces.',
        )
        spec.input(
            'correction',
            valid_type=orm.Dict,
            required=False,
            help='Of corrected phonons: `stability` has their verdict within their error bars as well.',
        )
        spec.exit_code(
            410,
            'ERROR_PHONONS_UNUSABLE',
            message='No force constants follow from `phonopy_data`; compute it again: {message}',
        )

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, _: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        if value is None:
            return None
        given = dict(value)
        problem = settings_problem(given, cls.SETTINGS)
        meshes = (mesh_problem(given[key], key) for key in ('mesh', 'projected_mesh') if key in given)
        return problem or next((sentence for sentence in meshes if sentence), None)

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        verdict = verdict_facts(self.inputs.phonopy_data, self.inputs.get('correction'))
        return {**self.get_settings(), 'verdict': verdict}

    def get_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the phonons."""
        return {self.PHONONS: phonopy_arrays(self.inputs.phonopy_data)}
