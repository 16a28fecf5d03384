"""Draw what each WorkChain calls and how data flow, from real runs in a profile, for docs/topics/provenance.md.

    AIIDA_PATH=... python scripts/make_pictures.py PROFILE [FOLDER]      default: docs/images

``make_pictures.sh`` makes such a profile and calls this. Needs Graphviz (``dot``). Of the successful runs of a
WorkChain the one that called most is drawn. Jobs and WorkChains are boxes, those of one kind and purpose one box with
their number. Left out are codes, settings and numbers among the inputs, functions in between, and arrows through
functions where other arrows lead the same way.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from aiida import load_profile, orm
from aiida.common.links import LinkType

ROOT = Path(__file__).resolve().parents[1]
PREFIX = 'aiida.workflows:equitrain.'
CALLS = (LinkType.CALL_WORK, LinkType.CALL_CALC)
INTO = (LinkType.INPUT_WORK, LinkType.INPUT_CALC)
OUT = (LinkType.RETURN, LinkType.CREATE)
#: What stands for a box: its look, and its name or names.
Key = tuple[str, ...]
#: What all have, and what would hide the others among the inputs.
FOLDERS = (orm.RemoteData, orm.FolderData)
PLAIN = (orm.AbstractCode, orm.BaseType, orm.Dict, orm.List, *FOLDERS)
HEAD = """digraph g {
bgcolor="white"; pad=0.15; nodesep=0.2; ranksep=0.35;
node [fontname="Helvetica", fontsize=11, fontcolor="#1b1f24", style="filled,rounded"];
node [color="#5b6270", margin="0.12,0.06"];
edge [color="#5b6270", arrowsize=0.6];
"""
LOOK = {
    'input': 'shape=box, fillcolor="#e3f0fb", penwidth=0.6',
    'output': 'shape=box, fillcolor="#dcf1e4", penwidth=0.6',
    'work': 'shape=box, style=filled, fillcolor="#fff0cf"',
    'job': 'shape=box, style=filled, fillcolor="#ffdcc4"',
}


def key_of(call: Any) -> Key:
    """Return look, name and purpose of a process: equal ones are one box."""
    node = call.node
    name = node.process_type.partition(':')[2] if ':equitrain.' in node.process_type else node.process_label
    purpose = re.sub(r'(_\d+)+$', '', re.sub(r'^row_.*', 'row', call.link_label))
    return 'work' if isinstance(node, orm.WorkflowNode) else 'job', name, '' if purpose == 'CALL' else purpose


def input_name(label: str) -> str:
    """Return the name of an input without the namespaces it lies in."""
    return 'pseudos' if 'pseudos' in label else label.split('__')[-1]


class Flow:
    """Where the data of one run come from: its inputs, or the jobs and WorkChains that it called."""

    def __init__(self, node: Any) -> None:
        self.calls = sorted(node.base.links.get_outgoing(link_type=CALLS).all(), key=lambda call: call.node.pk)
        self.given = {
            link.node.uuid: ('input', input_name(link.link_label))
            for link in node.base.links.get_incoming(link_type=INTO).all()
            if not isinstance(link.node, PLAIN)
        }
        self.makers: dict[str, Any] = {}
        for call in self.calls:
            for link in call.node.base.links.get_outgoing(link_type=OUT).all():
                # The first one: a WorkChain may return what it was given.
                self.makers.setdefault(link.node.uuid, call)
        self.known: dict[str, set[Key]] = {}

    def is_direct(self, uuid: str) -> bool:
        """Return whether a node comes from an input, job or WorkChain itself, not from a function."""
        return uuid in self.given or (uuid in self.makers and not is_function(self.makers[uuid].node))

    def sources(self, uuid: str) -> set[Key]:
        """Return the inputs and boxes that a node comes from, through functions."""
        if uuid not in self.known:
            call = self.makers.get(uuid)
            if uuid in self.given:
                self.known[uuid] = {self.given[uuid]}
            elif call is None:
                self.known[uuid] = set()
            elif is_function(call.node):
                links = call.node.base.links.get_incoming(link_type=INTO).all()
                self.known[uuid] = set().union(*(self.sources(link.node.uuid) for link in links))
            else:
                self.known[uuid] = {key_of(call)}
        return self.known[uuid]


def is_function(process: Any) -> bool:
    """Return whether a process is left out of the picture."""
    return isinstance(process, orm.CalcFunctionNode)


def arrows(node: Any, flow: Flow) -> set[tuple[Key, Key]]:
    """Return all arrows from inputs to calls, between calls, and to outputs."""
    ends = [(link.node.uuid, key_of(call)) for call in flow.calls if not is_function(call.node)
            for link in call.node.base.links.get_incoming(link_type=INTO).all()]  # fmt: skip
    ends += [(link.node.uuid, ('output', link.link_label.split('__')[0]))
             for link in node.base.links.get_outgoing(link_type=OUT).all()
             if not isinstance(link.node, FOLDERS)]  # fmt: skip
    found = {(source, end) for uuid, end in ends for source in flow.sources(uuid)}
    # An input that is handed on as an output is no arrow.
    found = {(a, b) for a, b in found if a != b and (a[0], b[0]) != ('input', 'output')}
    direct = {(source, end) for uuid, end in ends if flow.is_direct(uuid) for source in flow.sources(uuid)}
    for arrow in sorted(found - direct):
        if leads(found - {arrow}, *arrow):
            found.remove(arrow)
    return found


def leads(found: set[tuple[Key, Key]], start: Key, end: Key) -> bool:
    """Return whether arrows lead from one box to another."""
    reached, new = {start}, {start}
    while new:
        new = {b for a, b in found if a in new} - reached
        reached |= new
    return end in reached


def together(found: set[tuple[Key, Key]]) -> dict[Key, Key]:
    """Return for each input and output the box that it shares with those that have the same arrows."""
    beside: dict[Key, set[Key]] = defaultdict(set)
    for a, b in found:
        beside[a].add(b)
        beside[b].add(a)
    groups: dict[Any, list[str]] = defaultdict(list)
    for kind, name in sorted(key for key in beside if key[0] in ('input', 'output')):
        groups[kind, frozenset(beside[kind, name])].append(name)
    return {(kind, name): (kind, *names) for (kind, _), names in groups.items() for name in names}


def draw(node: Any) -> str:
    """Return the drawing of one process in Graphviz' language."""
    flow = Flow(node)
    found = arrows(node, flow)
    boxes = together(found)
    lines = [HEAD]
    for key, number in Counter(key_of(call) for call in flow.calls if not is_function(call.node)).items():
        look, name, purpose = key
        below = f'\\n({purpose})' if purpose and purpose not in name else ''
        lines.append(box(key, f'{f"{number} × " if number > 1 else ""}{name}{below}', look))
    lines += [box(key, '\\n'.join(key[1:]), key[0]) for key in sorted(set(boxes.values()))]
    ends = {(boxes.get(a, a), boxes.get(b, b)) for a, b in found}
    return '\n'.join([*lines, *(f'{quoted(a)} -> {quoted(b)};' for a, b in sorted(ends)), '}'])


def box(key: Key, title: str, look: str) -> str:
    """Return a box in Graphviz' language."""
    return f'{quoted(key)} [label="{title}", {LOOK[look]}];'


def quoted(key: Key) -> str:
    """Return the name of a box there."""
    return '"' + '|'.join(key) + '"'


def runs() -> dict[str, Any]:
    """Return the run to draw by the name of its picture; phonons of DFT have a picture of their own."""
    filters = {'process_type': {'like': f'{PREFIX}%'}, 'attributes.exit_status': 0}
    found: dict[str, Any] = {}
    for node in orm.QueryBuilder().append(orm.WorkChainNode, filters=filters).all(flat=True):
        name = node.process_type.removeprefix(PREFIX)
        name += '_dft' if name == 'phonons' and 'potential' not in node.inputs else ''
        found[name] = max(found.get(name, node), node, key=lambda each: len(each.called))
    return found


def main() -> None:
    """Draw all WorkChains of the profile."""
    load_profile(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / 'docs' / 'images'
    for name, node in runs().items():
        target = folder / f'workchain_{name}.svg'
        subprocess.run(['dot', '-Tsvg', '-o', str(target)], input=draw(node), text=True, check=True)
        print(f'{target}: PK {node.pk}')


if __name__ == '__main__':
    main()
