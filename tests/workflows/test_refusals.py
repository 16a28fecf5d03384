"""Values and keys that cannot be meant are refused with their name and what to write."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from aiida import orm

from aiida_equitrain.launch.plan import describe_plan
from aiida_equitrain.workflows.checks import same_physics_problem, symprec_problem
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.material.checks import _strategy_problem
from aiida_equitrain.workflows.material.workchain import MaterialWorkChain

SYSTEM = {'SYSTEM': {'ecutwfc': 20}}


@pytest.mark.parametrize(('name', 'value'), [('min_frames', -3), ('max_concurrent', 0), ('symprec', -1.0)])
def test_above_zero(aiida_profile: Any, name: str, value: float) -> None:
    """The port is named, also where a builder is filled, whose sentence has no path."""
    builder = LabelWorkChain.get_builder()
    node = orm.Int(value) if isinstance(value, int) else orm.Float(value)
    with pytest.raises(ValueError, match=f'`{name}`: it must be above zero, but is {value}; give a'):
        setattr(builder, name, node)


def test_distance_of_k_points(aiida_profile: Any) -> None:
    """A distance of zero or less would be a mesh of one point."""
    for value in (-1.0, 0.0, float('nan')):
        base = {'kpoints_distance': orm.Float(value), 'pw': {'parameters': orm.Dict({})}}
        problem = same_physics_problem({'label.pw': base})
        assert problem is not None
        assert f'`label.pw.kpoints_distance` must be above zero, but is {value:g}' in problem
    base = {'pw': {'parameters': orm.Dict({'SYSTEM': {'ecutwfc': 40, 'ecutrho': -5}})}}
    assert '`SYSTEM.ecutrho` of `pw.pw.parameters` must be above zero' in str(same_physics_problem({'pw': base}))


@pytest.mark.parametrize(
    ('given', 'key', 'what'),
    [
        ({'label': {'pw': {'kpoints_distance': 'abc'}}}, 'label.pw.kpoints_distance', 'a number'),
        ({'label': {'pw': {'kpoints_distance': [1]}}}, 'label.pw.kpoints_distance', 'a number'),
        ({'label': {'min_frames': 2.5}}, 'label.min_frames', 'a whole number'),
        ({'label': {'min_frames': True}}, 'label.min_frames', 'a whole number'),
        ({'label': {'min_frames': float('inf')}}, 'label.min_frames', 'a whole number'),
        ({'max_concurrent': 'many'}, 'max_concurrent', 'a whole number'),
    ],
)
def test_no_numbers(given: dict[str, Any], key: str, what: str) -> None:
    """What a port would not take, or would cut off, is named; powers of ten that YAML takes for text are numbers."""
    with pytest.raises(ValueError, match=f'`{key}` in the overrides of `MaterialWorkChain` is .*: give {what}'):
        MaterialWorkChain._validate_override_keys(given)
    MaterialWorkChain._validate_override_keys({'label': {'pw': {'kpoints_distance': '1e-1'}, 'min_frames': 2.0}})


@pytest.mark.parametrize(
    ('process', 'given', 'right'),
    [
        (MaterialWorkChain, {'label': {'pw': {'ecutwfc': 20}}}, {'label': {'pw': {'pw': {'parameters': SYSTEM}}}}),
        (MaterialWorkChain, {'dft_phonons': SYSTEM}, {'dft_phonons': {'pw': {'pw': {'parameters': SYSTEM}}}}),
        (MaterialWorkChain, {'ecutwfc': 20}, {'label': {'pw': {'pw': {'parameters': SYSTEM}}}}),
        (LabelWorkChain, {'conv_thr': 1e-9}, {'pw': {'pw': {'parameters': {'ELECTRONS': {'conv_thr': 1e-9}}}}}),
    ],
)
def test_keys_of_pw(process: Any, given: dict[str, Any], right: dict[str, Any]) -> None:
    """The line that is told is in the nesting of the ports, and is accepted."""
    with pytest.raises(ValueError, match='whose input stands below `parameters`') as caught:
        process._validate_override_keys(given)
    line = yaml.safe_load(str(caught.value).split('`')[-2])
    assert line == right
    process._validate_override_keys(line)


def test_other_unknown_keys() -> None:
    """What is no key of pw.x has the nearest known one as before, whatever is in it."""
    for key in ('nonsense', 'a.ecutwfc', 5):
        with pytest.raises(ValueError, match=f'unknown key `{key}` in the overrides of `LabelWorkChain`: (did|known)'):
            LabelWorkChain._validate_override_keys({key: 1})


def test_tolerance_above_distances(silicon: Any) -> None:
    problem = symprec_problem({'structure': silicon}, 5.0)
    assert problem is not None
    assert '`symprec` is 5 Å, too large' in problem
    assert symprec_problem({'structure': silicon}, 0.1) is None


def test_labels_without_a_use() -> None:
    """Without a training rattled frames are of use only beside DFT phonons, to which a fit of them is compared."""
    problem = _strategy_problem({'label': {'rattle': {}}})
    assert problem is not None
    assert '`--recipe harmonic`' in problem
    for inputs in ({'label': {'harmonic': {}}}, {'label': {'rattle': {}}, 'dft_phonons': {'pw': {}}}, {'dataset': 1}):
        assert _strategy_problem(inputs) is None


def test_plan_in_words() -> None:
    """Relaxations say of what they are, ph.x is told, and what is not computed is not among the costs."""
    stage = {
        'n_structures': 10, 'n_atoms': 2, 'mesh': [4, 4, 4], 'n_kpoints': 8, 'ecutwfc_ry': 28.0, 'ecutrho_ry': 112.0,
        'core_seconds': 60.0,
    }  # fmt: skip
    found = {
        'structure': 'Si',
        'n_atoms': 2,
        'labels': {},
        'relaxations': [{**stage, 'port': port} for port in ('relax_dft', 'relax')],
        'born_charges': {**stage, 'n_structures': 1},
        'force_constants': {
            'n_atoms': 64, 'n_constants': 25, 'n_frames_that_determine': 1, 'n_finite_displacements': 1,
        },
        'label_core_seconds': 120.0,
        'displacement_core_seconds': 60.0,
    }  # fmt: skip
    text = describe_plan(found)
    assert 'relaxation before the labels: 10 steps' in text
    assert 'relaxation before the DFT phonons: 10 steps' in text
    assert 'Born charges: 1 scf of 2 atoms' in text
    assert '1 response at Γ by ph.x, whose cost is not estimated' in text
    assert 'labels 2.00 core minutes, finite displacements (which are not computed) would be 1.00 core minutes' in text
    text = describe_plan({**found, 'dft_phonons': stage})
    assert 'finite displacements 1.00 core minutes' in text
