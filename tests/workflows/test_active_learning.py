"""Active learning: what is chosen, what is refused, and a real run whose rounds end for the right reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState, run_get_node
from aiida.manage import get_manager

from aiida_equitrain.calculations.functions.active_learning import choose_disputed, pool_frames, start_pool
from aiida_equitrain.workflows.active_learning.workchain import ActiveLearningWorkChain

pytestmark = pytest.mark.real


@pytest.fixture
def make_builder(starter: Any, python_code: Any, phonopy_code: Any, silicon_phonons: Any, tiny_dataset: Any) -> Any:
    """Return a factory of builders; keywords change the arguments."""

    def factory(settings: dict[str, Any] | None = None, **changes: Any) -> Any:
        overrides = {
            'settings': {'n_start': 2, 'n_per_round': 2, 'max_train': 4, **(settings or {})},
            'committee': {'n_seeds': 2, 'finetune': {'train': {'hyperparameters': {'epochs': 2}}}},
            'phonons': {'settings': {'min_length_angstrom': 7.0}},
            'compare': {'settings': {'mesh': [5, 5, 5]}},
        }
        arguments: dict[str, Any] = {
            'structure': silicon_phonons[0], 'foundation': starter, 'pool': tiny_dataset,
            'reference': silicon_phonons[1], 'python_code': python_code, 'phonopy_code': phonopy_code,
            'protocol': 'fast', 'overrides': overrides,
        }  # fmt: skip
        return ActiveLearningWorkChain.get_builder_from_protocol(**{**arguments, **changes})

    return factory


def test_chosen(tiny_dataset: Any) -> None:
    """Those rows are chosen on which the members differ most; the others are left."""
    made = start_pool(tiny_dataset, orm.Dict({'n_start': 2}), orm.Int(1))
    assert made['dataset'].counts == {'train': 2, 'valid': 1, 'test': 0}
    rows = made['rows']
    assert len(rows) == 3
    frames = pool_frames(tiny_dataset, rows)
    assert np.allclose(frames.get_positions()[0], tiny_dataset.get_frames()[rows[0]].positions)
    members = {}
    for sign, name in ((1, 'a'), (-1, 'b')):
        array = orm.ArrayData()
        forces = np.zeros((3, 8, 3))
        forces[1], forces[2] = 0.1 * sign, 0.3 * sign
        array.set_array('forces', forces)
        array.set_array('energies', np.zeros(3))
        members[name] = array
    chosen = choose_disputed(rows, orm.Int(2), **members)
    assert chosen['chosen'].get_list() == [rows[2], rows[1]]
    assert chosen['left'].get_list() == [rows[0]]
    assert chosen['spread']['max_ev_per_angstrom'] == pytest.approx(0.3 * np.sqrt(2))


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'n_start': 9, 'max_train': 9}, '5 training frames, fewer than `settings.n_start`'),
        ({'max_train': 1}, 'is below `settings.n_start`'),
        ({'n_per_round': 0}, 'must be at least 1'),
        ({'phonon_tolerence_thz': 0.1}, 'did you mean `phonon_tolerance_thz`'),
    ],
)
def test_wrong_settings(make_builder: Any, settings: dict[str, Any], sentence: str) -> None:
    """Each wrong setting has its sentence before anything is submitted."""
    with pytest.raises(ValueError, match=sentence):
        get_manager().get_runner().instantiate_process(make_builder(settings))


def test_wrong_pool(make_builder: Any, tiny_dataset: Any, pw_code: Any, pseudo_family: Any) -> None:
    """A pool without labels needs to be told how they are made; one with labels needs nothing."""
    frames = pool_frames(tiny_dataset, orm.List([0, 1, 2]))
    with pytest.raises(ValueError, match='needs `dataset`, `pw_code` and `pseudo_family`'):
        make_builder(pool=frames)
    dft = {'pw_code': pw_code, 'pseudo_family': pseudo_family.label, 'dataset': tiny_dataset}
    builder = make_builder(pool=frames, **dft)
    process = get_manager().get_runner().instantiate_process(builder)
    process.setup()
    assert process.ctx.rows.get_list() == [0, 1, 2]
    assert process.should_run_label()
    builder.pool = tiny_dataset
    with pytest.raises(ValueError, match='neither `dataset` nor `label`'):
        get_manager().get_runner().instantiate_process(builder)


@pytest.mark.parametrize(
    ('part', 'step', 'label'),
    [
        ('committee', 'inspect_committee', 'ERROR_COMMITTEE_FAILED'),
        ('phonon_work', 'inspect_phonons', 'ERROR_PHONONS_FAILED'),
        ('compare_error', 'inspect_compare', 'ERROR_COMPARE_FAILED'),
        ('evaluate_a', 'choose', 'ERROR_EVALUATE_FAILED'),
        ('label', 'inspect_label', 'ERROR_LABEL_FAILED'),
    ],
)
def test_failures(make_builder: Any, part: str, step: str, label: str) -> None:
    """A failing part ends it with its own exit code, and what there is is attached."""
    process = get_manager().get_runner().instantiate_process(make_builder())
    process.setup()
    node = orm.WorkChainNode().store()
    node.set_process_label('StageWorkChain')
    node.set_process_state(ProcessState.FINISHED)
    node.set_exit_status(499)
    node.set_exit_message('what went wrong')
    process.ctx[part], process.ctx.compared = node, ['error']
    if part == 'evaluate_a':
        process.ctx.members = {'a': process.inputs.foundation}
    code = getattr(process, step)()
    assert code.status == process.exit_codes[label].status
    assert 'what went wrong' in code.message
    assert process.outputs['rounds']['reason'] == label
    assert process.outputs['dataset'].counts['train'] == 2


@pytest.mark.parametrize('difference', [0.0, 0.1])
def test_members_that_agree(make_builder: Any, ended: Any, difference: float) -> None:
    """Where members say the same, frames are chosen at random, and the report says so."""
    process = get_manager().get_runner().instantiate_process(make_builder())
    process.setup()
    process.ctx.rounds, process.ctx.members = [{'n_train': 2}], {'a': None, 'b': None}
    for number, name in enumerate(process.ctx.members):
        array = orm.ArrayData()
        array.set_array('forces', np.full((3, 8, 3), number * difference))
        array.set_array('energies', np.zeros(3))
        node = ended(0)
        array.store().base.links.add_incoming(node, LinkType.RETURN, 'forces')
        process.ctx[f'evaluate_{name}'] = node
    assert process.choose() is None
    messages = [entry.message for entry in orm.Log.collection.get_logs_for(process.node)]
    assert any('the members are all the same' in message for message in messages) == (difference == 0.0)
    assert process.ctx.dataset.counts['train'] == 4


def test_rounds(make_builder: Any) -> None:
    """Two rounds: frames are chosen and revealed, phonons compared, and the budget ends it."""
    outputs, node = run_get_node(make_builder({'phonon_tolerance_thz': 0.0}))
    assert node.is_finished_ok, node.exit_message
    found = outputs['rounds'].get_dict()
    assert found['reason'] == 'max_train'
    first, second = found['rounds']
    assert (first['n_train'], second['n_train']) == (2, 4)
    assert first['change_thz'] is None
    assert second['change_thz'] > 0
    assert len(first['chosen']) == 2
    spread = first['spread']
    # Both frames of the first round are one batch, where seeds change nothing; but the second member has one of them.
    assert max(spread['chosen_ev_per_angstrom']) == spread['max_ev_per_angstrom'] > 1e-5
    assert outputs['dataset'].counts['train'] == 4
    assert outputs['potential'].creator.inputs.dataset.uuid == outputs['dataset'].uuid
    assert 0 < second['error_thz'] < 5
