"""A page of the reference for each WorkChain and job, made from its specification while the site is built.

``aiida.sphinxext`` writes ports and outline. Here it also says the exit codes, the file behind each output of a job,
and for a namespace whose inputs are those of another process, that process, in the place of its ports once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from aiida.engine import Process
from aiida.engine.processes.ports import PortNamespace
from aiida.sphinxext.process import AiidaProcessDirective
from docutils import nodes
from sphinx.application import Sphinx

PACKAGE = 'aiida_equitrain'
PREFIX = 'equitrain.'
#: Folder of the pages below ``reference``, by group of entry points.
FOLDERS = {'aiida.workflows': 'workchains', 'aiida.calculations': 'jobs'}
PAGE = """{name}
{line}

.. autoclass:: {module}.{cls}()

.. equitrain-process:: {cls}
   :module: {module}
"""
BUILDER = """
From Python
-----------

.. automethod:: {module}.{cls}.get_builder_from_protocol
"""
#: Between the keys of a port ``settings``, whose help names each with its default.
NEXT_KEY = re.compile(r'; (?=`\w+` \()')


def processes() -> Iterator[tuple[str, str, Any]]:
    """Yield group, entry point and class of every process."""
    for group in FOLDERS:
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            if point.name.startswith(PREFIX):
                yield group, point.name, point.load()


def write_pages(app: Sphinx) -> None:
    """Write the pages, which git ignores; one that says the same is left alone, and Sphinx does not read it again."""
    wanted = set()
    for group, name, process in processes():
        values = {'name': name, 'line': '=' * len(name), 'module': process.__module__, 'cls': process.__name__}
        text = (PAGE + (BUILDER if hasattr(process, 'get_builder_from_protocol') else '')).format(**values)
        path = Path(app.srcdir) / 'reference' / FOLDERS[group] / f'{name}.rst'
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')
        wanted.add(path)
    for folder in FOLDERS.values():
        for path in set((Path(app.srcdir) / 'reference' / folder).glob('*.rst')) - wanted:
            path.unlink()


def foreign_base(process: type[Process]) -> type[Process]:
    """Return the class of AiiDA that a process is made of: what it has is told in AiiDA's documentation."""
    return next(cls for cls in process.__mro__ if issubclass(cls, Process) and not cls.__module__.startswith(PACKAGE))


