"""What the tests of WorkChains share: builders of the main job, and a small study of silicon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiida import orm
from aiida.engine import ProcessState

from aiida_equitrain.workflows.material.workchain import MaterialWorkChain
from aiida_equitrain.workflows.study.workchain import StudyWorkChain


@pytest.fixture(autouse=True)
def _results_have_creators(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a WorkChain of a test returns was made by a process, or given to it."""
    real = 'aiida_profile' in request.fixturenames and request.node.get_closest_marker('real') is not None
    # What other tests have put into the profile by hand is their affair.
    last = (
        orm.QueryBuilder().append(orm.Node, project='id').order_by({orm.Node: {'id': 'desc'}}).first(flat=True)
        if real
        else 0
    )
    yield
    if real:
        assert orphans(last or 0) == []


def orphans(last: int = 0) -> list[str]:
    """Return the outputs of WorkChains of ours that no process has made, and that are no inputs.

    :param last: PK of the last node that is not looked at.
    """
    ours = {'process_type': {'like': 'aiida.workflows:equitrain.%'}, 'id': {'>': last}}
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters=ours, tag='work')
    query.append(orm.Data, with_incoming='work', project=['*', 'uuid'], edge_project='label')
    made = []
    for node, _, label in query.all():
        if node.creator is None and not node.base.links.get_outgoing(orm.WorkChainNode).all_nodes():
            made.append(str(label))
    return made


@pytest.fixture
def ended(aiida_profile: Any) -> Any:
    """Return a factory of stored stages that ended with an exit status; one that failed says what went wrong."""

    def factory(exit_status: int) -> Any:
        node = orm.WorkChainNode().store()
        node.set_process_label('StageWorkChain')
        node.set_process_state(ProcessState.FINISHED)
        node.set_exit_status(exit_status)
        node.set_exit_message('what went wrong' if exit_status else None)
        return node

    return factory


@pytest.fixture
def make_material_builder(
    silicon: Any, starter: Any, python_code: Any, pw_code: Any, phonopy_code: Any, pseudo_family: Any
) -> Any:
    """Return a factory of builders of the main job; ``None`` removes an argument."""

    def factory(**changes: Any) -> Any:
        arguments = {
            'structure': silicon,
            'foundation': starter,
            'python_code': python_code,
            'phonopy_code': phonopy_code,
            'pw_code': pw_code,
            'pseudo_family': pseudo_family.label,
            'protocol': 'fast',
        }
        arguments = {key: value for key, value in (arguments | changes).items() if value is not None}
        return MaterialWorkChain.get_builder_from_protocol(**arguments)

    return factory


@pytest.fixture
def make_study(starter: Any, python_code: Any, phonopy_code: Any, silicon_phonons: Any, tiny_dataset: Any) -> Any:
    """Return a factory of builders of a small study of silicon; keywords change the arguments."""

    def factory(**changes: Any) -> Any:
        overrides = {
            'max_concurrent': 1,
            'material': {
                'finetune': {'train': {'hyperparameters': {'epochs': 2}}},
                'phonons': {'settings': {'min_length_angstrom': 7.0, 'elastic': True}},
                'compare': {'settings': {'mesh': [5, 5, 5]}},
            },
        }
        arguments: dict[str, Any] = {
            'structures': {'Si': silicon_phonons[0]},
            'foundation': starter,
            'strategies': ['l2-tsp'],
            'sizes': [2, 4],
            'datasets': {'Si': tiny_dataset},
            'references': {'Si': silicon_phonons[1]},
            'python_code': python_code,
            'phonopy_code': phonopy_code,
            'protocol': 'fast',
            'overrides': overrides,
        }
        return StudyWorkChain.get_builder_from_protocol(**{**arguments, **changes})

    return factory
