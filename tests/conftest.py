"""What all tests share: codes that really run, a structure, the starter potential, pseudopotentials, frames."""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import yaml

pytest_plugins = ['aiida.tools.pytest_fixtures']

FIXTURES = Path(__file__).parent / 'fixtures'
WARM = str(Path(__file__).with_name('warm_python.py'))


#: The files that take longest, in this order.
LONGEST = ('test_caching.py', 'test_publish.py', 'test_study.py', 'test_active_learning.py', 'test_hostile.py')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need, and put the files with real runs first, the longest before the others.

    The short ones fill the cores at the end (``--no-loadscope-reorder``).
    """
    for item in items:
        fixtures = getattr(item, 'fixturenames', ())
        if 'hostile' in item.path.parts or {'browser', 'run_driver'} & set(fixtures):
            item.add_marker('real')
        if {'sevennet_python', 'nequix_python'} & set(fixtures):
            item.add_marker('thorough')
        if item.get_closest_marker('thorough'):
            item.add_marker('real')
    real = {item.path for item in items if item.get_closest_marker('real')}
    order = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (order.get(item.path.name, len(order)), item.path not in real))


@pytest.fixture(scope='session', autouse=True)
def _bugs_are_shown() -> Iterator[None]:
    """Let what no command thought of end in a traceback: a sentence would hide a bug from the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('EQUITRAIN_TRACEBACK', '1')
        yield


@pytest.fixture(scope='session', autouse=True)
def _waits_that_rest() -> Iterator[None]:
    """Let a process that waits for another look four times a second; in a test profile it looks all the time."""
    from aiida.manage.manager import Manager

    original = Manager.create_runner
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Manager,
            'create_runner',
            lambda self, *args, **kwargs: original(self, *args, **{'poll_interval': 0.25} | kwargs),
        )
        yield


def _callers(context: int = 0) -> list[inspect.FrameInfo]:
    """Return what `inspect.stack` does, without files and lines of source."""
    frame, found = inspect.currentframe(), []
    while frame := frame and frame.f_back:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
    return found


@pytest.fixture(scope='session', autouse=True)
def _no_detours() -> Iterator[None]:
    """Let AiiDA leave out what no test looks at: a third of the time of a builder, and half of that of a process.

    A builder describes every port in JSON; the protocols of Quantum ESPRESSO are read by PyYAML in Python, not by
    libyaml; a report and Quantum ESPRESSO's protocols ask for all their callers with the files of these, for which
    Python looks through all modules; and each input of a new process costs a search of the graph for descendants of the
    process, which is not stored and has none.
    """
    from aiida.orm.nodes.links import NodeLinks
    from aiida.orm.utils.links import validate_link

    libyaml = SimpleNamespace(safe_load=functools.partial(yaml.load, Loader=yaml.CSafeLoader))
    original = NodeLinks.validate_incoming

    def validate_incoming(self: Any, source: Any, link_type: Any, link_label: str) -> None:
        if self._node.is_stored:
            original(self, source, link_type, link_label)
        else:
            validate_link(source, self._node, link_type, link_label, backend=self._node.backend)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('plumpy.ports.Port.__str__', object.__repr__)
        patch.setattr('plumpy.ports.PortNamespace.__str__', object.__repr__)
        patch.setattr('aiida_quantumespresso.workflows.protocols.utils.yaml', libyaml)
        patch.setattr('inspect.stack', _callers)
        patch.setattr(NodeLinks, 'validate_incoming', validate_incoming)
        yield


