"""Start a job the way the profile allows, and gather the inputs that ``aiida-equitrain setup`` made."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.manage import get_manager
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.common.printable import printable
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.frames import Frames
from aiida_equitrain.science.json_text import parse_json
from aiida_equitrain.science.supercells import SYMPREC
from aiida_equitrain.science.text_files import read_text, read_yaml
from aiida_equitrain.tools import defaults
from aiida_equitrain.tools.here import Watch, run_here
from aiida_equitrain.tools.nodes import load_node
from aiida_equitrain.tools.resources import forgetting_file

#: Bytes of the largest file of overrides.
MAX_OVERRIDES = 2**20
FORGETTING_LABEL = 'equitrain-forgetting'


def daemon_problem() -> str | None:
    """Return a sentence if nothing can be submitted in the loaded profile, ``None`` if something can."""
    profile = get_manager().get_profile()
    if profile is None or not profile.process_control_backend:
        return 'the profile has no broker'
    from aiida.engine.daemon.client import get_daemon_client

    if not get_daemon_client().is_daemon_running:
        return 'the daemon is not running (`verdi daemon start` starts it)'
    return None


def start(builder: Any, submit: bool = False) -> orm.ProcessNode:
    """Run a job in this process, or hand it to the daemon, and print where its results are; for scripts.

    :returns: the node, terminated unless ``submit``.
    :raises SystemExit: with a sentence, if ``submit`` and there is nothing to submit to.
    """
    if submit:
        problem = daemon_problem()
        if problem:
            raise SystemExit(f'nothing can be submitted: {problem}')
        from aiida.engine import submit as submit_to_daemon

        node: orm.ProcessNode = submit_to_daemon(builder)
        print(f'Submitted {node.process_label} {node.pk}: aiida-equitrain launch follow {node.pk}')
        return node
    node = run_here(builder)
    print(printable(f'{node.process_label} {node.pk} {describe_end(node)}: verdi process show {node.pk}'))
    return node


def symmetry_hints(builder: Any) -> list[str]:
    """Return a sentence for each crystal of a job whose space group is higher at a looser tolerance."""
    from aiida_equitrain.workflows.common import symmetry_hint

    inputs = builder._inputs(prune=True)
    crystals = {'': inputs, **(inputs.get('materials') or {})}
    hints = []
    for name, given in crystals.items():
        if 'structure' not in given:
            continue
        symprec = given.get('symprec') or (given.get('phonons') or {}).get('symprec')
        matrix = given.get('supercell_matrix') or given.get('phonon_supercell_matrix')
        rows = None if matrix is None else matrix.get_list()
        hint = symmetry_hint(given['structure'], SYMPREC if symprec is None else symprec.value, rows)
        if hint:
            hints.append(f'{name}: {hint}' if name else hint)
    return hints


def describe_end(node: orm.ProcessNode) -> str:
    """Return how a job ended, in a few words with the reason."""
    if node.is_finished_ok:
        return 'is done'
    state = node.process_state.value if node.process_state else 'created'
    reason = node.exit_message or node.process_status or (node.exception or '').strip().splitlines()[-1:]
    status = '' if node.exit_status is None else f' [{node.exit_status}]'
    text = reason[0] if isinstance(reason, list) and reason else reason or 'no reason is known'
    return f'ended as {state}{status}: {text}'


def follow(node: orm.ProcessNode, watch: Watch) -> None:
    """Call ``watch`` until the job has ended, and once more."""
    while not node.is_terminated:
        time.sleep(watch(node))
    watch(node)


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
            raise ValueError(f'`{text}` is a {type(node).__name__}, not a StructureData')
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


def load_potential(text: str | None) -> PotentialData:
    """Return a potential by label, PK or UUID; by default the foundation of the set-up.

    :raises NotExistent: with the remedy.
    """
    if text is None:
        node: PotentialData = defaults.default_foundation()
        return node
    found: PotentialData | None = defaults.find_foundation(text)
    missing = f'there is no potential `{text}`; `aiida-equitrain setup` makes one, `potential import` others'
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
        raise NotExistent(f'`{text}` is a {type(node).__name__}, not a {kind.__name__}')
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


def load_replay(text: str) -> DatasetData | orm.TrajectoryData:
    """Return what is replayed: labelled frames, or a trajectory that the foundation labels, by PK or UUID.

    :raises NotExistent: with the remedy.
    """
    try:
        node = load_node(text)
    except (NotExistent, ValueError) as exception:
        raise NotExistent(f'there is nothing to replay under `{text}`; give a dataset or a trajectory') from exception
    if not isinstance(node, DatasetData | orm.TrajectoryData):
        raise NotExistent(f'`{text}` is a {type(node).__name__}, neither a DatasetData nor a TrajectoryData')
    return node


def forgetting_dataset() -> DatasetData | None:
    """Return the shipped crystals on which forgetting is measured, stored once; ``None`` if they are not shipped."""
    try:
        path = forgetting_file()
    except FileNotFoundError:
        return None
    node = DatasetData(Frames.load(path), functional='PBE', code='SevenNet-0 (teacher of the starter potential)')
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
