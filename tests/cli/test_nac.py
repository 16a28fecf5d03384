"""Born charges that exist, and phonons that exist, are taken from the command line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida_phonopy.data.phonopy import PhonopyData
from click.testing import CliRunner

from aiida_equitrain.calculations.functions.phonons import attach_nac
from aiida_equitrain.cli.root import cmd_root

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')

TENSORS = {'born_charges': np.array([np.eye(3), -np.eye(3)]), 'dielectric': 3.0 * np.eye(3)}


@pytest.fixture
def crystal(silicon_phonons: tuple[Any, Any]) -> Any:
    """Return the conventional cell of the phonons."""
    return silicon_phonons[0]


@pytest.fixture
def nac(aiida_profile: Any) -> orm.ArrayData:
    return orm.ArrayData(TENSORS).store()


@pytest.fixture
def polar_phonons(silicon_phonons: tuple[Any, Any], nac: orm.ArrayData) -> PhonopyData:
    """Return phonons with Born charges, such as `data import` or a main job leaves."""
    made: PhonopyData = attach_nac(silicon_phonons[1], nac)
    return made


@pytest.fixture
def build(starter: Any, python_code: Any, phonopy_code: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that takes a command and returns the inputs of the job that it would start."""

    def run(command: str, *arguments: Any) -> tuple[Any, str]:
        built: list[Any] = []
        for module in ('launch', 'launch_thermal'):
            monkeypatch.setattr(f'aiida_equitrain.cli.{module}.go', lambda build, *_: built.append(build()))
        words = ('launch', command, *arguments, '--foundation', starter.pk, '--python', python_code.label)
        result = CliRunner().invoke(cmd_root, [str(word) for word in words])
        return (built[0]._inputs(prune=True) if built else None), f'{result.output}{result.exception}'

    return run


@pytest.mark.parametrize('command', ['phonons', 'kappa'])
def test_given(build: Any, crystal: Any, nac: Any, polar_phonons: Any, command: str) -> None:
    """A node of Born charges is taken as it is; those of phonons become a node that is made of them."""
    inputs, output = build(command, crystal.pk, '--nac', nac.pk)
    assert inputs is not None, output
    assert inputs['nac'].uuid == nac.uuid
    inputs, output = build(command, crystal.pk, '--nac', polar_phonons.pk)
    assert inputs is not None, output
    assert inputs['nac'].creator.inputs.phonopy_data.uuid == polar_phonons.uuid
    for name, array in TENSORS.items():
        assert np.allclose(inputs['nac'].get_array(name), array)


def test_of_the_reference(build: Any, crystal: Any, tiny_dataset: Any, polar_phonons: Any) -> None:
    """A reference with Born charges gives them to all sides; a dry run stores nothing for that."""
    words = ('--dataset', tiny_dataset.pk, '--reference', polar_phonons.pk)
    inputs, output = build('material', crystal.pk, *words)
    assert inputs is not None, output
    assert inputs['nac'].creator.inputs.phonopy_data.uuid == polar_phonons.uuid
    assert f'those of the reference (PK {polar_phonons.pk})' in output
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    _, output = build('material', crystal.pk, *words, '--dry-run')
    assert 'those of the reference' in output
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_refused(build: Any, crystal: Any, silicon_phonons: Any, polar_phonons: Any) -> None:
    """What has no Born charges, or those of a cell that lies otherwise, is refused with a sentence."""
    inputs, output = build('phonons', crystal.pk, '--nac', silicon_phonons[1].pk)
    assert inputs is None
    assert 'have no Born charges; `--born-charges` computes them' in output
    turned = crystal.get_ase()
    turned.rotate(30, 'z', rotate_cell=True)
    other = orm.StructureData(ase=turned).store()
    inputs, output = build('phonons', other.pk, '--nac', polar_phonons.pk)
    assert inputs is None
    assert 'give the structure that these phonons are of' in output
    inputs, output = build('phonons', crystal.pk, '--nac', crystal.pk)
    assert inputs is None
    assert 'of the kind StructureData, not a ArrayData' in output


def test_second_order_of_phonons(build: Any, polar_phonons: Any) -> None:
    """`launch kappa` takes phonons that exist, such as corrected ones, as its second order."""
    inputs, output = build('kappa', polar_phonons.pk)
    assert inputs is not None, output
    assert inputs['phonopy_data'].uuid == polar_phonons.uuid
    assert 'structure' not in inputs
