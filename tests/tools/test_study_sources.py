"""What a study can be made of: folders, files, groups and nodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.common.links import LinkType
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.launch.data_import import import_data
from aiida_equitrain.launch.nodes import load_structure
from aiida_equitrain.launch.study_sources import gather
from aiida_equitrain.science.frames import to_extxyz


def test_folder_and_nodes(aiida_profile: Any, tmp_path: Path) -> None:
    """Files are named by their stems, nodes by label or formula; what cannot be in a link label is replaced."""
    write(tmp_path / 'my-silicon (1).cif', bulk('Si'))
    write(tmp_path / 'POSCAR_Ge', bulk('Ge'))
    node = orm.StructureData(ase=bulk('NaCl', 'rocksalt', a=5.6)).store()
    found = gather([str(tmp_path), str(node.pk)])
    assert set(found.structures) == {'my_silicon_1', 'POSCAR_Ge', 'NaCl'}
    assert found.structures['NaCl'].uuid == node.uuid
    with pytest.raises(ValueError, match='two crystals with the name `NaCl`'):
        gather([str(node.pk), str(node.pk)])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='holds no structures'):
        gather([str(tmp_path / 'empty')])
    with pytest.raises(ValueError, match='neither a file nor a structure'):
        gather(['nowhere'])


def test_name_of_a_file_that_steers(aiida_profile: Any, tmp_path: Path, capsys: Any) -> None:
    """What is said about a file, and the label, are printable; a name that is no text can be stored."""
    file = Path(os.fsdecode(bytes(tmp_path) + b'/a\x1b[2J\xff.xyz'))
    write(file, [bulk('Si'), bulk('Si')], format='extxyz')
    node = load_structure(str(file), '1').store()
    assert node.label.isprintable()
    assert '1 of 2 is taken' in (said := capsys.readouterr().err)
    assert said.replace('\n', '').isprintable()


def test_group(aiida_profile_clean: Any, tiny_frames: Any, tmp_path: Path) -> None:
    """Datasets and phases of DFT go with the structure of their label; one that belongs to none is refused."""
    path = tmp_path / 'si.extxyz'
    path.write_text(to_extxyz(tiny_frames))
    dataset = import_data([path], functional='PBE', group='crystals').dataset
    assert dataset.label == 'Si'
    with pytest.raises(ValueError, match='has no StructureData'):
        gather(['crystals'])
    silicon = orm.StructureData(ase=bulk('Si')).store()
    silicon.label = 'Si'
    orm.load_group('crystals').add_nodes(silicon)
    found = gather(['crystals'])
    assert (found.structures['Si'].uuid, found.datasets['Si'].uuid) == (silicon.uuid, dataset.uuid)
    assert found.references == {}
    search = orm.WorkChainNode(label='Si', process_type='aiida.workflows:equitrain.instability')
    search.store()
    for label, node in (('tree', orm.Dict({}).store()), ('phases__root', silicon)):
        node.base.links.add_incoming(search, LinkType.RETURN, label)
    orm.load_group('crystals').add_nodes(search)
    assert gather(['crystals']).reference_phases['Si']['root'].uuid == silicon.uuid
    dataset.label = 'Ge'
    with pytest.raises(ValueError, match='belongs to no structure'):
        gather(['crystals'])


@pytest.mark.real
@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['x', '--strategies', 'l2tsp'], '`l2tsp` is none of'),
        (['x', '--sizes', '5;10'], 'whole numbers with commas'),
        (['x', '--dataset', '12'], 'give NAME=PK'),
        (['nowhere'], 'neither a file nor a structure'),
    ],
)
def test_command(aiida_profile_clean: Any, starter: Any, arguments: list[str], sentence: str) -> None:
    """Each wrong argument has its sentence."""
    starter.label = 'starter'
    result = CliRunner().invoke(cmd_root, ['launch', 'study', *arguments])
    assert result.exit_code
    assert sentence in result.output
