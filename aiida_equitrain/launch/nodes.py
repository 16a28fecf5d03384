"""Load the nodes that a command was given: by PK, UUID, label or file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.common.foundations import FOUNDATIONS
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.printable import printable
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.frames import Frames
from aiida_equitrain.science.json_text import parse_json
from aiida_equitrain.science.text_files import read_text, read_yaml
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.shipped import forgetting_file

#: Largest whole number that a database takes.
LARGEST = 2**63 - 1
#: Bytes of the largest file of overrides.
MAX_OVERRIDES = 2**20
#: Label of the shipped crystals on which forgetting is measured.
FORGETTING_LABEL = 'equitrain-forgetting'


def load_node(identifier: str) -> Any:
    """Return a node by PK or UUID.

    :raises NotExistent: with a sentence, if there is none, several, or none that can be.
    """
    message = f'there is no node `{identifier}` in this profile'
    # With a larger number SQLite fails, and AiiDA's session with it.
    if identifier.strip().lstrip('+-').isdecimal() and not 0 < int(identifier[:25]) <= LARGEST:
        raise NotExistent(message)
    try:
        return orm.load_node(identifier)
    except MultipleObjectsError as exception:
        raise NotExistent(f'several nodes of this profile fit `{identifier}`: give the whole UUID') from exception
    except (NotExistent, ValueError) as exception:
        raise NotExistent(message) from exception


def load_any(text: str) -> Any:
    """Return a node by PK or UUID, or a potential by its label.

    :raises NotExistent: with a sentence, if there is none.
    """
    try:
        return load_node(text)
    except NotExistent as exception:
        try:
            return load_potential(text)
        except (NotExistent, ValueError):
            raise exception from None


def load_structure(text: str, block: str | None = None) -> orm.StructureData:
    """Return a structure by file name, PK or UUID; what was chosen or left out of a file is told on stderr.

    :param block: which structure of a file that holds several, by name or number.
    :raises ValueError: with a sentence, if there is none or it cannot be kept as it is.
    """
    path = Path(text)
    if not path.exists():
        try:
            node = load_node(text)
        except (NotExistent, ValueError) as exception:
            raise ValueError(f'`{text}` is neither a file nor a structure of this profile') from exception
        if not isinstance(node, orm.StructureData):
            raise ValueError(f'`{text}` is of the kind {type(node).__name__}, not a StructureData')
        if block is not None:
            raise ValueError('`--block` chooses among the structures of a file, not of a node')
        return node
    from aiida_equitrain.science.structure_files import read_structure
    from aiida_equitrain.science.text_files import COMPRESSED

    found = read_structure(path, block)
    for note in found.notes:
        print(printable(f'{path}: {note}'), file=sys.stderr)
    structure = orm.StructureData(ase=found.atoms)
    name = path.with_suffix('') if path.suffix in COMPRESSED else path
    # A name of a file may be no text at all.
    structure.label, structure.description = printable(name.stem), '; '.join(found.notes)
    return structure


def load_crystal(text: str, block: str | None = None) -> tuple[orm.StructureData, PhonopyData | None]:
    """Return a structure by file name, PK or UUID; or phonons by PK or UUID, with the structure that they are of.

    :raises ValueError: with a sentence, if there is neither.
    """
    if not Path(text).exists():
        try:
            node = load_node(text)
        except (NotExistent, ValueError):
            node = None
        if isinstance(node, PhonopyData):
            return node.get_primitive_cell(), node
    return load_structure(text, block), None


def load_phases(text: str) -> dict[str, orm.StructureData]:
    """Return the phases that DFT found, by PK or UUID of the job that searched for them.

    :raises ValueError: with a sentence, if it is none, has not ended, or a potential found them.
    """
    try:
        node = load_node(text)
    except (NotExistent, ValueError) as exception:
        raise ValueError(f'there is no `{text}` in this profile') from exception
    return phases_of(node)


def phases_of(node: orm.Node) -> dict[str, orm.StructureData]:
    """Return the phases that DFT found.

    :raises ValueError: see :func:`load_phases`.
    """
    if getattr(node, 'process_type', None) != 'aiida.workflows:equitrain.instability':
        raise ValueError(f'PK {node.pk} is no `equitrain.instability`: `launch instability --dft-phases` is')
    found: Any = node
    if 'potential' in found.inputs:
        raise ValueError(f'PK {node.pk} found its phases with a potential; with DFT does `--dft-phases`')
    if 'tree' not in found.outputs:
        raise ValueError(f'PK {node.pk} has no phases: it has not ended, or failed')
    return dict(found.outputs.phases)


def load_potential(text: str) -> PotentialData:
    """Return a potential by label, PK or UUID.

    :raises NotExistent: with the remedy.
    """
    found: PotentialData | None = defaults.find_foundation(text)
    known = FOUNDATIONS.get(text)
    remedy = (
        '`aiida-equitrain setup` makes one, `potential import` others' if known is None else f'`{known.get}` gets it'
    )
    missing = f'there is no potential `{text}`; {remedy}'
    return found or _load(text, PotentialData, missing)


def _load(text: str, kind: type[orm.Node], missing: str) -> Any:
    """Return a node of a kind by PK or UUID.

    :param missing: what is said where there is none.
    """
    try:
        node = load_node(text)
    except (NotExistent, ValueError) as exception:
        raise NotExistent(missing) from exception
    if not isinstance(node, kind):
        raise NotExistent(f'`{text}` is of the kind {type(node).__name__}, not a {kind.__name__}')
    return node


def load_dataset(text: str) -> DatasetData:
    """Return labelled frames by PK or UUID.

    :raises NotExistent: with the remedy.
    """
    missing = f'there is no dataset `{text}`; `aiida-equitrain launch label` makes one'
    found: DatasetData = _load(text, DatasetData, missing)
    return found


def load_phonons(text: str) -> PhonopyData:
    """Return phonons with forces by PK or UUID.

    :raises NotExistent: with the remedy.
    """
    return _load(
        text, PhonopyData, f'there are no phonons `{text}`; `aiida-equitrain data import` stores those of a file'
    )


def load_nac(
    text: str, structure: orm.StructureData, symprec: float | None = None, store: bool = True
) -> orm.ArrayData:
    """Return Born charges and dielectric tensor by PK or UUID: a node of them, or phonons that have them.

    :param structure: whose they are to be.
    :param symprec: tolerance of its space group, Å; ``None``: the usual one.
    :param store: whether a node that is made of phonons is stored, with what made it.
    :raises NotExistent: with the remedy, if there are none.
    :raises ValueError: if those of phonons are of a cell with other axes or another order of atoms.
    """
    missing = f'there are no Born charges `{text}`; `aiida-equitrain data import` stores those of a phonopy file'
    found: orm.ArrayData = _load(text, orm.ArrayData, missing)
    return nac_of(found, structure, symprec, store) if isinstance(found, PhonopyData) else found


def nac_of(
    phonons: PhonopyData, structure: orm.StructureData, symprec: float | None = None, store: bool = True
) -> orm.ArrayData:
    """Return Born charges and dielectric tensor of phonons as a node, see :func:`load_nac`."""
    from aiida_equitrain.calculations.functions.phonons import extract_nac
    from aiida_equitrain.science.phases import same_axes, symmetric_primitive

    if not phonons.has_nac_parameters():
        raise NotExistent(f'the phonons {phonons.pk} have no Born charges; `--born-charges` computes them')
    here = symmetric_primitive(structure.get_ase(), symprec or SYMPREC)
    if not same_axes(phonons.get_primitive_cell().get_ase(), here):
        raise ValueError(
            f'the Born charges of the phonons {phonons.pk} belong to a primitive cell with other axes, or another '
            'order of its atoms, than that of the structure: give the structure that these phonons are of'
        )
    extract: Any = extract_nac
    made: orm.ArrayData = extract(phonons, metadata={'store_provenance': store})
    return made


def load_replay(text: str) -> DatasetData | orm.TrajectoryData:
    """Return what is replayed: labelled frames, or a trajectory that the foundation labels, by PK or UUID.

    :raises NotExistent: with the remedy.
    """
    try:
        node = load_node(text)
    except (NotExistent, ValueError) as exception:
        raise NotExistent(f'there is nothing to replay under `{text}`; give a dataset or a trajectory') from exception
    if not isinstance(node, DatasetData | orm.TrajectoryData):
        raise NotExistent(f'`{text}` is of the kind {type(node).__name__}, neither a DatasetData nor a TrajectoryData')
    return node


def forgetting_dataset() -> DatasetData | None:
    """Return the shipped crystals on which forgetting is measured, stored once; ``None`` if they are not shipped."""
    try:
        path = forgetting_file()
    except FileNotFoundError:
        return None
    node = DatasetData(Frames.load(path), functional='PBE', code='nequix-oam-1-pft (teacher of the starter potential)')
    node.label = FORGETTING_LABEL
    query = orm.QueryBuilder().append(DatasetData, filters={'label': FORGETTING_LABEL})
    found: DatasetData
    for found in query.all(flat=True):
        # Its attributes too: what came with an archive may say of itself what it likes.
        if _content(found) == _content(node) and found.base.attributes.all == node.base.attributes.all:
            return found
    return node.store()


def _content(node: DatasetData) -> bytes:
    content: bytes = node.base.repository.get_object_content(node.FILENAME, 'rb')
    return content


def load_overrides(path: Path | None) -> dict[str, Any] | None:
    """Return overrides from a YAML or JSON file.

    :raises ValueError: with a sentence, if it is no mapping.
    """
    if path is None:
        return None
    if path.suffix == '.json':
        try:
            content = parse_json(read_text(path, MAX_OVERRIDES))
        except ValueError as exception:
            raise ValueError(f'`{path}` cannot be read as JSON: {exception}') from exception
    else:
        content = read_yaml(path, MAX_OVERRIDES)
    if not isinstance(content, dict):
        raise ValueError(f'`{path}` must hold keys and values in the nesting of the inputs')
    return content
