"""What the keys of a structure of ASE say about its labels: their unit, and whether they are labels at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from .text_files import shown

ISOLATED = 'isolated atoms are no frames to train on'
#: Values of a key that names a unit and changes nothing.
OUR_UNITS = ('ev', 'a', 'å', 'angstrom', 'ang', 'ev/a', 'ev/å', 'ev/ang', 'ev/angstrom', 'ev/a^3', 'ev/å^3', 'ev/å³',
             'ev/ang^3', 'ev/angstrom^3', 'ev/a3', 'metal', 'ase')  # fmt: skip
#: Words for truth values.
TRUE, FALSE = ('t', 'true', 'yes', '1'), ('f', 'false', 'no', '0')


def left_out(atoms: Atoms) -> str | None:
    """Return why a frame is none to train on, by what its own keys say; ``None`` if they say nothing of the kind."""
    info = {str(key).lower(): value for key, value in atoms.info.items()}
    if str(info.get('config_type', '')).lower() == 'isolatedatom':
        return ISOLATED
    if any(_is_unconverged(key, value) for key, value in info.items()):
        return 'their electrons did not converge (key `converged`)'
    if any(is_zero(info.get(key)) for key in ('config_weight', 'config_forces_weight')):
        return 'their weight is 0 (key `config_weight` or `config_forces_weight`)'
    return None


def weightless(info: Mapping[str, Any]) -> list[str]:
    """Return which of ``energy`` and ``stress`` have the weight 0 in the loss: they are no labels."""
    return [name for name in ('energy', 'stress') if is_zero(info.get(f'config_{name}_weight'))]


def unit_problem(info: Mapping[str, Any]) -> str | None:
    """Return the predicate of a sentence if a key says that the numbers are of another unit than ours."""
    for key, value in info.items():
        words = re.split(r'[_\W]+', str(key).lower())
        if ('unit' in words or 'units' in words) and str(value).strip().lower() not in OUR_UNITS:
            return f'says `{shown(key, 30)}={shown(value, 30)}`: convert it to Å, eV, eV/Å and eV/Å³, and say so'
    return None


def _is_unconverged(key: str, value: Any) -> bool:
    """Say whether a key says that electrons did not converge; ions, of a relaxation, may be on their way."""
    if 'converged' not in key or any(word in key for word in ('relax', 'ion', 'geom', 'opt', 'force')):
        return False
    return str(value).strip().lower() in (TRUE if 'unconverged' in key or 'not_conv' in key else FALSE)


def is_zero(value: Any) -> bool:
    """Say whether a value of a key is the number 0."""
    return isinstance(value, int | float | np.number) and value == 0
