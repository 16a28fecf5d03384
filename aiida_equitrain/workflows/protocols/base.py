"""Protocols: defaults plus deltas in a YAML file, with unknown override keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from aiida.engine import PortNamespace
from aiida_quantumespresso.workflows.protocols.utils import ProtocolMixin, recursive_merge

from aiida_equitrain.common.validation import refuse_unknown_nested


class EquitrainProtocolMixin(ProtocolMixin):
    """Load the protocols of a WorkChain; a key of ``overrides`` that nothing reads is an error, not a warning.

    The YAML file holds ``default_inputs``, ``default_protocol``, ``protocols`` and, optionally, ``meta_inputs_schema``
    (keys that are no ports and have no default; a key without a value takes anything below it).
    """

    #: Name of the YAML file, which lies beside this one.
    PROTOCOLS: ClassVar[str]

    @classmethod
    def get_protocol_filepath(cls) -> Path:
        """Return the path of the YAML file of the protocols."""
        return Path(__file__).with_name(f'{cls.PROTOCOLS}.yaml')

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
        inputs: dict[str, Any] = super().get_protocol_inputs(protocol, overrides)
        return inputs

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides may have: nested dictionaries, ``None`` where anything may follow."""
        return schema_of(cls)

    @classmethod
    def _validate_override_keys(cls, overrides: Mapping[str, Any]) -> None:
        """Refuse unknown keys.

        :raises ValueError: with the nearest right key.
        """
        problem = refuse_unknown_nested(overrides, cls.get_override_schema(), f'the overrides of `{cls.__name__}`')
        if problem:
            raise ValueError(problem)


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
