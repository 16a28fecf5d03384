"""Write the report of a job: page, figures, summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiida import orm

from .collect import collect
from .flow import draw_flow
from .page import render
from .plots import draw_all, to_png, to_svg

PAGE, SUMMARY = 'report.html', 'summary.json'


def write_report(node: orm.ProcessNode, folder: Path) -> dict[str, Any]:
    """Write ``report.html``, ``summary.json`` and one PNG per figure into ``folder``, and return what was collected.

    :raises ValueError: if there can be no report of this node.
    """
    data = collect(node)
    folder.mkdir(parents=True, exist_ok=True)
    figures = draw_all(data)
    if data['flow']:
        figures['flow'] = draw_flow(data['flow'])
    for name, figure in figures.items():
        (folder / f'{name}.png').write_bytes(to_png(figure))
    drawn = {name: to_svg(figure, name) for name, figure in figures.items()}
    (folder / PAGE).write_text(render(data, drawn), encoding='utf-8')
    (folder / SUMMARY).write_text(json.dumps(data['summary'], indent=2) + '\n', encoding='utf-8')
    return data
