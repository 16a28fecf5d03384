"""A real study is published, checked, tampered with, and reproduced on empty profiles of other processes."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_equitrain.publish.archive import MANIFEST, describe_nodes
from aiida_equitrain.publish.check import check_file
from aiida_equitrain.publish.recompute import first_difference, recompute
from aiida_equitrain.publish.rerun import steps_problem
from aiida_equitrain.publish.scrub import Scrubber
from aiida_equitrain.publish.write import publish

ROOT = Path(__file__).parents[2]
REPRODUCE = ['aiida-equitrain', '-p', 'second', 'reproduce']


def test_scrubber() -> None:
    """Home folders and user names in paths go; words that look like them stay."""
    clean = Scrubber(['/home/alice', '/root'], ['alice', 'root'])
    assert clean('cd /home/alice/run; "/home/alice"') == 'cd ~/run; "~"'
    assert clean('/scratch/alice/aiida alice@host.edu') == '/scratch/user/aiida user@host.edu'
    for text in (
        'the root of it',
        '/home/alicea/x',
        'malice@host',
        '/opt/root',
        'grassroots/root.py',
        '/usr/home/alice/x',
    ):
        assert clean(text) in (text, text.replace('/alice/', '/user/'))


@pytest.mark.parametrize(
    ('steps', 'sentence'),
    [(('phonon',), 'none of the steps'), (('finetune',), 'run again together'), (('finetune', 'phonons'), None),
     (('all',), None), ((), None)],
)  # fmt: skip
def test_steps(steps: tuple[str, ...], sentence: str | None) -> None:
    problem = steps_problem(steps)
    assert problem is None if sentence is None else sentence in str(problem)


def test_first_difference() -> None:
    """Rounding is no difference; anything else is, and is named."""
    assert first_difference({'a': [1.0, None, 'x']}, {'a': [1.0 + 1e-9, None, 'x']}) is None
    assert 'a[1]' in str(first_difference({'a': [1.0, 2.0]}, {'a': [1.0, 2.1]}))
    assert 'b' in str(first_difference({'b': True}, {'b': False}))


def test_refused(aiida_profile: Any, tmp_path: Path) -> None:
    """What cannot be published or checked has its sentence."""
    with pytest.raises(ValueError, match='neither a study nor a main job'):
        publish(orm.WorkChainNode().store(), tmp_path / 'x.aiida')
    running = orm.WorkChainNode(process_type='aiida.workflows:equitrain.study').store()
    with pytest.raises(ValueError, match='has not finished'):
        publish(running, tmp_path / 'x.aiida')
    (tmp_path / 'no.aiida').write_text('no')
    with pytest.raises(ValueError, match='is no AiiDA archive'):
        check_file(tmp_path / 'no.aiida')
    with pytest.raises(ValueError, match='it is not the published file'):
        check_file(tmp_path / 'no.aiida', 'ab')
    with ZipFile(tmp_path / 'deep.aiida', 'w') as archive:
        archive.writestr('db.sqlite3', b'')
        archive.writestr(MANIFEST, '[' * 10**5)
    with pytest.raises(ValueError, match='cannot be read: the JSON nests deeper'):
        check_file(tmp_path / 'deep.aiida')


def changed(archive: Path, target: Path, change: Callable[[sqlite3.Connection, dict[str, bytes]], None]) -> Path:
    """Write an archive after a change of its database and its files."""
    with ZipFile(archive) as source:
        content = {name: source.read(name) for name in source.namelist()}
    copy = target.with_suffix('.sqlite3')
    copy.write_bytes(content['db.sqlite3'])
    with sqlite3.connect(copy) as connection:
        change(connection, content)
    connection.close()
    content['db.sqlite3'] = copy.read_bytes()
    with ZipFile(target, 'w', ZIP_DEFLATED) as written:
        for name, item in content.items():
            written.writestr(name, item)
    return target


def attributes_of(connection: sqlite3.Connection, uuid: str) -> dict[str, Any]:
    """Return the attributes of a node of an archive."""
    (text,) = connection.execute('SELECT attributes FROM db_dbnode WHERE uuid = ?', (uuid,)).fetchone()
    content: dict[str, Any] = json.loads(text)
    return content


@pytest.mark.real
def test_published(
    aiida_profile_clean: Any, make_study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A published study follows from its inputs, tells nothing of the machine, and every change of it is named."""
    _, node = run_get_node(make_study(sizes=[2]))
    assert node.is_finished_ok, node.exit_message
    ask_as_the_tutorial(capsys)
    done = publish(node, tmp_path / 'study.aiida')
    assert done.sha256 in done.readme.read_text()
    assert 'phonon MAE' in done.readme.read_text()
    assert done.report is not None
    assert 'id="rows"' in done.report.read_text()
    assert hashlib.sha256(done.report.read_bytes()).hexdigest() in done.readme.read_text()
    manifest, problems = check_file(done.archive, done.sha256)
    assert problems == []
    assert manifest['results']['rows'][0]['phonon_mae_thz'] > 0
    checks = recompute(list(manifest['nodes']))
    assert len(checks) == 2
    assert [check.difference for check in checks] == [None, None]
    assert sum(check.n_numbers for check in checks) > 100

    with ZipFile(done.archive) as content:
        everything = b''.join(content.read(name) for name in content.namelist())
    assert orm.User.collection.get_default().email.encode() not in everything
    assert b'remote_workdir' not in everything

    check_changes(node, done.archive, tmp_path)


