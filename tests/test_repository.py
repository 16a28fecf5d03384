"""What lies around the package agrees with it: workflows, the entry for the registry, the check of a tag."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import aiida_equitrain

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))


def workflow(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding='utf-8'))
    return content


def runs(path: Path) -> list[str]:
    """Return the commands of a workflow."""
    return [step['run'] for job in workflow(path)['jobs'].values() for step in job['steps'] if 'run' in step]


def test_versions_of_python() -> None:
    """The versions that the metadata claim are those that are tested, from the oldest that is allowed."""
    claimed = [name.rpartition(' ')[2] for name in PROJECT['classifiers'] if re.search(r':: 3\.\d+$', name)]
    tested = workflow(ROOT / '.github' / 'workflows' / 'tests.yml')['jobs']['fast']['strategy']['matrix']['python']
    assert claimed == tested
    assert PROJECT['requires-python'] == f'>={claimed[0]}'


def test_extras() -> None:
    """Every extra that a workflow or the configuration of Read the Docs installs is there."""
    asked = {name for path in WORKFLOWS for text in runs(path) for found in re.findall(r"'\.\[([\w,-]+)\]'", text)
             for name in found.split(',')}  # fmt: skip
    install = workflow(ROOT / '.readthedocs.yaml')['python']['install']
    asked |= {name for step in install for name in step['extra_requirements']}
    assert asked
    assert asked | {'train', 'kappa', 'docs', 'tests', 'pre-commit', 'dev'} <= set(PROJECT['optional-dependencies'])


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.name)
def test_workflow(path: Path) -> None:
    """Each script that a workflow runs is there, and no job may hang for hours or write to the repository."""
    content = workflow(path)
    assert content['permissions'] == {'contents': 'read'}
    scripts = [name for text in runs(path) for name in re.findall(r'bash (\S+)', text)]
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
    assert all('timeout-minutes' in job for name, job in content['jobs'].items() if name != 'publish')


def test_torch() -> None:
    """All install the torch that the scripts install."""
    scripts = (ROOT / 'scripts' / '_environment.sh').read_text(encoding='utf-8')
    version = re.search(r'^TORCH_VERSION=(\S+)$', scripts, re.MULTILINE)
    assert version is not None
    for path in (*WORKFLOWS, ROOT / '.readthedocs.yaml'):
        found = re.findall(r'torch==([\d.]+)', path.read_text(encoding='utf-8'))
        assert set(found) <= {version.group(1)}, path.name


def test_registry() -> None:
    """The entry for the registry has the names and addresses of the metadata."""
    page = (ROOT / 'docs' / 'registry.md').read_text(encoding='utf-8')
    (block,) = re.findall(r'^```text\n(.*?)^```', page, re.MULTILINE | re.DOTALL)
    ((name, entry),) = yaml.safe_load(block).items()
    urls = PROJECT['urls']
    assert name == entry['pip_url'] == PROJECT['name']
    assert (entry['code_home'], entry['documentation_url']) == (urls['Source'], urls['Documentation'])
    raw = urls['Source'].replace('github.com', 'raw.githubusercontent.com') + '/main'
    assert entry['plugin_info'] == f'{raw}/pyproject.toml'
    assert entry['version_file'] == f'{raw}/aiida_equitrain/__init__.py'
    groups = PROJECT['entry-points']
    points = [point for group in groups if group != 'aiida.cmdline.data' for point in groups[group]]
    assert all(point.startswith(f'{entry["entry_point_prefix"]}.') for point in points)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what a tag is compared with, whose changelog has a chapter of the version."""
    for name in ('scripts/check_tag.sh', 'aiida_equitrain/__init__.py', 'CITATION.cff'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / 'CHANGELOG.md').write_text(f'# Changelog\n\n## {aiida_equitrain.__version__}, today\n')
    return tmp_path


def check(checkout: Path, tag: str) -> subprocess.CompletedProcess[str]:
    command = ['bash', str(checkout / 'scripts' / 'check_tag.sh'), tag]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tag(checkout: Path) -> None:
    """The tag of the version is taken."""
    result = check(checkout, f'v{aiida_equitrain.__version__}')
    assert (result.returncode, result.stderr) == (0, '')


@pytest.mark.parametrize('tag', ['', 'v99.0.0', aiida_equitrain.__version__])
def test_other_tag(checkout: Path, tag: str) -> None:
    """Another tag is refused in a sentence."""
    result = check(checkout, tag)
    assert result.returncode == 1
    assert f'"v{aiida_equitrain.__version__}"' in result.stderr


def test_version_without_chapter(checkout: Path) -> None:
    """A version that the changelog does not have is not released."""
    (checkout / 'CHANGELOG.md').write_text('# Changelog\n\n## Unreleased\n')
    result = check(checkout, f'v{aiida_equitrain.__version__}')
    assert result.returncode == 1
    assert 'CHANGELOG.md has no chapter' in result.stderr
