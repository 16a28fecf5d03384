"""What is published names nobody, and what a stranger has published changes nothing of ours."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.plugins import WorkflowFactory
from aiida.tools.archive import import_archive
from click.testing import CliRunner

from aiida_equitrain.cli.reproduce import cmd_reproduce
from aiida_equitrain.launch.nodes import FORGETTING_LABEL, forgetting_dataset, load_potential
from aiida_equitrain.publish import check, effort, recompute, scrub, write
from aiida_equitrain.publish.archive import check_archive
from aiida_equitrain.publish.check import check_file, clean_copy, content_problem
from aiida_equitrain.publish.importing import import_clean
from aiida_equitrain.publish.scrub import Scrubber
from aiida_equitrain.setup import defaults, setup
from aiida_equitrain.setup.checks import CheckError, check_computer
from aiida_equitrain.setup.shipped import SHIPPED_FAMILY
from aiida_equitrain.workflows.study.rows import KEY, find_done

sys.path.insert(0, str(Path(__file__).parents[1] / 'hostile'))

import honest

pytestmark = pytest.mark.real

ALICE = Scrubber(['/home/alice'], ['alice', 'Alice Smith'])
#: Spellings of the folders and addresses of a person, and what is left of them.
SPELLINGS = {
    '/home/alice': '~',
    'cd /home/alice/run': 'cd ~/run',
    '/Users/alice/run': '/Users/user/run',
    r'C:\Users\alice\run': r'C:\Users\user\run',
    r'C:\\Users\\alice\\run': r'C:\\Users\\user\\run',
    '~alice/run': '~user/run',
    '/scratch/alice': '/scratch/user',
    '/scratch/alice/run': '/scratch/user/run',
    '/gpfs/work/p1/Alice/run': '/gpfs/work/p1/user/run',
    'file:///home/alice/run': 'file:///home/user/run',
    'file%3A%2F%2F%2Fhome%2Falice%2Frun': 'file%3A%2F%2F%2Fhome%2Fuser%2Frun',
    r'\u002fhome\u002falice\u002frun': r'~\u002frun',
    'alice@host.edu': 'user@host.edu',
    'Alice@Host.EDU': 'user@Host.EDU',
    'mailto:alice@host.edu': 'mailto:user@host.edu',
    'bob.jones+x@host.co.uk': 'user@host.co.uk',
    'alice%40host.edu': 'user%40host.edu',
    'bob%40host%2Eedu': 'user%40host%2Eedu',
    'bob&#64;host.edu': 'user&#64;host.edu',
    r'bob\u0040host.edu': r'user\u0040host.edu',
    'bob (at) host.edu': 'user (at) host.edu',
    'bob [at] host [dot] edu': 'user [at] host [dot] edu',
    'bob at host dot edu': 'user at host dot edu',
    'alice@login01': 'user@login01',
    'bob <at> host.edu': 'user <at> host.edu',
    'bob<at>host<dot>edu': 'user<at>host<dot>edu',
    'bob &lt;at&gt; host.edu': 'user &lt;at&gt; host.edu',
    'bob&LT;AT&GT;host &lt;dot&gt; edu': 'user&LT;AT&GT;host &lt;dot&gt; edu',
    'bob\uff20host.edu': 'user\uff20host.edu',
    r'bob\uff20host.edu': r'user\uff20host.edu',
    'bob%EF%BC%A0host.edu': 'user%EF%BC%A0host.edu',
    'bob%2540host.edu': 'user%2540host.edu',
    'bob%252540host%252Eedu': 'user%252540host%252Eedu',
    'alice%2540login01': 'user%2540login01',
    'file%253A%252F%252Fscratch%252Falice%252Frun': 'file%253A%252F%252Fscratch%252Fuser%252Frun',
}
#: The same in text that people and schedulers write, where a name alone means a person.
FREE = {
    '#SBATCH --account=alice_lab': '#SBATCH --account=user',
    '#SBATCH -A p1234': '#SBATCH -A user',
    'USER=alice': 'USER=user',
    'UserId=alice(1000) GroupId=alice(1000)': 'UserId=user(1000) GroupId=user(1000)',
    'made by Alice Smith': 'made by user',
    'alice-laptop': 'user-laptop',
    'bob at host.edu': 'user at host.edu',
    'ask bob.jones at cs.host.ac.uk.': 'ask user at cs.host.ac.uk.',
    'Bob AT Host.EDU, or not': 'user AT Host.EDU, or not',
}
#: Sentences of jobs that are no addresses.
NO_ADDRESS = (
    'relaxed at 300.5', 'relaxed at 300.5 K', 'energy at gamma.point', 'failed at train.py', 'read at aiida.in',
    'more at www.host.org', 'more at host.org/page', 'stopped at step.1', 'look at e.g. this', 'a%25', 'x <at> 1.5',
    'done at 12.30.', 'saved at model.so', 'made at run.sh',
)  # fmt: skip


@pytest.mark.parametrize(('text', 'expected'), SPELLINGS.items())
def test_spellings(text: str, expected: str) -> None:
    """Each spelling goes, in text and in JSON, in values and in keys."""
    assert ALICE(text) == ALICE(text, free=True) == expected
    assert ALICE.clean_json({text: [{'a': text}]}) == {expected: [{'a': expected}]}


@pytest.mark.parametrize(('text', 'expected'), FREE.items())
def test_free_text(text: str, expected: str) -> None:
    """A name alone goes where people write what they like, and stays where it may be a word."""
    assert ALICE(text, free=True) == expected
    assert ALICE.clean_json({'prepend_text': text}) == {'prepend_text': expected}


@pytest.mark.parametrize('text', NO_ADDRESS)
def test_no_address(text: str) -> None:
    """What happens at a number, a point, a file or a page stays."""
    assert ALICE(text, free=True) == text


PACKERS: dict[str, Any] = {
    'plain': lambda content: content,
    'zip': lambda content: zipped(content),
    'gzip': gzip.compress,
    'xz': lzma.compress,
    'bz2': bz2.compress,
    'gzip in zip': lambda content: zipped(gzip.compress(content)),
    'xz in gzip': lambda content: gzip.compress(lzma.compress(content)),
}


def zipped(content: bytes) -> bytes:
    """Return a zip file with one compressed entry."""
    target = io.BytesIO()
    with ZipFile(target, 'w', ZIP_DEFLATED) as archive:
        archive.writestr('x', content)
    return target.getvalue()


@pytest.mark.parametrize('pack', PACKERS.values(), ids=PACKERS)
def test_packed_content(pack: Any) -> None:
    """A file that names somebody is found however it is packed; one that is damaged or names nobody is not."""
    filling = bytes(range(256)) * 9
    assert ALICE.is_named_in(pack(filling + b' /scratch/alice/x ' + filling))
    assert not ALICE.is_named_in(pack(filling + b' /scratch/malice/x ' + filling))
    if pack(b'') != b'':
        assert not ALICE.is_named_in(pack(filling + b' /scratch/alice/x ')[:-9])


@pytest.mark.parametrize('pack', ['zip', 'gzip', 'xz', 'bz2'])
def test_packed_content_is_bounded(monkeypatch: pytest.MonkeyPatch, pack: str) -> None:
    """No more is unpacked than the bound says, nor for many entries."""
    monkeypatch.setattr(scrub, 'LARGEST', 1000)
    parts = scrub._unpacked(PACKERS[pack](PACKERS[pack](b'a' * 500) + bytes(1 << 20)))
    assert 0 < sum(len(part) for part in parts[1:]) <= 1000


@pytest.mark.parametrize(
    ('text', 'named'),
    [
        ('/work/bob', True), ('/u/bob/x', True), ('~bob/x', True), (r'C:\Users\bob\x', True), ('/work/jd/run', True),
        ('%2Fwork%2Fbob%2Fx', True), ('/work/bobby', False), ('bob', False), ('/work/x.bob', False), ('a/bo', False),
    ],
)  # fmt: skip
def test_short_names(text: str, named: bool) -> None:
    """A name of three letters or fewer counts in a path; the numbers of a model spell it without meaning anybody."""
    clean = Scrubber([], ['bob', 'jd'])
    for content in (f'x {text}\n'.encode(), f'x {text}\n'.encode('utf-16')):
        assert clean.is_named_in(content) is named
    assert not clean.is_named_in(bytes(range(128, 256)) + b'\x00bob\xff/bob\xfe~bob\xfe')
    assert clean.is_named_in(bytes(range(128, 256)) + b'\xfe/work/bob/x\xff')


def test_attributes_and_names_of_files_are_told_of(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """What names somebody in an attribute that is not free text, or as the name of a file, stays and is listed."""
    bob = orm.User(email='bob@host.edu', first_name='Bobby', last_name='Jones').store()
    study = honest.make_study()
    said = orm.Dict({'who': ['x', {'by': 'see Bobby Jones'}], 'other': 'nobody'}, user=bob).store()
    keyed = orm.Dict({'Bobby Jones': 1}).store()
    file = orm.SinglefileData.from_string('x', filename='Bobby Jones.txt').store()
    for number, node in enumerate((said, keyed, file)):
        study.backend_entity.add_incoming(node.backend_entity, LinkType.INPUT_WORK, f'more_{number}')
    told: list[dict[str, list[str]]] = []
    done = write.publish(study, tmp_path / 'study.aiida', told.append)
    assert told[0]['attributes that may name you'] == sorted(
        [
            f'`who` of Dict {said.uuid}',
            f'`Bobby Jones` of Dict {keyed.uuid}',
            f'`filename` of SinglefileData {file.uuid}',
        ]
    )
    assert told[0]['files whose names may name you'] == [f'Bobby Jones.txt of SinglefileData {file.uuid}']
    assert told[0]['files that may name you'] == []
    assert f'`who` of Dict {said.uuid}' in done.readme.read_text()
    assert check_file(done.archive)[1] == []


def test_words_stay() -> None:
    """Names that are words, versions, and numbers stay as they are."""
    clean = Scrubber(['/root'], ['root', 'max'])
    for text in ('the root of it', '/opt/root', 'max', 'root at the end', 'a@b', '1.2@3', 'python@localhost', 'malice'):
        assert clean(text, free=True) == text
    assert clean.clean_json({'max': 'max', 'account': 'p1', 'job_id': 7}) == {
        'max': 'max',
        'account': 'user',
        'job_id': 7,
    }
    assert clean.clean_text_of_json('{"job_id": 7, "a": 1}') == '{"a": 1}'


def test_words_of_a_page() -> None:
    """A name that stands alone in a page's words is taken out; style and script, which name nobody, stay."""
    script = "<script>let alice = '/home/alice/x'</script>"
    page = f'<style>.alice {{ color: red }}</style><p title="/home/alice/x">killed by alice</p>{script}'
    cleaned = write.clean_page(page, ALICE)
    assert cleaned == f'<style>.alice {{ color: red }}</style><p title="~/x">killed by user</p>{script}'


