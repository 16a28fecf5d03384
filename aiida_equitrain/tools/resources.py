"""Paths of the files that ship with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

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
