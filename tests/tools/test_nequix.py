"""The set-up of Nequix, its foundations by name and by file, and which foundation is the default."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.common.exceptions import NotExistent
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.common import foundations as table
from aiida_equitrain.common.foundations import BEST, FOUNDATIONS, foundations_with, remedy_for
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.launch.foundation import take_foundation
from aiida_equitrain.setup import checks, defaults, environment, nequix, setup
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.foundations import import_potential, store_potential

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')
TINY_MACE = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'


@pytest.fixture
def published(nequix_file: Callable[..., Path], server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the best foundation be a small file with random weights on a server of this machine; return that file."""
    url, folder = server
    file = Path(shutil.copy(nequix_file(), folder / f'{BEST}.nqx'))
    known = replace(FOUNDATIONS[BEST], sha256=sha256(file.read_bytes()).hexdigest(), url=f'{url}/{file.name}')
    monkeypatch.setitem(FOUNDATIONS, BEST, known)
    return file


def items(python: str | None = None, **options: Any) -> dict[str, setup.Item]:
    return {item.name: item for item in nequix.run_setup(setup.Options(**options), python)}


def test_offline(computer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Install nothing, and say what to do."""
    monkeypatch.setattr(environment, 'default_environment', lambda _: tmp_path / 'none')
    (item,) = items(offline=True).values()
    assert (item.name, item.state) == ('python-nequix', 'missing')
    assert '--nequix-python PATH' in item.text
    found = items(sys.executable, offline=True)
    assert (found['python-nequix'].state, found[BEST].state) == ('created', 'missing')
    assert FOUNDATIONS[BEST].url in found[BEST].text
    assert f'potential import {BEST}.nqx' in found[BEST].text


def test_python_without_nequix(computer: Any) -> None:
    """The code is made as asked for; that it has no Nequix is found by the check."""
    items(sys.executable, offline=True)
    with pytest.raises(checks.CheckError, match='setup --with nequix'):
        checks.check_extra(nequix.RECIPE, defaults.find_code('python-nequix'))
    result = CliRunner().invoke(cmd_root, ['setup', '--check'])
    assert f'FAILED  {BEST}: there is no potential `{BEST}`: run `aiida-equitrain setup --with nequix`' in result.output


def test_foundation(computer: Any, published: Path) -> None:
    """It is fetched once, and held to its SHA-256."""
    assert {name: item.state for name, item in items(sys.executable).items()} == {
        'python-nequix': 'created', BEST: 'created',
    }  # fmt: skip
    node = defaults.stored_foundation(BEST)
    assert (node.label, node.family, node.trained_on) == (BEST, 'nequix', ['salt/train'])
    assert (node.card['licence'], node.origin) == ('MIT', FOUNDATIONS[BEST].url)
    count = orm.QueryBuilder().append(orm.Node).count()
    assert {item.state for item in items(sys.executable).values()} == {'found'}
    assert orm.QueryBuilder().append(orm.Node).count() == count


def test_other_file_is_refused(computer: Any, published: Path, nequix_file: Callable[..., Path]) -> None:
    published.write_bytes(nequix_file(scale=0.9).read_bytes())
    found = items(sys.executable)[BEST]
    assert found.state == 'missing'
    assert 'It was not used' in found.text
    with pytest.raises(DownloadError, match=r'(?s)It was not used.*potential import FILE'):
        import_potential(BEST)
    assert orm.QueryBuilder().append(PotentialData).count() == 0


def test_import_by_name_and_by_file(published: Path, tmp_path: Path) -> None:
    """A file with a SHA-256 that we know is known, whatever its name."""
    for sum_, sentence in (('0' * 64, 'was published with the SHA-256'),):
        with pytest.raises(DownloadError, match=sentence):
            import_potential(BEST, sha256=sum_)
    other = Path(shutil.copy(published, tmp_path / 'anything.nqx'))
    node, is_new = import_potential(str(other))
    assert is_new
    assert (node.label, node.card['name'], node.card['licence']) == (BEST, BEST, 'MIT')
    again, is_new = import_potential(BEST)
    assert (again.pk, is_new) == (node.pk, False)
    with pytest.raises(ValueError, match='`aiida-equitrain setup --with sevennet` stores it'):
        import_potential('sevennet-l3i5')
    result = CliRunner().invoke(cmd_root, ['potential', 'show', BEST])
    assert 'trained on' in result.output
    assert 'salt/train' in result.output


def test_import_by_command(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the documentation has it: by the name of a model that is not the best, and by file."""
    monkeypatch.setitem(FOUNDATIONS, 'nequix-mp-1', replace(FOUNDATIONS[BEST], title='nequix-mp-1'))
    result = CliRunner().invoke(cmd_root, ['potential', 'import', 'nequix-mp-1'])
    assert result.exit_code == 0, result.output
    assert '--foundation nequix-mp-1' in result.output
    shutil.copy(published, tmp_path / 'nequix-oam-1-pft.nqx')
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cmd_root, ['potential', 'import', 'nequix-oam-1-pft.nqx'])
    assert result.exit_code == 0, result.output
    assert f'--foundation {BEST}' in result.output


