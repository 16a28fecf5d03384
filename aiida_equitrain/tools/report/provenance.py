"""Condense the provenance of a run to its stages, what goes into them and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.common.formatting import number

from .cost import STAGES


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
    for stage in data['stages']:
        if stage['name'] not in STAGES:
            continue
        kinds = [f'{count} × {kind.removesuffix("Calculation")}' for kind, count in stage['kinds'].items()]
        nodes[stage['name']] = {'title': stage['title'], 'lines': _two_lines(kinds), 'state': stage['state']}
        process = orm.load_node(stage['pk'])
        kind = (LinkType.INPUT_WORK, LinkType.INPUT_CALC)
        for link in process.base.links.get_incoming(link_type=kind).all():
            source = places.get(link.node.uuid) or _phonons_of(node, link.node)
            if source:
                edges.add((source, stage['name']))
        kind = (LinkType.RETURN, LinkType.CREATE)
        for link in process.base.links.get_outgoing(link_type=kind).all():
            if link.node.uuid in places:
                edges.add((stage['name'], places[link.node.uuid]))
    return {'nodes': nodes, 'edges': sorted(edges)}


def _phonons_of(node: orm.ProcessNode, data: orm.Node) -> str | None:
    """Return the stage that made a ``PhonopyData``."""
    phonons = node.outputs['phonons'] if 'phonons' in node.outputs else {}  # noqa: SIM401
    for side in phonons:
        if 'phonopy_data' in phonons[side] and phonons[side]['phonopy_data'].uuid == data.uuid:
            return f'phonons_{side}'
    return None


def _describe_data(data: orm.Node, report: Mapping[str, Any]) -> list[str]:
    """Return one or two short lines about a node."""
    kind = type(data).__name__
    if kind == 'StructureData':
        return [f'{data.get_formula()}, {len(data.sites)} atoms']  # type: ignore[attr-defined]
    if kind == 'PotentialData':
        name = str(data.card.get('name') or data.label or data.architecture)  # type: ignore[attr-defined]
        return [name if len(name) < 26 else name[:25] + '…', f'{data.n_parameters:,} parameters']  # type: ignore[attr-defined]
    if kind == 'DatasetData':
        return [f'{data.n_frames} frames, {data.max_atoms} atoms', data.functional]  # type: ignore[attr-defined]
    summary = report['summary']
    pair = [number(summary['foundation_mae_thz']), number(summary['finetuned_mae_thz'])]
    return [' → '.join(pair) + ' THz'] if '–' not in pair else ['metrics of all sides']


def _two_lines(parts: list[str]) -> list[str]:
    """Return at most two lines for any number of parts."""
    return parts if len(parts) <= 2 else [parts[0] + ', ' + parts[1], ', '.join(parts[2:])]
