"""Set up SevenNet: a virtual environment of its own, its code, and SevenNet-0 as a foundation.

MACE pins a version of e3nn that SevenNet cannot use, so that they never share an environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.manage.configuration import get_config

from aiida_equitrain.common.names import Family
from aiida_equitrain.common.strategies import FAMILIES
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.foundations import describe, store_potential
from aiida_equitrain.setup.record import remember
from aiida_equitrain.setup.setup import Item, Options, adopt_foundation, ensure_code

CODE = FAMILIES[Family.SEVENNET.value].python
TORCH = 'torch==2.13.0'
#: What jobs import; sevenn brings SevenNet-0 with it.
PACKAGES = ('sevenn==0.13.0', 'equitrain[torch]==1.0.0', 'phonopy>=4,<5', 'symfc>=1.8', 'seekpath', 'safetensors>=0.4')
#: Index of torch builds without gigabytes of CUDA packages.
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
#: SevenNet-0 of July 2024, below the package ``sevenn``.
CHECKPOINT = 'pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth'
CHECKPOINT_SHA256 = '7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36'
CARD = {
    'name': 'SevenNet-0',
    'description': 'Foundation potential for 89 elements, trained on the Materials Project (MPtrj, July 2024).',
    'functional': 'PBE+U',
    'starter': False,
}
_WANTED = 'a Python with sevenn, Equitrain and phonopy, and without MACE: `--sevennet-python PATH`'
#: Tells where the package lies without importing it.
_LOCATE = 'import importlib.util as u; print(list(u.find_spec("sevenn").submodule_search_locations)[0])'


def run_setup(options: Options, python: str | None = None) -> Iterator[Item]:
    """Create what is absent for SevenNet in the loaded profile, and yield what was done, part by part.

    :param python: a Python with sevenn; by default that of :func:`default_environment`, which is made.
    """
    try:
        computer = orm.load_computer(options.computer)
    except NotExistent:
        return  # The set-up of everything else has said so.
    try:
        code = defaults.find_code(CODE, computer.label)
        yield Item(CODE, 'found', f'`{code.full_label}` is {code.get_executable()}')
    except NotExistent:
        path, item = _python(computer, options.offline, python)
        if item is not None:
            yield item
        if path is None:
            return
        yield ensure_code(computer, CODE, path, None, _WANTED)
    yield _ensure_foundation(defaults.find_code(CODE, computer.label))


def default_environment() -> Path:
    """Return where the environment is made: beside the one that runs this, or in the configuration of AiiDA."""
    beside = Path(sys.prefix).parent
    if sys.prefix != sys.base_prefix and os.access(beside, os.W_OK):
        return beside / '.venv-sevennet'
    return Path(get_config().dirpath) / 'equitrain' / 'venv-sevennet'


def _python(computer: orm.Computer, offline: bool, python: str | None) -> tuple[str | None, Item | None]:
    """Return a Python with sevenn, or ``None``; and what is to be said about its environment."""
    name, folder = 'environment', default_environment()
    if python is not None:
        return python, None
    if computer.transport_type != 'core.local':
        return None, Item(CODE, 'missing', f'on `{computer.label}` nothing is installed from here. Needed is {_WANTED}')
    if _works(folder):
        return str(folder / 'bin' / 'python'), Item(name, 'found', str(folder))
    if offline:
        return None, Item(CODE, 'missing', f'with `--offline` nothing is installed. Needed is {_WANTED}')
    try:
        make_environment(folder)
    except DownloadError as exception:
        return None, Item(name, 'missing', f'{exception}. Try again, or give {_WANTED}')
    return str(folder / 'bin' / 'python'), Item(name, 'created', str(folder))


def _works(folder: Path) -> bool:
    """Tell whether an environment has sevenn and Equitrain."""
    python = folder / 'bin' / 'python'
    probe = 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("sevenn", "equitrain", "phonopy"))))'
    return python.exists() and subprocess.run([python, '-c', probe], capture_output=True, check=False).returncode == 0


def make_environment(folder: Path) -> None:
    """Make a virtual environment with a torch for CPUs, SevenNet and Equitrain.

    :raises DownloadError: with a sentence, if that is not possible.
    """
    if folder.exists() and not (folder / 'pyvenv.cfg').exists():
        raise DownloadError(f'`{folder}` is there, and is no virtual environment')
    pip = [str(folder / 'bin' / 'python'), '-m', 'pip', '--disable-pip-version-check']
    _run([sys.executable, '-m', 'venv', '--clear', str(folder)])
    install = [*pip, 'install', '--quiet', '--progress-bar', 'off']
    index = ['--index-url', CPU_INDEX] if _wants_cuda(pip) else []
    try:
        _run([*install, *index, TORCH])
    except DownloadError:
        if not index:
            raise
        _run([*install, TORCH])  # As large as it is, it works as well.
    _run([*install, TORCH, *PACKAGES])


def _wants_cuda(pip: Sequence[str]) -> bool:
    """Tell whether the torch of pip's own sources comes with CUDA packages."""
    command = [*pip, 'install', '--dry-run', '--quiet', '--report', '-', TORCH]
    found = json.loads(_run(command) or '{}').get('install', [])
    return any(item['metadata']['name'].lower().startswith(('nvidia', 'triton', 'cuda')) for item in found)


