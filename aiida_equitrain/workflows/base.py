"""Bases of the WorkChains: stages (their inputs, start, failure), and protocols (YAML, defaults, overrides)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import yaml
from aiida.common import AttributeDict
from aiida.engine import ExitCode, PortNamespace, ProcessBuilder
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import Bool, CalcJobNode, Dict, Float, Int, List, StructureData
from aiida.orm.utils.remote import clean_mapping_remote_paths, get_calcjob_remote_paths
from aiida_quantumespresso.workflows.protocols.utils import ProtocolMixin, recursive_merge

from aiida_equitrain.calculations.functions.phonons import right_handed
from aiida_equitrain.common.names import WORKCHAINS
from aiida_equitrain.common.settings import Setting
from aiida_equitrain.common.validation import refuse_quoted_numbers, refuse_unknown_nested
from aiida_equitrain.query.failures import describe_failure
from aiida_equitrain.science.structures import is_left_handed
from aiida_equitrain.workflows.checks import symmetry_hints
from aiida_equitrain.workflows.pw_keys import pw_key_hint
from aiida_equitrain.workflows.restarts import Restarts

#: Inputs of the stages that stand at the top; a dynamic namespace would take them all the same.
_HIDDEN = {'structure', 'foundation', 'potential', 'dataset', 'code', 'python_code', 'phonopy_code',
           'supercell_matrix', 'max_concurrent', 'nac', 'postprocess_code', 'clean_workdir'}  # fmt: skip
#: Settings that a protocol leaves alone: the tolerance stands at the top, the machine decides the others.
ELSEWHERE = ('symprec', 'device', 'threads')


class StagedWorkChain(Restarts):
    """Base of the WorkChains whose stages have an input namespace each."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Declare what all have."""
        super().define(spec)
        spec.input('clean_workdir', valid_type=Bool, required=False,
                   help='Delete the folders of all jobs on the computer once everything has ended.')  # fmt: skip

    def on_terminated(self) -> None:
        """Delete the folders of the jobs, if that is wanted; those that the cache has answered belong to others."""
        base: Any = super()
        base.on_terminated()
        if 'clean_workdir' not in self.inputs or not self.inputs.clean_workdir.value:
            return
        jobs = [node for node in self.node.called_descendants if isinstance(node, CalcJobNode)]
        own = [node.pk for node in jobs if node.pk and not node.base.caching.is_created_from_cache]
        paths = get_calcjob_remote_paths(own, only_not_cleaned=True) if own else None
        try:
            clean_mapping_remote_paths(paths or {}, silent=True)
        except Exception as error:  # the results are there, whatever the computer says
            self.report(f'not all folders of jobs were deleted: {error}')

    def stage_inputs(self, process: Any, namespace: str) -> AttributeDict:
        """Return the inputs of a stage, without those at the top that have the same name; empty if none are given."""
        given = self.exposed_inputs(process, namespace=namespace, agglomerate=False) if namespace in self.inputs else {}
        inputs = AttributeDict(given)
        inputs.setdefault('metadata', AttributeDict())
        return inputs

    def launch(self, process: Any, inputs: Mapping[str, Any], label: str) -> Any:
        """Submit a stage under its name, and say so."""
        inputs['metadata']['call_link_label'] = label
        node = self.submit(process, **inputs)
        self.report(f'launched {process.__name__}<{node.pk}> `{label}`')
        return node

    def right_handed(self, structure: StructureData) -> Any:
        """Return the structure, or where its cell is left-handed the same crystal in a right-handed one, and say so."""
        if not is_left_handed(structure.cell):
            return structure
        self.report('the cell of `structure` is left-handed: its lattice vectors are reversed, the crystal is the same')
        return right_handed(structure)

    def hint_symmetry(self, supercell_matrix: List | None = None) -> None:
        """Tell of crystals whose space group is higher at a looser tolerance, unless what called this has told."""
        caller: Any = self.node.caller
        if caller is not None and str(caller.process_type).startswith(WORKCHAINS):
            return
        for hint in symmetry_hints(self.inputs, supercell_matrix):
            self.report(f'WARNING: {hint}')

    def fail(self, label: str, node: Any, **values: Any) -> ExitCode:
        """Return the exit code of ``label`` with the failed process and its message."""
        code: ExitCode = self.exit_codes[label].format(**describe_failure(node), **values)
        return code


