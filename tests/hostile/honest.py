"""A small study that nobody has run, published: what hostile archives are made of."""

from __future__ import annotations

import atexit
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

FIXTURES = Path(__file__).parents[1] / 'fixtures'


def make_study() -> Any:
    """Return a study with a potential, a dataset and a table, stored in the loaded profile; no job is run."""
    import numpy as np
    from aiida import orm
    from aiida.common.links import LinkType
    from aiida.engine import ProcessState

    from aiida_equitrain.calculations.functions.study import collect_study
    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.data.potential import PotentialData
    from aiida_equitrain.science.frames import Frame

    frame = Frame(numbers=[14, 14], positions=np.array([[0.0, 0, 0], [1.3, 1.3, 1.3]]), cell=np.eye(3) * 5.4,
                  energy=-1.0, forces=np.array([[0.1, 0, 0], [-0.1, 0, 0]]), role='train')  # fmt: skip
    dataset = DatasetData([frame], functional='PBE', code='a code').store()
    foundation = PotentialData(FIXTURES / 'tiny_mace.model', origin='made for tests', card={'name': 'tiny'})
    foundation.label = 'starter'
    foundation.store()
    computer = orm.Computer('localhost', 'localhost', '', 'core.local', 'core.direct', '/scratch/{username}').store()
    code = orm.InstalledCode(label='python', computer=computer, filepath_executable='/opt/theirs/python',
                             prepend_text='module load theirs').store()  # fmt: skip
    study = orm.WorkChainNode(process_type='aiida.workflows:equitrain.study')
    inputs = {'foundation': foundation.store(), 'code': code, 'materials__Si__dataset': dataset,
              'numbers': orm.ArrayData({'a': np.arange(3.0)}).store(),
              'strategies': orm.Dict({'l2-tsp': {}}).store(), 'settings': orm.Dict({'sizes': [2]}).store()}  # fmt: skip
    for name, item in inputs.items():
        study.base.links.add_incoming(item, LinkType.INPUT_WORK, name)
    study.store()
    study.set_process_label('StudyWorkChain')
    row = {
        'material': 'Si',
        'strategy': 'l2-tsp',
        'n_train': 2,
        'seed': 1,
        'state': 'failed',
        'reason': 'no job was run',
    }
    made = collect_study(orm.Dict({'Si_l2_tsp_2_1': row}).store(), orm.Dict({}).store())
    for name, item in made.items():
        item.base.links.add_incoming(study, LinkType.RETURN, name)
    study.set_process_state(ProcessState.FINISHED)
    study.set_exit_status(0)
    study.seal()
    return study


@contextmanager
def empty_profile() -> Iterator[None]:
    """Load an empty profile in memory, and afterwards the one that was loaded before."""
    from aiida.manage import get_manager
    from aiida.orm import User
    from aiida.storage.sqlite_temp import SqliteTempBackend

    manager = get_manager()
    before = manager.get_profile()
    profile = SqliteTempBackend.create_profile('honest', default_user_email='alice@example.org')
    try:
        manager.load_profile(profile, allow_switch=True)
        User.collection.get_or_create('alice@example.org')[1].store()
        yield
    finally:
        if before is None:
            manager.unload_profile()
        else:
            manager.load_profile(before, allow_switch=True)


@cache
def honest() -> Path:
    """Return a published archive, made once."""
    from aiida_equitrain.publish.write import publish

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with empty_profile():
        return publish(make_study(), folder / 'study.aiida').archive


@cache
def content() -> dict[str, bytes]:
    """Return the entries of the honest archive."""
    with ZipFile(honest()) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(target: Path, entries: dict[str, bytes]) -> Path:
    """Write entries as an archive."""
    with ZipFile(target, 'w', ZIP_DEFLATED) as archive:
        for name, item in entries.items():
            archive.writestr(name, item)
    return target


def changed(
    target: Path,
    *,
    sql: str | Callable[[sqlite3.Connection], Any] = '',
    manifest: Callable[[dict[str, Any]], Any] | None = None,
    entries: Callable[[dict[str, bytes]], Any] | None = None,
    hide: bool = False,
) -> Path:
    """Write the honest archive after changes.

    :param sql: statements, or a function of the connection to its database.
    :param manifest: changes the manifest in place.
    :param entries: changes the entries in place, at the end.
    :param hide: make the manifest vouch for what was changed in the database, as its maker could.
    """
    from aiida_equitrain.publish.archive import MANIFEST, describe_nodes

    now = dict(content())
    if sql:
        database = target.with_suffix('.sqlite3')
        database.write_bytes(now['db.sqlite3'])
        connection = sqlite3.connect(database)
        if callable(sql):
            sql(connection)
        else:
            connection.executescript(sql)
        connection.commit()
        connection.close()
        now['db.sqlite3'] = database.read_bytes()
        database.unlink()
    said = json.loads(now[MANIFEST])
    if hide:
        said['nodes'] = describe_nodes(write(target, now))
    if manifest is not None:
        manifest(said)
    now[MANIFEST] = json.dumps(said).encode()
    if entries is not None:
        entries(now)
    return write(target, now)
