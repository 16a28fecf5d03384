"""Every WorkChain x every kind of crystal: computed as it is, or refused in a sentence before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.manage import get_manager
from aiida.plugins import WorkflowFactory
from aiida_quantumespresso.data.hubbard_structure import HubbardStructureData
from ase.build import bulk

from aiida_equitrain.science.structure_files import read_structure

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'
SUPERCELL = [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
#: WorkChains whose DFT or phases would lose kinds.
LOSE_KINDS = ('phonons-dft', 'phonons-born', 'label', 'material', 'born_charges', 'instability', 'instability-dft',
              'kappa', 'active_learning-label', 'study')  # fmt: skip
KEEP_KINDS = ('phonons', 'qha', 'active_learning')
ALL = (*LOSE_KINDS, *KEEP_KINDS)


def silicon(**changes: Any) -> Any:
    """Return silicon as a node, built atom by atom."""
    atoms = bulk('Si', a=5.47)
    node = orm.StructureData(cell=changes.get('cell', atoms.cell[:]), pbc=changes.get('pbc', True))
    for index, position in enumerate(changes.get('positions', atoms.positions)):
        names = changes.get('names', ('Si', 'Si'))
        masses = changes.get('masses', (28.0855, 28.0855))
        weights = changes.get('weights', 1.0)
        node.append_atom(position=position, symbols='Si', name=names[index], mass=masses[index], weights=weights)
    return node


def with_u() -> Any:
    """Return silicon with a Hubbard U."""
    node = HubbardStructureData.from_structure(silicon())
    node.initialize_onsites_hubbard('Si', '3p', 3.0)
    return node


@pytest.fixture
def builders(
    starter: Any, python_code: Any, phonopy_code: Any, pw_code: Any, ph_code: Any, pseudo_family: Any,
    tiny_dataset: Any,
) -> Any:  # fmt: skip
    """Return a function that makes the builder of a WorkChain for a crystal."""
    dft = {'pw_code': pw_code, 'pseudo_family': pseudo_family.label}
    potential = {'potential': starter, 'python_code': python_code}
    codes = {'python_code': python_code, 'phonopy_code': phonopy_code}

    def pool() -> orm.TrajectoryData:
        trajectory = orm.TrajectoryData()
        frames = list(tiny_dataset.get_frames())
        trajectory.set_trajectory(
            symbols=['Si'] * 8, positions=np.array([frame.positions for frame in frames]),
            cells=np.array([frame.cell for frame in frames]), pbc=(True, True, True),
        )  # fmt: skip
        return trajectory

    def make(name: str, crystal: Any, **more: Any) -> Any:
        kind = name.partition('-')[0]
        arguments: dict[str, Any] = {
            'phonons': {'structure': crystal, 'phonopy_code': phonopy_code, 'supercell_matrix': SUPERCELL, **potential},
            'phonons-dft': {
                'structure': crystal, 'phonopy_code': phonopy_code, 'supercell_matrix': SUPERCELL, **dft,
            },
            'phonons-born': {
                'structure': crystal, 'phonopy_code': phonopy_code, 'supercell_matrix': SUPERCELL, **potential,
                'born_pw_code': pw_code, 'ph_code': ph_code, 'pseudo_family': pseudo_family.label,
            },
            'qha': {'structure': crystal, 'supercell_matrix': SUPERCELL, **potential},
            'kappa': {'structure': crystal, 'supercell_matrix': SUPERCELL, 'phonon_supercell_matrix': SUPERCELL,
                      **potential},
            'instability': {'structure': crystal, 'phonopy_code': phonopy_code, 'supercell_matrix': SUPERCELL,
                            **potential},
            'instability-dft': {'structure': crystal, 'phonopy_code': phonopy_code, 'supercell_matrix': SUPERCELL,
                                'postprocess_code': python_code, **dft},
            'born_charges': {'structure': crystal, 'ph_code': ph_code, **dft},
            'label': {'structure': crystal, 'foundation': starter, 'python_code': python_code, **dft},
            'material': {'structure': crystal, 'foundation': starter, 'supercell_matrix': SUPERCELL, **codes, **dft},
            'study': {'structures': {'Si': crystal}, 'foundation': starter, **codes, **dft},
            'active_learning': {'structure': crystal, 'foundation': starter, 'pool': tiny_dataset, **codes},
            'active_learning-label': {'structure': crystal, 'foundation': starter, 'dataset': tiny_dataset, **codes,
                                      **dft},
        }[name]  # fmt: skip
        if name == 'active_learning-label':
            arguments['pool'] = pool()
        return WorkflowFactory(f'equitrain.{kind}').get_builder_from_protocol(
            **{**arguments, 'protocol': 'fast', **more}
        )

    return make


def problem(builders: Any, name: str, crystal: Any, **more: Any) -> str:
    """Return the sentence of the builder or of the checks before submission, empty if there is none."""
    try:
        builder = builders(name, crystal, **more)
    except ValueError as error:
        return str(error)
    found = builder.process_class.spec().inputs.validate(builder._inputs(prune=True))
    return '' if found is None else str(found.message)


@pytest.mark.parametrize('name', ALL)
def test_plain_crystal(builders: Any, name: str) -> None:
    """Silicon is taken by all."""
    assert problem(builders, name, silicon()) == ''


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize(
    ('crystal', 'says'),
    [(lambda: silicon(weights=0.5), 'partial occupancy'), (lambda: silicon(pbc=(True, True, False)), 'not periodic')],
    ids=['vacancy', 'slab'],
)
def test_no_crystal(builders: Any, name: str, crystal: Any, says: str) -> None:
    """What is no whole crystal is refused by all."""
    assert says in problem(builders, name, crystal())


@pytest.mark.parametrize('name', ALL)
def test_kinds(builders: Any, name: str) -> None:
    """Kinds of one element are refused where they would be lost, and taken where they are kept."""
    text = problem(builders, name, silicon(names=('Si1', 'Si2')))
    assert ('support for spin is on the way' in text) == (name in LOSE_KINDS), text
    assert (text == '') == (name in KEEP_KINDS), text


@pytest.mark.parametrize('name', ALL)
def test_hubbard(builders: Any, name: str) -> None:
    """A U is refused by DFT; the phonons of a potential know none, but lose nothing either."""
    text = problem(builders, name, with_u())
    if name in (*KEEP_KINDS, 'kappa'):
        assert text == ''
    else:
        assert 'support for U is on the way' in text


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize(
    'crystal',
    [
        lambda: silicon(masses=(27.977, 27.977)),
        lambda: orm.StructureData(ase=read_structure(CASES / 'Si_lh.vasp').atoms),
    ],
    ids=['isotope', 'left-handed'],
)
def test_taken(builders: Any, name: str, crystal: Any) -> None:
    """Isotopes and left-handed cells are taken by all; how they come out is in `test_masses` and `test_left_handed`."""
    assert problem(builders, name, crystal()) == ''


@pytest.mark.parametrize('name', ['phonons', 'phonons-dft', 'qha', 'kappa', 'instability', 'label', 'born_charges',
                                  'material'])  # fmt: skip
def test_left_handed(builders: Any, name: str) -> None:
    """A left-handed cell goes on as the right-handed one of the same crystal; the others hand theirs to these."""
    left = read_structure(CASES / 'Si_lh.vasp').atoms
    right = left.copy()
    right.set_cell(-left.cell[:])
    made = []
    for atoms in (left, right):
        builder = builders(name, orm.StructureData(ase=atoms))
        builder.metadata.store_provenance = False
        process = get_manager().get_runner().instantiate_process(builder)
        process.setup()
        nodes = {**process.ctx, **process.ctx.get('structures', {})}
        found = {key: node.get_ase() for key, node in nodes.items() if isinstance(node, orm.StructureData)}
        made.append({key: (atoms.cell[:].tolist(), atoms.positions.tolist()) for key, atoms in found.items()})
        assert all(np.linalg.det(atoms.cell[:]) > 0 for atoms in found.values())
        matrix = process.ctx.get('supercell_matrix')
        made[-1]['supercell_matrix'] = None if matrix is None else matrix.get_list()
    assert made[0] == made[1]
    assert len(made[0]) > 1 or name == 'material'


@pytest.mark.parametrize('name', ALL)
def test_symmetry_that_is_missed(builders: Any, monkeypatch: Any, name: str) -> None:
    """Every WorkChain reports it, once; one that another of ours has called leaves it to that one."""
    builder = builders(name, silicon(positions=[[0, 0, 0], [1.3675, 1.3675, 1.3680]]))
    process = get_manager().get_runner().instantiate_process(builder)
    told = 0
    for caller, times in ((None, 1), ('aiida.workflows:equitrain.material', 0), ('aiida.workflows:my.own', 1)):
        parent = None if caller is None else orm.WorkChainNode(process_type=caller).store()
        monkeypatch.setattr(orm.WorkChainNode, 'caller', parent)
        process.setup()
        logs = [log.message for log in orm.Log.collection.get_logs_for(process.node) if 'Fd-3m' in log.message]
        assert len(logs) - told == times, (caller, logs)
        told = len(logs)


def test_isotopes_do_not_scatter_naturally(builders: Any) -> None:
    """phono3py's scattering by isotopes is that of the natural mixture."""
    more = {'overrides': {'settings': {'isotopes': True}}}
    assert problem(builders, 'kappa', silicon(), **more) == ''
    assert 'mixture of isotopes' in problem(builders, 'kappa', silicon(masses=(27.977, 27.977)), **more)


