"""Compare the phonons of potentials with reference phonons, and with force constants fitted without a potential."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from aiida import orm
from aiida.common.datastructures import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob
from aiida_phonopy.data.phonopy import PhonopyData
from numpy.typing import NDArray

from aiida_equitrain.calculations.staging import stage_driver
from aiida_equitrain.common.names import Role
from aiida_equitrain.common.validation import refuse_unknown, refuse_values
from aiida_equitrain.data.dataset import DatasetData

#: Keys of ``settings`` with their defaults.
DEFAULTS: dict[str, Any] = {
    'mesh': [20, 20, 20],
    'temperature_k': 300.0,
    'stability_tolerance_thz': 0.15,
    'acoustic_sum_rule': True,
    'subtract_residual_forces': False,
    'symfc_roles': [Role.TRAIN.value, Role.VALID.value],
    'band_points': 51,
    'temperatures_k': [0.0, 1000.0, 20.0],
}


def validate_settings(value: orm.Dict | None, _: Any) -> str | None:
    """Return a sentence if a key is unknown or its value is wrong."""
    if value is None:
        return None
    given = dict(value)
    kinds = {key: type(default) for key, default in DEFAULTS.items()}
    problem = refuse_unknown(given, DEFAULTS, 'the `settings` input') or refuse_values(
        given, kinds, 'the `settings` input'
    )
    if problem:
        return problem
    settings = {**DEFAULTS, **given}
    if len(settings['mesh']) != 3 or not all(isinstance(n, int) and n > 0 for n in settings['mesh']):
        return f'`mesh` in the `settings` input has to be three positive integers, but is {settings["mesh"]!r}'
    numbers = [
        settings['temperature_k'],
        settings['stability_tolerance_thz'],
        settings['band_points'] - 2,
    ]
    if any(number < 0 for number in numbers):
        return (
            '`temperature_k` and `stability_tolerance_thz` in the `settings` input cannot be negative, and '
            '`band_points` is at least 2'
        )
    low, high, step = settings['temperatures_k'] if len(settings['temperatures_k']) == 3 else (0, -1, 0)
    if low < 0 or high < low or step <= 0:
        return '`temperatures_k` in the `settings` input has to be [lowest, highest, step]'
    roles = [role.value for role in Role]
    return refuse_unknown(settings['symfc_roles'], roles, '`symfc_roles` of the `settings` input')


def validate_candidates(value: Mapping[str, PhonopyData], _: Any) -> str | None:
    """Return a sentence if there is no candidate, or one that has no forces or a reserved name."""
    if not value:
        return 'give at least one set of phonons under `candidates`, such as `candidates.finetuned`'
    reserved = {'reference', 'symfc'} & set(value)
    if reserved:
        return f'`candidates.{reserved.pop()}` has a reserved name; choose another'
    for name, node in value.items():
        problem = validate_phonons(node, None, f'candidates.{name}')
        if problem:
            return problem
    return None


def validate_phonons(value: PhonopyData | None, _: Any, name: str = 'reference') -> str | None:
    """Return a sentence if phonons have no forces."""
    if value is None or {'forces', 'forces_1'} & set(value.get_arraynames()):
        return None
    return f'`{name}` has displacements but no forces; set them before the comparison'


class CompareCalculation(CalcJob):
    """Errors of phonons on a mesh, curves of all sides, and the symfc baseline, in one job."""

    DRIVER = 'compare.py'
    HELPERS = ('job_io.py',)
    MODULES = (
        'science.frames',
        'science.phonopy_io',
        'science.lattice_match',
        'science.phonon_metrics',
        'science.force_constants',
    )
    SETTINGS, FRAMES = 'settings.json', 'frames.npz'
    COMPARISON, BANDS, THERMAL = 'comparison.json', 'bands.npz', 'thermal.npz'
    SUMMARY, FAILURE, PROGRESS, STDOUT = 'summary.json', 'failure.json', 'progress.json', 'driver.out'
    #: ``reason`` in ``failure.json`` -> label of the exit code.
    FAILURES: ClassVar[dict[str, str]] = {
        'phonons_unusable': 'ERROR_PHONONS_UNUSABLE',
        'different_crystals': 'ERROR_DIFFERENT_CRYSTALS',
        'module_missing': 'ERROR_MODULE_MISSING',
        'out_of_memory': 'ERROR_OUT_OF_MEMORY',
    }

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('code', valid_type=orm.AbstractCode, help='A Python with phonopy, symfc and seekpath.')
        spec.input(
            'reference',
            valid_type=PhonopyData,
            required=False,
            validator=validate_phonons,
            help='Phonons that errors are measured against, usually of DFT; without them there are no errors.',
        )
        spec.input_namespace(
            'candidates',
            valid_type=PhonopyData,
            dynamic=True,
            validator=validate_candidates,
            help='Phonons to be judged, by name, such as `foundation` and `finetuned`.',
        )
        spec.input(
            'dataset',
            valid_type=DatasetData,
            required=False,
            help='Labelled frames, for force constants fitted by symfc without a potential.',
        )
        spec.input(
            'settings',
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),  # type: ignore[no-untyped-call]
            validator=validate_settings,
            help=(
                '`mesh` of q-points; `temperature_k` of the thermal properties; `stability_tolerance_thz` below zero '
                'that is still stable; `acoustic_sum_rule`: impose it on finite-displacement force constants; '
                '`subtract_residual_forces` of the pristine supercell, where they are known; `symfc_roles`: frames '
                'that the fit uses; `band_points` per segment; `temperatures_k` of the curves: [lowest, highest, '
                'step]. '
                f'Defaults: {DEFAULTS}.'
            ),
        )
        options = spec.inputs['metadata']['options']
        options['resources'].default = lambda: {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        options['withmpi'].default = False
        options['output_filename'].default = cls.STDOUT
        options['parser_name'].default = 'equitrain.compare'
        spec.output('comparison', valid_type=orm.Dict, required=False, help='Metrics of all sides, units in the keys.')
        spec.output(
            'bands',
            valid_type=orm.ArrayData,
            required=False,
            help='Frequencies (THz) of all sides along the path of the reference, or of the first candidate.',
        )
        spec.output(
            'thermal',
            valid_type=orm.ArrayData,
            required=False,
            help='Heat capacity and entropy (J/K/mol), free energy (kJ/mol) of all sides over temperature (K).',
        )
        spec.output('summary', valid_type=orm.Dict, required=False, help='Seconds, versions, settings.')
        spec.exit_code(310, 'ERROR_DRIVER_FAILED', message='The comparison stopped for an unforeseen reason: {message}')
        spec.exit_code(311, 'ERROR_OUTPUT_MISSING', message='The job did not write `{filename}`.')
        spec.exit_code(312, 'ERROR_OUTPUT_UNREADABLE', message='`{filename}` cannot be read: {message}')
        spec.exit_code(
            322,
            'ERROR_MODULE_MISSING',
            message='The Python of `code` lacks a module; install phonopy, symfc and seekpath for it: {message}',
        )
        spec.exit_code(
            323, 'ERROR_OUT_OF_MEMORY', message='The job ran out of memory; lower `mesh` of `settings`: {message}'
        )
        spec.exit_code(
            410,
            'ERROR_PHONONS_UNUSABLE',
            message='No force constants follow from `reference` or one of `candidates`; compute it again: {message}',
        )
        spec.exit_code(
            411,
            'ERROR_DIFFERENT_CRYSTALS',
            message='One of `candidates` is not the crystal of `reference`; a relaxation may have left it: {message}',
        )

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the driver, its settings and the arrays of every side; the dataset is copied from the repository."""
        stage_driver(folder, self.DRIVER, modules=self.MODULES, helpers=self.HELPERS)
        settings = {**DEFAULTS, **dict(self.inputs.settings)}
        sides = {f'candidate_{name}.npz': node for name, node in self.inputs.candidates.items()}
        if 'reference' in self.inputs:
            sides['reference.npz'] = self.inputs.reference
        for filename, node in sides.items():
            with folder.open(filename, 'wb') as handle:
                np.savez(handle, **phonopy_arrays(node, settings['subtract_residual_forces']))  # type: ignore[arg-type]
        settings['candidates'] = sorted(self.inputs.candidates)
        settings['has_reference'] = 'reference' in self.inputs
        settings['has_dataset'] = 'dataset' in self.inputs
        with folder.open(self.SETTINGS, 'w', encoding='utf-8') as handle:
            handle.write(json.dumps(settings, indent=1, sort_keys=True))

        code_info = CodeInfo()
        code_info.code_uuid = self.inputs.code.uuid
        code_info.cmdline_params = [self.DRIVER]
        code_info.stdout_name = self.options.output_filename
        calc_info = CalcInfo()
        calc_info.codes_info = [code_info]
        calc_info.local_copy_list = [self.inputs.dataset.stage(self.FRAMES)] if 'dataset' in self.inputs else []
        calc_info.retrieve_list = [
            self.SUMMARY,
            self.FAILURE,
            self.PROGRESS,
            self.COMPARISON,
            self.options.output_filename,
        ]
        calc_info.retrieve_temporary_list = [self.BANDS, self.THERMAL]
        return calc_info


