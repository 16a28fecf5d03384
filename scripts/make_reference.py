"""Write the reference of the documentation from the code: WorkChains, jobs, commands.

python scripts/make_reference.py [FOLDER]      default: docs/reference
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from aiida.engine.processes.ports import PortNamespace

from aiida_equitrain.cli.root import COMMANDS, cmd_root

ROOT = Path(__file__).resolve().parents[1]
PREFIX = 'equitrain.'
#: Namespaces of other packages' processes: their ports are described there.
FOREIGN = ('pw', 'ph', 'scf', 'relax', 'base_relax', 'phonopy')


def first_lines(text: str | None) -> str:
    """Return the first paragraph of a docstring in one line."""
    return ' '.join((text or '').strip().split('\n\n')[0].split())


def cell(text: str) -> str:
    """Return text that fits into a cell of a table."""
    return ' '.join(str(text).split()).replace('|', '\\|')


def types(port: Any) -> str:
    """Return the names of the types that a port takes."""
    valid = port.valid_type
    found = valid if isinstance(valid, tuple) else (valid,)
    return ', '.join(kind.__name__ for kind in found if kind is not None and kind is not type(None))


def ports(namespace: PortNamespace, parent: str = '') -> list[tuple[str, str, str, str]]:
    """Return name, types, whether it is required, and help of each port; those of other packages as a whole."""
    rows = []
    for name, port in sorted(namespace.items()):
        full = f'{parent}{name}'
        if name in ('metadata', 'monitors'):
            continue
        has_default = getattr(port, 'has_default', lambda: False)
        needed = 'yes' if port.required and not has_default() else ''
        if isinstance(port, PortNamespace):
            if port.dynamic:
                rows.append((f'{full}.*', types(port), needed, port.help or ''))
            elif name in FOREIGN or not len(port):
                rows.append((full, 'namespace', '', port.help or 'see the process of that name'))
                continue
            rows += ports(port, f'{full}.')
        else:
            rows.append((full, types(port), needed, port.help or ''))
    return rows


def describe_process(name: str, process: Any) -> str:
    """Return the section of a process."""
    spec = process.spec()
    lines = [
        f'## {name}',
        '',
        first_lines(process.__doc__),
        '',
        '| input | type | required | |',
        '| --- | --- | --- | --- |',
    ]
    lines += [f'| `{port}` | {kind} | {needed} | {cell(text)} |' for port, kind, needed, text in ports(spec.inputs)]
    lines += ['', '| output | type | |', '| --- | --- | --- |']
    lines += [f'| `{port}` | {kind} | {cell(text)} |' for port, kind, _, text in ports(spec.outputs)]
    own = sorted((code.status, label, code.message) for label, code in spec.exit_codes.items() if code.status >= 300)
    if own:
        lines += ['', '| exit code | | |', '| --- | --- | --- |']
        lines += [f'| {status} | `{label}` | {cell(message)} |' for status, label, message in own]
    return '\n'.join(lines)


def describe_command(command: click.Command, name: str, parent: click.Context | None = None) -> list[str]:
    """Return the help of a command and of those below it."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=110, max_content_width=110)
    text = [f'## {context.command_path}', '', '```', command.get_help(context), '```', '']
    if isinstance(command, click.Group):
        for key in command.list_commands(context):
            below = command.get_command(context, key)
            assert below is not None
            text += describe_command(below, key, context)
    return text


def main() -> None:
    """Write the three pages."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'docs' / 'reference'
    folder.mkdir(parents=True, exist_ok=True)
    note = 'Written by `python scripts/make_reference.py` from the code.'
    for group, title, file in (
        ('aiida.workflows', 'WorkChains', 'workchains.md'), ('aiida.calculations', 'Jobs', 'jobs.md'),
    ):  # fmt: skip
        found = {item.name: item for item in entry_points(group=group) if item.name.startswith(PREFIX)}
        sections = [describe_process(name, found[name].load()) for name in sorted(found)]
        (folder / file).write_text('\n\n'.join([f'# {title}', note, *sections]) + '\n', encoding='utf-8')
    root = click.Context(cmd_root, info_name='aiida-equitrain')
    text = ['# Commands', '', note, '']
    for name in COMMANDS:
        command = cmd_root.get_command(root, name)
        assert command is not None
        text += describe_command(command, name, root)
    (folder / 'commands.md').write_text('\n'.join(text).rstrip() + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
