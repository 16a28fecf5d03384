"""The table of jobs: what they are about, how they ended, what came out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from ase.build import bulk
from click.testing import CliRunner

from aiida_equitrain import query
from aiida_equitrain.cli.root import cmd_root

QHA = {'linear_thermal_expansion_per_k': 1.31e-5, 'bulk_modulus_gpa': 144.2, 'temperature_k': 300.0}
#: Kind, output, its content, and what is said of it.
CASES = [
    ('phonons', 'stability', {'lowest_frequency_thz': 0.079, 'max_frequency_thz': 6.3, 'dynamically_stable': True},
     'stable, lowest 0.0790 THz, highest 6.30 THz'),
    ('phonons', 'stability', {'lowest_frequency_thz': -1.5, 'max_frequency_thz': 6.3, 'dynamically_stable': False},
     'unstable, lowest −1.50 THz, highest 6.30 THz'),
    ('material', 'comparison',
     {'candidates': {'foundation': {'phonon_mae_thz': 0.2}, 'finetuned': {'phonon_mae_thz': 0.1}}},
     'phonons off by fine-tuned 0.100, foundation 0.200 THz'),
    ('finetune', 'summary', {'errors': {'before': {'valid': {'forces_mae_mev_per_angstrom': 2.0}},
                                        'after': {'valid': {'forces_mae_mev_per_angstrom': 1.0}}},
                             'worse_than_foundation': {'energy': 1}},
     'forces off by 1.00 meV/Å, foundation 2.00; worse: energy'),
    ('qha', 'qha', QHA, 'expansion 13.10e-6 per K, bulk modulus 144 GPa at 300 K'),
    ('kappa', 'kappa', {'temperatures_k': [100.0, 290.0], 'kappa_w_per_m_k': [5.0, 2.0]}, '2.00 W/m/K at 290 K'),
    ('instability', 'tree', {'phases': {
        'root': {'energy_below_root_mev_per_atom': 0.0, 'space_group': 'Fm-3m (225)'},
        'phase_1': {'energy_below_root_mev_per_atom': 29.2, 'space_group': 'R3m (160)'}}},
     '1 phase, R3m (160) 29.2 meV/atom below'),
    ('study', 'aggregates', {'n_rows': 6, 'n_failed': 1}, '5 of 6 rows'),
    ('qha', 'qha', {'of': 'a stranger'}, 'its results are not of the form that ours have'),
]  # fmt: skip


def job(kind: str, status: int | None = 0, message: str = '', structure: Any = None, **outputs: Any) -> Any:
    """Return a stored WorkChain of ours; without a status it runs."""
    node = orm.WorkChainNode(process_type=f'aiida.workflows:equitrain.{kind}', label=f'my {kind}')
    if structure is not None:
        node.base.links.add_incoming(structure, LinkType.INPUT_WORK, 'structure')
    node.store()
    for name, content in outputs.items():
        orm.Dict(content).store().base.links.add_incoming(node, LinkType.RETURN, name)
    node.set_process_state(ProcessState.RUNNING if status is None else ProcessState.FINISHED)
    if status is not None:
        node.set_exit_status(status)
        node.set_exit_message(message)
    return node


@pytest.mark.parametrize(('kind', 'output', 'content', 'words'), CASES, ids=lambda value: str(value)[:20])
def test_results(aiida_profile_clean: Any, kind: str, output: str, content: dict[str, Any], words: str) -> None:
    """The result is in words with its unit."""
    node = job(kind, **{output: content})
    table = query.jobs()
    assert list(table['pk']) == [node.pk]
    assert table['result'][0] == words


def test_table(aiida_profile_clean: Any) -> None:
    """The newest first; filters keep or drop; what another one has called is left out; a failure says why."""
    salt = orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=5.6)).store()
    silicon = orm.StructureData(ase=bulk('Si')).store()
    top = job('material', 402, 'x' * 200 + ' out of memory', salt)
    below = orm.WorkChainNode(process_type='aiida.workflows:equitrain.phonons')
    below.base.links.add_incoming(top, LinkType.CALL_WORK, 'phonons')
    below.store()
    running = job('phonons', None, structure=silicon)
    table = query.jobs()
    assert list(table['pk']) == [running.pk, top.pk]
    assert list(table['state']) == ['running', 'failed']
    assert list(table['material']) == ['Si', 'NaCl']
    assert table['result'][1].endswith(' out of memory')
    assert len(table['result'][1]) <= 90
    for filters, pks in (
        ({'material': 'ClNa'}, [top.pk]), ({'kind': 'phonons'}, [running.pk]), ({'state': 'failed'}, [top.pk]),
        ({'called': True}, [running.pk, below.pk, top.pk]), ({'limit': 1}, [running.pk]),
        ({'limit': 1, 'material': 'NaCl'}, [top.pk]), ({'kind': 'qha'}, []),
        ({'limit': 1, 'begins': str(top.pk)}, [top.pk]),
    ):  # fmt: skip
        assert list(query.jobs(**filters)['pk']) == pks, filters  # type: ignore[arg-type]
    printed = CliRunner().invoke(cmd_root, ['list', 'jobs']).output
    assert printed.splitlines()[0].split() == ['pk', 'kind', 'label', 'material', 'state', 'result', 'created']
    assert 'my material' in printed
    rows = json.loads(CliRunner().invoke(cmd_root, ['list', 'jobs', '--json', '--state', 'running']).output)
    assert [row['pk'] for row in rows] == [running.pk]
    assert 'There are no jobs here that fit.' in CliRunner().invoke(cmd_root, ['list', 'jobs', '--kind', 'qha']).output