class EquitrainProcessDirective(AiidaProcessDirective):
    """Inputs, outputs, outline and exit codes of a process."""

    def build_node_tree(self) -> list[nodes.Node]:
        """Return all but the signature and the docstring, which are autodoc's."""
        self.names = {process: name for _, name, process in processes()}
        self.base = foreign_base(self.process)
        content = nodes.container()
        spec = self.process_spec
        for title, ports, inherited, exposed in (
            ('Inputs', spec.inputs, self.base.spec().inputs, spec._exposed_inputs),
            ('Outputs', spec.outputs, self.base.spec().outputs, spec._exposed_outputs),
        ):
            section = nodes.section(ids=[title.lower()], names=[title.lower()])
            section += nodes.title(text=title)
            section += self.build_ports(ports, exposed, inherited) or nodes.paragraph(text='None.')
            left = [name for name in inherited if self.is_inherited(name, ports, inherited)]
            if left:
                section += self.paragraph(
                    f'And those of every `{self.base.__name__}`: {", ".join(f"`{name}`" for name in sorted(left))}.'
                )
            content += section
        outline = getattr(spec, 'get_outline', lambda: None)()
        if outline is not None:
            section = nodes.section(ids=['outline'], names=['outline'])
            section += nodes.title(text='Outline')
            section += self.build_outline_doctree(outline).children[-1]
            content += section
        content += self.build_exit_codes()
        return content.children

    def is_inherited(self, name: str, ports: PortNamespace, inherited: PortNamespace) -> bool:
        """Return whether a port is AiiDA's own, unchanged."""
        return name in ports and name in inherited and ports[name].help == inherited[name].help

    def build_ports(
        self, ports: PortNamespace, exposed: Any, inherited: PortNamespace | tuple[()] = (), path: str = ''
    ) -> nodes.bullet_list | None:
        """Return a list of the ports of a namespace, without those that AiiDA gives every process."""
        found = nodes.bullet_list(bullet='*')
        for name, port in sorted(ports.items()):
            if name in ('metadata', 'monitors') or (inherited and self.is_inherited(name, ports, inherited)):
                continue
            full = f'{path}{name}'
            item = nodes.list_item()
            if isinstance(port, PortNamespace):
                item += self.build_namespace(name, full, port, exposed)
            else:
                item += self.build_port(name, port)
            found += item
        return found if len(found) else None

    def build_namespace(self, name: str, full: str, port: PortNamespace, exposed: Any) -> list[nodes.Node]:
        """Return what is said of a namespace: whose ports it has, and those that it has beside them."""
        parts: list[nodes.Node] = []
        text = f'**{name}**, {"required namespace" if port.required else "namespace"}'
        if port.dynamic and full not in exposed:
            text += f' of any number of *{self.format_valid_types(port.valid_type)}*'
        own = dict(port)
        for process, names in exposed.get(full, {}).items():
            spec = process.spec()
            ports = spec.outputs if exposed is self.process_spec._exposed_outputs else spec.inputs
            without = sorted(set(ports) - set(names) - {'metadata', 'monitors'})
            text += f': those of {self.link(process)}'
            text += f' without {", ".join(f"`{each}`" for each in without)}' if without else ''
            own = {each: port[each] for each in own if each not in names}
        text += f' -- {port.help}' if port.help else ''
        parts.append(self.paragraph(text))
        rest = PortNamespace(name)
        for each, value in own.items():
            rest[each] = value
        inner = self.build_ports(rest, exposed, path=f'{full}.')
        return parts + ([inner] if inner else [])

    @staticmethod
    def format_valid_types(valid_type: Any) -> str:
        """Return the names of the types that a port takes."""
        found = valid_type if isinstance(valid_type, tuple) else (valid_type,)
        names = [kind.__name__ for kind in found if kind not in (None, type(None))]
        return ' or '.join(dict.fromkeys(names)) or 'anything'

    def build_port(self, name: str, port: Any) -> list[nodes.Node]:
        """Return name, type, file and help of a port; of settings, each key on a line of its own."""
        has_default = getattr(port, 'has_default', lambda: False)()
        words = [f'**{name}**', f'*{self.format_valid_types(port.valid_type)}*']
        words += ['required'] if port.required and not has_default else []
        output = getattr(self.process, 'OUTPUTS', {}).get(name)
        if output is not None and self.process_spec.outputs.get(name) is port:
            words.append(f'from the file `{output.file}`')
        text = ', '.join(words)
        keys = (port.help or '').removeprefix('Keys: ')
        if keys == port.help or not port.help:
            return [self.paragraph(text + (f' -- {port.help}' if port.help else ''))]
        found = nodes.bullet_list(bullet='*')
        for key in NEXT_KEY.split(keys.rstrip('.')):
            item = nodes.list_item()
            item += self.paragraph(key)
            found += item
        return [self.paragraph(f'{text} -- keys, with their defaults:'), found]

    def build_exit_codes(self) -> list[nodes.Node]:
        """Return a section with the exit codes, but for those up to 199, which AiiDA gives every process."""
        codes = sorted((code.status, label, code.message) for label, code in self.process_spec.exit_codes.items())
        codes = [code for code in codes if code[0] >= 200]
        if not codes:
            return []
        section = nodes.section(ids=['exit-codes'], names=['exit codes'])
        section += nodes.title(text='Exit codes')
        found = nodes.bullet_list(bullet='*')
        for status, label, message in codes:
            item = nodes.list_item()
            item += self.paragraph(f'**{status}**, `{label}` -- {message}')
            found += item
        section += found
        return [section]

    def link(self, process: type[Process]) -> str:
        """Return a process by its entry point, with a link if it is ours."""
        if process in self.names:
            return f':py:class:`{self.names[process]} <{process.__module__}.{process.__name__}>`'
        return f'`{process.__name__}`'

    def paragraph(self, text: str) -> nodes.paragraph:
        """Return a paragraph of reStructuredText, in which single backticks are code, too."""
        found, messages = self.parse_inline(' '.join(text.split()))
        return nodes.paragraph('', '', *found, *messages)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and the writing of the pages."""
    app.add_directive('equitrain-process', EquitrainProcessDirective)
    app.connect('builder-inited', write_pages)
    return {'parallel_read_safe': True}
