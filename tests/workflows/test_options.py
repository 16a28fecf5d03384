"""What jobs ask of a scheduler: one place for all, the more specific wins, and nothing that nobody asked for."""

from __future__ import annotations

from typing import Any

import click
import pytest
from aiida import orm

from aiida_equitrain.cli.launch_options import kilobytes, seconds, with_options
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.options import options_for, take_options
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain


@pytest.fixture
def build(make_material_builder: Any) -> Any:
    """Return a factory of inputs of the main job."""
    return lambda **changes: make_material_builder(**changes)._inputs(prune=True)


def jobs_of(inputs: Any, path: str = '') -> dict[str, dict[str, Any]]:
    """Return ``metadata.options`` by the place of the job."""
    found = {}
    for name, value in inputs.items():
        if name == 'metadata':
            found[path] = dict(value.get('options', {}))
        elif isinstance(value, dict):
            found |= jobs_of(value, f'{path}.{name}'.lstrip('.'))
    return found


@pytest.mark.real
def test_nobody_asks_for_time(build: Any) -> None:
    """By default no job asks for a walltime: a partition may give less than the 12 hours of a protocol."""
    jobs = jobs_of(build())
    assert {'label.pw.pw', 'dft_phonons.relax.base_relax.pw', 'finetune.train'} <= set(jobs)
    assert not [path for path, options in jobs.items() if 'max_wallclock_seconds' in options]


def test_precedence(build: Any) -> None:
    """All jobs, then those of a kind, then the one that is named in the nesting of the ports."""
    inputs = build(
        options={'account': 'argument', 'qos': 'argument'},
        overrides={
            'options': {'account': 'mine', 'max_wallclock_seconds': 600},
            'dft': {'max_wallclock_seconds': 700},
            'training': {'queue_name': 'gpu', 'max_wallclock_seconds': 800},
            'finetune': {'train': {'metadata': {'options': {'max_wallclock_seconds': 900}}}},
            'label': {'pw': {'pw': {'metadata': {'options': {'max_wallclock_seconds': 1000}}}}},
            'compare': {'metadata': {'options': {'account': 'other'}}},
        },
    )
    jobs = jobs_of(inputs)
    times = {path: options['max_wallclock_seconds'] for path, options in jobs.items()}
    assert times['phonons.harmonic'] == times['phonons.phonopy'] == times['phonons.potential_forces'] == 600
    assert times['dft_phonons.pw.pw'] == times['dft_phonons.relax.base_relax.pw'] == 700
    assert (times['label.pw.pw'], times['finetune.train']) == (1000, 900)
    assert jobs['finetune.train']['queue_name'] == 'gpu'
    accounts = {path: options['account'] for path, options in jobs.items()}
    assert accounts.pop('compare') == 'other'
    assert set(accounts.values()) == {'mine'}
    assert {options['qos'] for options in jobs.values()} == {'argument'}
    assert inputs['label']['options']['account'] == 'mine'
    assert not any(options['withmpi'] for options in jobs.values())


def test_gpu(build: Any) -> None:
    """What a GPU needs is asked for by the jobs whose `device` is `cuda`."""
    inputs = build(
        overrides={
            'gpu': {'custom_scheduler_commands': '#SBATCH --gres=gpu:1'},
            'finetune': {'train': {'hyperparameters': {'device': 'cuda'}}},
            'label': {'relax': {'device': 'cuda'}},
        }
    )
    asked = [path for path, options in jobs_of(inputs).items() if 'custom_scheduler_commands' in options]
    assert asked == ['finetune.train']
    assert inputs['label']['options']['custom_scheduler_commands'] == '#SBATCH --gres=gpu:1'


def test_elsewhere(build: Any, aiida_computer_local: Any) -> None:
    """Post-processing on another computer gets none of the options, which are not made for it."""
    here = orm.InstalledCode(label='python', computer=aiida_computer_local(label='here'), filepath_executable='/bin/sh')
    inputs = build(options={'account': 'mine'}, postprocess_code=here.store())
    with_account = {path for path, options in jobs_of(inputs).items() if 'account' in options}
    assert 'finetune.train' in with_account
    assert 'compare' not in with_account


@pytest.mark.parametrize(
    ('overrides', 'sentence'),
    [
        ({'options': {'acount': 'x'}}, '`options` has the unknown option `acount`: did you mean `account`'),
        ({'dft': {'wall': 1}}, '`dft` has the unknown option `wall`'),
        ({'training': 'gpu'}, '`training` of the overrides must hold options'),
    ],
)
def test_wrong(overrides: Any, sentence: str) -> None:
    """What no scheduler knows is refused."""
    with pytest.raises(ValueError, match=sentence):
        take_options(overrides, None)


def test_blocks() -> None:
    """Blocks are taken out of the overrides; options of a kind are those of all and its own."""
    rest, options = take_options({'seed': 1, 'dft': {'qos': 'a'}}, {'account': 'x', 'dft': {'qos': 'b'}})
    assert rest == {'seed': 1}
    assert options_for(options) == {'account': 'x'}
    assert options_for(options, 'dft') == {'account': 'x', 'qos': 'a'}


def test_every_builder_takes_them(
    starter: Any, tiny_dataset: Any, python_code: Any, phonopy_code: Any, silicon: Any
) -> None:
    """The other builders do the same as the main job's."""
    options = {'account': 'mine'}
    finetune = FinetuneWorkChain.get_builder_from_protocol(
        foundation=starter, dataset=tiny_dataset, python_code=python_code, overrides={'options': options}
    )
    phonons = PhononsWorkChain.get_builder_from_protocol(
        silicon, phonopy_code, potential=starter, python_code=python_code, overrides={'options': options}
    )
    for builder in (finetune, phonons):
        assert {item['account'] for item in jobs_of(builder._inputs(prune=True)).values()} == {'mine'}


def test_command() -> None:
    """Options of the command go before the block of the overrides."""
    assert seconds(None, None, '2:00:00') == 7200
    assert seconds(None, None, '1-00:00:00') == 86400
    assert seconds(None, None, '30:00') == 1800
    assert kilobytes(None, None, '8GB') == 8_000_000
    for function, text in ((seconds, '2h'), (kilobytes, '8')):
        with pytest.raises(click.BadParameter, match='give'):
            function(None, None, text)
    chosen = {'account': 'mine', 'walltime': 60, 'queue': None, 'gpu_options': '#SBATCH --gres=gpu:1'}
    merged = with_options({'options': {'account': 'other', 'qos': 'low'}, 'seed': 1}, chosen)
    assert merged == {
        'options': {'account': 'mine', 'qos': 'low', 'max_wallclock_seconds': 60},
        'gpu': {'custom_scheduler_commands': '#SBATCH --gres=gpu:1'},
        'seed': 1,
    }
    assert with_options(None, {}) is None
