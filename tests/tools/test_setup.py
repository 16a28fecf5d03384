"""The set-up of a profile: what it creates, that it changes nothing, and what its checks find."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.manage import get_manager

from aiida_equitrain.setup import checks, defaults, setup
from aiida_equitrain.setup.blas import faster_kernels
from aiida_equitrain.setup.shipped import (
    SHIPPED_FAMILY,
    install_shipped_family,
    pseudo_cutoffs_file,
    pseudo_folder,
    starter_files,
)

pytestmark = pytest.mark.real

NOWHERE = 'http://127.0.0.1:9/'


def states(options: setup.Options) -> dict[str, str]:
    """Run the set-up and return the last state of every part."""
    return {item.name: item.state for item in setup.run_setup(options)}


@pytest.fixture
def pw(tmp_path: Path) -> str:
    """Return something to make the code ``pw`` of, for tests that do not run it."""
    return shutil.which('pw.x') or '/usr/bin/pw.x'


@pytest.mark.usefixtures('aiida_profile_clean')
def test_creates_then_finds(pw: str) -> None:
    """Create everything in an empty profile, and nothing the second time."""
    options = setup.Options(offline=True, pw=pw)
    first = states(options)
    assert set(first.values()) == {'created'}
    optional = {'ph'} if Path(pw).with_name('ph.x').exists() else set()
    assert set(first) == {'computer', 'python', 'pw', 'phonopy', 'pseudopotentials', 'foundation'} | optional
    count = orm.QueryBuilder().append(orm.Node).count()
    assert set(states(options).values()) == {'found'}
    assert orm.QueryBuilder().append(orm.Node).count() == count
    assert defaults.find_code('pw').get_executable().name == 'pw.x'
    assert defaults.default_family().label == SHIPPED_FAMILY
    assert defaults.default_foundation().label == 'starter'
    assert defaults.default_foundation().card['starter'] is True


@pytest.mark.usefixtures('aiida_profile_clean')
def test_existing_computer_and_code_stay(aiida_localhost: Any, make_code: Any) -> None:
    """Leave a computer and a code of the user as they are."""
    aiida_localhost.set_minimum_job_poll_interval(17)
    make_code('pw', '/opt/mine/pw.x')
    found = states(setup.Options(offline=True, pw='/usr/bin/pw.x'))
    assert found['computer'] == found['pw'] == 'found'
    assert orm.load_computer('localhost').get_minimum_job_poll_interval() == 17
    assert str(defaults.find_code('pw').get_executable()) == '/opt/mine/pw.x'


@pytest.mark.usefixtures('aiida_profile_clean')
def test_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Say what is missing and how to get it, and set up the rest."""
    monkeypatch.setenv('PATH', str(tmp_path))
    items = {item.name: item for item in setup.run_setup(setup.Options(offline=True))}
    assert items['pw'].state == 'missing'
    assert 'apt-get install quantum-espresso' in items['pw'].text
    assert '--pw PATH' in items['pw'].text
    assert items['foundation'].state == 'created'


@pytest.mark.usefixtures('aiida_profile_clean')
def test_unknown_computer_is_refused() -> None:
    """Make no remote computer up."""
    items = {item.name: item for item in setup.run_setup(setup.Options(offline=True, computer='cluster'))}
    assert items['computer'].state == 'missing'
    assert 'verdi computer setup' in items['computer'].text
    assert 'pw' not in items


@pytest.mark.usefixtures('aiida_profile_clean')
def test_without_internet(pw: str) -> None:
    """Tell that the downloads failed, and fall back to the files of the package."""
    options = setup.Options(pw=pw, family_url=NOWHERE, foundation_url=f'{NOWHERE}mace-mp-0b3-medium.model')
    items = list(setup.run_setup(options))
    notes = [item for item in items if item.state == 'note']
    assert [note.name for note in notes] == ['pseudopotentials', 'foundation']
    assert all('could not be downloaded' in note.text and 'used instead' in note.text for note in notes)
    assert defaults.default_foundation().label == 'starter'


