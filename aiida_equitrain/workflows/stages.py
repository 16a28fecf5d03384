"""What WorkChains do that are made of stages: hand on inputs, start a stage under its name, say why it failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, WorkChain


class StagedWorkChain(WorkChain):
    """Base of the WorkChains whose stages have an input namespace each."""

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

    def fail(self, label: str, node: Any, **values: Any) -> ExitCode:
        """Return the exit code of ``label`` with the failed process and its message."""
        code: ExitCode = self.exit_codes[label].format(**describe_failure(node), **values)
        return code


def describe_failure(node: Any) -> dict[str, str]:
    """Return ``process`` and ``message``, which messages of exit codes are filled in with."""
    message = node.exit_message or node.process_status or f'it was {node.process_state.value}'
    return {'process': f'{node.process_label}<{node.pk}>', 'message': message}
