"""Create what a profile lacks for the main job; what exists is not changed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.manage.configuration import get_config

from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.blas import VARIABLE, faster_kernels
from aiida_equitrain.setup.download import DownloadError, fetch_pinned, pins
from aiida_equitrain.setup.foundations import (
    MACE_MP_0B3_CARD,
    MACE_MP_0B3_SHA256,
    MACE_MP_0B3_URL,
    describe,
    download_potential,
    store_potential,
)
from aiida_equitrain.setup.record import recall, remember
from aiida_equitrain.setup.shipped import (
    SHIPPED_FAMILY,
    check_archive,
    find_family,
    install_shipped_family,
    set_aside_family,
    starter_files,
)

#: One thread per job: the WorkChains keep as many jobs in flight as they are told to. MPI may start as root.
PREPEND_TEXT = '\n'.join(
    f'export {name}=1'
    for name in (
        'OMP_NUM_THREADS',
        'OPENBLAS_NUM_THREADS',
        'MKL_NUM_THREADS',
        'OMPI_ALLOW_RUN_AS_ROOT',
        'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM',
    )
)
#: Plugins of the programs whose time goes into linear algebra.
QUANTUM_ESPRESSO = ('quantumespresso.pw', 'quantumespresso.ph')
#: Seconds between two looks at the queue; each costs 0.07 s of a core, which the jobs would have.
POLL_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Item:
    """What became of one part of the set-up.

    :param state: ``found``, ``created``, ``note`` (something to know) or ``missing``.
    :param text: one sentence, for ``missing`` with the remedy.
    """

    name: str
    state: str
    text: str


@dataclass(frozen=True)
class Options:
    """What the user may choose.

    :param python: path of a Python with MACE, Equitrain and phonopy; by default the one that runs this.
    :param pw: path of ``pw.x``; by default from the PATH.
    :param ph: path of ``ph.x``; by default beside ``pw.x``.
    :param phonopy: path of ``phonopy``; by default beside that Python, else from the PATH.
    :param family_url: base address of PseudoDojo's archives, for a mirror.
    :param gpu: whether environments get the packages for CUDA; by default where there is a GPU.
    """

    offline: bool = False
    computer: str = defaults.COMPUTER
    python: str | None = None
    pw: str | None = None
    ph: str | None = None
    phonopy: str | None = None
    foundation_url: str = MACE_MP_0B3_URL
    foundation_sha256: str | None = MACE_MP_0B3_SHA256
    family_url: str | None = None
    gpu: bool | None = None


def run_setup(options: Options, progress: Callable[[int, int], None] | None = None) -> Iterator[Item]:
    """Create what is absent in the loaded profile, and yield what was done, part by part."""
    computer, item = ensure_computer(options.computer)
    yield item
    if computer is not None:
        yield from ensure_codes(computer, options)
    yield from ensure_family(options)
    yield from ensure_foundation(options, progress)


def ensure_computer(label: str) -> tuple[orm.Computer | None, Item]:
    """Return the computer, which is created when it is the local one and absent."""
    moved = _set_aside(label) if label == defaults.COMPUTER else ''
    try:
        computer = orm.load_computer(label)
    except NotExistent:
        if label != defaults.COMPUTER:
            text = f'there is no computer `{label}`: make it with `verdi computer setup` and `verdi computer configure`'
            return None, Item('computer', 'missing', text)
        computer = _create_localhost(label)
        return computer, Item('computer', 'created', f'`{label}`, jobs run in {computer.get_workdir()}{moved}')
    if problem := defaults.computer_problem(computer):
        return None, Item('computer', 'missing', problem)
    return computer, Item('computer', 'found', f'`{label}`, jobs run in {computer.get_workdir()}')


def _set_aside(label: str) -> str:
    """Give another label to a computer that neither the set-up made nor a person configured: one of an archive.

    :returns: what was done, for the end of a sentence.
    """
    try:
        computer = orm.load_computer(label)
    except NotExistent:
        return ''
    if computer.is_configured or recall(f'computer {label}') == computer.uuid:
        return ''
    computer.label = f'{label}{defaults.ARCHIVE} {computer.uuid[:8]})'
    return f'; one that was never configured, as those of archives are, is called `{computer.label}` now'


def _create_localhost(label: str) -> orm.Computer:
    from aiida.manage import get_manager

    profile = get_manager().get_profile()
    name = profile.name if profile is not None else 'equitrain'
    computer = orm.Computer(
        label=label,
        hostname='localhost',
        description='This machine; made by aiida-equitrain setup',
        transport_type='core.local',
        scheduler_type='core.direct',
        workdir=str(Path(get_config().dirpath) / 'scratch' / name),
    ).store()
    computer.configure(safe_interval=0.0, use_login_shell=False)
    computer.set_minimum_job_poll_interval(POLL_INTERVAL_S)
    computer.set_default_mpiprocs_per_machine(1)
    remember(f'computer {label}', computer)
    return computer


def ensure_codes(computer: orm.Computer, options: Options) -> Iterator[Item]:
    """Create the codes ``python``, ``pw``, ``phonopy`` and ``ph`` that are absent."""
    local = computer.transport_type == 'core.local'
    python = options.python or (sys.executable if local else None)
    beside = Path(python).parent / 'phonopy' if python else None
    phonopy = options.phonopy or (str(beside) if local and beside and beside.exists() else None)
    paths = {
        defaults.PYTHON_CODE: (python, None, 'Python with MACE, Equitrain and phonopy: `--python PATH`'),
        defaults.PW_CODE: (
            options.pw or (shutil.which('pw.x') if local else None),
            'quantumespresso.pw',
            "Quantum ESPRESSO's `pw.x`: `apt-get install quantum-espresso libopenblas0-pthread`, or `--pw PATH`",
        ),
        defaults.PHONOPY_CODE: (
            phonopy or (shutil.which('phonopy') if local else None),
            'phonopy.phonopy',
            'the command `phonopy`: `pip install phonopy`, or `--phonopy PATH`',
        ),
    }
    for label, (path, plugin, wanted) in paths.items():
        yield ensure_code(computer, label, path, plugin, wanted)
    ph = options.ph or _ph_beside(options.pw or shutil.which('pw.x') if local else None)
    if ph is not None:
        yield ensure_code(computer, defaults.PH_CODE, ph, 'quantumespresso.ph', '')


def _ph_beside(pw: str | None) -> str | None:
    """Return the ``ph.x`` beside a ``pw.x``: only Born charges need it, so that it may be absent."""
    beside = Path(pw).with_name('ph.x') if pw else None
    return str(beside) if beside is not None and beside.exists() else None


def ensure_code(computer: orm.Computer, label: str, path: str | None, plugin: str | None, wanted: str) -> Item:
    """Create a code, unless there is one of that label.

    :param wanted: what is needed where ``path`` is ``None``, for the sentence.
    """
    full_label = f'{label}@{computer.label}'
    try:
        code = defaults.find_code(full_label)
        return Item(label, 'found', f'`{full_label}` is {code.get_executable()}')
    except NotExistent:
        pass
    if path is None:
        return Item(label, 'missing', f'no code `{full_label}`, and nothing to make it of. Needed is {wanted}')
    local = computer.transport_type == 'core.local'
    # The path as given: a virtual environment's Python is a link, and loses its packages when resolved.
    executable = str(Path(path).absolute()) if local else path
    text = local_text(executable, plugin) if local else PREPEND_TEXT
    code = orm.InstalledCode(
        label=label,
        computer=computer,
        filepath_executable=executable,
        default_calc_job_plugin=plugin,
        prepend_text=text,
        with_mpi=False,
        description='Serial, one thread; made by aiida-equitrain setup',
    ).store()
    remember(f'code {full_label}', code)
    told = '; its OpenBLAS does not know this processor, and is told which kernels fit' if VARIABLE in text else ''
    return Item(label, 'created', f'`{full_label}` is {path}{told}')


def local_text(executable: str, plugin: str | None) -> str:
    """Return what a code on this machine prepends."""
    kernels = faster_kernels(executable) if plugin in QUANTUM_ESPRESSO else None
    return f'{PREPEND_TEXT}\nexport {VARIABLE}={kernels}' if kernels else PREPEND_TEXT


def ensure_family(options: Options) -> Iterator[Item]:
    """Install PseudoDojo's PBE table; offline, or when that fails, the shipped files."""
    name = 'pseudopotentials'
    for label in defaults.FAMILIES:
        set_aside_family(label)
    for label in defaults.FAMILIES if options.offline else (defaults.ONLINE_FAMILY,):
        family = find_family(label)
        if family is not None:
            yield Item(name, 'found', f'`{label}`, {family.count()} elements')
            return
    if not options.offline:
        try:
            family = _install_pseudo_dojo(options)
            yield Item(name, 'created', f'`{family.label}`, {family.count()} elements')
            return
        except DownloadError as exception:
            yield Item(name, 'note', f'{exception}; the files of the package are used instead')
    state = 'created' if find_family(SHIPPED_FAMILY) is None else 'found'
    family = install_shipped_family()
    yield Item(name, state, f'`{family.label}`, {family.count()} elements: {" ".join(sorted(family.elements))}')