@pytest.fixture
def mirror(server: tuple[str, Path], tmp_path: Path) -> str:
    """Serve PseudoDojo's two archives, made of the shipped files, and a model; return the address."""
    url, folder = server
    table = json.loads(pseudo_cutoffs_file().read_text())['elements']
    with tarfile.open(folder / 'nc-sr-04_pbe_standard_upf.tgz', 'w:gz') as archive:
        for element in ('Si', 'C'):
            archive.add(pseudo_folder() / f'{element}.upf', f'{element}.upf')
    with tarfile.open(folder / 'nc-sr-04_pbe_standard_djrepo.tgz', 'w:gz') as archive:
        for element in ('Si', 'C'):
            row = table[element]
            hints = {level: {'ecut': row[level]} for level in ('low', 'normal', 'high')}
            (tmp_path / 'djrepo').write_text(json.dumps({'md5_upf': row['md5'], 'hints': hints}))
            archive.add(tmp_path / 'djrepo', f'{element}.djrepo')
    shutil.copy(starter_files()[0], folder / 'mace.model')
    return f'{url}/'


@pytest.mark.usefixtures('aiida_profile_clean')
def test_online(mirror: str, pw: str) -> None:
    """Install PseudoDojo through aiida-pseudo and store the foundation with its origin, from a mirror."""
    options = setup.Options(pw=pw, family_url=mirror, foundation_url=f'{mirror}mace.model', foundation_sha256=None)
    setup.pins().file.unlink(missing_ok=True)
    assert set(states(options).values()) == {'created'}
    family = defaults.default_family()
    assert family.label == defaults.ONLINE_FAMILY
    assert family.get_recommended_cutoffs(elements=('Si',), unit='Ry') == (36.0, 144.0)
    node = defaults.default_foundation()
    assert (node.label, node.origin) == ('mace-mp-0b3', f'{mirror}mace.model')
    assert setup.pins().read()['mace-mp-0b3'] == node.sha256
    setup.pins().file.unlink()


@pytest.mark.usefixtures('aiida_profile_clean')
def test_changed_foundation_is_refused(mirror: str, pw: str) -> None:
    """Refuse a model that is not the published MACE-MP-0b3, and say that the starter is used instead."""
    options = setup.Options(pw=pw, family_url=NOWHERE, foundation_url=f'{mirror}mace.model')
    notes = [item.text for item in setup.run_setup(options) if item.state == 'note']
    assert setup.MACE_MP_0B3_SHA256 in notes[-1]
    assert 'It was not used' in notes[-1]
    assert defaults.find_foundation('mace-mp-0b3') is None


def test_address_is_that_of_mace() -> None:
    """Hold the address to the one in the installed mace-torch."""
    source = Path(next(iter(__import__('mace').__path__)), 'calculators', 'foundations_models.py').read_text()
    assert f'"medium-0b3": "{setup.MACE_MP_0B3_URL}"' in source


def test_shipped_cutoffs(pseudo_family: Any) -> None:
    """Hold every shipped file to a cut-off at three levels, and to its number of valence electrons."""
    table = json.loads(pseudo_cutoffs_file().read_text())['elements']
    assert set(table) == set(pseudo_family.elements)
    for element, row in table.items():
        assert pseudo_family.get_pseudo(element).z_valence == row['z_valence']
        assert row['low'] < row['normal'] < row['high']
    assert pseudo_family.get_recommended_cutoffs(elements=('Si', 'C'), unit='Eh') == (41.0, 164.0)


