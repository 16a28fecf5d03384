"""`aiida-equitrain potential`: what is shown, what is written, and what is refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science import nequix_file
from aiida_equitrain.science.adapter import make_adapter

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
TENSOR = 'readouts.0.linear.weight'


@pytest.fixture
def invoke(aiida_profile: Any) -> Any:
    def run(*arguments: Any, answer: str = '') -> Any:
        return CliRunner().invoke(cmd_root, ['potential', *map(str, arguments)], input=answer)

    return run


@pytest.fixture
def tiny(aiida_profile: Any) -> PotentialData:
    return PotentialData(TINY_MODEL, origin='the tests').store()


@pytest.fixture
def tuned(tiny: PotentialData) -> PotentialData:
    before, after = ({TENSOR: np.full(8, value, dtype=np.float32)} for value in (0.0, 0.25))
    about = {'foundation_sha256': tiny.sha256, 'strategy': 'l2-tsp', 'dtype': 'float32', 'head': tiny.head}
    return PotentialData.from_adapter(make_adapter(before, after, **about), foundation=tiny).store()


@pytest.mark.real
def test_import(invoke: Any, tmp_path: Path) -> None:
    """A file is stored under a label, by which it is found; what is wrong is said."""
    card = tmp_path / 'card.json'
    card.write_text('{"description": "of us"}')
    result = invoke('import', TINY_MODEL, '--label', 'imported', '--functional', 'PBE', '--card', card)
    assert result.exit_code == 0, result.output
    assert '--foundation imported' in result.output
    assert 'ScaleShiftMACE' in invoke('show', 'imported').output
    assert 'It is there: `imported`' in invoke('import', TINY_MODEL, '--label', 'imported').output
    card.write_text('{')
    assert '`--card` is no JSON' in invoke('import', TINY_MODEL, '--card', card).output
    assert 'neither a file' in invoke('import', 'largest').output


def test_show(invoke: Any, tuned: PotentialData) -> None:
    result = invoke('show', tuned.pk)
    assert result.exit_code == 0, result.output
    for text in ('adapter', 'ScaleShiftMACE', 'Na Si Cl', tuned.sha256, tuned.foundation.sha256):
        assert text in result.output


@pytest.mark.real
def test_export(invoke: Any, tuned: PotentialData, python_code: Any, tmp_path: Path) -> None:
    """An adapter is put together by a job; that of an archive with the user's leave; nothing is ever overwritten."""
    import torch

    file, python = tmp_path / 'tuned.model', ('--python', python_code.full_label)
    orm.ImportGroup(label='of somebody').store().add_nodes([tuned.foundation])
    jobs = orm.QueryBuilder().append(orm.CalcJobNode, filters={'label': {'like': '%, for LAMMPS'}})
    before = jobs.count()
    result = invoke('export', tuned.pk, file, *python, answer='n\n')
    assert result.exit_code == 1
    assert f'foundation, PK {tuned.foundation.pk}) came with an archive' in result.output
    assert not file.exists()
    assert jobs.count() == before
    result = invoke('export', tuned.pk, file, *python, answer='y\n')
    assert result.exit_code == 0, result.output
    state = torch.load(file, weights_only=False).state_dict()
    assert torch.equal(state[TENSOR], torch.full((8,), 0.25))
    assert jobs.count() == before + 1
    written = file.read_bytes()
    result = invoke('export', tuned.pk, file, '--yes')
    assert result.exit_code == 1
    assert 'is not overwritten' in result.output
    assert file.read_bytes() == written


def test_export_of_a_full_model(invoke: Any, tiny: PotentialData, tmp_path: Path) -> None:
    """The stored file is copied: nothing runs, so nothing is asked."""
    result = invoke('export', tiny.pk, tmp_path / 'full.model')
    assert result.exit_code == 0, result.output
    assert (tmp_path / 'full.model').read_bytes() == TINY_MODEL.read_bytes()


def test_sentences(invoke: Any, tuned: PotentialData, tmp_path: Path) -> None:
    assert 'there is no potential `nothing`' in invoke('export', 'nothing', tmp_path / 'a.model').output
    assert 'there is no folder' in invoke('export', tuned.pk, tmp_path / 'none' / 'a.model', '-y').output
    result = invoke('export', tuned.pk, tmp_path / 'a.model', '--python', 'none@localhost')
    assert result.exit_code == 1
    assert 'the model file cannot be made: there is no code `none@localhost`: run' in result.output
    assert list(tmp_path.iterdir()) == []


def test_export_of_nequix(invoke: Any, tiny_nequix: PotentialData, tmp_path: Path) -> None:
    """An adapter to a Nequix is put together from arrays: nothing runs, so nothing is asked."""
    header, before = nequix_file.read(tiny_nequix.get_content('rb'))
    after = {**before, 'readout.weight': before['readout.weight'] * 2}
    about = {'foundation_sha256': tiny_nequix.sha256, 'strategy': 'freeze', 'dtype': 'float32'}
    node = PotentialData.from_adapter(make_adapter(before, after, **about), foundation=tiny_nequix).store()
    result = invoke('export', node.pk, tmp_path / 'tuned.nqx')
    assert result.exit_code == 0, result.output
    again, found = nequix_file.read((tmp_path / 'tuned.nqx').read_bytes())
    assert again == header
    assert all(np.array_equal(found[name], values) for name, values in after.items())
    assert 'salt/train' in invoke('show', node.pk).output
