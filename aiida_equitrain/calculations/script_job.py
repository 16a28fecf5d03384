"""What all jobs share that run one Python script: ports, names of files, failures, staging."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from aiida import orm
from aiida.common.datastructures import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob
from aiida.engine.processes.calcjobs.calcjob import validate_calc_job
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from numpy.typing import NDArray
from plumpy.process_states import Wait

from aiida_equitrain.calculations.staging import digest, module_of, stage_driver
from aiida_equitrain.common.settings import Setting, settings_help, settings_problem, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData

#: Resources of one process. Copied where it is used: AiiDA changes what it is given.
SERIAL_RESOURCES = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}


#: Slurm tells the shell of a job to end along with its programs, and kills these at once when the shell is gone; so it
#: waits for the driver, which saves what it has done.
OUTLIVE = 'trap : TERM'
#: How a job can be ended from outside: exit code, label, sentence.
ENDINGS = (
    (330, 'ERROR_OUT_OF_WALLTIME', 'The job ran out of walltime; raise `max_wallclock_seconds` in `metadata.options`'),
    (331, 'ERROR_NODE_FAILURE', 'A node of the cluster failed'),
    (332, 'ERROR_PREEMPTED', 'The job had to make way for another'),
    (333, 'ERROR_CANCELLED', 'The job was cancelled'),
    (334, 'ERROR_INTERRUPTED', 'The job was ended from outside, and the scheduler does not say why'),
)


@dataclass(frozen=True)
class Output:
    """An output that a driver writes as a file.

    :param node: what it becomes; by default a ``Dict`` of JSON, arrays of ``.npz``, else the file as it is.
    :param units: by name of the array, kept as an attribute.
    :param may_lack: whether a job that has done all may have none.
    """

    file: str
    help: str
    node: type[orm.Data] | None = None
    units: dict[str, str] | None = None
    may_lack: bool = False

    @property
    def valid_type(self) -> type[orm.Data]:
        """Return the class of the node."""
        of_suffix: dict[str, type[orm.Data]] = {'.json': orm.Dict, '.npz': orm.ArrayData}
        return self.node or of_suffix.get(Path(self.file).suffix, orm.SinglefileData)


class ScriptCalculation(CalcJob):
    """Base of the jobs that run a driver of ours; a subclass names its files and fills in what the driver reads."""

    #: Name of the driver below ``drivers``; it is staged with all that it imports, see ``stage_driver``.
    DRIVER: ClassVar[str]
    #: Entry point of the parser, if it has not the name of the driver.
    PARSER: ClassVar[str]
    #: Modules that the Python of ``code`` has to have, and what to install for them; for the sentences.
    NEEDS: ClassVar[str]
    INSTALL: ClassVar[str]
    #: What helps against a lack of memory, in the message of the exit code; a job without has a code of its own.
    MEMORY: ClassVar[str] = ''
    #: Keys of the ``settings`` input; without any there is no such port.
    SETTINGS: ClassVar[dict[str, Setting]] = {}
    #: Ports without which the inputs are not checked together: a WorkChain that hides one fills it in later.
    CHECKED: ClassVar[tuple[str, ...]] = ()
    JOB, STDOUT, STDERR = 'job.json', 'driver.out', 'driver.err'
    SUMMARY, PROGRESS, FAILURE = 'summary.json', 'progress.json', 'failure.json'
    #: Outputs by name, beside the summary; their JSON is kept in ``retrieved``, other files become nodes only.
    OUTPUTS: ClassVar[dict[str, Output]] = {}
    #: Further files that become nodes.
    RESULTS: ClassVar[tuple[str, ...]] = ()
    #: ``reason`` in ``failure.json`` -> label of the exit code.
    FAILURES: ClassVar[dict[str, str]] = {
        'module_missing': 'ERROR_MODULE_MISSING',
        'out_of_memory': 'ERROR_OUT_OF_MEMORY',
        'file_changed': 'ERROR_FILE_CHANGED',
        'terminated': 'ERROR_INTERRUPTED',
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare what all scripts share."""
        super().define(spec)
        spec.input('code', valid_type=orm.AbstractCode, help=f'A Python with {cls.NEEDS}.')
        if cls.SETTINGS:
            spec.input(
                'settings',
                valid_type=orm.Dict,
                default=lambda: orm.Dict({}),
                validator=cls.validate_settings,
                help=settings_help(cls.SETTINGS),
            )
        spec.inputs.validator = cls.validate_top
        inputs: Any = spec.inputs
        options = inputs['metadata']['options']
        options['resources'].default = SERIAL_RESOURCES.copy
        options['withmpi'].default = False
        options['output_filename'].default = cls.STDOUT
        options['parser_name'].default = getattr(cls, 'PARSER', f'equitrain.{getattr(cls, "DRIVER", "")}')
        spec.output('summary', valid_type=orm.Dict, required=False, help='Settings, timings, versions, key results.')
        for name, output in cls.OUTPUTS.items():
            spec.output(name, valid_type=output.valid_type, required=False, help=output.help)
        spec.exit_code(
            310,
            'ERROR_DRIVER_FAILED',
            message='The Python script of the job stopped for an unforeseen reason: {message}',
        )
        spec.exit_code(311, 'ERROR_OUTPUT_MISSING', message='The job did not write `{filename}`.')
        spec.exit_code(312, 'ERROR_OUTPUT_UNREADABLE', message='`{filename}` cannot be read: {message}')
        spec.exit_code(
            314,
            'ERROR_FILE_CHANGED',
            message='A file is not the one that its node was stored with, and was not loaded: {message}. Import or '
            'create the node anew.',
        )
        spec.exit_code(
            322,
            'ERROR_MODULE_MISSING',
            invalidates_cache=True,  # the module may have been installed since
            message=f'The Python of `code` lacks a module; install {cls.INSTALL} for it: {{message}}',
        )
        if cls.MEMORY:
            spec.exit_code(
                323,
                'ERROR_OUT_OF_MEMORY',
                invalidates_cache=True,
                message=f'The job ran out of memory; {cls.MEMORY}: {{message}}',
            )
        for status, label, what in ENDINGS:
            # Another try may end otherwise.
            spec.exit_code(status, label, invalidates_cache=True, message=f'{what} ({{message}}).')

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the cache forget results that another version of the driver has made."""
        super().__init_subclass__(**kwargs)
        if hasattr(cls, 'DRIVER'):
            cls.CACHE_VERSION = digest(cls.DRIVER)

    @classmethod
    def validate_top(cls, inputs: dict[str, Any], ctx: Any) -> str | None:
        """Return a sentence about what only all inputs together tell; a WorkChain that hides ports is left alone."""
        problem: str | None = validate_calc_job(inputs, ctx)
        if problem or any(name not in ctx for name in cls.CHECKED):
            return problem
        return cls.validate_inputs(inputs)

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if the inputs do not fit together."""
        return None

    @classmethod
    def outputs_of(cls, inputs: Any) -> dict[str, Output]:
        """Return the outputs that a job with these inputs writes, by name."""
        return cls.OUTPUTS

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, _: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        if value is None:
            return None
        return settings_problem(dict(value), cls.SETTINGS)

    def get_settings(self) -> dict[str, Any]:
        """Return all settings, with their defaults."""
        return with_defaults(dict(self.inputs.settings), self.SETTINGS)

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        raise NotImplementedError

    def get_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the arrays that the driver reads, by the name of their ``.npz`` file."""
        return {}

    def get_copies(self) -> list[tuple[str, str, str]]:
        """Return the files that are copied from the repository: node, name there, name in the job."""
        return []

    def get_checksums(self) -> dict[str, str]:
        """Return the SHA-256 that each copied file has to have in the job's folder, before anything loads it.

        A potential says its own; the repository calls the other files by theirs.
        """
        checksums = {}
        for uuid, filename, name in self.get_copies():
            node = orm.load_node(uuid)
            stored = node.base.repository.get_object(filename).key
            checksums[name] = node.sha256 if isinstance(node, PotentialData) else str(stored)
        return checksums

    def get_node_problem(self) -> str | None:
        """Return what a potential or a dataset says that its file does not: one of an archive was never compared."""
        for uuid in dict.fromkeys(uuid for uuid, *_ in self.get_copies()):
            node = orm.load_node(uuid)
            if isinstance(node, DatasetData | PotentialData) and (problem := node.file_problem()):
                # What the file says may be one word for each frame.
                return f'{type(node).__name__} {node.pk}: {textwrap.shorten(problem, 300, placeholder=" ...")}'
        return None

    async def run(self) -> Any:
        """Go on to the upload, unless the attributes of a node are not those of its file.

        :meth:`prepare_for_submission` is too late for this: what it raises has no exit code.
        """
        result = await super().run()
        if isinstance(result, Wait) and (problem := self.get_node_problem()):
            return self.exit_codes.ERROR_FILE_CHANGED.format(message=problem)
        return result

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the driver and what it reads; large files are copied from the repository."""
        stage_driver(folder, self.DRIVER)
        with folder.open(self.JOB, 'w', encoding='utf-8') as handle:
            handle.write(json.dumps(self.get_job() | {'sha256': self.get_checksums()}, indent=1, sort_keys=True))
        for filename, arrays in self.get_arrays().items():
            with folder.open(filename, 'wb') as handle:
                np.savez(handle, **arrays)  # type: ignore[arg-type]

        code_info = CodeInfo()
        code_info.code_uuid = self.inputs.code.uuid
        code_info.cmdline_params = ['-m', module_of(self.DRIVER)]
        code_info.stdout_name, code_info.stderr_name = self.options.output_filename, self.STDERR
        calc_info = CalcInfo()
        calc_info.codes_info = [code_info]
        calc_info.prepend_text = OUTLIVE
        calc_info.local_copy_list = self.get_copies()
        names = [output.file for output in self.outputs_of(self.inputs).values()]
        kept = [self.SUMMARY, self.PROGRESS, self.FAILURE, *(name for name in names if name.endswith('.json'))]
        calc_info.retrieve_list = [*kept, self.options.output_filename, self.STDERR]
        calc_info.retrieve_temporary_list = [*self.RESULTS, *(name for name in names if name not in kept)]
        return calc_info


