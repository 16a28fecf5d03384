"""Set up SevenNet: a virtual environment of its own, its code, and the foundations that lie in its package.

MACE pins a version of e3nn that SevenNet cannot use, so that they never share an environment.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_equitrain.common.foundations import FOUNDATIONS
from aiida_equitrain.common.names import Family
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.connection import connect
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.environment import Recipe, ensure_python
from aiida_equitrain.setup.foundations import Progress, describe, store_potential
from aiida_equitrain.setup.record import remember
from aiida_equitrain.setup.setup import Item, Options, adopt_foundation

RECIPE = Recipe(Family.SEVENNET.value, 'sevenn', 'sevenn.calculator', ('sevenn==0.13.0',))
#: What earlier versions stored with SevenNet-0, by which it is known again.
CARD_0 = {
    'name': 'SevenNet-0',
    'description': 'Foundation potential for 89 elements, trained on the Materials Project (MPtrj, July 2024).',
    'functional': 'PBE+U',
    'starter': False,
}
#: Checkpoints below the package ``sevenn``, and the cards that they get.
CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    'sevennet-0': ('pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth', CARD_0),
    'sevennet-l3i5': ('pretrained_potentials/SevenNet_l3i5/checkpoint_l3i5.pth', FOUNDATIONS['sevennet-l3i5'].card),
}
#: Tells where the package lies without importing it.
_LOCATE = 'import importlib.util as u; print(list(u.find_spec("sevenn").submodule_search_locations)[0])'


def run_setup(options: Options, python: str | None = None, progress: Progress | None = None) -> Iterator[Item]:
    """Create what is absent for SevenNet in the loaded profile, and yield what was done, part by part.

    :param python: a Python with sevenn; by default an environment is made.
    :param progress: of downloads; there are none.
    """
    yield from ensure_python(RECIPE, options, python)
    try:
        code = defaults.find_code(RECIPE.able.python, options.computer)
    except NotExistent:
        return
    for name in CHECKPOINTS:
        yield _ensure_foundation(name, code)


def _ensure_foundation(name: str, code: orm.InstalledCode) -> Item:
    """Store a checkpoint from the package in the Python of a code."""
    node = defaults.made_foundation(name) or adopt_foundation(name, FOUNDATIONS[name].sha256, CHECKPOINTS[name][1])
    if node is not None:
        return Item(name, 'found', describe(node))
    try:
        node = _store_checkpoint(name, code)
    except (DownloadError, OSError) as exception:
        return Item(name, 'missing', str(exception))
    remember(f'foundation {name}', node)
    return Item(name, 'created', describe(node))


def _store_checkpoint(name: str, code: orm.InstalledCode) -> Any:
    """Copy a checkpoint from the computer of a code, and store it.

    :raises DownloadError: if it is not there, or is another one.
    """
    path, card = CHECKPOINTS[name]
    with tempfile.TemporaryDirectory() as folder, connect(code.computer) as transport:
        target = Path(folder, Path(path).name)
        status, stdout, stderr = transport.exec_command_wait(f"'{code.filepath_executable}' -c '{_LOCATE}'")
        if status:
            reason = (stderr.strip().splitlines() or ['no message'])[-1]
            raise DownloadError(
                f'the Python of `{code.full_label}` has no package `sevenn` ({reason}): install it there'
            )
        source = f'{stdout.strip().splitlines()[-1]}/{path}'
        try:
            transport.getfile(source, str(target))
        except OSError as exception:
            raise DownloadError(
                f'there is no `{source}` on `{code.computer.label}`: install sevenn 0.13'
            ) from exception
        found = sha256(target.read_bytes()).hexdigest()
        if found != FOUNDATIONS[name].sha256:
            raise DownloadError(f'`{source}` is not the {card["name"]} that was published: its SHA-256 is {found}')
        return store_potential(target, card, f'sevenn, {path}', name)