def test_two_users_and_their_names(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """The work of two people is published: both lose their names, and a file that keeps one is told of before."""
    bob = orm.User(email='bob@host.edu', first_name='Bob', last_name='Jones').store()
    orm.User(email='a.first@host.edu').store()
    study = honest.make_study()
    study.inputs.materials.Si.dataset.backend_entity.set_attribute('licence', 'CC0')
    study.inputs.materials.Si.dataset.label = 'frames of bobby'
    for number, user in enumerate((bob, orm.User.collection.get_default())):
        text = 'remark of Bob Jones, see /home/bobby/run'
        remark = orm.Dict({'description': text, 'account': 'p1', 'path': '/work/bobby'}, user=user).store()
        other = orm.SinglefileData.from_string(f'{number} /home/bobby/x', filename='a.txt').store()
        for node, name in ((remark, f'remark_{number}'), (other, f'other_{number}')):
            study.backend_entity.add_incoming(node.backend_entity, LinkType.INPUT_WORK, name)
    told: list[dict[str, list[str]]] = []
    done = write.publish(study, tmp_path / 'study.aiida', told.append)
    assert len(told[0]['files that may name you']) == 2
    assert 'a.txt of SinglefileData' in done.readme.read_text()
    assert 'frames of user' in done.readme.read_text()
    with ZipFile(done.archive) as archive:
        texts = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name in (b'bobby', b'Bob Jones', b'host.edu', b'p1"') if name in texts['db.sqlite3']]
    assert check_file(done.archive)[1] == []


