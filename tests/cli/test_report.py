"""`aiida-equitrain report`: page and pictures of a finished job; wrong input ends in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.engine import run_get_node
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.workflows.finetune import FinetuneWorkChain


def report(*arguments: Any) -> Any:
    """Run the command."""
    return CliRunner().invoke(cmd_root, ['report', *(str(argument) for argument in arguments)])


def test_sentences(aiida_profile: Any) -> None:
    """No such node, and a node that is no job, are said in one sentence without a traceback."""
    for identifier, sentence in (
        ('999999', 'there is no node `999999`'),
        ('not-a-uuid', 'there is no node `not-a-uuid`'),
        (orm.Int(1).store().pk, 'a report is made of a job of `aiida-equitrain launch`'),
    ):
        result = report(identifier)
        assert result.exit_code == 1
        assert sentence in result.output
        assert isinstance(result.exception, SystemExit)
        assert len(result.output.strip().splitlines()) == 1


@pytest.mark.thorough
@pytest.mark.thorough
@pytest.mark.real
def test_finished_job(
    starter: Any, tiny_dataset: Any, python_code: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fine-tuning has its page, its pictures, its summary, and the places and commands on the terminal."""
    builder = FinetuneWorkChain.get_builder_from_protocol(
        foundation=starter, dataset=tiny_dataset, python_code=python_code, protocol='fast',
        overrides={'train': {'hyperparameters': {'epochs': 2}}},
    )  # fmt: skip
    node = run_get_node(builder).node
    assert node.is_finished_ok, node.exit_message
    monkeypatch.chdir(tmp_path)
    result = report(node.pk)
    assert result.exit_code == 0, result.output
    folder = tmp_path / 'equitrain-report'
    assert {'report.html', 'summary.json', 'learning.png', 'parity.png'} <= {path.name for path in folder.iterdir()}
    for path in folder.glob('*.png'):
        assert path.read_bytes().startswith(b'\x89PNG')
    assert str(folder / 'report.html') in result.output
    assert f'verdi process status {node.pk}' in result.output
    assert json.loads((folder / 'summary.json').read_text())['strategy'] == 'l2-tsp'
    # Again, elsewhere, by UUID.
    assert report(node.uuid, '-o', tmp_path / 'other').exit_code == 0
    assert (tmp_path / 'other' / 'report.html').exists()