def _install_pseudo_dojo(options: Options) -> Any:
    """Download PseudoDojo's archive and table of hints, and make the family of them with aiida-pseudo.

    :raises DownloadError: if that is not possible.
    """
    from aiida_pseudo.cli.install import install_pseudo_dojo
    from aiida_pseudo.data.pseudo import UpfData
    from aiida_pseudo.groups.family.pseudo_dojo import PseudoDojoConfiguration, PseudoDojoFamily

    configuration = PseudoDojoConfiguration('0.4', 'PBE', 'SR', 'standard', 'upf')
    label = PseudoDojoFamily.format_configuration_label(configuration)
    # aiida-pseudo has the address without its `s`.
    base = options.family_url or PseudoDojoFamily.url_base.replace('http://', 'https://')
    urls = (PseudoDojoFamily.get_url_archive(label), PseudoDojoFamily.get_url_metadata(label))
    table, hints = (url.rpartition('/')[2] for url in urls)

    def install(archive: Path, metadata: Path) -> Any:
        try:
            check_archive(archive, '.upf')
            check_archive(metadata, '.djrepo')
            family = install_pseudo_dojo(configuration, archive, metadata, UpfData, label, str(configuration))
            family.set_default_stringency('normal')
            return family
        except (SystemExit, OSError, ValueError) as exception:
            # aiida-pseudo prints the reason and leaves the program; a set-up goes on, and half a family does not stay.
            if (half := find_family(label)) is not None:
                orm.Group.collection.delete(int(half.pk or 0))
            raise DownloadError(f'the archive of {label} could not be installed') from exception

    # Both are pinned once they were found to belong together.
    return fetch_pinned(
        table, base + table, lambda first: fetch_pinned(hints, base + hints, partial(install, first), pins()), pins()
    )


