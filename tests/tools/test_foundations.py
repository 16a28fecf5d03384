"""Foundation potentials of one's own: model files, and the names that MACE has for its models."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.common.foundations import FOUNDATIONS
from aiida_equitrain.common.strategies import FAMILIES
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.setup import foundations, setup
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.foundations import import_potential

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


@pytest.mark.real
@pytest.mark.parametrize('name', FOUNDATIONS)
def test_cards_of_those_that_we_know(name: str) -> None:
    """What they recommend is right, and for strategies that their families have."""
    known = FOUNDATIONS[name]
    assert foundations.card_problem(known.card) is None
    assert set(known.finetune) <= set(FAMILIES[known.family].engines)


@pytest.fixture
def names(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a name of MACE's stand for a file of the server on this machine; return that file."""
    from mace.calculators import foundations_models

    url, folder = server
    file = Path(shutil.copy(TINY_MODEL, folder / 'mpa.model'))
    monkeypatch.setitem(foundations_models.mace_mp_urls, 'medium-mpa-0', f'{url}/{file.name}')
    setup.pins().file.unlink(missing_ok=True)
    return file


def test_file(tmp_path: Path) -> None:
    """A file becomes a potential with its card; the same again is found, another under its label refused."""
    file = Path(shutil.copy(TINY_MODEL, tmp_path / 'mine.model'))
    card = {'description': 'of us', 'finetune': {'transfer': {'lr': 0.002}, 'lora': {'beta': 0.8}}}
    node, is_new = import_potential(str(file), functional='PBEsol', card=card)
    assert is_new
    assert (node.label, node.origin) == ('mine', 'mine.model')
    assert node.card == {'name': 'mine', 'functional': 'PBEsol', **card}
    again, is_new = import_potential(str(file))
    assert (again.pk, is_new) == (node.pk, False)
    with file.open('ab') as handle:
        handle.write(b'more')
    with pytest.raises(ValueError, match=r'another potential bears the label `mine`.*`--label`'):
        import_potential(str(file))


@pytest.mark.real
def test_name(names: Path, server: tuple[str, Path]) -> None:
    """A name is downloaded once, its sum is kept, and the node says where it came from."""
    seen: list[tuple[int, int]] = []
    node, is_new = import_potential('medium-mpa-0', progress=lambda *done: seen.append(done))
    assert is_new
    assert (node.label, node.origin) == ('medium-mpa-0', f'{server[0]}/mpa.model')
    assert setup.pins().read() == {'medium-mpa-0': node.sha256}
    assert seen[-1] == (node.n_bytes, node.n_bytes)
    names.unlink()
    again, is_new = import_potential('medium-mpa-0')
    assert (again.pk, is_new) == (node.pk, False)


def test_another_file_than_before(names: Path) -> None:
    """What the name stands for may not change, here or for the publisher."""
    import_potential('medium-mpa-0', label='first')
    with names.open('ab') as handle:
        handle.write(b'more')
    with pytest.raises(DownloadError, match=r'another file than before.*It was not used'):
        import_potential('medium-mpa-0', label='second')
    with pytest.raises(DownloadError, match='expected is abc'):
        import_potential('medium-mpa-0', label='second', sha256='abc')
    with pytest.raises(DownloadError, match='not abc'):
        import_potential(str(TINY_MODEL), sha256='abc')
    assert orm.QueryBuilder().append(PotentialData).count() == 1
    # The message named the command that takes the sum away.
    result = CliRunner().invoke(cmd_root, ['potential', 'forget', 'medium-mpa-0'])
    assert result.output.startswith('Forgot medium-mpa-0, SHA-256')
    assert import_potential('medium-mpa-0', label='second')[1]
    result = CliRunner().invoke(cmd_root, ['potential', 'forget', 'medium-mpa-1'])
    assert 'no SHA-256 is kept for `medium-mpa-1`: did you mean `medium-mpa-0`?' in result.output


def test_no_model(names: Path) -> None:
    """A page that asks for a login is neither stored nor pinned, and the model can be had later."""
    model = names.read_bytes()
    names.write_text('<html>Please log in</html>')
    with pytest.raises(DownloadError, match='is no potential'):
        import_potential('medium-mpa-0')
    assert setup.pins().read() == {}
    names.write_bytes(model)
    assert import_potential('medium-mpa-0')[1]


def test_published_sum_is_held(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """MACE-MP-0b3 has the label that the set-up gives it, and a sum that is known beforehand."""
    url, folder = server
    shutil.copy(TINY_MODEL, folder / 'other.model')
    monkeypatch.setattr(foundations, 'MACE_MP_0B3_URL', f'{url}/other.model')
    with pytest.raises(DownloadError, match=foundations.MACE_MP_0B3_SHA256):
        import_potential('medium-0b3')
    node = foundations.store_potential(TINY_MODEL, {}, f'{url}/other.model', 'mace-mp-0b3')
    assert import_potential('medium-0b3') == (node, False)


def test_what_was_compared_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is exchanged after its SHA-256 was compared is not stored; the sum may have capitals."""
    file = tmp_path / 'a.model'
    shutil.copy(TINY_MODEL, file)
    digest = hashlib.sha256(TINY_MODEL.read_bytes()).hexdigest()

    def read_and_exchange(path: Path) -> bytes:
        content = path.read_bytes()
        path.write_bytes(b'another one')
        return content

    monkeypatch.setattr(foundations, 'read_model_bytes', read_and_exchange)
    node, is_new = import_potential(str(file), sha256=digest.upper())
    assert is_new
    assert node.checked_sha256() == digest


@pytest.mark.parametrize(
    ('source', 'more', 'sentence'),
    [
        ('medium-0b4', {}, 'neither a file `medium-0b4` nor a model .*did you mean `medium-0b'),
        (__file__, {}, 'is no potential: the file is no PyTorch model'),
        (str(TINY_MODEL), {'head': 'nothing'}, '`nothing`'),
        (str(TINY_MODEL), {'card': {'finetune': {'lorra': {}}}}, 'did you mean `lora`'),
        (str(TINY_MODEL), {'card': {'finetune': {'lora': {'lrr': 1}}}}, 'did you mean `lr`'),
        (str(TINY_MODEL), {'card': {'finetune': {'lora': 1}}}, 'strategy: {hyperparameter: value}'),
        (str(TINY_MODEL), {'card': ['name']}, 'of the form {name: value}'),
    ],
)
def test_refused(source: str, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ValueError, DownloadError), match=sentence):
        import_potential(source, **more)
    assert orm.QueryBuilder().append(PotentialData).count() == 0


def test_without_mace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names need mace-torch here, files do not."""
    monkeypatch.setitem(sys.modules, 'mace.calculators.foundations_models', None)
    with pytest.raises(ValueError, match='install `aiida-equitrain\\[train\\]`, or give the model file'):
        import_potential('medium-mpa-0')
    assert import_potential(str(TINY_MODEL))[1]
