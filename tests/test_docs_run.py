"""Each command of the documentation is run here, page by page, or stands in the script or test that a table names.

A job of minutes is built, and its inputs are checked as the engine does; ``scripts/make_pictures.sh`` and
``examples/study.sh`` launch each kind. Scripts of hours only take their arguments. Blocks of Python are executed,
blocks of YAML are inputs of the main job.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.setup.setup import Options, run_setup

ROOT = Path(__file__).parents[1]
FOLDERS = ('docs/**/*.md', '*.md', 'examples/*.md', 'starter/*.md', 'benchmarks/*.md')
PAGES = sorted({page for pattern in FOLDERS for page in ROOT.glob(pattern)})

PROGRAMS = r'(?:aiida-equitrain|verdi|python|bash|pip|pytest|pre-commit|source)'
STEP = re.compile(rf'^```(\w*)\n(.*?)^```|^    ({PROGRAMS} [^\n]*)$|`({PROGRAMS} [^`]+)`', re.DOTALL | re.MULTILINE)
#: A script of ours, which is not run: it has to take the arguments that the page gives it.
SCRIPT = re.compile(r'(?:bash|python) ((?:benchmarks|examples|scripts|starter)/\S+)')

#: What is not run here, and the file that runs it: the words of the command are looked for there.
ELSEWHERE = {
    'aiida-equitrain setup': 'scripts/quickstart.sh',
    'aiida-equitrain setup --offline': 'tests/cli/test_setup.py',
    'aiida-equitrain setup --check': 'tests/cli/test_setup.py',
    'aiida-equitrain setup --with sevennet': 'tests/tools/test_sevennet.py',
    'aiida-equitrain setup --with nequix': 'tests/tools/test_nequix.py',
    'aiida-equitrain potential import medium-mpa-0': 'tests/tools/test_foundations.py',
    'aiida-equitrain potential forget medium-mpa-0': 'tests/tools/test_foundations.py',
    'aiida-equitrain data import Si-111-222-rd.tar.xz --functional PBE --n-frames 10 --n-test 10 --label Si '
    '--group crystals': 'examples/study.sh',
    'aiida-equitrain data import NaCl-rd --functional PBE --n-frames 10 --n-test 10 --label NaCl '
    '--group crystals': 'examples/study.sh',
    'aiida-equitrain data import AlN-rd_phonopy_params_mp-661.yaml.xz --functional PBEsol --n-frames 10 --n-test 10 '
    '--label AlN --group crystals': 'examples/study.sh',
    'aiida-equitrain launch study crystals --strategies l2-tsp,lora,transfer --sizes 4,8 --protocol fast '
    '--overrides examples/study.yaml --report report': 'examples/study.sh',
    'aiida-equitrain publish PK -o study.aiida': 'examples/study.sh',
    'aiida-equitrain reproduce study.aiida': 'examples/study.sh',
    'aiida-equitrain reproduce study.aiida --rerun finetune,phonons': 'examples/study.sh',
    'verdi daemon start': 'scripts/quickstart.sh',
}
#: The same for programs of others: the file, and what stands in it.
TOOLS = {
    'source .venv/bin/activate': ('scripts/_environment.sh', '$VENV/bin/activate'),
    'pip install "aiida-equitrain[train]"': ('scripts/_environment.sh', '$ROOT[train]'),
    "pip install 'aiida-equitrain[kappa]'": ('pyproject.toml', 'kappa = ['),
    'aiida-equitrain setup --check --computer cluster': (
        'scripts/cluster/scenarios.py', "'aiida-equitrain', 'setup', '--check', '--computer'"),
    'pre-commit install': ('.pre-commit-config.yaml', 'ruff'),
    "pytest -n 2 -m 'not real'": ('pyproject.toml', "'real: runs"),
    'pytest tests/workflows': ('scripts/test.sh', 'python -m pytest'),
    '(cd starter && ../.venv-nequix/bin/python label.py nequix-oam-1-pft.nqx /tmp/labels)': (
        'starter/label.py', "help='nequix-oam-1-pft.nqx'"),
    '(cd starter && ../.venv-nequix/bin/python properties.py nequix-oam-1-pft.nqx /tmp/labels)': (
        'starter/properties.py', 'python properties.py nequix-oam-1-pft.nqx LABELS_FOLDER'),
}  # fmt: skip
#: Its block of YAML is a file that its commands name.
CLUSTER = ROOT / 'docs' / 'howto' / 'cluster.md'
#: Blocks of Python of a page that a test with the data for it executes.
PYTHON_ELSEWHERE = {'docs/tutorial/study.md': 'tests/workflows/test_publish.py'}

#: The nodes that stand for the ``PK`` of a command, in their order.
NODES = {
    'data import': [],
    'launch finetune': ['dataset'],
    'launch active-learning': ['structure', 'dataset', 'phonons'],
    'launch material': ['dataset', 'phonons'],
    'launch phonons': ['labels'],
    'launch follow': ['job'],
    'process report': ['job'],
    'report': ['job'],
    'export': ['phonons'],
    'show': ['potential'],
    'potential show': ['potential'],
    'potential export': ['potential'],
    'examples/finetune.py': ['dataset'],
}


class BuiltError(Exception):
    """Raised in place of running a job whose inputs were accepted."""


def steps(page: Path) -> list[tuple[str, str]]:
    """Return what a page tells to do, from top to bottom: kind (``bash``, ``python``, ``yaml``) and text.

    Commands stand in blocks, in indented lines, or between backticks; of the latter those that take arguments.
    """
    found = []
    for language, block, indented, inline in STEP.findall(page.read_text(encoding='utf-8')):
        if language in ('python', 'yaml'):
            found.append((language, block))
            continue
        lines = [indented or inline.replace('\n', ' ')]
        if block:
            lines = block.replace('\\\n', '').splitlines() if re.match(rf'\(?{PROGRAMS} |\(cd ', block) else []
        elif inline and not re.search(r' -|[A-Z/]', inline):
            continue
        found += [('bash', plain(line)) for line in lines]
    return found


def plain(line: str) -> str:
    """Return a command without its comment, and without the name of the profile: that of the reader is another."""
    return ' '.join(re.sub(r'\s+#.*', '', line).replace(' -p equitrain', '').split())


def commands() -> set[str]:
    return {text for page in PAGES for kind, text in steps(page) if kind == 'bash'}


@pytest.fixture(scope='module')
def reader(
    aiida_profile: Any, load_silicon_phonons: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Return the PKs of one who has a set-up profile, labelled frames, DFT phonons, and a potential made of the frames.

    The working folder has the files that the commands name.
    """
    if not shutil.which('pw.x') and os.environ.get('CI', '').lower() not in ('1', 'true'):
        pytest.skip('`pw.x` is not on the PATH: the pages need it')
    aiida_profile.reset_storage()
    folder = tmp_path_factory.mktemp('reader')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert {item.state for item in run_setup(Options(offline=True))} == {'created'}
        nodes = dict(zip(('structure', 'phonons'), write_files(folder, load_silicon_phonons()), strict=True))
        run_here('aiida-equitrain data import frames.xyz --functional PBE --label frames')
        nodes['dataset'] = newest('data', 'equitrain.dataset', {'label': 'frames'})
        nodes['labels'] = labels_for_phonons(folder / 'Si.cif')
        run_here(f'aiida-equitrain launch finetune {nodes["dataset"].pk} --protocol fast --overrides two.yaml')
        nodes['job'] = newest('workflows', 'equitrain.finetune')
        nodes['potential'] = nodes['job'].outputs.potential
        yield {name: str(node.pk) for name, node in nodes.items()}
    aiida_profile.reset_storage()