def phonopy_arrays(node: PhonopyData, subtract_residual_forces: bool = False) -> dict[str, NDArray[Any]]:
    """Return what :func:`aiida_equitrain.science.phonopy_io.phonon_from_arrays` needs, exactly as stored.

    No ``Phonopy`` is built: its search for symmetry takes seconds for a large supercell, too long for a daemon. Kinds
    of one element count as that element.
    """
    from ase.data import atomic_numbers

    arrays = {
        'cell': np.array(node.cell, dtype=float),
        'positions': np.array(node.positions, dtype=float),
        'numbers': np.array([atomic_numbers[symbol] for symbol in node.symbols], dtype=np.int64),
        'masses': np.array(node.masses, dtype=float),
        'supercell_matrix': np.array(node.supercell_matrix, dtype=np.int64),
        'primitive_matrix': np.array(node.primitive_matrix),
        'symprec': np.array(node.symprec, dtype=float),
        'is_symmetry': np.array(bool(node.is_symmetry)),
    }
    dataset: Any = node.displacement_dataset
    if 'first_atoms' in dataset:
        arrays['displaced_atoms'] = np.array([atom['number'] for atom in dataset['first_atoms']], dtype=np.int64)
        arrays['displacements'] = np.array([atom['displacement'] for atom in dataset['first_atoms']], dtype=float)
    else:
        arrays['displacements'] = np.array(dataset['displacements'], dtype=float)
    names = node.get_arraynames()
    if 'forces' in names:
        forces = np.array(node.get_array('forces'), dtype=float)
    else:
        index = node.forces_index
        sets = [node.get_array(f'forces_{number + 1}') for number in range(len(arrays['displacements']))]
        forces = np.array([item if index is None else item[index] for item in sets], dtype=float)
    if subtract_residual_forces and 'residual_forces' in names:
        forces = forces - np.array(node.residual_forces, dtype=float)
    arrays['forces'] = forces
    return arrays