def ensure_foundation(options: Options, progress: Callable[[int, int], None] | None = None) -> Iterator[Item]:
    """Store MACE-MP-0b3; offline, or when that fails, the starter potential of the package."""
    name = 'foundation'
    node = defaults.stored_foundation(defaults.ONLINE_FOUNDATION) or adopt_foundation(
        defaults.ONLINE_FOUNDATION, options.foundation_sha256, MACE_MP_0B3_CARD
    )
    if node is not None:
        yield Item(name, 'found', describe(node))
        return
    if not options.offline:
        try:
            yield Item(name, 'created', describe(_download_foundation(options, progress)))
            return
        except DownloadError as exception:
            yield Item(name, 'note', f'{exception}; the starter potential of the package is used instead')
    try:
        yield _ensure_starter(name)
    except (DownloadError, OSError) as exception:
        yield Item(name, 'missing', str(exception))


def adopt_foundation(name: str, sha256: str | None, card: dict[str, Any]) -> Any | None:
    """Return the potential of this label, content and card that an earlier set-up stored, or ``None``.

    Earlier versions did not remember what they made.
    """
    for node in defaults.labelled_potentials(name):
        if (node.sha256, node.card) == (sha256, card) and node.file_problem() is None:
            remember(f'foundation {name}', node)
            return node
    return None


def _download_foundation(options: Options, progress: Callable[[int, int], None] | None) -> Any:
    name, sha256 = defaults.ONLINE_FOUNDATION, options.foundation_sha256
    node = download_potential(name, options.foundation_url, MACE_MP_0B3_CARD, name, sha256=sha256, progress=progress)
    remember(f'foundation {name}', node)
    return node


def _ensure_starter(name: str) -> Item:
    from hashlib import sha256

    model, card = starter_files()
    digest, content = sha256(model.read_bytes()).hexdigest(), json.loads(card.read_text(encoding='utf-8'))
    node = defaults.made_foundation(defaults.STARTER)
    if node is None or node.sha256 != digest:
        node = adopt_foundation(defaults.STARTER, digest, content)
    if node is not None:
        return Item(name, 'found', describe(node))
    node = store_potential(model, content, 'shipped with aiida-equitrain', defaults.STARTER)
    remember(f'foundation {defaults.STARTER}', node)
    return Item(name, 'created', f'{describe(node)}. It is a starter, not MACE-MP: small, and for a few crystals only')
