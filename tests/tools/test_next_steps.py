"""What a page advises: commands that exist, that are of the job that they follow, and that can work."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click
import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.plugins import WorkflowFactory
from ase.build import bulk

from aiida_equitrain.cli.launch import cmd_launch
from aiida_equitrain.cli.launch_idle import IDLE, refuse_given
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.report.verdict import common_flags, next_steps, of_phases, of_phonons, steps_after
from aiida_equitrain.science.verdict import Verdict, flag_of_nac, flag_of_starter


def job(kind: str = 'material', **inputs: Any) -> Any:
    """Return a job with some inputs and with phonons of a supercell."""
    node = orm.WorkChainNode(process_type=f'aiida.workflows:equitrain.{kind}')
    for label, data in inputs.items():
        node.base.links.add_incoming(data.store(), LinkType.INPUT_WORK, label)
    node.store()
    matrix = orm.List([[2, 0, 0], [0, 2, 0], [0, 0, 2]]).store()
    matrix.base.links.add_incoming(node, LinkType.RETURN, 'phonons__foundation__supercell_matrix')
    return node


def improvements(groups: list[dict[str, Any]]) -> dict[str, str]:
    """Return the advice of "Improve it"; each command is one of ours, and its options have an effect."""
    items = {
        item['text']: item['command'] for group in groups if group['title'] == 'Improve it' for item in group['items']
    }
    for group in groups[1:]:
        for item in group['items']:
            words = shlex.split(item['command'].rpartition(' && ')[2])
            if words[:2] == ['aiida-equitrain', 'launch']:
                command: Any = cmd_launch.get_command(click.Context(cmd_launch), words[2])
                with command.make_context(words[2], words[3:]) as context:
                    for row in IDLE.get(words[2], ()):
                        if row.when(context.params):
                            refuse_given(*row.names, why=row.why)
    return items


@pytest.fixture
def salt_job(aiida_profile: Any, starter: Any, tiny_frames: Any) -> dict[str, Any]:
    """Return a job that corrected the phonons of a polar crystal, without training and without DFT phonons."""
    structure = orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=5.6))
    settings = {'phonons__settings': orm.Dict({}), 'label__harmonic': orm.Dict({'n_frames': 1})}
    node = job(structure=structure, foundation=starter, **settings)
    frames = tiny_frames[:1]
    dataset = DatasetData(frames, functional='PBE', code='pw.x').store()
    inputs = {'structure': structure, 'foundation': starter, 'dataset': dataset}
    nac = flag_of_nac({'Na', 'Cl'}, False)
    assert nac is not None
    return {'node': node, 'inputs': inputs, 'verdict': Verdict('bad', '', [], None, [flag_of_starter(), nac])}


def test_without_training(salt_job: dict[str, Any]) -> None:
    """The advice keeps `--strategy none` and `--no-dft`; what the job did, or what cannot train, is no advice."""
    groups = next_steps(**salt_job, strategy='none')
    crystal, potential, dataset = (salt_job['inputs'][name].pk for name in ('structure', 'foundation', 'dataset'))
    again = f'aiida-equitrain launch material {crystal} --dataset {dataset} --no-dft --strategy none'
    assert improvements(groups) == {
        'A better foundation, with the same labels':
            f'aiida-equitrain setup --with nequix && {again} --foundation nequix-oam-1-pft',
        'The non-analytical term': f'{again} --foundation {potential} --born-charges',
    }  # fmt: skip
    assert '`supercell_matrix: [[2, 0, 0], [0, 2, 0], [0, 0, 2]]`' in groups[1]['note']


def test_with_training(salt_job: dict[str, Any], tiny_dataset: Any) -> None:
    """Frames that can train get another strategy of the family; frames for phonons are advised where there are none."""
    inputs = {**salt_job['inputs'], 'dataset': tiny_dataset, 'engine': 'mace'}
    inputs = {**inputs, 'structure': orm.StructureData(ase=bulk('Si')).store()}
    node = job(phonons__settings=orm.Dict({}), dft_phonons__settings=orm.Dict({}))
    found = improvements(next_steps(node, inputs, salt_job['verdict'], 'transfer'))
    crystal, potential = inputs['structure'].pk, inputs['foundation'].pk
    launch = f'aiida-equitrain launch material {crystal}'
    again = f'{launch} --dataset {tiny_dataset.pk}'
    of = f'--foundation {potential}'
    assert found == {
        'Frames made to correct the phonons': f'{launch} --recipe harmonic --strategy none {of}',
        'A better foundation, with the same labels':
            f'aiida-equitrain setup --with nequix && {again} --strategy transfer --foundation nequix-oam-1-pft',
        'Another strategy': f'{again} --strategy l2-tsp {of}',
        'The non-analytical term': f'{again} --strategy transfer --engine mace {of} --born-charges',
    }  # fmt: skip


def test_metal(salt_job: dict[str, Any], tiny_dataset: Any, silicon_phonons: Any) -> None:
    """Occupations of DFT are named where something is computed with DFT, and only there."""
    structure, phonons = silicon_phonons
    metal = {'label__pw__pw__parameters': orm.Dict({'SYSTEM': {'occupations': 'smearing'}})}
    node = job(phonons__settings=orm.Dict({}), reference=phonons, **metal)
    found = improvements(
        next_steps(
            node,
            {**salt_job['inputs'], 'structure': structure, 'dataset': tiny_dataset},
            salt_job['verdict'],
            'transfer',
        )
    )
    assert {text for text, command in found.items() if '--metal' in command} == {'Frames made to correct the phonons'}
    assert f'--dataset {tiny_dataset.pk} --reference {phonons.pk} --strategy' in found['Another strategy']


def test_after_phonons(salt_job: dict[str, Any]) -> None:
    """What judges a potential is no advice for phonons of DFT."""
    structure, potential = salt_job['inputs']['structure'], salt_job['inputs']['foundation']
    groups = steps_after(job(structure=structure, potential=potential), 'phonons')
    command = f'aiida-equitrain launch material {structure.pk} --recipe harmonic --strategy none'
    assert improvements(groups)['Judge and correct the phonons by labels'] == f'{command} --foundation {potential.pk}'
    groups = steps_after(job(structure=structure), 'phonons')
    assert [group['title'] for group in groups] == ['Use it', 'Go on']


@pytest.mark.parametrize('kind', ['phonons', 'instability', 'qha', 'kappa'])
def test_polar(aiida_profile: Any, kind: str) -> None:
    """Phonons of a compound without the term are flagged whoever made them; options that are named exist."""
    crystal = orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=5.6)).store()
    (flag,) = common_flags(job(kind, structure=crystal))
    assert flag.key == 'no_nac'
    named = kind if '`aiida-equitrain launch' not in flag.remedy else 'phonons'
    command = cmd_launch.get_command(click.Context(cmd_launch), named)
    assert command is not None
    options = {name for option in command.params for name in option.opts}
    assert set(re.findall('--[a-z-]+', flag.remedy)) <= options
    if 'give `nac`' in flag.remedy:
        assert 'nac' in WorkflowFactory(f'equitrain.{kind}').spec().inputs
    array = orm.ArrayData({'born_charges': np.zeros((2, 3, 3))})
    assert common_flags(job(kind, structure=crystal, nac=array)) == []
    assert common_flags(job(kind, structure=orm.StructureData(ase=bulk('Si')))) == []


def test_cell_of_phonons(aiida_profile: Any) -> None:
    """Phonons at a cell that a relaxation made more than 3 % larger are of another crystal, also those of DFT."""
    facts = {'dynamically_stable': True, 'lowest_frequency_thz': 0.1, 'tolerance_thz': 0.15}
    for edge, keys in ((5.43, []), (5.47, []), (5.6, ['volume'])):
        node = job('phonons', structure=orm.StructureData(ase=bulk('Si', a=5.43)))
        relaxed = orm.StructureData(ase=bulk('Si', a=edge)).store()
        relaxed.base.links.add_incoming(node, LinkType.RETURN, 'relaxed_structure')
        assert [flag.key for flag in of_phonons(node, facts).red] == keys


def test_words_of_phases(aiida_profile: Any) -> None:
    """The lowest phase is one of those that were found below the parent; none lies below it."""
    node = job('instability')
    root = {'formula': 'GeTe', 'space_group': 'Fm-3m (225)', 'dynamically_stable': False,
            'energy_below_root_mev_per_atom': 0.0}  # fmt: skip
    lower = {'space_group': 'R3m (160)', 'dynamically_stable': True, 'energy_below_root_mev_per_atom': 29.0}
    higher = {**lower, 'energy_below_root_mev_per_atom': 3.0, 'dynamically_stable': False}
    above = {**lower, 'energy_below_root_mev_per_atom': -1.0}
    said = of_phases(node, {'root': root, 'phase_1': lower, 'phase_2': higher, 'phase_3': above})
    assert said.sentences == ['It is stable (phase_1, the lowest of 2 phases found below GeTe (Fm-3m (225))).']
    said = of_phases(node, {'root': root, 'phase_1': lower})
    assert said.sentences == ['It is stable (phase_1, the only phase found below GeTe (Fm-3m (225))).']
    assert 'no phase below it was found' in of_phases(node, {'root': root, 'phase_1': above}).title


@pytest.mark.parametrize(
    ('modes', 'title', 'sentence'),
    [
        ([], 'none at a wave vector of its supercell', 'no mode to be followed'),
        ([{'followed': False, 'why_not': 'too many atoms'}], 'no phase below it was found', 'too many atoms'),
        ([{'followed': True, 'why_not': ''}], 'no phase below it was found', 'max_modes'),
    ],
)
def test_words_where_nothing_is_below(aiida_profile: Any, modes: list[Any], title: str, sentence: str) -> None:
    """Imaginary frequencies that are only interpolated are no instability to be followed."""
    node = job('instability')
    found = orm.Dict({'parents': {'root': {'modes': modes}}, 'entries': []}).store()
    found.base.links.add_incoming(node, LinkType.RETURN, 'modes__level_0')
    said = of_phases(node, {'root': {'formula': 'SnTe', 'space_group': 'Fm-3m (225)', 'dynamically_stable': False}})
    assert title in said.title
    assert sentence in said.sentences[0]
    assert ('interpolated' in [flag.key for flag in said.flags]) == (not modes)


def test_conductivity_of_corrected_phonons(salt_job: dict[str, Any], silicon_phonons: tuple[Any, Any]) -> None:
    """What labels corrected is the second order of the conductivity, after a main job and after phonons alone."""
    structure, potential = salt_job['inputs']['structure'], salt_job['inputs']['foundation']

    def returned(node: Any, **outputs: Any) -> Any:
        for label, data in outputs.items():
            data.store().base.links.add_incoming(node, LinkType.RETURN, label)
        return node

    found = silicon_phonons[1].clone()
    node = returned(job(structure=structure, foundation=potential), phonons__corrected__phonopy_data=found)
    whole = next_steps(**{**salt_job, 'node': node}, strategy='none')
    other = silicon_phonons[1].clone()
    node = job('phonons', structure=structure, potential=potential)
    alone = steps_after(returned(node, phonopy_data=other, correction=orm.Dict({})), 'phonons')
    for groups, phonons in ((whole, found), (alone, other)):
        commands = [item['command'] for group in groups for item in group['items']]
        assert f'aiida-equitrain launch kappa {phonons.pk} --foundation {potential.pk}' in commands
