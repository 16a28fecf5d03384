"""Help, wrong names of commands, and what the Tab key offers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from aiida_equitrain.cli import completion
from aiida_equitrain.cli.root import COMMANDS, cmd_root


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield ' '.join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = {'': cmd_root, **dict(commands(cmd_root))}


@pytest.mark.parametrize('words', ALL)
def test_examples(words: str) -> None:
    """The help of every command ends with examples of itself, whose options exist."""
    result = CliRunner().invoke(cmd_root, [*words.split(), '--help'])
    assert result.exit_code == 0
    lines = re.findall(r'^    aiida-equitrain (.*)$', result.output.split('Examples:')[1], re.MULTILINE)
    assert any(line.startswith(words) for line in lines)
    for line in lines:
        name = next(name for name in sorted(ALL, key=len, reverse=True) if line.startswith(name))
        known = {option for parameter in ALL[name].params for option in parameter.opts + parameter.secondary_opts}
        assert {word for word in shlex.split(line) if word.startswith('-')} <= known, line


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        ('lanch', 'there is no command `lanch`: did you mean `launch`?'),
        ('launch phonon Si.cif', 'there is no command `phonon`: did you mean `phonons`?'),
        ('follow 1420', 'there is no command `follow`: did you mean `launch follow`?'),
        ('list job', 'there is no command `job`: did you mean `jobs`?'),
        ('potential qqq', 'there is no command `qqq`: known are `import`'),
    ],
)
def test_nearest(words: str, sentence: str) -> None:
    result = CliRunner().invoke(cmd_root, words.split())
    assert result.exit_code == 2
    assert sentence in result.output


def test_figure_of_what_is_submitted(tmp_path: Any, aiida_profile: Any) -> None:
    """What would never be written is refused before anything is built."""
    for option, words in (('--figure', 'launch qha x.cif'), ('--figure', 'launch instability x.cif'),
                          ('--report', 'launch phonons x.cif'), ('--report', 'launch kappa x.cif')):  # fmt: skip
        place = tmp_path / ('a.png' if option == '--figure' else 'a')
        result = CliRunner().invoke(cmd_root, [*words.split(), option, str(place), '--submit'])
        assert result.exit_code == 2
        assert f'`{option}` is' in result.output
        assert 'leave one out' in result.output


def test_completion(starter: Any, python_code: Any, tiny_dataset: Any) -> None:
    """Codes, potentials and datasets of the profile, with what they are."""
    context, parameter = click.Context(cmd_root), click.Option(['--x'])
    found = {item.value: item.help for item in completion.CODES(context, parameter, 'python')}
    assert python_code.full_label in found
    found = {item.value: item.help for item in completion.POTENTIALS(context, parameter, str(starter.pk))}
    assert found[str(starter.pk)].endswith('(mace)')
    found = {item.value: item.help for item in completion.DATASETS(context, parameter, str(tiny_dataset.pk))}
    assert found[str(tiny_dataset.pk)] == '6 frames of Si'
    assert str(tiny_dataset.pk) in {item.value for item in completion.NODES(context, parameter, str(tiny_dataset.pk))}
    assert completion.CODES(context, parameter, 'nosuch') == []
    with pytest.MonkeyPatch.context() as patch:  # what begins as was typed is not lost behind newer ones
        patch.setattr(completion, 'OFFERED', 1)
        tiny_dataset.clone().store()
        assert [item.value for item in completion.DATASETS(context, parameter, str(tiny_dataset.pk))]
        assert len(completion.NODES(context, parameter, '')) == 1


def test_no_profile_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no profile can be loaded nothing is offered, and nothing is said."""

    def fail(_: Any) -> None:
        raise click.ClickException('no profile')

    monkeypatch.setattr('aiida_equitrain.cli.profile.load_profile', fail)
    assert completion.CODES(click.Context(cmd_root), click.Option(['--x']), '') == []


def test_every_command_is_in_the_list() -> None:
    assert {words.split()[0] for words in ALL if words} == set(COMMANDS)