class PotentialScriptCalculation(ScriptCalculation):
    """Base of the jobs whose driver loads a potential."""

    NEEDS = 'MACE (or whatever the potential needs)'
    INSTALL = (
        '`aiida-equitrain[train]` (others than MACE have their own Python: `aiida-equitrain setup --with sevennet`, '
        '`aiida-equitrain setup --with nequix`)'
    )
    #: Ports that hold the potential, and the ``device``; for the sentences.
    POTENTIAL_PORT: ClassVar[str]
    DEVICE_PORT: ClassVar[str]
    FAILURES = ScriptCalculation.FAILURES | {
        'cuda_missing': 'ERROR_DEVICE_MISSING',
        'bad_potential': 'ERROR_POTENTIAL_NOT_LOADED',
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare how a potential can fail to load."""
        super().define(spec)
        spec.exit_code(
            320,
            'ERROR_POTENTIAL_NOT_LOADED',
            message=f'The file of `{cls.POTENTIAL_PORT}` cannot be loaded by the Python of `code`: {{message}}',
        )
        spec.exit_code(
            321,
            'ERROR_DEVICE_MISSING',
            invalidates_cache=True,
            message=f'The `device` of `{cls.DEVICE_PORT}` is not on the machine of `code`; use `cpu`, or a CUDA torch: '
            '{message}',
        )