def test_changed_pseudopotential_is_refused(aiida_profile_clean: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """Refuse a shipped file that is not the one of the table."""
    shutil.copytree(pseudo_folder(), tmp_path / 'upf')
    with (tmp_path / 'upf' / 'Si.upf').open('a') as handle:
        handle.write('\n')
    monkeypatch.setattr('aiida_equitrain.setup.shipped.pseudo_folder', lambda: tmp_path / 'upf')
    with pytest.raises(ValueError, match=r'Si\.upf` was changed'):
        install_shipped_family()


def test_checks_pass(aiida_profile_clean: Any, pw_code: Any, python_code: Any, phonopy_code: Any) -> None:
    """Run the real programs: all pass; this test profile has no broker, and is told how to get one."""
    states(setup.Options(offline=True))
    results = {check.name: check for check in checks.run_checks()}
    assert [check for check in results.values() if not check.passed] == []
    assert 'configure-broker core.zeromq' in results['profile'].text
    assert 'Quantum ESPRESSO' in results['pw'].text
    assert 'mace-torch=0.3.16' in results['python'].text


def test_checks_of_empty_profile(aiida_profile_clean: Any) -> None:
    """Name the remedy for everything that is absent."""
    for check in checks.run_checks():
        assert check.passed == (check.name == 'profile')
        assert check.passed or 'aiida-equitrain setup' in check.text


def test_check_of_what_does_not_answer(aiida_profile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer that cannot be reached fails its check in a sentence, and the others go on."""

    def fail(*_: Any) -> None:
        raise OSError('no route to host')

    monkeypatch.setattr(checks, 'check_computer', fail)
    results = {check.name: check for check in checks.run_checks()}
    assert not results['computer'].passed
    assert 'could not be tried (OSError: no route to host)' in results['computer'].text
    assert 'foundation' in results


def test_check_needs_no_broker(aiida_profile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer behind ssh is reached without the broker, which may run with the daemon only."""
    computer = orm.Computer('behind-ssh', 'nowhere.invalid', '', 'core.ssh_async', 'core.direct', '/tmp').store()
    computer.configure(safe_interval=0.0)
    manager = get_manager()
    monkeypatch.setattr(manager, 'get_communicator', lambda: pytest.fail('there is no broker'))
    manager.reset_runner()
    with pytest.raises(OSError, match='opening the transport'):
        checks.check_computer('behind-ssh')
    monkeypatch.undo()
    assert manager.get_runner().loop.is_running() is False  # that of a profile again


def test_check_finds_that_jobs_cannot_be_followed(aiida_localhost: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `ps`, as in Debian's container images, AiiDA would take every job for done at once."""
    monkeypatch.setattr(checks, '_run', lambda computer, command: (int(command.endswith(' ps')), '', ''))
    with pytest.raises(checks.CheckError, match='has no `ps`'):
        checks.check_computer(aiida_localhost.label)


def test_check_finds_code_that_is_not_executable(make_code: Any, tmp_path: Path) -> None:
    """Find a file without the permission to run, and one that is not there."""
    path = tmp_path / 'pw.x'
    path.write_text('#!/bin/sh\necho "Program PWSCF v.7.3 starts"\n')
    with pytest.raises(checks.CheckError, match='not there or not executable'):
        checks.check_pw(make_code('pw-closed', str(path)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    assert 'Quantum ESPRESSO 7.3' in checks.check_pw(make_code('pw-open', str(path)))
    # As OpenMPI does, which leaves a process behind that holds the output.
    path.write_text('#!/bin/sh\nsleep 60 &\necho "Program PWSCF v.7.3 starts"\ncat\n')
    begin = time.monotonic()
    assert 'Quantum ESPRESSO 7.3' in checks.check_pw(make_code('pw-open', str(path)))
    assert time.monotonic() - begin < 50
    with pytest.raises(checks.CheckError, match='not there or not executable'):
        checks.check_pw(make_code('pw-absent', str(tmp_path / 'absent')))


@pytest.mark.parametrize(
    ('core', 'flags', 'given', 'wanted'),
    [
        ('Core: Prescott', 'sse3 avx2', '', 'Haswell'),
        ('Core: SkylakeX', 'sse3 avx2', '', None),
        ('', 'sse3 avx2', '', None),
        ('Core: Prescott', 'sse3', '', None),
        ('Core: Prescott', 'sse3 avx2', 'Zen', None),
    ],
)
def test_kernels_of_openblas(
    core: str, flags: str, given: str, wanted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program whose OpenBLAS is older than the processor is told to take kernels that fit, and no other program."""
    program, cpuinfo = tmp_path / 'pw.x', tmp_path / 'cpuinfo'
    program.write_text(f'#!/bin/sh\n[ "$OPENBLAS_VERBOSE" = 2 ] && echo "{core}" >&2\n')
    program.chmod(0o755)
    cpuinfo.write_text(f'flags\t\t: {flags}\n')
    monkeypatch.setenv('OPENBLAS_CORETYPE', given)
    assert faster_kernels(str(program), cpuinfo) == wanted
    assert faster_kernels(str(tmp_path / 'absent'), cpuinfo) is None


def test_code_takes_kernels(make_code: Any, aiida_localhost: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of pw.x has them in its prepended text; the check tells of one without."""
    monkeypatch.setattr(setup, 'faster_kernels', lambda program: 'Haswell')
    monkeypatch.setattr(checks, 'faster_kernels', lambda program: 'Haswell')
    item = setup.ensure_code(aiida_localhost, 'pw-told', '/usr/bin/pw.x', 'quantumespresso.pw', '')
    assert 'told which kernels fit' in item.text
    code = orm.load_code(f'pw-told@{aiida_localhost.label}')
    assert 'export OPENBLAS_CORETYPE=Haswell' in code.prepend_text.splitlines()
    assert 'slower' not in checks.check_pw(code)
    assert 'slower than need be' in checks.check_pw(make_code('pw-untold', '/usr/bin/pw.x'))
    setup.ensure_code(aiida_localhost, 'python-told', sys.executable, None, '')
    assert 'OPENBLAS_CORETYPE' not in orm.load_code(f'python-told@{aiida_localhost.label}').prepend_text


def test_check_finds_wrong_programs(make_code: Any, tmp_path: Path) -> None:
    """Find a program that is not pw.x, and a Python without MACE."""
    with pytest.raises(checks.CheckError, match='did not say that it is PWSCF'):
        checks.check_pw(make_code('pw-wrong', '/bin/cat'))
    bare = tmp_path / 'python'
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(checks.CheckError, match=r'cannot import .*No module named .mace.'):
        checks.check_python(make_code('python-bare', str(bare)))
    bare.write_text('#!/bin/sh\necho "ModuleNotFoundError: No module named seekpath" >&2\nexit 1\n')
    with pytest.raises(checks.CheckError, match=r'No module named seekpath\): install there .* seekpath'):
        checks.check_python(make_code('python-without', str(bare)))


def test_check_knows_the_user(aiida_computer_local: Any, tmp_path: Path) -> None:
    """The working directory is that of the user, and no folder with braces is made."""
    computer = aiida_computer_local(label='of-users')
    computer.set_workdir(f'{tmp_path}/{{username}}/aiida')
    assert str(tmp_path / getpass.getuser() / 'aiida') in checks.check_computer('of-users')
    assert not (tmp_path / '{username}').exists()


@pytest.mark.usefixtures('aiida_profile_clean')
def test_profile_is_made_in_its_own_folder(tmp_path: Path) -> None:
    """Make a profile with broker and caching under ``AIIDA_PATH``, once, and leave the home folder alone."""
    home = tmp_path / 'home'
    home.mkdir()
    environment = {**os.environ, 'HOME': str(home), 'AIIDA_PATH': str(tmp_path / '.aiida')}
    (tmp_path / '.aiida').mkdir()
    command = [sys.executable, '-m', 'aiida_equitrain.setup.profile', 'equitrain']
    outputs = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    assert outputs == ['AiiDA profile `equitrain` created\n', 'AiiDA profile `equitrain` found\n']
    config = json.loads((tmp_path / '.aiida' / 'config.json').read_text())
    assert config['default_profile'] == 'equitrain'
    profile = config['profiles']['equitrain']
    assert profile['process_control']['backend'] == 'core.zeromq'
    assert profile['options'] == {'runner.poll.interval': 1, 'caching.default_enabled': True}
    assert profile['storage']['config']['filepath'].startswith(str(tmp_path))
    assert list(home.iterdir()) == []
