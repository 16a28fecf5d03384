"""What WorkChains do that are made of stages: hand on inputs, start a stage under its name, say why it failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, WorkChain
from aiida.orm import List, StructureData

from aiida_equitrain.calculations.functions.phonons import right_handed
from aiida_equitrain.science.structures import is_left_handed
from aiida_equitrain.workflows.common import symmetry_hints

#: How the process types of our WorkChains begin.
OURS = 'aiida.workflows:equitrain.'


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

    def right_handed(self, structure: StructureData) -> Any:
        """Return the structure, or where its cell is left-handed the same crystal in a right-handed one, and say so."""
        if not is_left_handed(structure.cell):
            return structure
        self.report('the cell of `structure` is left-handed: its lattice vectors are reversed, the crystal is the same')
        return right_handed(structure)

    def hint_symmetry(self, supercell_matrix: List | None = None) -> None:
        """Tell of crystals whose space group is higher at a looser tolerance, unless what called this has told."""
        caller: Any = self.node.caller
        if caller is not None and str(caller.process_type).startswith(OURS):
            return
        for hint in symmetry_hints(self.inputs, supercell_matrix):
            self.report(f'WARNING: {hint}')

    def fail(self, label: str, node: Any, **values: Any) -> ExitCode:
        """Return the exit code of ``label`` with the failed process and its message."""
        code: ExitCode = self.exit_codes[label].format(**describe_failure(node), **values)
        return code


def describe_failure(node: Any) -> dict[str, str]:
    """Return ``process`` and ``message``, which messages of exit codes are filled in with."""
    message = node.exit_message or node.process_status or f'it was {node.process_state.value}'
    return {'process': f'{node.process_label}<{node.pk}>', 'message': message}
