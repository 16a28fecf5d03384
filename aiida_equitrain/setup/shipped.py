"""Files that ship with the package, and the family of pseudopotentials that is made of some of them."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.plugins import DataFactory, GroupFactory

from aiida_equitrain.data.imported import is_imported
from aiida_equitrain.science.archives import Member

#: Label under which the shipped pseudopotentials are installed.
SHIPPED_FAMILY = 'PseudoDojo/0.4/PBE/SR/standard/upf-equitrain'

_PSEUDOS = 'PseudoDojo-0.4-PBE-SR-standard'


def _resource(*parts: str) -> Path:
    """Return the path of a shipped file or folder.

    :raises FileNotFoundError: if the installation lacks it.
    """
    path = Path(str(files('aiida_equitrain').joinpath('resources', *parts)))
    if not path.exists():
        raise FileNotFoundError(
            f'`{"/".join(parts)}` is not in the installed package ({path}): install aiida-equitrain again'
        )
    return path


def starter_files() -> tuple[Path, Path]:
    """Return the starter potential and its card: ``starter.model``, ``starter.json``."""
    return _resource('potentials', 'starter.model'), _resource('potentials', 'starter.json')


def forgetting_file() -> Path:
    """Return the labelled crystals on which forgetting is measured (``Frames`` npz)."""
    return _resource('forgetting.npz')


def pseudo_folder() -> Path:
    """Return the folder that holds one UPF file per element and nothing else."""
    return _resource('pseudos', _PSEUDOS, 'upf')


def pseudo_cutoffs_file() -> Path:
    """Return PseudoDojo's recommended cut-offs of the shipped pseudopotentials (JSON, Hartree)."""
    return _resource('pseudos', _PSEUDOS, 'cutoffs.json')


def structure_file(name: str = 'Si') -> Path:
    """Return a shipped crystal structure, such as ``Si.cif``."""
    return _resource('structures', f'{name}.cif')


#: Bytes that the files of a table may have in all; those of PseudoDojo have a tenth of it.
LARGEST_TABLE = 1_000_000_000
#: The three cut-off levels of PseudoDojo; `normal` is the default.
STRINGENCIES = ('low', 'normal', 'high')


def find_family(label: str) -> orm.Group | None:
    """Return the pseudopotential family of that label, or ``None``; not one that came with an archive."""
    family = _labelled_family(label)
    return None if family is None or _is_imported(family) else family


def set_aside_family(label: str) -> None:
    """Give another label to a family that came with an archive."""
    family = _labelled_family(label)
    if family is not None and _is_imported(family):
        family.label = f'{label} (archive {family.uuid[:8]})'


def _labelled_family(label: str) -> orm.Group | None:
    filters = {'label': label, 'type_string': {'like': 'pseudo.family%'}}
    family: orm.Group | None = orm.QueryBuilder().append(orm.Group, filters=filters).first(flat=True)
    return family


def _is_imported(family: orm.Group) -> bool:
    """Return whether all of a family came with an archive."""
    return family.count() > 0 and all(is_imported(node) for node in family.nodes)


def install_shipped_family(label: str = SHIPPED_FAMILY) -> Any:
    """Return the family of the shipped UPF files, which is created when absent.

    :raises ValueError: if a file is not the one that the cut-offs were written for.
    """
    family = find_family(label)
    if family is not None:
        return family
    table = json.loads(pseudo_cutoffs_file().read_text(encoding='utf-8'))
    folder = pseudo_folder()
    for element, row in table['elements'].items():
        if hashlib.md5((folder / f'{element}.upf').read_bytes()).hexdigest() != row['md5']:
            raise ValueError(f'the shipped pseudopotential `{element}.upf` was changed: install aiida-equitrain again')
    factory: Any = GroupFactory('pseudo.family.cutoffs')
    family = factory.create_from_folder(folder, label, pseudo_type=DataFactory('pseudo.upf'))
    family.description = 'PseudoDojo 0.4, PBE, scalar-relativistic, standard (CC BY 4.0); the files of aiida-equitrain'
    for stringency in STRINGENCIES:
        cutoffs = {
            element: {'cutoff_wfc': row[stringency], 'cutoff_rho': table['dual'] * row[stringency]}
            for element, row in table['elements'].items()
        }
        family.set_cutoffs(cutoffs, stringency, unit=table['unit'])
    family.set_default_stringency('normal')
    return family


def check_archive(path: Path, suffix: str) -> None:
    """Check that an archive holds plain files of one kind, before anything is unpacked.

    :raises ValueError: with a sentence, if it does not.
    """
    size = 0
    try:
        with tarfile.open(path, tarinfo=Member) as archive:
            for member in archive:
                size += member.size
                plain = member.isreg() and Path(member.name).name == member.name.removeprefix('./')
                if not (plain and member.name.endswith(suffix)) or size > LARGEST_TABLE:
                    raise ValueError(f'`{path.name}` holds other things than files `*{suffix}` of a usual size')
    except (tarfile.TarError, zlib.error, EOFError, OSError) as exception:
        raise ValueError(f'`{path.name}` is no archive: {exception}') from exception
