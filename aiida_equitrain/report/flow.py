"""The provenance of a material run, condensed to one box per stage and per result, without graphviz."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
from aiida import orm
from aiida.common.links import LinkType
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from aiida_equitrain.common.formatting import formula, number

from .plots import GRID, INK, PAPER, STYLE

#: Column and row of every box: the way of the data is downwards, what is reused by all stages stands at the sides.
PLACES: dict[str, tuple[int, int]] = {
    'foundation': (0, 0),
    'structure': (2, 0),
    'label': (1, 1),
    'dataset': (1, 2),
    'finetune': (1, 3),
    'potential': (1, 4),
    'phonons_foundation': (0, 5),
    'phonons_finetuned': (1, 5),
    'phonons_dft': (2, 5),
    'phonons_corrected': (0, 6),
    'phonons_corrected_finetuned': (1, 6),
    'compare': (1, 7),
    'comparison': (1, 8),
}
EDGE_COLORS = {'done': '#2f9e63', 'running': '#0a85d1', 'failed': '#d1383d', 'data': '#8a93a3'}
WIDTH, HEIGHT, PITCH_X, PITCH_Y = 1.9, 0.66, 2.15, 1.06


def draw_flow(flow: Mapping[str, Any]) -> Figure:
    """Draw the boxes and arrows of ``flow``.

    :param flow: ``nodes`` {id of ``PLACES``: {``title``, ``lines``, ``state``}} and ``edges`` (pairs of ids).
    """
    nodes = {name: node for name, node in flow['nodes'].items() if name in PLACES}
    rows = sorted({PLACES[name][1] for name in nodes})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 0.78 * len(rows) + 0.1), layout='constrained')
        axes = figure.subplots()
        axes.set_axis_off()
        places = {name: (PLACES[name][0] * PITCH_X, -rows.index(PLACES[name][1]) * PITCH_Y) for name in nodes}
        for source, target in flow['edges']:
            if source in places and target in places:
                _draw_edge(axes, places[source], places[target])
        for name, node in nodes.items():
            _draw_box(axes, places[name], node)
        axes.set_xlim(-WIDTH / 2 - 0.05, 2 * PITCH_X + WIDTH / 2 + 0.05)
        axes.set_ylim(-(len(rows) - 1) * PITCH_Y - HEIGHT / 2 - 0.06, HEIGHT / 2 + 0.06)
    return figure


def _draw_box(axes: Axes, place: tuple[float, float], node: Mapping[str, Any]) -> None:
    """Draw a rounded box with a bold title and small lines under it."""
    x, y = place
    state = node.get('state', 'data')
    lines = list(node.get('lines', []))
    box = FancyBboxPatch(
        (x - WIDTH / 2 + 0.1, y - HEIGHT / 2 + 0.1),
        WIDTH - 0.2,
        HEIGHT - 0.2,
        boxstyle=f'round,pad=0.1,rounding_size={0.28 if state == "data" else 0.08}',
        facecolor=PAPER,
        edgecolor=EDGE_COLORS.get(state, EDGE_COLORS['data']),
        linewidth=1.0 if state == 'data' else 1.6,
        zorder=3,
    )
    axes.add_patch(box)
    shift = 0.15 * len(lines) / 2 + 0.02 * len(lines)
    axes.text(x, y + shift, node['title'], ha='center', va='center', fontsize=7.5, fontweight='bold', zorder=4)
    for index, line in enumerate(lines):
        height = y + shift - 0.19 * (index + 1)
        axes.text(x, height, line, ha='center', va='center', fontsize=6.3, zorder=4, color=INK)


def _draw_edge(axes: Axes, source: tuple[float, float], target: tuple[float, float]) -> None:
    """Draw down from ``source``, along the gap above ``target``'s row, and down into it."""
    (x0, y0), (x1, y1) = source, target
    gap = y1 + PITCH_Y / 2 - (0.06 if x0 < x1 else -0.06 if x0 > x1 else 0)
    top = y1 + HEIGHT / 2 + 0.02
    landing = x1 + (0 if x0 == x1 else (-0.3 if x0 < x1 else 0.3))
    path = [(x0, y0 - HEIGHT / 2), (x0, gap), (landing, gap), (landing, top)]
    axes.plot([x for x, _ in path[:-1]], [y for _, y in path[:-1]], color='#8a93a3', linewidth=0.9, zorder=1)
    arrow = {'arrowstyle': '-|>', 'color': '#8a93a3', 'linewidth': 0.9, 'shrinkA': 0, 'shrinkB': 0, 'mutation_scale': 7}
    axes.annotate('', xy=path[-1], xytext=path[-2], arrowprops=arrow, zorder=2)