def _run(command: Sequence[str]) -> str:
    """Run a command and return what it printed.

    :raises DownloadError: with the last line of its messages, if it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as exception:
        raise DownloadError(f'`{command[0]}` cannot be run: {exception}') from exception
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ['no message']
        reason = next((line for line in reversed(lines) if line.startswith('ERROR')), lines[-1])
        raise DownloadError(f'`{" ".join(command[1:4])}` failed while making the environment for SevenNet: {reason}')
    return done.stdout


def _ensure_foundation(code: orm.InstalledCode) -> Item:
    """Store SevenNet-0 from the package in the Python of a code."""
    name = defaults.SEVENNET_FOUNDATION
    node = defaults.made_foundation(name) or adopt_foundation(name, CHECKPOINT_SHA256, CARD)
    if node is not None:
        return Item(name, 'found', describe(node))
    try:
        node = _store_checkpoint(code)
    except (DownloadError, OSError) as exception:
        return Item(name, 'missing', str(exception))
    remember(f'foundation {name}', node)
    return Item(name, 'created', describe(node))


def _store_checkpoint(code: orm.InstalledCode) -> Any:
    """Copy the checkpoint from the computer of a code, and store it.

    :raises DownloadError: if it is not there, or is another one.
    """
    with tempfile.TemporaryDirectory() as folder, code.computer.get_transport() as transport:
        target = Path(folder, 'checkpoint_sevennet_0.pth')
        status, stdout, stderr = transport.exec_command_wait(f"'{code.filepath_executable}' -c '{_LOCATE}'")
        if status:
            reason = (stderr.strip().splitlines() or ['no message'])[-1]
            raise DownloadError(
                f'the Python of `{code.full_label}` has no package `sevenn` ({reason}): install it there'
            )
        source = f'{stdout.strip().splitlines()[-1]}/{CHECKPOINT}'
        try:
            transport.getfile(source, str(target))
        except OSError as exception:
            raise DownloadError(
                f'there is no `{source}` on `{code.computer.label}`: install sevenn 0.13'
            ) from exception
        found = sha256(target.read_bytes()).hexdigest()
        if found != CHECKPOINT_SHA256:
            raise DownloadError(f'`{source}` is not the SevenNet-0 that was published: its SHA-256 is {found}')
        return store_potential(target, CARD, f'sevenn, {CHECKPOINT}', defaults.SEVENNET_FOUNDATION)


if __name__ == '__main__':
    try:
        make_environment(Path(sys.argv[1]))
    except DownloadError as problem:
        sys.exit(str(problem))
