"""`verdi data equitrain-potential` and `verdi data equitrain-dataset`: our commands, beside those of AiiDA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import pytest
from aiida.cmdline.commands.cmd_verdi import verdi
from click.testing import CliRunner, Result

from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.frames import Frames

FIXTURES = Path(__file__).parents[1] / 'fixtures'
TINY_MODEL = FIXTURES / 'tiny_mace.model'


@pytest.fixture
def invoke(aiida_profile_clean: Any) -> Any:
    def run(*arguments: Any) -> Result:
        return CliRunner().invoke(verdi, ['data', *map(str, arguments)])

    return run


def test_potential(invoke: Any, tmp_path: Path) -> None:
    """Store a model file, find it in the list, look at it, and write the same file again."""
    result = invoke('equitrain-potential', 'import', TINY_MODEL, '--label', 'tiny')
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(invoke('equitrain-potential', 'list', '--json').output)
    assert entry['label'] == 'tiny'
    assert f'SHA-256 {PotentialData(TINY_MODEL).sha256}' in invoke('equitrain-potential', 'show', 'tiny').output
    result = invoke('equitrain-potential', 'export', entry['pk'], tmp_path / 'out.model')
    assert result.exit_code == 0, result.output
    assert (tmp_path / 'out.model').read_bytes() == TINY_MODEL.read_bytes()


def test_dataset(invoke: Any, tmp_path: Path) -> None:
    """Store labelled frames, and find them in the list."""
    frames = Frames.load(FIXTURES / 'si8_pbe.npz')
    ase.io.write(tmp_path / 'frames.xyz', [frame.to_atoms(keys=True) for frame in frames], format='extxyz')
    result = invoke('equitrain-dataset', 'import', tmp_path / 'frames.xyz', '--functional', 'PBE', '--label', 'mine')
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(invoke('equitrain-dataset', 'list', '--json').output)
    assert (entry['label'], entry['n_frames'], entry['functional']) == ('mine', len(frames), 'PBE')


@pytest.mark.real
@pytest.mark.parametrize(
    'words',
    [
        ('equitrain-potential', 'show', 'nothing'),
        ('equitrain-potential', 'import', __file__),
        ('equitrain-dataset', 'import', __file__, '--functional', 'PBE'),
    ],
    ids=lambda words: ' '.join(words[:2]),
)
def test_failures(invoke: Any, words: tuple[str, ...]) -> None:
    """What goes wrong is a sentence, as with our own command."""
    result = invoke(*words)
    assert result.exit_code == 1
    assert result.output.startswith('Error: ')
    assert 'Traceback' not in result.output