def test_pinned() -> None:
    """Every name has its sum; an address is of the publisher and of one commit."""
    assert [name for name in FOUNDATIONS if name.startswith('nequix')] != []
    for known in FOUNDATIONS.values():
        assert len(known.sha256) == 64
        assert known.url == '' or known.url.startswith('https://github.com/')
        assert known.licence.startswith('MIT')
    assert len({known.sha256 for known in FOUNDATIONS.values()}) == len(FOUNDATIONS)


def default(**chosen: Any) -> tuple[str, str]:
    """Return the label of the foundation that a command takes, and what it says."""
    node, lines = take_foundation({'foundation': None, **chosen})
    return node.label, '\n'.join(lines)


@pytest.mark.real
def test_default(computer: Any, published: Path, starter: Any, make_code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of what is stored and can be run; the paper's protocol keeps to MACE; what is better is said."""
    with pytest.raises(NotExistent, match='there is no foundation potential'):
        default()
    with pytest.raises(NotExistent, match='`aiida-equitrain setup --with nequix` gets it'):
        take_foundation({'foundation': BEST})
    list(setup.ensure_foundation(setup.Options(offline=True)))
    label, text = default()
    assert label == 'starter'
    assert 'whose phonons are off by 0.12 (AlN), 0.031 (NaCl), 0.19 (Si) THz before any label' in text
    assert 'Better: `nequix-oam-1-pft`, off by 0.06 (AlN), 0.026 (NaCl), 0.071 (Si) THz before any label' in text
    assert '`aiida-equitrain setup --with nequix` gets it' in text
    # The potential without a Python for it is of no use.
    import_potential(str(published))
    assert default()[0] == 'starter'
    items(sys.executable, offline=True)
    label, text = default(strategy='l2-tsp', protocol='balanced')
    assert label == BEST
    assert 'off by 0.06 (AlN)' in text
    assert 'the best here' in text
    assert 'Better' not in text
    # Of another foundation before it in the table it knows nothing; MACE-MP-0b3 comes before the starter.
    monkeypatch.setitem(
        FOUNDATIONS,
        'mace-mp-0b3',
        replace(FOUNDATIONS['mace-mp-0b3'], sha256=sha256(TINY_MACE.read_bytes()).hexdigest()),
    )
    store_potential(TINY_MACE, {}, 'here', 'mace-mp-0b3')
    assert default()[0] == BEST
    for chosen in ({'protocol': 'paper'}, {'python': 'python@localhost'}, {'strategy': 'multihead'},
                   {'strategy': 'lora', 'engine': 'mace'}, {'strategies': ['l2-tsp', 'scratch']}):  # fmt: skip
        assert default(**chosen)[0] == 'mace-mp-0b3', chosen
    assert 'as in the paper' in default(protocol='paper')[1]
    assert default(python='python-nequix@localhost')[0] == BEST
    # Nobody takes one unasked whose licence forbids something.
    monkeypatch.setitem(FOUNDATIONS, BEST, replace(FOUNDATIONS[BEST], restricted=True))
    assert default()[0] == 'mace-mp-0b3'


def test_named(published: Path, tmp_path: Path, starter: Any) -> None:
    """A label, a PK or a model file, which is stored."""
    node, lines = take_foundation({'foundation': str(published)})
    assert (node.label, node.is_stored) == (BEST, True)
    errors = '0.06 (AlN), 0.026 (NaCl), 0.071 (Si) THz'
    assert lines == [f'Foundation: `{BEST}` (PK {node.pk}), whose phonons are off by {errors} before any label.']
    assert take_foundation({'foundation': BEST})[0].pk == node.pk
    assert take_foundation({'foundation': str(starter.store().pk)})[0].pk == starter.pk
    (tmp_path / 'no.nqx').write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match='is no potential'):
        take_foundation({'foundation': str(tmp_path / 'no.nqx')})


def test_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one where `nvidia-smi` is there and answers."""
    monkeypatch.setenv('PATH', str(tmp_path))
    assert not environment.has_gpu()
    program = tmp_path / 'nvidia-smi'
    for status, expected in ((9, False), (0, True)):
        program.write_text(f'#!{sys.executable}\nimport sys\nsys.exit({status})\n')
        program.chmod(0o755)
        assert environment.has_gpu() is expected


def test_elements() -> None:
    """Which foundations know an element, and how to get the best of them."""
    assert foundations_with(['Po']) == []
    assert foundations_with(['Au', 'Pu']) == list(FOUNDATIONS)
    assert remedy_for(['Au']).startswith('Foundations that do: `nequix-oam-1-pft`, `nequix-mp-1`, `mace-mp-0b3`')
    assert '`aiida-equitrain setup --with nequix` gets the first, and `--foundation nequix-oam-1-pft`' in remedy_for(
        ['Au']
    )
    assert '`aiida-equitrain potential import FILE`' in remedy_for(['Po', 'Au'])
    from ase.data import chemical_symbols

    assert table.ELEMENTS.split() == chemical_symbols[1:84] + chemical_symbols[89:95]


@pytest.mark.real
def test_creates_then_finds(computer: Any, nequix_python: str, published: Path) -> None:
    """The check runs the Python."""
    items(nequix_python)
    result = CliRunner().invoke(cmd_root, ['setup', '--check', '--with', 'nequix'])
    assert 'ok  python-nequix: `python-nequix@localhost` has nequix=' in result.output
    assert f'ok  {BEST}: `{BEST}`' in result.output
