"""A study: its rows, what is refused, what a failure costs, and a real one that is killed and started again."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage import get_manager
from click.testing import CliRunner

from aiida_equitrain.calculations.functions.study import columns, take_training_frames
from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.launch.in_process import run_here
from aiida_equitrain.query import studies, study_table
from aiida_equitrain.science.study_statistics import PHASE_COUNTS
from aiida_equitrain.workflows.instability.workchain import InstabilityWorkChain
from aiida_equitrain.workflows.study.rows import key_of
from aiida_equitrain.workflows.study.workchain import StudyWorkChain

pytestmark = pytest.mark.real


def process_of(builder: Any) -> Any:
    """Return the process of a builder, not started."""
    return get_manager().get_runner().instantiate_process(builder)


def n_jobs() -> int:
    """Return how many jobs there are."""
    return orm.QueryBuilder().append(orm.CalcJobNode).count()


def test_builder(make_study: Any, tiny_dataset: Any) -> None:
    """Crystals have what is theirs, strategies their hyperparameters, and the rest stands once."""
    inputs = make_study(strategies=['l2-tsp', 'transfer'], seeds=[3, 4])._inputs(prune=True)
    assert set(inputs['materials']['Si']) == {'structure', 'dataset', 'reference', 'phonons', 'max_concurrent'}
    strategies = inputs['strategies'].get_dict()
    assert set(strategies) == {'l2-tsp', 'transfer'}
    assert strategies['l2-tsp']['hyperparameters']['freeze_layers'] == '2-'
    assert 'freeze_layers' not in strategies['transfer']['hyperparameters']
    settings = inputs['settings'].get_dict()
    assert (settings['sizes'], settings['seeds']) == ([2, 4], [3, 4])
    assert not {'strategy', 'seed', 'hyperparameters'} & set(inputs['finetune']['train'])


def test_frames(tiny_dataset: Any) -> None:
    """A smaller part is within a larger one; validation frames stay; another seed draws others."""
    parts = {size: take_training_frames(tiny_dataset, orm.Int(size), orm.Int(1)).get_frames() for size in (2, 4)}
    energies = {size: {frame.energy for frame in frames if frame.role == 'train'} for size, frames in parts.items()}
    assert energies[2] < energies[4]
    assert [len(item) for item in energies.values()] == [2, 4]
    assert all(sum(frame.role == 'valid' for frame in frames) == 1 for frames in parts.values())
    drawn = [take_training_frames(tiny_dataset, orm.Int(2), orm.Int(seed)).get_frames() for seed in range(1, 6)]
    assert len({tuple(frame.energy for frame in frames) for frames in drawn}) > 1


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'sizes': [2, 9]}, '`materials.Si`: 9 training frames are wanted, but there are 5'),
        ({'sizes': [2, 2]}, '`settings.sizes` names a number twice'),
        ({'sizes': [0]}, '`settings.sizes` must be a list of whole numbers from 1'),
        ({'strategies': []}, '`strategies` is empty'),
        ({'strategies': ['multihead']}, 'replay'),
        ({'structures': {}}, 'datasets` has `Si`'),
        ({'structures': {}, 'datasets': {}, 'references': {}}, 'no structures'),
        ({'datasets': {}}, 'labelling needs `pw_code`'),
        ({'overrides': {'setings': {}}}, 'did you mean `settings`'),
    ],
)
def test_wrong(make_study: Any, changes: dict[str, Any], sentence: str) -> None:
    """Each wrong argument or input has its sentence before anything is submitted."""
    with pytest.raises(ValueError, match=sentence.replace('[', r'\[')):
        process_of(make_study(**changes))


def test_wrong_materials(make_study: Any, silicon: Any, silicon_phonons: Any) -> None:
    """What is wrong with one crystal is said with its name."""
    for change, sentence in (
        ({'Si-2': {'structure': silicon}}, 'single underscores'),
        ({'Si': {'struct': silicon}}, '`struct` is not known'),
        ({'Si': {'structure': silicon}}, 'needs a `structure` and `phonons`'),
    ):
        builder = make_study()
        builder.materials = change
        with pytest.raises(ValueError, match=sentence):
            process_of(builder)
    builder = make_study()
    salt = orm.StructureData(cell=silicon_phonons[0].cell)
    salt.append_atom(position=(0, 0, 0), symbols='Na')
    salt.append_atom(position=(2.8, 2.8, 2.8), symbols='Cl')
    builder.materials = {'Si': {**builder.materials['Si'], 'structure': salt}}
    with pytest.raises(ValueError, match=r'`materials.Si`: `dataset` has frames of Si, but `structure` is NaCl'):
        process_of(builder)


def test_key(make_study: Any, python_code: Any) -> None:
    """Content counts, not the node; options of the computer do not."""
    inputs = [{'seed': orm.Int(seed), 'deep': {'code': python_code}} for seed in (1, 1, 2)]
    inputs[1]['metadata'] = {'options': {'withmpi': True}}
    keys = [key_of(StudyWorkChain, item) for item in inputs]
    assert keys[0] == keys[1] != keys[2]


def test_failed_part(make_study: Any, ended: Any) -> None:
    """A crystal whose phonons failed is rows with the reason; of nothing but such rows the study ends with 401."""
    process = process_of(make_study())
    process.setup()
    process.ctx.queue = []
    process.ctx.running = {'phonons_foundation_Si': ended(499).pk}
    process.inspect()
    process.prepare_rows()
    assert not process.has_jobs()
    code = process.collect()
    assert code.status == process.exit_codes.ERROR_ALL_ROWS_FAILED.status
    assert 'StageWorkChain' in code.message
    assert 'what went wrong' in code.message
    table = study_table(process.outputs['table'])
    assert list(table.columns) == columns()
    assert list(table['state']) == ['failed', 'failed']
    assert all('what went wrong' in reason for reason in table['reason'])
    assert process.outputs['aggregates']['n_failed'] == 2
    assert process.outputs['datasets']['Si'].pk


def test_too_few_labels(make_study: Any, pw_code: Any, pseudo_family: Any, tiny_dataset: Any, ended: Any) -> None:
    """Where labelling gave fewer frames than a row asks for, that row fails and the others run."""
    process = process_of(make_study(datasets={}, pw_code=pw_code, pseudo_family=pseudo_family.label, sizes=[2, 9]))
    process.setup()
    process.ctx.queue = []
    label = ended(0)
    tiny_dataset.base.links.add_incoming(label, LinkType.RETURN, 'dataset')
    process.ctx.done = {'label_Si': label.pk, 'phonons_foundation_Si': ended(0).pk}
    process.prepare_rows()
    assert [process.get_row(name).n_train for name in process.ctx.queue] == [2]
    assert '9 training frames are wanted' in process.ctx.failures['Si_l2_tsp_9_1']


def moved(structure: Any, *shift: float) -> Any:
    """Return silicon whose second atom is moved, stored."""
    atoms = structure.get_ase()
    atoms.positions[1] += shift
    return orm.StructureData(ase=atoms).store()


def end_row(process: Any, size: int, stable: bool, dft_stable: bool, starter: Any, phonons: Any, ended: Any) -> None:
    """Make one row of a study done, with what the search for phases needs of it."""
    row = ended(0)
    sides = {
        'candidates': {'finetuned': {'dynamically_stable': stable}},
        'reference': {'dynamically_stable': dft_stable},
    }
    outputs = {'comparison': orm.Dict(sides).store(), 'potential': starter, 'phonons__finetuned__phonopy_data': phonons}
    for label, node in outputs.items():
        node.base.links.add_incoming(row, LinkType.RETURN, label)
    process.ctx.done[f'Si_l2_tsp_{size}_1'] = row.pk


def test_instability(make_study: Any, starter: Any, silicon_phonons: Any, ended: Any) -> None:
    """Imaginary modes of rows that have some are followed, if that is wanted; what is found stands in the table.

    It is compared with the phases of DFT. A stable row misses them all.
    """
    assert 'instability' not in make_study()._inputs(prune=True)
    silicon = silicon_phonons[0]
    process = process_of(
        make_study(
            instability=True,
            reference_phases={'Si': {'root': silicon, 'phase_1': moved(silicon, 0.2, 0.2, 0.2)}},
            overrides={'instability': {'settings': {'max_modes': 3}}},
        )
    )
    process.setup()
    process.ctx.queue = []
    for size, stable in ((2, True), (4, False)):
        end_row(process, size, stable, False, starter, silicon_phonons[1], ended)
    process.prepare_instabilities()
    (name,) = process.ctx.queue
    row = process.get_row(name.removeprefix('instability_'))
    assert row.n_train == 4
    inputs = process.instability_inputs(row)
    assert inputs.settings['max_modes'] == 3
    assert inputs.phonopy_data.uuid == silicon_phonons[1].uuid
    get_manager().get_runner().instantiate_process(InstabilityWorkChain, **inputs)

    followed = ended(0)
    phases = {
        'root': {'parent': None, 'space_group': 'Fd-3m', 'energy_below_root_mev_per_atom': 0.0},
        'phase_1': {'parent': 'root', 'space_group': 'P1', 'energy_below_root_mev_per_atom': 2.0},
        'phase_2': {'parent': 'root', 'space_group': 'R3m', 'energy_below_root_mev_per_atom': 5.0},
    }
    outputs = {
        'tree': orm.Dict({'phases': phases}).store(),
        'phases__root': moved(silicon, 0, 0, 0),
        'phases__phase_1': moved(silicon, 0.19, 0.19, 0.19),
        'phases__phase_2': moved(silicon, 0, 0.1, 0.2),
    }
    for label, node in outputs.items():
        node.base.links.add_incoming(followed, LinkType.RETURN, label)
    process.ctx.done['instability_Si_l2_tsp_4_1'] = followed.pk
    process.collect()
    table = study_table(process.outputs['table'])
    assert table[['n_new_phases', *PHASE_COUNTS]].to_numpy().tolist() == [[0, 1, 0, 0], [2, 1, 1, 1]]
    scores = [group['new_phases'] for group in process.outputs['aggregates']['strategies']]
    assert [(item['precision']['value'], item['recall']['value']) for item in scores] == [(None, 0.0), (0.5, 1.0)]
    match = process.outputs['table'].creator.inputs.phase_match_Si_l2_tsp_4_1.creator
    assert match.inputs.reference_phase_1.uuid == process.inputs.materials['Si']['reference_phases']['phase_1'].uuid
    assert match.outputs.result['found_by'] == {'phase_1': ['phase_1']}
    assert table['lowest_phase'][1] == 'R3m'
    assert table['lowest_phase_mev_per_atom'][1] == 5.0
    assert table['instability_uuid'][1] == followed.uuid


@pytest.mark.parametrize('given', [False, True])
def test_dft_has_no_phase(make_study: Any, starter: Any, silicon_phonons: Any, given: bool, ended: Any) -> None:
    """Where DFT is stable or `root` stands alone, DFT finds nothing; where it is unstable, its phases must be given."""
    phases = {'reference_phases': {'Si': {'root': silicon_phonons[0]}}} if given else {}
    process = process_of(make_study(instability=True, **phases))
    process.setup()
    for size, dft_stable in ((2, True), (4, False)):
        end_row(process, size, True, dft_stable, starter, silicon_phonons[1], ended)
    process.collect()
    table = study_table(process.outputs['table'])
    assert list(table['n_new_phases']) == [0, 0]
    assert list(table['n_reference_phases'].fillna(-1)) == [0, 0 if given else -1]


def test_wrong_phases(make_study: Any, silicon_phonons: Any) -> None:
    """Phases of DFT that nothing is compared with, or that are of another crystal, are refused."""
    silicon = silicon_phonons[0]
    other = orm.StructureData(cell=silicon.cell)
    other.append_atom(position=(0, 0, 0), symbols='Ge')
    for instability, phases, sentence in (
        (False, {'root': silicon}, '`materials.Si`: `reference_phases` needs `instability`'),
        (True, {'phase_1': silicon}, '`reference_phases` needs `root`'),
        (True, {'root': silicon, 'phase_1': other}, '`reference_phases.phase_1` is Ge, but `structure` is Si'),
        (True, {'root': orm.Int(1)}, '`reference_phases.root` must be a StructureData, not a Int'),
    ):
        with pytest.raises(ValueError, match=sentence):
            process_of(make_study(instability=instability, reference_phases={'Si': phases}))
    with pytest.raises(ValueError, match='`reference_phases` has `Ge`, which is none of the structures Si'):
        make_study(reference_phases={'Ge': {'root': other}})


@pytest.mark.thorough
def test_killed_and_started_again(aiida_profile_clean: Any, make_study: Any) -> None:
    """Killed after its first row, a study goes on where it was, and ends with the table of one that was not killed."""

    def kill_after_first_row(node: Any) -> float:
        rows = [child for child in node.called if child.process_label == 'MaterialWorkChain']
        if not killed and any(row.is_finished_ok for row in rows):
            killed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return 0.2

    killed: list[bool] = []
    first = run_here(make_study(), kill_after_first_row)
    assert first.is_killed
    before = n_jobs()
    again = run_here(make_study())
    assert again.is_finished_ok, again.exit_message
    children = [child.process_label for child in again.called]
    assert children.count('MaterialWorkChain') == 1
    assert 'PhononsWorkChain' not in children
    assert n_jobs() > before

    table = study_table(again)
    assert list(table['n_train']) == [2, 4]
    assert set(table['state']) == {'done'}
    assert (table['phonon_mae_thz'] < table['foundation_phonon_mae_thz']).all()
    assert (table['train_core_seconds'] > 0).all()
    for name in ('bulk_modulus_gpa', 'dos_error_percent', 'reference_entropy_j_per_k_mol', 'symfc_phonon_mae_thz'):
        assert table[name].notna().all(), name

    before = n_jobs()
    _, third = run_get_node(make_study())
    assert n_jobs() == before
    assert study_table(third).equals(table)

    whole = make_study()
    whole.settings = orm.Dict({**whole.settings.get_dict(), 'reuse': False})
    _, fresh = run_get_node(whole)
    assert n_jobs() > before
    numbers = table.select_dtypes('number').drop(columns=[name for name in table if name.endswith('core_seconds')])
    again_numbers = study_table(fresh)[numbers.columns]
    assert np.allclose(numbers, again_numbers, rtol=1e-4, atol=1e-5, equal_nan=True)

    rows = studies()
    assert list(rows['pk']) == [fresh.pk, third.pk, again.pk, first.pk]
    assert rows['materials'].iloc[0] == ['Si']
    shown = CliRunner().invoke(cmd_root, ['list', 'studies'])
    assert shown.exit_code == 0, shown.output
    assert 'l2-tsp' in shown.output


def test_reuse_sees_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another version of a driver has made is not taken for what this one would make, as in the cache of jobs."""
    from aiida_equitrain.calculations.relax import RelaxCalculation

    before = key_of(StudyWorkChain, {})
    assert key_of(StudyWorkChain, {}) == before
    monkeypatch.setattr(RelaxCalculation, 'CACHE_VERSION', 1)
    assert key_of(StudyWorkChain, {}) != before