class EquitrainProtocolMixin(ProtocolMixin):  # type: ignore[misc]
    """Load the protocols of a WorkChain; a key of ``overrides`` that nothing reads is an error, not a warning.

    The YAML file holds ``default_inputs``, ``default_protocol``, ``protocols`` and, optionally, ``meta_inputs_schema``
    (keys that are no ports and have no default; a key without a value takes anything below it).
    """

    #: Name of the YAML file in ``workflows/protocols``: only what differs from the defaults of ports and tables.
    PROTOCOL: ClassVar[str]
    #: Settings by the dotted names of their ports.
    TABLES: ClassVar[dict[str, Mapping[str, Setting]]] = {}

    @classmethod
    def get_protocol_filepath(cls) -> Path:
        """Return the file that defines the protocols."""
        return Path(str(files('aiida_equitrain.workflows.protocols').joinpath(f'{cls.PROTOCOL}.yaml')))

    @classmethod
    def get_protocol_inputs(
        cls, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the inputs of a protocol with the overrides merged in.

        :param protocol: ``fast``, ``balanced``, ``stringent`` or ``paper``; the default one if ``None``.
        :param overrides: inputs in the nesting of the ports, or the path of a YAML file with them.
        :raises ValueError: if the protocol or a key of the overrides is unknown.
        """
        known = list(cls.get_available_protocols())
        if protocol is not None and protocol not in known and cls._check_if_alias(protocol) is None:
            raise ValueError(f'unknown protocol `{protocol}`: choose one of {", ".join(known)}')
        inputs: dict[str, Any] = recursive_merge(cls.get_defaults(), super().get_protocol_inputs(protocol, overrides))
        return inputs

    @classmethod
    def _load_protocol_file(cls) -> dict[str, Any]:
        return deepcopy(_read(cls.get_protocol_filepath()))

    @classmethod
    def get_defaults(cls) -> dict[str, Any]:
        """Return the defaults of the ports at the top and of :attr:`TABLES`, in the nesting of the ports."""
        defaults: dict[str, Any] = {}
        for name, port in cls.spec().inputs.items():
            if not isinstance(port, PortNamespace) and port.has_default():
                node = port.default() if callable(port.default) else port.default
                defaults[name] = node.get_dict() if isinstance(node, Dict) else getattr(node, 'value', node)
        for path, table in cls.TABLES.items():
            values: Any = {key: item.default for key, item in table.items() if key not in ELSEWHERE}
            for key in reversed(path.split('.')):
                values = {key: values}
            defaults = recursive_merge(defaults, values)
        return defaults

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides may have: nested dictionaries, ``None`` where anything may follow."""
        return schema_of(cls)

    @classmethod
    def _validate_override_keys(cls, overrides: Mapping[str, Any]) -> None:
        """Refuse unknown keys, and text where Quantum ESPRESSO wants a number.

        :raises ValueError: with the nearest right key, or what to write.
        """
        where = f'the overrides of `{cls.__name__}`'
        schema = cls.get_override_schema()
        problem = refuse_unknown_nested(overrides, schema, where)
        if problem:
            hint = pw_key_hint(problem.split('`')[1], overrides, schema)
            raise ValueError(f'{problem.partition(":")[0]}: {hint}' if hint else problem)
        problem = refuse_quoted_numbers(overrides, where) or _numbers_problem(overrides, cls.spec().inputs, where)
        if problem:
            raise ValueError(problem)


def _numbers_problem(given: Mapping[str, Any], ports: Any, where: str, path: str = '') -> str | None:
    """Return a sentence if a port for a number would get something else, or lose what is behind the point."""
    for key, value in given.items():
        port, full = ports.get(key, None), f'{path}.{key}' if path else key
        kinds = getattr(port, 'valid_type', None)
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if isinstance(port, PortNamespace):
            problem = _numbers_problem(value, port, where, full) if isinstance(value, Mapping) else None
            if problem:
                return problem
        elif value is not None and (Int in kinds or Float in kinds):
            try:
                is_meant = not isinstance(value, bool) and (Float in kinds or float(value) == int(value))
                float(value)
            except (TypeError, ValueError, OverflowError):
                is_meant = False
            if not is_meant:
                what = 'a number' if Float in kinds else 'a whole number'
                return f'`{full}` in {where} is {value!r}: give {what}'
    return None


@cache
def _read(path: Path) -> dict[str, Any]:
    """Return what a protocol file holds; a builder asks for each several times, and YAML is slow."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding='utf-8'))
    return content


def schema_of(workchain: Any) -> dict[str, Any]:
    """Return the override keys of a WorkChain with protocols: those of its YAML file and its ports.

    Below a port that holds a node or a dictionary anything may follow: the port validates itself.
    """
    data = workchain._load_protocol_file()
    schema: dict[str, Any] = {}
    for layer in (data['default_inputs'], *data['protocols'].values()):
        schema = recursive_merge(schema, _open_ends(layer))
    schema = recursive_merge(schema, _keys(workchain.spec().inputs))
    schema = recursive_merge(schema, _open_ends(data.get('meta_inputs_schema') or {}))
    schema.pop('description', None)
    return schema


def _keys(namespace: PortNamespace) -> dict[str, Any]:
    """Return the nested keys of ports; a namespace that declares none takes any."""
    return {key: (_keys(port) or None) if isinstance(port, PortNamespace) else None for key, port in namespace.items()}


def _open_ends(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of nested defaults; an empty dictionary takes any key."""
    return {key: (_open_ends(value) or None) if isinstance(value, Mapping) else None for key, value in values.items()}


def fill(builder: ProcessBuilder, process: Any, namespace: str, stage: Any) -> None:
    """Take over the inputs of a stage's builder, those that stand at the top left out."""
    setattr(builder, namespace, _exposed(stage._inputs(prune=True), process.spec().inputs[namespace]))


def _exposed(values: dict[str, Any], ports: Any) -> dict[str, Any]:
    """Return the values for which there are ports."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        port = ports.get(key) if key in ports else None
        # A namespace of jobs that are hidden here would be taken by a dynamic one all the same.
        if port is None and (not ports.dynamic or key in _HIDDEN or isinstance(value, dict)):
            continue
        kept[key] = _exposed(value, port) if isinstance(value, dict) and hasattr(port, 'dynamic') else value
    return kept
