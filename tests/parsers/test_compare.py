"""The parser of comparisons on folders as jobs leave them, one per failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.calculations.compare import CompareCalculation
from aiida_equitrain.parsers.script_job import ScriptParser

GOOD = {'comparison.json': {'candidates': {}}, 'summary.json': {'seconds': 1.0}}


def parse(tmp_path: Path, localhost: Any, files: dict[str, Any], arrays: bool = True, status: int = 0) -> Any:
    """Return outputs and exit code of the parser for a job that left ``files``."""
    node = orm.CalcJobNode(computer=localhost, process_type='aiida.calculations:equitrain.compare')
    node.set_option('output_filename', 'driver.out')
    node.set_option('resources', {'num_machines': 1})
    if status:
        node.set_exit_status(status)
        node.set_exit_message('from the scheduler')
    node.store()
    retrieved = orm.FolderData()
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        retrieved.base.repository.put_object_from_bytes(text.encode(), name)
    retrieved.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='retrieved')
    retrieved.store()
    if arrays:
        np.savez(tmp_path / 'bands.npz', distances=np.arange(3.0), labels=np.array([['Γ', 'X']]))
        np.savez(tmp_path / 'thermal.npz', temperatures=np.arange(3.0))
    parser = ScriptParser(node)
    code = parser.parse(retrieved_temporary_folder=str(tmp_path))
    return parser.outputs, code


def test_success(tmp_path: Path, aiida_profile_clean: Any, aiida_localhost: Any) -> None:
    outputs, code = parse(tmp_path, aiida_localhost, GOOD)
    assert code is None
    assert set(outputs) == {'comparison', 'summary', 'bands', 'thermal'}


@pytest.mark.parametrize(
    ('reason', 'label'),
    [*CompareCalculation.FAILURES.items(), ('crashed', 'ERROR_DRIVER_FAILED')],
)
def test_known_failures(
    tmp_path: Path, aiida_profile_clean: Any, aiida_localhost: Any, reason: str, label: str
) -> None:
    files = {'failure.json': {'reason': reason, 'message': 'because'}, 'comparison.json': {'candidates': {}}}
    outputs, code = parse(tmp_path, aiida_localhost, files, arrays=False)
    assert code.status == CompareCalculation.exit_codes[label].status
    assert 'because' in code.message
    assert set(outputs) == {'comparison'}


def test_missing_and_unreadable(tmp_path: Path, aiida_profile_clean: Any, aiida_localhost: Any) -> None:
    outputs, code = parse(tmp_path, aiida_localhost, GOOD, arrays=False)
    assert code.status == CompareCalculation.exit_codes.ERROR_OUTPUT_MISSING.status
    assert 'bands.npz' in code.message
    assert set(outputs) == {'comparison', 'summary'}
    _, code = parse(tmp_path, aiida_localhost, {**GOOD, 'comparison.json': '{'})
    assert code.status == CompareCalculation.exit_codes.ERROR_OUTPUT_UNREADABLE.status


def test_scheduler_code_survives(tmp_path: Path, aiida_profile_clean: Any, aiida_localhost: Any) -> None:
    _, code = parse(tmp_path, aiida_localhost, {}, arrays=False, status=131)
    assert (code.status, code.message) == (131, 'from the scheduler')
