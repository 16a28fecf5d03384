"""What a cluster has ended is started again: when, with what, and that the results are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import BaseRestartWorkChain, ProcessState, run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins.entry_point import get_entry_point_names, load_entry_point

from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.parsers.ending import Ending
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain
from aiida_equitrain.workflows.queue import last_job, more_memory, why_failed
from aiida_equitrain.workflows.restarts import MAX_IN_VAIN, Restarts, plan_restart

CODES = ForcesCalculation.exit_codes
#: The first job is told to end once it has begun, as a cluster does it; the others are left alone.
TERMINATE_ONCE = """
if mkdir '{folder}/once' 2>/dev/null; then
    (until grep -q '"done": [1-9]' progress.json 2>/dev/null; do sleep 0.05; done
     kill -TERM $(pgrep -P $$ -f 'equitrain_job.drivers.{driver}')) &
fi
"""


@pytest.fixture
def ended_job(aiida_profile: Any, aiida_localhost: Any) -> Any:
    """Return a factory of stored jobs that ended with an exit status, with or without something done."""

    def factory(
        status: int, partial: bytes = b'', before: bytes = b'', batch_size: int = 1, name: str = 'equitrain.forces'
    ) -> Any:
        node = orm.CalcJobNode(computer=aiida_localhost, process_type=f'aiida.calculations:{name}')
        settings = orm.Dict({'batch_size': batch_size}).store()
        node.base.links.add_incoming(settings, LinkType.INPUT_CALC, 'settings')
        if before:
            node.base.links.add_incoming(orm.SinglefileData.from_bytes(before).store(), LinkType.INPUT_CALC, 'partial')
        node.store()
        node.set_process_state(ProcessState.FINISHED)
        node.set_exit_status(status)
        if partial:
            data = orm.SinglefileData.from_bytes(partial)
            data.base.links.add_incoming(node, LinkType.CREATE, 'partial')
            data.store()
        return node

    return factory


@pytest.mark.parametrize(
    ('label', 'facts', 'number', 'keys'),
    [
        ('ERROR_OUT_OF_WALLTIME', {'partial': b'12'}, 0, {'partial'}),
        # A job that comes further each time may take any number of times.
        ('ERROR_OUT_OF_WALLTIME', {'partial': b'123', 'before': b'12'}, 30, {'partial'}),
        ('ERROR_OUT_OF_WALLTIME', {}, 0, None),
        ('ERROR_OUT_OF_WALLTIME', {'partial': b'12', 'before': b'12'}, 1, None),
        ('ERROR_NODE_FAILURE', {}, 0, set()),
        ('ERROR_PREEMPTED', {'partial': b'1'}, 7, {'partial'}),
        ('ERROR_INTERRUPTED', {}, MAX_IN_VAIN - 1, set()),
        ('ERROR_INTERRUPTED', {}, MAX_IN_VAIN, None),
        ('ERROR_OUT_OF_MEMORY', {'batch_size': 8}, 0, {'settings'}),
        ('ERROR_OUT_OF_MEMORY', {'batch_size': 1}, 0, None),
        ('ERROR_CANCELLED', {'partial': b'12'}, 0, None),
        ('ERROR_DRIVER_FAILED', {}, 0, None),
    ],
)
def test_plan(ended_job: Any, label: str, facts: dict[str, Any], number: int, keys: set[str] | None) -> None:
    """Each end has its own answer; what somebody cancelled stays so."""
    restart = plan_restart(ended_job(CODES[label].status, **facts), number)
    assert (None if restart is None else set(restart.changes)) == keys
    if label == 'ERROR_OUT_OF_MEMORY' and restart is not None:
        assert restart.changes['settings']['batch_size'] == 4
        assert '4 instead of 8 frames' in restart.text


def ours(group: str) -> list[Any]:
    """Return the classes of ours that are entry points of a group."""
    return [load_entry_point(group, name) for name in get_entry_point_names(group) if name.startswith('equitrain.')]


@pytest.mark.parametrize('process', ours('aiida.calculations'), ids=lambda process: process.__name__)
def test_no_exit_code_is_cached(process: Any) -> None:
    """Each job has a code for each end from outside, and none is taken from the cache: it would fail once more."""
    codes = process.exit_codes
    for label in ('OUT_OF_WALLTIME', 'NODE_FAILURE', 'PREEMPTED', 'CANCELLED', 'INTERRUPTED', 'OUT_OF_MEMORY'):
        assert codes[f'ERROR_{label}'].invalidates_cache, label


@pytest.mark.parametrize('process', ours('aiida.workflows'), ids=lambda process: process.__name__)
def test_all_start_again(process: Any) -> None:
    """There is no WorkChain that would leave a job alone which a cluster has ended, and each can delete the folders."""
    assert issubclass(process, Restarts | BaseRestartWorkChain)
    assert 'clean_workdir' in process.spec().inputs


def test_jobs_of_others(ended_job: Any) -> None:
    """A job of phonopy on a node that failed is started again as well."""
    job = ended_job(140, name='phonopy.phonopy')
    restart = plan_restart(job, 0)
    assert restart is not None
    assert 'node that failed' in restart.text


def test_second_try(ended_job: Any) -> None:
    """A calculation of Quantum ESPRESSO gets twice the memory that it had; WorkChains of ours help themselves."""
    job = ended_job(110, name='quantumespresso.pw')
    assert why_failed(job).endswith(Ending.MEMORY.value)
    assert more_memory(job) == {}
    job.set_detailed_job_info({'stdout': 'JobID|ReqMem\n7|2000M'})
    assert more_memory(job) == {'max_memory_kb': 4_000_000}
    ours = orm.WorkChainNode(process_type='aiida.workflows:equitrain.material').store()
    assert last_job(ours) is None


@pytest.mark.thorough
@pytest.mark.real
def test_phonons_go_on(silicon: Any, starter: Any, make_code: Any, phonopy_code: Any, tmp_path: Any) -> None:
    """Forces that are told to end go on in another job, and the phonons are those of one that was left alone."""
    import sys

    python = make_code('python', sys.executable)
    overrides = {'settings': {'relax': False, 'min_length_angstrom': 5.0, 'mesh': [3, 3, 3], 'harmonic': False}}
    whole = PhononsWorkChain.get_builder_from_protocol(
        silicon, phonopy_code, potential=starter, python_code=python, protocol='fast', overrides=overrides
    )
    whole.displacement = orm.Dict({'distance': 0.03, 'number_of_snapshots': 30, 'random_seed': 1})
    outputs, node = run_get_node(whole)
    assert node.is_finished_ok, node.exit_message
    again = whole
    text = TERMINATE_ONCE.format(folder=tmp_path, driver='forces')
    again.potential_forces.metadata.options.prepend_text = text
    found, disturbed = run_get_node(again)
    assert disturbed.is_finished_ok, disturbed.exit_message
    jobs = {link.link_label: link.node for link in disturbed.base.links.get_outgoing(orm.CalcJobNode)}
    assert jobs['forces'].exit_status == CODES.ERROR_INTERRUPTED.status
    assert jobs['forces_again_1'].is_finished_ok
    assert jobs['forces_again_1'].outputs.summary['n_units_before'] > 0
    for name in ('forces', 'energies'):
        assert np.array_equal(outputs['forces'].get_array(name), found['forces'].get_array(name))


@pytest.mark.real
@pytest.mark.parametrize(
    ('label', 'goes_on'),
    [('ERROR_NODE_FAILURE', True), ('ERROR_PREEMPTED', True), ('ERROR_INTERRUPTED', True), ('ERROR_CANCELLED', False)],
)
def test_training(starter: Any, tiny_dataset: Any, python_code: Any, ended_job: Any, label: str, goes_on: bool) -> None:
    """A training goes on after each end from outside but a cancellation, which ends it with an exit code of its own."""
    builder = FinetuneWorkChain.get_builder_from_protocol(
        foundation=starter, dataset=tiny_dataset, python_code=python_code
    )
    process: Any = instantiate_process(get_manager().get_runner(), builder)
    process.setup()
    job = ended_job(CODES[label].status, name='equitrain.train')
    reports = [
        report
        for handler in process.get_process_handlers_by_priority()
        if (report := handler[1](process, job)) is not None
    ]
    (report,) = reports
    assert report.exit_code.status == (0 if goes_on else process.exit_codes.ERROR_CANCELLED.status)
