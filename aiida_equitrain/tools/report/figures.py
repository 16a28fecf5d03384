"""Arrays of the graph, as the figures take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.orm import ArrayData, BandsData

#: The comparison calls DFT by its part in it.
NAMES = {'reference': 'dft'}


def bands_data(outputs: Any) -> dict[str, Any] | None:
    """Return the bands of all sides along one path, segment by segment, and the ticks of the path."""
    node = outputs.bands if 'bands' in outputs else None
    if not isinstance(node, ArrayData) or isinstance(node, BandsData):
        return None
    distances, starts = node.get_array('distances'), node.get_array('segment_starts').tolist()
    sides = _by_side(node, 'frequencies')
    ends = [*starts[1:], len(distances)]
    segments = [
        {'distances': distances[a:b], 'sides': {name: values[a:b] for name, values in sides.items()}}
        for a, b in zip(starts, ends, strict=True)
    ]
    return {'segments': segments, 'ticks': path_ticks(distances, starts, node.get_array('labels').tolist())}


def path_ticks(distances: Any, starts: list[int], labels: list[list[str]]) -> list[tuple[float, str]]:
    """Return positions and labels of the ends of segments; where the path jumps, both names stand there."""
    ticks: list[tuple[float, str]] = []
    for index, (start, (first, last)) in enumerate(zip(starts, labels, strict=True)):
        end = starts[index + 1] - 1 if index + 1 < len(starts) else len(distances) - 1
        if ticks and ticks[-1][1] != first:
            ticks[-1] = (ticks[-1][0], f'{ticks[-1][1]}|{first}')
        elif not ticks:
            ticks.append((float(distances[start]), first))
        ticks.append((float(distances[end]), last))
    return ticks


def thermal_data(outputs: Any) -> dict[str, Any] | None:
    """Return heat capacity, entropy and free energy of every side over temperature."""
    if 'thermal' not in outputs:
        return None
    node = outputs.thermal
    temperatures = node.get_array('temperatures')
    curves: dict[str, Any] = {}
    for key in ('heat_capacity', 'entropy', 'free_energy'):
        for name, values in _by_side(node, key).items():
            curves.setdefault(name, {'temperature_k': temperatures})[key] = values
    return curves


def learning_data(outputs: Any, training: dict[str, Any]) -> dict[str, Any] | None:
    """Return the errors by epoch."""
    node = outputs.metrics if 'metrics' in outputs else None
    if not isinstance(node, ArrayData):  # of a committee there are several
        return None
    data: dict[str, Any] = {name: node.get_array(name) for name in node.get_arraynames()}
    data['best_epoch'] = training.get('best_epoch')
    return data if len(data.get('epoch', [])) > 1 else None


def parity_data(outputs: Any) -> dict[str, Any] | None:
    """Return force components of the frames that were not trained on, or of all if there are none."""
    if 'predictions' not in outputs:
        return None
    node = outputs.predictions
    arrays = {name: node.get_array(name) for name in node.get_arraynames()}
    chosen = ~arrays['is_train'][arrays['frame_index']]
    split = 'frames that were not trained on'
    if not chosen.any():
        chosen, split = np.ones_like(chosen), 'all frames'
    names = {'reference': 'forces_reference', 'foundation': 'forces_before', 'finetuned': 'forces_after'}
    parity: dict[str, Any] = {name: arrays[key][chosen].ravel() for name, key in names.items() if key in arrays}
    parity['split'] = split
    return parity


def _by_side(node: ArrayData, key: str) -> dict[str, Any]:
    """Return the arrays ``<key>_<side>`` by side."""
    prefix = f'{key}_'
    names = [name.removeprefix(prefix) for name in node.get_arraynames() if name.startswith(prefix)]
    return {NAMES.get(name, name): node.get_array(prefix + name) for name in names}
