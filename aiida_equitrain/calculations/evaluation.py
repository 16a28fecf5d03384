"""What the jobs that evaluate a potential share: ports, settings, staging, failures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from aiida import orm
from aiida.common.datastructures import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob
from aiida.engine.processes.calcjobs.calcjob import validate_calc_job
from numpy.typing import NDArray

from aiida_equitrain.calculations.staging import stage_driver
from aiida_equitrain.common.validation import refuse_unknown
from aiida_equitrain.data.potential import PotentialData


@dataclass(frozen=True)
class Setting:
    """A key of the ``settings`` input.

    :param default: value when the key is absent.
    :param help: what it means.
    :param choices: the values that are allowed; empty: any of the default's type.
    :param minimum: smallest allowed number; ``exclusive`` leaves out the number itself.
    """

    default: Any
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    exclusive: bool = False

    def problem(self, key: str, value: Any) -> str | None:
        """Return what is wrong with ``value``, or ``None``."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            return f'`settings.{key}` must be of type `{kind.__name__}`, not {value!r}.'
        if self.choices and value not in self.choices:
            return f'`settings.{key}` is {value!r}; it must be one of {", ".join(self.choices)}.'
        if self.minimum is not None and (value < self.minimum or (self.exclusive and value == self.minimum)):
            return (
                f'`settings.{key}` is {value}; it must be {"above" if self.exclusive else "at least"} {self.minimum:g}.'
            )
        return None


def settings_problem(given: Mapping[str, Any], settings: Mapping[str, Setting]) -> str | None:
    """Return a sentence about the first unknown key or wrong value, or ``None``."""
    unknown = refuse_unknown(given, settings, 'the `settings` input')
    if unknown:
        return unknown
    problems = (settings[key].problem(key, value) for key, value in given.items())
    return next((problem for problem in problems if problem), None)


