"""WorkChains that wait leave a slot for what they wait for: how many wait, what is refused, a study that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiida import orm

from aiida_equitrain.launch import slots
from aiida_equitrain.workflows.slots import count_waiting
from aiida_equitrain.workflows.study.workchain import StudyWorkChain

ROOT = Path(__file__).parents[2]
#: Of a study whose parts run one after the other.
ONE_BY_ONE = """
max_concurrent: 1
material:
  max_concurrent: 1
  finetune: {train: {hyperparameters: {epochs: 1}}}
  phonons: {settings: {min_length_angstrom: 5.0, harmonic: false}}
  compare: {settings: {mesh: [3, 3, 3]}}
"""
STORE = """
import sys
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science.frames import Frames
print(DatasetData(Frames.load(sys.argv[1]), functional='PBE', code='Quantum ESPRESSO 6.7').store().pk)
"""


class Int(SimpleNamespace):
    """As a node, where there is no profile yet."""

    def __init__(self, value: int) -> None:
        super().__init__(value=value)


@pytest.mark.parametrize(
    ('name', 'inputs', 'number'),
    [
        ('PhononsWorkChain', {'potential': 1}, 1),
        ('PhononsWorkChain', {'pw': 1, 'relax': 1, 'max_concurrent': Int(1)}, 3),
        ('PhononsWorkChain', {'pw': 1, 'max_concurrent': Int(8)}, 9),
        ('LabelWorkChain', {'max_concurrent': Int(5)}, 6),
        ('CommitteeWorkChain', {'max_concurrent': Int(8), 'n_seeds': Int(3)}, 4),
        # One stage after the other: the job, and the labelling with its DFT.
        ('MaterialWorkChain', {'label': {'pw': 1}, 'finetune': 1, 'max_concurrent': Int(1)}, 3),
        ('MaterialWorkChain', {'dataset': 1, 'finetune': 1, 'max_concurrent': Int(1)}, 2),
        # The job, phonons of the foundation, corrected ones, and twice those of the fine-tuned potential.
        ('MaterialWorkChain', {'dataset': 1, 'finetune': 1, 'max_concurrent': Int(2)}, 5),
        ('StudyWorkChain', {'max_concurrent': Int(3), 'materials': {'Si': {'max_concurrent': Int(1)}}}, 7),
        ('PwBaseWorkChain', {}, 2),
    ],
)
def test_count(name: str, inputs: dict[str, Any], number: int) -> None:
    """Count the job itself, and what waits below it at the same time."""
    assert count_waiting(name, inputs) == number


def test_refused(make_study: Any, monkeypatch: pytest.MonkeyPatch, aiida_profile: Any) -> None:
    """A job that could stand still is refused with what helps; what runs already counts."""
    builder = make_study()
    builder.materials['Si']['max_concurrent'] = orm.Int(1)
    monkeypatch.setattr(slots, 'count_workers', lambda: 1)
    free: list[Any] = []
    monkeypatch.setattr(slots, '_unfinished', lambda: free)
    for number, problem in ((4, False), (3, True)):
        monkeypatch.setattr(slots, 'get_config_option', lambda _, number=number: number)
        found = slots.slots_problem(builder)
        assert (found is not None) == problem, found
    assert found is not None
    assert 'up to 3 WorkChains of it wait at the same time' in found
    assert '`verdi daemon incr 1`' in found
    monkeypatch.setattr(slots, 'get_config_option', lambda _: 4)
    running = orm.WorkChainNode(process_type='aiida.workflows:equitrain.committee').store()
    running.set_process_label('CommitteeWorkChain')
    free.append(running)
    crowded = slots.slots_problem(make_study(overrides={'max_concurrent': 1, 'material': {'max_concurrent': 1}}))
    assert crowded is not None
    assert 'of what runs already' in crowded


def test_nested(aiida_profile: Any, make_study: Any) -> None:
    """What a stored job is given is read as its ports are nested."""
    from aiida.common.links import LinkType

    node = orm.WorkChainNode(process_type='aiida.workflows:equitrain.study')
    for label, value in (('max_concurrent', 2), ('materials__Si__max_concurrent', 1)):
        node.base.links.add_incoming(orm.Int(value).store(), LinkType.INPUT_WORK, label)
    node.set_process_label(StudyWorkChain.__name__)
    node.store()
    assert slots._waiting_of(node) == 5


@pytest.mark.thorough
@pytest.mark.real
def test_study_with_four_slots(tmp_path: Path) -> None:
    """With four slots of one worker a study of four rows that would stand still is refused; one by one it ends."""
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path), 'PATH': path}

    def run(*command: str, check: bool = True) -> str:
        result = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1500
        )
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    (tmp_path / 'store.py').write_text(STORE, encoding='utf-8')
    (tmp_path / 'overrides.yaml').write_text(ONE_BY_ONE, encoding='utf-8')
    run(sys.executable, '-m', 'aiida_equitrain.setup.profile', 'slots')
    run('aiida-equitrain', 'setup', '--offline')
    run('verdi', 'config', 'set', 'daemon.worker_process_slots', '4')
    run('verdi', 'config', 'set', 'daemon.timeout', '60')  # a busy machine
    data = run('verdi', 'run', 'store.py', str(ROOT / 'tests' / 'fixtures' / 'si8_pbe.npz')).split()[-1]
    crystal = ROOT / 'aiida_equitrain' / 'resources' / 'structures' / 'Si.cif'
    launch = ['aiida-equitrain', 'launch', 'study', str(crystal), '--dataset', f'Si={data}', '--no-dft', '--protocol',
              'fast', '--sizes', '2,4', '--seeds', '1,2', '--overrides', 'overrides.yaml']  # fmt: skip
    run('verdi', 'daemon', 'start', '1')
    try:
        assert 'nothing is submitted' in run(*launch, '--max-concurrent', '4', check=False)
        text = run(*launch)
    finally:
        run('verdi', 'daemon', 'stop')
    assert 'is done' in text