@pytest.mark.parametrize('name', ['study.aiida', 'study.README.md', 'study.report.html'])
def test_nothing_is_overwritten(aiida_profile_clean: Any, tmp_path: Path, name: str) -> None:
    """Neither the archive nor what lies beside it; nothing else is written then."""
    (tmp_path / name).write_text('mine')
    with pytest.raises(ValueError, match=f'{name}` exists already'):
        write.publish(honest.make_study(), tmp_path / 'study.aiida')
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, 'mine')]


@pytest.mark.parametrize('failure', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
def test_no_half_archive(aiida_profile_clean: Any, tmp_path: Path, monkeypatch: Any, failure: BaseException) -> None:
    """When the disk is full or somebody stops it, nothing is left."""

    def fail(*_: Any) -> None:
        raise failure

    study = honest.make_study()
    monkeypatch.setattr(write, '_write_page', fail)
    with pytest.raises(ValueError if isinstance(failure, OSError) else KeyboardInterrupt, match=r'No space|^$'):
        write.publish(study, tmp_path / 'study.aiida')
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match='there is no folder'):
        write.publish(study, tmp_path / 'no' / 'study.aiida')


def hostile(folder: Path) -> Path:
    """Write an archive that would like to be the set-up of whoever imports it."""
    return honest.changed(
        folder / 'study.aiida',
        sql=f"""
        UPDATE db_dbnode SET extras = '{{"{KEY}": "x", "_aiida_hash": "y"}}';
        UPDATE db_dbnode SET label = '{FORGETTING_LABEL}' WHERE node_type LIKE '%DatasetData.';
        UPDATE db_dbcomputer SET metadata = '{{"workdir": "/theirs", "prepend_text": "theirs"}}';
        INSERT INTO db_dbgroup (id, uuid, label, type_string, time, description, extras, user_id)
          SELECT 1, '11111111-1111-4111-8111-111111111111', '{SHIPPED_FAMILY}', 'pseudo.family.cutoffs', ctime, '',
          '{{}}', user_id FROM db_dbnode LIMIT 1;
        INSERT INTO db_dbgroup_dbnodes (dbnode_id, dbgroup_id) SELECT id, 1 FROM db_dbnode;
        """,
        hide=True,
    )


