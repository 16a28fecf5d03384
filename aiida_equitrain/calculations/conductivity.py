"""Third-order forces with a potential, and the lattice thermal conductivity that follows: a job each."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from aiida_phonopy.data.phonopy import PhonopyData
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import isotopes_of, phonopy_arrays, structure_arrays, validate_phonons
from aiida_equitrain.calculations.evaluation import COMMON_SETTINGS, PARTIAL, EvaluationCalculation, frames_problem
from aiida_equitrain.calculations.harmonic import mesh_problem
from aiida_equitrain.calculations.script_job import Output, ScriptCalculation
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting, settings_problem

#: What to install for it.
EXTRA = '`aiida-equitrain[kappa]` (phono3py)'
NAC_ARRAYS = ('born_charges', 'dielectric')
#: Arrays of ``modes`` that the errors need.
MODE_ARRAYS = ('mesh', 'temperatures_k', 'qpoints', 'frequencies_thz', 'mode_kappa_w_per_m_k')


class ThirdOrderCalculation(EvaluationCalculation):
    """Evaluate all supercells with one or two displaced atoms, and keep them as phono3py does."""

    DRIVER = 'third_order'
    OUTPUTS = PARTIAL | {
        'phono3py_params': Output(
            'phono3py_params.yaml.xz',
            'Crystal, displacements and forces, as phono3py saves and loads them.',
        ),
    }
    CHECKED = ('potential', 'structure')
    INSTALL = f'{EXTRA}, and what the potential needs,'
    SETTINGS = COMMON_SETTINGS | {
        'distance_angstrom': Setting(0.03, 'displacement', minimum=0.0, exclusive=True),
        'cutoff_pair_angstrom': Setting(0.0, 'pairs of atoms further apart are left out; 0: none are', minimum=0.0),
        **shared('symprec'),
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData, help='The crystal, relaxed.')
        for name, what in (('supercell_matrix', 'third'), ('phonon_supercell_matrix', 'second')):
            spec.input(name, valid_type=orm.List, help=f'Rows of the supercell of the force constants of {what} order.')

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if the potential cannot treat the crystal."""
        return frames_problem(inputs, 'structure')

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        job = super().get_job()
        for name in ('supercell_matrix', 'phonon_supercell_matrix'):
            job['settings'][name] = self.inputs[name].get_list()
        return job

    def get_structures(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of ``structures.npz``."""
        arrays, structure = structure_arrays(self.inputs.structure), self.inputs.structure
        if isotopes_of(structure):
            masses = {kind.name: kind.mass for kind in structure.kinds}
            arrays['masses'] = np.array([masses[name] for name in structure.get_site_kindnames()])
        return arrays


CONDUCTIVITY_SETTINGS = {
    'mesh': Setting([11, 11, 11], 'q-points of the conductivity'),
    'temperatures_k': Setting([300.0], 'temperatures'),
    'isotopes': Setting(False, 'scattering by the natural isotopes'),
    **shared('stability_tolerance_thz'),
}


def conductivity_settings_problem(given: dict[str, Any]) -> str | None:
    """Return a sentence if mesh or temperatures are none."""
    if 'mesh' in given and mesh_problem(given['mesh']):
        return mesh_problem(given['mesh'])
    temperatures = given.get('temperatures_k', [300.0])
    if temperatures and all(isinstance(item, int | float) and item > 0 for item in temperatures):
        return None
    return f'`settings.temperatures_k` must be a list of temperatures above zero, not {temperatures}.'


class ConductivityCalculation(ScriptCalculation):
    """Lattice thermal conductivity in the relaxation-time approximation, and its error against a reference."""

    DRIVER = 'conductivity'
    OUTPUTS = {
        'kappa': Output(
            'kappa.json',
            '`kappa_w_per_m_k`, a third of the trace, and its components at `temperatures_k`; with a `reference` '
            'the `errors` `sre` and `srme`.',
        ),
        'modes': Output(
            'modes.npz',
            '`mode_kappa_w_per_m_k` (T, Q, B, 6), frequencies, linewidths, velocities of irreducible q-points.',
        ),
    }
    NEEDS, INSTALL = 'phono3py', EXTRA
    MEMORY = 'lower `mesh` of `settings`'
    PHONONS = 'phonons.npz'
    SETTINGS = CONDUCTIVITY_SETTINGS | {
        'symprec': Setting(0.0, 'tolerance of the space group, Å; 0: that of the file', minimum=0.0),
    }
    FAILURES = ScriptCalculation.FAILURES | {
        'forces_unusable': 'ERROR_FORCES_UNUSABLE',
        'unstable': 'ERROR_UNSTABLE',
        'different_references': 'ERROR_DIFFERENT_REFERENCE',
        'phonons_unusable': 'ERROR_PHONONS_UNUSABLE',
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs, outputs and exit codes."""
        super().define(spec)
        spec.input(
            'phono3py_params',
            valid_type=orm.SinglefileData,
            help='`phono3py_params.yaml`, also with `.xz`: of `equitrain.third_order`, or of DFT.',
        )
        spec.input(
            'nac',
            valid_type=orm.ArrayData,
            required=False,
            help='`born_charges` (n, 3, 3) and `dielectric` (3, 3), as in `equitrain.phonons`; else those of the file.',
        )
        spec.input(
            'phonopy_data',
            valid_type=PhonopyData,
            required=False,
            validator=lambda value, _: validate_phonons(value, None, 'phonopy_data'),
            help='Phonons of the same cell and supercell, such as corrected ones: their force constants are those of '
            'second order, and their Born charges those of the crystal.',
        )
        spec.input(
            'reference',
            valid_type=orm.ArrayData,
            required=False,
            help='`modes` of another conductivity on the same mesh, usually from DFT, to take errors against.',
        )
        spec.exit_code(410, 'ERROR_FORCES_UNUSABLE', message='`phono3py_params` cannot be used: {message}')
        spec.exit_code(
            411,
            'ERROR_UNSTABLE',
            message='The crystal has imaginary modes, so that there is no conductivity; `equitrain.instability` '
            'follows them: {message}',
        )
        spec.exit_code(
            412,
            'ERROR_DIFFERENT_REFERENCE',
            message='The errors against `reference` cannot be taken; the conductivity itself is there: {message}',
        )

        spec.exit_code(
            413,
            'ERROR_PHONONS_UNUSABLE',
            message='`phonopy_data` gives no force constants, or those of another supercell than `phono3py_params`: '
            '{message}',
        )

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, _: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        if value is None:
            return None
        return settings_problem(dict(value), cls.SETTINGS) or conductivity_settings_problem(dict(value))

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if an array is missing."""
        for port, names in (('nac', NAC_ARRAYS), ('reference', MODE_ARRAYS)):
            if port in inputs:
                missing = [name for name in names if name not in inputs[port].get_arraynames()]
                if missing:
                    return f'`{port}` lacks the array(s) {", ".join(missing)}.'
        return None

    @property
    def _filename(self) -> str:
        compressed = str(self.inputs.phono3py_params.filename).endswith('.xz')
        return 'phono3py_params.yaml.xz' if compressed else 'phono3py_params.yaml'

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        given = {f'has_{name}': name in self.inputs for name in ('nac', 'reference', 'phonopy_data')}
        return {**self.get_settings(), **given, 'filename': self._filename}

    def get_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return what is given beside the file."""
        phonons = {self.PHONONS: phonopy_arrays(self.inputs.phonopy_data)} if 'phonopy_data' in self.inputs else {}
        return phonons | {
            f'{port}.npz': {name: self.inputs[port].get_array(name) for name in names}
            for port, names in (('nac', NAC_ARRAYS), ('reference', MODE_ARRAYS))
            if port in self.inputs
        }

    def get_copies(self) -> list[tuple[str, str, str]]:
        """Return the file with the forces."""
        node = self.inputs.phono3py_params
        return [(node.uuid, node.filename, self._filename)]
