"""A virtual environment of its own for a family of potentials that cannot share one with MACE, and the code for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.manage.configuration import get_config

from aiida_equitrain.common.strategies import FAMILIES, Abilities
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.setup import Item, Options, ensure_code

TORCH = 'torch==2.13.0'
#: What jobs import beside the packages of the family; phono3py for the third order.
PACKAGES = (
    'equitrain[torch]==1.0.0', 'phonopy>=4,<5', 'phono3py>=4.10,<5', 'symfc>=1.8', 'seekpath', 'safetensors>=0.4',
)  # fmt: skip
#: Index of torch builds without gigabytes of CUDA packages.
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'


@dataclass(frozen=True)
class Recipe:
    """What is installed for a family.

    :param family: architecture family.
    :param package: name of its package as pip knows it, and of the module that jobs import.
    :param module: what a check imports of it.
    :param packages: of the family.
    :param alone: packages that are installed without what they ask for.
    """

    family: str
    package: str
    module: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()

    @property
    def able(self) -> Abilities:
        """What the family can do, with the label of its code and the command of its set-up."""
        return FAMILIES[self.family]

    @property
    def wanted(self) -> str:
        """What is needed, for the end of a sentence."""
        return f'a Python with {self.package}, Equitrain and phonopy, and without MACE: `--{self.family}-python PATH`'

    @property
    def probe(self) -> str:
        """Lines of Python that import what jobs need, and print the versions."""
        names = (self.package, 'equitrain', 'torch', 'phonopy', 'symfc', 'seekpath', 'ase')
        return (
            'import importlib.metadata as m\n'
            f'import {self.module}, equitrain, phonopy, symfc, seekpath, ase\n'
            f'print(" ".join(p + "=" + m.version(p) for p in {json.dumps(names)}))\n'
        )


def ensure_python(recipe: Recipe, options: Options, python: str | None = None) -> Iterator[Item]:
    """Create the code of a family in the loaded profile, with an environment where there is none, part by part.

    :param python: a Python with the packages; by default that of :func:`default_environment`, which is made.
    """
    label = recipe.able.python
    try:
        computer = orm.load_computer(options.computer)
    except NotExistent:
        return  # The set-up of everything else has said so.
    try:
        code = defaults.find_code(label, computer.label)
        yield Item(label, 'found', f'`{code.full_label}` is {code.get_executable()}')
        return
    except NotExistent:
        path, item = _python(recipe, computer, options, python)
    if item is not None:
        yield item
    if path is not None:
        yield ensure_code(computer, label, path, None, recipe.wanted)


def default_environment(family: str) -> Path:
    """Return where the environment is made: beside the one that runs this, or in the configuration of AiiDA."""
    beside = Path(sys.prefix).parent
    if sys.prefix != sys.base_prefix and os.access(beside, os.W_OK):
        return beside / f'.venv-{family}'
    return Path(get_config().dirpath) / 'equitrain' / f'venv-{family}'


def _python(
    recipe: Recipe, computer: orm.Computer, options: Options, python: str | None
) -> tuple[str | None, Item | None]:
    """Return a Python with the packages, or ``None``; and what is to be said about its environment."""
    name, label, folder = f'{recipe.family} environment', recipe.able.python, default_environment(recipe.family)
    if python is not None:
        return python, None
    if computer.transport_type != 'core.local':
        text = f'on `{computer.label}` nothing is installed from here. Needed is {recipe.wanted}'
        return None, Item(label, 'missing', text)
    if _works(recipe, folder):
        return str(folder / 'bin' / 'python'), Item(name, 'found', str(folder))
    if options.offline:
        return None, Item(label, 'missing', f'with `--offline` nothing is installed. Needed is {recipe.wanted}')
    cuda = has_gpu() if options.gpu is None else options.gpu
    try:
        make_environment(recipe, folder, cuda)
    except DownloadError as exception:
        return None, Item(name, 'missing', f'{exception}. Try again, or give {recipe.wanted}')
    return str(folder / 'bin' / 'python'), Item(name, 'created', f'{folder} ({"with" if cuda else "without"} CUDA)')


def has_gpu() -> bool:
    """Tell whether this machine has a GPU of NVIDIA that answers."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return False
    try:
        return subprocess.run([program, '-L'], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _works(recipe: Recipe, folder: Path) -> bool:
    """Tell whether an environment has the packages, which are not imported for that."""
    python, modules = folder / 'bin' / 'python', (recipe.module.partition('.')[0], 'equitrain', 'phonopy')
    probe = f'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules})))'
    return python.exists() and subprocess.run([python, '-c', probe], capture_output=True, check=False).returncode == 0


def make_environment(recipe: Recipe, folder: Path, cuda: bool = False) -> None:
    """Make a virtual environment with torch, the packages of a family, and Equitrain.

    :param cuda: whether torch comes with its CUDA packages.
    :raises DownloadError: with a sentence, if that is not possible.
    """
    if folder.exists() and not (folder / 'pyvenv.cfg').exists():
        raise DownloadError(f'`{folder}` is there, and is no virtual environment')
    pip = [str(folder / 'bin' / 'python'), '-m', 'pip', '--disable-pip-version-check']
    name = recipe.able.name
    _run([sys.executable, '-m', 'venv', '--clear', str(folder)], name)
    install = [*pip, 'install', '--quiet', '--progress-bar', 'off']
    index = ['--index-url', CPU_INDEX] if not cuda and _wants_cuda(pip, name) else []
    try:
        _run([*install, *index, TORCH], name)
    except DownloadError:
        if not index:
            raise
        _run([*install, TORCH], name)  # As large as it is, it works as well.
    _run([*install, TORCH, *recipe.packages, *PACKAGES], name)
    if recipe.alone:
        _run([*install, '--no-deps', *recipe.alone], name)


def _wants_cuda(pip: Sequence[str], name: str) -> bool:
    """Tell whether the torch of pip's own sources comes with CUDA packages."""
    command = [*pip, 'install', '--dry-run', '--quiet', '--report', '-', TORCH]
    found = json.loads(_run(command, name) or '{}').get('install', [])
    return any(item['metadata']['name'].lower().startswith(('nvidia', 'triton', 'cuda')) for item in found)


def _run(command: Sequence[str], name: str) -> str:
    """Run a command and return what it printed.

    :param name: of the family, for the sentence.
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
        raise DownloadError(f'`{" ".join(command[1:4])}` failed while making the environment for {name}: {reason}')
    return done.stdout