@pytest.mark.parametrize('way', ['rerun', 'verdi'])
def test_nothing_becomes_a_default(aiida_profile_clean: Any, tmp_path: Path, way: str) -> None:
    """A fresh profile that imported an archive gets the set-up of any other: nothing in it is taken."""
    archive = hostile(tmp_path)
    if way == 'rerun':
        manifest, problems = check_file(archive)
        assert problems == []
        with clean_copy(archive, manifest) as clean:
            import_clean(clean)
        labels = orm.QueryBuilder().append(orm.Node, filters={'label': {'!==': ''}}, project='label').all(flat=True)
        assert {label.endswith(' (archive)') for label in labels} == {True}
        assert orm.QueryBuilder().append(orm.Group).count() == 0
        assert {str(extras) for extras in orm.QueryBuilder().append(orm.Node, project='extras').all(flat=True)} == {
            '{}'
        }
    else:
        import_archive(archive)
    theirs = {node.uuid for node in orm.QueryBuilder().append(orm.Node).all(flat=True)}
    items = {
        item.name: item for item in setup.run_setup(setup.Options(offline=True, pw='/usr/bin/pw.x', ph='/usr/bin/ph.x'))
    }
    assert {name: item.state for name, item in items.items() if item.state != 'created'} == {}
    ours = [
        defaults.find_code('python'),
        defaults.default_foundation(),
        load_potential('starter'),
        forgetting_dataset(),
    ]
    assert not theirs & {node.uuid for node in ours}
    assert not theirs & {node.uuid for node in defaults.default_family().nodes}
    assert str(ours[0].get_executable()) == sys.executable
    assert ours[0].prepend_text == setup.PREPEND_TEXT
    assert not ours[0].computer.get_prepend_text()
    assert 'theirs' not in ours[0].computer.get_workdir()
    assert ours[1].checked_sha256() == ours[1].sha256
    again = setup.run_setup(setup.Options(offline=True, pw='/usr/bin/pw.x', ph='/usr/bin/ph.x'))
    assert {item.state for item in again} == {'found'}


