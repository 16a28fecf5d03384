"""The parser of trainings, on folders that real runs left (``fixtures/train/make.py`` makes them)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.calculations.train import TrainCalculation
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.parsers.train import TrainParser

FOLDERS = Path(__file__).parent / 'fixtures' / 'train'
TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
TEMPORARY = [
    TrainCalculation.POTENTIAL,
    TrainCalculation.ADAPTER,
    *(output.file for output in TrainCalculation.OUTPUTS.values()),
]


@pytest.fixture
def parse(aiida_localhost: Any, tiny_dataset: Any, tmp_path: Path) -> Any:
    """Return a function that parses a folder and returns outputs and exit code."""

    def function(case: str, without: tuple[str, ...] = (), scheduler: int | None = None, **files: str) -> Any:
        node = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:equitrain.train')
        node.set_option('resources', {'num_machines': 1})
        node.set_option('scheduler_stderr', '_scheduler-stderr.txt')
        inputs = {
            'foundation': PotentialData(TINY_MODEL, card={'name': 'tiny'}),
            'dataset': tiny_dataset,
            'strategy': orm.Str('l2-tsp'),
        }
        for label, value in inputs.items():
            node.base.links.add_incoming(value.store(), link_type=LinkType.INPUT_CALC, link_label=label)
        if scheduler:
            node.set_exit_status(scheduler)
            node.set_exit_message('from the scheduler')
        node.store()
        retrieved = orm.FolderData()
        for path in (FOLDERS / case).iterdir():
            if path.name in without:
                continue
            if path.name in TEMPORARY:
                (tmp_path / path.name).write_bytes(path.read_bytes())
            else:
                retrieved.base.repository.put_object_from_bytes(path.read_bytes(), path.name)
        retrieved.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='retrieved')
        retrieved.store()
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        parser = TrainParser(node)
        code = parser.parse(retrieved_temporary_folder=str(tmp_path))
        return parser.outputs, code

    return function


def label_of(code: Any) -> str:
    return next(item.label for item in map(as_item, TrainCalculation.exit_codes.items()) if item.status == code.status)


class as_item:  # noqa: N801
    def __init__(self, pair: Any) -> None:
        self.label, self.status = pair[0], pair[1].status


def test_finished(parse: Any) -> None:
    outputs, code = parse('finished')
    assert code is None
    assert set(outputs) == {'potential', 'metrics', 'predictions', 'summary'}
    potential, metrics = outputs['potential'], outputs['metrics']
    potential.store()
    # Of the 1,332 weights only what changed: 33 kB of the 50 kB file are no weights.
    assert potential.kind == 'adapter'
    assert potential.foundation.card['name'] == 'tiny'
    assert potential.n_bytes < 10_000
    assert potential.elements == ['Na', 'Si', 'Cl']
    assert potential.card['name'] == 'Si, tiny → l2-tsp, 6 frames'
    assert potential.card['functional'] == 'PBE'
    assert metrics.get_array('epoch').tolist() == [0, 1, 2]
    assert metrics.base.attributes.get('units')['forces'] == 'eV/Å'
    names = {f'{side}_{what}_mae' for side in ('train', 'valid') for what in ('energy', 'forces', 'stress')}
    assert names | {'epoch', 'learning_rate', 'seconds'} <= set(metrics.get_arraynames())
    predictions = outputs['predictions']
    assert predictions.get_array('forces_after').shape == predictions.get_array('forces_reference').shape == (48, 3)
    assert np.isfinite(predictions.get_array('energies_after')).all()


@pytest.mark.parametrize(
    ('case', 'label', 'outputs'),
    [
        ('walltime', 'ERROR_OUT_OF_WALLTIME', {'potential', 'metrics', 'summary', 'checkpoint'}),
        ('diverged', 'ERROR_DIVERGED', {'potential', 'metrics', 'predictions', 'summary'}),
        ('cuda_missing', 'ERROR_DEVICE_MISSING', set()),
        ('crashed', 'ERROR_DRIVER_FAILED', set()),
        ('out_of_memory', 'ERROR_OUT_OF_MEMORY', None),
        ('killed', 'ERROR_OUT_OF_MEMORY', set()),
    ],
)
def test_failures(parse: Any, case: str, label: str, outputs: set[str] | None) -> None:
    """Each failure has its own exit code, and what exists is attached."""
    attached, code = parse(case)
    assert label_of(code) == label
    assert '{' not in code.message
    assert outputs is None or set(attached) == outputs


def test_no_model(parse: Any) -> None:
    outputs, code = parse('finished', without=(TrainCalculation.ADAPTER,))
    assert label_of(code) == 'ERROR_NO_MODEL'
    assert 'metrics' in outputs


def test_full_model(parse: Any) -> None:
    """What a strategy leaves that changes everything; a file of both kinds is there after a kill between them."""
    outputs, code = parse('transfer')
    assert code is None
    assert outputs['potential'].store().kind == 'full'
    outputs, code = parse('finished', **{TrainCalculation.POTENTIAL: 'half of a model'})
    assert code is None
    assert outputs['potential'].kind == 'adapter'


@pytest.mark.parametrize(('case', 'name'), [('finished', 'ADAPTER'), ('transfer', 'POTENTIAL')])
def test_model_that_is_none(parse: Any, case: str, name: str) -> None:
    outputs, code = parse(case, **{getattr(TrainCalculation, name): 'no pickle'})
    assert label_of(code) == 'ERROR_OUTPUT_UNREADABLE'
    assert set(outputs) == {'metrics', 'predictions', 'summary'}


def test_nothing_written(parse: Any) -> None:
    """A job that began says neither that it finished nor that it failed: it was ended from outside."""
    _, code = parse('crashed', without=('failure.json',))
    assert label_of(code) == 'ERROR_INTERRUPTED'
    _, code = parse('crashed', without=('failure.json', 'progress.json'))
    assert label_of(code) == 'ERROR_OUTPUT_MISSING'


@pytest.mark.parametrize(('status', 'label'), [(110, 'ERROR_OUT_OF_MEMORY'), (120, 'ERROR_OUT_OF_WALLTIME')])
def test_scheduler(parse: Any, status: int, label: str) -> None:
    """What the scheduler said counts where the driver could say nothing."""
    _, code = parse('crashed', without=('failure.json',), scheduler=status)
    assert label_of(code) == label


def test_every_reason_has_an_exit_code() -> None:
    assert set(TrainCalculation.FAILURES.values()) <= set(TrainCalculation.exit_codes)


@pytest.mark.real
def test_no_torch() -> None:
    """The parser runs in the daemon: it must not load torch."""
    import subprocess

    code = 'import sys, aiida_equitrain.parsers.train; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