@pytest.fixture(scope='session', autouse=True)
def _symmetry_is_searched_once() -> Iterator[None]:
    """Let phonopy remember the symmetry of the last cells: aiida-phonopy searches that of one crystal a dozen times."""
    from phonopy.structure.symmetry import Symmetry

    original, signature = Symmetry.__init__, inspect.signature(Symmetry.__init__)
    known: dict[bytes, dict[str, Any]] = {}

    def remembered(self: Symmetry, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        _, cell, *settings, distinguish = given.arguments.values()
        key = pickle.dumps((cell.totuple(distinguish_symbol_index=distinguish), distinguish, settings))
        if key in known:
            self.__dict__.update(known[key], _cell=cell)
            return
        original(self, *args, **kwargs)
        known[key] = dict(self.__dict__)
        if len(known) > 50:
            del known[next(iter(known))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Symmetry, '__init__', remembered)
        yield


@pytest.fixture(scope='session', autouse=True)
def _no_waiting_for_the_disk() -> None:
    """Let SQLite leave writing to the system: what a loss of power would cost is a test."""
    from sqlalchemy import Engine, event

    event.listen(Engine, 'connect', lambda connection, _: connection.execute('PRAGMA synchronous = OFF'))


@pytest.fixture(autouse=True)
def _default_dtype() -> Iterator[None]:
    """Give torch its default precision again: a calculator that a test makes changes it for all that follow."""
    yield
    if torch := sys.modules.get('torch'):
        torch.set_default_dtype(torch.float32)


@pytest.fixture
def aiida_profile_clean(aiida_profile_clean: Any) -> Iterator[Any]:
    """Return an empty profile, and empty it again: what an archive brought (computers, codes) meets no other test."""
    yield aiida_profile_clean
    aiida_profile_clean.reset_storage()


@pytest.fixture
def aiida_localhost(aiida_localhost: Any) -> Any:
    """Return the computer of the tests without a login shell, and with short waits that leave the cores to the jobs."""
    aiida_localhost.configure(use_login_shell=False, safe_interval=0.0)
    aiida_localhost.set_minimum_job_poll_interval(0.5)
    return aiida_localhost


def _executable(name: str) -> str:
    """Return the path of a program, beside this Python or on the PATH; skip without it, but fail under CI."""
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    return path or _missing(f'`{name}` is not on the PATH: this test runs it for real')


def _missing(reason: str) -> NoReturn:
    """Skip a test that cannot run the real program, but fail under CI."""
    if os.environ.get('CI', '').lower() in ('1', 'true'):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def make_code(aiida_code_installed: Callable[..., Any]) -> Callable[..., Any]:
    """Return a factory of codes with the fast options: ``make_code(label, path, plugin)``."""
    from aiida_equitrain.setup.setup import local_text

    def factory(label: str, path: str, plugin: str | None = None) -> Any:
        return aiida_code_installed(
            label=label,
            filepath_executable=path,
            default_calc_job_plugin=plugin,
            prepend_text=local_text(path, plugin),
            with_mpi=False,
        )

    return factory


@pytest.fixture
def in_new_profile() -> Callable[..., list[subprocess.CompletedProcess[str]]]:
    """Return a function: run commands in a folder with an AiiDA profile `second`, with the codes that `setup` finds."""
    scripts = Path(sys.executable).parent

    def run(folder: Path, *commands: list[str]) -> list[subprocess.CompletedProcess[str]]:
        folder.mkdir()
        environment = {**os.environ, 'AIIDA_PATH': str(folder), 'PATH': f'{scripts}:{os.environ["PATH"]}'}
        setup = [
            ['verdi', 'profile', 'setup', 'core.sqlite_dos', '-n', '--profile-name', 'second', '--email', 'a@b.c'],
            ['aiida-equitrain', '-p', 'second', 'setup', '--offline'],
        ]
        results = [
            subprocess.run(item, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=1500)
            for item in (*setup, *commands)
        ]
        assert all(result.returncode == 0 for result in results[:2]), results[1].stdout + results[1].stderr
        return results[2:]

    return run


class WarmPython:
    """A program of `warm_python.py`, in a folder of its own, and its server; outside Linux it is Python itself.

    :ivar program: to be run in place of Python; its jobs need the server, so a test that runs one is `real`.
    """

    def __init__(self, folder: Path) -> None:
        self.socket, self.program = folder / 'socket', folder / 'python'
        warm = f'-IS {WARM} {self.socket}' if sys.platform == 'linux' else ''
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} {warm} "$@"\n')
        self.program.chmod(0o755)
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, if it does not run."""
        if self.server is None and sys.platform == 'linux':
            threads = dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'), '1')
            command = [sys.executable, '-W', 'ignore', WARM, '--serve', str(self.socket)]
            self.server = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **threads}
            )
            assert self.server.stdout is not None
            self.server.stdout.readline()  # it listens

    def run(self, folder: Path, module: str) -> subprocess.Popen[bytes]:
        """Start ``python -m`` of a module in a folder as a job would, with output in ``driver.out``, ``driver.err``."""
        self.start()
        # Equitrain's commands lie beside the Python, whether its environment is activated or not.
        path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
        with (folder / 'driver.out').open('wb') as out, (folder / 'driver.err').open('wb') as err:
            return subprocess.Popen(
                [str(self.program), '-m', module], cwd=folder, env={**os.environ, 'PATH': path}, stdout=out, stderr=err
            )

    def stop(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.communicate()


@pytest.fixture(scope='session')
def warm_python() -> Iterator[WarmPython]:
    """Return a program that runs drivers as the Python of this environment does, with its imports done."""
    with tempfile.TemporaryDirectory(prefix='warm-') as folder:  # short: that of a socket is limited
        warm = WarmPython(Path(folder))
        yield warm
        warm.stop()


@pytest.fixture
def python_code(make_code: Callable[..., Any], warm_python: WarmPython, request: pytest.FixtureRequest) -> Any:
    """Return the Python of this environment, which has MACE, Equitrain and phonopy."""
    if request.node.get_closest_marker('real'):
        warm_python.start()
    return make_code('python', str(warm_python.program))


@pytest.fixture(scope='session')
def browser() -> str:
    """Return a Chromium, which runs without a screen."""
    found = next(
        (path for name in ('chromium', 'google-chrome', 'chromium-browser') if (path := shutil.which(name))), None
    )
    return found or _missing('no chromium on the PATH (Debian: apt-get install chromium)')


def _python_of(family: str) -> str:
    """Return a Python for a family: of ``$SEVENNET_PYTHON`` or ``$NEQUIX_PYTHON``, or ``.venv-*`` of this checkout.

    ``scripts/test.sh --all`` makes the latter (``SEVENNET=no``, ``NEQUIX=no`` leave it out); without either the test is
    skipped, under CI it fails.
    """
    name = f'{family.upper()}_PYTHON'
    beside = Path(__file__).parents[1] / f'.venv-{family}' / 'bin' / 'python'
    path = os.environ.get(name) or (str(beside) if beside.exists() else '')
    return path or _missing(f'no Python for {family}: set {name}, or make .venv-{family} (scripts/test.sh --all does)')


@pytest.fixture(scope='session')
def sevennet_python() -> str:
    """Return a Python with sevenn and Equitrain."""
    return _python_of('sevennet')


@pytest.fixture(scope='session')
def nequix_python() -> str:
    """Return a Python with nequix and Equitrain."""
    return _python_of('nequix')


@pytest.fixture(scope='session')
def nequix_weights() -> Path:
    """Return a folder with published files of Nequix, which are not ours to ship: without them a test is skipped."""
    folder = Path(os.environ.get('NEQUIX_WEIGHTS') or Path(__file__).parents[2] / 'shared/reference/foundations')
    if not list(folder.glob('*.nqx')):
        pytest.skip(f'no files `*.nqx` in `{folder}`: set NEQUIX_WEIGHTS to a folder that has them')
    return folder


@pytest.fixture(scope='session')
def sevennet_0(sevennet_python: str) -> Path:
    """Return the checkpoint of SevenNet-0 in the wheel of sevenn."""
    return _checkpoint('sevennet-0', sevennet_python)


@pytest.fixture(scope='session')
def sevennet_l3i5(sevennet_python: str) -> Path:
    """Return the checkpoint of SevenNet-l3i5 in the wheel of sevenn."""
    return _checkpoint('sevennet-l3i5', sevennet_python)


def _checkpoint(name: str, python: str) -> Path:
    from aiida_equitrain.setup.sevennet import CHECKPOINTS

    prefix = Path(python).absolute().parents[1]
    return next(prefix.glob(f'lib/python3.*/site-packages/sevenn/{CHECKPOINTS[name][0]}'))


@pytest.fixture
def sevennet_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a factory of files as SevenNet saves them, of a model that is none; arguments change its settings."""

    def factory(**changes: Any) -> Path:
        torch = pytest.importorskip('torch')
        import numpy as np

        config = {
            '_model_type': 'E3_equivariant_model',
            'version': '0.9.1',
            'cutoff': 5.0,
            '_type_map': {17: 0, 14: 1},
            'device': torch.device('cpu'),
            'shift': np.zeros(2),
            'use_modality': False,
        }
        state = {
            '0_convolution.weight_nn.layer0.weight': torch.ones(8, 64),
            '0_convolution.convolution._compiled_main_left_right._w3j_1_1_1': torch.ones(3, 3, 3),
            'onehot_to_feature_x.linear.output_mask': torch.ones(128),
            'rescale_atomic_energy.shift': torch.zeros(2),
        }
        state = changes.pop('state', state)
        path = tmp_path / 'checkpoint.pth'
        torch.save({'model_state_dict': state, 'config': {**config, **changes}, 'epoch': 600}, path)
        return path

    return factory