@pytest.mark.parametrize(
    ('name', 'where'),
    [
        ('phonons-dft', ('pw',)),
        ('phonons-born', ('born_charges', 'scf')),
        ('born_charges', ('scf',)),
        ('label', ('pw',)),
        ('material', ('label', 'pw')),
        ('material', ('dft_phonons', 'pw')),
        ('instability-dft', ('pw',)),
        ('active_learning-label', ('label', 'pw')),
    ],
)
def test_charge(builders: Any, name: str, where: tuple[str, ...]) -> None:
    """A charge of the cell is refused in every stage."""
    overrides: dict[str, Any] = {'pw': {'parameters': {'SYSTEM': {'tot_charge': 1.0}}}}
    for key in reversed(where):
        overrides = {key: overrides}
    assert 'charged cells are not supported' in problem(builders, name, silicon(), overrides=overrides)


@pytest.mark.parametrize('key', ['nspin', 'starting_magnetization', 'lda_plus_u', 'input_dft'])
def test_spin_in_one_stage(builders: Any, key: str) -> None:
    """A spin of the labels that the phonons of DFT do not have is refused, and so is one of the scf of Born charges."""
    value = {'nspin': 2, 'starting_magnetization': {'Si': 0.5}, 'lda_plus_u': True, 'input_dft': 'PBESOL'}[key]
    system = {'pw': {'parameters': {'SYSTEM': {key: value}}}}
    text = problem(builders, 'material', silicon(), overrides={'label': {'pw': system}})
    assert f'`SYSTEM.{key}` differs' in text
    both = {'label': {'pw': system}, 'dft_phonons': {'pw': system}}
    assert 'differs' not in problem(builders, 'material', silicon(), overrides=both)