def with_defaults(given: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Return all settings, those that were not given with their defaults."""
    return {key: type(setting.default)(given.get(key, setting.default)) for key, setting in settings.items()}


#: Settings of every job that evaluates a potential.
COMMON_SETTINGS = {
    'dtype': Setting('float64', 'precision of the model', choices=('float64', 'float32')),
    'device': Setting('cpu', 'where torch computes', choices=('cpu', 'cuda')),
    'threads': Setting(0, 'threads of torch and BLAS; 0: as the machine and its environment like', minimum=0),
}


class EvaluationCalculation(CalcJob):
    """Base of the jobs that run a driver with a potential on structures of the same atoms."""

    DRIVER: ClassVar[str]
    SETTINGS: ClassVar[dict[str, Setting]] = COMMON_SETTINGS
    HELPERS = ('evaluation_io.py', 'job_io.py', 'potential_loader.py')
    INPUT, STRUCTURES = 'input.json', 'structures.npz'
    SUMMARY, FAILURE, PROGRESS, STDOUT = 'summary.json', 'failure.json', 'progress.json', 'driver.out'
    RESULT: ClassVar[str]
    #: ``reason`` in ``failure.json`` -> label of the exit code.
    FAILURES: ClassVar[dict[str, str]] = {
        'cuda_missing': 'ERROR_DEVICE_MISSING',
        'bad_potential': 'ERROR_POTENTIAL_NOT_LOADED',
        'module_missing': 'ERROR_MODULE_MISSING',
        'out_of_memory': 'ERROR_OUT_OF_MEMORY',
        'forces_not_finite': 'ERROR_FORCES_NOT_FINITE',
    }

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare the ports that all evaluations share."""
        super().define(spec)
        spec.input('code', valid_type=orm.AbstractCode, help='A Python with MACE (or whatever the potential needs).')
        spec.input('potential', valid_type=PotentialData, help='The potential.')
        spec.input(
            'settings',
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),  # type: ignore[no-untyped-call]
            validator=cls.validate_settings,
            help='Keys: ' + '; '.join(f'`{key}` ({s.default!r}): {s.help}' for key, s in cls.SETTINGS.items()) + '.',
        )
        spec.inputs.validator = cls.validate_top
        options = spec.inputs['metadata']['options']
        options['resources'].default = lambda: {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        options['withmpi'].default = False
        options['output_filename'].default = cls.STDOUT
        spec.output('summary', valid_type=orm.Dict, required=False, help='Settings, timings, versions, convergence.')
        spec.exit_code(
            310,
            'ERROR_DRIVER_FAILED',
            message='The Python script of the job stopped for an unforeseen reason: {message}',
        )
        spec.exit_code(311, 'ERROR_OUTPUT_MISSING', message='The job did not write `{filename}`.')
        spec.exit_code(312, 'ERROR_OUTPUT_UNREADABLE', message='`{filename}` cannot be read: {message}')
        spec.exit_code(
            320,
            'ERROR_POTENTIAL_NOT_LOADED',
            message='The file of `potential` cannot be loaded by the Python of `code`: {message}',
        )
        spec.exit_code(
            321,
            'ERROR_DEVICE_MISSING',
            message='The `device` of `settings` is not on the machine of `code`; use `cpu`, or a CUDA torch: {message}',
        )
        spec.exit_code(
            322,
            'ERROR_MODULE_MISSING',
            message='The Python of `code` lacks a module; install `aiida-equitrain[train]` for it: {message}',
        )
        spec.exit_code(
            323,
            'ERROR_OUT_OF_MEMORY',
            message='The job ran out of memory; lower `batch_size` of `settings` or take more memory: {message}',
        )
        spec.exit_code(
            410,
            'ERROR_FORCES_NOT_FINITE',
            message='The `potential` gives forces that are not finite; it is broken or far from its data: {message}',
        )

    @classmethod
    def validate_top(cls, inputs: dict[str, Any], ctx: Any) -> str | None:
        """Return a sentence about what only all inputs together tell; a WorkChain that hides ports is left alone."""
        problem: str | None = validate_calc_job(inputs, ctx)
        if problem or any(name not in ctx for name in ('potential', 'frames')):
            return problem
        return cls.validate_inputs(inputs)

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if the structures are wrong, or do not fit the potential or the settings."""
        raise NotImplementedError

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, _: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        if value is None:
            return None
        return settings_problem(dict(value), cls.SETTINGS)

    def get_settings(self) -> dict[str, Any]:
        """Return all settings, with their defaults."""
        return with_defaults(dict(self.inputs.settings), self.SETTINGS)

    def get_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of ``structures.npz``."""
        raise NotImplementedError

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the driver, its input and the structures; the model is copied from the repository."""
        stage_driver(folder, self.DRIVER, helpers=self.HELPERS)
        potential = self.inputs.potential
        data = {
            'potential': {'filename': potential.FILENAME, 'family': potential.family, 'head': potential.head},
            'settings': self.get_settings(),
        }
        with folder.open(self.INPUT, 'w', encoding='utf-8') as handle:
            handle.write(json.dumps(data, indent=1, sort_keys=True))
        buffer = io.BytesIO()
        np.savez(buffer, **self.get_arrays())  # type: ignore[arg-type]
        with folder.open(self.STRUCTURES, 'wb') as handle:
            handle.write(buffer.getvalue())

        code_info = CodeInfo()
        code_info.code_uuid = self.inputs.code.uuid
        code_info.cmdline_params = [self.DRIVER]
        code_info.stdout_name = self.options.output_filename
        calc_info = CalcInfo()
        calc_info.codes_info = [code_info]
        calc_info.local_copy_list = [potential.stage()]
        calc_info.retrieve_list = [self.SUMMARY, self.FAILURE, self.PROGRESS, self.options.output_filename]
        calc_info.retrieve_temporary_list = [self.RESULT]
        return calc_info


def numbers_of(symbols: Sequence[str]) -> NDArray[np.int64]:
    """Return the atomic numbers of chemical symbols."""
    from ase.data import atomic_numbers

    return np.array([atomic_numbers[symbol] for symbol in symbols], dtype=np.int64)


def structure_symbols(structure: orm.StructureData) -> list[str]:
    """Return the chemical symbol of every site."""
    kinds = {kind.name: kind.symbol for kind in structure.kinds}
    return [kinds[site.kind_name] for site in structure.sites]


def trajectory_arrays(frames: orm.TrajectoryData) -> dict[str, NDArray[Any]]:
    """Return ``numbers`` (N,), ``positions`` (F, N, 3) and ``cells`` (F, 3, 3) of frames."""
    return {
        'numbers': numbers_of(frames.symbols),
        'positions': np.array(frames.get_positions(), dtype=float),
        'cells': np.array(frames.get_cells(), dtype=float),
    }


def structure_arrays(structure: orm.StructureData) -> dict[str, NDArray[Any]]:
    """Return the same arrays of one structure, as a single frame."""
    return {
        'numbers': numbers_of(structure_symbols(structure)),
        'positions': np.array([[site.position for site in structure.sites]], dtype=float),
        'cells': np.array([structure.cell], dtype=float),
    }


def frames_problem(inputs: Mapping[str, Any], name: str = 'frames') -> str | None:
    """Return what is wrong with ``inputs[name]`` for ``inputs['potential']``, or ``None``."""
    frames = inputs[name]
    if isinstance(frames, orm.StructureData):
        if frames.is_alloy or frames.has_vacancies:
            return f'`{name}` has sites with partial occupancy; a potential needs one whole atom per site.'
        symbols, periodic = structure_symbols(frames), all(frames.pbc)
    else:
        if frames.get_cells() is None:
            return f'`{name}` has no cells; give periodic frames.'
        symbols, periodic = list(frames.symbols), frames.pbc is None or all(frames.pbc)
    if not periodic:
        return f'`{name}` is not periodic in all three directions.'
    potential = inputs.get('potential')
    if potential is not None:
        unknown = sorted(set(symbols) - set(potential.elements))
        if unknown:
            return (
                f'the element(s) {", ".join(unknown)} of `{name}` are unknown to `potential`, '
                f'which knows {", ".join(potential.elements)}.'
            )
    return None
