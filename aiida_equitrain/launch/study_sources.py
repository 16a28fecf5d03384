"""Gather the crystals of a study: folders, files, groups and nodes, with the data that go with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.common.formatting import formula
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.launch.nodes import load_structure, phases_of

#: Names of files that are read from a folder.
PATTERNS = ('*.cif', '*.vasp', 'POSCAR*', '*.xyz', '*.extxyz', '*.cif.gz', '*.vasp.gz', '*.xyz.gz', '*.extxyz.gz')


@dataclass
class Sources:
    """What a study is made of, by the name of the crystal."""

    structures: dict[str, orm.StructureData] = field(default_factory=dict)
    datasets: dict[str, DatasetData] = field(default_factory=dict)
    references: dict[str, PhonopyData] = field(default_factory=dict)
    reference_phases: dict[str, dict[str, orm.StructureData]] = field(default_factory=dict)

    def add(self, structure: orm.StructureData) -> None:
        """Add a crystal under its label or its formula.

        :raises ValueError: if there is one of that name.
        """
        name = name_of(structure)
        if name in self.structures:
            raise ValueError(f'there are two crystals with the name `{name}`: give them different labels or file names')
        self.structures[name] = structure


def gather(sources: Sequence[str]) -> Sources:
    """Return the crystals of folders, files, groups (by label) and nodes (PK or UUID).

    Of a group, datasets, phonons and searches for phases by DFT with the label of a structure go with it.

    :raises ValueError: with a sentence, if there is nothing under a name, or two of the same name.
    """
    found = Sources()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted({file for pattern in PATTERNS for file in path.glob(pattern)})
            if not files:
                raise ValueError(f'the folder `{path}` holds no structures ({", ".join(PATTERNS)})')
            for file in files:
                found.add(load_structure(str(file)))
        elif (group := _group(source)) is not None:
            _add_group(found, group)
        else:
            found.add(load_structure(source))
    return found


def name_of(node: orm.Data) -> str:
    """Return the name under which a node stands in a study: letters, digits and single underscores."""
    text = node.label or (formula(node.get_formula()) if isinstance(node, orm.StructureData) else '')
    return re.sub(r'[^A-Za-z0-9]+', '_', text).strip('_')


def _group(label: str) -> orm.Group | None:
    try:
        group: orm.Group = orm.load_group(label)
    except (NotExistent, ValueError):
        return None
    return None if label.isdigit() else group


def _add_group(found: Sources, group: orm.Group) -> None:
    """Add the structures of a group, and what has their labels.

    :raises ValueError: if there is none, or if something belongs to no structure or twice to the same.
    """
    members = list(group.nodes)
    structures = [node for node in members if isinstance(node, orm.StructureData)]
    if not structures:
        raise ValueError(f'the group `{group.label}` has no StructureData')
    for node in structures:
        found.add(node)
    places: dict[Any, dict[str, Any]] = {
        DatasetData: found.datasets,
        PhonopyData: found.references,
        orm.WorkChainNode: found.reference_phases,
    }
    for kind, place in places.items():
        for node in members:
            if not isinstance(node, kind):
                continue
            name = name_of(node)
            if name not in found.structures or name in place:
                what = 'belongs to no structure' if name not in found.structures else 'is the second'
                raise ValueError(f'PK {node.pk} in the group `{group.label}`, a {kind.__name__} with the label '
                                 f'`{node.label}`, {what}: give it the label of one')  # fmt: skip
            place[name] = phases_of(node) if kind is orm.WorkChainNode else node
