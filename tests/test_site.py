"""The site is built as it is published, and says what the reference has to say."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from aiida.plugins import CalculationFactory, WorkflowFactory
from aiida.plugins.entry_point import get_entry_point_names

from aiida_equitrain.cli.root import cmd_root

ROOT = Path(__file__).parents[1]
PROCESSES = [
    (folder, name)
    for folder, group in (('workchains', 'aiida.workflows'), ('jobs', 'aiida.calculations'))
    for name in get_entry_point_names(group)
    if name.startswith('equitrain.')
]
pytestmark = pytest.mark.real


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a warning is an error, a reference that leads nowhere is a warning."""
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'sphinx', '-b', 'html', '-W', '--keep-going', '-q', '-d', str(folder / 'cache')]
    result = subprocess.run(
        [*command, str(ROOT / 'docs'), str(folder / 'html')], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / 'html'


def text_of(page: Path) -> str:
    """Return the words of a page."""
    return html.unescape(re.sub(r'<[^>]+>', '', page.read_text(encoding='utf-8')))


@pytest.mark.parametrize(('folder', 'name'), PROCESSES, ids=lambda value: str(value))
def test_process(site: Path, folder: str, name: str) -> None:
    """The page of a process names its inputs, outputs, exit codes, the files of its outputs, and its builder."""
    factory: Any = WorkflowFactory if folder == 'workchains' else CalculationFactory
    process = factory(name)
    text = text_of(site / 'reference' / folder / f'{name}.html')
    spec = process.spec()
    for port in {*spec.inputs, *spec.outputs}:
        assert re.search(rf'\b{port}\b', text), port
    for label, code in spec.exit_codes.items():
        assert code.status < 200 or f'{code.status}, {label}' in text, label
    for output in getattr(process, 'OUTPUTS', {}).values():
        assert f'from the file {output.file}' in text
    assert ('get_builder_from_protocol(' in text) is hasattr(process, 'get_builder_from_protocol')


def test_commands(site: Path) -> None:
    """The page of the commands has every command with its options."""
    text = text_of(site / 'reference' / 'commands.html')

    def look(command: click.Command, context: click.Context) -> int:
        assert context.command_path in text
        for option in command.params:
            assert option.opts[-1] in text or option.make_metavar(context) in text, option
        below = command.list_commands(context) if isinstance(command, click.Group) else []
        found = [(name, command.get_command(context, name)) for name in below]  # type: ignore[attr-defined]
        return 1 + sum(look(each, click.Context(each, info_name=name, parent=context)) for name, each in found)

    assert look(cmd_root, click.Context(cmd_root, info_name='aiida-equitrain')) > 20


def test_pictures(site: Path) -> None:
    """Each picture of the front page has the command that makes it."""
    cards = re.findall(r'<img.*?</div>\s*</div>', (site / 'index.html').read_text(encoding='utf-8'), re.DOTALL)
    assert len(cards) > 5
    assert [card for card in cards if not re.search(r'<code.*?(aiida-equitrain|bash|python)', card, re.DOTALL)] == []


def test_links_out_of_the_site(site: Path) -> None:
    """What lies in the repository beside the pages is linked to there, or is a page itself."""
    front = (site / 'index.html').read_text(encoding='utf-8')
    assert re.search(r'href="https://[^"]+/blob/main/benchmarks/README.md"', front)
    assert 'href="topics/starter.html"' in front
    assert 'What it is not good for' in text_of(site / 'topics' / 'starter.html')


@pytest.mark.thorough
def test_notebook(tmp_path: Path) -> None:
    """The notebook runs from top to bottom where the site is published, and ends with figures and tables."""
    command = [sys.executable, '-m', 'sphinx', '-b', 'html', '-W', '-q', str(ROOT / 'docs'), str(tmp_path)]
    result = subprocess.run(
        command, env={**os.environ, 'EXECUTE_NOTEBOOKS': '1'}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    page = tmp_path / 'tutorial' / 'phonons.html'
    text = text_of(page)
    assert 'dynamically stable: True' in text
    assert re.search(r'PhononsWorkChain \d+ is done', text)
    # Bands with the density of states, and the heat capacity.
    assert len(re.findall(r'<img [^>]*src="\.\./_images/\w+\.png"', page.read_text(encoding='utf-8'))) == 2
    assert len(re.findall('<table', page.read_text(encoding='utf-8'))) == 2
