"""Commands in the documentation exist, and links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from aiida_equitrain.cli.root import cmd_root

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob('docs/**/*.md'),
        *ROOT.glob('*.md'),
        *(page for folder in ('examples', 'starter', 'benchmarks') for page in ROOT.glob(f'{folder}/*.md')),
    ]
)
BLOCK = re.compile(r'```(?:bash|sh)?\n(.*?)```', re.DOTALL)
#: Stand for what a reader puts there; each is a value of the kind that the option takes.
PLACES = {'PK': '1', 'FILES': 'pyproject.toml', 'FILE': 'x', 'DIR': 'dir', 'UUID': '1'}


def commands() -> list[tuple[str, str]]:
    """Return page and text of every command line of ours in a block of code or between backticks."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
        lines += re.findall(r'`(aiida-equitrain [a-z][^`\n]*)`', text)
        for line in lines:
            line = line.strip().partition('   #')[0]
            if line.startswith('aiida-equitrain ') and '...' not in line and '|' not in line and '[' not in line:
                found.append((str(page.relative_to(ROOT)), line))
    return sorted(set(found))


def check(words: list[str]) -> None:
    """Let click take a command line apart, without running anything.

    :raises click.UsageError: if an option or a command does not exist, or a value is of another kind.
    """
    context: click.Context = cmd_root.make_context('aiida-equitrain', words, resilient_parsing=False)
    command: click.Command = cmd_root
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args] if hasattr(context, '_protected_args') else context.args
        if not rest:
            return
        name, found, rest = command.resolve_command(context, list(rest))
        assert found is not None, name
        if isinstance(found, click.Group) and not rest:
            return
        context, command = found.make_context(name, rest, parent=context), found


@pytest.mark.parametrize(('page', 'line'), commands(), ids=lambda value: str(value)[:60])
def test_command(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command and its options exist, and take such values."""
    words = [PLACES.get(word, word) for word in shlex.split(line)[1:]]
    monkeypatch.chdir(tmp_path)
    for word in words:
        # Files that a reader has.
        if re.search(r'\.(aiida|cif|ya?ml|xz|xyz|model|json)$', word) and '/' not in word:
            (tmp_path / word).touch()
        elif word.startswith('examples/'):
            (tmp_path / word).parent.mkdir(exist_ok=True)
            (tmp_path / word).touch()
    try:
        check(words)
    except click.MissingParameter as error:
        # A sentence may name a command without its arguments; a block is copied.
        named = error.ctx is not None and line == error.ctx.command_path
        if not named or f'`{line}`' not in (ROOT / page).read_text(encoding='utf-8'):
            raise
    except click.exceptions.Exit:
        return


def test_there_are_commands() -> None:
    assert len(commands()) > 25


def test_links() -> None:
    """Every relative link of a page leads to a file."""
    for page in PAGES:
        for target in re.findall(r'\]\(([^)#\s]+)', page.read_text(encoding='utf-8')):
            if not target.startswith(('http', 'mailto')):
                assert (page.parent / target).exists(), f'{page.relative_to(ROOT)}: {target}'


def test_index() -> None:
    """Every page is reached from the index."""
    index = (ROOT / 'docs' / 'index.md').read_text(encoding='utf-8')
    for page in ROOT.glob('docs/**/*.md'):
        name = str(page.relative_to(ROOT / 'docs'))
        assert name == 'index.md' or name in index, name