@pytest.mark.usefixtures('aiida_profile_clean')
def test_computer_of_an_archive(tmp_path: Path) -> None:
    """Nobody is told to configure a computer that came with an archive, but to make one of their own."""
    import_archive(honest.changed(tmp_path / 'a.aiida', sql="UPDATE db_dbcomputer SET label = 'cluster'", hide=True))
    for label in ('ours', 'b (archive)'):
        orm.Computer(label, 'host', '', 'core.ssh', 'core.slurm', '/scratch').store()
    archive = '` came with an archive: .*under another label with `verdi computer setup` and `verdi computer configure`'
    ours = '` is not configured: `verdi computer configure core.ssh ours`'
    for label, sentence in (('cluster', archive), ('b (archive)', archive), ('ours', ours)):
        computer, item = setup.ensure_computer(label)
        assert (computer, item.state) == (None, 'missing')
        assert re.fullmatch(re.escape(f'`{label}') + sentence, item.text)
        with pytest.raises(CheckError, match=re.escape(item.text)):
            check_computer(label)
    orm.load_computer('cluster').configure()
    assert setup.ensure_computer('cluster')[1].state == 'found'


def test_later_archive_changes_no_default(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """What was set up stays the default when an archive with the same labels comes later."""
    list(setup.run_setup(setup.Options(offline=True, pw='/usr/bin/pw.x')))
    ours = [defaults.default_foundation().uuid, defaults.find_code('python').uuid, load_potential('starter').uuid]
    import_archive(hostile(tmp_path))
    assert [
        defaults.default_foundation().uuid,
        defaults.find_code('python').uuid,
        load_potential('starter').uuid,
    ] == ours


def test_study_reuses_nothing_of_an_archive(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """What a study finds of earlier ones is of this profile, whatever an archive says in its extras."""
    import_archive(hostile(tmp_path))
    process: Any = WorkflowFactory('equitrain.study')
    assert orm.QueryBuilder().append(orm.WorkChainNode, filters={f'extras.{KEY}': 'x'}).count() == 1
    assert find_done(process, 'x') is None
    ours = orm.WorkChainNode(process_type=process.build_process_type()).store()
    ours.set_exit_status(0)
    ours.base.extras.set(KEY, 'x')
    assert find_done(process, 'x').uuid == ours.uuid


def test_file_that_is_loaded_is_the_one_that_was_compared(aiida_profile_clean: Any) -> None:
    """Neither another name of the file nor another kind of potential leads past the SHA-256."""
    from aiida_equitrain.data.potential import PotentialData

    node = PotentialData(honest.FIXTURES / 'tiny_mace.model').store()
    node.backend_entity.set_attribute('filename', 'other.model')
    with node.as_path() as path:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == node.checked_sha256()
    adapter = PotentialData()
    adapter.base.attributes.set_many({'kind': 'adapter', 'foundation_sha256': node.sha256})
    assert adapter.foundation.uuid == node.uuid
    node.backend_entity.set_attribute('kind', 'adapter')
    with pytest.raises(Exception, match='which is not in this profile'):
        _ = adapter.foundation


def test_adapter_takes_no_foundation_that_only_says_so(aiida_profile_clean: Any) -> None:
    """A potential whose recorded SHA-256 is not that of its file is no foundation, and is not loaded."""
    from aiida_equitrain.data.potential import PotentialData

    node = PotentialData(honest.FIXTURES / 'tiny_mace.model').store()
    node.backend_entity.set_attribute('sha256', '0' * 64)
    for use in (node.checked_sha256, node.get_calculator):
        with pytest.raises(ValueError, match='it was changed, and is not used'):
            use()
    adapter = PotentialData()
    adapter.base.attributes.set_many({'kind': 'adapter', 'foundation_sha256': '0' * 64, 'foundation_uuid': node.uuid})
    with pytest.raises(Exception, match='which is not in this profile'):
        _ = adapter.foundation


@pytest.mark.parametrize(('name', 'value'), [('md5', '0' * 32), ('element', 'Au'), ('filename', 'Au.upf')])
def test_pseudopotential_that_is_another(pseudo_family: Any, name: str, value: str) -> None:
    """A file with attributes is compared with them, whatever kind of node it is."""
    node = (
        orm.QueryBuilder().append(type(pseudo_family.get_pseudo('Si')), filters={'attributes.element': 'Si'}).first()[0]
    )
    stated = node.base.attributes.get(name)
    assert content_problem(node) is None
    node.backend_entity.set_attribute(name, value)
    assert content_problem(node) is not None
    node.backend_entity.set_attribute(name, stated)


def test_check_imports_nothing(aiida_profile_clean: Any) -> None:
    """A check leaves the loaded profile as it is, and loaded."""
    result = CliRunner().invoke(cmd_reproduce, [str(honest.honest())])
    assert result.exit_code == 0, result.output
    assert '1 of 1 follow' in result.output
    assert orm.QueryBuilder().append(orm.Node).count() == orm.QueryBuilder().append(orm.Computer).count() == 0


def test_node_of_ours_with_other_content(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """An archive whose nodes have the UUIDs of ours, and other content, is not imported; the same one twice is."""
    first = check_file(honest.honest())[0]
    with clean_copy(honest.honest(), first) as clean:
        import_clean(clean)
        number = orm.QueryBuilder().append(orm.Node).count()
        import_clean(clean)
    more = (
        "INSERT INTO db_dbnode SELECT 99, '11111111-1111-4111-8111-111111111111', node_type, process_type, '', '', "
        'ctime, mtime, attributes, extras, repository_metadata, dbcomputer_id, user_id FROM db_dbnode WHERE id = 1;'
    )
    link = "INSERT INTO db_dblink SELECT 99, 99, id, 'x', 'input_work' FROM db_dbnode WHERE node_type LIKE '%workflow%'"
    other = honest.changed(tmp_path / 'a.aiida', sql=more + link, hide=True)
    with (
        clean_copy(other, check_file(other)[0]) as clean,
        pytest.raises(ValueError, match='is in this profile already'),
    ):
        import_clean(clean)
    assert orm.QueryBuilder().append(orm.Node).count() == number


def test_forged_nodes_that_are_all_here(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """Another model under the UUIDs of an archive, imported before, is not run in the place of that of the archive."""
    content = b'another model'
    key = hashlib.sha256(content).hexdigest()
    old = hashlib.sha256((honest.FIXTURES / 'tiny_mace.model').read_bytes()).hexdigest()
    sql = f"UPDATE db_dbnode SET repository_metadata = replace(repository_metadata, '{old}', '{key}')"
    forged = honest.changed(tmp_path / 'a.aiida', sql=sql, hide=True,
                            entries=lambda entries: entries.update({f'repo/{key}': content}))  # fmt: skip
    import_archive(forged)
    assert orm.QueryBuilder().append(orm.Node).count() == len(check_file(honest.honest())[0]['nodes'])
    with (
        clean_copy(honest.honest(), check_file(honest.honest())[0]) as clean,
        pytest.raises(ValueError, match='is in this profile already'),
    ):
        import_clean(clean)


@pytest.mark.parametrize('kind', ['data.core.dict.Dict.', 'process.workflow.workchain.WorkChainNode.',
                                  'data.core.code.installed.InstalledCode.', 'data.core.array.ArrayData.'])  # fmt: skip
def test_forged_attributes_that_are_all_here(aiida_profile_clean: Any, tmp_path: Path, kind: str) -> None:
    """A node with other attributes under a UUID of the archive, imported before, is not run in its place."""
    sql = f"""UPDATE db_dbnode SET attributes = json_set(attributes, '$.forged', 1) WHERE id IN
              (SELECT id FROM db_dbnode WHERE node_type = '{kind}' LIMIT 1)"""
    import_archive(honest.changed(tmp_path / 'a.aiida', sql=sql, hide=True))
    with (
        clean_copy(honest.honest(), check_file(honest.honest())[0]) as clean,
        pytest.raises(ValueError, match='is in this profile already'),
    ):
        import_clean(clean)


def test_file_that_is_changed_between(aiida_profile_clean: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The archive that is read and imported is the one that was checked, whatever the file has become."""
    archive = tmp_path / 'a.aiida'
    archive.write_bytes(honest.honest().read_bytes())
    sql = "UPDATE db_dbnode SET attributes = '{}' WHERE node_type LIKE '%Dict.'"
    other = honest.changed(tmp_path / 'b.aiida', sql=sql)
    with monkeypatch.context() as patch:
        patch.setattr(check, 'check_archive', lambda *args: (check_archive(*args), other.replace(archive))[0])
        result = CliRunner().invoke(cmd_reproduce, [str(archive)])
    assert not other.exists()
    assert result.exit_code == 0, result.output
    assert '1 of 1 follow' in result.output
    again = CliRunner().invoke(cmd_reproduce, [str(archive)])
    assert 'nothing was imported' in again.output


def test_publishers_own_profile(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """Names that publishing took out of attributes and files of jobs make no other nodes of those that are here."""
    study = honest.make_study()
    folder = orm.FolderData()
    folder.base.repository.put_object_from_bytes(b'cd /home/bobby/run', 'run.sh')
    for name, node in (('folder', folder), ('remark', orm.Dict({'path': '/home/bobby/run'}))):
        study.backend_entity.add_incoming(node.store().backend_entity, LinkType.INPUT_WORK, name)
    done = write.publish(study, tmp_path / 'study.aiida')
    assert done.manifest['files_without_names'] == 1
    number = orm.QueryBuilder().append(orm.Node).count()
    with clean_copy(done.archive, done.manifest) as clean:
        import_clean(clean)
    assert orm.QueryBuilder().append(orm.Node).count() == number


def cubic(size: int) -> dict[str, Any]:
    """Return the arrays of a cubic crystal with one displacement, in ``size`` times its cell along each direction."""
    return {
        'cell': np.eye(3) * 3, 'positions': np.zeros((1, 3)), 'numbers': np.array([14]), 'masses': np.array([28.0]),
        'supercell_matrix': np.eye(3, dtype=int) * size,
        'primitive_matrix': np.eye(3), 'symprec': np.array(1e-5), 'is_symmetry': np.array(True),
        'displaced_atoms': np.array([0]), 'displacements': np.array([[0.01, 0, 0]]),
        'forces': np.zeros((1, size**3, 3)),
    }  # fmt: skip


def slanted(by: int) -> dict[str, Any]:
    """Return the arrays of one atom, whose supercell is as large as its cell and leans by ``by`` cells."""
    return cubic(1) | {'supercell_matrix': np.array([[1, by, 0], [0, 1, by], [0, 0, 1]])}


def as_one_cell(size: int) -> dict[str, Any]:
    """Return :func:`cubic` with its supercell for the unit cell."""
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 3), -1).reshape(-1, 3)
    cell = {'cell': np.eye(3) * 3 * size, 'positions': grid * 3.0, 'supercell_matrix': np.eye(3, dtype=int)}
    return cubic(size) | cell | {'numbers': np.full(size**3, 14), 'masses': np.full(size**3, 28.0)}


def rattled(n_atoms: int) -> dict[str, Any]:
    """Return the arrays of atoms without symmetry, all displaced at once, which symfc would solve."""
    positions = np.random.default_rng(0).uniform(0, 20, (n_atoms, 3))
    arrays = cubic(2) | {'cell': np.eye(3) * 20, 'positions': positions, 'forces': np.zeros((1, n_atoms * 8, 3))}
    del arrays['displaced_atoms']
    return arrays | {'numbers': np.full(n_atoms, 14)}


@pytest.mark.parametrize(
    ('arrays', 'what'),
    [(cubic(24), 'atoms of the supercell is 1.38e'), (cubic(10), 'force constants would take about 19 s'),
     (slanted(1000), 'atoms of the box around the supercell is 1e'), (rattled(30), 'force constants would take about'),
     (as_one_cell(8), 'atoms of the primitive cell is 512'),
     (as_one_cell(4) | {'supercell_matrix': np.eye(3, dtype=int) * 2, 'forces': np.zeros((1, 512, 3))},
      'force constants would take about'),
     (cubic(2) | {'primitive_matrix': np.array('auto')}, 'not given as a matrix'),
     (cubic(2) | {'cell': np.full((3, 3), np.nan)}, 'no finite numbers'), (cubic(2), None), (cubic(7), None)],
)  # fmt: skip
def test_crystals_that_take_long(monkeypatch: Any, arrays: dict[str, Any], what: str | None) -> None:
    """Cells that would keep a machine busy are refused before phonopy sees them; those of honest studies are not."""
    monkeypatch.setattr(recompute, 'phonopy_arrays', lambda *_: arrays)
    monkeypatch.setattr(recompute, 'phonon_from_arrays', lambda *_: 'made')
    settings = {'subtract_residual_forces': False, 'acoustic_sum_rule': True}
    if what is None:
        assert recompute._phonon(None, settings, effort.PATIENCE) == 'made'
        return
    with pytest.raises(ValueError, match=what):
        recompute._phonon(None, settings, effort.PATIENCE)


def test_patience() -> None:
    """Who waits longer gets what takes longer, but no more memory."""
    with pytest.raises(ValueError, match='`--patience 20` lets it'):
        effort.check_crystal(cubic(10))
    effort.check_crystal(cubic(10), patience=20)
    with pytest.raises(ValueError, match=r'atoms of the supercell is 1\.73e'):
        effort.check_crystal(cubic(12), patience=1000)


@pytest.mark.parametrize(
    ('n_atoms', 'mesh', 'symmetric', 'charges', 'long'),
    [(2, 20, True, True, False), (2, 20, False, False, False), (2, 80, False, False, True), (2, 80, True, False, False),
     (100, 1, True, False, True), (10, 20, False, True, True), (20, 10, True, False, False)],
)  # fmt: skip
def test_frequencies_that_take_long(n_atoms: int, mesh: int, symmetric: bool, charges: bool, long: bool) -> None:
    """Meshes, and primitive cells of very many atoms whatever their mesh, are refused."""
    symmetry = SimpleNamespace(reciprocal_operations=range(48))
    phonon: Any = SimpleNamespace(primitive=range(n_atoms), supercell=range(8 * n_atoms), primitive_symmetry=symmetry,
                                  nac_params={'born': []} if charges else None)  # fmt: skip
    with pytest.raises(ValueError, match='computing its frequencies would take') if long else nullcontext():
        effort.check_points(phonon, [mesh] * 3, symmetric)


@pytest.mark.parametrize(
    ('n_rows', 'n_groups', 'n_resamples', 'what'), [(2000, 1, 6000, 'the rows'), (200, 200, 1000, 'the groups')]
)
def test_tables_that_take_long(aiida_profile: Any, n_rows: int, n_groups: int, n_resamples: int, what: str) -> None:
    """The bootstrap of a large table is drawn less often than that of a small one, or not at all."""
    rows = {str(row): {'strategy': 'x', 'n_train': row % n_groups} for row in range(n_rows)}
    inputs = {'rows': orm.Dict(rows), 'settings': orm.Dict({'n_resamples': n_resamples})}
    links = [SimpleNamespace(link_label=name, node=node) for name, node in inputs.items()]
    incoming = SimpleNamespace(get_incoming=lambda: SimpleNamespace(all=lambda: links))
    node: Any = SimpleNamespace(base=SimpleNamespace(links=incoming))
    with pytest.raises(ValueError, match=f'`n_resamples` times {what} of the table is'):
        recompute.check_table(node)


def test_result_without_its_numbers() -> None:
    """An emptied result, or one with keys of its own, does not follow; one of an earlier version may lack some keys."""
    made = {'candidates': {'x': {'mae_thz': 0.1, 'rmse_thz': 0.2}}, 'rows': [{'a': 1.0, 'b': 2.0}]}
    stored: dict[str, Any] = {'candidates': {'x': {'mae_thz': 0.1}}, 'rows': [{'a': 1.0}]}
    assert recompute.first_difference(stored, made) is None
    for emptied in ({}, stored | {'rows': [{}]}, stored | {'candidates': {}}, stored | {'candidates': {'x': {}}}):
        assert 'no numbers in the archive' in str(recompute.first_difference(emptied, made))
    more = stored | {'rows': [{'a': 1.0, 'c': 3.0}]}
    assert recompute.first_difference(more, made) == (
        'rows[0].c is in the archive, but does not follow from its inputs'
    )
