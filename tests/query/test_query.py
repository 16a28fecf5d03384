"""Tables of the database, after a real training: what a user asks, and what the answer says."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from ase.build import bulk
from click.testing import CliRunner

from aiida_equitrain import query
from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.finetune import FinetuneWorkChain

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'


@pytest.fixture
def trained(aiida_profile_clean: Any, tiny_dataset: Any, python_code: Any) -> tuple[Any, Any]:
    """Return a foundation and the potential of one short training from it."""
    foundation = PotentialData(TINY_MODEL, card={'name': 'tiny'}).store()
    builder = FinetuneWorkChain.get_builder_from_protocol(
        foundation=foundation,
        dataset=tiny_dataset,
        python_code=python_code,
        protocol='fast',
        overrides={'train': {'hyperparameters': {'epochs': 1}}},
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return foundation, outputs['potential']


@pytest.mark.real
def test_trained(trained: Any, tiny_dataset: Any) -> None:
    """One training is a row with its data, errors and foundation; filters keep or drop it; commands print it."""
    foundation, potential = trained
    table = query.potentials()
    assert list(table['pk']) == [potential.pk, foundation.pk]
    row = table.iloc[0]
    assert (row['strategy'], row['materials'], row['foundation_pk']) == ('l2-tsp', ['Si'], foundation.pk)
    assert row['dataset_pk'] == tiny_dataset.pk
    summary = potential.creator.outputs.summary['errors']['after']['valid']
    assert row['forces_mae_mev_per_angstrom'] == summary['forces_mae_mev_per_angstrom']
    for filters, number in (
        ({'material': 'Si2'}, 1), ({'material': 'NaCl'}, 0), ({'strategy': 'lora'}, 0), ({'elements': ['Si']}, 2),
        ({'elements': ['U']}, 0), ({'foundation': foundation.pk}, 1), ({'max_phonon_mae_thz': 1.0}, 0),
    ):  # fmt: skip
        assert len(query.potentials(**filters)) == number, filters

    assert list(query.potentials(limit=1)['pk']) == [potential.pk]
    assert list(query.potentials(limit=1, strategy='l2-tsp')['pk']) == [potential.pk]
    few = query.potentials(columns=['seed', 'pk'])
    assert list(few.columns) == ['seed', 'pk']
    assert list(few['seed'].dropna()) == [1]

    assert query.best_potential(orm.StructureData(ase=bulk('Si'))).pk == potential.pk
    assert query.best_potential(orm.StructureData(ase=bulk('Ge'))) is None
    for node in (potential, potential.creator, potential.creator.caller):
        spent = query.cost(node)
        assert list(spent['process']) == ['TrainCalculation']
        assert spent['core_seconds'][0] > 0
    assert query.cost(foundation).empty
    made_of = query.lineage(potential)
    assert list(made_of['datasets']['pk']) == [tiny_dataset.pk]
    assert list(made_of['potentials']['pk']) == [foundation.pk]
    assert list(made_of['jobs']['process']) == ['TrainCalculation']

    shown = CliRunner().invoke(cmd_root, ['show', str(potential.pk)])
    assert shown.exit_code == 0, shown.output
    assert f'l2-tsp on {tiny_dataset.n_frames} frames of Si' in shown.output
    assert '1 × TrainCalculation' in shown.output
    rows = json.loads(CliRunner().invoke(cmd_root, ['list', 'potentials', '--json', '--material', 'Si']).output)
    assert [row['pk'] for row in rows] == [potential.pk]
    text = CliRunner().invoke(cmd_root, ['list', 'datasets', '--csv']).output
    assert text.splitlines()[1].startswith(f'{tiny_dataset.pk},')


@pytest.mark.real
def test_red_flags(aiida_profile_clean: Any, aiida_localhost: Any, tiny_dataset: Any) -> None:
    """A potential with a red flag is not recommended while there is one without; where all have one, that is said."""
    foundation = PotentialData(TINY_MODEL, card={'name': 'tiny'}).store()

    def trained_with(name: str, error: float, **facts: Any) -> PotentialData:
        job = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:equitrain.train')
        job.set_option('resources', {'num_machines': 1})
        choices = {'strategy': orm.Str('transfer').store(), 'seed': orm.Int(1).store()}
        for label, data in {'dataset': tiny_dataset, 'foundation': foundation, **choices}.items():
            job.base.links.add_incoming(data, LinkType.INPUT_CALC, label)
        job.store()
        valid = {'valid': {'forces_mae_mev_per_angstrom': error}}
        potential = PotentialData(TINY_MODEL, card={'name': name})
        for label, output in {
            'potential': potential,
            'summary': orm.Dict({'errors': {'after': valid}, **facts}),
        }.items():
            output.base.links.add_incoming(job, LinkType.CREATE, label)
            output.store()
        return potential

    silicon = orm.StructureData(ase=bulk('Si'))
    flagged = trained_with('nearer', 5.0, worse_than_foundation={'stress': [1.0, 2.0]})
    with pytest.warns(
        UserWarning, match='every potential for Si has a red flag.*stresses of validation frames got worse'
    ):
        assert query.best_potential(silicon).pk == flagged.pk
    assert [flag.key for flag in query.red_flags(flagged)] == ['stress_worse']
    assert 'stresses of validation frames got worse' in query.describe(flagged)['red flags']
    right = trained_with('right', 9.0)
    assert query.red_flags(right) == []
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        assert query.best_potential(silicon).pk == right.pk
    work = orm.WorkChainNode(process_type='aiida.workflows:equitrain.material').store()
    reference = {'volume_angstrom3': 40.0, 'n_atoms': 2}
    sides = {'finetuned': {'volume_angstrom3': 45.0, 'n_atoms': 2, 'phonon_mae_thz': 0.01}}
    comparison = orm.Dict({'reference': reference, 'candidates': sides}).store()
    for label, output in {'potential': right, 'comparison': comparison}.items():
        output.base.links.add_incoming(work, LinkType.RETURN, label)
    assert [flag.key for flag in query.red_flags(right)] == ['volume']


def test_empty(aiida_profile_clean: Any) -> None:
    """Nothing in the database is said in words; a wrong formula and a wrong PK are sentences."""
    for name in ('potentials', 'datasets', 'phonons', 'instabilities'):
        assert getattr(query, name)().empty
        assert f'There are no {name} here.' in CliRunner().invoke(cmd_root, ['list', name]).output
    wrong = CliRunner().invoke(cmd_root, ['list', 'potentials', '--material', 'salt!'])
    assert wrong.exit_code == 1
    assert 'no chemical formula' in wrong.output
    assert 'there is no node `77`' in CliRunner().invoke(cmd_root, ['show', '77']).output


def test_old_names(aiida_profile_clean: Any) -> None:
    """The lowest frequency of results that were stored under its old name is found."""
    for key, value in (('min_frequency_thz', -1.0), ('lowest_frequency_thz', -2.0)):
        structure, stability = orm.StructureData(ase=bulk('Si')).store(), orm.Dict({key: value}).store()
        node = orm.WorkChainNode(process_type='aiida.workflows:equitrain.phonons')
        node.base.links.add_incoming(structure, LinkType.INPUT_WORK, 'structure')
        node.store()
        stability.base.links.add_incoming(node, LinkType.RETURN, 'stability')
    assert sorted(query.phonons()['lowest_frequency_thz']) == [-2.0, -1.0]


def test_jobs_without_dft(aiida_profile_clean: Any) -> None:
    """What nothing judges has its error bar, where labels have corrected it."""
    for bar in (0.0082, None):
        node = orm.WorkChainNode(process_type='aiida.workflows:equitrain.material')
        node.set_process_state('finished')
        node.set_exit_status(0)
        node.store()
        outputs = {'comparison': {'candidates': {'corrected': {'phonon_mae_thz': None}}}}
        outputs |= {'phonons__corrected__correction': {'uncertainty_thz': bar}} if bar else {}
        for label, content in outputs.items():
            orm.Dict(content).store().base.links.add_incoming(node, LinkType.RETURN, label)
    assert list(query.jobs()['result']) == ['no reference to compare with', 'corrected, error bar 0.00820 THz']


def test_phonons(silicon_phonons: tuple[Any, Any]) -> None:
    """A row of phonons names its PhonopyData; for people formulas are not Hill's, and answers are words."""
    structure = orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=5.6)).store()
    node = orm.WorkChainNode(process_type='aiida.workflows:equitrain.phonons')
    node.base.links.add_incoming(structure, LinkType.INPUT_WORK, 'structure')
    node.store()
    phonons, stability = silicon_phonons[1].clone(), orm.Dict({'dynamically_stable': True})
    for label, output in (('stability', stability), ('phonopy_data', phonons)):
        output.store().base.links.add_incoming(node, LinkType.RETURN, label)
    (row,) = [row for _, row in query.phonons().iterrows() if row['pk'] == node.pk]
    assert (row['phonopy_pk'], row['dynamically_stable'], row['material']) == (phonons.pk, True, 'ClNa')
    lines = CliRunner().invoke(cmd_root, ['list', 'phonons', '--material', 'NaCl']).output.splitlines()
    (line,) = [line for line in lines if line.split()[:1] == [str(node.pk)]]
    assert 'NaCl' in line
    assert line.endswith('yes')