@pytest.fixture(scope='session')
def stored_once(aiida_profile: Any) -> Callable[[str, Callable[[], tuple[Any, ...]]], tuple[Any, ...]]:
    """Return a function that stores the nodes of a name once for all tests.

    It stores them again if a test deleted them since, or changed what they say.
    """
    stored: dict[str, dict[str, Any]] = {}

    def get(name: str, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        from aiida.orm import Node, QueryBuilder

        wanted = stored.get(name, {})
        builder = QueryBuilder().append(Node, filters={'uuid': {'in': list(wanted)}}) if wanted else None
        found = {node.uuid: node for node in builder.all(flat=True)} if builder else {}
        told = {uuid: [found[uuid].label, found[uuid].base.attributes.all] for uuid in wanted if uuid in found}
        if not wanted or told != wanted:
            found = {node.uuid: node for node in (item.store() for item in make())}
            stored[name] = {uuid: [node.label, deepcopy(node.base.attributes.all)] for uuid, node in found.items()}
        return tuple(found[uuid] for uuid in stored[name])

    return get


@pytest.fixture
def hollow_sevennet(aiida_profile: Any, sevennet_file: Callable[..., Path]) -> Any:
    """Return a stored potential of the family ``sevennet``, of Si and Cl, that nothing can be computed with."""
    from aiida_equitrain.data.potential import PotentialData

    return PotentialData(sevennet_file()).store()


#: A Nequix of four channels for silicon and chlorine, with the settings that Nequix wants.
NEQUIX_SETTINGS: dict[str, Any] = {
    'cutoff': 5.0, 'atomic_numbers': [11, 14, 17], 'atom_energies': {'11': -0.2, '14': -0.8, '17': -0.3},
    'hidden_irreps': '4x0e + 2x1o + 2x2e', 'lmax': 2, 'n_layers': 2, 'radial_basis_size': 4, 'radial_mlp_size': 8,
    'radial_mlp_layers': 1, 'radial_polynomial_p': 6.0, 'mlp_init_scale': 4.0, 'index_weights': False,
    'layer_norm': True, 'shift': -3.5, 'scale': 0.8, 'avg_n_neighbors': 30.0, 'train_path': '/home/me/data/salt/train',
}  # fmt: skip


@pytest.fixture
def nequix_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a factory of files of Nequix, with random weights; arguments change the settings."""

    def factory(**changes: Any) -> Path:
        import numpy as np

        from aiida_equitrain.science import nequix_file

        settings, generator = {**NEQUIX_SETTINGS, **changes}, np.random.default_rng(3)
        tensors: dict[str, Any] = {}
        for piece in nequix_file.layout(settings):
            values = generator.normal(size=piece.shape).astype('f4')
            before = tensors.get(piece.name)
            flat = values if piece.whole else values.ravel()
            tensors[piece.name] = flat if before is None else np.concatenate([before, flat])
        tensors['atom_energies'] = np.array(list(settings['atom_energies'].values()), dtype='f4')
        path = tmp_path / 'tiny.nqx'
        with path.open('wb') as file:
            nequix_file.write(settings, tensors, file)
        return path

    return factory


@pytest.fixture
def tiny_nequix(aiida_profile: Any, nequix_file: Callable[..., Path]) -> Any:
    """Return a stored potential of the family ``nequix`` for Na, Si and Cl, with random weights."""
    from aiida_equitrain.data.potential import PotentialData

    return PotentialData(nequix_file()).store()


@pytest.fixture
def nequix_code(make_code: Callable[..., Any], nequix_python: str) -> Any:
    """Return the Python that has Nequix."""
    return make_code('python-nequix', nequix_python)


@pytest.fixture
def nequix_potential(aiida_profile: Any, nequix_weights: Path) -> Any:
    """Return nequix-oam-1-pft, stored."""
    from aiida_equitrain.data.potential import PotentialData

    return PotentialData(nequix_weights / 'nequix-oam-1-pft.nqx', card={'name': 'nequix-oam-1-pft'}).store()


@pytest.fixture
def sevennet_code(make_code: Callable[..., Any], sevennet_python: str) -> Any:
    """Return the Python that has SevenNet."""
    return make_code('python-sevennet', sevennet_python)


@pytest.fixture
def sevennet_potential(aiida_profile: Any, sevennet_0: Path) -> Any:
    """Return SevenNet-0, stored."""
    from aiida_equitrain.data.potential import PotentialData

    return PotentialData(sevennet_0, card={'name': 'SevenNet-0'}).store()


@pytest.fixture
def pw_code(make_code: Callable[..., Any]) -> Any:
    """Return Quantum ESPRESSO's ``pw.x``, serial."""
    return make_code('pw', _executable('pw.x'), 'quantumespresso.pw')


@pytest.fixture
def ph_code(make_code: Callable[..., Any]) -> Any:
    """Return Quantum ESPRESSO's ``ph.x``, serial."""
    return make_code('ph', _executable('ph.x'), 'quantumespresso.ph')


@pytest.fixture
def phonopy_code(make_code: Callable[..., Any]) -> Any:
    """Return the ``phonopy`` command."""
    return make_code('phonopy', _executable('phonopy'), 'phonopy.phonopy')


@pytest.fixture
def silicon(aiida_profile: Any) -> Any:
    """Return silicon, two atoms, PBE lattice constant; unstored."""
    from aiida.orm import StructureData
    from ase.build import bulk

    return StructureData(ase=bulk('Si', a=5.47))


@pytest.fixture
def starter(stored_once: Callable[..., Any]) -> Any:
    """Return the starter potential, stored; all tests share the node."""
    import json

    from aiida_equitrain.data.potential import PotentialData
    from aiida_equitrain.setup.shipped import starter_files

    model, card = starter_files()
    facts: dict[str, Any] = {'card': json.loads(card.read_text()), 'origin': 'shipped with aiida-equitrain'}
    return stored_once('starter', lambda: (PotentialData(model, **facts),))[0]


@pytest.fixture
def pseudo_family(aiida_profile: Any) -> Any:
    """Return the family of the shipped pseudopotentials; its label is ``pseudo_family.label``."""
    from aiida_equitrain.setup.shipped import install_shipped_family

    return install_shipped_family()


@pytest.fixture(scope='session')
def tiny_frames() -> Any:
    """Return six frames of eight silicon atoms with real PBE labels: five ``train``, one ``valid``."""
    from aiida_equitrain.science.frames import Frames

    return Frames.load(FIXTURES / 'si8_pbe.npz')


@pytest.fixture
def large_frames(tiny_frames: Any) -> Callable[[int], Any]:
    """Return a function: :func:`tiny_frames` in cells so many times larger along each edge, with labels to match."""
    from aiida_equitrain.science.frames import Frames

    def function(times: int) -> Any:
        result = []
        for frame in tiny_frames:
            atoms = frame.to_atoms(keys=True) * (times, times, times)
            atoms.info['REF_energy'] = frame.energy * times**3
            result.append(atoms)
        return Frames.from_atoms(result)

    return function


@pytest.fixture
def tiny_dataset(stored_once: Callable[..., Any], tiny_frames: Any) -> Any:
    """Return :func:`tiny_frames` as a stored ``DatasetData``; all tests share the node."""
    from aiida_equitrain.data.dataset import DatasetData

    facts = {'functional': 'PBE', 'code': 'Quantum ESPRESSO 6.7'}
    return stored_once('tiny dataset', lambda: (DatasetData(tiny_frames, **facts),))[0]


@pytest.fixture(scope='session')
def rattled_salt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of ten rattled supercells of NaCl: ``phonopy_disp.yaml``, ``FORCE_SETS``, ``BORN``."""
    from aiida_equitrain.science.archives import extract_files

    folder = tmp_path_factory.mktemp('rattled')
    with tarfile.open(FIXTURES / 'rattled' / 'NaCl-rd.tar.xz') as archive:
        extract_files(archive, folder)
    return folder / 'NaCl-rd'


@pytest.fixture(scope='session')
def salt(rattled_salt: Path) -> Any:
    """Return the ten rattled frames of NaCl, and the phonons that all of them give."""
    from aiida_equitrain.science.displaced_frames import load_labelled

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return load_labelled(rattled_salt)


@pytest.fixture(scope='session')
def load_silicon_phonons() -> Any:
    """Return a function that reads silicon with the DFT forces of the harmonic part of phono3py's example."""

    def load() -> Any:
        import phono3py
        from phonopy import Phonopy

        file = FIXTURES / 'phono3py' / 'phono3py_params_Si-111-222.yaml.xz'
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            source = phono3py.load(file, produce_fc=False, log_level=0)
            phonon = Phonopy(source.unitcell, source.phonon_supercell_matrix, primitive_matrix='auto', log_level=0)
        phonon.dataset = source.phonon_dataset
        return phonon

    return load


@pytest.fixture
def silicon_phonons(stored_once: Any, load_silicon_phonons: Any) -> tuple[Any, Any]:
    """Return silicon as DFT relaxed it, and its phonons, of phono3py's example; all tests share the nodes."""
    from aiida_equitrain.launch.data_import import store_phonons

    def make() -> tuple[Any, ...]:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return store_phonons(load_silicon_phonons(), 'Si')

    structure, phonons = stored_once('silicon phonons', make)
    return structure, phonons