@pytest.fixture
def sevennet(reader: dict[str, str], sevennet_file: Any) -> None:
    """Store what `setup --with sevennet` makes, with a potential that nothing can be computed with."""
    from aiida import orm

    from aiida_equitrain.data.potential import PotentialData

    if orm.QueryBuilder().append(PotentialData, filters={'label': 'sevennet-0'}).count() == 0:
        potential = PotentialData(sevennet_file())
        potential.label = 'sevennet-0'
        potential.store()
        computer = orm.load_computer('localhost')
        orm.InstalledCode(label='python-sevennet', computer=computer, filepath_executable=sys.executable).store()


def write_files(folder: Path, phonon: Any) -> tuple[Any, Any]:
    """Write what a reader has: crystals, labelled frames, phonopy files, a model; store silicon and its DFT phonons."""
    import ase.io
    from ase.build import bulk

    from aiida_equitrain.launch.data_import import store_phonons
    from aiida_equitrain.science.frames import Frames
    from aiida_equitrain.setup.shipped import starter_files, structure_file

    (folder / 'FOLDER').mkdir()
    for name in ('FILE.cif', 'Si.cif', 'FOLDER/Si.cif'):
        shutil.copy(structure_file('Si'), folder / name)
    for name, length in (('GeTe', 6.0), ('NaCl', 5.69)):
        bulk(name, 'rocksalt', a=length).write(folder / f'{name}.cif')
    shutil.copy(starter_files()[0], folder / 'my.model')
    (folder / 'examples').symlink_to(ROOT / 'examples')
    (folder / 'two.yaml').write_text('train: {hyperparameters: {epochs: 2}}')
    (folder / 'cluster.yaml').write_text(next(text for kind, text in steps(CLUSTER) if kind == 'yaml'))
    frames = Frames.load(ROOT / 'tests' / 'fixtures' / 'si8_pbe.npz')
    ase.io.write(folder / 'frames.xyz', [frame.to_atoms(keys=True) for frame in frames], format='extxyz')
    phonon.save(folder / 'A.yaml')
    phonon.forces = phonon.forces * 0.9
    phonon.save(folder / 'B.yaml')
    return store_phonons(phonon, 'Si')