@pytest.mark.thorough
def test_reproduced(aiida_profile_clean: Any, make_study: Any, in_new_profile: Any, tmp_path: Path) -> None:
    """Elsewhere the results of a study follow from their inputs, and come again.

    A change that the manifest names is not imported; one that it hides is found as it does not follow.
    """
    _, node = run_get_node(make_study(sizes=[2]))
    done = publish(node, tmp_path / 'study.aiida')
    reproduce_elsewhere(node, done.archive, in_new_profile, tmp_path)
    check_changes(node, done.archive, tmp_path)
    tampered, hidden = in_new_profile(
        tmp_path / 'two',
        [*REPRODUCE, str(tmp_path / 'frequency.aiida')],
        [*REPRODUCE, str(tmp_path / 'hidden2.aiida')],
    )
    assert tampered.returncode == 1
    assert node.outputs.comparisons.Si_l2_tsp_2_1.uuid in tampered.stdout
    assert 'nothing was imported' in tampered.stderr
    assert hidden.returncode == 1, hidden.stdout
    assert 'candidates.finetuned.max_frequency_thz' in hidden.stdout + hidden.stderr or 'finetuned' in hidden.stdout


def ask_as_the_tutorial(capsys: pytest.CaptureFixture[str]) -> None:
    """Execute what docs/tutorial/study.md tells to ask in Python; it prints an error for each strategy and size."""
    (block,) = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/tutorial/study.md').read_text(), re.DOTALL)
    capsys.readouterr()
    exec(block, {})
    assert re.search(r'l2-tsp +2 +\d+\.\d+', capsys.readouterr().out)


def check_changes(node: Any, archive: Path, folder: Path) -> None:
    """Change a weight, a frequency, a link; each time the node is named."""
    potential, comparison = node.outputs.potentials.Si_l2_tsp_2_1, node.outputs.comparisons.Si_l2_tsp_2_1
    name, key = next(iter(potential.base.repository.metadata['o'].items()))
    old = f'repo/{key["k"]}'

    def weight(_: sqlite3.Connection, content: dict[str, bytes]) -> None:
        content[old] = content[old][:-1] + bytes([content[old][-1] ^ 1])

    def weight_with_its_name(connection: sqlite3.Connection, content: dict[str, bytes]) -> None:
        new = content.pop(old)
        new = new[:-1] + bytes([new[-1] ^ 1])
        digest = hashlib.sha256(new).hexdigest()
        content[f'repo/{digest}'] = new
        connection.execute('UPDATE db_dbnode SET repository_metadata = replace(repository_metadata, ?, ?)',
                           (key['k'], digest))  # fmt: skip

    def frequency(connection: sqlite3.Connection, _: dict[str, bytes]) -> None:
        attributes = attributes_of(connection, comparison.uuid)
        attributes['candidates']['finetuned']['max_frequency_thz'] += 0.01
        connection.execute('UPDATE db_dbnode SET attributes = ? WHERE uuid = ?',
                           (json.dumps(attributes), comparison.uuid))  # fmt: skip

    def link(connection: sqlite3.Connection, _: dict[str, bytes]) -> None:
        connection.execute("DELETE FROM db_dblink WHERE label = 'potential' AND type = 'create'")

    for change, changed_node, what in (
        (weight, potential, f'its file `{name}` was changed'),
        (weight_with_its_name, potential, 'its files were changed'),
        (frequency, comparison, 'its attributes were changed'),
        (link, potential, 'its links were changed'),
    ):
        _, problems = check_file(changed(archive, folder / f'{change.__name__}.aiida', change))
        assert [(problem.uuid, problem.what) for problem in problems] == [(changed_node.uuid, what)], change.__name__

    frequency_too = changed(archive, folder / 'hidden.aiida', frequency)
    changed(frequency_too, folder / 'hidden2.aiida', lambda _, content: with_new_manifest(frequency_too, content))


def with_new_manifest(archive: Path, content: dict[str, bytes]) -> None:
    """Make the manifest say what the archive says, as somebody would who hides a change."""
    manifest = json.loads(content[MANIFEST])
    manifest['nodes'] = describe_nodes(archive)
    content[MANIFEST] = json.dumps(manifest).encode()


def reproduce_elsewhere(node: Any, archive: Path, in_new_profile: Any, folder: Path) -> None:
    """On an empty profile all follows from its inputs and comes out again."""
    read_only = [
        'verdi',
        'profile',
        'setup',
        'core.sqlite_zip',
        '-n',
        '--profile-name',
        'file',
        '--filepath',
        str(archive),
    ]
    results = in_new_profile(
        folder / 'one',
        [*REPRODUCE, str(archive), '--rerun', 'finetune,phonons', '--csv', 'lines.csv'],
        read_only,
        ['aiida-equitrain', '-p', 'file', 'list', 'studies', '--json'],
    )
    assert all(result.returncode == 0 for result in results), results[0].stdout + results[0].stderr
    assert '2 of 2 follow from their stored inputs' in results[0].stdout
    assert 'version of' not in results[0].stdout
    lines = (folder / 'one' / 'lines.csv').read_text().splitlines()
    assert len(lines) > 15
    assert all(line.endswith(',reproduced') for line in lines[1:])
    assert json.loads(results[2].stdout)[0]['uuid'] == node.uuid