__all__ = ['GRID', 'PLACES', 'draw_flow']


def flow_data(node: orm.ProcessNode, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the condensed provenance: stages, their inputs and results, and the links between them."""
    nodes: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    for name in ('structure', 'foundation', 'dataset'):
        if name in node.inputs:
            places[node.inputs[name].uuid] = name
    for name in ('dataset', 'potential', 'comparison'):
        if name in node.outputs:
            places[node.outputs[name].uuid] = name
    for uuid, name in places.items():
        nodes[name] = {'title': name, 'lines': _describe_data(orm.load_node(uuid), data), 'state': 'data'}
    edges: set[tuple[str, str]] = set()
    phonons = _phonons_of(node)
    for stage in data['stages']:
        if stage['name'] not in PLACES:
            continue
        kinds = [f'{count} × {kind.removesuffix("Calculation")}' for kind, count in stage['kinds'].items()]
        nodes[stage['name']] = {'title': stage['title'], 'lines': _two_lines(kinds), 'state': stage['state']}
        process = orm.load_node(stage['pk'])
        kind = (LinkType.INPUT_WORK, LinkType.INPUT_CALC)
        for link in process.base.links.get_incoming(link_type=kind).all():
            source = places.get(link.node.uuid) or phonons.get(link.node.uuid)
            if source:
                edges.add((source, stage['name']))
        kind = (LinkType.RETURN, LinkType.CREATE)
        for link in process.base.links.get_outgoing(link_type=kind).all():
            if link.node.uuid in places:
                edges.add((stage['name'], places[link.node.uuid]))
    return {'nodes': nodes, 'edges': sorted(edges)}


def _phonons_of(node: orm.ProcessNode) -> dict[str, str]:
    """Return the stages that made a ``PhonopyData``, by its UUID."""
    phonons: Any = node.outputs['phonons'] if 'phonons' in node.outputs else {}  # noqa: SIM401
    return {
        phonons[side]['phonopy_data'].uuid: f'phonons_{side}' for side in phonons if 'phonopy_data' in phonons[side]
    }


def _describe_data(data: orm.Node, report: Mapping[str, Any]) -> list[str]:
    """Return one or two short lines about a node."""
    kind = type(data).__name__
    if kind == 'StructureData':
        return [f'{formula(data.get_formula())}, {len(data.sites)} atoms']
    if kind == 'PotentialData':
        name = str(data.card.get('name') or data.label or data.architecture)
        return [name if len(name) < 26 else name[:25] + '…', f'{data.n_parameters:,} parameters']
    if kind == 'DatasetData':
        return [f'{data.n_frames} frames, {data.max_atoms} atoms', data.functional]
    summary = report['summary']
    best = summary['corrected_mae_thz'] if summary['finetuned_mae_thz'] is None else summary['finetuned_mae_thz']
    pair = [number(summary['foundation_mae_thz']), number(best)]
    return [' → '.join(pair) + ' THz'] if '–' not in pair else ['metrics of all sides']


def _two_lines(parts: list[str]) -> list[str]:
    """Return at most two lines for any number of parts."""
    return parts if len(parts) <= 2 else [parts[0] + ', ' + parts[1], ', '.join(parts[2:])]
