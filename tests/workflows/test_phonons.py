"""Phonons: what a builder holds, sentences for wrong input, and real runs with the potential and with pw.x."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory

from aiida_equitrain.calculations.functions.phonons import stability

SUPERCELL = [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
#: A coarse mesh and few temperatures: tests look at the plumbing.
CHEAP = {'settings': {'mesh': [8, 8, 8], 'temperature_step_k': 100.0}}


@pytest.fixture
def make_builder(silicon: Any, phonopy_code: Any, python_code: Any, starter: Any) -> Any:
    """Return a factory of builders with the potential; ``None`` removes an argument."""

    def factory(**changes: Any) -> Any:
        arguments = {
            'structure': silicon,
            'phonopy_code': phonopy_code,
            'potential': starter,
            'python_code': python_code,
            'supercell_matrix': SUPERCELL,
            'protocol': 'fast',
            'overrides': CHEAP,
        }
        arguments = {key: value for key, value in (arguments | changes).items() if value is not None}
        return WorkflowFactory('equitrain.phonons').get_builder_from_protocol(**arguments)

    return factory


@pytest.mark.real
def test_potential(make_builder: Any) -> None:
    """One relaxation, one job of forces, two of phonopy; all outputs are there and are those of silicon."""
    outputs, node = run_get_node(make_builder())
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    jobs = sorted(child.process_label for child in node.called if isinstance(child, orm.CalcJobNode))
    assert jobs == ['ForcesCalculation', 'PhonopyCalculation', 'PhonopyCalculation', 'RelaxCalculation']
    expected = {
        'bands', 'force_constants', 'forces', 'phonopy_data', 'relaxed_structure', 'stability', 'supercell_matrix',
        'thermal_properties', 'total_dos',
    }  # fmt: skip
    assert set(outputs) == expected
    assert outputs['force_constants'].get_array('force_constants').shape[1:] == (16, 3, 3)
    print(outputs['stability'].get_dict(), outputs['bands'].labels)