def labels_for_phonons(file: Path) -> Any:
    """Store frames of a crystal in a file as it is, a little displaced, labelled by the starter."""
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    from aiida_equitrain.data.dataset import DatasetData

    calculator, frames = newest('data', 'equitrain.potential').get_calculator(), []
    for seed in (1, 2):
        atoms = ase.io.read(file) * (2, 2, 2)
        atoms.info.clear()
        atoms.rattle(0.01, seed=seed)
        atoms.calc = calculator
        labels = {'energy': atoms.get_potential_energy(), 'forces': atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return DatasetData.from_ase(frames, functional='PBE', role='train').store()


def newest(kind: str, name: str, filters: dict[str, Any] | None = None) -> Any:
    from aiida.orm import QueryBuilder
    from aiida.plugins import DataFactory, WorkflowFactory

    cls: Any = {'data': DataFactory, 'workflows': WorkflowFactory}[kind](name)
    query = QueryBuilder().append(cls, filters=filters or {}, tag='node').order_by({'node': {'id': 'desc'}})
    return query.first(flat=True)


def run_here(line: str) -> None:
    """Run a command of ours or of AiiDA in this process, in which the profile of the reader is loaded.

    What asks is answered with Enter, or with yes.
    """
    from aiida.cmdline.commands.cmd_verdi import verdi

    program, *words = shlex.split(line)
    command, answers = (verdi, '\n' * 30) if program == 'verdi' else (cmd_root, 'y\n')
    result = CliRunner().invoke(command, words, input=answers)
    if isinstance(result.exception, BuiltError):
        return
    assert result.exit_code == 0, f'{line}\n{result.output}\n{result.exception!r}'


def run_apart(line: str, folder: Path) -> None:
    """Run a command of AiiDA that changes its configuration with one of its own."""
    environment = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'AIIDA_PATH': str(folder),
    }
    result = subprocess.run(line, shell=True, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f'{line}\n{result.stdout}\n{result.stderr}'


def fill(words: list[str], pks: dict[str, str]) -> list[str]:
    """Return a command with what a reader puts in the place of ``PK`` and ``FILES``."""
    key = next((' '.join(words[1:n]) for n in (3, 2) if ' '.join(words[1:n]) in NODES), '')
    names = iter(NODES.get(key, []))
    return [pks[next(names)] if word == 'PK' else word.replace('FILES', 'frames.xyz') for word in words]


def look_up(line: str) -> None:
    """See that the file of the tables has the words of a command, or what the table says stands there.

    :raises AssertionError: if it lacks one.
    """
    name, text = TOOLS[line] if line in TOOLS else (ELSEWHERE[line], None)
    content = (ROOT / name).read_text(encoding='utf-8')
    words = [word for word in shlex.split(line)[1:] if word != 'PK'] if text is None else [text]
    missing = [word for word in words if word not in content]
    assert not missing, f'`{line}`: {name} has no {missing}'


def take_arguments(script: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a script of ours read the arguments of a command, and no more; of a shell script, look its options up.

    :raises AssertionError: if it does not know one.
    """
    words = shlex.split(line)[2:]
    if script.endswith('.sh'):
        content = (ROOT / script).read_text(encoding='utf-8')
        assert [word for word in words if word.startswith('--') and word not in content] == [], line
        return

    def parse(self: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        original(self, *arguments)
        raise BuiltError

    original = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse)
    monkeypatch.setattr(sys, 'argv', [script, *words])
    monkeypatch.syspath_prepend(ROOT / Path(script).parent)
    with pytest.raises(BuiltError):
        runpy.run_path(str(ROOT / script), run_name='__main__')


def run(line: str, pks: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command, or see that a script or a test has it.

    :raises AssertionError: if it fails, or no script and no test has it.
    """
    words = shlex.split(line)
    if script := SCRIPT.match(line):
        take_arguments(script.group(1), line, monkeypatch)
    elif line in TOOLS or line in ELSEWHERE:
        look_up(line)
    elif line.startswith('aiida-equitrain setup --computer '):
        # What it checks in the end needs the computer: scripts/cluster_test.sh has one.
        monkeypatch.setattr('aiida_equitrain.setup.checks.run_checks', lambda *_: iter(()))
        run_here(f'{line} --offline')
    elif line.startswith('verdi run examples/'):
        words = fill(words[1:], pks)
        monkeypatch.setattr(sys, 'argv', words[1:])
        with pytest.raises(BuiltError):
            runpy.run_path(words[1])
    elif line.startswith(('verdi presto', 'verdi config')):
        run_apart(line, folder)
    elif words[0] in ('aiida-equitrain', 'verdi'):
        run_here(shlex.join(fill(words, pks)))
    else:
        pytest.fail(f'`{line}` stands in no test and no script')


@pytest.mark.real
@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(
    page: Path, reader: dict[str, str], sevennet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page tells to do can be done, from top to bottom."""
    for module in ('in_process', 'run'):
        monkeypatch.setattr(f'aiida_equitrain.launch.{module}.run_here', build_only)
    name = str(page.relative_to(ROOT))
    names: dict[str, Any] = {}
    for kind, text in steps(page):
        if kind == 'bash':
            run(text, reader, tmp_path, monkeypatch)
        elif kind == 'yaml':
            (tmp_path / 'block.yaml').write_text(text)
            run_here(f'aiida-equitrain launch material FILE.cif --overrides {tmp_path / "block.yaml"}')
        elif name in PYTHON_ELSEWHERE:
            assert name in (ROOT / PYTHON_ELSEWHERE[name]).read_text(encoding='utf-8')
        else:
            with suppress(BuiltError):
                exec(text, names)


def build_only(builder: Any, watch: Any = None) -> None:
    """Check the inputs of a job as the engine does first, in place of running it."""
    ports = builder.process_class.spec().inputs
    problem = ports.validate(ports.pre_process(builder._inputs(prune=True)))
    assert problem is None, problem
    raise BuiltError


def test_all_are_needed() -> None:
    """No entry of the tables outlives its command."""
    found = commands()
    assert set(ELSEWHERE) | set(TOOLS) <= found
    assert len(found) > 50


def test_each_kind_is_launched() -> None:
    """A job whose inputs are only checked here is launched by a script, with the same command."""
    script = (ROOT / 'scripts' / 'make_pictures.sh').read_text(encoding='utf-8')
    kinds = {line.split()[2] for line in commands() if line.startswith('aiida-equitrain launch ')} - {'follow'}
    assert len(kinds) > 7
    assert [kind for kind in kinds if f'\nsmall {kind} ' not in script] == []