@pytest.mark.parametrize(
    ('name', 'overrides', 'port'),
    [
        ('phonons', {'potential_relax': {'settings': {'symprec': 1e-3}}}, 'potential_relax'),
        ('qha', {'potential_relax': {'settings': {'symprec': 1e-3}}}, 'potential_relax'),
        ('kappa', {'potential_relax': {'settings': {'symprec': 1e-3}}}, 'potential_relax'),
        ('kappa', {'third_order': {'settings': {'symprec': 1e-3}}}, 'third_order'),
        ('instability', {'settings': {'symprec': 1e-3}}, 'settings'),
        ('instability', {'relax': {'settings': {'symprec': 1e-3}}}, 'relax'),
        ('label', {'relax_structure': {'symprec': 1e-3}}, 'relax_structure'),
    ],
)
def test_tolerance_of_a_stage(builders: Any, name: str, overrides: dict[str, Any], port: str) -> None:
    """A stage with another tolerance of the space group is refused; the same one is taken."""
    text = problem(builders, name, silicon(), overrides=overrides)
    assert f'`{port}` asks for a `symprec` of 0.001' in text
    assert problem(builders, name, silicon(), overrides={**overrides, 'symprec': 1e-3}) == ''


def test_magnetic_reference(aiida_profile: Any) -> None:
    """Phonons with moments are compared with those of the structure that was stored with them, whose kinds say so."""
    from aiida_equitrain.launch.data_import import store_phonons
    from aiida_equitrain.science.phonopy_io import load_phonopy
    from aiida_equitrain.workflows.instability import checks as instability_checks
    from aiida_equitrain.workflows.material import checks as material_checks

    structure, phonons = store_phonons(load_phonopy(CASES / 'NiAFM_t1.yaml'))
    plain = orm.StructureData(ase=bulk('Ni', a=3.7, cubic=True))
    text = material_checks._reference_problem({'structure': plain, 'reference': phonons})
    assert 'primitive cell of `reference` has 2 atoms, but that of `structure` 1' in str(text)
    assert material_checks._reference_problem({'structure': structure, 'reference': phonons}) is None
    assert 'support for spin is on the way' in str(instability_checks._moments_problem(phonons))


@pytest.mark.parametrize('name', ['material', 'instability'])
def test_tolerance_at_the_top(builders: Any, name: str) -> None:
    """`symprec` of the overrides holds for all phonons; another one below it is refused."""
    inputs = builders(name, silicon(), overrides={'symprec': 1e-3})._inputs(prune=True)
    assert inputs['phonons']['symprec'].value == 1e-3
    if name == 'material':
        assert inputs['dft_phonons']['symprec'].value == inputs['label']['symprec'].value == 1e-3
    with pytest.raises(ValueError, match='differ: give `symprec` alone'):
        builders(name, silicon(), overrides={'symprec': 1e-3, 'phonons': {'symprec': 1e-4}})
