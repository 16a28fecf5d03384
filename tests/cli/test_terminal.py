"""Nothing that a node or a file says steers the terminal: the commands write in one place."""

from __future__ import annotations

import ast
import io
import logging
from pathlib import Path
from typing import Any

import click
import pytest
from aiida import orm
from click.testing import CliRunner
from rich.console import Console

import aiida_equitrain.cli
from aiida_equitrain.cli.follow import Display, table
from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.cli.terminal import PrintableFormatter, echo
from aiida_equitrain.launch.progress import Progress, Stage

#: Clears the screen, sets the title of the window, turns round what follows, feigns a line.
HOSTILE = 'x\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\u2066\u200b\r\nok  all is well'
CONTROLS = set('\x1b\x07\x9b\r\u202e\u2066\u200b')

#: `download` shows numbers only, over and over in one line.
WRITERS = ('terminal.py', 'download.py')


@pytest.mark.parametrize(
    'path', sorted(Path(aiida_equitrain.cli.__file__).parent.glob('*.py')), ids=lambda path: path.stem
)
def test_one_place(path: Path) -> None:
    """No command writes but through `echo`."""
    if path.name in WRITERS:
        return
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert {'print', 'click.echo', 'click.secho', 'click.style', 'sys.stdout.write', 'sys.stderr.write'} & set(
        calls
    ) == set()


def test_echo(capsys: pytest.CaptureFixture[str]) -> None:
    """A line is a line, whatever is in it; a table keeps its lines."""
    echo(HOSTILE)
    echo(HOSTILE, err=True, fg='red', bold=True)
    echo('a\nb\x1b', lines=True)
    captured = capsys.readouterr()
    assert captured.out == f'{captured.err}a\nb\\u001b\n'
    assert len(captured.err.splitlines()) == 1
    assert not CONTROLS & set(captured.out + captured.err)


def test_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence that a command ends with is one line, whatever it quotes."""
    raised = {'error': click.ClickException(HOSTILE), 'usage': click.BadParameter(HOSTILE, param_hint='x')}

    @click.command()
    @click.argument('kind')
    def command(kind: str) -> None:
        raise raised[kind]

    monkeypatch.setattr(type(cmd_root), 'get_command', lambda *_: command)
    for kind in raised:
        result = CliRunner().invoke(cmd_root, ['command', kind], color=True)
        assert result.exit_code
        assert 'all is well' in result.output.splitlines()[-1]
        assert not CONTROLS & set(result.output)


def test_table() -> None:
    """What a job and its node say is no markup of the live table."""
    node = orm.WorkChainNode()
    node.set_process_label(f'[link=file:///etc/passwd]{HOSTILE}')
    stages = [Stage(f'[bold]{HOSTILE}', 'running', 0, 1, 0, 1.0, note='[red]note[/red] \x1b[2J')]
    stream = io.StringIO()
    Console(file=stream, width=300, force_terminal=True).print(table(node, Progress('running', 1.0, stages)))
    shown = stream.getvalue()
    assert all(text in shown for text in ('[red]note[/red] \\u001b[2J', '[bold]x', '[link=file:///etc/passwd]'))
    assert '\x1b[2J' not in shown
    assert not (CONTROLS - {'\x1b'}) & set(shown)


def test_no_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing ends for long, lines tell what goes on, less and less often."""
    notes = iter(range(100))

    class Reader:
        def read(self) -> Progress:
            seconds = 20.0 * next(notes)
            return Progress(
                'running', seconds, [Stage('label', 'running', 0, 1, 0, seconds, f'SCF iteration {seconds:g}')]
            )

    display = Display(live=False)
    display.reader = Reader()  # type: ignore[assignment]
    for _ in range(60):
        display(orm.WorkChainNode())
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == '[1 min 20 s] label: running, 0/1 jobs, 1 min 20 s · SCF iteration 80'
    # Every 80 s up to 720 s, then every 100 and 120 s.
    assert len(lines) == 14


def test_messages_of_aiida() -> None:
    """What the engine reports on the console, which quotes exit messages, is printable too."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter(logging.Formatter('%(levelname)s %(message)s')))
    logger = logging.Logger('own')
    logger.addHandler(handler)
    logger.warning('failed: %s', HOSTILE)
    assert stream.getvalue().startswith('WARNING failed: x\\u001b[2J')
    assert not CONTROLS & set(stream.getvalue())


@pytest.fixture
def labelled(aiida_profile_clean: Any, tiny_dataset: Any) -> Any:
    """Return a dataset whose every word is hostile."""
    tiny_dataset.label = HOSTILE
    for name in ('functional', 'code', 'licence'):
        # As in an archive, of which nobody has checked anything.
        tiny_dataset.backend_entity.set_attribute(name, HOSTILE)
    return tiny_dataset


@pytest.mark.real
@pytest.mark.parametrize('arguments', ['list datasets', 'list datasets --csv', 'list datasets --json', 'show PK'])
def test_commands(labelled: Any, arguments: str) -> None:
    """Labels and attributes of nodes are shown as text."""
    result = CliRunner().invoke(cmd_root, arguments.replace('PK', str(labelled.pk)).split(), color=True)
    assert result.exit_code == 0, result.output
    assert '\\u001b[2J' in result.output
    assert not CONTROLS & set(result.output)
    assert not any(line.startswith('ok') for line in result.output.splitlines())
